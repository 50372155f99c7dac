"""int8 and float16 heads of a bundle: what they store, what they compute, and what is told about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from partitioner.errors import BundleExists, NotQuantisable
from partitioner.precision import Bits, Narrowed, Samples, narrow_head
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.inputs import joined
from runtime.stage import Stage
from tests.runtime import two_inputs
from tests.runtime.tiny_bundle import TinyBundle

ITEMS = np.random.default_rng(1).integers(0, 256, (24, 32, 32, 3)).astype(np.uint8)
SEGMENTS = 2


@pytest.fixture(scope="module")
def made(tiny_bundle: TinyBundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Narrowed]]:
    found = {}
    kinds: tuple[Bits, ...] = ("int8", "float16")
    for bits in kinds:
        target = tmp_path_factory.mktemp(bits) / "bundle"
        found[bits] = target, narrow_head(tiny_bundle.path, target, SEGMENTS, bits, Samples(ITEMS, calibration=12))
    return found


def logits(path: Path, items: NDArray[np.uint8]) -> NDArray[np.float32]:
    with Bundle.open(path) as bundle:
        return np.asarray(Stage(bundle, engine_named("onnxruntime", 1)).run(items)[0])


def operators(path: Path, segment: int) -> list[str]:
    with Bundle.open(path) as bundle:
        model = onnx.load(bundle.model(bundle.manifest.segments[segment].model, bundle.manifest.segments[segment].data))
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("bits", ["int8", "float16"])
def test_the_new_bundle_is_whole_and_close_to_the_old_one(
    bits: str, made: dict[str, tuple[Path, Narrowed]], tiny_bundle: TinyBundle
) -> None:
    path, narrowed = made[bits]
    with Bundle.open(path) as bundle:
        bundle.verify_all()
        assert bundle.manifest == narrowed.manifest
        assert bundle.manifest.provenance["precision"].startswith(f"{bits} in segments 0 to 1")
        assert bundle.manifest.measured is None
        assert not bundle.manifest.profiles
    old, new = logits(tiny_bundle.path, ITEMS[12:]), logits(path, ITEMS[12:])
    assert 0 < np.abs(new - old).max() < (0.5 if bits == "int8" else 0.01) * np.ptp(old)
    assert narrowed.agreement == pytest.approx((new.argmax(1) == old.argmax(1)).mean())


def test_only_the_head_computes_in_int8(made: dict[str, tuple[Path, Narrowed]], tiny_bundle: TinyBundle) -> None:
    path, _ = made["int8"]
    for segment in range(SEGMENTS):
        assert "QuantizeLinear" in operators(path, segment)
    assert operators(path, SEGMENTS) == operators(tiny_bundle.path, SEGMENTS)


def test_float16_weights_take_half_the_bytes(made: dict[str, tuple[Path, Narrowed]], tiny_bundle: TinyBundle) -> None:
    path, narrowed = made["float16"]
    stored = {name: value for name, value in load_file(path / "weights.safetensors").items() if name.endswith(".half")}
    assert stored
    assert all(value.dtype == np.float16 for value in stored.values())
    with Bundle.open(tiny_bundle.path) as bundle:
        before = bundle.manifest.files["weights.safetensors"].bytes
    saved = sum(value.nbytes for value in stored.values())
    assert narrowed.manifest.files["weights.safetensors"].bytes <= before - saved + 1024


def test_trained_levels_and_exits_still_run(made: dict[str, tuple[Path, Narrowed]]) -> None:
    path, _ = made["int8"]
    with Bundle.open(path) as bundle:
        engine = engine_named("onnxruntime", 1)
        stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
        activation = stage.run(ITEMS[:1], 0, 1)[0]
        for level in range(len(bundle.manifest.cuts[1].levels)):
            codec = codecs.at(1, level)
            assert codec.decode(codec.encode(activation)).shape == activation.shape
        for exit_ in bundle.manifest.exits:
            assert stage.exit(exit_.cut, stage.run(ITEMS[:1], 0, exit_.cut)[0]).shape == (1, 10)


def test_labels_tell_what_was_lost(tiny_bundle: TinyBundle, tmp_path: Path) -> None:
    truths = [(np.asarray(one),) for one in logits(tiny_bundle.path, ITEMS).argmax(1)]
    found = narrow_head(tiny_bundle.path, tmp_path / "b", 1, "float16", Samples(ITEMS, truths, calibration=12))
    assert found.quality_before == 1.0
    assert found.quality == found.agreement
    with Bundle.open(tmp_path / "b") as bundle:
        measured, told = bundle.manifest.measured, bundle.manifest.provenance["precision"]
    assert measured is not None
    assert (measured.accuracy, measured.agreement, measured.items) == (found.quality, found.agreement, 12)
    right = f"{found.quality:.4f} right, before 1.0000"
    assert told.endswith(f"on 12 samples {found.agreement:.4f} agreement with float32 (top-1), {right}")


@pytest.mark.parametrize("bits", ["int8", "float16"])
def test_the_head_of_a_model_of_several_inputs_is_narrowed_on_records(bits: Bits, tmp_path: Path) -> None:
    whole = two_inputs.build(tmp_path / "whole")
    records = two_inputs.records(24)
    found = narrow_head(whole.path, tmp_path / "narrow", 1, bits, Samples(records, calibration=12))
    with Bundle.open(tmp_path / "narrow") as bundle:
        assert bundle.manifest == found.manifest
        (narrow,) = Stage(bundle, engine_named("onnxruntime", 1)).run(joined(records, two_inputs.INPUTS))
    truth = whole.truth(records)
    assert np.median(np.abs(narrow - truth)) < 0.05 * np.ptp(truth), "its scales are those of an average item"


@pytest.mark.parametrize(
    ("segments", "samples", "words"),
    [
        (9, Samples(ITEMS), "9 were asked for"),
        (1, Samples(ITEMS[:3]), "at least 8 items"),
        (1, Samples(ITEMS.astype(np.float32)), "uint8"),
        (1, Samples(ITEMS, []), "24 items came with 0 truths"),
    ],
)
def test_what_does_not_fit_is_refused(
    segments: int, samples: Samples, words: str, tiny_bundle: TinyBundle, tmp_path: Path
) -> None:
    with pytest.raises(NotQuantisable, match=words):
        narrow_head(tiny_bundle.path, tmp_path / "b", segments, "int8", samples)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "b").mkdir()
    with pytest.raises(BundleExists):
        narrow_head(tiny_bundle.path, tmp_path / "b", 1, "int8", Samples(ITEMS))
