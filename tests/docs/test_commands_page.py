"""The page of commands says what the commands take."""

from __future__ import annotations

from tests.docs.pages import ROOT


def test_the_page_of_commands_is_what_help_says() -> None:
    from isthmus.cli.reference import page

    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == page(), "run: python -m isthmus.cli.reference > docs/commands.md"
