"""Messages under way: noted, made up for, given up; on a clock that is a number."""

from __future__ import annotations

import math

import pytest

from protocol.fragments import Fragment, Gathering, Note, decode_datagram
from transport.flight import Added, Flight, GivenUp


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def rows_of(datagrams: list[bytes]) -> list[int]:
    found = [decode_datagram(datagram) for datagram in datagrams]
    assert all(isinstance(one, Fragment) for one in found)
    return [one.row for one in found if isinstance(one, Fragment)]


def noted_after(flight: Flight, clock: Clock, seconds: float, message: bytes = b"message") -> None:
    number = flight.launch(message, math.inf).number
    clock.now_s += seconds
    assert flight.noted(Note(0, (number,))) == [number]


def test_a_message_that_is_noted_is_never_sent_again(clock: Clock) -> None:
    flight = Flight(clock)
    number = flight.launch(bytes(3000), math.inf).number
    assert flight.noted(Note(3, (number,))) == [number]
    assert flight.noted(Note(3, (number,))) == []
    assert (len(flight), flight.next_s) == (0, math.inf)
    clock.now_s += 100
    assert list(flight.overdue()) == []


def test_fragments_that_were_not_sent_before_follow_when_no_word_comes(clock: Clock) -> None:
    flight = Flight(clock)
    number, first = flight.launch(bytes(3000), math.inf)
    clock.now_s = flight.next_s
    (added,) = flight.overdue()
    assert isinstance(added, Added)
    assert added.number == number
    assert min(rows_of(added.datagrams)) == len(first)
    assert list(flight.overdue()) == []


def test_a_message_of_which_some_first_fragments_were_lost_is_completed_by_those_that_follow(clock: Clock) -> None:
    flight, gathering, message = Flight(clock), Gathering(), bytes(range(250)) * 12
    datagrams, told = flight.launch(message, math.inf).datagrams[1:2], None
    while told is None:
        for datagram in datagrams:
            fragment = decode_datagram(datagram)
            assert isinstance(fragment, Fragment)
            told = gathering.add(fragment) or told
        clock.now_s = flight.next_s
        (added,) = flight.overdue()
        assert isinstance(added, Added)
        datagrams = added.datagrams
    assert told == message


def test_nothing_is_sent_after_the_deadline(clock: Clock) -> None:
    flight = Flight(clock)
    number = flight.launch(b"late", clock.now_s + 0.35).number
    sent_s = []
    while len(flight):
        clock.now_s = flight.next_s
        for action in flight.overdue():
            sent_s.append(clock.now_s)
            assert isinstance(action, Added | GivenUp)
    assert sent_s[-1] == pytest.approx(100.35)
    assert action == GivenUp(number, b"late", True)


def test_a_message_without_a_deadline_is_handed_back_after_some_tries(clock: Clock) -> None:
    flight, additions, actions = Flight(clock), 0, list[Added | GivenUp]()
    number = flight.launch(b"answer", math.inf).number
    while len(flight):
        clock.now_s = flight.next_s
        actions = list(flight.overdue())
        additions += isinstance(actions[0], Added)
    assert actions == [GivenUp(number, b"answer", False)]
    assert additions == 4


def test_the_wait_follows_the_round_trip(clock: Clock) -> None:
    near, far = Flight(clock), Flight(clock)
    for _ in range(30):
        noted_after(near, clock, 0.02)
        noted_after(far, clock, 0.2)
    near.launch(b"x", math.inf)
    far.launch(b"x", math.inf)
    assert 0.02 < near.next_s - clock.now_s < 0.06
    assert 0.2 < far.next_s - clock.now_s < 0.3


def test_a_message_that_was_added_to_says_nothing_about_the_round_trip(clock: Clock) -> None:
    flight = Flight(clock)
    for _ in range(30):
        noted_after(flight, clock, 0.05)
    number = flight.launch(b"x", math.inf).number
    clock.now_s = flight.next_s
    list(flight.overdue())
    clock.now_s += 0.5
    flight.noted(Note(0, (number,)))
    flight.launch(b"x", math.inf)
    assert flight.next_s - clock.now_s < 0.1


def test_losses_make_later_messages_more_redundant(clock: Clock) -> None:
    flight, received = Flight(clock), 0
    before = len(flight.launch(bytes(2000), math.inf).datagrams)
    for _ in range(60):
        number, datagrams = flight.launch(bytes(2000), math.inf)
        received += round(len(datagrams) * 0.75)
        flight.noted(Note(received, (number,)))
    assert len(flight.launch(bytes(2000), math.inf).datagrams) > before
    assert flight.loss.share > 0.15


def test_an_answer_is_as_good_as_a_note(clock: Clock) -> None:
    flight = Flight(clock)
    number = flight.launch(b"x", math.inf).number
    assert flight.landed(number)
    assert not flight.landed(number)
    assert len(flight) == 0


def test_nothing_is_added_to_what_has_not_left_yet(clock: Clock) -> None:
    flight = Flight(clock)
    flight.launch(b"x", math.inf)
    clock.now_s = flight.next_s
    assert list(flight.overdue(lambda number: True)) == []
    assert flight.next_s > clock.now_s


def test_no_redundancy_is_sent_into_queues(clock: Clock) -> None:
    flight, received = Flight(clock), 0

    def sent_after(trip_s: float) -> int:
        nonlocal received
        number, datagrams = flight.launch(bytes(2000), math.inf)
        received += round(len(datagrams) * 0.75)
        clock.now_s += trip_s
        flight.noted(Note(received, (number,)))
        return len(datagrams)

    lossy = [sent_after(0.1) for _ in range(60)][-1]
    queueing = [sent_after(0.6) for _ in range(60)][-1]
    again = [sent_after(0.1) for _ in range(60)][-1]
    assert (lossy > 2, queueing, again > 2) == (True, 2, True)
