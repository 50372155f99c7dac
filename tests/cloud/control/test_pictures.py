"""The documentation's pictures of the pages show what the pages show: they are made here.

With `ISTHMUS_PICTURES=docs/images` in the environment they are written there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cloud.control.browser import a_chromium
from tests.cloud.control.conftest import Maker, Served, report_of

if TYPE_CHECKING:
    import httpx

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


@pytest.mark.slow
def test_the_pictures_of_the_documentation(plane: Served, maker: Maker, tmp_path: Path):
    folder = Path(os.environ.get("ISTHMUS_PICTURES", tmp_path))
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
    with a_chromium() as browser:
        for theme, path, name in (("light", "/", "fleet"), ("dark", "/rollouts", "rollouts")):
            context = browser.new_context(base_url=plane.url, viewport=SIZE, color_scheme=theme)
            page = context.new_page()
            page.goto("/")
            page.keyboard.type(plane.admin)
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Fleet").wait_for()
            page.goto(path)
            page.get_by_text("live", exact=True).wait_for()
            page.get_by_text("door-07" if path == "/" else "good so far").first.wait_for()
            page.screenshot(path=folder / f"dashboard-{name}.png")
            context.close()
    assert len(chosen) == 2
