"""OpenVINO on the processor: often the faster one on x86. An option; ONNX Runtime is on every device."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # type: ignore[import-untyped, import-not-found, unused-ignore]
from numpy.typing import NDArray

from runtime.errors import EngineError


class OpenVinoEngine:
    """In float32 as the graph says, where OpenVINO by itself would take bfloat16 on processors that have it: a tier
    that runs the rest on another engine expects the same features.

    Args:
        threads: of one run; with 1 the work is done in the calling thread.
    """

    name = "openvino"

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self._core = openvino.Core()
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }

    def load(self, model: Path) -> OpenVinoModel:
        """Load an ONNX file and its external data.

        Raises:
            EngineError: OpenVINO refuses the file.
        """
        try:
            compiled = self._core.compile_model(self._core.read_model(model), "CPU", self._options)
        except RuntimeError as exc:
            raise EngineError(f"OpenVINO cannot load {model.name!r}: {_last_line(exc)}") from exc
        return OpenVinoModel(compiled, model.name)


class OpenVinoModel:
    """One graph in OpenVINO. Each thread that runs it has a request of its own, which holds the tensors between."""

    def __init__(self, compiled: openvino.CompiledModel, file_name: str) -> None:
        self._compiled = compiled
        self._file_name = file_name
        self._dtypes = [np.dtype(port.element_type.to_dtype()) for port in compiled.inputs]
        self._outputs = range(len(compiled.outputs))
        self._requests = threading.local()

    def run(self, inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Run the graph; all outputs, in the graph's order.

        Raises:
            EngineError: other inputs than the graph declares, or a failure within.
        """
        given = [one.dtype for one in inputs]
        if given != self._dtypes:  # OpenVINO would convert them without a word
            raise EngineError(f"{self._file_name!r} takes {_told(self._dtypes)} and was given {_told(given)}")
        try:
            results = self._request().infer(list(inputs), share_inputs=True)
        except RuntimeError as exc:
            raise EngineError(f"{self._file_name!r} failed in OpenVINO: {_last_line(exc)}") from exc
        return [results[index] for index in self._outputs]

    def _request(self) -> openvino.InferRequest:
        if not hasattr(self._requests, "own"):
            self._requests.own = self._compiled.create_infer_request()
        request: openvino.InferRequest = self._requests.own
        return request


def _told(dtypes: Sequence[np.dtype[Any]]) -> str:
    return ", ".join(map(str, dtypes)) or "nothing"


def _last_line(exc: RuntimeError) -> str:
    """What went wrong; the lines before it name OpenVINO's own source files."""
    return str(exc).strip().rsplit("\n", 1)[-1]
