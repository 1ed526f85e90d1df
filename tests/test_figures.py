"""Figures and tables against the records they are drawn from."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from sparsecomp import figures, results, verdicts
from sparsecomp.models.pretrained import default_models


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
    record = verdicts.networks.baseline("jpeg")
    said = figures.provenance([record])
    assert "laptop" in said and "24 of kodak" in said and record.environment["commit"][:8] in said


def test_every_entry_of_the_map_is_drawn_and_has_records():
    table = figures.figure_map()
    assert len(table) == len(figures.FIGURES) and (table["profile"] != "not run").all()
    for entry in figures.FIGURES.values():
        assert entry.function() is not None
        assert entry.command.startswith((f"sparsecomp study {entry.study} ", f"sparsecomp {entry.study} "))


def test_table_of_projections_is_its_record(monkeypatch):
    table = figures.projections_table()
    rows = max(results.records("bench", data="normal"), key=lambda r: r.config["threads"]).rows
    assert list(table["times a sort"]) == [f"{row['milliseconds'] / row['sort']:.2f}" for row in rows]
    assert list(table["released code, ms (shown, not counted)"]) == ["442", "467", "22,940", "–", "–"]
    monkeypatch.setattr(results, "records", lambda *_, **__: [])
    with pytest.raises(LookupError, match="sparsecomp bench projections"):
        figures.projections_table()


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
        assert verdicts.networks.coin_psnr(architecture) >= published


def test_curve_is_the_better_of_its_records(monkeypatch):
    def record(*points):
        rows = [{"picture": "a", "setting": i, "bpp": r, "psnr": q} for i, (r, q) in enumerate(points)]
        return results.RunRecord("s", "n", {}, rows, 0.0, {})

    two = [record((0.1, 20.0), (0.4, 30.0), (0.8, 31.0)), record((0.2, 22.0), (0.8, 40.0), (1.6, 39.0))]
    monkeypatch.setattr(verdicts.networks, "baselines", lambda label, high: two)
    # 0.2: on the first record's line there are 25 dB; 0.4: 31 dB on the second's; 1.6: worse than a smaller file.
    assert verdicts.networks.curve("jpeg") == ([0.1, 0.8], [20.0, 40.0])


def test_psnr_outside_the_measured_rates_is_not_invented():
    with pytest.raises(LookupError, match="was measured from"):
        verdicts.networks.psnr_at("jpeg", 50.0)


# L0onie ---------------------------------------------------------------------------------------------------------------


def kept_rows(label: str, bpp: float = 0.3) -> list[dict]:
    """Rows of a L0onie record, read without the library; dense COIN is known by its architecture at 0.3 bpp."""
    where = {"architecture": "10x28"} if label == "dense" else {"bpp": bpp}
    return rows_of("loonie", label=label, profile="laptop", **where)


def means(rows: list[dict]) -> tuple[float, float, float]:
    """Mean rate of the files, mean rate in the paper's accounting, mean PSNR."""
    counted = [row["estimated_bits"] / (512 * 768) for row in rows]
    return np.mean([row["bpp"] for row in rows]), np.mean(counted), np.mean([row["psnr"] for row in rows])


@pytest.mark.parametrize("accounting", ["nonzeros", "file"])
def test_loonie_points_are_means_over_every_third_picture(accounting):
    figure = figures.loonie_rate_distortion(accounting)
    third = verdicts.networks.third()
    assert len(third) == 8 and third[:2] == ["kodim01", "kodim04"]
    for label in ("nonzeros", "magnitude", "dense"):
        rows = [row for row in kept_rows(label) if row["picture"] in third]
        file, counted, psnr = means(rows)
        point = (counted if accounting == "nonzeros" else file, psnr)
        assert np.isclose(line(figure, figures.STYLE[label][0]), point, rtol=5e-5).all(axis=1).any()
    labels = {drawn.get_label() for drawn in figure.axes[0].lines}
    assert (figures.STYLE["file"][0] in labels) == (accounting == "file")


def test_our_files_keep_the_budget_and_use_it():
    made = [r for r in results.records("loonie", label="file") if r.config["profile"] != "smoke"]
    assert {r.config["bpp"] for r in made} <= set(verdicts.networks.LOONIE_RATES)
    for record in made:
        for row in record.rows:
            bpp = record.config["bpp"]
            assert 0.95 * bpp <= row["bpp"] <= bpp and row["estimated_bits"] == 8 * row["bytes"]
    assert len(kept_rows("file")) == 24


def test_counted_rates_keep_the_budget_and_files_are_longer():
    for label in ("nonzeros", "magnitude"):
        for row in kept_rows(label):
            assert row["estimated_bits"] <= 0.3 * 512 * 768 < 8 * row["bytes"]
    file, counted, _ = means(kept_rows("nonzeros"))
    assert verdicts.networks.position_share() == pytest.approx(100 * (file / counted - 1), abs=0.01)


def test_gain_is_the_mean_difference_over_the_same_pictures():
    ours, theirs = (np.mean([row["psnr"] for row in kept_rows(label)]) for label in ("nonzeros", "dense"))
    assert verdicts.networks.gain("dense") == pytest.approx(ours - theirs)


def test_our_files_against_what_is_published():
    file, _, psnr = means(kept_rows("file"))
    assert psnr >= 27.9, "COIN's published 26.41 dB and 1.5 dB more"
    rows = results.published("kodak", where="Kodak mean", series="mscn", metric="psnr")
    below, above = rows[2], rows[3]
    assert below["x"] < file < above["x"]
    share = np.log(file / below["x"]) / np.log(above["x"] / below["x"])
    between = below["value"] + share * (above["value"] - below["value"])
    assert verdicts.networks.over_published("mscn") == pytest.approx(psnr - between, abs=1e-6)
    figure = figures.loonie_files()
    assert np.isclose(line(figure, f"{figures.STYLE['file'][0]}, 24 pictures"), (file, psnr)).all()


def test_dynamics_are_the_courses_of_the_record():
    figure = figures.loonie_dynamics()
    rows = kept_rows("nonzeros")
    for axes, column in zip(figure.axes, ("rate", "lambda", "psnr"), strict=True):
        mean = axes.lines[len(rows)]
        assert np.allclose(mean.get_ydata(), np.mean([row["course"][column] for row in rows], axis=0))
    assert figure.axes[0].lines[-1].get_ydata()[0] == 0.3


def test_table_of_parts_compares_with_the_whole_on_the_same_pictures():
    table = figures.loonie_parts_table().set_index("fit")
    assert list(table.index)[0] == "L0onie" and len(table) == 9
    for part, whole in (("gates sampled", "L0onie"), ("our file, no frequencies", "our file")):
        ours, theirs = (rows_of("loonie_parts", part=p, profile="laptop") for p in (part, whole))
        assert [row["picture"] for row in ours] == [row["picture"] for row in theirs] and len(ours) == 6
        difference = np.mean([a["psnr"] - b["psnr"] for a, b in zip(ours, theirs, strict=True)])
        assert float(table.loc[part, "difference"]) == pytest.approx(difference, abs=0.006)
        assert table.loc[part, "against"] == whole
    assert table.loc["our file, no frequencies, gates", "against"] == "our file, no frequencies"


def test_histogram_has_a_mark_for_every_picture():
    figure = figures.loonie_histogram()
    marks = [drawn for drawn in figure.axes[0].lines if drawn.get_marker() == "|"]
    assert [len(drawn.get_xdata()) for drawn in marks] == [24, 24, 24]
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert texts == {f"{means(kept_rows(m))[2]:.2f}" for m in ("magnitude", "nonzeros", "dense")}


def test_speed_is_judged_on_the_paper_profile_only():
    claims = {c.key: c for c in verdicts.networks.claims()}
    if not results.records("loonie_race", profile="paper"):
        assert claims["loonie-faster"].weigh().verdict == "not run"


def test_time_to_the_goal_is_the_ratio_of_seconds(monkeypatch):
    def record(runner: str, psnr: list[float], seconds: float) -> results.RunRecord:
        history = {"step": [10, 20, 30, 40], "psnr": psnr}
        rows = [{"picture": "a", "psnr": psnr[-1], "history": history, "encode_seconds": seconds}]
        if runner.startswith("L0onie"):
            rows[0]["course"] = {"rate": [0.6, 0.3, 0.3, 0.3]}
        return results.RunRecord("loonie_race", "n", {"runner": runner, "bpp": 0.3}, rows, 0.0, {})

    runs = [
        record("COIN at 1e-3", [20, 21, 22, 25], 40.0),  # at its end after 40 s
        record("L0onie at 1e-3", [25, 25, 26, 27], 80.0),  # as good within its budget after half of 80 s
        record("COIN at 2e-4", [1, 2, 3, 4], 40.0),
    ]
    monkeypatch.setattr(results, "records", lambda study, **where: runs)
    assert verdicts.networks.paper_race() == pytest.approx(1.0)
    monkeypatch.setattr(results, "records", lambda study, **where: runs[:2])
    with pytest.raises(LookupError, match="profile paper"):
        verdicts.networks.paper_race()


def test_gain_at_equal_bits_is_between_the_neighbours(monkeypatch):
    def record(rate: float, psnr: float) -> results.RunRecord:
        rows = [{"picture": "a", "bpp": rate, "estimated_bits": 1000 * rate, "bytes": 125, "psnr": psnr}]
        return results.RunRecord("loonie", "n", {}, rows, 0.0, {})

    # counted = bpp * estimated_bits / (8 * bytes) = rate^2
    dense = [record(0.5, 20.0), record(1.0, 24.0)]
    monkeypatch.setattr(verdicts.networks, "third", lambda: ["a"])
    monkeypatch.setattr(verdicts.networks, "loonie", lambda method, bpp: record(0.5**0.5, 23.0))
    curve = ([0.25, 1.0], [20.0, 24.0], dense)
    monkeypatch.setattr(verdicts.networks, "loonie_curve", lambda method, accounting, pictures: curve)
    assert verdicts.networks.gain_at_rate() == pytest.approx(1.0), "0.5 lies half-way in the logarithm: 22 dB"
    monkeypatch.setattr(verdicts.networks, "loonie", lambda method, bpp: record(0.1, 23.0))
    with pytest.raises(LookupError, match="both sides"):
        verdicts.networks.gain_at_rate()


# Sparse CAE -----------------------------------------------------------------------------------------------------------


def test_table_i_is_its_records():
    table = figures.cae_table()
    assert list(table["constraint"]) == ["l1", "l1,1 (bilevel)", "l1,inf"]
    record = results.record("cae_sparse", label="bilevel_l11", seed=0, profile="laptop", data="kodak")
    dense = results.record("cae", label="high", seed=0, profile="laptop", data="kodak")
    row = table.iloc[1]
    assert row["S %"] == f"{100 * record.result['sparsity']:.2f} (83.05)"
    assert row["after surgery"] == f"{100 * (1 - record.result['macs'] / dense.result['macs']):.0f}"
    assert row["less memory %"].startswith(f"{100 * (1 - record.result['encoder_bytes'] / 387616):.1f}"), "fp16, dense"
    assert "±" in row["relative loss dB"] and row["relative loss dB"].endswith("(-1.2)")


def test_variants_are_sorted_and_controls_say_so():
    table = figures.cae_variants_table()
    losses = [float(text.split()[0]) for text in table["dB at the same bytes"]]
    assert losses == sorted(losses, reverse=True) and len(table) == 15
    controls = [name for name in table["second descent"] if name.startswith("control")]
    assert len(controls) == 5 and any("small dense" in name for name in controls)
    steps = dict(zip(table["second descent"], table["steps"], strict=True))
    assert steps["l1,1 (bilevel)"] == "4,000" and steps["l1,1, going on"] == "8,000"


def test_surgery_table_adds_up():
    stored = default_models().find("cae-bilevel-l11-seed-0-laptop")
    table = figures.surgery_table(stored)
    left = [float(text.split(" of ")[0].replace(",", "")) for text in table["MACs a pixel"]]
    assert sum(left[:-1]) == pytest.approx(left[-1], abs=len(left) / 2)
    assert table["filters"].iloc[0] == "24 of 24" and table["inputs"].iloc[-1] == ""


def test_models_that_are_kept_are_those_of_their_records():
    models = default_models()
    kept = {models.find(name).key for name in models.names}
    studies = ("cae", "cae_sparse", "cae_admm")
    made = {r.result["model"] for study in studies for r in results.records(study, profile="laptop")}
    assert len(kept) >= 8 and kept <= made
    assert sum(path.stat().st_size for path in models.files.values()) < 15e6
