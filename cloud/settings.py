"""Settings of the cloud: one TOML file plus overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from runtime.settings import load_settings
from serving.cluster.settings import RaySettings
from serving.settings import TierSettings
from transport.settings import Listen


class Settings(TierSettings):
    """All settings of the program."""

    name: str = "cloud"
    listen: Listen = Listen(port=7202)
    ray: RaySettings | None = None
    """Workers on a Ray cluster do the work, instead of `workers` threads here; needs the extra `ray`."""


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the file and apply the overrides (dotted keys).

    Raises:
        SettingsError: a key or value is wrong; the sentence names it and the fix.
    """
    return load_settings(Settings, path, overrides or {})
