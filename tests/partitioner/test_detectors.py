"""A detector cut in three places answers as torchvision's own, list of pictures in, boxes out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from partitioner.api import partition
from partitioner.capture import capture
from partitioner.cuts import single_tensor_cuts, with_selection
from partitioner.detectors import SingleShotDetector
from partitioner.errors import UnsupportedModel
from partitioner.metrics import Answer, MeanAveragePrecision, agreement
from partitioner.suppression import suppress
from runtime.bundle import Bundle
from runtime.codecs.raw import RawCodec
from runtime.engines import engine_named
from runtime.stage import Stage
from tests.partitioner.detectors import plain_nms, ssdlite

CUTS = ["backbone.features.0.3", "backbone.features.0.12", "backbone.features.1.2"]
PIXELS = 1e-2
SCORE = 1e-4


class Heads(nn.Module):
    """Where a detector ends: boxes and scores of twelve anchors from one picture."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=4)
        self.corners = nn.Linear(64, 48)
        self.scores = nn.Linear(64, 36)

    def forward(self, x: Tensor) -> Tensor:  # [batch, 3, 16, 16]
        features = torch.relu(self.stem(x)).flatten(1)
        low, size = self.corners(features).sigmoid().reshape(-1, 12, 4).split(2, -1)
        scores = self.scores(features).reshape(-1, 3, 12).sigmoid()
        return suppress(torch.cat([low, low + size], -1), scores, 0.3, 0.2, 8)


def test_suppression_selects_what_comparing_box_by_box_selects() -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.rand(2, 60, 2, generator=generator) * 10
    boxes = torch.cat([low, low + 1 + 4 * torch.rand(2, 60, 2, generator=generator)], -1)
    scores = torch.rand(2, 3, 60, generator=generator)
    found = suppress(boxes, scores, 0.3, 0.1, 40)
    for item in range(2):
        expected = torch.zeros(3, 60)
        for class_ in range(3):
            own = scores[item, class_]
            among = own.topk(40).indices
            among = among[own[among] > 0.1]
            kept = among[plain_nms(boxes[item, among], own[among], torch.zeros(len(among)), 0.3)]
            assert 0 < len(kept) < len(among)
            expected[class_, kept] = own[kept]
        assert torch.equal(found[item], expected)


def test_of_equal_scores_no_more_boxes_are_looked_at_than_asked_for_and_the_first_win() -> None:
    low = torch.arange(5000.0)[None, :, None].expand(1, -1, 2) * 2
    boxes = torch.cat([low, low + 1], -1)
    found = suppress(boxes, torch.full((1, 2, 5000), 0.5), 0.5, 0.1, 30)
    assert found[0, :, :30].eq(0.5).all()
    assert found[0, :, 30:].eq(0.0).all()


@pytest.mark.slow
def test_what_selects_boxes_is_a_segment_of_its_own_and_equals_the_model_in_onnx(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Heads().eval()
    pictures = torch.rand(5, 3, 16, 16)
    parts = partition(model, pictures[:1], cuts=["stem"])
    assert [len(cut.live) for cut in parts.cuts] == [1, 2]
    parts.save(tmp_path / "bundle", model_id="heads")
    with Bundle.open(tmp_path / "bundle") as bundle:
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        (found,) = stage.run(pictures.numpy())
    with torch.no_grad():
        truth = model(pictures).numpy()
    assert 0 < (truth > 0).mean() < 0.6
    np.testing.assert_allclose(found, truth, atol=1e-5)


def test_the_selection_is_a_cut_once_however_often_it_is_asked_for() -> None:
    graph = capture(Heads().eval(), torch.rand(1, 3, 16, 16))
    once = with_selection(graph, single_tensor_cuts(graph))
    assert len(once) == len(single_tensor_cuts(graph)) + 1
    assert with_selection(graph, once) == once


def test_what_is_no_single_shot_detector_is_refused_with_the_way_round() -> None:
    with pytest.raises(UnsupportedModel, match="cut its backbone"):
        SingleShotDetector(nn.Conv2d(3, 4, 3))


def _pictures(count: int) -> Tensor:
    """Smooth noise: [count, 3, 320, 320] from 0 to 1."""
    coarse = torch.rand(count, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    return nn.functional.interpolate(coarse, (320, 320), mode="bicubic").clamp(0, 1)


def _whole(detector: Any, pictures: Tensor, patch: pytest.MonkeyPatch) -> list[Answer]:
    """torchvision's own way from pictures to boxes."""
    from torchvision.models.detection import ssd

    patch.setattr(ssd.box_ops, "batched_nms", plain_nms)
    with torch.no_grad():
        found = detector(list(pictures))
    return [tuple(one[name].numpy() for name in ("boxes", "scores", "labels")) for one in found]


def _assert_same_boxes(found: Answer, truth: Answer) -> None:
    """Every box of the truth is there with its score and class; only the last ones may be others of the same score."""
    boxes, scores, labels = found
    for box, score, label in zip(*truth, strict=True):
        near = (np.abs(scores - score) < SCORE) & (labels == label)
        same = near & (np.abs(boxes - box).max(1) < PIXELS)
        assert same.any() or score < truth[1].min() + SCORE


@pytest.mark.slow
@pytest.mark.timeout(400)  # exports a whole detector; on a machine that does other things too it takes minutes
def test_ssdlite_cut_in_three_places_answers_as_torchvision_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector, pictures, metric = ssdlite(), _pictures(2), MeanAveragePrecision()
    whole = _whole(detector, pictures, monkeypatch)
    assert all((truth[1] > 0.5).sum() > 10 for truth in whole)
    parts = partition(SingleShotDetector(detector), pictures[:1], cuts=CUTS, most_tensors=2)
    assert [cut.name for cut in parts.cuts][:3] == CUTS
    manifest = parts.save(tmp_path / "bundle", model_id="ssdlite")
    with Bundle.open(tmp_path / "bundle") as bundle:
        stage = Stage(bundle, engine_named("onnxruntime", 1))
        for cut in range(len(manifest.cuts)):
            found = [_through(stage, RawCodec(manifest.cuts[cut].tensor), one, cut) for one in pictures.numpy()]
            for answer, truth in zip(found, whole, strict=True):
                _assert_same_boxes(answer, truth)
            assert agreement(metric, found, whole) == 1.0
        moved = [_through(stage, RawCodec(manifest.cuts[2].tensor), one, 2, moved=True) for one in pictures.numpy()]
        assert agreement(metric, moved, whole) < 0.5


def _through(stage: Stage, codec: RawCodec, picture: NDArray[Any], cut: int, *, moved: bool = False) -> Answer:
    """Head, payload, tail; with `moved` the channels arrive in another order."""
    activation = stage.run(picture[None], 0, cut)[0]
    activation = codec.decode(codec.encode(activation))
    if moved:
        activation = np.roll(activation, 1, axis=1)
    return [output[0] for output in stage.run(activation, cut)]
