"""Opening bundles as the settings trust them, with or without taking note of their counters."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from device.settings import Settings
from runtime.bundle import Bundle


def trusted_bundle(settings: Settings) -> Bundle:
    """Open the bundle, and check its maker where the settings name one; its counter is noted.

    Raises:
        BundleError, SettingsError: it is not usable here.
    """
    dials = [dial for dial in (settings.edge, settings.cloud) if dial is not None]
    for dial in dials:
        dial.require_safe()
    exposed = not all(dial.is_near for dial in dials)
    return Bundle.open(settings.bundle, trust=settings.trust.trust(exposed=exposed))


@contextmanager
def provisionally(settings: Settings, path: Path) -> Iterator[Bundle]:
    """Open a bundle on a copy of the ledger: checked like one in use, but not noted as the newest.

    Raises:
        BundleError: it is not usable here.
    """
    trust = settings.trust
    with tempfile.TemporaryDirectory(prefix="isthmus-") as folder:
        provisional = None
        if trust.keys and trust.ledger is not None:
            from runtime.signing import Ledger, Trust, public_key  # only who names makers needs the library in memory

            ledger = Path(folder) / "ledger.json"
            if trust.ledger.exists():
                shutil.copyfile(trust.ledger, ledger)
            provisional = Trust([public_key(key) for key in trust.keys], Ledger(ledger))
        with Bundle.open(path, trust=provisional) as bundle:
            yield bundle
