"""How a batch is formed: whom to take along, whom to wait for. A rule is a small class; `Least` is the one in use.

To add one: a class with `choose`, given to the `Scheduler`. `Static` is the usual one with two numbers to set; it is
here to be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, Protocol

from serving.scheduling.arrivals import Arrivals
from serving.scheduling.costs import Costs, Seconds
from serving.scheduling.jobs import Job, Step, Wait

LONGER: Final = 1.5
"""A batch takes at most this many times as long for those in it that yield to the others."""
EXPECTED: Final = 0.6
"""So many frames of others may be expected while a batch of a greedy sender is done."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits, at one moment.

    Attributes:
        lines: by step, the jobs that wait for it: peers in front, by rank of the sender, then the earliest deadline.
        peers: waiting jobs whose time counts like the lead's: all, but not the greedy ones where it is none itself.
        ahead_per_s: frames that come in a second and go before a greedy lead's: its batch ends before one is expected.
        lead: the job whose turn it is; the first of its line.
        busy: whether another thread is at work.
    """

    lines: Mapping[Step, Sequence[Job]]
    peers: int
    ahead_per_s: float
    lead: Job
    busy: bool


class Rule(Protocol):
    """Shapes the next batch."""

    def choose(self, waiting: Waiting, costs: Costs, arrivals: Arrivals, now_s: float) -> Sequence[Job] | Wait:
        """The jobs to do next, all of one line; or to wait."""
        ...


class Least:
    """Whatever makes the sum of all completion times least, as far as one step ahead tells, and no frame late.

    Three questions, each answered by that sum (derived in docs/tiers.md):
    - whom the lead takes along: another frame delays those in the batch by what it adds, and saves everybody behind
      the rest of what it would cost by itself;
    - whether frames at an earlier cut go first, so that both go through the rest together;
    - whether to leave the thread idle for a moment because a frame is expected.
    """

    def choose(self, waiting: Waiting, costs: Costs, arrivals: Arrivals, now_s: float) -> Sequence[Job] | Wait:
        """The jobs to do next, all of one line; or to wait."""
        batch = _company(waiting, costs, waiting.lead.step, now_s)
        behind = _behind(waiting, costs, batch, now_s)
        if behind:
            return behind
        until_s = _worth_waiting_until(waiting, costs, arrivals, batch, now_s)
        return batch if until_s is None else Wait(until_s)


class Static:
    """The usual rule: as many as there are, once there are `size`, or once the first has waited for `delay_s`."""

    def __init__(self, size: int, delay_s: float) -> None:
        self._size = size
        self._delay_s = delay_s

    def choose(self, waiting: Waiting, costs: Costs, arrivals: Arrivals, now_s: float) -> Sequence[Job] | Wait:
        """The jobs to do next, all of one line; or to wait."""
        lead = waiting.lead
        batch = waiting.lines[lead.step][: self._size]
        until_s = min(job.offered_s for job in batch) + self._delay_s
        if len(batch) < self._size and not lead.position and now_s < until_s:
            return Wait(until_s)
        return batch


def _company(waiting: Waiting, costs: Costs, step: Step, now_s: float) -> Sequence[Job]:
    """The first of a line, and those that it should take along."""
    line = waiting.lines[step]
    most = min(len(line), costs.of(step).limit)
    if most == 1:
        return line[:1]
    lead = line[0]
    step_s, rest_s = costs.of(step).seconds, costs.total(lead.path, lead.position)
    equals = most if lead.yields else next((n for n, job in enumerate(line[:most]) if job.yields), most)
    mixed_s = LONGER * rest_s[equals]
    within_s = lead.deadline_s - now_s
    if rest_s[1] > within_s:  # late even alone
        within_s = inf
    for size in range(1, most):
        behind = waiting.peers - 1 if waiting.peers > size else 0  # who joins later is behind for now
        longer_s = rest_s[size + 1]
        joins = (
            (_pays(step_s, size, behind) or _pays(rest_s, size, behind))
            and step_s[size + 1] * waiting.ahead_per_s <= EXPECTED
            and (size < equals or longer_s <= mixed_s)
            and longer_s <= within_s
        )
        if not joins:
            return line[:size]
    return line[:most]


def _pays(seconds: Seconds, size: int, behind: int) -> bool:
    """Whether one more joins a batch of a size, with so many behind."""
    added = seconds[size + 1] - seconds[size]
    return size * added < (behind + 1) * (seconds[1] - added)


def _behind(waiting: Waiting, costs: Costs, batch: Sequence[Job], now_s: float) -> Sequence[Job] | None:
    """Jobs at an earlier step that should catch up with the batch before it goes on."""
    step = waiting.lead.step
    best: tuple[float, Sequence[Job]] | None = None
    for earlier, line in waiting.lines.items():
        if earlier == step or (line[0].yields and not waiting.lead.yields):
            continue
        path, position = line[0].path, line[0].position
        if step not in path.steps[position + 1 :]:
            continue
        company = _company(waiting, costs, earlier, now_s)
        saved_s = _saved_by_catching_up(waiting, costs, batch, company, now_s)
        if saved_s > 0 and (best is None or saved_s > best[0]):
            best = (saved_s, company)
    return None if best is None else best[1]


def _saved_by_catching_up(
    waiting: Waiting, costs: Costs, batch: Sequence[Job], company: Sequence[Job], now_s: float
) -> float:
    """What the sum of completion times loses when the company catches up first; nothing where a frame would be late."""
    ours, theirs = batch[0], company[0]
    here, there = len(batch), len(company)
    together = here + there
    meeting = theirs.path.steps.index(ours.step, theirs.position)
    if together > costs.of(ours.step).limit:
        return 0.0
    catching_up_s = sum(costs.of(step).seconds[there] for step in theirs.path.steps[theirs.position : meeting])
    ours_s, theirs_s = costs.total(ours.path, ours.position), costs.total(theirs.path, meeting)
    longer_s = ours_s if ours_s[1] >= theirs_s[1] else theirs_s
    end_s = now_s + catching_up_s + longer_s[together]
    if end_s > min(job.deadline_s for job in (*batch, *company)):
        return 0.0
    apart = here * ours_s[here] + there * (ours_s[here] + catching_up_s + theirs_s[there])
    joined = together * (catching_up_s + longer_s[together])
    return apart - joined


def _worth_waiting_until(
    waiting: Waiting, costs: Costs, arrivals: Arrivals, batch: Sequence[Job], now_s: float
) -> float | None:
    """Until when a frame more is worth an idle thread; None where it is not."""
    lead, size = batch[0], len(batch)
    if (
        waiting.busy
        or lead.position
        or sum(map(len, waiting.lines.values())) > size
        or size >= costs.of(lead.step).limit
    ):
        return None
    gap_s, last_s = arrivals.gap_s(lead.path), arrivals.last_s(lead.path)
    if gap_s is None or gap_s >= costs.alone_s(lead.path, 0) / (size + 1):  # then it is beyond `longest_s` too
        return None
    rest_s = costs.total(lead.path, 0)
    longest_s = rest_s[1] / (size + 1) - (rest_s[size + 1] - rest_s[size])
    if gap_s >= longest_s:
        return None
    until_s = min(last_s + longest_s, min(job.deadline_s for job in batch) - rest_s[size + 1])
    return until_s if until_s > now_s else None
