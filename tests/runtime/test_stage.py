import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import pytest

from runtime.bundle import MANIFEST_NAME, Bundle
from runtime.engines import Engine, engine_named
from runtime.errors import BundleCorrupt, BundleInvalid, EngineError, SettingsError, UnsupportedShape
from runtime.stage import Stage
from tests.runtime.tiny_bundle import TinyBundle

CUTS = (0, 1, 2)


def whole_logits(tiny_bundle: TinyBundle, item: np.ndarray) -> np.ndarray:
    """The unsplit model, by the reference evaluator of ONNX: no engine and no bundle of ours."""
    (logits,) = onnx.reference.ReferenceEvaluator(str(tiny_bundle.whole)).run(None, {"image": item})
    return logits


@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(CUTS, 2)))
def test_split_at_any_pair_of_cuts_equals_the_whole(
    tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine, first: int, second: int
) -> None:
    stage = Stage(bundle, engine)
    for item in tiny_bundle.items[:2]:
        (device,) = stage.run(item, 0, first)
        (edge,) = stage.run(device, first, second)
        (logits,) = stage.run(edge, second)
        np.testing.assert_allclose(logits, whole_logits(tiny_bundle, item), rtol=0, atol=1e-5)


def test_a_batch_gives_what_its_items_give(tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine) -> None:
    stage = Stage(bundle, engine)
    (together,) = stage.run(np.concatenate(tiny_bundle.items))
    alone = np.concatenate([stage.run(item)[0] for item in tiny_bundle.items])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_an_exit_is_its_graph_on_the_cut(tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine) -> None:
    stage = Stage(bundle, engine)
    (activation,) = stage.run(tiny_bundle.items[0], 0, 1)
    evaluator = onnx.reference.ReferenceEvaluator(onnx.load(tiny_bundle.path / "exit_1.onnx"))
    (expected,) = evaluator.run(None, {"features_1": activation})
    np.testing.assert_allclose(stage.exit(1, activation), expected, rtol=0, atol=1e-5)
    with pytest.raises(IndexError, match=r"no exit at cut 2; exits: \[1\]"):
        stage.exit(2, activation)


def test_only_what_runs_is_loaded(folder: Path, tiny_bundle: TinyBundle, engine: Engine) -> None:
    for name in ("segment_1.onnx", "segment_2.onnx", "exit_1.onnx"):
        (folder / name).unlink()
    with Bundle.open(folder) as bundle:
        stage = Stage(bundle, engine)
        assert stage.run(tiny_bundle.items[0], 0, 1)[0].shape == (1, 8, 16, 16)
        with pytest.raises(BundleCorrupt, match=r"segment_1\.onnx"):
            stage.run(tiny_bundle.items[0])


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, 32, 32, 3), np.float32),
        np.zeros((1, 32, 31, 3), np.uint8),
        np.zeros((32, 32, 3), np.uint8),
        np.zeros((0, 32, 32, 3), np.uint8),
        np.uint8(0),
    ],
)
def test_another_shape_or_dtype_is_refused_before_the_engine(bundle: Bundle, engine: Engine, wrong: np.ndarray) -> None:
    with pytest.raises(UnsupportedShape, match=r"cut 0 takes uint8 \[batch, 32, 32, 3\] and was given"):
        Stage(bundle, engine).run(wrong)


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (2, 1), (0, 4), (3, 3)])
def test_segments_that_do_not_exist_are_refused(bundle: Bundle, engine: Engine, first: int, last: int) -> None:
    with pytest.raises(IndexError, match="there are no segments"):
        Stage(bundle, engine).run(np.zeros((1, 32, 32, 3), np.uint8), first, last)


def test_a_segment_that_breaks_its_declaration_is_found(folder: Path, tiny_bundle: TinyBundle, engine: Engine) -> None:
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    first, second, third = manifest.segments
    segments = (first, second.model_copy(update={"model": "exit_1.onnx"}), third)
    swapped = manifest.model_copy(update={"segments": segments})
    (folder / MANIFEST_NAME).write_bytes(swapped.to_bytes())
    with Bundle.open(folder) as bundle, pytest.raises(BundleInvalid, match=r"segment 1 gives float32 \[10\]"):
        Stage(bundle, engine).run(tiny_bundle.items[0])


def test_many_threads_share_a_stage(tiny_bundle: TinyBundle, bundle: Bundle, engine: Engine) -> None:
    stage = Stage(bundle, engine)
    items = list(tiny_bundle.items) * 8
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda item: stage.run(item)[0], items))
    for item, logits in zip(items, found, strict=True):
        np.testing.assert_allclose(logits, whole_logits(tiny_bundle, item), rtol=0, atol=1e-5)


def test_one_thread_means_the_calling_thread(tiny_bundle: TinyBundle, bundle: Bundle) -> None:
    """The system counts no new thread of this process while a single-threaded engine loads and runs."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("threads are counted through /proc")
    before = {task.name for task in tasks.iterdir()}
    stage = Stage(bundle, engine_named("onnxruntime", threads=1))  # kept: its threads would live as long
    stage.run(tiny_bundle.items[0])
    assert {task.name for task in tasks.iterdir()} <= before
    assert threading.get_native_id() in map(int, before)


def test_the_engine_translates_its_failures(tmp_path: Path, bundle: Bundle, engine: Engine) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(EngineError, match=r"cannot load 'junk\.onnx'"):
        engine.load(tmp_path / "junk.onnx")
    with pytest.raises(EngineError, match=r"cannot load 'none\.onnx'"):
        engine.load(tmp_path / "none.onnx")
    model = engine.load(bundle.model("segment_1.onnx", ["weights.safetensors"]))
    with pytest.raises(EngineError, match="failed in ONNX Runtime") as caught:
        model.run([np.zeros((1, 8, 16, 16), np.float64)])
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="takes 1 inputs and was given 0"):
        model.run([])


def test_an_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="did you mean 'onnxruntime'"):
        engine_named("onnx")
    with pytest.raises(SettingsError, match="threads = 0"):
        engine_named("onnxruntime", threads=0)
