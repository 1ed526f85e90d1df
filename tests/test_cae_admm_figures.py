"""Data of CAE-ADMM's figures and tables: from records with known numbers, and from those of this clone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import records as made
import tiny_cae_admm

from reproduce.papers import cae_admm
from reproduce.papers.cae_admm import PRUNED
from reproduce.records import Records
from sparsecomp import codecs, data, metrics
from sparsecomp.codecs.trained import CaeAdmm
from sparsecomp.models.pretrained import Models, default_models, load


@pytest.fixture
def models(kept) -> tuple[Records, Models]:
    """Records of trainings, and small models with the keys that they name."""
    folder = kept.folder / "models"
    folder.mkdir(parents=True)
    for record in made.trainings():
        label = record.config["label"]
        if label in (*PRUNED, "unpruned"):
            seed, share = list(made.RATES).index(label), PRUNED.get(label, 1.0)
            path = tiny_cae_admm.write(folder, record.result["file"], seed, keep=share)
            record = replace(record, result=record.result | {"model": load(path).key})
        kept(record)
    return kept(), Models(folder)


def test_rate_distortion_has_a_line_for_every_kind_of_file(kept):
    found = cae_admm.rate_distortion(kept(*made.standards(), *made.trainings()))
    kinds = {(row["series"], row["kind"]): (row["x"], row["y"]) for row in found.rows}
    assert kinds["pruned", "code"][0] == pytest.approx([0.2, 0.4, 0.8, 1.6])
    assert kinds["pruned", "share"][0] == pytest.approx([0.15, 0.3, 0.6, 1.2])
    assert kinds["unpruned", "all"][0] == pytest.approx([0.1, 0.2, 0.4, 2.0])
    assert kinds["released", "code"] == ([1.5], [pytest.approx(made.quality("ssim", 1.5))])
    first, second = (row["x"] for row in found.rows if row["kind"] == "printed")
    assert second == pytest.approx([rate / math.log(2) for rate in first])
    assert sum(row["kind"] == "compared" for row in found.rows) == 4
    assert len(found.records) == len(made.RATES) - 3 + 3, "not the variants of rho, but JPEG twice and JPEG 2000"
    psnr = cae_admm.rate_distortion(kept(), "psnr").rows
    assert {row["kind"] for row in psnr} == {"code", "share", "all", "standard"}, "the paper prints no PSNR"


def test_details_are_of_the_best_files_within_the_rate(models):
    records, stored = models
    original = data.bundled()["astronaut"]
    found = cae_admm.details(records, bpp=0.5, side=100, models=stored)
    first, *others, last = found.rows
    assert first["title"] == "astronaut, original\n24 bpp" and first["of"] == "astronaut"
    assert np.array_equal(first["picture"], original[78:178, 178:278])
    assert [row["title"].split(",")[0] for row in others] == ["JPEG", "JPEG 2000"]
    files = {}
    for label in PRUNED:
        name = f"code-{label.replace(' ', '-')}-seed-0-laptop"
        file = CaeAdmm(model=name, models=stored).at_bpp(original, 0.5)
        decoded = codecs.decode(file, models=stored)
        files[metrics.ssim(reference=original, reconstruction=decoded)] = len(file), decoded
    size, decoded = files[max(files)]
    rate, psnr = 8 * size / original[..., 0].size, metrics.psnr(reference=original, reconstruction=decoded)
    assert len(files) > 1 and rate <= 0.5
    assert last["title"] == f"pruned by ADMM, {rate:.2f} bpp\nSSIM {max(files):.3f}, {psnr:.2f} dB"
    assert np.array_equal(last["picture"], decoded[78:178, 178:278])
    with pytest.raises(LookupError, match="no pruned model makes a file of at most 0.001"):
        cae_admm.details(records, 0.001, models=stored)


def test_codes_are_pruned_to_the_share_of_the_training(models):
    found = cae_admm.codes(*models)
    before, after, share = (row["code"] for row in found.rows)
    assert before.shape == after.shape == share.shape and before.dtype.kind == "i"
    assert np.count_nonzero(share) == round(PRUNED["keep 10"] * share.size) < np.count_nonzero(after)
    assert np.array_equal(share[share != 0], after[share != 0])
    zeros = 100 * (after == 0).mean()
    assert found.rows[1]["title"] == f"astronaut, after pruning, as the encoder makes it: {zeros:.1f} % zeros"
    assert [record.config["label"] for record in found.records] == ["unpruned", "keep 10"]


def test_model_that_is_not_the_one_of_its_record_is_not_shown(models):
    records, stored = models
    path = tiny_cae_admm.write(stored.places[0], "code-keep-10-seed-0-laptop", seed=99)
    for function in (cae_admm.codes, cae_admm.details):
        with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop is not the one of its record"):
            function(records, models=stored)
    path.unlink()
    with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop' is unknown"):
        cae_admm.codes(records, stored)


def test_residuals_are_of_every_training_that_was_pruned(kept):
    found = cae_admm.residuals(kept(*made.trainings()))
    assert [row["series"] for row in found.rows] == [*PRUNED, *cae_admm.VARIED, "released"]
    assert {"primal", "dual", "zeros"} < set(found.rows[0]) and found.rows[0]["step"] == [*range(100, 4001, 100)]
    assert found.rows[4]["name"] == "pruned to 10 %, ρ = 0.03"


def test_table_1_compares_before_with_after(kept):
    before, after, gained = cae_admm.table_1(kept(*made.trainings(), *made.tables())).rows
    assert before["bpp of the file"] == "2.000 ± 0.000" and after["nats, the released code's bpp"] == "0.250 ± 0.000"
    assert (before["bpp as printed"], after["zeros % as printed"]) == ("1.684 ± 0.012", "17.65 ± 4.90")
    assert [gained[name] for name in ("bpp of the file", "these in bits", "bpp as printed", "zeros %")] == [
        "25.0 %", "75.0 %", "25.4 %", "+12.50 points"]  # fmt: skip


def test_table_2_names_what_is_kept_and_its_intervals(kept):
    *rest, near = sorted(made.tables(), key=lambda record: record.config["label"] == "cae-theis near 0.6")
    options = near.config["options"] | {"keep": 0.314}
    records = kept(*made.trainings(), *rest, replace(near, config=near.config | {"options": options}))
    ours, theis, *_ = cae_admm.table_2(records).rows
    assert theis["setting"] == "entropy estimated, λ = 150, 31 % kept" and theis["SSIM as printed"] == "–"
    ssim = made.quality("ssim", 0.6) + 0.02
    assert ours["SSIM"] == f"{ssim:.3f} ± {1.96 * 0.01 / math.sqrt(3):.3f}" and ours["seconds"] == "0.750 ± 0.000"
    assert (ours["bpp as printed"], ours["SSIM as printed"]) == ("0.597", "0.871 ± 0.003")


def test_fair_table_compares_at_equal_bytes_where_that_can_be(kept):
    up = {f"keep_{share}": 0.01 for share in (40, 20, 10, 5)}
    before = cae_admm.fair_table(kept(*made.standards(), *made.trainings(**up))).rows
    second = made.training("keep 10", 1, shift=0.03), made.training("lambda 400", 1, shift=0.01)
    rows, used = cae_admm.fair_table(kept(*second))
    for row, overlap in zip(rows[:4], ("0.20 to 1.50", "0.19 to 1.20", "0.19 to 1.50", "0.15 to 1.60"), strict=True):
        assert [*row.values()][2:] == ["+0.0100", "+0.0040", "+1.00", f"{100 * (2**-0.2 - 1):+.1f} %", overlap]
    assert before[-1]["SSIM"] == "–" and rows[-1]["SSIM"] == f"+0.0150 ± {0.01 / math.sqrt(2):.4f}"
    assert {record.name for record in second} < {record.name for record in used}
    few = cae_admm.fair_table(kept(made.training("keep 40", shift=-0.5))).rows
    assert [(row["SSIM"], row["over bpp"]) for row in few[:2]] == [("–", "too few in common")] * 2
    with pytest.raises(LookupError, match="0 records of keep 40"):
        cae_admm.fair_table(Records(kept.folder / "none", preset="laptop"))


def test_variants_table_has_a_deviation_where_there_are_two_seeds(kept):
    rows = cae_admm.variants_table(kept(*made.trainings(), made.training("keep 10", 1, rate=0.8))).rows
    found = {row["training"]: row for row in rows}
    assert found["pruned to 10 %"]["bpp of the file"] == f"0.600 ± {0.4 / math.sqrt(2):.3f}"
    assert found["pruned to 20 %"]["zeros %"] == "80.0" and found["pruned to 20 %"]["updates of ADMM"] == "40"
    assert found["entropy estimated, λ = 50"]["updates of ADMM"] == "–" and len(rows) == len(cae_admm.NAMES)


def test_nats_table_has_no_entropy_of_a_standard_codec(kept):
    rows = {row["codec"]: row for row in cae_admm.nats_table(kept(*made.trainings(), *made.tables())).rows}
    after, jpeg = rows["ours, after pruning"], rows["JPEG"]
    assert (after["entropy of patches, bits"], after["the same, nats"], after["file over nats"]) == (
        "0.361", "0.250", "6.000")  # fmt: skip
    assert jpeg["the same, nats"] == jpeg["file over nats"] == "–"
    assert all(row["difference"] == "+0.0010" for row in rows.values()), "of Kodak alone"


def test_models_table_lists_the_models_of_the_records():
    models = default_models()
    recorded = {record.result["model"] for record in cae_admm.made(Records(preset="laptop"))}
    rows = {row["model"]: row for row in cae_admm.models_table(models).rows}
    assert {name: row["key"] for name, row in rows.items()} == {
        stored.name: stored.key for stored in models.of_codec("cae-admm", "cae-theis")}  # fmt: skip
    assert len(rows) >= 8 and {row["key"] for row in rows.values()} <= recorded
    assert rows["code-keep-20-seed-0-laptop"]["trained"] == "pruned to 20 %"
    assert rows["code-lambda-150-seed-0-laptop"]["trained"] == "entropy estimated, λ = 150"


@pytest.mark.parametrize("key", cae_admm.FIGURES)
def test_every_figure_of_the_map_has_rows_and_records(key):
    found = cae_admm.FIGURES[key].function(Records(preset="laptop"))
    assert found.rows and found.records
    assert cae_admm.FIGURES[key].study in {record.study for record in found.records}
