"""Many simulations at once: on all cores of this machine, or on a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from typing import TypeVar

from testbed.errors import TestbedError

Point = TypeVar("Point")
Found = TypeVar("Found")


class NoCluster(TestbedError):
    """There is no Ray here, or no cluster at that address. For a person to correct."""

    exit_code = 4


def at_each(work: Callable[[Point], Found], points: Sequence[Point], *, ray: str | None = None) -> list[Found]:
    """The work's results, in the order of the points.

    Args:
        work: a function of a module, and pure: it may run in another process, or on another machine.
        ray: address of a cluster ("auto" is the one of this machine) whose machines have isthmus installed; None takes
            this machine's cores.

    Raises:
        NoCluster: Ray is not installed, or nobody answers at the address.
    """
    if ray is not None:
        return _on_cluster(work, points, ray)
    cores = min(os.cpu_count() or 1, len(points))
    if cores < 2:
        return [work(point) for point in points]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, points))


def _on_cluster(work: Callable[[Point], Found], points: Iterable[Point], address: str) -> list[Found]:
    if find_spec("ray") is None:
        raise NoCluster("Ray is not installed; install it with: pip install ray")
    ray = import_module("ray")
    try:
        ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
    except (ConnectionError, ValueError) as exc:
        raise NoCluster(f"no Ray cluster answers at {address!r} ({exc}); start one: ray start --head") from exc
    try:
        remote = ray.remote(_done)
        found: list[Found] = ray.get([remote.remote(work, point) for point in points])
    finally:
        ray.shutdown()
    return found


def _done(work: Callable[[Point], Found], point: Point) -> Found:
    """What Ray can carry: it takes functions, not everything that can be called."""
    return work(point)
