"""What devices tell every few seconds, gathered here and written together.

Thousands of devices report; a transaction of its own for each would keep the disk busy with what the next report says
again. So this is the one thing that a kill may lose: the figures of the last moment, which devices tell once more, for
they tell totals.
"""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

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
                for device, (report, now_s) in taken.items():
                    _write(connection, device, report, now_s)
            written = True
            self.written += 1
        finally:
            if not written:
                with self._lock:
                    self._waiting = taken | self._waiting
        return len(taken)


def _write(connection: Connection, device: str, report: Report, now_s: float) -> None:
    told = {"seen_at": now_s, "digest": report.digest, "status": dict(report.status)}
    _put(connection, statuses, {"device": device}, told)
    for digest, counted in report.counts.items():
        values = {
            "model_id": report.model_id,
            "counts": counted.model_dump(exclude={"latency"}),
            "latency": {str(bucket): count for bucket, count in counted.latency.items()},
        }
        _put(connection, counts, {"device": device, "digest": digest, "run": report.run}, values)
    for digest, reason in report.refusals.items():
        _put(connection, refusals, {"device": device, "digest": digest}, {"reason": reason, "at": now_s})


def _put(connection: Connection, table: Table, key: dict[str, str], values: dict[str, Any]) -> None:
    """Change the row, or add it."""
    where = [table.c[name] == value for name, value in key.items()]
    if connection.execute(select(*table.primary_key).where(*where)).first() is None:
        connection.execute(insert(table).values(**key, **values))
    else:
        connection.execute(update(table).where(*where).values(**values))
