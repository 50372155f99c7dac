"""The tiers' own scheduler over a fleet's frames, one after the other: exact, and for fewer of them than arrays are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

from serving.scheduling.jobs import Path
from serving.scheduling.jobs import Step as AnyStep
from serving.scheduling.replay import Arrival, Replay
from serving.scheduling.scheduler import Scheduler
from testbed.fleet.queues import FloatArray, IntArray

CAPACITY = 65536
_WORTH_A_PROCESS = 20_000
"""Frames; fewer are done here sooner than another process starts."""


@dataclass(frozen=True, slots=True)
class _Tier:
    """What comes to one tier: rows of the caller's arrays, and the frames in them."""

    rows: IntArray
    arrives_s: FloatArray
    until_s: FloatArray
    sender: IntArray
    workers: int
    batch_s: tuple[float, ...]


def scheduled(
    queue: IntArray,
    arrives_s: FloatArray,
    until_s: FloatArray,
    sender: IntArray,
    *,
    workers: int,
    batch_s: Sequence[float],
) -> tuple[FloatArray, int]:
    """When each row is done by its tier, by the rule that tiers use; tiers are spread over all cores.

    Args:
        queue: [rows], ascending: the tier of each.
        arrives_s: [rows], ascending within each tier.
        until_s: [rows], deadlines in the tier.
        sender: [rows], whose frame it is.
        workers: batches that a tier does at the same time.
        batch_s: seconds of a batch by its size; [0] is not looked at. Larger ones cost more by what the last
            two differ.

    Returns:
        When each row is done, infinite where it was refused or given up; and how many batches were done.
    """
    ends = np.append(np.flatnonzero(queue[1:] != queue[:-1]) + 1, queue.size)
    begins = np.append(0, ends[:-1])
    tiers = [
        _Tier(np.arange(begin, end), arrives_s[begin:end], until_s[begin:end], sender[begin:end], workers, (*batch_s,))
        for begin, end in zip(begins, ends, strict=True)
        if end > begin
    ]
    done_s, batches = np.full(queue.size, np.inf), 0
    for tier, (found_s, count) in zip(tiers, _all(tiers, queue.size), strict=True):
        done_s[tier.rows] = found_s
        batches += count
    return done_s, batches


def _all(tiers: Sequence[_Tier], rows: int) -> Iterator[tuple[FloatArray, int]]:
    cores = min(os.cpu_count() or 1, len(tiers))
    if cores < 2 or rows < _WORTH_A_PROCESS:
        yield from map(_one, tiers)
        return
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, tiers, chunksize=max(len(tiers) // (4 * cores), 1))


def _one(tier: _Tier) -> tuple[FloatArray, int]:
    path = Path("frame")
    rows = zip(tier.arrives_s.tolist(), tier.until_s.tolist(), tier.sender.tolist(), strict=True)
    arrivals = [Arrival(at_s, str(sender), path, until_s - at_s) for at_s, until_s, sender in rows]
    places = {id(arrival): place for place, arrival in enumerate(arrivals)}
    last, more_s = len(tier.batch_s) - 1, tier.batch_s[-1] - tier.batch_s[-2]

    def cost(step: AnyStep, size: int) -> float:
        return tier.batch_s[size] if size <= last else tier.batch_s[last] + (size - last) * more_s

    replay = Replay(Scheduler(threads=tier.workers, capacity=CAPACITY), cost, threads=tier.workers)
    done_s = np.full(len(arrivals), np.inf)
    for outcome in replay.run(arrivals):
        if outcome.answered:
            done_s[places[id(outcome.arrival)]] = outcome.ended_s
    return done_s, len(replay.batches)
