"""A second decoder, written from docs/bitstream.md alone: one number at a time, no module of ours, nothing fast.

It keeps the page true: whatever it cannot read, the page does not say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Refused(Exception):
    """The page does not allow these bytes."""


def read(
    payload: bytes, cdf: Sequence[Sequence[int]], size: Sequence[int], offset: Sequence[int], positions: int
) -> list[list[int]]:
    """Symbols of a payload, one list for each channel.

    Raises:
        Refused: the payload is no bitstream of format 1 with these tables.
    """
    found = read_chosen(
        payload, cdf, size, offset, lambda before: len(before) // max(positions, 1), len(size) * positions
    )
    return [found[channel * positions :][:positions] for channel in range(len(size))]


def read_chosen(
    payload: bytes,
    cdf: Sequence[Sequence[int]],
    size: Sequence[int],
    offset: Sequence[int],
    row_of: Callable[[Sequence[int]], int],
    count: int,
) -> list[int]:
    """So many symbols; `row_of` says the row of the next one from those before it.

    Raises:
        Refused: as for `read`.
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

    symbols: list[int] = []
    for i in range(count):
        row = row_of(symbols)
        lane = i % lanes
        x = states[lane]
        slot = x % 16384
        s = 0
        while not cdf[row][s] <= slot < cdf[row][s + 1]:
            s += 1
        symbols.append(offset[row] + s)
        x = (cdf[row][s + 1] - cdf[row][s]) * (x // 16384) + slot - cdf[row][s]
        if x < 65536:
            if at == len(payload):
                raise Refused("no word left")
            x = 65536 * x + payload[at] + 256 * payload[at + 1]
            at += 2
        states[lane] = x
    if any(state != 65536 for state in states) or at != len(payload):
        raise Refused("not the end")
    return symbols


Plane = list[list[int]]


def convolve(planes: Sequence[Plane], weight: Any, bias: Sequence[int], shift: Sequence[int]) -> list[Plane]:
    """A layer of the hyper decoder before its clip, one product at a time."""
    height, width, around = len(planes[0]), len(planes[0][0]), len(weight[0][0]) // 2
    made = []
    for o, kernels in enumerate(weight):
        plane = []
        for y in range(height):
            row = []
            for x in range(width):
                total = bias[o] + 2 ** (shift[o] - 1)
                for i, kernel in enumerate(kernels):
                    for dy, line in enumerate(kernel):
                        for dx, factor in enumerate(line):
                            down, right = y + dy - around, x + dx - around
                            if 0 <= down < height and 0 <= right < width:
                                total += factor * planes[i][down][right]
                row.append(total // 2 ** shift[o])
            plane.append(row)
        made.append(plane)
    return made


def read_hyperprior(
    payload: bytes, level: Mapping[str, Any], hyper: Sequence[int], latent: Sequence[int]
) -> tuple[list[int], list[int]]:
    """All symbols of a payload with a hyperprior, and the values of the latent in 64ths of a symbol.

    Args:
        level: `cdf`, `size`, `offset`, `hyper_weight_0`, ... of one level, as lists.
        hyper, latent: their shapes.

    Raises:
        Refused: as for `read`.
    """
    cz, hz, wz = hyper
    c, h, w = latent
    front, scales = cz * hz * wz, len(level["size"]) - cz
    means: list[int] = []
    rows: list[int] = []

    def row_of(before: Sequence[int]) -> int:
        if len(before) < front:
            return len(before) // (hz * wz)
        if not rows:
            z = [[list(before[(i * hz + y) * wz :][:wz]) for y in range(hz)] for i in range(cz)]
            layer = convolve(z, level["hyper_weight_0"], level["hyper_bias_0"], level["hyper_shift_0"])
            hidden = [[[min(max(v, 0), 32767) for v in line] for line in plane] for plane in layer]
            f = -(-h // hz)
            wide = [[[plane[y // f][x // f] for x in range(w)] for y in range(h)] for plane in hidden]
            last = convolve(wide, level["hyper_weight_1"], level["hyper_bias_1"], level["hyper_shift_1"])
            means.extend(min(max(v, -32767), 32767) for plane in last[:c] for line in plane for v in line)
            rows.extend(cz + min(max(v, 0), scales - 1) for plane in last[c:] for line in plane for v in line)
        return rows[len(before) - front]

    symbols = read_chosen(payload, level["cdf"], level["size"], level["offset"], row_of, front + c * h * w)
    return symbols, [64 * r + m for r, m in zip(symbols[front:], means, strict=True)]


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
