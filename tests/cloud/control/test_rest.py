"""The control plane over HTTP: what is published, who may do what, and what a rollout does with devices' figures."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from cloud.control.errors import Refused
from runtime.bundle import MANIFEST_NAME, Bundle, pack
from runtime.signing import sign
from tests.cloud.control.conftest import Maker, Served, report_of

PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}
QUICK = {"steps": [0.5, 1.0], "hold_s": 0.0, "min_frames": 50}


def until(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := condition():
            return found
        threading.Event().wait(0.02)
    raise AssertionError("it never came to pass")


def tell(device: httpx.Client, report: dict[str, Any]) -> None:
    assert device.post("/report", json=report).status_code == 202


def test_a_published_bundle_is_handed_out_byte_by_byte(plane: Served, maker: Maker, tmp_path):
    zipped = maker.release(3, "handed-out")
    client = plane.client()
    found = client.publish(zipped)
    assert found["signed"]
    assert client.publish(zipped) == found, "publishing it again changes nothing"
    device = plane.device("taker", "handed-out")
    got = tmp_path / "got.zip"
    got.write_bytes(device.get(f"/bundles/{found['digest']}").content)
    assert got.read_bytes() == zipped.read_bytes()
    with Bundle.open(got) as bundle:
        assert bundle.digest.hex() == found["digest"]
    half = device.get(f"/bundles/{found['digest']}", headers={"Range": "bytes=100-"})
    assert half.status_code == 206
    assert half.content == zipped.read_bytes()[100:]


@pytest.mark.parametrize("what", ["unsigned", "damaged", "nonsense"])
def test_what_is_no_good_bundle_is_refused_and_leaves_nothing(plane: Served, maker: Maker, tmp_path, what):
    bad = tmp_path / "bad.zip"
    if what == "unsigned":
        bad = maker.release(1, "unsigned-one", signed=False)
    elif what == "damaged":
        data = bytearray(maker.release(1, "damaged-one").read_bytes())
        data[len(data) // 2] ^= 1
        bad.write_bytes(data)
    else:
        bad.write_bytes(b"PK\x03\x04 nonsense")
    shelf = plane.settings.folder / "bundles"
    before = set(shelf.iterdir())
    with pytest.raises(Refused):
        plane.client().publish(bad)
    assert set(shelf.iterdir()) == before


def test_two_bundles_of_one_counter_are_a_conflict(plane: Served, maker: Maker):
    client = plane.client()
    client.publish(maker.release(1, "counted"))
    with pytest.raises(Refused, match="counter 1 already"):
        client.publish(_other(maker))


def _other(maker: Maker):
    """Another content under the same model and counter."""
    made = maker.folder / "counted-again"
    shutil.copytree(maker.folder / "counted-1-True", made)
    tree = json.loads((made / MANIFEST_NAME).read_text())
    tree["provenance"] = {"other": "content"}
    (made / MANIFEST_NAME).write_text(json.dumps(tree))
    sign(made, maker.key)
    pack(made, maker.folder / "counted-again.zip")
    return maker.folder / "counted-again.zip"


def test_roles_are_kept_apart(plane: Served, maker: Maker):
    admin = plane.client()
    viewer = plane.client(admin.post("/v1/tokens", {"name": "vi", "role": "viewer"})["token"])
    made = admin.post("/v1/tokens", {"name": "op", "role": "operator"})
    operator = plane.client(made["token"])
    viewer.get("/v1/devices")
    with pytest.raises(Refused, match="takes operator"):
        viewer.put("/v1/policy", {"policy": None})
    operator.put("/v1/policy", {"policy": None})
    with pytest.raises(Refused, match="takes admin"):
        operator.get("/v1/tokens")
    admin.delete(f"/v1/tokens/{made['id']}")
    with pytest.raises(Refused, match="not valid"):
        operator.get("/v1/devices")
    listed = json.dumps(admin.get("/v1/tokens"))
    assert made["token"] not in listed


def test_no_token_is_kept_in_the_database(plane: Served):
    secret = plane.client().post("/v1/tokens", {"name": "secretive", "role": "viewer"})["token"].encode()
    for path in plane.settings.folder.glob("control.db*"):
        assert secret not in path.read_bytes()


@pytest.mark.parametrize(
    ("path", "status"), [("/v1/devices", 401), ("/v1/audit", 401), ("/v1/tokens", 401), ("/v1/events", 401)]
)
def test_nothing_is_told_without_a_token(plane: Served, path, status):
    assert httpx.get(plane.url + path, **PLAIN).status_code == status


def test_other_names_of_this_machine_and_web_pages_get_nowhere(plane: Served):
    rebound = httpx.get(plane.url + "/v1/agent/x/desired", headers={"Host": "evil.example"}, **PLAIN)
    page = httpx.get(plane.url + "/v1/agent/x/desired", headers={"Origin": "https://evil.example"}, **PLAIN)
    assert (rebound.status_code, page.status_code) == (403, 403)


def test_a_large_body_is_refused(plane: Served):
    talker = plane.device("talker", "talks")
    told = report_of("0" * 64, "talks") | {"status": {"cut": "x" * (65 << 10)}}
    assert talker.post("/report", json=told).status_code == 413
    answer = httpx.post(plane.url + "/v1/tokens", content=b"x" * (2 << 20), **PLAIN)
    assert answer.status_code == 413


def test_good_figures_carry_a_bundle_to_every_device_and_each_step_is_in_the_audit_log(plane: Served, maker: Maker):
    client = plane.client()
    digest = client.publish(maker.release(5, "good"))["digest"]
    devices = {f"good-{number}": plane.device(f"good-{number}", "good") for number in range(4)}
    rollout = client.post("/v1/rollouts", {"digest": digest, "rules": QUICK})["id"]
    assert client.post("/v1/rollouts", {"digest": digest, "rules": QUICK})["id"] == rollout
    wants = {name: device.get("/desired").json()["bundle"] for name, device in devices.items()}
    chosen = [name for name, bundle in wants.items() if bundle is not None]
    assert len(chosen) == 2
    assert all(wants[name]["final"] is False for name in chosen)
    for device in devices.values():
        tell(device, report_of(digest, "good", frames=100, answered=100, in_time=100, latency={"20": 100}))
    until(lambda: client.get(f"/v1/rollouts/{rollout}")["stage"] == "complete")
    for device in devices.values():
        bundle = device.get("/desired").json()["bundle"]
        assert (bundle["digest"], bundle["final"]) == (digest, True)
    actions = [one["action"] for one in client.get("/v1/audit", most=1000) if one["object"] == rollout]
    assert actions == ["complete rollout", "widen rollout", "start rollout"]
    assert next(one for one in client.get("/v1/bundles") if one["digest"] == digest)["released"]
    with pytest.raises(Refused, match="larger counter"):
        client.post(f"/v1/rollouts/{rollout}/rollback", {})


def test_bad_figures_take_a_bundle_back_and_a_waiting_device_hears_at_once(plane: Served, maker: Maker):
    client = plane.client()
    device, other = plane.device("bad-0", "bad"), plane.device("bad-1", "bad")
    old, digest = "0" * 64, client.publish(maker.release(6, "bad"))["digest"]
    for one in (device, other):
        tell(one, report_of(old, "bad", frames=500, answered=500, in_time=490, latency={"20": 500}))
    rollout = client.post("/v1/rollouts", {"digest": digest, "rules": QUICK})["id"]
    canary = until(lambda: next((one for one in (device, other) if one.get("/desired").json()["bundle"]), None))
    heard: list[Any] = []
    etag = canary.get("/desired").json()["etag"]
    waiting = threading.Thread(
        target=lambda: heard.append(canary.get("/desired", params={"etag": etag, "wait_s": 50}).json()), daemon=True
    )
    waiting.start()
    tell(canary, report_of(digest, "bad", run="run-2", frames=100, answered=100, in_time=20, latency={"40": 100}))
    waiting.join(40)
    assert heard[0]["bundle"] is None, "back to what it had"
    found = client.get(f"/v1/rollouts/{rollout}")
    assert found["stage"] == "rolled back"
    assert "later than" in found["reason"] or "in time" in found["reason"]
    assert found["figures"]["canary"]["p95_s"] > found["figures"]["baseline"]["p95_s"]


def test_an_operator_takes_a_rollout_back_and_an_older_bundle_does_not_follow_a_newer_one(plane, maker):
    client = plane.client()
    plane.device("hand-0", "by-hand")
    older, newer = (client.publish(maker.release(counter, "by-hand"))["digest"] for counter in (1, 2))
    rollout = client.post("/v1/rollouts", {"digest": newer, "rules": QUICK})["id"]
    with pytest.raises(Refused, match="is running"):
        client.post("/v1/rollouts", {"digest": older, "rules": QUICK})
    client.post(f"/v1/rollouts/{rollout}/rollback", {"reason": "shop 7 complains"})
    assert client.get(f"/v1/rollouts/{rollout}")["reason"] == "shop 7 complains"


def test_a_policy_reaches_one_device_or_all_and_nonsense_is_refused(plane: Served):
    client = plane.client()
    one, other = plane.device("pol-0", "policies"), plane.device("pol-1", "policies")
    client.put("/v1/policy", {"policy": {"name": "deadline", "latency_weight": 0.5}})
    client.put("/v1/devices/pol-0/policy", {"policy": {"name": "fixed", "cut": 1, "route": "device"}})
    assert one.get("/desired").json()["policy"]["name"] == "fixed"
    assert other.get("/desired").json()["policy"]["name"] == "deadline"
    with pytest.raises(Refused, match="did you mean"):
        client.put("/v1/policy", {"policy": {"name": "deadlin"}})
    client.put("/v1/policy", {"policy": None})
    client.put("/v1/devices/pol-0/policy", {"policy": None})
    assert one.get("/desired").json()["policy"] is None


def test_who_is_shut_out_hears_nothing_until_let_in_again(plane: Served):
    client, device = plane.client(), plane.device("thief", "stolen")
    client.post("/v1/devices/thief/shut-out", {})
    assert device.get("/desired").status_code == 403
    client.post("/v1/invitations", {"name": "thief"})
    assert device.get("/desired").status_code == 200


@pytest.mark.parametrize("text", ["a\\u0000b", "\\ud800"])
def test_text_that_a_database_cannot_keep_is_refused(plane: Served, text):
    """Raw JSON, for a client library would not send it."""
    device = plane.device("nul", "nul")
    for path, body in (
        ("/report", f'{{"run":"r","model_id":"m","digest":"{"0" * 64}","status":{{"cut":"{text}"}}}}'),
        ("/report", f'{{"run":"r","model_id":"m","digest":"{"0" * 64}","refusals":{{"{"0" * 64}":"{text}"}}}}'),
        ("/report", f'{{"run":"r","model_id":"m","digest":"{"0" * 64}","status":{{"{text}":1}}}}'),
    ):
        answer = device.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, body
    assert plane.client().get("/v1/devices/nul")["state"] == "active"


def test_the_description_is_openapi_and_names_every_door(plane: Served):
    found = httpx.get(plane.url + "/v1/openapi.json", **PLAIN).json()
    assert found["openapi"].startswith("3.1")
    assert {"/v1/bundles", "/v1/rollouts/{rollout}/rollback", "/v1/agent/{name}/desired"} <= set(found["paths"])


def test_events_tell_of_a_change(plane: Served):
    client = plane.client()
    headers = {"Authorization": f"Bearer {plane.admin}"}
    with httpx.stream("GET", plane.url + "/v1/events", headers=headers, **PLAIN, timeout=30) as stream:
        lines = (line for line in stream.iter_lines() if line.startswith("data: "))
        first = json.loads(next(lines)[6:])["revision"]
        client.put("/v1/policy", {"policy": None})
        while json.loads(next(lines)[6:])["revision"] == first:
            pass
