from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import isthmus_pb2 as pb
from protocol import limits
from protocol.errors import Code, LocalProtocolError, RemoteProtocolError
from protocol.events import Answered, Cancelled, Faulty, FrameArrived, Greeted, Probed, Refused, StreamRefused, Welcomed
from protocol.messages import (
    Cancel,
    Frame,
    Hello,
    Load,
    Probe,
    Refusal,
    Result,
    Tensor,
    Welcome,
    decode_downward,
    encode_downward,
    encode_upward,
)
from protocol.session import ClientSession, ServerSession, State, tag_of
from tests.protocol.samples import DIGEST, frame

HELLO = Hello("camera-1", (DIGEST,))
OTHER = bytes(reversed(DIGEST))


def server(credits: int = 3, max_payload_bytes: int = 1000, served: tuple[bytes, ...] = (DIGEST,)) -> ServerSession:
    def welcome(_: Hello) -> Welcome:
        return Welcome("edge", served, credits, max_payload_bytes, Load(1, 2))

    return ServerSession(bundles=lambda: served, welcome=welcome)


def pair(credits: int = 3) -> tuple[ClientSession, ServerSession]:
    """Both ends of an open stream."""
    client, tier = ClientSession(HELLO), server(credits)
    (greeted,) = tier.receive(client.start())
    assert isinstance(greeted, Greeted)
    client.receive(greeted.reply)
    return client, tier


def refusal_of(event: object) -> Refusal:
    """The refusal of a faulty frame, checked to be what its reply says."""
    assert isinstance(event, Faulty)
    assert decode_downward(event.reply) == event.refusal
    return event.refusal


def test_a_frame_travels_up_and_its_result_down() -> None:
    client, tier = pair()
    (arrived,) = tier.receive(client.send_frame(frame(1)))
    assert arrived == FrameArrived(frame(1))
    assert (client.in_flight, client.credits_left, tier.in_flight) == ((1,), 2, {1})
    result = Result(1, (Tensor("logits", "uint8", (2,), b"ab"),), "edge")
    assert client.receive(tier.answer(result)) == [Answered(result)]
    assert (client.in_flight, client.credits_left, tier.in_flight) == ((), 3, frozenset())


def test_the_greeting_opens_both_ends() -> None:
    client, tier = ClientSession(HELLO), server()
    assert (client.state, tier.state, client.credits_left) == (State.NEW, State.NEW, 0)
    (greeted,) = tier.receive(client.start())
    assert isinstance(greeted, Greeted)
    assert greeted.hello == HELLO
    assert (client.state, tier.state, client.credits_left) == (State.GREETING, State.OPEN, 0)
    welcome = Welcome("edge", (DIGEST,), 3, 1000, Load(1, 2), takes_fronts=True)
    assert client.receive(greeted.reply) == [Welcomed(welcome)]
    assert (client.state, client.welcome, client.credits_left) == (State.OPEN, welcome, 3)


def test_a_caller_of_a_later_version_is_met_at_ours() -> None:
    client, tier = ClientSession(replace(HELLO, version=9)), server()
    (greeted,) = tier.receive(client.start())
    assert isinstance(greeted, Greeted)
    (welcomed,) = client.receive(greeted.reply)
    assert isinstance(welcomed, Welcomed)
    assert welcomed.welcome.version == limits.VERSION


def test_a_hello_without_a_common_version_ends_the_stream() -> None:
    tier = server()
    with pytest.raises(RemoteProtocolError) as caught:
        tier.receive(encode_upward(replace(HELLO, version=0)))
    assert (caught.value.code, tier.state) == (Code.VERSION, State.CLOSED)
    farewell = tier.refuse_stream(caught.value.code, caught.value.detail)
    client = ClientSession(HELLO)
    client.start()
    assert client.receive(farewell) == [StreamRefused(Refusal(0, Code.VERSION, caught.value.detail), ())]
    assert client.state is State.CLOSED


@pytest.mark.parametrize("version", [0, limits.VERSION + 1])
def test_a_welcome_of_a_version_not_offered_is_the_tiers_fault(version: int) -> None:
    client = ClientSession(HELLO)
    client.start()
    with pytest.raises(RemoteProtocolError) as caught:
        client.receive(encode_downward(Welcome("edge", (), 1, version=version)))
    assert (caught.value.code, client.state) == (Code.VERSION, State.CLOSED)


@pytest.mark.parametrize("first", [frame(1), Cancel(1), Probe(1)])
def test_anything_before_hello_ends_the_stream(first: Frame | Cancel | Probe) -> None:
    tier = server()
    with pytest.raises(RemoteProtocolError, match="first message") as caught:
        tier.receive(encode_upward(first))
    assert (caught.value.code, tier.state) == (Code.MALFORMED, State.CLOSED)


def test_a_long_first_message_ends_the_stream_unparsed() -> None:
    with pytest.raises(RemoteProtocolError, match="first message"):
        server().receive(encode_upward(frame(1, bytes(limits.MAX_HELLO_BYTES))))


def test_a_second_hello_ends_the_stream() -> None:
    _, tier = pair()
    with pytest.raises(RemoteProtocolError, match="twice"):
        tier.receive(encode_upward(HELLO))
    assert tier.state is State.CLOSED


def test_bytes_that_name_no_frame_end_the_stream() -> None:
    _, tier = pair()
    with pytest.raises(RemoteProtocolError):
        tier.receive(b"\xff\xff")
    with pytest.raises(LocalProtocolError, match="closed"):
        tier.receive(encode_upward(frame(1)))


def test_a_damaged_payload_is_refused_and_the_stream_goes_on() -> None:
    _, tier = pair()
    (event,) = tier.receive(encode_upward(replace(frame(1), payload=b"fEatures")))
    assert (refusal_of(event).id, refusal_of(event).code) == (1, Code.CHECKSUM)
    assert tier.receive(encode_upward(frame(1))) == [FrameArrived(frame(1))]


def test_a_truncated_frame_is_refused_by_its_id_and_the_stream_goes_on() -> None:
    _, tier = pair()
    (event,) = tier.receive(encode_upward(frame(5))[:-3])
    assert (refusal_of(event).id, refusal_of(event).code) == (5, Code.MALFORMED)
    assert tier.receive(encode_upward(frame(5))) == [FrameArrived(frame(5))]


def test_an_over_long_frame_is_refused_by_its_id_and_the_stream_goes_on() -> None:
    _, tier = pair()
    (event,) = tier.receive(encode_upward(frame(5, bytes(1001))))
    assert (refusal_of(event).id, refusal_of(event).code) == (5, Code.TOO_LONG)
    raw = pb.Upward(frame=pb.Frame(id=6, payload=bytes(limits.MAX_MESSAGE_BYTES))).SerializeToString()
    (event,) = tier.receive(raw)
    assert (refusal_of(event).id, refusal_of(event).code) == (6, Code.TOO_LONG)
    assert tier.receive(encode_upward(frame(5))) == [FrameArrived(frame(5))]


def test_a_frame_of_impossible_shape_is_refused_by_its_id_and_the_stream_goes_on() -> None:
    _, tier = pair()
    (event,) = tier.receive(pb.Upward(frame=pb.Frame(id=5, shape=[1 << 20] * 8)).SerializeToString())
    assert (refusal_of(event).id, refusal_of(event).code) == (5, Code.MALFORMED)
    assert tier.receive(encode_upward(frame(5))) == [FrameArrived(frame(5))]


def test_a_bundle_that_was_not_named_or_is_not_served_is_refused() -> None:
    tier = server(served=(DIGEST,))
    tier.receive(encode_upward(Hello("camera", (DIGEST, OTHER))))
    (event,) = tier.receive(encode_upward(frame(1, digest=OTHER)))
    assert (refusal_of(event).id, refusal_of(event).code) == (1, Code.UNKNOWN_BUNDLE)
    (event,) = tier.receive(encode_upward(frame(2, digest=bytes(32))))
    assert (refusal_of(event).id, refusal_of(event).code) == (2, Code.UNKNOWN_BUNDLE)
    assert tier.in_flight == frozenset()


def test_another_bundle_with_the_same_tag_is_not_taken_for_ours() -> None:
    twin = DIGEST[:8] + bytes(24)
    tier = server(served=(DIGEST,))
    tier.receive(encode_upward(Hello("camera", (twin,))))
    assert tag_of(twin) == tag_of(DIGEST)
    (event,) = tier.receive(encode_upward(frame(1, digest=twin)))
    assert refusal_of(event).code is Code.UNKNOWN_BUNDLE


def test_an_id_in_use_is_refused_and_its_first_frame_still_answered() -> None:
    _, tier = pair()
    tier.receive(encode_upward(frame(1)))
    (event,) = tier.receive(encode_upward(frame(1)))
    assert (refusal_of(event).id, refusal_of(event).code) == (1, Code.MALFORMED)
    tier.answer(Result(1, (), "edge"))
    assert tier.receive(encode_upward(frame(1))) == [FrameArrived(frame(1))]


def test_a_frame_without_credit_is_refused() -> None:
    _, tier = pair(credits=2)
    for frame_id in (1, 2):
        tier.receive(encode_upward(frame(frame_id)))
    (event,) = tier.receive(encode_upward(frame(3)))
    assert (refusal_of(event).id, refusal_of(event).code) == (3, Code.OVERLOADED)
    tier.refuse(Refusal(1, Code.EXPIRED))
    assert tier.receive(encode_upward(frame(3))) == [FrameArrived(frame(3))]


def test_a_draining_tier_answers_what_it_has_and_refuses_what_comes() -> None:
    client, tier = pair()
    tier.receive(client.send_frame(frame(1)))
    tier.drain()
    (event,) = tier.receive(client.send_frame(frame(2)))
    assert refusal_of(event).code is Code.DRAINING
    assert client.receive(event.reply) == [Refused(event.refusal)]  # type: ignore[union-attr]
    result = Result(1, (), "edge")
    assert client.receive(tier.answer(result)) == [Answered(result)]


def test_a_probe_is_echoed() -> None:
    client, tier = pair()
    (probed,) = tier.receive(client.probe(77))
    assert isinstance(probed, Probed)
    assert client.receive(probed.reply) == [Probed(Probe(77))]


def test_a_cancelled_frame_keeps_its_credit_until_it_is_answered() -> None:
    client, tier = pair()
    tier.receive(client.send_frame(frame(1)))
    assert tier.receive(client.cancel(1)) == [Cancelled(1)]
    assert client.credits_left == 2
    refusal = Refusal(1, Code.EXPIRED, "cancelled")
    assert client.receive(tier.refuse(refusal)) == [Refused(refusal)]
    assert client.credits_left == 3


def test_a_cancel_that_crosses_its_answer_changes_nothing() -> None:
    client, tier = pair()
    tier.receive(client.send_frame(frame(1)))
    cancel = client.cancel(1)
    client.receive(tier.answer(Result(1, (), "edge")))
    assert tier.receive(cancel) == []
    with pytest.raises(LocalProtocolError, match="not in flight"):
        client.cancel(1)


def test_our_own_misuse_of_a_caller_is_refused_without_a_change() -> None:
    client = ClientSession(HELLO)
    for misuse in (lambda: client.send_frame(frame(1)), lambda: client.receive(b""), lambda: client.probe(1)):
        with pytest.raises(LocalProtocolError):
            misuse()
    client, _ = pair(credits=2)
    with pytest.raises(LocalProtocolError, match="started"):
        client.start()
    with pytest.raises(LocalProtocolError, match="longer"):
        client.send_frame(frame(1, bytes(1001)))
    with pytest.raises(LocalProtocolError, match="trace"):
        client.send_frame(replace(frame(1), trace=b"x"))
    assert client.credits_left == 2
    client.send_frame(frame(1))
    with pytest.raises(LocalProtocolError, match="in flight"):
        client.send_frame(frame(1))
    client.send_frame(frame(2))
    with pytest.raises(LocalProtocolError, match="credits"):
        client.send_frame(frame(3))
    assert client.in_flight == (1, 2)


def test_our_own_misuse_of_a_tier_is_refused_without_a_change() -> None:
    tier = server()
    with pytest.raises(LocalProtocolError, match="new"):
        tier.answer(Result(1, (), "edge"))
    _, tier = pair()
    tier.receive(encode_upward(frame(1)))
    for misuse in (Result(2, (), "edge"), Result(1, (Tensor("t", "uint8", (9,), b""),), "edge")):
        with pytest.raises(LocalProtocolError):
            tier.answer(misuse)
    assert tier.in_flight == {1}
    tier.refuse(Refusal(1, Code.INTERNAL))
    with pytest.raises(LocalProtocolError, match="not waiting"):
        tier.answer(Result(1, (), "edge"))


def test_answers_to_no_frame_give_no_credit() -> None:
    client, _ = pair()
    client.send_frame(frame(1))
    assert client.receive(encode_downward(Result(9, (), "edge"))) == []
    assert client.receive(encode_downward(Refusal(9, Code.INTERNAL))) == []
    assert (client.in_flight, client.credits_left) == ((1,), 2)


def test_a_refused_stream_names_the_frames_that_stay_unanswered() -> None:
    client, tier = pair()
    for frame_id in (4, 2):
        tier.receive(client.send_frame(frame(frame_id)))
    (event,) = client.receive(tier.refuse_stream(Code.DRAINING, "going down", retry_after_us=5))
    assert event == StreamRefused(Refusal(0, Code.DRAINING, "going down", 5), (4, 2))
    assert (client.state, client.credits_left, tier.state) == (State.CLOSED, 0, State.CLOSED)
    with pytest.raises(LocalProtocolError, match="closed"):
        client.send_frame(frame(5))


def test_closing_names_the_frames_that_stay_unanswered() -> None:
    client, _ = pair()
    client.send_frame(frame(4))
    assert client.close() == (4,)
    assert client.state is State.CLOSED


@pytest.mark.parametrize("message", [Result(1, (), "edge"), Probe(1)])
def test_a_tier_that_does_not_greet_first_is_at_fault(message: Result | Probe) -> None:
    client = ClientSession(HELLO)
    client.start()
    with pytest.raises(RemoteProtocolError, match="first message"):
        client.receive(encode_downward(message))
    assert client.state is State.CLOSED


def test_a_second_welcome_is_the_tiers_fault() -> None:
    client, _ = pair()
    with pytest.raises(RemoteProtocolError, match="twice"):
        client.receive(encode_downward(Welcome("edge", (), 1)))


def test_good_frames_of_another_stream_go_on_beside_a_faulty_one() -> None:
    good_client, good_tier = pair()
    _, bad_tier = pair()
    with pytest.raises(RemoteProtocolError):
        bad_tier.receive(b"\xff")
    assert good_tier.receive(good_client.send_frame(frame(1))) == [FrameArrived(frame(1))]


messages = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda i: encode_upward(frame(i)), st.integers(1, 5)),
    st.builds(lambda i: encode_upward(Cancel(i)), st.integers(0, 5)),
    st.builds(lambda i: encode_upward(Probe(i)), st.integers(0, 5)),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(messages))
    for _ in range(draw(st.integers(0, 3)) if data else 0):
        data[draw(st.integers(0, len(data) - 1))] ^= draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@settings(max_examples=150, deadline=None)
@given(st.lists(mutated(), max_size=8))
def test_a_hostile_caller_only_ever_causes_events_or_its_own_error(received: list[bytes]) -> None:
    _, tier = pair(credits=2)
    with suppress(RemoteProtocolError):
        for data in received:
            for event in tier.receive(data):
                assert isinstance(event, FrameArrived | Cancelled | Probed | Faulty)
            assert len(tier.in_flight) <= 2


@settings(max_examples=100, deadline=None)
@given(st.lists(mutated(), max_size=8))
def test_a_hostile_tier_only_ever_causes_events_or_its_own_error(received: list[bytes]) -> None:
    client, _ = pair(credits=2)
    client.send_frame(frame(1))
    with suppress(RemoteProtocolError):
        for data in received:
            events = client.receive(data)
            assert all(isinstance(event, Answered | Refused | StreamRefused | Probed) for event in events)
            if client.state is State.CLOSED:
                break


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["send", "answer", "refuse", "cancel"]), max_size=40))
def test_every_frame_is_answered_once_and_both_ends_count_the_same_credits(steps: list[str]) -> None:
    client, tier = pair(credits=3)
    next_id, ended = 1, 0
    for step in steps:
        waiting = sorted(tier.in_flight)
        if step == "send" and client.credits_left:
            tier.receive(client.send_frame(frame(next_id)))
            next_id += 1
        elif step == "answer" and waiting:
            ended += len(client.receive(tier.answer(Result(waiting[-1], (), "edge"))))
        elif step == "refuse" and waiting:
            ended += len(client.receive(tier.refuse(Refusal(waiting[0], Code.EXPIRED))))
        elif step == "cancel" and waiting:
            tier.receive(client.cancel(waiting[0]))
        assert set(client.in_flight) == tier.in_flight
    assert ended + len(client.in_flight) == next_id - 1
