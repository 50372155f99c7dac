"""The models that our tier and other servers answer with, in the forms that they want them in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import mobilenet
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.manifest import RawLevel
from runtime.stage import Stage

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "results" / "peers"
DIGITS: Final = ROOT / "isthmus" / "builtin" / "digits.bundle"


@dataclass(frozen=True)
class Model:
    """One model in the forms that servers want it in.

    Attributes:
        bundle: for our tier, of one segment.
        whole: the same as one ONNX file.
        item: one input, uint8.
        truth: its logits, float32.
    """

    name: str
    bundle: Path
    whole: Path
    item: NDArray[np.uint8]
    truth: NDArray[np.float32]


def model_named(name: str) -> Model:
    """Make what is missing of a model's files."""
    folder = RESULTS / name
    folder.mkdir(parents=True, exist_ok=True)
    cut, bundle, whole = DIGITS, folder / "uncut.bundle", folder / "whole.onnx"
    if name == "mobilenet":
        cut = folder / "cut.bundle"
        if not cut.exists():
            mobilenet.write_bundle(cut, size=(224, 224), cuts=[13])
    if not whole.exists():
        write_whole(cut, whole)
    if not bundle.exists():
        write_uncut(cut, whole, bundle)
    with Bundle.open(bundle) as opened:
        spec = opened.manifest.input
        item = np.random.default_rng(1).integers(0, 256, (1, *spec.shape), dtype=np.uint8)
        truth = Stage(opened, OnnxRuntimeEngine()).run(item)[0][0]
    return Model(name, bundle, whole, item[0], truth)


def write_whole(bundle: Path, target: Path) -> None:
    """All segments of a bundle as one graph with its weights in one file."""
    import onnx
    from onnx import compose

    with Bundle.open(bundle) as opened:
        merged = None
        for place, segment in enumerate(opened.manifest.segments):
            part = compose.add_prefix(onnx.load(opened.model(segment.model, segment.data)), f"{place}/")
            if merged is None:
                merged = part
                continue
            joint = [(merged.graph.output[0].name, part.graph.input[0].name)]
            merged = compose.merge_models(merged, part, io_map=joint)
        assert merged is not None, "a bundle has segments"
        onnx.save(merged, target)


def write_uncut(cut: Path, whole: Path, target: Path) -> None:
    """A bundle of one segment, for a tier that serves whole models to clients that know of no cuts."""
    with Bundle.open(cut) as opened:
        manifest = opened.manifest
    target.mkdir()
    shutil.copy(whole, target / "whole.onnx")
    one = manifest.segments[0].model_copy(update={"model": "whole.onnx", "data": ()})
    raw = tuple(level for level in manifest.cuts[0].levels if isinstance(level, RawLevel))
    changed: dict[str, Any] = {
        "segments": (one,),
        "cuts": (manifest.cuts[0].model_copy(update={"levels": raw}),),
        "exits": (),
        "profiles": (),
        "files": {"whole.onnx": file_entry(target / "whole.onnx")},
    }
    (target / MANIFEST_NAME).write_bytes(manifest.model_copy(update=changed).to_bytes())
