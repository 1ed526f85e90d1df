"""Every training after a few steps, and every codec's files: digests to compare two versions of the code with.

`same_bits.py` runs this file of two versions, each with its own code, on one machine. A change of the code may
change how a case is called here, never which cases there are or what they start from.

Each case gives named values: tensors, arrays, bytes, or plain numbers. Trainings also run paused: after every
single step the state goes to a checkpoint, and a new object continues from it. Both ways must agree.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import torch

from sparsecomp import codecs, data
from sparsecomp.models.cae_admm import CaeAdmm
from sparsecomp.models.cae_admm import Shape as CodeShape
from sparsecomp.models.siren import Architecture
from sparsecomp.models.sparse_cae import Shape, SparseCAE
from sparsecomp.training import optimisers
from sparsecomp.training.autoencoder import CaeTraining
from sparsecomp.training.configs import CodeDescent, Descent, FitBudget, Pruning, Sparsity
from sparsecomp.training.constrained_fit import ConstrainedFit, MagnitudePruning
from sparsecomp.training.double_descent import Constraint, project, second_start
from sparsecomp.training.fit import Method, fit
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import Paused, Training, run

Case = Callable[[Path], dict[str, object]]


def digest(value: object) -> str:
    """Sixteen hexadecimal digits of a value's type, shape and bytes."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().contiguous().numpy()
    if isinstance(value, np.ndarray):
        value = f"{value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes()
    if not isinstance(value, bytes):
        value = json.dumps(value, sort_keys=True, default=str).encode()
    return hashlib.sha256(value).hexdigest()[:16]


def crop(name: str, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part of a bundled photograph."""
    return np.ascontiguousarray(data.bundled()[name][top : top + height, left : left + width])


# Networks that are a picture ------------------------------------------------------------------------------------------

FIT = FitBudget(steps=24, lr=2e-3, batch_pixels=256, warmup=3, score_every=8)
FITS: dict[str, tuple[str, FitBudget, dict]] = {
    "soap": ("dense", FIT, {}),
    "adam, constant, random start, every pixel": (
        "dense", replace(FIT, optimiser="adam", schedule="constant", start="torch", batch_pixels=None, warmup=0), {}),
    "quadratic": ("dense", replace(FIT, schedule="quadratic"), {}),
    "coin coordinates": ("dense", FIT, {"coordinates": "coin"}),
    "collapse": ("dense", FitBudget(330, 0.9, "adam", 256, "constant", score_every=30), {}),
    "magnitude": ("pruned", FIT, {"bpp": 3.0}),
    "magnitude, between scorings": ("pruned", replace(FIT, score_every=7), {"bpp": 2.0}),
    "file": ("sparse", FIT, {"bpp": 2.0, "sparsity": Sparsity("file", gates="none", restarts=False, multiplier=1e-3)}),
    "file, gates": ("sparse", FIT, {"bpp": 2.0, "sparsity": Sparsity("file", log_alpha=1.0, gate_lr=0.05)}),
    "file, neurons": ("sparse", FIT, {"bpp": 2.0, "sparsity": Sparsity("file", structured=True, log_alpha=-1.0)}),
    "file, collapse": ("sparse", FitBudget(330, 0.9, "adam", 256, "constant", score_every=30),
                       {"bpp": 3.0, "sparsity": Sparsity("file", gates="median")}),
    "nonzeros": ("sparse", FIT, {"bpp": 3.0, "sparsity": Sparsity("nonzeros", dual_lr=0.1, gate_lr=0.05)}),
    "nonzeros, no restarts": ("sparse", FIT, {"bpp": 6.0, "sparsity": Sparsity(dual_lr=0.1, restarts=False)}),
    "nonzeros, sampled": ("sparse", FIT, {"bpp": 3.0, "sparsity": Sparsity(gates="sampled", gate_lr=0.05)}),
    "positions": ("sparse", FIT, {"bpp": 3.0, "sparsity": Sparsity("positions", dual_lr=0.1, structured=True)}),
}  # fmt: skip


def fit_case(kind: str, budget: FitBudget, options: dict, backend: str, folder: Path) -> dict[str, object]:
    """Two pictures in one batch, to the end, and paused after every step."""
    pictures = [crop("astronaut", 60, 180, 40, 48), crop("coffee", 90, 120, 40, 48)]
    own = {name: value for name, value in options.items() if name != "coordinates"}
    methods = {"dense": Method, "sparse": ConstrainedFit, "pruned": MagnitudePruning}
    common = {"seeds": [0, 5], "backend": backend, "method": functools.partial(methods[kind], **own)}
    common["coordinates"] = options.get("coordinates", "per_axis")
    once = functools.partial(fit, pictures, Architecture(3, 12), budget, **common)
    whole = found_of(once())
    if budget.steps > 100:  # pausing so often takes long; the short fits do it
        return whole
    while True:
        try:
            paused = found_of(once(checkpoint=folder / "fit", max_seconds=0.0))
            break
        except Paused:
            continue
    assert {k: digest(v) for k, v in paused.items()} == {k: digest(v) for k, v in whole.items()}, "a pause changed bits"
    return whole


def found_of(results: list) -> dict[str, object]:
    """What fits found, without their seconds."""
    found: dict[str, object] = {}
    for number, result in enumerate(results):
        for name, value in vars(result).items():
            if name == "network" and value is not None:
                for part in ("symbols", "steps"):
                    found[f"{number} network {part}"] = getattr(value, part)
            elif name not in ("seconds", "network"):
                found[f"{number} {name}"] = value
    return found


# Autoencoders ---------------------------------------------------------------------------------------------------------

DESCENT = Descent(steps=6, warmup=2, batch=2, crop=32, reduce=1, score_every=3)
DESCENTS = {
    f"{optimiser}, {schedule}, {quantiser}": replace(
        DESCENT, optimiser=optimiser, schedule=schedule, quantiser=quantiser, weight_decay=decay
    )
    for (optimiser, decay), schedule, quantiser in product(
        (("muon", 0.0), ("adam", 1e-3)), ("cosine", "constant"), ("noise", "straight_through", "none")
    )
} | {"reduced": replace(DESCENT, reduce=2)}
CODE = CodeDescent(steps=8, warmup=2, batch=2, crop=104, codes=4, mse_steps=2, settle=5, score_every=4)
PRUNE = Pruning(interval=2, rho=0.3)
CODES: dict[str, tuple[CodeDescent, Pruning | None, float]] = {
    "neither": (CODE, None, 0.0),
    "pruned": (CODE, PRUNE, 0.0),
    "estimated": (CODE, None, 150.0),
    "released": (CODE, replace(PRUNE, z_update="released", state="data_set", penalty="norm"), 0.0),
    "norm of each": (CODE, replace(PRUNE, penalty="norm"), 0.0),
    "mean code": (CODE, replace(PRUNE, state="data_set", keep=0.4), 0.0),
    "plateau": (replace(CODE, optimiser="adam", schedule="plateau", lr=4e-3, weight_decay=1e-10, settle=8), PRUNE, 0.0),
    "constant": (replace(CODE, schedule="constant", momentum=0.3), None, 0.0),
}


def cae_case(descent: Descent, constraint: Constraint | None, folder: Path) -> dict[str, object]:
    pictures = {"a": crop("astronaut", 40, 160, 96, 90), "b": crop("chelsea", 60, 100, 70, 101)}
    masks = None
    if constraint is not None:
        first = SparseCAE(Shape(8, 4), 2)
        projected = project(first, constraint, 2)
        masks = projected.masks

    def make() -> CaeTraining:
        model = SparseCAE(Shape(8, 4), 2) if constraint is None else second_start(first, projected, constraint, 2)
        return CaeTraining(model, pictures, {"v": crop("coffee", 0, 0, 61, 70)}, descent, seed=3, masks=masks)

    found = descent_found(make, folder)
    training = make()
    return found | {"histogram": training.histogram()}


def code_case(descent: CodeDescent, pruning: Pruning | None, lam: float, folder: Path) -> dict[str, object]:
    pictures = {"a": crop("astronaut", 40, 160, 120, 110), "b": crop("chelsea", 60, 100, 106, 140)}

    def make() -> CodeTraining:
        validation = {"v": crop("coffee", 0, 0, 161, 170)}
        model = CaeAdmm(CodeShape(8, 4, 1), 2)
        return CodeTraining(model, pictures, validation, descent, pruning=pruning, lam=lam, seed=3)

    return descent_found(make, folder)


def descent_found(make: Callable[[], Training], folder: Path) -> dict[str, object]:
    """A training to the end, and paused after every step."""
    whole = state_of(run(make()))
    while True:
        try:
            paused = state_of(run(make(), checkpoint=folder / "descent", max_seconds=0.0))
            break
        except Paused:
            continue
    assert {k: digest(v) for k, v in paused.items()} == {k: digest(v) for k, v in whole.items()}, "a pause changed bits"
    return whole


def state_of(training: Training) -> dict[str, object]:
    found: dict[str, object] = dict(training.state())
    history = [list(point.values()) for point in training.history]
    found |= {"history": history, "score": list(training.score().values())}
    if isinstance(training, CodeTraining):
        plateau = [getattr(training.plateau, name) for name in ("total", "lowest", "waited", "factor")]
        found |= {"residuals": training.residuals, "skipped": training.skipped, "plateau": plateau}
        found |= {f"code {i}": code for i, code in enumerate(training.codes())}
    return found


CONSTRAINTS = {
    name: Constraint(**options)
    for name, options in {
        "l1": {"kind": "l1"}, "bilevel_l11": {}, "l1inf": {"kind": "l1inf"}, "l21": {"kind": "l21"},
        "bilevel_l1inf": {"kind": "bilevel_l1inf"}, "magnitude": {"kind": "magnitude"}, "random": {"kind": "random"},
        "random restart": {"restart": "random"}, "trained restart": {"restart": "trained"},
        "per layer": {"radius": "per_layer"}, "coupled": {"coupled": True, "restart": "trained"},
        "filters": {"kind": "l1", "coupled": True, "filters": 0.23}, "all layers": {"layers": "all"},
        "dense": {"kind": "l1", "sparsity": 0.0, "restart": "trained"},
    }.items()
}  # fmt: skip


def projection_case(constraint: Constraint, folder: Path) -> dict[str, object]:
    first = SparseCAE(Shape(8, 4), 2)
    projected = project(first, constraint, 2)
    start = second_start(first, projected, constraint, 2)
    found: dict[str, object] = {"radius": projected.radius, "sparsity": projected.sparsity}
    for part, tensors in (("mask", projected.masks), ("weight", projected.weights), ("start", start.state_dict())):
        found |= {f"{part} {name}": tensor for name, tensor in tensors.items()}
    return found


# Optimisers by themselves ---------------------------------------------------------------------------------------------


def optimiser_case(kind: str, folder: Path) -> dict[str, object]:
    generator, shape = torch.Generator().manual_seed(4), Architecture(3, 9)
    parameters = torch.randn(2, shape.n_parameters, generator=generator)
    own = optimisers.Soap(parameters, shape) if kind == "soap" else optimisers.Adam(parameters)
    for step in range(25):
        gradient = torch.randn(parameters.shape, generator=generator) + parameters
        own.step(parameters, gradient, torch.tensor([[1e-2], [3e-3]]))
        if step == 12:
            own.reset(1)
    return {"parameters": parameters} | dict(own.state)


# Codecs ---------------------------------------------------------------------------------------------------------------

CODECS: dict[str, tuple[str, dict, float | None]] = {
    "jpeg": ("jpeg", {}, None), "jpeg 4:4:4": ("jpeg", {"quality": 90, "subsampling": "4:4:4"}, None),
    "jpeg at 1": ("jpeg", {}, 1.0), "jpeg2000": ("jpeg2000", {}, None), "jpeg2000 at 1": ("jpeg2000", {}, 1.0),
    "jpeg2000 no transform": ("jpeg2000", {"colour_transform": False}, None), "webp": ("webp", {}, None),
    "webp at 1": ("webp", {}, 1.0), "avif": ("avif", {}, None), "avif at 1.5": ("avif", {"speed": 9}, 1.5),
    "jpegxl": ("jpegxl", {}, None), "jpegxl at 1": ("jpegxl", {"effort": 3}, 1.0),
    "coin": ("coin", {"arch": "2x8", "budget": FIT}, None), "coin at 2": ("coin", {"budget": FIT}, 2.0),
    "coin coordinates": ("coin", {"arch": "3x6", "budget": FIT, "coordinates": "coin", "w0": 20.0, "seed": 4}, None),
    "loonie": ("loonie", {"arch": "3x10", "budget": FIT, "bpp": 2.0}, None),
    "loonie at 1.5": ("loonie", {"budget": FIT}, 1.5),
    "loonie nonzeros": ("loonie", {"arch": "3x10", "budget": FIT, "bpp": 3.0, "rate": "nonzeros"}, None),
    "loonie neurons": ("loonie", {"arch": "3x10", "budget": FIT, "bpp": 2.0, "frequencies": 0, "coordinates": "coin",
                                  "sparsity": Sparsity("file", structured=True, log_alpha=-1.55)}, None),
    "cae": ("cae", {}, None), "cae at 1": ("cae", {}, 1.0), "cae at 4": ("cae", {}, 4.0),
    "cae named": ("cae", {"model": "cae-low-seed-0-desktop-bfloat16", "step": 900}, None),
    "cae sparse": ("cae", {"model": "cae-bilevel-l11-seed-0-desktop-bfloat16"}, 2.0),
    "cae-admm": ("cae-admm", {}, None), "cae-admm at 0.5": ("cae-admm", {}, 0.5),
    "cae-admm at 2": ("cae-admm", {}, 2.0),
    "cae-admm kept": ("cae-admm", {"model": "code-keep-10-seed-0-desktop-bfloat16", "keep": 0.03}, None),
    "cae-admm unpruned": ("cae-admm", {"model": "code-tuned-seed-0-desktop-bfloat16"}, 1.0),
    "cae-theis": ("cae-theis", {}, None), "cae-theis at 0.4": ("cae-theis", {}, 0.4),
    "cae-theis kept": ("cae-theis", {"model": "code-lambda-400-seed-0-desktop-bfloat16", "keep": 0.2}, None),
}  # fmt: skip


def codec_case(name: str, options: dict, bpp: float | None, folder: Path) -> dict[str, object]:
    image = crop("coffee", 100, 100, 75, 93)
    own = codecs.get_codec(name, **options)
    measured = codecs.evaluate(own, image, bpp)
    return {
        "file": measured.data, "picture": measured.reconstruction, "codec": measured.codec,
        "macs": measured.macs_per_pixel, "ssim": measured.ssim, "psnr": measured.psnr,
    }  # fmt: skip


def cases() -> Iterator[tuple[str, Case]]:
    """Every case by name."""
    for backend, (name, (kind, budget, options)) in product(("auto", "torch"), FITS.items()):
        yield f"fit, {backend}: {name}", functools.partial(fit_case, kind, budget, options, backend)
    for name, descent in DESCENTS.items():
        yield f"cae: {name}", functools.partial(cae_case, descent, None)
    for name in ("bilevel_l11", "filters", "trained restart"):
        yield f"cae, second descent: {name}", functools.partial(cae_case, DESCENT, CONSTRAINTS[name])
    for name, constraint in CONSTRAINTS.items():
        yield f"projected: {name}", functools.partial(projection_case, constraint)
    for name, arguments in CODES.items():
        yield f"code: {name}", functools.partial(code_case, *arguments)
    for kind in ("adam", "soap"):
        yield f"optimiser: {kind}", functools.partial(optimiser_case, kind)
    for name, arguments in CODECS.items():
        yield f"codec: {name}", functools.partial(codec_case, *arguments)


def main(out: Path, only: str) -> None:
    """Write ``{case: {value: digest}}`` for the cases whose names begin with ``only``."""
    torch.set_num_threads(1)
    found = {}
    for name, case in cases():
        if name.startswith(only):
            with tempfile.TemporaryDirectory() as folder:
                found[name] = {key: digest(value) for key, value in case(Path(folder)).items()}
            print(name, file=sys.stderr, flush=True)
    out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
