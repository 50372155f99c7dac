# Scenarios, in real and in simulated time, and fleets.
anew testbed
shown testbed.md "[uplink]" >link.toml
seq 4 4 900000 >ATT-LTE-driving.up # a packet every 4 ms
python -m testbed.link link.toml
stop

isthmus testbed list
isthmus testbed show elevator
isthmus testbed calibrate --output timings.json
isthmus testbed run office-wifi --backend simulated
isthmus testbed run office-wifi --backend simulated --timings timings.json
isthmus testbed run elevator
test -f runs/testbed/elevator-1/report.html
isthmus testbed sweep tunnel --over device.camera.policy.name=deadline,neurosurgeon --backend simulated
isthmus testbed sweep tunnel --over device.camera.policy.name=deadline,neurosurgeon --repeat 3
isthmus testbed clean

isthmus capacity --devices 50000 --goal 0.25
isthmus capacity --devices 2000 --rate 10 --run runs/testbed/elevator-1
isthmus capacity --devices 10000 --devices 50000 --devices 100000
isthmus capacity --devices 20000 --over rate_hz=1,2,5 --over cell_bps=1e7,2e7
