"""`python -m cloud CONFIG.toml [key=value ...]`."""

import sys

from cloud.program import run
from cloud.settings import load
from serving.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load, run))
