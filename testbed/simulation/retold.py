"""A device's history told again: minute by minute what it came to, and what could have been.

Nobody recorded the link of a device in the field. What stands for it is the device's own belief at each decision, the
median of the rate while the link was more likely alive than dead. So regret here says what better choices would have
gained on the link as it looked, not what a better estimate would have gained on the link as it was.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adaptation.plan import Choice, Option, Plan, Route
from testbed.errors import ScenarioError
from testbed.simulation.conditions import Conditions
from testbed.simulation.oracle import foresee
from testbed.simulation.supply import Supply, steps

Line = Mapping[str, Any]
MINUTE_S = 60.0
LEAST_FRAMES = 10
"""A shorter rest at the end of a run tells nothing."""


@dataclass(frozen=True, slots=True)
class Belief:
    """What was known of the uplink when a frame was decided.

    Attributes:
        at_s: since the start of the run.
        low_bps, middle_bps, high_bps: the rate is below these with 10, 50 and 90 %.
        alive: probability that the link carries anything.
    """

    at_s: float
    low_bps: float
    middle_bps: float
    high_bps: float
    alive: float


@dataclass(frozen=True, slots=True)
class Minute:
    """What became of the frames of one minute.

    Attributes:
        begins_s: since the start of the run.
        frames, in_time: captured; of them answered before their deadline.
        utility: mean accuracy of the answers in time, frames without one counted as 0.
        best: the same for the best choices on the link as it was believed to be.
        choices: frames of each choice.
    """

    begins_s: float
    frames: int
    in_time: int
    utility: float
    best: float
    choices: Counter[Choice]

    @property
    def regret(self) -> float:
        """Share of the best that was lost, at least 0: what was believed may have been worse than what was."""
        return max(1.0 - self.utility / self.best, 0.0) if self.best > 0.0 else 0.0


def beliefs(lines: Sequence[Line]) -> list[Belief]:
    """One for each decision that knew a link, in order."""
    found = []
    for line in lines:
        if line.get("decision") and (link := line["decision"]["link"]) is not None:
            low_bps, middle_bps, high_bps = link["rate_bps"]
            found.append(Belief(decided_s(line), low_bps, middle_bps, high_bps, link["alive"]))
    return found


def decided_s(line: Line) -> float:
    """When a frame was decided, since the start of the run."""
    return float(line["captured_s"] + line["deadline_s"] - line["decision"]["left_s"])


def choice_of(line: Line) -> Choice | None:
    """What was chosen for a frame; None where nothing was."""
    return None if line["route"] is None else Choice(line["cut"], line["level"], Route(line["route"]))


def plan_of(lines: Sequence[Line]) -> Plan:
    """Every choice that the history tells of, with its last figures.

    Raises:
        ScenarioError: it tells of none, or not how long they take the device.
    """
    told: dict[Choice, Option] = {}
    for line in lines:
        for one in line["decision"]["options"] if line.get("decision") else ():
            if "device_s" not in one:
                raise ScenarioError("this history does not say how long its choices take the device; record it anew")
            choice = Choice(one["cut"], one["level"], Route(one["route"]))
            told[choice] = Option(choice, one["device_s"], one["bytes"], 0.0, one["tier_s"], one["accuracy"])
    if not told:
        raise ScenarioError("this history tells of no decision: no frame came to the device's turn; record for longer")
    return Plan(tuple(told.values()))


def minutes(lines: Sequence[Line], span_s: float = MINUTE_S) -> list[Minute]:
    """The run minute by minute, or in other spans.

    Raises:
        ScenarioError: as for `plan_of`.
    """
    live = [line for line in lines if not line.get("late")]
    plan = plan_of(live)
    link = _supply(beliefs(live), max(line["captured_s"] for line in live) + MINUTE_S)
    return [_minute(begins_s, part, plan, link) for begins_s, part in _parts(live, span_s) if len(part) >= LEAST_FRAMES]


def _parts(lines: Sequence[Line], span_s: float) -> Iterator[tuple[float, list[Line]]]:
    """The frames captured in each span, in order of capture."""
    ordered = sorted(lines, key=lambda line: float(line["captured_s"]))
    for number in range(int(ordered[-1]["captured_s"] // span_s) + 1):
        begins_s = number * span_s
        yield begins_s, [line for line in ordered if begins_s <= line["captured_s"] < begins_s + span_s]


def _minute(begins_s: float, lines: Sequence[Line], plan: Plan, link: Supply) -> Minute:
    captured_s = [float(line["captured_s"]) for line in lines]
    interval_s = max((captured_s[-1] - captured_s[0]) / (len(lines) - 1), 1e-3)
    seconds = interval_s * len(lines)
    given = Conditions(
        plan=plan,
        supply=link.window(captured_s[0], seconds + lines[0]["deadline_s"]),
        seconds=seconds,
        deadline_s=lines[0]["deadline_s"],
        interval_s=interval_s,
        one_way_s=0.5 * _round_trip_s(lines),
    )
    worth = [_worth(line, plan) for line in lines]
    return Minute(
        begins_s=begins_s,
        frames=len(lines),
        in_time=sum(one > 0.0 for one in worth),
        utility=statistics.fmean(worth),
        best=foresee(given).utility,
        choices=Counter(choice for line in lines if (choice := choice_of(line)) is not None),
    )


def _worth(line: Line, plan: Plan) -> float:
    """Accuracy of the answer that a frame got in time, by the plan; a local continuation's is the device's best."""
    if line["ended"] != "answered" or not line["in_time"]:
        return 0.0
    choice = choice_of(line)
    option = None if choice is None else plan.find(choice)
    own = [one.accuracy for one in plan if not one.choice.remote]
    if line["by"] == "device" and own and (option is None or option.choice.remote):
        return max(own)
    return 0.0 if option is None else option.accuracy


def _round_trip_s(lines: Sequence[Line]) -> float:
    """The shortest that was believed, in the median over a minute; 0 without a link."""
    known = [
        min(line["decision"]["link"]["round_trip_s"].values(), default=0.0)
        for line in lines
        if line.get("decision") and line["decision"]["link"] is not None
    ]
    return statistics.median(known) if known else 0.0


def _supply(known: Sequence[Belief], seconds: float) -> Supply:
    """The link as it was believed from one decision to the next; nothing before the first and while it seemed dead."""
    if not known:
        return steps([(seconds, 0.0)])
    ends_s = [one.at_s for one in known[1:]] + [max(seconds, known[-1].at_s + 1.0)]
    parts = [(known[0].at_s, 0.0)] if known[0].at_s > 0.0 else []
    for one, end_s in zip(known, ends_s, strict=True):
        parts.append((max(end_s - one.at_s, 0.0), one.middle_bps if one.alive >= 0.5 else 0.0))
    return steps(parts)
