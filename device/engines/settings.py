"""`[engine]`: what runs the graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from device.table import Table


class EngineSettings(Table):
    """An engine by name, or `"auto"`: the fastest of those that are installed, once it is known which that is."""

    name: Literal["auto", "onnxruntime", "openvino"] = "auto"
    threads: Annotated[int, Field(ge=1, le=64)] = 1
    processors: tuple[Annotated[int, Field(ge=0, le=4095)], ...] = ()
    """Numbers of the processors that heads are kept on, as `taskset` counts them; empty leaves that to the system."""
    remember: Path | None = None
    """For `"auto"`: a file in which the choice is kept. Without it nothing is measured, and ONNX Runtime is taken."""
    choose_s: Annotated[float, Field(gt=0, le=60)] = 2.0
    """Time spent on that measurement, all engines together."""
