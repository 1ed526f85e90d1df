"""The C kernel and PyTorch against automatic differentiation in float64; what is refused; what happens without C."""

from __future__ import annotations

import re
import shutil
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sparsecomp.models.siren import Architecture, forward, initial_parameters
from sparsecomp.training import kernel

needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C compiler here")
backends = pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_compiler), "torch"])


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache of compiled code; the kernel of before is back afterwards."""
    monkeypatch.setenv("SPARSECOMP_CACHE", str(tmp_path / "cache"))
    kernel.library.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    kernel.library.cache_clear()


def batch(architecture: Architecture, fits: int, pixels: int, seed: int = 0):
    """Networks as they are drawn, positions and colours drawn at random."""
    generator = torch.Generator().manual_seed(seed)
    parameters = torch.stack([initial_parameters(architecture, seed + i) for i in range(fits)])
    inputs = [torch.rand(architecture.n_in, pixels, generator=generator) * 2 - 1 for _ in range(fits)]
    targets = [torch.rand(architecture.n_out, pixels, generator=generator) for _ in range(fits)]
    return parameters, inputs, targets


def assert_exact(architecture, parameters, inputs, targets, loss, gradient) -> None:
    """By automatic differentiation in float64, one fit at a time; every layer's weights and biases apart, so that the
    small ones do not hide behind the large ones.
    """
    for fit, (theta, x, y) in enumerate(zip(parameters, inputs, targets, strict=True)):
        leaf = theta.double()[None].requires_grad_()
        expected_loss = (forward(architecture, leaf, x.double()[None])[0] - y.double()).square().mean()
        expected, start = torch.autograd.grad(expected_loss, leaf)[0][0], 0
        assert float(loss[fit]) == pytest.approx(float(expected_loss.detach()), rel=1e-5)
        for out, inp in architecture.shapes:
            for size in (out * inp, out):
                part, start = slice(start, start + size), start + size
                assert (gradient[fit, part] - expected[part]).norm() < 2e-4 * expected[part].norm()


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    small = st.integers(1, 9)
    return Architecture(draw(st.integers(1, 6)), draw(st.integers(1, 30)), draw(st.sampled_from([11.5, 30.0])),
                        draw(small), draw(small))  # fmt: skip


@backends
@settings(max_examples=60)
@given(architectures(), st.integers(1, 1500), st.integers(1, 3))
@example(architecture=Architecture(1, 1), pixels=1, fits=3)
@example(architecture=Architecture(10, 28), pixels=5000, fits=1)
@example(architecture=Architecture(5, 20), pixels=255, fits=2)
@example(architecture=Architecture(3, 16), pixels=256, fits=2)
@example(architecture=Architecture(2, 3, n_in=1, n_out=9), pixels=257, fits=2)
def test_gradient_is_that_of_automatic_differentiation(backend, architecture, pixels, fits):
    given_ = batch(architecture, fits, pixels)
    loss, gradient = kernel.gradient(architecture, *given_, backend)
    assert loss.dtype == torch.float64
    assert_exact(architecture, *given_, loss, gradient)


def test_gradient_by_pytorch_works_off_what_is_too_much_at_once_in_parts(monkeypatch):
    architecture = Architecture(3, 16, n_in=4, n_out=5)
    given_, sizes, real = batch(architecture, 3, 1000), [], kernel.forward
    monkeypatch.setattr(kernel, "PASS", 3 * 300)
    monkeypatch.setattr(kernel, "forward", lambda *a: (sizes.append(a[2].shape[2]), real(*a))[1])
    found = kernel.gradient(architecture, *given_, "torch")
    assert sizes == [250] * 4, "of one size, and no larger than what goes at once"
    assert_exact(architecture, *given_, *found)


@needs_compiler
def test_kernel_takes_rows_that_are_no_neighbours():
    architecture, part = Architecture(3, 10), slice(700, 1711)
    parameters, inputs, targets = batch(architecture, 2, 3000)
    views = [[t[:, part] for t in tensors] for tensors in (inputs, targets)]
    copies = [[t.contiguous() for t in tensors] for tensors in views]
    found, same = (kernel.gradient(architecture, parameters, *tensors, "kernel") for tensors in (views, copies))
    assert all(map(torch.equal, found, same))
    shown, same = (kernel.colours(architecture, parameters, tensors[0], "kernel") for tensors in (views, copies))
    assert all(map(torch.equal, shown, same))


@needs_compiler
def test_kernel_has_exact_sines_and_cosines_of_large_arguments():
    architecture = Architecture(1, 1, w0=1.0, n_in=1, n_out=1)
    generator = np.random.default_rng(0)
    quarters = np.arange(-40, 41) * (np.pi / 4)  # where the reduction changes its mind
    x = np.concatenate([generator.uniform(-1e4, 1e4, 4000), generator.uniform(-4, 4, 999), quarters, [0.0, -1e4]])
    x = x.astype(np.float32)
    plain = torch.tensor([[1.0, 0.0, 1.0, 0.0]])  # the colour is sin(x): W and b pass the argument on unharmed
    (sine,) = kernel.colours(architecture, plain, [torch.from_numpy(x)[None]], "kernel")
    np.testing.assert_allclose(sine[0].numpy(), np.sin(x.astype(np.float64)), atol=3e-7, rtol=0)
    # One fit a point, with an error of a half: the gradient of the first bias is cos(x).
    inputs = [torch.tensor([[value]]) for value in x]
    targets = [torch.tensor([[value]]) for value in np.sin(x.astype(np.float64)).astype(np.float32) - np.float32(0.5)]
    _, gradient = kernel.gradient(architecture, plain.expand(len(x), 4).contiguous(), inputs, targets, "kernel")
    np.testing.assert_allclose(gradient[:, 1].numpy(), np.cos(x.astype(np.float64)), atol=2e-6, rtol=0)


@backends
def test_colours_are_those_of_the_model(backend):
    """Of pictures of several sizes."""
    architecture = Architecture(4, 13)
    parameters, inputs, _ = batch(architecture, 2, 70_001)
    inputs[1] = inputs[1][:, :333]
    for fit, shown in enumerate(kernel.colours(architecture, parameters, inputs, backend)):
        expected = forward(architecture, parameters[fit : fit + 1].double(), inputs[fit][None].double())[0]
        torch.testing.assert_close(shown.double(), expected, atol=2e-5, rtol=0)


@needs_compiler
@pytest.mark.parametrize("pixels", [300, 20_000])
def test_kernel_has_the_same_bits_whatever_threads_and_neighbours(pixels):
    architecture = Architecture(5, 20)
    given_ = batch(architecture, 3, pixels)
    found = [kernel.gradient(architecture, *given_, "kernel", threads) for threads in (1, 2, 4, 7)]
    for other in found[1:]:
        assert all(map(torch.equal, other, found[0]))
    for fit in range(3):
        loss, gradient = kernel.gradient(architecture, *(tensors[fit : fit + 1] for tensors in given_), "kernel")
        assert torch.equal(loss[0], found[0][0][fit]) and torch.equal(gradient[0], found[0][1][fit])


WRONG = {  # what becomes of (parameters, last input, last target), and the message
    "parameters of one network": (lambda p, x, y: (p[:1], x, y), "parameters must be .3, 81., got .1, 81."),
    "double parameters": (lambda p, x, y: (p.double(), x, y), "parameters must be float32, got torch.float64"),
    "too few rows of inputs": (lambda p, x, y: (p, x[:1], y), r"inputs\[2\] must be .2, .+, got .1, 400."),
    "scattered inputs": (lambda p, x, y: (p, x.T.contiguous().T, y), r"inputs\[2\] .*contiguous"),
    "another device": (lambda p, x, y: (p, x.to("meta"), y), r"inputs\[2\] must be on cpu"),
    "too few targets": (lambda p, x, y: (p, x, y[:, :1]), r"targets\[2\] must be .3, 400., got .3, 1."),
    "scattered targets": (lambda p, x, y: (p, x, y.repeat(1, 2)[:, ::2]), r"targets\[2\] .*contiguous"),
}


@backends
def test_gradient_and_colours_refuse_arguments_that_do_not_fit(backend):
    architecture = Architecture(2, 6)
    parameters, inputs, targets = batch(architecture, 3, 400)
    for name, (spoil, message) in WRONG.items():
        p, x, y = spoil(parameters, inputs[2], targets[2])
        with pytest.raises(ValueError, match=message):
            kernel.gradient(architecture, p, [*inputs[:2], x], [*targets[:2], y], backend)
        if "targets" not in name:
            with pytest.raises(ValueError, match=message):
                kernel.colours(architecture, p, [*inputs[:2], x], backend)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        kernel.gradient(architecture, parameters, [t[:, :0] for t in inputs], [t[:, :0] for t in targets], backend)
    with pytest.raises(ValueError, match="targets must be as many as inputs, 3, got 2"):
        kernel.gradient(architecture, parameters, inputs, targets[:2], backend)
    with pytest.raises(ValueError, match="device must be cpu where backend is 'kernel', got 'cuda'"):
        kernel.resolve("kernel", "cuda")
    assert kernel.resolve("auto", "cuda") == kernel.resolve("torch", "cpu") == "torch"


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [
        (None, "there is no C compiler"),
        ("echo 'no such flag\nmore' >&2; exit 3", "status 3: no such flag"),
        ('for a; do [ "$p" = -o ] && echo junk > $a; p=$a; done', "siren"),
    ],
)
def test_library_without_a_working_compiler_warns_once_and_pytorch_does_the_work(fresh, monkeypatch, compiler, reason):
    """Warnings of the package are errors in the tests; this one may not be, for where there is no compiler."""
    script = fresh / "cc"
    script.write_text(f"#!/bin/sh\n{compiler}\n")
    script.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(script) if compiler and name == "cc" else None)
    with warnings.catch_warnings(record=True) as caught:  # keeps the filters of pyproject.toml
        assert kernel.resolve("auto", "cpu") == "torch" and kernel.library() is None
    (warned,) = caught
    assert warned.category is RuntimeWarning
    assert re.search(f"^The C kernel is not used: .*{reason}.*6 times as long$", str(warned.message))
    assert not (fresh / "cache").exists() or {p.suffix for p in (fresh / "cache").iterdir()} <= {".so"}, "no litter"
    with pytest.raises(ValueError, match="C compiler"):
        kernel.resolve("kernel", "cpu")
