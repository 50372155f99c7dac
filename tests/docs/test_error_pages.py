"""Every code that a program can answer or end with has its page, and the index says what the pages say."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from protocol.errors import Code, IsthmusError

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "errors"
INDEX = (PAGES / "index.md").read_text(encoding="utf-8")
ROOMS = (
    *("protocol", "runtime", "partitioner", "adaptation", "transport", "serving"),
    *("edge", "cloud", "device", "testbed", "isthmus"),
)


def page_of(code: Code) -> Path:
    return PAGES / f"{code.name.lower().replace('_', '-')}.md"


def all_errors(base: type[IsthmusError] = IsthmusError) -> set[type[IsthmusError]]:
    below = {error for child in base.__subclasses__() for error in all_errors(child)}
    return below | {base}


def errors_of_all_rooms() -> set[type[IsthmusError]]:
    for room in ROOMS:
        for path in (ROOT / room).rglob("errors.py"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return all_errors()


@pytest.mark.parametrize("code", Code)
def test_a_refusal_has_a_page_that_says_why_and_what_to_do(code: Code) -> None:
    text = page_of(code).read_text(encoding="utf-8")
    assert text.startswith(f"# {code.name} ({code.value})\n")
    for heading in ("**Why**", "**What to do**", "**Meanwhile.**"):
        assert heading in text


def test_an_exit_code_has_a_page() -> None:
    listed = (ROOT / "isthmus" / "cli" / "main.py").read_text(encoding="utf-8")
    told = re.search(r'"Exit codes: (.*?)\."\n', listed, re.DOTALL)
    assert told is not None
    promised = {int(number) for number in re.findall(r"\b(\d+) [a-z]", told[1])}
    sources = [path.read_text(encoding="utf-8") for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    used = {int(number) for text in sources for number in re.findall(r"^ +exit_code\b.* = (\d+)$", text, re.MULTILINE)}
    assert {error.exit_code for error in errors_of_all_rooms()} <= used <= promised
    for number in promised:
        assert (PAGES / f"exit-{number}.md").read_text(encoding="utf-8").startswith(f"# Exit code {number}: ")


def test_the_index_lists_every_page_with_its_first_sentence_and_no_other() -> None:
    rows = dict(re.findall(r"\]\(([a-z0-9-]+\.md)\) \| (.*) \|$", INDEX, re.MULTILINE))
    assert set(rows) == {path.name for path in PAGES.glob("*.md")} - {"index.md"}
    for name, sentence in rows.items():
        assert (PAGES / name).read_text(encoding="utf-8").split("\n\n")[1].strip() == sentence, name


def test_refusals_are_in_the_order_of_their_numbers() -> None:
    numbers = re.findall(r"^\| (\d+) \| \[[A-Z_]+\]", INDEX, re.MULTILINE)
    assert [int(number) for number in numbers] == [code.value for code in Code]


def test_every_error_says_more_than_its_name() -> None:
    for error in errors_of_all_rooms():
        assert error.__doc__, f"{error.__module__}.{error.__name__} has no docstring"
