"""Make the book one PDF: `make pdf` calls this file. It needs Chromium or Chrome, and no network.

Sphinx writes the whole book as one page of HTML, from the same executed cells as `make book`, and the browser prints
it. So mathematics, figures and styles are those of the pages; rules for paper stand in `_static/book.css`. A widget is
printed as its page first shows it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

import build

STATE = "application/vnd.jupyter.widget-state+json"
SCRIPTS = "".join(f'<script defer src="_static/{name}"></script>' for name in ("vendor/embed.js", "widgets.js"))
WHOLE = build.BUILD / "singlehtml" / "whole.html"
PDF = build.BUILD / "sparse-codecs.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MARGIN = {"top": "16mm", "bottom": "18mm", "left": "17mm", "right": "17mm"}
SCALE = 0.75  # of the screen's sizes: the text is then set in 9 points
NUMBER = '<div style="width: 100%; font-size: 8px; text-align: center"><span class="pageNumber"></span></div>'


def write_whole() -> None:
    """Write all pages as one, with links that stay inside it."""
    print("writing the book as one page", flush=True)
    command = "build . --toc book/_toc.yml --path-output book -W -n --keep-going --builder custom --custom-builder"
    build.call([Path(sys.executable).with_name("jupyter-book"), *command.split(), "singlehtml"])
    text = (WHOLE.parent / "book" / "index.html").read_text()  # which Sphinx writes as if it stood beside _static
    text = text.replace('href="book/index.html#', 'href="#')
    state = json.dumps(widgets()).replace("</", r"<\/")  # nothing in it may end the script
    end = f'<script type="{STATE}">{state}</script>{SCRIPTS}</body>'
    WHOLE.write_text(text.replace("</body>", end))


def widgets() -> dict:
    """The widgets of all executed pages, which Sphinx writes into pages of their own only."""
    found: dict = {}
    for path in sorted(build.EXECUTED.glob("*.ipynb")):
        page = nbformat.read(path, nbformat.NO_CONVERT).metadata.get("widgets", {}).get(STATE)
        if page:
            found = page | {"state": found.get("state", {}) | page["state"]}
    return found


def print_pdf(page: Path, pdf: Path, browser: str) -> None:
    """Print a page of HTML on A4, with numbers below and its headings as an outline."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        with playwright.chromium.launch(executable_path=browser, args=arguments) as chromium:
            tab = chromium.new_page(color_scheme="light")
            tab.set_default_timeout(300_000)
            tab.goto(page.as_uri(), wait_until="load")
            tab.evaluate("MathJax.startup.promise")
            tab.locator(".jupyter-widgets img.widget-image").last.wait_for(state="attached")
            tab.pdf(
                path=pdf, format="A4", margin=MARGIN, scale=SCALE, print_background=True, outline=True, tagged=True,
                display_header_footer=True, header_template="<span></span>", footer_template=NUMBER,
            )  # fmt: skip


def main() -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.exit(f"the PDF needs a browser: none of {', '.join(BROWSERS)} is on the path")
    build.main()
    write_whole()
    print_pdf(WHOLE, PDF, browser)
    print(PDF.relative_to(build.ROOT))


if __name__ == "__main__":
    main()
