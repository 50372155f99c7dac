"""The profile of a machine: a JSON file with what the segments of some models take there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from partitioner.errors import ProfileUnusable

MAX_BYTES = 16 << 20
"""Bound on a profile's file."""

Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Timing(_Declared):
    """Seconds of one part for one item: the median of several runs, and half the distance between its quartiles."""

    median_s: Seconds
    spread_s: Seconds = 0.0
    runs: Annotated[int, Field(ge=1)] = 1


class SegmentFigures(_Declared):
    """One segment of a bundle on this machine. Counts and bytes are for one item.

    Attributes:
        after: name of the cut in front, "input" for the first.
        macs_before: multiply-accumulates in front of that cut.
        reference_s: seconds on the machine that wrote the bundle, where it says so.
        peak_bytes: how much larger the largest resident size of a process is that has loaded and run all segments up to
            this one than that of a process that has run none; None where the system does not tell.
    """

    after: str
    macs_before: Count
    macs: Count
    weight_bytes: Count
    input_bytes: Count
    output_bytes: Count
    time: Timing
    reference_s: Seconds | None = None
    peak_bytes: Count | None = None


class LevelFigures(_Declared):
    """Encoding and decoding one level of one cut."""

    codec: str
    encode: Timing
    decode: Timing


class ModelFigures(_Declared):
    """One bundle on this machine.

    Attributes:
        graph: names the network that was cut, wherever it was cut; "" where the bundle does not say.
        levels: [cut][level]
    """

    model_id: str
    bundle: str
    """Digest, hexadecimal."""
    graph: str
    segments: tuple[SegmentFigures, ...]
    levels: tuple[tuple[LevelFigures, ...], ...]

    @property
    def seconds(self) -> float:
        """All segments, one after the other."""
        return sum(segment.time.median_s for segment in self.segments)


class Power(_Declared):
    """What computing adds to the machine's draw. "measured": by the processor's energy counters; "declared": stated."""

    watts: Annotated[float, Field(ge=0)]
    source: Literal["measured", "declared"]


class MachineProfile(_Declared):
    """What a machine takes with one engine and number of threads.

    Attributes:
        clock: "processor": seconds of the one thread that works, whatever else runs; "wall": of several threads.
        scale: all seconds are multiplied by it when used. Other than 1, the figures count as declared.
        power: None where neither measured nor stated; then no plan for energy can be made.
    """

    schema_version: Literal[1] = 1
    machine: str
    processor: str = ""
    engine: str
    engine_version: str = ""
    threads: Annotated[int, Field(ge=1)] = 1
    clock: Literal["processor", "wall"] = "processor"
    scale: Annotated[float, Field(gt=0)] = 1.0
    power: Power | None = None
    models: tuple[ModelFigures, ...] = ()

    @classmethod
    def load(cls, path: Path | str) -> MachineProfile:
        """Read a profile.

        Raises:
            ProfileUnusable: no file there, or not what this release writes; says which entry.
        """
        path = Path(path)
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ProfileUnusable(f"{path} is larger than {MAX_BYTES} bytes, so it is no profile; check the path")
            content = path.read_bytes()
        except OSError as exc:
            raise ProfileUnusable(
                f"there is no profile to read at {str(path)!r} ({exc.strerror}); "
                f"make one on that machine: isthmus profile BUNDLE --output {path.name}"
            ) from exc
        try:
            return cls.model_validate_json(content)
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ProfileUnusable(
                f"{path} is no profile of a machine: {where}: {first['msg']}; make it again with isthmus profile"
            ) from exc

    def save(self, path: Path | str) -> None:
        """Write the profile beside its place, then move it there."""
        path = Path(path)
        beside = path.with_name(f".{path.name}.partial")
        try:
            beside.write_text(self.model_dump_json(indent=1, exclude_none=True) + "\n", encoding="utf-8")
            beside.replace(path)
        except OSError as exc:
            raise ProfileUnusable(f"{path} cannot be written ({exc.strerror}); choose another path") from exc

    def slowed(self, factor: float) -> MachineProfile:
        """A machine that is so many times slower, as an emulated device is. Its figures count as declared."""
        return self.model_copy(update={"scale": self.scale * factor})
