# needs: root ip
# A link that loses packets, between two namespaces; and a scenario on one of the kernel's.
anew packets
shown testbed.md "seed = 1" >link.toml
digits_bundle digits.bundle
printf 'bundles = ["digits.bundle"]\n' >cloud.toml
python -m testbed.packets link.toml
far=$(python -c "import json, sys; print(json.loads(sys.stdin.readline())['far'])" <stays-0.log)
ip() { stay "$(type -P ip)" "$1" "$2" "${3/NAMESPACE/$far}" "$(type -P "$4")" "${@:5}"; }
ip netns exec NAMESPACE isthmus cloud cloud.toml
stop
python -m testbed.packets clean

unset -f ip
isthmus testbed compare satellite --backend netns --backend simulated
