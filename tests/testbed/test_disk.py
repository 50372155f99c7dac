"""A disk that is full or slow for one program, seen from inside that program."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import disk
from testbed.disk import Disk, DiskError, DiskState
from testbed.processes import Child, Children

pytestmark = pytest.mark.skipif(bool(disk.why_not()), reason=disk.why_not())

WRITER = """
import json, os, sqlite3, sys, time
folder, elsewhere = sys.argv[1:]
file = open(os.path.join(folder, "plain"), "wb", buffering=0)
base = sqlite3.connect(os.path.join(folder, "base.db"), isolation_level=None)
base.execute("PRAGMA journal_mode = WAL")
base.execute("PRAGMA synchronous = FULL")
base.execute("CREATE TABLE rows (one TEXT)")
def tried(act):
    try:
        act()
    except OSError as exc:
        return exc.errno
    except sqlite3.OperationalError as exc:
        return str(exc)
    return "written"
print(json.dumps({"event": "ready"}), flush=True)
for line in sys.stdin:
    began = time.monotonic()
    found = {"plain": tried(lambda: file.write(b"x")), "took_s": time.monotonic() - began,
             "base": tried(lambda: base.execute("INSERT INTO rows VALUES ('x')")),
             "other": tried(lambda: open(elsewhere, "ab", buffering=0).write(b"x")),
             "flush": tried(lambda: os.fsync(file.fileno()))}
    print(json.dumps({"event": "tried", **found}), flush=True)
"""


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[tuple[Disk, Child]]:
    """A program that writes to the disk and to another place whenever it is told to."""
    made = Disk(tmp_path / "card.disk")
    (tmp_path / "writer.py").write_text(WRITER)
    arguments = [sys.executable, "-m", *made.through, "writer", str(made.folder), str(tmp_path / "elsewhere")]
    with Children(tmp_path / "logs") as children:
        yield made, children.start("writer", arguments, environment={"PYTHONPATH": str(tmp_path)})


def _tried(child: Child) -> dict[str, object]:
    child.tell("try")
    return child.event("tried", 60)


def test_a_full_disk_refuses_writes_below_its_folder_and_nowhere_else(writer: tuple[Disk, Child]) -> None:
    made, child = writer
    assert _tried(child)["plain"] == "written"
    made.become(DiskState(full=True))
    found = _tried(child)
    assert (found["plain"], found["other"], found["flush"]) == (errno.ENOSPC, "written", "written")
    assert found["base"] == "database or disk is full"
    made.become(DiskState())
    found = _tried(child)
    assert (found["plain"], found["base"]) == ("written", "written")


def test_a_slow_disk_takes_at_least_so_much_longer(writer: tuple[Disk, Child]) -> None:
    made, child = writer
    made.become(DiskState(longer_s=0.15))
    found = _tried(child)
    assert (found["plain"], found["base"]) == ("written", "written")
    took_s = found["took_s"]
    assert isinstance(took_s, float)
    assert took_s >= 0.15


def test_without_a_compiler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_compiler", lambda: None)
    with pytest.raises(DiskError, match="need a C compiler"):
        Disk(tmp_path / "card.disk")
