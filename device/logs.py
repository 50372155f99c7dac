"""The form and the level of this program's log."""

from __future__ import annotations

import logging
from typing import Literal

from runtime.logs import use_json_lines


def set_logs(form: Literal["text", "json"], level: str) -> None:
    """Give the root logger's handlers this form and level; for a program's entry."""
    logging.getLogger().setLevel(level.upper())
    if form == "json":
        use_json_lines()
