"""The plan: every choice that bundle and tiers offer, with what it costs and what it is worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from adaptation.plan import Choice, Option, Plan, Route
from device.errors import PlanError
from device.figures import Figures
from protocol.messages import Frame, encode_upward
from runtime.manifest import Cut, LearnedLevel, Level, Manifest, Measured

STREAM_BYTES = 14
"""gRPC's message prefix (5 bytes) and HTTP/2's frame header (9) around each message."""
RESULT_HEADER_BYTES = 90
EMBEDDED = "embedded"
"""The method of training, as a manifest's provenance names it, by which fronts of payloads are worth something."""
DRIFT = 0.05
"""A plan is rebuilt when a figure has moved by this share since it was built."""


_Known = tuple[float, float, float]
"""Of a choice: the device's seconds, the tier's, and the payload's bytes."""


class Planner:
    """Keeps a plan that agrees with the figures.

    Args:
        manifest: of the bundle.
        figures: seconds of the parts; they may change at any time.
        routes: the tiers that are configured.
        also: choices that have to be in the plan besides those worth choosing from, such as a fixed policy's.
        look_s: the plan is not looked over again within this time: that costs as much as several decisions.
        most_leaked_db: leave out levels from which an attacker paints the input any better, or that nobody attacked.

    Raises:
        PlanError: `also` names what the bundle or the routes do not have, or what gives away too much.
    """

    def __init__(
        self,
        manifest: Manifest,
        figures: Figures,
        routes: Iterable[Route],
        also: Choice | None = None,
        look_s: float = 0.0,
        most_leaked_db: float = math.inf,
    ) -> None:
        self._manifest = manifest
        self._figures = figures
        routes = tuple(routes)
        choices = dict.fromkeys(
            choice for choice in choices_of(manifest, routes) if leaked_db(manifest, choice) <= most_leaked_db
        )
        if also is not None:
            _check(manifest, routes, also, most_leaked_db)
            choices.setdefault(also)
        self._choices = tuple(choices)
        self._result_bytes = float(RESULT_HEADER_BYTES + sum(output.nbytes for output in manifest.outputs))
        self._overhead_bytes = [_overhead_bytes(cut) for cut in manifest.cuts]
        self._known: list[_Known] = []
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
        known = [
            (self._device_s(choice), self._figures.tier_s(choice), self._payload_bytes(choice))
            for choice in self._choices
        ]
        if self._plan is None or _moved(self._known, known):
            self._known = known
            self._plan = Plan(tuple(map(self._option, self._choices, known)))
        return self._plan

    def encoded(self, cut: int, level: int, payload_bytes: int) -> None:
        """A payload of this level has turned out so long."""
        declared = self._manifest.cuts[cut]
        if declared.levels[level].codec != "raw":
            self._figures.learn_size(cut, level, payload_bytes / payload_bytes_of(declared, declared.levels[level]))

    def _option(self, choice: Choice, known: _Known) -> Option:
        device_s, tier_s, payload_bytes = known
        if choice.level is None:
            return Option(choice, device_s, 0.0, 0.0, 0.0, self._device_accuracy(choice))
        cut = self._manifest.cuts[choice.cut]
        return Option(
            choice,
            device_s,
            payload_bytes,
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

    def _payload_bytes(self, choice: Choice) -> float:
        """As measured on the test set, corrected by what this device's inputs have come to; 0 for a device answer."""
        if choice.level is None:
            return 0.0
        cut = self._manifest.cuts[choice.cut]
        measured = payload_bytes_of(cut, cut.levels[choice.level])
        if cut.levels[choice.level].codec == "raw":
            return measured
        return measured * self._figures.size_factor(choice.cut, choice.level)

    def _device_accuracy(self, choice: Choice) -> float:
        position = exit_at(self._manifest, choice.cut)
        return _accuracy(self._manifest, None if position is None else self._manifest.exits[position].measured)


def choices_of(manifest: Manifest, routes: Iterable[Route]) -> Iterator[Choice]:
    """Every choice there is: whole model and exits here; by each route all levels of all cuts, but for those that have
    a tier show the input: people ask for these (policy `fixed`), and to a policy they are worth nothing.

    Lossless levels too: they send many times more than others, but cost the device next to nothing, and where the link
    is fast and the device slow they are the best. What they would do to a thin link is priced by `Goal.link_weight`.
    """
    yield Choice(len(manifest.segments), None, Route.DEVICE)
    for exit_ in manifest.exits:
        yield Choice(exit_.cut, None, Route.DEVICE)
    for route in routes:
        for cut in manifest.cuts:
            for level, declared in enumerate(cut.levels):
                if not (isinstance(declared, LearnedLevel) and declared.view):
                    yield Choice(cut.index, level, route)


def embedded_levels(manifest: Manifest) -> frozenset[tuple[int, int | None]]:
    """(cut, level) of the payloads that may be cut short: their training put what matters most in front, so that a
    front is worth about what a lower level of its length is."""
    if manifest.provenance.get("codec") != EMBEDDED:
        return frozenset()
    return frozenset(
        (cut.index, number)
        for cut in manifest.cuts
        for number, level in enumerate(cut.levels)
        if isinstance(level, LearnedLevel) and level.hyperprior is None
    )


def leaked_db(manifest: Manifest, choice: Choice) -> float:
    """How well pictures were painted from what a choice sends: PSNR, infinity where nobody tried, 0 for an answer here.

    What a handover sends on counts too.
    """
    if choice.level is None:
        return 0.0
    sent = [(choice.cut, choice.level), *([choice.handover] if choice.handover else [])]
    levels = [manifest.cuts[cut].levels[level] for cut, level in sent]
    return max(math.inf if level.leaked_psnr_db is None else level.leaked_psnr_db for level in levels)


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


def _moved(before: Sequence[_Known], now: Sequence[_Known]) -> bool:
    return any(
        abs(new - old) > DRIFT * old
        for row_before, row_now in zip(before, now, strict=True)
        for old, new in zip(row_before, row_now, strict=True)
    )


def _check(manifest: Manifest, routes: Sequence[Route], choice: Choice, most_leaked_db: float) -> None:
    """Whether bundle and routes have what a choice asks for, and it gives away no more than it may."""
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
    if (leaked := leaked_db(manifest, choice)) > most_leaked_db:
        known = f"has the input painted with {leaked:.1f} dB" if math.isfinite(leaked) else "was never attacked"
        raise PlanError(
            f"what the fixed policy sends {known}, and privacy.most_leaked_db is {most_leaked_db:g}; choose another "
            "level, or raise the bound (isthmus evaluate --leakage measures levels)"
        )
