"""Who a caller is, by its certificate: named, counted, renewed and revoked, while good streams go on."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from protocol.errors import Code
from protocol.messages import Refusal, Result
from tests.transport.callers import Caller, calling, echo, frame, serving
from tests.transport.pki import Pki
from transport.admission import Admission, Revoked, TurnedAway
from transport.admission import Caller as Certified
from transport.events import Answered, Lost, Refused, Welcomed
from transport.server import FrameServer
from transport.settings import Quota, Quotas
from transport.stream import Request


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path / "pki")
    for name in ("camera-1", "camera-2"):
        made.enrol(name)
    return made


@asynccontextmanager
async def device(pki: Pki, name: str, server: FrameServer) -> AsyncIterator[Caller]:
    async with calling("", dial=pki.dial(name, server.port)) as caller:
        await caller.expect(Welcomed)
        yield caller


async def answered(caller: Caller, frame_id: int) -> None:
    caller.client.send(frame(frame_id))
    assert (await caller.expect(Answered)).result.id == frame_id


async def test_a_handler_is_told_the_certificates_name_and_not_the_callers_word(pki: Pki) -> None:
    seen = []

    async def note(request: Request) -> Result:
        seen.append(request.sender)
        return Result(request.frame.id, (), "edge")

    async with serving(note, listen=pki.listen) as server, device(pki, "camera-1", server) as caller:
        await answered(caller, 1)
    assert seen == ["camera-1"]  # its hello said "tester"


async def test_a_revoked_device_loses_its_stream_and_the_others_keep_theirs(pki: Pki) -> None:
    now = 0.0
    async with (
        serving(echo, listen=pki.listen, clock=lambda: now) as server,
        device(pki, "camera-1", server) as bad,
        device(pki, "camera-2", server) as good,
    ):
        await answered(bad, 1)
        (pki.folder / "revoked").write_text("camera-1  # stolen\n")
        now = 2.0
        bad.client.send(frame(2))
        assert (await bad.expect(Refused)).refusal.code is Code.FORBIDDEN
        assert (await bad.expect(Refused)).refusal.code is Code.FORBIDDEN
        assert (await bad.expect(Lost)).frames == ()
        await answered(good, 1)
        assert "forbidden" in await _next_failure(bad)
        await answered(good, 2)


async def _next_failure(caller: Caller) -> str:
    refused = await caller.expect(Refused)
    assert refused.refusal.id == 0
    return f"{refused.refusal.code.name.lower()}: {refused.refusal.detail}"


async def test_new_certificates_are_used_without_dropping_a_stream(pki: Pki, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo, listen=pki.listen) as server, device(pki, "camera-1", server) as caller:
        await answered(caller, 1)
        pki.renew_tier()
        pki.enrol("camera-2")
        async with device(pki, "camera-2", server) as other:
            await answered(other, 1)
        await answered(caller, 2)
        (pki.folder / "tier.key").write_text("half a file")
        async with device(pki, "camera-2", server) as other:
            await answered(other, 1)
        await answered(caller, 3)


async def test_a_caller_reads_its_certificate_anew_for_each_stream(pki: Pki) -> None:
    async with serving(echo, listen=pki.listen) as server:
        port = server.port
        async with device(pki, "camera-1", server) as caller:
            await answered(caller, 1)
            shutil.copy(pki.folder / "camera-2.key", pki.folder / "camera-1.key")
            shutil.copy(pki.folder / "camera-2.pem", pki.folder / "camera-1.pem")
            await server.stop()
            await caller.expect(Lost)
            seen: list[str] = []

            async def note(request: Request) -> Result:
                seen.append(request.sender)
                return Result(request.frame.id, (), "edge")

            again = pki.listen.model_copy(update={"port": port})
            async with serving(note, listen=again):
                await caller.expect(Welcomed)
                await answered(caller, 2)
            assert seen == ["camera-2"]


async def test_a_device_beyond_its_quota_is_refused_and_told_when_to_come_back(pki: Pki) -> None:
    quotas = Quotas(frames_per_s=2.0, burst=3)
    async with (
        serving(echo, listen=pki.listen, clock=lambda: 0.0, quotas=quotas) as server,
        device(pki, "camera-1", server) as greedy,
        device(pki, "camera-2", server) as modest,
    ):
        for frame_id in (1, 2, 3):
            await answered(greedy, frame_id)
        greedy.client.send(frame(4))
        refusal: Refusal = (await greedy.expect(Refused)).refusal
        assert (refusal.id, refusal.code, refusal.retry_after_us) == (4, Code.OVERLOADED, 500_000)
        await answered(modest, 1)


async def test_a_device_has_no_more_streams_than_its_quota(pki: Pki) -> None:
    async with (
        serving(echo, listen=pki.listen, quotas=Quotas(streams=1)) as server,
        device(pki, "camera-1", server) as first,
        calling("", dial=pki.dial("camera-1", server.port)) as second,
        device(pki, "camera-2", server) as other,
    ):
        assert (await second.expect(Refused)).refusal.code is Code.OVERLOADED
        await answered(first, 1)
        await answered(other, 1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


CAMERA = Certified("camera", "ab" * 32)


def test_a_quota_fills_again_with_time_and_memory_is_given_back() -> None:
    clock = Clock()
    admission = Admission(Quotas(frames_per_s=1.0, burst=2), None, clock)
    assert admission.enter(CAMERA) is None
    assert [admission.take(CAMERA) is None for _ in range(3)] == [True, True, False]
    clock.now = 1.0
    assert [admission.take(CAMERA) is None for _ in range(2)] == [True, False]
    clock.now = 99.0
    admission.leave(CAMERA)
    assert not admission._buckets
    assert not admission._streams


def test_a_caller_named_apart_has_its_own_quota_and_the_others_the_common_one() -> None:
    quotas = Quotas(burst=1, callers={"camera": Quota(burst=2, streams=1)})
    admission = Admission(quotas, None, Clock())
    other = Certified("other", "cd" * 32)
    assert [admission.enter(CAMERA) is None for _ in range(2)] == [True, False]
    assert [admission.enter(other) is None for _ in range(2)] == [True, True]
    assert [admission.take(CAMERA) is None for _ in range(3)] == [True, True, False]
    assert [admission.take(other) is None for _ in range(2)] == [True, False]


def test_leaving_and_coming_back_does_not_fill_a_quota() -> None:
    admission = Admission(Quotas(frames_per_s=1.0, burst=1), None, Clock())
    for taken in (True, False):
        assert admission.enter(CAMERA) is None
        assert (admission.take(CAMERA) is None) is taken
        admission.leave(CAMERA)


@pytest.mark.parametrize("line", ["camera", "ab" * 32])
def test_a_name_or_a_fingerprint_revokes_and_a_lost_list_stays_in_force(tmp_path: Path, line: str) -> None:
    clock, path = Clock(), tmp_path / "revoked"
    path.write_text(f"# list\nother\n{line} # gone\n")
    admission = Admission(Quotas(), Revoked(path, clock), clock)
    found: Any = admission.enter(CAMERA)
    assert isinstance(found, TurnedAway)
    assert found.code is Code.FORBIDDEN
    path.unlink()
    clock.now = 5.0
    assert admission.enter(CAMERA) is not None
    path.write_text("")
    clock.now = 10.0
    assert admission.enter(CAMERA) is None


async def test_without_a_certificate_there_is_no_stream(pki: Pki) -> None:
    async with serving(echo, listen=pki.listen) as server, calling(f"127.0.0.1:{server.port}") as caller:
        assert "unavailable" in await caller.attempted()
