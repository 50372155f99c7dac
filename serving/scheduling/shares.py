"""Whose turn it is before whose, when there is not enough for all.

Every sender has two accounts that fade with a time constant: the work that it asked for, and the work that it got.
As long as all get what they ask for, deadlines alone decide, except that one who asks for several times what is usual
goes behind the others. When work is refused, there is a level that divides what the tier does fairly by weight: nobody
gets more than it asks for, and who asks for more than the level gets the level (max-min fairness; Bertsekas and
Gallager, Data Networks, 6.5). Then a sender far below the level goes first, one at the level next, and one beyond it
last. So a greedy sender gets what the others leave, at once and without a quota; nobody starves, for an account fades
while its owner waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, inf
from typing import Final

FIRST: Final = 0.0
"""Rank of a sender far below the level, and of all but the greedy while there is enough."""
EQUAL: Final = 1.0
"""Rank of a sender about at the level. Higher ranks are beyond it, in multiples of it."""
SPARE: Final = inf
"""Rank of a job for which there is no time but what is left over, whoever sent it."""

_FADES_S: Final = 2.0
"""Time constant of the accounts: long against a burst of frames, short against a person's patience."""
_EVERY_S: Final = 0.1
"""How often the level is found anew."""
_ENOUGH: Final = 0.95
"""There is enough while senders get this share of what they ask for."""
_FAR_BELOW, _BEYOND = 0.5, 1.1
_USUAL: Final = 4.0
"""While there is enough, the level is this many times what the middle one of all senders gets."""
_FORGOTTEN_S: Final = 4 * _FADES_S
"""After this a silent sender no longer counts."""


@dataclass(slots=True)
class _Account:
    weight: float
    asked_s: float
    got_s: float
    at_s: float

    def fade(self, now_s: float) -> None:
        left = exp((self.at_s - now_s) / _FADES_S)
        self.asked_s *= left
        self.got_s *= left
        self.at_s = now_s


class Shares:
    """The accounts of all senders of late.

    Args:
        weights: of senders by name; any other has 1. Twice the weight is twice the share.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = dict(weights or {})
        self._accounts: dict[str, _Account] = {}
        self._level_s = inf
        self._usual_s = inf
        self._enough = True
        self._found_s = -inf

    def rank(self, sender: str, now_s: float) -> float:
        """Where a sender stands: the lower, the earlier its turn."""
        if now_s - self._found_s >= _EVERY_S:
            self._find_level(now_s)
        account = self._accounts.get(sender)
        if account is None or self._level_s == inf:
            return FIRST
        account.fade(now_s)
        standing = account.got_s / (self._level_s * account.weight)
        if standing >= _BEYOND:
            return standing
        return FIRST if self._enough or standing < _FAR_BELOW else EQUAL

    def greedy(self, sender: str) -> bool:
        """Whether a sender gets several times what is usual, as `rank` has just found it."""
        account = self._accounts.get(sender)
        return account is not None and account.got_s >= _BEYOND * _USUAL * self._usual_s * account.weight

    def ask(self, sender: str, cost_s: float, now_s: float) -> None:
        """A sender asked for work."""
        self._account(sender, now_s).asked_s += cost_s

    def get(self, sender: str, cost_s: float, now_s: float) -> None:
        """A sender got it; or lost it again, if negative."""
        account = self._account(sender, now_s)
        account.got_s = max(0.0, account.got_s + cost_s)

    def explained(self) -> dict[str, object]:
        """For a person."""
        return {"senders": len(self._accounts), "level_s": None if self._level_s == inf else self._level_s}

    def _account(self, sender: str, now_s: float) -> _Account:
        account = self._accounts.get(sender)
        if account is None:
            account = self._accounts[sender] = _Account(self._weights.get(sender, 1.0), 0.0, 0.0, now_s)
        else:
            account.fade(now_s)
        return account

    def _find_level(self, now_s: float) -> None:
        self._found_s = now_s
        oldest_s = now_s - _FORGOTTEN_S
        self._accounts = {sender: account for sender, account in self._accounts.items() if account.at_s >= oldest_s}
        asked, got = [], []
        for account in self._accounts.values():
            left = exp((account.at_s - now_s) / _FADES_S)
            asked.append((account.asked_s * left, account.weight))
            got.append(account.got_s * left)
        self._enough = sum(got) >= _ENOUGH * sum(seconds for seconds, _ in asked)
        usual = sorted(seconds / weight for seconds, (_, weight) in zip(got, asked, strict=True))
        self._usual_s = (usual[(len(usual) - 1) // 2] if usual else 0.0) or inf
        self._level_s = (_USUAL * self._usual_s if self._enough else level_of(asked, sum(got))) or inf


def level_of(asked: list[tuple[float, float]], total_s: float) -> float:
    """The max-min fair level.

    Args:
        asked: seconds and weight of each; more than `total_s` together.
        total_s: what there is to divide.

    Returns:
        Seconds for a weight of 1, such that everybody getting the lesser of what it asks and its weight times this
        makes `total_s`.
    """
    weight = sum(one for _, one in asked)
    for seconds, one in sorted(asked, key=lambda pair: pair[0] / pair[1]):
        if seconds / one * weight >= total_s:
            break
        total_s -= seconds
        weight -= one
    return total_s / weight
