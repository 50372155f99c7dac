"""What becomes of a frame whose answer is not coming: another tier, the device itself, or an honest end."""

from __future__ import annotations

from dataclasses import replace

from adaptation.decision import Decision
from adaptation.goal import Goal
from adaptation.plan import Option, Plan, Route
from adaptation.policies.deadline import DeadlinePolicy
from adaptation.snapshot import KeptFrame, Snapshot


def decide_again(snapshot: Snapshot, kept: KeptFrame, goal: Goal | None = None) -> Decision:
    """Decide about a frame that was sent in vain; its features and payload are still here. Pure.

    Weighs sending the kept payload by a route that has not failed against going on locally from the kept cut, to any
    exit from there on or to the end of the model, by the same measure as a first decision.

    Args:
        snapshot: taken now; `plan` is the whole plan, `deadline_s` the frame's own.
        kept: what is left of the frame.
        goal: what a frame is worth.

    Returns:
        A choice with the same `cut` and `level` and another route: send the payload again. A device choice: go on
        from the kept features to that exit or the end. None: end the frame, with the reason.
    """
    options = remaining(snapshot.plan, kept)
    if not options:
        return Decision(None, 0.0, 0.0, "no other tier has this cut and level, and the device cannot go on from there")
    return DeadlinePolicy(goal or Goal()).decide(replace(snapshot, plan=Plan(options), previous=None))


def remaining(plan: Plan, kept: KeptFrame) -> tuple[Option, ...]:
    """The options left to a kept frame, with the device seconds that they still cost."""
    return tuple(
        _resend(option, kept) if option.choice.remote else _go_on(option, kept)
        for option in plan
        if _left(option, kept)
    )


def _left(option: Option, kept: KeptFrame) -> bool:
    choice = option.choice
    if choice.route is Route.DEVICE:
        return choice.cut >= kept.choice.cut
    same = choice.cut == kept.choice.cut and choice.level == kept.choice.level
    return same and choice.route not in kept.failed and choice.route is not kept.choice.route


def _resend(option: Option, kept: KeptFrame) -> Option:
    return replace(option, device_s=0.0, payload_bytes=float(kept.message_bytes), overhead_bytes=0.0)


def _go_on(option: Option, kept: KeptFrame) -> Option:
    return replace(option, device_s=max(option.device_s - kept.head_s, 0.0))
