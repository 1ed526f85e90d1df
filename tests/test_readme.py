"""The README's numbers are those of the records, and its map names what is there."""

from __future__ import annotations

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_table_is_what_the_records_say():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "book" / "readme.py")
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    assert readme.filled(README) == README, "run `make readme`"
    assert README.count("\n| COIN, 10x28 |") == 1


def test_every_file_it_names_is_there():
    names = re.findall(r"\]\(([^):]+)\)", README)
    assert len(names) >= 4 and all((ROOT / name).is_file() for name in names)


def test_map_names_every_module():
    chart = README.split("## Map")[1]
    modules = [path.stem for package in ("sparsecomp", "reproduce") for path in (ROOT / package).rglob("*.py")]
    quiet = {"__init__", "__main__", "base"}
    assert len(modules) > 40 and not [m for m in modules if m not in quiet and not re.search(rf"\b{m}\b", chart)]


@pytest.mark.parametrize(("program", "module"), [("sparsecomp", "sparsecomp"), ("python -m reproduce", "reproduce")])
def test_every_command_it_shows_is_a_command(program, module):
    shown = set(re.findall(rf"^\$ {program} (\w+)", README, flags=re.M))
    app = importlib.import_module(f"{module}.cli").app
    assert len(shown) >= 4 and shown <= set(get_command(app).commands)


def test_it_says_how_many_claims_there_are():
    claims = (ROOT / "results" / "claims.csv").read_text().count("\n") - 1
    assert f"{claims} in all" in README
