"""What can be told to a running device from afar, and what it tells of itself: the same, whichever way it goes."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import platform
from typing import Any

from pydantic import ValidationError

from device.running import Running
from device.settings import PolicySettings
from device.updates.tally import Tally
from protocol.errors import IsthmusError
from runtime.bundle import Bundle

_log = logging.getLogger(__name__)


class Steering:
    """Belongs to the event loop's thread; what blocks is done in others.

    Args:
        running: the run.
        tally: counts its frames.
        by: who steers, for the log.
    """

    def __init__(self, running: Running, tally: Tally, by: str) -> None:
        self._running = running
        self._tally = tally
        self._by = by
        self._own_policy = running.settings.policy

    async def take_policy(self, wanted: dict[str, Any] | None) -> str:
        """Choose by another policy from the next frame on, if this is another one; None is the device's own.

        Returns:
            Why it is not taken; empty where it is in force.
        """
        try:
            policy = self._own_policy if wanted is None else PolicySettings.model_validate(wanted)
        except ValidationError as exc:
            return self._not_taken(f"the policy cannot be used: {exc}")
        if policy == self._running.settings.policy:
            return ""
        current = self._running.succession.current
        try:
            bundle = await asyncio.to_thread(Bundle.open, self._running.settings.bundle)
            profile = current.profile if bundle.digest == current.bundle.digest else None
            await self._running.take_bundle(bundle, profile, policy)
        except IsthmusError as exc:
            return self._not_taken(f"the policy {policy.name!r} is not taken: {exc}")
        _log.info("policy %r of the %s is in force", policy.name, self._by)
        return ""

    def capabilities(self) -> dict[str, Any]:
        """What this device is."""
        profile = self._running.succession.current.profile
        return {
            "machine": platform.machine(),
            "processors": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "isthmus": importlib.metadata.version("isthmus"),
            "engine": profile.engine,
            "whole_model_s": round(sum(profile.segment_s) * self._running.settings.emulated_slowdown, 6),
        }

    def status(self) -> dict[str, Any]:
        """How it is, for people to look at."""
        generation, last, tally = self._running.succession.current, self._tally.last, self._tally
        believed = generation.agent.believed
        return {
            "tiers": {str(link.tier): link.client.ready for link in generation.links},
            "uplink_bps": None if believed is None else round(believed.mean_bps()),
            "latency_p50_s": tally.latency_s(0.5),
            "latency_p95_s": tally.latency_s(0.95),
            "cut": None if last is None else last.cut,
            "level": None if last is None else last.level,
            "answered_by": None if last is None else last.by,
            "policy": self._running.settings.policy.name,
            "unanswered": tally.reasons(),
            "up_s": round(self._running.clock() - self._running.common.start_s, 1),
        }

    def _not_taken(self, why: str) -> str:
        _log.error("%s: %s", self._by, why)
        return why
