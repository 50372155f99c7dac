"""A run for notebooks: its tables as data frames."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocol.errors import IsthmusError
from testbed.results.files import TABLES, read_facts


class NoPandas(IsthmusError):
    """Data frames need pandas, which nothing else here does."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        facts: what `run.json` holds: scenario, backend, seed, settings, expectations, command.
        frames, figures, links, faults: the tables, each a pandas.DataFrame; their columns are in
            `testbed.results.files.TABLES`.
    """

    facts: dict[str, Any]
    frames: Any
    figures: Any
    links: Any
    faults: Any


def load(folder: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        NoPandas: pandas is not installed.
        TestbedError: the folder holds no finished run.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError as exc:
        raise NoPandas("testbed.load gives pandas data frames; install it with: pip install pandas") from exc
    folder = Path(folder)
    facts = read_facts(folder)
    tables = {name: pandas.read_csv(folder / f"{name}.csv", float_precision="round_trip") for name in TABLES}
    return Run(facts, **tables)
