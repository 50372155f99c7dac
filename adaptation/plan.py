"""What may be done with a frame, and what each way of it costs: the table that a policy chooses from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from adaptation.arrays import FloatArray, read_only
from adaptation.errors import InvalidValue

CLOG_S = 2.0
"""The longest time for which a message is held to block a link: a link that slow is about to change, or is given up."""


class Route(StrEnum):
    """Who gives the answer, and by which way the frame gets there."""

    DEVICE = "device"
    EDGE = "edge"
    CLOUD = "cloud"
    """Straight to the cloud, over the device's own uplink."""
    EDGE_TO_CLOUD = "edge_to_cloud"
    """To the edge, which passes it (or its own features, see `Choice.handover`) on to the cloud."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What to do with one frame.

    For `Route.DEVICE`, `cut` is the cut of the exit that answers, or the number of segments for the whole model, and
    `level` is None. For the others the device runs the segments before `cut` and sends the features at rate `level`.
    `handover` is the (cut, level) at which the edge passes an `EDGE_TO_CLOUD` frame on; None passes it on as it came.
    """

    cut: int
    level: int | None
    route: Route
    handover: tuple[int, int] | None = None

    @property
    def remote(self) -> bool:
        """Whether the frame leaves the device."""
        return self.route is not Route.DEVICE


@dataclass(frozen=True, slots=True)
class Option:
    """One row of the plan: a choice and its measured figures.

    Attributes:
        device_s: seconds of the device: head, exit classifier and encoder; for a device answer all of it.
        payload_bytes: mean bytes of the payload, 0 for a device answer.
        overhead_bytes: what message and stream headers add to each payload on the uplink.
        result_bytes: bytes of the result on the way down.
        tier_s: seconds inside the tier without waiting there (for `EDGE_TO_CLOUD`, of both tiers).
        accuracy: share of right answers on the bundle's test set, 0 to 1.
        head_s: the part of `device_s` that leads to the cut, encoder and exit not counted; None takes all of it.
        joules: what the device spends on it, computing and sending; 0 where nobody has measured that.

    Raises:
        InvalidValue: a negative or non-finite figure, an accuracy outside 0 to 1, a remote choice without a level.
    """

    choice: Choice
    device_s: float
    payload_bytes: float
    result_bytes: float
    tier_s: float
    accuracy: float
    overhead_bytes: float = 0.0
    head_s: float | None = None
    joules: float = 0.0

    def __post_init__(self) -> None:
        for name in ("device_s", "payload_bytes", "result_bytes", "tier_s", "overhead_bytes", "accuracy", "joules"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise InvalidValue(f"{name} of {self.choice} is {value!r}; it has to be a finite number of at least 0")
        if self.accuracy > 1.0:
            raise InvalidValue(f"accuracy of {self.choice} is {self.accuracy!r}; it has to be a share from 0 to 1")
        if self.choice.remote and self.choice.level is None:
            raise InvalidValue(f"{self.choice} leaves the device but names no level; give the rate level to send it at")

    @property
    def message_bytes(self) -> float:
        """Bytes on the uplink: payload and overhead; 0 for a device answer."""
        return self.payload_bytes + self.overhead_bytes if self.choice.remote else 0.0

    @property
    def reached_s(self) -> float:
        """Device seconds after which the features at the cut are there."""
        return self.device_s if self.head_s is None else self.head_s

    def after_s(self, cut: int, head_s: float) -> float:
        """Device seconds of this device answer for a frame whose features at `cut` are kept: from there on, or from
        the input if its exit lies before the cut."""
        return max(self.device_s - head_s, 0.0) if self.choice.cut >= cut else self.device_s


@dataclass(frozen=True, slots=True)
class Columns:
    """The figures of a plan as read-only arrays, one entry per option in plan order."""

    device_s: FloatArray
    message_bytes: FloatArray
    tier_s: FloatArray
    accuracy: FloatArray
    joules: FloatArray
    result_bytes: FloatArray
    local: NDArray[np.intp]
    """Indices of the options the device answers itself."""
    own: tuple[tuple[int, float], ...]
    """The same, with the device's seconds: for so few, plain numbers are quicker than arrays."""
    routes: tuple[Route, ...]
    """The routes the plan uses."""
    route: NDArray[np.intp]
    """The place of the option's route in `routes`."""
    remote: int | None
    """The place in `routes` of the only one that leaves the device; None if there are several, or none."""
    continue_s: FloatArray
    """[options, local]: device seconds in which each local answer is had once the option has been computed ..."""
    after_s: FloatArray
    """[options, local]: ... and the option's own with them."""
    positions: Mapping[Choice, int]
    _kept: dict[str, tuple[tuple[object, ...], FloatArray]] = field(default_factory=dict)

    def service_s(self, rates_bps: FloatArray) -> FloatArray:
        """[options, rates]: seconds that the messages take on the uplink, and their frames in the tier."""
        return self.kept(
            ("service", rates_bps, None),
            lambda: np.multiply.outer(self.message_bytes, 8.0 / rates_bps) + self.tier_s[:, None],
        )

    def clog(self, rates_bps: FloatArray, interval_s: float) -> FloatArray:
        """[options, rates]: frame intervals beyond the first for which a message keeps a link of this rate to itself,
        at most `CLOG_S`, and none on the dead link, which nothing can clog."""
        return self.kept(("clog", rates_bps, interval_s), lambda: self._clog(rates_bps, interval_s))

    def _clog(self, rates_bps: FloatArray, interval_s: float) -> FloatArray:
        sending_s = np.multiply.outer(self.message_bytes, 8.0 / rates_bps)
        over_s: FloatArray = np.clip(sending_s - interval_s, 0.0, CLOG_S)
        over_s[:, 0] = 0.0
        return over_s / interval_s

    def kept(self, key: tuple[str, object, object], make: Callable[[], FloatArray]) -> FloatArray:
        """What `make` gives, kept until it is asked for by this name with other values than the last time."""
        name, *values = key
        found = self._kept.get(name)
        if found is not None and found[0][0] is values[0] and found[0][1] == values[1]:
            return found[1]
        made = make()
        self._kept[name] = (tuple(values), made)
        return made


@dataclass(frozen=True, slots=True)
class Plan:
    """The table a policy chooses from. Build it once per bundle and share it: it keeps its figures as arrays.

    Behaves as a sequence of `Option`: `len`, iteration, indexing.

    Raises:
        InvalidValue: no options, or two with the same choice.
    """

    options: tuple[Option, ...]
    columns: Columns = field(init=False, repr=False, compare=False)
    _rests: dict[int, Plan] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        if not self.options:
            raise InvalidValue("the plan has no options; give it at least one way to answer a frame")
        positions = {option.choice: index for index, option in enumerate(self.options)}
        if len(positions) != len(self.options):
            raise InvalidValue("the plan names one choice twice; keep one row per (cut, level, route, handover)")
        routes = tuple(dict.fromkeys(option.choice.route for option in self.options))
        leaving = [place for place, route in enumerate(routes) if route is not Route.DEVICE]
        locals_ = [option for option in self.options if not option.choice.remote]
        continue_s = read_only(
            [[own.after_s(option.choice.cut, option.reached_s) for own in locals_] for option in self.options]
        )
        columns = Columns(
            device_s=read_only([option.device_s for option in self.options]),
            message_bytes=read_only([option.message_bytes for option in self.options]),
            tier_s=read_only([option.tier_s for option in self.options]),
            accuracy=read_only([option.accuracy for option in self.options]),
            joules=read_only([option.joules for option in self.options]),
            result_bytes=read_only([option.result_bytes for option in self.options]),
            local=np.array([i for i, option in enumerate(self.options) if not option.choice.remote], dtype=np.intp),
            own=tuple((i, option.device_s) for i, option in enumerate(self.options) if not option.choice.remote),
            routes=routes,
            route=np.array([routes.index(option.choice.route) for option in self.options], dtype=np.intp),
            remote=leaving[0] if len(leaving) == 1 else None,
            continue_s=continue_s,
            after_s=read_only(continue_s + np.array([[option.device_s] for option in self.options])),
            positions=positions,
        )
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        return len(self.options)

    def __iter__(self) -> Iterator[Option]:
        return iter(self.options)

    def __getitem__(self, index: int) -> Option:
        return self.options[index]

    def rest(self, cut: int) -> Plan:
        """What is left for a frame whose features at `cut` are there: every level and route of that cut, at the cost of
        its encoder, and the device's answers, from there on or, by an exit before the cut, from the input. Worked out
        once for each cut.

        Raises:
            InvalidValue: nothing is left.
        """
        if cut not in self._rests:
            here = [one for one in self.options if one.choice.cut == cut and one.choice.remote]
            head_s = max((one.reached_s for one in here), default=0.0)
            own = [one for one in self.options if not one.choice.remote]
            self._rests[cut] = Plan((
                *(replace(one, device_s=max(one.device_s - one.reached_s, 0.0), head_s=0.0) for one in here),
                *(replace(one, device_s=one.after_s(cut, head_s), head_s=None) for one in own),
            ))  # fmt: skip
        return self._rests[cut]

    def find(self, choice: Choice) -> Option | None:
        """The row of a choice, or None if the plan has none."""
        index = self.columns.positions.get(choice)
        return None if index is None else self.options[index]
