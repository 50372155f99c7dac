"""A recipe carried out: capture, train, count symbols, export, measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.training.named import model_named
from isthmus.training.recipe import Recipe
from isthmus.training.samples import Split, read
from partitioner.api import Partition, partition
from partitioner.bundle_writer import replace_manifest
from partitioner.compressors.bottleneck import Bottleneck, Shape
from partitioner.compressors.errors import InvalidRecipe
from partitioner.compressors.fitting import fit_parts
from partitioner.compressors.methods import METHODS, Method
from partitioner.compressors.trainer import Plan, Teacher, choose_device, train_compressor
from partitioner.compressors.views import viewed
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.manifest import Manifest, Measured, RawLevel, ZstdLevel
from runtime.stage import Stage

Report = Callable[[str, float], None]
_MATCHED: Final = 3
_COUNTED, _TESTED, _BATCH = 4_000, 2_000, 50
_LOOKED_AT: Final = 256


@dataclass(frozen=True, slots=True)
class Trained:
    """What came out.

    Attributes:
        manifest: of the bundle, with measured figures.
        warnings: sentences for a person, e.g. of a collapse.
    """

    manifest: Manifest
    warnings: tuple[str, ...]


def train(recipe: Recipe, report: Report) -> Trained:
    """Train the recipe's compressor and write its bundle; goes on from the work folder after an interruption.

    Args:
        report: called with a text and the share done, 0 to 1.

    Raises:
        InvalidRecipe, TrainingFailed, PartitionError: the message names the key or the file.
        BadItems, NoSuchModel: the samples or the model cannot be read.
    """
    model = model_named(recipe.model)
    seen, fresh = read(recipe.data, recipe.test)
    example, _ = seen.take(np.arange(2))
    parts = partition(model, example, cuts=[recipe.cut])
    warnings: list[str] = []
    compressor = _trained(recipe, parts, model, example, seen, report, warnings.append)
    report("counting symbols", 0.9)
    fitted = fit_parts(compressor, _activations(parts, seen.plain()))
    report("exporting", 0.93)
    parts.save(
        recipe.output,
        model_id=recipe.model.replace(":", "."),
        task=recipe.task,
        levels={recipe.cut: [*fitted, ZstdLevel(), RawLevel()]},
        provenance={"codec": recipe.method, "seed": str(recipe.training.seed), "samples": str(len(seen))},
        overwrite=True,
    )
    report("measuring", 0.95)
    with Bundle.open(recipe.output) as bundle:
        manifest = _measured(bundle, fresh) if recipe.task == "classification" else bundle.manifest
    replace_manifest(recipe.output, manifest)
    report("done", 1.0)
    return Trained(manifest, tuple(warnings))


def _trained(
    recipe: Recipe,
    parts: Partition,
    model: nn.Module,
    example: Tensor,
    seen: Split,
    report: Report,
    warn: Callable[[str], None],
) -> Bottleneck:
    device = choose_device(recipe.training.device)
    taught = partition(model.to(device), example.to(device), cuts=_places(recipe, parts))
    teacher = Teacher(taught.segments[0], taught.segments[1:], recipe.task == "classification", device)
    settings = recipe.training
    plan = Plan(recipe.bottleneck.bit_weights, settings.steps, settings.batch, settings.learning_rate, settings.seed)
    compressor = train_compressor(
        _method(recipe, seen),
        _shape(recipe, parts),
        teacher,
        seen,
        plan,
        work=recipe.work,
        report=lambda told, done: report(told, 0.9 * done),
        warn=warn,
        about=recipe.model_dump_json(include={"model", "cut", "match", "task", "data"}),
    )
    model.cpu()
    return compressor


def _method(recipe: Recipe, seen: Split) -> Method:
    method = METHODS[recipe.method]
    if recipe.view is None:
        return method
    inputs, _ = seen.plain().take(np.arange(min(_LOOKED_AT, len(seen))))
    return viewed(method, inputs, recipe.view.weight)


def _places(recipe: Recipe, parts: Partition) -> list[str]:
    """The cut, and the later places whose activations are matched."""
    at = parts.cuts[0]
    later = [cut for cut in parts.every_cut if cut.macs_before > at.macs_before and cut.macs_after > 0]
    if recipe.match is not None:
        return [recipe.cut, *recipe.match]
    wanted = [at.macs_before + at.macs_after * share / (_MATCHED + 1) for share in range(1, _MATCHED + 1)]
    chosen = [min(later, key=lambda cut, aim=aim: abs(cut.macs_before - aim)).name for aim in wanted if later]  # type: ignore[misc]
    return [recipe.cut, *dict.fromkeys(chosen)]


def _shape(recipe: Recipe, parts: Partition) -> Shape:
    """The bottleneck's sizes at this cut.

    Raises:
        InvalidRecipe: the cut is no float32 [channels, height, width], or the plane cannot be halved so often.
    """
    tensor, settings = parts.cuts[0], recipe.bottleneck
    if tensor.dtype != torch.float32 or len(tensor.shape) != 3:
        raise InvalidRecipe(
            f"cut {recipe.cut!r} carries {tensor.dtype} {list(tensor.shape)}, and bottlenecks are for float32 "
            "[channels, height, width]; choose another cut, or use isthmus train calibrated"
        )
    channels, height, width = tensor.shape
    if height % 2**settings.halvings or width % 2**settings.halvings:
        raise InvalidRecipe(
            f"a plane of {height}x{width} cannot be halved {settings.halvings} times; lower bottleneck.halvings"
        )
    if settings.whole and height != width:
        raise InvalidRecipe(f"bottleneck.whole needs a square plane, and {recipe.cut!r} has {height}x{width}")
    plane = height >> settings.halvings if settings.whole else 0
    levels = len(settings.bit_weights)
    return Shape(channels, settings.halvings, settings.width, settings.latent, levels, plane, settings.depth)


def _activations(parts: Partition, seen: Split) -> list[Tensor]:
    count = min(_COUNTED, len(seen))
    with torch.inference_mode():
        return [
            parts.run(seen.take(np.arange(start, min(start + _BATCH, count)))[0], last=1)
            for start in range(0, count, _BATCH)
        ]


def _measured(bundle: Bundle, fresh: Split) -> Manifest:
    """The manifest with bytes, accuracy and agreement of the learned levels on samples that training did not see.

    Without labels the accuracy is the agreement with the whole model.
    """
    engine = engine_named("onnxruntime", 1)
    stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
    count = min(_TESTED, len(fresh))
    inputs, labels = fresh.take(np.arange(count))
    items = inputs.numpy()
    activations = np.concatenate([stage.run(batch, 0, 1)[0] for batch in _batches(items)])
    whole = np.concatenate([stage.run(batch, 1)[0] for batch in _batches(activations)]).argmax(1)
    truth = whole if labels is None else labels.numpy()
    cut = bundle.manifest.cuts[1]
    levels = []
    for number, level in enumerate(cut.levels):
        codec = codecs.at(1, number)
        payloads = [codec.encode(item[None]) for item in activations]
        restored = np.concatenate([codec.decode(payload) for payload in payloads])
        answers = np.concatenate([stage.run(batch, 1)[0] for batch in _batches(restored)]).argmax(1)
        sizes = float(np.mean([len(payload) for payload in payloads]))
        levels.append(level.model_copy(update={"measured": _figures(sizes, answers, truth, whole)}))
    cuts = (bundle.manifest.cuts[0], cut.model_copy(update={"levels": tuple(levels)}))
    of_whole = _figures(float(bundle.manifest.input.nbytes), whole, truth, whole)
    return bundle.manifest.model_copy(update={"cuts": cuts, "measured": of_whole})


def _batches(items: NDArray[Any]) -> list[NDArray[Any]]:
    return [items[start : start + _BATCH] for start in range(0, len(items), _BATCH)]


def _figures(
    payload_bytes: float, answers: NDArray[np.int64], truth: NDArray[np.int64], whole: NDArray[np.int64]
) -> Measured:
    return Measured(
        payload_bytes=round(payload_bytes, 2),
        accuracy=round(float((answers == truth).mean()), 5),
        agreement=round(float((answers == whole).mean()), 5),
        items=len(answers),
    )
