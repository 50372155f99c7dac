# The demo, what it leaves, and a benchmark.
anew demo
seq 4 4 900000 >ATT-LTE-driving.up # a packet every 4 ms
isthmus demo
isthmus demo --json --seconds 12
isthmus explain run runs/demo/adaptive.history.jsonl --link runs/demo/adaptive.link.jsonl --plot run.svg
isthmus demo --trace ATT-LTE-driving.up --window 770:880
isthmus bench codec --json
