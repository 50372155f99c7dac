"""First messages of strangers: each is refused by code, in few words, with little memory, and the stream is over."""

from __future__ import annotations

import tracemalloc

import pytest

from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.messages import Cancel, Hello, Probe, Welcome, decode_downward, encode_upward
from protocol.packing import pack, unpack
from protocol.session import ServerSession, State
from tests.protocol.samples import DIGEST, frame
from tests.security.raw_messages import field, hello, varint
from tests.security.replies import assert_says_little

GREETINGS: dict[str, tuple[Code, bytes]] = {
    "nothing": (Code.MALFORMED, b""),
    "noise": (Code.MALFORMED, b"\xff" * 40),
    "an HTTP request": (Code.MALFORMED, b"GET / HTTP/1.1\r\nHost: tier\r\n\r\n"),
    "a TLS hello": (Code.MALFORMED, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)),
    "a pickle": (Code.MALFORMED, b"\x80\x04\x95\x1f" + bytes(7) + b"\x8c\x05posix\x94\x8c\x06system\x94\x93."),
    "a frame": (Code.MALFORMED, encode_upward(frame())),
    "a cancel": (Code.MALFORMED, encode_upward(Cancel(1))),
    "a probe": (Code.MALFORMED, encode_upward(Probe(1))),
    "a hello cut short": (Code.MALFORMED, encode_upward(Hello("rude", (DIGEST,)))[:-5]),
    "longer than a hello may be": (Code.MALFORMED, hello(bundles=[DIGEST] * 500)),
    "65 bundles": (Code.MALFORMED, hello(bundles=[bytes([i]) * 32 for i in range(65)])),
    "a digest of 31 bytes": (Code.MALFORMED, hello(bundles=[DIGEST[:31]])),
    "a digest of 33 bytes": (Code.MALFORMED, hello(bundles=[DIGEST + b"x"])),
    "an empty digest": (Code.MALFORMED, hello(bundles=[b""])),
    "a name of 65 characters": (Code.MALFORMED, hello(sender="x" * 65)),
    "a name with a line break, for the log": (Code.MALFORMED, hello(sender="me\n2026 ERROR all is lost")),
    "a name with a terminal's escape": (Code.MALFORMED, hello(sender="\x1b[2J")),
    "a name with a zero byte": (Code.MALFORMED, hello(sender="a\0b")),
    "a name turned round": (Code.MALFORMED, hello(sender="\u202eegde")),
    "a name that is no UTF-8": (Code.MALFORMED, field(1, b"\x08\x01" + field(2, b"\xff\xfe"))),
    "version 0": (Code.VERSION, hello(version=0)),
    "a version beyond 32 bits": (Code.VERSION, field(1, b"\x08" + varint(1 << 32))),
    "an unknown kind": (Code.MALFORMED, field(100, b"hello")),
    "a group": (Code.MALFORMED, b"\x0b\x08\x01\x0c"),
    "an endless number": (Code.MALFORMED, b"\x0a\x0c\x08" + b"\xff" * 10 + b"\x01"),
    "a length beyond the end": (Code.MALFORMED, b"\x0a\xff\xff\xff\x7f"),
    "a length beyond 64 bits": (Code.MALFORMED, b"\x0a" + b"\xff" * 9 + b"\x7f"),
    "field number 0": (Code.MALFORMED, b"\x02\x00"),
    "two kinds, the last no hello": (Code.MALFORMED, hello() + encode_upward(Cancel(1))),
    "16 KiB of empty fields": (Code.MALFORMED, field(1, b"\x1a\x00" * 8000)),
}  # fmt: skip


@pytest.mark.parametrize("name", GREETINGS)
def test_a_bad_greeting_is_refused_and_closes_the_session(name: str) -> None:
    code, data = GREETINGS[name]
    session = ServerSession(bundles=lambda: (DIGEST,), welcome=lambda _: Welcome("edge", (DIGEST,), 4))
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError) as caught:
            session.receive(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data) + (256 << 10)
    assert caught.value.code is code
    assert session.state is State.CLOSED
    refusal = decode_downward(session.refuse_stream(caught.value.code, caught.value.detail))
    assert_says_little(refusal)
    with pytest.raises(LocalProtocolError):
        session.receive(encode_upward(Hello("rude", (DIGEST,))))


def test_a_pack_does_not_smuggle_a_second_hello() -> None:
    session = ServerSession(bundles=lambda: (DIGEST,), welcome=lambda _: Welcome("edge", (DIGEST,), 4))
    first, second = unpack(pack([hello(), hello()]))
    session.receive(first)
    with pytest.raises(RemoteProtocolError, match="twice"):
        session.receive(second)
