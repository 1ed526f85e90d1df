"""What is particular to the studies of Sparse CAE. What all studies promise: contracts/test_every_study.py."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_studies import CAE, FEW, PAPERS, POINTS, Made, setup, stored, tiny

from sparsecomp import complexity, metrics, profiles, results, studies
from sparsecomp.coding import latents, priors, range_coder, sparse_weights
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.sparsify.surgery import prune
from sparsecomp.studies import autoencoders, trainings
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.double_descent import Constraint, project

PICTURES = PAPERS["sparse_cae"].pictures


@pytest.fixture(scope="module")
def own(made) -> Made:
    return made("cae")


@pytest.fixture(scope="module")
def trained(own) -> list[tuple]:
    """Every training: its record, and its model."""
    return [(record, stored(own.model_of(record))) for record in own.records("cae", "cae_sparse")]


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


# Trainings ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_rows_have_every_step_and_the_error_without_a_quantiser(trained):
    for record, model in trained:
        steps = sorted(autoencoders.STEPS[::4])
        assert [(r["picture"], r["setting"]) for r in record.rows] == [
            (name, step) for name in ("astronaut", "chelsea") for step in steps
        ]
        for row in record.rows:
            image = PICTURES[row["picture"]]
            drawn = model.model.decoder(model.model.encoder(to_input(image, SCALE)))[0, :, :41, :50]
            error = np.square(metrics.to_uint8(drawn.permute(1, 2, 0).numpy()).astype(float) - image).mean()
            assert row["mse_unquantised"] == pytest.approx(error, rel=1e-3)


def test_results_are_those_of_the_stored_model(trained):
    for record, model in trained:
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
        told = np.abs(occurs - model.counts).sum(1) / range_coder.TOTAL
        assert told.max() < 0.05, "the tables are of another histogram than the stored model's"
        history = result["history"]
        assert set(history) == {"step", "loss", "estimated_bpp", "psnr"} and history["step"] == sorted(history["step"])
        assert {len(column) for column in history.values()} == {POINTS} and history["step"][-1] == CAE.steps
        assert all(map(math.isfinite, history["loss"]))
        assert result["psnr"] == pytest.approx(history["psnr"][-1], abs=0.1), "fp16 changes little"


def test_second_descents_are_sparse_where_they_were_projected(trained):
    dense = trained[0][1]
    for record, model in trained[len(autoencoders.MODELS) :][: len(FEW)]:
        projected = project(dense.model, Constraint(**record.config["constraint"]), 0)
        assert 0.83 <= record.result["sparsity"] == round(projected.sparsity, 5) < 0.86
        assert record.result["radius"] == projected.radius
        weights = {name: model.model.get_parameter(name) for name in projected.masks}
        assert not any(weights[name][~mask].any() for name, mask in projected.masks.items())
        filters = [w for w in weights.values() if w.dim() == 4]
        assert sum(int((w == 0).sum()) for w in filters) / sum(w.numel() for w in filters) >= record.result["sparsity"]
        moved = model.model.decoder.conv1.weight != SparseCAE(Shape(24), 0).half().decoder.conv1.weight.float()
        assert moved.any(), "it was not trained"


@torch.no_grad()
def test_small_dense_controls_cost_what_pruned_encoders_do(own, trained):
    """Counted whole: surgery would take the blocks of an untrained encoder, which begin as the identity, away."""
    of_width = {width: macs(SparseCAE(Shape(24, encoder_width=width)).encoder) for width in (8, 16, 24)}
    first, expected = trained[0][1].model, set()
    for label in autoencoders.HEADLINE:
        aim = macs(prune(left_of(first, project(first, FEW[label], 0)).encoder))
        width = min(of_width, key=lambda width, aim=aim: abs(of_width[width] - aim))
        expected.add(f"small dense {width}")
        small, sparse = (own.labelled("cae_sparse", name) for name in (f"small dense {width}", label))
        assert small.result["macs"] == pytest.approx(of_width[width], rel=1e-6), "trained, no filter of it is dead"
        assert small.config["constraint"] is None and small.config["descent"] == sparse.config["descent"]
        assert sparse.result["macs"] <= 1.001 * aim, "a second descent brings nothing back"
    assert {r.config["label"] for r in own.records("cae_sparse") if r.config["label"].startswith("small")} == expected


def test_dense_models_of_the_first_seed_may_be_chosen_by_the_codec(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(autoencoders, "make", lambda setup, study, pictures_of, plans, *how: asked.extend(plans))
    autoencoders.cae(studies.Setup(profiles.get("laptop"), tmp_path, seed=5), "kodak")
    assert [(p.label, p.seed, p.search) for p in asked] == [
        ("high", 5, True), ("middle", 5, True), ("low", 5, True), ("lowest", 5, True),
        ("high", 6, False), ("high", 7, False),
    ]  # fmt: skip
    assert {(p.train_on, p.validate_on) for p in asked} == {("bsds500/train", "bsds500/val")}


def test_models_stand_beside_the_records(tmp_path):
    assert trainings.models_folder(setup(tmp_path / "runs")) == tmp_path / "models"
    assert trainings.models_folder(setup(tmp_path / "out")) == tmp_path / "out" / "models"


# Density and speed ----------------------------------------------------------------------------------------------------


def test_density_counts_every_projection(own, trained):
    (record,), dense = own.records("cae_density"), trained[0][1]
    assert record.config["model"] == dense.key and record.config["codec"] == "cae"
    ways = [(r["kind"], r["radius_rule"], r["coupled"]) for r in record.rows]
    assert len(set(ways)) == 8 and len(ways) == 16 and {w[0] for w in ways} == {
        "l1", "bilevel_l11", "l1inf", "l21", "bilevel_l1inf"}  # fmt: skip
    whole = macs(dense.model.encoder)
    for row in record.rows:
        constraint = Constraint(row["kind"], row["asked"], radius=row["radius_rule"], coupled=row["coupled"])
        projected = project(dense.model, constraint)
        encoder = left_of(dense.model, projected).encoder
        assert row["asked"] <= row["sparsity"] == round(projected.sparsity, 5)
        assert row["macs"] == pytest.approx(macs(prune(encoder)) / whole, abs=1e-5)
        paper = complexity.macs_paper(encoder, (1, 3, 64, 64)) / 64**2
        assert row["macs_paper"] == pytest.approx(paper / whole, abs=1e-5)
        assert 0 < row["macs"] <= 1 and 0 < row["macs_paper"] <= 1


def test_speed_is_dense_over_pruned_of_every_sparse_model(own, trained, tmp_path, monkeypatch):
    sparse, calls = sorted(own.records("cae_sparse"), key=lambda r: f"{r.name}-{r.key}"), []
    (record,) = own.records("cae_speed")
    assert [row["label"] for row in record.rows] == [r.config["label"] for r in sparse]
    assert record.config["models"] == {r.config["label"]: r.result["model"] for r in sparse}
    assert all(0 < row["lower"] <= row["speedup"] <= row["upper"] < 100 for row in record.rows)

    def latency(a, b, **options):
        assert torch.is_inference_mode_enabled()
        calls.append((a(), b()))
        return complexity.Quartiles(1.0, 2.0, 3.0)

    dense = trained[0][1].model.encoder
    strides = [p.stride() for p in dense.parameters()]
    monkeypatch.setattr(autoencoders.complexity, "relative_latency", latency)
    monkeypatch.setattr(results, "path_of", lambda out, study, name, config: tmp_path / study / f"{name}-0.json")
    with tiny(PICTURES):
        autoencoders.cae_speed(setup(Path(own.out)), "bundled")
    assert [p.stride() for p in dense.parameters()] == strides, "a stored model may be shared: copy it"
    x = to_input(PICTURES["astronaut"], SCALE)
    for record, (whole, small) in zip(sparse, calls, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(whole, dense(x), atol=1e-5, rtol=0)
            torch.testing.assert_close(small, stored(own.model_of(record)).model.encoder(x), atol=1e-5, rtol=0)
