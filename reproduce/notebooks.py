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
from collections.abc import Mapping
from pathlib import Path

from sparsecomp.checks import InputError
from sparsecomp.files import atomic_path


class NotebookError(InputError):
    """A cell of the notebook failed; the message says which and why."""


def folder() -> Path:
    """``notebooks/`` of the working copy: beside the package, or in the current folder for an installed one."""
    beside = Path(__file__).resolve().parent.parent / "notebooks"
    return beside if beside.is_dir() else Path.cwd() / "notebooks"


def find(name: str) -> Path:
    """The source of a chapter by its name (``10_coin``) or path; `ValueError` that lists the names if there is none."""
    names = sorted(path.stem for path in folder().glob("*.py"))
    if name in names:
        return folder() / f"{name}.py"
    path = Path(name)
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


def run(source: Path, parameters: Mapping[str, object], out: Path) -> Path:
    """Execute a chapter in its own folder with some of its parameters replaced; write it, with outputs, to ``out``.

    Parameters
    ----------
    source : Path
        A ``.py`` file that `find` found; the kernel is the one that its header names.
    parameters : mapping
        Values for names of its cell tagged ``parameters``.
    out : Path
        An ``.ipynb`` file; it appears whole, or not at all.

    Raises
    ------
    ValueError
        If the notebook cannot be read, names no kernel that is here, or has no such parameter.
    NotebookError
        If a cell fails.
    """
    import jupytext
    import nbformat
    import papermill
    from jupyter_client.kernelspec import NoSuchKernel

    try:
        notebook = jupytext.read(source)
    except UnicodeDecodeError as error:
        raise InputError(f"notebook {source.name} is no text in UTF-8: {error}") from error
    if "kernelspec" not in notebook.metadata:
        raise InputError(f"notebook {source.name} names no kernel in its header")
    with tempfile.TemporaryDirectory() as work, atomic_path(out) as done:
        made = Path(work) / "source.ipynb"
        nbformat.write(notebook, made)
        known = papermill.inspect_notebook(str(made))
        for name in parameters:
            if name not in known:
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise InputError(f"notebook {source.stem} has no parameter {name!r}; {has}")
        try:
            papermill.execute_notebook(
                str(made), str(done), dict(parameters), cwd=str(source.parent), progress_bar=sys.stderr.isatty(),
                extra_arguments=["--log-level=ERROR"],
            )  # fmt: skip
        except NoSuchKernel as error:
            raise InputError(f"notebook {source.name} needs the kernel {error.name}, which is not here") from error
        except papermill.PapermillExecutionError as error:
            cell = error.source.strip().partition("\n")[0]
            raise NotebookError(
                f"notebook {source.stem}, the cell that begins {cell!r}: {error.ename}: {error.evalue}"
            ) from error
    return out
