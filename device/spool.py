"""Frames that may be late, on disk: what has been kept stays kept through kill -9 and loss of power.

One SQLite file with a write-ahead log and `synchronous=FULL`: when `keep` returns, the frame is on disk. Rule on full:
frames that were promised to nobody make room, those of least value first and of these the oldest; what was promised
(acknowledged to a sender) is never thrown out for a newcomer, who is refused instead. Whatever is older than the age
limit goes, promised or not.
"""

from __future__ import annotations

import io
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from device.errors import SpoolError, SpoolFull
from device.sole import hold

_SCHEMA = """
CREATE TABLE IF NOT EXISTS frames (
    key TEXT PRIMARY KEY, name TEXT NOT NULL, captured_at REAL NOT NULL, kept_at REAL NOT NULL, value REAL NOT NULL,
    promised INTEGER NOT NULL, attempts INTEGER NOT NULL, bytes INTEGER NOT NULL, content BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS by_worth ON frames (value DESC, attempts, kept_at);
"""
_WORST_FIRST = "SELECT key, bytes FROM frames WHERE promised = 0 AND value <= ? ORDER BY value, kept_at"
ROW_BYTES = 256
"""What a row costs besides its content, on the safe side."""
BUSY_S = 5.0
CACHE_KIB = 512
"""Of pages in memory; frames are read once."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """What may lie on disk."""

    max_bytes: int = 256 << 20
    max_age_s: float = 86_400.0


@dataclass(frozen=True, slots=True)
class Kept:
    """One frame of the spool."""

    key: str
    name: str
    captured_at: float
    """Unix seconds."""
    content: NDArray[Any]
    value: float
    attempts: int


class Spool:
    """A store of frames, ordered by value. Safe to share between threads; every method blocks on the disk.

    Ages do not follow the wall clock: it is read once, when the spool is opened, and never taken to be earlier than the
    newest frame. A clock that jumps while the program runs neither throws a frame out nor keeps one for ever.

    Args:
        path: the file, made if absent. One that is damaged is moved aside, with a log line, and begun anew.
        limits: bytes and age.
        clock: monotonic seconds.
        wall: Unix seconds.

    Raises:
        SpoolError: the file cannot be made or opened here, or another agent has it.
    """

    def __init__(
        self, path: Path, limits: SpoolLimits, *, clock: Callable[[], float], wall: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._limits = limits
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        """How many frames were kept, answered, refused, thrown out and outlived since the start."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._release = weakref.finalize(self, os.close, lock)
            hold(lock)  # not the database itself: SQLite's own locks would go with a descriptor of it
            self._database = self._opened()
            totals = "SELECT coalesce(max(kept_at), 0), coalesce(sum(bytes), 0), count(*) FROM frames"
            found: tuple[float, int, int] = self._database.execute(totals).fetchone()
        except (OSError, sqlite3.Error) as exc:
            raise SpoolError(f"the spool {str(path)!r} cannot be used: {exc}; set another spool.path") from exc
        newest, self._bytes, self._frames = found
        self._start = max(wall(), newest) - clock()

    def __len__(self) -> int:
        return self._frames

    @property
    def bytes(self) -> int:
        """Of all frames."""
        return self._bytes

    def keep(self, key: str, name: str, content: NDArray[Any], *, value: float = 1.0, promised: bool = True) -> None:
        """Put a frame on disk; it is there when this returns. One whose key is there already stays as it is.

        Args:
            key: stable name, at most one frame each.
            name: what the source calls it.
            content: without a batch axis.
            value: frames of more value are answered first and thrown out last.
            promised: whether somebody is told that the frame is safe.

        Raises:
            SpoolFull: nothing of less value can make room.
            SpoolError: the disk does not take it.
        """
        data = _packed(content)
        size = len(data) + ROW_BYTES
        with self._transaction() as run:
            if run("SELECT 1 FROM frames WHERE key = ?", key).fetchone():
                return
            self._drop_outlived(run)
            self._make_room(run, size, value)
            now = self._now()
            row = (key, name, self._wall(), now, value, int(promised), 0, size, data)
            run("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)
            self._count(1, size, "kept")

    def best(self, without: Collection[str] = ()) -> Kept | None:
        """The frame to answer next: of most value, of these the least often tried, of these the oldest.

        Args:
            without: keys of frames that are being answered.

        Raises:
            SpoolError: the disk cannot be read.
        """
        marks = ",".join("?" * len(without))
        query = f"SELECT key, name, captured_at, content, value, attempts FROM frames WHERE key NOT IN ({marks})"
        with self._transaction() as run:
            self._drop_outlived(run)
            row = run(f"{query} ORDER BY value DESC, attempts, kept_at LIMIT 1", *without).fetchone()
        if row is None:
            return None
        key, name, captured_at, data, value, attempts = row
        return Kept(key, name, captured_at, _unpacked(data), value, attempts)

    def holds(self, key: str) -> bool:
        """Whether a frame of this key lies here."""
        with self._transaction() as run:
            return run("SELECT 1 FROM frames WHERE key = ?", key).fetchone() is not None

    def remove(self, keys: Collection[str], why: str = "answered") -> None:
        """Forget frames, which may be here or not; on disk when this returns.

        Raises:
            SpoolError: the disk does not take it: they stay and will be answered again.
        """
        with self._transaction() as run:
            self._delete(run, keys, why)

    def failed(self, key: str) -> None:
        """A frame got no answer: others of its value go first next time.

        Raises:
            SpoolError: the disk does not take it.
        """
        with self._transaction() as run:
            run("UPDATE frames SET attempts = attempts + 1 WHERE key = ?", key)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()
            self._release()

    def _now(self) -> float:
        return self._start + self._clock()

    def _opened(self) -> sqlite3.Connection:
        database = self._connected()
        try:
            if database.execute("PRAGMA quick_check").fetchone() == ("ok",):
                database.executescript(_SCHEMA)
                return database
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as exc:
            _log.error("the spool %s: %s", self._path, exc)
        database.close()
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns()}")
        self._path.replace(aside)
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        _log.error("the spool %s is damaged and was moved to %s; an empty one takes its place", self._path, aside)
        database = self._connected()
        database.executescript(_SCHEMA)
        return database

    def _connected(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except sqlite3.OperationalError:
            database.close()
            raise
        except sqlite3.DatabaseError:
            pass  # not a database at all: quick_check says so again, and there it is dealt with
        return database

    @contextmanager
    def _transaction(self) -> Iterator[Callable[..., sqlite3.Cursor]]:
        """All or nothing, and the totals with it."""
        with self._lock:
            before = self._bytes, self._frames, Counter(self.counts)
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield lambda statement, *values: self._database.execute(statement, values)
                self._database.execute("COMMIT")
            except BaseException as exc:
                self._bytes, self._frames, self.counts = before
                if self._in_transaction():
                    self._database.execute("ROLLBACK")
                if isinstance(exc, sqlite3.Error):
                    raise SpoolError(f"the spool {str(self._path)!r} failed: {exc}; free its disk") from exc
                raise

    def _in_transaction(self) -> bool:
        try:
            return self._database.in_transaction
        except sqlite3.ProgrammingError:  # closed meanwhile
            return False

    def _make_room(self, run: Callable[..., sqlite3.Cursor], size: int, value: float) -> None:
        excess = self._bytes + size - self._limits.max_bytes
        victims = []
        if excess > 0:
            for key, freed in run(_WORST_FIRST, value):
                victims.append(key)
                excess -= freed
                if excess <= 0:
                    break
        if excess > 0:
            raise SpoolFull(
                f"the spool {str(self._path)!r} is full: {self._frames} frames, {self._bytes} of "
                f"{self._limits.max_bytes} bytes; raise spool.max_bytes, or wait until a tier is reachable"
            )
        self._delete(run, victims, "thrown out")

    def _drop_outlived(self, run: Callable[..., sqlite3.Cursor]) -> None:
        oldest = self._now() - self._limits.max_age_s
        keys = [key for (key,) in run("SELECT key FROM frames WHERE kept_at < ?", oldest)]
        self._delete(run, keys, "outlived")

    def _delete(self, run: Callable[..., sqlite3.Cursor], keys: Collection[str], why: str) -> None:
        for key in keys:
            for (size,) in run("DELETE FROM frames WHERE key = ? RETURNING bytes", key).fetchall():
                self._count(-1, -size, why)

    def _count(self, frames: int, size: int, why: str) -> None:
        self._frames += frames
        self._bytes += size
        self.counts[why] += 1


def _packed(content: NDArray[Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, content, allow_pickle=False)
    return zstandard.ZstdCompressor(level=1).compress(out.getvalue())


def _unpacked(data: bytes) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(zstandard.ZstdDecompressor().decompress(data)), allow_pickle=False)
    return array
