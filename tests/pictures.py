"""Pictures of pages, compared with how they looked when somebody looked at them last.

A reference is a quarter of the size and grey, and knows how wide this machine's letters were: with other fonts every
line breaks elsewhere, so there is nothing to compare and the test is skipped. With `ISTHMUS_PICTURES_ANEW=1` in the
environment references are written instead; look at them before they are committed.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from playwright.sync_api import Page

FOLDER: Final = Path(__file__).with_name("references")
SCALE: Final = 4
STEP: Final = 24
"""Of 255: what a square's brightness may differ by; an edge drawn softer stays below, a line that moved does not."""
TOLERANCE: Final = 0.01
"""Share of the squares that may differ: ages and counts of the moment do."""
_LETTERS: Final = """() => {
    const pen = document.createElement('canvas').getContext('2d');
    return ['16px system-ui, sans-serif', '16px ui-monospace, monospace', 'bold 24px sans-serif'].map(font => {
        pen.font = font;
        return pen.measureText('The edge answers 0123456789 frames; (ms) %').width.toFixed(1);
    }).join(' ');
}"""


def reduced(picture: Image.Image) -> Image.Image:
    """What is kept of a picture: grey, each pixel the mean of a square."""
    return picture.convert("L").reduce(SCALE)


def difference(one: Image.Image, other: Image.Image) -> float:
    """Share of the pixels of two reduced pictures that differ by more than `STEP`; 1 if their sizes differ."""
    if one.size != other.size:
        return 1.0
    apart = np.abs(np.asarray(one, dtype=np.int16) - np.asarray(other, dtype=np.int16))
    return float((apart > STEP).mean())


def assert_looks_as_before(page: Page, name: str) -> None:
    """Compare what a browser shows with the reference of this name."""
    letters = str(page.evaluate(_LETTERS))
    now = reduced(Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))))
    path = FOLDER / f"{name}.png"
    if os.environ.get("ISTHMUS_PICTURES_ANEW"):
        FOLDER.mkdir(exist_ok=True)
        note = PngInfo()
        note.add_text("letters", letters)
        now.save(path, pnginfo=note, optimize=True)
        return
    with Image.open(path) as before:
        before.load()
        if before.info["letters"] != letters:
            pytest.skip(f"other fonts than those of the references: letters are {letters} wide")
        apart = difference(now, before)
    if apart > TOLERANCE and "ISTHMUS_PICTURES" in os.environ:
        now.save(Path(os.environ["ISTHMUS_PICTURES"]) / f"{name}.now.png")
    assert apart <= TOLERANCE, (
        f"{name}: {apart:.1%} of the picture has changed; set ISTHMUS_PICTURES to a folder to see how it looks now, "
        "and ISTHMUS_PICTURES_ANEW=1 if that is how it is to look"
    )
