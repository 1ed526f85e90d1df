"""The codec of the autoencoders: its budget, its bytes, its model, and what it takes and refuses."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tiny_cae
import torch

from sparsecomp import codecs
from sparsecomp.codecs import Codec, get_codec, trained
from sparsecomp.codecs.trained import Cae
from sparsecomp.coding import latents
from sparsecomp.coding.container import BitstreamError, Container, layout, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models import inference
from sparsecomp.models.pretrained import Models


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """Three models: ``fine`` and ``sparse`` may be chosen, ``other`` must be named."""
    folder = tmp_path_factory.mktemp("models")
    tiny_cae.train(folder, "fine", 6, finest=1 / 128, coarsest=1 / 32)
    tiny_cae.write(folder, "other", seed=1, latent=2, finest=1 / 256, search=False)
    tiny_cae.train(folder, "sparse", 2, finest=1 / 256, sparsity=0.8)
    return Models(folder)


def cae(models: Models, **options) -> Codec:
    return get_codec("cae", models=models, **options)


def decode(data: bytes, models: Models) -> np.ndarray:
    return codecs.decode(data, models=models)


def macs(data: bytes, models: Models) -> float:
    return Cae.macs_per_pixel(unpack(data), models)


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


def rate(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


def with_sections(data: bytes, height: int | None = None, width: int | None = None, **sections: bytes) -> bytes:
    was = unpack(data)
    return pack(Container(was.codec, height or was.height, width or was.width, was.sections | sections))


# From picture to file and back ----------------------------------------------------------------------------------------


def test_the_file_byte_by_byte(models):
    image, stored = crop("coffee", 33, 70), models.find("fine")
    written = cae(models, model="fine", step=700).encode(image)
    sections = unpack(written).sections
    assert (unpack(written).height, unpack(written).width) == (33, 70)
    assert list(sections) == ["network", "values"]
    assert sections["network"] == bytes.fromhex(stored.key) + struct.pack("<H", 700)
    x = inference.to_input(image, 4)
    with torch.no_grad():
        symbols = latents.quantise(stored.model.encoder(x), 700)[0].numpy()
        decoded = stored.model.decoder(torch.from_numpy(symbols)[None] * (700 / 2**14))
    assert sections["values"] == latents.encode(symbols, stored.counts, 700)
    wanted = (decoded.clamp(0, 1) * 255).round()[0, :, :33, :70].permute(1, 2, 0).numpy()
    assert np.abs(decode(written, models) - wanted).max() <= 1 and (decode(written, models) == wanted).mean() > 0.99


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (33, 70), (200, 3)])
@pytest.mark.parametrize("step", [64, None, 65535])
def test_any_size_comes_back(models, size, step):
    image = crop("coffee", *size)
    written = cae(models, model="sparse", step=step).encode(image)
    picture = decode(written, models)
    assert picture.dtype == np.uint8 and picture.shape == image.shape
    assert np.array_equal(cae(models).decode(written), picture)
    assert sum(n for _, n in layout(written)) == len(written)


def test_a_finer_step_is_a_longer_and_better_file(models):
    image, lengths, errors = crop("chelsea", 64, 64), [], []
    x = inference.to_input(image, 4)
    with torch.no_grad():
        model = models.find("fine").model
        best = model.decoder(model.encoder(x))[0].permute(1, 2, 0).numpy()
    for step in (64, 400, 3000, 12_000):
        written = cae(models, model="fine", step=step).encode(image)
        lengths.append(len(written))
        errors.append(np.abs(decode(written, models) / 255 - best.clip(0, 1)).mean())
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 4
    assert errors == sorted(errors) and errors[0] < 0.01


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("coffee", (64, 96)), ("astronaut", (61, 50)), ("chelsea", (120, 96))])
@pytest.mark.parametrize("model", ["fine", "sparse", None])
def test_a_file_is_within_its_budget_and_uses_it(models, name, size, model):
    image, used = crop(name, *size), []
    most = rate(cae(models, model=model or "sparse", step=64).encode(image), image)
    for bpp in (0.25, 0.3, 0.5, 0.77, 1.0, 1.5, 2.0):
        written = cae(models, model=model).at_bpp(image, bpp)
        used.append(rate(written, image) / bpp)
        assert used[-1] <= 1 and (used[-1] >= 0.95 or most < bpp)


def test_where_the_finest_step_is_not_enough_it_is_taken(models):
    image = crop("coffee", 40, 40)
    assert cae(models, model="fine").at_bpp(image, 50) == cae(models, model="fine", step=64).encode(image)


@pytest.mark.parametrize("size", [(12, 16), (17, 9), (30, 30)])
def test_to_the_byte(models, size):
    """Of a small picture too, whose estimate is wrong by as much as a step changes."""
    image, codec = crop("coffee", *size), cae(models, model="fine")
    for bpp in (1.6, 1.7, 1.8, 1.9, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5):
        step = trained.read_network(unpack(codec.at_bpp(image, bpp)), models)[1]
        assert step == 64 or rate(cae(models, model="fine", step=step - 1).encode(image), image) > bpp


@pytest.mark.parametrize("bpp", [0.3, 0.8, 1.5])
def test_no_smaller_step_fits(models, bpp):
    image = crop("chelsea", 48, 80)
    step = trained.read_network(unpack(cae(models, model="fine").at_bpp(image, bpp)), models)[1]
    finer = [step - n for n in range(1, 20)] + [round(step * 0.8**n) for n in range(1, 4)]
    finer = [rate(cae(models, model="fine", step=n).encode(image), image) for n in finer if n >= 64]
    assert finer[0] > bpp and sum(r > bpp for r in finer) > 0.8 * len(finer), "but for a byte here and there"


def test_an_estimate_that_is_wrong_costs_no_budget(models, monkeypatch):
    """The last word is the file's, not the estimate's."""
    image, bits = crop("coffee", 64, 64), latents.bits
    monkeypatch.setattr(latents, "bits", lambda *a: 0.8 * bits(*a))
    assert rate(cae(models, model="fine").at_bpp(image, 1.0), image) <= 1.0


# Models ---------------------------------------------------------------------------------------------------------------


def test_encode_takes_the_dense_model_that_may_be_chosen(models):
    image = crop("coffee", 20, 20)
    stored, step = trained.read_network(unpack(cae(models).encode(image)), models)
    assert stored.name == "fine" and step == 2**14 // 64, "1/64 is in the middle of 1/128 and 1/32"
    by_path = cae(models, model=str(models.files["fine"]))
    assert by_path.encode(image) == cae(models).encode(image)


def test_cost_of_a_pixel(models):
    written = cae(models, model="fine").encode(crop("coffee", 20, 22))
    # conv1 3->4 at 1/16; up1 4->8 at 1/16 (four taps); blocks 8->8 at 1/4; conv2; up2; conv3; conv4, as the paper's.
    found = macs(written, models)
    network = models.find("fine").model.decoder
    assert found == sum(
        parameter.numel() * area
        for layer, area in ((network.conv1, 1 / 16), (network.up1, 1 / 16), (network.blocks, 1 / 4),
                            (network.conv2, 1 / 4), (network.up2, 1 / 4), (network.conv3, 1), (network.conv4, 1))
        for name, parameter in layer.named_parameters() if name.endswith("weight")
    )  # fmt: skip


@pytest.mark.parametrize(
    "options", [{"step": 63}, {"step": 65536}, {"step": 100.0}, {"step": True}, {"model": 5}, {"quality": 5}]
)
def test_options_that_cannot_be(models, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        cae(models, **options)


# What is not such a file ----------------------------------------------------------------------------------------------


def test_files_that_no_encoder_writes(models):
    written = cae(models, model="fine").encode(crop("coffee", 33, 40))
    sections = unpack(written).sections
    key, values = sections["network"][:8], sections["values"]
    for changed, message in (
        ({"network": b""}, "network section of 10 bytes"),
        ({"network": sections["network"] + b"\0"}, "network section of 10 bytes"),
        ({"weights": b"x"}, "nothing else"),
        ({"network": key + struct.pack("<H", 63)}, "step must be .*got 63"),
        ({"network": key + struct.pack("<H", 0)}, "step must be .*got 0"),
        ({"network": key + struct.pack("<H", 257)}, "damaged"),
        ({"values": values + b"\0"}, "no zeros"),
        ({"values": values + b"x"}, "damaged"),
        ({"values": values[:-1]}, "damaged"),
        ({"values": values[: len(values) // 2]}, "damaged"),
        ({"values": b""}, "at least 1"),
    ):
        with pytest.raises(BitstreamError, match=message):
            decode(with_sections(written, **changed), models)
    with pytest.raises(BitstreamError, match="damaged"):
        decode(with_sections(written, height=80), models)


def test_a_flat_file_is_as_long_as_its_picture_asks_for(models):
    """Nothing but padding: 64 x 64 pixels and fewer are one byte, a row of the latent more is two."""
    codec = cae(models, model="fine", step=65535)
    for height, least in ((64, 1), (65, 2), (192, 3)):
        written = codec.encode(np.zeros((height, 64, 3), np.uint8))
        assert unpack(written).sections["values"] == bytes(least)
        decode(written, models)
        for wrong in (bytes(least - 1), bytes(least + 1), bytes(least + 40)):
            with pytest.raises(BitstreamError, match=f"at least {least}"):
                decode(with_sections(written, values=wrong), models)
