"""All that a control plane knows, as one stream: for a copy elsewhere, and for a move to another database.

The stream is a plain tar: `backup.json` (what it is and how many rows each table has), `bundles/DIGEST.zip`, and at the
end `tables/NAME.jsonl`, a JSON object for each row. It can be read by anyone, through a pipe, from SQLite or PostgreSQL
into either of them.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final

from alembic.migration import MigrationContext
from sqlalchemy import Connection, delete, func, insert, select, text

from cloud.control import fleet
from cloud.control.database import Database
from cloud.control.errors import BackupUnusable
from cloud.control.shelf import Shelf
from cloud.control.tables import audit, metadata, state
from runtime.errors import BundleError

HEADER: Final = "backup.json"
VERSION: Final = 1
_BATCH: Final = 1000
_BUNDLE: Final = re.compile(r"bundles/([0-9a-f]{64})\.zip")


def back_up(database: Database, shelf: Shelf, into: BinaryIO, clock: Callable[[], float]) -> dict[str, int]:
    """Write everything, while the program runs or not; the rows are those of one moment.

    Bundles are read after the rows, and a bundle that a row names is never removed, so none of them is missing.

    Args:
        into: written from the beginning to the end, so it may be a pipe.
        clock: Unix seconds.

    Returns:
        How many rows of each table there are.

    Raises:
        OSError: a bundle cannot be read, or the stream cannot be written.
    """
    with database.look() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        revision = MigrationContext.configure(connection).get_current_revision()
        rows = {table.name: [dict(row._mapping) for row in connection.execute(select(table))] for table in _tables()}
        digests = fleet.known_digests(connection)
    counted, at_s = {name: len(found) for name, found in rows.items()}, clock()
    header = {"version": VERSION, "schema": revision, "at": at_s, "rows": counted}
    with tarfile.open(fileobj=into, mode="w|") as archive:
        _add(archive, HEADER, json.dumps(header).encode(), at_s)
        for digest in sorted(digests):
            archive.add(shelf.path(digest), f"bundles/{digest}.zip", recursive=False)
        for name, found in rows.items():
            _add(archive, f"tables/{name}.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in found), at_s)
    return counted


def restore(database: Database, shelf: Shelf, source: BinaryIO) -> dict[str, int]:
    """Read everything into a control plane that has nothing yet; its program must not run.

    Every bundle is verified before it lies on the shelf. The rows come last and all at once: after a failure there are
    none of them, and doing it again is enough.

    Returns:
        How many rows of each table there are.

    Raises:
        BackupUnusable: the stream is no whole backup, is of another release, or there is something here already.
    """
    with database.look() as connection:
        _require_nothing(connection)
        schema = MigrationContext.configure(connection).get_current_revision()
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            members = iter(_files(archive))
            header = _header(next(members, ("", b"")), schema)
            rows: dict[str, list[dict[str, Any]]] = {}
            for name, content in members:
                if isinstance(content, bytes):
                    rows[name.removeprefix("tables/").removesuffix(".jsonl")] = _rows(content)
                else:
                    _take(shelf, name, content)
    except (tarfile.TarError, EOFError, ValueError) as exc:
        raise BackupUnusable(f"this is no whole backup: {exc}; nothing has been restored") from exc
    counted = {name: len(found) for name, found in rows.items()}
    if counted != header["rows"]:
        raise BackupUnusable(f"this backup ends early: {counted} of {header['rows']} rows; nothing has been restored")
    with database.telemetry() as connection:
        _require_nothing(connection)
        _fill(connection, rows)
    return counted


def _tables() -> Sequence[Any]:
    """All tables; one that refers to another comes after it."""
    return metadata.sorted_tables


def _add(archive: tarfile.TarFile, name: str, content: bytes, at_s: float) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), int(at_s), 0o600
    archive.addfile(member, io.BytesIO(content))


def _files(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes | Any]]:
    """Name and content of each member in order: bundles as files to read from, all else as bytes.

    Raises:
        ValueError: a member that no backup has.
    """
    known = {HEADER, *(f"tables/{table.name}.jsonl" for table in _tables())}
    for member in archive:
        content = archive.extractfile(member)
        if content is None or not (member.name in known or _BUNDLE.fullmatch(member.name)):
            raise ValueError(f"{member.name!r} is nothing that a backup holds")
        yield member.name, content.read() if member.name in known else content


def _header(first: tuple[str, Any], schema: str | None) -> dict[str, Any]:
    name, content = first
    if name != HEADER:
        raise ValueError(f"it does not begin with {HEADER}")
    found: dict[str, Any] = json.loads(content)
    if found.get("version") != VERSION or found.get("schema") != schema:
        raise BackupUnusable(
            f"this backup is of another release (schema {found.get('schema')!r}, here {schema!r}); restore it with the "
            "release that made it, then update"
        )
    return found


def _rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def _take(shelf: Shelf, name: str, content: Any) -> None:
    """Put a bundle on the shelf, if it is what its name says."""
    incoming = shelf.incoming()
    try:
        with incoming.open("xb") as file:
            shutil.copyfileobj(content, file)
        shelved = shelf.take(incoming)
    except BundleError as exc:
        raise BackupUnusable(f"{name} is not usable: {exc}; nothing has been restored") from exc
    finally:
        incoming.unlink(missing_ok=True)
    if name != f"bundles/{shelved.digest}.zip":
        raise ValueError(f"{name} is bundle {shelved.digest}")


def _require_nothing(connection: Connection) -> None:
    for table in _tables():
        if table is not state and connection.execute(select(func.count()).select_from(table)).scalar_one():
            raise BackupUnusable(
                f"there is something here already (table {table.name}); restore into a new folder, or an empty database"
            )


def _fill(connection: Connection, rows: dict[str, list[dict[str, Any]]]) -> None:
    connection.execute(delete(state))
    for table in _tables():
        found = rows.get(table.name, [])
        for start in range(0, len(found), _BATCH):
            connection.execute(insert(table), found[start : start + _BATCH])
    if (
        connection.dialect.name == "postgresql"
    ):  # its numbers are drawn from a sequence that knows nothing of these rows
        last = connection.execute(select(func.coalesce(func.max(audit.c.id), 0))).scalar_one()
        connection.execute(
            text("SELECT setval(pg_get_serial_sequence('audit', 'id'), :last, true)"), {"last": max(last, 1)}
        )
