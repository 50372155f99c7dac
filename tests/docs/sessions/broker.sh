# needs: mosquitto
# Devices, a worker and a controller at a broker that tells them apart, and at one of this machine alone.
PATH=$PATH:/usr/sbin
anew broker
digits_bundle my.bundle
cp -r "$ROOT/compose/frames" frames
isthmus enroll authority pki --host broker.local --name broker
isthmus enroll serve pki --reached-as broker.local
for name in office camera-1 edge; do
    isthmus enroll token pki $name --tier broker.local:7299 --output $name.json
    isthmus enroll device $name.json pki/$name
done
cp pki/ca.pem pki/broker.pem pki/broker.key .
isthmus enroll rules --worker edge --device camera-1 --controller office > /etc/mosquitto/acl
isthmus enroll rules --group edge --worker edge --device camera-1 --controller office > /etc/mosquitto/acl
chmod 644 broker.key etc/acl # the broker gives up being root
chmod 755 "$HOME" .
shown security.md "listener 8883" >mosquitto.conf
printf 'listener 1883 127.0.0.1\nallow_anonymous true\n' >alone.conf
for file in mosquitto.conf alone.conf; do
    mosquitto -c $file >$file.log 2>&1 &
    staying+=($!)
    until grep -q running $file.log; do kill -0 $! || { cat $file.log && exit 1; }; sleep 0.1; done
done
cat >camera.toml <<'END'
name = "camera-1"
bundle = "my.bundle"
measure_s = 0.5
[source]
path = "frames"
loop = true
rate_hz = 5.0
[trust]
unsigned = true
[notices]
target = "127.0.0.1:1883"
tell_s = 0.5
END
cp camera.toml far.toml
cat >>far.toml <<'END'
[notices.tls]
ca = "pki/ca.pem"
certificate = "pki/camera-1/device.pem"
key = "pki/camera-1/device.key"
END
stay "$(type -P isthmus)" device camera.toml
stay "$(type -P isthmus)" device far.toml --set notices.target=broker.local:8883
until isthmus notices devices --at broker.local:8883 --tls pki/office --name office | grep camera-1; do sleep 0.2; done
isthmus notices devices --at broker.local:8883 --tls pki/office --name office
isthmus notices listen --at broker.local:8883 --tls pki/office --name office
until isthmus notices devices | grep camera-1; do sleep 0.2; done
isthmus notices plan camera-1 '{"name": "fixed", "cut": 3, "level": 2, "route": "edge"}'
isthmus notices command camera-1 status
