"""The graphs of one bundle on one engine, each verified and loaded when first asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from runtime.bundle import Bundle
from runtime.engines import Engine, LoadedModel


class Graphs:
    """Loaded graphs by their path in the bundle. Safe to share between threads; each graph is loaded once."""

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self._bundle = bundle
        self._engine = engine
        self._loaded: dict[str, LoadedModel] = {}
        self._lock = threading.Lock()

    def at(self, relpath: str, data: Sequence[str] = ()) -> LoadedModel:
        """The graph at a path, its weights in `data`.

        Raises:
            BundleCorrupt: a file is not what the manifest declares.
            EngineError: the engine cannot load it.
        """
        if relpath in self._loaded:
            return self._loaded[relpath]
        with self._lock:
            if relpath not in self._loaded:
                self._loaded[relpath] = self._engine.load(self._bundle.model(relpath, data))
            return self._loaded[relpath]
