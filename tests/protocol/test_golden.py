"""Bitstreams written once and kept: the same bytes must give the same symbols for ever, on every machine.

`python -m tests.protocol.test_golden` writes files that are missing; those that exist are never written again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocol import rans_native, rans_numpy
from protocol.tables import Tables
from tests.protocol.samples import laplace, sample

GOLDEN = Path(__file__).with_name("golden")
NAMES = ("lanes1", "lanes4", "lanes16", "lanes32", "steep")


@pytest.mark.parametrize("name", NAMES)
def test_golden_bitstreams_decode_and_encode_to_the_kept_symbols_and_bytes(name: str) -> None:
    kept = json.loads((GOLDEN / f"{name}.json").read_text())
    tables = Tables(np.array(kept["cdf"]), np.array(kept["size"]), np.array(kept["offset"]))
    symbols = np.array(kept["symbols"], np.int32)
    payload = bytes.fromhex(kept["payload"])
    coders: list[Any] = [rans_numpy] if rans_native.library() is None else [rans_numpy, rans_native]
    for coder in coders:
        assert np.array_equal(coder.decode(payload, tables, symbols.shape[1]), symbols)
        assert coder.encode(symbols, tables, kept["log2_lanes"]) == payload


def _write(name: str, log2_lanes: int, rows: int, positions: int, spread: tuple[float, float]) -> None:
    tables = laplace(rows, seed=log2_lanes, spread=spread, reach=6)
    symbols = sample(tables, positions, seed=log2_lanes)
    kept = {
        "log2_lanes": log2_lanes,
        "cdf": tables.cdf.tolist(),
        "size": tables.size.tolist(),
        "offset": tables.offset.tolist(),
        "symbols": symbols.tolist(),
        "payload": rans_numpy.encode(symbols, tables, log2_lanes).hex(),
    }
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(kept, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    for name, log2_lanes, rows, positions, spread in (
        ("lanes1", 0, 3, 17, (0.3, 2.0)),
        ("lanes4", 2, 3, 50, (0.3, 2.0)),
        ("lanes16", 4, 4, 61, (0.3, 2.0)),
        ("lanes32", 5, 4, 130, (0.3, 2.0)),
        ("steep", 0, 2, 200, (0.05, 0.1)),
    ):
        _write(name, log2_lanes, rows, positions, spread)
