"""Loss and gradient of a batch of SIRENs: by a small C kernel where there is a compiler, by PyTorch everywhere else.

Both compute, for every fit of the batch, ``mean((f(x) - y)^2)`` over the given pixels and channels and its gradient.
Everything that happens to *weights* (gates, quantisation, optimisers) stays in PyTorch; only the loop over *pixels* is
worth C.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch

from sparsecomp.data import cache_folder
from sparsecomp.models.siren import Architecture, forward, layers

BACKENDS = ("auto", "kernel", "torch")
CHUNKS = 16  # pieces a fit is cut into, whatever the number of threads: sums are always added in the same order
PASS = 2**23  # pixels that PyTorch works on at once, over all fits: what it keeps for the way back fits a GPU's memory
FLAGS = (["-march=native", "-fopenmp"], ["-march=native"], [])  # the first set that the compiler takes


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel, or None where there is no C compiler (PyTorch does the work then, slower)."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None or platform.system() == "Windows":
        return None
    source = Path(__file__).with_name("kernel.c")
    cpu = Path("/proc/cpuinfo")
    model = (
        next((line for line in cpu.read_text().splitlines() if line.startswith("flags")), "")
        if cpu.exists()
        else platform.processor()
    )
    key = hashlib.sha256(source.read_bytes() + f"{compiler}{platform.machine()}{model}{FLAGS}".encode()).hexdigest()[
        :16
    ]
    target = cache_folder() / f"siren-{key}.so"
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                built = Path(folder) / "siren.so"
                command = [
                    compiler,
                    "-O3",
                    "-std=gnu11",
                    "-ffp-contract=fast",
                    "-shared",
                    "-fPIC",
                    str(source),
                    "-o",
                    str(built),
                ]
                for flags in FLAGS:
                    if (
                        subprocess.run([*command, *flags], capture_output=True, timeout=120, check=False).returncode
                        == 0
                    ):
                        os.replace(built, target)  # whole or not at all: several processes may build at once
                        break
                else:
                    return None
        except (OSError, subprocess.TimeoutExpired):
            return None
    try:
        return ctypes.CDLL(str(target))
    except OSError:
        return None


def resolve(backend: str, device: torch.device | str) -> str:
    """``"kernel"`` or ``"torch"``: what ``backend`` comes to on ``device``; `ValueError` where it cannot be had."""
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}: one of {', '.join(BACKENDS)} is needed")
    possible = torch.device(device).type == "cpu" and library() is not None
    if backend == "kernel" and not possible:
        raise ValueError("backend='kernel': needs device='cpu' and a C compiler (cc, gcc or clang)")
    return "kernel" if possible and backend != "torch" else "torch"


def gradient(
    architecture: Architecture,
    parameters: torch.Tensor,
    inputs: list[torch.Tensor],
    targets: list[torch.Tensor],
    backend: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error ``(B,)`` (float64) and its gradient ``(B, P)`` for the networks ``parameters (B, P)``.

    Parameters
    ----------
    inputs, targets : list of B tensors
        Positions ``(n_in, N)`` and colours ``(n_out, N)`` of one fit each, float32, rows contiguous; the same N for
        all.
    backend : {"kernel", "torch"}
        What `resolve` returned.
    """
    if backend == "kernel":
        error, gradients, _ = _call(architecture, parameters, inputs, targets)
        return error / targets[0].numel(), gradients
    pixels, width = inputs[0].shape[1], max(1, PASS // len(inputs))
    loss, total = torch.zeros(len(inputs), dtype=torch.float64), torch.zeros_like(parameters)
    for start in range(0, pixels, width):  # one pass, but for a GPU with many whole pictures
        part = slice(start, start + width)
        with torch.enable_grad():
            leaf = parameters.detach().requires_grad_()
            drawn = forward(architecture, leaf, torch.stack([x[:, part] for x in inputs]))
            squared = (drawn - torch.stack([y[:, part] for y in targets])).square()
            mean = squared.flatten(1).sum(1) / targets[0].numel()
            total += torch.autograd.grad(mean.sum(), leaf)[0]
        loss += mean.detach().double().cpu()
    return loss, total


@torch.no_grad()
def colours(
    architecture: Architecture, parameters: torch.Tensor, inputs: list[torch.Tensor], backend: str
) -> list[torch.Tensor]:
    """Unclipped colours ``(n_out, N_i)`` of every fit of the batch at all its positions ``(n_in, N_i)``."""
    out = []
    for fit, x in enumerate(inputs):
        if backend == "kernel":
            out.append(_call(architecture, parameters[fit : fit + 1], [x], None)[2][0])
        else:
            out.append(
                torch.cat(
                    [forward(architecture, parameters[fit : fit + 1], part[None])[0] for part in x.split(65536, 1)],
                    1,
                )
            )
    return out


def _call(
    architecture: Architecture,
    parameters: torch.Tensor,
    inputs: list[torch.Tensor],
    targets: list[torch.Tensor] | None,
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
    failed = library().siren(
        fits, architecture.depth, architecture.width, architecture.n_in, architecture.n_out,
        ctypes.c_long(theta.shape[1]), ctypes.c_void_p(theta.data_ptr()),
        *_rows(inputs), *_rows(targets), *_rows(made),
        ctypes.c_long(pixels), ctypes.c_float(2 / (architecture.n_out * pixels)),
        ctypes.c_void_p(gradients.data_ptr()), ctypes.c_void_p(error.data_ptr()), CHUNKS, torch.get_num_threads(),
    )  # fmt: skip
    if failed:
        raise MemoryError(f"no memory for {fits} fits of {architecture}")
    return error, gradients.mul_(scale), made or []


def _rows(tensors: list[torch.Tensor] | None) -> tuple[object, object]:
    """Addresses and row strides, as C takes them; two nulls for None."""
    if tensors is None:
        return None, None
    if any(t.dtype != torch.float32 or t.stride(1) != 1 or t.device.type != "cpu" for t in tensors):
        raise ValueError("the kernel takes float32 rows on the CPU")
    pointers = (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])
    return pointers, (ctypes.c_long * len(tensors))(*[t.stride(0) for t in tensors])
