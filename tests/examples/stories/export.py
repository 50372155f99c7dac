"""The stories' model as a bundle of three segments, each with its key-value cache as state."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from runtime.bundle import MANIFEST_NAME, file_entry
from runtime.manifest import Cut, Manifest, RawLevel, Segment, TensorSpec, ZstdLevel
from tests.examples.stories.model import Part, Shape, read

SPLIT = (range(2), range(2, 4), range(4, 5))
"""Layers of each segment: for device, edge and cloud."""


def export(weights_path: Path, folder: Path) -> Path:
    """Write the bundle into an empty folder; its path."""
    shape, weights = read(weights_path)
    root = folder / "stories.isthmus"
    root.mkdir()
    for place, layers in enumerate(SPLIT):
        part = Part(shape, weights, layers, embeds=place == 0, answers=place + 1 == len(SPLIT)).eval()
        _export(part, shape, layers, root / f"segment_{place}.onnx", embeds=place == 0)
    token = TensorSpec(name="token", dtype="int64", shape=(1,))
    inner = tuple(TensorSpec(name=f"x{place}", dtype="float32", shape=(shape.dim,)) for place in range(1, len(SPLIT)))
    vocabulary = len(weights["tok_embeddings.weight"])
    manifest = Manifest(
        schema_version=1,
        model_id="stories",
        task="tensor",
        input=token,
        outputs=(TensorSpec(name="logits", dtype="float32", shape=(vocabulary,)),),
        segments=tuple(
            Segment(model=f"segment_{place}.onnx", macs=0, parameters=0, state=_state(shape, layers))
            for place, layers in enumerate(SPLIT)
        ),
        cuts=tuple(
            Cut(index=place, after="input" if place == 0 else f"layers.{SPLIT[place - 1][-1]}", tensor=tensor,
                levels=(ZstdLevel(), RawLevel()))
            for place, tensor in enumerate((token, *inner))
        ),
        files={path.name: file_entry(path) for path in sorted(root.iterdir())},
    )  # fmt: skip
    (root / MANIFEST_NAME).write_bytes(manifest.to_bytes())
    return root


def _state(shape: Shape, layers: range) -> tuple[TensorSpec, ...]:
    cache = (len(layers), shape.context, shape.kv_dim)
    return (
        TensorSpec(name="position", dtype="int64", shape=(1,)),
        TensorSpec(name="keys", dtype="float32", shape=cache),
        TensorSpec(name="values", dtype="float32", shape=cache),
    )


def _export(part: Part, shape: Shape, layers: range, path: Path, *, embeds: bool) -> None:
    cache = torch.zeros(2, len(layers), shape.context, shape.kv_dim)
    x = torch.ones(2, 1, dtype=torch.int64) if embeds else torch.zeros(2, shape.dim)
    example = (x, torch.zeros(2, 1, dtype=torch.int64), cache, cache.clone())
    batch = torch.export.Dim("batch", min=1)
    shapes = tuple({0: batch} for _ in example)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name: batch")  # all inputs share it, as they should
        program = torch.onnx.export(part, example, dynamo=True, dynamic_shapes=shapes, optimize=False, verbose=False)
    assert program is not None
    program.save(str(path), external_data=False)
