"""Whether the engine is there, the bundle whole and trusted, and the model runs and gives sensible numbers."""

from __future__ import annotations

import numpy as np

from device.doctor.case import Case, Fault
from device.engines.affinity import require_processors
from device.engines.choosing import USUAL, chosen_engine
from device.engines.settings import EngineSettings
from device.filter.neural import NeuralFilter
from device.items import items_for
from device.trusting import provisionally
from runtime.bundle import Bundle
from runtime.codecs import Codecs
from runtime.engines import engine_named
from runtime.errors import BundleError
from runtime.stage import Stage


async def engine_is_there(case: Case) -> None:
    """The library behind `engine.name` can be imported, and heads may run where `engine.processors` says."""
    engine = case.settings.engine
    require_processors(engine.processors)
    engine_named(USUAL if engine.name == "auto" else engine.name, engine.threads)


async def bundle_is_sound(case: Case) -> None:
    """Every byte is as its maker declared, and the maker is trusted here."""
    with provisionally(case.settings, case.settings.bundle) as bundle:
        bundle.verify_all()


async def bundle_runs(case: Case) -> None:
    """Every segment, exit and encoder runs once, and no output is NaN or infinite."""
    with Bundle.open(case.settings.bundle) as bundle:
        engine = engine_named(chosen_engine(_unmeasured(case.settings.engine), bundle), case.settings.engine.threads)
        stage, codecs = Stage(bundle, engine), Codecs(bundle, engine)
        try:
            _run_all(bundle, stage, codecs)
        except BundleError as exc:
            raise Fault(str(exc), "export the bundle again from a sound model, for this engine") from exc


async def filter_fits(case: Case) -> None:
    """The learned filter can be read and was made for this bundle."""
    if case.settings.filter is not None:
        neural = NeuralFilter.open(case.settings.filter.path)
        with Bundle.open(case.settings.bundle) as bundle:
            neural.require_fit(bundle.manifest, bundle.digest)


def _unmeasured(settings: EngineSettings) -> EngineSettings:
    """The doctor changes nothing: where it is not known yet which engine is the fastest, it takes the usual one."""
    return settings if settings.name != "auto" else settings.model_copy(update={"remember": None})


def _run_all(bundle: Bundle, stage: Stage, codecs: Codecs) -> None:
    (activation,) = items_for((), bundle.manifest)
    for cut in bundle.manifest.cuts:
        for level in range(len(cut.levels)):
            codecs.at(cut.index, level).encode(activation)
        for exit_ in bundle.manifest.exits:
            if exit_.cut == cut.index:
                _check_finite(f"the exit at cut {cut.index}", stage.exit(cut.index, activation))
        activation = stage.run(activation, cut.index, cut.index + 1)[0]
        _check_finite(f"segment {cut.index}", activation)


def _check_finite(where: str, values: np.ndarray) -> None:  # type: ignore[type-arg]
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise Fault(f"{where} of the bundle gives NaN or infinite numbers", "export it again from a sound model")
