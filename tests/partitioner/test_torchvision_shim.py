"""The schema declaration that lets torchvision load beside a CPU-only torch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest


@pytest.mark.skipif(importlib.util.find_spec("compressai") is None, reason="the train extra is not installed")
@pytest.mark.slow
def test_compressai_imports_after_the_declaration() -> None:
    program = (
        "from partitioner.torchvision_shim import declare_missing_operators as declare\n"
        "declare(); import compressai.entropy_models; assert declare() is False; print('imported')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout.strip() == "imported", done.stderr
