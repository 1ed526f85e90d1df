"""Running a chapter with parameters of one's own: what ``python -m reproduce run`` does, by papermill.

A chapter's only source is its ``.py`` file (jupytext's percent format). papermill reads ``.ipynb`` alone, so one is
made in a throw-away folder; papermill only warns of a parameter that a notebook does not have, so they are compared
here first.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from sparsecomp.checks import InputError
from sparsecomp.files import atomic_path, write_atomic

if TYPE_CHECKING:
    from nbformat import NotebookNode


class NotebookError(InputError):
    """A cell of the notebook failed; the message says which and why."""


def folder() -> Path:
    """``notebooks/`` of the working copy: beside the package, or in the current folder for an installed one."""
    beside = Path(__file__).resolve().parent.parent / "notebooks"
    return beside if beside.is_dir() else Path.cwd() / "notebooks"


def find(name: str, beside: Path | None = None) -> Path:
    """The source of a chapter by its name (``10_coin``) or path; `ValueError` that lists the names if there is none.

    A path may be relative to the folder ``beside``.
    """
    names = sorted(path.stem for path in folder().glob("*.py"))
    if name in names:
        return folder() / f"{name}.py"
    for path in (Path(name), (beside or Path()) / name):
        if path.suffix == ".py" and path.is_file():
            return path.resolve()
    raise InputError(f"notebook {name!r} is neither a chapter ({', '.join(names) or 'there are none'}) nor a .py file")


def value(text: str) -> object:
    """What a value on the command line means: JSON or a Python literal (``3``, ``1e-3``, ``true``, ``[1, 2]``), else
    the text itself.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            continue
    return text


def read(source: Path, *, only_experiment: bool = False) -> NotebookNode:
    """Read a chapter.

    Parameters
    ----------
    source : Path
        A ``.py`` file that `find` found; the kernel is the one that its header names.
    only_experiment : bool
        Of its code leave the first two cells, which hold and check the parameters, and those that are tagged
        ``experiment``; a notebook without such cells is left whole.

    Raises
    ------
    ValueError
        If it cannot be read or names no kernel.
    """
    import jupytext
    from nbformat import ValidationError

    try:
        notebook = jupytext.read(source)
    except UnicodeDecodeError as error:
        raise InputError(f"notebook {source.name} is no text in UTF-8: {error}") from error
    except ValidationError as error:
        raise InputError(f"notebook {source.name}: its header is not complete: {error.message}") from error
    if "language" not in notebook.metadata.get("kernelspec", {}):
        raise InputError(f"notebook {source.name} names no kernel and its language in its header")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    experiment = [cell for cell in code if "experiment" in cell.metadata.get("tags", ())]
    if only_experiment and experiment:
        notebook.cells = code[:2] + [cell for cell in experiment if cell not in code[:2]]
    return notebook


def parameters(notebook: NotebookNode) -> dict[str, str]:
    """The names of a notebook's parameters and their values as they are written there."""
    import papermill
    from nbformat import write

    with tempfile.TemporaryDirectory() as work:
        path = str(Path(work) / "source.ipynb")
        write(notebook, path)
        return {name: found["default"] for name, found in papermill.inspect_notebook(path).items()}


def check_names(source: Path, known: Collection[str], given: Iterable[str]) -> None:
    """Refuse a parameter that a notebook does not have; papermill would only warn."""
    for name in given:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"notebook {source.stem} has no parameter {name!r}; {has}")


def execute(
    notebook: NotebookNode, given: Mapping[str, object], out: Path, source: Path, log: TextIO | None = None
) -> None:
    """Execute a notebook in the folder of its source, with some of its parameters replaced.

    ``out`` appears whole; after a failure, too, with the traceback in its last cell. What the cells print goes to
    ``log`` as well.

    Raises
    ------
    ValueError
        If it has no such parameter, or its kernel is not here.
    NotebookError
        If a cell fails, or the kernel dies.
    """
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel
    from nbclient.exceptions import DeadKernelError
    from nbformat import write

    check_names(source, parameters(notebook), given)
    with tempfile.TemporaryDirectory() as work:
        made, done = Path(work) / "source.ipynb", Path(work) / "done.ipynb"
        write(notebook, made)
        try:
            papermill.execute_notebook(
                str(made), str(done), dict(given), cwd=str(source.parent),
                progress_bar=sys.stderr.isatty() and log is None, extra_arguments=["--log-level=ERROR"],
                stdout_file=log, stderr_file=log,
                shutdown_kernel="immediate",  # asked kindly, one in three takes 3 s to end
            )  # fmt: skip
        except NoSuchKernel as error:
            raise InputError(f"notebook {source.name} needs the kernel {error.name}, which is not here") from error
        except DeadKernelError as error:
            raise NotebookError(f"notebook {source.stem}: its kernel died") from error
        except papermill.PapermillExecutionError as error:
            cell = error.source.strip().partition("\n")[0]
            raise NotebookError(
                f"notebook {source.stem}, the cell that begins {cell!r}: {error.ename}: {error.evalue}"
            ) from error
        finally:
            if done.exists():
                write_atomic(out, done.read_bytes())


def run(source: Path, given: Mapping[str, object], out: Path) -> Path:
    """Execute a chapter with some of its parameters replaced; write it, with outputs, to ``out`` if no cell fails."""
    with atomic_path(out) as done:
        execute(read(source), given, done, source)
    return out
