"""The published figures in results/published: well formed, and the numbers that the papers print."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from sparsecomp import complexity, metrics

FOLDER = Path(__file__).parents[1] / "results" / "published"
FILES = ("cae_admm", "coin", "kodak", "l0onie", "sparse_cae")
COLUMNS = ["paper", "where", "series", "setting", "x_name", "x", "metric", "value", "unit", "source"]


def read(name: str) -> list[dict[str, str]]:
    with open(FOLDER / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def curve(name: str, series: str, metric: str = "psnr", where: str = "Kodak mean") -> list[tuple[float, float]]:
    rows = [r for r in read(name) if (r["series"], r["metric"], r["where"]) == (series, metric, where)]
    return [(float(row["x"]), float(row["value"])) for row in rows]


def number(name: str, metric: str, **which: str) -> float:
    rows = [row for row in read(name) if row["metric"] == metric and which.items() <= row.items()]
    assert len(rows) == 1, f"{len(rows)} rows of {name} for {metric}, {which}"
    return float(rows[0]["value"])


def test_published_files_are_those_of_the_readme():
    assert sorted(path.stem for path in FOLDER.glob("*.csv")) == sorted(FILES)
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}.csv`" in text for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_published_rows_are_whole_finite_and_have_a_source(name):
    rows, seen = read(name), set()
    assert rows and list(rows[0]) == COLUMNS
    for row in rows:
        assert all(row[column] for column in ("paper", "where", "series", "metric", "source")), row
        assert math.isfinite(float(row["value"])), row
        assert bool(row["x_name"]) == bool(row["x"]), row
        assert not row["x"] or math.isfinite(float(row["x"])), row
        assert any(mark in row["source"] for mark in ("arXiv ", "/", "computed by this project")), row
        assert not row["source"].startswith("/"), row
        key = tuple(row[column] for column in COLUMNS[:7])
        assert key not in seen, row
        seen.add(key)


def test_published_points_of_coin_are_as_printed():
    points = curve("coin", "COIN")
    expected = [(0.0368, 22.408), (0.0736, 23.205), (0.1604, 24.641)]
    expected += [(0.3074, 26.412), (0.6109, 28.408), (1.209, 30.644)]
    for point, paper in zip(points, expected, strict=True):
        assert point == pytest.approx(paper, abs=5e-4)
    course = {row["x"]: float(row["value"]) for row in read("coin") if row["series"] == "COIN official code"}
    assert (course["400"], course["800"]) == (23.90, 26.31)


def test_published_tables_are_as_printed():
    assert number("sparse_cae", "macc_reduction", where="Table I", series="l1,inf") == 40
    assert number("sparse_cae", "relative_loss", where="Table I", series="l1") == -1.15
    assert number("sparse_cae", "sparsity", where="Table I", series="l1,1") == 83.05
    assert number("cae_admm", "bpp", where="Table 1", series="after pruning") == 1.257
    assert number("cae_admm", "zeros", where="Table 1", series="before pruning") == 7.80
    assert number("cae_admm", "ssim", where="Table 2", series="JPEG 2000") == 0.793
    assert number("cae_admm", "ssim", where="Fig. 2", series="CAE-ADMM", x="0.6853") == 0.9092
    assert number("l0onie", "dual_learning_rate", x="0.07") == 7e-3
    assert number("l0onie", "position_percent", x="0.07") == 14.0


def test_published_rates_of_l0onie_follow_from_its_architectures():
    for row in read("l0onie"):
        if row["metric"] in ("start_bpp", "coin_bpp"):
            depth, width = map(int, row["setting"].split("x"))
            parameters = complexity.mlp_macs_per_pixel(depth, width) + depth * width + 3
            assert float(row["value"]) == pytest.approx(16 * parameters / (768 * 512), abs=1e-5), row


@pytest.mark.parametrize(
    ("file", "codec", "percent", "overlap"),
    [
        ("kodak", "jpeg", 143, None), ("kodak", "jpeg2000", 56, None), ("kodak", "vtm", -18, None),
        ("kodak", "struempler2021", 80, None), ("kodak", "mscn", 57, None), ("kodak", "coolchic_v5.0", -25, None),
        ("coin", "COIN", 318, (26.195, 30.644)),  # four times the rate of BPG
    ],
)  # fmt: skip
def test_published_curves_give_the_known_bd_rates_against_bpg(file, codec, percent, overlap):
    (rate_anchor, quality_anchor), (rate_test, quality_test) = (
        zip(*points, strict=True) for points in (curve("kodak", "bpg444"), curve(file, codec))
    )
    found = metrics.bd_rate(
        rate_anchor=rate_anchor, quality_anchor=quality_anchor, rate_test=rate_test, quality_test=quality_test
    )
    assert found.value == pytest.approx(percent, abs=0.6)
    assert overlap is None or found.overlap == pytest.approx(overlap, abs=1e-3)
