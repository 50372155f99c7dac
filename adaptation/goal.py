"""What a frame is worth, and what it may spend."""

from __future__ import annotations

from dataclasses import dataclass

from adaptation.arrays import FloatArray
from adaptation.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Goal:
    """What a frame is worth: its answer if in time, less a little for latency and for keeping the next frames waiting.

    `importance * (1 - accuracy_weight * (1 - accuracy)) * P(in time)
    - latency_weight * E[min(latency, budget)] / budget
    - device_weight * max(0, (spent_s + device_s) / interval_s - 1)
    - link_weight * E[max(0, service_s / interval_s - 1)]
    - energy_weight * joules - the allowance's price * bytes`

    The weights make the goal: accuracy under a deadline (the default), deadline hits (`accuracy_weight` 0), latency
    (`latency_weight` near 1), energy (`energy_weight`), a byte budget (`Snapshot.allowance`), or anything between.

    Attributes:
        accuracy_weight: how much a wrong answer in time is worse than a right one: 1 makes it worthless, 0 as good.
        latency_weight: with a 250 ms deadline and 0.075, half a point of accuracy weighs as much as 17 ms.
        device_weight: what a lost frame costs, for options that need the device longer than frames are apart: at 115 ms
            and ten frames a second each answer costs 0.15 other frames. Too much for a single such frame, too little
            for a series; 0.7 served best in simulation.
        link_weight: what a frame interval is worth for which a message keeps the uplink to itself, beyond the first: it
            may have to be waited out by the frames behind it if the rate drops. Expected over the belief, so that a
            message of 50 kB is dear where the link may be thin, and free where it is surely fast.
        energy_weight: what a joule of the device is worth, for plans that know joules.
        curiosity: share of what knowing the rate would be worth to one frame (the expected value of perfect
            information, Howard 1966) that an answer from a tier is worth besides, for the frames after it. Only where
            nothing is hedged: a device that goes on alone keeps sending anyway.
        margin: share of the previous choice's worth by which another has to be better to replace it, right after a
            change ...
        settle_s: ... falling to a tenth of that in so many seconds without one.
        enough: a probability of being in time that counts as "can be in time"; below it for every option, the best
            chance is taken.
        hopeless: a probability below which even the best chance is not worth its bytes: the frame is given up.
        device_jitter_s: scale of what the device's own measured times leave unexplained.

    Raises:
        InvalidValue: a weight or share outside its range.
    """

    accuracy_weight: float = 1.0
    latency_weight: float = 0.075
    device_weight: float = 0.7
    link_weight: float = 0.03
    energy_weight: float = 0.0
    curiosity: float = 0.15
    margin: float = 0.01
    settle_s: float = 2.0
    enough: float = 0.2
    hopeless: float = 0.02
    device_jitter_s: float = 0.001

    def __post_init__(self) -> None:
        ranges = {
            "accuracy_weight": 1.0,
            "latency_weight": 10.0,
            "device_weight": 10.0,
            "link_weight": 10.0,
            "energy_weight": 1e6,
            "curiosity": 10.0,
            "margin": 1.0,
            "settle_s": 1e3,
            "enough": 1.0,
            "hopeless": 1.0,
        }
        bounds = {name: (0.0, high) for name, high in ranges.items()} | {"device_jitter_s": (1e-6, 10.0)}
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InvalidValue(f"{name} is {value!r}; it has to be a number from {low:g} to {high:g}")

    def of_answer(self, accuracy: FloatArray) -> FloatArray:
        """What an answer in time is worth that is right with this probability."""
        return accuracy if self.accuracy_weight == 1.0 else 1.0 - self.accuracy_weight * (1.0 - accuracy)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a frame may spend on the uplink.

    Attributes:
        left_bytes: no message may be longer.
        price: what a byte costs, in the units of `Goal`.
    """

    left_bytes: float
    price: float
