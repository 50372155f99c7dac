"""The fastest engine for a bundle on this machine: tried once, then read from a file."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device.engines.affinity import pinned
from device.engines.settings import EngineSettings
from runtime.bundle import Bundle
from runtime.engines import ENGINE_NAMES, installed_engines

USUAL = ENGINE_NAMES[0]
"""Taken where nothing is known, and where another one is hardly faster."""
WORTH = 0.95
"""Another engine has to take at most this share of the usual one's time."""
AGREE = 0.01
"""And its answer has to be as near: the largest difference against the largest number of the answer."""
PATIENCE_S = 60.0
"""For an engine's start, besides what the measurement takes."""
KEPT = 32
"""Choices in the file; the oldest ones go first beyond that."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one engine.

    Attributes:
        frame_s: median seconds of the whole model.
        answer: of a fixed input.
    """

    frame_s: float
    answer: Sequence[float]


def chosen_engine(settings: EngineSettings, bundle: Bundle) -> str:
    """The name of the engine to run a bundle on; the first time this takes `choose_s`.

    What was found is kept by bundle, threads, processor and the engines' versions: where one of these changes, it is
    measured again. A file that cannot be read or written costs that measurement, with a line in the log, and no more.
    """
    candidates = installed_engines()
    if settings.name != "auto":
        return settings.name
    if settings.remember is None or len(candidates) < 2:
        return USUAL
    key = _key(bundle, settings.threads, candidates)
    known = _read(settings.remember)
    if known.get(key) in candidates:
        return known[key]
    seconds = settings.choose_s / len(candidates)
    with pinned(settings.processors):
        trials = {name: _tried(bundle.path, name, settings.threads, seconds) for name in candidates}
    good = {name: trial for name, trial in trials.items() if trial is not None}
    name = fastest(good)
    if USUAL in good:
        _write(settings.remember, {**known, key: name})
    return name


def fastest(trials: Mapping[str, Trial]) -> str:
    """The fastest of those that answer as the usual engine does; the usual one unless another is clearly faster."""
    usual = trials.get(USUAL)
    if usual is None:
        return USUAL  # the agent is to fail with that engine's own words
    for name, trial in trials.items():
        _log.info("engine %s: %.2f ms a frame", name, 1e3 * trial.frame_s)
        if not agree(usual.answer, trial.answer):
            _log.warning("engine %s gives other answers than %s for this bundle and is not taken", name, USUAL)
    alike = {name: trial.frame_s for name, trial in trials.items() if agree(usual.answer, trial.answer)}
    best = min(alike, key=lambda name: alike[name])
    return best if alike[best] <= WORTH * usual.frame_s else USUAL


def agree(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two answers are the same but for rounding."""
    if len(one) != len(other):
        return False
    scale = max(float(np.abs(one).max(initial=0.0)), 1e-6)
    return bool(np.abs(np.subtract(one, other)).max(initial=0.0) <= AGREE * scale)


def _tried(bundle: Path, name: str, threads: int, seconds: float) -> Trial | None:
    """None, with a line in the log, where the engine is of no use here."""
    command = [sys.executable, "-m", "device.engines.trial", str(bundle), name, str(threads), str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE_S, check=True)
        told = json.loads(done.stdout)
        return Trial(float(told["frame_s"]), [float(value) for value in told["answer"]])
    except subprocess.CalledProcessError as exc:
        last = exc.stderr.strip().rsplit("\n", 1)[-1]
        _log.warning("engine %s cannot run this bundle here (exit code %d): %s", name, exc.returncode, last)
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as exc:
        _log.warning("engine %s could not be tried: %s", name, exc)
    return None


def _key(bundle: Bundle, threads: int, candidates: Sequence[str]) -> str:
    versions = [f"{name} {importlib.metadata.version(name)}" for name in candidates]
    return ", ".join([bundle.digest.hex()[:16], f"{threads} threads", _processor(), *versions])


def _processor(path: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model, as far as the system tells it."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.lower().startswith(("model name", "model\t"))]
    return f"{platform.machine()} {names[-1] if names else platform.processor()}".strip()


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): str(value) for key, value in found["engines"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        _log.warning("engine.remember = %s cannot be read: %s; engines are measured again", path, exc)
        return {}


def _write(path: Path, engines: Mapping[str, str]) -> None:
    fresh = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("w", encoding="utf-8") as file:
            json.dump({"engines": dict([*engines.items()][-KEPT:])}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as exc:
        _log.warning("engine.remember = %s cannot be written: %s; engines are measured at each start", path, exc)
