"""What is particular to the studies of Sparse CAE. What all studies promise: contracts/test_every_study.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_studies import CAE, FEW, HEIGHT, PICTURES, VARIANTS, WIDTH, Made, plans, request, run, tiny

from reproduce import bench
from reproduce.papers import sparse_cae as study
from reproduce.records import runs_folder
from reproduce.runner import Request, Work
from sparsecomp import complexity, metrics
from sparsecomp.coding import latents, priors, range_coder
from sparsecomp.models.inference import to_input
from sparsecomp.models.sparse_cae import SCALE, Shape, SparseCAE
from sparsecomp.sparsify.surgery import prune
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.double_descent import project


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


@torch.no_grad()
def test_rows_have_the_error_without_a_quantiser_and_tables_are_of_the_stored_model(own):
    for record, model in own.trained("cae", "cae_sparse"):
        row = record.rows[0]
        image = PICTURES[row["picture"]]
        drawn = model.model.decoder(model.model.encoder(to_input(image, SCALE)))[0, :, :HEIGHT, :WIDTH]
        error = np.square(metrics.to_uint8(drawn.permute(1, 2, 0).numpy()).astype(float) - image).mean()
        assert row["mse_unquantised"] == pytest.approx(error, rel=1e-3)
        training = CaeTraining(model.model, PICTURES, PICTURES, CAE)  # in which the tables' cells can be counted again
        occurs = latents.counts_of(priors.FactorizedPrior(32), training.histogram(), share=0).numpy()
        assert (np.abs(occurs - model.counts).sum(1) / range_coder.TOTAL).max() < 0.05


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


def test_bytes_of_coders_agree_with_files_and_estimates(own):
    """Each is held against another way to its number: the tables against the estimate, contexts against files."""
    (record,), files = own.records("cae_coders"), {}
    for dense, model in own.trained("cae"):
        if dense.config["seed"] == 0:
            label = dense.config["label"]
            files |= {(label, row["picture"], row["setting"]): (row["bytes"], model) for row in dense.rows}
    assert len(record.rows) == len(files)
    for row in record.rows:
        size, model = files[row["label"], row["picture"], row["setting"]]
        assert 25 < size - row["contexts_bytes"] < 40, "header, sections and checksum"
        symbols = latents.quantise(model.model.encoder(to_input(PICTURES[row["picture"]], SCALE)), row["setting"])
        bits = latents.bits(symbols[0].numpy(), model.counts, row["setting"])
        assert 0 <= row["tables_bytes"] - bits / 8 < 16


def test_finer_files_are_those_of_the_models(own):
    found = {record.config["label"]: record for record in own.records("cae_fine")}
    of_seed_0 = {r.config["label"]: r for r in own.records("cae", "cae_sparse") if r.config["seed"] == 0}
    assert set(found) == {"high", "bilevel_l11"}
    for trained, fine in ((of_seed_0[label], found[label]) for label in found):
        assert fine.config["model"] == trained.result["model"]
        for row in fine.rows:
            (coarser,) = (r for r in trained.rows if (r["picture"], r["setting"]) == (row["picture"], 64))
            assert row["setting"] == 48 and row["bytes"] == len(own.written(trained, row, step=48)[0])
            assert row["bytes"] > coarser["bytes"] and row["mse_unquantised"] == coarser["mse_unquantised"]


def test_second_descents_are_run_from_all_seeds_or_from_the_first():
    of: dict[str, list[int]] = {}
    for plan in study.sparse_plans(Request("desktop", runs_folder(), planned=True)):
        of.setdefault(plan.label, []).append(plan.seed)
    several = study.PRESETS["desktop"].several
    assert of == {label: [0, 1, 2] if label in several else [0] for label in of} and set(several) < set(of)


def test_variants_come_from_the_first_descent_they_name(own, tmp_path):
    keys = {r.config["label"]: r.result["model"] for r in own.records("cae", "cae_released")}
    base = own.labelled("cae", "high").config["descent"]
    for label, change in study.RELEASED.items():
        written = {name: value for name, value in base.items() if value != change.get(name, value)}
        descent = own.labelled("cae_released", label).config["descent"]
        assert descent == base | change and set(written) <= set(change), "one thing at a time"
    for label, (first, constraint) in VARIANTS.items():
        record = own.labelled("cae_variants", label)
        assert record.config["first"] == keys[first] and record.result["sparsity"] == pytest.approx(
            constraint.sparsity, abs=0.02
        )  # fmt: skip
        assert record.config["descent"] == own.labelled(
            "cae_released" if first in study.RELEASED else "cae", first
        ).config["descent"]
    whole = own.labelled("cae_variants", "all layers").result
    assert whole["macs_paper_decoder"] < 0.99 * whole["macs_decoder"], "filters of the decoder are zero, too"
    assert not study.released_plans(request(tmp_path, preset="paper")), "there it is the preset"


# Density and speed ----------------------------------------------------------------------------------------------------


def test_speed_is_dense_over_pruned_of_every_sparse_model(own, small, tmp_path):
    trained, calls = own.trained("cae_sparse"), []
    (record,), (_, dense) = own.records("cae_speed"), own.trained("cae")[0]
    assert record.config["models"] == {r.config["label"]: r.result["model"] for r, _ in trained}

    def latency(a, b, **options):
        assert torch.is_inference_mode_enabled()
        calls.append((a(), b()))
        return bench.Quartiles(1.0, 2.0, 3.0)

    small.setattr(bench, "relative_latency", latency)
    (plan,) = plans("cae_speed", own.out)
    rows = plan.measure(Work(tmp_path, tmp_path), "astronaut")
    assert [(row["label"], row["lower"], row["speedup"], row["upper"]) for row in rows] == [
        (label, 1.0, 2.0, 3.0) for label in record.config["models"]
    ]
    models, x = {r.config["label"]: model for r, model in trained}, to_input(PICTURES["astronaut"], SCALE)
    for row, (whole, pruned) in zip(rows, calls, strict=True):
        with torch.no_grad():
            torch.testing.assert_close(whole, dense.model.encoder(x), atol=1e-5, rtol=0)
            torch.testing.assert_close(pruned, models[row["label"]].model.encoder(x), atol=1e-5, rtol=0)
    (label, (_, key)), (_, (another, other_key)), *_ = plan.models.items()
    swapped = replace(plan, models={label: (another, key)})
    with pytest.raises(ValueError, match=f"^model {another.stem} is not the one of its record: {other_key}, {key}$"):
        swapped.measure(Work(tmp_path, tmp_path), "astronaut")


def test_plans_are_there_without_the_first_model_if_its_record_is(own, small, tmp_path):
    out = tmp_path / "out"
    (out / "models").mkdir(parents=True)
    (out / "cae").symlink_to(own.out / "cae")
    (plan,) = study.density_plans(request(out))
    assert plan.path(own.out) == own.paths["cae_density"][0]
    with pytest.raises(ValueError, match="^model '.*cae-high-seed-0-bundled-smoke.safetensors' cannot be read: .*$"):
        run("cae_density", out)
