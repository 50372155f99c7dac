"""The site builds without a warning, asks nobody else for anything, and its links lead somewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(600), pytest.mark.xdist_group("site")]  # which is built once


class Page(HTMLParser):
    """What a page of the site names: its anchors, where its links lead, and what a browser fetches for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: set[str] = set()
        self.fetched: set[str] = set()
        self.titles = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {key: value or "" for key, value in attrs}
        self.anchors |= {named[key] for key in ("id", "name") if key in named}
        self.titles += tag == "h1"
        if tag == "a" and "href" in named:
            self.links.add(named["href"])
        for key in ("src", "href"):
            if key in named and tag in {"script", "img", "link", "iframe", "source"}:
                self.fetched.add(named[key])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    for name in ("material", "mkdocstrings"):
        pytest.importorskip(name, reason="the site needs: pip install isthmus[docs]")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path: Page(path) for path in folder.rglob("*.html") if path.name != "404.html"}


def test_every_page_of_the_documentation_is_a_page_of_the_site(site: dict[Path, Page]) -> None:
    written = {path.stem for path in (ROOT / "docs").rglob("*.md")}
    assert {path.stem for path in site} == written
    assert all(page.titles == 1 for page in site.values())


def test_a_browser_fetches_nothing_from_others(site: dict[Path, Page]) -> None:
    for path, page in site.items():
        assert not [address for address in page.fetched if "//" in address], path.name
    for style in next(iter(site)).parent.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8"), style.name


def test_every_link_within_the_site_leads_to_a_page_and_a_heading(site: dict[Path, Page]) -> None:
    for path, page in site.items():
        for link in page.links:
            if "://" in link or link.startswith("mailto:"):
                continue
            target, _, anchor = link.partition("#")
            found = (path.parent / target).resolve() if target and target != "." else path
            if found.suffix == ".html":
                assert found in site, f"{path.name}: {link}"
                assert not anchor or anchor in site[found].anchors, f"{path.name}: {link}"
            else:
                assert found.exists(), f"{path.name}: {link}"
