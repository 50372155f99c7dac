"""The fleet against loops, queueing theory, and the tier's own scheduler."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from isthmus.builtin.demo import BUNDLE
from isthmus.cli.main import app
from serving.scheduling.batching import Least, Rule, Static
from serving.scheduling.costs import MAX_SIZE
from serving.scheduling.jobs import Path as Steps
from serving.scheduling.replay import Arrival, Replay
from serving.scheduling.scheduler import Scheduler
from testbed.errors import ScenarioError, TestbedError
from testbed.fleet.calibration import batch_seconds
from testbed.fleet.capacity import edges_needed
from testbed.fleet.points import NoCluster, at_each
from testbed.fleet.queues import batched, departures
from testbed.fleet.run import serve
from testbed.fleet.scheduled import scheduled
from testbed.fleet.settings import Fleet, samples_of
from testbed.fleet.sweep import crossed
from testbed.results.files import TABLES


def _queues(seed: int, rows: int = 200, queues: int = 5) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    """Rows sorted by queue and by time; one queue of the range stays empty."""
    chance = np.random.default_rng(seed)
    queue = np.sort(chance.choice(np.delete(np.arange(queues), 2), rows))
    arrives_s = chance.random(rows) * 3
    order = np.lexsort((arrives_s, queue))
    return queue[order], arrives_s[order], chance


@pytest.mark.parametrize("seed", range(5))
def test_departures_are_those_of_a_loop(seed: int) -> None:
    queue, arrives_s, chance = _queues(seed)
    service_s = chance.exponential(0.1, queue.size)
    expected, free_s = [], dict.fromkeys(range(5), 0.0)
    for one, at_s, takes_s in zip(queue, arrives_s, service_s, strict=True):
        free_s[one] = max(free_s[one], at_s) + takes_s
        expected.append(free_s[one])
    assert departures(queue, arrives_s, service_s) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_batches_are_those_of_a_loop(seed: int, workers: int) -> None:
    queue, arrives_s, chance = _queues(seed)
    until_s = arrives_s + chance.uniform(0.05, 1.5, queue.size)
    first_s, each_s, most = 0.03, 0.02, 4
    done_s, batches = batched(
        queue, arrives_s, until_s, queues=5, workers=workers, first_s=first_s, each_s=each_s, most=most
    )
    expected, count = np.full(queue.size, np.inf), 0
    for one in range(5):
        rows, free_s = list(np.flatnonzero(queue == one)), [0.0] * workers
        while rows:
            worker = free_s.index(min(free_s))
            start_s = max(free_s[worker], arrives_s[rows[0]])
            batch = [row for row in rows if arrives_s[row] <= start_s + 1e-9][:most]
            rows = rows[len(batch) :]
            batch = [row for row in batch if until_s[row] >= start_s + first_s + each_s]
            if batch:
                free_s[worker] = start_s + first_s + each_s * len(batch)
                expected[batch] = free_s[worker]
                count += 1
    assert done_s == pytest.approx(expected, abs=1e-6)
    assert batches == count


def test_waiting_is_what_pollaczek_and_khinchine_say() -> None:
    """M/D/1 at a load of 0.8: mean wait = load * service / (2 * (1 - load))."""
    chance = np.random.default_rng(1)
    arrives_s = np.cumsum(chance.exponential(0.0125, 400_000))
    queue = np.zeros(arrives_s.size, dtype=np.intp)
    wait_s = departures(queue, arrives_s, np.full(arrives_s.size, 0.01)) - arrives_s - 0.01
    assert wait_s.mean() == pytest.approx(0.8 * 0.01 / (2 * 0.2), rel=0.06)


def test_an_idle_fleet_takes_the_sum_of_its_parts() -> None:
    fleet = Fleet(devices=3, cell_devices=1, edges=3, samples=((0.1, 1000.0),), first_s=0.002, each_s=0.003)
    served = serve(fleet)
    assert served.latency_s == pytest.approx(0.1 + 8000 / 20e6 + 2 * 0.015 + 0.005)
    assert served.latency_s.size == 30
    assert served.frames_per_batch == 1
    assert served.busy == pytest.approx(0.005)


def test_a_fleet_repeats_with_its_seed() -> None:
    fleet = Fleet(devices=400, edges=2)
    assert np.array_equal(serve(fleet).latency_s, serve(fleet).latency_s)
    assert not np.array_equal(serve(fleet).latency_s, serve(replace(fleet, seed=2)).latency_s)


def test_an_overloaded_tier_answers_what_it_can_and_the_rest_counts() -> None:
    fleet = Fleet(devices=400, deadline_s=0.3, most=1, each_s=0.005)
    served = serve(fleet)
    assert fleet.tier_load == 2
    assert served.busy == pytest.approx(1, abs=0.02)
    assert served.missed(0.3) == pytest.approx(0.5, abs=0.03)
    assert served.percentile_s(99) == np.inf


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_latency_is_that_of_the_tiers_own_scheduler(load: float) -> None:
    """With the rule "all that wait" to the microsecond; with the rule in use, which is cleverer, nearly."""
    first_s, each_s = 0.004, 0.002
    devices = round(load / (first_s / 4 + each_s))
    fleet = Fleet(devices=devices, cell_devices=devices, cell_bps=1e12, one_way_s=0.0, samples=((0.0, 1.0),),
                  first_s=first_s, each_s=each_s, most=MAX_SIZE, seconds=6.0, seed=5)  # fmt: skip
    ours = serve(fleet)
    chance, path = np.random.default_rng(fleet.seed), Steps("tail")
    times = sorted(phase + second for phase in chance.random(devices) for second in range(8))
    arrivals = [Arrival(at_s, "one", path, fleet.deadline_s) for at_s in times]
    rules: list[tuple[Rule, float, float]] = [(Static(MAX_SIZE, 0.0), 1e-4, 1e-4), (Least(), 0.1, 0.2)]
    for rule, median, tail in rules:
        replay = Replay(Scheduler(capacity=4096, rule=rule), lambda step, size: first_s + each_s * size)
        theirs_s = [one.latency_s for one in replay.run(arrivals) if one.arrival.at_s >= fleet.warm_up_s]
        assert ours.latency_s.size == len(theirs_s)
        for percent, within in ((50, median), (99, tail)):
            expected_s = np.percentile(theirs_s, percent, method="inverted_cdf")
            assert ours.percentile_s(percent) == pytest.approx(expected_s, rel=within)


def test_the_exact_way_is_the_tiers_own_scheduler_at_each_edge() -> None:
    """Against a replay of each edge's frames by itself; idle, both ways are the sum of the parts."""
    batch_s = (0.0, 0.010, 0.013, 0.017, 0.020)
    queue, arrives_s, chance = _queues(3, rows=240)
    arrives_s = np.sort(arrives_s.reshape(1, -1)).ravel()  # one order over all, then by queue
    order = np.lexsort((arrives_s, queue))
    queue, arrives_s = queue[order], arrives_s[order]
    until_s = arrives_s + chance.uniform(0.05, 0.6, queue.size)
    sender = chance.integers(7, size=queue.size)
    done_s, batches = scheduled(queue, arrives_s, until_s, sender, workers=2, batch_s=batch_s)
    count = 0
    for one in np.unique(queue):
        rows, path = np.flatnonzero(queue == one), Steps("frame")
        arrivals = [Arrival(arrives_s[row], str(sender[row]), path, until_s[row] - arrives_s[row]) for row in rows]
        replay = Replay(
            Scheduler(threads=2, capacity=4096),
            lambda step, size: batch_s[size] if size < 5 else 0.020 + (size - 4) * 0.003,
            threads=2,
        )
        ended = {outcome.arrival: outcome.ended_s if outcome.answered else np.inf for outcome in replay.run(arrivals)}
        assert done_s[rows] == pytest.approx([ended[arrival] for arrival in arrivals])
        count += len(replay.batches)
    assert batches == count
    idle = Fleet(devices=3, cell_devices=1, edges=3, samples=((0.1, 1000.0),), first_s=0.002, each_s=0.003)
    assert serve(replace(idle, exact=True)).latency_s == pytest.approx(serve(idle).latency_s, abs=1e-6)


@pytest.mark.slow
def test_edges_on_other_cores_give_what_they_give_on_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = Fleet(devices=300, edges=3, seconds=2.0, exact=True)
    monkeypatch.setattr("testbed.fleet.scheduled._WORTH_A_PROCESS", 1)
    there = serve(fleet).latency_s
    monkeypatch.setattr("testbed.fleet.scheduled.os.cpu_count", lambda: 1)
    assert np.array_equal(there, serve(fleet).latency_s)


@pytest.mark.slow
def test_a_tiers_batches_cost_what_its_own_warm_up_finds() -> None:
    seconds = batch_seconds(BUNDLE, 2, 2)
    assert (len(seconds), seconds[0]) == (MAX_SIZE + 1, 0)
    assert 0 < seconds[1] < seconds[-1]
    assert all(one <= other for one, other in pairwise(seconds))


def test_the_fewest_edges_are_found() -> None:
    fleet = Fleet(devices=3000, samples=((0.05, 1000.0),), first_s=0.004, each_s=0.002, seconds=4)
    found = edges_needed(fleet, goal_s=0.15)
    assert found.served.percentile_s(99) <= 0.15
    fewer = replace(found.fleet, edges=found.fleet.edges - 1)
    assert serve(fewer).percentile_s(99) > 0.15
    assert 3000 * (0.002 + 0.004 / 16) <= found.fleet.edges <= 3000 * 0.006
    assert edges_needed(fleet, goal_s=0.5).fleet.edges <= found.fleet.edges


@pytest.mark.slow
def test_several_fleets_are_answered_at_once_as_each_by_itself() -> None:
    command = ["capacity", "--goal", "0.3", "--seconds", "3", "--json"]
    counts = (200, 900)
    both = [*command, *(word for count in counts for word in ("--devices", str(count)))]
    together = json.loads(CliRunner().invoke(app, both, catch_exceptions=False).stdout)["points"]
    for count, one in zip(counts, together, strict=True):
        alone = CliRunner().invoke(app, [*command, "--devices", str(count)], catch_exceptions=False)
        assert json.loads(alone.stdout) == one


def test_a_sweep_crosses_its_keys_and_names_a_wrong_one() -> None:
    fleet = Fleet(devices=100)
    points = crossed(fleet, ["rate_hz=1,2", "workers=1,3"])
    assert [values for values, _ in points] == [
        {"rate_hz": 1, "workers": 1}, {"rate_hz": 1, "workers": 3},
        {"rate_hz": 2, "workers": 1}, {"rate_hz": 2, "workers": 3},
    ]  # fmt: skip
    assert points[3][1] == replace(fleet, rate_hz=2.0, workers=3)
    assert crossed(fleet, []) == [({}, fleet)]
    with pytest.raises(ScenarioError, match="did you mean 'cell_bps'"):
        crossed(fleet, ["cel_bps=1e6"])
    with pytest.raises(ScenarioError, match="is not KEY=V1,V2"):
        crossed(fleet, ["rate_hz=often"])


@pytest.mark.slow
def test_the_command_sweeps_a_fleet(tmp_path: Path) -> None:
    command = ["capacity", "--devices", "300", "--goal", "0.3", "--seconds", "3", "--json"]
    swept = json.loads(CliRunner().invoke(app, [*command, "--over", "rate_hz=1,4"], catch_exceptions=False).stdout)[
        "points"
    ]
    for rate, one in zip((1, 4), swept, strict=True):
        alone = CliRunner().invoke(app, [*command, "--rate", str(rate)], catch_exceptions=False)
        assert {"rate_hz": rate, **json.loads(alone.stdout)} == one


@pytest.mark.long
def test_fleets_are_spread_over_a_ray_cluster() -> None:
    """A cluster that Ray starts for the test, with two workers of this machine."""
    ray = pytest.importorskip("ray")
    fleets = [Fleet(devices=count, seconds=2.0) for count in (100, 200, 300)]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        address = ray.get_runtime_context().gcs_address
        found = at_each(partial(serve), fleets, ray=address)
    finally:
        ray.shutdown()
    for there, fleet in zip(found, fleets, strict=True):
        assert np.array_equal(there.latency_s, serve(fleet).latency_s)


def test_without_ray_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.fleet.points.find_spec", lambda name: None)
    with pytest.raises(NoCluster, match="pip install ray"):
        at_each(serve, [Fleet(devices=1)], ray="auto")


def test_a_goal_that_no_edge_can_keep_is_refused() -> None:
    thin = Fleet(devices=100, cell_bps=1e5, samples=((0.05, 2000.0),), seconds=4)
    with pytest.raises(ScenarioError, match="a cell that carries more"):
        edges_needed(thin, goal_s=0.25)
    with pytest.raises(ScenarioError, match="lower the rate"):
        Fleet(devices=1, rate_hz=30)
    with pytest.raises(ScenarioError, match="edges = 0 is less than 1"):
        Fleet(devices=1, edges=0)
    with pytest.raises(ScenarioError, match="simulate fewer seconds"):
        Fleet(devices=10**9)


def test_a_run_calibrates_a_fleet(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"figures": []}')
    rows = [("answered", "edge", 2, 1, 0.03, 400, 0.010), ("answered", "cloud", 2, 1, 0.04, 500, 0.020),
            ("answered", "edge", 2, 1, 0.05, 600, 0.030), ("answered", "edge", 0, 3, 0.01, 9000, 0.5),
            ("answered", "device", 4, "", 0.2, 0, 0.0), ("expired", "", 2, 1, 0.03, 400, 0.0)]  # fmt: skip
    with (tmp_path / "frames.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, TABLES["frames"], restval="")
        writer.writeheader()
        for ended, by, cut, level, device_s, message_bytes, tier_s in rows:
            writer.writerow({"ended": ended, "by": by, "cut": cut, "level": level, "device_s": device_s,
                             "message_bytes": message_bytes, "tier_s": tier_s})  # fmt: skip
    assert samples_of(tmp_path) == (((0.03, 400.0), (0.04, 500.0), (0.05, 600.0)), 0.02)
    command = ["capacity", "--devices", "200", "--run", str(tmp_path), "--goal", "0.2", "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert 200 * 0.02 <= json.loads(done.stdout)["edges"] <= 20
    with pytest.raises(TestbedError, match="no finished run"):
        samples_of(tmp_path / "absent")
