"""Follows a control plane: brings the bundle it wants, takes on its policy, and tells it how things go.

Bundles go the way of every new bundle, through the folder: this only fetches them, and lays beside them whether they
are on trial (`inbox.py`). While the control plane is away, all stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from device.running import Running
from device.updates.inbox import REFUSED, refusal_of, trial_of, withdrawal_of
from device.updates.plane import ControlPlane, ControlPlaneError
from device.updates.settings import ControlSettings
from device.updates.steering import Steering
from device.updates.tally import Tally, labels_in
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
        self._run = uuid.uuid4().hex
        self._asking = ControlPlane(settings, running.settings.name)
        self._telling = ControlPlane(settings, running.settings.name)
        self._trouble = ""
        self.tally = Tally(labels_in(settings.labels))
        self._steering = Steering(running, self.tally, "control plane")

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
                    await asyncio.to_thread(self._asking.register, model_id, self._steering.capabilities())
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
        await self._steering.take_policy(wanted["policy"])
        return not any(withdrawal_of(path).exists() for path in _fetched(self._folder))

    def _report(self) -> dict[str, Any]:
        bundle = self._running.succession.current.bundle
        return {
            "run": self._run,
            "model_id": bundle.manifest.model_id,
            "digest": bundle.digest.hex(),
            "counts": self.tally.counts(),
            "refusals": _refusals(self._folder),
            "status": self._steering.status(),
        }

    def _note_trouble(self, trouble: str) -> None:
        """Log what changes, not what stays."""
        if trouble != self._trouble:
            self._trouble = trouble
            _log.log(logging.WARNING if trouble else logging.INFO, trouble or "the control plane answers")


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
