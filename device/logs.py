"""Logs as JSON lines, for those who collect them."""

from __future__ import annotations

import json
import logging
from typing import Literal


class JsonFormatter(logging.Formatter):
    """One object for each record: `at` (Unix seconds), `level`, `logger`, `message`, and `trace` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": round(record.created, 6), "level": record.levelname.lower(), "logger": record.name,
            "message": record.getMessage(),
        }  # fmt: skip
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_logs(form: Literal["text", "json"], level: str) -> None:
    """Give the root logger's handlers this form and level; for a program's entry."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    if form == "json":
        for handler in root.handlers:
            handler.setFormatter(JsonFormatter())
