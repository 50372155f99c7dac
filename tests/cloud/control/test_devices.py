"""Real devices and a real control plane: a good release gets everywhere, a bad one comes back from the first device."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cloud.control.client import Client
from cloud.control.figures import BUCKETS
from cloud.control.figures import bucket_of as cloud_bucket
from device.updates.inbox import trial_of, withdrawal_of
from device.updates.plane import ControlPlaneError
from device.updates.remote import _arrange
from device.updates.tally import bucket_of as device_bucket
from runtime.answers import answer_of
from runtime.bundle import MANIFEST_NAME, Bundle, file_entry, pack, read_manifest
from runtime.engines.onnxruntime import OnnxRuntimeEngine
from runtime.signing import sign
from tests.cloud.control.conftest import Maker
from tests.device.conftest import assert_each_ended_once
from tests.device.processes import Program
from tests.ports import reserved_port
from tests.runtime.tiny_bundle import TinyBundle

WEIGHTS = "weights.safetensors"
RULES = {"steps": [0.5, 1.0], "hold_s": 0.0, "min_frames": 30, "latency_ratio": 1000.0, "in_time_drop": 1.0}
"""By accuracy alone: a busy machine says little about time."""


def wrong_answers(folder: Path) -> None:
    """The last layer's classes change places: every device finds the bundle sound, and its answers are wrong."""
    data = bytearray((folder / WEIGHTS).read_bytes())
    (header,) = struct.unpack_from("<Q", data)
    begin, end = json.loads(data[8 : 8 + header])["dense_2"]["data_offsets"]
    weights = np.frombuffer(bytes(data[8 + header + begin : 8 + header + end]), np.float32).reshape(-1, 10)
    data[8 + header + begin : 8 + header + end] = np.roll(weights, 3, axis=1).tobytes()
    (folder / WEIGHTS).write_bytes(data)
    manifest = read_manifest((folder / MANIFEST_NAME).read_bytes())
    files = dict(manifest.files) | {WEIGHTS: file_entry(folder / WEIGHTS)}
    (folder / MANIFEST_NAME).write_bytes(manifest.model_copy(update={"files": files}).to_bytes())


class Fleet:
    """Two devices on their own that replay pictures with known answers, and their control plane."""

    def __init__(self, folder: Path, tiny_bundle: TinyBundle, maker: Maker) -> None:
        self.folder, self.maker, self._opened = folder, maker, AsyncExitStack()
        self._port = self._opened.enter_context(reserved_port())
        pictures, whole = folder / "pictures", OnnxRuntimeEngine().load(tiny_bundle.whole)
        pictures.mkdir()
        lines = []
        for number, item in enumerate(tiny_bundle.items):
            Image.fromarray(item[0]).save(pictures / f"{number}.png")
            lines.append(f"{number}.png,{answer_of(whole.run([item])[0]).label}\n")
        (folder / "labels.csv").write_text("".join(lines))
        self.first = maker.release(1)

    async def control(self) -> Client:
        """Start the control plane; a client of an admin."""
        from cloud.control.program import make_admin
        from cloud.control.settings import Settings

        token = make_admin(Settings(folder=self.folder / "control"), "ada")
        await self.begin_control()
        client = Client(f"http://127.0.0.1:{self._port}", token)
        self._opened.callback(client.close)
        return client

    async def begin_control(self) -> None:
        """Where it was before, if it was."""
        program = await Program.start(
            "-m", "cloud.control", f"folder={self.folder / 'control'}", f"listen.port={self._port}",
            "judge_s=0.1", f'makers=["{self.maker.public}"]',
        )  # fmt: skip
        self._opened.push_async_callback(program.kill)
        self.plane = program
        assert (await program.line())["port"] == self._port

    async def device(self, name: str) -> Program:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        (home / "device.toml").touch()
        program = await Program.start(
            "-m", "device", str(home / "device.toml"), f"name={name}", f"bundle={self.first}",
            "measure_s=0.05", "deadline_s=5.0",
            f"source.path={self.folder / 'pictures'}", "source.rate_hz=20", "source.keep=all",
            f"history.path={home / 'history.jsonl'}", "policy.name=fixed", "policy.cut=3", "policy.route=device",
            f'trust.keys=["{self.maker.public}"]', f"trust.ledger={self.folder / (name + '.json')}",
            f"updates.folder={home / 'inbox'}", "updates.look_s=0.1", "updates.watch=5", "updates.measure_s=0.05",
            "updates.slower=1000", f"updates.control.url=http://127.0.0.1:{self._port}", "updates.control.report_s=0.3",
            "updates.control.retry_s=0.2", f"updates.control.labels={self.folder / 'labels.csv'}",
        )  # fmt: skip
        self._opened.push_async_callback(program.kill)
        self.began_with = (await program.line())["bundle"]
        return program

    def lines(self, name: str) -> list[dict[str, Any]]:
        text = (self.folder / name / "history.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    async def __aenter__(self) -> Fleet:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(120):
        found = await asyncio.to_thread(condition)
        while not found:
            await asyncio.sleep(0.1)
            found = await asyncio.to_thread(condition)
        return found


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_a_release_gets_everywhere_and_a_bad_one_is_taken_back_by_the_canarys_figures(
    tiny_bundle: TinyBundle, own_maker: Maker, tmp_path: Path
):
    async with Fleet(tmp_path, tiny_bundle, own_maker) as fleet:
        control = await fleet.control()
        programs = [await fleet.device(name) for name in ("one", "two")]

        def running() -> dict[str, str]:
            return {one["name"]: one["digest"] for one in control.get("/v1/devices") if one["seen_at"]}

        await until(lambda: len(running()) == 2)
        good = control.publish(own_maker.release(2))["digest"]
        rollout = control.post("/v1/rollouts", {"digest": good, "rules": RULES})["id"]
        await until(lambda: control.get(f"/v1/rollouts/{rollout}")["stage"] == "complete")
        await until(lambda: set(running().values()) == {good})
        for name in ("one", "two"):  # now it is noted, and nothing older is used again
            await until(lambda name=name: json.loads((tmp_path / f"{name}.json").read_text()) == {"tiny": 2})

        made = own_maker.release(3).with_suffix("")
        wrong_answers(made)
        sign(made, own_maker.key)
        pack(made, tmp_path / "bad.zip")
        bad = control.publish(tmp_path / "bad.zip")["digest"]
        rollout = control.post("/v1/rollouts", {"digest": bad, "rules": RULES})["id"]
        found = await until(lambda: (one := control.get(f"/v1/rollouts/{rollout}"))["stage"] == "rolled back" and one)
        assert "wrong answers" in found["reason"]
        assert found["canaries"] == 1
        await until(lambda: set(running().values()) == {good})
        for name in ("one", "two"):
            assert json.loads((tmp_path / f"{name}.json").read_text()) == {"tiny": 2}, "what was on trial is not noted"
            await until(lambda name=name: not list((tmp_path / name / "inbox").glob(f"{bad}*")))

        control.put("/v1/devices/one/policy", {"policy": {"name": "fixed", "cut": 1, "route": "device"}})
        before = len(fleet.lines("one"))
        await until(lambda: any(line["cut"] == 1 for line in fleet.lines("one")[before:]))
        for program in programs:
            program.process.terminate()
            code, _, errors = await program.end()
            assert code == 0, errors
    for name in ("one", "two"):
        lines = fleet.lines(name)
        assert_each_ended_once(lines)
        assert {line["ended"] for line in lines if line["reason"] != "agent stopped"} == {"answered"}


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_kills_of_a_canary_and_of_the_control_plane_leave_a_way_back(
    tiny_bundle: TinyBundle, own_maker: Maker, tmp_path: Path
):
    async with Fleet(tmp_path, tiny_bundle, own_maker) as fleet:
        control, ledger = await fleet.control(), tmp_path / "one.json"
        first = digest_of(fleet.first)

        def running() -> str | None:
            return next((one["digest"] for one in control.get("/v1/devices")), None)

        device = await fleet.device("one")
        await until(lambda: running() == first)
        new = control.publish(own_maker.release(2))["digest"]
        rules = {**RULES, "steps": [1.0], "hold_s": 3600.0}
        rollout = control.post("/v1/rollouts", {"digest": new, "rules": rules})["id"]
        await until(lambda: running() == new)
        await device.kill()
        assert json.loads(ledger.read_text()) == {"tiny": 1}, "on trial, so not noted"

        device = await fleet.device("one")
        assert fleet.began_with == first
        await until(lambda: running() == first)
        await until(lambda: running() == new)

        await fleet.plane.kill()
        before = len(fleet.lines("one"))
        await until(lambda: len(fleet.lines("one")) > before + 40)  # frames go on without it
        await fleet.begin_control()
        control.post(f"/v1/rollouts/{rollout}/rollback", {"reason": "enough"})
        await until(lambda: running() == first)
        await until(lambda: not list((tmp_path / "one" / "inbox").glob("*.zip*")))
        device.process.terminate()
        code, _, errors = await device.end()
        assert code == 0, errors
        lines = fleet.lines("one")
        assert_each_ended_once(lines)
        assert {line["ended"] for line in lines if line["reason"] != "agent stopped"} == {"answered"}
        assert json.loads(ledger.read_text()) == {"tiny": 1}


def test_devices_and_the_control_plane_count_in_the_same_buckets():
    for latency_s in [0.0, 1e-3, 0.00101, 0.05, 0.1, 1.0, 45.0, 46.5, 1e4, *np.geomspace(1e-4, 100, 500)]:
        assert device_bucket(float(latency_s)) == cloud_bucket(float(latency_s)) < BUCKETS


def test_what_a_device_tells_is_what_the_control_plane_takes():
    from cloud.control.messages import Report
    from device.updates.tally import Counts

    counts = Counts(frames=3, answered=2)
    counts.latency[7] += 2
    told = {"run": "r", "model_id": "m", "digest": "0" * 64, "counts": {"0" * 64: counts.told()}}
    taken = Report.model_validate_json(json.dumps(told))
    assert taken.counts["0" * 64].latency == {7: 2}


class Shop:
    """Hands out what it is told to, in place of a control plane."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.asked = 0

    def fetch(self, digest: str, size: int, part: Path) -> None:
        self.asked += 1
        part.write_bytes(self.content)


def digest_of(zipped: Path) -> str:
    with Bundle.open(zipped) as bundle:
        return bundle.digest.hex()


def wanted(digest: str, *, final: bool) -> dict[str, Any]:
    return {"digest": digest, "model_id": "tiny", "counter": 1, "bytes": 1, "final": final}


def test_a_bundle_that_came_damaged_is_fetched_anew_and_never_blamed(maker: Maker, tmp_path: Path):
    zipped = maker.release(21)
    digest, data = digest_of(zipped), bytearray(zipped.read_bytes())
    data[len(data) // 2] ^= 1
    for content in (bytes(data), b"nonsense", maker.release(22).read_bytes()):
        with pytest.raises(ControlPlaneError, match="anew"):
            _arrange(tmp_path, wanted(digest, final=True), "", Shop(content).fetch)
        assert list(tmp_path.iterdir()) == []
    _arrange(tmp_path, wanted(digest, final=True), "", Shop(zipped.read_bytes()).fetch)
    assert [path.name for path in tmp_path.iterdir()] == [f"{digest}.zip"]


def test_the_folder_says_what_is_on_trial_what_stays_and_what_is_taken_back(maker: Maker, tmp_path: Path):
    zipped = maker.release(23)
    digest, shop = digest_of(zipped), Shop(zipped.read_bytes())
    path = tmp_path / f"{digest}.zip"
    _arrange(tmp_path, wanted(digest, final=False), "", shop.fetch)
    assert trial_of(path).exists()
    _arrange(tmp_path, None, digest, shop.fetch)
    assert withdrawal_of(path).exists(), "in force, so it has to be left first"
    _arrange(tmp_path, wanted(digest, final=False), digest, shop.fetch)
    assert not withdrawal_of(path).exists(), "wanted again before it was left"
    _arrange(tmp_path, None, "another", shop.fetch)
    assert list(tmp_path.iterdir()) == [], "it was not in force, so it goes at once"
    _arrange(tmp_path, wanted(digest, final=False), "", shop.fetch)
    _arrange(tmp_path, wanted(digest, final=True), digest, shop.fetch)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
    assert shop.asked == 2
    _arrange(tmp_path, None, digest, shop.fetch)
    assert path.exists(), "what was released is not taken back"


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "0" * 63, ""])
def test_a_name_that_is_no_digest_never_becomes_a_path(digest: str, tmp_path: Path):
    with pytest.raises(ValueError, match="no digest"):
        _arrange(tmp_path, wanted(digest, final=True), "", Shop(b"").fetch)
    assert list(tmp_path.iterdir()) == []
