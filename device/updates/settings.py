"""`[updates]`: where new bundles are put, and what they have to show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from device.table import Table


class UpdateSettings(Table):
    """Without the table, the bundle of the configuration stays until it is reloaded."""

    folder: Path
    """Bundles that appear here, as folders or zip files, are candidates."""
    recorded: Path | None = None
    """A folder of recorded inputs to try them on, with `labels.csv` (file, label) where the answers are known; without
    it, what the source gave at the start."""
    look_s: Annotated[float, Field(gt=0)] = 5.0
    """Between two looks into the folder."""
    slower: Annotated[float, Field(gt=1)] = 3.0
    """How many times slower than promised a bundle may be."""
    measure_s: Annotated[float, Field(gt=0)] = 0.5
    """Time spent on measuring a candidate, while the bundle in force goes on answering."""
    watch: Annotated[int, Field(ge=1)] = 50
    """Frames for which a new bundle is watched before it counts as good."""
    failures: Annotated[int, Field(ge=1)] = 3
    """So many failed frames among these bring the last good bundle back."""
