"""The control plane with 2,000 devices: a registration storm, pages until painted, news until they are seen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figure import Figure
from protocol.errors import IsthmusError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DEVICES = 2000
CALLERS = 16
ROUNDS = 7
_OLD = "0" * 64
_PAINTED = """() => new Promise(done => new PerformanceObserver(list => {
    const found = list.getEntriesByName('first-contentful-paint');
    if (found.length) done(found[0].startTime);
}).observe({type: 'paint', buffered: true}))"""
_SEEN = """word => new Promise(done => {
    const look = () => document.body.innerText.includes(word) ? done(performance.timeOrigin + performance.now()) : 0;
    new MutationObserver(look).observe(document.body, {childList: true, subtree: true, characterData: true});
    look();
})"""


class NoBrowser(IsthmusError):
    """What a page looks like is measured in a real browser."""


def figures() -> Sequence[Figure]:
    """A registration storm, first paint of the fleet, and how soon a change and a report are on the page."""
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder, _a_control_plane(Path(folder)) as (url, token):
        registered_s = register_all(url)
        report_all(url)
        with _chromium() as browser:
            painted = [_first_paint(browser, url, token) for _ in range(ROUNDS)]
            context = browser.new_context(base_url=url)
            page = _signed_in(context.new_page(), token)
            changes = [_change_to_sight(page, url, number) for number in range(ROUNDS)]
            reports = [_report_to_sight(page, url, number) for number in range(ROUNDS)]
            context.close()
    return [
        Figure(f"{DEVICES} registrations, each on disk", registered_s, "s", 30.0, "at most", f"{CALLERS} at a time"),
        Figure.of_runs(f"first paint of the fleet of {DEVICES}", painted, "ms", 300.0, "at most", "a fresh browser"),
        Figure.of_runs("a registration until it is seen", changes, "s", 1.0, "at most", "sent"),
        Figure.of_runs("a device's report until it is seen", reports, "s", 1.0, "at most", "sent"),
    ]


@contextmanager
def _a_control_plane(folder: Path) -> Iterator[tuple[str, str]]:
    from cloud.control.program import make_admin
    from cloud.control.settings import Settings

    token = make_admin(Settings(folder=folder), "bench")
    command = [sys.executable, "-m", "cloud.control", f"folder={folder}", "listen.port=0"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}", token
    finally:
        process.kill()
        process.communicate()


def register_all(url: str) -> float:
    """Seconds until all devices are registered."""
    begun = time.perf_counter()
    _by_callers(url, lambda client, name: client.put(f"/v1/agent/{name}/registration", json={"model_id": "bench"}))
    return time.perf_counter() - begun


def report_all(url: str) -> None:
    _by_callers(url, lambda client, name: client.post(f"/v1/agent/{name}/report", json=_report("edge")))


def _by_callers(url: str, ask: Any) -> None:
    import httpx

    def share(caller: int) -> None:
        with httpx.Client(base_url=url, trust_env=False, verify=False, timeout=60) as client:
            for number in range(caller, DEVICES, CALLERS):
                ask(client, f"camera-{number:04}").raise_for_status()

    with ThreadPoolExecutor(CALLERS) as callers:
        list(callers.map(share, range(CALLERS)))


def _report(answered_by: str) -> dict[str, Any]:
    counts = {_OLD: {"frames": 100, "answered": 99, "in_time": 98, "latency": {"20": 99}}}
    status = {"answered_by": answered_by, "latency_p95_s": 0.1, "cut": 1, "level": 2, "uplink_bps": 1_000_000}
    return {"run": "bench", "model_id": "bench", "digest": _OLD, "counts": counts, "status": status}


@contextmanager
def _chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        raise NoBrowser("there is no Chromium to look at the pages with; install it (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        with closing(browser):
            yield browser


def _signed_in(page: Page, token: str) -> Page:
    page.goto("/")
    page.locator("#token").fill(token)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Fleet").wait_for()
    page.get_by_text("live", exact=True).wait_for()
    return page


def _first_paint(browser: Browser, url: str, token: str) -> float:
    """Milliseconds from the request to the first contentful paint (W3C Paint Timing)."""
    context = browser.new_context(base_url=url)
    page = _signed_in(context.new_page(), token)
    page.reload()
    painted = float(page.evaluate(_PAINTED))
    context.close()
    return painted


def _change_to_sight(page: Page, url: str, number: int) -> float:
    """Seconds from a device's registration to its name on the page; it sorts in front of the others."""
    name = f"aa-{ROUNDS - number}"
    return _to_sight(page, name, "PUT", f"{url}/v1/agent/{name}/registration", {"model_id": "bench"})


def _report_to_sight(page: Page, url: str, number: int) -> float:
    """Seconds from a report to the word that only it holds."""
    return _to_sight(page, f"word-{number}", "POST", f"{url}/v1/agent/camera-0000/report", _report(f"word-{number}"))


def _to_sight(page: Page, word: str, method: str, url: str, body: dict[str, Any]) -> float:
    import httpx

    sent: list[float] = []

    def send() -> None:
        sent.append(time.time())
        httpx.request(method, url, json=body, trust_env=False, verify=False).raise_for_status()

    sender = threading.Timer(0.3, send)  # by then the page waits for the word
    sender.start()
    seen_ms = float(page.evaluate(_SEEN, word))
    sender.join()
    return seen_ms / 1e3 - sent[0]
