"""Bookings against independent, slower models of the same link."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.link.capacity import Steps, constant
from testbed.link.settings import DirectionSettings
from testbed.link.traces import Opportunities, read_trace

packets = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 1500)), min_size=1, max_size=30)


def _mahimahi(times_ms: list[int], arrivals: list[tuple[int, int]]) -> list[float]:
    """Mahimahi's link queue, opportunity by opportunity: leaving times in seconds for (arrival in ms, bytes)."""
    waiting = [[float(at_ms), size] for at_ms, size in arrivals]
    left: list[float] = []
    base = 0
    while len(left) < len(arrivals):
        for time_ms in times_ms:
            chance = 1500
            while len(left) < len(arrivals) and chance and waiting[len(left)][0] <= base + time_ms:
                taken = min(chance, waiting[len(left)][1])
                waiting[len(left)][1] -= taken
                chance -= taken
                if not waiting[len(left)][1]:
                    left.append((base + time_ms) / 1000)
        base += times_ms[-1]
    return left


@given(
    times_ms=st.lists(st.integers(0, 200), min_size=1, max_size=20).filter(lambda times: max(times) > 0).map(sorted),
    gaps=packets,
)
def test_a_trace_delivers_as_mahimahi_does(times_ms: list[int], gaps: list[tuple[int, int]]) -> None:
    arrivals = list(zip(np.cumsum([gap for gap, _ in gaps]).tolist(), [size for _, size in gaps], strict=True))
    link = Opportunities(np.array(times_ms) / 1000, times_ms[-1] / 1000)
    booked = [link.book(at_ms / 1000, size) for at_ms, size in arrivals]
    assert booked == pytest.approx(_mahimahi(times_ms, arrivals), abs=1e-6)


@given(
    steps=st.lists(st.tuples(st.integers(1, 50), st.sampled_from([0, 1000, 8000, 123_000])), min_size=1, max_size=6),
    gaps=packets,
)
def test_steps_carry_the_integral_of_the_rate(steps: list[tuple[int, int]], gaps: list[tuple[int, int]]) -> None:
    link = Steps([(seconds / 10, rate) for seconds, rate in steps])
    at_s, free_s = 0.0, 0.0
    for gap_ms, size in gaps:
        at_s += gap_ms / 1000
        finish = link.book(at_s, size)
        if math.isinf(finish):
            assert steps[-1][1] == 0
            return
        assert link.offered_bytes(max(at_s, free_s), finish) == pytest.approx(size, rel=1e-6, abs=1e-6)
        free_s = finish


def test_idle_time_is_not_saved_up() -> None:
    link = constant(8000)
    assert link.book(0, 1000) == 1
    assert link.book(100, 1000) == 101
    assert link.book(100.5, 1000) == 102


def test_a_link_that_stays_dead_never_delivers() -> None:
    link = Steps([(1, 8000), (1, 0)])
    assert link.book(0, 500) == 0.5
    assert link.book(0, 1000) == math.inf
    assert link.book(5, 1) == math.inf


def test_a_window_of_a_trace_starts_at_zero(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text("500\n1000\n1000\n1500\n2500\n3000\n")
    link = read_trace(trace, from_s=1, to_s=2)
    assert [link.book(0, 1500) for _ in range(5)] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])
    assert link.offered_bytes(0, 1) == 4500
    assert link.offered_bytes(0.25, 1.25) == 4500
    assert read_trace(trace).period_s == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("1\ntwo\n3\n", "line 2: 'two'"),
        ("1\n\n3\n", "line 2: ''"),
        ("1\n-2\n", "line 2: '-2'"),
        ("1\n2.5\n", "line 2: '2.5'"),
        ("5\n4\n", "line 2: 4 comes after 5"),
        ("0\n0\n", "line 2: the last time is 0"),
        ("9" * 400, "line 1"),
    ],
)
def test_a_malformed_trace_is_named_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    trace = tmp_path / "broken.up"
    trace.write_text(text)
    with pytest.raises(TraceError) as caught:
        read_trace(trace)
    assert told in str(caught.value)
    assert "broken.up" in str(caught.value)
    assert caught.value.exit_code == 6


def test_a_missing_or_binary_trace_is_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"there is no trace file .*nothing\.up"):
        DirectionSettings(kind="trace", path=tmp_path / "nothing.up").capacity()
    (tmp_path / "binary").write_bytes(b"\xff\x00")
    with pytest.raises(TraceError, match="cannot be read as text"):
        read_trace(tmp_path / "binary")


@pytest.mark.parametrize(("from_s", "to_s", "told"), [(3, 2, "no window"), (0, 99, "lasts 3 s"), (1.1, 1.4, "nothing")])
def test_a_window_outside_the_trace_is_refused(tmp_path: Path, from_s: float, to_s: float, told: str) -> None:
    trace = tmp_path / "trace"
    trace.write_text("1000\n2000\n3000\n")
    with pytest.raises(TraceError, match=told):
        read_trace(trace, from_s=from_s, to_s=to_s)
