"""What the device's span tells of a frame that is followed over all tiers."""

from __future__ import annotations

from functools import partial

from device.endings import Outcome
from device.frames import OpenFrame
from device.history import FrameRecord
from runtime.bundle import Bundle
from transport.tracing import Facts


def end_span(_bundle: Bundle, frame: OpenFrame, record: FrameRecord, _outcome: Outcome) -> None:
    """A frame has ended: tell what came of it."""
    frame.span.end(partial(_facts, frame, record))


def _facts(frame: OpenFrame, record: FrameRecord) -> Facts:
    facts: dict[str, str | int | float | bool] = {
        "frame": record.frame,
        "key": frame.key,
        "outcome": str(record.ended),
        "in_time": record.in_time,
        "message_bytes": record.message_bytes,
        "device_s": record.device_s,
        "tier_s": record.tier_s,
        "network_s": record.network_s,
    }
    optional = {"answered_by": record.by, "route": record.route, "cut": record.cut, "level": record.level}
    return facts | {name: value for name, value in optional.items() if value is not None}
