"""A tensor of symbols in packets that decode alone: losing some loses only their symbols. See docs/bitstream.md.

Packet p of n takes every n-th position of all channels from the p-th on, or every n-th channel where a channel has
fewer than n positions: what is lost is surrounded by what is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol import rans
from protocol.errors import BitstreamError, LocalProtocolError
from protocol.prefix import nearest_to_zero
from protocol.tables import Tables

MOST_PACKETS: Final = 16
_TAG: Final = 6
"""First byte of a payload that is a set of packets; format 1 refuses it."""
_LENGTH_BYTES: Final = 2
SET_BYTES: Final = 1 + MOST_PACKETS * (_LENGTH_BYTES + 1)
"""What a set may need besides its bitstreams."""


def split(symbols: NDArray[np.int32], tables: Tables, packets: int) -> list[bytes]:
    """Encode a tensor as so many packets.

    Args:
        symbols: int32 [channels, positions], each within its row of the tables.
        packets: 1 to 16, and no more than there are positions or channels.

    Returns:
        One payload for each packet: a byte that says which one of how many, and a bitstream of format 1.

    Raises:
        LocalProtocolError: no such number of packets, or symbols that the tables do not hold.
    """
    most = max(symbols.shape)
    if not 1 <= packets <= min(MOST_PACKETS, most):
        raise LocalProtocolError(f"packets must be 1 to {min(MOST_PACKETS, most)} here, not {packets}")
    made = []
    for number in range(packets):
        rows, columns = _share(number, packets, symbols.shape[1])
        part = np.ascontiguousarray(symbols[rows, columns])
        made.append(bytes([packets - 1 << 4 | number]) + rans.encode(part, _of_rows(tables, rows)))
    return made


def join(packets: Sequence[bytes], tables: Tables, positions: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Decode the packets that arrived, in any order.

    Args:
        packets: at least one, of the same tensor.
        positions: symbols per channel, from the bundle.

    Returns:
        int32 [tables.rows, positions], where the symbol nearest to 0 stands for those lost; and which are known.

    Raises:
        BitstreamError: no packet, one that is damaged, twice the same, or packets of different splits.
    """
    symbols = nearest_to_zero(tables, positions)
    known = np.zeros(symbols.shape, np.bool_)
    seen: dict[int, int] = {}
    for packet in packets:
        number, count = _head(packet, max(symbols.shape))
        if seen.get(number) is not None or any(other != count for other in seen.values()):
            raise BitstreamError("two packets claim the same part, or differ in how many there are")
        seen[number] = count
        rows, columns = _share(number, count, positions)
        wanted = symbols[rows, columns]
        symbols[rows, columns] = rans.decode(packet[1:], _of_rows(tables, rows), wanted.shape[1])
        known[rows, columns] = True
    if not seen:
        raise BitstreamError("there is no packet to decode")
    return symbols, known


def together(packets: Sequence[bytes]) -> bytes:
    """Some packets of one split as one payload (format 2), for where they travel together.

    Raises:
        LocalProtocolError: a packet of 64 KiB or more.
    """
    if any(len(packet) >> 8 * _LENGTH_BYTES for packet in packets):
        raise LocalProtocolError("a packet must be shorter than 64 KiB; split the tensor into more of them")
    parts = [part for packet in packets for part in (len(packet).to_bytes(_LENGTH_BYTES, "little"), packet)]
    return b"".join((bytes([_TAG]), *parts))


def apart(payload: bytes) -> list[bytes] | None:
    """The packets of a payload of format 2, in its order; None where it is of another format.

    Raises:
        BitstreamError: it breaks off, or holds too many.
    """
    if payload[:1] != bytes([_TAG]):
        return None
    found: list[bytes] = []
    position = 1
    while position < len(payload):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(payload[position:start], "little")
        if start > len(payload) or position > len(payload) or len(found) == MOST_PACKETS:
            raise BitstreamError(f"a set of packets breaks off, or holds more than {MOST_PACKETS}")
        found.append(payload[start:position])
    return found


def place_of(packet: bytes) -> tuple[int, int]:
    """Which packet of how many this is.

    Raises:
        BitstreamError: it does not say.
    """
    return _head(packet, MOST_PACKETS)


def _head(packet: bytes, most: int) -> tuple[int, int]:
    if not packet:
        raise BitstreamError("the packet is empty")
    number, count = packet[0] & 15, (packet[0] >> 4) + 1
    if number >= count or count > most:
        raise BitstreamError(f"the packet claims to be part {number} of {count}, which cannot be")
    return number, count


def _share(number: int, packets: int, positions: int) -> tuple[slice, slice]:
    every = slice(number, None, packets)
    return (slice(None), every) if positions >= packets else (every, slice(None))


def _of_rows(tables: Tables, rows: slice) -> Tables:
    return tables if rows == slice(None) else Tables(tables.cdf[rows], tables.size[rows], tables.offset[rows])
