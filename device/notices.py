"""Beside its frames, over a broker: what a device can do and how it is, plans for it, and commands to it. All JSON.

A plan is `{"policy": {...}}`, the table `[policy]` of the settings; none, or one without it, is the device's own. A
command is `{"command": "status"}`; its reply says what was asked, or `{"error": ...}`. See docs/device.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from device.running import Running
from device.settings import NoticesSettings
from device.updates.steering import Steering
from device.updates.tally import Tally
from transport.mqtt_notices import NOTICE_BYTES, Command, MqttNotices

_log = logging.getLogger(__name__)


class Notices:
    """Belongs to the event loop's thread.

    Args:
        settings: `[notices]`.
        running: the run.
        reload: reads the settings again and takes them; whether they are in force. None where there is no file.

    Raises:
        NameUnusable: the device's name cannot stand in a topic.
        InsecureDial: the broker is beyond loopback and there is no TLS.
    """

    def __init__(
        self, settings: NoticesSettings, running: Running, reload: Callable[[], Awaitable[bool]] | None
    ) -> None:
        self.tally = Tally({})
        self._tell_s = settings.tell_s
        self._running = running
        self._reload = reload
        self._steering = Steering(running, self.tally, "broker's controller")
        self._plans: asyncio.Queue[bytes] = asyncio.Queue()
        self._commands: Mapping[str, Callable[[], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "decision": self._decision,
            "reload": self._reloaded,
        }
        self._notices = MqttNotices(
            settings,
            running.settings.name,
            capabilities=self._capabilities,
            on_plan=self._plans.put_nowait,
            on_command=self._obey,
        )

    async def run(self) -> None:
        """Tell, follow and obey until cancelled; where the broker is away, all stays as it is."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._notices.run(), name="notices over the broker")
            tasks.create_task(self._follow(), name="plans over the broker")
            tasks.create_task(self._tell(), name="telemetry over the broker")

    def _capabilities(self) -> bytes:
        bundle = self._running.succession.current.bundle
        told = {"model_id": bundle.manifest.model_id, "digest": bundle.digest.hex()}
        return _body(told | self._steering.capabilities())

    async def _tell(self) -> None:
        while True:
            self._notices.tell(_body(await self._status()))
            await asyncio.sleep(self._tell_s)

    async def _follow(self) -> None:
        """Take the newest plan; what came before it no longer counts."""
        while True:
            body = await self._plans.get()
            while not self._plans.empty():
                body = self._plans.get_nowait()
            plan = _object(body) if body else {}
            policy = None if plan is None else plan.get("policy")
            if plan is None or not (policy is None or isinstance(policy, dict)):
                _log.error('a plan that came over the broker is none: it must be {"policy": {...}}')
            else:
                await self._steering.take_policy(policy)

    async def _obey(self, command: Command) -> bytes:
        asked = (_object(command.body) or {}).get("command")
        work = self._commands.get(asked) if isinstance(asked, str) else None
        if work is None:
            return _body({"error": f'send {{"command": ...}} with one of {", ".join(self._commands)}'})
        _log.info("%s commands: %s", command.controller, asked)
        reply = _body(await work())
        return reply if len(reply) <= NOTICE_BYTES else _body({"error": "the reply is longer than a notice may be"})

    async def _status(self) -> dict[str, Any]:
        return {"digest": self._running.succession.current.bundle.digest.hex(), **self._steering.status()}

    async def _decision(self) -> dict[str, Any]:
        """Of the frame that was answered last: what was known and what each choice promised."""
        last = self.tally.last
        if last is None:
            return {"error": "no frame has been answered yet"}
        return {"frame": last.frame, "cut": last.cut, "level": last.level, "by": last.by, "decision": last.decision}

    async def _reloaded(self) -> dict[str, Any]:
        if self._reload is None:
            return {"error": "this agent was not started from a file of settings"}
        return {"taken": await self._reload()}


def _body(told: dict[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()


def _object(body: bytes) -> dict[str, Any] | None:
    """A JSON object, None where the bytes are none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
