"""Tables, tensors and messages that several tests of this room share."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from protocol.messages import Frame, Handover
from protocol.session import tag_of
from protocol.tables import TOTAL, Tables

DIGEST = hashlib.sha256(b"a bundle").digest()


def sample(tables: Tables, positions: int, seed: int) -> NDArray[np.int32]:
    """Symbols drawn from the tables themselves, [rows, positions]."""
    slots = np.random.default_rng(seed).integers(0, TOTAL, (tables.rows, positions))
    rows = [
        np.searchsorted(tables.cdf[row, : tables.size[row]], slots[row], side="right") - 1 + tables.offset[row]
        for row in range(tables.rows)
    ]
    return np.stack(rows).astype(np.int32)


def cross_entropy_bytes(symbols: NDArray[np.int32], tables: Tables) -> float:
    """What an ideal coder with these tables would need."""
    width = np.diff(tables.cdf.astype(np.int64), axis=1)
    index = symbols - tables.offset[:, None]
    return float(-np.log2(np.take_along_axis(width, index, axis=1) / TOTAL).sum() / 8)


def laplace(rows: int, seed: int, spread: tuple[float, float] = (0.2, 3.0), reach: int = 20) -> Tables:
    """Tables like those of a trained latent."""
    scales = np.random.default_rng(seed).uniform(*spread, rows)
    values = np.arange(-reach, reach + 1)
    return Tables.from_counts([np.exp(-np.abs(values) / scale) for scale in scales], np.full(rows, -reach))


def frame(frame_id: int = 7, payload: bytes = b"features", digest: bytes = DIGEST) -> Frame:
    """A valid frame with every field set."""
    return Frame.build(
        id=frame_id,
        bundle=tag_of(digest),
        cut=3,
        level=2,
        shape=(64, 16, 16),
        payload=payload,
        captured_us=1_700_000_000_000_000,
        remaining_us=200_000,
        handover=Handover(4, 0),
        trace=bytes(range(24)),
    )
