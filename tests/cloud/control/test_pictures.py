"""The documentation's pictures of the pages are made here, and pages look as they did when they were looked at last.

With `ISTHMUS_PICTURES=docs/images` in the environment they are written there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud.control.browser import a_chromium
from tests.cloud.control.conftest import Maker, Served, report_of
from tests.pictures import assert_looks_as_before

if TYPE_CHECKING:
    import httpx
    from playwright.sync_api import Browser, Page

SIZE: Any = {"width": 1080, "height": 620}


def tell(device: httpx.Client, digest: str, number: int, *, p95_bucket: int, right: int) -> None:
    report = report_of(
        digest, "door-bell", frames=400, answered=398, in_time=390, known=100, right=right,
        latency={"22": 370, str(p95_bucket): 28},
    )  # fmt: skip
    report["status"] = {
        "tiers": {"edge": True, "cloud": number != 2},
        "uplink_bps": 900_000 + 130_000 * number,
        "latency_p50_s": 0.045,
        "latency_p95_s": 0.0625 + 0.004 * number,
        "cut": 1 + number % 2,
        "level": number % 3,
        "answered_by": ("edge", "edge", "cloud", "device")[number % 4],
        "policy": "deadline",
        "unanswered": {"expired: no answer can come in time": 2},
    }
    assert device.post("/report", json=report).status_code == 202


THEMES: Any = (("light", 1280, 860), ("dark", 390, 844))
UNSTEADY = ".code { color: transparent !important; } .age { display: none; } #live-state { visibility: hidden; }"
"""Digests, moments and ages are others in each run."""


@pytest.fixture(scope="module")
def fleet(plane: Served, maker: Maker) -> Served:
    """Eight devices, two of which try a bundle."""
    client = plane.client()
    digest = client.publish(maker.release(12, "door-bell"))["digest"]
    devices = [plane.device(f"door-{number:02}", "door-bell") for number in range(8)]
    for number, device in enumerate(devices):
        tell(device, "0" * 64, number, p95_bucket=24, right=93)
    rules = {"steps": [0.25, 1.0], "hold_s": 600}
    client.post("/v1/rollouts", {"digest": digest, "rules": rules})
    chosen = [device for device in devices if device.get("/desired").json()["bundle"]]
    for number, device in enumerate(chosen):
        tell(device, digest, number, p95_bucket=23, right=94)
    assert len(chosen) == 2
    return plane


@contextmanager
def signed_in(browser: Browser, plane: Served, **options: Any) -> Iterator[Page]:
    context = browser.new_context(base_url=plane.url, **options)
    try:
        page = context.new_page()
        page.goto("/")
        page.keyboard.type(plane.admin)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Fleet").wait_for()
        yield page
    finally:
        context.close()


def show(page: Page, path: str, word: str) -> None:
    """Go there and wait until the page says this word."""
    page.goto(path)
    page.get_by_text(word).first.wait_for()


@pytest.mark.slow
def test_the_pictures_of_the_documentation(fleet: Served, tmp_path: Path):
    folder = Path(os.environ.get("ISTHMUS_PICTURES", tmp_path))
    with a_chromium() as browser:
        for theme, path, word in (("light", "/", "door-07"), ("dark", "/rollouts", "good so far")):
            with signed_in(browser, fleet, viewport=SIZE, color_scheme=theme) as page:
                show(page, path, word)
                page.screenshot(path=folder / f"dashboard-{'fleet' if path == '/' else 'rollouts'}.png")


@pytest.mark.slow
def test_the_pages_look_as_they_did_when_somebody_looked_at_them(fleet: Served):
    with a_chromium() as browser:
        for theme, width, height in THEMES:
            size: Any = {"width": width, "height": height}
            with signed_in(browser, fleet, viewport=size, color_scheme=theme, bypass_csp=True) as page:
                for path, word in (("/", "door-07"), ("/rollouts", "good so far"), ("/enroll", "Enroll a device")):
                    show(page, path, word)
                    page.add_style_tag(content=UNSTEADY)
                    assert_looks_as_before(page, f"dashboard-{path.strip('/') or 'fleet'}-{theme}")
