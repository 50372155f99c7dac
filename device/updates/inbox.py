"""The folder of new bundles: looks, tries, switches, watches, and goes back."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from device.endings import Later, Outcome
from device.engines.choosing import chosen_engine
from device.frames import OpenFrame
from device.history import Ending, FrameRecord
from device.running import Running
from device.settings import Settings
from device.trusting import provisionally, trusted_bundle
from device.updates.settings import UpdateSettings
from device.updates.trial import InForce, Recorded, recorded_in, try_out
from protocol.errors import IsthmusError
from runtime.bundle import Bundle
from runtime.engines import engine_named
from runtime.manifest import Profile

ACCEPTED = "accepted.json"
REFUSED = ".refused"
"""Beside a bundle that was refused lies a text file of this suffix with the reason; without it, it is tried again."""
ON_TRIAL = ".trial"
"""While a file of this suffix lies beside a bundle, it may run but is not noted as accepted: its counter stays out of
the ledger, so that the bundle before it remains usable."""
WITHDRAWN = ".withdrawn"
"""A bundle beside which a file of this suffix lies is not used, and left if it is in force on trial."""

_log = logging.getLogger(__name__)


class Inbox:
    """Brings bundles into force, one at a time. `run` and `watch` belong to the event loop's thread.

    Args:
        settings: `[updates]`.
        running: the run.
        samples: what the source gave at the start, without a batch axis.
    """

    def __init__(self, settings: UpdateSettings, running: Running, samples: Sequence[NDArray[Any]]) -> None:
        self._settings = settings
        self._running = running
        self._samples = [Recorded(sample[None]) for sample in samples]
        self._watched: bytes | None = None
        self._seen = self._failed = 0
        self._judged = asyncio.Event()

    async def run(self) -> None:
        """Look into the folder until cancelled."""
        while True:
            for path in await asyncio.to_thread(self._candidates):
                await self._consider(path)
            await asyncio.sleep(self._settings.look_s)

    def watch(self, bundle: Bundle, frame: OpenFrame, record: FrameRecord, outcome: Outcome) -> None:
        """A frame has ended: does the new bundle do what it should?"""
        if bundle.digest != self._watched or self._judged.is_set() or record.reason == "agent stopped":
            return
        self._seen += 1
        self._failed += record.ended is Ending.DROPPED and outcome.later is Later.NEVER and frame.choice is not None
        if self._failed >= self._settings.failures or self._seen >= self._settings.watch:
            self._judged.set()

    def _candidates(self) -> list[Path]:
        """Bundles that lie here and were neither refused nor are in force."""
        folder = self._settings.folder
        if not folder.is_dir():
            return []
        in_force = self._running.settings.bundle.resolve()
        accepted = _accepted_names(folder)
        return [
            path
            for path in sorted(folder.iterdir())
            if (path.is_dir() or path.suffix in (".zip", ".isthmus"))
            and path.resolve() != in_force
            and path.name not in accepted
            and not path.name.startswith(".")
            and not refusal_of(path).exists()
            and not withdrawal_of(path).exists()
        ]

    async def _consider(self, path: Path) -> None:
        """Try a bundle; switch to it if it is good, watch it, and go back if it fails."""
        before = self._running.settings.bundle
        try:
            profile = await asyncio.to_thread(self._tried, path)
            await self._switch(path, profile)
        except IsthmusError as exc:
            await asyncio.to_thread(_refuse, path, str(exc))
            return
        _log.info("bundle %s is in force and watched for %d frames", path.name, self._settings.watch)
        if await self._stays(path):
            await asyncio.to_thread(self._accept, path)
        elif withdrawal_of(path).exists():
            await self._go_back(path, before, "it was taken back by whoever put it on trial")
        else:
            told = f"{self._failed} of its first {self._seen} frames failed; see the history"
            await asyncio.to_thread(_refuse, path, told)
            await self._go_back(path, before, told)
        self._watched = None

    async def _stays(self, path: Path) -> bool:
        """Wait until it is known whether a bundle in force stays: it has to show itself, and its trial to be over."""
        while not (self._judged.is_set() and self._failed >= self._settings.failures):
            if await asyncio.to_thread(withdrawal_of(path).exists):
                return False
            if self._judged.is_set() and not await asyncio.to_thread(trial_of(path).exists):
                return True
            await asyncio.sleep(self._settings.look_s)
        return False

    def _tried(self, path: Path) -> Profile:
        running, engine = self._running, self._running.settings.engine
        recorded = self._samples if self._settings.recorded is None else recorded_in(self._settings.recorded)
        generation = running.succession.current
        with provisionally(running.settings, path) as bundle:
            before = InForce(generation.bundle.manifest, generation.profile)
            return try_out(
                bundle, engine_named(chosen_engine(engine, bundle), engine.threads), recorded, before, self._settings
            )

    async def _switch(self, path: Path, profile: Profile) -> None:
        bundle = Bundle.open(path)  # verified and trusted a moment ago; every file is hashed again when it is read
        self._watched, self._seen, self._failed = bundle.digest, 0, 0
        self._judged.clear()
        await self._running.take_bundle(bundle, profile)

    async def _go_back(self, path: Path, before: Path, told: str) -> None:
        _log.error("bundle %s: %s; going back to %s", path.name, told, before)
        await self._running.take_bundle(Bundle.open(before), None)

    def _accept(self, path: Path) -> None:
        """It has shown itself: its counter is noted, and the next start begins with it."""
        trusted_bundle(self._running.settings).close()
        folder = self._settings.folder
        names = [name for name in _accepted_names(folder) if name != path.name]
        fresh = folder / (ACCEPTED + ".part")
        with fresh.open("w") as file:
            json.dump({"bundles": [*names, path.name]}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(folder / ACCEPTED)
        _log.info("bundle %s has shown itself and stays", path.name)


def accepted_bundle(settings: Settings) -> Settings:
    """The settings with the bundle that was accepted last and can be opened; with their own one if there is none."""
    if settings.updates is None:
        return settings
    for name in reversed(_accepted_names(settings.updates.folder)):
        path = settings.updates.folder / name
        try:
            with provisionally(settings, path):
                return settings.model_copy(update={"bundle": path})
        except IsthmusError as exc:
            _log.error("bundle %s was accepted before and is of no use now: %s", name, exc)
    return settings


def _accepted_names(folder: Path) -> list[str]:
    """Names of the bundles that were accepted, the last one last."""
    try:
        return [str(name) for name in json.loads((folder / ACCEPTED).read_text())["bundles"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as exc:
        _log.error("%s cannot be read: %s; the bundle of the configuration is used", folder / ACCEPTED, exc)
        return []


def refusal_of(path: Path) -> Path:
    """Where the reason lies for which a bundle is not used."""
    return path.with_name(path.name + REFUSED)


def trial_of(path: Path) -> Path:
    """A file that says: this bundle is on trial, so be able to go back."""
    return path.with_name(path.name + ON_TRIAL)


def withdrawal_of(path: Path) -> Path:
    """A file that says: this bundle is not wanted any more, go back."""
    return path.with_name(path.name + WITHDRAWN)


def _refuse(path: Path, why: str) -> None:
    _log.error("bundle %s is not used: %s", path.name, why)
    try:
        refusal_of(path).write_text(why + "\n")
    except OSError as exc:
        _log.error("that cannot be noted beside it, so it will be tried again: %s", exc)
