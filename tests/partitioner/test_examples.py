"""The examples run as they are and write bundles that open."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from runtime.bundle import Bundle

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
QUICKEST = "segmentation.py"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.name, marks=pytest.mark.slow if path.name == QUICKEST else pytest.mark.long)
        for path in sorted(EXAMPLES.glob("*.py"))
    ],
)
def test_an_example_runs_and_its_bundle_opens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, str(tmp_path)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    (written,) = tmp_path.glob("*.bundle")
    with Bundle.open(written) as bundle:
        bundle.verify_all()
    told = capsys.readouterr().out
    assert told
    if name == "segmentation.py":
        assert "agreement with the whole model: 1.0000 mean IoU" in told
