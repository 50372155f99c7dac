"""What the reader of docs/device.md has: a model that keeps state, and an edge in front of a cloud that run it."""

import atexit
import subprocess
import sys
from pathlib import Path

from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from tests.runtime import recurrent_bundle


def started(tier: str, *settings: str) -> None:
    words = [f"--set={one}" for one in ("bundles=['recurrent.isthmus']", *settings)]
    command = [Path(sys.executable).with_name("isthmus"), tier, *words]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(running.kill)
    assert running.stdout is not None
    assert '"ready"' in running.stdout.readline()


path = recurrent_bundle.build(Path())
started("cloud", "listen.port=7202")
started("edge", "listen.port=7201", "cloud.target=127.0.0.1:7202")
bundle, engine = Bundle.open(path), OnnxRuntimeEngine()
token = recurrent_bundle.items(1, 0)[0]
