"""The tokens of the stories' model: ids to text."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

FIRST = 1
"""Begins every text."""


def read(path: Path) -> list[bytes]:
    """The bytes of every token."""
    content = path.read_bytes()
    at, tokens = 4, []
    while at < len(content):
        _, count = struct.unpack_from("<fi", content, at)
        tokens.append(content[at + 8 : at + 8 + count])
        at += 8 + count
    return tokens


def text(tokens: list[bytes], ids: Iterable[int]) -> str:
    """What ids say, without the space in front."""
    return b"".join(tokens[token] for token in ids if token != FIRST).decode(errors="replace").strip()
