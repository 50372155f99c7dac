"""The control plane as a program: startup, serve, shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, closing
from typing import BinaryIO

from sqlalchemy.exc import DBAPIError

from cloud.control import conducting, fleet, people
from cloud.control.app import build
from cloud.control.backup import back_up, restore
from cloud.control.bell import Bell
from cloud.control.database import Database
from cloud.control.errors import DatabaseUnusable
from cloud.control.listening import Certificates, Door, bound, door
from cloud.control.people import ITSELF, Role
from cloud.control.plane import Plane
from cloud.control.settings import Settings
from cloud.control.shelf import Shelf
from cloud.control.telemetry import Telemetry
from runtime.signing import Trust, public_key
from transport.admission import Revoked
from transport.authority import Authority
from transport.enrolment import EnrolmentServer
from transport.settings import Dial

_log = logging.getLogger(__name__)


def _print(line: Mapping[str, object]) -> None:
    print(json.dumps(line), flush=True)


async def run(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    tell: Callable[[Mapping[str, object]], None] = _print,
) -> None:
    """Serve until `stop` is set, or without it until SIGINT or SIGTERM.

    Args:
        settings: all there is to set.
        stop: ends the program; where it is given, signals are left to the caller.
        tell: takes the line `{"event": "ready", "port", "enrolment"}`; printed unless told otherwise.

    Raises:
        IsthmusError: the program cannot start; one sentence for a person.
    """
    settings.listen.require_safe()
    for tier in settings.tiers.values():
        if isinstance(tier, Dial):
            tier.require_safe()
    async with AsyncExitStack() as opened:
        stop = stop or _stopped_by_signal(opened)
        database = await asyncio.to_thread(open_database, settings)
        opened.callback(database.close)
        shelf = await asyncio.to_thread(_open_shelf, settings, database)
        bell = Bell(database.revision())
        database.changed = bell.ring
        authority, enrolment = await _enrolment(settings, opened)
        tls = settings.listen.tls
        plane = Plane(
            settings, database, shelf, Telemetry(), bell, time.time, authority,
            Revoked.named_by(tls, time.monotonic), enrolment,
        )  # fmt: skip
        certificates = None if tls is None else Certificates(tls)
        socket = opened.enter_context(bound(settings.listen))
        server = door(build(plane), certificates)
        tell({"event": "ready", "port": socket.getsockname()[1], "enrolment": enrolment})
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.serve(sockets=[socket]), name="http")
            looking = tasks.create_task(_look_after(plane, certificates), name="rollouts")
            await stop.wait()
            looking.cancel()
            _close(plane, server)
        await asyncio.to_thread(plane.telemetry.write, database)


def open_database(settings: Settings) -> Database:
    """The database of these settings, up to date.

    Raises:
        DatabaseUnusable: it cannot be opened.
    """
    try:
        settings.folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DatabaseUnusable(f"folder {str(settings.folder)!r} cannot be made: {exc.strerror}; name another") from exc
    return Database(settings.database_url)


def make_admin(settings: Settings, name: str) -> str:
    """A token of an admin, made without asking anyone: who can write the database may do everything anyway.

    Raises:
        DatabaseUnusable: the database cannot be opened.
    """
    database = open_database(settings)
    try:
        with database.change() as connection:
            return people.make_token(connection, ITSELF, name, Role.ADMIN, time.time())[1]
    finally:
        database.close()


def make_backup(settings: Settings, into: BinaryIO) -> Mapping[str, int]:
    """Write all that the control plane knows, also while it runs; see `cloud.control.backup`.

    Raises:
        DatabaseUnusable: the database or the folder cannot be used.
        OSError: a bundle cannot be read, or the stream cannot be written.
    """
    with closing(open_database(settings)) as database:
        return back_up(database, _open_shelf(settings, database, sweep=False), into, time.time)


def restore_backup(settings: Settings, source: BinaryIO) -> Mapping[str, int]:
    """Read a backup into an empty control plane that does not run.

    Raises:
        DatabaseUnusable: the database or the folder cannot be used.
        BackupUnusable: see `cloud.control.backup.restore`.
    """
    with closing(open_database(settings)) as database:
        return restore(database, _open_shelf(settings, database, sweep=False), source)


def _open_shelf(settings: Settings, database: Database, *, sweep: bool = True) -> Shelf:
    trust = Trust([public_key(path) for path in settings.makers]) if settings.makers else None
    folder = settings.folder / "bundles"
    try:
        shelf = Shelf(folder, trust)
        with database.look() as connection:
            removed = shelf.sweep(fleet.known_digests(connection)) if sweep else 0
    except OSError as exc:
        raise DatabaseUnusable(f"folder {str(folder)!r} cannot be used: {exc.strerror}; name another") from exc
    if removed:
        _log.info("removed %d files of publications that were never finished", removed)
    return shelf


async def _enrolment(settings: Settings, opened: AsyncExitStack) -> tuple[Authority | None, int | None]:
    """The authority and the port where its tokens are redeemed, if there is one."""
    wanted = settings.enrolment
    if wanted is None:
        return None, None
    authority = Authority(wanted.authority)
    server = EnrolmentServer(authority, wanted.host, [wanted.reached_as], wanted.port)
    await server.start()
    opened.push_async_callback(server.stop)
    return authority, server.port


async def _look_after(plane: Plane, certificates: Certificates | None) -> None:
    """Write what devices told, and let rollouts follow from it, until cancelled."""
    while True:
        await asyncio.sleep(plane.settings.judge_s)
        try:
            await asyncio.to_thread(_look_once, plane)
        except DBAPIError as exc:
            _log.error("the database cannot be used now (%s); trying again in %g s", exc.orig, plane.settings.judge_s)
        if certificates is not None:
            certificates.look()


def _look_once(plane: Plane) -> None:
    plane.telemetry.write(plane.database)
    conducting.conduct(plane.database, plane.clock())
    plane.bell.ring(plane.database.revision())  # another control plane may share the database


def _close(plane: Plane, server: Door) -> None:
    """Accept no more, and let those go who wait for a change."""
    plane.bell.close()
    server.should_exit = True


def _stopped_by_signal(opened: AsyncExitStack) -> asyncio.Event:
    event, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, event.set)
        opened.callback(loop.remove_signal_handler, number)
    return event
