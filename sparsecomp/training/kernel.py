"""Loss and gradient of a batch of SIRENs: by a small C kernel where there is a compiler, by PyTorch everywhere else.

Both compute, for every fit of the batch, ``mean((f(x) - y)^2)`` over the given pixels and channels and its gradient.
Everything that happens to *weights* (gates, quantisation, optimisers) stays in PyTorch; only the loop over *pixels* is
worth C.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from sparsecomp.checks import one_of, require
from sparsecomp.data import cache_folder
from sparsecomp.files import atomic_path
from sparsecomp.models.siren import Architecture, forward, layers

BACKENDS = ("auto", "kernel", "torch")
CHUNKS = 16  # pieces a fit is cut into, whatever the number of threads: sums are always added in the same order
PASS = 2**23  # pixels that PyTorch works on at once, over all fits: what it keeps for the way back fits a GPU's memory
SOURCE = Path(__file__).with_name("kernel.c")
COMPILERS = ("cc", "gcc", "clang")
COMMON = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-shared", "-fPIC")
# The first set that the compiler takes is used.
FLAGS: tuple[list[str], ...] = (["-march=native", "-fopenmp"], ["-march=native"], [])
COMPILE_SECONDS = 120
SLOWER = 6  # how many times as long a step takes in PyTorch: `python -m reproduce bench fit`, mode fast


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None after a warning where it cannot be had, and PyTorch does the work then."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None or platform.system() == "Windows":
        _warn(f"there is no C compiler ({', '.join(COMPILERS)}) for it")
        return None
    target = cache_folder() / f"siren-{_key(compiler)}.so"
    try:
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _compile(compiler, target)
        return ctypes.CDLL(str(target))
    except subprocess.TimeoutExpired:
        _warn(f"{compiler} was not done after {COMPILE_SECONDS} seconds")
    except OSError as error:
        _warn(str(error))
    return None


def _warn(reason: str) -> None:
    """Warn, in one line, that fits will be slow. `library` keeps its result, so this happens once in a process."""
    said = f"The C kernel is not used: {' '.join(reason.split())}; fits take about {SLOWER} times as long"
    warnings.warn(said, RuntimeWarning, stacklevel=3)


def _key(compiler: str) -> str:
    """Names a compiled kernel by its source, compiler, flags and CPU, because ``-march=native`` is for one CPU."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    features = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    identity = f"{compiler}{platform.machine()}{features}{COMMON}{FLAGS}"
    return hashlib.sha256(SOURCE.read_bytes() + identity.encode()).hexdigest()[:16]


def _compile(compiler: str, target: Path) -> None:
    """Write the compiled kernel to ``target``; `OSError` if no set of flags works."""
    with atomic_path(target) as built:  # several processes may compile at once
        for flags in FLAGS:
            done = subprocess.run(
                [compiler, *COMMON, str(SOURCE), "-o", str(built), *flags],
                capture_output=True, text=True, errors="replace", timeout=COMPILE_SECONDS, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                return
        complaint = done.stderr.strip().partition("\n")[0][:200]
        raise OSError(f"{compiler} ended with status {done.returncode}: {complaint}")


def resolve(backend: str, device: torch.device | str) -> str:
    """``"kernel"`` or ``"torch"``: what ``backend`` comes to on ``device``; `ValueError` where it cannot be had."""
    one_of("backend", backend, BACKENDS)
    on_cpu = torch.device(device).type == "cpu"
    if backend == "kernel":
        require(on_cpu, "device", "cpu where backend is 'kernel'", str(device))
        require(library() is not None, "backend", "auto or torch where there is no working C compiler", backend)
    return "kernel" if backend != "torch" and on_cpu and library() is not None else "torch"


def gradient(
    architecture: Architecture,
    parameters: torch.Tensor,
    inputs: list[torch.Tensor],
    targets: list[torch.Tensor],
    backend: str,
    threads: int = 1,
    *,
    compiled: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error ``(B,)`` (float64) and its gradient ``(B, P)`` for the networks ``parameters (B, P)``.

    Parameters
    ----------
    parameters : torch.Tensor
        float32.
    inputs, targets : list of B tensors
        Positions ``(n_in, N)`` and colours ``(n_out, N)`` of one fit each, float32, rows contiguous; the same N for
        all.
    backend : {"kernel", "torch"}
        What `resolve` returned.
    threads : int
        Of the kernel; the bits of the result do not depend on it.
    compiled : bool
        Let PyTorch compile the network (`torch.compile`), where it draws it.

    Raises
    ------
    ValueError
        If an argument has another type, shape or device, whatever the backend.
    """
    _check(architecture, parameters, inputs, backend)
    require(len(targets) == len(inputs), "targets", f"as many as inputs, {len(inputs)}", len(targets))
    pixels = inputs[0].shape[1]
    for name, tensors, rows in (("inputs", inputs, architecture.n_in), ("targets", targets, architecture.n_out)):
        for fit, tensor in enumerate(tensors):
            _check_rows(f"{name}[{fit}]", tensor, rows, pixels, parameters.device)
    if backend == "kernel":
        error, gradients, _ = _call(architecture, parameters, inputs, targets, threads)
        return error / targets[0].numel(), gradients
    passes = -(-pixels * len(inputs) // PASS)
    width = -(-pixels // passes)  # passes of about one size
    draw = _compiled() if compiled else forward
    loss, total = torch.zeros(len(inputs), dtype=torch.float64, device=parameters.device), torch.zeros_like(parameters)
    for start in range(0, pixels, width):  # one, but for a GPU with many whole pictures
        part = slice(start, start + width)
        with torch.enable_grad():
            leaf = parameters.detach().requires_grad_()
            drawn = draw(architecture, leaf, torch.stack([x[:, part] for x in inputs]))
            squared = (drawn - torch.stack([y[:, part] for y in targets])).square()
            mean = squared.flatten(1).sum(1) / targets[0].numel()
            total += torch.autograd.grad(mean.sum(), leaf)[0]
        loss += mean.detach().double()
    return loss, total


@functools.cache
def _compiled() -> Callable[..., torch.Tensor]:
    return torch.compile(forward)


@torch.no_grad()
def colours(
    architecture: Architecture,
    parameters: torch.Tensor,
    inputs: list[torch.Tensor],
    backend: str,
    threads: int = 1,
) -> list[torch.Tensor]:
    """Unclipped colours ``(n_out, N_i)`` of every fit of the batch at all its positions ``(n_in, N_i)``.

    Arguments and errors are those of `gradient`, but N may differ from fit to fit.
    """
    _check(architecture, parameters, inputs, backend)
    for fit, x in enumerate(inputs):
        _check_rows(f"inputs[{fit}]", x, architecture.n_in, None, parameters.device)
    out = []
    for fit, x in enumerate(inputs):
        if backend == "kernel":
            out.append(_call(architecture, parameters[fit : fit + 1], [x], None, threads)[2][0])
        else:
            out.append(
                torch.cat(
                    [forward(architecture, parameters[fit : fit + 1], part[None])[0] for part in x.split(65536, 1)],
                    1,
                )
            )
    return out


def _check(architecture: Architecture, parameters: torch.Tensor, inputs: list[torch.Tensor], backend: str) -> None:
    """Refuse a backend that is none, and parameters of another shape or type: C would read what is not there."""
    one_of("backend", backend, BACKENDS[1:])
    if backend == "kernel":
        resolve(backend, parameters.device)
    require(len(inputs) > 0, "inputs", "at least 1 tensor", len(inputs))
    shape = len(inputs), architecture.n_parameters
    require(tuple(parameters.shape) == shape, "parameters", f"{shape}", tuple(parameters.shape))
    _check_type("parameters", parameters)


def _check_rows(name: str, tensor: torch.Tensor, rows: int, pixels: int | None, device: torch.device) -> None:
    """Refuse a tensor that is not ``(rows, pixels)`` of float32 with each row in one piece of memory."""
    shape, said = tuple(tensor.shape), "N" if pixels is None else pixels
    require(len(shape) == 2 and shape[0] == rows and pixels in (None, shape[1]), name, f"({rows}, {said})", shape)
    require(shape[1] > 0, name, "of at least 1 pixel", shape)
    _check_type(name, tensor)
    require(tensor.device == device, name, f"on {device} as parameters are", str(tensor.device))
    require(tensor.stride(1) == 1 or shape[1] == 1, name, "contiguous in each row", tensor.stride())


def _check_type(name: str, tensor: torch.Tensor) -> None:
    require(tensor.dtype == torch.float32, name, "float32", tensor.dtype)


def _call(
    architecture: Architecture,
    parameters: torch.Tensor,
    inputs: list[torch.Tensor],
    targets: list[torch.Tensor] | None,
    threads: int,
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """One call of the C kernel: sums of squared errors, gradients, colours (the latter only where there are no
    targets).
    """
    fits, pixels = len(inputs), inputs[0].shape[1]
    # The kernel knows no w0: it is multiplied into the sine layers on the way in, and by the chain rule on the way out.
    scale = torch.full_like(parameters[:1], architecture.w0)
    for tensor in layers(architecture, scale)[-1]:
        tensor.fill_(1)
    theta = (parameters * scale).contiguous()
    gradients, error = torch.empty_like(theta), torch.empty(fits, dtype=torch.float64)
    made = [torch.empty(architecture.n_out, pixels) for _ in inputs] if targets is None else None
    compiled = library()
    assert compiled is not None  # `resolve` chose the kernel
    failed = compiled.siren(
        fits, architecture.depth, architecture.width, architecture.n_in, architecture.n_out,
        ctypes.c_long(theta.shape[1]), ctypes.c_void_p(theta.data_ptr()),
        *_rows(inputs), *_rows(targets), *_rows(made),
        ctypes.c_long(pixels), ctypes.c_float(2 / (architecture.n_out * pixels)),
        ctypes.c_void_p(gradients.data_ptr()), ctypes.c_void_p(error.data_ptr()), CHUNKS, threads,
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for {fits} fits of {architecture}")
    return error, gradients.mul_(scale), made or []


def _rows(tensors: list[torch.Tensor] | None) -> tuple[object, object]:
    """Addresses and row strides, as C takes them; two nulls for None."""
    if tensors is None:
        return None, None
    pointers = (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])
    return pointers, (ctypes.c_long * len(tensors))(*[t.stride(0) for t in tensors])
