"""Learning rates and optimisers against PyTorch's, closed forms, and SOAP's algorithm line by line."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_siren import SMALL, THREE
from torch.optim import lr_scheduler

from sparsecomp.models.siren import Architecture, initial_parameters, layers
from sparsecomp.training.configs import FitBudget
from sparsecomp.training.fit import SirenTraining
from sparsecomp.training.loop import run
from sparsecomp.training.optimisers import (
    PRIOR,
    Adam,
    NamedOptimiser,
    Plateau,
    Soap,
    orthogonal_filters,
    orthogonalised,
    rate_at,
    turned_by_cholesky,
    turned_by_qr,
)

ARCHITECTURE = Architecture(3, 6)
few = settings(max_examples=15)
many = settings(max_examples=80)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Learning rates -------------------------------------------------------------------------------------------------------


@many
@given(st.integers(1, 80), st.integers(0, 20))
def test_rate_at_is_that_of_torch_after_a_warmup(steps, warmup):
    cosine, quadratic = (torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.3) for _ in range(2))
    schedulers = lr_scheduler.CosineAnnealingLR(cosine, steps), lr_scheduler.PolynomialLR(quadratic, steps, power=2)
    for age in range(steps):
        warm = min(1, (age + 1) / max(1, warmup))
        peaks = {"constant": 0.3, "plateau": 0.3}
        peaks |= {"cosine": cosine.param_groups[0]["lr"], "quadratic": quadratic.param_groups[0]["lr"]}
        for name, peak in peaks.items():
            assert rate_at(0.3, age, steps, warmup=warmup, schedule=name) == pytest.approx(warm * peak, abs=1e-9)
        for optimiser, scheduler in zip((cosine, quadratic), schedulers, strict=True):
            optimiser.step()
            scheduler.step()


@few
@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 1000))
def test_plateau_is_that_of_torch(batches, patience, seed):
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.5, patience=patience, threshold=0, eps=0)
    ours, drawn, done = Plateau(batches, patience), np.random.default_rng(seed), 0
    for epoch in range(60):
        losses = drawn.integers(3, 9, batches) / 2 if epoch < 40 else np.full(batches, 4.0)  # ties are frequent
        for loss in losses:
            assert ours.factor == optimiser.param_groups[0]["lr"]
            done += 1
            ours.add(float(loss), done)
        theirs.step(sum(float(loss) / batches for loss in losses))
    assert ours.factor == optimiser.param_groups[0]["lr"] < 0.5


# Batches of small networks --------------------------------------------------------------------------------------------


def make(name: str, parameters: torch.Tensor, architecture: Architecture = ARCHITECTURE, **options):
    if name == "soap cholesky":
        options["turned"] = turned_by_cholesky
    return Adam(parameters, **options) if name == "adam" else Soap(parameters, architecture, **options)


def start(fits: int) -> torch.Tensor:
    return torch.stack([initial_parameters(ARCHITECTURE, seed) for seed in range(fits)])


def gradients(fits: int, steps: int) -> list[torch.Tensor]:
    """Something of a trend and much noise, of different sizes at different parameters."""
    shape = fits, ARCHITECTURE.n_parameters
    trend, size = normal(*shape, seed=1), 10 ** (4 * torch.rand(shape, generator=torch.Generator().manual_seed(2)) - 4)
    return [size * (trend + normal(*shape, seed=3 + step)) for step in range(steps)]


@few
@given(st.floats(0.5, 0.95), st.floats(0.9, 0.999), st.integers(0, 100))
def test_adam_is_that_of_torch(beta1, beta2, seed):
    ours, rates, betas = normal(2, 30, seed=seed), torch.tensor([[1e-2], [3e-3]]), (beta1, beta2)
    theirs = [theta.clone().requires_grad_() for theta in ours]
    optimisers = [torch.optim.Adam([theta], lr=1.0, betas=betas) for theta in theirs]
    adam, first = Adam(ours, betas), ours.clone()
    for step in range(30):
        lr, gradient = rates * (1 if step < 20 else 0.1), normal(2, 30, seed=seed + step) ** 5
        adam.step(ours, gradient, lr)
        for theta, optimiser, rate, g in zip(theirs, optimisers, lr, gradient, strict=True):
            optimiser.param_groups[0]["lr"] = float(rate)
            theta.grad = g.clone()
            optimiser.step()
        torch.testing.assert_close(ours, torch.stack(theirs).detach(), atol=3e-6, rtol=0)
    assert (ours - first).abs().median() > 1e-3, "hardly anything moved"


def by_hand(layer: np.ndarray, steps: list[np.ndarray], lr: float, every: int) -> np.ndarray:
    """SOAP on one matrix in float64, line by line after Vyas et al. 2024, algorithm 3, with the authors' first step."""
    b1, b2, b3, eps = 0.95, 0.99, 0.95, 1e-8
    m = v = 0.0
    for t, g in enumerate(steps):
        if t == 0:
            left, right = (1 - b3) * g @ g.T, (1 - b3) * g.T @ g
            basis_left, basis_right = np.linalg.eigh(left)[1], np.linalg.eigh(right)[1]
            continue
        left, right = b3 * left + (1 - b3) * g @ g.T, b3 * right + (1 - b3) * g.T @ g
        if t + 1 < 20 or (t + 1) % every == 0:
            basis_left, basis_right = np.linalg.qr(left @ basis_left)[0], np.linalg.qr(right @ basis_right)[0]
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * (basis_left.T @ g @ basis_right) ** 2
        turned = basis_left.T @ (m / (1 - b1**t)) @ basis_right
        layer = layer - lr * basis_left @ (turned / (np.sqrt(v / (1 - b2**t)) + eps)) @ basis_right.T
    return layer


def signs_flipped(covariance: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """QR with every other column negated, which is a QR decomposition as well."""
    return turned_by_qr(covariance, basis) * (-1.0) ** torch.arange(basis.shape[-1])


@pytest.mark.parametrize("turned", [None, turned_by_cholesky, signs_flipped])
def test_soap_is_the_algorithm_of_the_paper(turned):
    # Matrices that are square or nearly so: with a null space of two dimensions its basis would be anybody's.
    architecture = Architecture(2, 6, n_in=5, n_out=6)
    generator = np.random.default_rng(1)
    steps = [generator.normal(size=architecture.n_parameters) + 0.5 for _ in range(45)]
    first = initial_parameters(architecture, 0)
    ours = first[None].clone()
    soap = Soap(ours, architecture, every=7, turned=turned)
    for number, gradient in enumerate(steps):
        soap.step(ours, torch.from_numpy(gradient).float()[None], torch.tensor([[1e-2]]))
        assert torch.equal(ours[0], first) == (number == 0), "the first gradient alone moves nothing"
    flat = torch.stack([first.double(), ours[0].double(), *map(torch.from_numpy, steps)])
    for weight, bias in layers(architecture, flat):
        begun, found, *each = torch.cat([weight, bias], 2).numpy()  # [W b] of this layer
        expected = by_hand(begun, each, 1e-2, every=7)
        np.testing.assert_allclose(found, expected, atol=2e-4)
        assert np.abs(expected - begun).max() > 0.05, "hardly anything moved"


def test_soap_has_every_fit_in_memory_as_if_it_were_alone():
    """Whether products of matrices that lie otherwise differ in their last bits is the processor's choice."""
    for name, tensor in Soap(start(3), ARCHITECTURE).state.items():
        assert name == "clock" or all(tensor[fit].data_ptr() % 64 == 0 for fit in range(3)), name


def test_soap_turns_by_qr_on_a_cpu():
    assert Soap(start(1), ARCHITECTURE).turned is turned_by_qr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_soap_turns_by_cholesky_on_a_gpu():
    assert Soap(start(1).cuda(), ARCHITECTURE).turned is turned_by_cholesky


def off_orthonormal(basis: torch.Tensor) -> float:
    return float((basis.double().mT @ basis.double() - torch.eye(basis.shape[-1])).abs().max())


def basis_of(*batch: int, n: int, seed: int = 0) -> torch.Tensor:
    return torch.linalg.qr(normal(*batch, n, n, seed=seed))[0]


def covariance_of(kind: str, n: int) -> torch.Tensor:
    """Twenty matrices ``(20, n, n)`` in float32. Their eigenvalues are at most about ``n``."""
    if kind == "zero":
        return torch.zeros(20, n, n)
    if kind == "ill-conditioned":
        basis, values = basis_of(20, n=n, seed=1).double(), torch.logspace(0, -12, n, dtype=torch.float64)
        return ((basis * values) @ basis.mT).float()
    drawn = normal(20, n, {"random": 2 * n, "dead neurons": 2 * n, "of rank 1": 1, "of rank 3": 3}[kind], seed=1)
    if kind == "dead neurons":
        drawn[:, ::3] = 0
    return drawn @ drawn.mT / drawn.shape[-1]


@pytest.mark.parametrize("size", [1e-20, 1e-8, 1.0, 1e12])
@pytest.mark.parametrize("n", [3, 28, 41])
@pytest.mark.parametrize("kind", ["random", "ill-conditioned", "of rank 1", "of rank 3", "dead neurons", "zero"])
def test_turned_by_cholesky_is_orthonormal_and_spans_what_qr_does(kind, n, size):
    """The first k columns span what those of QR do, for every k up to where the eigenvalues are too small for float32:
    this is the order of the columns, too. From a basis of eigenvectors, from the axes, and from any basis.
    """
    covariance = covariance_of(kind, n) * size
    own = torch.linalg.eigh(covariance)[1].flip(-1)
    for basis in (basis_of(20, n=n), own, torch.eye(n).expand(20, n, n)):
        found = turned_by_cholesky(covariance, basis)
        assert found.dtype == torch.float32 and off_orthonormal(found) < 1e-6
        wanted, upper = torch.linalg.qr(covariance.double() @ basis.double())
        for matrix, exact, r in zip(found.double(), wanted, upper, strict=True):
            lengths = r.diagonal().abs()
            clear = int((lengths > 1e-3 * lengths.max()).int().cumprod(0).sum()) if lengths.max() > 0 else 0
            assert clear > 0 or kind in ("zero", "dead neurons"), "of these the first column may be zero"
            for k in range(1, clear + 1):
                assert (exact[:, :k] - matrix[:, :k] @ (matrix[:, :k].T @ exact[:, :k])).norm() < 1e-4
    if kind == "zero":
        torch.testing.assert_close(found, basis.clone(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_turned_by_cholesky_keeps_the_basis_of_a_matrix_that_is_no_number(value):
    covariance, basis = covariance_of("random", 12), basis_of(20, n=12)
    calm = turned_by_cholesky(covariance, basis)
    covariance[4, 2, 5] = value
    covariance[7] = value
    found = turned_by_cholesky(covariance, basis)
    others = [i for i in range(20) if i not in (4, 7)]
    assert torch.equal(found[others], calm[others]) and off_orthonormal(found) < 1e-6
    if not math.isfinite(value):
        assert torch.equal(found[[4, 7]], basis[[4, 7]])


def test_turned_by_cholesky_stays_orthonormal_and_finds_the_eigenvectors():
    """Of a covariance that changes as Soap's does, in thousands of turns; then of one that stands still."""
    drawn, basis, covariance = normal(3000, 1, 8, 9), torch.eye(8)[None], torch.zeros(1, 8, 8)
    sizes = torch.logspace(0, -3, 8)[:, None]
    for gradient in sizes * drawn:
        covariance.lerp_(gradient @ gradient.mT, 0.05)
        basis = turned_by_cholesky(covariance, basis)
        assert off_orthonormal(basis) < 1e-6
    for _ in range(100):
        basis = turned_by_cholesky(covariance, basis)
    turned = basis.mT @ covariance @ basis
    values = torch.linalg.eigvalsh(covariance.double()).flip(-1)
    torch.testing.assert_close(turned.diagonal(dim1=-2, dim2=-1).double(), values, rtol=1e-2, atol=1e-6)


def test_soap_fits_as_well_with_cholesky_as_with_qr():
    """In 60 steps with every pixel, before rounding sends the two apart: within 0.2 dB, 5 % of the loss. A basis that
    is never turned after the first step is 1.3 dB away.
    """
    means, budget = [], FitBudget(steps=60, lr=1e-3, batch_pixels=None, score_every=20)
    for turned in (turned_by_qr, turned_by_cholesky):
        training = SirenTraining(THREE * 2, SMALL, budget, seeds=range(6))
        training.optimiser = Soap(training.parameters, SMALL, turned=turned)
        means.append(np.mean([result.psnr for result in run(training).results()]))
        assert min(result.psnr - flat for result, flat in zip(training.results(), training.constant, strict=True)) > 0.5
        assert all(off_orthonormal(t) < 5e-6 for name, t in training.optimiser.state.items() if name[0] == "Q")
    assert means[0] == pytest.approx(means[1], abs=0.2)


@pytest.mark.parametrize("name", ["adam", "soap", "soap cholesky"])
def test_batch_optimisers_keep_fits_apart_when_one_is_reset_or_no_number(name):
    """Fit 0 is as if alone; fit 1 gets gradients that are no numbers, is reset, and is then as if it began there."""
    rates = torch.tensor([[1e-2], [3e-3], [1e-3]])
    batch, alone, late = start(3), start(1), start(3)[1:2]
    optimiser, own, fresh = make(name, batch), make(name, alone), make(name, late)
    for number, gradient in enumerate(gradients(3, 40)):
        own.step(alone, gradient[:1], rates[:1])
        if number >= 20:
            fresh.step(late, gradient[1:2], rates[1:2])
        elif number >= 5:
            gradient[1] = torch.nan if number % 2 else torch.inf
        if number == 20:
            batch[1] = start(3)[1]
            optimiser.reset(1)
        optimiser.step(batch, gradient, rates)
    assert torch.equal(batch[:1], alone) and torch.equal(batch[1:2], late) and batch.isfinite().all()


# One large network ----------------------------------------------------------------------------------------------------

UP = "decoder.up1.weight"  # of a transposed convolution: its filters are along dimension 1
SHAPES = {"conv": (6, 4, 3, 3), UP: (4, 6, 2, 2), "bias": (6,), "scale": (2, 5), PRIOR + "mean": (3, 3)}


def network(seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: normal(*shape, seed=seed + i) for i, (name, shape) in enumerate(SHAPES.items())}


@few
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.1]))
def test_named_optimiser_adam_is_that_of_torch(seed, decay):
    """The prior at ten times the rate, and without weight decay."""
    ours = network(seed)
    theirs = {name: p.clone().requires_grad_() for name, p in ours.items()}
    groups = [{"params": [p for name, p in theirs.items() if name.startswith(PRIOR) == of_prior],
               "weight_decay": 0 if of_prior else decay} for of_prior in (False, True)]  # fmt: skip
    reference, optimiser = torch.optim.Adam(groups, lr=1.0), NamedOptimiser(ours, "adam", weight_decay=decay)
    for step in range(12):
        drawn = {name: g**3 for name, g in network(seed + 100 * step + 7).items()}
        lr = 0.003 / (1 + step)
        optimiser.step(drawn, lr, step + 1)
        reference.param_groups[0]["lr"], reference.param_groups[1]["lr"] = lr, 10 * lr
        for name, p in theirs.items():
            p.grad = drawn[name].clone()
        reference.step()
        for name, p in theirs.items():
            torch.testing.assert_close(ours[name], p.detach(), atol=3e-6, rtol=1e-5)


def test_named_optimiser_muon_steps_along_orthogonalised_nesterov_momentum():
    ours, decay = network(), 0.1
    optimiser = NamedOptimiser(ours, "muon", weight_decay=decay)
    small = NamedOptimiser(others := network(), "adam", weight_decay=decay)
    momentum = dict.fromkeys(SHAPES, 0.0)
    for step in range(4):
        before, drawn = {name: p.clone() for name, p in ours.items()}, network(10 + step)
        optimiser.step(drawn, 0.01, step + 1)
        small.step(drawn, 0.001, step + 1)
        for name, p in ours.items():
            if p.dim() == 4:
                g = drawn[name] + decay * before[name]
                momentum[name] = 0.9 * momentum[name] + g
                wanted = orthogonal_filters(g + 0.9 * momentum[name], transposed=name == UP)
                torch.testing.assert_close(before[name] - p, 0.01 * wanted, atol=1e-6, rtol=1e-4)
            else:
                torch.testing.assert_close(p, others[name], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("kind", ["adam", "muon"])
def test_named_optimiser_never_moves_a_masked_weight(kind):
    masks = {name: normal(*SHAPES[name], seed=50) > 0 for name in ("conv", UP, "bias")}
    ours = {name: p * masks.get(name, 1) for name, p in network().items()}
    first = {name: p.clone() for name, p in ours.items()}
    optimiser = NamedOptimiser(ours, kind, weight_decay=0.2, masks=masks)
    for step in range(5):
        gradient = network(10 + step) | {"scale": None}
        optimiser.step(gradient, 0.05, step + 1)
        for name, p in ours.items():
            still = ~masks[name] if name in masks else torch.full(p.shape, name == "scale")
            assert torch.equal(p == first[name], still), "what may move does, and nothing else"
    for name, tensor in optimiser.state().items():
        if name.startswith(("m.", "v.")) and (mask := masks.get(name[2:])) is not None:
            assert (tensor[~mask] == 0).all(), name


@settings(max_examples=30)
@given(
    st.sampled_from([(24, 75), (75, 24), (32, 32), (3, 400), (1, 9)]), st.floats(0.01, 1),
    st.sampled_from([1e-12, 1.0, 1e6]), st.integers(0, 100),
)  # fmt: skip
def test_orthogonalised_has_the_same_directions_and_singular_values_near_one(size, weakest, scale, seed):
    least = min(size)
    u, v = (torch.linalg.qr(normal(n, least, seed=seed + i))[0] for i, n in enumerate(size))
    found = orthogonalised(scale * (u * torch.logspace(0, math.log10(weakest), least)) @ v.T)
    inner = u.T.double() @ found.double() @ v.double()
    assert found.shape == size and (inner - inner.diagonal().diag()).abs().max() < 2e-3, "other directions than U V^T"
    assert 0.6 < inner.diagonal().min() and torch.linalg.svdvals(found).max() < 1.25
    assert torch.equal(orthogonalised(torch.zeros(size)), torch.zeros(size))


def test_orthogonal_filters_step_farther_in_a_taller_matrix():
    drawn = normal(64, 1, 3, 3)
    found = orthogonal_filters(drawn, transposed=False)
    torch.testing.assert_close(found.flatten(1), orthogonalised(drawn.flatten(1)) * (64 / 9) ** 0.5)
    assert torch.equal(orthogonal_filters(drawn.transpose(0, 1), transposed=True).transpose(0, 1), found)
