"""Opens the doors that a tier's settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from runtime.bundle import Bundle
from serving.oip.catalog import Catalog
from serving.oip.grpc_door import GrpcDoor
from serving.oip.rest import RestDoor
from serving.oip.service import Admitted, InferenceService
from serving.oip.settings import OipSettings
from serving.oip.statistics import Statistics
from transport.admission import Admission, Revoked
from transport.settings import Listen, Quotas
from transport.stream import Handler


class OpenInference:
    """A tier's Open Inference Protocol: a door for each way in, over one catalogue.

    Args:
        settings: `[oip]`.
        bundles: what the tier serves.
        handler: the tier.
        statistics: what the tier tells of the frames that ended.
        quotas: of callers with certificates.
        clock: the tier's.
    """

    def __init__(
        self,
        settings: OipSettings,
        bundles: Iterable[Bundle],
        handler: Handler,
        statistics: Statistics,
        quotas: Quotas,
        clock: Callable[[], float],
    ) -> None:
        settings.require_safe()
        catalog = Catalog(bundles)

        def service(listen: Listen) -> InferenceService:
            revoked = Revoked.named_by(listen.tls, clock)
            admitted = Admitted(Admission(quotas, revoked, clock), revoked)
            return InferenceService(
                catalog, handler, statistics, admitted, clock, timeout_s=settings.timeout_s, items=settings.items
            )

        self._rest = self._grpc = None
        if settings.rest is not None:
            self._rest = RestDoor(service(settings.rest), settings.rest, requests=settings.requests)
        if settings.grpc is not None:
            self._grpc = GrpcDoor(service(settings.grpc), settings.grpc, requests=settings.requests)

    @property
    def ports(self) -> dict[str, int]:
        """The port of each door that is open, by its name."""
        return {name: door.port for name, door in (("rest", self._rest), ("grpc", self._grpc)) if door is not None}

    async def start(self) -> None:
        """Open every door.

        Raises:
            OipUnusable: an address cannot be bound; no door is open then.
            CertificateUnusable: a TLS file cannot be read.
        """
        try:
            for door in self._doors():
                await door.start()
        except BaseException:
            await self.stop()
            raise

    async def drain(self, timeout_s: float) -> int:
        """Take no more requests, answer those that are here, close; how many were cut."""
        return sum(await asyncio.gather(*(door.drain(timeout_s) for door in self._doors())))

    async def stop(self) -> None:
        """Close every door, and every connection."""
        await asyncio.gather(*(door.stop() for door in self._doors()))

    def _doors(self) -> list[RestDoor | GrpcDoor]:
        return [door for door in (self._rest, self._grpc) if door is not None]
