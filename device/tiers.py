"""A tier as this device sees it: its stream, its last load hint, and the probes that keep the estimate alive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from itertools import count

from adaptation.hints import WaitHints
from adaptation.link import UplinkEstimator
from adaptation.plan import Route
from adaptation.probing import ProbeSettings, ProbeState, probe_due, probe_parts
from adaptation.snapshot import LinkEstimate, TierState
from protocol.errors import Code
from protocol.messages import Frame, Hello, Load, Refusal, Result, Timings
from transport.client import FrameClient, Shortened
from transport.events import Answered, ClientEvent, Lost, Probed, Refused, Welcomed
from transport.settings import Dial

REST_S = {Code.UPSTREAM: 1.0, Code.UNKNOWN_BUNDLE: 5.0, Code.DRAINING: 0.5, Code.OVERLOADED: 0.1, Code.INTERNAL: 0.5}
"""How long a route rests at least after a refusal that the next frame would get too."""

_log = logging.getLogger(__name__)


class TierLink:
    """Sends frames to one tier and tells the estimator what it sees. Belongs to the event loop's thread.

    Args:
        tier: `Route.EDGE` or `Route.CLOUD`.
        dial: its address.
        hello: our greeting; names the one bundle in use.
        estimator: of the uplink, shared by all tiers.
        clock: the agent's.
        on_end: called with each answer, refusal or loss: the frame's id, the route it took, and what ended it (a
            sentence for a loss).
    """

    def __init__(
        self,
        tier: Route,
        dial: Dial,
        hello: Hello,
        estimator: UplinkEstimator,
        clock: Callable[[], float],
        on_end: Callable[[int, Route, Result | Refusal | str], None],
    ) -> None:
        self.tier = tier
        self.routes = (Route.EDGE, Route.EDGE_TO_CLOUD) if tier is Route.EDGE else (tier,)
        self.client = FrameClient(dial, hello, self._react)
        self._one_clock = dial.group is None
        """Whether all answers of a stream are of one machine: behind a broker there may be several."""
        self.loses = dial.datagrams
        """Whether packets are lost on the way, so that payloads in several of them should bear it."""
        self.greeted = asyncio.Event()
        """Set once the tier has welcomed this device for the first time."""
        self._bundles = frozenset(hello.bundles)
        self._estimator = estimator
        self._clock = clock
        self._on_end = on_end
        self._ways: dict[int, Route] = {}
        self._hints = WaitHints()
        self._serves = False
        self._again_s = dict.fromkeys(self.routes, clock())
        self._probe_ids = count(1)
        self._first_of_two: tuple[int, float] | None = None
        self._probes = ProbeState(clock())
        self.pace = ProbeSettings()
        """Of the probes; whoever knows the plan sets it."""

    def state(self, route: Route) -> TierState:
        """What a decision needs to know of this tier, for one of its routes."""
        now_s = self._clock()
        reachable = (
            self.client.ready and self._serves and self.client.credits_left > 0 and now_s >= self._again_s[route]
        )
        return TierState(reachable=reachable, wait_s=self._hints.wait_s(now_s))

    @property
    def spent_bytes(self) -> float:
        """Sent to this tier so far, frames and probes."""
        return self._probes.sent_bytes

    def send(self, frame: Frame, route: Route) -> int:
        """Send a frame; returns its bytes on the link.

        Raises:
            NotReady: the stream or its last credit went while the frame was made.
            LocalProtocolError: its id is still in flight here, or it is longer than this tier takes.
        """
        size = self.client.send(frame)
        now_s = self._clock()
        self._ways[frame.id] = route
        self._estimator.sent(self.key(frame.id), size, now_s, route)
        self._hints.sent(frame.id, now_s)
        self._probes.sent(size, now_s)
        return size

    def give_up(self, frame_id: int) -> None:
        """No answer is wanted any more: take the frame back, or tell the tier; a late answer still teaches."""
        if frame_id not in self._ways:
            return
        if self.client.cancel(frame_id):
            self._estimator.withdrawn(self.key(frame_id))
            del self._ways[frame_id]
        else:
            self._estimator.abandoned(self.key(frame_id), self._clock())

    def written(self, frame_id: int) -> float:
        """Bytes of a frame's message that have left; infinite where nothing more of it waits here."""
        return self.client.written(frame_id)

    def shorten(self, frame_id: int, payload_bytes: int) -> Shortened | None:
        """Send only so many bytes of a frame's payload, or those that have left already; None where it goes whole."""
        shortened = self.client.shorten(frame_id, payload_bytes)
        if shortened is not None:
            self._estimator.shortened(self.key(frame_id), shortened.message_bytes)
            self._probes.sent_bytes -= shortened.taken_back
        return shortened

    def probe(self, uplink: LinkEstimate) -> None:
        """Send a probe if one is due."""
        now_s = self._clock()
        if not (self.client.ready and probe_due(uplink, self._probes, now_s, self.pace)):
            return
        size, echoes = 0, []
        for part_bytes in probe_parts(uplink, self.pace, self._probes.unanswered):
            echoes.append(next(self._probe_ids))
            size += self.client.probe(echoes[-1], part_bytes)
        self._estimator.sent(self._probe_key(echoes[-1]), size, now_s, self.tier)
        self._first_of_two = (echoes[0], now_s) if len(echoes) > 1 else None
        self._probes.sent(size, now_s, probe=True)

    def _react(self, event: ClientEvent) -> None:
        if not isinstance(event, Lost):
            self._probes.unanswered = 0
        match event:
            case Welcomed(welcome):
                self._serves = bool(self._bundles.intersection(welcome.bundles))
                if not self._serves:
                    _log.warning("the %s does not serve this bundle; add it to the bundles of its settings", self.tier)
                self._hint(welcome.load)
                self.greeted.set()
            case Answered(result):
                self._hints.answered(result.id, self._clock())
                self._hint(result.load)
                length = sum(len(output.data) for output in result.outputs)
                self._ended(result.id, result, length)
            case Refused(refusal):
                self._hint(refusal.load)
                self._rest(refusal)
                self._ended(refusal.id, refusal)
            case Probed(probe):
                self._time_first(probe.id)
                self._estimator.acknowledged(self._probe_key(probe.id), self._clock(), 0.0)
            case Lost(_, reason):
                self._lose(reason)

    def _time_first(self, probe_id: int) -> None:
        """The first echo of a probe in two parts shows the round trip (see `adaptation.probing.probe_parts`)."""
        if self._first_of_two is not None and self._first_of_two[0] == probe_id:
            self._estimator.timed(self.tier, self._clock() - self._first_of_two[1])
            self._first_of_two = None

    def _ended(self, frame_id: int, end: Result | Refusal, answer_bytes: int = 0) -> None:
        route = self._ways.pop(frame_id, None)
        if route is not None:
            told = end.timings if isinstance(end, Result) else Timings()
            arrived_us = told.arrived_us if self._one_clock else 0
            self._estimator.acknowledged(
                self.key(frame_id), self._clock(), 1e-6 * told.total_us, answer_bytes, arrived_us
            )
            self._on_end(frame_id, route, end)

    def _rest(self, refusal: Refusal) -> None:
        """Keep off a route for a while if its next frame would be refused too."""
        if refusal.code in REST_S and refusal.id in self._ways:
            resting = (self._ways[refusal.id],) if refusal.code is Code.UPSTREAM else self.routes
            until_s = self._clock() + max(REST_S[refusal.code], 1e-6 * refusal.retry_after_us)
            self._again_s.update(dict.fromkeys(resting, until_s))

    def _lose(self, reason: str) -> None:
        """The stream broke: all that was in flight on it has no answer."""
        for route in self.routes:
            self._estimator.disconnected(route, self._clock())
        self._serves = False
        lost, self._ways = self._ways, {}
        for frame_id, route in lost.items():
            self._on_end(frame_id, route, reason)

    def _hint(self, load: Load) -> None:
        self._hints.hinted(1e-6 * load.wait_us, self._clock())

    def key(self, frame_id: int) -> Hashable:
        """What the estimator knows a frame by."""
        return (self.tier, frame_id)

    def _probe_key(self, number: int) -> Hashable:
        return (self.tier, "probe", number)
