"""Alerts and the dashboard are about figures that there are; alerts fire when they should and lead to a page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from protocol.errors import Code
from protocol.messages import Load
from serving.metrics import Metrics
from tests.docs.pages import anchors

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose" / "observability"
DASHBOARD = json.loads((FOLDER / "dashboards" / "isthmus.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
GROUPS = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}


class Idle:
    """A tier that has done nothing."""

    def load(self) -> Load:
        return Load()

    def explained(self) -> dict[str, object]:
        return {"steps": {}}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all series that tiers and the control plane tell, as Prometheus keeps them."""
    from cloud.control.metrics import Now
    from cloud.control.program import open_database
    from cloud.control.settings import Settings

    tier = Metrics(lambda: 0.0)
    tier.watch(Idle())
    settings = Settings(folder=tmp_path_factory.mktemp("control"))
    with closing(open_database(settings)) as database:
        families = [*tier.registry.collect(), *Now(database, lambda: 0.0, settings.away_s).collect()]
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return {f"{family.name}{end}" for family in families for end in suffixes.get(family.type, [""])} | {"up", "ALERTS"}


@pytest.mark.parametrize("name", RULES)
def test_an_alert_is_about_figures_that_there_are(figures: set[str], name: str) -> None:
    asked = set(re.findall(r"\b(isthmus_\w+|up)\b", RULES[name]["expr"]))
    assert asked
    assert asked <= figures


def test_alerts_name_outcomes_that_there_are() -> None:
    outcomes = {code.name.lower() for code in Code} | {"answered"}
    named = re.findall(r'outcome=~?"([^"]+)"', "".join(rule["expr"] for rule in RULES.values()))
    assert {word for words in named for word in words.split("|")} <= outcomes


@pytest.mark.parametrize("name", RULES)
def test_an_alert_leads_to_its_section(name: str) -> None:
    page, _, anchor = RULES[name]["annotations"]["runbook"].partition("#")
    assert anchor == name.lower()
    assert anchor in anchors(ROOT / page)


def test_every_alert_is_tested_healthy_and_not() -> None:
    healthy, ill = yaml.safe_load((FOLDER / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    assert {test["alertname"] for test in healthy["alert_rule_test"]} == set(RULES)
    assert {test["alertname"] for test in ill["alert_rule_test"] if test["exp_alerts"]} == set(RULES)


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not here"
)


@needs_promtool
def test_the_dashboards_questions_are_promql(tmp_path: Path) -> None:
    asked = [expression.replace("$__rate_interval", "5m").replace("$tier", "edge") for expression in EXPRESSIONS]
    rules = [{"record": f"panel_{number}", "expr": expression} for number, expression in enumerate(asked)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_asks_for_figures_that_there_are(figures: set[str]) -> None:
    for expression in EXPRESSIONS:
        asked = set(re.findall(r"\b(isthmus_\w+|up|ALERTS)\b", expression))
        assert asked, expression
        assert asked <= figures, expression


def test_every_panel_has_a_title_a_unit_a_source_and_a_place_of_its_own() -> None:
    (source,) = yaml.safe_load((FOLDER / "grafana/datasources/prometheus.yml").read_text(encoding="utf-8"))[
        "datasources"
    ]
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert place["x"] + place["w"] <= 24
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {source["uid"]}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@needs_promtool
def test_prometheus_takes_its_settings() -> None:
    command = ["promtool", "check", "config", "--syntax-only", "prometheus.yml"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_they_fire_when_they_should_and_only_then() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
