"""A trained or calibrated encoder and decoder around integer symbols, coded by rANS on the bundle's own tables.

Encoding computes the latent y, scales each channel by the level's gain and rounds to symbols; decoding scales the
symbols back and runs the decoder (`runtime.codecs.quantiser`). Symbols and their coding are integers throughout, so
the same bytes give the same symbols on every machine; only encoder and decoder are floating point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from protocol import rans
from protocol.errors import BitstreamError, LocalProtocolError
from runtime.activations import check_activation, matches
from runtime.bundle import Bundle
from runtime.codecs.quantiser import Quantiser, per_channel
from runtime.errors import BundleInvalid, CodecError, UndecodablePayload, UnsupportedShape
from runtime.graphs import Graphs
from runtime.manifest import LearnedLevel, TensorSpec

_RANS_HEADER_BYTES = 133
"""Beside two bytes for each symbol, the most that `rans.encode` writes."""


@dataclass(frozen=True, slots=True)
class LevelTables:
    """One row of a tables file.

    Attributes:
        quantiser: latent to symbols and back.
        entropy: one integer distribution for each channel.
    """

    quantiser: Quantiser
    entropy: rans.Tables

    @property
    def highest(self) -> NDArray[np.int32]:
        """The largest symbol of each channel; the smallest is `entropy.offset`."""
        return self.entropy.offset + self.entropy.size - np.int32(1)


class LearnedCodec:
    """One rate level of a cut's trained codec. The encoder is loaded only where something is encoded."""

    def __init__(self, bundle: Bundle, graphs: Graphs, spec: TensorSpec, level: LearnedLevel) -> None:
        self._graphs = graphs
        self._spec = spec
        self._level = level
        self._latent_shape = level.latent.shape
        self._positions = math.prod(level.latent.shape[1:])
        self._tables = read_tables(bundle, level)
        self.max_payload_bytes = 2 * level.latent.elements + _RANS_HEADER_BYTES

    def encode(self, activation: NDArray[Any]) -> bytes:
        """Encode one item, [1, ...].

        Raises:
            UnsupportedShape: not what the cut declares.
            CodecError: the encoder gave no finite latent of the declared shape.
        """
        return self.encode_symbols(self.symbols(activation))

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Restore one item, [1, ...], as near as the level allows.

        Raises:
            UndecodablePayload: no payload of this level.
        """
        latent = self.latent(payload)
        (activation,) = self._graphs.at(self._level.decoder, self._level.data).run([latent[None]])
        if not matches(activation, self._spec) or activation.shape[0] != 1:
            raise BundleInvalid(
                f"decoder {self._level.decoder!r} gives {activation.dtype} {list(activation.shape)} where the cut "
                f"declares {self._spec.dtype} {[1, *self._spec.shape]}; export the bundle again"
            )
        return activation

    def latent(self, payload: bytes) -> NDArray[Any]:
        """What the decoder takes for a payload, without the batch axis: the symbols, scaled back.

        Raises:
            UndecodablePayload: no payload of this level.
        """
        return self._tables.quantiser.restore(self.decode_symbols(payload))

    def symbols(self, activation: NDArray[Any]) -> NDArray[np.int32]:
        """The integers that stand for one item: int32, the latent's shape."""
        check_activation(activation, self._spec, where="the learned codec", items=1)
        (latent,) = self._graphs.at(self._level.encoder, self._level.data).run([activation])
        if not matches(latent, self._level.latent) or not np.isfinite(latent).all():
            raise CodecError(
                f"encoder {self._level.encoder!r} gave no finite {list(self._latent_shape)} latent for this "
                "activation; fall back to a lossless level"
            )
        rounded = self._tables.quantiser.quantise(latent[0])
        lowest = per_channel(self._tables.entropy.offset, rounded)
        highest = per_channel(self._tables.highest, rounded)
        symbols: NDArray[np.int32] = np.clip(rounded, lowest, highest).astype(np.int32)
        return symbols

    def encode_symbols(self, symbols: NDArray[np.int32]) -> bytes:
        """Code symbols that lie within the tables.

        Raises:
            UnsupportedShape: not int32 of the latent's shape.
            LocalProtocolError: a symbol outside its channel's table.
        """
        if symbols.dtype != np.int32 or symbols.shape != self._latent_shape:
            raise UnsupportedShape(f"symbols here are int32 {list(self._latent_shape)}, not {list(symbols.shape)}")
        return rans.encode(symbols.reshape(len(symbols), self._positions), self._tables.entropy)

    def decode_symbols(self, payload: bytes) -> NDArray[np.int32]:
        """The symbols of a payload: int32, the latent's shape; integers only, so the same on every machine.

        Raises:
            UndecodablePayload: no payload of this level.
        """
        if len(payload) > self.max_payload_bytes:
            raise UndecodablePayload(f"a payload of this level has at most {self.max_payload_bytes} bytes")
        try:
            symbols = rans.decode(payload, self._tables.entropy, self._positions)
        except BitstreamError as exc:
            raise UndecodablePayload(f"{exc.detail}") from exc
        return symbols.reshape(self._latent_shape)


def read_tables(bundle: Bundle, level: LearnedLevel) -> LevelTables:
    """Read and check one row of a level's tables file.

    Raises:
        BundleInvalid: not safetensors, or not tables of this level's latent.
    """
    try:
        tensors = load_file(bundle.file(level.tables))
    except (SafetensorError, KeyError) as exc:
        raise BundleInvalid(f"tables {level.tables!r} are no readable safetensors: {exc}") from exc
    row = {name: _row_of(tensors, name, level) for name in (*_REQUIRED, *_OPTIONAL) if _needs(tensors, name)}
    return _checked_row(row, level.tables)


_REQUIRED: Final = {
    "gain": ("f4", 2),
    "inverse_gain": ("f4", 2),
    "cdf": ("i4", 3),
    "size": ("i4", 2),
    "offset": ("i4", 2),
}
_OPTIONAL: Final = {"rounding": ("f4", 2), "shift": ("f4", 3)}
"""Dtype and number of axes of each tensor of a tables file."""


def _needs(tensors: Mapping[str, NDArray[Any]], name: str) -> bool:
    return name in _REQUIRED or name in tensors


def _row_of(tensors: Mapping[str, NDArray[Any]], name: str, level: LearnedLevel) -> NDArray[Any]:
    kind, axes = (_REQUIRED | _OPTIONAL)[name]
    channels = level.latent.shape[0]
    tensor = tensors.get(name)
    if tensor is None or tensor.dtype != kind or tensor.ndim != axes or tensor.shape[1] != channels:
        raise BundleInvalid(
            f"tables {level.tables!r} need {name!r} as {np.dtype(kind)} with {axes} axes, the second of "
            f"{channels} channels; export the bundle again"
        )
    if level.row >= len(tensor):
        raise BundleInvalid(f"tables {level.tables!r} have no row {level.row} in {name!r}; export the bundle again")
    row: NDArray[Any] = tensor[level.row]
    return row


def _checked_row(row: Mapping[str, NDArray[Any]], origin: str) -> LevelTables:
    try:
        quantiser = Quantiser(row["gain"], row["inverse_gain"], row.get("rounding"), row.get("shift"))
        entropy = rans.Tables(row["cdf"], row["size"], row["offset"])
    except (ValueError, LocalProtocolError) as exc:
        raise BundleInvalid(f"tables {origin!r} are refused: {exc}; export the bundle again") from exc
    return LevelTables(quantiser, entropy)
