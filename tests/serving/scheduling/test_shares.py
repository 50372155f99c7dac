"""Max-min fairness, against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.scheduling.shares import EQUAL, FIRST, Shares, level_of

SECONDS = st.floats(0.001, 100)
WEIGHTS = st.sampled_from([0.5, 1.0, 2.0, 5.0])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(SECONDS, WEIGHTS), min_size=1, max_size=20), st.floats(0.01, 0.99))
def test_at_the_level_everything_is_divided_and_nobody_has_more_than_it_asks(
    asked: list[tuple[float, float]], share: float
) -> None:
    total_s = share * sum(seconds for seconds, _ in asked)
    level_s = level_of(asked, total_s)
    assert sum(min(seconds, level_s * weight) for seconds, weight in asked) == pytest.approx(total_s)


def test_while_there_is_enough_all_but_the_greedy_are_first() -> None:
    shares = Shares()
    for sender, cost_s in (("greedy", 0.2), ("much", 0.03), ("little", 0.01), ("usual", 0.02)):
        shares.ask(sender, cost_s, 10.0)
        shares.get(sender, cost_s, 10.0)
    assert {shares.rank(sender, 11.0) for sender in ("much", "little", "usual", "new")} == {FIRST}
    assert shares.rank("greedy", 11.0) > EQUAL


def test_a_greedy_sender_goes_behind_one_at_the_level_and_that_behind_a_modest_one() -> None:
    shares = Shares()
    for sender, asked_s, got_s in (("greedy", 20.0, 0.8), ("fair", 5.0, 0.5), ("modest", 0.1, 0.1)):
        shares.ask(sender, asked_s, 10.0)
        shares.get(sender, got_s, 10.0)
    assert shares.rank("modest", 10.2) == FIRST
    assert shares.rank("fair", 10.2) == EQUAL
    assert shares.rank("greedy", 10.2) > EQUAL


def test_weights_move_the_level() -> None:
    shares = Shares({"heavy": 4.0})
    for sender in ("heavy", "light"):
        shares.ask(sender, 10.0, 10.0)
        shares.get(sender, 1.0, 10.0)
    assert shares.rank("heavy", 10.2) == EQUAL
    assert shares.rank("light", 10.2) > EQUAL


def test_who_waits_comes_first_again_and_who_is_gone_is_forgotten() -> None:
    shares = Shares()
    for sender in ("greedy", "other"):
        shares.ask(sender, 20.0, 10.0)
    shares.get("greedy", 2.0, 10.0)
    assert shares.rank("greedy", 10.2) > EQUAL
    for tenth in range(100):
        shares.ask("other", 0.2, 10.0 + tenth / 10)
        shares.get("other", 0.1, 10.0 + tenth / 10)
    assert shares.rank("greedy", 20.0) == FIRST
    assert shares.explained()["senders"] == 1
