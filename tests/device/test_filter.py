"""The learned filter: its numbers, its file, and what a running agent does with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adaptation.plan import Choice, Route
from device.errors import FilterError
from device.filter.neural import NeuralFilter, pool
from device.frames import OpenFrame
from device.history import Ending, FrameRecord
from device.means import Filter
from device.program import run
from device.savings import Saver, Savings
from device.settings import load
from device.sinks import Delivery
from device.sinks.callback import Callback
from runtime.bundle import Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.stage import Stage
from tests.device.conftest import DeviceRuns, assert_each_ended_once, assert_says
from tests.runtime.tiny_bundle import TinyBundle

CUT = 1


@pytest.fixture
def neural(tiny_bundle: TinyBundle) -> NeuralFilter:
    """One that drops half of the tiny bundle's pictures."""
    with Bundle.open(tiny_bundle.path) as bundle:
        channels = bundle.manifest.cuts[CUT].tensor.shape[0]
        weights = np.random.default_rng(3).normal(size=(channels, 2, 2)).astype(np.float32)
        made = NeuralFilter(bundle.digest.hex(), CUT, weights, 0.5, 0.0, 0.99, 120)
    return replace(made, threshold=float(np.median(list(scores(tiny_bundle, made).values()))))


def scores(tiny_bundle: TinyBundle, neural: NeuralFilter) -> dict[str, float]:
    """By file name; means and sum written out."""
    found = {}
    with Bundle.open(tiny_bundle.path) as bundle:
        stage = Stage(bundle, OnnxRuntimeEngine())
        for number, item in enumerate(tiny_bundle.items):
            (features,) = stage.run(item, 0, CUT)[0]
            half = features.shape[1] // 2
            total = neural.bias
            for row in range(2):
                for column in range(2):
                    area = features[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
                    total += float(neural.weights[:, row, column] @ area.mean(axis=(1, 2)))
            found[f"{number}.png"] = total
    return found


@pytest.mark.parametrize(("height", "width", "grid"), [(7, 10, (3, 4)), (4, 4, (4, 4)), (5, 3, (1, 1))])
def test_areas_share_all_positions_and_each_is_their_mean(height: int, width: int, grid: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=(2, 3, height, width))
    pooled = pool(features, grid)
    rows = [height * row // grid[0] for row in range(grid[0] + 1)]
    columns = [width * column // grid[1] for column in range(grid[1] + 1)]
    for row in range(grid[0]):
        for column in range(grid[1]):
            area = features[:, :, rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
            np.testing.assert_allclose(pooled[:, :, row, column], area.mean(axis=(2, 3)), atol=1e-12)


def test_features_without_places_are_averaged_over_all_between() -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose(pool(tokens, (1, 1))[:, :, 0, 0], tokens.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(pool(tokens[:, 0], (1, 1))[:, :, 0, 0], tokens[:, 0], atol=1e-12)


def test_a_filter_comes_back_from_its_file(tmp_path: Path, neural: NeuralFilter, tiny_bundle: TinyBundle) -> None:
    neural.save(tmp_path / "a.filter")
    again = NeuralFilter.open(tmp_path / "a.filter")
    np.testing.assert_array_equal(again.weights, neural.weights)
    assert replace(again, weights=neural.weights).__dict__ == neural.__dict__
    never = replace(neural, threshold=-np.inf)
    never.save(tmp_path / "b.filter")
    assert NeuralFilter.open(tmp_path / "b.filter").sees(-1e30)
    assert never.sees(float("nan")), "what is no number is no reason to drop a frame"


def test_a_file_that_is_damaged_or_for_another_bundle_is_refused(
    tmp_path: Path, neural: NeuralFilter, tiny_bundle: TinyBundle
) -> None:
    path = tmp_path / "a.filter"
    neural.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-5], b"{}" * 50):
        path.write_bytes(damaged)
        with pytest.raises(FilterError, match="cannot be read"):
            NeuralFilter.open(path)
    with pytest.raises(FilterError, match="cannot be read"):
        NeuralFilter.open(tmp_path / "none.filter")
    with Bundle.open(tiny_bundle.path) as bundle:
        neural.require_fit(bundle.manifest, bundle.digest)
        for wrong, told in (
            (replace(neural, bundle="0" * 64), "made for bundle 0000"),
            (replace(neural, cut=2), "does not fit the cut"),
            (replace(neural, cut=9), "does not fit the cut"),
            (replace(neural, weights=neural.weights * np.nan), "numbers that are none"),
        ):
            with pytest.raises(FilterError, match=told):
                wrong.require_fit(bundle.manifest, bundle.digest)


def test_it_is_asked_where_its_cut_lies_on_the_way(neural: NeuralFilter) -> None:
    frame = OpenFrame(1, "a", np.zeros((1, 1)), 0.0, 1.0, np.zeros((1, 1)))
    image, features, alone = (
        Choice(0, 0, Route.EDGE), Choice(CUT, 0, Route.EDGE), Choice(3, None, Route.DEVICE),
    )  # fmt: skip
    assert [Filter(neural, False).concerns(frame, one) for one in (image, features, alone)] == [False, True, True]
    assert Filter(neural, True).concerns(frame, image)
    frame.reached = CUT + 1
    assert not Filter(neural, True).concerns(frame, alone), "it would have to begin anew"


ALONE: dict[str, Any] = {
    "source__limit": 6, "source__loop": False, "source__keep": "all", "deadline_s": 20.0,
    "policy__name": "fixed", "policy__cut": 3, "policy__route": "device",
}  # fmt: skip


async def test_frames_with_nothing_to_see_are_answered_without_a_label(
    device: DeviceRuns, truth: Any, neural: NeuralFilter, tiny_bundle: TinyBundle
) -> None:
    neural.save(device.folder / "a.filter")
    delivered: list[Delivery] = []
    settings = load(None, device.settings(filter__path=str(device.folder / "a.filter"), **ALONE))
    await run(settings, sinks=[Callback(delivered.append)])
    lines = device.lines()
    assert_each_ended_once(lines, 6)
    empty = {name for name, score in scores(tiny_bundle, neural).items() if score < neural.threshold}
    assert len(empty) == 3
    for line in lines:
        if line["source"] in empty:
            assert (line["ended"], line["by"], line["reason"]) == ("answered", "device", "nothing to see")
            assert line["answer"] is None
            assert line["in_time"]
            assert line["device_s"] > 0
        else:
            assert_says(line, truth(line["source"]))
            assert line["reason"] == ""
    assert {one.source for one in delivered if one.label is None} == empty
    assert len(delivered) == 6


async def test_a_filter_of_another_bundle_filters_nothing(device: DeviceRuns, neural: NeuralFilter, truth: Any) -> None:
    replace(neural, bundle="0" * 64, threshold=np.inf).save(device.folder / "a.filter")
    lines = await device.run(filter__path=str(device.folder / "a.filter"), **ALONE)
    for line in lines:
        assert_says(line, truth(line["source"]))


def test_savings_are_told_by_what_was_sent() -> None:
    savings = Savings()
    base = FrameRecord(frame=1, captured_s=0.0, ended=Ending.ANSWERED, latency_s=0.1, deadline_s=1.0, in_time=True)
    for sent in (100, 300):
        savings.look(Saver.FILTER, 0.001)
        savings.ended(replace(base, message_bytes=sent))
    for _ in range(3):
        savings.look(Saver.FILTER, 0.001)
        savings.ended(replace(base, reason="nothing to see"))
    savings.look(Saver.EXIT, 0.0)
    savings.ended(replace(base, exit=True))
    savings.ended(base)  # the whole model on the device: nobody's saving
    assert savings.told() == {
        "filter": {"looked": 5, "frames": 3, "saved_bytes": 600, "cost_s": 0.005},
        "exit": {"looked": 1, "frames": 1, "saved_bytes": 200, "cost_s": 0.0},
    }
