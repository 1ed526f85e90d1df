"""What all tests share: one thread a process, one build of the book, and the notebooks as nbval tests.

The book has to run every notebook anyway, so it is run once: `book/build.py` executes it and leaves the
executed notebook behind, up to the cell that failed if one did. nbval collects the `.py` sources and checks
them cell by cell, only its kernel is a replay of that execution: what is tested is what the book shows.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections import deque
from pathlib import Path
from unittest import mock

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # before torch is imported; the tests' processes fill the cores

import jupytext  # noqa: E402
import nbformat  # noqa: E402
import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402
from nbval.plugin import IPyNbFile  # noqa: E402

ROOT = Path(__file__).parent
BUILD = ROOT / "book" / "_build"
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex  # the same in all workers of a run
collect_ignore_glob = ["*.ipynb"]  # made from the .py sources, which are collected


def build_book() -> tuple[int, str]:
    """Build the book, once in a test run whichever worker comes first; return exit status and output."""
    BUILD.mkdir(parents=True, exist_ok=True)
    note = BUILD / "test_run.json"
    with FileLock(BUILD / "test_run.lock"):
        last = json.loads(note.read_text()) if note.exists() else {}
        if last.get("run") != RUN:
            command = [sys.executable, ROOT / "book" / "build.py"]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            last = {"run": RUN, "status": done.returncode, "output": done.stdout + done.stderr}
            note.write_text(json.dumps(last))
    return last["status"], last["output"]


@pytest.fixture(scope="session")
def html() -> Path:
    """The folder of the built pages."""
    status, output = build_book()
    if status:
        pytest.fail(f"the book does not build:\n{output}", pytrace=False)
    return BUILD / "html"


class ReplayKernel:
    """Answers nbval as the kernel did that executed the notebook for the book."""

    def __init__(self, executed: nbformat.NotebookNode):
        self.cells = deque(cell for cell in executed.cells if cell.cell_type == "code")
        self.messages: deque[dict] = deque()

    def is_alive(self) -> bool:
        return True

    def stop(self) -> None:
        pass

    def execute_cell_input(self, source: str, allow_stdin: bool | None = None) -> str:
        """Queue what the next executed cell with this source put out; cells between were deselected.

        After the last cell comes the first: of a notebook that two processes share, one may get the beginning late.
        """
        place = next((i for i, cell in enumerate(self.cells) if cell.source == source), None)
        cell = None if place is None else self.cells[place]
        self.cells.rotate(0 if place is None else -place - 1)
        if cell is None or (source.strip() and cell.execution_count is None):
            reason = "the book build stopped before this cell"
            outputs = [{"output_type": "error", "ename": "NotRun", "evalue": reason, "traceback": [reason]}]
        else:
            outputs = cell.outputs
        for output in [*outputs, {"output_type": "status", "execution_state": "idle"}]:
            message = {"msg_type": output["output_type"], "content": output}
            self.messages.append(message | {"parent_header": {"msg_id": source}})
        return source

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        pass

    def await_idle(self, msg_id: str, timeout: float) -> None:
        self.messages.clear()

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        return self.messages.popleft()


class Notebook(IPyNbFile):
    """A notebook in jupytext's percent format; one test a code cell."""

    def collect(self):
        notebook = jupytext.read(self.path)
        with mock.patch("nbformat.read", return_value=notebook):  # nbval reads .ipynb files only
            return list(super().collect())

    def setup(self) -> None:
        status, output = build_book()
        executed = BUILD / "executed" / f"{self.path.stem}.ipynb"
        if not executed.exists():
            pytest.fail(f"not executed by the book build, exit status {status}:\n{output}", pytrace=False)
        self.kernel = ReplayKernel(nbformat.read(executed, as_version=4))


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Notebook | None:
    if file_path.suffix == ".py" and file_path.parent == ROOT / "notebooks":
        return Notebook.from_parent(parent, path=file_path)
    return None
