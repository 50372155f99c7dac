"""`[trust]` of every program: whose bundles it uses, and where it remembers which were the newest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, model_validator

from runtime.errors import SettingsError

if TYPE_CHECKING:
    from runtime.signing import Trust


class TrustSettings(BaseModel):
    """`keys` and `ledger` together, or neither; a program that meets other machines has them, or says `unsigned`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Path, ...] = ()
    """Public keys (PEM) of the makers whose bundles are used."""
    ledger: Path | None = None
    """Where the largest counter accepted of each model is kept, so that an older bundle is not accepted again. One file
    for each program."""
    unsigned: bool = False
    """Use anyone's bundles, although the program meets other machines."""

    def trust(self, *, exposed: bool) -> Trust | None:
        """What `Bundle.open` takes; None takes anyone's bundles.

        Args:
            exposed: whether the program listens or calls beyond loopback.

        Raises:
            SettingsError: exposed, and nothing is said about the makers of bundles.
            BundleUntrusted: the ledger cannot be read.
            KeyUnusable: a key cannot be read.
        """
        if not self.keys:
            if exposed and not self.unsigned:
                raise SettingsError(
                    "this program is set to talk to other machines but would run a bundle made by anyone; add [trust] "
                    'keys = ["maker.pem.pub"] ledger = "accepted.json" (see: isthmus sign --help), or unsigned = true'
                )
            return None
        from runtime.signing import Ledger, Trust, public_key  # only who names makers needs the library in memory

        assert self.ledger is not None
        return Trust([public_key(path) for path in self.keys], Ledger(self.ledger))

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if bool(self.keys) is not (self.ledger is not None):
            raise ValueError("keys and ledger go together: without a ledger a bundle could be exchanged for an old one")
        if self.keys and self.unsigned:
            raise ValueError("keys and unsigned = true exclude each other; remove one of them")
        return self
