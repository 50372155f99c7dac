"""A bundle's manifest and what its parts take on each machine, as a chain to choose on."""

from __future__ import annotations

from collections.abc import Sequence

from partitioner.planning.chain import Chain, Level, Place
from partitioner.planning.network import Link, Source, Tier
from partitioner.profiling.lookup import OnMachine
from runtime import manifest as declared


def chain_of(
    manifest: declared.Manifest, machines: Sequence[OnMachine], tiers: tuple[Tier, ...], links: tuple[Link, ...]
) -> Chain:
    """The manifest's segments, cuts and levels with what they take on each machine."""
    whole = None if manifest.measured is None else manifest.measured.accuracy
    return Chain(
        places=tuple(
            Place(
                cut.after,
                tuple(
                    _level_of(cut, number, whole, [machine.codec_s[cut.index][number] for machine in machines])
                    for number in range(len(cut.levels))
                ),
            )
            for cut in manifest.cuts
        ),
        seconds=tuple(
            tuple(machine.seconds[number] for machine in machines) for number in range(len(manifest.segments))
        ),
        memory_bytes=tuple(map(float, machines[0].peak_bytes or _memory(manifest))),
        result_bytes=float(sum(output.nbytes for output in manifest.outputs)),
        tiers=tiers,
        links=links,
        accuracy=whole,
    )


def _level_of(cut: declared.Cut, number: int, whole: float | None, codec_s: Sequence[tuple[float, float]]) -> Level:
    level = cut.levels[number]
    size, source = _bytes_of(cut, level)
    lossless = level.codec in ("raw", "zstd")
    loss: float | None = 0.0 if lossless else None
    if level.measured is not None and whole is not None and not lossless:
        loss = whole - level.measured.accuracy
    name = f"{level.codec} {getattr(level, 'row', getattr(level, 'quality', ''))}".strip()
    return Level(
        name=level.format + f" {level.quality}" if isinstance(level, declared.ImageLevel) else name,
        bytes=size,
        encode_s=tuple(encode for encode, _ in codec_s),
        decode_s=tuple(decode for _, decode in codec_s),
        loss=loss,
        source=source,
    )


def _bytes_of(cut: declared.Cut, level: declared.Level) -> tuple[float, Source]:
    """Mean bytes of a payload where measured; else what the shape says: a byte per element of a latent."""
    if level.measured is not None:
        return level.measured.payload_bytes, "measured"
    if isinstance(level, declared.LearnedLevel):
        return float(level.latent.elements), "declared"
    return float(cut.tensor.nbytes), "declared"


def _memory(manifest: declared.Manifest) -> list[int]:
    """[segments + 1]: weights of the first segments, and the largest pair of tensors in and out."""
    outputs = [*(cut.tensor.nbytes for cut in manifest.cuts[1:]), sum(spec.nbytes for spec in manifest.gives)]
    weights, most, found = 0, 0, [0]
    for segment, cut, output in zip(manifest.segments, manifest.cuts, outputs, strict=True):
        weights += 4 * segment.parameters
        most = max(most, cut.tensor.nbytes + output)
        found.append(weights + most)
    return found
