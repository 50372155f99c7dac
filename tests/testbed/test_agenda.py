"""Faults on hand-made programs: what is done when, and what programs notice."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import pytest

from testbed.backends.agenda import Agenda
from testbed.disk import DiskState
from testbed.processes import Child, Children
from testbed.scenarios.faults import Fault, Occurrence
from testbed.scenarios.faults.clock import Clock
from testbed.scenarios.faults.kill import Kill
from testbed.scenarios.faults.steal import Steal
from testbed.shifted import ShiftedClock

COUNTING = """
import json, sys, time
print(json.dumps({"event": "ready"}), flush=True)
for line in sys.stdin:
    print(json.dumps({"event": "heard"}), flush=True)
"""


class Noted:
    """A stage that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def programs(self, target: str) -> list[Child]:
        self.asked.append(("programs", target))
        return []

    def kill(self, target: str) -> None:
        self.asked.append(("kill", target))

    def start(self, target: str) -> None:
        self.asked.append(("start", target))

    def start_with_bad_bundle(self, tier: str) -> None:
        self.asked.append(("bad", tier))

    def jump(self, target: str, seconds: float) -> None:
        self.asked.append(("jump", target, seconds))

    def set_disk(self, target: str, state: DiskState) -> None:
        self.asked.append(("disk", target, state))

    def starve(self, tier: str, spare_bytes: int) -> None:
        self.asked.append(("starve", tier, spare_bytes))

    def feed(self, tier: str) -> None:
        self.asked.append(("feed", tier))

    def turn_bit(self, target: str) -> None:
        self.asked.append(("bit", target))

    def expire(self, tier: str) -> None:
        self.asked.append(("expire", tier))

    def renew(self, tier: str) -> None:
        self.asked.append(("renew", tier))


FAULTS: dict[str, Fault] = {
    "crash": Kill(kind="kill", target="edge", at_s=1, for_s=2),
    "gone": Kill(kind="kill", target="cloud", at_s=2),
    "ahead": Clock(kind="clock", target="edge", at_s=2.5, jump_s=60),
    "thief": Steal(kind="steal", target="cloud", share=0.5, at_s=4, for_s=9),
}


def _occurrences() -> list[Occurrence]:
    return [Occurrence(name, one.at_s or 0.0, None if one.for_s is None else (one.at_s or 0.0) + one.for_s, one.told)
            for name, one in FAULTS.items()]  # fmt: skip


def test_faults_begin_and_end_in_order_of_time_and_none_stays_open() -> None:
    stage, told = Noted(), list[str]()
    agenda = Agenda(FAULTS, _occurrences(), stage, told.append)
    agenda.do(0.99)
    assert (stage.asked, agenda.next_s) == ([], 1)
    agenda.do(1.02)
    assert stage.asked == [("kill", "edge")]
    agenda.do(3.1)
    assert stage.asked[1:] == [("kill", "cloud"), ("jump", "edge", 60), ("start", "edge")]
    agenda.do(4.5)
    agenda.close(6.0)
    assert stage.asked[4:] == [("programs", "cloud"), ("programs", "cloud")]
    assert agenda.next_s == math.inf
    happened = {one.name: (one.begins_s, one.ends_s) for one in agenda.happened}
    assert happened == {"crash": (1.02, 3.1), "gone": (3.1, None), "ahead": (3.1, None), "thief": (4.5, 6.0)}
    assert told[0] == "1.0 s: kill edge"


def _answers(child: Child, timeout_s: float) -> bool:
    child.tell("hello")
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if child.has_said("heard"):
            return True
        time.sleep(0.01)
    return False


def test_a_paused_program_is_silent_until_it_is_resumed(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("ear", [sys.executable, "-c", COUNTING])
        child.pause()
        assert not _answers(child, 0.5)
        child.resume()
        child.event("heard", 60)


def test_a_paused_or_slowed_program_still_ends_when_it_is_told_to(tmp_path: Path) -> None:
    with Children(tmp_path, grace_s=30) as children:
        paused = children.start("paused", [sys.executable, "-c", COUNTING])
        slowed = children.start("slowed", [sys.executable, "-c", COUNTING])
        paused.pause()
        slowed.slow_down(0.9)
        assert _answers(slowed, 60)
    assert (paused.exit_code, slowed.exit_code) == (-15, -15)


def _is_stopped(child: Child) -> bool:
    return Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def _seen(child: Child, stopped: bool) -> bool:
    """Whether the kernel says within a minute that the program is stopped, or is not."""
    deadline_s = time.monotonic() + 60
    while _is_stopped(child) is not stopped and time.monotonic() < deadline_s:
        time.sleep(0.0017)
    return time.monotonic() < deadline_s


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the state of a process is read from /proc")
def test_stolen_time_comes_in_turns_and_ends(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("ear", [sys.executable, "-c", COUNTING])
        child.slow_down(0.5)
        for _ in range(5):
            assert _seen(child, stopped=True)
            assert _seen(child, stopped=False)
        child.resume()
        assert not any(_is_stopped(child) for _ in range(100))


def test_a_shifted_clock_goes_on_from_where_it_was_put(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    clock = ShiftedClock(offset, lambda: 5_000_000_000)
    assert (clock.time(), clock.time_ns()) == (5.0, 5_000_000_000)
    offset.write_text("-2.5")
    clock.read()
    assert (clock.time(), clock.time_ns()) == (2.5, 2_500_000_000)


def test_only_the_wall_clock_of_a_program_jumps(tmp_path: Path) -> None:
    (tmp_path / "watch.py").write_text(
        "import json, sys, time\n"
        'print(json.dumps({"event": "ready", "arguments": sys.argv[1:]}), flush=True)\n'
        "for line in sys.stdin:\n"
        '    print(json.dumps({"event": "time", "wall": time.time(), "steady": time.monotonic()}), flush=True)\n'
    )
    offset = tmp_path / "offset"
    arguments = [sys.executable, "-m", "testbed.shifted", str(offset), "watch", "one"]
    with Children(tmp_path) as children:
        child = children.start("watch", arguments, environment={"PYTHONPATH": str(tmp_path)})
        assert child.ready["arguments"] == ["one"]
        child.tell("now")
        before = child.event("time", 60)
        offset.write_text("86400")
        child.notify()
        deadline_s = time.monotonic() + 60
        ahead_s = 0.0
        while ahead_s < 80_000 and time.monotonic() < deadline_s:
            child.tell("now")
            after = child.event("time", 60)
            ahead_s = (after["wall"] - before["wall"]) - (after["steady"] - before["steady"])
        assert ahead_s == pytest.approx(86_400, abs=5)


HUNGRY = """
import json, sys
print(json.dumps({"event": "ready"}), flush=True)
for line in sys.stdin:
    try:
        bytearray(200 << 20)
        found = "had it"
    except MemoryError:
        found = "was refused"
    print(json.dumps({"event": "asked", "found": found}), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="what a process has mapped is read from /proc")
def test_a_program_gets_no_memory_beyond_its_limit_until_that_is_lifted(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("hungry", [sys.executable, "-c", HUNGRY])
        found = []
        for spare_bytes in (None, 20 << 20, None):
            child.limit_memory(spare_bytes)
            child.tell("ask")
            found.append(child.event("asked", 60)["found"])
        assert found == ["had it", "was refused", "had it"]
        child.kill()
        child.limit_memory(0)
