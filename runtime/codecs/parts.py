"""Payloads that do not arrive whole: the front of one that was cut short, or some of the packets it was sent as.

For links that lose packets, and for relays that cut a payload rather than drop it. What is missing is taken as the
symbol nearest to zero. How much an answer suffers depends on the training: method `embedded` prepares for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from protocol.errors import BitstreamError
from protocol.packets import MOST_PACKETS, join, split, together
from protocol.prefix import decode_prefix
from runtime.codecs.hyperprior import HyperpriorCodec
from runtime.codecs.learned import LearnedCodec
from runtime.errors import CodecError, UndecodablePayload

PACKET_BYTES: Final = 1000
"""About as long as one packet of a set becomes: with a frame's head it fits into one datagram."""
_MOST_BYTES: Final = 3 * MOST_PACKETS * PACKET_BYTES
"""Longer payloads do not travel in datagrams."""


def has_parts(codec: object) -> TypeGuard[LearnedCodec]:
    """Whether what arrives of a level's payload decodes without the rest."""
    return isinstance(codec, LearnedCodec) and not isinstance(codec, HyperpriorCodec)


def in_packets(codec: object, payload: bytes) -> bytes:
    """A payload of a level as a set of packets that decode alone; as it is, where it is short or cannot be split."""
    if not has_parts(codec) or not PACKET_BYTES < len(payload) <= _MOST_BYTES:
        return payload
    symbols = codec.decode_symbols(payload).reshape(codec.latent_shape[0], -1)
    count = min(MOST_PACKETS, max(symbols.shape), math.ceil(len(payload) / PACKET_BYTES))
    return together(split(symbols, codec.tables, count))


class Parts:
    """The same level as a codec, in parts. Thread-safe.

    Raises:
        CodecError: on building, for a level with a hyperprior: without all of that, nothing behind it can be read.
    """

    def __init__(self, codec: LearnedCodec) -> None:
        if isinstance(codec, HyperpriorCodec):
            raise CodecError(
                "a level with a hyperprior has no parts; train with method embedded, or send payloads whole"
            )
        self._codec = codec

    def front(self, payload: bytes) -> NDArray[Any]:
        """Restore one item, [1, ...], from the first bytes of its payload; more of them restore it better.

        Nothing in the bytes tells where they were cut: their length must be vouched for elsewhere, as by a checksum.

        Raises:
            UndecodablePayload: too long, or head and states (4 to 133 bytes) are not all there.
        """
        if len(payload) > self._codec.max_payload_bytes:
            raise UndecodablePayload(f"a payload of this level has at most {self._codec.max_payload_bytes} bytes")
        try:
            symbols, _ = decode_prefix(payload, self._codec.tables, self._codec.positions)
        except BitstreamError as exc:
            raise UndecodablePayload(f"{exc.detail}") from exc
        return self._restored(symbols)

    def split(self, activation: NDArray[Any], packets: int) -> list[bytes]:
        """Encode one item, [1, ...], as so many packets (1 to 16), each of which decodes alone.

        Raises:
            UnsupportedShape, CodecError: as for `LearnedCodec.encode`.
            LocalProtocolError: more packets than the latent has channels or positions.
        """
        symbols = self._codec.symbols(activation)
        return split(symbols.reshape(len(symbols), -1), self._codec.tables, packets)

    def join(self, packets: Sequence[bytes]) -> NDArray[Any]:
        """Restore one item, [1, ...], from those packets that arrived, at least one, in any order.

        Raises:
            UndecodablePayload: none, one that is damaged or too long, twice the same, or of different splits.
        """
        if any(len(packet) > self._codec.max_payload_bytes + 1 for packet in packets):
            raise UndecodablePayload(f"a packet of this level has at most {self._codec.max_payload_bytes + 1} bytes")
        try:
            symbols, _ = join(packets, self._codec.tables, self._codec.positions)
        except BitstreamError as exc:
            raise UndecodablePayload(f"{exc.detail}") from exc
        return self._restored(symbols)

    def _restored(self, symbols: NDArray[np.int32]) -> NDArray[Any]:
        return self._codec.activation_of(symbols.reshape(self._codec.latent_shape))
