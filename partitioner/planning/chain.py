"""A bundle as a question: segments in a row, the places between them with their levels, tiers and links."""

from __future__ import annotations

from dataclasses import dataclass

from partitioner.errors import InvalidSetting
from partitioner.planning.network import Link, Source, Tier


@dataclass(frozen=True, slots=True)
class Level:
    """One way to send the tensor of a place.

    Attributes:
        bytes: of one payload; `source` says whether that is a mean over data or follows from the shape.
        encode_s, decode_s: on each tier.
        loss: what the answer's accuracy loses against the whole model; None where nobody has measured it.
    """

    name: str
    bytes: float
    encode_s: tuple[float, ...]
    decode_s: tuple[float, ...]
    loss: float | None = 0.0
    source: Source = "declared"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame may leave a tier: in front of a segment."""

    name: str
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Chain:
    """Segments on tiers. Figures are for one item.

    Attributes:
        places: `places[k]` lies in front of segment k; the first is the model's input.
        seconds: [segments][tiers]
        memory_bytes: [segments + 1], of a device that runs so many segments.
        result_bytes: of what comes back to the device.
        accuracy: of the whole model; None where nobody has measured it.
        tiers: from the device upwards, 1 to 3.
        links: `links[k]` joins `tiers[k]` and `tiers[k + 1]`.

    Raises:
        InvalidSetting: lengths that do not fit together.
    """

    places: tuple[Place, ...]
    seconds: tuple[tuple[float, ...], ...]
    memory_bytes: tuple[float, ...]
    result_bytes: float
    tiers: tuple[Tier, ...]
    links: tuple[Link, ...]
    accuracy: float | None = None

    def __post_init__(self) -> None:
        segments, tiers = len(self.seconds), len(self.tiers)
        if not 1 <= tiers <= 3 or len(self.links) != tiers - 1:
            raise InvalidSetting(
                f"a chain has one to three tiers and a link between neighbours; got {tiers} tiers and "
                f"{len(self.links)} links; name one link per tier above the device"
            )
        if not segments or len(self.places) != segments or len(self.memory_bytes) != segments + 1:
            raise InvalidSetting(
                "a chain has segments, a place in front of each and memory in front of and behind each"
            )
        for row in self.seconds:
            if len(row) != tiers or not all(0 <= seconds < float("inf") for seconds in row):
                raise InvalidSetting(f"segments need finite seconds of at least 0 on each of {tiers} tiers; got {row}")
        for place in self.places:
            for level in place.levels:
                if len(level.encode_s) != tiers or len(level.decode_s) != tiers:
                    raise InvalidSetting(
                        f"level {level.name!r} of {place.name!r} needs seconds on each of {tiers} tiers"
                    )
