"""Small damage to bytes: what a mutating fuzzer does, driven by a seeded random source."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final

MAX_BYTES: Final = 1 << 16

_EDGES: Final = (0, 1, 2, 0x7F, 0x80, 0xFF)
_WIDE: Final = tuple(
    value.to_bytes(width, order)
    for width in (2, 4, 8)
    for value in (0, 1, (1 << 8 * width - 1) - 1, 1 << 8 * width - 1, (1 << 8 * width) - 1)
    for order in ("little", "big")
)
_VARINTS: Final = (b"\x80\x01", b"\xff\xff\xff\xff\x0f", b"\xff" * 9 + b"\x01", b"\xff" * 10, b"\x80\x80\x40")

Change = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def _flip(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    data[chance.randrange(len(data))] = chance.choice(_EDGES) if chance.random() < 0.5 else chance.randrange(256)


def _insert(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.choice((1, 1, 2, 8, 40)))


def _remove(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.choice((1, 1, 2, 8, 40))]


def _cut(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data)) :]


def _number(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    number = chance.choice(_WIDE if chance.random() < 0.5 else _VARINTS)
    at = chance.randrange(len(data))
    data[at : at + (len(number) if chance.random() < 0.5 else 1)] = number


def _repeat(data: bytearray, chance: random.Random, _: Sequence[bytes]) -> None:
    first = chance.randrange(len(data))
    part = data[first : first + chance.randrange(1, 40)]
    data[first:first] = part * chance.choice((1, 2, 70))


def _splice(data: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    other = chance.choice(corpus)
    if other:
        data[chance.randrange(len(data)) :] = other[chance.randrange(len(other)) :]


_CHANGES: Final[tuple[Change, ...]] = (
    _flip,
    _flip,
    _set,
    _set,
    _insert,
    _remove,
    _cut,
    _number,
    _number,
    _repeat,
    _splice,
)


def mutated(corpus: Sequence[bytes], chance: random.Random) -> bytes:
    """One of the corpus with one to a few changes, at most `MAX_BYTES` long."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        if not data:
            data += chance.randbytes(8)
        chance.choice(_CHANGES)(data, chance, corpus)
    return bytes(data[:MAX_BYTES])
