"""The spool by itself: durable, bounded, ordered, and indifferent to clocks and damage."""

import os
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from device.errors import SpoolError, SpoolFull
from device.spool import Spool, SpoolLimits

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def noise(size: int = 1000) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "spool.db"


def opened(path, *, max_bytes=1 << 20, max_age_s=3600.0, clock=None, wall=None) -> Spool:
    return Spool(path, SpoolLimits(max_bytes, max_age_s), clock=clock or Clock(0.0), wall=wall or Clock(1e9))


def keys_in_order(spool) -> list[str]:
    taken: list[str] = []
    while (kept := spool.best(taken)) is not None:
        taken.append(kept.key)
    return taken


def test_what_was_kept_comes_back_unchanged_after_reopening(path):
    content = np.random.default_rng(1).standard_normal((3, 5, 7)).astype(np.float32)
    spool = opened(path)
    spool.keep("a", "shot.png", content, value=0.3)
    spool.close()
    kept = opened(path).best()
    assert kept is not None
    assert (kept.key, kept.name, kept.value, kept.captured_at) == ("a", "shot.png", 0.3, 1e9)
    assert np.array_equal(kept.content, content)
    assert kept.content.dtype == content.dtype


def test_the_database_is_as_durable_as_promised(path):
    spool = opened(path)
    spool.keep("a", "n", noise())
    assert spool._database.execute("PRAGMA synchronous").fetchone() == (2,), "FULL"
    assert spool._database.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_most_value_first_then_least_tried_then_oldest(path):
    clock = Clock(0.0)
    spool = opened(path, clock=clock)
    for key, value in (("low", 0.1), ("old", 0.5), ("new", 0.5), ("high", 0.9)):
        clock.now += 1
        spool.keep(key, key, noise(), value=value)
    assert keys_in_order(spool) == ["high", "old", "new", "low"]
    spool.failed("old")
    assert keys_in_order(spool) == ["high", "new", "old", "low"]


def test_a_key_is_kept_once(path):
    spool = opened(path)
    spool.keep("a", "first", noise())
    spool.keep("a", "second", noise())
    assert len(spool) == 1
    assert spool.best().name == "first"


def test_a_full_spool_throws_out_least_value_first_and_nothing_promised(path):
    clock = Clock(0.0)
    spool = opened(path, max_bytes=4 * 1500, clock=clock)
    for key, value, promised in (("p", 0.0, True), ("b", 0.2, False), ("c", 0.2, False), ("d", 0.8, False)):
        clock.now += 1
        spool.keep(key, key, noise(), value=value, promised=promised)
    spool.keep("e", "e", noise(), value=0.5, promised=False)
    assert keys_in_order(spool) == ["d", "e", "c", "p"], "b was the oldest of least value"
    with pytest.raises(SpoolFull, match=r"spool\.max_bytes"):
        spool.keep("f", "f", noise(), value=0.1, promised=True)
    assert spool.counts["thrown out"] == 1
    assert spool.bytes <= 4 * 1500


def test_what_outlives_its_use_goes(path):
    clock = Clock(0.0)
    spool = opened(path, max_age_s=10.0, clock=clock)
    spool.keep("a", "a", noise())
    clock.now = 9.0
    assert spool.best() is not None
    clock.now = 11.0
    assert spool.best() is None
    assert spool.counts["outlived"] == 1


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0])
def test_a_clock_that_jumps_throws_nothing_out(path, jump_s):
    clock, wall = Clock(0.0), Clock(1e9)
    spool = opened(path, max_age_s=60.0, clock=clock, wall=wall)
    spool.keep("a", "a", noise())
    wall.now += jump_s
    clock.now += 1.0
    spool.keep("b", "b", noise())
    assert keys_in_order(spool) == ["a", "b"]
    clock.now += 61.0
    assert keys_in_order(spool) == [], "and keeps nothing for ever"


def test_a_wall_clock_set_back_between_two_runs_keeps_the_age(path):
    first = opened(path, max_age_s=60.0)
    first.keep("a", "a", noise())
    first.close()
    clock = Clock(5.0)
    second = opened(path, max_age_s=60.0, clock=clock, wall=Clock(1e9 - 3600))
    assert second.best() is not None
    clock.now += 61.0
    assert second.best() is None


def test_removed_frames_are_gone_and_their_bytes_with_them(path):
    spool = opened(path)
    for key in "abc":
        spool.keep(key, key, noise())
    spool.remove(["a", "b", "never there"])
    assert keys_in_order(spool) == ["c"]
    spool.remove(["c"])
    assert (len(spool), spool.bytes) == (0, 0)


@pytest.mark.parametrize("harm", ["text", "page"])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(path, harm, caplog):
    spool = opened(path)
    for number in range(40):
        spool.keep(str(number), "n", noise(4000))
    spool._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spool.close()
    data = bytearray(path.read_bytes())
    path.write_bytes(b"this is no database" * 999 if harm == "text" else data[:4096] + b"\xff" * 8192 + data[12288:])
    again = opened(path)
    again.keep("new", "n", noise())
    assert keys_in_order(again) == ["new"]
    assert len(list(path.parent.glob("spool.db.damaged-*"))) == 1
    assert "damaged" in caplog.text


def test_a_second_agent_does_not_get_the_spool_of_the_first(path):
    first = opened(path)
    first.keep("a", "a", noise())
    with pytest.raises(SpoolError, match="another agent writes it; set another spool"):
        opened(path)
    first.close()
    second = opened(path)
    assert keys_in_order(second) == ["a"]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"spool\.path"):
        opened(tmp_path / "file" / "spool.db")


FULL_DISK = """
import resource, sys
import numpy as np
from pathlib import Path
from device.errors import SpoolError
from device.spool import Spool, SpoolLimits
spool = Spool(Path(sys.argv[1]), SpoolLimits(), clock=lambda: 0.0)
spool.keep("before", "n", np.arange(10))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
noise = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8)
try:
    spool.keep("too much", "n", noise)
except SpoolError as exc:
    print("refused:", exc)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.keep("after", "n", np.arange(10))
print(sorted(k for k in ("before", "too much", "after") if spool.holds(k)), len(spool))
"""


def test_a_disk_that_fills_up_refuses_and_goes_on_when_there_is_room(path):
    """A limit on file sizes (with SIGXFSZ ignored, as Python does) fails writes as a full disk does."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    refused, held = done.stdout.splitlines()
    assert refused.startswith("refused: the spool"), done.stderr
    assert held == "['after', 'before'] 2"


KEEPER = """
import os, sys
import numpy as np
from pathlib import Path
from device.spool import Spool, SpoolLimits
spool = Spool(Path(sys.argv[1]), SpoolLimits(), clock=lambda: 0.0)
noise = np.random.default_rng(int(sys.argv[2])).integers(0, 256, 30_000, dtype=np.uint8)
for number in range(10**6):
    key = f"{sys.argv[2]}-{number}"
    spool.keep(key, "n", noise)
    os.write(1, key.encode() + b"\\n")
    if number % 3 == 2:
        spool.remove([key])
        os.write(1, b"-" + key.encode() + b"\\n")
"""


def killed_rounds(path: Path, rounds: int, seed: int) -> None:
    """Kill a process that keeps and removes frames, at random moments; what it said was kept has to be there."""
    rng = np.random.default_rng(seed)
    acknowledged: set[str] = set()
    for number in range(rounds):
        process = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(path), str(number)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(rng.uniform(0, 0.05))  # the moment of the kill is the claim's "random"
        process.kill()
        said = (first + process.stdout.read()).decode().splitlines(keepends=True)
        process.wait()
        process.stdout.close()
        for line in (line.strip() for line in said if line.endswith("\n")):
            acknowledged.discard(line[1:]) if line.startswith("-") else acknowledged.add(line)
        removed_unheard = {f"{number}-{index}" for index in range(2, 10**4, 3)}
        spool = opened(path, max_bytes=1 << 30)
        held = set(keys_in_order(spool))
        spool.close()
        assert acknowledged - removed_unheard <= held
        acknowledged &= held
    assert not list(path.parent.glob("*.damaged-*"))
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert acknowledged or rounds == 0


def test_nothing_acknowledged_is_lost_by_kill_9(path):
    killed_rounds(path, 2, seed=os.getpid())


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_nothing_acknowledged_is_lost_by_many_kill_9(path):
    killed_rounds(path, 100, seed=os.getpid())
