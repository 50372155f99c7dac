#!/usr/bin/env bash
# Makes sure that there is a container engine and that the images of the stack exist, from whatever can be reached.
#
#   compose/prepare.sh          # what is missing
#   compose/prepare.sh --build  # the two images anew, too
#
# Without an engine, and as root on Debian: installs docker.io and docker-compose, and starts dockerd (its process id
# is in build/dockerd.pid; `python3 compose/stack.py down --engine` ends it). Without an image registry: makes the base
# images from Debian packages (mmdebstrap, no daemon of anyone's needed) and the wheels here. Writes build/stack.env:
# the images that the stack runs with. PYTHON is used for pip alone.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
BASE=python:3.11-slim-bookworm
BROKER=eclipse-mosquitto:2.0.22
TIER=isthmus-tier:0.1.0
DEVICE=isthmus-device:0.1.0
LOCAL_BASE=isthmus-base:bookworm
LOCAL_BROKER=isthmus-broker:bookworm
export DOCKER_BUILDKIT=1

say() { printf 'prepare: %s\n' "$*"; }
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "$* is missing; install it, or run this as root on Debian" >&2
        exit 1
    fi
    say "installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@" >build/apt.log 2>&1 ||
        { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive \
            apt-get install --yes --quiet --no-install-recommends "$@"; } >build/apt.log 2>&1
}

ensure_engine() {
    docker ps >/dev/null 2>&1 && return
    command -v dockerd >/dev/null || install_packages docker.io docker-compose iptables
    say "starting dockerd"
    setsid dockerd >build/dockerd.log 2>&1 </dev/null &
    echo $! >build/dockerd.pid
    for _ in $(seq 120); do
        docker ps >/dev/null 2>&1 && return
        kill -0 "$(cat build/dockerd.pid)" 2>/dev/null || break
        sleep 0.5
    done
    tail -5 build/dockerd.log >&2
    say "dockerd did not start; build/dockerd.log says why" >&2
    exit 1
}

# A root folder of Debian packages, unpacked but not configured: no package manager and no daemon in the image.
from_packages() {
    local image=$1 packages=$2
    command -v mmdebstrap >/dev/null || install_packages mmdebstrap
    say "making $image from Debian packages"
    mmdebstrap --quiet --variant=extract --mode=root --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --include="base-files,coreutils,dash,libc6,$packages" bookworm build/root.tar >build/base.log 2>&1 ||
        { tail -5 build/base.log >&2 && exit 1; }
    docker import build/root.tar "$image" >/dev/null
    rm build/root.tar
}

ensure_base() {
    if have_image $LOCAL_BASE || ! { have_image $BASE || timeout 60 docker pull --quiet $BASE >/dev/null 2>&1; }; then
        have_image $LOCAL_BASE || from_packages $LOCAL_BASE libgcc-s1,libstdc++6,python3
        BASE=$LOCAL_BASE
    fi
    if have_image $LOCAL_BROKER || ! { have_image $BROKER || timeout 60 docker pull --quiet $BROKER >/dev/null 2>&1; }; then
        have_image $LOCAL_BROKER || from_packages $LOCAL_BROKER mosquitto,mosquitto-clients
        BROKER=$LOCAL_BROKER
    fi
}

# Wheels of everything, so that the build of the images needs no network; from what is there already, if that is enough.
ensure_wheels() {
    say "gathering wheels in build/wheels"
    mkdir -p build/wheels
    rm -f build/wheels/isthmus-*.whl
    "$PYTHON" -m pip --version >/dev/null 2>&1 || { "$PYTHON" -m venv build/venv && PYTHON=build/venv/bin/python; }
    local wheel=("$PYTHON" -m pip --disable-pip-version-check wheel --quiet --find-links build/wheels
        --wheel-dir build/wheels --constraint constraints.txt '.[control]' pip hatchling)
    "${wheel[@]}" --no-index 2>/dev/null || "${wheel[@]}"
}

build_image() {
    say "building $2 on $BASE"
    docker build --quiet --file compose/Dockerfile --target "$1" --tag "$2" \
        --build-arg BASE=$BASE --build-arg WHEELS="$WHEELS" "${NETWORK[@]}" . >/dev/null
}

mkdir -p build
ensure_engine
# Debian's client has BuildKit built in; another one before it in PATH may be without its buildx plugin.
docker buildx version >/dev/null 2>&1 || PATH=/usr/bin:$PATH
ensure_base
if [ "${1:-}" = --build ] || ! have_image $TIER || ! have_image $DEVICE; then
    WHEELS=index NETWORK=()
    if [ $BASE = $LOCAL_BASE ]; then
        WHEELS=folder NETWORK=(--network none)
        ensure_wheels
    fi
    build_image device $DEVICE
    build_image tier $TIER
fi
printf 'ISTHMUS_TIER_IMAGE=%s\nISTHMUS_DEVICE_IMAGE=%s\nISTHMUS_BROKER_IMAGE=%s\n' $TIER $DEVICE $BROKER >build/stack.env
say "ready: $TIER, $DEVICE, $BROKER"
