"""Recorded links as supplies: packet times (Mahimahi), rows of time and rate, and the 5G uplink's transport blocks."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from testbed.errors import TraceError
from testbed.link.capacity import PACKET_BYTES
from testbed.link.traces import read_trace
from testbed.simulation.supply import Supply

ROW_S = 0.02
"""Span of one row of the 5G uplink recordings."""
GAP_S = 0.3
"""A row's rate is believed for at most so long; longer gaps between rows count as no throughput."""
NR_SLOTS_PER_S, LTE_SLOTS_PER_S = 400.0, 1000.0
"""Granted slots per second that turn a transport block's mean bytes into a rate; an estimate, as the data set says."""


def read_supply(path: Path) -> Supply:
    """Read a recording by its form: `.up`/`.down` (packet times), `.csv.gz` (5G uplink), else rows of time and Mbit/s.

    Raises:
        TraceError: the file is missing or malformed.
    """
    if path.suffix in (".up", ".down"):
        return _packets(path)
    if path.name.endswith(".csv.gz"):
        return _transport_blocks(path)
    return _rows(path)


def _packets(path: Path) -> Supply:
    """Each chance carries up to 1500 bytes of whatever waits, at one instant."""
    read_trace(path)  # says what is wrong with it, if anything is
    times_s, counts = np.unique(np.array(path.read_text().split(), dtype=np.float64) / 1e3, return_counts=True)
    after = np.cumsum(counts) * float(PACKET_BYTES)
    before = after - counts * float(PACKET_BYTES)
    times_s, offered = np.repeat(times_s, 2), np.stack((before, after), axis=1).ravel()
    return Supply(np.concatenate(([0.0], times_s)), np.concatenate(([0.0], offered)))


def _rows(path: Path) -> Supply:
    """Rows of (seconds, Mbit/s); a rate holds until the next row, but not over a gap, where nothing was recorded."""
    table = _table(path, None, (0, 1))
    return _held(path, table[:, 0] - table[0, 0], table[:, 1] * 1e6)


def _transport_blocks(path: Path) -> Supply:
    """One row per 20 ms: mean bytes of a transport block on 5G and on LTE."""
    table = _table(path, ",", (1, 2))
    rates_bps = 8.0 * (np.nan_to_num(table[:, 0]) * NR_SLOTS_PER_S + np.nan_to_num(table[:, 1]) * LTE_SLOTS_PER_S)
    return _held(path, np.arange(rates_bps.size) * ROW_S, rates_bps)


def _held(path: Path, times_s: NDArray[np.float64], rates_bps: NDArray[np.float64]) -> Supply:
    if times_s.size < 2 or np.diff(times_s).min() < 0.0 or rates_bps.min() < 0.0:
        raise TraceError(f"trace {str(path)!r} needs at least two rows, times in order and no rate below 0; correct it")
    held_until_s = np.minimum(times_s[:-1] + GAP_S, times_s[1:])
    after = np.cumsum(rates_bps[:-1] / 8.0 * (held_until_s - times_s[:-1]))
    times_s = np.concatenate((times_s[:1], np.stack((held_until_s, times_s[1:]), axis=1).ravel()))
    return Supply(times_s, np.concatenate(([0.0], np.repeat(after, 2))))


def _table(path: Path, delimiter: str | None, columns: tuple[int, int]) -> NDArray[np.float64]:
    try:
        text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    except FileNotFoundError as exc:
        raise TraceError(f"there is no trace file {str(path)!r}; check the path") from exc
    except (OSError, UnicodeDecodeError, EOFError) as exc:
        raise TraceError(f"trace {str(path)!r} cannot be read: {exc}; give rows of text, or such rows gzipped") from exc
    lines = text.splitlines()[1 if delimiter else 0 :]
    try:
        return np.loadtxt(lines, delimiter=delimiter, usecols=columns, ndmin=2)
    except ValueError as exc:
        raise TraceError(f"trace {str(path)!r} has a row that is not numbers: {exc}; correct it") from exc
