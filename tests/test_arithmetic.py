"""In which precision networks are trained, and that they may be compiled. What all trainings promise: contracts/."""

from __future__ import annotations

import functools

import pytest
import torch
from contracts.test_trainings import cae, code, siren

from sparsecomp.models.sparse_cae import Shape, SparseCAE
from sparsecomp.training.arithmetic import FLOAT32, PRECISIONS, Arithmetic
from sparsecomp.training.loop import Training, run

BFLOAT16 = Arithmetic("bfloat16")
MAKERS = {"cae": cae, "code": code, "siren": functools.partial(siren, backend="torch")}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def flags() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_are_tf32_only_where_that_is_asked_for(precision):
    before = flags()
    with Arithmetic(precision).products():
        assert flags() == (precision == "tf32",) * 2
    with pytest.raises(KeyError), Arithmetic(precision).products():
        raise KeyError
    assert flags() == before


@every
def test_gradients_are_computed_as_the_network_is(make, monkeypatch):
    """Left outside, they would be of a GPU's default: TF32 in convolutions whatever was asked for."""
    seen, real = [], torch.autograd.grad

    def grad(*arguments, **options):
        seen.append(flags())
        return real(*arguments, **options)

    monkeypatch.setattr(torch.autograd, "grad", grad)
    training = make()
    for arithmetic, expected in ((FLOAT32, False), (Arithmetic("tf32"), True)):
        training.arithmetic = arithmetic
        seen.clear()
        training.step()
        assert set(seen) == {(expected, expected)}


@every
def test_scores_and_losses_are_float32_on_a_gpu_too(make, monkeypatch):
    """Convolutions of SSIM and of whole pictures stand outside the networks that are trained."""
    training, seen = make(), []
    for name in ("score", "step"):
        real = getattr(training, name)
        monkeypatch.setattr(training, name, lambda real=real: (seen.append(flags()), real())[1])
    run(training)
    assert set(seen) == {(False, False)} and torch.backends.cudnn.allow_tf32, "PyTorch's default is another"


@torch.no_grad()
def test_bfloat16_rounds_products_and_nothing_else():
    network, x = SparseCAE(Shape(16, 4)).encoder, torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    exact, rounded = network(x), BFLOAT16.applied(network)(x)
    assert torch.equal(FLOAT32.applied(network)(x), exact)
    assert rounded.dtype == torch.float32 and all(p.dtype == torch.float32 for p in network.parameters())
    error = float((rounded - exact).norm() / exact.norm())
    assert 2**-10 < error < 2**-5, "8 significant bits"


@pytest.mark.parametrize("make", [cae, code])
def test_training_in_bfloat16_follows_the_one_in_float32(make):
    exact, rounded = make(), make(arithmetic=BFLOAT16)
    for _ in range(3):
        wanted, found = float(exact.step()), float(rounded.step())
        assert found == pytest.approx(wanted, rel=0.1) and found != wanted
    assert all(t.dtype != torch.bfloat16 for t in rounded.state().values()), "weights and moments stay float32"
    scored = rounded.score()
    rounded.arithmetic = FLOAT32
    assert rounded.score() == scored, "scores are float32"


@every
def test_compiled_training_takes_the_same_steps(make, monkeypatch):
    """Traced as for any compiler; what the tracer makes is then run by PyTorch itself, which needs no minute."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    from sparsecomp.training import kernel

    kernel._compiled.cache_clear()
    plain, compiled = make(), make(arithmetic=Arithmetic(compiled=True))
    counters = torch._dynamo.utils.counters
    traced, broken = counters["stats"]["unique_graphs"], sum(counters["graph_break"].values())
    for _ in range(3):  # a code near a half may be rounded the other way
        assert float(compiled.step()) == pytest.approx(float(plain.step()), rel=2e-3)
    kernel._compiled.cache_clear()
    assert counters["stats"]["unique_graphs"] > traced, "nothing was compiled"
    assert sum(counters["graph_break"].values()) == broken, "each network is one graph"


@every
def test_identity_names_what_is_not_the_default(make):
    plain: Training = make()
    assert make(arithmetic=FLOAT32).identity == plain.identity and "precision" not in plain.identity
    assert make(arithmetic=Arithmetic(compiled=True)).identity == plain.identity | {"compiled": True}


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"^precision must be one of float32, tf32, bfloat16, got 'half'"):
        Arithmetic("half")
    for make in (cae, code, siren):
        with pytest.raises(ValueError, match=r"^precision must be float32 or bfloat16 on a CPU, got 'tf32'"):
            make(arithmetic=Arithmetic("tf32"))
    with pytest.raises(ValueError, match=r"^precision must be float32 or tf32 for a SIREN, got 'bfloat16'"):
        siren(arithmetic=BFLOAT16)
    Arithmetic("tf32").check("cuda", siren=True)
