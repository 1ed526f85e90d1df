"""Figures and tables that show models: they are those of the records. What the data of all are: test_goldens.py."""

from __future__ import annotations

import html
from dataclasses import replace

import numpy as np
import pytest
import records as made
import tiny_cae
import tiny_cae_admm

from reproduce import plot, tables
from reproduce.claims import weigh_all
from reproduce.papers import cae_admm, sparse_cae
from reproduce.papers.cae_admm import PRUNED
from reproduce.records import Records
from sparsecomp import data
from sparsecomp.models.pretrained import Models, default_models, load


@pytest.fixture
def descents(kept) -> tuple[Records, Models]:
    """Records of Sparse CAE, and small models with the keys that they name."""
    folder = kept.folder / "models"
    folder.mkdir(parents=True)
    for seed, label in enumerate(("high", "bilevel_l11", "l1inf")):
        path = tiny_cae.write(folder, f"cae-{label}", seed)
        kept(made.descent(label, model=load(path).key, file=path.stem, macs=100.0 - 30 * seed))
    return kept(), Models(folder)


@pytest.fixture
def codes(kept) -> tuple[Records, Models]:
    """The same of CAE-ADMM."""
    folder = kept.folder / "models"
    folder.mkdir(parents=True)
    for record in made.trainings():
        label = record.config["label"]
        if label in (*PRUNED, "unpruned", "lambda 400"):
            seed, share = list(made.RATES).index(label), PRUNED.get(label, 1.0)
            path = tiny_cae_admm.write(folder, record.result["file"], seed, keep=share, codec=record.config["codec"])
            record = replace(record, result=record.result | {"model": load(path).key})
        kept(record)
    return kept(), Models(folder)


def test_details_of_sparse_cae_are_squares_of_files_by_the_models_of_their_records(descents):
    records, models = descents
    original, *files = sparse_cae.details(records, 1.5, 33, models, ("bilevel_l11", "l1inf")).rows
    assert original["title"] == "astronaut, original\n24 bpp"
    assert np.array_equal(original["picture"], data.bundled()["astronaut"][112:145, 212:245])
    titles = [row["title"].split("\n")[0] for row in files]
    assert titles == ["dense", "l1,1 (bilevel), 30 % fewer MACs", "l1,inf, 60 % fewer MACs"]
    for row in files:
        assert row["picture"].shape == (33, 33, 3)
        assert 0 < float(row["title"].split("\n")[1].split(" bpp")[0]) <= 1.5
    tiny_cae.write(models.places[0], "cae-l1inf", seed=9)
    with pytest.raises(LookupError, match="cae-l1inf is not the one of its record"):
        sparse_cae.details(records, 1.5, 33, models, ("bilevel_l11", "l1inf"))


def test_codes_are_pruned_to_their_share_by_the_models_of_their_records(codes):
    records, models = codes
    before, share, after = (row["code"] for row in cae_admm.codes(records, models).rows)
    assert before.shape == after.shape == share.shape and before.dtype.kind == "i"
    assert np.count_nonzero(share) == round(PRUNED["keep 10"] * share.size) < np.count_nonzero(before)
    assert np.array_equal(share[share != 0], before[share != 0]) and not np.array_equal(before, after)
    path = tiny_cae_admm.write(models.places[0], "code-keep-10-seed-0-laptop", seed=99)
    for function in (cae_admm.codes, cae_admm.details):
        with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop is not the one of its record"):
            function(records, models=models)
    path.unlink()
    with pytest.raises(LookupError, match="code-keep-10-seed-0-laptop' is unknown"):
        cae_admm.codes(records, models)


def test_tables_of_models_have_those_that_are_here():
    models = default_models()
    for listed, names in ((sparse_cae.models_table, ["cae"]), (cae_admm.models_table, ["cae-admm", "cae-theis"])):
        expected = {stored.name: stored.key for stored in models.of_codec(*names)}
        assert len(expected) > 5 and {row["model"]: row["key"] for row in listed(models).rows} == expected
    rows = sparse_cae.surgery_table(models.find("cae-bilevel-l11-seed-0-desktop-bfloat16")).rows
    left = [float(row["MACs a pixel"].split(" of ")[0].replace(",", "")) for row in rows]
    assert sum(left[:-1]) == pytest.approx(left[-1], abs=len(left) / 2)


def test_verdict_table_is_of_a_paper_or_of_some_keys(kept):
    every, some, rest = (tables.verdict_table("beyond the papers", keys, kept()) for keys in ("", "admm", "cae-aim"))
    assert 0 < len(some) < len(every) == len(some) + len(rest) and set(some["claim"]) < set(every["claim"])


@pytest.mark.parametrize("paper", ["Sparse CAE", "CAE-ADMM", "beyond the papers"])
def test_verdict_table_says_once_how_a_preset_differs(paper):
    weighed = {v.claim.statement: v for v in weigh_all() if v.claim.paper == paper}
    shown, told = tables.verdict_table(paper), set()
    for row in shown.to_dict("records"):
        verdict = weighed[row["claim"]]
        said = "{scale}" in verdict.claim.why and row["preset"]
        scale = [verdict.claim.scale_of(row["preset"])] if said else []
        assert "; ".join([row["why"]] * bool(row["why"]) + scale) == verdict.why
        told.update(scale)
    assert told and all(shown._repr_html_().count(html.escape(scale)) == 1 for scale in told)


def test_name_ends_keeps_names_apart_and_in_the_order_of_the_lines():
    figure, axes = plot.panels()
    axes.set_ylim(0, 1)
    plot.name_ends(axes, [(0.52, "third", "red"), (0.1, "first", "blue"), (0.5, "second", "green")], apart=0.1)
    places = {text.get_text(): text.xy[1] for text in axes.texts}
    assert places == pytest.approx({"first": 0.1, "second": 0.5, "third": 0.6})
    figure.png()
