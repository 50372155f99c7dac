"""The plan: every choice that bundle and tiers offer, with what it costs and what it is worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from adaptation.values import Choice, Option, Plan, Route
from device.errors import PlanError
from device.figures import Figures
from protocol.messages import Frame, encode_upward
from runtime.manifest import Cut, Level, Manifest, Measured

STREAM_BYTES = 14
"""gRPC's message prefix (5 bytes) and HTTP/2's frame header (9) around each message."""
RESULT_HEADER_BYTES = 90
DRIFT = 0.05
"""A plan is rebuilt when a figure has moved by this share since it was built."""


class Planner:
    """Keeps a plan that agrees with the figures.

    Args:
        manifest: of the bundle.
        figures: seconds of the parts; they may change at any time.
        routes: the tiers that are configured.
        also: choices that have to be in the plan besides those worth choosing from, such as a fixed policy's.
        look_s: the plan is not looked over again within this time: that costs as much as several decisions.

    Raises:
        PlanError: `also` names what the bundle or the routes do not have.
    """

    def __init__(
        self,
        manifest: Manifest,
        figures: Figures,
        routes: Iterable[Route],
        also: Choice | None = None,
        look_s: float = 0.0,
    ) -> None:
        self._manifest = manifest
        self._figures = figures
        routes = tuple(routes)
        choices = dict.fromkeys(choices_of(manifest, routes))
        if also is not None:
            _check(manifest, routes, also)
            choices.setdefault(also)
        self._choices = tuple(choices)
        self._result_bytes = float(RESULT_HEADER_BYTES + sum(output.nbytes for output in manifest.outputs))
        self._overhead_bytes = [_overhead_bytes(cut) for cut in manifest.cuts]
        self._seconds: list[tuple[float, float]] = []
        self._plan: Plan | None = None
        self._look_s = look_s
        self._looked_s = 0.0

    def plan(self) -> Plan:
        """The plan; the same object as before unless a figure has moved by more than `DRIFT` since it was built, and
        for `look_s` after it was last looked over."""
        now_s = self._figures.now_s
        if self._plan is not None and now_s < self._looked_s + self._look_s:
            return self._plan
        self._looked_s = now_s
        seconds = [(self._device_s(choice), self._figures.tier_s(choice)) for choice in self._choices]
        if self._plan is None or _moved(self._seconds, seconds):
            self._seconds = seconds
            self._plan = Plan(tuple(map(self._option, self._choices, seconds)))
        return self._plan

    def _option(self, choice: Choice, seconds: tuple[float, float]) -> Option:
        device_s, tier_s = seconds
        if choice.level is None:
            return Option(choice, device_s, 0.0, 0.0, 0.0, self._device_accuracy(choice))
        cut = self._manifest.cuts[choice.cut]
        return Option(
            choice,
            device_s,
            payload_bytes_of(cut, cut.levels[choice.level]),
            self._result_bytes,
            tier_s,
            _accuracy(self._manifest, cut.levels[choice.level].measured),
            self._overhead_bytes[choice.cut],
            head_s=self._figures.segments_s(0, choice.cut),
        )

    def _device_s(self, choice: Choice) -> float:
        head_s = self._figures.segments_s(0, choice.cut)
        if choice.level is not None:
            return head_s + self._figures.encode_s(choice.cut, choice.level)
        position = exit_at(self._manifest, choice.cut)
        return head_s if position is None else head_s + self._figures.exit_s(position)

    def _device_accuracy(self, choice: Choice) -> float:
        position = exit_at(self._manifest, choice.cut)
        return _accuracy(self._manifest, None if position is None else self._manifest.exits[position].measured)


def choices_of(manifest: Manifest, routes: Iterable[Route]) -> Iterator[Choice]:
    """Every choice there is: whole model and exits here; by each route all levels of all cuts.

    Lossless levels too: they send many times more than others, but cost the device next to nothing, and where the link
    is fast and the device slow they are the best. What they would do to a thin link is priced by `Goal.link_weight`.
    """
    yield Choice(len(manifest.segments), None, Route.DEVICE)
    for exit_ in manifest.exits:
        yield Choice(exit_.cut, None, Route.DEVICE)
    for route in routes:
        for cut in manifest.cuts:
            for level in range(len(cut.levels)):
                yield Choice(cut.index, level, route)


def exit_at(manifest: Manifest, cut: int) -> int | None:
    """Position of the exit at a cut in the manifest's list, or None where there is none."""
    return next((position for position, exit_ in enumerate(manifest.exits) if exit_.cut == cut), None)


def payload_bytes_of(cut: Cut, level: Level) -> float:
    """Mean bytes of a payload: as measured, or the tensor's own size."""
    return float(cut.tensor.nbytes) if level.measured is None else level.measured.payload_bytes


def _accuracy(manifest: Manifest, measured: Measured | None) -> float:
    """As measured; where it was not, the whole model's; where that was not either, 1: all choices alike."""
    known = measured or manifest.measured
    return 1.0 if known is None else known.accuracy


def _overhead_bytes(cut: Cut) -> float:
    """Bytes on the uplink besides the payload, for a frame as the agent sends it."""
    shape = cut.tensor.shape
    frame = Frame.build(
        id=1 << 13, bundle=1 << 63, cut=cut.index, level=1, shape=shape, payload=b"",
        captured_us=1 << 50, remaining_us=1 << 17,
    )  # fmt: skip
    return float(len(encode_upward(frame)) + STREAM_BYTES)


def _moved(before: Sequence[tuple[float, float]], now: Sequence[tuple[float, float]]) -> bool:
    return any(
        abs(new - old) > DRIFT * old
        for pair_before, pair_now in zip(before, now, strict=True)
        for old, new in zip(pair_before, pair_now, strict=True)
    )


def _check(manifest: Manifest, routes: Sequence[Route], choice: Choice) -> None:
    """Whether bundle and routes have what a choice asks for."""
    segments = len(manifest.segments)
    if choice.level is None:
        if choice.cut != segments and exit_at(manifest, choice.cut) is None:
            exits = ", ".join(str(exit_.cut) for exit_ in manifest.exits) or "none"
            raise PlanError(
                f"policy.cut = {choice.cut} answers nothing on the device; set it to {segments} for the whole model, "
                f"or to the cut of an exit ({exits})"
            )
        return
    if choice.route not in routes:
        raise PlanError(f"policy.route = {choice.route.value!r} needs a target; add the table of that tier")
    for name, (cut, level) in {
        "policy": (choice.cut, choice.level),
        "policy.handover": choice.handover or (0, 0),
    }.items():
        if cut >= segments:
            raise PlanError(f"{name} names cut {cut}, but this bundle has cuts 0 to {segments - 1}")
        levels = len(manifest.cuts[cut].levels)
        if level >= levels:
            raise PlanError(f"{name} names level {level}, but cut {cut} has levels 0 to {levels - 1}")
