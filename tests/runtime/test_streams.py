"""Segments that keep state, frames that name their place, and what was sent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from protocol.messages import Result, Tensor
from runtime.bundle import MANIFEST_NAME, Bundle
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.errors import BundleInvalid, UndecodablePayload, UnsupportedShape
from runtime.manifest import Segment, TensorSpec
from runtime.stage import Stage, State
from runtime.streams import HEAD_BYTES, MAX_STEPS, Place, Sent, needed, needs, place_of, placed
from tests.runtime import recurrent_bundle
from tests.runtime.tiny_bundle import TinyBundle


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recurrent_bundle.build(tmp_path_factory.mktemp("recurrent"))


def test_steps_on_kept_states_give_what_the_recurrence_gives(path: Path) -> None:
    stream = recurrent_bundle.items(10, seed=1)
    with Bundle.open(path) as bundle:
        stage = Stage(bundle, OnnxRuntimeEngine())
        states: dict[int, State] = {}
        for item, truth in zip(stream, recurrent_bundle.answers(stream), strict=True):
            activation = item
            for segment in range(recurrent_bundle.SEGMENTS):
                (activation,), states[segment] = stage.step(activation, segment, states.get(segment))
            np.testing.assert_allclose(activation[0], truth, rtol=1e-5, atol=1e-5)


def test_without_a_state_every_frame_is_a_first_one(path: Path) -> None:
    item = recurrent_bundle.items(1, seed=2)[0]
    with Bundle.open(path) as bundle:
        stage = Stage(bundle, OnnxRuntimeEngine())
        for _ in range(2):
            (found,) = stage.run(item)
            np.testing.assert_allclose(found[0], recurrent_bundle.answers([item])[0], rtol=1e-5, atol=1e-5)


def test_a_state_of_another_shape_or_another_number_of_items_is_refused(path: Path) -> None:
    item = recurrent_bundle.items(1, seed=3)[0]
    with Bundle.open(path) as bundle:
        stage = Stage(bundle, OnnxRuntimeEngine())
        memory, count = stage.fresh_state(0)
        for state in ((memory[:, :2], count), (memory.astype(np.float64), count), (np.repeat(memory, 2, 0), count)):
            with pytest.raises(UnsupportedShape, match="memory"):
                stage.step(item, 0, state)


def test_a_graph_that_gives_another_state_than_declared_is_refused(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "other"
    target.mkdir()
    for file in path.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    text = (target / MANIFEST_NAME).read_text()
    (target / MANIFEST_NAME).write_text(
        text.replace('"name": "count",\n     "dtype": "int64"', '"name": "count",\n     "dtype": "float32"')
    )
    assert (target / MANIFEST_NAME).read_text() != text
    with Bundle.open(target) as bundle:
        stage = Stage(bundle, OnnxRuntimeEngine())
        assert bundle.manifest.keeps_state
        memory, _ = stage.fresh_state(0)
        with pytest.raises((BundleInvalid, UnsupportedShape)):
            stage.step(recurrent_bundle.items(1, seed=4)[0], 0, (memory, np.zeros((1, 1), np.int64)))


def test_a_bundle_without_state_is_written_as_it_always_was(tiny_bundle: TinyBundle) -> None:
    with Bundle.open(tiny_bundle.path) as bundle:
        assert not bundle.manifest.keeps_state
        assert b'"state"' not in bundle.manifest.to_bytes()


def test_a_segment_that_keeps_nothing_leaves_state_out() -> None:
    tensor = TensorSpec(name="memory", dtype="float32", shape=(1,))
    for state in ((), (tensor,) * 65):
        with pytest.raises(ValidationError, match="1 to 64"):
            Segment(model="a.onnx", macs=0, parameters=0, state=state)


@given(some.integers(0, 2**64 - 1), some.integers(0, MAX_STEPS - 1), some.binary(max_size=40))
@settings(max_examples=50)
def test_a_place_comes_back_with_its_payload(stream: int, step: int, payload: bytes) -> None:
    assert place_of(placed(Place(stream, step), payload)) == (Place(stream, step), payload)


@pytest.mark.parametrize("payload", [b"", bytes(HEAD_BYTES - 1), placed(Place(1, MAX_STEPS), b"x")])
def test_a_payload_without_a_possible_place_is_refused(payload: bytes) -> None:
    with pytest.raises(UndecodablePayload):
        place_of(payload)


def test_only_an_answer_that_asks_for_a_stream_is_read_as_one() -> None:
    assert needed(Result(1, needs(7), "edge")) == 7
    assert needed(Result(1, (Tensor.of("logits", np.zeros(3, np.float32)),), "edge")) is None
    assert needed(Result(1, (), "edge")) is None


def test_what_was_sent_is_replaced_from_a_step_on_and_void_after_a_gap() -> None:
    sent = Sent()
    for step, payload in enumerate([b"a", b"bb", b"ccc"]):
        sent.put(step, payload)
    assert (sent.between(0, 3), sent.nbytes) == ([b"a", b"bb", b"ccc"], 6)
    sent.put(1, b"B")
    assert (sent.between(0, 2), sent.nbytes) == ([b"a", b"B"], 2)
    assert sent.between(0, 3) is None
    assert sent.between(3, 1) is None
    sent.put(5, b"x")
    assert (len(sent), sent.nbytes, sent.between(0, 1)) == (0, 0, None)
    sent.put(0, b"y")
    assert sent.between(0, 1) == [b"y"]
