"""Trained autoencoders as files: safetensors that hold the weights as fp16 and the counts of the tables.

A ``.spc`` file of a trained codec names its model by `Stored.key`, a hash of what is in the model's file. So a model is
measured and hashed as it is stored: what `load` gives has the fp16 values, whatever was trained.

There are two families of networks, `FAMILIES`, and three codecs: `cae` uses the one, `cae-admm` and `cae-theis` share
the other. A model serves one codec.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sparsecomp.checks import InputError, in_range, one_of, refuse
from sparsecomp.coding import latents
from sparsecomp.coding.contexts import CLASSES, ESCAPE, Contexts
from sparsecomp.complexity import count_macs
from sparsecomp.files import atomic_path
from sparsecomp.models import cae_admm, sparse_cae
from sparsecomp.models.cae_admm import CaeAdmm
from sparsecomp.models.inference import channels_last, in_strips, pad, to_tensor
from sparsecomp.models.sparse_cae import SparseCAE
from sparsecomp.options import as_dict

FAMILIES = {"sparse_cae": (sparse_cae, SparseCAE), "cae_admm": (cae_admm, CaeAdmm)}
ADMM_CODECS = ("cae-admm", "cae-theis")  # that a model of cae_admm may be for
# Of a model's file. Of sparse_cae the largest `Shape` needs 75 MB. Of cae_admm the paper's needs 12 MB and the largest
# 385: not every legal shape can be stored. At width 512 there may be 10 blocks, at width 296 all 32.
MOST_BYTES = 2**27
SUFFIX = ".safetensors"
WEIGHTS = Path(__file__).parents[1] / "weights"  # the models that codecs choose by themselves; they are in the wheel
FINEST = latents.FINEST / latents.UNIT
CONTEXTS = {"context_weights", "context_tables"}  # names in a model's file
LEAST_VARIANCE = 2.0**-24  # the smallest fp16 number above 0


@dataclass(frozen=True, eq=False)
class Stored:
    """A model as its file has it.

    Attributes
    ----------
    name : str
        The file's, without its suffix.
    key : str
        First 16 hexadecimal digits of a SHA-256 over the tensors and the shape of the network, not over `about`.
    kind : {"sparse_cae", "cae_admm"}
        The family of the network.
    model : SparseCAE or CaeAdmm
        In evaluation mode; float32, but every value is an fp16 number. It is shared by all who find it in the same
        `Models`: copy it before you change it.
    counts : int64 (C, 512)
        Of the tables (`coding.latents`; `coding.integer_latents` for cae_admm).
    contexts : Contexts, optional
        Of a model of sparse_cae whose files are coded with contexts, in place of tables from the counts.
    about : dict
        Plain values that its maker wrote. ``search`` is true where a codec may choose the model by itself.

        Of sparse_cae always ``finest`` and ``coarsest``, the steps Delta it was trained for; `encode` prefers a small
        ``sparsity``. Of cae_admm always ``codec``, "cae-admm" or "cae-theis"; `encode` prefers a large ``keep``, the
        share of a code that training left, and a small ``lam``, the price of a bit. ``projects`` is true where the
        network was trained through the projection to ``keep``, which is then a part of its encoder.
    """

    name: str
    key: str
    kind: str
    model: SparseCAE | CaeAdmm
    counts: np.ndarray
    about: dict
    contexts: Contexts | None = None

    @property
    def codec(self) -> str:
        """The codec that the model is for."""
        return self.about["codec"] if self.kind == "cae_admm" else "cae"

    @property
    def scale(self) -> int:
        """Pixels of the picture, along one side, for one place of the code."""
        return FAMILIES[self.kind][0].SCALE

    def places(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the code of a picture of this size."""
        return -(-height // self.scale), -(-width // self.scale)

    @functools.cached_property
    def macs(self) -> int:
        """Multiply-accumulates of the decoder for one place of the code."""
        return count_macs(self.model.decoder, (1, self.model.shape.latent, 1, 1))

    def encode(self, image: np.ndarray, device: str = "cpu") -> torch.Tensor:
        """Apply the encoder to a picture uint8 ``(H, W, 3)``: float ``(C, h, w)``, on the CPU, not yet rounded."""
        encoder = channels_last(copy.deepcopy(self.model.encoder), device)

        def code_of(strip: torch.Tensor) -> torch.Tensor:
            return encoder(strip.to(device).float() / 255).cpu()

        x, margin = pad(to_tensor(image), self.scale), self.model.shape.margin
        return in_strips(code_of, x, scale=self.scale, margin=margin, down=True)[0]

    def decode(
        self, symbols: np.ndarray, height: int, width: int, *, unit: float = 1.0, device: str = "cpu"
    ) -> np.ndarray:
        """Draw the picture uint8 ``(H, W, 3)`` of symbols ``(C, h, w)`` in multiples of ``unit``.

        It is rounded strip by strip, so that little more than the picture itself is held.
        """
        decoder = channels_last(copy.deepcopy(self.model.decoder), device)

        def picture_of(strip: torch.Tensor) -> torch.Tensor:
            x = decoder(strip.to(device).float() * unit)
            return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu()

        z, margin = torch.from_numpy(symbols)[None], self.model.shape.margin
        picture = in_strips(picture_of, z, scale=self.scale, margin=margin, down=False)[0]
        return np.ascontiguousarray(picture[:, :height, :width].permute(1, 2, 0).numpy())

    @property
    def step(self) -> int:
        """Of sparse_cae: the geometric mean of the steps it was trained for, as a file has it: in 1/16384."""
        delta = math.sqrt(self.about["finest"] * self.about["coarsest"])
        return min(latents.COARSEST, max(latents.FINEST, round(delta * latents.UNIT)))


def save(
    path: Path,
    model: SparseCAE | CaeAdmm,
    counts: np.ndarray | torch.Tensor,
    about: dict,
    contexts: Contexts | None = None,
) -> None:
    """Write a model, whole or not at all.

    Parameters
    ----------
    path : Path
        ``NAME.safetensors``.
    model : SparseCAE or CaeAdmm
        Its weights and running statistics are rounded to fp16 (`rounded`).
    counts : whole numbers (C, 512)
        From `latents.counts_of`, or `integer_latents.counts_of`.
    about : dict
        Plain values (text, numbers, true or false) under any names. ``finest`` and ``coarsest`` are needed for
        sparse_cae, ``codec`` for cae_admm.
    contexts : Contexts, optional
        Of sparse_cae: what its files are coded with, in place of the counts.

    Raises
    ------
    ValueError
        If the name has another suffix, a weight is not finite as fp16, the counts or `about` cannot be, or the file
        would be larger than any may be.
    """
    if path.suffix != SUFFIX:
        refuse("path", "a name that ends in .safetensors", str(path))
    counts = torch.as_tensor(counts)
    kind = _kind(model)
    _check(kind, model.shape, counts, about, contexts)
    tensors = rounded(model)
    _check_values(tensors)
    tensors["counts"] = counts.cpu().to(torch.int32).contiguous()
    if contexts is not None:
        own = {"context_weights": contexts.weights, "context_tables": contexts.tables}
        tensors |= {name: torch.from_numpy(array).contiguous() for name, array in own.items()}
    said = {"kind": kind, "shape": as_dict(model.shape), "about": about}
    size = sum(t.numel() * t.element_size() for t in tensors.values())
    if size > MOST_BYTES - 2**17:  # room for the header
        raise InputError(f"model: {model.shape} makes {size:,} bytes; a file may have {MOST_BYTES:,}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as beside:
        save_file(tensors, beside, metadata={"model": json.dumps(said)})


def rounded(model: SparseCAE | CaeAdmm) -> dict[str, torch.Tensor]:
    """The state of a model as `save` writes it: fp16, on the CPU.

    A variance too small for fp16 becomes the smallest number above 0. (Batch normalisation adds 1e-5 to it.)
    """
    tensors = {name: t.detach().cpu().half().contiguous() for name, t in model.state_dict().items()}
    return {name: t.clamp(min=LEAST_VARIANCE) if _is_variance(name) else t for name, t in tensors.items()}


@torch.no_grad()
def round_(model: SparseCAE | CaeAdmm) -> None:
    """Give a model, in place, the values that its file will have: what is measured then is what is stored."""
    state = model.state_dict()
    for name, tensor in rounded(model).items():
        state[name].copy_(tensor)


def load(path: Path) -> Stored:
    """Read what `save` wrote; `ValueError` in one line if it is anything else."""
    try:
        size = Path(path).stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"{size:,} bytes are more than any model has")
        return _load(Path(path))
    # RecursionError: of JSON. RuntimeError and MemoryError: what torch says where memory ends.
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"model {str(path)!r} cannot be read: {reason}") from error


def _load(path: Path) -> Stored:
    with safe_open(path, "pt") as file:
        said = json.loads((file.metadata() or {}).get("model", "null"))
        if not isinstance(said, dict) or set(said) != {"kind", "shape", "about"} or said["kind"] not in FAMILIES:
            raise InputError(f"it does not say that it is one of {', '.join(FAMILIES)}")
        kind, (module, network) = said["kind"], FAMILIES[said["kind"]]
        shape = module.Shape(**said["shape"])
        with torch.device("meta"):
            model = network(shape)
        expected = {name: ("F16", list(t.shape)) for name, t in model.state_dict().items()}
        expected["counts"] = ("I32", [shape.latent, latents.CELLS])
        there = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if CONTEXTS & set(there):
            expected["context_weights"] = ("I32", [shape.latent, 3, shape.latent + 3])
            expected["context_tables"] = ("I32", [CLASSES, ESCAPE + 1])
        if {name: (t.get_dtype(), t.get_shape()) for name, t in there.items()} != expected:
            raise InputError(f"its tensors are not those of {shape}")
        tensors = {name: file.get_tensor(name) for name in sorted(expected)}
    key = _key(kind, shape, tensors)
    counts, contexts = tensors.pop("counts").long(), None
    if CONTEXTS <= set(tensors):
        contexts = Contexts(tensors.pop("context_weights").numpy(), tensors.pop("context_tables").numpy())
    _check(kind, shape, counts, said["about"], contexts)
    _check_values(tensors)
    # The names are those expected. (A strict load would miss the count of batches, which no batch normalisation keeps.)
    model.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True, strict=False)
    return Stored(path.stem, key, kind, model.eval().requires_grad_(False), counts.numpy(), said["about"], contexts)


def _kind(model: object) -> str:
    for kind, (_, network) in FAMILIES.items():
        if isinstance(model, network):
            return kind
    raise InputError(f"model={type(model).__name__}: one of {', '.join(n.__name__ for _, n in FAMILIES.values())}")


def _key(kind: str, shape: sparse_cae.Shape | cae_admm.Shape, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(" ".join(map(str, (kind, *as_dict(shape).values()))).encode() + b"\n")
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:16]


def _check(
    kind: str,
    shape: sparse_cae.Shape | cae_admm.Shape,
    counts: torch.Tensor,
    about: dict,
    contexts: Contexts | None,
) -> None:
    latents.check_counts(counts, shape.latent)
    if contexts is not None and (kind != "sparse_cae" or len(contexts.weights) != shape.latent):
        refuse("contexts", f"a context model of {shape.latent} channels, of sparse_cae alone", len(contexts.weights))
    if not isinstance(about, dict) or not all(
        isinstance(name, str) and isinstance(value, str | int | float | None) for name, value in about.items()
    ):
        refuse("about", "a dict of plain values", repr(about)[:80])
    (_check_steps if kind == "sparse_cae" else _check_codec)(about)


def _check_steps(about: dict) -> None:
    finest, coarsest = about.get("finest"), about.get("coarsest")
    in_range("about: coarsest", coarsest, FINEST, 4)
    in_range("about: finest", finest, FINEST, float(coarsest or 0))
    in_range("about: sparsity", about.get("sparsity", 0), -math.inf)


def _check_codec(about: dict) -> None:
    one_of("about: codec", about.get("codec"), ADMM_CODECS)
    keep, lam = about.get("keep"), about.get("lam")
    if keep is not None or about.get("projects"):
        in_range("about: keep", keep, 0, 1, "(]")
    if lam is not None:
        in_range("about: lam", lam, 0)


def _check_values(tensors: dict[str, torch.Tensor]) -> None:
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{name}: a weight is not a finite fp16 number")
        if _is_variance(name) and bool((tensor <= 0).any()):
            raise InputError(f"{name}: a variance is not above 0")


def _is_variance(name: str) -> bool:
    return name.endswith(".running_var")


# The models there are -------------------------------------------------------------------------------------------------


class Models:
    """The trained models of some folders, by name and by key. Each file is read once, and again only if it changes.

    Parameters
    ----------
    *places : str or Path
        Folders of ``NAME.safetensors`` files, or such files. Of two models of one name the later place has the one
        that counts. Folders are listed at each call, so that a model that is added is found.
    """

    def __init__(self, *places: str | Path) -> None:
        self.places = tuple(Path(place).absolute() for place in places)
        self._read: dict[Path, tuple[tuple[int, int] | None, Stored | str]] = {}

    @property
    def files(self) -> dict[str, Path]:
        """The names of the models, in order, and their files."""
        each = ([place] if place.suffix == SUFFIX else place.glob(f"*{SUFFIX}") for place in self.places)
        return dict(sorted({path.stem: path for paths in each for path in paths}.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models, in order."""
        return tuple(self.files)

    def find(self, name_or_path: str | Path) -> Stored:
        """Find the model of that name, or in that file; `ValueError` that lists the names for any other."""
        files = self.files
        if name_or_path in files:
            return self._load(files[name_or_path])
        if Path(name_or_path).suffix == SUFFIX:
            return self._load(Path(name_or_path))
        raise InputError(f"model={str(name_or_path)!r} is unknown; known are {', '.join(files) or 'none'}")

    def of_codec(self, *codecs: str) -> list[Stored]:
        """List the models that are for these codecs, in order of their names; `ValueError` if a file is broken."""
        return [stored for stored in map(self._load, self.files.values()) if stored.codec in codecs]

    def by_key(self, key: str, codec: str | None = None) -> Stored:
        """Find the model that has this key; `LookupError` that lists those there are. A broken file is left out.

        What a model is for is no part of its key: of several with the same weights, one for ``codec`` comes first.
        """
        here, found = [], None
        for name, path in self.files.items():
            try:
                stored = self._load(path)
            except ValueError:
                here.append(f"{name} (broken)")
                continue
            if stored.key == key:
                found = found or stored
                if codec in (None, stored.codec):
                    return stored
            here.append(f"{name} {stored.key}")
        if found is None:
            raise LookupError(f"made with model {key}, which is not here; here are {', '.join(here) or 'none'}")
        return found

    def _load(self, path: Path) -> Stored:
        """`load`, unless the file was read before and has the same time and size; what is wrong is kept, too."""
        path = path.absolute()
        try:
            status = path.stat()
            state = status.st_mtime_ns, status.st_size
        except OSError:
            state = None  # `load` says why
        if path not in self._read or self._read[path][0] != state:
            try:
                self._read[path] = state, load(path)
            except ValueError as error:
                self._read[path] = state, str(error)
        found = self._read[path][1]
        if isinstance(found, str):
            raise InputError(found)
        return found


@functools.cache
def default_models() -> Models:
    """The models that are used where none are given: the package's own, and in a clone those of ``results/models``.

    An installed package looks for ``results/models`` in the current folder.
    """
    clone = Path(__file__).resolve().parents[2] / "results"
    return Models(WEIGHTS, (clone if clone.is_dir() else Path.cwd() / "results") / "models")
