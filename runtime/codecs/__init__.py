"""Codecs: an activation at a cut to the bytes of one payload, and back. One small file per codec.

To add one: a level class in `runtime.manifest`, a file here, a line in `_MAKERS`; see docs/bundle.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol

from numpy.typing import NDArray

from runtime.bundle import Bundle
from runtime.codecs.hyperprior import HyperpriorCodec
from runtime.codecs.image import ImageCodec
from runtime.codecs.learned import LearnedCodec, read_row
from runtime.codecs.raw import RawCodec
from runtime.codecs.zstd import ZstdCodec
from runtime.engines import Engine
from runtime.errors import CodecError
from runtime.graphs import Graphs
from runtime.manifest import Cut, Level

__all__ = ["Codec", "Codecs", "HyperpriorCodec", "ImageCodec", "LearnedCodec", "RawCodec", "ZstdCodec", "codec_for"]


class Codec(Protocol):
    """One level of one cut. Thread-safe."""

    @property
    def max_payload_bytes(self) -> int:
        """No payload of this level is longer; longer ones are refused before anything is allocated."""
        ...

    def encode(self, activation: NDArray[Any]) -> bytes:
        """Encode one item, [1, ...] as the cut declares it.

        Raises:
            UnsupportedShape: not the dtype or shape of this cut.
        """
        ...

    def decode(self, payload: bytes) -> NDArray[Any]:
        """Decode one payload to [1, ...] of the cut's dtype and shape; the array may be read-only.

        Raises:
            UndecodablePayload: no payload of this level. Never allocates more than the declared tensors.
        """
        ...


_Maker = Callable[[Bundle, Graphs, Cut, Any], Codec]
_MAKERS: dict[str, _Maker] = {
    "raw": lambda bundle, graphs, cut, level: RawCodec(cut.tensor),
    "zstd": lambda bundle, graphs, cut, level: ZstdCodec(cut.tensor),
    "image": lambda bundle, graphs, cut, level: ImageCodec(cut.tensor, level.format, level.quality),
    "learned": lambda bundle, graphs, cut, level: (HyperpriorCodec if level.hyperprior else LearnedCodec)(
        read_row(bundle, level), graphs, cut.tensor, level
    ),
}


class Codecs:
    """All codecs of a bundle, made when first asked for. Safe to share between threads."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._bundle = bundle
        self._graphs = Graphs(bundle, engine)
        self._made: dict[tuple[int, int], Codec] = {}
        self._lock = threading.Lock()

    def at(self, cut: int, level: int) -> Codec:
        """The codec of one level of one cut.

        Raises:
            CodecError: the bundle has no such cut or level.
            BundleCorrupt, BundleInvalid: its tables are not what they should be.
        """
        if (cut, level) in self._made:
            return self._made[cut, level]
        with self._lock:
            if (cut, level) not in self._made:
                declared_cut, declared = self._declared(cut, level)
                self._made[cut, level] = _MAKERS[declared.codec](self._bundle, self._graphs, declared_cut, declared)
            return self._made[cut, level]

    def _declared(self, cut: int, level: int) -> tuple[Cut, Level]:
        cuts = self._bundle.manifest.cuts
        if not 0 <= cut < len(cuts):
            raise CodecError(f"there is no cut {cut}; this bundle has cuts 0 to {len(cuts) - 1}")
        levels = cuts[cut].levels
        if not 0 <= level < len(levels):
            raise CodecError(f"cut {cut} has no level {level}; it has levels 0 to {len(levels) - 1}")
        return cuts[cut], levels[level]


def codec_for(bundle: Bundle, engine: Engine, cut: int, level: int) -> Codec:
    """One codec on its own; programs keep a `Codecs`, which shares what is loaded.

    Raises:
        CodecError: the bundle has no such cut or level.
    """
    return Codecs(bundle, engine).at(cut, level)
