"""Figures and tables of CAE-ADMM from records of numbers told by hand. What all figures promise: contracts/."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import records as made
import tiny_cae
import tiny_cae_admm

from sparsecomp import codecs, data, drawings, figures, metrics
from sparsecomp.codecs.trained import CaeAdmm, latent_of, pruned
from sparsecomp.figures import cae_admm
from sparsecomp.models.pretrained import Models, load
from sparsecomp.studies.cae_admm import PRUNED

# Figure 2 -------------------------------------------------------------------------------------------------------------


def test_figures_need_all_their_records_and_say_which_is_missing(kept):
    kept.baselines()
    kept(*(r for r in made.trainings() if r.config["label"] != "released"))
    for function in (figures.admm_rate_distortion, figures.admm_residuals):
        with pytest.raises(LookupError, match="released, seed 0.*sparsecomp study cae_admm"):
            function()


# Figures 3 and 4, and the residuals -----------------------------------------------------------------------------------


@pytest.fixture
def models(kept):
    """Small models, and records of their trainings with their keys."""
    for record in made.trainings():
        label = record.config["label"]
        if label in (*PRUNED, "unpruned"):
            seed, share = list(made.RATES).index(label), PRUNED.get(label, 1.0)
            path = tiny_cae_admm.write(kept.folder / "models", record.result["file"], seed, keep=share)
            record = replace(record, result=record.result | {"model": load(path).key})
        kept(record)
    return Models(kept.folder / "models")


def test_details_are_of_the_best_files_within_the_rate(models):
    original = data.bundled()["astronaut"]
    figure = figures.admm_pictures(bpp=0.5, side=100, models=models)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "astronaut, original\n24 bpp"
    assert [title.split(",")[0] for title in titles[1:]] == ["JPEG", "JPEG 2000", "pruned by ADMM"]
    assert np.array_equal(figure.axes[0].images[0].get_array(), original[78:178, 178:278])
    names = [f"code-{label.replace(' ', '-')}-seed-0-laptop" for label in PRUNED]
    files = [CaeAdmm(model=name, models=models).at_bpp(original, 0.5) for name in names]
    files = {metrics.ssim(reference=original, reconstruction=codecs.decode(f, models=models)): f for f in files}
    best = files[max(files)]
    decoded, rate = codecs.decode(best, models=models), 8 * len(best) / original[..., 0].size
    psnr = metrics.psnr(reference=original, reconstruction=decoded)
    assert len(files) > 1 and rate <= 0.5
    assert titles[3] == f"pruned by ADMM, {rate:.2f} bpp\nSSIM {max(files):.3f}, {psnr:.2f} dB"
    assert np.array_equal(figure.axes[3].images[0].get_array(), decoded[78:178, 178:278])
    with pytest.raises(LookupError, match="no pruned model makes a file of at most 0.001"):
        cae_admm._best(data.bundled()["chelsea"][:64, :64], 0.001, models)


def test_codes_are_tiled_and_say_how_much_is_zero(models):
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


def test_model_that_is_not_the_one_of_its_record_is_not_shown(models):
    path = tiny_cae_admm.write(models.places[0], "code-keep-10-seed-0-laptop", seed=99)
    for function in (figures.admm_codes, figures.admm_pictures):
        with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop is not the one of its record"):
            function(models=models)
    path.unlink()
    with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop' is unknown"):
        figures.admm_codes(models)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_table_2_stands_beside_its_printed_numbers(kept):
    tables = made.tables()
    (near,) = (r for r in tables if r.config["label"] == "cae-theis near 0.6")
    share = replace(near, config=near.config | {"options": near.config["options"] | {"keep": 0.314}})
    kept(*made.trainings(), *(r for r in tables if r is not near), share)
    table = figures.admm_table2().set_index("codec")
    assert list(table.index) == ["pruned by ADMM, ours", "entropy estimated, ours", "JPEG", "JPEG 2000",
                                 "JPEG 2000, no colour transform"]  # fmt: skip
    ours = table.loc["pruned by ADMM, ours"]
    assert (ours["bpp of the file"], ours["setting"]) == ("0.600", "pruned to 20 %, 100 % kept")
    assert table.loc["entropy estimated, ours", "setting"] == "entropy estimated, λ = 150, 31 % kept"
    ssim = made.quality("ssim", 0.6) + 0.02
    assert ours["SSIM"] == f"{ssim:.3f} ± {1.96 * 0.01 / math.sqrt(3):.3f}" and ours["seconds"] == "0.750 ± 0.000"
    assert tuple(ours[f"{name} as printed"] for name in ("bpp", "SSIM", "seconds")) == (
        "0.597", "0.871 ± 0.003", "0.140 ± 0.008")  # fmt: skip
    assert table.loc["JPEG 2000", "SSIM as printed"] == "0.793 ± 0.013"
    assert table.loc["JPEG", "seconds"] == "0.050 ± 0.000"
    assert table.loc["JPEG 2000, no colour transform", "SSIM as printed"] == "–"


def test_fair_table_compares_at_equal_bytes_where_that_can_be(kept):
    kept.baselines()
    kept(*made.trainings(keep_40=0.01, keep_20=0.01, keep_10=0.01, keep_5=0.01))
    before = figures.admm_fair_table()
    kept(made.training("keep 10", 1, shift=0.03), made.training("lambda 400", 1, shift=0.01))
    table, fewer = figures.admm_fair_table(), f"{100 * (2**-0.2 - 1):+.1f} %"
    for row, overlap in zip(range(4), ("0.20 to 1.50", "0.19 to 1.20", "0.19 to 1.50", "0.15 to 1.60"), strict=True):
        found = table.iloc[row]
        assert (found["SSIM"], found["MS-SSIM"], found["PSNR in dB"]) == ("+0.0100", "+0.0040", "+1.00")
        assert found["bytes at equal SSIM"] == fewer and found["over bpp"] == overlap
    assert before.iloc[-1]["SSIM"] == "–" and table.iloc[-1]["SSIM"] == f"+0.0150 ± {0.01 / math.sqrt(2):.4f}"
    assert table.iloc[-1]["against"] == "entropy estimated, λ = 400, seed by seed"
    assert table.iloc[4]["SSIM"].startswith("-"), "below JPEG"
    kept(made.training("keep 40", shift=-0.5))
    few = figures.admm_fair_table()
    assert [(few.iloc[row]["SSIM"], few.iloc[row]["over bpp"]) for row in range(2)] == [("–", "too few in common")] * 2
    assert few.iloc[2]["SSIM"] != "–"


def test_verdict_table_is_of_a_paper_or_of_some_keys(kept):
    kept(*made.trainings())
    every, some = figures.verdict_table("beyond the papers"), figures.verdict_table("beyond the papers", keys="admm")
    assert 0 < len(some) < len(every) and set(some["claim"]) < set(every["claim"])
    assert len(figures.verdict_table("beyond the papers", keys="cae-aim")) == len(every) - len(some)


def test_models_are_listed_with_their_own_codec(kept):
    tiny_cae.write(kept.folder / "models", "one")
    tiny_cae_admm.write(kept.folder / "models", "two", label="keep 20")
    tiny_cae_admm.write(kept.folder / "models", "three", codec="cae-theis", label="lambda 150", search=False,
                        latent=5)  # fmt: skip
    models = Models(kept.folder / "models")
    assert list(figures.cae_models_table(models)["model"]) == ["one"]
    three, two = figures.admm_models_table(models).to_dict("records")
    assert (two["model"], two["codec"], two["trained"], two["chosen by the codec"]) == (
        "two", "cae-admm", "pruned to 20 %", "yes")  # fmt: skip
    assert (three["codec"], three["trained"], three["channels"]) == ("cae-theis", "entropy estimated, λ = 150", "5")
    assert three["chosen by the codec"] == "only by name" and three["key"] == models.find("three").key
