"""The live runs over one trace, kept in a folder: way by way, so that they can be played in several sittings."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adaptation.plan import Choice, Option, Plan, Route
from adaptation.policies import NAMES
from isthmus.builtin import demo
from runtime.bundle import Bundle
from testbed import alternatives, hindsight
from testbed.alternatives import Alternative
from testbed.comparison import run_alternative, tiers
from testbed.figures import RunRecord
from testbed.setting import Setting

OTHERS = tuple(name for name in NAMES if name not in ("deadline", "fixed"))
FIXED = ("device_only", "cloud_jpeg", "best_fixed")
WAYS = ("adaptive", *FIXED, *OTHERS)
STARTING_S = 15.0
"""What the programs of a run may take to start and to end."""
APART_S = 4.0
"""Between the starts of two runs side by side."""


class Records:
    """Every way over the same link and inputs.

    Args:
        folder: what was played before lies there; what is played goes there.
        link: the trace's window, in both directions.
    """

    def __init__(self, folder: Path, link: demo.Link) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "slowdown.json"
        self.setting: Setting = demo.make_setting(link, folder, command="isthmus bench live")
        if kept.is_file():
            self.setting = replace(self.setting, slowdown=json.loads(kept.read_text()))
        else:
            kept.write_text(json.dumps(self.setting.slowdown))

    @property
    def missing(self) -> list[str]:
        """Ways that have not been played."""
        return [way for way in WAYS if not self._path(way).is_file()]

    def play(self, until_s: float, together: int = 1) -> None:
        """Play what is missing, if it ends before this moment of the monotonic clock: the adaptive way alone, since it
        is held against simulated time and says which fixed choice was best, the others so many side by side.

        A device spends its time waiting: alone it takes a tenth of a processor. They start one after the other, since
        each measures its own parts at first.
        """
        while self.missing and self._time_for(until_s, together):
            ways = ["adaptive"] if "adaptive" in self.missing else self.missing[:together]
            chosen = [self._alternative(way) for way in ways]
            with tiers(self.setting, self._folder) as running, ThreadPoolExecutor(together) as pool:
                under_way = []
                for one in chosen:
                    under_way.append(pool.submit(run_alternative, self.setting, one, running))
                    wait(under_way, timeout=APART_S)
                for run in under_way:
                    self._keep(run.result())

    def record(self, way: str) -> RunRecord:
        """What a way that is not missing left behind."""
        kept = json.loads(self._path(way).read_text())
        return RunRecord(Alternative(**kept.pop("alternative")), self.setting, **kept)

    def _plan(self) -> Plan:
        """The plan, with the device's times as the adaptive run saw them; measured once, right after that run."""
        path = self._folder / "plan.json"
        if not path.is_file():
            _, timed = hindsight.measured_plan(self.setting)
            plan = hindsight.as_observed(timed, self.record("adaptive").history)
            path.write_text(json.dumps([asdict(option) for option in plan]))
        return Plan(tuple(_options(json.loads(path.read_text()))))

    def _time_for(self, until_s: float, together: int) -> bool:
        return time.monotonic() + self.setting.duration_s + STARTING_S + APART_S * together < until_s

    def _alternative(self, way: str) -> Alternative:
        if way == "adaptive":
            return alternatives.adaptive()
        if way in OTHERS:
            return Alternative(way, {"name": way}, f"the policy {way!r}")
        if way == "best_fixed":
            best = hindsight.best_fixed(self.setting, self._plan())[0].choice
            return alternatives.fixed(way, best, "the best single choice in hindsight")
        with Bundle.open(self.setting.bundle) as bundle:
            manifest = bundle.manifest
        return alternatives.device_only(manifest) if way == "device_only" else alternatives.cloud_jpeg(manifest)

    def _keep(self, record: RunRecord) -> None:
        found = {
            "alternative": asdict(record.alternative),
            "history": record.history,
            "link": record.link,
            "captured": record.captured,
            "first_capture_s": record.first_capture_s,
        }
        self._path(record.alternative.name).write_text(json.dumps(found))

    def _path(self, way: str) -> Path:
        return self._folder / f"{way}.record.json"


def _options(rows: list[dict[str, Any]]) -> Iterator[Option]:
    for row in rows:
        chosen = row.pop("choice")
        handover = chosen["handover"] and tuple(chosen["handover"])
        yield Option(Choice(chosen["cut"], chosen["level"], Route(chosen["route"]), handover), **row)
