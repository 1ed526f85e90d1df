"""What is particular to the studies of Sparse CAE. What all studies promise: contracts/test_every_study.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_studies import CAE, FEW, HEIGHT, PICTURES, SHOWN, WIDTH, Made, plans, request, run, tiny

from reproduce import sparse_weights
from reproduce.models import kept, models_folder
from reproduce.papers import sparse_cae as study
from sparsecomp import complexity, metrics
from sparsecomp.coding import latents, priors, range_coder
from sparsecomp.models import pretrained
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.sparsify.surgery import prune
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.double_descent import Constraint, project


@pytest.fixture(scope="module")
def own(made) -> Made:
    return made("cae")


@pytest.fixture
def small():
    with tiny() as patch:
        yield patch


def left_of(model: SparseCAE, projected) -> SparseCAE:
    """The model with the projected weights, and zeros where the masks forbid them."""
    left = SparseCAE(Shape(24))
    left.load_state_dict(model.state_dict() | projected.weights)
    with torch.no_grad():
        for name, mask in projected.masks.items():
            left.get_parameter(name)[~mask] = 0
    return left


def macs(encoder: torch.nn.Module, side: int = 64) -> float:
    return complexity.count_macs(encoder, (1, 3, side, side)) / side**2


# Plans ----------------------------------------------------------------------------------------------------------------


def test_dense_plans_of_the_first_seed_may_be_chosen_by_the_codec(small, tmp_path):
    planned = plans("cae", tmp_path, None, "laptop", seed=5)
    assert [(p.label, p.seed, p.search) for p in planned] == [
        ("high", 5, True), ("middle", 5, True), ("low", 5, True), ("lowest", 5, True),
        ("high", 6, False), ("high", 7, False),
    ]  # fmt: skip
    assert [p.name for p in planned[3:5]] == ["cae-lowest-seed-5-laptop", "cae-high-seed-6-laptop"]
    assert {(p.pictures_of, p.train_on, p.validate_on) for p in planned} == {("kodak", "bsds500/train", "bsds500/val")}
    # From half the finest step that was trained to twice the coarsest one; every second of them for more seeds.
    assert {p.label: p.steps for p in planned[:4]} == {
        "high": (64, 96, 128, 192, 256, 384, 512), "middle": (64, 96, 128, 192, 256, 384, 512),
        "low": (128, 192, 256, 384, 512, 768, 1024), "lowest": (192, 256, 384, 512, 768, 1024),
    }  # fmt: skip
    assert planned[4].steps == planned[5].steps == (64, 128, 256, 512)


def test_sparse_plans_have_the_first_descent_of_their_own_seed(small, tmp_path):
    """Its model and its key, and all that the first descent had but for the constraint."""
    small.setattr(study, "_first", lambda request, seed: (tmp_path / f"first {seed}", f"key {seed}"))
    small.setattr(study, "_small", lambda plan, *_: replace(plan, label=f"small {plan.label}"))
    dense = {(p.label, p.seed): p for p in plans("cae", tmp_path, None, "laptop")}
    *planned, a, b = plans("cae_sparse", tmp_path, None, "laptop")
    assert [(p.label, p.seed) for p in planned] == [
        ("l1", 0), *((label, seed) for label in study.HEADLINE for seed in (0, 1, 2))]  # fmt: skip
    for plan in planned:
        every = (plan.label, plan.seed) in (("l1", 0), ("bilevel_l11", 0))
        label = plan.label.replace(",", "").replace(" ", "-").replace("_", "-")
        assert plan == replace(
            dense["high", plan.seed], study="cae_sparse", name=f"cae-{label}-seed-{plan.seed}-laptop", search=False,
            label=plan.label, steps=dense["high", 0 if every else 1].steps, constraint=FEW[plan.label],
            first=tmp_path / f"first {plan.seed}", first_key=f"key {plan.seed}",
        )  # fmt: skip
        assert plan.config()["first"] == plan.first_key
    assert [(p.label, p.seed) for p in (a, b)] == [(f"small {label}", 0) for label in study.HEADLINE]


def test_models_stand_beside_the_records_or_in_the_package(tmp_path):
    assert models_folder(tmp_path / "runs") == tmp_path / "models"
    assert models_folder(tmp_path / "out") == tmp_path / "out" / "models"
    assert kept(tmp_path / "cae-high-seed-0-laptop.safetensors") == (
        Path(pretrained.WEIGHTS) / "cae-high-seed-0-laptop.safetensors")  # fmt: skip
    (tmp_path / "own.safetensors").touch()
    assert kept(tmp_path / "own.safetensors") == tmp_path / "own.safetensors"


# Trainings ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_rows_have_every_step_and_the_error_without_a_quantiser(own):
    for record, model in own.trained("cae", "cae_sparse"):
        assert [(r["picture"], r["setting"]) for r in record.rows] == [(n, s) for n in SHOWN for s in (64, 256, 1024)]
        for row in record.rows[::3]:
            image = PICTURES[row["picture"]]
            drawn = model.model.decoder(model.model.encoder(to_input(image, SCALE)))[0, :, :HEIGHT, :WIDTH]
            error = np.square(metrics.to_uint8(drawn.permute(1, 2, 0).numpy()).astype(float) - image).mean()
            assert row["mse_unquantised"] == pytest.approx(error, rel=1e-3)


def test_results_are_those_of_the_stored_model(own):
    for record, model in own.trained("cae", "cae_sparse"):
        result, encoder = record.result, model.model.encoder
        assert result["macs"] == macs(prune(encoder), 128)
        assert result["macs_paper"] == complexity.macs_paper(encoder, (1, 3, 128, 128)) / 128**2
        assert result["macs_decoder"] == complexity.count_macs(model.model.decoder, (1, 32, 32, 32)) / 128**2
        assert result["encoder_bytes"] == len(sparse_weights.encode(encoder.state_dict()))
        assert result["dense_bytes"] == 2 * complexity.count_parameters(encoder)
        small = result["encoder_bytes"] < 0.4 * result["dense_bytes"]
        assert small == (record.config["constraint"] is not None)
        training = CaeTraining(model.model, PICTURES, PICTURES, CAE)  # in which the tables' cells can be counted again
        occurs = latents.counts_of(priors.FactorizedPrior(32), training.histogram(), share=0).numpy()
        off = np.abs(occurs - model.counts).sum(1) / range_coder.TOTAL
        assert off.max() < 0.05, "the tables are of another histogram than the stored model's"


def test_second_descents_are_sparse_where_they_were_projected(own):
    (_, dense), *_ = own.trained("cae")
    for record, model in own.trained("cae_sparse"):
        assert record.config["first"] == (dense.key if record.config["constraint"] else None)
        if record.config["constraint"] is None:
            continue
        projected = project(dense.model, Constraint(**record.config["constraint"]), 0)
        assert 0.83 <= record.result["sparsity"] == round(projected.sparsity, 5) < 0.86
        assert record.result["radius"] == projected.radius
        weights = {name: model.model.get_parameter(name) for name in projected.masks}
        assert not any(weights[name][~mask].any() for name, mask in projected.masks.items())
        moved = model.model.decoder.conv1.weight != SparseCAE(Shape(24), 0).half().decoder.conv1.weight.float()
        assert moved.any(), "it was not trained"


@torch.no_grad()
def test_small_dense_controls_cost_what_pruned_encoders_do(own):
    """Counted whole: surgery would take the blocks of an untrained encoder, which begin as the identity, away."""
    of_width = {width: macs(SparseCAE(Shape(24, encoder_width=width)).encoder) for width in (8, 16, 24)}
    first, expected = own.trained("cae")[0][1].model, set()
    for label in study.HEADLINE:
        aim = macs(prune(left_of(first, project(first, FEW[label], 0)).encoder))
        width = min(of_width, key=lambda width, aim=aim: abs(of_width[width] - aim))
        expected.add(f"small dense {width}")
        control, sparse = (own.labelled("cae_sparse", name) for name in (f"small dense {width}", label))
        assert control.result["macs"] == pytest.approx(of_width[width], rel=1e-6), "trained, no filter of it is dead"
        assert control.config["constraint"] is None and control.config["descent"] == sparse.config["descent"]
        assert sparse.result["macs"] <= 1.001 * aim, "a second descent brings nothing back"
    assert {r.config["label"] for r in own.records("cae_sparse") if r.config["label"].startswith("small")} == expected


# Density and speed ----------------------------------------------------------------------------------------------------


def test_density_counts_every_projection(own):
    (record,), (_, dense) = own.records("cae_density"), own.trained("cae")[0]
    assert (record.config["model"], record.config["codec"], record.config["data"]) == (dense.key, "cae", "none")
    ways = [(r["kind"], r["radius_rule"], r["coupled"]) for r in record.rows]
    assert len(set(ways)) == 8 and len(ways) == 16 and {w[0] for w in ways} == {
        "l1", "bilevel_l11", "l1inf", "l21", "bilevel_l1inf"}  # fmt: skip
    whole = macs(dense.model.encoder)
    for row in record.rows[::3]:
        constraint = Constraint(row["kind"], row["asked"], radius=row["radius_rule"], coupled=row["coupled"])
        projected = project(dense.model, constraint)
        encoder = left_of(dense.model, projected).encoder
        assert row["asked"] <= row["sparsity"] == round(projected.sparsity, 5) and row["radius"] == projected.radius
        assert row["macs"] == pytest.approx(macs(prune(encoder)) / whole, abs=1e-5)
        paper = complexity.macs_paper(encoder, (1, 3, 64, 64)) / 64**2
        assert row["macs_paper"] == pytest.approx(paper / whole, abs=1e-5)


def test_speed_is_dense_over_pruned_of_every_sparse_model(own, small, tmp_path):
    trained, calls = own.trained("cae_sparse"), []
    (record,), (_, dense) = own.records("cae_speed"), own.trained("cae")[0]
    assert record.config["models"] == {r.config["label"]: r.result["model"] for r, _ in trained}
    assert all(0 < row["lower"] <= row["speedup"] <= row["upper"] < 100 for row in record.rows)

    def latency(a, b, **options):
        assert torch.is_inference_mode_enabled()
        calls.append((a(), b()))
        return study.bench.Quartiles(1.0, 2.0, 3.0)

    small.setattr(study.bench, "relative_latency", latency)
    (plan,) = plans("cae_speed", own.out)
    rows = plan.measure(study.Work(tmp_path, tmp_path), "astronaut")
    assert [(row["label"], row["lower"], row["speedup"], row["upper"]) for row in rows] == [
        (label, 1.0, 2.0, 3.0) for label in record.config["models"]
    ]
    models, x = {r.config["label"]: model for r, model in trained}, to_input(PICTURES["astronaut"], SCALE)
    for row, (whole, pruned) in zip(rows, calls, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(whole, dense.model.encoder(x), atol=1e-5, rtol=0)
            torch.testing.assert_close(pruned, models[row["label"]].model.encoder(x), atol=1e-5, rtol=0)


def test_speed_refuses_a_model_that_is_not_the_one_of_its_record(own, small, tmp_path):
    (plan,) = plans("cae_speed", own.out)
    (label, (file, key)), (_, (another, other_key)), *_ = plan.models.items()
    swapped = replace(plan, models={label: (another, key)})
    with pytest.raises(ValueError, match=f"^model {another.stem} is not the one of its record: {other_key}, {key}$"):
        swapped.measure(study.Work(tmp_path, tmp_path), "astronaut")


def test_plans_are_there_without_the_first_model_if_its_record_is(own, small, tmp_path):
    """What is recorded is found again where its model was not kept."""
    out = tmp_path / "out"
    (out / "models").mkdir(parents=True)
    (out / "cae").symlink_to(own.out / "cae")
    (plan,) = study.density_plans(request(out))
    assert plan.path(own.out) == own.paths["cae_density"][0]
    with pytest.raises(ValueError, match="^model '.*cae-high-seed-0-bundled-smoke.safetensors' cannot be read: .*$"):
        run("cae_density", out)
