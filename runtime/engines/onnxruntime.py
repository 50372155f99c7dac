"""ONNX Runtime on the processor: the engine of devices and tiers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _binding

from runtime.errors import EngineError

_FATAL = 4
_FAILURES = tuple(kind for kind in vars(_binding).values() if isinstance(kind, type) and issubclass(kind, Exception))
"""ONNX Runtime's own exceptions have no common base."""


class OnnxRuntimeEngine:
    """Sequential, without spinning: idle threads leave the processor to the rest of the program.

    Args:
        threads: of one run; with 1 the work is done in the calling thread.
    """

    name = "onnxruntime"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._options.enable_mem_pattern = False  # it would plan for each shape of a batch, and keep what it planned
        self._options.log_severity_level = _FATAL  # failures are raised, not printed

    def load(self, model: Path) -> OnnxRuntimeModel:
        """Load an ONNX file and its external data.

        Raises:
            EngineError: ONNX Runtime refuses the file.
        """
        try:
            session = onnxruntime.InferenceSession(str(model), self._options, providers=["CPUExecutionProvider"])
        except _FAILURES as exc:
            raise EngineError(f"ONNX Runtime cannot load {model.name!r}: {_first_line(exc)}") from exc
        return OnnxRuntimeModel(session, model.name)


class OnnxRuntimeModel:
    """One graph in ONNX Runtime. Runs may overlap: a session keeps no state between them."""

    def __init__(self, session: onnxruntime.InferenceSession, file_name: str) -> None:
        self._session = session
        self._file_name = file_name
        self._input_names = [declared.name for declared in session.get_inputs()]
        self._output_names = [declared.name for declared in session.get_outputs()]

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph; all outputs, in the graph's order.

        Raises:
            EngineError: other inputs than the graph declares, or a failure within.
        """
        if len(inputs) != len(self._input_names):
            raise EngineError(f"{self._file_name!r} takes {len(self._input_names)} inputs and was given {len(inputs)}")
        feed = dict(zip(self._input_names, inputs, strict=True))
        try:
            outputs: list[NDArray[Any]] = self._session.run(self._output_names, feed)
        except _FAILURES as exc:
            raise EngineError(f"{self._file_name!r} failed in ONNX Runtime: {_first_line(exc)}") from exc
        return outputs


def _first_line(exc: Exception) -> str:
    return str(exc).split("\n", 1)[0]
