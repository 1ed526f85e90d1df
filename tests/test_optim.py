from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecomp.models.siren import Architecture, initial_parameters
from sparsecomp.training.optim import Adam, Soap

ARCHITECTURE = Architecture(3, 6)


def make(name: str, parameters: torch.Tensor, architecture: Architecture = ARCHITECTURE, **options):
    return Adam(parameters, **options) if name == "adam" else Soap(parameters, architecture, **options)


def start(fits: int) -> torch.Tensor:
    return torch.stack([initial_parameters(ARCHITECTURE, seed) for seed in range(fits)])


def gradients(fits: int, steps: int) -> list[torch.Tensor]:
    """Something of a trend and much noise, of different sizes at different parameters."""
    generator = torch.Generator().manual_seed(0)
    shape = (fits, ARCHITECTURE.n_parameters)
    trend, size = torch.randn(shape, generator=generator), 10 ** (4 * torch.rand(shape, generator=generator) - 4)
    return [size * (trend + torch.randn(shape, generator=generator)) for _ in range(steps)]


def test_adam_is_that_of_pytorch():
    ours = start(2)
    rates = torch.tensor([[1e-2], [3e-3]])
    theirs = [theta.clone().requires_grad_() for theta in ours]
    optimisers = [torch.optim.Adam([theta], lr=float(lr)) for theta, lr in zip(theirs, rates, strict=True)]
    adam = Adam(ours)
    for step, gradient in enumerate(gradients(2, 60)):
        lr = rates * (1 if step < 40 else 0.1)
        adam.step(ours, gradient, lr)
        for theta, optimiser, rate, g in zip(theirs, optimisers, lr, gradient, strict=True):
            optimiser.param_groups[0]["lr"] = float(rate)
            theta.grad = g.clone()
            optimiser.step()
        torch.testing.assert_close(ours, torch.stack(theirs).detach(), atol=3e-6, rtol=0)
    assert (ours - start(2)).abs().min() > 1e-3, "hardly anything moved"


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


def test_soap_is_the_algorithm_of_the_paper():
    # Matrices that are square or nearly so: with a null space of two dimensions its basis would be anybody's.
    architecture = Architecture(2, 6, n_in=5, n_out=6)
    generator = np.random.default_rng(1)
    steps = [generator.normal(size=architecture.n_parameters) + 0.5 for _ in range(45)]
    first = initial_parameters(architecture, 0)
    ours = first[None].clone()
    soap = Soap(ours, architecture, every=7)
    for gradient in steps:
        soap.step(ours, torch.from_numpy(gradient).float()[None], torch.tensor([[1e-2]]))
    at = 0
    for out, inp in architecture.shapes:
        size = out * (inp + 1)

        def matrix(flat: np.ndarray, out=out, inp=inp, part=slice(at, at + size)) -> np.ndarray:
            """[W b] of this layer."""
            weights, biases = flat[part][: out * inp], flat[part][out * inp :]
            return np.column_stack([weights.reshape(out, inp), biases])

        expected = by_hand(matrix(first.numpy().astype(float)), [matrix(g) for g in steps], 1e-2, every=7)
        np.testing.assert_allclose(matrix(ours[0].numpy()), expected, atol=2e-4)
        assert np.abs(expected - matrix(first.numpy())).max() > 0.05, "hardly anything moved"
        at += size


def test_the_first_gradient_of_soap_moves_nothing():
    ours = start(1)
    soap = Soap(ours, ARCHITECTURE)
    first, second = gradients(1, 2)
    soap.step(ours, first, torch.tensor([[0.1]]))
    assert torch.equal(ours, start(1))
    soap.step(ours, second, torch.tensor([[0.1]]))
    assert not torch.equal(ours, start(1))


def quadratic(name: str, lr: float, steps: int) -> float:
    """Loss after minimising 1/2 |A (W - W*) B|^2, its curvature rotated away from the axes, condition 10^3 a side."""
    architecture = Architecture(1, 8, n_in=7, n_out=8)
    generator = torch.Generator().manual_seed(3)

    def rotated(n: int) -> torch.Tensor:
        rotation = torch.linalg.qr(torch.randn(n, n, generator=generator))[0]
        return rotation @ torch.diag(torch.logspace(0, -1.5, n)) @ rotation.T

    sides = [(rotated(out), rotated(inp + 1)) for out, inp in architecture.shapes]
    goals = [torch.randn(out, inp + 1, generator=generator) for out, inp in architecture.shapes]

    def loss(theta: torch.Tensor) -> torch.Tensor:
        total, at = torch.zeros(()), 0
        for (out, inp), (a, b), goal in zip(architecture.shapes, sides, goals, strict=True):
            weight, bias = theta[at : at + out * inp].view(out, inp), theta[at + out * inp : at + out * (inp + 1)]
            at += out * (inp + 1)
            total = total + 0.5 * (a @ (torch.cat([weight, bias[:, None]], 1) - goal) @ b).square().sum()
        return total

    theta = torch.zeros(1, architecture.n_parameters)
    optimiser = make(name, theta, architecture)
    for step in range(steps):
        leaf = theta.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf[0]), leaf)
        optimiser.step(theta, gradient, torch.tensor([[lr * (1 - step / steps)]]))
    return float(loss(theta[0]))


def test_soap_is_faster_than_adam_where_curvature_is_rotated():
    best = {name: min(quadratic(name, lr, 500) for lr in (0.03, 0.1, 0.3)) for name in ("adam", "soap")}
    assert best["soap"] < best["adam"] / 10, best


@pytest.mark.parametrize("name", ["adam", "soap"])
def test_a_fit_is_the_same_in_a_batch_and_alone(name):
    together, rates = start(3), torch.tensor([[1e-2], [3e-3], [1e-3]])
    alone = [start(3)[fit : fit + 1].clone() for fit in range(3)]
    optimiser, own = make(name, together), [make(name, theta) for theta in alone]
    for gradient in gradients(3, 35):
        optimiser.step(together, gradient, rates)
        for fit in range(3):
            part = slice(fit, fit + 1)
            own[fit].step(alone[fit], gradient[part], rates[part])
    assert torch.equal(together, torch.cat(alone))


def test_every_fit_lies_in_memory_as_if_it_were_alone():
    """Whether products of matrices that lie otherwise differ in their last bits is the processor's choice."""
    for name, tensor in Soap(start(3), ARCHITECTURE).state.items():
        assert name == "clock" or all(tensor[fit].data_ptr() % 64 == 0 for fit in range(3)), name


@pytest.mark.parametrize("name", ["adam", "soap"])
def test_a_reset_forgets_one_fit_and_nothing_else(name):
    steps, lr = gradients(3, 50), torch.full((3, 1), 1e-2)
    disturbed, calm, late = start(3), start(3), start(3)[1:2].clone()
    one, other, fresh = make(name, disturbed), make(name, calm), make(name, late)
    for number, gradient in enumerate(steps):
        if number == 25:
            disturbed[1] = start(3)[1]
            one.reset(1)
        one.step(disturbed, gradient, lr)
        other.step(calm, gradient, lr)
        if number >= 25:
            fresh.step(late, gradient[1:2], lr[:1])
    assert torch.equal(disturbed[0], calm[0]) and torch.equal(disturbed[2], calm[2])
    assert torch.equal(disturbed[1], late[0])
    assert not torch.equal(disturbed[1], calm[1])


@pytest.mark.parametrize("name", ["adam", "soap"])
def test_a_fit_that_is_no_number_harms_no_other_and_can_be_reset(name):
    steps, lr = gradients(2, 40), torch.full((2, 1), 1e-2)
    harmed, calm = start(2), start(2)
    one, other = make(name, harmed), make(name, calm)
    for number, gradient in enumerate(steps):
        bad = gradient.clone()
        if 5 <= number < 20:
            bad[0] = torch.nan if number % 2 else torch.inf
        if number == 20:
            harmed[0] = start(2)[0]
            one.reset(0)
        one.step(harmed, bad, lr)
        other.step(calm, gradient, lr)
    assert torch.equal(harmed[1], calm[1])
    assert harmed.isfinite().all()


def test_soap_leaves_the_number_of_threads_alone_and_does_not_depend_on_it():
    architecture = Architecture(3, 28)
    generator = torch.Generator().manual_seed(0)
    steps = [torch.randn(1, architecture.n_parameters, generator=generator) for _ in range(12)]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            theta = initial_parameters(architecture, 0)[None]
            soap = Soap(theta, architecture)
            for gradient in steps:
                soap.step(theta, gradient, torch.tensor([[1e-2]]))
            assert torch.get_num_threads() == threads
            found.append(theta)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
