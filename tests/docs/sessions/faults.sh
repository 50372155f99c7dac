# Scenarios with faults, against the real programs.
anew faults
isthmus testbed run edge-crash --set fault.crash.for_s=8 --repeat 3
test -f runs/testbed/edge-crash-1/report.html
isthmus testbed compare edge-crash frozen-edge --repeat 5
isthmus testbed compare satellite --backend process --backend simulated
