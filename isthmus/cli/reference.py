"""Every command and option as one page: `python -m isthmus.cli.reference > docs/commands.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from typer.main import get_command

from isthmus.cli.main import EXIT_CODES, app

if TYPE_CHECKING:
    from typer._click import Command

_EXAMPLES = ("Example:", "Examples:")


def page() -> str:
    """The reference in Markdown, ending in a newline."""
    root = get_command(app)
    lines = [
        "# Commands",
        "",
        "Written by `python -m isthmus.cli.reference` from what `--help` says.",
        f"`isthmus --debug COMMAND` shows tracebacks. {EXIT_CODES}",
    ]
    for name, command in _leaves("isthmus", root):
        lines += ["", f"## {name}", "", *_section(command)]
    return "\n".join(lines) + "\n"


def _leaves(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    """Commands that do something, in the order of the lists that name them."""
    under: Any = getattr(command, "commands", None)
    if under is None:
        yield name, command
        return
    for word in under:
        if not under[word].hidden:
            yield from _leaves(f"{name} {word}", under[word])


def _section(command: Command) -> Iterator[str]:
    """What it does, examples, and a table of what it takes."""
    for paragraph in (text.strip() for text in inspect.cleandoc(command.help or "").split("\n\n")):
        if paragraph in _EXAMPLES:
            continue
        if paragraph.startswith(_EXAMPLES) or paragraph.startswith("isthmus "):
            text = paragraph
            for word in reversed(_EXAMPLES):
                text = text.removeprefix(word).strip()
            yield from (f"    {line.strip()}" for line in text.splitlines() if line.strip())
        else:
            yield " ".join(paragraph.split())
        yield ""
    rows = [_row(one) for one in command.params if not getattr(one, "hidden", False) and one.name != "help"]
    if rows:
        yield from ("| takes | |", "|---|---|", *rows)


def _row(parameter: Any) -> str:
    told = getattr(parameter, "help", None) or ""
    if parameter.param_type_name == "argument":
        name = f"`{(parameter.metavar or parameter.name).upper().strip('[]{}')}`"
    else:
        words = [*parameter.opts, *parameter.secondary_opts]
        flag = parameter.is_flag or not parameter.metavar
        name = ", ".join(f"`{word}`" if flag else f"`{word} {parameter.metavar}`" for word in words)
    if parameter.required:
        told += " Required."
    elif parameter.show_default and not callable(parameter.default):
        told += _default(parameter.default)
    return f"| {name} | {told.strip().replace('|', chr(92) + '|')} |"


def _default(value: Any) -> str:
    if value in (None, False, (), [], ""):
        return ""
    shown = getattr(value, "value", value)
    return f" Default: {', '.join(map(str, shown)) if isinstance(shown, tuple | list) else shown}."


if __name__ == "__main__":
    print(page(), end="")
