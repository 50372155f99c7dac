"""Opens what the settings name beside the bundle. What the disk does not have now is told, and gone without."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from device.afterwards import Afterwards
from device.errors import FilterError, HistoryError, SourceError, SpoolError
from device.filter.neural import NeuralFilter
from device.filter.settings import FilterSettings
from device.history import History
from device.means import Filter
from device.settings import Settings, SpoolSettings
from device.sinks import Sink, open_sink
from device.sinks.opened import Opened
from device.sources import Clock, Source, open_source
from device.sources.joined import Joined, row_or_reason
from device.sources.push import Keep
from device.spool import Spool, SpoolLimits
from runtime.bundle import Bundle
from runtime.manifest import Manifest

_log = logging.getLogger(__name__)


def open_spool(settings: SpoolSettings | None, clock: Clock, troubles: list[str]) -> Spool | None:
    """None, with a line among the troubles, where the disk does not have it: live frames are answered all the same."""
    if settings is None:
        return None
    try:
        return Spool(settings.path, SpoolLimits(settings.max_bytes, settings.max_age_s), clock=clock)
    except SpoolError as exc:
        _log.error("%s; nothing is kept until then", exc)
        troubles.append(str(exc))
        return None


def filter_of(settings: FilterSettings | None, bundle: Bundle) -> Filter | None:
    """The learned filter; None, with a line in the log, where its file is of no use for this bundle."""
    if settings is None:
        return None
    try:
        neural = NeuralFilter.open(settings.path)
        neural.require_fit(bundle.manifest, bundle.digest)
    except FilterError as exc:
        _log.error("%s; frames go unfiltered until then", exc)
        return None
    return Filter(neural, settings.always)


def open_history(path: Path | None) -> History:
    """One that only counts, where the disk does not have it."""
    try:
        return History(path)
    except HistoryError as exc:
        without = History(None)
        without.give_up(exc)
        return without


def open_source_of(
    settings: Settings, bundle: Bundle, *, given: Callable[[Clock], Source] | None, clock: Clock, spool: Spool | None
) -> Source:
    """The source that was given, or the one of the settings.

    Raises:
        SourceError: it cannot be opened.
    """
    manifest = bundle.manifest
    if given is not None:
        source = given(clock)
    else:
        source = open_source(settings.source, clock=clock, spec=manifest.input, keep=_keep(spool, manifest))
    return source if manifest.inputs is None else Joined(source, manifest)


def add_sinks(afterwards: Afterwards, settings: Settings, sinks: Sequence[Sink]) -> None:
    """Deliver to the sinks of the settings, and to those that were given."""
    for one, named in zip(settings.sinks, _names(settings), strict=True):
        afterwards.add(Opened(partial(open_sink, one)), named, one.waiting)
    for number, sink in enumerate(sinks):
        afterwards.add(sink, f"given {number}")


def _keep(spool: Spool | None, manifest: Manifest) -> Keep:
    """What makes pushed frames durable, as the model takes them; without a spool, every one is refused."""

    def keep(key: str, name: str, content: NDArray[Any]) -> None:
        row = row_or_reason(content, manifest)
        if isinstance(row, str):
            raise SourceError(row)
        if spool is None:
            raise SpoolError("the spool cannot be used, so nothing can be promised; see the log, or: isthmus doctor")
        spool.keep(key, name, row)

    return keep


def _names(settings: Settings) -> list[str]:
    """Of the sinks, for logs and metrics: their kind, numbered where there are several."""
    kinds = [one.kind for one in settings.sinks]
    return [kind if kinds.count(kind) == 1 else f"{kind} {number}" for number, kind in enumerate(kinds)]
