"""The C coder through ctypes, which releases the interpreter lock for the length of each call."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocol.errors import BitstreamError, LocalProtocolError
from protocol.tables import Chosen, Tables

LIBRARY: Final = Path(__file__).with_name("_rans.so")
_ABI: Final = 2
_FAULTS: Final = {
    -3: "its header is none of format 1",
    -4: "a state is out of range",
    -5: "it ends too early",
    -6: "bytes are left over",
    -7: "it does not end in the state it must",
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled coder, or None where it was not built or does not load here."""
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
        abi = loaded.isthmus_rans_abi
    except (OSError, AttributeError):
        return None
    abi.restype = ctypes.c_int32
    if abi() != _ABI:
        return None
    pointer, u64 = ctypes.c_void_p, ctypes.c_uint64
    encode, decode = loaded.isthmus_rans_encode, loaded.isthmus_rans_decode
    encode.restype = decode.restype = ctypes.c_int64
    encode.argtypes = [pointer, u64, u64, pointer, pointer, u64, pointer, pointer, ctypes.c_uint32, pointer, u64]
    decode.argtypes = [ctypes.c_char_p, u64, u64, u64, pointer, pointer, u64, pointer, pointer, pointer]
    return loaded


def encode(symbols: NDArray[np.int32], tables: Tables, log2_lanes: int, chosen: Chosen = None) -> bytes:
    """As `rans_numpy.encode`. `symbols` and `chosen` must be C-contiguous."""
    channels, positions = symbols.shape
    lanes = 1 << log2_lanes
    out = np.empty((4 + lanes + 7) // 8 + 4 * lanes + 2 * symbols.size, np.uint8)
    written: int = _loaded().isthmus_rans_encode(
        symbols.ctypes.data,
        channels,
        positions,
        None if chosen is None else chosen.ctypes.data,
        tables.cdf.ctypes.data,
        tables.cdf.shape[1],
        tables.size.ctypes.data,
        tables.offset.ctypes.data,
        log2_lanes,
        out.ctypes.data,
        out.size,
    )
    if written < 0:
        raise LocalProtocolError("a symbol is outside its row of the tables; clip before encoding")
    return out[:written].tobytes()


def decode(payload: bytes, tables: Tables, positions: int, chosen: Chosen = None) -> NDArray[np.int32]:
    """As `rans_numpy.decode`. `chosen` must be C-contiguous."""
    channels = tables.rows if chosen is None else len(chosen)
    symbols = np.empty((channels, positions), np.int32)
    status: int = _loaded().isthmus_rans_decode(
        payload,
        len(payload),
        channels,
        positions,
        None if chosen is None else chosen.ctypes.data,
        tables.cdf.ctypes.data,
        tables.cdf.shape[1],
        tables.size.ctypes.data,
        tables.offset.ctypes.data,
        symbols.ctypes.data,
    )
    if status < 0:
        raise BitstreamError(f"the payload is not a bitstream of these tables: {_FAULTS[status]}")
    return symbols


def _loaded() -> ctypes.CDLL:
    loaded = library()
    if loaded is None:
        raise LocalProtocolError(f"{LIBRARY.name} is not built; run `python build_rans.py`, or use rans_numpy")
    return loaded
