"""Figures and tables of CAE-ADMM, drawn from records whose numbers can be told by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import admm_records
import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm

from sparsecomp import codecs, data, drawings, figures, metrics, results
from sparsecomp.codecs.trained import CaeAdmm, latent_of, pruned
from sparsecomp.figures import cae_admm
from sparsecomp.models import pretrained
from sparsecomp.models.pretrained import Models
from sparsecomp.studies.cae_admm import PRUNED

ROOT = Path(cae_admm.__file__).parents[2]
NAT = 1.4426950408889634  # bits


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of results with the published ones and the baselines, no models and no Kodak."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "published").symlink_to(ROOT / "results" / "published")
    (tmp_path / "runs" / "baselines").symlink_to(ROOT / "results" / "runs" / "baselines")
    monkeypatch.setattr(results, "folder", lambda: tmp_path)
    monkeypatch.setattr(data, "available", lambda name: False)
    return tmp_path


def keep(folder: Path, *records: results.RunRecord) -> None:
    for record in records:
        results.write(record, folder / "runs")


def line(figure, label: str) -> np.ndarray:
    return next(drawn.get_xydata() for drawn in figure.axes[0].lines if drawn.get_label() == label)


def points(*rates: float, metric: str = "ssim", shift: float = 0.0) -> list[tuple[float, float]]:
    return [(rate, admm_records.quality(metric, rate) + shift) for rate in rates]


# Figure 2 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["ssim", "ms_ssim", "psnr"])
def test_points_of_our_models_are_means_over_pictures(folder, metric):
    keep(folder, *admm_records.trainings(keep_5=0.02))
    figure = figures.admm_rate_distortion(metric)
    up = 0.02 * admm_records.SLOPE[metric] / 0.05
    ours = points(0.2, metric=metric, shift=up) + points(0.4, 0.8, 1.6, metric=metric)
    assert np.allclose(line(figure, "pruned by ADMM, ours"), ours)
    share = points(0.15, metric=metric, shift=up) + points(0.3, 0.6, 1.2, metric=metric)
    assert np.allclose(line(figure, "pruned by ADMM, only that share kept"), share)
    assert np.allclose(line(figure, "entropy estimated, ours"), points(0.1875, 0.375, 0.75, 1.5, metric=metric))
    assert np.allclose(line(figure, "neither, pruned in use"), points(0.1, 0.2, 0.4, 2.0, metric=metric))
    for label, rate in (("neither", 2.0), ("pruned as released", 1.5), ("neither, 16 channels", 1.0)):
        assert np.allclose(line(figure, label), points(rate, metric=metric))
    (record,) = results.records("baselines", label="jpeg2000", data="kodak", profile="laptop")
    jpeg2000 = line(figure, "JPEG 2000, fair")
    assert np.isclose(jpeg2000, [record.mean("bpp", setting=0.6), record.mean(metric, setting=0.6)]).all(1).any()
    assert figure.axes[0].get_xlim()[1] == pytest.approx(2.1)
    low, high = figure.axes[0].get_ylim()
    assert low < min(q for _, q in ours) and high > max(q for rate, q in jpeg2000 if rate < 2.1)


def test_the_papers_points_stand_there_twice_and_what_it_compares_with_once(folder):
    keep(folder, *admm_records.trainings())
    for metric, first, series in (("ssim", (0.1528, 0.7231), 4), ("ms_ssim", (0.1322, 0.8985), 2), ("psnr", None, 0)):
        figure = figures.admm_rate_distortion(metric)
        labels = [drawn.get_label() for drawn in figure.axes[0].lines]
        assert sum(label.endswith("in the paper") for label in labels) == series
        assert ("the paper, as printed" in labels) == (first is not None)
        if first:
            printed, bits = line(figure, "the paper, as printed"), line(figure, "the paper, nats in bits")
            assert tuple(printed[0]) == first and len(printed) == {"ssim": 5, "ms_ssim": 4}[metric]
            assert np.allclose(bits, printed * [NAT, 1])
            hollow = [drawn for drawn in figure.axes[0].lines if drawn.get_label().startswith("the paper,")]
            assert all(drawn.get_markerfacecolor() == "none" and drawn.get_linestyle() == "None" for drawn in hollow)


def test_a_figure_needs_all_its_records_and_says_which_is_missing(folder):
    keep(folder, *(r for r in admm_records.trainings() if r.config["label"] != "released"))
    for function in (figures.admm_rate_distortion, figures.admm_residuals):
        with pytest.raises(LookupError, match="released, seed 0.*sparsecomp study cae_admm"):
            function()
    for function in (figures.admm_table1, figures.admm_table2, figures.admm_nats_table):
        with pytest.raises(LookupError, match="sparsecomp study cae_admm_mixed"):
            function()


# Figures 3 and 4, and the residuals -----------------------------------------------------------------------------------


@pytest.fixture
def models(folder) -> Models:
    """Records of trainings, and small models with their keys."""
    for record in admm_records.trainings():
        label = record.config["label"]
        if label in (*PRUNED, "unpruned"):
            seed, kept = list(admm_records.RATES).index(label), PRUNED.get(label, 1.0)
            path = tiny_cae_admm.write(folder / "models", record.result["file"], seed, keep=kept)
            record = replace(record, result=record.result | {"model": pretrained.load(path).key})
        keep(folder, record)
    return Models(folder / "models")


def test_details_are_of_files_within_the_rate(models):
    original = data.bundled()["astronaut"]
    figure = figures.admm_pictures(bpp=0.5, side=100, models=models)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "astronaut, original\n24 bpp"
    assert [title.split(",")[0] for title in titles[1:]] == ["JPEG", "JPEG 2000", "pruned by ADMM"]
    shown = figure.axes[0].images[0].get_array()
    assert np.array_equal(shown, original[78:178, 178:278])
    names = [f"code-{label.replace(' ', '-')}-seed-0-laptop" for label in PRUNED]
    measured = [codecs.evaluate(CaeAdmm(model=name, models=models), original, 0.5) for name in names]
    files = {found.ssim: found for found in measured}
    decoded, rate = files[max(files)].reconstruction, files[max(files)].bpp
    psnr = metrics.psnr(reference=original, reconstruction=decoded)
    assert len(files) > 1 and rate <= 0.5
    assert titles[3] == f"pruned by ADMM, {rate:.2f} bpp\nSSIM {max(files):.3f}, {psnr:.2f} dB"
    assert np.array_equal(figure.axes[3].images[0].get_array(), decoded[78:178, 178:278])


def test_codes_before_and_after_pruning_are_tiled_and_say_how_much_is_zero(models):
    figure = figures.admm_codes(models)
    original = data.bundled()["astronaut"]
    codes = [latent_of(models.find(f"code-{label}-seed-0-laptop"), original) for label in ("unpruned", "keep-10")]
    codes.append(pruned(codes[1], 0.1))
    assert (codes[0] != codes[1]).any() and (codes[2] != 0).sum() == round(0.1 * codes[2].size)
    for axes, code in zip(figure.axes, codes, strict=False):
        assert axes.get_title().endswith(f": {100 * np.mean(code == 0):.1f} % zeros")
        drawn = np.asarray(axes.images[0].get_array())
        assert np.array_equal(drawn, drawings.code_map(code, drawn.shape[:2]))
        assert (drawn[:64, :64] == 0).all(2).mean() == np.mean(code[0] == 0), "an entry is a pixel, and a zero is black"


def test_a_model_that_is_not_the_one_of_its_record_is_not_shown(models):
    tiny_cae_admm.write(models.places[0], "code-keep-10-seed-0-laptop", seed=99)
    for function in (figures.admm_codes, figures.admm_pictures):
        with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop is not the one of its record"):
            function(models=models)
    models.files["code-keep-10-seed-0-laptop"].unlink()
    with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop' is unknown"):
        figures.admm_codes(models)


def test_where_no_file_is_small_enough_there_is_no_picture(models):
    with pytest.raises(LookupError, match="no pruned model makes a file of at most 0.001"):
        cae_admm._best(data.bundled()["chelsea"][:64, :64], 0.001, models)


def test_residuals_are_the_courses_of_the_records(folder):
    keep(folder, *(r for r in admm_records.trainings() if r.config["label"] != "keep 10"))
    keep(folder, admm_records.training("keep 10", updates=15))
    figure = figures.admm_residuals()
    for axes, value in zip(figure.axes, (lambda s: 1 / s, lambda s: 2 / s, lambda s: s / 5000), strict=True):
        assert len(axes.lines) == 8
        drawn = {each.get_label(): each.get_xydata() for each in axes.lines}
        assert len(drawn["pruned to 20 %"]) == 40 and len(drawn["pruned to 10 %"]) == 15
        assert np.allclose(drawn["pruned to 10 %"], [(s, value(s)) for s in range(100, 1501, 100)])
        assert np.allclose(drawn["pruned as the released code does"][-1], (4000, value(4000)))


# Tables ---------------------------------------------------------------------------------------------------------------


def test_table_1_and_its_printed_numbers(folder):
    keep(folder, *admm_records.trainings(), *admm_records.tables()[:1])
    uneven = admm_records.tables()[1]
    for row, zeros in zip(uneven.rows, (0.6, 0.7, 0.8), strict=True):
        row["zeros"] = zeros
    keep(folder, uneven)
    before, after, gained = figures.admm_table1().to_dict("records")
    assert before["bpp of the file"] == "2.000 ± 0.000" and before["bpp as printed"] == "1.684 ± 0.012"
    assert after["nats, the released code's bpp"] == "0.750 ± 0.000"
    assert after["these in bits"] == f"{0.75 * NAT:.3f} ± 0.000"
    assert after["zeros %"] == f"70.00 ± {1.96 * 10 / math.sqrt(3):.2f}" == "70.00 ± 11.32"
    assert (before["zeros % as printed"], after["zeros % as printed"]) == ("7.80 ± 3.44", "17.65 ± 4.90")
    assert gained["bpp of the file"] == gained["these in bits"] == "25.0 %" and gained["bpp as printed"] == "25.4 %"
    assert gained["zeros %"] == "+20.00 points" and gained["zeros % as printed"] == "+9.85 points"


def test_table_2_and_its_printed_numbers(folder):
    keep(folder, *admm_records.trainings(), *admm_records.tables())
    table = figures.admm_table2().set_index("codec")
    assert list(table.index) == ["pruned by ADMM, ours", "entropy estimated, ours", "JPEG", "JPEG 2000",
                                 "JPEG 2000, no colour transform"]  # fmt: skip
    ours = table.loc["pruned by ADMM, ours"]
    assert (ours["bpp of the file"], ours["setting"]) == ("0.600", "pruned to 20 %, 100 % kept")
    assert table.loc["entropy estimated, ours", "setting"] == "entropy estimated, λ = 150, 100 % kept"
    ssim = admm_records.quality("ssim", 0.6) + 0.02
    assert ours["SSIM"] == f"{ssim:.3f} ± {1.96 * 0.01 / math.sqrt(3):.3f}" and ours["seconds"] == "0.750 ± 0.000"
    assert tuple(ours[f"{name} as printed"] for name in ("bpp", "SSIM", "seconds")) == (
        "0.597", "0.871 ± 0.003", "0.140 ± 0.008")  # fmt: skip
    assert table.loc["JPEG 2000", "SSIM as printed"] == "0.793 ± 0.013"
    assert table.loc["JPEG", "seconds"] == "0.050 ± 0.000"
    assert table.loc["JPEG 2000, no colour transform", "SSIM as printed"] == "–"


def test_variants_with_their_spread(folder):
    keep(folder, *admm_records.trainings(lambda_50=0.01), admm_records.training("keep 10", 1, rate=0.8, shift=0.01))
    table = figures.admm_variants_table().set_index("training")
    assert len(table) == len(admm_records.RATES)
    two = table.loc["pruned to 10 %"]
    rate = math.sqrt(2 * 0.2**2)
    ssim = [admm_records.quality("ssim", 0.4), admm_records.quality("ssim", 0.8) + 0.01]
    assert two["bpp of the file"] == f"0.600 ± {rate:.3f}" and two["seeds"] == "2" and two["updates of ADMM"] == "40"
    assert two["SSIM"] == f"{np.mean(ssim):.4f} ± {np.std(ssim, ddof=1):.4f}"
    assert two["zeros %"] == f"85.0 ± {25 * rate:.1f}" and two["nats, the released code's bpp"].startswith("0.300 ")
    one = table.loc["entropy estimated, λ = 50"]
    assert one["SSIM"] == f"{admm_records.quality('ssim', 1.5) + 0.01:.4f}" and one["updates of ADMM"] == "–"
    assert table.loc["neither, 16 channels in place of 32", "zeros %"] == "75.0", "of the code as the encoder makes it"


def test_table_2_says_which_share_was_kept(folder):
    tables = admm_records.tables()
    (near,) = (r for r in tables if r.config["label"] == "cae-admm near 0.6")
    kept = replace(near, config=near.config | {"options": near.config["options"] | {"keep": 0.314}})
    keep(folder, *admm_records.trainings(), *(r for r in tables if r is not near), kept)
    assert figures.admm_table2().loc[0, "setting"] == "pruned to 20 %, 31 % kept"


def test_verdicts_are_shown_by_the_beginning_of_their_keys(folder):
    keep(folder, *admm_records.trainings())
    every, some = figures.verdict_table("beyond the papers"), figures.verdict_table("beyond the papers", keys="admm")
    assert 0 < len(some) < len(every) and set(some["claim"]) < set(every["claim"])
    assert len(figures.verdict_table("beyond the papers", keys="cae-aim")) == len(every) - len(some)


def test_nats_and_patches(folder):
    keep(folder, *admm_records.trainings(), *admm_records.tables())
    table = figures.admm_nats_table().set_index("codec")
    assert len(table) == 7
    ours = table.loc["ours, after pruning"]
    assert (ours["bpp of the file"], ours["the same, nats"], ours["file over nats"]) == ("1.500", "0.750", "2.000")
    assert ours["entropy of patches, bits"] == f"{0.75 * NAT:.3f}" and ours["difference"] == "+0.0010"
    assert (table.loc[["JPEG", "JPEG 2000"], "the same, nats"] == "–").all()
    whole = [float(table.loc[name, "SSIM, Kodak"]) for name in ("JPEG 2000", "JPEG 2000, no colour transform")]
    assert whole[0] - whole[1] == pytest.approx(0.06, abs=1e-4)


def test_the_fair_question(folder):
    keep(folder, *admm_records.trainings(keep_40=0.01, keep_20=0.01, keep_10=0.01, keep_5=0.01))
    before = figures.admm_fair_table()
    keep(folder, admm_records.training("keep 10", 1, shift=0.03), admm_records.training("lambda 400", 1, shift=0.01))
    table = figures.admm_fair_table()
    fewer = f"{100 * (2**-0.2 - 1):+.1f} %"
    for row, overlap in zip(range(4), ("0.20 to 1.50", "0.19 to 1.20", "0.19 to 1.50", "0.15 to 1.60"), strict=True):
        found = table.iloc[row]
        assert (found["SSIM"], found["MS-SSIM"], found["PSNR in dB"]) == ("+0.0100", "+0.0040", "+1.00")
        assert found["bytes at equal SSIM"] == fewer and found["over bpp"] == overlap
    assert before.iloc[-1]["SSIM"] == "–" and table.iloc[-1]["SSIM"] == f"+0.0150 ± {0.01 / math.sqrt(2):.4f}"
    assert table.iloc[-1]["against"] == "entropy estimated, λ = 400, seed by seed"
    assert table.iloc[4]["SSIM"].startswith("-"), "below JPEG"


def test_curves_that_cannot_be_compared_say_so(folder):
    keep(folder, *admm_records.trainings(keep_40=-0.5))
    table = figures.admm_fair_table()
    for row in range(2):
        assert (table.iloc[row]["SSIM"], table.iloc[row]["over bpp"]) == ("–", "too few in common")
    assert float(table.iloc[2]["SSIM"]) == 0


def test_models_are_listed_with_their_own_codec(folder):
    tiny_cae.write(folder / "models", "one")
    tiny_cae_admm.write(folder / "models", "two", label="keep 20")
    tiny_cae_admm.write(folder / "models", "three", codec="cae-theis", label="lambda 150", search=False,
                        latent=5)  # fmt: skip
    models = Models(folder / "models")
    assert list(figures.cae_models_table(models)["model"]) == ["one"]
    three, two = figures.admm_models_table(models).to_dict("records")
    assert (two["model"], two["codec"], two["trained"], two["chosen by the codec"]) == (
        "two", "cae-admm", "pruned to 20 %", "yes")  # fmt: skip
    assert (three["codec"], three["trained"], three["channels"]) == ("cae-theis", "entropy estimated, λ = 150", "5")
    assert three["chosen by the codec"] == "only by name" and three["key"] == models.find("three").key
