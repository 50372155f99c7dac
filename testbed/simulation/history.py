"""Frames of simulated time as the lines of a device's history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from adaptation.plan import Choice, Plan, Route
from device.history import Ending, FrameRecord
from testbed.simulation.conditions import Conditions, Frame

Line = Mapping[str, Any]

WRONG = -1
"""The answer of a simulated frame that got it wrong."""

_BY = {Route.DEVICE: "device", Route.EDGE: "edge", Route.CLOUD: "cloud", Route.EDGE_TO_CLOUD: "cloud"}


def lines_of(frames: Sequence[Frame], given: Conditions, labels: Mapping[str, int], chance: Random) -> list[Line]:
    """The frames as `device.history` would have them.

    Args:
        labels: right answer of each input, by name; frames take the inputs in turn.
        chance: whether an answer is right is drawn from its accuracy.
    """
    names = sorted(labels)
    return [
        _line(number, frame, given, names[(number - 1) % len(names)], labels, chance)
        for number, frame in enumerate(frames, start=1)
    ]


def _line(number: int, frame: Frame, given: Conditions, source: str, labels: Mapping[str, int], chance: Random) -> Line:
    plan = given.plan
    answered = frame.done_s is not None
    latency_s = given.deadline_s if frame.done_s is None else frame.done_s - frame.captured_s
    sent = None if frame.choice is None or not frame.choice.remote else plan.find(frame.choice)
    sent_bytes = 0.0 if sent is None else sent.message_bytes
    if sent is not None and given.sizes is not None:
        sent_bytes = given.sizes(number - 1, sent)
    shown: Choice | None = frame.by or frame.choice
    right = chance.random() < frame.accuracy
    return asdict(
        FrameRecord(
            frame=number,
            captured_s=frame.captured_s,
            ended=Ending.ANSWERED if answered else Ending.DROPPED if frame.choice is None else Ending.EXPIRED,
            by=_BY[frame.by.route] if frame.by is not None else None,
            route=None if shown is None else shown.route.value,
            cut=None if shown is None else shown.cut,
            level=None if shown is None else shown.level,
            front_of=None if frame.front_of is None else frame.front_of.level,
            exit=answered and shown is not None and shown.cut < _whole(plan) and not shown.remote,
            message_bytes=round(sent_bytes),
            latency_s=latency_s,
            deadline_s=given.deadline_s,
            in_time=answered and latency_s <= given.deadline_s + 1e-9,
            answer=(labels[source] if right else WRONG) if answered else None,
            device_s=frame.device_s + frame.hedge_s,
            hedge_s=frame.hedge_s,
            source=source,
        )
    )


def _whole(plan: Plan) -> int:
    """The cut of the choice that runs the whole model on the device."""
    return max((option.choice.cut for option in plan if not option.choice.remote), default=0)
