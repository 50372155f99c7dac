"""Two tasks from one stream: a tier answers with a picture of the input where the frame's level asks for one."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from protocol.messages import Handover
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry
from runtime.codecs import LearnedCodec
from serving.steps import VIEW
from tests.runtime.tiny_bundle import INPUT, SIDE, TinyBundle, latent_of
from tests.serving.tiers import Device, a_device, a_tier

CUT, PLAIN, VIEWED = 1, 1, 2


@pytest.fixture
def folder(tiny_bundle: TinyBundle, tmp_path: Path) -> Path:
    """The tiny bundle with one level more: its second one once again, with a view."""
    folder = Path(shutil.copytree(tiny_bundle.path, tmp_path / "viewed.isthmus"))
    (folder / "view.onnx").write_bytes(_view())
    with Bundle.open(folder) as bundle:
        manifest = bundle.manifest
    cut = manifest.cuts[CUT]
    viewed = cut.levels[PLAIN].model_copy(update={"view": "view.onnx"})
    levels = (*cut.levels[:VIEWED], viewed, *cut.levels[VIEWED:])
    cuts = tuple(cut.model_copy(update={"levels": levels}) if one is cut else one for one in manifest.cuts)
    files = {**manifest.files, "view.onnx": file_entry(folder / "view.onnx")}
    made = manifest.model_copy(update={"cuts": cuts, "files": files, "profiles": ()})
    (folder / MANIFEST_NAME).write_bytes(made.to_bytes())
    return folder


def _view() -> bytes:
    """Three of the latent's channels as colours, four times as wide and high."""
    latent, node = latent_of(CUT), helper.make_node
    nodes = [
        node("Slice", [latent.name, "zero", "three", "one"], ["colours"]),
        node("Resize", ["colours", "", "scales"], ["large"], mode="nearest"),
        node("Mul", ["large", "contrast"], ["strong"]),
        node("Transpose", ["strong"], ["shown"], perm=[0, 2, 3, 1]),
    ]
    constants = {
        "zero": (TensorProto.INT64, [1], [0]),
        "three": (TensorProto.INT64, [1], [3]),
        "one": (TensorProto.INT64, [1], [1]),
        "scales": (TensorProto.FLOAT, [4], [1, 1, SIDE / latent.shape[1], SIDE / latent.shape[1]]),
        "contrast": (TensorProto.FLOAT, [1], [300]),
    }
    graph = helper.make_graph(
        nodes,
        "view",
        [helper.make_tensor_value_info(latent.name, TensorProto.FLOAT, ["batch", *latent.shape])],
        [helper.make_tensor_value_info("shown", TensorProto.FLOAT, ["batch", *INPUT.shape])],
        [helper.make_tensor(name, *told) for name, told in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


async def test_a_tier_shows_what_a_frame_asks_it_to_and_answers_as_ever(tiny_bundle: TinyBundle, folder: Path) -> None:
    async with a_tier("edge", folder) as edge, a_device(folder, edge.dial) as device:
        await _asks_for_both(device, tiny_bundle, None)


async def test_an_edge_passes_on_the_frame_and_the_view_that_comes_back(tiny_bundle: TinyBundle, folder: Path) -> None:
    async with (
        a_tier("cloud", folder) as cloud,
        a_tier("edge", folder, cloud.dial) as edge,
        a_device(folder, edge.dial) as device,
    ):
        await _asks_for_both(device, tiny_bundle, Handover(CUT, VIEWED))


async def _asks_for_both(device: Device, tiny_bundle: TinyBundle, handover: Handover | None) -> None:
    codec = device.codecs.at(CUT, VIEWED)
    assert isinstance(codec, LearnedCodec)
    for item in tiny_bundle.items[:3]:
        plain, viewed = (
            device.frame(item, CUT, PLAIN),
            device.frame(item, CUT, VIEWED, handover=handover),
        )
        assert plain.payload == viewed.payload
        (answer,) = (await device.answer(plain)).outputs
        again, shown = (await device.answer(viewed)).outputs
        np.testing.assert_allclose(again.array(), answer.array(), atol=1e-5)
        expected = np.clip(np.rint(codec.view(viewed.payload)), 0, 255).astype(np.uint8)[0]
        assert (shown.name, shown.dtype, shown.shape) == (VIEW, "uint8", INPUT.shape)
        assert np.array_equal(shown.array(), expected)
        assert np.ptp(expected) > 50
