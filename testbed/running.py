"""Run a scenario: all repetitions on one backend, and its folder with figures, tables and page."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from testbed.backends import docker, netns
from testbed.backends.backend import Backend, Outcome, Told, require_playable
from testbed.errors import ScenarioError
from testbed.figures import RunRecord, is_right
from testbed.packets import namespaces
from testbed.results.figures import Verdict, figures_of, record_of, verdicts
from testbed.results.files import RUN, Row, write_run
from testbed.scenarios.faults import Occurrence
from testbed.scenarios.material import Material, Supplier, material_for
from testbed.scenarios.scenario import Scenario

LOCK = "running"
"""A file in the folder of a run that is going on, locked by the process that runs it."""

Figures = Mapping[str, Mapping[str, float]]
"""By device and by figure."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """One of a run's repetitions."""

    records: Mapping[str, Sequence[RunRecord]]
    """Of the devices, by table."""
    occurrences: Sequence[Occurrence]
    figures: Figures
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class ScenarioRun:
    """A finished run.

    Attributes:
        name: of the scenario.
        label: what tells it from other runs of the same scenario; empty if nothing does.
        command: what runs it again.
    """

    name: str
    scenario: Scenario
    backend: str
    folder: Path
    command: str
    repetitions: Sequence[Repetition]
    verdicts: Sequence[Verdict]
    label: str = ""

    @property
    def title(self) -> str:
        """Its label, or the scenario's name."""
        return self.label or self.name

    @property
    def holds(self) -> bool:
        """Whether every expectation holds in every repetition."""
        return all(verdict.holds for verdict in self.verdicts)


def run_scenario(
    name: str,
    scenario: Scenario,
    backend: Backend,
    folder: Path,
    suppliers: Mapping[str, Supplier],
    *,
    label: str = "",
    command: str = "",
    told: Told = lambda sentence: None,
) -> ScenarioRun:
    """Play all repetitions and write the run's tables into its folder.

    Args:
        folder: made anew; must not hold a run yet.
        suppliers: built-in bundles by name.
        label: what tells it from other runs of the same scenario.
        command: for the report.
        told: hears what happens.

    Raises:
        ScenarioError: the backend cannot play it, its material is missing, or the folder is taken.
        TestbedError: a program failed; what it left is in the folder.
    """
    require_playable(backend, scenario)
    with _locked(folder):
        material = material_for(scenario, suppliers, folder)
        repetitions = []
        for number in range(scenario.repetitions):
            if scenario.repetitions > 1:
                told(f"repetition {number + 1} of {scenario.repetitions}")
            outcome = backend.play(scenario, material, folder / f"repetition-{number}", number, told)
            repetitions.append(_repetition(scenario, material, outcome, number))
        found = verdicts(scenario, [one.figures for one in repetitions])
        run = ScenarioRun(name, scenario, backend.name, folder, command, repetitions, found, label)
        write_run(folder, _facts(run), _tables(run))
    return run


def next_folder(root: Path, name: str) -> Path:
    """A folder below `root` that does not exist yet: `NAME-1`, `NAME-2`, ..."""
    taken = {path.name for path in root.iterdir()} if root.is_dir() else set()
    return root / next(f"{name}-{number}" for number in range(1, len(taken) + 2) if f"{name}-{number}" not in taken)


def unfinished(root: Path) -> list[Path]:
    """Folders below `root` whose run was broken off: locked once, and by nobody now, and without a result."""
    found = []
    for lock in sorted(root.glob(f"*/{LOCK}")):
        if not (lock.parent / RUN).exists() and _is_free(lock):
            found.append(lock.parent)
    return found


def clean(root: Path) -> list[Path]:
    """Remove the folders of runs that were broken off; gives them. Their programs ended with the one that ran them."""
    found = unfinished(root)
    for folder in found:
        shutil.rmtree(folder)
    return found


def clean_machine() -> list[str]:
    """Remove namespaces and containers of runs that were killed; gives their names."""
    return [*([] if netns.why_not() else namespaces.clean()), *docker.clean()]


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the kernel lets go of it however this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise ScenarioError(f"the folder {str(folder)!r} holds files already; name another, or remove it")
    path = folder / LOCK
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    path.unlink()


def _is_free(lock: Path) -> bool:
    descriptor = os.open(lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _repetition(scenario: Scenario, material: Material, outcome: Outcome, number: int) -> Repetition:
    records: dict[str, list[RunRecord]] = {}
    for device in outcome.devices:
        records.setdefault(device.table, []).append(record_of(scenario, material, device, outcome, number))
    return Repetition(records, outcome.occurrences, figures_of(records), outcome)


def _facts(run: ScenarioRun) -> dict[str, object]:
    return {
        "scenario": run.name,
        "label": run.label,
        "about": run.scenario.about,
        "backend": run.backend,
        "seed": run.scenario.seed,
        "command": run.command,
        "settings": run.scenario.model_dump(mode="json", exclude_unset=True),
        "figures": [one.figures for one in run.repetitions],
        "expectations": [
            {"name": one.name, **one.expect.model_dump(exclude_none=True), "values": one.values, "holds": one.holds}
            for one in run.verdicts
        ],
        "holds": run.holds,
    }


def _tables(run: ScenarioRun) -> dict[str, list[Row]]:
    tables: dict[str, list[Row]] = {"frames": [], "figures": [], "links": [], "faults": []}
    for number, one in enumerate(run.repetitions):
        for table, records in one.records.items():
            for record in records:
                tables["frames"] += _frames(record, {"repetition": number, "table": table})
        tables["figures"] += [
            {"repetition": number, "device": device, "figure": figure, "value": value}
            for device, found in one.figures.items()
            for figure, value in found.items()
        ]
        for link, lines in one.outcome.links.items():
            tables["links"] += [{**line, "repetition": number, "link": link} for line in lines]
        tables["faults"] += [{**asdict(fault), "repetition": number} for fault in one.occurrences]
    return tables


def _frames(record: RunRecord, where: Row) -> list[Row]:
    device, labels = record.alternative.name, record.setting.labels
    return [{**where, **line, "device": device, "right": is_right(line, labels)} for line in record.history]
