# What docs/operations.md and docs/certificates.md show, line by line, on the stack that the tests have brought up.
cd "$HOME"
ln -s "$ROOT/compose" "$ROOT/isthmus" . # as in the root of the repository, but for what the commands write
set -a
. "$ROOT/build/stack.env" # the images of this machine
set +a

# As compose/prepare.sh: BuildKit, with Debian's client where another one before it in PATH has no buildx plugin.
export DOCKER_BUILDKIT=1
docker buildx version >/dev/null 2>&1 || PATH=/usr/bin:$PATH

# The v2 plugin, or the older docker-compose, which knows no --wait; builds without a registry, from what is here.
docker() {
    local words=("$@")
    case "$1" in
        compose)
            if ! command docker compose version >/dev/null 2>&1; then
                words=("${words[@]:1}")
                docker-compose "${words[@]/#--wait/--detach}" && until_well
                return
            fi ;;
        build)
            if command docker image inspect isthmus-base:bookworm >/dev/null 2>&1; then
                words=(build --build-arg BASE=isthmus-base:bookworm --build-arg WHEELS=folder --network none "${@:2}")
            fi
            cd "$ROOT" && command docker "${words[@]}" && cd "$HOME"
            return ;;
    esac
    command docker "${words[@]}"
}

until_well() {
    while python3 compose/stack.py status | grep -v ^certificates | grep -qv ' healthy *$'; do sleep 1; done
}

docker build -f compose/Dockerfile --target device -t isthmus-device:0.1.0 .
docker build -f compose/Dockerfile --target tier -t isthmus-tier:0.1.0 .

python3 compose/stack.py up
python3 compose/stack.py status
docker compose -f compose/compose.yml exec -T control isthmus control /etc/isthmus/control.toml --admin kim
docker compose -f compose/compose.yml run --rm certificates --renew
docker compose -f compose/compose.yml kill -s HUP mosquitto
docker compose -f compose/compose.yml run --rm --entrypoint cat certificates /identity/grafana/login

python3 compose/stack.py up --profile chaos
docker compose -f compose/compose.yml exec -T link python /opt/isthmus/link.py set --up 2e5 --down 1e6 --delay 0.08
docker compose -f compose/compose.yml exec -T link python /opt/isthmus/link.py set --dead
docker compose -f compose/compose.yml exec -T link python /opt/isthmus/link.py set --alive

docker compose -f compose/compose.yml exec -T control isthmus control /etc/isthmus/control.toml --backup - > control.tar
docker run --rm --user 0 -v isthmus_authority:/from:ro -v "$PWD":/to --entrypoint cp isthmus-tier:0.1.0 -a /from /to/authority
test -f authority/ca.key
python3 compose/stack.py down
docker volume rm isthmus_control-state
docker run --rm -i --user 10001:10001 -v isthmus_control-state:/state -v isthmus_control-identity:/identity:ro \
  -v "$PWD/compose/control.toml":/etc/isthmus/control.toml:ro isthmus-tier:0.1.0 \
  control /etc/isthmus/control.toml --restore - < control.tar
python3 compose/stack.py up

"$ROOT/compose/prepare.sh" postgres
set -a
. "$ROOT/build/stack.env"
set +a
docker compose --env-file compose/postgres.env -f compose/compose.yml up --wait
python3 compose/stack.py down --volumes
python3 compose/stack.py up
