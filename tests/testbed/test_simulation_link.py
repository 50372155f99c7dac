"""Supplies and the simulated queue against the emulator's own booking, and against plain arithmetic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import TraceError
from testbed.link.capacity import Steps
from testbed.link.traces import read_trace
from testbed.simulation.supply import NEVER_S, Supply, steps
from testbed.simulation.traces import read_supply
from testbed.simulation.uplink import Line, Queued, Uplink

PARTS = [(1.0, 80e3), (0.5, 0.0), (2.0, 8e3), (50.0, 400e3)]
messages = st.lists(
    st.tuples(st.integers(0, 400).map(lambda ms: ms / 1e3 + 1e-5), st.integers(1, 5000)), min_size=1, max_size=20
)
parts = st.tuples(st.integers(1, 2000).map(lambda ms: ms / 1e3), st.integers(0, 10_000).map(float))


@given(messages)
def test_a_queue_over_steps_books_as_the_emulated_link_does(course: list[tuple[float, int]]) -> None:
    emulated, uplink, now_s = Steps(PARTS), Uplink(Line(steps(PARTS)), 0.0), 0.0
    for number, (later_s, size) in enumerate(course):
        now_s += later_s
        assert uplink.send(number, size, now_s).leaves_s == pytest.approx(emulated.book(now_s, size), abs=1e-6)


@given(messages)
def test_a_queue_over_packet_times_books_as_the_emulated_link_does(course: list[tuple[float, int]]) -> None:
    path = Path(__file__).parent / "packets.up"
    emulated, uplink, now_s = read_trace(path), Uplink(Line(read_supply(path).window(0.0, 2.0)), 0.0), 0.0
    for number, (later_s, size) in enumerate(course):
        now_s = min(now_s + later_s, 1.0)
        left_s = emulated.book(now_s, size)
        if left_s < 1.9:
            assert uplink.send(number, size, now_s).leaves_s == pytest.approx(left_s, abs=1e-6)


@given(st.lists(parts, min_size=1, max_size=10), st.integers(0, 20_000).map(lambda ms: ms / 1e3))
def test_when_is_the_first_time_by_which_so_much_was_offered(course: list[tuple[float, float]], time_s: float) -> None:
    supply = Supply(
        np.concatenate(([0.0], np.cumsum([seconds for seconds, _ in course]))),
        np.concatenate(([0.0], np.cumsum([amount for _, amount in course]))),
    )
    offered = supply.at(time_s)
    assert supply.when(offered) <= time_s + 1e-6
    np.testing.assert_allclose(supply.at_each(np.array([time_s])), [offered])
    np.testing.assert_allclose(supply.when_each(np.array([offered, 1e9])), [supply.when(offered), NEVER_S])


def test_a_window_starts_anew_at_the_end() -> None:
    supply = steps([(1.0, 8e3), (1.0, 0.0)])
    window = supply.window(1.5, 3.0)
    assert [window.at(time_s) for time_s in (0.5, 1.0, 1.5, 2.5, 3.0)] == pytest.approx([0, 500, 1000, 1000, 1500])


def test_bytes_that_were_taken_back_let_the_next_leave_earlier() -> None:
    moved: list[Queued] = []
    uplink = Uplink(Line(steps([(100.0, 8e3)])), 0.0, moved.append)
    first, second = uplink.send("first", 1000, 0.0), uplink.send("second", 500, 0.1)
    assert (first.leaves_s, second.leaves_s) == pytest.approx((1.0, 1.5))
    assert uplink.cancel("first", 0.25) == pytest.approx(250)
    assert moved == [second]
    assert second.leaves_s == pytest.approx(0.75)
    assert uplink.cancel("second", 0.9) == float("inf")


def test_a_message_cut_short_leaves_earlier_and_so_do_those_behind_it() -> None:
    moved: list[Queued] = []
    uplink = Uplink(Line(steps([(10.0, 8e3)])), 0.0, moved.append)  # 1000 bytes a second
    uplink.send("long", 2000.0, 0.0)
    uplink.send("next", 500.0, 0.0)
    assert uplink.left("long", 0.5) == pytest.approx(500.0)
    uplink.shorten("long", 800.0, 0.5)
    assert [(message.key, message.leaves_s) for message in moved] == [
        ("long", pytest.approx(0.8)),
        ("next", pytest.approx(1.3)),
    ]


def test_senders_share_a_line_and_what_one_takes_back_moves_the_others() -> None:
    line, heard = Line(steps([(100.0, 8e3)])), []
    one, other = (
        Uplink(line, 0.0, lambda message, name=name: heard.append((name, message.key))) for name in ("one", "other")
    )
    one.send("frame", 1000, 0.0)
    theirs = other.send("frame", 500, 0.0)
    last = one.send("next", 500, 0.0)
    assert (theirs.leaves_s, last.leaves_s) == pytest.approx((1.5, 2.0))
    assert (one.left("frame", 0.4), other.left("frame", 0.4)) == (pytest.approx(400), 0.0)
    assert one.cancel("frame", 0.4) == pytest.approx(400)
    assert heard == [("other", "frame"), ("one", "next")]
    assert (theirs.leaves_s, last.leaves_s) == pytest.approx((0.9, 1.4))
    assert other.left("next", 0.4) == float("inf"), "a message of somebody else"


def test_what_others_have_in_the_queue_fills_no_window_of_ones_own() -> None:
    line = Line(steps([(100.0, 8e3)]))
    one, other = Uplink(line, 900.0), Uplink(line, 900.0)
    other.send("first", 1000, 0.0)
    one.send("first", 500, 0.0)
    assert one.cancel("first", 0.0) == 500, "it lies in a window that is empty before it"
    one.send("second", 500, 0.0)
    one.send("third", 500, 0.0)
    assert one.cancel("third", 0.0) == 0


def test_what_the_transport_holds_cannot_be_taken_back() -> None:
    uplink = Uplink(Line(steps([(100.0, 8e3)])), 900.0)
    uplink.send("first", 1000, 0.0)
    uplink.send("second", 500, 0.0)
    third = uplink.send("third", 500, 0.0)
    assert uplink.cancel("first", 0.1) == 1000
    assert uplink.cancel("second", 0.0) == 0
    assert third.leaves_s == pytest.approx(1.5)


def test_traces_of_every_form_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("100.0 8\n100.2 16\n101.2 8\n101.4 8\n")
    rows = read_supply(tmp_path / "rows.txt")
    assert rows.at(0.2) == pytest.approx(0.2e6)
    assert rows.at(1.2) == pytest.approx(0.2e6 + 0.3 * 2e6)  # the gap counts as no throughput
    (tmp_path / "bad.txt").write_text("1 x\n2 3\n")
    (tmp_path / "back.txt").write_text("2 1\n1 3\n")
    with pytest.raises(TraceError, match="not numbers"):
        read_supply(tmp_path / "bad.txt")
    with pytest.raises(TraceError, match="no trace file"):
        read_supply(tmp_path / "none.txt")
    with pytest.raises(TraceError, match="in order"):
        read_supply(tmp_path / "back.txt")
    with pytest.raises(TraceError, match="sort them"):
        Supply([0.0, 1.0], [1.0, 0.0])
