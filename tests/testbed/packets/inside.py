"""Sockets in a network namespace, and a link of packets for tests that may make one."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testbed import toml
from testbed.packets.namespaces import why_not
from testbed.processes import Child, Children

_CLONE_NEWNET = 0x40000000

needs_root = pytest.mark.skipif(bool(why_not()), reason=f"no link of packets here: {why_not()}")


def socket_in(namespace: str, kind: socket.SocketKind) -> socket.socket:
    """A socket that stays in the namespace, whoever uses it; made in a thread that has entered it."""
    made: list[socket.socket] = []

    def make() -> None:
        descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)
        made.append(socket.socket(socket.AF_INET, kind))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


@contextmanager
def packet_link(folder: Path, **settings: object) -> Iterator[Child]:
    """The program, ready; `settings` are those of `testbed.packets.settings`."""
    config = folder / "packets.toml"
    config.write_text(toml.dumps(settings))
    with Children(folder) as children:
        yield children.start("packets", [sys.executable, "-m", "testbed.packets", str(config)])
