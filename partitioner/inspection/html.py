"""What pages of their own are made of: the document around a body, and tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from partitioner.inspection.svg import element


def document(title: str, style: str, *body: str) -> str:
    """One HTML file that fetches nothing, for screens of any width. `style` is a style sheet, `body` is HTML."""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        element("title", text=title),
        f"<style>{style}</style>",
    )
    whole = element("html", element("head", *head), element("body", element("main", *body)), lang="en")
    return f"<!doctype html>\n{whole}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], chosen: Collection[int] = ()) -> str:
    """A table of texts; the rows of these numbers stand out."""
    top = element("tr", *(element("th", text=cell, scope="col") for cell in head))
    marked = {"class_": "chosen-row"}
    body = [
        element("tr", *(element("td", text=cell) for cell in cells), **(marked if number in chosen else {}))
        for number, cells in enumerate(rows)
    ]
    return element("table", element("thead", top), element("tbody", *body))
