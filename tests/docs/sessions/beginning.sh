# What every session begins with.
#
# A session is a script in which commands stand as the pages show them, line by line, between what their reader has at
# that point: files, and programs that run. Names of machines, folders of the system and ports are exchanged for some of
# this test's own (tests/docs/playing.py); so are amounts that cost nothing but time.
set -euo pipefail

trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
set -E
trap 'echo "failed: $BASH_COMMAND"' ERR

export ISTHMUS_CONTROL=http://127.0.0.1:7300 ISTHMUS_BROKER=127.0.0.1:1883
declare -A called=() # what a page calls something, and what it is called here
staying=()

# A program that goes on until it is stopped: comes back when it says that it is ready.
stay() {
    local log=$PWD/stays-${#staying[@]}.log
    : >"$log" # one of before may say what this one has not said yet
    "$@" >>"$log" 2>&1 <&3 &
    staying+=($!)
    until grep -q '"event": *"ready"' "$log"; do
        kill -0 $! 2>/dev/null || { echo "ended at once: $*" && cat "$log" && return 1; }
        sleep 0.1
    done
}

# Ends the programs that stay.
stop() {
    [ ${#staying[@]} -gt 0 ] || return 0
    kill "${staying[@]}" 2>/dev/null || true
    wait "${staying[@]}" 2>/dev/null || true
    staying=()
}

# A new empty folder, with nothing running.
anew() {
    stop
    mkdir "$HOME/$1"
    cd "$HOME/$1"
    mkdir -p var etc
}

# Whether a command has run though its exit code is not 0: 1 of a scenario says that what it expects does not hold, which
# a busy machine decides.
ran() { [[ "$1 $2" = "1 testbed "* ]] || { echo "exit code $1: isthmus $2" && return 1; }; }

isthmus() {
    local words=() word run=()
    for word in "$@"; do words+=("${called["$word "]:-$word}"); done
    case " ${words[*]} " in
        *" --check "* | *" --schema "* | *" --admin "* | *" --backup "* | *" --restore "* | *" --json "*) ;;
        " edge "* | " cloud "* | " control "*) run=(stay) ;;
        " enroll serve "*) run=(stay) words+=(--port 7299) ;;
        " notices listen "*) words+=(--messages 1) ;;
        " top "*) run=(timeout --preserve-status --signal INT 12 env --default-signal=INT) ;;
        " train builtin "*) words+=(--scale 0.002) ;;
    esac
    "${run[@]}" "$(type -P isthmus)" "${words[@]}" || ran $? "${words[*]}"
}

python() {
    local run=()
    case "$*" in
        "-m testbed.packets clean") ;;
        "-m testbed.link "* | "-m testbed.packets "*) run=(stay) ;;
    esac
    "${run[@]}" "$(type -P python)" "$@"
}

# The block of a page in docs/ that begins so, as a file of the reader's.
shown() {
    sed -E -f "$EXCHANGED" "$ROOT/docs/$1" | awk -v first="$2" '
        /^```/ { inside = !inside; fresh = inside; found = 0; next }
        fresh { found = index($0, first) == 1; fresh = 0 }
        found' | grep .
}

# The built-in bundle, under a shorter name.
digits_bundle() {
    cp -r "$ROOT/isthmus/builtin/digits.bundle" "$1"
    python - "$1" "${2-0}" <<'END'
import json, pathlib, sys
path = pathlib.Path(sys.argv[1], "manifest.json")
path.write_text(json.dumps(json.loads(path.read_text()) | {"model_id": "digits", "counter": int(sys.argv[2])}))
END
}
