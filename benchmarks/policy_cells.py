"""Every policy on every trace, in cells that are kept: a run can be stopped, taken up again, and shared by processors.

A cell is one policy on one trace with one option table and deadline, over all starts. What was played is kept in
`results/policy/cells.jsonl` with a digest of what the policy does on a link made up for that: nothing counts that was
played by code that does otherwise, and code that only reads better voids nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import astuple, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from adaptation.goal import Goal
from adaptation.hedging import Hedging
from adaptation.plan import Plan
from adaptation.policies import DeadlinePolicy, Policy, policy_named
from adaptation.policies.content import ContentPolicy
from adaptation.policies.contention import ContentionPolicy
from isthmus.builtin.demo import BUNDLE, WHOLE_MODEL_S
from testbed.simulation.conditions import KEEPS_ALL, Conditions
from testbed.simulation.regret import Case, Reference, Score, conditions, play, reference, score, trace_files
from testbed.simulation.supply import steps
from testbed.simulation.tables import TABLES as WRITTEN_DOWN
from testbed.simulation.tables import of_bundle

TABLES: Mapping[str, Callable[[], Plan]] = {**WRITTEN_DOWN, "builtin": lambda: of_bundle(BUNDLE, WHOLE_MODEL_S)}
"""The built-in bundle's is its own, on the demo's device."""
STARTS = (0.05, 0.4, 0.75)
"""None of them served for tuning."""
DEADLINES_S = (0.1, 0.25, 0.5)
GOAL = Goal(latency_weight=0.0)
PUBLISHED = ("empirical", "harmonic", "ewma", "neurosurgeon", "linucb", "spinn")
POLICIES: Mapping[str, tuple[Policy, float]] = {
    "hedged": (DeadlinePolicy(GOAL, Hedging()), 0.0),
    "deadline": (DeadlinePolicy(GOAL), KEEPS_ALL),
    "contention": (ContentionPolicy(GOAL), KEEPS_ALL),
    "content": (ContentPolicy(GOAL), KEEPS_ALL),
    **{name: (policy_named(name), KEEPS_ALL) for name in PUBLISHED},
}
"""Each with what its transport holds back: only the first takes unsent bytes back."""

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "results" / "policy" / "cells.jsonl"
PREPARED_BY = tuple(f"testbed/simulation/{name}.py" for name in ("regret", "supply", "traces"))
"""What makes runs of recordings; what plays them is known by what it does."""
TRIED_S, ASKED_S, STILL_BPS = 12.0, 2.0, 8e4
"""How long a policy is watched on the made-up links, how far the oracle looks, and what the still one carries."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all policies of a cell's neighbours share: conditions, and with them the references."""

    table: str
    trace: Path
    deadline_s: float

    @property
    def name(self) -> str:
        """Its name in the file of cells."""
        return f"{self.table} {self.trace.name} {self.deadline_s:g}"


def grounds() -> list[Ground]:
    """All of them, table by table."""
    return [Ground(table, trace, d) for table in TABLES for trace in trace_files() for d in DEADLINES_S]


def played(ground: Ground, names: Iterable[str]) -> dict[str, Score]:
    """What each of these policies came to; played now where nobody has."""
    names = tuple(names)
    cells = _kept()
    if missing := cells.missing(ground, names):
        cells.keep(ground, *_play(ground, missing, cells.references(ground)))
    return {name: cells.score(ground, name) for name in names}


def play_all(names: Sequence[str], *, seconds: float, processes: int) -> int:
    """Play what is missing until the time is up, each process one ground at a time; returns the cells still missing."""
    cells, until_s = _kept(), time.monotonic() + seconds
    ahead = [(ground, missing) for ground in grounds() if (missing := cells.missing(ground, names))]
    with ProcessPoolExecutor(processes) as pool:
        for ground, found in _in_turn(pool, ahead, processes, cells, until_s):
            cells.keep(ground, *found)
    return sum(len(cells.missing(ground, names)) for ground in grounds())


Found = tuple[Sequence[Reference], Mapping[str, Score]]


def _in_turn(
    pool: ProcessPoolExecutor,
    ahead: Iterable[tuple[Ground, Sequence[str]]],
    processes: int,
    cells: Cells,
    until_s: float,
) -> Iterator[tuple[Ground, Found]]:
    under_way: dict[Future[Found], Ground] = {}
    left = iter(ahead)
    while True:
        while len(under_way) < processes and time.monotonic() < until_s:
            following = next(left, None)
            if following is None:
                break
            ground, missing = following
            under_way[pool.submit(_play, ground, missing, cells.references(ground))] = ground
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for one in done:
            yield under_way.pop(one), one.result()


def _play(ground: Ground, names: Sequence[str], known: Sequence[Reference] | None) -> Found:
    """The references of a ground, one for each start, and what the policies came to."""
    plan = TABLES[ground.table]()
    given = [conditions(Case(ground.table, ground.trace, start, ground.deadline_s), plan) for start in STARTS]
    references = known or [reference(one) for one in given]
    cases = list(zip(given, references, strict=True))
    scores = {}
    for name in names:
        policy, held_back_bytes = POLICIES[name]
        scores[name] = score(policy, cases, ground.trace.name, held_back_bytes=held_back_bytes)
    return references, scores


class Cells:
    """The file of cells: lines of what was played by code that did the same are read, lines of new cells added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._references: dict[str, Sequence[Reference]] = {}
        self._scores: dict[tuple[str, str], Score] = {}
        for line in path.read_text().splitlines() if path.is_file() else ():
            self._take(json.loads(line))

    def references(self, ground: Ground) -> Sequence[Reference] | None:
        """One for each start, or None where the oracle has not been asked."""
        return self._references.get(ground.name)

    def score(self, ground: Ground, name: str) -> Score:
        """What a policy came to that is not missing."""
        return self._scores[ground.name, name]

    def missing(self, ground: Ground, names: Iterable[str]) -> list[str]:
        """Which of these policies have not been played here."""
        return [name for name in names if (ground.name, name) not in self._scores]

    def keep(self, ground: Ground, references: Sequence[Reference], scores: Mapping[str, Score]) -> None:
        """Take these in, and write them down."""
        at = {"at": ground.name, "table": ground.table}
        lines = [{"code": code_of(ground.table, n), **at, "policy": n, "score": astuple(s)} for n, s in scores.items()]
        if ground.name not in self._references:
            known = [astuple(one) for one in references]
            lines.insert(0, {"code": code_of(ground.table), **at, "references": known})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            for line in lines:
                file.write(json.dumps(line) + "\n")
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if line["code"] != code_of(line.get("table"), line.get("policy")):
            return
        if "references" in line:
            self._references[line["at"]] = [Reference(*one) for one in line["references"]]
        else:
            self._scores[line["at"], line["policy"]] = Score(*line["score"])


@cache
def _kept() -> Cells:
    return Cells(KEPT)


@cache
def code_of(table: str | None, name: str | None = None) -> str:
    """What a policy does with an option table, or what the oracle and the others of a reference do, as a digest."""
    if table is None or table not in TABLES or name not in (None, *POLICIES):
        return "nobody knows"
    found = repr((digest(PREPARED_BY), STARTS, TABLES[table]().options, behaviour(table, name)))
    return hashlib.sha256(found.encode()).hexdigest()[:16]


@cache
def behaviour(table: str, name: str | None) -> str:
    """All that a policy does with a table on the made-up links, or what the references of their first seconds are, as a
    digest."""
    found = hashlib.sha256()
    for given in _trials(TABLES[table]()):
        if name is None:
            told = [round(one, 7) for one in astuple(reference(replace(given, seconds=ASKED_S)))]
            found.update(repr(told).encode())
        else:
            policy, held_back_bytes = POLICIES[name]
            frames = play(replace(given, held_back_bytes=held_back_bytes), policy).frames
            found.update(repr([(one.choice, one.by, one.done_s and round(one.done_s, 7)) for one in frames]).encode())
    return found.hexdigest()


def _trials(plan: Plan) -> Iterator[Conditions]:
    """Runs on a link that moves between 20 kbit/s and 20 Mbit/s and dies now and then, and on one that stands still."""
    moods = random.Random(7)
    parts = [(moods.uniform(0.1, 0.8), 10.0 ** moods.uniform(4.3, 7.3) * (moods.random() < 0.9)) for _ in range(40)]
    for deadline_s in DEADLINES_S:
        yield Conditions(plan=plan, supply=steps(parts), seconds=TRIED_S, deadline_s=deadline_s)
    yield Conditions(plan=plan, supply=steps([(TRIED_S, STILL_BPS)]), seconds=TRIED_S, deadline_s=0.25)


def digest(paths: Iterable[str]) -> str:
    """Of what these files and folders of Python do: comments, docstrings and imports make no difference."""
    found = hashlib.sha256()
    for path in paths:
        for file in sorted((ROOT / path).rglob("*.py")) or [ROOT / path]:
            tree = ast.parse(file.read_text())
            tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                    del node.body[0]
            found.update(ast.dump(tree).encode())
    return found.hexdigest()[:16]
