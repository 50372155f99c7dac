"""What the pages show works: Python runs, configuration is taken by the program it is for, commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, name_of
from tests.docs.playing import exchange, ports_exchanged

LANGUAGES = {"", "python", "toml", "text", "sh"}
"""`sh` in tutorials only, which run as a whole."""


NAMED = re.compile(r"# ([\w./-]+\.(?:py|toml))\b.*\n")
"""The first line of a block that is a file of the reader's."""
READERS = Path(__file__).with_name("readers")
"""What the reader of a page has already, as Python that runs in front of it."""
PYTHON = [page for page in PAGES if page.parent == ROOT / "docs" and blocks("python", page)]
"""Pages of whose Python nothing else takes care, as the tests of tutorials and of the README do."""


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PYTHON, ids=name_of)
def test_python_runs_as_it_is_written_and_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    files = [READERS / f"{page.stem}.py"] if (READERS / f"{page.stem}.py").exists() else []
    for block in (*blocks("python", page), *blocks("toml", page)):
        named = NAMED.match(block.text)
        target = tmp_path / (named[1] if named else f"block-{block.number}.{block.language}")
        target.parent.mkdir(exist_ok=True)
        target.write_text(block.text, encoding="utf-8")
        if block.language == "python" and not named:
            files.append(target)
    code, told, faults = with_ports_of_its_own(files, tmp_path)
    assert code == 0, faults
    for block in blocks("", page):
        assert block.text.strip() in told


def with_ports_of_its_own(files: list[Path], folder: Path) -> tuple[int, str, str]:
    """Run files of Python one after the other in one process; its exit code, and what it printed."""
    table = ports_exchanged()
    copies = [folder / f"run-{number}.py" for number in range(len(files))]
    for file, copy in zip(files, copies, strict=True):
        copy.write_text(exchange(file.read_text(encoding="utf-8"), table), encoding="utf-8")
    command = [sys.executable, str(Path(__file__).with_name("play.py")), *map(str, copies)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_every_block_is_of_a_language_that_a_test_knows() -> None:
    for page in PAGES:
        opened = re.findall(r"^```(\w*)\n.*?^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        assert set(opened) <= LANGUAGES, name_of(page)


def test_shell_scripts_stand_in_tutorials_which_run_as_a_whole() -> None:
    assert {block.page.parent.name for block in blocks("sh")} == {"tutorials"}


@cache
def programs() -> Mapping[str, tuple[Any, dict[str, Any]]]:
    """Settings of each program, and the keys that it must have, for blocks that show only some."""
    import cloud.control.settings
    import cloud.settings
    import device.settings
    import edge.settings
    import testbed.link.settings
    import testbed.packets.settings

    tier = {"bundles": ["model.bundle"], "listen": {"port": 0}}
    source = {"kind": "folder", "path": "pictures"}
    above = {"target": "127.0.0.1:1", "tls": {"ca": "ca.pem", "certificate": "own.pem", "key": "own.key"}}
    return {
        "device": (device.settings.Settings, {"bundle": "model.bundle", "source": source, "edge": above}),
        "edge": (edge.settings.Settings, tier | {"cloud": above}),
        "cloud": (cloud.settings.Settings, tier),
        "control": (cloud.control.settings.Settings, {"folder": "control"}),
        "link": (testbed.link.settings.Settings, {}),
        "packets": (testbed.packets.settings.Settings, {}),
    }


def over(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`more` laid over `base`, table by table."""
    laid = {
        key: over(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in more.items()
    }
    return {**base, **laid}


def refusal(program: str, tree: Mapping[str, Any]) -> str | None:
    """Why a program does not take these settings; None if it does."""
    from runtime.errors import SettingsError
    from runtime.settings import check_settings

    model, base = programs()[program]
    try:
        check_settings(model, over(base, tree))
    except SettingsError as exc:
        return str(exc)
    return None


def is_for_others(tree: Mapping[str, Any]) -> bool:
    """A recipe, a scenario or a package's: sessions and pages' Python read those."""
    return bool(tree.keys() & {"training", "link", "project"})


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_configuration_is_taken_by_the_program_it_is_for(block: Block) -> None:
    tree = tomllib.loads(block.text)
    if is_for_others(tree):
        return
    whole = {program: refusal(program, tree) for program in programs()}
    if None in whole.values():
        return
    for key, value in tree.items():  # a page may show tables of several programs in one block
        reasons = {program: refusal(program, {key: value}) for program in programs()}
        assert None in reasons.values(), f"nobody takes [{key}]: {reasons}"


def test_a_key_that_nobody_has_would_be_found() -> None:
    assert all(refusal(program, {"deadlines": 1}) for program in programs())
    assert all(refusal(program, {"trust": {"kez": []}}) for program in programs())


def isthmus_commands() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for command in commands(page):
            if command.startswith("isthmus "):
                yield name_of(page), command


@pytest.mark.parametrize(("page", "command"), sorted(set(isthmus_commands())))
def test_a_command_that_a_page_shows_exists_with_its_options(page: str, command: str) -> None:
    import typer.main

    from isthmus.cli.main import app

    words = shlex.split(command.partition(" > ")[0])[1:]
    found: Any = typer.main.get_command(app)
    while hasattr(found, "resolve_command"):
        context = found.context_class(found)
        rest = found.parse_args(context, words)
        _, found, words = found.resolve_command(context, [*context._protected_args, *rest])
    _, rest, _ = found.make_parser(found.context_class(found)).parse_args(words)
    assert not rest, f"{page}: {rest} is more than the command takes"


def test_targets_of_make_that_pages_show_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for page in PAGES:
        for command in commands(page):
            if command.startswith("make "):
                target = command.split()[1]
                assert f"\n{target}:" in makefile, f"{name_of(page)}: make {target}"
