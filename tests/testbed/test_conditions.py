"""Conditions of a link: their arithmetic against sums done by hand, and their effect on real sockets."""

from __future__ import annotations

import itertools
import math
import random
import select
import socket
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from testbed.link.conditions import Condition, During, Jitter, Reset, Stall
from testbed.link.weather import Breaks, Weather

Link = Callable[..., Any]
Through = Callable[[int], tuple[socket.socket, socket.socket]]

OPEN = 'kind = "unlimited"\n'


def _lag_one(values: list[float]) -> float:
    return statistics.correlation(values[:-1], values[1:])


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_jitter_has_the_mean_the_shape_and_the_correlation_that_were_asked_for(correlation: float) -> None:
    delaying = Jitter(kind="jitter", mean_s=0.02, correlation=correlation, seed=3).delaying()
    delays = [delaying(5.0) - 5.0 for _ in range(20_000)]
    assert min(delays) >= 0
    assert statistics.mean(delays) == pytest.approx(0.02, rel=0.1)
    assert statistics.median(delays) == pytest.approx(0.02 * math.log(2), rel=0.1)
    normal = [statistics.NormalDist().inv_cdf(1 - math.exp(-delay / 0.02)) for delay in delays]
    assert _lag_one(normal) == pytest.approx(correlation, abs=0.03)


def test_jitter_repeats_with_its_seed_and_holds_only_in_its_time() -> None:
    jitter = Jitter(kind="jitter", mean_s=0.02, from_s=1, to_s=2, seed=4)
    first, second = jitter.delaying(), jitter.delaying()
    assert [first(1.5) for _ in range(9)] == [second(1.5) for _ in range(9)]
    assert (first(0.5), first(2.0)) == (0.5, 2.0)
    other = jitter.model_copy(update={"seed": 5}).delaying()
    assert other(1.5) != jitter.delaying()(1.5)


def test_a_stall_ends_when_it_says() -> None:
    once = Stall(kind="stall", from_s=1, to_s=3).delaying()
    assert [once(at_s) for at_s in (0.5, 1, 2.9, 3)] == [0.5, 3, 3, 3]
    assert Stall(kind="stall", from_s=1).delaying()(2) == math.inf
    again = Stall(kind="stall", from_s=1, to_s=6.1, every_s=2, for_s=0.5).delaying()
    assert [again(at_s) for at_s in (0.9, 1.2, 1.5, 3.4, 4.9, 5.4, 7.1)] == [0.9, 1.5, 1.5, 3.5, 4.9, 5.5, 7.1]


def test_resets_come_when_they_should_and_once() -> None:
    breaks = Breaks([Reset(kind="reset", from_s=1, every_s=2, to_s=6, forward="edge"), Reset(kind="reset", from_s=4)])
    assert breaks.due(1e9) == []
    breaks.start(100.0)
    assert breaks.next_s == 101.0
    assert breaks.due(100.9) == []
    assert breaks.due(103.5) == ["edge", "edge"]
    assert breaks.due(110.0) == [None, "edge"]
    assert breaks.next_s == math.inf


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 20), min_size=1, max_size=60), st.integers(0, 1000))
def test_weather_never_lets_anything_arrive_early(times: list[float], seed: int) -> None:
    chance = random.Random(seed)
    conditions: list[During] = [
        Jitter(kind="jitter", mean_s=0.1, correlation=chance.random() * 0.9, seed=seed),
        Stall(kind="stall", from_s=chance.uniform(0, 10), every_s=2, for_s=0.7),
    ]
    weather = Weather(conditions)
    assert [weather.arrival(at_s) for at_s in times] == times
    weather.start(0.0)
    assert all(weather.arrival(at_s) >= at_s for at_s in times)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"kind": "jiter", "mean_s": 1}, "did you mean 'jitter'"),
        ({"mean_s": 1}, "no kind; add one of jitter, reset, stall"),
        ({"kind": "stall", "for_s": 1}, "belong together"),
        ({"kind": "stall", "for_s": 2, "every_s": 1}, "not less than every_s"),
        ({"kind": "reset", "from_s": 2, "to_s": 1}, "does not come after"),
    ],
)
def test_a_condition_with_a_mistake_says_which(table: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        TypeAdapter(Condition).validate_python(table)


def test_a_stall_holds_one_direction_of_one_forward(link: Link, through: Through, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    stall = '[[condition]]\nkind = "stall"\nto_s = 0.6\nforward = "edge"\ndirection = "up"\n'
    running = link({"edge": port, "cloud": port}, OPEN, OPEN + stall)
    near, far = through(running.ports["edge"])
    other, other_far = through(running.ports["cloud"])
    running.start()
    started_s = time.monotonic()
    near.sendall(b"held")
    other.sendall(b"free")
    far.sendall(b"down")
    assert other_far.recv(4) == b"free"
    assert near.recv(4) == b"down"
    assert far.recv(4) == b"held"
    assert time.monotonic() - started_s >= 0.55


def test_a_reset_breaks_what_is_open_and_lets_new_connections_in(
    link: Link, through: Through, listener: socket.socket
) -> None:
    condition = '[[condition]]\nkind = "reset"\nfrom_s = 0.2\n'
    running = link({"edge": listener.getsockname()[1]}, OPEN, OPEN + condition)
    near, far = through(running.ports["edge"])
    running.start()
    for end in (near, far):
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    again, again_far = through(running.ports["edge"])
    again.sendall(b"back")
    assert again_far.recv(4) == b"back"


def test_jitter_keeps_the_order_of_a_stream(link: Link, through: Through, listener: socket.socket) -> None:
    condition = '[[condition]]\nkind = "jitter"\nmean_s = 0.005\n'
    running = link({"edge": listener.getsockname()[1]}, OPEN, OPEN + condition)
    near, far = through(running.ports["edge"])
    running.start()
    sent = b"".join(bytes([number]) * 700 for number in range(200))
    for number in range(200):
        near.sendall(sent[number * 700 : (number + 1) * 700])
    got = b""
    while len(got) < len(sent):
        got += far.recv(65536)
    assert got == sent
    assert [value for value, _ in itertools.groupby(got)] == list(range(200))


def test_a_stall_for_good_bounds_what_it_holds(link: Link, through: Through, listener: socket.socket) -> None:
    condition = '[[condition]]\nkind = "stall"\n'
    running = link({"edge": listener.getsockname()[1]}, OPEN, OPEN + condition)
    near, far = through(running.ports["edge"])
    running.start()
    near.setblocking(False)
    sent = 0
    while select.select([], [near], [], 0.5)[1]:
        sent += near.send(bytes(65536))
        assert sent < 64 << 20
    assert not select.select([far], [], [], 0)[0]
