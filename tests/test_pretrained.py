"""Trained models as files: what is written, what a key is of, and what is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sparsecomp.codecs import decode, get_codec
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.models.pretrained import Models, default_models, load

TINY = {"sparse_cae": tiny_cae, "cae_admm": tiny_cae_admm}
EVEN = torch.full((1, 512), 2**15)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> dict[str, bytes]:
    """A file of each kind."""
    folder = tmp_path_factory.mktemp("written")
    return {kind: tiny.write(folder, kind).read_bytes() for kind, tiny in TINY.items()}


def rewritten(path: Path, content: bytes, change: Callable[[dict, dict], object]) -> Path:
    """The content of a model's file, after ``change(tensors, said)``."""
    path.write_bytes(content)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["model"])
    change(tensors, said)
    save_file(tensors, path, metadata={"model": json.dumps(said)})
    return path


def assert_cannot_be_read(path: Path, message: str = "") -> None:
    with pytest.raises(ValueError, match=f"model '{re.escape(str(path))}' cannot be read: .*{message}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


# What is written ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "codec", "scale", "about"),
    [
        ("sparse_cae", "cae", 4, {"lam": 7e-3, "finest": 1 / 64, "coarsest": 1 / 16, "search": True, "sparsity": 0.0}),
        ("cae_admm", "cae-theis", 8, {"codec": "cae-theis", "keep": 0.1, "lam": 4.0, "label": "x", "search": False}),
    ],
)
def test_load_gives_what_was_saved_as_fp16(tmp_path, kind, codec, scale, about):
    made, path, x = TINY[kind].model(), tmp_path / "dense.safetensors", torch.rand(1, 3, 16, 24)
    counts, state = TINY[kind].counts(made), made.state_dict()
    before = {name: t.clone() for name, t in state.items()}
    pretrained.save(path, made, counts, about)
    assert all(torch.equal(before[name], t) for name, t in state.items()), "saving changes no model"
    stored = load(path)
    assert (stored.name, stored.kind, stored.codec, stored.scale) == ("dense", kind, codec, scale)
    assert stored.about == about and re.fullmatch("[0-9a-f]{16}", stored.key)
    assert kind == "cae_admm" or stored.step == 16384 // 32, "the geometric mean of its steps"
    assert type(stored.model) is type(made) and stored.model.shape == made.shape
    assert not stored.model.training and not any(p.requires_grad for p in stored.model.parameters())
    assert stored.counts.dtype == np.int64 and np.array_equal(stored.counts, counts.numpy())
    tensors = load_file(path)
    assert {t.dtype for name, t in tensors.items() if name != "counts"} == {torch.float16}
    for name, tensor in stored.model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, state[name].half().float())
    pretrained.round_(made)
    with torch.no_grad():
        assert torch.equal(stored.model.encoder(x), made.eval().encoder(x)), "what is rounded is what is stored"


def test_contexts_are_a_part_of_the_model(tmp_path, written):
    """Of its file, of its key, and of what a file of it is coded with; they are whole or missing, and of its shape."""
    made, path = tiny_cae.model(), tmp_path / "a.safetensors"
    contexts = tiny_cae.contexts(made)
    pretrained.save(path, made, tiny_cae.counts(made), tiny_cae.ABOUT, contexts)
    stored, plain = load(path), load(rewritten(tmp_path / "b.safetensors", written["sparse_cae"], lambda *of: None))
    assert plain.contexts is None and stored.key != plain.key
    assert np.array_equal(stored.contexts.weights, contexts.weights)
    assert np.array_equal(stored.contexts.tables, contexts.tables)
    content = path.read_bytes()
    for change, message in (
        (lambda tensors, said: tensors.pop("context_tables"), "its tensors are not those of"),
        (lambda tensors, said: tensors.update(context_weights=torch.zeros(3, 2, 6).int()), "its tensors are not"),
        (lambda tensors, said: tensors["context_tables"][0, :2].add_(1), "tables must be"),
        (lambda tensors, said: tensors["context_weights"][0, 0, 4].add_(1), "no d of a channel that is coded later"),
    ):
        assert_cannot_be_read(rewritten(tmp_path / "c.safetensors", content, change), message)
    other = tiny_cae_admm.model()
    for model, counts, about in (
        (tiny_cae.model(latent=2), tiny_cae.counts(tiny_cae.model(latent=2)), tiny_cae.ABOUT),
        (other, tiny_cae_admm.counts(other), tiny_cae_admm.ABOUT),
    ):
        with pytest.raises(ValueError, match="^contexts must be a context model of"):
            pretrained.save(path, model, counts, about, contexts)


def test_rounding_keeps_variances_above_zero(tmp_path):
    made, path = tiny_cae_admm.model(), tmp_path / "a.safetensors"
    variances = made.encoder[0][1].running_var
    with torch.no_grad():
        variances[:2] = torch.tensor([0.0, 1e-12])
    pretrained.save(path, made, tiny_cae_admm.counts(made), tiny_cae_admm.ABOUT)
    assert (load(path).model.encoder[0][1].running_var[:2] == 2.0**-24).all()
    assert float(variances[0]) == 0, "the model itself is as it was"
    pretrained.round_(made)
    assert float(variances[0]) == 2.0**-24


# Keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "tensor", "words"),
    [
        ("sparse_cae", "decoder.conv4.bias", {"lam": 3.0, "search": False}),
        ("cae_admm", "decoder.0.1.running_mean", {"codec": "cae-theis", "lam": 2}),
    ],
)
def test_key_is_of_weights_counts_and_shape_but_not_of_words(tmp_path, written, kind, tensor, words):
    path, content = tmp_path / "a.safetensors", written[kind]
    key = load(rewritten(path, content, lambda tensors, said: said["about"].update(words))).key
    assert key == load(rewritten(path, content, lambda tensors, said: None)).key
    for change in (
        lambda tensors, said: tensors[tensor].add_(1e-2),
        lambda tensors, said: tensors[tensor].view(-1)[0].neg_(),
        lambda tensors, said: tensors["counts"][0, 255:257].add_(torch.tensor([1, -1], dtype=torch.int32)),
    ):
        assert load(rewritten(path, content, change)).key != key
    assert load(TINY[kind].write(tmp_path, "d", latent=4)).key != key


@pytest.mark.parametrize(
    ("model", "least", "about", "key"),
    [
        (tiny_cae.model(latent=1), -3, {"finest": 0.1, "coarsest": 0.1}, "c2fbf9156e228ccd"),
        (CaeAdmm(Shape(8, 1, 1)), 1, {"codec": "cae-admm"}, "c89a5872a8ff103a"),
    ],
    ids=TINY,
)
def test_key_stays_what_it_is(tmp_path, model, least, about, key):
    """Files name it: another way of hashing would orphan them."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_((torch.arange(tensor.numel()) % 7 + least).view(tensor.shape) / 8)
    pretrained.save(tmp_path / "a.safetensors", model, EVEN, about)
    assert load(tmp_path / "a.safetensors").key == key


# What is refused ------------------------------------------------------------------------------------------------------

STEPS = {"finest": 1 / 64, "coarsest": 1 / 16}
ABOUTS = [
    ("sparse_cae", {"coarsest": 1 / 16}, "finest"),
    ("sparse_cae", {"finest": 0.5, "coarsest": 0.25}, "finest must be .*got 0.5"),
    ("sparse_cae", {"finest": 1 / 513, "coarsest": 0.25}, "finest must be .*0.00195"),
    ("sparse_cae", STEPS | {"sparsity": "much"}, "sparsity must be .*got 'much'"),
    ("sparse_cae", STEPS | {"more": [1]}, "plain values"),
    ("cae_admm", {"codec": "cae"}, "codec must be .*got 'cae'"),
    ("cae_admm", {"codec": "cae-admm", "keep": 0}, "keep must be .*got 0"),
    ("cae_admm", {"codec": "cae-theis", "lam": math.nan}, "lam must be .*got nan"),
    ("cae_admm", {"codec": "cae-admm", "projects": True}, "keep must be .*got None"),
]


@pytest.mark.parametrize(("kind", "about", "message"), ABOUTS)
def test_about_that_cannot_be_is_neither_saved_nor_loaded(tmp_path, written, kind, about, message):
    made = TINY[kind].model()
    with pytest.raises(ValueError, match=message):
        pretrained.save(tmp_path / "a.safetensors", made, TINY[kind].counts(made), about)
    assert not list(tmp_path.iterdir())
    path = rewritten(tmp_path / "a.safetensors", written[kind], lambda tensors, said: said.update(about=about))
    assert_cannot_be_read(path, message)


def test_save_refuses_what_no_file_holds(tmp_path):
    made, cae, admm = tiny_cae.model(latent=1), tiny_cae.ABOUT, tiny_cae_admm.ABOUT
    large, wide = tiny_cae.model(latent=1), tiny_cae_admm.model()
    large.state_dict()["decoder.conv1.weight"].view(-1)[0] = 1e5  # finite as float32
    wide.state_dict()["decoder.0.1.running_var"][0] = 1e6
    for name, model, counts, about, message in (
        ("a.pt", made, EVEN, cae, "path must be .*safetensors"),
        ("a.safetensors", made, EVEN + 1, cae, "counts"),
        ("a.safetensors", torch.nn.Linear(2, 2), EVEN, cae, "model=Linear: one of SparseCAE, CaeAdmm"),
        ("a.safetensors", large, EVEN, cae, "conv1.weight: a weight is not a finite fp16 number"),
        ("a.safetensors", wide, tiny_cae_admm.counts(wide), admm, "running_var: a weight is not a finite fp16 number"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrained.save(tmp_path / name, model, counts, about)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("latent", "fits"), [(10, True), (11, False)])
def test_save_refuses_a_model_larger_than_any_file_before_it_is_written(tmp_path, monkeypatch, latent, fits):
    one, shape = torch.ones((), dtype=torch.float16), Shape(512, 256, latent)
    monkeypatch.setattr(pretrained, "rounded", lambda of: {n: one.expand(t.shape) for n, t in of.state_dict().items()})
    monkeypatch.setattr(pretrained, "save_file", lambda tensors, path, **options: path.touch())
    with torch.device("meta"):
        model = CaeAdmm(shape)
    refused = pytest.raises(ValueError, match=rf"model: {re.escape(str(shape))} makes [\d,]+ bytes")
    with nullcontext() if fits else refused:
        pretrained.save(tmp_path / "a.safetensors", model, EVEN.expand(256, -1), tiny_cae_admm.ABOUT)
    assert len(list(tmp_path.iterdir())) == fits


WRONG = {
    "sparse_cae": {
        "no width": lambda tensors, said: said["shape"].pop("width"),
        "one word too many": lambda tensors, said: said.update(more=1),
        "impossible width": lambda tensors, said: said["shape"].update(width=10**9),
        "tensor missing": lambda tensors, said: tensors.pop("decoder.conv4.bias"),
        "tensor more": lambda tensors, said: tensors.update(more=torch.zeros(1)),
        "float32": lambda tensors, said: tensors.update({"decoder.conv4.bias": tensors["decoder.conv4.bias"].float()}),
        "another shape": lambda tensors, said: tensors.update({"decoder.conv4.bias": torch.zeros(4).half()}),
        "not finite": lambda tensors, said: tensors["decoder.conv4.bias"].fill_(math.nan),
        "counts": lambda tensors, said: tensors["counts"].add_(1),
        "counts of another kind": lambda tensors, said: tensors.update(counts=tensors["counts"].long()),
    },
    "cae_admm": {
        "variance of zero": lambda tensors, said: tensors["encoder.0.1.running_var"][0].zero_(),
        "mean that is none": lambda tensors, said: tensors["encoder.0.1.running_mean"][0].fill_(math.nan),
        "another family": lambda tensors, said: said.update(kind="sparse_cae"),
        "a list of families": lambda tensors, said: said.update(kind=["cae_admm"]),
    },
}


@pytest.mark.parametrize(("kind", "what"), [(kind, what) for kind, changes in WRONG.items() for what in changes])
def test_load_refuses_what_no_save_wrote(tmp_path, written, kind, what):
    assert_cannot_be_read(rewritten(tmp_path / "a.safetensors", written[kind], WRONG[kind][what]))


def test_load_refuses_files_that_are_no_models(tmp_path, written, monkeypatch):
    path, good = tmp_path / "a.safetensors", written["sparse_cae"]
    deep = json.dumps({"__metadata__": {"model": "[" * 100_000}}).encode()
    for content in (
        b"", good[:-1], good + b"\0", b"\xff" * 1000, (2**60).to_bytes(8, "little") + good[8:],
        good[:8] + b"[" + good[9:], len(deep).to_bytes(8, "little") + deep,
    ):  # fmt: skip
        path.write_bytes(content)
        assert_cannot_be_read(path)
    save_file({"x": torch.zeros(1)}, path)
    assert_cannot_be_read(path, "does not say that it is one of sparse_cae, cae_admm")
    assert_cannot_be_read(tmp_path / "nope.safetensors")
    assert_cannot_be_read(tmp_path)
    monkeypatch.setattr(pretrained, "MOST_BYTES", 10)
    monkeypatch.setattr(pretrained, "safe_open", lambda *a: pytest.fail("it was opened first"))
    assert_cannot_be_read(path, "more than any model has")


# What there is --------------------------------------------------------------------------------------------------------


def test_models_are_found_by_name_path_and_key(tmp_path, tmp_path_factory):
    models = Models(tmp_path, tmp_path / "no such folder")
    with pytest.raises(ValueError, match="model='a' is unknown; known are none"):
        models.find("a")
    a, b = tiny_cae.write(tmp_path, "a"), tiny_cae.write(tmp_path, "b", seed=1)
    (tmp_path / "notes.txt").write_text("not a model")
    assert models.names == ("a", "b") and models.files == {"a": a, "b": b}
    key = load(b).key
    assert models.find("b").key == models.find(str(b)).key == models.by_key(key).key == key
    with pytest.raises(ValueError, match="model='c' is unknown; known are a, b"):
        models.find("c")
    elsewhere = tiny_cae.write(tmp_path_factory.mktemp("elsewhere"), "c", seed=2)
    assert models.find(elsewhere).name == "c" and models.names == ("a", "b")
    missing = load(elsewhere).key
    assert Models(tmp_path, elsewhere).find("c").key == Models(elsewhere).by_key(missing).key == missing
    with pytest.raises(LookupError, match=f"{missing}.*a {load(a).key}"):
        models.by_key(missing)
    a.write_bytes(b"broken")
    assert models.by_key(key).name == "b", "another file's fault is not this one's"
    with pytest.raises(LookupError, match=r"a \(broken\), b "):
        models.by_key("0" * 16)
    with pytest.raises(ValueError, match="a.safetensors' cannot be read"):
        models.of_codec("cae")
    again = tiny_cae.write(tmp_path_factory.mktemp("again"), "b", seed=3)
    assert Models(b, again).find("b").key == load(again).key != Models(again, b).find("b").key, "the later place counts"


def test_models_read_each_file_once_until_it_changes(tmp_path, monkeypatch):
    """With more models than a cache has places, every look-up once read all of them again."""
    first, reads = tiny_cae.write(tmp_path, "00", latent=1), []
    for number in range(1, 40):
        (tmp_path / f"{number:02}.safetensors").write_bytes(first.read_bytes())
    tiny_cae.write(tmp_path, "99", seed=1, latent=1)
    monkeypatch.setattr(pretrained, "load", lambda path: reads.append(path) or load(path))
    models = Models(tmp_path)
    written = get_codec("cae", model="99", models=models).encode(np.zeros((8, 8, 3), np.uint8))
    for _ in range(2):
        decode(written, models=models)
    assert len(models.names) == 41 and sorted(reads) == sorted(models.files.values()), "each file once"
    first.write_bytes(b"broken")
    for _ in range(2):
        decode(written, models=models)
    assert reads[41:] == [first], "a file that changed is read again, once"
    tiny_cae.write(tmp_path, "99", seed=5, latent=1)
    assert models.find("99").key == load(models.files["99"]).key != models.find("01").key


def test_default_models_are_those_of_the_package_and_of_the_clone():
    assert default_models().places == (pretrained.WEIGHTS, Path(__file__).parents[1] / "results" / "models")
    assert default_models() is default_models()
    assert default_models().find("cae-bilevel-l11-seed-0-desktop-bfloat16").key == "aa827c923cfc0f74", "files name it"
