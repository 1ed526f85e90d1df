"""The built book: complete, executed once, whole without any other host."""

from __future__ import annotations

import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import yaml
from jupyter_cache import get_cache

ROOT = Path(__file__).parents[2]
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "video": "src"}


class References(HTMLParser):
    """Collects what a page loads (scripts, styles, pictures) and where its links lead."""

    def __init__(self, page: Path):
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(page.read_text("utf8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids.add(values.get("id") or "")
        if tag in LOADED and values.get("rel") != "canonical":
            self.loaded.append(values.get(LOADED[tag]) or "")
        elif tag == "a":
            self.links.append(values.get("href") or "")


def test_every_page_of_the_contents_is_built(html):
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    names = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert not [name for name in names if not (html / f"{name}.html").is_file()]
    chapters = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.py")}
    assert chapters and chapters == {name for name in names if name.startswith("notebooks/")}


def test_pages_load_nothing_from_another_host_and_nothing_is_missing(html):
    pages = {page: References(page) for page in html.rglob("*.html") if "_static" not in page.parts}
    assert len(pages) >= 7
    foreign, missing = [], []
    for page, references in pages.items():
        for address in references.loaded + references.links:
            parts = urlsplit(address)
            if parts.scheme == "data" or not address:
                continue
            if parts.scheme or parts.netloc:
                if address in references.loaded:
                    foreign.append(f"{page.name}: {address}")
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = pages[target].ids if target in pages else set()
            if not target.is_file() or (target in pages and parts.fragment and parts.fragment not in anchors):
                missing.append(f"{page.name}: {address}")
    assert not foreign
    assert not missing


def test_each_chapter_can_be_had_as_a_file_and_as_a_notebook(html):
    for source in (ROOT / "notebooks").glob("*.py"):
        page = html / "notebooks" / f"{source.stem}.html"
        assert {f"{source.stem}.py", f"{source.stem}.ipynb"} <= set(References(page).links)
        assert page.with_suffix(".py").read_bytes() == source.read_bytes()
        cells = nbformat.read(page.with_suffix(".ipynb"), as_version=4).cells
        assert len(cells) > 20 and not any(cell.get("outputs") for cell in cells)


def test_each_page_was_executed_once_by_the_build_and_never_by_sphinx(html):
    records = get_cache(html.parent / "execution").list_cache_records()
    assert {Path(record.uri).suffix for record in records} == {".py", ".md"}
    assert {record.description for record in records} == {"build.py"}


def test_building_again_does_nothing(html):
    start = time.perf_counter()
    command = [sys.executable, ROOT / "book" / "build.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["book/_build/html/index.html"]
    assert time.perf_counter() - start < 30
