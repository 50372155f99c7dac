# needs: openssl
# Keys, signatures and certificates.
anew bundles
digits_bundle my.bundle
isthmus sign key maker.pem
isthmus sign bundle my.bundle --key maker.pem
isthmus bundle verify my.bundle --maker maker.pem.pub
printf 'bundles = ["my.bundle"]\n[listen]\nport = 7201\n' >edge.toml
isthmus edge edge.toml --set 'trust.keys=["maker.pem.pub"]' --set trust.ledger=/var/lib/isthmus/edge.json

anew certificates
isthmus enroll authority pki --host edge.local --name edge
isthmus enroll serve pki --reached-as edge.local --host 0.0.0.0
isthmus enroll token pki camera-1 --tier edge.local:7299 --output camera-1.json
isthmus enroll device camera-1.json /var/lib/isthmus
openssl verify -CAfile pki/ca.pem var/device.pem pki/edge.pem

anew addresses
isthmus enroll authority pki --host edge.local --host 192.0.2.7 --name edge
isthmus enroll serve pki --reached-as edge.local --host 0.0.0.0
isthmus enroll token pki camera-1 --tier edge.local:7299
isthmus enroll device token.json /var/lib/isthmus
