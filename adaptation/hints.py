"""How long a tier says that a frame would wait there, and how far it is to be believed. No clock of its own.

A hint saves the frames that would have waited in a busy tier. But it is a peer's word: one that lies, or counts
wrongly, could keep a device from a tier that works, or swing it to and fro. So a hint is held against what the device
measures itself: a frame that was sent in spite of a hint and came back sooner than the wait alone should have taken
contradicts it. A hint is never believed for long without a new one, so that there always is such a frame.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

MOST_S = 1.0
"""No hint is believed beyond this: no deadline of a stream of frames waits longer."""
TRIED_AFTER_S = 0.3
"""A hint is forgotten when it is so old and no newer one came."""
CONTRADICTED = 0.4
"""What is left of the trust after a contradiction."""
CONFIRMED = 0.2
"""Share of the missing trust that a confirmation brings back."""
TELLS_S = 0.02
"""Shorter waits are too near the noise to contradict or confirm anything."""
TRACKED = 64


@dataclass(slots=True)
class WaitHints:
    """The hints of one tier. Not thread-safe; times are seconds on the caller's clock."""

    trust: float = 1.0
    """Share of a hint that is believed, 0 to 1."""
    _hint_s: float = 0.0
    _hinted_s: float = 0.0
    _sent: dict[Hashable, tuple[float, float]] = field(default_factory=dict)

    def hinted(self, wait_s: float, now_s: float) -> None:
        """The tier says that a frame arriving now would wait so long; below 0 counts as 0."""
        self._hint_s, self._hinted_s = min(max(wait_s, 0.0), MOST_S), now_s

    def wait_s(self, now_s: float) -> float:
        """The wait to count on for a frame that is sent now."""
        return self.trust * self._claimed_s(now_s)

    def sent(self, key: Hashable, now_s: float) -> None:
        """A frame goes to the tier, whatever the hint says."""
        claimed_s = self._claimed_s(now_s)
        if claimed_s >= TELLS_S:
            self._sent[key] = now_s, claimed_s
            if len(self._sent) > TRACKED:
                del self._sent[next(iter(self._sent))]

    def answered(self, key: Hashable, now_s: float) -> None:
        """Its answer is here. That of an unknown frame is ignored."""
        sent = self._sent.pop(key, None)
        if sent is None:
            return
        sent_s, claimed_s = sent
        if now_s - sent_s < 0.7 * claimed_s:
            self.trust *= CONTRADICTED
        else:
            self.trust += CONFIRMED * (1.0 - self.trust)

    def _claimed_s(self, now_s: float) -> float:
        age_s = max(now_s - self._hinted_s, 0.0)
        return max(self._hint_s - age_s, 0.0) if age_s < TRIED_AFTER_S else 0.0
