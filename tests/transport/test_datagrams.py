"""Frames over QUIC datagrams: the same sessions as over gRPC, over loopback and over a relay that loses packets."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from protocol.errors import Code
from protocol.messages import Refusal, Result
from tests.transport.callers import DIGEST, calling, frame

pytest.importorskip("aioquic", reason="the extra quic is not installed")

from cryptography.hazmat.primitives.hashes import SHA256

from protocol.fragments import MOST_MESSAGE_BYTES
from protocol.messages import Hello, decode_downward, encode_upward
from tests.transport.pki import Pki
from tests.transport.quic_callers import near, payload_back, relay, serving_quic
from transport.connecting import connector_for
from transport.datagram_server import DatagramServer
from transport.errors import AddressInUse, CertificateUnusable, ExtraMissing, InsecureBinding
from transport.events import Answered, Lost, Refused, Welcomed
from transport.quic_connection import quic_to
from transport.seam import StreamEnded
from transport.server import Identity
from transport.settings import CallerTls, Dial, Listen
from transport.stream import Request


async def test_frames_of_every_length_come_back_whole() -> None:
    chance = random.Random(5)
    sizes = [1, 999, 2_048, MOST_MESSAGE_BYTES - 200, MOST_MESSAGE_BYTES + 1, 300_000]
    payloads = {number: chance.randbytes(size) for number, size in enumerate(sizes, 1)}
    async with serving_quic() as server, calling("", dial=near(server.port)) as caller:
        await caller.expect(Welcomed)
        for number, payload in payloads.items():
            caller.client.send(frame(number, payload))
        results = {}
        for _ in payloads:
            result = (await caller.expect(Answered)).result
            results[result.id] = result.outputs[0].data
        assert results == payloads


async def test_every_frame_is_answered_once_where_a_fifth_of_all_packets_is_lost() -> None:
    chance, handled = random.Random(3), list[int]()

    async def counted(request: Request) -> Result | Refusal:
        handled.append(request.frame.id)
        return await payload_back(request)

    payloads = {number: chance.randbytes(chance.choice([10, 2_000, 9_000])) for number in range(1, 31)}
    async with (
        serving_quic(counted) as server,
        relay(server.port, lambda _up, _data: chance.random() < 0.2) as port,
        calling("", dial=near(port)) as caller,
    ):
        await caller.expect(Welcomed)
        for number, payload in payloads.items():
            caller.client.send(frame(number, payload))
        results = {}
        for _ in payloads:
            result = (await caller.expect(Answered)).result
            results[result.id] = result.outputs[0].data
        assert results == payloads
        assert sorted(handled) == sorted(payloads)


async def test_a_frame_that_cannot_be_delivered_is_refused_at_its_deadline_and_the_credit_is_back() -> None:
    dead = False
    async with (
        serving_quic() as server,
        relay(server.port, lambda goes_up, _: dead and goes_up) as port,
        calling("", dial=near(port)) as caller,
    ):
        await caller.expect(Welcomed)
        credits = caller.client.credits_left
        dead = True
        caller.client.send(frame(1, remaining_us=200_000))
        refusal = (await caller.expect(Refused)).refusal
        assert (refusal.id, refusal.code) == (1, Code.EXPIRED)
        assert caller.client.credits_left == credits
        dead = False
        caller.client.send(frame(2))
        while not isinstance(event := await caller.event(), Answered):
            pass
        assert event.result.id == 2


async def test_a_small_frame_overtakes_a_long_one_that_waits_for_what_was_lost() -> None:
    """In one ordered stream it could not: all that is lost here is of the long frame."""
    is_bad = False
    async with (
        serving_quic() as server,
        relay(server.port, lambda goes_up, data: is_bad and goes_up and len(data) > 500) as port,
        calling("", dial=near(port)) as caller,
    ):
        await caller.expect(Welcomed)
        is_bad = True
        caller.client.send(frame(1, bytes(2_200)))
        caller.client.send(frame(2, b"small"))
        assert (await caller.expect(Answered)).result.id == 2
        is_bad = False
        assert (await caller.expect(Answered)).result.id == 1


async def test_probes_and_cancellations_travel_beside_the_frames() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(request: Request) -> Result | Refusal:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        raise AssertionError

    async with serving_quic(stuck) as server, calling("", dial=near(server.port)) as caller:
        await caller.expect(Welcomed)
        caller.client.probe(7)
        assert (await caller.event()).probe.id == 7  # type: ignore[union-attr]
        caller.client.send(frame(1))
        await asyncio.wait_for(begun.wait(), 20)
        assert not caller.client.cancel(1)
        refusal = (await caller.expect(Refused)).refusal
        assert (refusal.id, refusal.code) == (1, Code.EXPIRED)
        assert cancelled.is_set()


async def test_a_tier_that_stops_loses_its_frames_and_is_found_again() -> None:
    async def never(request: Request) -> Result | Refusal:
        await asyncio.Event().wait()
        raise AssertionError

    async with serving_quic(never) as server:
        port = server.port
        async with calling("", dial=near(port)) as caller:
            await caller.expect(Welcomed)
            caller.client.send(frame(3))
            await server.stop()
            assert (await caller.expect(Lost)).frames == (3,)
            async with serving_quic(listen=Listen(port=port)):
                await caller.expect(Welcomed)
                caller.client.send(frame(4))
                assert (await caller.expect(Answered)).result.id == 4


async def test_a_draining_tier_answers_what_it_has_and_says_goodbye() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Result | Refusal:
        begun.set()
        await go_on.wait()
        return await payload_back(request)

    async with serving_quic(slow) as server, calling("", dial=near(server.port)) as caller:
        await caller.expect(Welcomed)
        caller.client.send(frame(1))
        await asyncio.wait_for(begun.wait(), 20)
        draining = asyncio.create_task(server.drain(20))
        await asyncio.sleep(0)
        go_on.set()
        assert (await caller.expect(Answered)).result.id == 1
        refusal = (await caller.expect(Refused)).refusal
        assert (refusal.id, refusal.code) == (0, Code.DRAINING)
        assert await draining == 0


async def test_a_caller_is_who_its_certificate_says(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.enrol("camera-1")
    async with serving_quic(listen=pki.listen) as server:
        dial = pki.dial("camera-1", server.port).model_copy(update={"datagrams": True})
        async with calling("", dial=dial, name="somebody-else") as caller:
            await caller.expect(Welcomed)
            caller.client.send(frame(1))
            assert (await caller.expect(Answered)).result.answered_by == "camera-1"


async def test_a_revoked_caller_is_turned_away(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.enrol("stolen")
    (tmp_path / "revoked").write_text("stolen\n")
    async with serving_quic(listen=pki.listen) as server:
        dial = pki.dial("stolen", server.port).model_copy(update={"datagrams": True})
        async with calling("", dial=dial) as caller:
            refusal = (await caller.expect(Refused)).refusal
            assert (refusal.id, refusal.code) == (0, Code.FORBIDDEN)


async def test_callers_without_a_certificate_or_with_a_strangers_are_turned_away(tmp_path: Path) -> None:
    ours, theirs = Pki(tmp_path / "ours"), Pki(tmp_path / "theirs")
    theirs.enrol("stranger")
    stranger = CallerTls(
        ca=ours.folder / "ca.pem", certificate=theirs.folder / "stranger.pem", key=theirs.folder / "stranger.key"
    )
    async with serving_quic(listen=ours.listen) as server:
        target = f"127.0.0.1:{server.port}"
        for tls in (stranger, None):
            async with calling("", dial=Dial(target=target, tls=tls, datagrams=True)) as caller:
                refusal = (await caller.expect(Refused)).refusal
                assert (refusal.id, refusal.code) == (0, Code.FORBIDDEN)


async def test_a_tier_with_a_certificate_of_another_authority_is_not_spoken_to(tmp_path: Path) -> None:
    ours, theirs = Pki(tmp_path / "ours"), Pki(tmp_path / "theirs")
    ours.enrol("camera-1")
    async with serving_quic(listen=theirs.listen) as server:
        dial = ours.dial("camera-1", server.port).model_copy(update={"datagrams": True})
        async with calling("", dial=dial) as caller:
            assert "no connection" in await caller.attempted()
            assert not caller.client.ready


async def test_new_connections_get_the_certificate_that_is_there_then(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.enrol("camera-1")
    async with serving_quic(listen=pki.listen) as server:
        dial = pki.dial("camera-1", server.port).model_copy(update={"datagrams": True})
        seen = set[bytes]()
        for _ in range(2):
            async with asyncio.timeout(20), quic_to(dial) as end:
                certificate = end._quic.tls._peer_certificate
                assert certificate is not None
                seen.add(certificate.fingerprint(SHA256()))
            pki.renew_tier()
        assert len(seen) == 2
        (tmp_path / "tier.pem").write_text("broken")
        async with calling("", dial=dial) as caller:
            await caller.expect(Welcomed)


async def test_too_many_handshakes_at_one_time_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving_quic() as server, calling("", dial=near(server.port)) as early:
        await early.expect(Welcomed)
        monkeypatch.setattr("transport.datagram_server.MOST_HANDSHAKES", 0)
        with pytest.raises(StreamEnded, match="no connection"):
            async with asyncio.timeout(20), quic_to(near(server.port)):
                pass
        early.client.send(frame(1))
        assert (await early.expect(Answered)).result.id == 1


async def test_bytes_that_are_nothing_end_that_stream_alone() -> None:
    async with serving_quic() as server, calling("", dial=near(server.port)) as good:
        await good.expect(Welcomed)
        async with asyncio.timeout(20), quic_to(near(server.port)) as hostile:
            hostile.send_record(0, encode_upward(Hello("hostile", (DIGEST,))))
            await hostile.read()
            hostile.send_datagrams([b"\x03 no kind of ours"])
            arrival = await hostile.read()
            assert isinstance(arrival, tuple)
            refusal = decode_downward(arrival[1])
            assert isinstance(refusal, Refusal)
            assert (refusal.id, refusal.code) == (0, Code.MALFORMED)
        good.client.send(frame(1))
        assert (await good.expect(Answered)).result.id == 1


async def test_a_record_longer_than_a_message_may_be_is_refused_before_it_has_come() -> None:
    async with serving_quic() as server, asyncio.timeout(20), quic_to(near(server.port)) as hostile:
        hostile._quic.send_stream_data(0, (0).to_bytes(4, "big") + (1 << 31).to_bytes(4, "big"))
        hostile.transmit()
        await hostile.wait_closed()


def test_listening_beyond_loopback_without_certificates_is_refused() -> None:
    with pytest.raises(InsecureBinding):
        DatagramServer(payload_back, Listen(host="0.0.0.0"), Identity("edge", tuple))


async def test_a_port_in_use_is_named() -> None:
    async with serving_quic() as server:
        with pytest.raises(AddressInUse, match=str(server.port)):
            async with serving_quic(listen=Listen(port=server.port)):
                pass


async def test_a_key_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    (tmp_path / "tier.pem").write_text("no certificate")
    with pytest.raises(CertificateUnusable, match=r"tier\.pem"):
        async with serving_quic(listen=pki.listen):
            pass


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [
        name for name in sys.modules if name.startswith(("aioquic", "transport.datagram", "transport.quic"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "aioquic", None)
    with pytest.raises(ExtraMissing, match=r"pip install isthmus\[quic\]"):
        connector_for(near(1), "caller", lambda: 0.0)


def test_datagrams_and_a_broker_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="remove one of them"):
        Dial(target="127.0.0.1:1", group="edge", datagrams=True)
