"""kill -9 in the middle of publications, rollouts and registrations: what was acknowledged is there, whole."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cloud.control.conftest import Maker
from tests.cloud.control.postgres import a_postgres
from tests.serving.processes import a_program

MODELS = ("north", "south")
HELD = {"steps": [0.5, 1.0], "hold_s": 3600.0, "min_frames": 1_000_000}
"""Rules under which a rollout stays where it is until somebody takes it back."""


@dataclass
class Acknowledged:
    """What the control plane said it had done."""

    bundles: dict[str, Path] = field(default_factory=dict)
    devices: dict[str, str] = field(default_factory=dict)
    started: dict[str, str] = field(default_factory=dict)
    taken_back: set[str] = field(default_factory=set)

    def number(self) -> int:
        return len(self.bundles) + len(self.devices) + len(self.started) + len(self.taken_back)


class Workers:
    """Publish, register and roll out without a pause until the control plane is gone."""

    def __init__(self, url: str, token: str, maker: Maker, done: Acknowledged, numbers: Iterator[int]) -> None:
        self._url, self._headers = url, {"Authorization": f"Bearer {token}"}
        self._maker, self._done, self._numbers = maker, done, numbers
        tasks = (self._publish, self._register, self._roll_out)
        self._threads = [threading.Thread(target=self._until_gone, args=(task,)) for task in tasks]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _until_gone(self, task: Callable[[httpx.Client], None]) -> None:
        with httpx.Client(
            base_url=self._url, headers=self._headers, trust_env=False, verify=False, timeout=30
        ) as client:
            try:
                while True:
                    task(client)
            except httpx.TransportError:
                return

    def _publish(self, client: httpx.Client) -> None:
        number = next(self._numbers)
        zipped = self._maker.release(number, MODELS[number % 2])
        answer = client.put("/v1/bundles", content=zipped.read_bytes())
        assert answer.status_code == 201, answer.text
        self._done.bundles[answer.json()["digest"]] = zipped

    def _register(self, client: httpx.Client) -> None:
        number = next(self._numbers)
        name, model_id = f"device-{number}", MODELS[number % 2]
        answer = client.put(f"/v1/agent/{name}/registration", json={"model_id": model_id})
        assert answer.status_code == 204, answer.text
        self._done.devices[name] = model_id

    def _roll_out(self, client: httpx.Client) -> None:
        for digest in list(self._done.bundles)[-2:]:
            answer = client.post("/v1/rollouts", json={"digest": digest, "rules": HELD})
            if answer.status_code == 409:
                continue
            assert answer.status_code == 201, answer.text
            identity = answer.json()["id"]
            self._done.started[identity] = digest
            answer = client.post(f"/v1/rollouts/{identity}/rollback", json={"reason": "on to the next"})
            assert answer.status_code == 204, answer.text
            self._done.taken_back.add(identity)
        for one in client.get("/v1/rollouts").json():
            if one["stage"] == "running":  # left by a kill
                client.post(f"/v1/rollouts/{one['id']}/rollback", json={"reason": "left over"})


def check(url: str, token: str, shelf: Path, done: Acknowledged) -> None:
    """All that was acknowledged is there; all that is there is whole, and in the audit log exactly once."""
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, verify=False, timeout=60
    ) as client:
        bundles = {one["digest"]: one for one in client.get("/v1/bundles").json()}
        devices = {one["name"]: one for one in client.get("/v1/devices").json()}
        entries = all_entries(client)
        rollouts = {one["id"]: one for one in client.get("/v1/rollouts", params={"most": 10_000}).json()}
    assert done.bundles.keys() <= bundles.keys()
    assert {path.name for path in shelf.iterdir()} == {f"{digest}.zip" for digest in bundles}, "no halves are left"
    for digest, one in bundles.items():
        content = (shelf / f"{digest}.zip").read_bytes()
        assert len(content) == one["bytes"]
        assert digest not in done.bundles or content == done.bundles[digest].read_bytes()
    for name, model_id in done.devices.items():
        assert (devices[name]["state"], devices[name]["model_id"]) == ("active", model_id)
    for identity, digest in done.started.items():
        assert rollouts[identity]["digest"] == digest
    for identity in done.taken_back:
        assert rollouts[identity]["stage"] == "rolled back"
    running = Counter(one["model_id"] for one in rollouts.values() if one["stage"] == "running")
    assert all(number == 1 for number in running.values()), running
    assert objects(entries, "publish") == Counter(bundles.keys())
    assert objects(entries, "register") == Counter(devices.keys())
    ended = [identity for identity, one in rollouts.items() if one["stage"] == "rolled back"]
    assert objects(entries, "roll back") == Counter(ended)
    assert objects(entries, "start rollout") == Counter(rollouts.keys())


def all_entries(client: httpx.Client) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    while page := client.get(
        "/v1/audit", params={"most": 1000} | ({"before": entries[-1]["id"]} if entries else {})
    ).json():
        entries += page
    return entries


def objects(entries: list[dict[str, Any]], action: str) -> Counter[str]:
    return Counter(one["object"] for one in entries if one["action"] == action)


def killed_again_and_again(kills: int, maker: Maker, folder: Path, database: str | None) -> Acknowledged:
    from cloud.control.program import make_admin
    from cloud.control.settings import Settings

    token = make_admin(Settings(folder=folder, database=database), "ada")
    arguments = [f"folder={folder}", "listen.port=0", f'makers=["{maker.public}"]']
    arguments += [] if database is None else [f"database={database}"]
    done, numbers, chance = Acknowledged(), iter(range(1, 1_000_000)), random.Random(8)
    for _ in range(kills):
        with a_program("cloud.control", folder / "log", *arguments) as program:
            url = f"http://127.0.0.1:{program.ready['port']}"
            check(url, token, folder / "bundles", done)
            workers = Workers(url, token, maker, done, numbers)
            workers.start()
            threading.Event().wait(chance.uniform(0.02, 0.6))  # any moment is a good one to be killed
            program.process.kill()
            workers.join()
    with a_program("cloud.control", folder / "log", *arguments) as program:
        check(f"http://127.0.0.1:{program.ready['port']}", token, folder / "bundles", done)
    return done


@contextmanager
def a_database(kind: str) -> Iterator[str | None]:
    if kind == "sqlite":
        yield None
        return
    with a_postgres() as url:
        yield url


@pytest.mark.parametrize(
    ("kind", "kills"),
    [
        pytest.param("sqlite", 3, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
        pytest.param("sqlite", 200, marks=[pytest.mark.long, pytest.mark.timeout(2400)]),
        pytest.param("postgres", 200, marks=[pytest.mark.long, pytest.mark.timeout(2400)]),
    ],
)
def test_kill_9_loses_nothing_acknowledged_and_applies_nothing_by_half(own_maker: Maker, tmp_path: Path, kind, kills):
    with a_database(kind) as database:
        done = killed_again_and_again(kills, own_maker, tmp_path / "control", database)
    print(
        f"{kind}: {kills} kills, {len(done.bundles)} bundles, {len(done.devices)} devices, {len(done.started)} rollouts"
    )
    assert done.number() > kills, "the kills came among changes"
