import random

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from runtime.onnx_locations import external_locations


def external(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def model_with_weights_everywhere() -> onnx.ModelProto:
    """External data as an initializer, in a node's attribute, in a subgraph's, in a sparse one, and in a function."""
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["a"], value=external("v", "in_subgraph.bin"))],
        "inner",
        [],
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, [1])],
    )
    nodes = [
        helper.make_node("Constant", [], ["b"], value=external("v", "in_attribute.bin")),
        helper.make_node("If", ["condition"], ["c"], then_branch=inner, else_branch=inner),
    ]
    embedded = numpy_helper.from_array(np.arange(300, dtype=np.float32), "embedded")
    graph = helper.make_graph(nodes, "g", [], [], [external("w", "as_initializer.bin"), embedded])
    graph.sparse_initializer.add().values.CopyFrom(external("s", "in_sparse.bin"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    function = model.functions.add(name="f", domain="d")
    function.node.append(helper.make_node("Constant", [], ["e"], value=external("v", "in_function.bin")))
    return model


def test_every_place_that_can_hold_weights_is_read() -> None:
    assert external_locations(model_with_weights_everywhere().SerializeToString()) == {
        "as_initializer.bin",
        "in_attribute.bin",
        "in_subgraph.bin",
        "in_sparse.bin",
        "in_function.bin",
    }


def test_damaged_bytes_give_names_or_a_value_error() -> None:
    whole = model_with_weights_everywhere().SerializeToString()
    chance = random.Random(4)
    for _ in range(300):
        damaged = bytearray(whole[: chance.randrange(1, len(whole))])
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            found = external_locations(bytes(damaged))
        except ValueError:
            continue
        assert all(isinstance(name, str) for name in found)


@pytest.mark.parametrize("content", [b"\x0a", b"\x0a\x05abc", b"\x0b", b"\xff" * 20])
def test_bytes_that_are_no_protobuf_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        external_locations(content)
