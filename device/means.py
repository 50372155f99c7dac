"""What an agent works with: the parts that are opened for it, and the learned filter with when it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from adaptation.link import UplinkEstimator
from adaptation.plan import Choice
from adaptation.policies import Policy
from device.compute import Compute
from device.endings import Endings
from device.figures import Figures
from device.filter.neural import NeuralFilter
from device.frames import OpenFrame
from device.plan import Planner
from device.savings import Savings
from device.sources import Source
from device.waiting import WaitingRoom
from runtime.answers import Answer
from runtime.manifest import Manifest
from transport.tracing import Tracer


@dataclass(frozen=True, slots=True)
class Filter:
    """A learned filter, and when it is asked."""

    neural: NeuralFilter
    always: bool

    def concerns(self, frame: OpenFrame, choice: Choice) -> bool:
        """Whether it is to be asked about a frame: its cut lies on the frame's way, or nothing is to leave unasked."""
        cut = self.neural.cut
        return not frame.late and frame.reached <= cut and (self.always or choice.cut >= cut)


@dataclass(frozen=True, slots=True)
class Means:
    """What an agent works with."""

    manifest: Manifest
    bundle_tag: int
    source: Source
    room: WaitingRoom[OpenFrame]
    compute: Compute
    figures: Figures
    planner: Planner
    policy: Policy
    rescues: bool
    """Whether a frame that got no answer is tried another way; a fixed policy's is not."""
    estimator: UplinkEstimator
    endings: Endings
    filter: Filter | None
    """Asked about frames that pass its cut."""
    savings: Savings
    known: Callable[[int], Answer | None]
    """The answer that a frame of this scene may have without being looked at."""
    ids: Iterator[int]
    """Of frames; shared by all agents of one run."""
    run_name: str
    """In front of a frame's number this makes its key, where its source gives none."""
    tracer: Tracer
    """Tells of frames that are followed over all tiers."""
