"""Parts of payloads through the codecs of a bundle: whatever arrives is restored, or refused with a typed error."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from protocol import packets as wire
from protocol import rans
from runtime.bundle import Bundle
from runtime.codecs import Codecs, LearnedCodec
from runtime.codecs import parts as parts_module
from runtime.codecs.parts import Parts, in_packets
from runtime.engines import Engine
from runtime.errors import CodecError, UndecodablePayload
from runtime.stage import Stage
from tests.runtime.hyper_level import codec_of, row_of
from tests.runtime.tiny_bundle import TinyBundle


@pytest.fixture(scope="module")
def codec(tiny_bundle: TinyBundle, engine: Engine) -> Iterator[LearnedCodec]:
    with Bundle.open(tiny_bundle.path) as bundle:
        made = Codecs(bundle, engine).at(1, 2)
        assert isinstance(made, LearnedCodec)
        yield made


@pytest.fixture(scope="module")
def activation(tiny_bundle: TinyBundle, engine: Engine) -> NDArray[np.float32]:
    with Bundle.open(tiny_bundle.path) as bundle:
        found: NDArray[np.float32] = Stage(bundle, engine).run(tiny_bundle.items[0], 0, 1)[0]
        return found


def test_more_of_a_payload_restores_the_latent_better_and_all_of_it_as_the_codec_does(
    codec: LearnedCodec, activation: NDArray[np.float32]
) -> None:
    payload, parts = codec.encode(activation), Parts(codec)
    whole = codec.decode(payload)
    errors = [
        float(np.abs(parts.front(payload[: len(payload) * eighths // 8]) - whole).mean()) for eighths in (1, 3, 5, 8)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0
    assert errors[-1] == 0


@pytest.mark.parametrize("packets", [1, 2, 5])
def test_packets_in_any_order_restore_what_the_payload_does(
    codec: LearnedCodec, activation: NDArray[np.float32], packets: int
) -> None:
    parts = Parts(codec)
    sent = parts.split(activation, packets)
    assert np.array_equal(parts.join(sent[::-1]), codec.decode(codec.encode(activation)))
    if packets > 1:
        lossy = parts.join(sent[1:])
        assert lossy.shape == activation.shape
        assert not np.array_equal(lossy, parts.join(sent))


def test_a_lost_packet_takes_only_its_own_positions(codec: LearnedCodec, activation: NDArray[np.float32]) -> None:
    symbols = codec.symbols(activation)
    expected = symbols.reshape(len(symbols), -1).copy()
    expected[:, 2::5] = np.clip(0, codec.tables.offset, codec.tables.offset + codec.tables.size - 1)[:, None]
    sent = Parts(codec).split(activation, 5)
    found = Parts(codec).join(sent[:2] + sent[3:])
    assert np.array_equal(found, codec.activation_of(expected.reshape(symbols.shape)))


def test_what_is_no_part_is_refused_with_a_typed_error(codec: LearnedCodec, activation: NDArray[np.float32]) -> None:
    parts, payload = Parts(codec), codec.encode(activation)
    sent = parts.split(activation, 3)
    for refused in (b"", payload[:3], b"\xff" * 9, bytes(codec.max_payload_bytes + 1)):
        with pytest.raises(UndecodablePayload):
            parts.front(refused)
    for refused in ([], [sent[0], sent[0]], [sent[0], parts.split(activation, 4)[1]], [sent[0][:-1]], [b""]):
        with pytest.raises(UndecodablePayload):
            parts.join(refused)
    generator = random.Random(0)
    for _ in range(200):
        damaged = bytearray(generator.choice(sent))
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
        try:
            assert parts.join([bytes(damaged)]).shape == activation.shape
        except UndecodablePayload:
            continue


def test_a_hyperprior_has_no_parts() -> None:
    with pytest.raises(CodecError, match="method embedded"):
        Parts(codec_of(row_of()))


def test_the_tables_of_a_codec_are_those_it_codes_with(codec: LearnedCodec, activation: NDArray[np.float32]) -> None:
    symbols = codec.symbols(activation)
    assert rans.encode(symbols.reshape(len(symbols), -1), codec.tables) == codec.encode(activation)


def test_a_long_payload_becomes_a_set_of_packets_that_the_codec_reads_with_or_without_some(
    codec: LearnedCodec, activation: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    payload = codec.encode(activation)
    assert in_packets(codec, payload) == payload  # it fits into one datagram
    monkeypatch.setattr(parts_module, "PACKET_BYTES", len(payload) // 3)
    together = in_packets(codec, payload)
    assert np.array_equal(codec.decode(together), codec.decode(payload))
    arrived = wire.apart(together)
    assert arrived is not None
    assert len(arrived) >= 3
    without_one = codec.decode(wire.together(arrived[1:]))
    assert np.abs(without_one - codec.decode(payload)).mean() > 0
    for broken in (wire.together([]), together[:-1], wire.together([*arrived, arrived[0]])):
        with pytest.raises(UndecodablePayload):
            codec.decode(broken)
    assert in_packets(object(), payload) == payload
    hyperprior = codec_of(row_of())
    assert in_packets(hyperprior, bytes(4000)) == bytes(4000)
