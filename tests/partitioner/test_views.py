"""Two tasks from one stream: the answer, and a picture of the input painted from the same payload."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from partitioner.api import partition
from partitioner.compressors.bottleneck import Shape
from partitioner.compressors.errors import InvalidRecipe
from partitioner.compressors.fitting import fit_part
from partitioner.compressors.methods import METHODS
from partitioner.compressors.trainer import Plan, train_compressor
from partitioner.compressors.views import Painter, viewed
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.engines import engine_named
from runtime.errors import CodecError, UndecodablePayload
from tests.partitioner.test_methods import Quarters, network, right, teacher_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PLAN = Plan(bit_weights=(3e-3,), steps=120, batch=32)
SHAPE = Shape(channels=8, halvings=1, width=8, latent=6, levels=1)


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    return network()


def test_one_payload_gives_the_answer_and_a_picture_that_a_person_can_use(net: nn.Sequential, tmp_path: Path) -> None:
    """The noise of these pictures cannot be coded, the bright quarter can: most of what can be shown is shown."""
    inputs = Quarters(600, 1)
    method = viewed(METHODS["gained"], inputs.pictures[:200], 0.5)
    compressor = train_compressor(
        method, SHAPE, teacher_of(net), inputs, PLAN, work=tmp_path, report=lambda told, done: None, warn=print
    )
    parts = partition(net, torch.zeros(2, 1, 16, 16), cuts=["2"])
    test = Quarters(200, 3)
    with torch.inference_mode():
        counted, given = (parts.run(pictures, last=1) for pictures in (Quarters(600, 2).pictures, test.pictures))
        part = fit_part(compressor, [counted])
    parts.save(tmp_path / "bundle", model_id="quarters", levels={"2": [part]})
    with Bundle.open(tmp_path / "bundle") as bundle:
        bundle.verify_all()
        codecs = Codecs(bundle, engine_named("onnxruntime", 1))
        plain, codec = codecs.at(1, 0), codecs.at(1, 1)
        assert isinstance(plain, LearnedCodec)
        assert isinstance(codec, LearnedCodec)
        assert (plain.shows, codec.shows) == (False, True)
        payloads = [codec.encode(item[None]) for item in given.numpy()]
        assert payloads == [plain.encode(item[None]) for item in given.numpy()]
        shown = np.concatenate([codec.view(payload) for payload in payloads])
        restored = torch.from_numpy(np.concatenate([plain.decode(payload) for payload in payloads]))
        with pytest.raises(UndecodablePayload):
            codec.view(payloads[0][:-1])
    assert shown.shape == test.pictures.shape
    clean = torch.zeros_like(test.pictures)
    for picture, label in zip(clean, test.labels.tolist(), strict=True):
        picture[0, 8 * (label // 2) :, 8 * (label % 2) :][:8, :8] += 1.0
    unexplained = float(np.square(shown - clean.numpy()).mean()) / float(clean.var())
    assert unexplained <= 0.5, "the mean picture leaves 1.0"
    assert right(net, given, test.labels) - right(net, restored, test.labels) <= 0.05


@pytest.mark.parametrize(("shape", "last"), [((28, 28, 1), True), ((3, 17, 12), False)])
@pytest.mark.parametrize("side", [1, 4])
def test_a_painter_gives_the_inputs_shape_from_any_plane(shape: tuple[int, ...], last: bool, side: int) -> None:
    painter = Painter(5, shape, last=last, middle=99.0, spread=10.0)
    with torch.inference_mode():
        painted = painter(torch.randn(2, 5, side, side))
    assert painted.shape == (2, *shape)
    assert 50 < float(painted.mean()) < 150


@pytest.mark.parametrize(
    "inputs", [torch.zeros(4, 10), torch.zeros(4, 7, 8, 8), torch.zeros(4, 1, 8, 8, dtype=torch.int64)]
)
def test_what_is_no_picture_has_no_view(inputs: torch.Tensor) -> None:
    with pytest.raises(InvalidRecipe, match=r"remove the \[view\] table"):
        viewed(METHODS["gained"], inputs, 0.5)


def test_a_level_without_a_view_says_how_to_get_one(net: nn.Sequential, tmp_path: Path) -> None:
    parts = partition(net, torch.zeros(2, 1, 16, 16), cuts=["2"])
    compressor = METHODS["gained"].make(SHAPE).eval().requires_grad_(False)
    parts.save(tmp_path / "plain", model_id="plain", levels={"2": [fit_part(compressor, [torch.randn(8, 8, 8, 8)])]})
    with Bundle.open(tmp_path / "plain") as bundle:
        codec = Codecs(bundle, engine_named("onnxruntime", 1)).at(1, 0)
        assert isinstance(codec, LearnedCodec)
        with pytest.raises(CodecError, match=r"\[view\]"):
            codec.view(codec.encode(np.zeros((1, 8, 8, 8), np.float32)))
