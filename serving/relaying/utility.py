"""Answer, forward or shed so that the utility of all answers is most, in the manner of DEMS and GEMS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import inf
from typing import Final

from protocol.messages import Frame, Handover, Refusal, Result
from serving.errors import WorthOfNone
from serving.passage import Passage
from serving.relaying.relay import TRIED_AFTER_S, Relay
from serving.relaying.upstreams import Upstreams
from serving.relaying.worth import Ledger, Worth
from serving.served import Served
from serving.workers import Workers

_MARGIN: Final = 0.1
"""Share of the expected way up by which a frame goes up before the last moment: beliefs are none too exact."""
_USUAL: Final = Worth()


class UtilityRelay(Relay):
    """The heuristics of DEMS (Raj et al., 2024), on the scheduler and the beliefs of this tier.

    - A frame is answered here if it should be in time, by the earliest deadline, wherever it asks to be handed over.
      Where an answer from above leaves more, it goes up instead; as it came, like all that go up.
    - *Migration*: a frame that would make others late pushes them out if they lose less elsewhere, together, than it
      does itself (`score`); otherwise it is the one that goes.
    - *Work stealing*: who goes waits for an idle moment of this tier until the last at which it can go up in time.
    - *Dropping*: it goes up if it should be in time there and leaves more than nothing; otherwise it is refused.
    - *Adapting to the cloud*: what is above is believed as it was measured of late, and tried again after a while.
    - *Quality of experience* (GEMS): while fewer frames of a model are in time than it is to have in a window, its new
      frames go up at once where this tier is not idle.

    Args:
        upstreams: the tiers above.
        workers: know what steps cost here.
        clock: monotonic seconds.
        worth: by model id; of any other, an answer in time is worth 1 and costs nothing.
    """

    def __init__(
        self,
        upstreams: Upstreams,
        workers: Workers,
        clock: Callable[[], float],
        *,
        worth: Mapping[str, Worth],
    ) -> None:
        super().__init__(upstreams, workers, clock)
        self._worth = worth
        self._ledgers: dict[str, Ledger] = {}

    def choose(self, frame: Frame, served: Served, asked: Handover | None, deadline_s: float = inf) -> Handover | None:
        """Where to hand a frame over; None to answer it here, as long as there is time for it."""
        ledger, now_s = self._ledger(served), self._clock()
        worth = ledger.worth
        rather_above = worth.above > worth.here or (
            worth.above > 0 and ledger.behind(now_s) and self._workers.wait_s > 0
        )
        if not rather_above or now_s + self._up_s(frame, served) > deadline_s:
            return None
        self._asked_s = now_s
        return Handover(frame.cut, frame.level)

    def expect(self, models: Collection[str]) -> None:
        """These models are served.

        Raises:
            WorthOfNone: the worth of another one is set.
        """
        for model in self._worth:
            if model not in models:
                raise WorthOfNone(model, models)

    def score(self, frame: Frame, served: Served, deadline_s: float) -> float:
        """What is lost if a frame is not answered here."""
        in_time_above = self._clock() + self._up_s(frame, served) <= deadline_s
        return self._ledger(served).worth.lost_elsewhere(in_time_above=in_time_above)

    def idle_until_s(self, frame: Frame, served: Served, deadline_s: float) -> float | None:
        """The last moment at which it can go up and be in time; the deadline of one that is worth nothing there."""
        up_s = self._up_s(frame, served) * (1.0 + _MARGIN)
        if self._ledger(served).worth.above <= 0 or self._clock() + up_s > deadline_s:
            return deadline_s
        return deadline_s - up_s

    def goes_up(self, frame: Frame, served: Served, deadline_s: float) -> bool:
        """Whether a frame that there is no time for here goes up as it came."""
        if self._ledger(served).worth.above <= 0:
            return False
        now_s = self._clock()
        long_ago = now_s < deadline_s and now_s - self._asked_s >= TRIED_AFTER_S
        goes = long_ago or super().goes_up(frame, served, deadline_s)
        if goes:
            self._asked_s = now_s
        return goes

    def ended(self, passage: Passage, served: Served, answer: Result | Refusal) -> None:
        """Count what a frame brought, and what it cost."""
        now_s = self._clock()
        self._ledger(served).end(
            now_s,
            in_time=isinstance(answer, Result) and now_s <= passage.deadline_s,
            worked=passage.decode_s + passage.run_s > 0,
            passed_up=passage.upstream_s > 0,
        )

    def explained(self) -> dict[str, object]:
        """By model: what its frames brought."""
        return {model: ledger.explained() for model, ledger in self._ledgers.items()}

    def _ledger(self, served: Served) -> Ledger:
        model = served.bundle.manifest.model_id
        found = self._ledgers.get(model)
        if found is None:
            found = self._ledgers[model] = Ledger(self._worth.get(model, _USUAL), self._clock())
        return found
