"""The site and the reports look as they did when they were looked at last; and a comparison finds what it is for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from tests.cloud.control.browser import a_chromium
from tests.docs.pages import ROOT
from tests.pictures import TOLERANCE, assert_looks_as_before, difference, reduced

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZES: Any = (("light", 1280, 860), ("dark", 390, 844))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SAMPLE = """# A sample page

One paragraph of text with `code`, a [link](index.md) and **words in bold**, long
enough to break into a second line on a telephone.

| figure | measured | unit | target |
|---|---|---|---|
| first paint of the fleet of 2,000 devices | 212 | ms | at most 300 |
| a name that is as long as names are allowed to be, which is sixty-four | 0.4 | s | at most 1 |

```toml
[listen]                 # where it listens
host = "127.0.0.1"
port = 7201
```

## A heading

- one thing, and
- another one.

!!! warning
    Something to be careful with.
"""


def page_of_text() -> Image.Image:
    """Something like a page: dark lines on a light ground."""
    made = Image.new("L", (800, 600), 250)
    pen = ImageDraw.Draw(made)
    for line in range(20, 580, 24):
        pen.rectangle((40, line, 640, line + 9), fill=30)
    return made


def test_a_picture_is_like_itself_and_like_itself_drawn_a_little_softer() -> None:
    page = page_of_text()
    assert difference(reduced(page), reduced(page)) == 0
    softer = page.filter(ImageFilter.GaussianBlur(0.4))
    assert difference(reduced(page), reduced(softer)) <= TOLERANCE


def test_moved_text_another_theme_another_size_and_a_missing_line_are_found() -> None:
    page = page_of_text()
    missing = page.copy()
    ImageDraw.Draw(missing).rectangle((0, 300, 800, 324), fill=250)
    for other in (ImageChops.offset(page, 0, 8), ImageChops.invert(page), page.crop((0, 0, 780, 600)), missing):
        assert difference(reduced(page), reduced(other)) > TOLERANCE


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


def assert_file_looks_as_before(chromium: Browser, file: Path, name: str) -> None:
    """At both sizes, in both themes; and nothing is wider than the screen, and no rule of level AA is broken."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for theme, width, height in SIZES:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        try:
            page = context.new_page()
            page.goto(file.as_uri())
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{name} is wider than the screen at {width} pixels"
            assert axe.run(page, options={"runOnly": RULES}).response["violations"] == []
            assert_looks_as_before(page, f"{name}-{theme}")
        finally:
            context.close()


@pytest.mark.slow
def test_a_page_of_the_site(chromium: Browser, tmp_path: Path) -> None:
    for name in ("material", "mkdocstrings"):
        pytest.importorskip(name, reason="the site needs: pip install isthmus[docs]")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.md").write_text(SAMPLE)
    shutil.copytree(ROOT / "docs" / "site", tmp_path / "pages" / "site")
    settings = tmp_path / "mkdocs.yml"
    settings.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: pages\nsite_dir: site\nnot_in_nav: ''\nnav: [index.md]\n"
    )
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--config-file", str(settings)]
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_file_looks_as_before(chromium, tmp_path / "site" / "index.html", "site")


def write_a_report(path: Path) -> None:
    """Of two ways to run forty frames over a link that is thin in the middle, made up."""
    from testbed.alternatives import Alternative
    from testbed.figures import RunRecord
    from testbed.link.settings import DirectionSettings
    from testbed.report import write_report
    from testbed.setting import Setting

    thin = DirectionSettings(kind="steps", steps=((1.5, 8e6), (1.0, 2e5), (1.5, 8e6)), delay_s=0.02)
    setting = Setting(
        bundle=Path("some.bundle"), inputs=Path("inputs"), uplink=thin, downlink=thin, frames=40, labels={"a.png": 1},
        command="isthmus demo",
    )  # fmt: skip
    link: list[dict[str, Any]] = [{"event": "start"}]
    link += [{"at_s": step / 10, "up_bytes": 9000 * step, "down_bytes": 900 * step} for step in range(1, 40)]
    records = []
    for name, slow in (("device_only", 0.24), ("adaptive", 0.12)):
        lines = [
            {
                "frame": frame, "captured_s": frame / 10, "ended": "answered", "by": "edge" if frame % 3 else "device",
                "route": "edge" if frame % 3 else "device", "reason": "", "cut": 1, "level": 0, "exit": False,
                "payload_bytes": 900, "message_bytes": 1000, "latency_s": slow + 0.002 * (frame % 7),
                "deadline_s": 0.25, "in_time": frame % 9 != 0, "answer": 1, "confidence": 0.9, "device_s": 0.02,
                "tier_s": 0.01, "network_s": 0.05, "source": "a.png",
            }
            for frame in range(1, 41)
        ]  # fmt: skip
        records.append(RunRecord(Alternative(name, {}, "as it likes"), setting, lines, link, 40))
    write_report(path, records)


@pytest.mark.slow
def test_a_report(chromium: Browser, tmp_path: Path) -> None:
    write_a_report(tmp_path / "report.html")
    assert_file_looks_as_before(chromium, tmp_path / "report.html", "report")


def write_an_evaluation(path: Path) -> None:
    """Of three methods at cut 1 beside picture files, made up."""
    import numpy as np

    from isthmus.evaluation.bundle import Difference, Evaluation
    from isthmus.evaluation.curves import Curve
    from isthmus.evaluation.page import page

    def curve(name: str, sizes: list[float], right: list[int]) -> Curve:
        levels = tuple(f"q{number}" for number in range(len(sizes)))
        return Curve(name, levels, np.tile(np.array(sizes)[:, None], 200), np.arange(200) < np.array(right)[:, None])

    curves = (
        curve("cut 1 learned", [12.0, 40.0, 130.0, 310.0], [170, 183, 190, 194]),
        curve("cut 1 zstd", [5200.0], [196]),
        curve("k bits + zstd at cut 1, tuned tail", [420.0, 800.0, 1500.0, 3000.0], [120, 176, 190, 195]),
        curve("webp of the picture, stock classifier, constant bytes out of band", [300.0, 700.0], [90, 150]),
        curve("exit at cut 1, nothing sent", [0.0], [160]),
    )
    differences = (Difference("cut 1 learned", "k bits + zstd at cut 1, tuned tail", -0.912, -0.93, -0.88),)
    path.write_text(page(Evaluation(200, "agreement", 0.98, curves, differences), "digits"), encoding="utf-8")


@pytest.mark.slow
def test_an_evaluation(chromium: Browser, tmp_path: Path) -> None:
    write_an_evaluation(tmp_path / "curves.html")
    assert_file_looks_as_before(chromium, tmp_path / "curves.html", "evaluation")


@pytest.mark.slow
def test_a_page_about_a_model(chromium: Browser, tmp_path: Path) -> None:
    from isthmus.builtin.demo import BUNDLE
    from partitioner.inspection.of_bundle import seen_in_bundle
    from partitioner.inspection.page import page_of
    from runtime.bundle import Bundle

    with Bundle.open(BUNDLE) as bundle:
        (tmp_path / "model.html").write_text(page_of(seen_in_bundle(bundle)), encoding="utf-8")
    assert_file_looks_as_before(chromium, tmp_path / "model.html", "model")
