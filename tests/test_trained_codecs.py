"""What the codecs of trained autoencoders share: which model is taken, and what a file asks for."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch
from samples import photograph

from sparsecomp import codecs, metrics
from sparsecomp.codecs import BitstreamError, BudgetError, get_codec, trained
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.coding.container import Container, pack, unpack
from sparsecomp.models import pretrained
from sparsecomp.models.pretrained import Models

WRITERS = {"cae": tiny_cae.write, "cae-admm": tiny_cae_admm.write, "cae-theis": tiny_cae_admm.write}
IMAGE = photograph(20, 20)
each = pytest.mark.parametrize("name", ["cae", "cae-admm"])
every = pytest.mark.parametrize("name", WRITERS)


def write(folder, name: str, model: str, **options) -> None:
    WRITERS[name](folder, model, **options, **({} if name == "cae" else {"codec": name}))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """Of each codec two that may be chosen, trained for a second."""
    folder = tmp_path_factory.mktemp("models")
    tiny_cae.train(folder, "cae fine", 6, finest=1 / 128, coarsest=1 / 32)
    tiny_cae.train(folder, "cae sparse", 2, finest=1 / 256, sparsity=0.8)
    tiny_cae_admm.train(folder, "cae-admm fine", 8, keep=0.5, lam=0.0)
    tiny_cae_admm.train(folder, "cae-admm sparse", 4, keep=0.1)
    tiny_cae_admm.train(folder, "cae-theis fine", 6, codec="cae-theis", lam=400.0)
    return Models(folder)


def changed(data: bytes, height: int | None = None, width: int | None = None, **sections: bytes) -> bytes:
    was = unpack(data)
    return pack(Container(was.codec, height or was.height, width or was.width, was.sections | sections))


# Models ---------------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("bpp", [0.4, 1.0, 3.0])
def test_the_best_of_the_models_that_may_be_chosen(models, tmp_path, name, bpp):
    image, files = photograph(64, 64), {}
    quality = metrics.psnr if name == "cae" else metrics.ssim
    for model in ("fine", "sparse"):
        written = get_codec(name, models=models, model=f"{name} {model}").at_bpp(image, bpp)
        files[quality(reference=image, reconstruction=codecs.decode(written, models=models))] = written
    assert len(files) == 2
    for names in (("a", "b"), ("b", "a")):  # which of them is the first must not matter
        folder = tmp_path / names[0]
        folder.mkdir()
        for copy, model in zip(names, ("fine", "sparse"), strict=True):
            (folder / f"{copy}.safetensors").write_bytes(models.files[f"{name} {model}"].read_bytes())
        assert get_codec(name, models=Models(folder)).at_bpp(image, bpp) == files[max(files)]


@each
def test_a_budget_too_small_names_what_the_best_model_reaches(models, name):
    for size in ((1, 1), (5, 3), (30, 40)):
        image, smallest = photograph(*size), []
        for model in ("fine", "sparse"):
            with pytest.raises(BudgetError) as caught:
                get_codec(name, models=models, model=f"{name} {model}").at_bpp(image, 0.001)
            smallest.append(caught.value.smallest)
        with pytest.raises(BudgetError, match=f"{name}: bpp=0.001 is too small") as caught:
            get_codec(name, models=models).at_bpp(image, 0.001)
        assert caught.value.smallest == min(smallest)


@every
def test_the_model_is_the_receivers(models, tmp_path, name):
    written, theirs = get_codec(name, models=models, model=f"{name} fine").encode(IMAGE), Models(tmp_path)
    key = models.find(f"{name} fine").key
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are none"):
        codecs.decode(written, models=theirs)
    write(tmp_path, name, "fine", seed=9)  # the right name is not enough
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are fine [0-9a-f]"):
        codecs.decode(written, models=theirs)
    (tmp_path / "renamed.safetensors").write_bytes(models.files[f"{name} fine"].read_bytes())
    assert codecs.decode(written, models=theirs).shape == IMAGE.shape
    unknown = unpack(changed(written, network=bytes(8) + struct.pack("<H", 100)))
    with pytest.raises(BitstreamError, match="which is not here"):
        REGISTRY[name].macs_per_pixel(unknown, models)


@every
def test_without_a_model_it_says_how_to_get_one(tmp_path, name):
    write(tmp_path, "cae" if name != "cae" else "cae-admm", "stranger")
    codec, study = get_codec(name, models=Models(tmp_path)), "cae" if name == "cae" else "cae_admm"
    for call in (lambda: codec.encode(IMAGE), lambda: codec.at_bpp(IMAGE, 1.0)):
        with pytest.raises(ValueError, match=f"{name}: .*`sparsecomp study {study} --profile laptop` trains them"):
            call()
    write(tmp_path, name, "shy", search=False)
    with pytest.raises(ValueError, match=f"{name}: no model here may be chosen without being named; name one of shy$"):
        codec.at_bpp(IMAGE, 1.0)
    with pytest.raises(ValueError, match="model='nope' is unknown; known are shy, stranger"):
        get_codec(name, models=Models(tmp_path), model="nope").encode(IMAGE)


@each
def test_writing_does_not_touch_the_model_that_all_share(tmp_path, name):
    write(tmp_path, name, "new")
    models = Models(tmp_path)
    state = models.find("new").model.state_dict()
    before = {name: (t.clone(), t.stride()) for name, t in state.items()}
    codecs.evaluate(get_codec(name, models=models), photograph(40, 40), 1.0)
    for key, tensor in models.find("new").model.state_dict().items():
        assert tensor is state[key] or torch.equal(tensor, before[key][0])
        assert tensor.stride() == before[key][1]


# What is not such a file ----------------------------------------------------------------------------------------------


@each
def test_sizes_that_are_forged_are_refused_before_any_work(models, monkeypatch, name):
    written = get_codec(name, models=models).encode(IMAGE)
    monkeypatch.setattr(REGISTRY[name].coder, "decode", lambda *a: pytest.fail("it was decoded first"))
    for height, width in ((2**13, 2**13), (1, 2**26), (2**20, 2)):
        with pytest.raises(BitstreamError, match="at least|absurd"):
            codecs.decode(changed(written, height=height, width=width), models=models)


@each
def test_models_too_costly_for_a_picture_neither_write_nor_read(models, monkeypatch, name):
    image, codec, stored = photograph(33, 40), get_codec(name, models=models), models.find(f"{name} fine")
    written, places = codec.encode(image), -(-33 // stored.scale) * -(-40 // stored.scale)
    macs = round(codec.macs_per_pixel(unpack(written), models) * stored.scale**2) * places
    for limit, most in (("MOST_MACS", macs), ("MOST_SYMBOLS", stored.model.shape.latent * places)):
        with monkeypatch.context() as patch:
            patch.setattr(trained, limit, most)
            assert codec.encode(image) == written
            codec.decode(written)
            patch.setattr(trained, limit, most - 1)
            named = get_codec(name, models=models, model=f"{name} fine")
            for call in (lambda named=named: named.encode(image), lambda named=named: named.at_bpp(image, 1)):
                with pytest.raises(ValueError, match=f"model='{name} fine' does not go with 33 x 40 pixels"):
                    call()
            with pytest.raises(BitstreamError, match="absurd size"):
                codec.decode(written)


@each
def test_the_papers_network_takes_the_largest_picture(name):
    macs, places = (16 * 279_088, 2**26 // 16) if name == "cae" else (64 * 682_224, 2**26 // 64)
    assert macs * places <= trained.MOST_MACS and 32 * places <= trained.MOST_SYMBOLS


@each
def test_no_memory_is_a_fault_of_the_file(models, monkeypatch, name):
    codec = get_codec(name, models=models)
    written = codec.encode(IMAGE)

    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(pretrained, "in_strips", full)
    with pytest.raises(BitstreamError, match="no memory to draw 20 x 20 pixels"):
        codec.decode(written)


def test_any_size_is_drawn_in_strips_without_a_seam(models, monkeypatch):
    in_strips = pretrained.in_strips
    for name, pixels in (("cae", 1600), ("cae-admm", 1)):
        codec, image = get_codec(name, models=models), photograph(130, 90)
        written = codec.encode(image)
        picture = codec.decode(written).astype(int)
        with monkeypatch.context() as patch:
            patch.setattr(pretrained, "in_strips", lambda *a, pixels=pixels, **o: in_strips(*a, **o, pixels=pixels))
            assert np.abs(codec.decode(written) - picture).max() <= 1
            assert abs(len(codec.encode(image)) - len(written)) <= 2
