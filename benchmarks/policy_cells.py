"""Every policy on every trace, in cells that are kept: a run can be stopped, taken up again, and shared by processors.

A cell is one policy on one trace with one option table and deadline, over all starts. What was played is kept in
`results/policy/cells.jsonl` with a digest of the code that decides it, so nothing that was played by other code counts.
"""

from __future__ import annotations

import ast
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from adaptation.hedging import Hedging
from adaptation.policies import DeadlinePolicy, Policy, policy_named
from adaptation.policies.content import ContentPolicy
from adaptation.policies.contention import ContentionPolicy
from adaptation.values import Goal, Plan
from isthmus.builtin.demo import BUNDLE, WHOLE_MODEL_S
from testbed.simulation.conditions import KEEPS_ALL
from testbed.simulation.regret import Case, Reference, Score, conditions, reference, score, trace_files
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
REFERRED_TO = (
    *(f"testbed/simulation/{name}.py" for name in ("conditions", "hindsight", "oracle", "supply", "tables", "traces")),
    "adaptation/values.py", "device/plan.py", "device/figures.py",
)  # fmt: skip
"""What the references depend on ..."""
DECIDED_BY = (*REFERRED_TO, "testbed/simulation", "adaptation", "benchmarks/policy_cells.py")
"""... and what the policies do."""


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
    """All of them, trace by trace."""
    return [Ground(table, trace, d) for trace in trace_files() for table in TABLES for d in DEADLINES_S]


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
    """The file of cells: lines of what was played by the present code are read, lines of new cells added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._oracle, self._all = digest(REFERRED_TO), digest(DECIDED_BY)
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
        lines = [{"code": self._all, "at": ground.name, "policy": n, "score": astuple(s)} for n, s in scores.items()]
        if ground.name not in self._references:
            lines.insert(0, {"code": self._oracle, "at": ground.name, "references": [astuple(r) for r in references]})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            for line in lines:
                file.write(json.dumps(line) + "\n")
                self._take(line)

    def _take(self, line: Mapping[str, object]) -> None:
        if "references" in line and line["code"] == self._oracle:
            self._references[line["at"]] = [Reference(*one) for one in line["references"]]  # type: ignore[index, attr-defined]
        elif "score" in line and line["code"] == self._all:
            self._scores[line["at"], line["policy"]] = Score(*line["score"])  # type: ignore[index, misc]


@cache
def _kept() -> Cells:
    return Cells(KEPT)


def digest(paths: Iterable[str]) -> str:
    """Of what these files and folders of Python do: comments and docstrings make no difference."""
    found = hashlib.sha256()
    for path in paths:
        for file in sorted((ROOT / path).rglob("*.py")) or [ROOT / path]:
            tree = ast.parse(file.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                    del node.body[0]
            found.update(ast.dump(tree).encode())
    return found.hexdigest()[:16]
