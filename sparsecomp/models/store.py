"""Trained autoencoders as files: safetensors that hold the weights as fp16 and the counts of the tables.

A ``.spc`` file of the codec `cae` names its model by `Stored.key`, a hash of what is in the model's file. So a model is
measured and hashed as it is stored: what `load` gives has the fp16 values, whatever was trained.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sparsecomp.coding import entropy
from sparsecomp.data import results_folder
from sparsecomp.models.sparse_cae import Shape, SparseCAE

KIND = "sparse_cae"
MOST_BYTES = 2**27  # of a model's file; the largest `Shape` needs 90 MB
FINEST = entropy.FINEST / entropy.UNIT


@dataclass(frozen=True, eq=False)
class Stored:
    """A model as its file has it.

    Attributes
    ----------
    name : str
        The file's, without its suffix.
    key : str
        First 16 hexadecimal digits of a SHA-256 over the tensors and the shape of the network, not over `about`.
    model : SparseCAE
        In evaluation mode; float32, but every value is an fp16 number. It is shared by all who load the file: copy it
        before you change it.
    counts : int64 (C, 512)
        Of the tables (`coding.entropy`).
    about : dict
        Plain values that its maker wrote. Always there: ``finest`` and ``coarsest``, the steps Delta it was trained
        for. ``search`` is true where a codec may choose the model by itself; it prefers a small ``sparsity``.
    """

    name: str
    key: str
    model: SparseCAE
    counts: np.ndarray
    about: dict

    @property
    def step(self) -> int:
        """The geometric mean of the steps it was trained for, as a file has it: in 1/16384."""
        delta = math.sqrt(self.about["finest"] * self.about["coarsest"])
        return min(entropy.COARSEST, max(entropy.FINEST, round(delta * entropy.UNIT)))


def save(path: Path, model: SparseCAE, counts: np.ndarray | torch.Tensor, about: dict) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    path : Path
        ``NAME.safetensors``.
    model : SparseCAE
        Its weights are rounded to fp16.
    counts : whole numbers (C, 512)
        From `entropy.counts_of`.
    about : dict
        Plain values (text, numbers, true or false) under any names; ``finest`` and ``coarsest`` are needed.

    Raises
    ------
    ValueError
        If the name has another suffix, a weight is not finite as fp16, or the counts or `about` cannot be.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"path={str(path)!r}: a name that ends in .safetensors is needed")
    counts = torch.as_tensor(counts)
    _check(model.shape, counts, about)
    tensors = {name: t.detach().cpu().half().contiguous() for name, t in model.state_dict().items()}
    _check_finite(tensors)
    tensors["counts"] = counts.cpu().to(torch.int32).contiguous()
    said = {"kind": KIND, "shape": asdict(model.shape), "about": about}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}-{os.getpid()}.part")
    try:
        save_file(tensors, beside, metadata={"model": json.dumps(said)})
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path) -> Stored:
    """Read what `save` wrote; `ValueError` in one line if it is anything else."""
    try:
        found = Path(path).stat()
        if found.st_size > MOST_BYTES:
            raise ValueError(f"{found.st_size:,} bytes are more than any model has")
        return _load(Path(path).absolute(), found.st_mtime_ns, found.st_size)
    # RecursionError: of JSON. RuntimeError and MemoryError: what torch says where memory ends.
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"model {str(path)!r} cannot be read: {reason}") from error


@functools.lru_cache(maxsize=32)
def _load(path: Path, modified: int, size: int) -> Stored:
    """`load`; time and size of the file are there to notice that another one took its place."""
    with safe_open(path, "pt") as file:
        said = json.loads((file.metadata() or {}).get("model", "null"))
        if not isinstance(said, dict) or said.get("kind") != KIND or set(said) != {"kind", "shape", "about"}:
            raise ValueError(f"it does not say that it is a {KIND}")
        shape = Shape(**said["shape"])
        with torch.device("meta"):
            model = SparseCAE(shape)
        expected = {name: ("F16", list(t.shape)) for name, t in model.state_dict().items()}
        expected["counts"] = ("I32", [shape.latent, entropy.CELLS])
        there = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if {name: (t.get_dtype(), t.get_shape()) for name, t in there.items()} != expected:
            raise ValueError(f"its tensors are not those of width {shape.width} and latent {shape.latent}")
        tensors = {name: file.get_tensor(name) for name in sorted(expected)}
    key = _key(shape, tensors)
    counts = tensors.pop("counts").long()
    _check(shape, counts, said["about"])
    _check_finite(tensors)
    model.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)
    return Stored(path.stem, key, model.eval().requires_grad_(False), counts.numpy(), said["about"])


def _key(shape: Shape, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(f"{KIND} {shape.width} {shape.latent} {shape.encoder_width}\n".encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _check(shape: Shape, counts: torch.Tensor, about: object) -> None:
    entropy.check_counts(counts, shape.latent)
    if not isinstance(about, dict) or not all(
        isinstance(name, str) and isinstance(value, str | int | float | None) for name, value in about.items()
    ):
        raise ValueError(f"about={about!r:.80}: a dict of plain values is needed")
    finest, coarsest = about.get("finest"), about.get("coarsest")
    if not all(isinstance(number, int | float) for number in (finest, coarsest, about.get("sparsity", 0))):
        raise ValueError(f"about={about!r:.200}: finest, coarsest and, if it is there, sparsity must be numbers")
    if not FINEST <= finest <= coarsest <= 4:
        raise ValueError(f"about: finest={finest!r}, coarsest={coarsest!r}: 1/256 <= finest <= coarsest <= 4 is needed")


def _check_finite(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name}: a weight is not a finite fp16 number")


# The models there are -------------------------------------------------------------------------------------------------


def folder() -> Path:
    """``results/models`` of the working copy."""
    return results_folder() / "models"


_also: ContextVar[Path | None] = ContextVar("also", default=None)


@contextmanager
def also(place: Path) -> Iterator[None]:
    """Within it, models of another folder are there, too: a study's, whose records go elsewhere."""
    token = _also.set(place)
    try:
        yield
    finally:
        _also.reset(token)


def available() -> dict[str, Path]:
    """The names of the models in `folder` (and `also`), in order, and their files."""
    places = [place for place in (folder(), _also.get()) if place is not None]
    found = {path.stem: path for place in places for path in place.glob("*.safetensors")}
    return dict(sorted(found.items()))


def find(name_or_path: str | Path) -> Stored:
    """The model of that name, or in that file; `ValueError` that lists the names for any other."""
    names = available()
    if name_or_path in names:
        return load(names[name_or_path])
    if Path(name_or_path).suffix == ".safetensors":
        return load(Path(name_or_path))
    raise ValueError(f"model={str(name_or_path)!r} is unknown; known are {', '.join(names) or 'none'}")


def by_key(key: str) -> Stored:
    """The model in `folder` that has this key; `LookupError` that lists those there are. A broken file is left out."""
    here = []
    for name, path in available().items():
        try:
            stored = load(path)
        except ValueError:
            here.append(f"{name} (broken)")
            continue
        if stored.key == key:
            return stored
        here.append(f"{name} {stored.key}")
    raise LookupError(f"made with model {key}, which is not here; here are {', '.join(here) or 'none'}")
