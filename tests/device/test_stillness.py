"""The prefilter of still scenes: alone, on a real clip, and in a running agent."""

import io
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from device.stillness import Stillness, StillSettings
from runtime.answers import Answer
from tests.device.conftest import assert_each_ended_once, assert_says

VIDEO = Path(os.environ.get("ISTHMUS_DATA", "../shared/data")) / "video" / "car_frames.npz"
HELLO = Answer(3, 0.9)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def scene(level: int, patch: int = 0) -> np.ndarray:
    picture = np.full((40, 40, 3), level, np.uint8)
    picture[:patch, :patch] = 255
    return picture


def test_what_does_not_change_has_the_answer_of_its_scene():
    clock = Clock()
    still = Stillness(StillSettings(refresh_s=5.0), clock)
    first = still.look(scene(100))
    assert still.answer_of(first) is None, "nobody has answered yet"
    still.learn(first, HELLO)
    assert still.look(scene(104)) == first, "noise is no change"
    assert still.answer_of(first) == HELLO
    clock.now = 6.0
    assert still.answer_of(first) is None, "answers do not serve for ever"


def test_a_change_ends_a_scene_and_a_late_answer_is_not_the_next_ones():
    still = Stillness(StillSettings(), Clock())
    first = still.look(scene(100))
    second = still.look(scene(100, patch=12))
    assert second > first
    still.learn(first, HELLO)
    assert still.answer_of(second) is None


def test_a_slow_change_is_seen_too():
    still = Stillness(StillSettings(), Clock())
    scenes = [still.look(scene(100 + level)) for level in range(0, 60, 3)]
    assert len(set(scenes)) > 2, "no step is more than three levels, but all together are sixty"


def test_arrays_that_are_no_pictures_have_to_be_equal():
    still = Stillness(StillSettings(), Clock())
    one = np.arange(5, dtype=np.float32)
    assert still.look(one) == still.look(one.copy())
    assert still.look(one + 1e-6 * np.arange(5, dtype=np.float32)) == still.scene == 2


@pytest.mark.skipif(not VIDEO.is_file(), reason="no shared data")
def test_moving_steps_of_a_real_clip_are_kept_and_most_others_are_not():
    packed = np.load(VIDEO)
    data, offsets = packed["jpeg"], packed["offsets"]
    pictures = [
        Image.open(io.BytesIO(data[begin:end].tobytes())).convert("RGB")
        for begin, end in pairwise(offsets[100:200])  # of 377; 40 % of the steps move
    ]
    grey = [np.asarray(picture.convert("L")).astype(np.int16) for picture in pictures]
    moved = [(np.abs(new - old) > 15).mean() > 0.01 for old, new in pairwise(grey)]
    assert 0.1 < np.mean(moved) < 0.9
    still = Stillness(StillSettings(), Clock())
    kept = np.diff([still.look(np.asarray(picture)) for picture in pictures]) > 0
    assert kept[np.array(moved)].mean() >= 0.99
    assert kept.mean() < np.mean(moved) + 0.08


async def test_a_still_scene_is_answered_without_being_looked_at(device, truth):
    for path in list(device.pictures.iterdir()):
        if path.stem not in ("0", "1"):
            path.unlink()
    for number in (10, 11):  # 0, 1, then twice the same as 1
        (device.pictures / f"{number}.png").write_bytes((device.pictures / "1.png").read_bytes())
    lines = await device.run(
        source__limit=4, source__loop=False, source__keep="all", source__rate_hz=2.0, deadline_s=20.0,
        still={"refresh_s": 60}, policy__name="fixed", policy__cut=3, policy__route="device",
    )  # fmt: skip
    assert_each_ended_once(lines, 4)
    by_name = {line["source"]: line for line in lines}
    assert_says(by_name["0.png"], truth("0"))
    for name, line in by_name.items():
        if name != "0.png":
            assert_says(line, truth("1"))
    told = Counter(line["reason"] for line in lines)
    assert told["nothing has changed"] == 2
    assert all(line["device_s"] == 0 for line in lines if line["reason"])
