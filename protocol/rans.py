"""Integer symbols to bytes and back, by interleaved rANS on integer tables. Format 1, specified in docs/bitstream.md.

No floating point: the same bytes give the same symbols on every machine.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from protocol import rans_native, rans_numpy
from protocol.errors import LocalProtocolError
from protocol.tables import PRECISION_BITS, TOTAL, Chosen, Tables, quantise_probabilities

__all__ = ["PRECISION_BITS", "TOTAL", "Tables", "decode", "encode", "implementation", "quantise_probabilities"]

_LANES: Final = ((5, 1 << 17, 40 << 10), (4, 1 << 15, 20 << 10), (2, 1 << 12, 4 << 10))
"""(log2 lanes, least symbols, least payload bytes): a lane costs 2.6 bytes, and all stay near a fifth of a percent."""


def implementation() -> str:
    """Which coder runs here: "c", or "numpy" where `_rans.so` is not built (same bytes, far slower)."""
    return "numpy" if rans_native.library() is None else "c"


def encode(symbols: NDArray[Any], tables: Tables, rows: NDArray[Any] | None = None) -> bytes:
    """Entropy-code a tensor.

    Args:
        symbols: integers, [channels, positions]; channel c must hold only `tables.offset[r]` to
            `tables.offset[r] + tables.size[r] - 1`, r being its row.
        rows: integers [channels], the row of `tables` for each channel; without them, row c for channel c.

    Returns:
        A bitstream of at most 2 bytes per symbol and 133 more.

    Raises:
        LocalProtocolError: another shape or type, or a symbol outside its row.
    """
    chosen = None if rows is None else tables.chosen(rows)
    channels = tables.rows if chosen is None else len(chosen)
    if symbols.ndim != 2 or symbols.shape[0] != channels or symbols.dtype.kind not in "iu":
        raise LocalProtocolError(
            f"symbols must be integers of shape [{channels}, positions], not {symbols.dtype} {symbols.shape}"
        )
    if symbols.dtype.itemsize > 4 or symbols.dtype == np.uint32:
        _require_int32(symbols)
    symbols = np.ascontiguousarray(symbols, np.int32)
    for log2_lanes, least_symbols, least_bytes in _LANES:
        if symbols.size >= least_symbols:
            payload = _coder().encode(symbols, tables, log2_lanes, chosen)
            if len(payload) >= least_bytes:
                return payload
    return _coder().encode(symbols, tables, 0, chosen)


def decode(payload: bytes, tables: Tables, positions: int, rows: NDArray[Any] | None = None) -> NDArray[np.int32]:
    """The symbols of a bitstream.

    Args:
        payload: as a peer sent it; nothing about it is trusted.
        positions: symbols per channel, from the bundle (never from the peer).
        rows: as for `encode`.

    Returns:
        int32, [channels, positions], each within its row of the tables.

    Raises:
        BitstreamError: the payload is no bitstream of exactly so many symbols with these tables.
        LocalProtocolError: `positions` is negative, or a row does not exist.
    """
    if positions < 0:
        raise LocalProtocolError(f"positions must not be negative, not {positions}")
    return _coder().decode(payload, tables, positions, None if rows is None else tables.chosen(rows))


class _Coder(Protocol):
    def encode(self, symbols: NDArray[np.int32], tables: Tables, log2_lanes: int, chosen: Chosen) -> bytes: ...
    def decode(self, payload: bytes, tables: Tables, positions: int, chosen: Chosen) -> NDArray[np.int32]: ...


def _coder() -> _Coder:
    return rans_numpy if rans_native.library() is None else rans_native


def _require_int32(symbols: NDArray[Any]) -> None:
    bounds = np.iinfo(np.int32)
    if symbols.size and (int(symbols.min()) < bounds.min or int(symbols.max()) > bounds.max):
        raise LocalProtocolError("a symbol is outside its row of the tables; clip before encoding")
