"""What every file in `sweeps/` promises: its notebook takes its rows, at the preset smoke and as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from reproduce import grid, row
from reproduce.runner import Request
from reproduce.studies import STUDIES

SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("preset", [None, "smoke"])
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_notebook_takes_every_row(path, preset):
    found = grid.read(path, preset)
    rows = {one.name: one.parameters for one in found.rows()}
    row.check(found.source, rows)
    assert 1 <= len(rows) <= (2 if preset == "smoke" else 100)


@pytest.mark.parametrize("name", ["coin", "loonie"])
def test_rows_name_plans(name, tmp_path):
    found = grid.read(Path(__file__).parents[2] / "sweeps" / f"{name}.yaml")
    plans = STUDIES[name](Request("laptop", tmp_path, pictures_of="bundled"))
    for one in found.rows():
        assert sum(one.parameters["only"] in plan.name for plan in plans) == 1
