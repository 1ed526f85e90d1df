"""The codecs of CAE-ADMM: budget, bytes, model, what is kept of a code, and what they take and refuse."""

from __future__ import annotations

import struct
import subprocess
import sys

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch

from sparsecomp import codecs, metrics
from sparsecomp.codecs import BudgetError, cae_admm, get_codec, trained
from sparsecomp.coding import histograms
from sparsecomp.coding.bitstream import BitstreamError, Container, layout, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models import inference, pretrained
from sparsecomp.sparsify.admm import top_l


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """``fine`` and ``sparse`` may be chosen, ``other`` must be named; one of Theis, one of the other family."""
    folder = tmp_path_factory.mktemp("models")
    tiny_cae_admm.train(folder, "fine", 8, keep=0.5, lam=0.0)
    tiny_cae_admm.write(folder, "other", seed=1, search=False)
    tiny_cae_admm.train(folder, "sparse", 4, keep=0.1)
    tiny_cae_admm.train(folder, "theis", 6, codec="cae-theis", lam=400.0)
    tiny_cae.write(folder, "stranger")
    return folder


@pytest.fixture(autouse=True)
def folder(models, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: models)
    return models


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


def rate(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


def with_sections(
    data: bytes, codec: str | None = None, height: int | None = None, width: int | None = None, **sections
):
    was = unpack(data)
    return pack(Container(codec or was.codec, height or was.height, width or was.width, was.sections | sections))


def admm(**options):
    return get_codec("cae-admm", **options)


# From picture to file and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "model", "keep"), [("cae-admm", "fine", 0.2), ("cae-theis", "theis", None)])
def test_the_file_byte_by_byte(codec, model, keep):
    image, stored = crop("coffee", 33, 70), pretrained.find(model)
    written = get_codec(codec, model=model, keep=keep).encode(image)
    sections, container = unpack(written).sections, unpack(written)
    assert (container.codec, container.height, container.width) == (codec, 33, 70)
    with torch.no_grad():
        code = stored.model.encoder(inference.to_input(image, 8)).round()
        code = code if keep is None else top_l(code, keep)
        drawn = stored.model.decoder(code)
    symbols = code[0].numpy().astype(np.int32)
    assert keep is None or np.count_nonzero(symbols) <= round(keep * symbols.size)
    threshold = int(np.abs(symbols[symbols != 0]).min())
    assert list(sections) == ["network", "values"]
    assert sections["network"] == bytes.fromhex(stored.key) + struct.pack("<H", threshold)
    assert sections["values"] == histograms.encode(symbols, stored.counts, threshold)
    wanted = (drawn * 255).round()[0, :, :33, :70].permute(1, 2, 0).numpy()
    found = codecs.decode(written)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() > 0.99
    back, read = cae_admm.read(container)
    assert back is stored and np.array_equal(read, symbols) and read.dtype == np.int32


def test_numbers_of_the_codecs_stay_what_they_are():
    image = crop("coffee", 9, 9)
    assert admm(model="fine").encode(image)[5] == 19
    assert get_codec("cae-theis", model="theis").encode(image)[5] == 20


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (9, 17), (33, 70), (200, 3)])
@pytest.mark.parametrize("keep", [None, 0.25, 1e-6, 1])
def test_any_size_comes_back(size, keep):
    image = crop("coffee", *size)
    for model in ("sparse", "other"):
        written = admm(model=model, keep=keep).encode(image)
        picture = codecs.decode(written)
        assert picture.dtype == np.uint8 and picture.shape == image.shape
        assert np.array_equal(admm().decode(written), picture) and sum(n for _, n in layout(written)) == len(written)


def test_what_is_kept_of_a_code():
    image, stored = crop("chelsea", 64, 96), pretrained.find("other")
    code = cae_admm.code_of(stored, image)
    assert code.shape == (3, 8, 12) and code.dtype == np.int32 and np.abs(code).max() > 5
    assert np.array_equal(cae_admm.read(unpack(admm(model="other").encode(image)))[1], code)
    assert np.array_equal(cae_admm.read(unpack(admm(model="other", keep=1.0).encode(image)))[1], code)
    for keep in (0.5, 0.1, 0.001):
        kept = cae_admm.read(unpack(admm(model="other", keep=keep).encode(image)))[1]
        entries = max(1, round(keep * 288))
        assert np.count_nonzero(kept) == entries < np.count_nonzero(code)
        assert np.array_equal(kept[kept != 0], code[kept != 0])
        assert np.abs(kept[kept != 0]).min() >= np.abs(code[kept == 0]).max()
        assert np.array_equal(kept, cae_admm.pruned(code, keep))


def test_the_less_is_kept_the_shorter_the_file():
    image, lengths = crop("chelsea", 128, 128), []
    for keep in (1.0, 0.5, 0.3, 0.1, 0.03, 0.01):
        lengths.append(len(admm(model="other", keep=keep).encode(image)))
    assert lengths == sorted(lengths, reverse=True) and len(set(lengths)) == 6


def test_strips_do_not_show(monkeypatch):
    image, in_strips, seen = crop("coffee", 130, 90), inference.in_strips, []
    written = admm(model="fine").encode(image)
    picture = codecs.decode(written).astype(int)

    def narrow(network, x, **options):
        seen.append(x.shape)
        return in_strips(network, x, **options, pixels=1)

    monkeypatch.setattr(trained, "in_strips", narrow)
    assert np.abs(codecs.decode(written) - picture).max() <= 1
    assert abs(len(admm(model="fine").encode(image)) - len(written)) <= 2 and len(seen) == 2


@pytest.mark.parametrize("codec", ["cae-admm", "cae-theis"])
def test_another_process_decodes_the_same(folder, tmp_path, codec):
    measured = codecs.evaluate(get_codec(codec), crop("chelsea", 60, 90), 1.0)
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


@pytest.mark.parametrize("spread", [400.0, 6000.0])
def test_huge_values_are_not_lost(tmp_path, monkeypatch, spread):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    stored = pretrained.load(tiny_cae_admm.write(tmp_path, "huge", spread=spread))
    image = crop("coffee", 70, 50)
    code = cae_admm.code_of(stored, image)
    assert np.abs(code).max() > 300 and (np.abs(code) > histograms.LARGEST).mean() > 0.1
    written = admm().encode(image)
    assert np.array_equal(cae_admm.read(unpack(written))[1], code)
    assert codecs.decode(written).shape == image.shape
    budget = rate(written, image) / 3
    assert rate(admm().at_bpp(image, budget), image) <= budget


def test_values_that_no_file_can_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
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
        for call in (lambda m: admm(model=m).encode(image), lambda m: admm(model=m).at_bpp(image, 1.0)):
            with pytest.raises(ValueError, match=f"model='{model}': of this picture it makes values beyond 32767"):
                call(model)


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "size"), [("coffee", (64, 96)), ("astronaut", (61, 50)), ("chelsea", (160, 136))])
@pytest.mark.parametrize("model", ["fine", "other", None])
def test_a_file_is_within_its_budget_and_uses_it(name, size, model):
    image = crop(name, *size)
    most = max(rate(admm(model=m).encode(image), image) for m in ([model] if model else ["fine", "sparse"]))
    least = rate(admm(model=model or "fine", keep=1e-9).encode(image), image) + 8 * 4 / (size[0] * size[1])
    for share in (0.05, 0.2, 0.4, 0.7, 1.0, 2.0):
        bpp = least + share * (most - least)
        written = admm(model=model).at_bpp(image, bpp)
        assert rate(written, image) <= bpp
        if model:  # of several models another one may be better with less
            assert most <= bpp or bpp * image[..., 0].size / 8 - len(written) < 8 + 0.03 * len(written)


def test_where_all_may_stay_all_stays():
    image = crop("coffee", 40, 40)
    assert admm(model="fine").at_bpp(image, 50) == admm(model="fine").encode(image)


@pytest.mark.parametrize("size", [(24, 24), (17, 40), (64, 64)])
def test_to_the_byte(size):
    """One entry more does not fit."""
    image, stored = crop("coffee", *size), pretrained.find("other")
    code = cae_admm.code_of(stored, image)
    files = [cae_admm._write(stored, cae_admm.pruned(code, n / code.size), *size) for n in range(1, code.size + 1)]
    lengths, most = np.array([len(file) for file in files]), np.count_nonzero(code)
    for budget in range(int(lengths[0]), int(lengths.max()) + 8, 3):
        written = admm(model="other").at_bpp(image, 8 * (budget + 1e-6) / image[..., 0].size)
        entries = np.count_nonzero(cae_admm.read(unpack(written))[1])
        assert len(written) <= budget and written == files[entries - 1]
        assert entries == most or lengths[entries] > budget, "the next one is too large"


@pytest.mark.parametrize("bpp", [0.3, 0.6, 1.5])
def test_the_best_of_the_models_that_may_be_chosen(models, tmp_path, monkeypatch, bpp):
    image, files = crop("coffee", 64, 64), {}
    for model in ("fine", "sparse"):
        written = admm(model=model).at_bpp(image, bpp)
        files[metrics.ssim(reference=image, reconstruction=codecs.decode(written))] = written
    assert len(files) == 2
    for names in (("a", "b"), ("b", "a")):  # which of them is the first must not matter
        folder = tmp_path / names[0]
        folder.mkdir()
        monkeypatch.setattr(pretrained, "folder", lambda folder=folder: folder)
        for name, model in zip(names, ("fine", "sparse"), strict=True):
            (folder / f"{name}.safetensors").write_bytes((models / f"{model}.safetensors").read_bytes())
        assert admm().at_bpp(image, bpp) == files[max(files)]


def test_where_ssim_is_not_defined_psnr_decides():
    image, files = crop("coffee", 10, 60), {}
    assert metrics.ssim(reference=image, reconstruction=image) is None
    for model in ("fine", "sparse"):
        written = admm(model=model).at_bpp(image, 1.0)
        files[metrics.psnr(reference=image, reconstruction=codecs.decode(written))] = written
    assert len(files) == 2 and admm().at_bpp(image, 1.0) == files[max(files)]


def test_a_budget_too_small_names_one_that_is_enough():
    for size in ((1, 1), (5, 3), (30, 40)):
        image = crop("coffee", *size)
        with pytest.raises(BudgetError, match="cae-admm: bpp=0.001 is too small") as caught:
            admm().at_bpp(image, 0.001)
        shown = float(str(caught.value).split("bpp=")[-1])
        assert rate(admm().at_bpp(image, shown), image) <= shown
        smallest = min(rate(admm(model=m, keep=1e-9).encode(image), image) for m in ("fine", "sparse"))
        assert caught.value.smallest == smallest
    with pytest.raises(BudgetError, match="cae-theis: "):
        get_codec("cae-theis").at_bpp(image, 0.001)
    for bpp in (0, -1, float("nan"), "1"):
        with pytest.raises(ValueError, match="bpp="):
            admm().at_bpp(image, bpp)


def test_a_model_that_cannot_does_not_stop_one_that_can():
    image = crop("coffee", 40, 40)
    smallest = {m: len(admm(model=m, keep=1e-9).encode(image)) for m in ("fine", "sparse")}
    assert len(set(smallest.values())) == 2, "one of them needs a byte more"
    able = min(smallest, key=smallest.get)
    written = admm().at_bpp(image, 8 * (smallest[able] + 1e-6) / 1600)
    assert cae_admm.read_network(unpack(written))[0].name == able


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5])
def test_an_estimate_that_is_wrong_costs_no_budget(monkeypatch, factor):
    """The last word is the file's, not the estimate's."""
    image, bits = crop("coffee", 128, 128), histograms.bits
    right = admm(model="other").at_bpp(image, 0.3)
    monkeypatch.setattr(histograms, "bits", lambda *a: factor * bits(*a))
    written = admm(model="other").at_bpp(image, 0.3)
    assert rate(written, image) <= 0.3 and (factor > 1 or abs(len(written) - len(right)) <= 2)


# Models ---------------------------------------------------------------------------------------------------------------


def test_encode_takes_the_model_that_kept_most_at_the_lowest_price(folder, tmp_path, monkeypatch):
    image = crop("coffee", 20, 20)

    def chosen(codec="cae-admm"):
        return cae_admm.read_network(unpack(get_codec(codec).encode(image)))[0].name

    assert chosen() == "fine" and chosen("cae-theis") == "theis"
    assert admm(model=str(folder / "fine.safetensors")).encode(image) == admm().encode(image)
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    for seed, (name, about) in enumerate(
        {"a": {"keep": 0.1}, "b": {"keep": 0.9, "lam": 3.0}, "c": {"keep": 0.9, "lam": 2.0}}.items()
    ):
        tiny_cae_admm.write(tmp_path, name, seed=seed, **about)
    assert chosen() == "c"
    tiny_cae_admm.write(tmp_path, "d", seed=9)  # nobody pruned it
    assert chosen() == "d"


def test_the_model_is_the_receivers(folder, tmp_path, monkeypatch):
    image = crop("coffee", 20, 20)
    written, key = admm(model="fine").encode(image), pretrained.find("fine").key
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are none"):
        codecs.decode(written)
    tiny_cae_admm.write(tmp_path, "fine", seed=9)  # the right name is not enough
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are fine [0-9a-f]"):
        codecs.decode(written)
    (tmp_path / "renamed.safetensors").write_bytes((folder / "fine.safetensors").read_bytes())
    assert codecs.decode(written).shape == image.shape
    with pytest.raises(BitstreamError, match="which is not here"):
        admm().macs_per_pixel(with_sections(written, network=bytes(8) + struct.pack("<H", 100)))


def test_a_model_serves_one_codec():
    image = crop("coffee", 20, 20)
    for codec, model, of in (
        ("cae-admm", "stranger", "cae"), ("cae-admm", "theis", "cae-theis"), ("cae-theis", "fine", "cae-admm"),
        ("cae", "fine", "cae-admm"),
    ):  # fmt: skip
        for call in (lambda c: c.encode(image), lambda c: c.at_bpp(image, 1.0)):
            with pytest.raises(ValueError, match=f"model='{model}' is for {of}, not {codec}"):
                call(get_codec(codec, model=model))
    assert codecs.decode(get_codec("cae").encode(image)).shape == image.shape, "it finds its own among the others"
    written = admm(model="fine").encode(image)
    for codec, key in (("cae", "fine"), ("cae-theis", "fine"), ("cae-admm", "stranger"), ("cae-admm", "theis")):
        network = bytes.fromhex(pretrained.find(key).key) + struct.pack("<H", 100)
        for read in (codecs.decode, get_codec(codec).macs_per_pixel):
            with pytest.raises(BitstreamError, match=f"a {codec} file of model {key}, which is for"):
                read(with_sections(written, codec=codec, network=network))


def test_one_network_may_serve_both_codecs_from_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    image = crop("coffee", 20, 20)
    for name, codec in (("a", "cae-admm"), ("b", "cae-theis")):
        tiny_cae_admm.write(tmp_path, name, codec=codec)
    assert pretrained.find("a").key == pretrained.find("b").key
    for codec in ("cae-admm", "cae-theis"):
        assert codecs.evaluate(get_codec(codec), image).codec == codec


@pytest.mark.parametrize("codec", ["cae-admm", "cae-theis"])
def test_without_a_model_it_says_how_to_get_one(tmp_path, monkeypatch, codec):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    image = crop("coffee", 20, 20)
    tiny_cae.write(tmp_path, "stranger")
    for call in (lambda: get_codec(codec).encode(image), lambda: get_codec(codec).at_bpp(image, 1.0)):
        with pytest.raises(ValueError, match=f"{codec}: .*`sparsecomp study cae_admm --profile laptop` trains them"):
            call()
    tiny_cae_admm.write(tmp_path, "shy", codec=codec, search=False)
    with pytest.raises(ValueError, match=f"{codec}: no model here may be chosen without being named; name one of shy$"):
        get_codec(codec).at_bpp(image, 1.0)
    with pytest.raises(ValueError, match="model='nope' is unknown; known are shy, stranger"):
        get_codec(codec, model="nope").encode(image)


def test_writing_does_not_touch_the_model_that_all_share(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    stored = pretrained.load(tiny_cae_admm.write(tmp_path, "new"))
    before = {name: (t.clone(), t.stride()) for name, t in stored.model.state_dict().items()}
    codecs.evaluate(admm(), crop("coffee", 40, 40), 1.0)
    for name, tensor in stored.model.state_dict().items():
        assert torch.equal(tensor, before[name][0]) and tensor.stride() == before[name][1]


def test_cost_of_a_pixel():
    written = admm(model="other").encode(crop("coffee", 20, 22))
    # Of width 8, latent 3, depth 2: at 1/64, 1/64, 1/16, the blocks and 8 -> 4 at 1/4, and then 4 -> 2 -> 3.
    first, blocks = 3 * 2 / 64 + 2 * 16 / 64 + 4 * 32 / 16, 2 * 64 * 11 / 4
    assert admm().macs_per_pixel(written) == first + blocks + 8 * 4 / 4 + 4 * 8 / 4 + 2 * 3


@pytest.mark.parametrize(
    "options",
    [{"keep": 0}, {"keep": -0.1}, {"keep": 1.01}, {"keep": float("nan")}, {"keep": "0.5"}, {"model": 5}, {"step": 100}],
)
def test_options_that_cannot_be(options):
    for codec in ("cae-admm", "cae-theis"):
        with pytest.raises(ValueError, match=next(iter(options))):
            get_codec(codec, **options)


def test_pictures_that_cannot_be():
    for image in (np.zeros((4, 4)), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), None):
        with pytest.raises(ValueError, match="image"):
            admm().encode(image)
        with pytest.raises(ValueError, match="image"):
            admm().at_bpp(image, 1.0)


# What is not such a file ----------------------------------------------------------------------------------------------


def test_files_that_no_encoder_writes():
    written = admm(model="other", keep=0.3).encode(crop("coffee", 33, 40))
    sections = unpack(written).sections
    key, values = sections["network"][:8], sections["values"]
    (threshold,) = struct.unpack("<H", sections["network"][8:])
    assert threshold > 2
    symbols, counts = cae_admm.read(unpack(written))[1], pretrained.find("other").counts
    for changed, message in (
        ({"network": b""}, "cae-admm file has a network section of 10 bytes"),
        ({"network": sections["network"] + b"\0"}, "network section of 10 bytes"),
        ({"weights": b"x"}, "nothing else"),
        ({"network": key + struct.pack("<H", 0)}, "threshold 0: 1 to 32767"),
        ({"network": key + struct.pack("<H", 32768)}, "threshold 32768: 1 to 32767"),
        ({"network": key + struct.pack("<H", threshold + 1)}, "damaged|threshold"),
        ({"network": key + struct.pack("<H", 1), "values": histograms.encode(symbols, counts, 1)},
         f"threshold 1: it is {threshold} of these symbols"),
        ({"values": values + b"\0"}, "no zeros"),
        ({"values": values + b"x"}, "damaged"),
        ({"values": values[:-3]}, "damaged|threshold"),
        ({"values": values[: len(values) // 2]}, "damaged|threshold"),
        ({"values": b""}, "at least 1"),
    ):  # fmt: skip
        with pytest.raises(BitstreamError, match=message):
            codecs.decode(with_sections(written, **changed))
    with pytest.raises(BitstreamError, match="damaged"):
        codecs.decode(with_sections(written, height=80))
    with pytest.raises(BitstreamError, match="a jpeg file, not cae-admm"):
        admm().decode(get_codec("jpeg").encode(crop("coffee", 8, 8)))
    with pytest.raises(BitstreamError, match="a cae-admm file, not cae-theis"):
        get_codec("cae-theis").decode(written)


def test_a_code_of_zeros_is_as_long_as_its_picture_asks_for(tmp_path, monkeypatch):
    """Nothing but padding: 64 x 64 pixels and fewer are one byte, a row of places more is two."""
    monkeypatch.setattr(pretrained, "folder", lambda: tmp_path)
    made = tiny_cae_admm.model()
    with torch.no_grad():
        for tensor in (made.encoder[-1][1].weight, made.encoder[-1][1].bias):
            tensor.zero_()
    pretrained.save(tmp_path / "nothing.safetensors", made, tiny_cae_admm.counts(made), tiny_cae_admm.ABOUT)
    for height, least in ((64, 1), (65, 2), (192, 3)):
        image = np.full((height, 64, 3), 77, np.uint8)
        written = admm().encode(image)
        assert written == admm(keep=0.1).encode(image) == admm().at_bpp(image, 24)
        sections = unpack(written).sections
        assert sections["network"][8:] == struct.pack("<H", 32767) and sections["values"] == bytes(least)
        assert codecs.decode(written).shape == image.shape
        for wrong in (bytes(least - 1), bytes(least + 1), bytes(least + 40)):
            with pytest.raises(BitstreamError, match=f"at least {least}"):
                codecs.decode(with_sections(written, values=wrong))


def test_sizes_that_are_forged_are_refused_before_any_work(monkeypatch):
    written = admm(model="fine").encode(crop("coffee", 16, 16))
    monkeypatch.setattr(histograms, "decode", lambda *a: pytest.fail("it was decoded first"))
    for height, width in ((2**13, 2**13), (1, 2**26), (2**20, 2)):
        with pytest.raises(BitstreamError, match="at least|absurd"):
            codecs.decode(with_sections(written, height=height, width=width))


def test_models_too_costly_for_a_picture_neither_write_nor_read(monkeypatch):
    image = crop("coffee", 33, 40)
    written, places = admm(model="fine").encode(image), 5 * 5
    macs = round(admm().macs_per_pixel(written) * 64) * places
    for name, limit in (("MOST_MACS", macs), ("MOST_SYMBOLS", 8 * places)):
        with monkeypatch.context() as patch:
            patch.setattr(trained, name, limit)
            assert admm(model="fine").encode(image) == written
            codecs.decode(written)
            patch.setattr(trained, name, limit - 1)
            for call in (lambda: admm(model="fine").encode(image), lambda: admm(model="fine").at_bpp(image, 1)):
                with pytest.raises(ValueError, match="model='fine' does not go with 33 x 40 pixels"):
                    call()
            with pytest.raises(BitstreamError, match="absurd size"):
                codecs.decode(written)


def test_the_papers_network_takes_the_largest_picture():
    assert 682_224 * 2**26 <= trained.MOST_MACS and 32 * 2**26 // 64 <= trained.MOST_SYMBOLS


def test_no_memory_is_a_fault_of_the_file(monkeypatch):
    written = admm(model="fine").encode(crop("coffee", 16, 16))

    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(trained, "in_strips", full)
    with pytest.raises(BitstreamError, match="no memory to draw 16 x 16 pixels"):
        codecs.decode(written)
