#!/usr/bin/env bash
# Makes sure that there is a container engine and that the images of the stack exist, from whatever can be reached.
#
#   compose/prepare.sh                     # what is missing
#   compose/prepare.sh --build             # the two images anew, too
#   compose/prepare.sh postgres obs        # and the images of these profiles
#
# Without an engine, and as root on Debian: installs docker.io and docker-compose, and starts dockerd (its process id
# is in build/dockerd.pid; `python3 compose/stack.py down --engine` ends it). Without an image registry: makes the base
# images from Debian packages (mmdebstrap, no daemon of anyone's needed) and the wheels here. Writes build/stack.env:
# the images that the stack runs with. PYTHON is used for pip alone.
#
# Exit code 69: this machine cannot do it, whatever is in this folder; 1: something in this folder is wrong.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
TIER=isthmus-tier:0.1.0
DEVICE=isthmus-device:0.1.0
export DOCKER_BUILDKIT=1
UNAVAILABLE=69

say() { printf 'prepare: %s\n' "$*"; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# An engine that was started here in vain is ended again.
give_up() {
    say "$*" >&2
    [ -z "${STARTED:-}" ] || { kill "$STARTED" 2>/dev/null || true; rm -f build/dockerd.pid; }
    exit $UNAVAILABLE
}

install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || give_up "$* is missing; install it, or run this as root on Debian"
    say "installing $*"
    local install=(apt-get install --yes --quiet --no-install-recommends "$@")
    export DEBIAN_FRONTEND=noninteractive
    "${install[@]}" >build/apt.log 2>&1 || { apt-get update --quiet && "${install[@]}"; } >build/apt.log 2>&1 ||
        give_up "$* cannot be installed; build/apt.log says why"
}

ensure_engine() {
    docker ps >/dev/null 2>&1 && return
    command -v dockerd >/dev/null || install_packages docker.io docker-compose iptables
    say "starting dockerd"
    setsid dockerd >build/dockerd.log 2>&1 </dev/null &
    STARTED=$!
    echo $STARTED >build/dockerd.pid
    for _ in $(seq 120); do
        docker ps >/dev/null 2>&1 && return
        kill -0 $STARTED 2>/dev/null || break
        sleep 0.5
    done
    tail -5 build/dockerd.log >&2
    give_up "dockerd did not start; build/dockerd.log says why"
}

# An engine may answer and still be unable to start what the stack needs: inside another container, or when it is another
# machine's, which sees neither the files nor the processes of this one.
ensure_containers_start() {
    local confined=(--rm --init --user 10001:10001 --read-only --cap-drop ALL --security-opt no-new-privileges:true
        --memory 64m --pids-limit 16 --tmpfs /tmp:size=1m,noexec)
    docker network rm isthmus-probe >/dev/null 2>&1 || true
    { docker run "${confined[@]}" --network none --entrypoint /bin/true "$1" && docker network create isthmus-probe &&
        docker run "${confined[@]}" --network isthmus-probe --publish 127.0.0.1::7999 \
            --volume "$PWD/compose:/probe:ro" --entrypoint /bin/ls "$1" /probe/compose.yml &&
        docker network rm isthmus-probe; } >build/probe.log 2>&1 ||
        give_up "the engine answers but cannot start a container as the stack needs it; build/probe.log says why"
}

ensure_compose() {
    docker compose version >/dev/null 2>&1 || docker-compose version >/dev/null 2>&1 || install_packages docker-compose
}

# A root folder of Debian packages, unpacked but not configured: no package manager and no daemon in the image.
from_packages() {
    local image=$1 packages=$2
    command -v mmdebstrap >/dev/null || install_packages mmdebstrap
    say "making $image from Debian packages"
    mmdebstrap --quiet --variant=extract --mode=root --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --include="base-files,coreutils,dash,libc6,$packages" bookworm build/root.tar >build/base.log 2>&1 ||
        { tail -5 build/base.log >&2 && give_up "packages cannot be had; build/base.log says why"; }
    docker import build/root.tar "$image" >/dev/null
    rm build/root.tar
}

# Prints the image to use: the one made here if it is there, the published one if it can be had, else one made here.
image_of() {
    local published=$1 made=$2 packages=$3
    if have_image "$made" || ! { have_image "$published" || timeout 60 docker pull --quiet "$published" >/dev/null 2>&1; }; then
        have_image "$made" || from_packages "$made" "$packages" >&2
        published=$made
    fi
    echo "$published"
}

# Wheels of everything, so that the build of the images needs no network; from what is there already, if that is enough.
ensure_wheels() {
    say "gathering wheels in build/wheels"
    mkdir -p build/wheels
    rm -f build/wheels/isthmus-*.whl
    "$PYTHON" -m pip --version >/dev/null 2>&1 || { "$PYTHON" -m venv build/venv && PYTHON=build/venv/bin/python; }
    local wheel=("$PYTHON" -m pip --disable-pip-version-check wheel --quiet --find-links build/wheels
        --wheel-dir build/wheels --constraint constraints.txt '.[postgres,otel]' pip hatchling)
    "${wheel[@]}" --no-index 2>/dev/null || "${wheel[@]}"
}

build_image() {
    say "building $2 on $BASE"
    docker build --quiet --file compose/Dockerfile --target "$1" --tag "$2" \
        --build-arg BASE="$BASE" --build-arg WHEELS="$WHEELS" "${NETWORK[@]}" . >/dev/null
}

BUILD=
PROFILES=
for wanted in "$@"; do
    case $wanted in
        --build) BUILD=yes ;;
        *) PROFILES="$PROFILES $wanted" ;;
    esac
done

mkdir -p build
ensure_engine
ensure_compose
# Debian's client has BuildKit built in; another one before it in PATH may be without its buildx plugin.
docker buildx version >/dev/null 2>&1 || PATH=/usr/bin:$PATH
BROKER=$(image_of eclipse-mosquitto:2.0.22 isthmus-broker:bookworm mosquitto,mosquitto-clients)
ensure_containers_start "$BROKER"
if [ -n "$BUILD" ] || ! have_image $TIER || ! have_image $DEVICE; then
    BASE=$(image_of python:3.11-slim-bookworm isthmus-base:bookworm libgcc-s1,libstdc++6,python3)
    WHEELS=index NETWORK=()
    if [ "$BASE" = isthmus-base:bookworm ]; then
        WHEELS=folder NETWORK=(--network none)
        ensure_wheels
    fi
    build_image device $DEVICE
    build_image tier $TIER
fi
printf 'ISTHMUS_TIER_IMAGE=%s\nISTHMUS_DEVICE_IMAGE=%s\nISTHMUS_BROKER_IMAGE=%s\n' $TIER $DEVICE "$BROKER" >build/stack.env
for profile in $PROFILES; do
    case $profile in
        postgres)
            image=$(image_of postgres:15.13-bookworm isthmus-postgres:bookworm postgresql-15,postgresql-client-15,tzdata)
            echo "ISTHMUS_POSTGRES_IMAGE=$image" >>build/stack.env ;;
        obs)
            image=$(image_of prom/prometheus:v2.53.4 isthmus-prometheus:bookworm prometheus,tzdata)
            echo "ISTHMUS_PROMETHEUS_IMAGE=$image" >>build/stack.env ;;
        chaos) ;;
        *) say "there is no profile $profile; there are chaos, obs and postgres" >&2 && exit 1 ;;
    esac
done
say "ready: $(tr '\n' ' ' <build/stack.env)"
