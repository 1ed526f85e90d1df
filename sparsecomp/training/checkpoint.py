"""A half-finished training as one file: tensors, and what else its next step depends on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sparsecomp.files import atomic_path


def save(path: Path, tensors: dict[str, torch.Tensor], identity: dict, state: dict) -> None:
    """Write tensors and plain values, whole or not at all; ``identity`` says whose they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    about = json.dumps({"identity": identity, "state": state})
    with atomic_path(path) as beside:
        save_file({k: v.contiguous().cpu() for k, v in tensors.items()}, beside, metadata={"about": about})


def load(path: Path, tensors: dict[str, torch.Tensor], identity: dict) -> dict:
    """Fill ``tensors`` in place from `save`, and give the plain values.

    Raises
    ------
    ValueError
        If the file is broken, belongs to another configuration, or holds other tensors; nothing is changed then.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["about"])
            kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        whose, state = about["identity"], about["state"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint {path}: cannot be read ({error}); delete it to begin anew") from error
    if whose != json.loads(json.dumps(identity)):
        raise ValueError(f"checkpoint {path}: made by another configuration; delete it to begin anew")
    if {name: t.shape for name, t in kept.items()} != {name: t.shape for name, t in tensors.items()}:
        raise ValueError(f"checkpoint {path}: its tensors are not those of this fit; delete it to begin anew")
    for name, tensor in tensors.items():
        tensor.copy_(kept[name])
    return state


def hash_of(tensors: dict[str, torch.Tensor]) -> str:
    """Ten hexadecimal digits that name tensors by their names, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]
