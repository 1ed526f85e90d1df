"""Trained models as files: what is written, what a key is of, and what is refused."""

from __future__ import annotations

import json
import os
import re

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sparsecomp import data
from sparsecomp.codecs import decode, get_codec
from sparsecomp.models import pretrained
from sparsecomp.models.cae_admm import CaeAdmm, Shape
from sparsecomp.models.pretrained import Models, default_models
from sparsecomp.models.sparse_cae import SparseCAE


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def rewritten(path, change):
    """The file anew, after ``change(tensors, said)``."""
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        said = json.loads(file.metadata()["model"])
    change(tensors, said)
    save_file(tensors, path, metadata={"model": json.dumps(said)})
    return path


def test_a_model_comes_back_as_fp16(folder):
    made = tiny_cae.model()
    counts = tiny_cae.counts(made)
    about = {"name": "dense", "lam": 7e-3, "finest": 1 / 64, "coarsest": 1 / 16, "search": True, "sparsity": 0.0}
    path = folder / "dense.safetensors"
    pretrained.save(path, made, counts, about)
    stored = pretrained.load(path)
    assert (stored.name, stored.about) == ("dense", about) and re.fullmatch("[0-9a-f]{16}", stored.key)
    assert isinstance(stored.model, SparseCAE) and not stored.model.training and stored.model.shape == made.shape
    assert stored.counts.dtype == np.int64 and np.array_equal(stored.counts, counts.numpy())
    for name, tensor in stored.model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, made.state_dict()[name].half().float())
    tensors = load_file(path)
    assert {t.dtype for name, t in tensors.items() if name != "counts"} == {torch.float16}
    assert tensors["counts"].dtype == torch.int32 and set(tensors) == {*made.state_dict(), "counts"}
    assert path.stat().st_size < 2 * sum(p.numel() for p in made.parameters()) + 4 * counts.numel() + 8000
    with torch.no_grad():
        assert stored.model.decoder(stored.model.encoder(torch.zeros(1, 3, 8, 8))).shape == (1, 3, 8, 8)


def test_saving_does_not_change_the_model_and_numpy_counts_do(folder):
    made = tiny_cae.model()
    before = {name: t.clone() for name, t in made.state_dict().items()}
    about = {"finest": 0.01, "coarsest": 0.04}
    for name, counts in (("a", tiny_cae.counts(made)), ("b", tiny_cae.counts(made).numpy())):
        pretrained.save(folder / f"{name}.safetensors", made, counts, about)
    assert all(torch.equal(before[name], t) for name, t in made.state_dict().items())
    assert pretrained.load(folder / "a.safetensors").key == pretrained.load(folder / "b.safetensors").key
    assert pretrained.load(folder / "a.safetensors").step == round(0.02 * 16384)


def test_the_key_is_of_weights_counts_and_shape_but_not_of_words(folder):
    key = pretrained.load(tiny_cae.write(folder, "a")).key
    assert pretrained.load(tiny_cae.write(folder, "b", lam=3.0, search=False)).key == key
    for change in (
        lambda tensors, said: tensors["decoder.conv4.bias"].add_(1e-2),
        lambda tensors, said: tensors["encoder.conv1.weight"].view(-1)[0].neg_(),
        lambda tensors, said: tensors["counts"][0, :2].add_(torch.tensor([1, -1], dtype=torch.int32)),
    ):
        path = tiny_cae.write(folder, "c")
        first = load_file(path)["counts"][0, :2]
        assert first[1] > 4, "one can be taken away"
        assert pretrained.load(rewritten(path, change)).key != key
    paths = (tiny_cae.write(folder, "d", seed=s, latent=n) for s in (0, 1) for n in (3, 4))
    assert len({pretrained.load(path).key for path in paths}) == 4


def test_the_key_stays_what_it_is(folder):
    """Files name it: another way of hashing would orphan them."""
    made = tiny_cae.model(latent=1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_((torch.arange(parameter.numel()) % 7 - 3).view(parameter.shape) / 8)
    pretrained.save(folder / "a.safetensors", made, torch.full((1, 512), 2**15), {"finest": 0.1, "coarsest": 0.1})
    assert pretrained.load(folder / "a.safetensors").key == "c2fbf9156e228ccd"


# Of the models in results/models, before there was a second family.
KEYS = {
    "cae-bilevel-l11-seed-0-laptop": "3563fe69e9744e95",
    "cae-filters-then-l1-rewound-seed-0-laptop": "60c456632ae2636b",
    "cae-high-seed-0-laptop": "dfd3a24d93a65879",
    "cae-l1-seed-0-laptop": "b07c4195658732ae",
    "cae-l1inf-seed-0-laptop": "65a2bca214ea9ec5",
    "cae-low-seed-0-laptop": "a3dbbf3189744f81",
    "cae-lowest-seed-0-laptop": "d0420a3dfa596c9b",
    "cae-middle-seed-0-laptop": "227b07cf3238e9a9",
}


@pytest.mark.parametrize("name", KEYS)
def test_the_models_that_files_name_keep_their_keys(name):
    stored = default_models().find(name)
    assert (stored.key, stored.kind, stored.codec, stored.scale) == (KEYS[name], "sparse_cae", "cae", 4)
    assert stored.about["search"] in (True, False) and 64 <= stored.step < 2**16


def test_a_file_that_took_anothers_place_is_noticed(folder):
    path, models = tiny_cae.write(folder, "a"), Models(folder)
    key = models.find("a").key
    assert models.find("a") is models.find(path) is models.by_key(key), "read once"
    tiny_cae.write(folder, "a", seed=5)
    assert models.find("a").key != key


@pytest.mark.parametrize("fails", ["replace", "write"])
def test_a_model_is_written_whole_or_not_at_all(folder, monkeypatch, fails):
    path = tiny_cae.write(folder, "a")
    before = path.read_bytes()

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "replace", full) if fails == "replace" else (pretrained, "save_file", full)))
    with pytest.raises(OSError):
        tiny_cae.write(folder, "a", seed=1)
    assert [p.name for p in folder.iterdir()] == ["a.safetensors"] and path.read_bytes() == before


def infinite(made, counts, about):
    with torch.no_grad():
        made.decoder.conv1.weight[0, 0, 0, 0] = 1e5  # finite as float32


def undefined(made, counts, about):
    with torch.no_grad():
        made.encoder.conv1.bias[0] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (infinite, "decoder.conv1.weight"),
        (undefined, "encoder.conv1.bias"),
        (lambda made, counts, about: counts.add_(1), "counts"),
        (lambda made, counts, about: about.pop("finest"), "finest"),
        (lambda made, counts, about: about.update(finest=0.5, coarsest=0.25), "finest must be .*got 0.5"),
        (lambda made, counts, about: about.update(coarsest=5), "coarsest must be .*got 5"),
        (lambda made, counts, about: about.update(finest=float("nan")), "nan"),
        (lambda made, counts, about: about.update(sparsity="much"), "sparsity"),
        (lambda made, counts, about: about.update(more=[1]), "plain values"),
    ],
)
def test_what_is_not_saved(folder, change, message):
    made = tiny_cae.model()
    counts, about = tiny_cae.counts(made), {"finest": 1 / 64, "coarsest": 1 / 16}
    change(made, counts, about)
    with pytest.raises(ValueError, match=message):
        pretrained.save(folder / "a.safetensors", made, counts, about)
    assert not list(folder.iterdir())
    with pytest.raises(ValueError, match=".safetensors"):
        pretrained.save(folder / "a.pt", tiny_cae.model(), tiny_cae.counts(tiny_cae.model()), about)


WRONG = {
    "kind": lambda tensors, said: said.update(kind="other"),
    "no width": lambda tensors, said: said["shape"].pop("width"),
    "one word too many": lambda tensors, said: said.update(more=1),
    "impossible width": lambda tensors, said: said["shape"].update(width=10**9),
    "width that is text": lambda tensors, said: said["shape"].update(width="8"),
    "another width": lambda tensors, said: said["shape"].update(width=16),
    "another latent": lambda tensors, said: said["shape"].update(latent=4),
    "about that is a list": lambda tensors, said: said.update(about=[]),
    "about with depth": lambda tensors, said: said["about"].update(more={"a": 1}),
    "no steps": lambda tensors, said: said["about"].pop("coarsest"),
    "tensor missing": lambda tensors, said: tensors.pop("decoder.conv4.bias"),
    "tensor more": lambda tensors, said: tensors.update(more=torch.zeros(1)),
    "float32": lambda tensors, said: tensors.update({"decoder.conv4.bias": tensors["decoder.conv4.bias"].float()}),
    "shape": lambda tensors, said: tensors.update({"decoder.conv4.bias": torch.zeros(4).half()}),
    "not finite": lambda tensors, said: tensors["decoder.conv4.bias"].fill_(float("nan")),
    "counts": lambda tensors, said: tensors["counts"].add_(1),
    "counts below 4": lambda tensors, said: tensors["counts"][0, :2].copy_(torch.tensor([0, 8])),
    "counts of another kind": lambda tensors, said: tensors.update(counts=tensors["counts"].long()),
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_is_not_loaded(folder, change):
    path = rewritten(tiny_cae.write(folder, "a"), change)
    with pytest.raises(ValueError, match="a.safetensors' cannot be read: ") as caught:
        pretrained.load(path)
    assert "\n" not in str(caught.value)


# The second family ----------------------------------------------------------------------------------------------------


def test_a_pruning_autoencoder_comes_back_as_fp16(folder):
    made, about = tiny_cae_admm.model(), {"codec": "cae-theis", "keep": 0.1, "lam": 4.0, "label": "x", "search": False}
    counts, path = tiny_cae_admm.counts(made), folder / "a.safetensors"
    pretrained.save(path, made, counts, about)
    stored = pretrained.load(path)
    assert (stored.kind, stored.codec, stored.scale, stored.about) == ("cae_admm", "cae-theis", 8, about)
    assert isinstance(stored.model, CaeAdmm) and stored.model.shape == made.shape == Shape(8, 3, 2)
    assert not stored.model.training and not any(p.requires_grad for p in stored.model.parameters())
    assert stored.counts.dtype == np.int64 and np.array_equal(stored.counts, counts.numpy())
    state = made.state_dict()
    assert set(load_file(path)) == {*state, "counts"} and any(name.endswith("running_var") for name in state)
    for name, tensor in stored.model.state_dict().items():
        assert tensor.dtype == torch.float32 and torch.equal(tensor, state[name].half().float())
    x = torch.rand(1, 3, 16, 24)
    pretrained.round_(made)
    with torch.no_grad():
        assert torch.equal(stored.model.encoder(x), made.encoder(x)), "what is rounded is what is stored"


def test_rounding_keeps_variances_above_zero(folder):
    made = tiny_cae_admm.model()
    with torch.no_grad():
        made.encoder[0][1].running_var[:2] = torch.tensor([0.0, 1e-12])
    pretrained.save(folder / "a.safetensors", made, tiny_cae_admm.counts(made), tiny_cae_admm.ABOUT)
    assert (pretrained.load(folder / "a.safetensors").model.encoder[0][1].running_var[:2] == 2.0**-24).all()
    assert float(made.encoder[0][1].running_var[0]) == 0, "the model itself is as it was"
    pretrained.round_(made)
    assert float(made.encoder[0][1].running_var[0]) == 2.0**-24


def test_the_key_of_a_pruning_autoencoder_stays_what_it_is(folder):
    made = CaeAdmm(Shape(8, 1, 1))
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.copy_((torch.arange(tensor.numel()) % 7 + 1).view(tensor.shape) / 8)
    for name, about in (("a", {"codec": "cae-admm"}), ("b", {"codec": "cae-theis", "lam": 2})):
        pretrained.save(folder / f"{name}.safetensors", made, torch.full((1, 512), 2**15), about)
    assert {pretrained.load(folder / f"{name}.safetensors").key for name in "ab"} == {"c89a5872a8ff103a"}
    with torch.no_grad():
        made.decoder[0][1].running_mean[0] += 0.125
    pretrained.save(folder / "c.safetensors", made, torch.full((1, 512), 2**15), {"codec": "cae-admm"})
    assert pretrained.load(folder / "c.safetensors").key != pretrained.load(folder / "a.safetensors").key


ABOUTS = {
    "no codec": ({}, "codec must be .*got None"),
    "another codec": ({"codec": "cae"}, "codec must be .*got 'cae'"),
    "nothing kept": ({"codec": "cae-admm", "keep": 0}, "keep must be .*got 0"),
    "more than all kept": ({"codec": "cae-admm", "keep": 1.5}, "keep must be .*got 1.5"),
    "a share that is text": ({"codec": "cae-admm", "keep": "all"}, "keep must be .*got 'all'"),
    "a price below zero": ({"codec": "cae-theis", "lam": -1.0}, "lam must be .*got -1.0"),
    "a price that is none": ({"codec": "cae-theis", "lam": float("nan")}, "lam must be .*got nan"),
    "a price without end": ({"codec": "cae-theis", "lam": float("inf")}, "lam must be .*got inf"),
    "depth": ({"codec": "cae-theis", "more": [1]}, "plain values"),
}


@pytest.mark.parametrize(("about", "message"), ABOUTS.values(), ids=ABOUTS)
def test_what_is_said_of_a_pruning_autoencoder_must_be_so(folder, about, message):
    made = tiny_cae_admm.model()
    with pytest.raises(ValueError, match=message):
        pretrained.save(folder / "a.safetensors", made, tiny_cae_admm.counts(made), about)
    assert not list(folder.iterdir())
    path = rewritten(tiny_cae_admm.write(folder, "a"), lambda tensors, said: said.update(about=about))
    with pytest.raises(ValueError, match=f"a.safetensors' cannot be read: .*{message}"):
        pretrained.load(path)


WRONG_ADMM = {
    "variance of zero": lambda tensors, said: tensors["encoder.0.1.running_var"][0].zero_(),
    "variance below zero": lambda tensors, said: tensors["decoder.0.1.running_var"][0].neg_(),
    "variance without end": lambda tensors, said: tensors["decoder.0.1.running_var"][0].fill_(float("inf")),
    "mean that is none": lambda tensors, said: tensors["encoder.0.1.running_mean"][0].fill_(float("nan")),
    "no variance": lambda tensors, said: tensors.pop("encoder.0.1.running_var"),
    "a count of batches": lambda tensors, said: tensors.update({"encoder.0.1.num_batches_tracked": torch.tensor(3)}),
    "another depth": lambda tensors, said: said["shape"].update(depth=3),
    "impossible depth": lambda tensors, said: said["shape"].update(depth=33),
    "another family": lambda tensors, said: said.update(kind="sparse_cae"),
    "a list of families": lambda tensors, said: said.update(kind=["cae_admm"]),
    "counts": lambda tensors, said: tensors["counts"].add_(1),
}


@pytest.mark.parametrize("change", WRONG_ADMM.values(), ids=WRONG_ADMM)
def test_what_is_not_loaded_of_a_pruning_autoencoder(folder, change):
    path = rewritten(tiny_cae_admm.write(folder, "a"), change)
    with pytest.raises(ValueError, match="a.safetensors' cannot be read: ") as caught:
        pretrained.load(path)
    assert "\n" not in str(caught.value)


def test_statistics_that_fp16_cannot_hold_are_not_saved(folder):
    made = tiny_cae_admm.model()
    made.decoder[0][1].running_var[0] = 1e6
    with pytest.raises(ValueError, match="decoder.0.1.running_var: a weight is not a finite fp16 number"):
        pretrained.save(folder / "a.safetensors", made, tiny_cae_admm.counts(made), tiny_cae_admm.ABOUT)


def test_a_model_of_neither_family_is_not_saved(folder):
    with pytest.raises(ValueError, match="model=Linear: one of SparseCAE, CaeAdmm"):
        pretrained.save(folder / "a.safetensors", torch.nn.Linear(2, 2), torch.full((1, 512), 2**15), {})


def test_a_model_larger_than_any_file_is_not_saved(folder):
    with torch.device("meta"):
        largest, papers = CaeAdmm(Shape(512, 256, 32)), CaeAdmm(Shape())
    sizes = [2 * sum(t.numel() for t in m.state_dict().values()) + 2048 * m.shape.latent for m in (largest, papers)]
    assert sizes[0] > pretrained.MOST_BYTES > 10 * sizes[1]
    for shape, fits in ((Shape(512, 256, 10), True), (Shape(512, 256, 11), False), (Shape(296, 256, 32), True)):
        with torch.device("meta"):
            model = CaeAdmm(shape)
        size = 2 * sum(t.numel() for t in model.state_dict().values()) + 2048 * shape.latent
        assert (size <= pretrained.MOST_BYTES - 2**17) == fits


def test_a_model_too_large_is_refused_before_it_is_written(folder, monkeypatch):
    monkeypatch.setattr(pretrained, "MOST_BYTES", 2**17 + 100)
    with pytest.raises(ValueError, match=r"model: Shape\(width=8, latent=3, depth=2\) makes [\d,]+ bytes"):
        tiny_cae_admm.write(folder, "a")
    assert not list(folder.iterdir())


# What there is --------------------------------------------------------------------------------------------------------


def test_files_that_are_no_models(folder, monkeypatch):
    path = tiny_cae.write(folder, "a")
    good = path.read_bytes()
    size = int.from_bytes(good[:8], "little")
    deep = json.dumps({"__metadata__": {"model": "[" * 100_000}}).encode()
    for content in (
        b"", b"x", good[:-1], good[: size // 2], good + b"\0", bytes(1000), b"\xff" * 1000,
        (2**60).to_bytes(8, "little") + good[8:], good[:8] + b"[" + good[9:],
        len(deep).to_bytes(8, "little") + deep,
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(ValueError, match="cannot be read") as caught:
            pretrained.load(path)
        assert "\n" not in str(caught.value)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="does not say that it is one of sparse_cae, cae_admm"):
        pretrained.load(path)
    with pytest.raises(ValueError, match="cannot be read"):
        pretrained.load(folder / "nope.safetensors")
    with pytest.raises(ValueError, match="cannot be read"):
        pretrained.load(folder)
    monkeypatch.setattr(pretrained, "MOST_BYTES", 10)
    monkeypatch.setattr(pretrained, "safe_open", lambda *a: pytest.fail("it was opened first"))
    with pytest.raises(ValueError, match="more than any model has"):
        pretrained.load(path)


def test_finding_by_name_path_and_key(folder, tmp_path_factory):
    models = Models(folder, folder / "no such folder")
    assert models.names == ()
    with pytest.raises(ValueError, match="model='a' is unknown; known are none"):
        models.find("a")
    a, b = tiny_cae.write(folder, "a"), tiny_cae.write(folder, "b", seed=1)
    (folder / "notes.txt").write_text("not a model")
    assert models.names == ("a", "b") and models.files == {"a": a, "b": b}
    key = pretrained.load(b).key
    assert models.find("b").key == models.find(b).key == models.find(str(b)).key == models.by_key(key).key == key
    with pytest.raises(ValueError, match="model='c' is unknown; known are a, b"):
        models.find("c")
    elsewhere = tiny_cae.write(tmp_path_factory.mktemp("elsewhere"), "c", seed=2)
    assert models.find(elsewhere).name == "c" and models.names == ("a", "b")
    assert Models(folder, elsewhere).find("c").key == Models(elsewhere).by_key(pretrained.load(elsewhere).key).key
    with pytest.raises(LookupError) as caught:
        models.by_key(pretrained.load(elsewhere).key)
    assert pretrained.load(elsewhere).key in str(caught.value) and f"a {pretrained.load(a).key}" in str(caught.value)
    a.write_bytes(b"broken")
    assert models.by_key(pretrained.load(b).key).name == "b", "another file's fault is not this one's"
    with pytest.raises(LookupError, match=r"a \(broken\), b "):
        models.by_key("0" * 16)
    with pytest.raises(ValueError, match="a.safetensors' cannot be read"):
        models.of_codec("cae")


def test_of_models_of_one_name_the_later_place_counts(tmp_path):
    first, second = (tiny_cae.write(tmp_path / place, "a", seed=seed) for seed, place in enumerate("xy"))
    for places, expected in (((first, second), second), ((tmp_path / "y", tmp_path / "x"), first)):
        assert Models(*places).find("a").key == pretrained.load(expected).key


def test_each_model_is_read_once_however_many_there_are(folder, monkeypatch):
    """With more models than a cache has places, every look-up once read all of them again."""
    first, reads, load = tiny_cae.write(folder, "00", latent=1), [], pretrained.load
    for number in range(1, 40):
        (folder / f"{number:02}.safetensors").write_bytes(first.read_bytes())
    tiny_cae.write(folder, "99", seed=1, latent=1)
    monkeypatch.setattr(pretrained, "load", lambda path: reads.append(path) or load(path))
    models = Models(folder)
    written = get_codec("cae", model="99", models=models).encode(np.zeros((8, 8, 3), np.uint8))
    for _ in range(2):
        decode(written, models=models)
    assert len(models.names) == 41 and sorted(reads) == sorted(models.files.values()), "each file once"
    first.write_bytes(b"broken")
    for _ in range(2):
        decode(written, models=models)
    assert reads[41:] == [first], "a file that changed is read again, once"


def test_default_models_are_those_of_the_package_and_of_the_clone():
    assert default_models().places == (pretrained.WEIGHTS, data.results_folder() / "models")
    assert default_models() is default_models()
