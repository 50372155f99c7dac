"""Which transport leads to a tier."""

from __future__ import annotations

from collections.abc import Callable

from transport.errors import ExtraMissing
from transport.grpc_stream import GrpcConnector
from transport.seam import Connector
from transport.settings import Dial


def connector_for(dial: Dial, caller: str, clock: Callable[[], float]) -> Connector:
    """What opens streams to the tier that `dial` names, for a caller of this name.

    Raises:
        CertificateUnusable: a TLS file cannot be read.
        NameUnusable: the name cannot stand in a broker's topics.
        ExtraMissing: datagrams are asked for and their library is not installed.
    """
    if dial.datagrams:
        return _datagrams(dial)
    if dial.group is None:
        return GrpcConnector(dial)
    from transport.mqtt_stream import MqttConnector  # only who uses a broker pays for its client

    return MqttConnector(dial, caller, clock)


def _datagrams(dial: Dial) -> Connector:
    try:
        from transport.datagram_stream import DatagramConnector
    except ModuleNotFoundError as exc:
        raise ExtraMissing(str(exc.name), "quic") from exc
    return DatagramConnector(dial)
