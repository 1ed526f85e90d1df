"""`python -m reproduce run`: a notebook with parameters of one's own, by papermill."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

from reproduce import cli, notebooks

SOURCE = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
preset = "smoke"
seed = 0
names = ["a"]

# %%
from pathlib import Path

print(preset, seed, names, Path.cwd().name)
assert seed != 13, "an unlucky seed"
"""


@pytest.fixture(autouse=True)
def chapter(tmp_path, monkeypatch) -> Path:
    """A notebook in a folder of its own, and an empty current folder beside it."""
    monkeypatch.chdir(tmp_path)
    Path("chapters").mkdir()
    Path("chapters/short.py").write_text(SOURCE)
    return Path("chapters/short.py")


def refused(capsys, *arguments: str) -> str:
    """Run what must fail; nothing may be left of it but the source. Returns the line on stderr."""
    assert cli.main(["run", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and re.fullmatch(r"reproduce: [^\n]+\n", err), err
    assert sorted(map(str, Path().rglob("*"))) == ["chapters", "chapters/short.py"]
    return err


def test_parameters_are_replaced_and_the_notebook_runs_in_its_folder(capsys):
    pairs = ["-p", "seed", "-3", "-p", "names", '["b", 1e-3]', "--preset", "laptop"]
    assert cli.main(["run", "chapters/short.py", *pairs, "--out", "done.ipynb"]) == 0
    assert capsys.readouterr().out == "done.ipynb\n"
    cells = nbformat.read("done.ipynb", as_version=4).cells
    outputs = [output.text for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs == ["laptop -3 ['b', 0.001] chapters\n"]
    assert sorted(p.name for p in Path().iterdir()) == ["chapters", "done.ipynb"], "nothing else is left"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('print("ä")'.encode("latin-1"), "no text in UTF-8"),
        (b"print(1)", "names no kernel"),
        (SOURCE.replace("name: python3", "name: python93").encode(), "needs the kernel python93, which is not here"),
    ],
    ids=["latin-1", "no header", "no such kernel"],
)
def test_notebook_that_cannot_be_run_is_named(capsys, chapter, content, reason):
    chapter.write_bytes(content)
    err = refused(capsys, "chapters/short.py", "--out", "done.ipynb")
    assert "notebook short.py" in err and reason in err


@pytest.mark.parametrize(
    "arguments, reason",
    [
        (["nope"], "neither a chapter"),
        (["chapters/short.py", "--preset", "huge"], "preset must be one of smoke,"),
        (["chapters/short.py", "-p", "seed"], "a name and a value"),
        (["chapters/short.py", "-p", "sed", "1"], "no parameter 'sed'; it has preset, seed, names"),
        (["chapters/short.py", "--out", "chapters/short.py"], "ends in .ipynb"),
        (["chapters/short.py", "-p", "seed", "13", "--out", "done.ipynb"],
         "the cell that begins 'from pathlib import Path': AssertionError: an unlucky seed"),
    ],
)  # fmt: skip
def test_run_says_in_one_line_why_there_is_no_notebook(capsys, arguments, reason):
    assert reason in refused(capsys, *arguments)


def test_chapters_are_found_by_name(monkeypatch):
    assert {"01_rate_distortion", "10_coin"} <= {path.stem for path in notebooks.folder().glob("*.py")}
    assert notebooks.find("10_coin") == notebooks.folder() / "10_coin.py"
    with pytest.raises(ValueError, match="10_coin"):
        notebooks.find("10_coins")


@pytest.mark.parametrize(
    "text, meant",
    [("3", 3), ("1e-3", 0.001), ("true", True), ("False", False), ("null", None), ("[1, 2]", [1, 2]), ("'5'", "5"),
     ("laptop", "laptop"), ("10x28", "10x28"), ("", "")],
)  # fmt: skip
def test_values_are_read_as_they_are_written(text, meant):
    assert notebooks.value(text) == meant and type(notebooks.value(text)) is type(meant)
