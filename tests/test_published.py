"""The published numbers: well formed, and as printed. Those that claims have: contracts/test_every_claim.py."""

from __future__ import annotations

import csv
import math

import pytest

from reproduce.records import RESULTS, published
from sparsecomp import complexity, metrics

FOLDER = RESULTS / "published"
FILES = ("cae_admm", "coin", "kodak", "l0onie", "sparse_cae")
COLUMNS = ["paper", "where", "series", "setting", "x_name", "x", "metric", "value", "unit", "source"]


def curve(file: str, series: str) -> list[tuple[float, float]]:
    return [(row["x"], row["value"]) for row in published(file, where="Kodak mean", series=series, metric="psnr")]


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


def test_published_points_are_as_printed():
    expected = [(0.0368, 22.408), (0.0736, 23.205), (0.1604, 24.641)]
    expected += [(0.3074, 26.412), (0.6109, 28.408), (1.209, 30.644)]
    for point, paper in zip(curve("coin", "COIN"), expected, strict=True):
        assert point == pytest.approx(paper, abs=5e-4)
    course = {row["x"]: row["value"] for row in published("coin", series="COIN official code")}
    assert (course[400], course[800]) == (23.90, 26.31)
    assert [row["value"] for row in published("cae_admm", where="Fig. 2", series="CAE-ADMM", x="0.6853")] == [0.9092]
    found = {row["metric"]: row["value"] for row in published("l0onie", x="0.07")}
    assert (found["dual_learning_rate"], found["position_percent"]) == (7e-3, 14.0)


def test_published_rates_of_l0onie_follow_from_its_architectures():
    for row in published("l0onie"):
        if row["metric"] in ("start_bpp", "coin_bpp"):
            depth, width = map(int, row["setting"].split("x"))
            parameters = complexity.mlp_macs_per_pixel(depth, width) + depth * width + 3
            assert row["value"] == pytest.approx(16 * parameters / (768 * 512), abs=1e-5), row


@pytest.mark.parametrize(
    ("file", "codec", "percent"),
    [
        ("kodak", "jpeg", 143), ("kodak", "jpeg2000", 56), ("kodak", "vtm", -18), ("kodak", "struempler2021", 80),
        ("kodak", "mscn", 57), ("kodak", "coolchic_v5.0", -25), ("coin", "COIN", 318),  # four times the rate of BPG
    ],
)  # fmt: skip
def test_published_curves_give_the_known_bd_rates_against_bpg(file, codec, percent):
    (rate_anchor, quality_anchor), (rate_test, quality_test) = (
        zip(*points, strict=True) for points in (curve("kodak", "bpg444"), curve(file, codec))
    )
    found = metrics.bd_rate(
        rate_anchor=rate_anchor, quality_anchor=quality_anchor, rate_test=rate_test, quality_test=quality_test
    )
    assert found.value == pytest.approx(percent, abs=0.6)
