"""Workers as replicas of one Ray Serve deployment, which restarts those that die and places them on its machines.

Nothing of Ray listens for requests: our front door calls the replicas by a handle. Ray's own processes speak to each
other by pickled messages, so whoever may join a cluster may run code on all of it; see docs/clusters.md.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from protocol.errors import IsthmusError
from runtime.bundle import Bundle
from serving.cluster.errors import ClusterUnusable, WorkerLost
from serving.cluster.messages import Answer, Asked
from serving.cluster.settings import RaySettings
from serving.cluster.tail import Tail
from transport.address import Address

_OBJECTS_BYTES: Final = 128 << 20
"""Ray's store of objects on a machine of its own: batches go by message, so little is in it."""
_ONGOING: Final = 2
"""Batches that Ray may give a worker: one that was given up at a lost worker must not keep it from the next."""
_LOOK_S: Final = 0.1
_ENVIRONMENT: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
"""Unless set otherwise: nothing is reported to anybody, and workers do not stand back behind every other program."""
_TOKEN: Final = "RAY_AUTH_MODE"

_log = logging.getLogger(__name__)


class RayWorkers:
    """A Ray Serve application of one tier, and the way to it. Safe to share between threads.

    Args:
        settings: `[ray]`.
        name: of the tier; its application is called after it.
        bundles: what the workers run; they have to lie at the same paths on every machine.
        engine: its name, and the threads of one run.
        slowdown: see `Stretch`.
        clock, sleep: in seconds.
    """

    def __init__(
        self,
        settings: RaySettings,
        name: str,
        bundles: Sequence[Bundle],
        engine: tuple[str, int],
        slowdown: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._application = f"isthmus-{name}"
        self._what = ([(Path(bundle.path).absolute(), bundle.digest) for bundle in bundles], *engine, slowdown)
        self._clock = clock
        self._sleep = sleep
        self._handle: Any = None

    def start(self) -> None:
        """Start or join the cluster, deploy, and wait until the least number of workers runs; blocks.

        Raises:
            ClusterUnusable: Ray is not installed, there is no cluster, it is open to all, or no worker starts in time.
        """
        self._require_safe()
        for key, value in _ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        if not self._settings.address:  # Ray listens beyond loopback even then
            os.environ[_TOKEN] = "token"
        ray, serve = _imported("ray"), _imported("ray.serve")
        failures = (ConnectionError, TimeoutError, RuntimeError, ValueError, OSError, ray.exceptions.RayError)
        with redirect_stdout(sys.stderr):  # Ray tells of its troubles there, where a program says that it is ready
            try:
                self._join(ray)
                serve.start(proxy_location="Disabled")
                self._deploy(self._settings.least)
            except failures as exc:
                raise ClusterUnusable(f"no workers on the cluster {self._where}: {_first_line(exc)}") from exc
            self._handle = serve.get_deployment_handle("tail", self._application)
            self._await_least()

    def run(self, tag: int, batch: Sequence[Asked], timeout_s: float) -> Sequence[Answer]:
        """Have some worker answer a batch; blocks.

        Raises:
            WorkerLost: it died, or none has answered within `timeout_s`.
        """
        ray = _imported("ray")
        asked = self._handle.remote(tag, batch)
        try:
            answers: Sequence[Answer] = asked.result(timeout_s=timeout_s)
        except TimeoutError as exc:
            asked.cancel()
            raise WorkerLost(f"no worker has answered within {timeout_s:.1f} s") from exc
        except (ray.exceptions.RayActorError, ray.exceptions.OwnerDiedError, ray.exceptions.NodeDiedError) as exc:
            raise WorkerLost(f"a worker is gone: {_first_line(exc)}") from exc
        return answers

    def running(self) -> int:
        """How many workers take batches now."""
        application = _imported("ray.serve").status().applications.get(self._application)
        states = {} if application is None else application.deployments["tail"].replica_states
        return int(states.get("RUNNING", 0))

    def scale(self, workers: int) -> None:
        """Have so many workers, as soon as they can be started or have ended what they do."""
        self._deploy(workers)

    def stop(self) -> None:
        """Take the application away, and the cluster too if it was started here."""
        ray, serve = _imported("ray"), _imported("ray.serve")
        if not ray.is_initialized():
            return
        try:
            if self._settings.address:
                serve.delete(self._application)
            else:
                serve.shutdown()
        except (TimeoutError, RuntimeError, ray.exceptions.RayError) as exc:
            _log.warning("the workers could not be taken away: %s", _first_line(exc))
        ray.shutdown()

    @property
    def _where(self) -> str:
        return self._settings.address or "of this machine"

    def _require_safe(self) -> None:
        address = self._settings.address
        if address and not Address.read(address).is_near and os.environ.get(_TOKEN) != "token":
            raise ClusterUnusable(
                f"whoever reaches the cluster {address} could run code on it; start it with {_TOKEN}=token on every "
                f"machine, and this tier too"
            )

    def _join(self, ray: Any) -> None:
        quiet = {"logging_level": logging.WARNING, "log_to_driver": False, "configure_logging": False}
        if self._settings.address:
            ray.init(address=self._settings.address, **quiet)
            return
        ray.init(
            address="local",
            num_cpus=max(os.cpu_count() or 1, int(self._settings.cpus * self._settings.most) + 1),
            object_store_memory=_OBJECTS_BYTES,
            include_dashboard=False,
            **quiet,
        )

    def _deploy(self, workers: int) -> None:
        """Put the application there, or change how many workers it has: those that stay are not restarted."""
        serve = _imported("ray.serve")
        tail = serve.deployment(Tail, name="tail").options(
            num_replicas=workers,
            max_ongoing_requests=_ONGOING,
            ray_actor_options={"num_cpus": self._settings.cpus},
            health_check_period_s=2.0,
            health_check_timeout_s=10.0,
        )
        target = serve.RunTarget(target=tail.bind(*self._what), name=self._application, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)

    def _await_least(self) -> None:
        until_s = self._clock() + self._settings.start_s
        while self.running() < self._settings.least:
            if self._clock() >= until_s:
                raise ClusterUnusable(
                    f"{self.running()} of {self._settings.least} workers run on the cluster {self._where} after "
                    f"{self._settings.start_s:g} s: {self._told()}"
                )
            self._sleep(_LOOK_S)

    def _told(self) -> str:
        application = _imported("ray.serve").status().applications[self._application]
        said = application.deployments["tail"].message or application.message
        return said.strip().splitlines()[-1] if said.strip() else "give them more time (ray.start_s), or more machines"


def _imported(name: str) -> Any:
    """A module of Ray, which a tier without workers need not have."""
    try:
        return import_module(name)
    except ModuleNotFoundError as exc:
        raise ClusterUnusable(
            f"{exc.name} is not installed, which workers need; run: pip install 'isthmus[ray]'"
        ) from exc


def _first_line(exc: BaseException) -> str:
    text = str(exc).strip()
    return text.splitlines()[0] if text and not isinstance(exc, IsthmusError) else text or type(exc).__name__
