"""Follows a control plane: brings the bundle it wants, takes on its policy, and tells it how things go.

Bundles go the way of every new bundle, through the folder: this only fetches them, and lays beside them whether they
are on trial (`inbox.py`). While the control plane is away, all stays as it is.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import platform
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from device.running import Running
from device.settings import PolicySettings
from device.updates.inbox import REFUSED, refusal_of, trial_of, withdrawal_of
from device.updates.plane import ControlPlane, ControlPlaneError
from device.updates.settings import ControlSettings
from device.updates.tally import Tally, labels_in
from protocol.errors import IsthmusError
from runtime.bundle import Bundle
from runtime.errors import BundleError

UNTIDY_S: Final = 1.0
"""How long a question for news stays open while a bundle is being left."""
_DIGEST_LENGTH: Final = 64
_log = logging.getLogger(__name__)


class Remote:
    """Belongs to the event loop's thread; what blocks is done in others.

    Args:
        settings: `[updates.control]`.
        folder: of new bundles.
        running: the run.

    Raises:
        SourceError: the labels cannot be read.
        ControlPlaneError: the TLS files cannot be read.
    """

    def __init__(self, settings: ControlSettings, folder: Path, running: Running) -> None:
        self._settings = settings
        self._folder = folder
        self._running = running
        self._own_policy = running.settings.policy
        self._run = uuid.uuid4().hex
        self._asking = ControlPlane(settings, running.settings.name)
        self._telling = ControlPlane(settings, running.settings.name)
        self._trouble = ""
        self.tally = Tally(labels_in(settings.labels))

    async def run(self) -> None:
        """Register, then follow and tell, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow(), name="follow the control plane")
                tasks.create_task(self._tell(), name="tell the control plane")
        finally:
            self._asking.close()
            self._telling.close()

    async def _follow(self) -> None:
        etag, registered, tidy = "", "", True
        while True:
            model_id = self._running.succession.current.bundle.manifest.model_id
            try:
                if registered != model_id:
                    await asyncio.to_thread(self._asking.register, model_id, capabilities(self._running))
                    registered = model_id
                wait_s = self._settings.wait_s if tidy else min(self._settings.wait_s, UNTIDY_S)
                wanted = await asyncio.to_thread(self._asking.desired, etag, wait_s)
                tidy = await self._become(wanted)
                etag = str(wanted["etag"])
                self._note_trouble("")
            except (ControlPlaneError, OSError, ValueError, KeyError, TypeError) as exc:
                self._note_trouble(str(exc))
                etag = ""
                await asyncio.sleep(self._settings.retry_s)

    async def _tell(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self._telling.report, self._report())
            except ControlPlaneError as exc:
                self._note_trouble(str(exc))
            await asyncio.sleep(self._settings.report_s)

    async def _become(self, wanted: dict[str, Any]) -> bool:
        """Take on what is wanted; False while a bundle that was taken back still lies here."""
        in_force = self._running.succession.current.bundle.digest.hex()
        await asyncio.to_thread(_arrange, self._folder, wanted["bundle"], in_force, self._asking.fetch)
        await self._take_policy(wanted["policy"])
        return not any(withdrawal_of(path).exists() for path in _fetched(self._folder))

    async def _take_policy(self, wanted: dict[str, Any] | None) -> None:
        """Choose by another policy from the next frame on, if this is another one."""
        try:
            policy = self._own_policy if wanted is None else PolicySettings.model_validate(wanted)
        except ValidationError as exc:
            _log.error("the control plane's policy cannot be used: %s", exc)
            return
        if policy == self._running.settings.policy:
            return
        current = self._running.succession.current
        try:
            bundle = await asyncio.to_thread(Bundle.open, self._running.settings.bundle)
            profile = current.profile if bundle.digest == current.bundle.digest else None
            await self._running.take_bundle(bundle, profile, policy)
        except IsthmusError as exc:
            _log.error("the control plane's policy %r is not taken: %s", policy.name, exc)
            return
        _log.info("policy %r of the control plane is in force", policy.name)

    def _report(self) -> dict[str, Any]:
        bundle = self._running.succession.current.bundle
        return {
            "run": self._run,
            "model_id": bundle.manifest.model_id,
            "digest": bundle.digest.hex(),
            "counts": self.tally.counts(),
            "refusals": _refusals(self._folder),
            "status": self._status(),
        }

    def _status(self) -> dict[str, Any]:
        """For people to look at."""
        generation, last = self._running.succession.current, self.tally.last
        believed = generation.agent.believed
        return {
            "tiers": {str(link.tier): link.client.ready for link in generation.links},
            "uplink_bps": None if believed is None else round(believed.mean_bps()),
            "latency_p50_s": self.tally.latency_s(0.5),
            "latency_p95_s": self.tally.latency_s(0.95),
            "cut": None if last is None else last.cut,
            "level": None if last is None else last.level,
            "answered_by": None if last is None else last.by,
            "policy": self._running.settings.policy.name,
            "unanswered": self.tally.reasons(),
            "up_s": round(self._running.clock() - self._running.common.start_s, 1),
        }

    def _note_trouble(self, trouble: str) -> None:
        """Log what changes, not what stays."""
        if trouble != self._trouble:
            self._trouble = trouble
            _log.log(logging.WARNING if trouble else logging.INFO, trouble or "the control plane answers")


def capabilities(running: Running) -> dict[str, Any]:
    """What this device is."""
    profile = running.succession.current.profile
    return {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "isthmus": importlib.metadata.version("isthmus"),
        "engine": profile.engine,
        "whole_model_s": round(sum(profile.segment_s) * running.settings.emulated_slowdown, 6),
    }


def _arrange(
    folder: Path, wanted: dict[str, Any] | None, in_force: str, fetch: Callable[[str, int, Path], None]
) -> None:
    """Make the folder say what the control plane wants. Each step alone leaves the folder sound. Blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = None if wanted is None else str(wanted["digest"])
    for path in _fetched(folder):
        if path.stem != digest and trial_of(path).exists():
            withdrawal_of(path).touch()
        if path.stem != in_force and withdrawal_of(path).exists():
            for one in (path, trial_of(path), refusal_of(path), withdrawal_of(path)):
                one.unlink(missing_ok=True)
    for part in folder.glob(".*.part"):
        if part.name != f".{digest}.part":
            part.unlink()
    if wanted is None or digest is None:
        return
    if len(digest) != _DIGEST_LENGTH or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"the control plane names a bundle {digest!r}, which is no digest")
    path = folder / f"{digest}.zip"
    withdrawal_of(path).unlink(missing_ok=True)
    if wanted["final"]:
        trial_of(path).unlink(missing_ok=True)
    if digest != in_force and not path.exists():
        part = folder / f".{digest}.part"
        fetch(digest, int(wanted["bytes"]), part)
        _check_whole(part, digest)
        if not wanted["final"]:
            trial_of(path).touch()
        part.replace(path)
        _log.info("bundle %s… has come from the control plane", digest[:16])


def _check_whole(part: Path, digest: str) -> None:
    """What came damaged over the link is no fault of the bundle: it is fetched anew, and nobody is told a refusal.

    Raises:
        ControlPlaneError: it is not the bundle that was asked for.
    """
    try:
        with Bundle.open(part) as bundle:
            bundle.verify_all()
            found = bundle.digest.hex()
    except BundleError as exc:
        part.unlink()
        raise ControlPlaneError(f"bundle {digest[:16]}… came damaged ({exc}); fetching it anew") from exc
    if found != digest:
        part.unlink()
        raise ControlPlaneError(f"bundle {found[:16]}… came in place of {digest[:16]}…; fetching it anew")


def _fetched(folder: Path) -> list[Path]:
    """Bundles that came from a control plane: named by their digests."""
    return [path for path in folder.glob("*.zip") if len(path.stem) == _DIGEST_LENGTH]


def _refusals(folder: Path) -> dict[str, str]:
    """Reasons by digest."""
    found = {}
    for path in folder.glob("*.zip" + REFUSED):
        digest = path.name.removesuffix(".zip" + REFUSED)
        if len(digest) == _DIGEST_LENGTH:
            found[digest] = path.read_text()[:2000].strip()
    return found
