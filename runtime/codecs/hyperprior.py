"""A learned level whose symbols each choose their own table, by a few numbers sent in front of them.

The mean and scale hyperprior of D. Minnen, J. Ballé and G. Toderici, "Joint autoregressive and hierarchical priors for
learned image compression" (NeurIPS 2018), without the autoregressive part. What both ends must agree on is integer
arithmetic (`runtime.codecs.hyper_decoder`). One bitstream holds the hyperprior's symbols, then the latent's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocol import rans
from protocol.errors import BitstreamError
from protocol.prefix import decode_prefix
from runtime.activations import check_activation
from runtime.codecs.hyper_decoder import FRACTION_BITS, LIMIT, HyperDecoder, Integers, Layer
from runtime.codecs.learned import LearnedCodec, require
from runtime.codecs.quantiser import per_channel
from runtime.errors import BundleInvalid, UndecodablePayload, UnsupportedShape
from runtime.graphs import Graphs
from runtime.manifest import LearnedLevel, TensorSpec, repeat_of

_ONE = 1 << FRACTION_BITS


class HyperpriorCodec(LearnedCodec):
    """One rate level. Its symbols are one list: those of the hyperprior, then those of the latent less their means."""

    def __init__(self, row: Mapping[str, NDArray[Any]], graphs: Graphs, spec: TensorSpec, level: LearnedLevel) -> None:
        """As for `LearnedCodec`; distributions: one for each channel of the hyperprior, then one for each scale."""
        assert level.hyperprior is not None
        distributions = row["size"].size if "size" in row else 0
        super().__init__(row, graphs, spec, level, distributions)
        self._hyper = level.hyperprior
        self._hyper_gain = require(row, "hyper_gain", level, "f4", 1, self._hyper.latent.shape[0])
        self._front = self._front_tables()
        self._front_rows = np.repeat(np.arange(self._front.rows), math.prod(self._hyper.latent.shape[1:]))
        self._decoder = _decoder_of(row, level, distributions - self._front.rows)
        self._kept: tuple[bytes, tuple[Integers, Integers]] | None = None
        self.max_payload_bytes += 2 * self._hyper.latent.elements

    def symbols(self, activation: NDArray[Any]) -> NDArray[np.int32]:
        """The integers that stand for one item, int32 [symbols], in the order in which they are coded."""
        check_activation(activation, self._spec, where="the learned codec", items=1)
        latent = self._encoded(self._level.encoder, activation, self._level.latent)
        hyper = self._encoded(self._hyper.encoder, latent, self._hyper.latent)
        return self.symbols_of(latent[0], hyper[0])

    def symbols_of(self, latent: NDArray[np.float32], hyper: NDArray[np.float32]) -> NDArray[np.int32]:
        """The same, from what both encoders gave, each without the batch axis."""
        front = np.rint(hyper * per_channel(self._hyper_gain, hyper))
        front = np.clip(front, *(per_channel(bound, front) for bound in _bounds(self._front))).astype(np.int32)
        means, rows = self._parameters(front)
        scaled = latent * per_channel(self._tables.quantiser.gain, latent)
        rest = np.rint(scaled - means.astype(np.float32) / _ONE).ravel()
        lowest, highest = _bounds(self._tables.entropy)
        rest = np.clip(rest, lowest[rows], highest[rows]).astype(np.int32)
        return np.concatenate([front.ravel(), rest])

    def restore(self, symbols: NDArray[np.int32]) -> NDArray[np.float32]:
        """The latent that symbols stand for: float32, its shape; one rounding for each value, the same everywhere."""
        front, rest = np.split(symbols, [len(self._front_rows)])
        means, _ = self._parameters(front.reshape(self._hyper.latent.shape))
        exact = (rest.reshape(means.shape).astype(np.int64) * _ONE + means).astype(np.float32) / np.float32(_ONE)
        latent: NDArray[np.float32] = exact * per_channel(self._tables.quantiser.inverse_gain, exact)
        return latent

    def encode_symbols(self, symbols: NDArray[np.int32]) -> bytes:
        """Code symbols as `symbols` gives them.

        Raises:
            UnsupportedShape: not int32, or not so many.
            LocalProtocolError: one that its table does not hold.
        """
        count = self._hyper.latent.elements + self._level.latent.elements
        if symbols.dtype != np.int32 or symbols.shape != (count,):
            raise UnsupportedShape(f"symbols here are int32 [{count}], not {symbols.dtype} {list(symbols.shape)}")
        front = symbols[: len(self._front_rows)].reshape(self._hyper.latent.shape)
        return rans.encode(symbols[:, None], self._tables.entropy, self._rows(front))

    def decode_symbols(self, payload: bytes) -> NDArray[np.int32]:
        """The symbols of a payload, int32 [symbols]: first the hyperprior's alone, which say how to read all.

        Raises:
            UndecodablePayload: no payload of this level.
        """
        if len(payload) > self.max_payload_bytes:
            raise UndecodablePayload(f"a payload of this level has at most {self.max_payload_bytes} bytes")
        positions = math.prod(self._hyper.latent.shape[1:])
        try:
            front, found = decode_prefix(payload, self._front, positions)
            if found < front.size:
                raise UndecodablePayload("the payload ends within its hyperprior")
            symbols = rans.decode(payload, self._tables.entropy, 1, self._rows(front.reshape(self._hyper.latent.shape)))
        except BitstreamError as exc:
            raise UndecodablePayload(f"{exc.detail}") from exc
        return symbols[:, 0]

    def _front_tables(self) -> rans.Tables:
        """The first tables, one for each channel of the hyperprior.

        Raises:
            BundleInvalid: there are no others, or one holds symbols out of range.
        """
        entropy, channels = self._tables.entropy, self._hyper.latent.shape[0]
        if entropy.rows <= channels:
            raise BundleInvalid(f"tables {self._level.tables!r} have no table for any scale; export the bundle again")
        front = rans.Tables(entropy.cdf[:channels], entropy.size[:channels], entropy.offset[:channels])
        lowest, highest = _bounds(front)
        if min(lowest) < -LIMIT or max(highest) > LIMIT:
            raise BundleInvalid(f"a hyperprior of {self._level.tables!r} reaches beyond {LIMIT}; export it again")
        return front

    def _parameters(self, front: NDArray[np.int32]) -> tuple[Integers, Integers]:
        """Means of the latent [channels, height, width], and the table of each of its symbols [symbols].

        Coding and restoring both ask, one after the other: the last answer is kept.
        """
        key, kept = front.tobytes(), self._kept
        if kept is not None and kept[0] == key:
            return kept[1]
        means, scales = self._decoder.run(front, *self._level.latent.shape[1:])
        found = means, scales.ravel() + self._front.rows
        self._kept = (key, found)  # one assignment, so that threads see all of it or none
        return found

    def _rows(self, front: NDArray[np.int32]) -> Integers:
        """The table of each symbol of a payload."""
        return np.concatenate([self._front_rows, self._parameters(front)[1]])


def _bounds(tables: rans.Tables) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Smallest and largest symbol of each row."""
    return tables.offset, tables.offset + tables.size - np.int32(1)


def _decoder_of(row: Mapping[str, NDArray[Any]], level: LearnedLevel, scales: int) -> HyperDecoder:
    assert level.hyperprior is not None
    shape, channels = level.latent.shape, level.hyperprior.latent.shape[0]
    try:
        hidden, last = (
            Layer(row[f"hyper_weight_{i}"], row[f"hyper_bias_{i}"], row[f"hyper_shift_{i}"]) for i in range(2)
        )
        decoder = HyperDecoder(hidden, last, repeat_of(shape, level.hyperprior.latent.shape), scales)
    except KeyError as exc:
        raise BundleInvalid(f"tables {level.tables!r} lack {exc}; export the bundle again") from exc
    except ValueError as exc:
        raise BundleInvalid(f"tables {level.tables!r} are refused: {exc}; export the bundle again") from exc
    if hidden.weight.shape[1] != channels or len(last.weight) != 2 * shape[0]:
        raise BundleInvalid(f"the hyperprior in {level.tables!r} is not for this latent; export the bundle again")
    return decoder
