"""Plain values as TOML, for the configuration files of the programs that the testbed starts. Python only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path


def dumps(table: Mapping[str, object]) -> str:
    """One `key = value` line for each entry that is not None; tables below are written inline."""
    return "".join(f"{key} = {_value(value)}\n" for key, value in table.items() if value is not None)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{inner}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"{value!r} has no place in TOML")
