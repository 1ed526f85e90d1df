"""The book in a browser with the network cut: quiet, legible, not too wide, and its widgets move."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py") if "widgets." in path.read_text())
MODES = ("light", "dark")
TEXT = [f".bd-article {part}" for part in ("p", "h1", "td", "pre span", "figcaption", ".widget-label")]


@pytest.fixture(scope="module")
def browser():
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next(filter(None, found), None)
    if path is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on the path")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu"]
        with playwright.chromium.launch(executable_path=path, args=arguments) as browser:
            yield browser


@pytest.fixture(scope="module")
def addresses(html):
    """The book's address over http and as plain files."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {"http": f"http://127.0.0.1:{server.server_port}", "file": html.as_uri()}
        server.shutdown()


class Visit:
    """One page in a window of its own; on leaving, nothing may have gone wrong on it."""

    def __init__(self, browser: Browser, base: str, *, mode: str = "light", width: int = 1200):
        self.base, self.trouble = base, []
        self.context = browser.new_context(color_scheme=mode, viewport={"width": width, "height": 900})
        self.context.set_default_timeout(15_000)
        self.context.route("**/*", self.only_local)
        self.page = self.context.new_page()
        self.page.on("pageerror", lambda error: self.trouble.append(f"error: {error}"))
        self.page.on("requestfailed", self.only_left)
        self.page.on("console", self.only_calm)

    def only_local(self, route):
        if route.request.url.startswith((self.base, "data:", "blob:")):
            route.continue_()
        else:
            self.trouble.append(f"another host: {route.request.url}")
            route.abort()

    def only_left(self, request):
        """What is still on its way when the test leaves a page is cancelled, such as the icon; that is no fault."""
        if request.failure != "net::ERR_ABORTED":
            self.trouble.append(f"failed: {request.url}, {request.failure}")

    def only_calm(self, note):
        if note.type == "error":
            self.trouble.append(f"console: {note.text}")

    def open(self, name: str) -> Page:
        self.page.goto(f"{self.base}/{name}.html", wait_until="load")
        if name.removeprefix("notebooks/") in CHAPTERS:
            self.page.locator(".bd-article [role=slider]").first.wait_for()
        if self.page.locator(".bd-article .math").count():
            self.page.locator(".bd-article mjx-container").first.wait_for()
        return self.page

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, kind, *_):
        self.context.close()
        if kind is None:
            assert not self.trouble


def frame(page: Page) -> bytes:
    """What the chapter's widget shows: the visible pictures, as the screen has them."""
    pictures = page.locator(".bd-article .jupyter-widgets img.widget-image:visible")
    return b"".join(picture.screenshot() for picture in pictures.all())


def moves(page: Page, before: bytes) -> bytes:
    """Wait until the widget shows something else than before; return it."""
    deadline = time.monotonic() + 10
    while (after := frame(page)) in (before, b""):
        assert time.monotonic() < deadline, "the widget shows the same picture"
        time.sleep(0.05)
    return after


@pytest.mark.parametrize(("mode", "transport"), [("light", "http"), ("dark", "file")])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_widget_moves_by_keyboard_and_mouse(browser, addresses, chapter, mode, transport):
    with Visit(browser, addresses[transport], mode=mode) as visit:
        page = visit.open(f"notebooks/{chapter}")
        handle = page.locator(".bd-article [role=slider]").first
        handle.scroll_into_view_if_needed()
        first = frame(page)
        assert first
        handle.focus()
        page.keyboard.press("ArrowLeft" if float(handle.get_attribute("aria-valuenow")) > 0 else "ArrowRight")
        second = moves(page, first)
        handle.scroll_into_view_if_needed()  # pictures taken of the frames may have moved the page
        track = page.locator(".bd-article .noUi-base").first.bounding_box()
        at_left = float(handle.get_attribute("aria-valuenow")) == 0
        share = 0.98 if at_left else 0.02
        page.mouse.click(track["x"] + share * track["width"], track["y"] + track["height"] / 2)
        moves(page, second)


def pages(html: Path) -> list[str]:
    names = [path.relative_to(html).with_suffix("").as_posix() for path in html.rglob("*.html")]
    return [name for name in names if name.startswith(("book/", "notebooks/"))]


@pytest.mark.parametrize("wide", [390, 1400])
def test_no_page_is_wider_than_its_window(browser, addresses, html, wide):
    with Visit(browser, addresses["http"], width=wide) as visit:
        width = "document.documentElement.scrollWidth"
        widths = {name: visit.open(name).evaluate(width) for name in pages(html)}
    assert len(widths) >= 20 and max(widths.values()) <= wide, widths


CUT = """[...document.querySelectorAll(".bd-article :is(pre, table, .text_html, div.math)")]
  .filter(box => box.scrollWidth > box.clientWidth + 1).map(box => box.outerHTML.slice(0, 200))"""


def test_paper_cuts_nothing_off(browser, addresses):
    """At the width of an A4 page in `book/pdf.py`, no code, table or equation is wider than its box."""
    with Visit(browser, addresses["http"], width=880) as visit:
        visit.page.emulate_media(media="print")
        for path in sorted((ROOT / "notebooks").glob("*.py")):
            page = visit.open(f"notebooks/{path.stem}")
            assert page.locator(".bd-article details.hide:visible").count() == 0, "hidden code is not printed"
            assert page.evaluate(CUT) == [], path.stem


def test_claims_can_be_filtered(browser, addresses):
    with Visit(browser, addresses["http"]) as visit:
        page = visit.open("book/claims")
        rows = page.locator(".filtered tbody tr")
        every = rows.count()
        page.locator(".filtered select").first.select_option("CAE-ADMM")
        papers = {row.locator("td").first.text_content() for row in rows.all() if row.is_visible()}
        assert every > 100 and papers == {"CAE-ADMM"}


CONTRAST = """selector => {
  const numbers = text => text.match(/[0-9.]+/g).map(Number);
  const luminance = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = element => {
    for (; element; element = element.parentElement) {
      const colour = numbers(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const shown = element => element.offsetParent && element.textContent.trim();
  return [...document.querySelectorAll(selector)].filter(shown).map(e => {
    const pair = [luminance(numbers(getComputedStyle(e).color)), luminance(paper(e))].sort((a, b) => a - b);
    return (pair[1] + 0.05) / (pair[0] + 0.05);
  });
}"""


@pytest.mark.parametrize("mode", MODES)
def test_text_stands_out_from_its_ground(browser, addresses, html, mode):
    """WCAG 2.1, 1.4.3: a contrast of at least 4.5 to 1."""
    with Visit(browser, addresses["http"], mode=mode) as visit:
        lowest = {}
        for name in pages(html):
            page = visit.open(name)
            assert page.evaluate("document.documentElement.dataset.theme") == mode
            for selector in TEXT:
                for value in page.evaluate(CONTRAST, selector):
                    lowest[selector] = min(value, lowest.get(selector, 21))
    assert set(lowest) == set(TEXT)
    assert min(lowest.values()) >= 4.5, lowest
