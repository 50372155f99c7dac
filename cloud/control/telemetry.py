"""What devices tell every few seconds, gathered here and written together.

Thousands of devices report; a transaction of its own for each would keep the disk busy with what the next report says
again. So this is the one thing that a kill may lose: the figures of the last moment, which devices tell once more, for
they tell totals.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Executable, Table
from sqlalchemy.dialects import postgresql, sqlite

from cloud.control.database import Database
from cloud.control.messages import Report
from cloud.control.tables import counts, refusals, statuses


class Telemetry:
    """Takes reports from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Report, float]] = {}
        self.written = 0
        """How often something was written."""

    def add(self, device: str, report: Report, now_s: float) -> None:
        """Take note; the newest report of a device replaces one that has not been written yet."""
        with self._lock:
            self._waiting[device] = (report, now_s)

    def write(self, database: Database) -> int:
        """Write what has come; returns how many reports that were. If it fails they are kept for the next time.

        Raises:
            sqlalchemy.exc.DBAPIError: the database cannot be written now.
        """
        with self._lock:
            taken, self._waiting = self._waiting, {}
        if not taken:
            return 0
        written = False
        try:
            with database.telemetry() as connection:
                _write(connection, taken)
            written = True
            self.written += 1
        finally:
            if not written:
                with self._lock:
                    self._waiting = taken | self._waiting
        return len(taken)


def _write(connection: Connection, taken: Mapping[str, tuple[Report, float]]) -> None:
    """All at once: for thousands of devices, a statement for each row takes longer than they leave time for."""
    told: dict[Table, list[dict[str, Any]]] = {statuses: [], counts: [], refusals: []}
    for device, (report, now_s) in taken.items():
        told[statuses].append(
            {"device": device, "seen_at": now_s, "digest": report.digest, "status": dict(report.status)}
        )
        for digest, counted in report.counts.items():
            told[counts].append(
                {
                    "device": device,
                    "digest": digest,
                    "run": report.run,
                    "model_id": report.model_id,
                    "counts": counted.model_dump(exclude={"latency"}),
                    "latency": {str(bucket): count for bucket, count in counted.latency.items()},
                }
            )
        for digest, reason in report.refusals.items():
            told[refusals].append({"device": device, "digest": digest, "reason": reason, "at": now_s})
    for table, rows in told.items():
        if rows:
            connection.execute(_put(connection, table), rows)


def _put(connection: Connection, table: Table) -> Executable:
    """Add a row, or change the one of the same key; both databases know this, each in a dialect of its own."""
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    wanted = dialect.insert(table)
    key = {column.name for column in table.primary_key}
    changed = {column.name: wanted.excluded[column.name] for column in table.columns if column.name not in key}
    made: Executable = wanted.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed)
    return made
