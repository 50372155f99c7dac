"""The topics of frames over an MQTT broker, and who may use which. See docs/wire.md.

A *group* is a tier as callers see it; its *workers* are the programs that answer. Names come from peers and
certificates, so none may hold what MQTT gives a meaning to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError

PREFIX: Final = "isthmus/v1"
NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}"
_NAME: Final = re.compile(NAME)

Kind = Literal[
    "frames",
    "notes",
    "to",
    "results",
    "callers",
    "workers",
    "capabilities",
    "plans",
    "telemetry",
    "commands",
    "replies",
]
_DEPTH: Final[dict[str, int]] = {
    "frames": 1, "notes": 1, "to": 2, "results": 1, "callers": 1, "workers": 1,
    "capabilities": 1, "plans": 1, "telemetry": 1, "commands": 2, "replies": 2,
}  # fmt: skip


class Parsed(NamedTuple):
    """A topic taken apart; `worker` (or the controller) is empty but for topics of one, `caller` for those of none."""

    kind: Kind
    caller: str
    worker: str


class Topics:
    """The topics of one group.

    Raises:
        LocalProtocolError: the name is none that a topic may hold.
    """

    def __init__(self, group: str) -> None:
        self.group = checked(group)
        self._root = f"{PREFIX}/{group}"

    def frames(self, caller: str) -> str:
        """Frames and probes up, for whichever worker takes them."""
        return f"{self._root}/frames/{checked(caller)}"

    def shared_frames(self) -> str:
        """What all workers subscribe to together, so that each frame reaches one of them."""
        return f"$share/{self.group}/{self._root}/frames/+"

    def notes(self, caller: str) -> str:
        """Up, for every worker: cancellations, as the caller does not know who has the frame."""
        return f"{self._root}/notes/{checked(caller)}"

    def to(self, worker: str, caller: str) -> str:
        """Up, for one worker: frames in chunks."""
        return f"{self._root}/to/{checked(worker)}/{checked(caller)}"

    def results(self, caller: str) -> str:
        """Down."""
        return f"{self._root}/results/{checked(caller)}"

    def callers(self, caller: str) -> str:
        """Retained: the caller's hello while it is connected, then nothing."""
        return f"{self._root}/callers/{checked(caller)}"

    def workers(self, worker: str) -> str:
        """Retained: the worker's welcome while it is connected; a refusal after it has died, nothing after it left."""
        return f"{self._root}/workers/{checked(worker)}"

    def capabilities(self, caller: str) -> str:
        """Retained: what the caller can do, while it is connected."""
        return f"{self._root}/capabilities/{checked(caller)}"

    def plans(self, caller: str) -> str:
        """Retained: the plan that the caller is to follow."""
        return f"{self._root}/plans/{checked(caller)}"

    def telemetry(self, caller: str) -> str:
        """Up, for every controller that listens."""
        return f"{self._root}/telemetry/{checked(caller)}"

    def commands(self, controller: str, caller: str) -> str:
        """Down; the broker's rules make sure that the controller is the one named."""
        return f"{self._root}/commands/{checked(controller)}/{checked(caller)}"

    def replies(self, controller: str, caller: str) -> str:
        """Up, to the controller that commanded."""
        return f"{self._root}/replies/{checked(controller)}/{checked(caller)}"

    def for_caller(self, caller: str) -> tuple[str, ...]:
        """Where a caller hears what it is to do."""
        return (self.plans(caller), f"{self._root}/commands/+/{checked(caller)}")

    def for_controller(self, controller: str) -> tuple[str, ...]:
        """Where a controller hears of its callers."""
        replies = f"{self._root}/replies/{checked(controller)}/+"
        return (f"{self._root}/capabilities/+", f"{self._root}/telemetry/+", replies)

    def of_worker(self, worker: str) -> tuple[str, ...]:
        """What a worker subscribes to."""
        own = f"{self._root}/to/{checked(worker)}/+"
        return (self.shared_frames(), f"{self._root}/notes/+", own, f"{self._root}/callers/+")

    def of_caller(self, caller: str) -> tuple[str, ...]:
        """What a caller subscribes to."""
        return (self.results(caller), f"{self._root}/workers/+")

    def parse(self, topic: str) -> Parsed:
        """Take a topic apart.

        Raises:
            RemoteProtocolError: none of this group.
        """
        root, *rest = topic.removeprefix(self._root).split("/")
        if root or not topic.startswith(self._root) or not rest or _DEPTH.get(rest[0]) != len(rest) - 1:
            raise RemoteProtocolError(Code.MALFORMED, "the message came on a topic that is none of ours")
        kind, *names = rest
        if not all(_NAME.fullmatch(name) for name in names):
            raise RemoteProtocolError(Code.MALFORMED, "the message's topic names nobody")
        found: Kind = kind  # type: ignore[assignment]
        if found == "workers":
            return Parsed(found, "", names[0])
        return Parsed(found, names[-1], names[0] if len(names) == 2 else "")


def rules_of_caller(group: str, caller: str) -> Iterator[tuple[Literal["read", "write"], str]]:
    """What a caller may do at the broker, and nothing else: write as itself, read its own answers."""
    topics = Topics(group)
    yield "write", topics.frames(caller)
    yield "write", topics.notes(caller)
    yield "write", f"{PREFIX}/{group}/to/+/{caller}"
    yield "write", topics.callers(caller)
    yield "read", topics.results(caller)
    yield "read", f"{PREFIX}/{group}/workers/+"
    yield "write", topics.capabilities(caller)
    yield "write", topics.telemetry(caller)
    yield "write", f"{PREFIX}/{group}/replies/+/{caller}"
    for topic in topics.for_caller(caller):
        yield "read", topic


def rules_of_worker(group: str, worker: str) -> Iterator[tuple[Literal["read", "write"], str]]:
    """What a worker may do at the broker, and nothing else."""
    topics = Topics(group)
    yield "read", f"{PREFIX}/{group}/frames/+"
    yield "read", f"{PREFIX}/{group}/notes/+"
    yield "read", f"{PREFIX}/{group}/to/{checked(worker)}/+"
    yield "read", f"{PREFIX}/{group}/callers/+"
    yield "write", f"{PREFIX}/{group}/results/+"
    yield "write", topics.workers(worker)


def rules_of_controller(group: str, controller: str) -> Iterator[tuple[Literal["read", "write"], str]]:
    """What a controller may do at the broker, and nothing else: plan, command in its own name, listen."""
    topics = Topics(group)
    yield "write", f"{PREFIX}/{group}/plans/+"
    yield "write", f"{PREFIX}/{group}/commands/{checked(controller)}/+"
    for topic in topics.for_controller(controller):
        yield "read", topic


def checked(name: str) -> str:
    """A name that may stand in a topic.

    Raises:
        LocalProtocolError: it may not.
    """
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(
            f"{name!r} cannot stand in an MQTT topic; use at most 64 of A-Z a-z 0-9 . _ - and begin with none of . -"
        )
    return name
