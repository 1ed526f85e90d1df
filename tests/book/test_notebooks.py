"""The form of a chapter; what its cells do is tested by nbval, from the execution that made the book."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

CHAPTERS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.py"))
names = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
WITHOUT_WIDGET = {"00_compression_primer", "31_released_code", "32_cae_admm"}


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@names
def test_first_code_cell_holds_the_parameters(path):
    first = code(jupytext.read(path))[0]
    assert "parameters" in first.metadata.get("tags", [])
    body = ast.parse(first.source).body
    assert all(isinstance(line, ast.Assign) for line in body)
    values = {line.targets[0].id: ast.literal_eval(line.value) for line in body}
    assert values.get("preset", "smoke") == "smoke" and isinstance(values["seed"], int)


@names
def test_cells_are_short(path):
    cells = code(jupytext.read(path))
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in cells]
    assert max(lengths) <= 25, "what is longer belongs in the library"


@names
def test_kernel_is_named_in_the_source(path):
    assert jupytext.read(path).metadata["kernelspec"]["name"] == "python3"


def executed(path: Path, html: Path) -> nbformat.NotebookNode:
    """A chapter with the outputs that are in the book."""
    return nbformat.read(html.parent / "executed" / f"{path.stem}.ipynb", as_version=4)


def test_chapters_have_at_most_about_forty_cells():
    def shown(path):
        return [cell for cell in jupytext.read(path).cells if "remove-cell" not in cell.metadata.get("tags", [])]

    lengths = {path.stem: len(shown(path)) for path in CHAPTERS}
    assert max(lengths.values()) <= 45, lengths


@names
def test_every_figure_has_a_caption_a_name_and_a_text_in_its_place(path, html):
    """The caption begins with the answer in bold; the name is what the text refers to, and it does."""
    text = "\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown")
    for cell in code(executed(path, html)):
        kinds = {kind for output in cell.outputs if "data" in output for kind in output.data}
        if not kinds & {"image/png", "image/svg+xml"}:
            continue
        looks = cell.metadata["mystnb"]
        assert looks["figure"]["caption"].startswith("**") and len(looks["image"]["alt"].split()) >= 12
        assert f"{{numref}}`{looks['figure']['name']}`" in text, f"nothing refers to {looks['figure']['name']}"


@names
def test_equations_with_a_number_are_referred_to(path):
    """Every chapter has some, and each is referred to, here or in another chapter."""
    text = path.read_text()
    labels = re.findall(r"\$\$ *\((eq-[\w-]+)\)", text)
    everywhere = "\n".join(chapter.read_text() for chapter in CHAPTERS)
    others = {"22_sparse_cae_results", "31_released_code"}  # they refer to those of the chapter before
    assert len(labels) == len(set(labels)) and (labels or path.stem in others)
    assert not [label for label in labels if f"{{eq}}`{label}`" not in everywhere]


@names
def test_executed_chapter_has_a_widget_with_its_frames(path, html):
    if path.stem in WITHOUT_WIDGET:
        return
    notebook = executed(path, html)
    views = [output for cell in code(notebook) for output in cell.outputs if "data" in output]
    assert any("application/vnd.jupyter.widget-view+json" in output.data for output in views)
    state = notebook.metadata["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    models = [model["model_name"] for model in state.values()]
    assert {"LinkModel", "DirectionalLinkModel"} & set(models), "only a jslink moves without a kernel"
    assert models.count("ImageModel") >= 2
