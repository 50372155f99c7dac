"""Fashion-MNIST: trained compressors against picture files, each with a network that was tuned on its output.

`make results-codec` (`python -m benchmarks.rate_fashion`) trains, for some tens of minutes on one free core, and
keeps every finished stage; `isthmus bench rate_fashion` reads them when all are there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

import torch
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from benchmarks import fashion, fashion_codecs, fashion_embedded, fashion_pictures
from benchmarks.figure import Figure
from isthmus.evaluation import baselines
from isthmus.evaluation.curves import Curve, bytes_at
from partitioner.compressors.resumable import Report

SEED: Final = 1
QUALITIES: Final = (0.88, 0.905)
BOTTLEFIT_SAVING, BOTTLEFIT_LOSS = 0.771, 0.006


def figures() -> Sequence[Figure]:
    """Nothing where the trainings have not run."""
    if not fashion.at_hand() or not _finished():
        return []
    network = fashion.train_network(fashion.WORK / "network.safetensors", SEED, _silent)
    whole = fashion.accuracy(network, *fashion.read("test"))
    pictures = fashion_pictures.curves(network, _silent)
    found = [fashion_codecs.measure(codec, network, _silent) for codec in fashion_codecs.CODECS]
    return [
        Figure("whole network, top-1", whole, "share", 0.92, "at least", "10,000 test pictures"),
        *_against_pictures(found, pictures),
        *_bottlefit(found, whole),
        *_embedded(fashion_embedded.measure(network, _silent)),
        *(_row(curve) for curve in (*(one.curve for one in found), *pictures)),
    ]


def _finished() -> bool:
    folders = [fashion.WORK / codec.name.replace(" ", "-") / "curve.npz" for codec in fashion_codecs.CODECS]
    files = [
        fashion.WORK / "pictures" / f"{format}-{quality}.npz"
        for format, qualities in fashion_pictures.QUALITIES.items()
        for quality in qualities
    ]
    return all(path.is_file() for path in (*folders, *files, fashion_embedded.FOLDER / "measured.npz"))


def _against_pictures(found: Sequence[fashion_codecs.Found], pictures: Sequence[Curve]) -> list[Figure]:
    """Ratios of bytes at equal accuracy, ours with at most half of the network on the device."""
    light = [one for one in found if one.device_share <= 0.5]
    made = []
    for quality in QUALITIES:
        best = min(light, key=lambda one: bytes_at(one.curve.bytes, one.curve.quality, quality))
        ours = bytes_at(best.curve.bytes, best.curve.quality, quality)
        for ending, target in (("tuned network", 1 / 8), ("tuned network, constant bytes out of band", 1 / 6)):
            rival = min(
                (curve for curve in pictures if curve.name.endswith(ending)),
                key=lambda curve: bytes_at(curve.bytes, curve.quality, quality),
            )
            theirs = bytes_at(rival.bytes, rival.quality, quality)
            told = f"{rival.name}: {theirs:.1f} B; {best.curve.name}: {ours:.1f} B"
            made.append(Figure(f"bytes at {quality:.1%}, {ending}", ours / theirs, "ratio", target, "at most", told))
        made.append(Figure(f"device share of MACs at {quality:.1%}", best.device_share, "share", 0.5))
    return made


def _bottlefit(found: Sequence[fashion_codecs.Found], whole: float) -> list[Figure]:
    """Its headline on another data set: 77.1 % fewer bytes than JPEG of quality 95, at a loss of 0.6 points."""
    pictures, _ = fashion.read("test")
    files = baselines.picture_files([grey[..., 0] for grey in pictures[:1000]], "jpeg", 95)
    jpeg = sum(map(len, files)) / len(files)
    light = [one for one in found if one.device_share <= 0.25]
    kept = [
        (float(size), one)
        for one in light
        for size, quality in zip(one.curve.bytes, one.curve.quality, strict=True)
        if quality >= whole - BOTTLEFIT_LOSS
    ]
    if not kept:
        most = max(float(one.curve.quality.max()) for one in light)
        return [Figure("points lost with a quarter of the MACs on the device", 100 * (whole - most), "points", 0.6)]
    size, one = min(kept, key=lambda pair: pair[0])
    told = f"JPEG of quality 95, {jpeg:.0f} B; {one.curve.name}, {one.device_share:.0%} of the MACs, {size:.1f} B"
    return [Figure("bytes saved at a loss of 0.6 points", 1 - size / jpeg, "share", BOTTLEFIT_SAVING, "at least", told)]


def _embedded(found: fashion_embedded.Embedded) -> list[Figure]:
    """One bitstream, cut in half; and in packets, of which each is lost with 20 %."""
    half, lossy = (100 * (found.whole - share) for share in (found.half, found.lossy))
    told = f"whole payloads: {found.payload_bytes:.1f} B {found.whole:.2%}"
    packets = f"{told}; {fashion_embedded.PACKETS} packets: {found.packets_bytes:.1f} B"
    return [
        Figure("embedded, half of the payload: points lost", half, "points", 2.0, "at most", told),
        Figure("embedded, 20 % of packets lost: points lost", lossy, "points", 1.5, "at most", packets),
    ]


def _row(curve: Curve) -> Figure:
    told = ", ".join(f"{size:.1f} B {quality:.2%}" for size, quality in zip(curve.bytes, curve.quality, strict=True))
    return Figure(f"{curve.name}: bytes at 88 %", bytes_at(curve.bytes, curve.quality, 0.88), "bytes", against=told)


def train(report: Report) -> None:
    """Everything that is not there yet."""
    network = fashion.train_network(fashion.WORK / "network.safetensors", SEED, report)
    fashion_pictures.curves(network, report)
    for codec in fashion_codecs.CODECS:
        fashion_codecs.measure(codec, network, report)
    fashion_embedded.measure(network, report)


def _silent(told: str, done: float) -> None:
    """No progress."""


def _main() -> int:
    if not fashion.at_hand():
        print(f"there is no Fashion-MNIST in {fashion.DATA}; set ISTHMUS_DATA", file=sys.stderr)
        return 2
    torch.set_flush_denormal(True)
    with Progress(BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}")) as progress:
        bars: dict[str, TaskID] = {}

        def report(told: str, done: float) -> None:
            stage = told.partition(":")[0]
            if stage not in bars:
                bars[stage] = progress.add_task("", total=1.0)
            progress.update(bars[stage], completed=done, description=told)

        train(report)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
