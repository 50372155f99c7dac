"""A second decoder, written from docs/bitstream.md alone: one number at a time, no module of ours, nothing fast.

It keeps the page true: whatever it cannot read, the page does not say.
"""

from __future__ import annotations

from collections.abc import Sequence


class Refused(Exception):
    """The page does not allow these bytes."""


def read(
    payload: bytes, cdf: Sequence[Sequence[int]], size: Sequence[int], offset: Sequence[int], positions: int
) -> list[list[int]]:
    """Symbols of a payload, one list for each channel.

    Raises:
        Refused: the payload is no bitstream of format 1 with these tables.
    """
    if not payload:
        raise Refused("no head")
    if payload[0] % 16 > 5:
        raise Refused("another format")
    lanes = 2 ** (payload[0] % 16)
    head_length = -(-(4 + lanes) // 8)
    if len(payload) < head_length:
        raise Refused("short head")
    head = sum(byte * 256**place for place, byte in enumerate(payload[:head_length]))
    if head >= 2 ** (4 + lanes):
        raise Refused("bits beyond the flags")
    at = head_length
    states = []
    for lane in range(lanes):
        length = 4 if head // 2 ** (4 + lane) % 2 else 3
        if at + length > len(payload):
            raise Refused("short state")
        state = sum(byte * 256**place for place, byte in enumerate(payload[at : at + length]))
        if state < (2**24 if length == 4 else 2**16):
            raise Refused("small state")
        states.append(state)
        at += length
    if (len(payload) - at) % 2:
        raise Refused("half a word")

    channels: list[list[int]] = [[] for _ in size]
    for i in range(len(size) * positions):
        channel = i // positions
        lane = i % lanes
        x = states[lane]
        slot = x % 16384
        s = 0
        while not cdf[channel][s] <= slot < cdf[channel][s + 1]:
            s += 1
        channels[channel].append(offset[channel] + s)
        x = (cdf[channel][s + 1] - cdf[channel][s]) * (x // 16384) + slot - cdf[channel][s]
        if x < 65536:
            if at == len(payload):
                raise Refused("no word left")
            x = 65536 * x + payload[at] + 256 * payload[at + 1]
            at += 2
        states[lane] = x
    if any(state != 65536 for state in states) or at != len(payload):
        raise Refused("not the end")
    return channels


def read_packet(
    packet: bytes, cdf: Sequence[Sequence[int]], size: Sequence[int], offset: Sequence[int], positions: int
) -> list[tuple[tuple[int, int], int]]:
    """((channel, position), symbol) of everything that one packet holds.

    Raises:
        Refused: it is no packet of such a tensor.
    """
    if not packet:
        raise Refused("empty")
    packets, number = packet[0] // 16 + 1, packet[0] % 16
    if number >= packets or packets > max(positions, len(size)):
        raise Refused("no such packet")
    by_position = positions >= packets
    channels = list(range(len(size))) if by_position else list(range(number, len(size), packets))
    places = list(range(number, positions, packets)) if by_position else list(range(positions))
    rows = read(
        packet[1:], [cdf[c] for c in channels], [size[c] for c in channels], [offset[c] for c in channels], len(places)
    )
    return [
        ((channel, place), symbol)
        for channel, row in zip(channels, rows, strict=True)
        for place, symbol in zip(places, row, strict=True)
    ]
