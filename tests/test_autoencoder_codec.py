"""The codec of the autoencoders: its budget, its bytes, its model, and what it takes and refuses."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
import tiny_cae
import torch

from sparsecomp import codecs, metrics
from sparsecomp.codecs import BudgetError, autoencoder, get_codec, trained
from sparsecomp.coding import entropy
from sparsecomp.coding.bitstream import BitstreamError, Container, layout, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models import inference, pretrained


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three models: ``fine`` and ``sparse`` may be chosen, ``other`` must be named."""
    folder = tmp_path_factory.mktemp("models")
    tiny_cae.train(folder, "fine", 6, finest=1 / 128, coarsest=1 / 32)
    tiny_cae.write(folder, "other", seed=1, latent=2, finest=1 / 256, search=False)
    tiny_cae.train(folder, "sparse", 2, finest=1 / 256, sparsity=0.8)
    return folder


@pytest.fixture(autouse=True)
def folder(models, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: models)
    return models


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


def rate(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


def with_sections(data: bytes, height: int | None = None, width: int | None = None, **sections: bytes) -> bytes:
    was = unpack(data)
    return pack(Container("cae", height or was.height, width or was.width, was.sections | sections))


# From picture to file and back ----------------------------------------------------------------------------------------


def test_the_file_byte_by_byte():
    image, stored = crop("coffee", 33, 70), pretrained.find("fine")
    written = get_codec("cae", model="fine", step=700).encode(image)
    sections = unpack(written).sections
    assert (unpack(written).height, unpack(written).width) == (33, 70)
    assert list(sections) == ["network", "values"]
    assert sections["network"] == bytes.fromhex(stored.key) + struct.pack("<H", 700)
    x = inference.to_input(image, 4)
    with torch.no_grad():
        symbols = entropy.quantise(stored.model.encoder(x), 700)[0].numpy()
        decoded = stored.model.decoder(torch.from_numpy(symbols)[None] * (700 / 2**14))
    assert sections["values"] == entropy.encode(symbols, stored.counts, 700)
    wanted = (decoded.clamp(0, 1) * 255).round()[0, :, :33, :70].permute(1, 2, 0).numpy()
    assert np.abs(codecs.decode(written) - wanted).max() <= 1 and (codecs.decode(written) == wanted).mean() > 0.99


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (33, 70), (200, 3)])
@pytest.mark.parametrize("step", [64, None, 65535])
def test_any_size_comes_back(size, step):
    image = crop("coffee", *size)
    written = get_codec("cae", model="sparse", step=step).encode(image)
    picture = codecs.decode(written)
    assert picture.dtype == np.uint8 and picture.shape == image.shape
    assert np.array_equal(get_codec("cae").decode(written), picture)
    assert sum(n for _, n in layout(written)) == len(written)


def test_strips_do_not_show(monkeypatch):
    image, in_strips = crop("coffee", 130, 90), inference.in_strips
    written = get_codec("cae", model="fine").encode(image)
    monkeypatch.setattr(trained, "in_strips", lambda *a, **options: in_strips(*a, **options, pixels=1600))
    assert np.abs(codecs.decode(written).astype(int) - reference(written)).max() <= 1
    again = get_codec("cae", model="fine").encode(image)
    assert abs(len(again) - len(written)) <= 2


def reference(written: bytes) -> np.ndarray:
    stored, step = autoencoder.read_network(unpack(written))
    symbols = autoencoder._read(stored, step, unpack(written))
    with torch.no_grad():
        x = stored.model.decoder(torch.from_numpy(symbols)[None] * (step / 2**14))
    height, width = unpack(written).height, unpack(written).width
    return (x.clamp(0, 1) * 255).round()[0, :, :height, :width].permute(1, 2, 0).numpy().astype(int)


def test_another_process_decodes_the_same(folder, tmp_path):
    image = crop("chelsea", 60, 90)
    measured = codecs.evaluate(get_codec("cae"), image, 2.0)
    (tmp_path / "a.spc").write_bytes(measured.data)
    script = """
import sys
from pathlib import Path
import numpy as np
from sparsecomp import codecs
from sparsecomp.models import pretrained
pretrained.folder = lambda: Path(sys.argv[1])
np.save(sys.argv[3], codecs.decode(Path(sys.argv[2]).read_bytes()))
"""
    paths = [str(path) for path in (folder, tmp_path / "a.spc", tmp_path / "a.npy")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True, timeout=100)
    assert np.array_equal(np.load(tmp_path / "a.npy"), measured.reconstruction)


def test_a_finer_step_is_a_longer_and_better_file():
    image, lengths, errors = crop("chelsea", 64, 64), [], []
    x = inference.to_input(image, 4)
    with torch.no_grad():
        model = pretrained.find("fine").model
        best = model.decoder(model.encoder(x))[0].permute(1, 2, 0).numpy()
    for step in (64, 400, 3000, 12_000):
        written = get_codec("cae", model="fine", step=step).encode(image)
        lengths.append(len(written))
        errors.append(np.abs(codecs.decode(written) / 255 - best.clip(0, 1)).mean())
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 4
    assert errors == sorted(errors) and errors[0] < 0.01


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("coffee", (64, 96)), ("astronaut", (61, 50)), ("chelsea", (120, 96))])
@pytest.mark.parametrize("model", ["fine", "sparse", None])
def test_a_file_is_within_its_budget_and_uses_it(name, size, model):
    image, used = crop(name, *size), []
    most = rate(get_codec("cae", model=model or "sparse", step=64).encode(image), image)
    for bpp in (0.25, 0.3, 0.5, 0.77, 1.0, 1.5, 2.0):
        written = get_codec("cae", model=model).at_bpp(image, bpp)
        used.append(rate(written, image) / bpp)
        assert used[-1] <= 1 and (used[-1] >= 0.95 or most < bpp)


def test_where_the_finest_step_is_not_enough_it_is_taken():
    image = crop("coffee", 40, 40)
    assert get_codec("cae", model="fine").at_bpp(image, 50) == get_codec("cae", model="fine", step=64).encode(image)


@pytest.mark.parametrize("size", [(12, 16), (17, 9), (30, 30)])
def test_to_the_byte(size):
    """Of a small picture too, whose estimate is wrong by as much as a step changes."""
    image, codec = crop("coffee", *size), get_codec("cae", model="fine")
    for bpp in (1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5):
        step = autoencoder.read_network(unpack(codec.at_bpp(image, bpp)))[1]
        assert step == 64 or rate(get_codec("cae", model="fine", step=step - 1).encode(image), image) > bpp


@pytest.mark.parametrize("bpp", [0.3, 0.8, 1.5])
def test_no_smaller_step_fits(bpp):
    image = crop("chelsea", 48, 80)
    step = autoencoder.read_network(unpack(get_codec("cae", model="fine").at_bpp(image, bpp)))[1]
    finer = [step - n for n in range(1, 20)] + [round(step * 0.8**n) for n in range(1, 4)]
    finer = [rate(get_codec("cae", model="fine", step=n).encode(image), image) for n in finer if n >= 64]
    assert finer[0] > bpp and sum(r > bpp for r in finer) > 0.8 * len(finer), "but for a byte here and there"


@pytest.mark.parametrize("bpp", [0.3, 1.0, 3.0])
def test_the_best_of_the_models_that_may_be_chosen(models, tmp_path, monkeypatch, bpp):
    image, files = crop("coffee", 64, 64), {}
    for model in ("fine", "sparse"):
        written = get_codec("cae", model=model).at_bpp(image, bpp)
        files[metrics.psnr(reference=image, reconstruction=codecs.decode(written))] = written
    assert len(files) == 2
    for names in (("a", "b"), ("b", "a")):  # which of them is the first must not matter
        folder = tmp_path / names[0]
        folder.mkdir()
        monkeypatch.setattr(pretrained, "folder", lambda folder=folder: folder)
        for name, model in zip(names, ("fine", "sparse"), strict=True):
            (folder / f"{name}.safetensors").write_bytes((models / f"{model}.safetensors").read_bytes())
        assert get_codec("cae").at_bpp(image, bpp) == files[max(files)]


def test_a_budget_too_small_names_one_that_is_enough():
    for size in ((1, 1), (5, 3), (30, 40)):
        image = crop("coffee", *size)
        with pytest.raises(BudgetError, match="cae: bpp=0.001 is too small") as caught:
            get_codec("cae").at_bpp(image, 0.001)
        shown = float(str(caught.value).split("bpp=")[-1])
        assert rate(get_codec("cae").at_bpp(image, shown), image) == caught.value.smallest <= shown
    for bpp in (0, -1, float("nan"), "1"):
        with pytest.raises(ValueError, match="bpp="):
            get_codec("cae").at_bpp(image, bpp)


def test_an_estimate_that_is_wrong_costs_no_budget(monkeypatch):
    """The last word is the file's, not the estimate's."""
    image, bits = crop("coffee", 64, 64), entropy.bits
    monkeypatch.setattr(entropy, "bits", lambda *a: 0.8 * bits(*a))
    assert rate(get_codec("cae", model="fine").at_bpp(image, 1.0), image) <= 1.0


# Models ---------------------------------------------------------------------------------------------------------------


def test_encode_takes_the_dense_model_that_may_be_chosen(folder):
    image = crop("coffee", 20, 20)
    stored, step = autoencoder.read_network(unpack(get_codec("cae").encode(image)))
    assert stored.name == "fine" and step == 2**14 // 64, "1/64 is in the middle of 1/128 and 1/32"
    by_path = get_codec("cae", model=str(folder / "fine.safetensors"))
    assert by_path.encode(image) == get_codec("cae").encode(image)


def test_the_model_is_the_receivers(folder, tmp_path, monkeypatch):
    image = crop("coffee", 20, 20)
    written = get_codec("cae", model="fine").encode(image)
    key = pretrained.find("fine").key
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are none"):
        codecs.decode(written)
    tiny_cae.write(tmp_path, "fine", seed=9)  # the right name is not enough
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are fine [0-9a-f]"):
        codecs.decode(written)
    (tmp_path / "renamed.safetensors").write_bytes((folder / "fine.safetensors").read_bytes())
    assert codecs.decode(written).shape == image.shape
    with pytest.raises(BitstreamError, match="which is not here"):
        get_codec("cae").macs_per_pixel(with_sections(written, network=bytes(8) + struct.pack("<H", 100)))


def test_without_a_model_it_says_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    image = crop("coffee", 20, 20)
    for call in (lambda: get_codec("cae").encode(image), lambda: get_codec("cae").at_bpp(image, 1.0)):
        with pytest.raises(ValueError, match="sparsecomp study cae --profile laptop"):
            call()
    tiny_cae.write(tmp_path, "shy", search=False)
    with pytest.raises(ValueError, match="name one of shy"):
        get_codec("cae").at_bpp(image, 1.0)
    with pytest.raises(ValueError, match="model='nope' is unknown; known are shy"):
        get_codec("cae", model="nope").encode(image)


def test_writing_does_not_touch_the_model_that_all_share(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    stored = pretrained.load(tiny_cae.write(tmp_path, "new"))
    before = {name: (t.clone(), t.stride()) for name, t in stored.model.state_dict().items()}
    codecs.evaluate(get_codec("cae"), crop("coffee", 40, 40), 1.0)
    for name, tensor in stored.model.state_dict().items():
        assert torch.equal(tensor, before[name][0]) and tensor.stride() == before[name][1]


def test_cost_of_a_pixel(folder):
    written = get_codec("cae", model="fine").encode(crop("coffee", 20, 22))
    # conv1 3->4 at 1/16; up1 4->8 at 1/16 (four taps); blocks 8->8 at 1/4; conv2; up2; conv3; conv4, as the paper's.
    found = get_codec("cae").macs_per_pixel(written)
    network = pretrained.find("fine").model.decoder
    assert found == sum(
        parameter.numel() * area
        for layer, area in ((network.conv1, 1 / 16), (network.up1, 1 / 16), (network.blocks, 1 / 4),
                            (network.conv2, 1 / 4), (network.up2, 1 / 4), (network.conv3, 1), (network.conv4, 1))
        for name, parameter in layer.named_parameters() if name.endswith("weight")
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"step": 63}, {"step": 65536}, {"step": 100.0}, {"step": True}, {"model": 5}, {"quality": 5}]
)
def test_options_that_cannot_be(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        get_codec("cae", **options)


def test_pictures_that_cannot_be():
    for image in (np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), None):
        with pytest.raises(ValueError, match="image"):
            get_codec("cae").encode(image)


# What is not such a file ----------------------------------------------------------------------------------------------


def test_files_that_no_encoder_writes():
    written = get_codec("cae", model="fine").encode(crop("coffee", 33, 40))
    sections = unpack(written).sections
    key, values = sections["network"][:8], sections["values"]
    for changed, message in (
        ({"network": b""}, "network section of 10 bytes"),
        ({"network": sections["network"] + b"\0"}, "network section of 10 bytes"),
        ({"weights": b"x"}, "nothing else"),
        ({"network": key + struct.pack("<H", 63)}, "step 63"),
        ({"network": key + struct.pack("<H", 0)}, "step 0"),
        ({"network": key + struct.pack("<H", 257)}, "damaged"),
        ({"values": values + b"\0"}, "no zeros"),
        ({"values": values + b"x"}, "damaged"),
        ({"values": values[:-1]}, "damaged"),
        ({"values": values[: len(values) // 2]}, "damaged"),
        ({"values": b""}, "at least 1"),
    ):
        with pytest.raises(BitstreamError, match=message):
            codecs.decode(with_sections(written, **changed))
    with pytest.raises(BitstreamError, match="damaged"):
        codecs.decode(with_sections(written, height=80))
    with pytest.raises(BitstreamError, match="a jpeg file, not cae"):
        get_codec("cae").decode(get_codec("jpeg").encode(crop("coffee", 8, 8)))


def test_a_flat_file_is_as_long_as_its_picture_asks_for():
    """Nothing but padding: 64 x 64 pixels and fewer are one byte, a row of the latent more is two."""
    codec = get_codec("cae", model="fine", step=65535)
    for height, least in ((64, 1), (65, 2), (192, 3)):
        written = codec.encode(np.zeros((height, 64, 3), np.uint8))
        assert unpack(written).sections["values"] == bytes(least)
        codecs.decode(written)
        for wrong in (bytes(least - 1), bytes(least + 1), bytes(least + 40)):
            with pytest.raises(BitstreamError, match=f"at least {least}"):
                codecs.decode(with_sections(written, values=wrong))


def test_sizes_that_are_forged_are_refused_before_any_work(monkeypatch):
    written = get_codec("cae", model="fine").encode(crop("coffee", 16, 16))
    monkeypatch.setattr(entropy, "decode", lambda *a: pytest.fail("it was decoded first"))
    for height, width in ((2**13, 2**13), (1, 2**26), (2**20, 2)):
        with pytest.raises(BitstreamError, match="at least|absurd"):
            codecs.decode(with_sections(written, height=height, width=width))


def test_models_too_costly_for_a_picture_neither_write_nor_read(monkeypatch):
    image = crop("coffee", 33, 40)
    written = get_codec("cae", model="fine").encode(image)
    places = 9 * 10
    macs = round(get_codec("cae").macs_per_pixel(written) * 16) * places
    for name, limit in (("MOST_MACS", macs), ("MOST_SYMBOLS", 6 * places)):
        with monkeypatch.context() as patch:
            patch.setattr(trained, name, limit)
            assert get_codec("cae", model="fine").encode(image) == written
            codecs.decode(written)
            patch.setattr(trained, name, limit - 1)
            with pytest.raises(ValueError, match="model='fine' does not go with 33 x 40 pixels"):
                get_codec("cae", model="fine").encode(image)
            with pytest.raises(BitstreamError, match="absurd size"):
                codecs.decode(written)


def test_the_papers_network_takes_the_largest_picture():
    macs, places = 279_088, 2**26 // 16
    assert 16 * macs * places <= trained.MOST_MACS and 32 * places <= trained.MOST_SYMBOLS


def test_no_memory_is_a_fault_of_the_file(monkeypatch):
    written = get_codec("cae", model="fine").encode(crop("coffee", 16, 16))

    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(trained, "in_strips", full)
    with pytest.raises(BitstreamError, match="no memory to draw 16 x 16 pixels"):
        codecs.decode(written)
