"""How many fragments a message is worth, against losing them at random; and the loss that is measured."""

from __future__ import annotations

import random

import pytest

from protocol.fragments import HEAD_BYTES
from transport.redundancy import DATAGRAM_BYTES, Loss, parts_for


def test_nothing_is_added_where_nothing_is_lost() -> None:
    for size in (60, 1_000, 2_100, 20_000):
        needed, further = parts_for(size, 0)
        assert further == 0
        assert needed == -(-size // (DATAGRAM_BYTES - HEAD_BYTES))


@pytest.mark.parametrize("loss_percent", [1, 5, 10, 20, 30])
@pytest.mark.parametrize("size", [60, 2_100, 16_000])
def test_about_one_message_of_a_hundred_needs_more_than_was_sent_at_once(size: int, loss_percent: int) -> None:
    needed, further = parts_for(size, loss_percent)
    chance = random.Random(size)
    sent, trials = range(needed + further), 4_000
    short = sum(sum(chance.random() >= loss_percent / 100 for _ in sent) < needed for _ in range(trials))
    assert short / trials <= 0.016
    assert -(-size // needed) <= DATAGRAM_BYTES - HEAD_BYTES


def test_two_fragments_never_share_a_packet() -> None:
    for size in range(1_200, 30_000, 700):
        for loss in (1, 10, 30):
            assert 2 * (-(-size // parts_for(size, loss).needed) + HEAD_BYTES) > DATAGRAM_BYTES


def test_two_kibibytes_at_ten_percent_loss_cost_less_than_twice_their_bytes() -> None:
    needed, further = parts_for(2_100, 10)
    assert (needed + further) * (2_100 / needed + 70) < 2 * 2_100


def test_the_measured_loss_follows_the_link() -> None:
    chance, loss, sent, received = random.Random(3), Loss(), 0, 0
    for link in (0.1, 0.3, 0.0):
        for _ in range(800):
            sent += 1
            received += chance.random() >= link
            loss.counted(sent, received)
        assert abs(loss.share - link) < 0.06


def test_counts_that_cannot_be_change_nothing() -> None:
    loss = Loss()
    before = loss.share
    loss.counted(10, 10)
    loss.counted(-50, 3)
    assert loss.share == before
    loss.counted(100, 1_000_000)
    assert loss.share < before, "duplicates are no negative loss"
    assert loss.share >= 0
