"""The last batches, and why each was as it was: for a person who asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from serving.scheduling.batching import EXPECTED, Waiting
from serving.scheduling.costs import Costs
from serving.scheduling.jobs import Batch, Job

_KEPT: Final = 32
ALONE: Final = "nothing else was here"


@dataclass(slots=True)
class Formed:
    """One batch as it was formed.

    Attributes:
        batch: itself.
        here: jobs that waited then, for whatever step, those of the batch among them.
        in_line: those that waited for the batch's step.
        waited_s: how long a thread had been left idle for company before.
        why: why it was not larger, or why this step came first; a clause.
        took_s: how long it took; None while it is being done.
    """

    batch: Batch
    here: int
    in_line: int
    waited_s: float
    why: str
    took_s: float | None = None


class Chronicle:
    """Keeps the last batches. Cheap where a job is alone, which is when time matters most."""

    def __init__(self) -> None:
        self._formed: deque[Formed] = deque(maxlen=_KEPT)
        self._idle_since_s: float | None = None

    def waited(self, now_s: float) -> None:
        """A thread is left idle for company."""
        if self._idle_since_s is None:
            self._idle_since_s = now_s

    def formed(self, batch: Batch, waiting: Waiting | None, costs: Costs) -> None:
        """A batch was formed.

        Args:
            batch: itself.
            waiting: what waited, the batch among it; None where that was one job.
            costs: what was known then.
        """
        since_s, self._idle_since_s = self._idle_since_s, None
        waited_s = 0.0 if since_s is None else batch.began_s - since_s
        if waiting is None:
            self._formed.append(Formed(batch, 1, 1, waited_s, ALONE))
            return
        here, in_line = sum(map(len, waiting.lines.values())), len(waiting.lines[batch.step])
        why = reason(waiting, batch.jobs, costs, batch.began_s)
        self._formed.append(Formed(batch, here, in_line, waited_s, why))

    def done(self, batch: Batch, took_s: float) -> None:
        """It has ended."""
        for formed in reversed(self._formed):
            if formed.batch is batch:
                formed.took_s = took_s
                return

    def explained(self, now_s: float) -> list[dict[str, object]]:
        """The last batches, the newest first. Seconds."""
        return [
            {
                "step": str(formed.batch.step),
                "size": len(formed.batch.jobs),
                "in_line": formed.in_line,
                "here": formed.here,
                "why": formed.why,
                "waited_s": formed.waited_s,
                "expected_s": formed.batch.expected_s,
                "took_s": formed.took_s,
                "ago_s": now_s - formed.batch.began_s,
            }
            for formed in reversed(self._formed)
        ]


def reason(waiting: Waiting, jobs: Sequence[Job], costs: Costs, now_s: float) -> str:
    """Why these and no more: the questions of `batching.Least`, asked again of the batch that came of them."""
    step, lead, size = jobs[0].step, jobs[0], len(jobs)
    curve = costs.of(step)
    if step != waiting.lead.step:
        return f"they catch up with {len(waiting.lines[waiting.lead.step])} that stand before {waiting.lead.step}"
    if size == len(waiting.lines[step]):
        return ALONE if size == sum(map(len, waiting.lines.values())) == 1 else "all that stood before this step"
    if curve.single_only:
        return "the step cannot be done for several at once"
    if size >= curve.limit:
        return f"no batch of more than {curve.limit} is tried before one of {curve.limit} was"
    following = waiting.lines[step][size]
    if following.yields and not lead.yields:
        return "the next is of a greedy sender, or spare, and would cost the others more than it saves"
    rest_s = costs.total(lead.path, lead.position)
    if now_s + rest_s[size + 1] > lead.deadline_s >= now_s + rest_s[1]:
        return "one more would make the most urgent late"
    if curve.seconds[size + 1] * waiting.ahead_per_s > EXPECTED:
        return "its sender is greedy: a larger one would not have ended before frames of others are expected"
    return "one more would delay the others by more than it saves"
