"""What both doors do: find the model, check the request, have the tier run its items, put the answer together."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from protocol.errors import Code
from protocol.messages import Frame, Refusal, Result
from serving.oip.catalog import Catalog, Model
from serving.oip.checking import check_inputs, timeout_s_of, wanted_outputs
from serving.oip.errors import Reason, RequestRefused
from serving.oip.statistics import NO_STREAM, Statistics
from serving.oip.values import InferenceRequest, InferenceResponse, OutputTensor
from transport.admission import Admission, Caller, Revoked
from transport.stream import Handler, Request

NAME: Final = "isthmus"
EXTENSIONS: Final = ("binary_tensor_data", "statistics", "model_repository")
NEIGHBOUR: Final = "oip"
"""Sender of requests without a certificate: all of this machine's together have one share."""
_UINT32: Final = (1 << 32) - 1
_REASONS: Final[Mapping[Code, Reason]] = {
    Code.UNDECODABLE: Reason.INVALID,
    Code.WRONG_SHAPE: Reason.INVALID,
    Code.TOO_LONG: Reason.TOO_LARGE,
    Code.EXPIRED: Reason.EXPIRED,
    Code.OVERLOADED: Reason.OVERLOADED,
    Code.DRAINING: Reason.DRAINING,
    Code.FORBIDDEN: Reason.FORBIDDEN,
}


class Admitted:
    """Lets callers in at one door.

    Args:
        admission: quotas of certified callers.
        revoked: who is no longer welcome.
    """

    def __init__(self, admission: Admission, revoked: Revoked | None) -> None:
        self._admission = admission
        self._revoked = revoked

    def welcome(self, caller: Caller | None) -> None:
        """A call begins.

        Raises:
            RequestRefused: the caller's certificate has been revoked.
        """
        if caller is not None and self._revoked is not None and caller in self._revoked:
            raise RequestRefused(Reason.FORBIDDEN, "this caller's certificate has been revoked; enrol again")

    def take(self, caller: Caller | None, items: int) -> None:
        """Count the items of a request.

        Raises:
            RequestRefused: the quota does not allow one of them.
        """
        for _ in range(items if caller is not None else 0):
            assert caller is not None
            turned_away = self._admission.take(caller)
            if turned_away is not None:
                reason, wait_s = _REASONS[turned_away.code], turned_away.retry_after_us / 1e6
                raise RequestRefused(reason, turned_away.detail, retry_after_s=wait_s)


class InferenceService:
    """Serves whole models: each item of a request is a frame at cut 0, scheduled and batched like any other.

    Belongs to one event loop.

    Args:
        catalog: the models.
        handler: the tier.
        statistics: counts requests; the tier's `observe` has to tell it of frames too.
        admitted: whom this door lets in, and for how much.
        clock: the tier's.
        timeout_s: for requests that name no time.
        items: how many one request may have.

    Attributes:
        catalog, statistics, admitted: as given.
        version: of this release.
    """

    def __init__(
        self,
        catalog: Catalog,
        handler: Handler,
        statistics: Statistics,
        admitted: Admitted,
        clock: Callable[[], float],
        *,
        timeout_s: float,
        items: int,
    ) -> None:
        self.catalog = catalog
        self.statistics = statistics
        self.version = version("isthmus")
        self._handler = handler
        self.admitted = admitted
        self._clock = clock
        self._timeout_s = timeout_s
        self._items = items
        self._draining = False

    @property
    def ready(self) -> bool:
        """Whether requests are taken now."""
        return not self._draining

    def drain(self) -> None:
        """Take no more requests."""
        self._draining = True

    async def infer(
        self, request: InferenceRequest, caller: Caller | None, *, time_left_s: float = math.inf
    ) -> InferenceResponse:
        """Answer one request.

        Args:
            request: as the caller made it; only its form has been checked.
            caller: whose certificate it came with, if any.
            time_left_s: what the transport knows of the caller's patience.

        Raises:
            RequestRefused: there is no answer. Nothing of the request goes on.
        """
        arrived_s = self._clock()
        if self._draining:
            raise RequestRefused(Reason.DRAINING, "this tier is shutting down; use another")
        model = self.catalog.find(request.model, request.version)
        try:
            results, wanted = await self._run(request, model, caller, arrived_s, time_left_s)
        except RequestRefused:
            self.statistics.failed(model.bundle.tag, self._clock() - arrived_s)
            raise
        done_s = self._clock()
        outputs = tuple(_joined(model, results, place) for place in wanted)
        ended_s = self._clock()
        self.statistics.succeeded(model.bundle.tag, results, ended_s - arrived_s, ended_s - done_s)
        return InferenceResponse(model.name, model.version, request.id, outputs)

    async def _run(
        self,
        request: InferenceRequest,
        model: Model,
        caller: Caller | None,
        arrived_s: float,
        time_left_s: float,
    ) -> tuple[list[Result], list[int]]:
        """A result for each item, and which outputs are wanted."""
        items = check_inputs(request, model, most_items=self._items)
        wanted = wanted_outputs(request, model)
        timeout_s = min(timeout_s_of(request) or self._timeout_s, time_left_s)
        self.admitted.take(caller, items)
        frames = _frames(model, request, items, timeout_s)
        sender = NEIGHBOUR if caller is None else caller.name
        try:
            async with asyncio.timeout(timeout_s):
                return await self._answered([Request(frame, sender, arrived_s) for frame in frames]), wanted
        except TimeoutError as exc:
            raise RequestRefused(Reason.EXPIRED, "the request's time was over before its answer was there") from exc

    async def _answered(self, requests: Sequence[Request]) -> list[Result]:
        """All results, or the first refusal, which withdraws the other items."""
        if len(requests) == 1:
            return [await self._answer(requests[0])]
        refusals: list[RequestRefused] = []
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._answer(request)) for request in requests]
        except* RequestRefused as refused:
            refusals = [exc for exc in refused.exceptions if isinstance(exc, RequestRefused)]
        if refusals:  # raised here, as what is raised in the clause above comes out in a group again
            raise refusals[0]
        return [task.result() for task in tasks]

    async def _answer(self, request: Request) -> Result:
        answer = await self._handler(request)
        if isinstance(answer, Refusal):
            reason = _REASONS.get(answer.code, Reason.INTERNAL)
            raise RequestRefused(reason, answer.detail, retry_after_s=answer.retry_after_us / 1e6)
        return answer


def _frames(model: Model, request: InferenceRequest, items: int, timeout_s: float) -> list[Frame]:
    """A frame at cut 0 for each item, its payload the item's own bytes, of several inputs one behind the other.

    It has been on no wire, so it has no checksum.
    """
    data = {tensor.name: tensor.data for tensor in request.inputs}
    parts = [(data[taken.name], taken.item_bytes) for taken in model.inputs]
    filling = [bytes(left)] if (left := model.row.nbytes - sum(size for _, size in parts)) else []
    return [
        Frame(
            id=NO_STREAM,
            bundle=model.bundle.tag,
            cut=0,
            level=model.raw_level,
            shape=model.row.shape,
            payload=b"".join([*(part[item * size : (item + 1) * size] for part, size in parts), *filling]),
            crc32c=0,
            remaining_us=min(_UINT32, max(0, round(timeout_s * 1e6))),
        )
        for item in range(items)
    ]


def _joined(model: Model, results: Sequence[Result], place: int) -> OutputTensor:
    """One output of all items."""
    given = model.outputs[place]
    data = b"".join([result.outputs[place].data for result in results])
    return OutputTensor(given.name, given.datatype, (len(results), *given.shape[1:]), data)
