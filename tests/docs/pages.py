"""The pages of the documentation, and what stands in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"^    ((?:isthmus|make|python3?) .*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language as written, and its text."""

    page: Path
    number: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}-{self.number}"


def name_of(page: Path) -> str:
    """A page's path from the root of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks(language: str) -> list[Block]:
    """Every fenced block in a language, of all pages."""
    return [
        Block(page, number, found[1], found[2])
        for page in PAGES
        for number, found in enumerate(FENCE.finditer(page.read_text(encoding="utf-8")))
        if found[1] == language
    ]


def links(page: Path) -> Iterator[str]:
    """Targets of the links and pictures of a page, outside code."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    return (found[1] for found in _LINK.finditer(text))


def anchors(page: Path) -> set[str]:
    """What a link to this page may have after its `#`: its headings, as GitHub and MkDocs name them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[str]:
    """Command lines that a page shows, indented by four; without the remark at their end."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [re.sub(r"\s+#.*$", "", line).strip() for line in _COMMAND.findall(text)]
