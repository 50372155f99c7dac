"""Whether the source has frames that the model can take."""

from __future__ import annotations

import time

from device.doctor.case import Case, Fault
from device.sources import open_source
from device.sources.joined import Joined
from device.sources.push import PushSource
from runtime.bundle import Bundle

SAMPLES = 8


async def source_gives(case: Case) -> None:
    """It can be opened, and at least one of its first items fits the model; a live source is only opened."""
    settings = case.settings.source
    if settings.kind in ("stdin", "camera"):
        return
    with Bundle.open(case.settings.bundle) as bundle:
        manifest, spec = bundle.manifest, bundle.manifest.input
    source = open_source(settings, clock=time.monotonic, spec=spec)
    if settings.kind == "push":
        if isinstance(source, PushSource):
            source.close()
        return
    samples = Joined(source, manifest).samples(SAMPLES)
    if not samples:
        raise Fault(f"nothing in source.path {str(settings.path)!r} can be read", "put pictures or NPY files there")
    if not any(item.shape == spec.shape and str(item.dtype) == spec.dtype for item in samples):
        first = samples[0]
        raise Fault(
            f"the source gives {first.dtype} {list(first.shape)}, and the model takes {spec.dtype} {list(spec.shape)}",
            'set source.fit = "crop" (or "stretch") for pictures, or choose another source',
        )
