"""The state of a run, as health, gauges and a page for `isthmus top`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from device.afterwards import Afterwards
from device.history import Ending, History
from device.running import STUCK_S, Running
from device.spool import Spool

SAVINGS = {
    "saved_frames": ("frames", "Frames that prefilter, filter or exits ended"),
    "saved_bytes": ("saved_bytes", "Bytes that these would have sent, by the mean of those sent"),
    "saving_seconds": ("cost_s", "Seconds spent on asking them"),
}


class Report:
    """Reads what the run shows. Belongs to the event loop's thread."""

    def __init__(
        self,
        running: Running,
        history: History,
        afterwards: Afterwards,
        spool: Spool | None,
        troubles: Sequence[str] = (),
    ) -> None:
        self._running = running
        self._history = history
        self._afterwards = afterwards
        self._spool = spool
        self._troubles = troubles

    def health(self) -> dict[str, Any]:
        """`well` is whether frames are being answered; `troubles` is what the agent cannot do besides."""
        agent = self._running.succession.current.agent
        troubles = [f"sink {outlet.name}: {outlet.trouble}" for outlet in self._afterwards.outlets if outlet.trouble]
        troubles += [told for told in (self._afterwards.trouble, self._history.trouble, *self._troubles) if told]
        if self._running.settings.filter is not None and not agent.filters:
            troubles.append("frames go unfiltered: the filter does not fit the bundle; see the log")
        tiers = self.tiers()
        troubles += [f"{name} is not reachable" for name, reachable in tiers.items() if not reachable]
        return {"well": agent.overdue_s() < STUCK_S, "troubles": troubles, "tiers": tiers}

    def tiers(self) -> dict[str, bool]:
        """Whether each tier has a stream up."""
        return {str(link.tier): link.client.ready for link in self._running.succession.current.links}

    def status(self) -> dict[str, Any]:
        """For `isthmus top`."""
        generation = self._running.succession.current
        uplink = generation.agent.believed
        return {
            "name": self._running.settings.name,
            "bundle": generation.bundle.digest.hex()[:16],
            "model": generation.bundle.manifest.model_id,
            "engine": generation.profile.engine,
            "segments": len(generation.bundle.manifest.segments),
            "up_s": round(self._running.clock() - self._running.common.start_s, 1),
            "frames": self._history.begun,
            **{ending.value: self._history.endings[ending] for ending in Ending},
            "in_time": self._history.in_time,
            "open": len(self._history.open_frames),
            "uplink_bps": None if uplink is None else round(uplink.mean_bps()),
            "spool": None if self._spool is None else {"frames": len(self._spool), "bytes": self._spool.bytes},
            "sinks": {one.name: {"delivered": one.delivered, "waiting": len(one)} for one in self._afterwards.outlets},
            "savings": self._running.common.savings.told(),
            **self.health(),
        }

    def gauges(self) -> dict[str, tuple[str, dict[str, float]]]:
        """For Prometheus."""
        agent = self._running.succession.current.agent
        uplink = agent.believed
        gauges: dict[str, tuple[str, dict[str, float]]] = {
            "open_frames": ("Frames that have not ended", {"": float(len(self._history.open_frames))}),
            "overdue_seconds": ("Age of the oldest open frame past its deadline", {"": max(0.0, agent.overdue_s())}),
            "tier_up": ("Whether a tier has a stream up", {name: float(up) for name, up in self.tiers().items()}),
        }
        if uplink is not None:
            gauges["uplink_bits_per_second"] = ("What the uplink is believed to carry", {"": uplink.mean_bps()})
        savings = self._running.common.savings.told()
        for name, (figure, told) in SAVINGS.items():
            gauges[name] = told, {by: one[figure] for by, one in savings.items()}
        if self._spool is not None:
            gauges["spool_frames"] = ("Frames in the spool", {"": float(len(self._spool))})
            gauges["spool_bytes"] = ("Bytes in the spool", {"": float(self._spool.bytes)})
        outlets = self._afterwards.outlets
        gauges["sink_waiting"] = ("Answers that wait for a sink", {one.name: float(len(one)) for one in outlets})
        gauges["sink_lost"] = ("Answers that a sink never took", {one.name: float(one.lost) for one in outlets})
        return {name: (told, values) for name, (told, values) in gauges.items() if values}
