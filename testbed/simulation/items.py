"""What a bundle makes of each input, found by running it: simulated frames are as long, and as sure, as real ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adaptation.plan import Option
from device.sources import read_item
from runtime.answers import answer_of
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.stage import Stage


class Items:
    """Inputs in turn, and what their frames come to. Works out what is asked for, once.

    Args:
        bundle: open as long as this is used.
        paths: at least one.

    Raises:
        BundleError: the bundle cannot be run.
    """

    def __init__(self, bundle: Bundle, paths: Sequence[Path]) -> None:
        self._manifest = bundle.manifest
        self._paths = paths
        engine = engine_named("onnxruntime", 1)
        self._stage = Stage(bundle, engine)
        self._codecs = Codecs(bundle, engine)
        self._at = cache(self._activation)
        self._payload_bytes = cache(self._encoded_bytes)
        self._sure = cache(self._confidence)

    @property
    def readable(self) -> bool:
        """Whether the inputs are arrays that the model takes."""
        content = read_item(self._paths[0])
        return not isinstance(content, str) and content.shape == self._manifest.input.shape

    def message_bytes(self, frame: int, option: Option) -> float:
        """Of a frame, counted from 0, that is sent by this option."""
        level = option.choice.level
        if level is None:
            return 0.0
        return self._payload_bytes(frame % len(self._paths), option.choice.cut, level) + option.overhead_bytes

    def confidence(self, frame: int) -> float:
        """Of the bundle's first exit; 0 without one."""
        return self._sure(frame % len(self._paths))

    def _confidence(self, place: int) -> float:
        if not self._manifest.exits:
            return 0.0
        cut = self._manifest.exits[0].cut
        return answer_of(self._stage.exit(cut, self._at(place, cut))).confidence

    def _encoded_bytes(self, place: int, cut: int, level: int) -> int:
        return len(self._codecs.at(cut, level).encode(self._at(place, cut)))

    def _activation(self, place: int, cut: int) -> NDArray[Any]:
        if cut == 0:
            content = read_item(self._paths[place])
            assert not isinstance(content, str)
            return content[np.newaxis]
        return self._stage.run(self._at(place, cut - 1), cut - 1, cut)[0]
