"""What figures and tables say beyond test_goldens.py, from records of numbers told by hand and from those there are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import records as made
import tiny_cae_admm

from reproduce import figures
from reproduce.figures import cae_admm
from reproduce.papers.cae_admm import PRUNED
from reproduce.records import Records
from sparsecomp import codecs, data, metrics
from sparsecomp.codecs.trained import CaeAdmm
from sparsecomp.models.pretrained import Models, default_models, load

LAPTOP = Records(preset="laptop")


def test_rate_distortion_has_points_at_every_metric_and_reaches_its_top():
    for metric in ("ssim", "ms_ssim"):
        axes = figures.rate_distortion(metric, top=0.5, records=LAPTOP).axes[0]
        assert axes.get_xlim()[1] == 0.5 and axes.get_ylabel().endswith("SSIM")
        assert not any("published" in line.get_label() for line in axes.lines), "only PSNR was printed"


def test_loonie_rate_distortion_counts_files_or_nonzeros():
    counted, files = (
        {line.get_label(): line.get_xdata() for line in figures.loonie_rate_distortion(way, LAPTOP).axes[0].lines}
        for way in ("nonzeros", "file")
    )
    name, own = figures.STYLE["nonzeros"][0], figures.STYLE["file"][0]
    assert (np.asarray(files[name]) > counted[name]).all(), "positions cost bits"
    assert own in files and own not in counted


def test_surgery_table_adds_up():
    table = figures.surgery_table(default_models().find("cae-bilevel-l11-seed-0-laptop"))
    left = [float(text.split(" of ")[0].replace(",", "")) for text in table["MACs a pixel"]]
    assert sum(left[:-1]) == pytest.approx(left[-1], abs=len(left) / 2)
    assert table["filters"].iloc[0] == "24 of 24" and table["inputs"].iloc[-1] == ""


def test_models_that_are_kept_are_those_of_their_records_and_listed_with_their_codec():
    models = default_models()
    recorded = {r.result["model"] for study in ("cae", "cae_sparse", "cae_admm") for r in LAPTOP.find(study)}
    stored = {name: models.find(name) for name in models.names}
    assert len(stored) >= 8 and {model.key for model in stored.values()} <= recorded
    assert sum(path.stat().st_size for path in models.files.values()) < 15e6
    for table, of in (
        (figures.cae_models_table(models), ("cae",)),
        (figures.admm_models_table(models), ("cae-admm", "cae-theis")),
    ):
        listed = dict(zip(table["model"], table["key"], strict=True))
        assert listed == {name: model.key for name, model in stored.items() if model.codec in of}
    told = table.set_index("model")["trained"]
    assert told["code-keep-20-seed-0-laptop"] == "pruned to 20 %"
    assert told["code-lambda-150-seed-0-laptop"] == "entropy estimated, λ = 150"


# CAE-ADMM -------------------------------------------------------------------------------------------------------------


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


def test_details_are_of_the_best_files_within_the_rate(models):
    records, stored = models
    original = data.bundled()["astronaut"]
    first, *others, last = figures.admm_pictures(bpp=0.5, side=100, models=stored, records=records).axes
    assert first.get_title() == "astronaut, original\n24 bpp"
    assert np.array_equal(first.images[0].get_array(), original[78:178, 178:278])
    assert [axes.get_title().split(",")[0] for axes in others] == ["JPEG", "JPEG 2000"]
    found = {}
    for label in PRUNED:
        name = f"code-{label.replace(' ', '-')}-seed-0-laptop"
        file = CaeAdmm(model=name, models=stored).at_bpp(original, 0.5)
        decoded = codecs.decode(file, models=stored)
        found[metrics.ssim(reference=original, reconstruction=decoded)] = len(file), decoded
    size, decoded = found[max(found)]
    rate, psnr = 8 * size / original[..., 0].size, metrics.psnr(reference=original, reconstruction=decoded)
    assert len(found) > 1 and rate <= 0.5
    assert last.get_title() == f"pruned by ADMM, {rate:.2f} bpp\nSSIM {max(found):.3f}, {psnr:.2f} dB"
    assert np.array_equal(last.images[0].get_array(), decoded[78:178, 178:278])
    with pytest.raises(LookupError, match="no pruned model makes a file of at most 0.001"):
        cae_admm._best(records, data.bundled()["chelsea"][:64, :64], 0.001, stored)


def test_model_that_is_not_the_one_of_its_record_is_not_shown(models):
    records, stored = models
    path = tiny_cae_admm.write(stored.places[0], "code-keep-10-seed-0-laptop", seed=99)
    for function in (figures.admm_codes, figures.admm_pictures):
        with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop is not the one of its record"):
            function(models=stored, records=records)
    path.unlink()
    with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop' is unknown"):
        figures.admm_codes(stored, records)


def test_table_2_names_what_is_kept_and_its_intervals(kept):
    *rest, near = sorted(made.tables(), key=lambda record: record.config["label"] == "cae-theis near 0.6")
    options = near.config["options"] | {"keep": 0.314}
    records = kept(*made.trainings(), *rest, replace(near, config=near.config | {"options": options}))
    table = figures.admm_table2(records).set_index("codec")
    assert table.loc["entropy estimated, ours", "setting"] == "entropy estimated, λ = 150, 31 % kept"
    ours, ssim = table.loc["pruned by ADMM, ours"], made.quality("ssim", 0.6) + 0.02
    assert ours["SSIM"] == f"{ssim:.3f} ± {1.96 * 0.01 / math.sqrt(3):.3f}" and ours["seconds"] == "0.750 ± 0.000"
    assert (ours["bpp as printed"], ours["SSIM as printed"]) == ("0.597", "0.871 ± 0.003")


def test_fair_table_compares_at_equal_bytes_where_that_can_be(kept):
    up = {f"keep_{share}": 0.01 for share in (40, 20, 10, 5)}
    before = figures.admm_fair_table(kept(*made.standards(), *made.trainings(**up)))
    second = made.training("keep 10", 1, shift=0.03), made.training("lambda 400", 1, shift=0.01)
    table = figures.admm_fair_table(kept(*second))
    for row, overlap in zip(range(4), ("0.20 to 1.50", "0.19 to 1.20", "0.19 to 1.50", "0.15 to 1.60"), strict=True):
        assert [*table.iloc[row]][2:] == ["+0.0100", "+0.0040", "+1.00", f"{100 * (2**-0.2 - 1):+.1f} %", overlap]
    assert before.iloc[-1]["SSIM"] == "–" and table.iloc[-1]["SSIM"] == f"+0.0150 ± {0.01 / math.sqrt(2):.4f}"
    few = figures.admm_fair_table(kept(made.training("keep 40", shift=-0.5)))
    assert [(few.iloc[row]["SSIM"], few.iloc[row]["over bpp"]) for row in range(2)] == [("–", "too few in common")] * 2


def test_verdict_table_is_of_a_paper_or_of_some_keys(kept):
    records, of = kept(*made.trainings()), "beyond the papers"
    every, some, rest = (figures.verdict_table(of, keys, records) for keys in ("", "admm", "cae-aim"))
    assert 0 < len(some) < len(every) == len(some) + len(rest) and set(some["claim"]) < set(every["claim"])
