"""Every engine that is installed against the reference evaluator of ONNX, and what it refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from runtime.bundle import Bundle
from runtime.engines import ENGINE_NAMES, Engine, engine_named, installed_engines
from runtime.errors import EngineError, SettingsError
from runtime.stage import Stage
from tests.runtime.test_stage import whole_logits
from tests.runtime.tiny_bundle import TinyBundle


@pytest.fixture(params=ENGINE_NAMES, scope="module")
def each(request: pytest.FixtureRequest) -> Engine:
    if request.param not in installed_engines():
        pytest.skip(f"{request.param} is not installed")
    return engine_named(request.param)


def test_every_cut_equals_the_whole_model(tiny_bundle: TinyBundle, bundle: Bundle, each: Engine) -> None:
    stage = Stage(bundle, each)
    for item in tiny_bundle.items:
        for cut in range(len(bundle.manifest.segments)):
            (features,) = stage.run(item, 0, cut)
            np.testing.assert_allclose(stage.run(features, cut)[0], whole_logits(tiny_bundle, item), rtol=0, atol=1e-4)


def test_any_number_of_items_makes_a_batch(tiny_bundle: TinyBundle, bundle: Bundle, each: Engine) -> None:
    stage = Stage(bundle, each)
    for count in (3, 1, 6):
        batch = np.concatenate(tiny_bundle.items[:count])
        singly = np.concatenate([stage.run(item)[0] for item in tiny_bundle.items[:count]])
        np.testing.assert_allclose(stage.run(batch)[0], singly, rtol=0, atol=1e-4)


def test_answers_stay_what_they_are_when_the_next_frame_runs(
    tiny_bundle: TinyBundle, bundle: Bundle, each: Engine
) -> None:
    stage = Stage(bundle, each)
    first = stage.run(tiny_bundle.items[0])[0]
    copy = first.copy()
    stage.run(tiny_bundle.items[1])
    np.testing.assert_array_equal(first, copy)


def test_threads_share_a_graph(tiny_bundle: TinyBundle, bundle: Bundle, each: Engine) -> None:
    stage = Stage(bundle, each)
    items = [*tiny_bundle.items] * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda item: stage.run(item)[0], items))
    for item, logits in zip(items, found, strict=True):
        np.testing.assert_allclose(logits, whole_logits(tiny_bundle, item), rtol=0, atol=1e-4)


def test_failures_are_one_line_of_ours(tmp_path: Path, bundle: Bundle, each: Engine) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    for name in ("junk.onnx", "none.onnx"):
        with pytest.raises(EngineError, match=f"cannot load {name!r}") as caught:
            each.load(tmp_path / name)
        assert "\n" not in str(caught.value)
    model = each.load(bundle.model("segment_1.onnx", ["weights.safetensors"]))
    for wrong in ([], [np.zeros((1, 8, 16, 16), np.float64)], [np.zeros((1, 9, 16, 16), np.float32)]):
        with pytest.raises(EngineError, match="segment_1") as caught:
            model.run(wrong)
        assert "\n" not in str(caught.value)


def test_an_engine_that_is_not_there_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", _missing)
    with pytest.raises(SettingsError, match=r"isthmus\[openvino\]"):
        engine_named("openvino")


def _missing(name: str) -> None:
    raise ImportError(f"no {name}")
