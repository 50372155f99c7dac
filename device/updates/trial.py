"""What a new bundle has to show before it is let near a live frame."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device.errors import UnfitBundle
from device.sources.files import files_of_folder, read_item
from device.updates.settings import UpdateSettings
from runtime.answers import answer_of
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import Engine
from runtime.inputs import row_of
from runtime.manifest import Manifest, Profile
from runtime.measure import between_frames, time_parts
from runtime.stage import Stage

SURE = 1e-3
"""A promise is broken when what was seen had at most this probability if the promise held."""
LABELS = "labels.csv"


@dataclass(frozen=True, slots=True)
class Recorded:
    """An input with a batch axis, and the right answer where it is known."""

    item: NDArray[Any]
    label: int | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """What the candidate would take the place of."""

    manifest: Manifest
    profile: Profile
    """As measured here."""


def recorded_in(folder: Path) -> list[Recorded]:
    """Inputs of a folder, with the labels of its `labels.csv`.

    Raises:
        SourceError: there is nothing in it.
    """
    table = folder / LABELS
    labels = dict(csv.reader(table.read_text().splitlines())) if table.exists() else {}
    found = []
    for path in files_of_folder(folder):
        content = read_item(path)
        if not isinstance(content, str):
            label = labels.get(path.name)
            found.append(Recorded(content[np.newaxis], None if label is None else int(label)))
    return found


def try_out(
    bundle: Bundle, engine: Engine, recorded: Sequence[Recorded], before: InForce, settings: UpdateSettings
) -> Profile:
    """Verify, load, run and measure a candidate; returns what was measured. Blocks for a second or so.

    Raises:
        UnfitBundle: it breaks a rule or a promise; the sentence says which.
        BundleError: a file is not as declared, or the engine cannot run it.
    """
    _check_place(bundle.manifest, before.manifest)
    bundle.verify_all()
    manifest = bundle.manifest
    rows = [replace(one, item=row_of(one.item, manifest)) for one in recorded]
    fitting = [one for one in rows if one.item.shape[1:] == manifest.input.shape]
    if not fitting:
        raise UnfitBundle("none of the recorded inputs fits it, so it cannot be tried; record inputs for it")
    _check_answers(bundle, engine, fitting)
    items = [one.item for one in fitting]
    profile = time_parts(bundle, engine, items, budget_s=settings.measure_s, rest_s=between_frames)
    check_speed(bundle.manifest, profile, before, settings.slower)
    return profile


def _check_place(new: Manifest, old: Manifest) -> None:
    """It takes what the source gives, and follows the bundle in force."""
    taken, given = (", ".join(f"{one.dtype} {list(one.shape)}" for one in manifest.takes) for manifest in (new, old))
    if taken != given:
        raise UnfitBundle(f"it takes {taken}, and frames here are {given}; export it for this input")
    if new.model_id == old.model_id and new.counter <= old.counter:
        raise UnfitBundle(
            f"its counter is {new.counter}, and the bundle in force has {old.counter}; release it with a larger one"
        )


def _check_answers(bundle: Bundle, engine: Engine, recorded: Sequence[Recorded]) -> None:
    """Every level of every cut gives finite answers, as right and as like the whole model's as promised."""
    manifest = bundle.manifest
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    whole = [_label(stage.run(one.item)[0], "the model") for one in recorded]
    known = [(label, one.label) for label, one in zip(whole, recorded, strict=True) if one.label is not None]
    if manifest.measured is not None and known:
        _check_share("the whole model is right", [a == b for a, b in known], manifest.measured.accuracy)
    for cut in manifest.cuts:
        carried = [stage.run(one.item, 0, cut.index)[0] for one in recorded]
        for number, level in enumerate(cut.levels):
            codec, name = codecs.at(cut.index, number), f"cut {cut.index} level {number}"
            labels = [_label(stage.run(codec.decode(codec.encode(one)), cut.index)[0], name) for one in carried]
            if level.measured is not None:
                agreed = [label == true for label, true in zip(labels, whole, strict=True)]
                _check_share(f"{name} agrees with the whole model", agreed, level.measured.agreement)
    for exit_ in manifest.exits:
        for one in recorded:
            _label(stage.exit(exit_.cut, stage.run(one.item, 0, exit_.cut)[0]), f"the exit at cut {exit_.cut}")


def _label(logits: NDArray[Any], where: str) -> int:
    if not np.isfinite(logits).all():
        raise UnfitBundle(f"{where} gives NaN or infinite numbers; export it again from a sound model")
    return answer_of(logits).label


def _check_share(what: str, seen: Sequence[bool], promised: float) -> None:
    count, right = len(seen), sum(seen)
    if binomial_at_most(right, count, promised) <= SURE:
        raise UnfitBundle(
            f"{what} for {right} of {count} recorded inputs, where {promised:.1%} is promised; measure it again"
        )


def binomial_at_most(most: int, count: int, share: float) -> float:
    """Probability of at most so many successes."""
    return math.fsum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(most + 1))


def check_speed(new: Manifest, measured: Profile, before: InForce, slower: float) -> None:
    """Compared with its promise, corrected by how this machine compares with the promises of the bundle in force."""
    promised = _promised(new, measured.engine)
    if promised is None:
        return
    old = _promised(before.manifest, measured.engine)
    machine = 1.0 if old is None else sum(before.profile.segment_s) / sum(old.segment_s)
    factor = sum(measured.segment_s) / (machine * sum(promised.segment_s))
    if factor > slower:
        raise UnfitBundle(
            f"it is {factor:.1f} times slower than promised, and {slower:g} is the most; profile it again"
        )


def _promised(manifest: Manifest, engine: str) -> Profile | None:
    return next((one for one in manifest.profiles if one.engine == engine and sum(one.segment_s) > 0), None)
