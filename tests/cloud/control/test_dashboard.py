"""The pages: who gets in, what a hostile device cannot do, and that every action works by keyboard in a browser."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from adaptation.errors import UnknownPolicy
from adaptation.policies import policy_named
from cloud.control.dashboard.gate import _local
from cloud.control.dashboard.sessions import PAUSE_S, TRIES, Sessions, Throttle
from cloud.control.dashboard.showing import POLICIES, age
from cloud.control.dashboard.tiers import look
from cloud.control.people import Actor, Role
from tests.cloud.control.browser import a_chromium
from tests.cloud.control.conftest import Maker, Served, report_of
from tests.serving.processes import a_program

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.runtime.tiny_bundle import TinyBundle

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>{{7*7}}'\""
PAGES = ("/", "/devices/hostile", "/rollouts", "/bundles", "/tiers", "/enroll", "/audit")


@contextmanager
def browsing(plane: Served, token: str | None = None) -> Iterator[httpx.Client]:
    """Signed in, as a browser would be."""
    with httpx.Client(base_url=plane.url, trust_env=False, verify=False, timeout=30) as client:
        answer = client.post("/sign-in", data={"token": token or plane.admin})
        assert answer.status_code == 303, answer.text
        yield client


def secret_of(client: httpx.Client, path: str = "/enroll") -> str:
    found = re.search(r'name="form_secret" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def hostile(plane: Served, maker: Maker) -> Served:
    """A fleet with a device that tells hostile texts, wherever a device may tell any."""
    device, client = plane.device("hostile", "hostile-model"), plane.client()
    digest = client.publish(maker.release(1, "hostile-model"))["digest"]
    client.post("/v1/rollouts", {"digest": digest, "rules": {"steps": [1.0], "refused_share": 1.0}})
    device.put(
        "/registration", json={"model_id": "hostile-model", "capabilities": {HOSTILE[:60]: HOSTILE}}
    ).raise_for_status()
    report = report_of("1" * 64, "hostile-model", frames=3, answered=2, latency={"7": 2})
    status = dict.fromkeys(("answered_by", "cut", "level", "policy", "uplink_bps", "latency_p95_s"), HOSTILE)
    report |= {
        "refusals": {digest: HOSTILE},
        "status": {**status, "unanswered": {HOSTILE: 3}, "tiers": {HOSTILE: True}},
    }
    assert device.post("/report", json=report).status_code == 202
    while not client.get("/v1/devices/hostile")["refused"]:
        pass
    return plane


def test_nobody_sees_a_page_without_signing_in(plane: Served):
    for path in (*PAGES, "/live"):
        answer = httpx.get(plane.url + path, trust_env=False, verify=False)
        assert (answer.status_code, answer.headers["location"].startswith("/sign-in")) == (303, True), path


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(plane: Served):
    answer = httpx.post(plane.url + "/sign-in", data={"token": plane.admin}, trust_env=False, verify=False)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    again = httpx.post(plane.url + "/sign-in", data={"token": plane.admin}, trust_env=False, verify=False)
    assert again.headers["set-cookie"] != answer.headers["set-cookie"], "each sign-in has an id of its own"


def test_a_form_needs_the_sessions_secret_and_our_origin(plane: Served):
    with browsing(plane) as client:
        secret = secret_of(client)
        assert client.post("/enroll", data={"name": "cam"}).status_code == 403
        for wrong in ("x" * 43, "ü", ""):
            assert client.post("/enroll", data={"name": "cam", "form_secret": wrong}).status_code == 403
        foreign = {"Origin": "http://evil.example"}
        assert client.post("/enroll", data={"name": "cam", "form_secret": secret}, headers=foreign).status_code == 403
        site = {"Sec-Fetch-Site": "cross-site"}
        assert client.post("/enroll", data={"name": "cam", "form_secret": secret}, headers=site).status_code == 403
        assert client.post("/enroll", data={"name": "cam", "form_secret": secret}).status_code == 200
    with browsing(plane) as other:
        assert other.post("/enroll", data={"name": "cam", "form_secret": secret}).status_code == 403


def test_a_viewer_sees_everything_and_changes_nothing(plane: Served):
    token = plane.client().post("/v1/tokens", {"name": "vi", "role": "viewer"})["token"]
    with browsing(plane, token) as client:
        for path in ("/", "/rollouts", "/bundles", "/enroll", "/audit"):
            page = client.get(path)
            assert page.status_code == 200
            assert 'method="post" action="/' not in page.text.replace('action="/sign-out"', "")
        secret = secret_of(client, "/")
        assert client.post("/enroll", data={"name": "cam", "form_secret": secret}).status_code == 403


def test_revoking_the_token_and_signing_out_end_the_session(plane: Served):
    made = plane.client().post("/v1/tokens", {"name": "gone", "role": "viewer"})
    with browsing(plane, made["token"]) as client:
        assert client.get("/").status_code == 200
        plane.client().delete(f"/v1/tokens/{made['id']}")
        assert client.get("/").status_code == 303
    with browsing(plane) as client:
        cookies = dict(client.cookies)
        assert client.post("/sign-out", data={"form_secret": secret_of(client)}).status_code == 303
        assert httpx.get(plane.url, cookies=cookies, trust_env=False, verify=False).status_code == 303


def test_hostile_texts_are_shown_and_never_executed(hostile: Served):
    with browsing(hostile) as client:
        for path in PAGES:
            answer = client.get(path)
            assert answer.status_code == 200
            assert "<img" not in answer.text
            assert answer.text.count("<script") == 1, "our own"
            assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "&lt;img" in client.get("/devices/hostile").text
        assert "{{7*7}}" in client.get("/devices/hostile").text
        assert "<img" not in client.get("/", params={"q": HOSTILE}).text
        assert "<img" not in client.get("/nowhere" + HOSTILE).text


@pytest.mark.parametrize(
    ("given", "path"),
    [("/rollouts", "/rollouts"), ("//evil.example", "/"), ("/\\evil.example", "/"), ("https://evil.example", "/")],
)
def test_signing_in_leads_to_no_other_site(given, path):
    assert _local(given) == path


def test_an_address_that_fails_again_and_again_has_to_wait():
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(TRIES):
        assert throttle.wait_s("a") == 0
        throttle.failed("a")
    assert throttle.wait_s("a") == PAUSE_S
    assert throttle.wait_s("b") == 0
    now[0] = PAUSE_S
    assert throttle.wait_s("a") == 0
    throttle.failed("b")
    throttle.succeeded("b")
    assert throttle.wait_s("b") == 0


def test_wrong_tokens_are_slowed_down_at_the_door(maker: Maker, tmp_path):
    from cloud.control.settings import Settings
    from tests.cloud.control.conftest import serving
    from transport.settings import Listen

    with serving(Settings(folder=tmp_path, listen=Listen())) as own:

        def tries(token: str) -> int:
            return httpx.post(own.url + "/sign-in", data={"token": token}, trust_env=False, verify=False).status_code

        assert [tries("isthmus_guess") for _ in range(TRIES + 1)] == [401] * TRIES + [429]
        assert tries(own.admin) == 429, "not even the right one is looked at now"


def test_a_session_ends_after_idling_and_after_all():
    now = [0.0]
    sessions = Sessions(lambda: now[0], longest_s=10_000)
    idle, busy = (sessions.begin("t", Actor("kim", Role.VIEWER)) for _ in range(2))
    for now[0] in (3000.0, 6000.0, 9000.0):
        assert sessions.find(busy) is not None
    assert sessions.find(idle) is None
    now[0] = 10_001.0
    assert sessions.find(busy) is None
    assert sessions.find("made up") is None


def test_the_pages_offer_policies_that_there_are():
    with pytest.raises(UnknownPolicy) as told:
        policy_named("")
    assert set(POLICIES) <= set(re.findall(r"\w+", str(told.value).partition("choose one of")[2]))


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "never"), (0.4, "now"), (59, "59 s"), (3601, "1 h"), (2e5, "2 d")]
)
def test_ages_are_told_in_one_unit(seconds, text):
    assert age(seconds) == text


@pytest.mark.slow
def test_the_queues_and_batches_of_a_real_tier_are_shown(tiny_bundle: TinyBundle, tmp_path: Path):
    arguments = (f'bundles=["{tiny_bundle.path}"]', "listen.port=0", "operations.port=0")
    with a_program("cloud", tmp_path / "log", *arguments) as program:
        found, gone = look({"here": program.ready["operations"], "gone": 9})
    assert (found.trouble, found.figures["queued"]) == ("", 0)
    assert "does not answer at 127.0.0.1:9" in gone.trouble


def test_whatever_a_tier_tells_is_shown_as_text(maker: Maker, tmp_path: Path):
    from cloud.control.settings import Settings
    from tests.cloud.control.conftest import serving
    from transport.settings import Listen

    told = {"queued": 3, "wait_s": 0.25, HOSTILE: HOSTILE, "last": [{"step": HOSTILE, "size": 4, "why": HOSTILE}, 7]}
    with a_stub(told) as port, a_stub([1, 2]) as other:
        settings = Settings(folder=tmp_path, listen=Listen(), tiers={"edge": port, "odd": other, "gone": 9})
        with serving(settings) as own, browsing(own) as client:
            text = client.get("/tiers").text
    assert "<img" not in text
    assert "250 ms" in text
    assert text.count("&lt;img") == 4
    assert "is no tier" in text
    assert "does not answer at 127.0.0.1:9" in text


@contextmanager
def a_stub(told: Any) -> Iterator[int]:
    """Answers every GET with the same JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with a_chromium() as browser:
        yield browser


@contextmanager
def a_page(chromium: Browser, plane: Served, **options: Any) -> Iterator[Page]:
    """Signed in by keyboard."""
    context = chromium.new_context(base_url=plane.url, **options)
    try:
        page = context.new_page()
        page.goto("/")
        page.keyboard.type(plane.admin)  # the field has the focus
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Fleet").wait_for()
        yield page
    finally:
        context.close()


@pytest.mark.parametrize(
    ("theme", "width", "height"),
    [
        pytest.param("light", 1280, 860, marks=pytest.mark.slow),
        pytest.param("dark", 390, 844, marks=pytest.mark.slow),
        pytest.param("dark", 1280, 860, marks=pytest.mark.long),
        pytest.param("light", 390, 844, marks=pytest.mark.long),
    ],
)
def test_no_page_breaks_a_rule_of_level_aa_at_two_sizes_in_two_themes(
    chromium: Browser, hostile: Served, theme: Any, width: int, height: int
):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
    with a_page(chromium, hostile, viewport={"width": width, "height": height}, color_scheme=theme) as page:
        for path in (*PAGES, "/?q=none-is-called-so"):
            page.goto(path)
            found = axe.run(page, options=rules).response["violations"]
            assert found == [], (path, found)
            assert page.title() != "hacked"
            overflow = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert overflow <= 0, f"{path} is wider than the screen"


@pytest.mark.slow
def test_every_action_works_by_keyboard_and_a_change_shows_itself(chromium: Browser, plane: Served, maker: Maker):
    plane.device("keyed", "keyed-model")
    client = plane.client()
    digest = client.publish(maker.release(4, "keyed-model"))["digest"]
    with a_page(chromium, plane) as page:
        page.goto("/bundles")
        page.get_by_role("form", name="Roll out keyed-model counter 4").get_by_role("button").press("Enter")
        page.get_by_text("has begun").wait_for()
        rollout = next(one for one in client.get("/v1/rollouts") if one["digest"] == digest)["id"]
        page.get_by_text("live", exact=True).wait_for()
        page.locator(f"#back-{rollout}").press("Enter")
        page.get_by_text("is taken back").wait_for()
        assert client.get(f"/v1/rollouts/{rollout}")["stage"] == "rolled back"

        page.goto("/devices/keyed")
        page.locator("#policy").focus()
        page.keyboard.type("harmonic")
        page.get_by_role("button", name="Set the policy").press("Enter")
        page.get_by_text("is to choose by 'harmonic'").wait_for()
        assert client.get("/v1/devices/keyed")["desired"]["policy"] == {"name": "harmonic"}
        page.get_by_role("button", name="Shut it out").press("Enter")
        page.get_by_role("button", name="Let it in again").press("Enter")
        page.get_by_text("may come in again").wait_for()

        page.goto("/enroll")
        page.locator("#name").focus()
        page.keyboard.type("camera-9")
        page.keyboard.press("Enter")
        page.get_by_text("camera-9 is expected").wait_for()

        page.goto("/?q=arrives")
        page.get_by_text("No device").wait_for()
        page.get_by_text("live", exact=True).wait_for()
        plane.device("arrives-late", "keyed-model")
        page.get_by_role("link", name="arrives-late").wait_for()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.get_by_role("button", name="Sign out ada").press("Enter")
        page.get_by_role("heading", name="Sign in").wait_for()


@pytest.mark.slow
def test_pages_ask_nobody_else_for_anything(chromium: Browser, hostile: Served):
    asked: set[str] = set()
    with a_page(chromium, hostile) as page:
        page.on("request", lambda request: asked.add(request.url))
        for path in PAGES:
            page.goto(path)
    assert all(url.startswith((hostile.url, "data:")) for url in asked), asked
