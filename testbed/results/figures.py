"""The figures of a scenario's run: for each device, for each table of devices, and over all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.alternatives import Alternative
from testbed.backends.backend import DeviceOutcome, Outcome
from testbed.backends.process import setting_of
from testbed.figures import RunRecord, figures
from testbed.scenarios.material import Material
from testbed.scenarios.scenario import ExpectTable, Scenario

ALL = "all"
"""In place of a device's name: all of them together."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """An expectation against what came of it.

    Attributes:
        values: one for each repetition.
    """

    name: str
    expect: ExpectTable
    values: Sequence[float]

    @property
    def holds(self) -> bool:
        """In every repetition."""
        return all(self.expect.holds(value) for value in self.values)

    @property
    def told(self) -> str:
        """In a line: `misses: deadline_miss_rate at most 0.02: 0.01, 0.03`."""
        bounds = [
            f"{word} {bound:g}"
            for word, bound in (("at least", self.expect.at_least), ("at most", self.expect.at_most))
            if bound is not None
        ]
        of = f" of {self.expect.device}" if self.expect.device else ""
        values = ", ".join(f"{value:.4g}" for value in self.values)
        return f"{self.name}: {self.expect.figure}{of} {' and '.join(bounds)}: {values}"


def record_of(
    scenario: Scenario, material: Material, device: DeviceOutcome, outcome: Outcome, repetition: int
) -> RunRecord:
    """One device in the terms of comparisons; its lines count from the start of the links."""
    table = scenario.device[device.table]
    policy = table.policy.model_dump(exclude_unset=True, exclude_none=True)
    told = f"{table.policy.name}, {table.rate_hz:g} frames/s over {table.link}"
    alternative = Alternative(device.name, policy, told)
    link = outcome.links.get(table.link, ())
    return RunRecord(
        alternative, setting_of(scenario, table, material, repetition), device.lines, link, device.captured
    )


def pooled(records: Sequence[RunRecord], name: str) -> RunRecord:
    """Several devices as if they were one."""
    lines = [{**line, "frame": (place, line["frame"])} for place, one in enumerate(records) for line in one.history]
    first = records[0]
    captured = sum(one.captured for one in records)
    return RunRecord(Alternative(name, {}, "together"), first.setting, lines, first.link, captured)


def figures_of(records: Mapping[str, Sequence[RunRecord]]) -> dict[str, dict[str, float]]:
    """Figures (see `FIGURES`) by name: each device, each table that has several, and `ALL`.

    Args:
        records: of the devices, by table.

    Energy is among them where it is known of all of a group.
    """
    everyone = [one for group in records.values() for one in group]
    groups: dict[str, Sequence[RunRecord]] = {one.alternative.name: [one] for one in everyone}
    groups |= {table: group for table, group in records.items() if len(group) > 1}
    groups[ALL] = everyone
    return {name: _figures(group) for name, group in groups.items()}


def _figures(group: Sequence[RunRecord]) -> dict[str, float]:
    together = group[0] if len(group) == 1 else pooled(group, "")
    found = figures(together)
    answers = [line for line in together.history if line["ended"] == "answered"]
    found["answered"] = len(answers) / max(together.captured, 1)
    for tier in ("device", "edge", "cloud"):
        found[f"by_{tier}"] = sum(line["by"] == tier for line in answers) / max(len(answers), 1)
    joules = [_joules(one) for one in group]
    if None not in joules:
        found["joules_per_frame"] = math.fsum(filter(None, joules)) / max(together.captured, 1)
    found["fairness"] = jain([1 - figures(one)["deadline_miss_rate"] for one in group])
    return found


def _joules(record: RunRecord) -> float | None:
    power = record.setting.power
    if power is None:
        return None
    return math.fsum(power.joules(line["device_s"], line["message_bytes"]) for line in record.history)


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index of non-negative shares (Jain, Chiu and Hawe, DEC-TR-301, 1984); 1 if all are 0."""
    squares = sum(share * share for share in shares)
    return 1.0 if squares == 0 else sum(shares) ** 2 / (len(shares) * squares)


def verdicts(scenario: Scenario, repetitions: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Verdict]:
    """Every expectation against the figures of all repetitions."""
    return [
        Verdict(name, expect, [found[expect.device or ALL][expect.figure] for found in repetitions])
        for name, expect in scenario.expect.items()
    ]
