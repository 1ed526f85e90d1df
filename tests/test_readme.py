"""The README's numbers are those of the records, and its map names what is there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_table_is_what_the_records_say():
    spec = importlib.util.spec_from_file_location("readme", ROOT / "book" / "readme.py")
    readme = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(readme)
    assert readme.filled(README) == README, "run `make readme`"
    assert README.count("\n| 10x28 |") == 1


def test_every_file_it_names_is_there():
    names = re.findall(r"\]\(([^):]+)\)", README)
    assert len(names) >= 4 and all((ROOT / name).is_file() for name in names)


def test_map_names_every_module():
    chart = README.split("## Map")[1]
    modules = [path for path in (ROOT / "sparsecomp").rglob("*.py") if path.stem != "__init__"]
    missing = [path.stem for path in modules if not re.search(rf"\b{path.stem}\b", chart) and path.stem != "base"]
    assert not missing


def test_every_command_it_shows_is_a_command():
    shown = set(re.findall(r"^\$ sparsecomp (\w+)", README, flags=re.M))
    from typer.main import get_command

    from sparsecomp.cli import app

    assert shown and shown <= set(get_command(app).commands)
