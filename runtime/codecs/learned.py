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

from protocol import packets, rans
from protocol.errors import BitstreamError, LocalProtocolError
from runtime.activations import check_activation, matches
from runtime.bundle import Bundle
from runtime.codecs.quantiser import Quantiser, per_channel
from runtime.errors import BundleInvalid, CodecError, UndecodablePayload, UnsupportedShape
from runtime.graphs import Graphs
from runtime.manifest import LearnedLevel, TensorSpec

RANS_HEADER_BYTES = 133
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

    def __init__(
        self,
        row: Mapping[str, NDArray[Any]],
        graphs: Graphs,
        spec: TensorSpec,
        level: LearnedLevel,
        distributions: int | None = None,
    ) -> None:
        """`row`: see `read_row`; `distributions`: how many it must hold, one for each channel unless told.

        Raises:
            BundleInvalid: the row is not for this level.
        """
        self._graphs = graphs
        self._spec = spec
        self._level = level
        self.latent_shape = level.latent.shape
        self.positions = math.prod(level.latent.shape[1:])
        self._tables = level_tables(row, level, distributions or level.latent.shape[0])
        heads_bytes = packets.MOST_PACKETS * RANS_HEADER_BYTES + packets.SET_BYTES
        self.max_payload_bytes = 2 * level.latent.elements + heads_bytes

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
        return self.activation_of(self.decode_symbols(payload))

    def activation_of(self, symbols: NDArray[np.int32]) -> NDArray[Any]:
        """Restore one item, [1, ...], from its symbols."""
        latent = self.restore(symbols)
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
        return self.restore(self.decode_symbols(payload))

    def restore(self, symbols: NDArray[np.int32]) -> NDArray[np.float32]:
        """The latent that symbols stand for: float32, the latent's shape."""
        return self._tables.quantiser.restore(symbols)

    @property
    def tables(self) -> rans.Tables:
        """One integer distribution for each channel."""
        return self._tables.entropy

    def view(self, payload: bytes) -> NDArray[Any]:
        """What a payload shows of the model's input, for people to look at: float32 [1, ...], of its shape and range.

        Raises:
            UndecodablePayload: no payload of this level.
            CodecError: the level has no view.
        """
        return self.shown(self.latent(payload))

    @property
    def shows(self) -> bool:
        """Whether answers to frames of this level carry a view."""
        return self._level.view is not None

    def shown(self, latent: NDArray[Any]) -> NDArray[Any]:
        """The view of a latent, as `latent` gives it; as for `view`.

        Raises:
            CodecError: the level has no view.
        """
        if self._level.view is None:
            raise CodecError("this level shows nothing; train it with a [view] table in the recipe")
        (shown,) = self._graphs.at(self._level.view, self._level.data).run([latent[None]])
        return shown

    def symbols(self, activation: NDArray[Any]) -> NDArray[np.int32]:
        """The integers that stand for one item: int32, the latent's shape."""
        check_activation(activation, self._spec, where="the learned codec", items=1)
        latent = self._encoded(self._level.encoder, activation, self._level.latent)
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
        if symbols.dtype != np.int32 or symbols.shape != self.latent_shape:
            raise UnsupportedShape(f"symbols here are int32 {list(self.latent_shape)}, not {list(symbols.shape)}")
        return rans.encode(symbols.reshape(len(symbols), self.positions), self._tables.entropy)

    def decode_symbols(self, payload: bytes) -> NDArray[np.int32]:
        """The symbols of a payload: int32, the latent's shape; integers only, so the same on every machine.

        Of a set of packets (`protocol.packets`) those that did not arrive are the symbols nearest to zero.

        Raises:
            UndecodablePayload: no payload of this level.
        """
        if len(payload) > self.max_payload_bytes:
            raise UndecodablePayload(f"a payload of this level has at most {self.max_payload_bytes} bytes")
        try:
            arrived = packets.apart(payload)
            if arrived is None:
                symbols = rans.decode(payload, self._tables.entropy, self.positions)
            else:
                symbols, _ = packets.join(arrived, self._tables.entropy, self.positions)
        except BitstreamError as exc:
            raise UndecodablePayload(f"{exc.detail}") from exc
        return symbols.reshape(self.latent_shape)

    def _encoded(self, graph: str, given: NDArray[Any], spec: TensorSpec) -> NDArray[Any]:
        """What an encoder gives, float32 [1, ...]."""
        (latent,) = self._graphs.at(graph, self._level.data).run([given])
        if not matches(latent, spec) or not np.isfinite(latent).all():
            raise CodecError(
                f"encoder {graph!r} gave no finite {list(spec.shape)} latent for this activation; fall back to a "
                "lossless level"
            )
        return latent


def read_row(bundle: Bundle, level: LearnedLevel) -> dict[str, NDArray[Any]]:
    """One row of everything in a level's tables file.

    Raises:
        BundleInvalid: not safetensors, or a tensor without such a row.
    """
    try:
        tensors = load_file(bundle.file(level.tables))
    except (SafetensorError, KeyError) as exc:
        raise BundleInvalid(f"tables {level.tables!r} are no readable safetensors: {exc}") from exc
    for name, tensor in tensors.items():
        if tensor.ndim == 0 or level.row >= len(tensor):
            raise BundleInvalid(f"tables {level.tables!r} have no row {level.row} in {name!r}; export the bundle again")
    return {name: tensor[level.row] for name, tensor in tensors.items()}


def level_tables(row: Mapping[str, NDArray[Any]], level: LearnedLevel, distributions: int) -> LevelTables:
    """Quantiser and distributions of a level.

    Raises:
        BundleInvalid: a tensor is missing, or not of this latent.
    """
    for name, (kind, axes) in (_REQUIRED | _OPTIONAL).items():
        if name in row or name in _REQUIRED:
            require(row, name, level, kind, axes, distributions if name in _ENTROPY else level.latent.shape[0])
    try:
        quantiser = Quantiser(row["gain"], row["inverse_gain"], row.get("rounding"), row.get("shift"))
        entropy = rans.Tables(row["cdf"], row["size"], row["offset"])
    except (ValueError, LocalProtocolError) as exc:
        raise BundleInvalid(f"tables {level.tables!r} are refused: {exc}; export the bundle again") from exc
    return LevelTables(quantiser, entropy)


def require(
    row: Mapping[str, NDArray[Any]], name: str, level: LearnedLevel, kind: str, axes: int, length: int
) -> NDArray[Any]:
    """A tensor of the row, of this dtype and number of axes, the first of this length.

    Raises:
        BundleInvalid: there is none such.
    """
    tensor = row.get(name)
    if tensor is None or tensor.dtype != kind or tensor.ndim != axes or len(tensor) != length:
        raise BundleInvalid(
            f"tables {level.tables!r} need {name!r} as {np.dtype(kind)} with {axes} axes for each level, the first of "
            f"length {length}; export the bundle again"
        )
    return tensor


_REQUIRED: Final = {
    "gain": ("f4", 1),
    "inverse_gain": ("f4", 1),
    "cdf": ("i4", 2),
    "size": ("i4", 1),
    "offset": ("i4", 1),
}
_OPTIONAL: Final = {"rounding": ("f4", 1), "shift": ("f4", 2)}
"""Dtype and number of axes of each tensor of a row."""
_ENTROPY: Final = ("cdf", "size", "offset")
