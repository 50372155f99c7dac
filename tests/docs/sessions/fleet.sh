# A control plane on this machine, one device of its fleet, and one that is to come.
anew fleet
digits_bundle older.bundle 1
digits_bundle my.bundle 2
cp -r "$ROOT/compose/frames" frames
isthmus sign key maker.pem
isthmus sign bundle older.bundle --key maker.pem
isthmus sign bundle my.bundle --key maker.pem
isthmus enroll authority pki --host localhost --name control
cat >control.toml <<'END'
folder = "control"
makers = ["maker.pem.pub"]
[listen]
port = 7300
[enrolment]
authority = "pki"
reached_as = "localhost"
port = 7299
END
cat >camera.toml <<'END'
name = "camera-1"
bundle = "older.bundle"
measure_s = 0.5
deadline_s = 5.0
[source]
path = "frames"
loop = true
rate_hz = 5.0
[trust]
keys = ["maker.pem.pub"]
ledger = "accepted.json"
[updates]
folder = "updates"
[updates.control]
url = "http://127.0.0.1:7300"
report_s = 0.5
END
printf 'steps = [0.5, 1.0]\nhold_s = 600\n' >careful.toml
printf 'name = "deadline"\n' >night.toml
json() { python -c "import json, sys; found = json.load(sys.stdin); print($1)"; }

isthmus control control.toml --admin kim
isthmus control control.toml --admin kim > control.token
isthmus control control.toml
isthmus fleet publish older.bundle
isthmus fleet publish my.bundle
isthmus fleet bundles
stay "$(type -P isthmus)" device camera.toml
until isthmus fleet devices | grep camera-1; do sleep 0.2; done
isthmus fleet devices
isthmus fleet device camera-1
isthmus fleet policy night.toml --device camera-1

called["3f9a01c2 "]=$(isthmus fleet bundles --json | json "next(one['digest'] for one in found if one['counter'] == 2)")
isthmus fleet rollout 3f9a01c2 --rules careful.toml
isthmus fleet rollouts
called["5c1f09aa77b0e412 "]=$(isthmus fleet rollouts --json | json "found[0]['id']")
isthmus fleet rollback 5c1f09aa77b0e412 --reason "complaints from shop 7"
isthmus fleet rollout 3f9a01c2
isthmus fleet rollouts --json

isthmus fleet enroll camera-2 --output camera-2.json
isthmus enroll device camera-2.json var/other
isthmus fleet shut-out camera-1
isthmus fleet enroll camera-1 --output camera-1.json
isthmus enroll device camera-1.json /var/lib/isthmus/next

isthmus fleet token lee --role operator
isthmus fleet token kim --role operator
isthmus fleet tokens
called["1f2e3d4c "]=$(isthmus fleet tokens --json | json "next(one['id'] for one in found if one['name'] == 'lee')")
isthmus fleet revoke 1f2e3d4c
isthmus fleet audit
isthmus fleet audit --most 20

isthmus control control.toml --backup control.tar
stop
sed 's/^folder.*/folder = "next"/' control.toml >next.toml
isthmus control next.toml --restore control.tar
isthmus control next.toml
isthmus fleet bundles | grep digits
