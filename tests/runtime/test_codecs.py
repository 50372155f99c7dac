import io
import random
import struct
import tracemalloc
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

from protocol import rans_native
from protocol.errors import LocalProtocolError
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry
from runtime.codecs import Codecs, LearnedCodec, RawCodec, ZstdCodec, codec_for
from runtime.engines import Engine
from runtime.errors import BundleInvalid, CodecError, UndecodablePayload, UnsupportedShape
from runtime.manifest import TensorSpec
from runtime.stage import Stage
from tests.runtime.tiny_bundle import TinyBundle

LEVELS = [(0, level) for level in range(4)] + [(cut, level) for cut in (1, 2) for level in range(5)]
LOSSLESS = [(0, 2), (0, 3), (1, 3), (1, 4), (2, 3), (2, 4)]
LEARNED = [(cut, level) for cut in (1, 2) for level in range(3)]
WEBP, JPEG = (0, 0), (0, 1)
PICTURES = [WEBP, JPEG]
ALLOWANCE_BYTES = 64 << 10
"""What the interpreter may use beside the declared tensor: exceptions, headers, small objects."""


@pytest.fixture(scope="module")
def activations(tiny_bundle: TinyBundle, engine: Engine) -> list[list[NDArray]]:
    """[cut][item]"""
    with Bundle.open(tiny_bundle.path) as bundle:
        stage = Stage(bundle, engine)
        return [[stage.run(item, 0, cut)[0] for item in tiny_bundle.items] for cut in range(3)]


@pytest.fixture(scope="module")
def codecs(tiny_bundle: TinyBundle, engine: Engine) -> Iterator[Codecs]:
    with Bundle.open(tiny_bundle.path) as bundle:
        yield Codecs(bundle, engine)


@pytest.fixture(params=["c", "numpy"])
def coder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "numpy":
        monkeypatch.setattr(rans_native, "library", lambda: None)
    elif rans_native.library() is None:
        pytest.skip("the C coder is not built here")
    return str(request.param)


def learned(codecs: Codecs, cut: int, level: int) -> LearnedCodec:
    codec = codecs.at(cut, level)
    assert isinstance(codec, LearnedCodec)
    return codec


@pytest.mark.parametrize(("cut", "level"), LOSSLESS)
def test_lossless_levels_are_exact_at_every_cut(
    codecs: Codecs, activations: list[list[NDArray]], cut: int, level: int
) -> None:
    codec = codecs.at(cut, level)
    for activation in activations[cut]:
        restored = codec.decode(codec.encode(activation))
        assert restored.dtype == activation.dtype
        np.testing.assert_array_equal(restored, activation)


@pytest.mark.parametrize("maker", [RawCodec, ZstdCodec])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_lossless_codecs_keep_every_bit_of_noise(maker: type[RawCodec | ZstdCodec], dtype: str) -> None:
    """Noise, so that NaN payloads, negative zeros and incompressible data are all in it."""
    spec = TensorSpec(name="t", dtype=dtype, shape=(7, 5, 3))  # type: ignore[arg-type]
    codec = maker(spec)
    noise = np.frombuffer(random.Random(5).randbytes(spec.nbytes), dtype).reshape(1, 7, 5, 3)
    payload = codec.encode(noise)
    assert len(payload) <= codec.max_payload_bytes
    assert codec.decode(payload).tobytes() == noise.tobytes()
    turned = noise[:, ::-1]  # not contiguous
    assert codec.decode(codec.encode(turned)).tobytes() == turned.tobytes()


def test_raw_bytes_are_little_endian_and_row_major() -> None:
    codec = RawCodec(TensorSpec(name="t", dtype="float32", shape=(2,)))
    assert codec.encode(np.array([[1.0, -2.0]], np.float32)) == struct.pack("<2f", 1.0, -2.0)


@pytest.mark.parametrize(("cut", "level"), LEARNED)
def test_symbols_out_are_symbols_in_bit_for_bit(
    codecs: Codecs, activations: list[list[NDArray]], coder: str, cut: int, level: int
) -> None:
    codec = learned(codecs, cut, level)
    for activation in activations[cut]:
        symbols = codec.symbols(activation)
        payload = codec.encode_symbols(symbols)
        assert len(payload) <= codec.max_payload_bytes
        out = codec.decode_symbols(payload)
        assert (out.dtype, out.shape) == (np.int32, symbols.shape)
        np.testing.assert_array_equal(out, symbols)
        assert codec.encode(activation) == payload


@pytest.mark.parametrize(("cut", "level"), LEARNED)
def test_c_and_numpy_write_the_same_payload(
    codecs: Codecs, activations: list[list[NDArray]], monkeypatch: pytest.MonkeyPatch, cut: int, level: int
) -> None:
    if rans_native.library() is None:
        pytest.skip("the C coder is not built here")
    codec = learned(codecs, cut, level)
    by_c = [codec.encode(activation) for activation in activations[cut]]
    monkeypatch.setattr(rans_native, "library", lambda: None)
    assert [codec.encode(activation) for activation in activations[cut]] == by_c


@pytest.mark.parametrize("cut", [1, 2])
def test_a_higher_level_costs_more_and_restores_the_latent_better(
    tiny_bundle: TinyBundle, codecs: Codecs, engine: Engine, activations: list[list[NDArray]], cut: int
) -> None:
    """Against the trained transform without quantisation, run apart from the codec."""
    encoder = engine.load(tiny_bundle.path / f"encoder_{cut}.onnx")
    decoder = engine.load(tiny_bundle.path / f"decoder_{cut}.onnx")
    lengths, errors = [], []
    for level in range(3):
        codec = codecs.at(cut, level)
        payloads = [codec.encode(activation) for activation in activations[cut]]
        smooth = [decoder.run(encoder.run([activation]))[0] for activation in activations[cut]]
        lengths.append(sum(map(len, payloads)))
        errors.append(max(np.abs(codec.decode(p) - s).max() for p, s in zip(payloads, smooth, strict=True)))
    assert lengths == sorted(set(lengths))
    assert errors == sorted(set(errors), reverse=True)


def test_symbols_beyond_the_tables_are_clipped_to_them(codecs: Codecs) -> None:
    codec = learned(codecs, 1, 2)
    huge = np.full((1, 8, 16, 16), 1e9, np.float32)
    symbols = codec.symbols(huge)
    np.testing.assert_array_equal(codec.decode_symbols(codec.encode_symbols(symbols)), symbols)
    with pytest.raises(LocalProtocolError):
        codec.encode_symbols(symbols + np.int32(1000))


def test_an_activation_without_finite_latent_is_refused(codecs: Codecs) -> None:
    with pytest.raises(CodecError, match="fall back to a lossless level"):
        codecs.at(1, 0).encode(np.full((1, 8, 16, 16), np.nan, np.float32))


@pytest.mark.parametrize(("cut", "level"), PICTURES)
def test_a_picture_comes_back_as_pillow_alone_decodes_it(
    codecs: Codecs, activations: list[list[NDArray]], cut: int, level: int
) -> None:
    codec = codecs.at(cut, level)
    for activation in activations[cut]:
        payload = codec.encode(activation)
        assert len(payload) < activation.size // 2
        expected = np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))
        np.testing.assert_array_equal(codec.decode(payload)[0], expected)
        assert np.abs(expected.astype(int) - activation[0]).mean() < 16


@pytest.mark.parametrize(("cut", "level"), LEVELS)
def test_only_the_declared_activation_is_encoded(codecs: Codecs, cut: int, level: int) -> None:
    shape = [(32, 32, 3), (8, 16, 16), (12, 8, 8)][cut]
    dtype = np.uint8 if cut == 0 else np.float32
    for wrong in (np.zeros((2, *shape), dtype), np.zeros((1, *shape), np.float64), np.zeros((1, 4, *shape[1:]), dtype)):
        with pytest.raises(UnsupportedShape):
            codecs.at(cut, level).encode(wrong)


@pytest.mark.parametrize(("cut", "level"), LEVELS)
def test_truncated_and_lengthened_payloads_are_refused(
    codecs: Codecs, activations: list[list[NDArray]], cut: int, level: int
) -> None:
    codec = codecs.at(cut, level)
    payload = codec.encode(activations[cut][0])
    cuts = {0, 1, 2, 3, len(payload) // 2, len(payload) - (3 if (cut, level) in PICTURES else 1)}
    for length in sorted(cuts):
        with pytest.raises(UndecodablePayload):
            codec.decode(payload[:length])
    for tail in (bytes(codec.max_payload_bytes), b"" if (cut, level) in PICTURES else b"\0"):
        if tail:
            with pytest.raises(UndecodablePayload):
                codec.decode(payload + tail)


def pictures(format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), options.pop("size", (32, 32))).save(file, format, **options)  # type: ignore[arg-type]
    return file.getvalue()


def webp(chunk: bytes, body: bytes) -> bytes:
    riff = b"WEBP" + chunk + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
    return b"RIFF" + struct.pack("<I", len(riff)) + riff


@cache
def hostile_payloads() -> dict[str, tuple[tuple[int, int], bytes]]:
    """(cut, level) and bytes that claim far more than the tensor, or are another kind of file."""
    zeros = zstandard.ZstdCompressor(level=19).compress(bytes(64 << 20))
    unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(8 << 20))
    small_unsized = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(8192))
    jpeg = bytearray(pictures("jpeg"))
    start = jpeg.index(b"\xff\xc0") + 5
    jpeg[start : start + 4] = struct.pack(">HH", 65500, 65500)
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    animated = io.BytesIO()
    frames[0].save(animated, "webp", save_all=True, append_images=frames[1:])
    huge = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383) + bytes(64)
    lied = bytearray(zstandard.ZstdCompressor().compress(bytes(1 << 20)))
    lied[:7] = b"\x28\xb5\x2f\xfd\x60" + struct.pack("<H", 8192 - 256)
    return {
        "zstd bomb": ((1, 3), zeros),
        "zstd bomb without a size": ((1, 3), unsized),
        "zstd of the right length without a size": ((1, 3), small_unsized),
        "zstd that understates its content": ((1, 3), bytes(lied)),
        "zstd of another size": ((1, 3), zstandard.compress(bytes(8191))),
        "two zstd frames": ((1, 3), zstandard.compress(bytes(8192)) * 2),
        "zstd skippable frame": ((1, 3), struct.pack("<II", 0x184D2A50, 4) + bytes(4)),
        "jpeg bomb": (JPEG, bytes(jpeg)),
        "jpeg of another size": (JPEG, pictures("jpeg", size=(33, 32))),
        "grey jpeg": (JPEG, pictures("jpeg", mode="L")),
        "cmyk jpeg": (JPEG, pictures("jpeg", mode="CMYK")),
        "webp in place of jpeg": (JPEG, pictures("webp")),
        "png in place of jpeg": (JPEG, pictures("png")),
        "webp bomb": (WEBP, webp(b"VP8 ", huge)),
        "extended webp bomb": (WEBP, webp(b"VP8X", bytes(4) + b"\xfe\x3f\0" * 2)),
        "lossless webp": (WEBP, pictures("webp", lossless=True)),
        "animated webp": (WEBP, animated.getvalue()),
        "webp with alpha": (WEBP, pictures("webp", mode="RGBA", lossless=False)),
        "webp header without a picture": (WEBP, webp(b"VP8 ", b"\x10\0\0\x9d\x01\x2a\x20\0\x20\0")),
        "jpeg in place of webp": (WEBP, pictures("jpeg")),
        "rans of too many lanes": ((1, 0), b"\x0f" + bytes(200)),
        "rans noise": ((1, 0), random.Random(1).randbytes(300)),
    }


@pytest.mark.parametrize("name", hostile_payloads())
def test_hostile_payloads_are_refused_within_the_declared_memory(
    codecs: Codecs, activations: list[list[NDArray]], name: str
) -> None:
    (cut, level), payload = hostile_payloads()[name]
    codec = codecs.at(cut, level)
    codec.decode(codec.encode(activations[cut][0]))  # loads what is loaded once
    tracemalloc.start()
    try:
        with pytest.raises(UndecodablePayload) as caught:
            codec.decode(payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * activations[cut][0].nbytes + len(payload) + ALLOWANCE_BYTES
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("cut", "level"), LEVELS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_give_the_declared_tensor_or_the_one_error(
    codecs: Codecs, activations: list[list[NDArray]], cut: int, level: int, data: st.DataObject
) -> None:
    codec = codecs.at(cut, level)
    payload = bytearray(codec.encode(activations[cut][0]))
    if data.draw(st.booleans()):
        for at in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=8)):
            payload[at] = data.draw(st.integers(0, 255))
    else:
        payload = bytearray(data.draw(st.binary(max_size=200)))
    try:
        restored = codec.decode(bytes(payload))
    except UndecodablePayload:
        return
    assert (restored.shape, restored.dtype) == (activations[cut][0].shape, activations[cut][0].dtype)


def test_codecs_are_made_once_and_unknown_ones_are_named(codecs: Codecs, bundle: Bundle, engine: Engine) -> None:
    assert codecs.at(1, 0) is codecs.at(1, 0)
    assert isinstance(codec_for(bundle, engine, 0, 3), RawCodec)
    with pytest.raises(CodecError, match="no cut 3; this bundle has cuts 0 to 2"):
        codecs.at(3, 0)
    with pytest.raises(CodecError, match="cut 1 has no level 5; it has levels 0 to 4"):
        codecs.at(1, 5)
    with pytest.raises(CodecError):
        codecs.at(-1, 0)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("cdf", lambda array: array.astype(np.float32), "need 'cdf' as int32"),
        ("cdf", lambda array: array[:, :, ::-1].copy(), "refused"),
        ("cdf", lambda array: array[:, :2].copy(), "of length 4"),
        ("size", lambda array: array * 0, "refused"),
        ("size", lambda array: array + 1000, "refused"),
        ("offset", lambda array: array + np.int32(2**31 - 100), "refused"),
        ("gain", lambda array: array * np.float32("nan"), "a gain is negative or not finite"),
        ("inverse_gain", lambda array: array[:1].copy(), "have no row 2 in 'inverse_gain'"),
    ],
)
def test_tables_that_break_a_rule_are_refused(
    folder: Path, engine: Engine, name: str, change: object, words: str
) -> None:
    tables = folder / "tables_1.safetensors"
    tensors = load_file(tables)
    with np.errstate(over="ignore"):
        save_file(tensors | {name: change(tensors[name])}, tables)  # type: ignore[operator]
    relist(folder, tables)
    with Bundle.open(folder) as bundle, pytest.raises(BundleInvalid, match=words):
        Codecs(bundle, engine).at(1, 2)


def test_tables_that_are_no_safetensors_are_refused(folder: Path, engine: Engine) -> None:
    tables = folder / "tables_1.safetensors"
    tables.write_bytes(b"\xff" * 64)
    relist(folder, tables)
    with Bundle.open(folder) as bundle, pytest.raises(BundleInvalid, match="no readable safetensors"):
        Codecs(bundle, engine).at(1, 0)


def relist(folder: Path, changed: Path) -> None:
    with Bundle.open(folder) as bundle:
        files = bundle.manifest.files | {changed.name: file_entry(changed)}
        (folder / MANIFEST_NAME).write_bytes(bundle.manifest.model_copy(update={"files": files}).to_bytes())
