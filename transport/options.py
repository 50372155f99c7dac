"""gRPC settings of both ends, kept together because they only work in agreement.

Keepalive is lenient on purpose: a radio link that is silent for half a minute may come back, and a broken stream costs
every frame in flight. The same two numbers also bound how long a vanished peer keeps its stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.limits import MAX_MESSAGE_BYTES

STREAM_METHOD: Final = "/isthmus.v1.Frames/Stream"
SERVICE: Final = "isthmus.v1.Frames"

KEEPALIVE_TIME_MS: Final = 30_000
KEEPALIVE_TIMEOUT_MS: Final = 60_000
_WINDOW_BYTES: Final = 256 * 1024
"""HTTP/2 flow control window of a stream: what may be on the way unread. Fixed, as the bandwidth probe is off; small,
so that a link that has died holds little that is stale when it comes back."""

Options = list[tuple[str, int | str]]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How long connections may live at a tier, and how many streams there may be."""

    idle_ms: int = 300_000
    """A connection without any stream is closed after this."""
    age_ms: int = 3_600_000
    """A connection is asked to end after this; its streams then end politely, and callers come back."""
    age_grace_ms: int = 30_000
    """A connection that has not ended this long after being asked is cut."""
    streams_per_connection: int = 16
    streams: int = 1024
    """All calls together; more are refused."""


def server_options(limits: ConnectionLimits) -> Options:
    """Options of a tier's server."""
    return [
        *_both(),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", limits.streams_per_connection),
        ("grpc.max_connection_idle_ms", limits.idle_ms),
        ("grpc.max_connection_age_ms", limits.age_ms),
        ("grpc.max_connection_age_grace_ms", limits.age_grace_ms),
        ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIME_MS // 2),
    ]


def channel_options(server_name: str | None) -> Options:
    """Options of a caller's channel: one connection of its own, no proxy, no retries but ours."""
    options: Options = [
        *_both(),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),
    ]
    if server_name is not None:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options


def _both() -> Options:
    return [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    ]
