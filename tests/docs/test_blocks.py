"""What the pages show works: Python runs, configuration is taken by the program it is for, commands exist."""

from __future__ import annotations

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

LANGUAGES = {"", "python", "toml", "text", "sh"}
"""`sh` in tutorials only, which run as a whole."""


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("block", [one for one in blocks("python") if one.page.parent.name != "tutorials"], ids=str)
def test_python_runs_as_it_is_written(block: Block, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(block.text, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


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


def is_recipe_or_scenario(tree: Mapping[str, Any]) -> bool:
    return "training" in tree or "link" in tree


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_configuration_is_taken_by_the_program_it_is_for(block: Block) -> None:
    tree = tomllib.loads(block.text)
    if is_recipe_or_scenario(tree):  # tests/isthmus and tests/testbed read those
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
