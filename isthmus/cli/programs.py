"""`isthmus edge|cloud`: run one program from a configuration file and `--set` overrides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from protocol.errors import IsthmusError

Configuration = Annotated[
    Path | None, typer.Argument(help="TOML file; every key has a default or is named when missing.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value for a dotted key of it; repeatable."),
]


class BadOverride(IsthmusError):
    """An override that is not KEY=VALUE."""

    exit_code = 2


def overrides_of(given: list[str] | None, example: str = "name=hall-3", option: str = "--set") -> dict[str, object]:
    """Parse `--set KEY=VALUE` options; values stay text and are converted where the settings are checked."""
    found: dict[str, object] = {}
    for item in given or ():
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise BadOverride(f"{option} {item!r} is not KEY=VALUE; write for example {option} {example}")
        found[key] = value
    return found


def edge(configuration: Configuration = None, settings: Overrides = None) -> None:
    """Run an edge tier: answers near the devices, or passes features up.

    Example: isthmus edge edge.toml --set listen.port=7201
    """
    from edge.program import run
    from edge.settings import load
    from runtime.logs import use_json_lines
    from serving import loops

    found = load(configuration, overrides_of(settings))
    if found.json_logs:
        use_json_lines()
    loops.run(lambda: run(found), found.event_loop)


def cloud(configuration: Configuration = None, settings: Overrides = None) -> None:
    """Run a cloud tier: the end of the chain.

    Example: isthmus cloud cloud.toml --set listen.port=7202
    """
    from cloud.program import run
    from cloud.settings import load
    from runtime.logs import use_json_lines
    from serving import loops

    found = load(configuration, overrides_of(settings))
    if found.json_logs:
        use_json_lines()
    loops.run(lambda: run(found), found.event_loop)
