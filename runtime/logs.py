"""Log lines as JSON objects, for those who collect them, with the trace of the frame that they are about."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

_TRACE_ID_BYTES = 16


class JsonLines(logging.Formatter):
    """One object a line: time (UTC, RFC 3339), level, logger, message; `trace` and `error` where the line has them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        trace = getattr(record, "trace", "")
        if trace:
            told["trace"] = trace
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told)


def use_json_lines() -> None:
    """Give the root logger's handlers this form; for a program's entry."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines())


def traced(trace: bytes) -> dict[str, str]:
    """For `extra=` of a log call: a frame's W3C trace id in hexadecimal, "" where it has none."""
    return {"trace": trace[:_TRACE_ID_BYTES].hex()}
