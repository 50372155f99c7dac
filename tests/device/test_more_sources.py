"""Sources beyond folders: patterns, videos, cameras, signals, standard input, pushes, and which items are taken."""

import asyncio
import http.client
import io
import json
import os
import time
from contextlib import aclosing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device.errors import SourceError
from device.sources import open_source
from device.sources.live import Live
from device.sources.opening import from_iterable
from device.sources.picked import resized
from device.sources.settings import Fit, SourceSettings
from device.sources.stdin import npy_arrays, raw_arrays
from device.spool import Spool, SpoolLimits
from runtime.errors import SettingsError
from runtime.manifest import TensorSpec
from runtime.settings import check_settings

VIDEO = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "video"


async def all_of(source):
    async with asyncio.timeout(30):
        return [captured async for captured in source.frames()]


def opened(*, spec=None, keep=None, **settings):
    return open_source(check_settings(SourceSettings, settings), clock=time.monotonic, spec=spec, keep=keep)


async def test_a_pattern_finds_files_at_any_depth(tmp_path):
    for number, folder in enumerate((tmp_path / "a", tmp_path / "b" / "c")):
        folder.mkdir(parents=True)
        Image.new("RGB", (4, 3), (number, 0, 0)).save(folder / f"{number}.png")
    source = opened(kind="glob", path=tmp_path / "**" / "*.png", rate_hz=1000, loop=False)
    assert [item.name for item in await all_of(source)] == ["0.png", "1.png"]
    with pytest.raises(SourceError, match="names no file"):
        opened(kind="glob", path=tmp_path / "*.jpg")


async def test_one_of_n_is_taken_and_keeps_its_moment(tmp_path):
    for number in range(6):
        np.save(tmp_path / f"{number}.npy", np.full(2, number))
    source = opened(path=tmp_path, rate_hz=500, speed=2.0, loop=False, every=3)
    assert source.interval_s == pytest.approx(3 / 1000)
    items = await all_of(source)
    assert [int(item.content[0]) for item in items] == [0, 3]
    assert items[1].captured_s - items[0].captured_s == pytest.approx(3 / 1000)


async def test_a_signal_is_cut_into_overlapping_windows(tmp_path):
    signal = np.arange(40, dtype=np.float32).reshape(2, 20)
    np.save(tmp_path / "s.npy", signal)
    source = opened(
        kind="signal", path=tmp_path / "s.npy", window=8, hop=4, sample_rate_hz=4000, loop=False
    )  # fmt: skip
    items = await all_of(source)
    assert source.interval_s == pytest.approx(1e-3)
    assert len(items) == 4
    for number, item in enumerate(items):
        assert np.array_equal(item.content, signal[:, 4 * number : 4 * number + 8])
    with pytest.raises(SourceError, match="at least"):
        opened(kind="signal", path=tmp_path / "s.npy", window=21, sample_rate_hz=4000)


async def test_a_python_iterator_is_a_source():
    items = await all_of(from_iterable((np.full(1, k) for k in range(3)), rate_hz=1000, clock=time.monotonic))
    assert [int(item.content[0]) for item in items] == [0, 1, 2]


async def test_arrays_on_a_stream_are_read_one_after_the_other():
    stream = io.BytesIO()
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(3, 2))]
    for array in arrays:
        np.save(stream, array)
    stream.seek(0)
    items = await all_of(Live(lambda: npy_arrays(stream), rate_hz=10, clock=time.monotonic))
    assert all(np.array_equal(item.content, array) for item, array in zip(items, arrays, strict=True))


@pytest.mark.parametrize("harm", [lambda data: data[:-3], lambda data: data[:70], lambda data: b"what" + data])
def test_a_damaged_array_on_a_stream_ends_it_with_its_reason(harm):
    whole = io.BytesIO()
    np.save(whole, np.arange(6.0))
    items = list(npy_arrays(io.BytesIO(whole.getvalue() + harm(whole.getvalue()))))
    assert np.array_equal(items[0][1], np.arange(6.0))
    assert [type(content) for _, content in items[1:]] == [str]


def test_no_object_is_unpickled_from_a_stream():
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    stream.seek(0)
    (item,) = npy_arrays(stream)
    assert "Python objects" in item[1]


def test_raw_bytes_of_a_shape_are_items():
    data = bytes(range(12))
    items = list(raw_arrays((2, 3), "uint8", io.BytesIO(data)))
    assert [item.tolist() for _, item in items] == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]
    with pytest.raises(SourceError, match="ended 1 bytes into"):
        list(raw_arrays((2, 3), "uint8", io.BytesIO(data + b"x")))


def test_pictures_are_brought_to_the_models_size():
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60] = 200
    assert resized(picture, 20, 20, Fit.STRETCH).shape == (20, 20, 3)
    assert resized(picture, 20, 20, Fit.CROP)[:, 1:-1].min() == 200, "the middle is all that is left"


async def test_only_pictures_of_another_size_are_fitted(tmp_path):
    np.save(tmp_path / "0.npy", np.zeros((4, 4, 3), np.uint8))
    np.save(tmp_path / "1.npy", np.zeros((9, 7, 3), np.uint8))
    np.save(tmp_path / "2.npy", np.zeros((5,), np.float32))
    spec = TensorSpec(name="x", dtype="uint8", shape=(4, 4, 3))
    items = await all_of(opened(path=tmp_path, rate_hz=1000, loop=False, fit="crop", spec=spec))
    assert [item.content.shape for item in items] == [(4, 4, 3), (4, 4, 3), (5,)]


async def test_a_video_gives_its_pictures_at_its_own_rate(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "grey.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=50)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "gray"
        for level in (10, 60, 110):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32), level, np.uint8), format="gray")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    source = opened(kind="video", path=path, loop=False, speed=4.0)
    assert source.interval_s == pytest.approx(1 / 200)
    items = await all_of(source)
    assert [item.content.shape for item in items] == [(16, 32, 3)] * 3
    assert [int(item.content.mean()) for item in items] == [10, 60, 110]
    (tmp_path / "none.mp4").write_bytes(b"this is no video")
    with pytest.raises(SourceError, match="cannot be opened as a video"):
        opened(kind="video", path=tmp_path / "none.mp4")


async def test_a_capture_device_is_read_live():
    pytest.importorskip("av")
    source = opened(kind="camera", path="testsrc=size=32x24:rate=50:duration=0.1", capture="lavfi")
    items = await all_of(source)
    assert len(items) == 5
    assert all(item.content.shape == (24, 32, 3) for item in items)
    assert np.diff([item.captured_s for item in items]).min() >= 0


@pytest.mark.skipif(not VIDEO.is_dir(), reason="no shared data")
def test_the_decoded_clip_is_the_published_frames():
    pytest.importorskip("av")
    packed = np.load(VIDEO / "car_frames.npz")
    first = Image.open(io.BytesIO(packed["jpeg"][: packed["offsets"][1]].tobytes())).convert("RGB")
    (picture,) = opened(kind="video", path=VIDEO / "car-detection.mp4").samples(1)
    small = resized(picture, first.height, first.width, Fit.STRETCH)
    assert np.abs(small.astype(int) - np.asarray(first).astype(int)).mean() < 4


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "video"}, "needs source.path"),
        ({"kind": "signal", "path": "s.npy", "window": 3}, "needs source.sample_rate_hz"),
        ({"path": "p", "durable": True}, "source.durable is for kind push"),
        ({"kind": "push", "host": "0.0.0.0"}, "loopback only"),
        ({"kind": "film", "path": "p"}, "kind"),
    ],
)
def test_what_does_not_fit_a_kind_is_told(settings, told):
    with pytest.raises(SettingsError, match=told):
        check_settings(SourceSettings, settings)


# Pushing.


def png(level: int = 7) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (5, 4), (level, 0, 0)).save(out, "PNG")
    return out.getvalue()


class Pusher:
    """Sends requests to a push source from threads, as other programs would."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __call__(self, body: bytes, *, path="/frames", method="POST", **headers: str) -> tuple[int, dict]:
        named = {"Content-Type": "image/png"} | {key.replace("_", "-"): value for key, value in headers.items()}
        return await asyncio.to_thread(self._send, body, path, method, named)

    def _send(self, body, path, method, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"{}")
        finally:
            connection.close()


async def next_of(items):
    async with asyncio.timeout(20):
        return await anext(items)


async def test_a_pushed_picture_is_a_frame_with_its_senders_key():
    source = opened(kind="push")
    push = Pusher(source.port)
    async with aclosing(source.frames()) as items:
        waiting = asyncio.ensure_future(next_of(items))
        await asyncio.sleep(0)
        assert await push(png(9), Idempotency_Key="shot 1", Importance="2.5") == (202, {"key": "shot 1", "kept": False})
        captured = await waiting
        assert (captured.key, captured.importance) == ("shot 1", 2.5)
        assert captured.content.tolist() == [[[9, 0, 0]] * 5] * 4
        array = io.BytesIO()
        np.save(array, np.arange(3))
        status, told = await push(array.getvalue(), Content_Type="application/x-npy")
        assert status == 202
        assert told["key"]
        captured = await next_of(items)
        assert (captured.content.tolist(), captured.importance) == ([0, 1, 2], 1.0)


async def test_requests_that_are_no_frames_are_refused_with_a_reason():
    source = opened(kind="push")
    push = Pusher(source.port)
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    async with aclosing(source.frames()) as items:
        waiting = asyncio.ensure_future(next_of(items))
        await asyncio.sleep(0)
        cases = [
            (400, {"body": b"\x89PNG and nothing"}),
            (400, {"body": pickled.getvalue(), "Content_Type": "application/x-npy"}),
            (415, {"body": b"text", "Content_Type": "text/plain"}),
            (404, {"body": png(), "path": "/elsewhere"}),
            (403, {"body": png(), "Origin": "https://example.org"}),
            (403, {"body": png(), "Host": "example.org"}),
            (400, {"body": png(), "Idempotency_Key": "k" * 129}),
            (400, {"body": png(), "Importance": "very"}),
            (400, {"body": png(), "Importance": "nan"}),
            (400, {"body": png(), "Importance": "-1"}),
            (413, {"body": b"", "Content_Length": str(1 << 40)}),
        ]
        for status, request in cases:
            found, told = await push(**request)
            assert found == status, (request, told)
            assert told["error"]
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_durable_push_is_acknowledged_only_when_it_is_on_disk(tmp_path):
    spool = Spool(tmp_path / "spool.db", SpoolLimits(max_bytes=20_000), clock=time.monotonic)
    source = opened(kind="push", durable=True, keep=spool.keep)
    push = Pusher(source.port)
    rng = np.random.default_rng(0)

    async def push_noise(key: str) -> int:
        array = io.BytesIO()
        np.save(array, rng.integers(0, 256, 9_000).astype(np.uint8))
        return (await push(array.getvalue(), Content_Type="application/x-npy", Idempotency_Key=key))[0]

    async with aclosing(source.frames()) as items:
        waiting = asyncio.ensure_future(next_of(items))
        await asyncio.sleep(0)
        assert await push_noise("a") == 202
        assert spool.holds("a")
        assert (await waiting).kept
        assert await push_noise("b") == 202
        assert await push_noise("c") == 507, "what was promised is not thrown out for what comes later"
        assert (spool.holds("a"), spool.holds("b"), spool.holds("c")) == (True, True, False)
    spool.close()
