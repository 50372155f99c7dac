"""A run's folder: `run.json`, four tables as CSV (and Parquet, where pyarrow is installed), and the page beside them.

| file | a row for |
|---|---|
| `frames.csv` | each captured frame that ended |
| `figures.csv` | each figure of each device in each repetition |
| `links.csv` | each 100 ms of each link |
| `faults.csv` | each fault that came |
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from testbed.errors import TestbedError
from testbed.results.parquet import write_parquet

RUN = "run.json"
TABLES: Mapping[str, Sequence[str]] = {
    "frames": (
        "repetition", "device", "table", "frame", "captured_s", "ended", "by", "route", "reason", "cut", "level",
        "exit", "payload_bytes", "message_bytes", "latency_s", "deadline_s", "in_time", "answer", "right", "confidence",
        "device_s", "tier_s", "network_s", "source",
    ),
    "figures": ("repetition", "device", "figure", "value"),
    "links": ("repetition", "link", "at_s", "up_bytes", "down_bytes", "up_queued_bytes", "down_queued_bytes"),
    "faults": ("repetition", "name", "begins_s", "ends_s", "told"),
}  # fmt: skip
"""Columns of each table."""

Row = Mapping[str, object]


def write_run(folder: Path, facts: Mapping[str, object], tables: Mapping[str, Iterable[Row]]) -> None:
    """Write `run.json` and the tables; `run.json` comes last, so that a folder that has one is whole.

    Raises:
        TestbedError: a file cannot be written.
    """
    try:
        for name, columns in TABLES.items():
            rows = list(tables[name])
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore", restval="")
                writer.writeheader()
                writer.writerows(rows)
            write_parquet(folder / f"{name}.parquet", columns, rows)
        (folder / RUN).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as exc:
        raise TestbedError(
            f"the run's folder {str(folder)!r} cannot be written: {exc.strerror}; choose another"
        ) from exc


def read_facts(folder: Path) -> dict[str, object]:
    """`run.json`.

    Raises:
        TestbedError: the folder holds no finished run.
    """
    try:
        facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise TestbedError(
            f"{str(folder)!r} holds no finished run (no {RUN}); run one with: isthmus testbed run NAME"
        ) from exc
    except (OSError, ValueError) as exc:
        raise TestbedError(f"{str(folder / RUN)!r} cannot be read: {exc}; run the scenario again") from exc
    if not isinstance(facts, dict) or not isinstance(facts.get("figures"), list):
        raise TestbedError(f"{str(folder / RUN)!r} is not a run's; run the scenario again")
    return facts
