"""Bundles on disk: weights once, all or nothing, readable by others."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from partitioner.api import ExitPart, LearnedPart, Partition, partition
from partitioner.bundle_writer import BundleWriter, replace_manifest
from partitioner.errors import BundleExists, ExportMismatch, InvalidManifest, PartitionError, UnknownCut
from runtime.manifest import ImageLevel, LearnedLevel, Manifest, RawLevel
from tests.partitioner.conftest import PIXELS, Saved
from tests.partitioner.models import PhotoNet, perceptron, settled

Get = Callable[[str], Saved]


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def wide() -> nn.Module:
    layers = [layer for _ in range(12) for layer in (nn.Linear(96, 96), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(96, 4)).eval()


@pytest.fixture(scope="module")
def small() -> Partition:
    return partition(perceptron().eval(), torch.randn(4, 20), cuts=["1", "3"])


@pytest.fixture(scope="module")
def photo() -> Partition:
    torch.manual_seed(0)
    return partition(settled(PhotoNet()), PIXELS[:1], cuts=["features.0", "features.1"])


@pytest.mark.slow
def test_a_bundle_of_twelve_cuts_takes_at_most_a_tenth_more_than_the_whole_model(tmp_path: Path) -> None:
    model = wide()
    parts = partition(model, torch.randn(2, 96), cuts=[str(2 * number + 1) for number in range(12)])
    parts.save(tmp_path / "cut", model_id="wide")
    with BundleWriter(tmp_path / "whole") as writer:
        part = writer.add_onnx(model, torch.randn(2, 96), "segment_0")
        assert part.data == ("weights.safetensors",)
        writer._write_graphs()
        whole = size_of(writer.folder)
    assert size_of(tmp_path / "cut") <= 1.1 * whole + 13 * 1024


def test_weights_can_be_read_by_name_and_lie_where_the_graphs_say(saved: Get) -> None:
    case = saved("tokens")
    file = case.folder / "weights.safetensors"
    tensors = load_file(file)
    assert np.array_equal(tensors["patches.weight"], case.model.get_parameter("patches.weight").detach().numpy())
    raw = file.read_bytes()
    seen = set()
    for segment in case.manifest.segments:
        model = onnx.load(case.folder / segment.model, load_external_data=False)
        large = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        assert segment.data == (("weights.safetensors",) if large else ())
        for tensor in large:
            place = {entry.key: entry.value for entry in tensor.external_data}
            offset, length = int(place["offset"]), int(place["length"])
            assert place["location"] == "weights.safetensors"
            assert offset % 4 == 0
            assert raw[offset : offset + length] in {value.tobytes() for value in tensors.values()}
            seen.add(offset)
    assert len(seen) == len(tensors)


def test_tied_weights_are_stored_once(saved: Get) -> None:
    case = saved("tied")
    tensors = load_file(case.folder / "weights.safetensors")
    shared = case.model.get_parameter("first.weight").detach().numpy()
    same = [name for name, value in tensors.items() if value.shape == shared.shape]
    assert len(same) == 1
    assert np.array_equal(tensors[same[0]], shared)


def test_every_file_is_listed_with_its_hash_and_size(saved: Get) -> None:
    case = saved("photo")
    on_disk = {file.name for file in case.folder.iterdir()} - {"manifest.json"}
    assert on_disk == set(case.manifest.files)
    for name, entry in case.manifest.files.items():
        content = (case.folder / name).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (entry.sha256, entry.bytes)
    assert Manifest.model_validate_json((case.folder / "manifest.json").read_bytes()) == case.manifest


def test_figures_of_the_segments_add_up_to_the_model(saved: Get) -> None:
    case = saved("photo")
    assert sum(segment.macs for segment in case.manifest.segments) == case.partition.graph.macs
    assert sum(segment.parameters for segment in case.manifest.segments) == sum(
        parameter.numel() for parameter in case.model.parameters()
    )
    assert case.manifest.input.model_dump() == {"name": "x", "dtype": "uint8", "shape": (32, 32, 3)}
    assert [output.name for output in saved("branches").manifest.outputs] == ["logits", "pooled"]


@pytest.mark.slow
def test_learned_levels_and_exits_share_the_weight_file(photo: Partition, tmp_path: Path) -> None:
    encoder = nn.Conv2d(8, 64, 3, 2, 1).eval()
    decoder = nn.Sequential(nn.Conv2d(64, 32, 3, padding=1), nn.PixelShuffle(2)).eval()
    exit_ = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)).eval()
    tables = {"gain": np.ones((3, 64), np.float32), "cdf": np.zeros((3, 64, 4), np.int32)}
    manifest = photo.save(
        tmp_path / "bundle",
        model_id="photo",
        levels={
            "input": [ImageLevel(format="webp", quality=60), RawLevel()],
            "features.1": [LearnedPart(encoder, decoder, tables)],
        },
        exits=[ExitPart("features.1", exit_)],
        provenance={"made_by": "a test"},
    )
    learned = manifest.cuts[2].levels
    assert [level.codec for level in learned] == ["learned", "learned", "learned", "raw"]
    first = learned[0]
    assert isinstance(first, LearnedLevel)
    assert (first.latent.shape, first.encoder_macs, first.data) == ((64, 8, 8), 64 * 64 * 72, ("weights.safetensors",))
    assert [level.codec for level in manifest.cuts[1].levels] == ["raw"]
    assert manifest.exits[0].cut == 2
    activation = torch.randn(4, 8, 16, 16)
    session = onnxruntime.InferenceSession(str(tmp_path / "bundle" / first.encoder), providers=["CPUExecutionProvider"])
    latent = session.run(None, {"x": activation.numpy()})[0]
    with torch.no_grad():
        assert np.abs(latent - encoder(activation).numpy()).max() < 1e-4
    assert np.array_equal(load_file(tmp_path / "bundle" / first.tables)["gain"], tables["gain"])
    assert manifest.provenance["made_by"] == "a test"


def test_an_interrupted_save_leaves_nothing(small: Partition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Manifest) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(Manifest, "to_bytes", interrupt)  # the last thing before everything is moved in place
    with pytest.raises(KeyboardInterrupt):
        small.save(tmp_path / "bundle", model_id="small")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_name_leaves_nothing(small: Partition, tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="model_id"):
        small.save(tmp_path / "bundle", model_id="no spaces allowed")
    with pytest.raises(UnknownCut):
        small.save(tmp_path / "bundle", model_id="small", levels={"features.9": []})
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_changed_since_it_was_partitioned_is_not_saved(tmp_path: Path) -> None:
    model = perceptron().eval()
    parts = partition(model, torch.randn(4, 20), cuts=["1"])
    with torch.no_grad():
        model.get_parameter("2.weight").mul_(1.5)
    with pytest.raises(ExportMismatch, match="no bundle was written") as caught:
        parts.save(tmp_path / "bundle", model_id="changed")
    assert caught.value.where == "output"
    assert list(tmp_path.iterdir()) == []


def test_an_existing_path_is_kept_unless_overwriting_is_asked_for(small: Partition, tmp_path: Path) -> None:
    first = small.save(tmp_path / "bundle", model_id="first")
    with pytest.raises(BundleExists, match="overwrite=True"):
        small.save(tmp_path / "bundle", model_id="second")
    second = small.save(tmp_path / "bundle", model_id="second", overwrite=True)
    assert json.loads((tmp_path / "bundle" / "manifest.json").read_bytes())["model_id"] == "second"
    assert [file.name for file in tmp_path.iterdir()] == ["bundle"]
    assert first.files == second.files, "the same model gives the same bytes"
    with pytest.raises(PartitionError, match="does not exist"):
        small.save(tmp_path / "missing" / "bundle", model_id="small")


def test_a_manifest_can_be_replaced_after_measuring(saved: Get, tmp_path: Path) -> None:
    case = saved("perceptron")
    folder = tmp_path / "bundle"
    shutil.copytree(case.folder, folder)
    measured = case.manifest.model_copy(update={"counter": 3})
    replace_manifest(folder, measured)
    assert Manifest.model_validate_json((folder / "manifest.json").read_bytes()) == measured
    assert {file.name for file in folder.iterdir()} == {*case.manifest.files, "manifest.json"}


def test_graphs_hold_no_paths_of_the_machine_that_made_them(saved: Get) -> None:
    folder = saved("photo").folder
    here = str(Path(__file__).resolve().parents[2]).encode()
    assert all(
        here not in file.read_bytes() and str(folder).encode() not in file.read_bytes() for file in folder.iterdir()
    )
