"""The published numbers: well formed, and as printed. Those that claims have: contracts/test_every_claim.py."""

from __future__ import annotations

import csv
import math

import pytest

from reproduce.records import RESULTS, published

FOLDER = RESULTS / "published"
FILES = ("cae_admm", "coin", "kodak", "l0onie", "sparse_cae")
COLUMNS = ["paper", "where", "series", "setting", "x_name", "x", "metric", "value", "unit", "source"]


@pytest.mark.parametrize("name", FILES)
def test_published_rows_are_whole_finite_and_have_a_source(name):
    assert sorted(path.stem for path in FOLDER.glob("*.csv")) == sorted(FILES)
    assert f"`{name}.csv`" in (FOLDER / "README.md").read_text(encoding="utf-8")
    with (FOLDER / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows and list(rows[0]) == COLUMNS
    for row in rows:
        assert all(row[column] for column in ("paper", "where", "series", "metric", "source")), row
        assert bool(row["x_name"]) == bool(row["x"]) and math.isfinite(float(row["x"] or 0)), row
        assert math.isfinite(float(row["value"])) and not row["source"].startswith("/"), row
        assert any(mark in row["source"] for mark in ("arXiv ", "/", "computed by this project")), row
    assert len({tuple(row[column] for column in COLUMNS[:7]) for row in rows}) == len(rows), "two of one number"


def test_published_rows_are_found_by_what_they_say():
    course = {row["x"]: row["value"] for row in published("coin", series="COIN official code")}
    assert (course[400], course[800]) == (23.90, 26.31)
    assert [row["value"] for row in published("cae_admm", where="Fig. 2", series="CAE-ADMM", x="0.6853")] == [0.9092]
    found = {row["metric"]: row["value"] for row in published("l0onie", x="0.07")}
    assert (found["dual_learning_rate"], found["position_percent"]) == (7e-3, 14.0)
