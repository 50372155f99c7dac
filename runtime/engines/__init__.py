"""What runs an ONNX graph: one small file per engine, each with a line in `_ENGINES`. See docs/bundle.md to add one."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

from numpy.typing import NDArray

from runtime.errors import SettingsError

_ENGINES: dict[str, tuple[str, str, str]] = {
    "onnxruntime": ("runtime.engines.onnxruntime", "OnnxRuntimeEngine", "device"),
    "openvino": ("runtime.engines.openvino", "OpenVinoEngine", "openvino"),
}
"""Module, class, and the extra that installs the library, which has the engine's name."""

ENGINE_NAMES = tuple(_ENGINES)


class LoadedModel(Protocol):
    """A graph, ready to run."""

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph on batch-first arrays, in the order that the graph declares. Thread-safe.

        Raises:
            EngineError: the inputs are not what the graph takes, or the engine fails.
        """
        ...


class Engine(Protocol):
    """Loads graphs. With one thread, `LoadedModel.run` works in the calling thread only."""

    @property
    def name(self) -> str:
        """As in `engine_named`, and in the profiles of manifests."""
        ...

    @property
    def threads(self) -> int:
        """Threads that one run may use."""
        ...

    def load(self, model: Path) -> LoadedModel:
        """Load an ONNX file; its external data lies beside it.

        Raises:
            EngineError: the file is no graph that this engine can run.
        """
        ...


def engine_named(name: str, threads: int = 1) -> Engine:
    """Make an engine by name; the library behind it is imported here.

    Raises:
        SettingsError: no such engine, or its library is not installed.
    """
    if name not in _ENGINES:
        close = difflib.get_close_matches(name, ENGINE_NAMES, n=1, cutoff=0)
        raise SettingsError(f"there is no engine {name!r}; did you mean {close[0]!r}? (known: {', '.join(_ENGINES)})")
    if threads < 1:
        raise SettingsError(f"engine threads = {threads} is refused: at least 1 is needed; change engine.threads")
    module, maker, extra = _ENGINES[name]
    try:
        loaded = importlib.import_module(module)
    except ImportError as exc:
        raise SettingsError(f"engine {name!r} is not installed ({exc}); run: pip install 'isthmus[{extra}]'") from exc
    return cast(Engine, getattr(loaded, maker)(threads=threads))


def installed_engines() -> tuple[str, ...]:
    """Names of the engines whose library is installed, without importing any; the usual one first."""
    return tuple(name for name in _ENGINES if importlib.util.find_spec(name) is not None)
