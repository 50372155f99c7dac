"""Figures of the control plane for Prometheus, read from the database when somebody asks; no device is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from cloud.control import fleet
from cloud.control.access import PEER, ThePlane, signed_in
from cloud.control.database import Database
from cloud.control.people import Role
from cloud.control.plane import Plane
from cloud.control.rollouts import Stage
from cloud.control.tables import bundles, rollouts
from transport.admission import Caller

router = APIRouter(include_in_schema=False)
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/metrics")
def metrics(request: Request, plane: ThePlane) -> Response:
    """For programs of this machine without TLS, for certificates that `readers` names, and for viewers' tokens."""
    if not _is_reader(request, plane):
        signed_in(request, plane).require(Role.VIEWER)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Now(plane.database, plane.clock, plane.settings.away_s))
    return Response(generate_latest(registry), headers={"Content-Type": _TEXT})


def _is_reader(request: Request, plane: Plane) -> bool:
    if request.url.scheme == "http":
        return True
    caller = cast("Caller | None", request.scope.get(PEER))
    if caller is None or (plane.revoked is not None and caller in plane.revoked):
        return False
    return caller.name in plane.settings.readers


class Now(Collector):
    """The fleet at the moment of the question.

    Args:
        clock: Unix seconds.
        away_s: after which a device counts as away.
    """

    def __init__(self, database: Database, clock: Callable[[], float], away_s: float) -> None:
        self._database = database
        self._clock = clock
        self._away_s = away_s

    def collect(self) -> Iterator[Metric]:
        """All figures, from one state of the database."""
        with self._database.look() as connection:
            told = fleet.summary(connection, self._clock() - self._away_s)
            stages = _stages(connection)
            published = connection.execute(select(func.count()).select_from(bundles)).scalar_one()
        devices = GaugeMetricFamily(
            "isthmus_control_devices", "Devices, by whether they were heard of.", labels=["state"]
        )
        for name in ("here", "away"):
            devices.add_metric([name], told[name])
        ended = GaugeMetricFamily("isthmus_control_rollouts", "Rollouts, by where they are.", labels=["stage"])
        for stage in Stage:
            ended.add_metric([stage.value.replace(" ", "_")], stages.get(stage.value, 0))
        yield from (devices, ended)
        refused = "Devices that have refused a bundle."
        yield GaugeMetricFamily("isthmus_control_refusing_devices", refused, told["refused"])
        yield GaugeMetricFamily("isthmus_control_bundles", "Bundles that were published.", published)


def _stages(connection: Connection) -> dict[str, int]:
    counted = select(rollouts.c.stage, func.count()).group_by(rollouts.c.stage)
    return {str(stage): int(number) for stage, number in connection.execute(counted)}
