"""Frames that may be late: kept while nobody can answer, answered when somebody can, exactly once where promised."""

import asyncio
import http.client
import json
import os
import random
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from device.spool import Spool, SpoolLimits
from tests.device.conftest import assert_each_ended_once
from tests.device.processes import ROOT, start_tier
from tests.device.test_more_sources import Pusher

NOBODY = "127.0.0.1:9"


def sinks_in(folder: Path) -> list[dict[str, str]]:
    return [
        {"kind": "jsonl", "path": str(folder / "answers.jsonl")},
        {"kind": "sqlite", "path": str(folder / "answers.db")},
    ]


def in_table(folder: Path) -> dict[str, int]:
    """Labels by key."""
    return dict(rows(folder / "answers.db", "SELECT key, label FROM answers"))


def in_lines(folder: Path) -> Counter[str]:
    lines = (folder / "answers.jsonl").read_text().splitlines(keepends=True)
    return Counter(json.loads(line)["key"] for line in lines if line.endswith("\n"))


async def until(condition, seconds=60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_answers_go_to_every_sink_with_where_when_and_how_sure(device, truth):
    lines = await device.run(
        source__limit=6, source__keep="all", sinks=sinks_in(device.folder),
        policy__name="fixed", policy__cut=3, policy__route="device",
    )  # fmt: skip
    answers = [json.loads(line) for line in (device.folder / "answers.jsonl").read_text().splitlines()]
    assert [answer["key"] for answer in answers] == [line["key"] for line in lines]
    for answer, line in zip(answers, lines, strict=True):
        assert (answer["label"], answer["name"]) == (truth(line["source"]).label, f"class {line['answer']}")
        assert answer["confidence"] == pytest.approx(truth(line["source"]).confidence, abs=1e-4)
        assert (answer["by"], answer["route"], answer["cut"], answer["level"]) == ("device", "device", 3, None)
        assert 0 < answer["answered_at"] - answer["captured_at"] < 60
        assert abs(answer["captured_at"] - time.time()) < 600
    assert in_table(device.folder) == {answer["key"]: answer["label"] for answer in answers}


async def test_frames_of_an_outage_are_answered_when_a_tier_is_back(device, tiny_bundle, truth, reserved_port):
    """A device that may not answer by itself, and a tier that comes late."""
    stop, port = asyncio.Event(), reserved_port
    spool = device.folder / "spool.db"
    running = asyncio.create_task(
        device.run(
            stop=stop, source__rate_hz=10.0, source__limit=8, source__loop=True, source__keep="all",
            edge__target=f"127.0.0.1:{port}", policy__name="fixed", policy__cut=1, policy__level=4,
            policy__route="edge", spool__path=str(spool), spool__alone=False, sinks=sinks_in(device.folder),
        )
    )  # fmt: skip
    await running  # all frames have come and nobody was there
    lines = device.lines()
    assert_each_ended_once(lines, 8)
    assert {line["ended"] for line in lines} <= {"dropped", "expired"}
    assert spooled(spool) == {line["key"] for line in lines}

    program, _ = await start_tier("edge", tiny_bundle.path, port=port)
    again = asyncio.create_task(
        device.run(
            stop=stop, source__rate_hz=0.02, history__path=str(device.folder / "second.jsonl"),
            edge__target=f"127.0.0.1:{port}", policy__name="fixed", policy__cut=1, policy__level=4,
            policy__route="edge", spool__path=str(spool), spool__alone=False, sinks=sinks_in(device.folder),
        )
    )  # fmt: skip
    try:
        wanted = {line["key"]: line["source"] for line in lines}
        await until(lambda: set(wanted) <= set(in_table(device.folder)))
        await until(lambda: not spooled(spool) & set(wanted))
    finally:
        stop.set()
        await again
        await program.kill()
    table = in_table(device.folder)
    assert {key: table[key] for key in wanted} == {key: truth(name).label for key, name in wanted.items()}
    late = [json.loads(line) for line in (device.folder / "second.jsonl").read_text().splitlines()]
    assert {line["key"] for line in late if line["late"]} == set(wanted)
    assert not any(line["in_time"] for line in late if line["late"])


@pytest.mark.long
async def test_live_frames_go_first_while_the_spool_is_drained(device):
    """A full spool and a device that is busy half of the time: live frames are answered as if there were none."""
    path = device.folder / "spool.db"
    spool = Spool(path, SpoolLimits(), clock=time.monotonic)
    for number in range(200):
        spool.keep(f"old {number}", "0.png", np.zeros((32, 32, 3), np.uint8), value=number / 200, promised=False)
    spool.close()
    lines = await device.run(
        source__limit=40, source__rate_hz=20.0, source__keep="all", deadline_s=5.0, spool__path=str(path),
        policy__name="fixed", policy__cut=3, policy__route="device", emulated_slowdown=20.0,
    )  # fmt: skip
    late = [line for line in lines if line["late"] and line["ended"] == "answered"]
    live = [line for line in lines if not line["late"]]
    assert len(live) == 40
    assert all(line["ended"] == "answered" for line in live)
    assert late, "and the spool is not forgotten"
    assert len(late) < 200
    values = [int(line["key"].removeprefix("old ")) for line in late]
    assert values == sorted(values, reverse=True), "most value first"


async def test_a_frame_that_fits_no_model_leaves_the_spool(device, caplog):
    path = device.folder / "spool.db"
    spool = Spool(path, SpoolLimits(), clock=time.monotonic)
    spool.keep("odd", "odd.png", np.zeros((3, 3, 3), np.uint8))
    spool.close()
    stop = asyncio.Event()
    running = asyncio.create_task(device.run(stop=stop, source__rate_hz=0.02, spool__path=str(path)))
    try:
        await until(lambda: not spooled(path))
    finally:
        stop.set()
        lines = await running
    assert [line["ended"] for line in lines if line["key"] == "odd"] == ["dropped"]
    assert "leaves the spool unanswered" in caplog.text


# Kill -9.

AGENTS = """
import asyncio, json, os, sys
from device.program import run
from device.settings import load
import onnxruntime, runtime.engines.onnxruntime, device.sources.push
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        asyncio.run(run(load(None, json.loads(line))))
        os._exit(0)
    print(json.dumps({"pid": child}), flush=True)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"ended": status}), flush=True)
"""
"""Forks agents that have their imports behind them, so that hundreds can be killed in minutes."""


START_S = 200.0
"""For an agent to start, on a machine that has a dozen other things to do."""


async def killed_agents(device, truth, rounds: int) -> None:
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    settings = device.settings(
        source__kind="push", source__durable=True, source__rate_hz=50.0, source__keep="all", deadline_s=5.0,
        spool__path=str(device.folder / "spool.db"), sinks=sinks_in(device.folder), measure_s=0.01,
    )  # fmt: skip
    del settings["source.path"], settings["history.path"]
    names = sorted(path.name for path in device.pictures.iterdir())
    bodies = {name: (device.pictures / name).read_bytes() for name in names}
    acknowledged: dict[str, str] = {}
    agents = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENTS, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert agents.stdin is not None
    assert agents.stdout is not None
    try:
        for number in range(rounds + 1):
            agents.stdin.write(json.dumps(settings).encode() + b"\n")
            pid = json.loads(await asyncio.wait_for(agents.stdout.readline(), START_S))["pid"]
            ready = json.loads(await asyncio.wait_for(agents.stdout.readline(), START_S))
            assert ready["event"] == "ready", (seed, ready)
            pushing = asyncio.create_task(push_until_refused(ready["push_port"], number, bodies, acknowledged))
            if number < rounds:
                wanted = len(acknowledged) + rng.randint(1, 5)
                await until(lambda wanted=wanted: len(acknowledged) >= wanted, START_S)
                await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill is the claim's "random"
                os.kill(pid, 9)
                await pushing
            else:
                await asyncio.sleep(0)
                pushing.cancel()
                await asyncio.wait([pushing])
                await until(lambda: set(acknowledged) <= set(in_table(device.folder)), 120)
                await until(lambda: not spooled(device.folder / "spool.db"), 120)
                os.kill(pid, 15)
            ended = json.loads(await asyncio.wait_for(agents.stdout.readline(), START_S))
            while "ended" not in ended:
                ended = json.loads(await asyncio.wait_for(agents.stdout.readline(), START_S))
    finally:
        agents.stdin.close()
        await asyncio.wait_for(agents.wait(), 60)
    table, lines = in_table(device.folder), in_lines(device.folder)
    assert len(acknowledged) >= rounds, "hardly anything was acknowledged, so hardly anything was shown"
    for key, name in acknowledged.items():
        assert table[key] == truth(name).label, (seed, key)
        assert lines[key] >= 1, (seed, key)
    assert not list(device.folder.glob("*.damaged-*"))


async def push_until_refused(port: int, number: int, bodies: dict[str, bytes], acknowledged: dict[str, str]) -> None:
    """Push pictures one after the other until the agent is gone; note what it acknowledged."""
    push = Pusher(port)
    for index in range(10_000):
        name = sorted(bodies)[index % len(bodies)]
        key = f"{number}-{index}"
        try:
            status, told = await push(bodies[name], Idempotency_Key=key)
        except (OSError, ValueError, http.client.HTTPException):  # the connection broke, or the answer is cut short
            return
        if status == 202:
            assert told["kept"]
            acknowledged[key] = name


def spooled(path: Path) -> set[str]:
    return {key for (key,) in rows(path, "SELECT key FROM frames")}


def rows(path: Path, query: str) -> list[tuple]:
    """Of a database that the agent may not have made yet, or not wholly."""
    if not path.exists():
        return []
    with sqlite3.connect(path, timeout=30) as database:
        made = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone() != (0,)
        return database.execute(query).fetchall() if made else []


@pytest.mark.timeout(600)
async def test_an_acknowledged_frame_is_answered_exactly_once_though_the_agent_is_killed(device, truth):
    await killed_agents(device, truth, 2)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_an_acknowledged_frame_is_answered_exactly_once_though_the_agent_is_killed_500_times(device, truth):
    await killed_agents(device, truth, 500)
