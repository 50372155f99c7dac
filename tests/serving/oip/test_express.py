"""Connections of the REST door, with bytes written by hand: what is answered here, and what goes to the framework."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from serving.oip import express
from serving.oip.express import Asked, Express, read_head
from serving.oip.rest import RestDoor
from serving.oip.settings import OipSettings
from tests.runtime.tiny_bundle import TinyBundle
from tests.serving.oip.doors import Doors, open_doors
from transport.settings import Listen

PATH = "/v2/models/tiny/infer"
AMPLE_S = 30.0


@pytest.fixture
async def doors(tiny_bundle: TinyBundle) -> AsyncIterator[Doors]:
    async with open_doors(tiny_bundle.path, settings=OipSettings(rest=Listen())) as opened:
        yield opened


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each connection that went to the framework."""
    seen: list[str] = []
    framework = RestDoor.framework

    def noted(door: RestDoor) -> asyncio.Protocol:
        seen.append("framework")
        return framework(door)

    monkeypatch.setattr(RestDoor, "framework", noted)
    return seen


class Caller:
    """One connection, and what comes back on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        async with asyncio.timeout(AMPLE_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def logits(self) -> list[float]:
        status, _, body = await self.answer()
        assert status == 200, body
        found: list[float] = json.loads(body)["outputs"][0]["data"]
        return found

    async def ended(self) -> bytes:
        """What comes before the other end closes."""
        async with asyncio.timeout(AMPLE_S):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@asynccontextmanager
async def calling(doors: Doors) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection("127.0.0.1", doors.oip.ports["rest"])
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


def a_request(body: bytes, *, path: str = PATH, more: str = "", line: str = "") -> bytes:
    """A request whose body is the one input."""
    head = line or f"POST {path} HTTP/1.1"
    fields = f"Host: h\r\nContent-Length: {len(body)}\r\nInference-Header-Content-Length: 0\r\n{more}"
    return f"{head}\r\n{fields}\r\n".encode() + body


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(AMPLE_S):
        while not holds():  # noqa: ASYNC110 - neither door nor scheduler tells of it
            await asyncio.sleep(0.005)


async def test_a_plain_request_in_any_pieces_never_meets_the_framework(
    doors: Doors, tiny_bundle: TinyBundle, handed_over: list[str]
) -> None:
    request = a_request(tiny_bundle.items[0].tobytes())
    async with calling(doors) as caller:
        caller.writer.write(request)
        whole = await caller.logits()
        for piece in (1, 40, 700, len(request) - 1):
            for at in range(0, len(request), piece) if piece > 1 else [0]:
                caller.writer.write(request[at : at + piece] if piece > 1 else request[:1])
                await caller.writer.drain()
                await asyncio.sleep(0)
            if piece == 1:
                caller.writer.write(request[1:])
            assert await caller.logits() == whole
    assert handed_over == []


async def test_requests_sent_ahead_are_answered_in_their_order(doors: Doors, tiny_bundle: TinyBundle) -> None:
    items = [item.tobytes() for item in tiny_bundle.items[:5]]
    async with calling(doors) as caller:
        alone = []
        for item in items:
            caller.writer.write(a_request(item))
            alone.append(await caller.logits())
        caller.writer.write(b"".join(map(a_request, items * 10)))  # far more than is read ahead
        for place in range(50):
            assert await caller.logits() == alone[place % 5]


async def test_another_kind_of_request_takes_the_connection_to_the_framework_with_nothing_lost(
    doors: Doors, tiny_bundle: TinyBundle, handed_over: list[str]
) -> None:
    item = tiny_bundle.items[0].tobytes()
    metadata = b"GET /v2/models/tiny HTTP/1.1\r\nHost: h\r\n\r\n"
    async with calling(doors) as caller:
        caller.writer.write(a_request(item) + metadata + a_request(item))
        before = await caller.logits()
        status, _, body = await caller.answer()
        assert (status, json.loads(body)["name"], handed_over) == (200, "tiny", ["framework"])
        assert await caller.logits() == before
        caller.writer.write(metadata)
        assert (await caller.answer())[0] == 200
    assert handed_over == ["framework"]


DOUBTFUL = {
    "a length written twice": "Content-Length: 3072\r\n",
    "chunks and a length": "Transfer-Encoding: chunked\r\n",
    "a line that goes on": "X-A: b\r\n c\r\n",
    "a space before the colon": "X-A : b\r\n",
    "a compressed body": "Content-Encoding: gzip\r\n",
    "a wish to be asked first": "Expect: 100-continue\r\n",
    "another protocol": "Upgrade: websocket\r\nConnection: upgrade\r\n",
    "an end after this": "Connection: close\r\n",
    "a bare line feed": "X-A: b\nX-B: c\r\n",
    "no character": "X-A: \x00\r\n",
}


async def test_a_doubtful_head_is_left_to_the_framework(
    doors: Doors, tiny_bundle: TinyBundle, handed_over: list[str]
) -> None:
    for number, (kind, more) in enumerate(DOUBTFUL.items(), start=1):
        async with calling(doors) as caller:
            caller.writer.write(a_request(tiny_bundle.items[0].tobytes(), more=more))
            async with asyncio.timeout(AMPLE_S):
                assert (await caller.reader.readline()).startswith(b"HTTP/1."), kind
        assert len(handed_over) == number, kind


@pytest.mark.parametrize(
    "line",
    [
        f"POST {PATH} HTTP/1.0",
        "POST /v2/models/t%69ny/infer HTTP/1.1",
        f"POST {PATH}?a=b HTTP/1.1",
        f"PUT {PATH} HTTP/1.1",
    ],
)
def test_only_a_plain_line_is_read_here(line: str) -> None:
    assert read_head(a_request(b"", line=line).removesuffix(b"\r\n\r\n")) is None


def test_a_plain_head_is_read() -> None:
    head = a_request(b"abc", path="/v2/models/a.b-c_d~1/versions/7/infer", more="Connection: Keep-Alive\r\nX-A:\r\n")
    assert read_head(head.removesuffix(b"\r\n\r\nabc")) == Asked("a.b-c_d~1", "7", "0", 3)
    for length in ("-1", "+1", "1_0", "", "0x10", "99999999", "1048577"):
        assert read_head(f"POST {PATH} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}".encode()) is None
    assert read_head(f"POST {PATH} HTTP/1.1\r\nContent-Length: 1".encode()) is None


async def test_a_refusal_says_why_and_the_connection_stays(doors: Doors, tiny_bundle: TinyBundle) -> None:
    async with calling(doors) as caller:
        caller.writer.write(a_request(b"too short"))
        status, headers, body = await caller.answer()
        assert (status, headers["content-type"]) == (400, "application/json")
        assert "no whole items" in json.loads(body)["error"]
        caller.writer.write(a_request(b"", path="/v2/models/other/infer"))
        assert (await caller.answer())[0] == 404
        caller.writer.write(a_request(tiny_bundle.items[0].tobytes()))
        await caller.logits()


async def test_what_is_no_request_goes_to_the_framework_at_once(doors: Doors, handed_over: list[str]) -> None:
    sent = (b"GARBAGE\r\n\r\n", b"GARBAGE that never ends", b"POST /v2/models/" + b"a" * 9000)
    for number, what in enumerate(sent, start=1):
        async with calling(doors) as caller:
            caller.writer.write(what)
            await until(partial(_holds, handed_over, number))


def _holds(entries: list[str], number: int) -> bool:
    return len(entries) == number


async def test_a_caller_that_leaves_is_worked_for_no_longer(doors: Doors, tiny_bundle: TinyBundle) -> None:
    from tests.serving.occupied import occupied

    door = doors.oip._rest
    assert door is not None
    async with occupied(doors.tier.workers):
        async with calling(doors) as caller:
            caller.writer.write(a_request(tiny_bundle.items[0].tobytes()))
            await until(lambda: doors.tier.workers.queued == 1)
        await until(lambda: doors.tier.workers.queued == 0)
    async with calling(doors) as caller:
        caller.writer.write(a_request(tiny_bundle.items[0].tobytes())[:-1])
        await until(lambda: door._here == 1)
    await until(lambda: door._here == 0)


async def test_a_request_beyond_those_that_may_be_here_is_refused_before_its_body(tiny_bundle: TinyBundle) -> None:
    request = a_request(tiny_bundle.items[0].tobytes())
    async with open_doors(tiny_bundle.path, settings=OipSettings(rest=Listen(), requests=1)) as doors:
        door = doors.oip._rest
        assert door is not None
        async with calling(doors) as first, calling(doors) as second:
            first.writer.write(request[:-1])
            await until(lambda: door._here == 1)
            second.writer.write(request)
            status, headers, body = await second.answer()
            assert (status, headers["retry-after"]) == (503, "1")
            assert "1 requests are here" in json.loads(body)["error"]
            first.writer.write(request[-1:])
            await first.logits()


async def test_an_idle_connection_is_closed_and_a_slow_request_left_to_the_framework(
    doors: Doors, handed_over: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(express, "_LOOK_S", 0.1)
    monkeypatch.setattr(express, "_IDLE_LOOKS", 3)
    async with calling(doors) as idle, calling(doors) as slow:
        slow.writer.write(a_request(b"all of it")[:-1])
        assert await idle.ended() == b""
        await until(lambda: bool(handed_over))
        slow.writer.write(b"t")
        assert (await slow.answer())[0] == 400


async def test_an_answer_that_fails_in_an_unforeseen_way_ends_its_connection_and_no_other(
    doors: Doors, tiny_bundle: TinyBundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    item = tiny_bundle.items[0].tobytes()

    async def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    async with calling(doors) as caller, calling(doors) as other:
        other.writer.write(a_request(item))
        await other.logits()
        with monkeypatch.context() as patched:
            patched.setattr(RestDoor, "answer", broken)
            caller.writer.write(a_request(item))
            assert await caller.ended() == b""
        other.writer.write(a_request(item))
        await other.logits()
    assert "could not be answered" in caplog.text


async def test_stopping_closes_connections_that_are_open(tiny_bundle: TinyBundle) -> None:
    async with open_doors(tiny_bundle.path, settings=OipSettings(rest=Listen())) as doors, calling(doors) as caller:
        caller.writer.write(a_request(tiny_bundle.items[0].tobytes()))
        await caller.logits()
        await doors.oip.stop()
        assert await caller.ended() == b""


def test_no_connection_is_kept_after_its_end() -> None:
    class Gone(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return None

    async def made_and_lost() -> set[Express]:
        connections: set[Express] = set()
        made = Express(RestDoor.__new__(RestDoor), connections)
        made.connection_made(Gone())
        assert connections == {made}
        made.connection_lost(None)
        made.resume_writing()
        made.close()
        return connections

    assert asyncio.run(made_and_lost()) == set()
