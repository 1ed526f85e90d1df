"""The codecs of CAE-ADMM: budget, bytes, model, what is kept of a code, and what they take and refuse."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch

from sparsecomp import codecs, metrics
from sparsecomp.codecs import Codec, get_codec, trained
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.codecs.trained import CaeAdmm
from sparsecomp.coding import integer_latents
from sparsecomp.coding.container import BitstreamError, Container, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models import inference, pretrained
from sparsecomp.models.pretrained import Models
from sparsecomp.sparsify.admm import top_l


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """``fine`` and ``sparse`` may be chosen, ``other`` must be named; one of Theis, one of the other family."""
    folder = tmp_path_factory.mktemp("models")
    tiny_cae_admm.train(folder, "fine", 8, keep=0.5, lam=0.0)
    tiny_cae_admm.write(folder, "other", seed=1, search=False)
    tiny_cae_admm.train(folder, "sparse", 4, keep=0.1)
    tiny_cae_admm.train(folder, "theis", 6, codec="cae-theis", lam=400.0)
    tiny_cae.write(folder, "stranger")
    return Models(folder)


def decode(data: bytes, models: Models) -> np.ndarray:
    return codecs.decode(data, models=models)


def macs(data: bytes, models: Models) -> float:
    return CaeAdmm.macs_per_pixel(unpack(data), models)


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


def rate(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


def with_sections(
    data: bytes, codec: int | None = None, height: int | None = None, width: int | None = None, **sections
):
    was = unpack(data)
    return pack(Container(codec or was.codec, height or was.height, width or was.width, was.sections | sections))


def admm(models: Models, **options) -> Codec:
    return get_codec("cae-admm", models=models, **options)


# From picture to file and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "model", "keep"), [("cae-admm", "fine", 0.2), ("cae-theis", "theis", None)])
def test_the_file_byte_by_byte(models, codec, model, keep):
    image, stored = crop("coffee", 33, 70), models.find(model)
    written = get_codec(codec, models=models, model=model, keep=keep).encode(image)
    sections, container = unpack(written).sections, unpack(written)
    assert (container.codec, container.height, container.width) == (REGISTRY[codec].number, 33, 70)
    with torch.no_grad():
        code = stored.model.encoder(inference.to_input(image, 8)).round()
        code = code if keep is None else top_l(code, keep)
        drawn = stored.model.decoder(code)
    symbols = code[0].numpy().astype(np.int32)
    assert keep is None or np.count_nonzero(symbols) <= round(keep * symbols.size)
    threshold = int(np.abs(symbols[symbols != 0]).min())
    assert list(sections) == ["network", "values"]
    assert sections["network"] == bytes.fromhex(stored.key) + struct.pack("<H", threshold)
    assert sections["values"] == integer_latents.encode(symbols, stored.counts, threshold)
    wanted = (drawn * 255).round()[0, :, :33, :70].permute(1, 2, 0).numpy()
    found = decode(written, models)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() > 0.99
    back, read, _ = trained.read_symbols(container, models)
    assert back is stored and np.array_equal(read, symbols) and read.dtype == np.int32


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (9, 17), (33, 70), (200, 3)])
@pytest.mark.parametrize("keep", [None, 0.25, 1e-6, 1])
def test_any_size_comes_back(models, size, keep):
    image = crop("coffee", *size)
    for model in ("sparse", "other"):
        written = admm(models, model=model, keep=keep).encode(image)
        picture = decode(written, models)
        assert picture.dtype == np.uint8 and picture.shape == image.shape
        assert np.array_equal(admm(models).decode(written), picture)


def test_what_is_kept_of_a_code(models):
    image, stored = crop("chelsea", 64, 96), models.find("other")
    code = trained.latent_of(stored, image)
    assert code.shape == (3, 8, 12) and code.dtype == np.int32 and np.abs(code).max() > 5
    for keep in (None, 1.0):
        written = admm(models, model="other", keep=keep).encode(image)
        assert np.array_equal(trained.read_symbols(unpack(written), models)[1], code)
    for keep in (0.5, 0.1, 0.001):
        kept = trained.read_symbols(unpack(admm(models, model="other", keep=keep).encode(image)), models)[1]
        entries = max(1, round(keep * 288))
        assert np.count_nonzero(kept) == entries < np.count_nonzero(code)
        assert np.array_equal(kept[kept != 0], code[kept != 0])
        assert np.abs(kept[kept != 0]).min() >= np.abs(code[kept == 0]).max()
        assert np.array_equal(kept, trained.pruned(code, keep))


def test_the_less_is_kept_the_shorter_the_file(models):
    image, lengths = crop("chelsea", 128, 128), []
    for keep in (1.0, 0.5, 0.3, 0.1, 0.03, 0.01):
        lengths.append(len(admm(models, model="other", keep=keep).encode(image)))
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 6


@pytest.mark.parametrize("spread", [400.0, 6000.0])
def test_huge_values_are_not_lost(tmp_path, spread):
    models = Models(tmp_path)
    stored = models.find(tiny_cae_admm.write(tmp_path, "huge", spread=spread))
    image = crop("coffee", 70, 50)
    code = trained.latent_of(stored, image)
    assert np.abs(code).max() > 300 and (np.abs(code) > integer_latents.LARGEST).mean() > 0.1
    written = admm(models).encode(image)
    assert np.array_equal(trained.read_symbols(unpack(written), models)[1], code)
    assert decode(written, models).shape == image.shape
    budget = rate(written, image) / 3
    assert rate(admm(models).at_bpp(image, budget), image) <= budget


def test_values_that_no_file_can_hold(tmp_path):
    models = Models(tmp_path)
    made = tiny_cae_admm.model()
    counts, image = tiny_cae_admm.counts(made), crop("coffee", 16, 16)
    with torch.no_grad():
        made.encoder[-1][1].weight.fill_(6e4)
    pretrained.save(tmp_path / "big.safetensors", made, counts, tiny_cae_admm.ABOUT)
    with torch.no_grad():  # infinity less infinity
        for layer in made.encoder.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.fill_(6e4)
                layer.weight[::2] *= -1
                layer.running_var.fill_(1e-7)
    pretrained.save(tmp_path / "none.safetensors", made, counts, tiny_cae_admm.ABOUT)
    for model in ("big", "none"):
        for call in (lambda m: admm(models, model=m).encode(image), lambda m: admm(models, model=m).at_bpp(image, 1.0)):
            with pytest.raises(ValueError, match=f"model='{model}': of this picture it makes values beyond 32767"):
                call(model)


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("coffee", (64, 96)), ("astronaut", (61, 50)), ("chelsea", (160, 136))])
@pytest.mark.parametrize("model", ["fine", "other", None])
def test_a_file_is_within_its_budget_and_uses_it(models, name, size, model):
    image = crop(name, *size)
    most = max(rate(admm(models, model=m).encode(image), image) for m in ([model] if model else ["fine", "sparse"]))
    least = rate(admm(models, model=model or "fine", keep=1e-9).encode(image), image) + 8 * 4 / (size[0] * size[1])
    for share in (0.05, 0.2, 0.4, 0.7, 1.0, 2.0):
        bpp = least + share * (most - least)
        written = admm(models, model=model).at_bpp(image, bpp)
        assert rate(written, image) <= bpp
        if model:  # of several models another one may be better with less
            assert most <= bpp or bpp * image[..., 0].size / 8 - len(written) < 8 + 0.03 * len(written)


def test_where_all_may_stay_all_stays(models):
    image = crop("coffee", 40, 40)
    assert admm(models, model="fine").at_bpp(image, 50) == admm(models, model="fine").encode(image)


@pytest.mark.parametrize("size", [(24, 24), (17, 40), (64, 64)])
def test_to_the_byte(models, size):
    """One entry more does not fit."""
    image, stored = crop("coffee", *size), models.find("other")
    code = trained.latent_of(stored, image)
    files = [trained._write(stored, code, entries, *size)[1] for entries in range(1, code.size + 1)]
    lengths, most = np.array([len(file) for file in files]), np.count_nonzero(code)
    for budget in range(int(lengths[0]), int(lengths.max()) + 8, 3):
        written = admm(models, model="other").at_bpp(image, 8 * (budget + 1e-6) / image[..., 0].size)
        entries = np.count_nonzero(trained.read_symbols(unpack(written), models)[1])
        assert len(written) <= budget and written == files[entries - 1]
        assert entries == most or lengths[entries] > budget, "the next one is too large"


def test_where_ssim_is_not_defined_psnr_decides(models):
    image, files = crop("coffee", 10, 60), {}
    assert metrics.ssim(reference=image, reconstruction=image) is None
    for model in ("fine", "sparse"):
        written = admm(models, model=model).at_bpp(image, 1.0)
        files[metrics.psnr(reference=image, reconstruction=decode(written, models))] = written
    assert len(files) == 2 and admm(models).at_bpp(image, 1.0) == files[max(files)]


def test_a_model_that_cannot_does_not_stop_one_that_can(models):
    image = crop("coffee", 40, 40)
    smallest = {m: len(admm(models, model=m, keep=1e-9).encode(image)) for m in ("fine", "sparse")}
    assert len(set(smallest.values())) == 2, "one of them needs a byte more"
    able = min(smallest, key=smallest.get)
    written = admm(models).at_bpp(image, 8 * (smallest[able] + 1e-6) / 1600)
    assert trained.read_network(unpack(written), models)[0].name == able


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5])
def test_an_estimate_that_is_wrong_costs_no_budget(models, monkeypatch, factor):
    """The last word is the file's, not the estimate's."""
    image, bits = crop("coffee", 128, 128), integer_latents.bits
    right = admm(models, model="other").at_bpp(image, 0.3)
    monkeypatch.setattr(integer_latents, "bits", lambda *a: factor * bits(*a))
    written = admm(models, model="other").at_bpp(image, 0.3)
    assert rate(written, image) <= 0.3 and (factor > 1 or abs(len(written) - len(right)) <= 2)


# Models ---------------------------------------------------------------------------------------------------------------


def test_encode_takes_the_model_that_kept_most_at_the_lowest_price(models, tmp_path):
    image = crop("coffee", 20, 20)

    def chosen(models, codec="cae-admm"):
        return trained.read_network(unpack(get_codec(codec, models=models).encode(image)), models)[0].name

    assert chosen(models) == "fine" and chosen(models, "cae-theis") == "theis"
    assert admm(models, model=str(models.files["fine"])).encode(image) == admm(models).encode(image)
    for seed, (name, about) in enumerate(
        {"a": {"keep": 0.1}, "b": {"keep": 0.9, "lam": 3.0}, "c": {"keep": 0.9, "lam": 2.0}}.items()
    ):
        tiny_cae_admm.write(tmp_path, name, seed=seed, **about)
    assert chosen(Models(tmp_path)) == "c"
    tiny_cae_admm.write(tmp_path, "d", seed=9)  # nobody pruned it
    assert chosen(Models(tmp_path)) == "d"


def test_a_model_serves_one_codec(models):
    image = crop("coffee", 20, 20)
    for codec, model, of in (
        ("cae-admm", "stranger", "cae"), ("cae-admm", "theis", "cae-theis"), ("cae-theis", "fine", "cae-admm"),
        ("cae", "fine", "cae-admm"),
    ):  # fmt: skip
        for call in (lambda c: c.encode(image), lambda c: c.at_bpp(image, 1.0)):
            with pytest.raises(ValueError, match=f"model='{model}' is for {of}, not {codec}"):
                call(get_codec(codec, models=models, model=model))
    found = decode(get_codec("cae", models=models).encode(image), models)
    assert found.shape == image.shape, "it finds its own among the others"
    written = admm(models, model="fine").encode(image)
    for codec, key in (("cae", "fine"), ("cae-theis", "fine"), ("cae-admm", "stranger"), ("cae-admm", "theis")):
        network = bytes.fromhex(models.find(key).key) + struct.pack("<H", 100)
        container = unpack(with_sections(written, REGISTRY[codec].number, network=network))
        for read in (REGISTRY[codec].read, REGISTRY[codec].macs_per_pixel):
            with pytest.raises(BitstreamError, match=f"a {codec} file of model {key}, which is for"):
                read(container, models)


def test_one_network_may_serve_both_codecs_from_two_files(tmp_path):
    models = Models(tmp_path)
    image = crop("coffee", 20, 20)
    for name, codec in (("a", "cae-admm"), ("b", "cae-theis")):
        tiny_cae_admm.write(tmp_path, name, codec=codec)
    assert models.find("a").key == models.find("b").key
    for codec in ("cae-admm", "cae-theis"):
        assert codecs.evaluate(get_codec(codec, models=models), image).codec == codec


def test_cost_of_a_pixel(models):
    written = admm(models, model="other").encode(crop("coffee", 20, 22))
    # Of width 8, latent 3, depth 2: at 1/64, 1/64, 1/16, the blocks and 8 -> 4 at 1/4, and then 4 -> 2 -> 3.
    first, blocks = 3 * 2 / 64 + 2 * 16 / 64 + 4 * 32 / 16, 2 * 64 * 11 / 4
    assert macs(written, models) == first + blocks + 8 * 4 / 4 + 4 * 8 / 4 + 2 * 3


@pytest.mark.parametrize(
    "options",
    [{"keep": 0}, {"keep": -0.1}, {"keep": 1.01}, {"keep": float("nan")}, {"keep": "0.5"}, {"model": 5}, {"step": 100}],
)
def test_options_that_cannot_be(models, options):
    for codec in ("cae-admm", "cae-theis"):
        with pytest.raises(ValueError, match=next(iter(options))):
            get_codec(codec, models=models, **options)


# What is not such a file ----------------------------------------------------------------------------------------------


def test_files_that_no_encoder_writes(models):
    written = admm(models, model="other", keep=0.3).encode(crop("coffee", 33, 40))
    sections = unpack(written).sections
    key, values = sections["network"][:8], sections["values"]
    (threshold,) = struct.unpack("<H", sections["network"][8:])
    assert threshold > 2
    symbols, counts = trained.read_symbols(unpack(written), models)[1], models.find("other").counts
    for changed, message in (
        ({"network": b""}, "cae-admm file has a network section of 10 bytes"),
        ({"network": sections["network"] + b"\0"}, "network section of 10 bytes"),
        ({"weights": b"x"}, "nothing else"),
        ({"network": key + struct.pack("<H", 0)}, "threshold must be .*got 0"),
        ({"network": key + struct.pack("<H", 32768)}, "threshold must be .*got 32768"),
        ({"network": key + struct.pack("<H", threshold + 1)}, "damaged|threshold"),
        ({"network": key + struct.pack("<H", 1), "values": integer_latents.encode(symbols, counts, 1)},
         f"threshold 1: it is {threshold} of these symbols"),
        ({"values": values + b"\0"}, "no zeros"),
        ({"values": values + b"x"}, "damaged"),
        ({"values": values[:-3]}, "damaged|threshold"),
        ({"values": values[: len(values) // 2]}, "damaged|threshold"),
        ({"values": b""}, "at least 1"),
    ):  # fmt: skip
        with pytest.raises(BitstreamError, match=message):
            decode(with_sections(written, **changed), models)
    with pytest.raises(BitstreamError, match="damaged"):
        decode(with_sections(written, height=80), models)
    with pytest.raises(BitstreamError, match="a cae-admm file, not cae-theis"):
        get_codec("cae-theis", models=models).decode(written)


def test_a_code_of_zeros_is_as_long_as_its_picture_asks_for(tmp_path):
    """Nothing but padding: 64 x 64 pixels and fewer are one byte, a row of places more is two."""
    models = Models(tmp_path)
    made = tiny_cae_admm.model()
    with torch.no_grad():
        for tensor in (made.encoder[-1][1].weight, made.encoder[-1][1].bias):
            tensor.zero_()
    pretrained.save(tmp_path / "nothing.safetensors", made, tiny_cae_admm.counts(made), tiny_cae_admm.ABOUT)
    for height, least in ((64, 1), (65, 2), (192, 3)):
        image = np.full((height, 64, 3), 77, np.uint8)
        written = admm(models).encode(image)
        assert written == admm(models, keep=0.1).encode(image) == admm(models).at_bpp(image, 24)
        sections = unpack(written).sections
        assert sections["network"][8:] == struct.pack("<H", 32767) and sections["values"] == bytes(least)
        assert decode(written, models).shape == image.shape
        for wrong in (bytes(least - 1), bytes(least + 1), bytes(least + 40)):
            with pytest.raises(BitstreamError, match=f"at least {least}"):
                decode(with_sections(written, values=wrong), models)
