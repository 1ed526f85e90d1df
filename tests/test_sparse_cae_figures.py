"""The data of Sparse CAE's figures and tables beyond test_goldens.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny_cae
from records import descent

from reproduce.papers import sparse_cae
from reproduce.records import Records
from sparsecomp import data
from sparsecomp.models.pretrained import Models, default_models, load

LAPTOP = Records(preset="laptop")


def printed(found: sparse_cae.FigureData) -> dict[str, tuple[float, float]]:
    """The points that are hollow in the figure, by name."""
    return {row["name"]: (row["x"][0], row["y"][0]) for row in found.rows if row.get("printed")}


def test_macs_over_density_has_the_printed_points_in_the_panel_of_the_papers_count():
    found = sparse_cae.macs_over_density(LAPTOP)
    expected = {
        "l1, printed (Table I)": (1 - 0.8212, 1),
        "l1,1, printed (Table I)": (1 - 0.8305, 0.73),
        "l1,1, printed (Fig. 5)": (1 - 0.8787, 0.66),
        "l1,1, printed (Sec. III)": (0.14, 0.7),
        "l1,inf, printed (Table I)": (1 - 0.8477, 0.6),
        "l1,inf, printed (Fig. 5)": (1 - 0.8635, 0.58),
    }
    assert printed(found) == {name: pytest.approx(point) for name, point in expected.items()}
    hollow = [row for row in found.rows if row.get("printed")]
    assert {row["panel"] for row in hollow} == {"as the paper counts"}
    assert [row["series"] for row in hollow] == ["l1", *["bilevel_l11"] * 3, *["l1inf"] * 2]


def test_macs_over_density_has_every_projection_in_both_panels():
    rows = [row for row in sparse_cae.macs_over_density(LAPTOP).rows if not row.get("printed")]
    lines = [(row["panel"], row["series"], row["coupled"]) for row in rows]
    assert len(lines) == len(set(lines)) == 2 * 7
    before, after = ({(r["series"], r["coupled"]): r["y"] for r in rows if r["panel"] == panel}
                     for panel in ("as the paper counts", "after surgery"))  # fmt: skip
    assert all((np.asarray(after[key]) <= np.asarray(before[key]) + 1e-4).all() for key in before)


def test_rate_distortion_has_the_printed_psnr_and_what_follows_from_table_1():
    """47 dB of l1,1 at 4 bpp; its loss is 1.2 dB, those of l1 and l1,inf are 1.15 and 1.7 dB."""
    expected = {
        "l1,1, printed: about 47 dB at 4 bpp": (4, 47),
        "dense, derived: 1.2 dB more": (4, 48.2),
        "l1, derived: 0.05 dB more": (4, 47.05),
        "l1,inf, derived: 0.5 dB less": (4, 46.5),
    }
    assert printed(sparse_cae.rate_distortion(LAPTOP)) == {k: pytest.approx(v) for k, v in expected.items()}
    assert printed(sparse_cae.high_rates(LAPTOP)) == {"l1,1, printed: about 47 dB at 4 bpp": (4, 47)}
    for function in (sparse_cae.rate_distortion, sparse_cae.high_rates):
        assert not printed(function(LAPTOP, "ssim")), "the paper prints no SSIM"


def test_training_course_marks_what_was_fine_tuned():
    rows = sparse_cae.training_course(LAPTOP).rows
    assert [(row["series"], row["fine_tuned"]) for row in rows] == [
        ("dense", False), ("bilevel_l11", False), ("bilevel_l11", True)
    ]  # fmt: skip


def test_details_are_squares_of_files_and_need_the_models_of_their_records(kept):
    folder, made = kept.folder / "models", []
    folder.mkdir(parents=True)
    for seed, label in enumerate(("high", "bilevel_l11", "l1inf")):
        path = tiny_cae.write(folder, f"cae-{label}", seed)
        made.append(descent(label, model=load(path).key, file=path.stem, macs=100.0 - 30 * seed))
    found = sparse_cae.details(kept(*made), 1.5, side=33, models=Models(folder))
    original, *files = found.rows
    assert original["title"] == "astronaut, original\n24 bpp"
    assert np.array_equal(original["picture"], data.bundled()["astronaut"][112:145, 212:245])
    titles = [row["title"].split("\n")[0] for row in files]
    assert titles == ["dense", "l1,1 (bilevel), 30 % fewer MACs", "l1,inf, 60 % fewer MACs"]
    for row in files:
        assert row["picture"].shape == (33, 33, 3) and row["picture"].dtype == np.uint8
        assert 0 < float(row["title"].split("\n")[1].split(" bpp")[0]) <= 1.5
    assert [record.config["label"] for record in found.records] == ["high", "bilevel_l11", "l1inf"]
    tiny_cae.write(folder, "cae-l1inf", seed=9)
    with pytest.raises(LookupError, match="cae-l1inf is not the one of its record"):
        sparse_cae.details(kept(), 1.5, side=33, models=Models(folder))


def test_variants_table_begins_with_the_best_and_ends_with_what_cannot_be_compared(kept):
    far = (20.0, 30.0, 40.0, 50.0, 60.0)
    made = [
        descent("high"), descent("dense, trained on", shift=-2.0, restart="trained"), descent("l1", shift=-1.0),
        descent("small dense 8", rates=far), descent("trained restart", shift=-1.5, restart="trained"),
    ]  # fmt: skip
    made = [replace(r, config=r.config | {"descent": r.config["descent"] | {"steps": 4000}}) for r in made]
    shown = [
        (row["second descent"], row["steps"], row["dB at the same bytes"])
        for row in sparse_cae.variants_table(kept(*made)).rows
    ]
    assert shown == [
        ("l1,1, going on", "8,000", "+0.50"),
        ("l1", "4,000", "-1.00"),
        ("control: dense, going on as long", "8,000", "-2.00"),
        ("control: small dense 8", "4,000", "–"),
    ]


def test_surgery_table_adds_up():
    rows = sparse_cae.surgery_table(default_models().find("cae-bilevel-l11-seed-0-laptop")).rows
    left = [float(row["MACs a pixel"].split(" of ")[0].replace(",", "")) for row in rows]
    assert sum(left[:-1]) == pytest.approx(left[-1], abs=len(left) / 2)
    assert rows[0]["filters"] == "24 of 24" and rows[-1]["inputs"] == ""


def test_models_table_lists_the_models_of_its_codec():
    models = default_models()
    stored = {name: models.find(name) for name in models.names}
    listed = {row["model"]: row["key"] for row in sparse_cae.models_table(models).rows}
    assert listed == {name: model.key for name, model in stored.items() if model.codec == "cae"}
