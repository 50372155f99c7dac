"""Two network namespaces joined by nothing but two TUN devices, and the removal of those whose owner died."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from testbed.packets.errors import PacketLinkError
from testbed.packets.tun import DEVICE, open_tun
from testbed.processes import started

PREFIX: Final = "isthmus"
NEAR_ADDRESS: Final = "10.77.0.1"
FAR_ADDRESS: Final = "10.77.0.2"
_INTERFACE: Final = "link0"
_NAMESPACES: Final = Path("/run/netns")
_NAME: Final = re.compile(rf"{PREFIX}-(\d+)-(\d+)-\d+-(?:near|far)")
_count = itertools.count()


def why_not() -> str:
    """Why no such pair can be made here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.path.exists(DEVICE):
        return f"this kernel has no {DEVICE}"
    if shutil.which("ip") is None:
        return "there is no ip command (iproute2)"
    return ""


class NamespacePair:
    """Namespaces `near` and `far`, which reach each other at `NEAR_ADDRESS` and `FAR_ADDRESS`.

    Leaving its context removes them; what still runs inside goes on without a network. Their names tell who made them,
    so that `clean` can remove those of a process that was killed.

    Attributes:
        near: its name, as `ip netns` lists it.
        near_tun: descriptor with the packets that leave it, and for those that are to reach it.

    Raises:
        PacketLinkError: no privilege, no TUN device, or `ip` failed.
    """

    def __init__(self, mtu_bytes: int = 1500) -> None:
        if why_not():
            raise PacketLinkError(f"a link of packets cannot be made: {why_not()}")
        clean()
        own = f"{PREFIX}-{os.getpid()}-{started(os.getpid())}-{next(_count)}"
        self.near, self.far = f"{own}-near", f"{own}-far"
        with ExitStack() as undo:
            self.near_tun = _made(self.near, NEAR_ADDRESS, mtu_bytes, undo)
            self.far_tun = _made(self.far, FAR_ADDRESS, mtu_bytes, undo)
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()


def inside(namespace: str, command: Sequence[str]) -> list[str]:
    """The command that runs a command in a namespace, in the same process."""
    return ["ip", "netns", "exec", namespace, *command]


def clean() -> list[str]:
    """Remove the pairs whose process has ended without doing so; their names."""
    removed = []
    for path in _NAMESPACES.glob(f"{PREFIX}-*"):
        found = _NAME.fullmatch(path.name)
        if found is not None and started(int(found[1])) != int(found[2]):
            subprocess.run(["ip", "netns", "delete", path.name], capture_output=True, check=False)
            removed.append(path.name)
    return removed


def _made(namespace: str, address: str, mtu_bytes: int, undo: ExitStack) -> int:
    """A namespace with a TUN device that is up; its descriptor."""
    _ip("netns", "add", namespace)
    undo.callback(_ip, "netns", "delete", namespace)
    passing = f"is{secrets.token_hex(5)}"  # for the moment in which it lies in our own namespace
    try:
        descriptor = open_tun(passing)
    except OSError as exc:
        raise PacketLinkError(f"a link of packets cannot be made: {DEVICE}: {exc.strerror}") from exc
    undo.callback(os.close, descriptor)
    _ip("link", "set", "dev", passing, "netns", namespace, "name", _INTERFACE)
    _ip("-n", namespace, "-batch", "-", given=(
        f"link set dev {_INTERFACE} addrgenmode none mtu {mtu_bytes}\n"
        f"addr add {address}/24 dev {_INTERFACE}\n"
        f"link set dev lo up\nlink set dev {_INTERFACE} up\n"
    ))  # fmt: skip
    return descriptor


def _ip(*arguments: str, given: str = "") -> None:
    done = subprocess.run(["ip", *arguments], input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        told = done.stderr.strip() or f"exit code {done.returncode}"
        raise PacketLinkError(f"ip {' '.join(arguments)} failed: {told}; namespaces need root and CAP_NET_ADMIN")
