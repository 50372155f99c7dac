"""A command tree whose modules are imported when they are asked for: to name twenty commands costs none of them."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

if TYPE_CHECKING:
    from typer._click import Command, Context, HelpFormatter


@dataclass(frozen=True, slots=True)
class Listed:
    """A command that has not been imported.

    Attributes:
        place: `module:attribute`, a function or a `typer.Typer` with commands of its own.
        about: one line for the list of commands.
    """

    place: str
    about: str

    def load(self, name: str) -> Command:
        """Import it and make it a command of this name."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            made: Command = get_group(found)
            made.name = name
            return made
        alone = typer.Typer(add_completion=False)
        alone.command(name)(found)
        return get_command(alone)


class Loading(UserDict[str, Any]):
    """Commands by name; each is imported when it is taken out."""

    def __getitem__(self, name: str) -> Any:
        if isinstance(found := self.data[name], Listed):
            found = self.data[name] = found.load(name)
        return found


class LazyGroup(TyperGroup):
    """A group that knows its commands from `listed`, in this order. Make a subclass for each group."""

    listed: ClassVar[Mapping[str, Listed]] = {}

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = Loading(self.listed)

    def list_commands(self, ctx: Context) -> list[str]:
        return list(self.listed)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.about) for name, one in self.listed.items()])
