"""What the reader of docs/testbed.md has: a run of the scenario."""

import subprocess
import sys
from pathlib import Path

command = [Path(sys.executable).with_name("isthmus"), "testbed", "run", "elevator", "--backend", "simulated"]
subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # what the scenario expects may not hold
