"""A PostgreSQL of the distribution, really started, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@contextmanager
def a_postgres() -> Iterator[str]:
    """A server on a socket that only this test knows; its URL. The test is skipped where none is installed."""
    if not _FOLDERS:
        pytest.skip("PostgreSQL is not installed (apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="isthmus-pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        _run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "isthmus", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        _run("pg_ctl", "start", "-w", "-D", str(folder / "data"), "-l", str(folder / "log"), "-o", options)
        try:
            yield f"postgresql+psycopg://isthmus@/postgres?host={folder}"
        finally:
            _run("pg_ctl", "stop", "-D", str(folder / "data"), "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(program: str, *arguments: str) -> None:
    """As the user `postgres` where this is root, which PostgreSQL refuses to be."""
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    command = [*user, str(_FOLDERS[-1] / program), *arguments]
    with tempfile.TemporaryFile("w+") as output:  # no pipe: the server would keep it open
        done = subprocess.run(command, stdout=output, stderr=output, check=False, cwd="/", timeout=100)
        output.seek(0)
        assert done.returncode == 0, output.read()
