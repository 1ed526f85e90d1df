"""What is particular to the studies of COIN, L0onie and the standard codecs. What all promise: contracts/."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_studies import HEIGHT, PICTURES, SHOWN, WIDTH, forget, plans, run, tiny

from reproduce.papers import baselines, loonie
from reproduce.papers.loonie import plans as loonie_plans
from reproduce.pictures import pictures, spread
from reproduce.runner import Request, Work
from reproduce.studies import STUDIES
from sparsecomp import data
from sparsecomp.models.siren import Architecture
from sparsecomp.training.fit import fit


@pytest.fixture
def small():
    with tiny() as patch:
        yield patch


# Plans ----------------------------------------------------------------------------------------------------------------


def test_fit_plans_on_a_gpu_have_a_batch_for_each_size(small, tmp_path):
    """One piece is all pictures of one number of pixels, upright ones too: they train, and pause, together."""
    a, b = PICTURES["astronaut"], PICTURES["coffee"][:100]
    small.setattr(data, "bundled", lambda: {"a": a, "b": b, "c": a.transpose(1, 0, 2).copy(), "d": b})
    small.setitem(loonie.PRESETS, "smoke", replace(loonie.PRESETS["smoke"], pictures=4))
    forget()
    (plan, _), asked = plans("coin", tmp_path, device="cuda"), []
    assert plan.pieces() == ("a", "b") and plans("coin", tmp_path)[0].pieces() == ("a", "b", "c", "d")

    def on_cpu(images, *of, device, **how):
        asked.append(device)
        return fit(images, *of, **how)

    small.setattr(loonie_plans, "fit", on_cpu)
    rows = plan.measure(Work(tmp_path, tmp_path), "a")
    assert [row["picture"] for row in rows] == ["a", "c"] and asked == ["cuda"]


# Records --------------------------------------------------------------------------------------------------------------


def test_loonie_compares_four_methods_at_one_budget(made):
    found = {record.config["label"]: record for record in made("loonie").records("loonie")}
    methods = {label: record.config.get("sparsity", {}).get("rate", record.config.get("pruning"))
               for label, record in found.items()}  # fmt: skip
    assert methods == {"file": "file", "nonzeros": "nonzeros", "magnitude": "magnitude", "dense": None}
    for label, record in found.items():
        for row in record.rows:
            limit = 16 * Architecture.parse("5x12").n_parameters if label == "dense" else 0.6 * HEIGHT * WIDTH
            assert 0.5 * limit < row["estimated_bits"] <= limit
            assert (8 * row["bytes"] == row["estimated_bits"]) == (label == "file"), "positions are not in the paper's"
            assert ("course" in row) == (label in ("file", "nonzeros"))


def test_baselines_measure_every_setting(made):
    found = {record.config["label"]: record for record in made("baselines").records("baselines")}
    high = {"jpeg-high", "jpeg-444-high", "jpeg2000-high"}
    assert set(found) == {*baselines.GRIDS, "jpeg-444", "avif-444", "jpeg2000-no-transform", *high}
    for label, record in found.items():
        _, *settings = record.config["grid"]
        assert [(r["picture"], r["setting"]) for r in record.rows] == [(n, s) for n in SHOWN for s in settings]
        rate, quality = record.curve("psnr")
        assert rate == sorted(rate) and quality == sorted(quality), f"{label}: more bits, fewer dB"


def test_study_says_whose_psnr_is_infinite(small, tmp_path):
    small.setattr(data, "bundled", lambda: {"grey": np.full((HEIGHT, WIDTH, 3), 128, np.uint8)})
    forget()
    with pytest.raises(ValueError, match="^jpeg-high-bundled-smoke grey: a number is not finite, so no record holds"):
        run("baselines", tmp_path, only="jpeg-high")
    assert not list(tmp_path.rglob("jpeg-high*.json"))


# Pictures -------------------------------------------------------------------------------------------------------------


def test_pictures_are_of_a_set_or_a_folder_but_no_folder_named_like_a_set(small, tmp_path):
    assert list(pictures("kodak", 2)) == ["kodak0", "kodak1"] and list(pictures("bsds500/val", 1)) == ["val0"]
    for name in ("mine", "bundled"):
        (tmp_path / name).mkdir()
        for letter in "ba":
            Image.fromarray(PICTURES["coffee"]).save(tmp_path / name / f"{letter}.png")
    small.chdir(tmp_path)
    assert set(pictures("mine")) == set(pictures(str(tmp_path / "mine"))) == {"a", "b"}
    assert set(pictures("bundled")) == set(PICTURES) and set(pictures("bundled/coffee")) == {"coffee"}
    for of in (str(tmp_path / "mine"), "bundled/coffee"):  # a record lies in its study's folder, whatever the set
        for plan in STUDIES["coin"](Request("smoke", tmp_path, pictures_of=of)):
            assert plan.path(tmp_path).parent == tmp_path / "coin"
    with pytest.raises(ValueError, match="there are no pictures in it"):
        pictures("no/such/folder")


@given(st.integers(1, 60), st.integers(1, 80))
def test_spread_is_even(length, count):
    names = [str(i) for i in range(length)]
    chosen = [names.index(name) for name in spread(names, count)]
    assert len(set(chosen)) == len(chosen) == min(count, length) and chosen == sorted(chosen) and chosen[0] == 0
    steps = {b - a for a, b in zip(chosen, [*chosen[1:], chosen[0] + length], strict=True)}
    assert max(steps) - min(steps) <= 1
