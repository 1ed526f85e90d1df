"""Figures and tables against the records they are drawn from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sparsecomp import figures, results, verdicts


def rows_of(study: str, **where) -> list[dict]:
    """Rows of one record, read without the library."""
    for path in (results.folder() / "runs" / study).glob("*.json"):
        record = json.loads(path.read_text())
        if all(record["config"].get(k) == v for k, v in where.items()):
            return record["rows"]
    raise AssertionError(f"no record {where}")


def line(figure, label: str) -> np.ndarray:
    return next(drawn.get_xydata() for drawn in figure.axes[0].lines if drawn.get_label() == label)


def test_coin_points_are_means_over_pictures():
    drawn = line(figures.rate_distortion(), figures.STYLE["coin"][0])
    for architecture in ("5x20", "5x30", "10x28"):
        rows = rows_of("coin", architecture=architecture, data="kodak")
        assert len(rows) == 24
        mean = [np.mean([row[name] for row in rows]) for name in ("bpp", "psnr")]
        assert np.isclose(drawn, mean).all(axis=1).any()


def test_published_points_are_the_published_ones():
    drawn = line(figures.rate_distortion(), "COIN, published (its own coordinates)")
    assert np.isclose(drawn, [0.3074, 26.412], atol=1e-3).all(axis=1).any() and len(drawn) == 6


def test_jpeg_curve_is_mean_rate_and_mean_psnr_at_each_setting():
    drawn = line(figures.rate_distortion(top=5), "JPEG")
    rows = [row for row in rows_of("baselines", label="jpeg", data="kodak") if row["setting"] == 50]
    assert len(rows) == 24
    assert np.isclose(drawn, [np.mean([r["bpp"] for r in rows]), np.mean([r["psnr"] for r in rows])]).all(axis=1).any()


def test_table_of_coin():
    table = figures.coin_table().set_index("architecture")
    rows = rows_of("coin", architecture="10x28", data="kodak")
    assert table.loc["10x28", "PSNR, ours"] == round(np.mean([row["psnr"] for row in rows]), 2)
    assert table.loc["10x28", "16 bits a parameter"] == pytest.approx(16 * 7479 / (512 * 768), abs=1e-4)
    assert table.loc["10x28", "bpp of the file"] > table.loc["10x28", "16 bits a parameter"]


def test_bd_table_has_the_anchor_nowhere_and_better_codecs_below_zero():
    table = figures.bd_table().set_index("codec")
    column = "BD-rate against JPEG, %"
    assert "JPEG" not in table.index
    assert all(float(table.loc[name, column]) < -20 for name in ("JPEG 2000", "WebP", "AVIF"))
    assert float(table.loc["JPEG 2000, no colour transform", column]) > float(table.loc["JPEG 2000", column]) + 20


def test_ingredients_are_compared_by_their_means():
    table = figures.ingredients_table().set_index("fit")
    assert len(table) == 4
    runs = [json.loads(p.read_text()) for p in (results.folder() / "runs" / "ingredients").glob("*.json")]
    means = {}
    for run in runs:
        means.setdefault(run["config"]["ingredient"], []).extend(row["psnr"] for row in run["rows"])
    assert all(len(values) == 6 for values in means.values()), "two pictures, three seeds"
    assert float(table.loc["as it is", "PSNR in dB"]) == pytest.approx(np.mean(means["all"]), abs=0.006)
    without = np.mean(means["Adam in place of SOAP"]) - np.mean(means["all"])
    assert float(table.loc["Adam in place of SOAP", "difference"]) == pytest.approx(without, abs=0.006)


def test_depth_search_draws_every_depth_once():
    figure = figures.depth_search()
    for drawn in figure.axes[0].lines:
        assert len(drawn.get_xdata()) >= 6 and len(set(drawn.get_xdata())) == len(drawn.get_xdata())
    assert {text.get_text() for text in figure.axes[0].texts} >= {"10x27", "5x29"}


def test_figure_says_where_its_numbers_are_from():
    record = verdicts.baseline("jpeg")
    said = figures.provenance([record])
    assert "laptop" in said and "24 of kodak" in said and record.environment["commit"][:8] in said


def test_every_entry_of_the_map_is_drawn_and_has_records():
    table = figures.figure_map()
    assert len(table) == len(figures.FIGURES) and (table["profile"] != "not run").all()
    for entry in figures.FIGURES.values():
        assert entry.function() is not None
        assert entry.command.startswith((f"sparsecomp study {entry.study} ", f"sparsecomp {entry.study} "))


def test_png_is_a_picture():
    shown = figures.front()._repr_png_()
    assert shown.startswith(b"\x89PNG") and len(shown) > 20_000


def test_pictures_are_shown_pixel_by_pixel():
    picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    figure = figures.pictures({"a": picture, "b": picture}, crop=(1, 2, 3, 4))
    assert np.array_equal(figure.axes[0].images[0].get_array(), picture[1:4, 2:6])


# Verdicts -------------------------------------------------------------------------------------------------------------


def claim(**changes) -> verdicts.Claim:
    made = verdicts.Claim("k", "p", "c", "2", "1", lambda: 2.5, lambda ours: abs(ours - 2) <= 1, "{:.1f} dB", "because")
    return replace(made, **changes)


def missing() -> float:
    raise LookupError("make it")


@pytest.mark.parametrize(
    "measure, verdict, shown",
    [(lambda: 2.5, "holds", "2.5 dB"), (lambda: 4.0, "differs", "4.0 dB"), (missing, "not run", "–")],
)
def test_claim_is_weighed(measure, verdict, shown):
    weighed = claim(measure=measure).weigh()
    assert (weighed.verdict, weighed.ours) == (verdict, shown)


def test_verdicts_on_the_records_are_those_agreed_on():
    now, lost = verdicts.verify()
    assert lost == []
    agreed = json.loads(verdicts.kept().read_text())
    assert {v.key: v.verdict for v in now} == agreed, "run `sparsecomp verify --update`"


def test_what_no_longer_holds_is_lost():
    held, fails = claim().weigh(), claim(measure=lambda: 9.0).weigh()
    assert verdicts.lost([held], {"k": "holds"}) == []
    assert verdicts.lost([fails], {"k": "holds"}) == ["k"]
    assert verdicts.lost([], {"k": "holds"}) == ["k"]
    assert verdicts.lost([fails], {"k": "differs"}) == []


def test_final_quality_of_fast_is_no_worse_than_published():
    for architecture, published in (("5x20", 23.2), ("5x30", 24.6), ("10x28", 26.4)):
        assert verdicts.coin_psnr(architecture) >= published


def test_curve_is_the_better_of_its_records(monkeypatch):
    def record(*points):
        rows = [{"picture": "a", "setting": i, "bpp": r, "psnr": q} for i, (r, q) in enumerate(points)]
        return results.RunRecord("s", "n", {}, rows, 0.0, {})

    two = [record((0.1, 20.0), (0.4, 30.0), (0.8, 31.0)), record((0.2, 22.0), (0.8, 40.0), (1.6, 39.0))]
    monkeypatch.setattr(verdicts, "baselines", lambda label: two)
    # 0.2: on the first record's line there are 25 dB; 0.4: 31 dB on the second's; 1.6: worse than a smaller file.
    assert verdicts.curve("jpeg") == ([0.1, 0.8], [20.0, 40.0])


def test_psnr_outside_the_measured_rates_is_not_invented():
    with pytest.raises(LookupError, match="was measured from"):
        verdicts.psnr_at("jpeg", 50.0)
