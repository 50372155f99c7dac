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
_INDENTED = re.compile(r"(?<=\n\n)(?: {4,}\S.*\n)+", re.MULTILINE)
_LIST_ITEM = re.compile(r"^ {4,}(?:[-*]|\d+\.) ")


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


def blocks(language: str, *pages: Path) -> list[Block]:
    """Every fenced block in a language, of some pages or of all."""
    return [
        Block(page, number, found[1], found[2])
        for page in pages or PAGES
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
    """Command lines that a page shows in blocks indented by four; continued lines are joined, remarks left out."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    blocks = (found[0].replace("\\\n", " ") for found in _INDENTED.finditer(text))
    lines = (line for block in blocks for line in block.splitlines() if not _LIST_ITEM.match(line))
    return [re.sub(r" +", " ", re.sub(r"\s+#\s.*$", "", line)).strip() for line in lines]
