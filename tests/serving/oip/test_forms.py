"""Numbers in JSON and in typed fields, and bytes that are no request: refused by a sentence, never by an accident."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.oip.bodies import read_request, written_response
from serving.oip.datatypes import bytes_of_numbers
from serving.oip.errors import RequestRefused
from serving.oip.infer_messages import read_request as read_message
from serving.oip.messages import ModelInferRequest
from serving.oip.values import InferenceRequest, InferenceResponse, OutputTensor

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
NAMED = st.sampled_from(["name", "datatype", "shape", "data", "parameters", "binary_data_size"])
INPUTS = st.dictionaries(
    NAMED, st.sampled_from(["x", "FP32", "INT64", [1, 2], [1.5, 2], {"binary_data_size": 3}]) | TREES
)
REQUESTS = st.dictionaries(st.sampled_from(["id", "inputs", "outputs", "parameters"]), st.lists(INPUTS) | TREES)


@pytest.mark.parametrize(
    ("datatype", "data", "expected"),
    [
        ("FP32", [1, -2.5, 1e-50], np.array([1, -2.5, 0], "<f4")),
        ("FP32", [[1.0, 2.0, 3.4028234e38]], np.array([1, 2, 3.4028234e38], "<f4")),
        ("INT64", [0, -(1 << 63), (1 << 63) - 1], np.array([0, -(1 << 63), (1 << 63) - 1], "<i8")),
        ("UINT8", [0, 255, 7], np.array([0, 255, 7], "u1")),
    ],
)
def test_numbers_become_the_bytes_of_the_array(datatype: str, data: list[object], expected: np.ndarray) -> None:  # type: ignore[type-arg]
    shape = [1, 3] if isinstance(data[0], list) else [3]
    assert bytes_of_numbers("x", datatype, shape, data) == expected.tobytes()


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", [1e39]),
        ("FP32", [10**400]),
        ("FP32", [True]),
        ("INT64", [1 << 63]),
        ("INT64", [1.0]),
        ("UINT8", [-1]),
        ("UINT8", [None]),
    ],
)
def test_numbers_that_a_type_cannot_hold_are_refused(datatype: str, data: list[object]) -> None:
    with pytest.raises(RequestRefused, match="'x'"):
        bytes_of_numbers("x", datatype, [1], data)


def test_an_output_that_json_cannot_say_is_given_as_binary_only() -> None:
    tensor = OutputTensor("y", "FP32", (2,), np.array([1.0, np.nan], "<f4").tobytes())
    response = InferenceResponse("m", "1", "", (tensor,))
    with pytest.raises(RequestRefused, match="ask for binary"):
        written_response(response, InferenceRequest("m", "1", "", ()))
    asked = InferenceRequest("m", "1", "", (), parameters={"binary_data_output": True})
    content, length = written_response(response, asked)
    assert content[length:] == tensor.data
    assert json.loads(content[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}


def sentence_of(read: Callable[[], object]) -> str:
    """Of the refusal; "" where there is none. Any other error goes through."""
    try:
        read()
    except RequestRefused as exc:
        return str(exc) or "no sentence"
    return ""


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tree=REQUESTS | TREES, binary=st.binary(max_size=12), told=st.none() | st.integers(-3, 200) | st.text(max_size=4)
)
def test_no_json_does_more_than_be_refused(tree: object, binary: bytes, told: object) -> None:
    content = json.dumps(tree).encode()
    header = str(len(content)) if told == 3 else None if told is None else str(told)
    sentence = sentence_of(lambda: read_request("m", "", content + binary, header))
    assert sentence != "no sentence"
    assert len(sentence) < 600


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=60))
def test_bytes_are_refused_with_a_sentence(content: bytes) -> None:
    for header in (None, "1"):
        assert sentence_of(lambda header=header: read_request("m", "", content, header))  # type: ignore[misc]
    assert sentence_of(lambda: read_message(content)) != "no sentence"


@settings(max_examples=50, deadline=None)
@given(place=st.integers(0, 200), flip=st.integers(1, 255))
def test_a_damaged_message_is_read_whole_or_refused(place: int, flip: int) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "contents": {"fp32_contents": [1, 2, 3, 4]}}
    content = bytearray(ModelInferRequest(model_name="m", id="7", inputs=[tensor]).SerializeToString())
    content[place % len(content)] ^= flip
    read: list[InferenceRequest] = []
    sentence = sentence_of(lambda: read.append(read_message(bytes(content))[0]))
    assert bool(sentence) is not bool(read)
    assert all(len(given.data) in (0, 16) for request in read for given in request.inputs)
