"""Certificates of a scenario's own authority, for the tiers of which one is to expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from transport.authority import TIER_DAYS, Authority, write_secret

_LONG_AGO = timedelta(days=TIER_DAYS + 30)


class Certificates:
    """An authority in a folder, and what it has signed.

    Args:
        folder: made here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority.create(folder)

    def listen(self, tier: str) -> dict[str, Path]:
        """A tier's table `listen.tls`."""
        self._signed(tier)
        return {"certificate": self._pem(tier), "key": self._key(tier), "client_ca": self._folder / "ca.pem"}

    def dial(self, caller: str, tier: str) -> dict[str, object]:
        """A caller's table `tls`, for a tier by its name."""
        self._signed(caller)
        return {
            "ca": self._folder / "ca.pem",
            "certificate": self._pem(caller),
            "key": self._key(caller),
            "server_name": tier,
        }

    def sign(self, name: str, *, expired: bool = False) -> None:
        """Give a new key and certificate; an expired one was good until a month ago."""
        authority = self._authority
        if expired:
            authority = Authority(self._folder, lambda: datetime.now(UTC) - _LONG_AGO)
        key, certificate = authority.tier(name, [name])
        self._key(name).unlink(missing_ok=True)
        write_secret(self._key(name), key)
        self._pem(name).write_bytes(certificate)

    def _signed(self, name: str) -> None:
        if not self._pem(name).exists():
            self.sign(name)

    def _key(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def _pem(self, name: str) -> Path:
        return self._folder / f"{name}.pem"
