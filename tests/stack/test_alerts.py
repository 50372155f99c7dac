"""Alerts are about figures that tiers have, fire when they should, and lead to a page that says what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
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
(GROUP,) = yaml.safe_load((FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["alert"]: rule for rule in GROUP["rules"]}


class Idle:
    """A tier that has done nothing."""

    def load(self) -> Load:
        return Load()

    def explained(self) -> dict[str, object]:
        return {"steps": {}}


@pytest.mark.parametrize("name", RULES)
def test_an_alert_is_about_figures_that_tiers_have(name: str) -> None:
    metrics = Metrics(lambda: 0.0)
    metrics.watch(Idle())
    have = {f"{family.name}{'_total' if family.type == 'counter' else ''}" for family in metrics.registry.collect()} | {
        "up"
    }
    asked = set(re.findall(r"\b(isthmus_\w+|up)\b", RULES[name]["expr"]))
    assert asked
    assert asked <= have


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


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not here")
def test_they_fire_when_they_should_and_only_then() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", "alerts_test.yml"], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
