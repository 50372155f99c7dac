"""What a tier says about its queue, against what the device measures."""

from __future__ import annotations

import pytest

from adaptation.hints import MOST_S, TRIED_AFTER_S, WaitHints


def test_an_honest_hint_is_believed_and_runs_down_with_time() -> None:
    hints = WaitHints()
    hints.hinted(0.2, 10.0)
    assert hints.wait_s(10.0) == pytest.approx(0.2)
    assert hints.wait_s(10.15) == pytest.approx(0.05)
    assert hints.wait_s(10.25) == 0.0


def test_answers_that_took_as_long_as_was_said_keep_the_trust() -> None:
    hints = WaitHints()
    for frame in range(20):
        now_s = 0.1 * frame
        hints.hinted(0.3, now_s)
        hints.sent(frame, now_s)
        hints.answered(frame, now_s + 0.35)
    assert hints.trust == 1.0


def test_a_tier_that_cries_wolf_is_soon_ignored_and_can_win_trust_back() -> None:
    hints = WaitHints()
    for frame in range(4):
        hints.hinted(1e9, float(frame))
        hints.sent(frame, float(frame))
        hints.answered(frame, frame + 0.05)
    hints.hinted(1e9, 5.0)
    assert hints.wait_s(5.0) < 0.05
    for frame in range(4, 14):
        hints.hinted(0.2, float(frame))
        hints.sent(frame, float(frame))
        hints.answered(frame, frame + 0.25)
    assert hints.trust > 0.8


def test_no_hint_is_believed_for_long_or_without_bound_or_below_nothing() -> None:
    hints = WaitHints()
    hints.hinted(1e9, 0.0)
    assert hints.wait_s(0.0) == MOST_S
    assert hints.wait_s(TRIED_AFTER_S) == 0.0
    hints.hinted(-5.0, 1.0)
    assert hints.wait_s(1.0) == 0.0


def test_an_answer_to_nothing_that_was_sent_is_ignored() -> None:
    hints = WaitHints()
    hints.hinted(0.5, 0.0)
    hints.answered("unknown", 0.01)
    hints.sent(1, 0.0)
    hints.answered(1, 0.6)
    hints.answered(1, 0.6)
    assert hints.trust == 1.0
