"""Folders of unpacked bundles go with their processes, however those end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runtime.unpacking import TemporaryFolder, remove_abandoned

HOLD = "from runtime.unpacking import TemporaryFolder as T; made = T(); print(made.path, flush=True); input()"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_when_it_is_closed_and_once_only(temporary: Path) -> None:
    folder = TemporaryFolder()
    (folder.path / "segment_0.onnx").write_bytes(b"graph")
    folder.close()
    folder.close()
    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_has_left_goes_and_what_a_living_one_holds_stays(temporary: Path) -> None:
    around = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
    running = subprocess.Popen(
        [sys.executable, "-c", HOLD], env=around, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with running:
        assert running.stdout is not None
        left = Path(running.stdout.readline().strip())
        assert left.parent == temporary
        ours = TemporaryFolder()
        remove_abandoned(young_s=0.0)
        assert left.is_dir(), "its process lives"
        running.send_signal(signal.SIGKILL)
    remove_abandoned()
    assert left.is_dir(), "it may be one whose owner has just made it"
    remove_abandoned(young_s=0.0)
    assert not left.exists()
    assert ours.path.is_dir()
    ours.close()


def test_links_and_files_of_that_name_are_left_alone(temporary: Path) -> None:
    elsewhere = temporary / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("x")
    (temporary / "isthmus-bundle-link").symlink_to(elsewhere)
    (temporary / "isthmus-bundle-file").write_text("x")
    remove_abandoned(young_s=0.0)
    assert (elsewhere / "kept").exists()
    assert (temporary / "isthmus-bundle-file").exists()
