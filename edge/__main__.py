"""`python -m edge CONFIG.toml [key=value ...]`."""

import sys

from edge.program import run
from edge.settings import load
from serving.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load, run))
