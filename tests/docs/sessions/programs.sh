# needs: curl
# An edge, a cloud and a device on one machine, and what tells of them.
anew serving
digits_bundle digits.bundle
digits_bundle my.bundle
cp -r "$ROOT/compose/frames" captured
mkdir isthmus && ln -s "$ROOT/isthmus/builtin" isthmus/builtin
cat >cloud.toml <<'END'
bundles = ["digits.bundle"]
[listen]
port = 7202
[oip.rest]
port = 8000
[oip.grpc]
port = 8001
END
cat >edge.toml <<'END'
bundles = ["digits.bundle"]
[listen]
port = 7201
[cloud]
target = "127.0.0.1:7202"
[operations]
port = 9201
END
cat >camera.toml <<'END'
name = "camera-1"
bundle = "digits.bundle"
measure_s = 0.5
deadline_s = 2.0
[source]
path = "captured"
rate_hz = 20.0
limit = 60
loop = true
[edge]
target = "127.0.0.1:7201"
[history]
path = "var/history.jsonl"
END

isthmus bundle show isthmus/builtin/digits.bundle
isthmus bundle verify isthmus/builtin/digits.bundle
isthmus cloud cloud.toml
isthmus edge edge.toml
isthmus device camera.toml --check
isthmus doctor camera.toml
isthmus device camera.toml
isthmus device camera.toml --set source.rate_hz=5
mkdir -p runs/today && mv var/history.jsonl runs/today/
isthmus explain runs/today/history.jsonl 42
isthmus explain run runs/today/history.jsonl
isthmus explain run runs/today/history.jsonl --plot run.svg
isthmus explain batch 9201

# The Open Inference Protocol, over both doors of the cloud.
head -c 49152 /dev/zero >picture.raw
curl http://127.0.0.1:8000/v2/models/digits
curl --data-binary @picture.raw -H 'Inference-Header-Content-Length: 0' http://127.0.0.1:8000/v2/models/digits/infer
isthmus conformance --rest http://127.0.0.1:8000 --grpc 127.0.0.1:8001
isthmus conformance --list

# A device that goes on.
stay "$(type -P isthmus)" device camera.toml --set source.limit=100000 --set status.port=9477
isthmus top 9477
isthmus record /var/lib/isthmus/history.jsonl --bundle my.bundle --inputs captured/ --seconds 600 --output field
isthmus testbed run field/recorded.toml --backend simulated
rm -r field
isthmus record /var/lib/isthmus/history.jsonl --seconds 60 --output field

stop
isthmus cloud cloud.toml --set listen.port=7202
isthmus edge edge.toml --set listen.port=7201

# A door over TLS, and a model with a name and a shape of its own.
anew doors
digits_bundle my.bundle
isthmus enroll authority pki --host tier.local --name tier
isthmus enroll serve pki --reached-as tier.local
isthmus enroll token pki me --tier tier.local:7299 --output me.json
isthmus enroll device me.json me
cp me/ca.pem ca.pem && cp me/device.pem me.pem && cp me/device.key me.key
cat >cloud.toml <<'END'
bundles = ["my.bundle"]
[listen]
port = 7202
[trust]
unsigned = true
[oip.rest]
port = 8000
[oip.rest.tls]
certificate = "pki/tier.pem"
key = "pki/tier.key"
client_ca = "pki/ca.pem"
END
isthmus cloud cloud.toml
isthmus conformance --rest https://tier.local:8000 --ca ca.pem --certificate me.pem --key me.key
stop
mkdir -p pki/office && cp me/* pki/office
cat >edge.toml <<'END'
bundles = ["my.bundle"]
[listen]
port = 7201
[trust]
unsigned = true
[operations]
port = 9201
[operations.tls]
certificate = "pki/tier.pem"
key = "pki/tier.key"
client_ca = "pki/ca.pem"
END
cat >camera.toml <<'END'
bundle = "my.bundle"
measure_s = 0.5
[trust]
unsigned = true
[source]
path = "captured"
loop = true
[status]
port = 9477
[status.tls]
certificate = "pki/tier.pem"
key = "pki/tier.key"
client_ca = "pki/ca.pem"
END
cp -r "$ROOT/compose/frames" captured
isthmus edge edge.toml
isthmus explain batch edge.local:9201 --tls pki/office
stay "$(type -P isthmus)" device camera.toml
isthmus top camera.local:9477 --tls pki/office
stop

python - <<'END'
import isthmus, torch
class Resnet(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 4, 16, stride=16)
        self.last = torch.nn.Linear(4, 10)
    def forward(self, image):
        return self.last(self.stem(image).mean((2, 3)))
isthmus.partition(Resnet().eval(), torch.rand(1, 3, 224, 224), cuts=["stem"]).save("resnet.bundle", model_id="resnet")
END
printf 'bundles = ["resnet.bundle"]\n[listen]\nport = 7202\n[oip.grpc]\nport = 8001\n' >cloud.toml
isthmus cloud cloud.toml
isthmus conformance --grpc 127.0.0.1:8001 --model resnet --shape image=1,3,224,224 --json
