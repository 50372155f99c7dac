"""`[updates]`: where new bundles are put, what they have to show, and which control plane brings them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from device.table import Table
from transport.address import is_loopback
from transport.settings import CallerTls


class ControlSettings(Table):
    """`[updates.control]`: the control plane that bundles and policies come from, and that hears how they do."""

    url: Annotated[str, Field(pattern=r"^https?://[^/?#@]+$")]
    """`https://cloud.local:7300`."""
    tls: CallerTls | None = None
    """What is shown there; the certificate's name has to be the device's."""
    wait_s: Annotated[float, Field(ge=0, le=50)] = 25.0
    """How long a question for news stays open."""
    report_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Between two reports."""
    retry_s: Annotated[float, Field(gt=0, le=3600)] = 5.0
    """After one that did not get through."""
    labels: Path | None = None
    """CSV (file, label) of items of the source whose right answer is known; a rollout's accuracy is told from these."""

    @model_validator(mode="after")
    def _safe(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            raise ValueError("beyond this machine the control plane is called over https; write https:// and add tls")
        if (parts.scheme == "https") is not (self.tls is not None):
            raise ValueError("https and tls go together; a device shows its certificate (isthmus enroll device)")
        if self.tls is not None and self.tls.server_name is not None:
            raise ValueError("tls.server_name has no meaning here; the name expected is the one in url")
        return self


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
    control: ControlSettings | None = None
    """Without it nothing is fetched: whoever brings bundles moves them into `folder`."""
