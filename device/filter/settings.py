"""`[filter]`: without the table, every frame is sent or answered."""

from __future__ import annotations

from pathlib import Path

from device.table import Table


class FilterSettings(Table):
    """A file that `isthmus filter` made for the bundle."""

    path: Path
    always: bool = False
    """Ask it about every frame, also about those that would leave the device before the filter's cut: computes more and
    sends less."""
