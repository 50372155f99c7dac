"""Every command that a page shows is run: as a line of a script in `sessions/`, or elsewhere, which is said."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, commands, name_of
from tests.docs.playing import exchange, exchanged, played, surroundings

FOLDER = Path(__file__).with_name("sessions")
BEGINNING = FOLDER / "beginning.sh"
SESSIONS = sorted(path for path in FOLDER.glob("*.sh") if path != BEGINNING)
OPERATIONS = ROOT / "tests" / "stack" / "operations.sh"
"""What needs the stack of containers; tests/stack/test_stack_operations.py runs it."""

ELSEWHERE = {
    "make check": ".ci/run",
    "make test": ".ci/run",
    "make test-slow": ".ci/run",
    "make test-stack": ".ci/run",
    "make demo": "tests/e2e/test_demo.py runs what it runs, and sessions/demo.sh",
    "make stack-up": "tests/stack/conftest.py runs what it runs, and tests/stack/operations.sh",
    "ISTHMUS_PICTURES=/tmp python -m pytest tests/cloud/control/test_pictures.py tests/docs/test_pictures.py":
        "`make test-slow` runs these files",
    "promtool check rules compose/observability/alerts.yml": "tests/stack/test_alerts.py",
}  # fmt: skip
"""Commands that something else runs."""
NOT_RUN = {
    "make test-long": "hours: soaks, kills by the hundred, every network; each of its files is run by hand",
    "ISTHMUS_PICTURES_ANEW=1 python -m pytest tests/cloud/control/test_pictures.py tests/docs/test_pictures.py":
        "it would write over the pictures that the tests compare with",
    "python3 compose/stack.py up --profile obs": "the images of Grafana and of the collector come from a registry",
    "kubectl apply --kustomize compose/kubernetes/base":
        "needs a cluster; tests/stack/test_kubernetes.py holds what it would send against Kubernetes' schemas",
    "kubectl apply --kustomize compose/kubernetes/ray": "the same",
}  # fmt: skip
"""Commands that nothing runs, and why."""


def needs(session: Path) -> str:
    """What this machine lacks for a session; empty if nothing."""
    first = session.read_text(encoding="utf-8").partition("\n")[0]
    wanted = first.removeprefix("# needs: ").split() if first.startswith("# needs: ") else []
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [one for one in wanted if one != "root" and shutil.which(one, path=path) is None]
    if "root" in wanted and (os.geteuid() != 0 or not Path("/dev/net/tun").exists()):
        missing.append("root and /dev/net/tun")
    return ", ".join(missing)


@pytest.mark.long
@pytest.mark.timeout(720)
@pytest.mark.parametrize("session", SESSIONS, ids=lambda path: path.stem)
def test_commands_work_as_they_are_shown(session: Path, tmp_path: Path) -> None:
    if missing := needs(session):
        pytest.skip(f"this machine has no {missing}")
    table = exchanged()
    (tmp_path / "exchanged.sed").write_text("".join(f"s~{old}~{new}~g\n" for old, new in table))
    home = tmp_path / "home"
    home.mkdir()
    around = surroundings(home) | {"ROOT": str(ROOT), "EXCHANGED": str(tmp_path / "exchanged.sed")}
    script = exchange(BEGINNING.read_text(encoding="utf-8") + session.read_text(encoding="utf-8"), table)
    done = played(script, home, around, patience_s=700)
    assert done.returncode == 0, done.stdout[-6000:]


def lines_of_sessions() -> set[str]:
    texts = [path.read_text(encoding="utf-8").replace("\\\n", " ") for path in (*SESSIONS, OPERATIONS)]
    return {re.sub(r" +", " ", line).strip() for text in texts for line in text.splitlines()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_that_a_page_shows_is_run_somewhere(page: Path) -> None:
    run = lines_of_sessions() | ELSEWHERE.keys() | NOT_RUN.keys()
    missing = [command for command in commands(page) if command not in run]
    assert not missing, f"{name_of(page)} shows what nothing runs; put it into a script in tests/docs/sessions"


def test_nothing_is_excused_that_no_page_shows() -> None:
    shown = {command for page in PAGES for command in commands(page)}
    assert not (ELSEWHERE.keys() | NOT_RUN.keys()) - shown


def test_continuous_integration_runs_what_it_is_said_to_run() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    for command, where in ELSEWHERE.items():
        if where == ".ci/run":
            assert any(re.search(rf"(^|\s){command}( |$)", line) for line in script), command
