"""Answers in a table of SQLite: exactly once, for a key is there or is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from device.errors import SinkError
from device.sinks.sink import Delivery

_COLUMNS = tuple(field.name for field in fields(Delivery))
_TYPES = {"captured_at": "REAL", "answered_at": "REAL", "confidence": "REAL"}
_INTEGERS = ("exit", "cut", "level", "label", "in_time", "late")
_TABLE = ", ".join(
    f"{name} {'INTEGER' if name in _INTEGERS else _TYPES.get(name, 'TEXT')}{' PRIMARY KEY' if name == 'key' else ''}"
    for name in _COLUMNS
)
_INSERT = f"INSERT OR IGNORE INTO answers VALUES ({', '.join(':' + name for name in _COLUMNS)})"


class SqliteTable:
    """Table `answers` of a database, with the keys of `Delivery` as columns; committed and synced when `put` returns.

    An answer whose key is there already is left out: the first one counts.

    Raises:
        SinkError: the file cannot be opened or is no database.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA cache_size = -256")
            self._database.execute(f"CREATE TABLE IF NOT EXISTS answers ({_TABLE}) STRICT")
        except (OSError, sqlite3.Error) as exc:
            raise SinkError(f"answers cannot be written to {str(path)!r}: {exc}; set another path") from exc

    def put(self, deliveries: Sequence[Delivery]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                self._database.executemany(_INSERT, [asdict(delivery) for delivery in deliveries])
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise SinkError(f"answers cannot be written to {str(self._path)!r}: {exc}; free its disk") from exc

    def close(self) -> None:
        self._database.close()
