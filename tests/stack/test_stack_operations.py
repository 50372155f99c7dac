"""Every command of the page of operations works as it is shown, on a running stack."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.playing import played, surroundings
from tests.stack.engine import needs_an_engine

pytestmark = [*needs_an_engine, pytest.mark.usefixtures("running")]
SCRIPT = Path(__file__).with_name("operations.sh")


def test_commands_of_the_pages_work_as_they_are_shown(tmp_path: Path) -> None:
    around = surroundings(tmp_path) | {"ROOT": str(ROOT), "PYTHON": os.environ.get("PYTHON", "python3")}
    done = played("set -euxo pipefail\n" + SCRIPT.read_text(encoding="utf-8"), tmp_path, around, patience_s=900)
    assert done.returncode == 0, done.stdout[-6000:]
