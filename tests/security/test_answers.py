"""Tiers that mean harm: what a caller makes of their messages."""

from __future__ import annotations

import tracemalloc

import pytest

from protocol import isthmus_pb2 as pb
from protocol.errors import RemoteProtocolError
from protocol.messages import Hello, encode_downward
from protocol.messages import Result as Answer
from protocol.session import ClientSession, State
from tests.protocol.samples import DIGEST, frame
from tests.security.raw_messages import field, result, tensor, varint, welcome

WELCOMES = {
    "no credits": welcome(credits=0),
    "credits without bound": welcome(credits=0xFFFFFFFF),
    "no payload taken": welcome(max_payload_bytes=0),
    "payloads without bound": welcome(max_payload_bytes=0xFFFFFFFF),
    "version 0": welcome(version=0),
    "a version not offered": welcome(version=9),
    "65 bundles": welcome(bundles=[bytes([i]) * 32 for i in range(65)]),
    "a digest of 1 byte": welcome(bundles=[b"x"]),
    "a name for the terminal": welcome(tier="\x1b]0;mine\x07"),
    "a result first": result(),
    "noise": b"\xff" * 20,
}
ANSWERS = {
    "frame 0": result(id=0),
    "a type that is no number": result(outputs=[tensor(dtype="object")]),
    "a type of records": result(outputs=[tensor(dtype="u1,u1")]),
    "a type with a path": result(outputs=[tensor(dtype="../uint8")]),
    "data shorter than the shape": result(outputs=[tensor(shape=[3])]),
    "data longer than the shape": result(outputs=[tensor(shape=[1])]),
    "a shape that overflows to the data's length": result(outputs=[tensor(shape=[1 << 20] * 8, data=b"")]),
    "a dimension without bound": result(outputs=[tensor(shape=[0xFFFFFFFF])]),
    "nine axes": result(outputs=[tensor(shape=[1] * 9, data=b"a")]),
    "65 outputs": result(outputs=[tensor()] * 65),
    "a name of 257 characters": result(outputs=[tensor(name="x" * 257)]),
    "a name with a line break": result(outputs=[tensor(name="a\nb")]),
    "answered by an escape": result(answered_by="\x1b[31m"),
    "four million empty outputs": field(2, b"\x12\x00" * (4 << 20 >> 1)),
    "one output of a million shapes": field(2, b"\x08\x01" + field(2, b"\x18\x01" * (1 << 20))),
    "an unknown field of a megabyte": field(2, b"\x08\x01" + field(99, bytes(1 << 20))),
    "a megabyte behind the result": result() + field(99, bytes(1 << 20)),
    "two results, one long": result(outputs=[tensor(shape=[90_000], data=bytes(90_000))]) + result(),
    "a name of a megabyte": result(outputs=[tensor(name="x" * (1 << 20))]),
    "longer than a message may be": result(outputs=[tensor(shape=[9 << 20], data=bytes(9 << 20))]),
    "a second welcome": welcome(),
    "a frame, which only callers send": field(2, b"\x11" + bytes(8)),
    "an unknown kind": field(88, b""),
    "nothing": b"",
    "a number cut short": b"\x12" + varint(1 << 40),
}


def open_session() -> ClientSession:
    session = ClientSession(Hello("device", (DIGEST,)))
    session.start()
    session.receive(welcome())
    session.send_frame(frame(1))
    return session


@pytest.mark.parametrize("name", WELCOMES)
def test_a_bad_welcome_closes_the_session(name: str) -> None:
    session = ClientSession(Hello("device", (DIGEST,)))
    session.start()
    with pytest.raises(RemoteProtocolError):
        session.receive(WELCOMES[name])
    assert session.state is State.CLOSED


@pytest.mark.parametrize("name", ANSWERS)
def test_a_bad_answer_closes_the_session_with_little_memory(name: str) -> None:
    session, data = open_session(), ANSWERS[name]
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            session.receive(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(data) + (256 << 10)
    assert session.state is State.CLOSED
    assert session.in_flight == (1,)


def test_answers_to_frames_never_sent_or_answered_already_change_nothing() -> None:
    session = open_session()
    assert session.receive(encode_downward(Answer(99, (), "edge"))) == []
    assert len(session.receive(encode_downward(Answer(1, (), "edge")))) == 1
    assert session.receive(encode_downward(Answer(1, (), "edge"))) == []
    assert session.credits_left == 4


def test_a_refusal_of_a_code_that_is_not_known_is_read_as_unspecified() -> None:
    refusal = pb.Downward(refusal=pb.Refusal(id=1, code=77, detail="x" * 100_000))
    with pytest.raises(RemoteProtocolError):
        open_session().receive(refusal.SerializeToString())
    refusal.refusal.detail = "x" * 300
    (event,) = open_session().receive(refusal.SerializeToString())
    assert (int(event.refusal.code), len(event.refusal.detail)) == (0, 256)  # type: ignore[union-attr]
