"""Settings of the control plane: one TOML file plus overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from runtime.settings import load_settings
from transport.address import is_loopback
from transport.settings import Dial, Listen, Port


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EnrolmentSettings(_Table):
    """`[enrolment]`: the authority whose tokens operators hand to new devices, and the port where they are redeemed."""

    authority: Path
    """A folder made by: isthmus enroll authority."""
    reached_as: Annotated[str, Field(min_length=1, max_length=255)]
    """Host name or address under which devices reach this machine."""
    host: str = "127.0.0.1"
    port: Port = 7299


class Settings(_Table):
    """All settings of the program."""

    folder: Path
    """Bundles lie here, and the database unless `database` names another."""
    database: str | None = None
    """`postgresql+psycopg://USER@HOST/NAME`; libpq finds the password (PGPASSFILE). Without it SQLite in `folder`."""
    listen: Listen = Listen(port=7300)
    makers: tuple[Path, ...] = ()
    """Public keys (PEM) of those whose bundles are taken."""
    unsigned: bool = False
    """Take anyone's bundles, although others can reach this program."""
    max_bundle_bytes: Annotated[int, Field(ge=1, le=1 << 40)] = 2 << 30
    judge_s: Annotated[float, Field(gt=0, le=3600)] = 0.5
    """Between two looks at the running rollouts; devices' figures are written as often."""
    away_s: Annotated[float, Field(gt=0)] = 60.0
    """A device not heard of for so long counts as away."""
    session_hours: Annotated[float, Field(gt=0, le=720)] = 12.0
    """How long a browser stays signed in."""
    tiers: dict[str, Port | Dial] = {}
    """Tiers by name, with the port (on this machine) or target and TLS of their `[operations]`: their queues are shown
    on the pages."""
    readers: tuple[str, ...] = ()
    """Names in the certificates of those who may read /metrics, beside people with tokens."""
    enrolment: EnrolmentSettings | None = None

    @model_validator(mode="after")
    def _makers_are_known(self) -> Self:
        if self.makers and self.unsigned:
            raise ValueError("makers and unsigned = true exclude each other; remove one of them")
        if not is_loopback(self.listen.host) and not self.makers and not self.unsigned:
            raise ValueError(
                "others can reach this program, and it would hand out bundles made by anyone; add makers = "
                '["maker.pem.pub"] (see: isthmus sign --help), or unsigned = true'
            )
        return self

    @property
    def database_url(self) -> str:
        """Where the state is."""
        return self.database or f"sqlite:///{self.folder.absolute() / 'control.db'}"


def load(path: Path | None, overrides: Mapping[str, object] | None = None) -> Settings:
    """Read the file and apply the overrides (dotted keys).

    Raises:
        SettingsError: a key or value is wrong; the sentence names it and the fix.
    """
    return load_settings(Settings, path, overrides or {})
