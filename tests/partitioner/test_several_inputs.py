"""Models of several inputs, and models that end in a post-processor, from `save` to what a stage answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from partitioner.api import partition
from partitioner.errors import UnsupportedModel
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.errors import PostprocessorMissing
from runtime.inputs import joined, record_type
from runtime.stage import Stage
from tests.runtime.providing import provide

SOURCE = """
import numpy as np

def largest(outputs):
    return outputs[0].max(1, keepdims=True), outputs[0].argmax(1)

largest.version = "7"

def forgets_the_batch(outputs):
    return [outputs[0][0]]

forgets_the_batch.version = "1"
"""


class Looks(nn.Module):
    """A picture and a reading, joined late, so that the reading crosses the first cut as it came."""

    def __init__(self) -> None:
        super().__init__()
        self.eye = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten())
        self.out = nn.Linear(4 * 9 + 2, 3)

    def forward(self, picture: Tensor, reading: Tensor) -> Tensor:
        return self.out(torch.cat([self.eye(picture.permute(0, 3, 1, 2).float() / 255), reading], 1))


@pytest.fixture
def example() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 8, 8, 3), generator=generator, dtype=torch.uint8), torch.randn(2, 2)


@pytest.fixture
def provided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").mkdir()
    points = {"largest": "largest_of_tests:largest", "forgets": "largest_of_tests:forgets_the_batch"}
    provide(tmp_path / "packages", "largest_of_tests", SOURCE, points)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))


@pytest.mark.slow
def test_a_bundle_takes_the_inputs_under_the_models_own_names(example: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Looks().eval()
    parts = partition(model, example, cuts=["eye"], most_tensors=2)
    manifest = parts.save(tmp_path / "bundle", model_id="looks")
    assert [(one.name, one.dtype, one.shape) for one in manifest.takes] == [
        ("picture", "uint8", (8, 8, 3)),
        ("reading", "float32", (2,)),
    ]
    assert manifest.input.nbytes == 8 * 8 * 3 + 4 * 2
    assert manifest.cuts[1].tensor.elements == 4 * 9 + 2
    records = np.zeros(5, record_type(manifest.takes))
    records["picture"] = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3))
    records["reading"] = np.random.default_rng(0).standard_normal((5, 2))
    with Bundle.open(tmp_path / "bundle") as bundle, torch.no_grad():
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        (answer,) = stage.run(stage.run(joined(records, manifest.takes), 0, 1)[0], 1)
        whole = model(torch.from_numpy(records["picture"]), torch.from_numpy(records["reading"]))
    np.testing.assert_allclose(answer, whole.numpy(), rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_post_processor_is_written_down_with_version_and_shapes_and_runs_behind_the_model(
    provided: None, example: tuple[Tensor, Tensor], tmp_path: Path
) -> None:
    model = Looks().eval()
    parts = partition(model, example, cuts=["eye"], most_tensors=2)
    with pytest.raises(UnsupportedModel, match=r"'forgets' gives \[3\] for 2 items"):
        parts.save(tmp_path / "bundle", model_id="looks", postprocessor="forgets")
    with pytest.raises(PostprocessorMissing, match="'smallest' is not installed here"):
        parts.save(tmp_path / "bundle", model_id="looks", postprocessor="smallest")
    assert not (tmp_path / "bundle").exists()
    manifest = parts.save(tmp_path / "bundle", model_id="looks", postprocessor="largest")
    assert manifest.postprocessor is not None
    assert (manifest.postprocessor.name, manifest.postprocessor.version) == ("largest", "7")
    assert [(one.dtype, one.shape) for one in manifest.outputs] == [("float32", (1,)), ("int64", ())]
    records = np.zeros(2, record_type(manifest.takes))
    records["picture"], records["reading"] = example
    with Bundle.open(tmp_path / "bundle") as bundle, torch.no_grad():
        value, place = Stage(bundle, engine_named("onnxruntime", 1)).run(joined(records, manifest.takes))
        whole = model(*example)
    np.testing.assert_allclose(value[:, 0], whole.max(1).values.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(place, whole.argmax(1).numpy())
