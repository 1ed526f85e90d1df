"""What the loop asks of a training, asked of every one. A new training is one line of TRAININGS."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_siren import SMALL, picture
from torch.utils._python_dispatch import TorchDispatchMode

from sparsecomp.data import bundled
from sparsecomp.models import cae_admm, sparse_cae
from sparsecomp.models.cae_admm import CaeAdmm, PReLU
from sparsecomp.models.sparse_cae import SparseCAE
from sparsecomp.training import loop
from sparsecomp.training.arithmetic import Arithmetic
from sparsecomp.training.autoencoder import CaeTraining, Masks
from sparsecomp.training.configs import CodeDescent, Descent, FitBudget, Pruning, Sparsity
from sparsecomp.training.constrained_fit import ConstrainedFit, MagnitudePruning
from sparsecomp.training.fit import Method, SirenTraining
from sparsecomp.training.latent_pruning import CodeTraining
from sparsecomp.training.loop import Paused, Training, run
from sparsecomp.training.optimisers import Soap, turned_by_cholesky

WAVES = picture(24, 32), picture(24, 32, 1), picture(28, 34, 2)
CROPS = {"coffee": bundled()["coffee"][40:106, 100:181], "chelsea": bundled()["chelsea"][60:110, 80:120]}
# Neither height nor width of the second one is a multiple of 8.
PHOTOGRAPHS = {"coffee": bundled()["coffee"][40:208, 100:284], "chelsea": bundled()["chelsea"][60:222, 80:241]}
SCORED = {"chelsea": PHOTOGRAPHS["chelsea"]}
SHAPE, CODE_SHAPE = sparse_cae.Shape(8, 3), cae_admm.Shape(8, 3, 1)
FIT = FitBudget(steps=12, lr=5e-3, batch_pixels=256, warmup=4, score_every=3)
# Large steps at the end make a best state that is not the last one.
ADAM = replace(FIT, optimiser="adam", lr=0.02, schedule="constant")
FILE = Sparsity("file")
LIVELY = {"dual_lr": 0.02, "gate_lr": 0.05, "multiplier": 1e-3, "round_from": 0.6}
DESCENT = Descent(steps=7, warmup=3, batch=2, crop=16, reduce=1, score_every=3, weight_decay=1e-3)
CODE = CodeDescent(
    steps=7, lr=0.01, warmup=2, batch=2, crop=104, codes=4, mse_steps=1, settle=4, score_every=3, weight_decay=1e-3
)
PRUNED = Pruning(keep=0.2, interval=2)
RELEASED = Pruning(keep=0.2, interval=2, z_update="released", state="data_set", penalty="norm")


def siren(
    seed: int = 0, pictures: tuple = WAVES[:2], seeds: tuple = (0, 5), architecture=SMALL,
    budget: FitBudget = FIT, coordinates: str = "per_axis", backend: str = "auto", method=Method, **options,
) -> SirenTraining:  # fmt: skip
    seeds = [seed + s for s in seeds]
    return SirenTraining(
        pictures, architecture, budget, seeds=seeds, coordinates=coordinates, backend=backend, method=method, **options
    )


class AsOnGpu(Method):
    """COIN with the SOAP that a GPU has, wherever it runs."""

    def __init__(self, training: SirenTraining) -> None:
        super().__init__(training)
        training.optimiser = Soap(training.parameters, training.architecture, turned=turned_by_cholesky)


def constrained(seed: int = 0, bpp: float = 1.6, sparsity: Sparsity = FILE, budget=ADAM, **options) -> SirenTraining:
    method = functools.partial(ConstrainedFit, bpp=bpp, sparsity=sparsity)
    return siren(seed, method=method, budget=budget, **options)


def magnitude(seed: int = 0, bpp: float = 4.5, budget=FIT, **options) -> SirenTraining:
    return siren(seed, method=functools.partial(MagnitudePruning, bpp=bpp), budget=budget, **options)


def halved(seed: int = 0) -> Masks:
    """Half of the weights of layers of both kinds."""
    generator, named = torch.Generator().manual_seed(seed), dict(SparseCAE(SHAPE).named_parameters())
    names = ["encoder.conv1.weight", "encoder.blocks.1.conv2.weight", "decoder.up1.weight", "encoder.conv1.bias"]
    return {name: torch.rand(named[name].shape, generator=generator) < 0.5 for name in names}


def cae(
    seed: int = 0, pictures: dict = CROPS, first: int = 0, shape=SHAPE, descent: Descent = DESCENT,
    masks: Masks | None = None, **options,
) -> CaeTraining:  # fmt: skip
    return CaeTraining(SparseCAE(shape, first), pictures, CROPS, descent, seed=seed, masks=masks, **options)


def code(
    seed: int = 0, pictures: dict = PHOTOGRAPHS, first: int = 0, shape=CODE_SHAPE,
    descent: CodeDescent = CODE, pruning: Pruning | None = None, lam: float = 0.0, **options,
) -> CodeTraining:  # fmt: skip
    model = CaeAdmm(shape, first, start=descent.start)
    return CodeTraining(model, pictures, SCORED, descent, pruning=pruning, lam=lam, seed=seed, **options)


TRAININGS: dict[str, Callable[..., Training]] = {
    "coin": siren,
    "coin adam every pixel": functools.partial(
        siren, budget=replace(ADAM, batch_pixels=None, start="torch"), coordinates="coin"
    ),
    "coin soap pytorch": functools.partial(siren, backend="torch", budget=replace(FIT, schedule="quadratic")),
    "coin soap as on a gpu": functools.partial(siren, method=AsOnGpu),
    "coin collapse": functools.partial(siren, budget=FitBudget(420, 0.9, "adam", 256, "constant", score_every=30)),
    "magnitude": functools.partial(magnitude, budget=replace(FIT, score_every=5), bpp=4.2),
    "file soap": functools.partial(constrained, sparsity=Sparsity("file", gates="none", **LIVELY), budget=FIT),
    **{
        " ".join([rate, gates, *structured]): functools.partial(
            constrained,
            sparsity=Sparsity(rate, gates=gates, structured=bool(structured),
                              log_alpha=0.0 if structured else -1.2, **LIVELY),
        )
        for rate, gates, *structured in [
            ("nonzeros", "median"), ("positions", "sampled", "structured"),
            ("file", "none"), ("file", "sampled"), ("file", "median", "structured"),
        ]
    },
    "cae": cae,
    "cae adam masked straight through": functools.partial(
        cae, descent=replace(DESCENT, optimiser="adam", quantiser="straight_through", reduce=2), masks=halved()
    ),
    "cae muon masked no quantiser": functools.partial(
        cae, descent=replace(DESCENT, quantiser="none", schedule="constant"), masks=halved()
    ),
    "code": code,
    "code pruned": functools.partial(code, pruning=PRUNED),
    "code released": functools.partial(
        code, pruning=RELEASED, descent=replace(CODE, optimiser="adam", schedule="constant")
    ),
    "code estimated": functools.partial(code, lam=100.0, descent=replace(CODE, codes=5)),
    "code fresh": functools.partial(code, pruning=PRUNED, descent=replace(CODE, crops="fresh")),
    "code bfloat16 reflecting": functools.partial(
        code, shape=replace(CODE_SHAPE, padding="reflect"), arithmetic=Arithmetic("bfloat16")
    ),
    "code balanced, then projected": functools.partial(
        code, shape=replace(CODE_SHAPE, outer=32), descent=replace(CODE, start="dct"),
        pruning=Pruning(keep=0.2, interval=1, balance=True, until=4, then="projection"),
    ),
    "code with a price on its size": functools.partial(code, pruning=Pruning(until=0, interval=2)),
    "code plateau": functools.partial(code, descent=replace(CODE, schedule="plateau", lr=0.1, codes=4)),
}  # fmt: skip
SIRENS = {name: make for name, make in TRAININGS.items() if isinstance(make(), SirenTraining)}
PACE = {"coin collapse": 33}  # steps between two pauses; 1 for others
every = pytest.mark.parametrize("make", TRAININGS.values(), ids=TRAININGS)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time that advances by one second with every step, so that pauses and checkpoints come at known steps."""
    at = SimpleNamespace(now=0.0)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: at.now))
    for kind in (SirenTraining, CaeTraining, CodeTraining):

        def step(training, real=kind.step):
            at.now += 1.0
            return real(training)

        monkeypatch.setattr(kind, "step", step)
    return at


@functools.cache
def finished(name: str) -> Training:
    """Never stopped; for reading only."""
    return run(TRAININGS[name]())


def plain(value: object) -> object:
    """Something that is equal if and only if all bits are."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return plain(vars(value)) if hasattr(value, "__dict__") else value


def outcome(training: Training) -> dict[str, object]:
    """All that was reached, but for seconds; of what is no tensor, more than `plain` may hold."""
    names = ("done", "history", "notes", "residuals", "rho", "skipped", "plateau")
    found = {"state": training.state(), "plain": [getattr(training, name, None) for name in names]}
    if isinstance(training, SirenTraining):
        found["results"] = [{k: v for k, v in vars(r).items() if k != "seconds"} for r in training.results()]
    return plain(found)


@pytest.mark.parametrize("name", TRAININGS)
def test_training_resumes_after_a_pause_at_every_step(name, tmp_path):
    make, path, pace = TRAININGS[name], tmp_path / "it.safetensors", PACE.get(name, 1)
    for pauses in itertools.count(1):
        training = make()
        torch.manual_seed(pauses)  # what else was drawn in the meantime must not matter
        try:
            run(training, checkpoint=path, max_seconds=pace)
            break
        except Paused:
            assert training.done == pauses * pace < training.steps
            loaded = make()
            loaded.load(path)
            assert outcome(loaded) == outcome(training) and loaded.seconds == training.seconds
    assert pauses == math.ceil(training.steps / pace)
    assert outcome(training) == outcome(finished(name)) and training.seconds == training.steps
    if name == "coin collapse":
        assert training.results()[0].restarts, "this rate should make it collapse"
    kept = path.read_bytes()
    again = run(make(), checkpoint=path, max_seconds=0)
    assert outcome(again) == outcome(training) and path.read_bytes() == kept, "a finished training takes no step"


@pytest.mark.parametrize("name", TRAININGS)
def test_training_depends_on_its_seed_and_draws_from_no_shared_generator(name):
    torch.manual_seed(99)
    before = torch.random.get_rng_state()
    one, again, other = TRAININGS[name](), TRAININGS[name](), TRAININGS[name](1)
    for training in (one, again, other):
        training.step(), training.step(), training.score()
    assert outcome(one) == outcome(again)
    weights = next(name for name in other.state() if name == "parameters" or name.endswith("weight"))
    assert (one.state()[weights] != other.state()[weights]).any()
    assert torch.equal(torch.random.get_rng_state(), before)


class Reads(TorchDispatchMode):
    """Counts what makes the host wait for a device: a value that is read, a mask whose length must be known, and a
    factorisation that raises where it fails.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        of_mask = func is torch.ops.aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        self.count += of_mask or func in (
            torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default, torch.ops.aten.equal.default,
            torch.ops.aten._linalg_check_errors.default,
        )  # fmt: skip
        return func(*args, **(kwargs or {}))


def not_due(training: Training) -> Training:
    """At a step in which no pruning is due, no scoring, and no first gradient."""
    for _ in range(2):
        training.step()
    if getattr(training, "pruning", None):
        training.pruning = replace(training.pruning, interval=100)
    training.plateau = SimpleNamespace(add=lambda *loss: None, factor=1.0)
    return training


@every
def test_step_reads_nothing_from_the_device(make, monkeypatch):
    """But of the host's own dice: for each crop its two places; in the sparse CAE picture and flip, too. On a CPU,
    where it waits for nothing, a PReLU reads its slope.

    Copies to the host are nothing on a CPU, so they are caught by name.
    """
    training = not_due(make())
    for name in ("cpu", "numpy", "__array__"):
        if training.__dict__.get("backend") != "kernel":  # C reads the host's memory
            monkeypatch.setattr(torch.Tensor, name, lambda tensor, *of, name=name: pytest.fail(f"a step calls {name}"))
    descent = getattr(training, "descent", None)
    each = 4 if isinstance(descent, Descent) else 2 if descent and descent.crops == "fresh" else 0
    with Reads() as reads:
        loss = training.step()
    slopes = sum(isinstance(layer, PReLU) for layer in training.model.modules()) if descent else 0
    assert reads.count == (each * descent.batch if descent else 0) + slopes
    assert isinstance(loss, torch.Tensor) and loss.shape == () and not loss.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@every
def test_step_does_not_wait_for_a_gpu(make):
    training = not_due(make(device="cuda"))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", [name for name in SIRENS if name != "coin collapse"])
def test_batch_of_fits_is_its_fits_one_by_one(name):
    """Of pictures of two sizes, but where every pixel is in every step."""
    seeds, pictures = (5, 6, 6), (*WAVES[:2], WAVES[0 if "every pixel" in name else 2])
    together = run(SIRENS[name](pictures=pictures, seeds=seeds)).results()
    for alone, seed, result in zip(pictures, seeds, together, strict=True):
        (wanted,) = run(SIRENS[name](pictures=(alone,), seeds=(seed,))).results()
        result.seconds = wanted.seconds
        assert plain(result) == plain(wanted)


@pytest.mark.parametrize("name", [name for name in TRAININGS if name not in SIRENS])
def test_loss_that_is_no_number_ends_a_training_without_a_checkpoint(name, tmp_path):
    training = TRAININGS[name]()
    with torch.no_grad():
        for parameter in training.model.decoder.parameters():
            parameter.fill_(math.nan)
    for seconds in (1, None):  # at the first step, where a checkpoint is due, and else at a scoring
        with pytest.raises(FloatingPointError, match=r"the loss is nan at step \d+: the learning rate is too high$"):
            run(training, checkpoint=tmp_path / "it.safetensors", max_seconds=seconds)
    assert not list(tmp_path.iterdir())


@every
def test_load_refuses_what_is_not_its_checkpoint_and_changes_nothing(make, tmp_path):
    path, training, other, stepped = tmp_path / "it.safetensors", make(), make(1), make()
    before = plain([training.state(), training.plain()])

    def refused(message: str) -> None:
        data = path.read_bytes()
        with pytest.raises(ValueError, match=f"{message}.*delete it to start again") as caught:
            run(training, checkpoint=path)
        assert "\n" not in str(caught.value) and path.read_bytes() == data
        assert plain([training.state(), training.plain()]) == before

    for each in (other, stepped):
        each.step()
        each.save(path)
    whole, tensors = path.read_bytes(), load_file(path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
    first, last = next(iter(tensors)), list(tensors)[-1]
    other.save(path)
    refused("another configuration")
    for broken in (b"", whole[:50], whole[:-1], whole + b"\0"):
        path.write_bytes(broken)
        refused("cannot be read")
    for wrong in (None, {"about": "{}"}):
        save_file(tensors, path, metadata=wrong)
        refused("cannot be read")
    for wrong in (
        {name: tensor for name, tensor in tensors.items() if name != first},
        tensors | {"more": torch.zeros(1)}, tensors | {last: tensors[last][..., :0]},
    ):  # fmt: skip
        save_file(wrong, path, metadata=about)
        refused("tensors")
    path.write_bytes(whole)
    training.load(path)
    assert training.done == 1, "its own is taken"


def with_another(make: Callable[..., Training], option: str, config: object, field: str) -> Training:
    """A training whose configuration has another legal value in one field."""
    value = getattr(config, field)
    if isinstance(value, bool):
        others = [not value]
    elif isinstance(value, str):
        others = ["adam", "muon", "soap", "constant", "cosine", "random", "mean", "median", "sampled", "nonzeros",
                  "file", "none", "noise", "top_l", "released", "per_code", "data_set", "norm", "square", "sum",
                  "torch", "dct", "he", "fresh", "fixed", "zeros",
                  "reflect", "penalty", "projection"]  # fmt: skip
    elif isinstance(value, tuple):
        others = [tuple(part / 2 for part in value)]
    else:
        moved = [] if value is None else [value + 1, value - 1, value + 8, value - 8, value / 2, 2 * value, value + 0.5]
        others = moved or [256]
    for other in others:
        if other != value and isinstance(value, type(None) | type(other)):
            with contextlib.suppress(ValueError):
                return make(**{option: replace(config, **{field: other})})
    raise AssertionError(f"no other value of {field} is legal")


@every
def test_identity_changes_with_everything_that_decides_the_result(make):
    base = make()
    options = {name: p.default for name, p in inspect.signature(make).parameters.items() if name != "options"}
    other = {
        "seed": 1, "first": 1, "seeds": (0, 6), "bpp": 4.9, "lam": 3.0, "pruning": replace(PRUNED, keep=0.3),
        "masks": {"encoder.conv1.bias": torch.zeros(4, dtype=torch.bool)}, "backend": "torch",
        "coordinates": "per_axis" if options.get("coordinates") == "coin" else "coin",
        "method": functools.partial(MagnitudePruning, bpp=4.9),
        "pictures": WAVES[1::-1] if isinstance(base, SirenTraining) else dict(reversed(PHOTOGRAPHS.items())),
    }  # fmt: skip
    impossible = {
        "backend": getattr(base, "backend", "") == "torch", "lam": bool(options.get("pruning")),
        "pruning": bool(options.get("lam")),
    }  # fmt: skip
    names = [name for name in other if name in options and not impossible.get(name)]
    found = [base, *(make(**{name: other[name]}) for name in names)]
    for name, config in options.items():
        if is_dataclass(config):
            fixed = {"n_out", "encoder_width"}
            fixed |= {"rate"} if getattr(config, "gates", "") == "none" else set()
            fixed |= {"repair"} if getattr(config, "rate", "") == "file" else set()
            fixed |= {"penalty"} if '"fresh"' in json.dumps(base.identity) else set()
            fixed |= {"then"} if getattr(config, "until", 0) is None else set()
            fixed |= {"width"} if options.get("masks") else set()  # which would not fit
            found += [with_another(make, name, config, f.name) for f in fields(config) if f.name not in fixed]
    identities = [json.dumps(training.identity) for training in found]
    assert len(set(identities)) == len(identities) > 10 and json.dumps(make().identity) == identities[0]


@pytest.mark.parametrize("name", TRAININGS)
def test_history_holds_losses_and_scores_as_plain_numbers(name):
    training = finished(name)
    steps = [row["step"] for row in training.history]
    assert steps == sorted({*range(training.score_every, training.steps + 1, training.score_every), training.steps})
    for row in training.history:
        assert list(row)[:2] == ["step", "loss"] and math.isfinite(row["loss"]) and np.isfinite(row["psnr"]).all()
    assert json.loads(json.dumps(training.plain()))["history"] == training.history
    if isinstance(training, SirenTraining):
        for number, result in enumerate(training.results()):
            scored = dict(result.history)  # a pruning fit is scored once more, before it is pruned
            for row in training.history:
                assert scored[row["step"]] == pytest.approx(row["psnr"][number], abs=1e-4)
    else:
        assert training.history[-1] == training.history[-1] | training.score()
