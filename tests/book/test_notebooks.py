"""The form of a chapter; what its cells do is tested by nbval, from the execution that made the book."""

from __future__ import annotations

import ast
from pathlib import Path

import jupytext
import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))
names = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@names
def test_first_code_cell_holds_the_parameters(path):
    first = code(jupytext.read(path))[0]
    assert "parameters" in first.metadata.get("tags", [])
    body = ast.parse(first.source).body
    assert all(isinstance(line, ast.Assign) for line in body)
    values = {line.targets[0].id: ast.literal_eval(line.value) for line in body}
    assert values["preset"] == "smoke" and isinstance(values["seed"], int)


@names
def test_cells_are_short(path):
    cells = code(jupytext.read(path))
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    assert max(lengths) <= 25, "what is longer belongs in the library"


@names
def test_kernel_is_named_in_the_source(path):
    assert jupytext.read(path).metadata["kernelspec"]["name"] == "python3"


@names
def test_executed_chapter_has_a_widget_with_its_frames(path, html):
    notebook = nbformat.read(html.parent / "executed" / f"{path.stem}.ipynb", as_version=4)
    views = [output for cell in code(notebook) for output in cell.outputs if "data" in output]
    assert any("application/vnd.jupyter.widget-view+json" in output.data for output in views)
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    models = [model["model_name"] for model in state.values()]
    assert {"LinkModel", "DirectionalLinkModel"} & set(models), "only a jslink moves without a kernel"
    assert models.count("ImageModel") >= 2
