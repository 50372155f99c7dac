"""Simulate a fleet: capture, compute, cell, tier, answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from testbed.fleet.queues import APART, FloatArray, IntArray, batched, departures
from testbed.fleet.scheduled import scheduled
from testbed.fleet.settings import Fleet


@dataclass(frozen=True, slots=True)
class Served:
    """What became of the counted frames.

    Attributes:
        latency_s: [frames], from capture to answer; infinite for those that no tier began in time.
        frames_per_batch: mean.
        busy: share of their time that the tiers' workers computed.
    """

    latency_s: FloatArray
    frames_per_batch: float
    busy: float

    def percentile_s(self, percent: float) -> float:
        """Latency that so many per cent of all frames kept; infinite if more were never answered."""
        return float(np.percentile(self.latency_s, percent, method="inverted_cdf"))

    def missed(self, deadline_s: float) -> float:
        """Share of the frames that were not answered within the deadline."""
        return float(np.mean(self.latency_s > deadline_s))


def serve(fleet: Fleet) -> Served:
    """Play the fleet once; the same seed gives the same."""
    captured_s, device, sample = _captured(fleet)
    device_s, message_bytes = (np.array(column)[sample] for column in zip(*fleet.samples, strict=True))
    cell = device // fleet.cell_devices
    sent_s = captured_s + device_s
    order = np.argsort(cell * APART + sent_s)
    through_s = np.empty_like(sent_s)
    through_s[order] = departures(cell[order], sent_s[order], message_bytes[order] * 8 / fleet.cell_bps)
    arrives_s = through_s + fleet.one_way_s
    edge = device % fleet.edges
    order = np.argsort(edge * APART + arrives_s)
    done_s = np.empty_like(sent_s)
    until_s = captured_s + fleet.deadline_s - fleet.one_way_s
    if fleet.exact:
        done_s[order], batches = scheduled(
            edge[order], arrives_s[order], until_s[order], device[order],
            workers=fleet.workers, batch_s=fleet.batch_seconds(),
        )  # fmt: skip
    else:
        done_s[order], batches = batched(
            edge[order], arrives_s[order], until_s[order], queues=fleet.edges, workers=fleet.workers,
            first_s=fleet.first_s, each_s=fleet.each_s, most=fleet.most,
        )  # fmt: skip
    latency_s = done_s + fleet.one_way_s - captured_s
    answered = int(np.isfinite(done_s).sum())
    work_s = batches * fleet.first_s + answered * fleet.each_s
    whole_s = (fleet.seconds + fleet.warm_up_s) * fleet.edges * fleet.workers
    return Served(latency_s[captured_s >= fleet.warm_up_s], answered / max(batches, 1), work_s / whole_s)


def _captured(fleet: Fleet) -> tuple[FloatArray, IntArray, IntArray]:
    """When each frame is captured, by which device, and which sample it is like."""
    chance = np.random.default_rng(fleet.seed)
    last_s = fleet.seconds + fleet.warm_up_s
    frames = int(np.ceil(last_s * fleet.rate_hz))
    phase = chance.random(fleet.devices)[:, None]
    captured_s = ((phase + np.arange(frames)) / fleet.rate_hz).ravel()
    device = np.repeat(np.arange(fleet.devices), frames)
    sample = chance.integers(len(fleet.samples), size=captured_s.size)
    inside = captured_s < last_s
    return captured_s[inside], device[inside], sample[inside]
