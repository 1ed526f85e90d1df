from __future__ import annotations

import shutil
import subprocess
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from sparsecomp.models.siren import Architecture, forward, initial_parameters
from sparsecomp.training import kernel

needs_compiler = pytest.mark.skipif(kernel.library() is None, reason="no C compiler here")


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


def exact(architecture, parameters, inputs, targets):
    """Loss and gradient by automatic differentiation in float64, one fit at a time."""
    losses, gradients = [], []
    for theta, x, y in zip(parameters, inputs, targets, strict=True):
        leaf = theta.double()[None].requires_grad_()
        loss = (forward(architecture, leaf, x.double()[None])[0] - y.double()).square().mean()
        losses.append(float(loss.detach()))
        gradients.append(torch.autograd.grad(loss, leaf)[0][0])
    return torch.tensor(losses, dtype=torch.float64), torch.stack(gradients)


def assert_gradient(architecture, got, expected):
    """Every layer's weights and biases apart: the small ones do not hide behind the large ones."""
    start = 0
    for out, inp in architecture.shapes:
        for part in (slice(start, start + out * inp), slice(start + out * inp, start + out * (inp + 1))):
            error = (got[:, part].double() - expected[:, part]).norm(dim=1) / expected[:, part].norm(dim=1)
            assert error.max() < 2e-4
        start += out * (inp + 1)


ARCHITECTURES = [
    Architecture(1, 1),
    Architecture(1, 5),
    Architecture(2, 7, w0=11.5),
    Architecture(3, 16, n_in=4, n_out=5),
    Architecture(5, 20),
    Architecture(10, 28),
    Architecture(2, 3, n_in=1, n_out=9),
]


@pytest.mark.parametrize("pixels", [1, 255, 256, 1000, 5000])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_compiler), "torch"])
def test_gradient_is_that_of_automatic_differentiation(backend, architecture, pixels):
    parameters, inputs, targets = batch(architecture, 3, pixels)
    loss, gradient = kernel.gradient(architecture, parameters, inputs, targets, backend)
    expected_loss, expected = exact(architecture, parameters, inputs, targets)
    assert loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    assert_gradient(architecture, gradient, expected)


def test_pytorch_works_off_what_is_too_much_at_once_in_parts(monkeypatch):
    parameters, inputs, targets = batch(ARCHITECTURES[3], 3, 1000)
    monkeypatch.setattr(kernel, "PASS", 3 * 300)
    sizes, real = [], kernel.forward
    monkeypatch.setattr(kernel, "forward", lambda *given: (sizes.append(given[2].shape[2]), real(*given))[1])
    loss, gradient = kernel.gradient(ARCHITECTURES[3], parameters, inputs, targets, "torch")
    assert sizes == [300, 300, 300, 100]
    expected_loss, expected = exact(ARCHITECTURES[3], parameters, inputs, targets)
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=0)
    assert_gradient(ARCHITECTURES[3], gradient, expected)


@needs_compiler
def test_rows_need_not_be_neighbours():
    architecture = Architecture(3, 10)
    parameters, inputs, targets = batch(architecture, 2, 3000)
    part = slice(700, 1711)
    loss, gradient = kernel.gradient(
        architecture, parameters, [x[:, part] for x in inputs], [y[:, part] for y in targets], "kernel"
    )
    copied = [x[:, part].contiguous() for x in inputs], [y[:, part].contiguous() for y in targets]
    same_loss, same = kernel.gradient(architecture, parameters, *copied, "kernel")
    assert torch.equal(loss, same_loss) and torch.equal(gradient, same)
    shown = kernel.colours(architecture, parameters, [x[:, part] for x in inputs], "kernel")
    assert torch.equal(shown[1], kernel.colours(architecture, parameters, copied[0], "kernel")[1])


def wrong_arguments() -> dict[str, tuple]:
    """Arguments of `gradient` with one thing wrong each, and what must be said of it."""
    architecture = Architecture(2, 6)
    parameters, inputs, targets = batch(architecture, 3, 400)
    x, y = inputs[2], targets[2]

    def last(values: list, value: object) -> list:
        return [*values[:2], value]

    p = architecture.n_parameters
    return {
        "parameters of one network": (parameters[:1], inputs, targets, f"parameters must be .3, {p}., got .1, {p}."),
        "parameters of another architecture": (parameters[:, 1:], inputs, targets, f"parameters must be .3, {p}."),
        "a flat vector": (parameters[0], inputs, targets, f"parameters must be .3, {p}., got .{p},."),
        "double parameters": (parameters.double(), inputs, targets, "parameters must be float32, got torch.float64"),
        "half parameters": (parameters.half(), inputs, targets, "parameters must be float32, got torch.float16"),
        "double inputs": (parameters, last(inputs, x.double()), targets, r"inputs\[2\] must be float32"),
        "double targets": (parameters, inputs, last(targets, y.double()), r"targets\[2\] must be float32"),
        "fewer inputs": (parameters, last(inputs, x[:, :399]), targets, r"inputs\[2\] must be .2, 400., got .2, 399."),
        "fewer targets": (parameters, inputs, last(targets, y[:, :1]), r"targets\[2\] must be .3, 400., got .3, 1."),
        "more targets": (parameters, inputs, last(targets, y.repeat(1, 2)), r"targets\[2\] must be .3, 400."),
        "rows of inputs": (parameters, last(inputs, x[:1]), targets, r"inputs\[2\] must be .2, 400., got .1, 400."),
        "rows of targets": (parameters, inputs, last(targets, y[:2]), r"targets\[2\] must be .3, 400., got .2, 400."),
        "pixels that stand first": (parameters, last(inputs, x.T), targets, r"inputs\[2\] must be .2, 400."),
        "scattered inputs": (parameters, last(inputs, x.T.contiguous().T), targets, r"inputs\[2\] .*contiguous"),
        "scattered targets": (parameters, inputs, last(targets, y.repeat(1, 2)[:, ::2]), r"targets\[2\] .*contiguous"),
        "no pixels": (parameters, [t[:, :0] for t in inputs], [t[:, :0] for t in targets], "at least 1 pixel"),
        "no fits": (parameters[:0], [], [], "inputs must be at least 1 tensor"),
        "too few targets": (parameters, inputs, targets[:2], "targets must be as many as inputs, 3, got 2"),
        "another device": (parameters, last(inputs, x.to("meta")), targets, r"inputs\[2\] must be on cpu"),
    }


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_compiler), "torch"])
@pytest.mark.parametrize("case", wrong_arguments())
def test_gradient_refuses_arguments_that_do_not_fit(backend, case):
    parameters, inputs, targets, message = wrong_arguments()[case]
    with pytest.raises(ValueError, match=message):
        kernel.gradient(Architecture(2, 6), parameters, inputs, targets, backend)


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_compiler), "torch"])
@pytest.mark.parametrize("case", [c for c in wrong_arguments() if "targets" not in c and c != "fewer inputs"])
def test_colours_refuses_arguments_that_do_not_fit(backend, case):
    parameters, inputs, _, message = wrong_arguments()[case]
    message = message.replace("400.", ".+")  # pictures may differ in size here
    with pytest.raises(ValueError, match=message):
        kernel.colours(Architecture(2, 6), parameters, inputs, backend)


def test_gradient_and_colours_take_no_backend_but_a_resolved_one(monkeypatch):
    architecture = Architecture(2, 6)
    parameters, inputs, targets = batch(architecture, 1, 9)
    for backend in ("auto", "numpy", None):
        with pytest.raises(ValueError, match="backend must be one of kernel, torch, got"):
            kernel.gradient(architecture, parameters, inputs, targets, backend)
        with pytest.raises(ValueError, match="backend must be one of kernel, torch, got"):
            kernel.colours(architecture, parameters, inputs, backend)
    monkeypatch.setattr(kernel, "library", lambda: None)
    with pytest.raises(ValueError, match="C compiler"):
        kernel.gradient(architecture, parameters, inputs, targets, "kernel")


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=needs_compiler), "torch"])
def test_gradient_is_a_finite_difference(backend):
    architecture = Architecture(2, 3, w0=5.0)
    parameters, (x,), (y,) = batch(architecture, 1, 40)
    theta, x64, y64 = parameters[0].numpy().astype(np.float64), x.numpy().astype(float), y.numpy().astype(float)

    def loss(theta: np.ndarray) -> float:
        h, at = x64, 0
        for layer, (out, inp) in enumerate(architecture.shapes):
            weight, bias = theta[at : at + out * inp].reshape(out, inp), theta[at + out * inp : at + out * (inp + 1)]
            at += out * (inp + 1)
            h = weight @ h + bias[:, None]
            if layer < architecture.depth:
                h = np.sin(architecture.w0 * h)
        return float(((h - y64) ** 2).mean())

    step = 1e-6
    expected = [(loss(theta + step * e) - loss(theta - step * e)) / (2 * step) for e in np.eye(len(theta))]
    got_loss, gradient = kernel.gradient(architecture, parameters, [x], [y], backend)
    assert float(got_loss) == pytest.approx(loss(theta), rel=1e-5)
    np.testing.assert_allclose(gradient[0].numpy(), expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-3)


@needs_compiler
def test_sine_and_cosine_are_exact_for_large_arguments():
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


@needs_compiler
def test_networks_with_large_weights():
    architecture = Architecture(2, 9)
    parameters, inputs, targets = batch(architecture, 1, 500)
    parameters[:, : 9 * 3] *= 40  # arguments up to 2,000
    _, gradient = kernel.gradient(architecture, parameters, inputs, targets, "kernel")
    _, expected = exact(architecture, parameters, inputs, targets)
    assert (gradient.double() - expected).norm() < 2e-3 * expected.norm()


@needs_compiler
def test_colours_are_those_of_the_model():
    architecture = Architecture(4, 13)
    parameters, inputs, _ = batch(architecture, 2, 70_001)
    inputs[1] = inputs[1][:, :333]  # sizes may differ
    for backend in ("kernel", "torch"):
        shown = kernel.colours(architecture, parameters, inputs, backend)
        for fit, x in enumerate(inputs):
            expected = forward(architecture, parameters[fit : fit + 1].double(), x[None].double())[0]
            torch.testing.assert_close(shown[fit].double(), expected, atol=2e-5, rtol=0)


@needs_compiler
@pytest.mark.parametrize("pixels", [300, 20_000])
def test_bits_do_not_depend_on_threads_or_neighbours(pixels):
    architecture = Architecture(5, 20)
    parameters, inputs, targets = batch(architecture, 3, pixels)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4, 7):
            torch.set_num_threads(threads)
            found.append(kernel.gradient(architecture, parameters, inputs, targets, "kernel"))
    finally:
        torch.set_num_threads(before)
    for loss, gradient in found[1:]:
        assert torch.equal(loss, found[0][0]) and torch.equal(gradient, found[0][1])
    for fit in range(3):
        one = slice(fit, fit + 1)
        loss, gradient = kernel.gradient(architecture, parameters[one], inputs[one], targets[one], "kernel")
        assert torch.equal(loss[0], found[0][0][fit]) and torch.equal(gradient[0], found[0][1][fit])


def test_without_a_compiler_pytorch_does_the_work(fresh, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.warns(RuntimeWarning, match="there is no C compiler .*; fits take about 6 times as long") as warned:
        assert kernel.library() is None
    assert kernel.resolve("auto", "cpu") == "torch"
    with pytest.raises(ValueError, match="C compiler"):
        kernel.resolve("kernel", "cpu")
    assert len(warned) == 1, "once in a process"


JUNK = "for a; do last=$a; done; for a; do [ $p = -o ] && echo junk > $a; p=$a; done"


@pytest.mark.parametrize(
    ("compiler", "reason"),
    [("echo 'no such flag\nmore' >&2; exit 3", "status 3: no such flag"), ("exit 0", "siren"), (JUNK, "siren")],
)
def test_a_broken_compiler_is_as_good_as_none(fresh, monkeypatch, compiler, reason):
    script = fresh / "cc"
    script.write_text(f"#!/bin/sh\np=0\n{compiler}\n")
    script.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(script) if name == "cc" else None)
    with pytest.warns(RuntimeWarning, match=f"(?s)^The C kernel is not used: .*{reason}.*6 times as long$") as warned:
        assert kernel.library() is None
    assert len(warned) == 1 and "\n" not in str(warned[0].message)
    assert kernel.resolve("auto", "cpu") == "torch"
    assert [path.suffix for path in (fresh / "cache").iterdir()] in ([], [".so"]), "no litter"


def test_a_compiler_that_hangs_is_as_good_as_none(fresh, monkeypatch):
    def hang(*arguments, timeout, **options):
        raise subprocess.TimeoutExpired(arguments, timeout)

    monkeypatch.setattr(shutil, "which", lambda name: "/no/such/cc")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.warns(RuntimeWarning, match="120 seconds"):
        assert kernel.library() is None


def test_the_warning_of_a_missing_kernel_is_no_failure_of_a_test_run(fresh, monkeypatch):
    """Warnings of the package are errors in the tests; this one may not be, for where there is no compiler."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with warnings.catch_warnings(record=True) as caught:  # keeps the filters of pyproject.toml
        assert [kernel.resolve("auto", "cpu") for _ in range(2)] == ["torch", "torch"]
    assert [w.category for w in caught] == [RuntimeWarning] and caught[0].filename == kernel.__file__


@needs_compiler
def test_a_compiler_without_openmp_gives_the_same_bits(fresh, monkeypatch):
    real = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))))
    architecture = Architecture(3, 18)
    parameters, inputs, targets = batch(architecture, 2, 3000)
    usual = kernel.gradient(architecture, parameters, inputs, targets, "kernel")
    script = fresh / "cc"
    script.write_text(f'#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(script))
    kernel.library.cache_clear()
    assert kernel.resolve("auto", "cpu") == "kernel"
    loss, gradient = kernel.gradient(architecture, parameters, inputs, targets, "kernel")
    assert torch.equal(loss, usual[0]) and torch.equal(gradient, usual[1])


@needs_compiler
def test_several_may_build_at_once(fresh):
    with ThreadPoolExecutor(4) as pool:  # past functools.cache: four builds that meet in the file system only
        built = list(pool.map(lambda _: kernel.library.__wrapped__(), range(4)))
    assert all(library is not None for library in built)
    left = [path.name for path in (fresh / "cache").iterdir()]
    assert len(left) == 1 and left[0].endswith(".so"), left


def test_unknown_backends_and_devices():
    with pytest.raises(ValueError, match="backend must be one of auto, kernel, torch, got 'numpy'"):
        kernel.resolve("numpy", "cpu")
    with pytest.raises(ValueError, match="device must be cpu where backend is 'kernel', got 'cuda'"):
        kernel.resolve("kernel", "cuda")
    assert kernel.resolve("auto", "cuda") == "torch"
    assert kernel.resolve("torch", "cpu") == "torch"
