"""The database: opened, brought up to date by Alembic, and changed in one transaction at a time.

What a change has acknowledged is on disk: SQLite runs with a write-ahead log and `synchronous=FULL`, PostgreSQL with
its own `synchronous_commit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from cloud.control.errors import DatabaseUnusable
from cloud.control.tables import state

_BUSY_MS: Final = 20_000
_READING: Final = "isthmus_reading"


class Database:
    """Safe to share between threads.

    Args:
        url: `sqlite:///PATH` or `postgresql+psycopg://...`.
        changed: called after each change, from the thread that made it, with the number of changes so far.

    Raises:
        DatabaseUnusable: it cannot be opened or migrated.
    """

    def __init__(self, url: str, changed: Callable[[int], None] = lambda _: None) -> None:
        self.changed = changed
        try:
            self._engine = create_engine(url, pool_size=8, max_overflow=40)
            if self._engine.dialect.name == "sqlite":
                _as_sqlite_should_be(self._engine)
            self._migrate()
        except (ArgumentError, NoSuchModuleError, ImportError) as exc:
            raise DatabaseUnusable(
                f"{url!r} names no database that can be used ({exc}); write postgresql+psycopg://USER@HOST/NAME, and "
                "install isthmus[postgres]"
            ) from exc
        except DBAPIError as exc:
            raise DatabaseUnusable(
                f"the database cannot be opened: {exc.orig}; check that it runs, and its URL"
            ) from exc
        except CommandError as exc:
            raise DatabaseUnusable(f"the database is of another release ({exc}); update isthmus") from exc

    @contextmanager
    def change(self) -> Iterator[Connection]:
        """One change: all of it is on disk when this returns, or none of it. Changes come one after the other."""
        with self._engine.begin() as connection:
            again = update(state).values(revision=state.c.revision + 1).returning(state.c.revision)
            revision: int = connection.execute(again).scalar_one()
            yield connection
        self.changed(revision)

    @contextmanager
    def telemetry(self) -> Iterator[Connection]:
        """A transaction for what devices tell; nobody is woken by it."""
        with self._engine.begin() as connection:
            yield connection

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """Read one consistent state."""
        with self._engine.connect().execution_options(**{_READING: True}) as connection:
            yield connection

    def revision(self) -> int:
        """How many changes there have been."""
        with self.look() as connection:
            return int(connection.execute(select(state.c.revision)).scalar_one())

    def close(self) -> None:
        """Let all connections go."""
        self._engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _as_sqlite_should_be(engine: Engine) -> None:
    """Transactions as they are asked for: writers wait for each other at the beginning, never in the middle."""

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={_BUSY_MS}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reading = connection.get_execution_options().get(_READING, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")
