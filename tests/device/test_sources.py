import asyncio
import time

import numpy as np
import pytest
from PIL import Image

from device.errors import SourceError
from device.settings import SourceSettings
from device.sources import open_source
from device.waiting import Everything, Latest


async def replay(folder, **settings):
    source = open_source(SourceSettings(path=folder, **settings), clock=time.monotonic)
    return [captured async for captured in source.frames()]


async def test_a_folder_is_replayed_in_order_and_around(tmp_path):
    for number in (2, 1):
        Image.new("RGB", (4, 3), (number, 0, 0)).save(tmp_path / f"{number}.png")
    np.save(tmp_path / "3.npy", np.full((3, 4, 3), 3, np.uint8))
    (tmp_path / "notes.txt").write_text("not an item")
    items = await replay(tmp_path, rate_hz=1000, limit=5)
    assert [item.name for item in items] == ["1.png", "2.png", "3.npy", "1.png", "2.png"]
    assert [int(item.content[0, 0, 0]) for item in items] == [1, 2, 3, 1, 2]
    assert all(item.content.dtype == np.uint8 and item.content.shape == (3, 4, 3) for item in items)


async def test_items_are_due_at_the_rate(tmp_path):
    Image.new("RGB", (4, 3)).save(tmp_path / "1.png")
    items = await replay(tmp_path, rate_hz=100, limit=4)
    due_s = [item.captured_s for item in items]
    assert np.allclose(np.diff(due_s), 0.01)
    assert time.monotonic() >= due_s[-1]


@pytest.mark.parametrize("suffix", ["png", "npy"])
async def test_a_damaged_item_carries_its_reason(tmp_path, suffix):
    (tmp_path / f"1.{suffix}").write_bytes(b"not what the suffix says")
    Image.effect_noise((32, 32), 64).convert("RGB").save(tmp_path / "2.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "2.png").read_bytes()[:500])
    bad, good, truncated = await replay(tmp_path, rate_hz=1000, limit=3)
    assert isinstance(bad.content, str)
    assert f"1.{suffix} cannot be read" in bad.content
    assert isinstance(good.content, np.ndarray)
    assert isinstance(truncated.content, str)


async def test_a_pickle_in_an_array_file_is_refused(tmp_path):
    np.save(tmp_path / "1.npy", np.array([{}], dtype=object), allow_pickle=True)
    (item,) = await replay(tmp_path, limit=1)
    assert isinstance(item.content, str)


def test_a_missing_or_empty_folder_is_told(tmp_path):
    with pytest.raises(SourceError, match="is not a folder"):
        open_source(SourceSettings(path=tmp_path / "absent"), clock=time.monotonic)
    with pytest.raises(SourceError, match="holds no"):
        open_source(SourceSettings(path=tmp_path), clock=time.monotonic)


async def test_a_newer_frame_replaces_the_one_that_waits():
    room: Latest[str] = Latest()
    assert room.offer("a") is None
    assert room.offer("b") == ("a", "a newer frame replaced it")
    await room.arrival()
    assert room.take() == "b"
    assert room.take() is None


async def test_a_queue_keeps_all_up_to_its_capacity():
    room: Everything[str] = Everything(2)
    assert [room.offer(item) for item in "abc"] == [None, None, ("c", "2 frames were already waiting")]
    room.remove("a")
    assert room.take() == "b"
    assert room.take() is None
    waiting = asyncio.ensure_future(room.arrival())
    await asyncio.sleep(0)
    assert not waiting.done()
    room.offer("d")
    await waiting
