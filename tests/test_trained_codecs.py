"""The codecs of trained autoencoders: their bytes, budgets and models, and what they take and refuse."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch

from sparsecomp import codecs, metrics
from sparsecomp.codecs import BitstreamError, BudgetError, Codec, get_codec, trained
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.codecs.trained import read_network, read_symbols, tiles
from sparsecomp.coding import integer_latents, latents
from sparsecomp.coding.container import Container, pack, unpack
from sparsecomp.data import bundled
from sparsecomp.models import inference, pretrained
from sparsecomp.models.pretrained import Models, Stored
from sparsecomp.sparsify.admm import top_l

WRITERS = {"cae": tiny_cae.write, "cae-admm": tiny_cae_admm.write, "cae-theis": tiny_cae_admm.write}
each = pytest.mark.parametrize("name", ["cae", "cae-admm"])
every = pytest.mark.parametrize("name", WRITERS)


def write(folder: Path, name: str, model: str, **options) -> None:
    WRITERS[name](folder, model, **options, **({} if name == "cae" else {"codec": name}))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    """Of two codecs ``fine`` and ``sparse`` may be chosen, trained for a second, and ``other`` must be named."""
    folder = tmp_path_factory.mktemp("models")
    tiny_cae.train(folder, "cae fine", 6, finest=1 / 128, coarsest=1 / 32)
    tiny_cae.train(folder, "cae sparse", 2, finest=1 / 256, sparsity=0.8)
    tiny_cae.write(folder, "cae other", seed=1, latent=2, finest=1 / 256, search=False)
    tiny_cae_admm.train(folder, "cae-admm fine", 8, keep=0.5, lam=0.0)
    tiny_cae_admm.train(folder, "cae-admm sparse", 4, keep=0.1)
    tiny_cae_admm.write(folder, "cae-admm other", seed=1, search=False)
    tiny_cae_admm.train(folder, "cae-theis fine", 6, codec="cae-theis", lam=400.0)
    return Models(folder)


def codec_of(models: Models, name: str, model: str | None = None, **options) -> Codec:
    return get_codec(name, models=models, model=f"{name} {model}" if model else None, **options)


def crop(name: str, height: int, width: int) -> np.ndarray:
    return np.ascontiguousarray(bundled()[name][100 : 100 + height, 100 : 100 + width])


IMAGE = crop("coffee", 20, 22)


def rate(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


def model_of(data: bytes, models: Models) -> Stored:
    return read_network(unpack(data), models)[0]


def number_of(data: bytes, models: Models) -> int:
    return read_network(unpack(data), models)[1]


def symbols_of(data: bytes, models: Models) -> np.ndarray:
    return read_symbols(unpack(data), models)[1]


def changed(data: bytes, codec: int = 0, height: int = 0, width: int = 0, **sections: bytes) -> bytes:
    was = unpack(data)
    return pack(Container(codec or was.codec, height or was.height, width or was.width, was.sections | sections))


# From picture to file and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "model", "options"),
    [("cae", "fine", {"step": 700}), ("cae-admm", "fine", {"keep": 0.2}), ("cae-theis", "fine", {}),
     ("cae-theis", "fine", {"step": 17})],
)
def test_trained_file_byte_by_byte(models, name, model, options):
    image, stored = crop("coffee", 33, 70), models.find(f"{name} {model}")
    x = inference.to_input(image, stored.scale)
    with torch.no_grad():
        z = stored.model.encoder(x)
        if name == "cae":
            number, unit, coder = 700, 700 / 2**14, latents
            symbols = latents.quantise(z, 700)[0].numpy()
        else:
            unit, coder = options.get("step", 16) / 16, integer_latents
            code = top_l(z.round(), options["keep"]) if "keep" in options else (z / unit).round()
            symbols = code[0].numpy().astype(np.int32)
            threshold = int(np.abs(symbols[symbols != 0]).min())
            number = threshold + 2**16 * round(16 * unit - 16)
        drawn = stored.model.decoder(torch.from_numpy(symbols)[None] * unit)
    written = codec_of(models, name, model, **options).encode(image)
    container = unpack(written)
    assert (container.codec, container.height, container.width) == (REGISTRY[name].number, 33, 70)
    assert list(container.sections) == ["network", "values"]
    wide = "<I" if number >= 2**16 else "<H"
    assert container.sections["network"] == bytes.fromhex(stored.key) + struct.pack(wide, number)
    counts = stored.counts if name == "cae" else integer_latents.coarser(stored.counts, round(16 * unit))
    assert container.sections["values"] == coder.encode(symbols, counts, number % 2**16)
    read = read_symbols(container, models)
    assert read[0] is stored and np.array_equal(read[1], symbols) and read[1].dtype == np.int32 and read[2] == number
    wanted = (drawn.clamp(0, 1) * 255).round()[0, :, :33, :70].permute(1, 2, 0).numpy()
    found = codecs.decode(written, models=models)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() > 0.99


def test_cae_admm_rounds_at_random_by_the_seed_that_is_given(models):
    image, stored = crop("coffee", 64, 80), models.find("cae-admm fine")
    z, codec = stored.encode(image).numpy(), codec_of(models, "cae-admm", "fine")
    codes = [symbols_of(replace(codec, draws=seed).encode(image), models) for seed in range(30)]
    assert all(((code == np.floor(z)) | (code == np.ceil(z))).all() for code in codes), "up or down"
    off = np.mean(codes, 0) - z
    assert abs(off.mean()) < 0.02 and np.abs(off).max() < 0.5, "with the mean z"
    assert replace(codec, draws=3).encode(image) == replace(codec, draws=3).encode(image)
    assert not np.array_equal(codes[0], codes[1])
    few = replace(codec, draws=0, keep=0.1).encode(image)
    assert np.count_nonzero(symbols_of(few, models)) == round(0.1 * z.size), "then pruned"
    for wrong in (-1, 2**63, 1.5):
        with pytest.raises(ValueError, match=f"^draws must be .*got {wrong}"):
            replace(codec, draws=wrong)


def test_model_that_was_trained_through_its_projection_projects_in_use(models, tmp_path):
    """Whatever is asked of the codec; and what it keeps may be pruned on."""
    tiny_cae_admm.write(tmp_path, "through", 1, keep=0.25, projects=True)
    tiny_cae_admm.write(tmp_path, "plain", 1, keep=0.25)
    own, image = Models(tmp_path), crop("coffee", 64, 80)
    through, plain = (get_codec("cae-admm", models=own, model=name) for name in ("through", "plain"))
    code = symbols_of(through.encode(image), own)
    assert np.count_nonzero(code) == round(0.25 * code.size) < np.count_nonzero(symbols_of(plain.encode(image), own))
    assert through.encode(image) == replace(plain, keep=0.25).encode(image) == through.at_bpp(image, 20.0)
    assert replace(through, keep=0.1).encode(image) == replace(plain, keep=0.1).encode(image)


def test_cae_admm_refuses_values_that_no_file_can_hold(tmp_path):
    models, made = Models(tmp_path), tiny_cae_admm.model()
    counts = tiny_cae_admm.counts(made)
    with torch.no_grad():
        made.encoder[-1][1].weight.fill_(6e4)
    pretrained.save(tmp_path / "big.safetensors", made, counts, tiny_cae_admm.ABOUT)
    codec = get_codec("cae-admm", models=models, model="big")
    for call in (lambda: codec.encode(IMAGE), lambda: codec.at_bpp(IMAGE, 1.0)):
        with pytest.raises(ValueError, match="model='big': of this picture it makes values beyond 32767"):
            call()


@each
def test_trained_codec_draws_in_strips_without_a_seam(models, monkeypatch, name):
    in_strips, pixels = pretrained.in_strips, 1600 if name == "cae" else 1
    codec, image = codec_of(models, name), crop("coffee", 130, 90)
    written = codec.encode(image)
    picture = codec.decode(written).astype(int)
    monkeypatch.setattr(pretrained, "in_strips", lambda *a, **o: in_strips(*a, **o, pixels=pixels))
    assert np.abs(codec.decode(written) - picture).max() <= 1
    assert abs(len(codec.encode(image)) - len(written)) <= 2


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "budgets"), [((12, 16), (1.6, 1.8, 2.0, 2.2)), ((48, 80), (0.3, 0.8, 1.5))])
def test_cae_takes_the_finest_step_that_fits_to_the_byte(models, size, budgets):
    """Of a small picture too, whose estimate is wrong by as much as a step changes."""
    image, codec = crop("coffee", *size), codec_of(models, "cae", "fine")
    for bpp in budgets:
        step = number_of(codec.at_bpp(image, bpp), models)
        finer = [step - n for n in range(1, 20)] + [round(step * 0.8**n) for n in range(1, 4)]
        rates = [rate(replace(codec, step=n).encode(image), image) for n in finer if n >= latents.FINEST]
        assert rates[0] > bpp and sum(r > bpp for r in rates) > 0.8 * len(rates), "but for a byte here and there"
    assert codec.at_bpp(image, 1000) == replace(codec, step=latents.FINEST).encode(image)


def test_cae_theis_takes_the_finest_step_that_fits(models):
    """Whole numbers where all fits; what is named to be kept is rounded before."""
    image, codec = crop("coffee", 96, 160), codec_of(models, "cae-theis", "fine")
    for bpp in (0.7 * rate(codec.encode(image), image), 0.9 * rate(codec.encode(image), image)):
        step = codec.setting_of(number_of(codec.at_bpp(image, bpp), models))
        assert 16 < step < 4096 and rate(replace(codec, step=step).encode(image), image) <= bpp
        finer = [rate(replace(codec, step=max(16, step - n)).encode(image), image) for n in range(1, 9)]
        assert sum(r > bpp for r in finer) > 5, "but for a byte here and there"
    assert codec.at_bpp(image, 1000) == codec.encode(image) == replace(codec, step=16).encode(image)
    kept = symbols_of(replace(codec, keep=0.05, step=48).encode(image), models)
    code = top_l(torch.from_numpy(trained.latent_of(models.find("cae-theis fine"), image))[None], 0.05)[0].numpy()
    assert np.array_equal(kept, np.rint(code / 3))
    container = unpack(replace(codec, step=17).encode(image))
    said = dict(codec.describe(container, models))
    least = np.abs(read_symbols(container, models)[1])
    assert said["step"] == "17 / 16 = 1.0625"
    assert said["threshold"].startswith(f"{least[least > 0].min()}, the least magnitude")


def test_step_of_cae_theis_is_a_number_that_files_can_name(models):
    for step in (15, 4097):
        with pytest.raises(ValueError, match="^step must be"):
            codec_of(models, "cae-theis", "fine", step=step)
    for model, options in (("cae-theis", {"step": 40}), ("cae-admm", {}), ("cae", {})):
        written = codec_of(models, model, "fine", **options).encode(IMAGE)
        network = unpack(written).sections["network"][:8]
        small, large, other = "number 1 needs 10 bytes and has 12", "must be", "must be|damaged|number"
        for number, message in ((1, small), (2**28 + 1, large), (2**24 + 7, other)):
            with pytest.raises(BitstreamError, match=message):
                codecs.decode(changed(written, network=network + struct.pack("<I", number)), models=models)


@pytest.mark.parametrize("size", [(24, 24), (17, 40)])
def test_cae_admm_keeps_as_many_entries_as_fit_to_the_byte(models, size):
    image, codec = crop("coffee", *size), codec_of(models, "cae-admm", "other")
    code = trained.latent_of(models.find("cae-admm other"), image)
    shares = [entries / code.size for entries in range(1, code.size + 1)]
    files = [replace(codec, keep=share).encode(image) for share in shares]
    lengths, most = np.array([len(file) for file in files]), np.count_nonzero(code)
    for budget in range(int(lengths[0]), int(lengths.max()) + 8, 3):
        written = codec.at_bpp(image, 8 * (budget + 1e-6) / image[..., 0].size)
        entries = np.count_nonzero(symbols_of(written, models))
        assert len(written) <= budget and written == files[entries - 1]
        assert entries == most or lengths[entries] > budget, "one entry more does not fit"


@pytest.mark.parametrize(
    ("name", "coder", "model", "bpp"), [("cae", latents, "fine", 1.0), ("cae-admm", integer_latents, "other", 0.15)]
)
@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_trained_codec_keeps_its_budget_if_the_estimate_is_wrong(models, monkeypatch, name, coder, model, bpp, factor):
    """The last word is the file's, not the estimate's."""
    image, bits = crop("coffee", 128, 128), coder.bits
    right = codec_of(models, name, model).at_bpp(image, bpp)
    monkeypatch.setattr(coder, "bits", lambda *a: factor * bits(*a))
    written = codec_of(models, name, model).at_bpp(image, bpp)
    assert rate(written, image) <= bpp and (factor > 1 or abs(len(written) - len(right)) <= 2)


# Models ---------------------------------------------------------------------------------------------------------------


def turned(models: Models, name: str, folder: Path) -> Models:
    """The two models that may be chosen, in the other order."""
    for copy, model in (("a", "sparse"), ("b", "fine")):
        (folder / f"{copy}.safetensors").write_bytes(models.files[f"{name} {model}"].read_bytes())
    return Models(folder)


@each
@pytest.mark.parametrize("bpp", [0.4, 3.0])
def test_trained_codec_takes_the_best_of_the_models_that_may_be_chosen(models, tmp_path, name, bpp):
    image, files = crop("coffee", 64, 64), {}
    quality = metrics.psnr if name == "cae" else metrics.ssim
    for model in ("fine", "sparse"):
        written = codec_of(models, name, model).at_bpp(image, bpp)
        files[quality(reference=image, reconstruction=codecs.decode(written, models=models))] = written
    assert len(files) == 2
    for either in (models, turned(models, name, tmp_path)):
        assert codec_of(either, name).at_bpp(image, bpp) == files[max(files)]


def test_tiles_are_spread_over_the_picture_and_small_sides_stay_whole():
    places = np.stack(np.broadcast_arrays(np.arange(200)[:, None], np.arange(150), 0), -1).astype(np.uint8)
    shown = tiles(places)
    assert shown.shape == (192, 150, 3) and shown.flags.c_contiguous and np.array_equal(shown[0, :, 1], np.arange(150))
    assert shown[:, 0, 0].tolist() == [*range(64), *range(68, 132), *range(136, 200)]
    assert np.array_equal(tiles(places[:192]), places[:192])


@each
def test_models_are_compared_on_tiles_and_the_picture_is_encoded_once(models, monkeypatch, name):
    """With the model that is best there; if it has no file that small, with the next best."""
    image, seen = crop("coffee", 210, 200), []
    monkeypatch.setattr(Stored, "encode", lambda own, shown, *device, real=Stored.encode: seen.append(
        (own.name, shown.shape[:2])) or real(own, shown, *device))  # fmt: skip
    chosen = model_of(codec_of(models, name).at_bpp(image, 1.0), models).name
    other = {f"{name} fine": f"{name} sparse", f"{name} sparse": f"{name} fine"}[chosen]
    assert sorted(seen) == sorted([(chosen, (192, 192)), (other, (192, 192)), (chosen, (210, 200))])
    real = trained._best

    def best(stored, latent, bpp, size):
        if stored.name == chosen:
            raise BudgetError(name, bpp, 2.0)
        return real(stored, latent, bpp, size)

    monkeypatch.setattr(trained, "_best", best)
    assert model_of(codec_of(models, name).at_bpp(image, 1.0), models).name == other


@each
def test_trained_codec_names_the_smallest_budget_of_all_models_and_keeps_it(models, tmp_path, name):
    def least(codec: Codec) -> float:
        with pytest.raises(BudgetError, match=f"{name}: bpp=0.001 is too small") as caught:
            codec.at_bpp(image, 0.001)
        return caught.value.smallest

    for size in ((5, 3), (40, 40)):
        image = crop("coffee", *size)
        reached = {model: least(codec_of(models, name, model)) for model in ("fine", "sparse")}
        smallest = min(reached.values())
        assert least(codec_of(models, name)) == least(codec_of(turned(models, name, tmp_path), name)) == smallest
        if len(set(reached.values())) == 2:  # a model that cannot does not stop one that can
            written = codec_of(models, name).at_bpp(image, smallest * (1 + 1e-9))
            assert model_of(written, models).name == f"{name} {min(reached, key=reached.get)}"
    assert name == "cae" or len(set(reached.values())) == 2


def test_encode_takes_the_model_that_training_left_the_densest(models, tmp_path):
    def chosen(models: Models, name: str) -> str:
        return model_of(codec_of(models, name).encode(IMAGE), models).name

    for name in WRITERS:
        assert chosen(models, name) == f"{name} fine"
    assert number_of(codec_of(models, "cae").encode(IMAGE), models) == 2**14 // 64, "between 1/128 and 1/32"
    for model, about in {"a": {"keep": 0.1}, "b": {"keep": 0.9, "lam": 3.0}, "c": {"keep": 0.9, "lam": 2.0}}.items():
        tiny_cae_admm.write(tmp_path, model, seed=ord(model), **about)
    assert chosen(Models(tmp_path), "cae-admm") == "c"
    tiny_cae_admm.write(tmp_path, "d", seed=9)  # nobody pruned it
    assert chosen(Models(tmp_path), "cae-admm") == "d"


@every
def test_trained_codec_needs_the_model_of_the_file_to_decode_it(models, tmp_path, name):
    written, theirs = codec_of(models, name, "fine").encode(IMAGE), Models(tmp_path)
    key = models.find(f"{name} fine").key
    write(tmp_path, name, "fine", seed=9)  # the right name is not enough
    with pytest.raises(BitstreamError, match=f"made with model {key}, which is not here; here are fine [0-9a-f]"):
        codecs.decode(written, models=theirs)
    (tmp_path / "renamed.safetensors").write_bytes(models.files[f"{name} fine"].read_bytes())
    assert codecs.decode(written, models=theirs).shape == IMAGE.shape


@every
def test_trained_codec_without_a_model_says_how_to_get_one(tmp_path, name):
    write(tmp_path, "cae" if name != "cae" else "cae-admm", "stranger")
    codec, study = codec_of(Models(tmp_path), name), "cae" if name == "cae" else "cae_admm"
    for call in (lambda: codec.encode(IMAGE), lambda: codec.at_bpp(IMAGE, 1.0)):
        with pytest.raises(ValueError, match=f"{name}: .*`python -m reproduce study {study} --preset laptop`"):
            call()


@pytest.mark.parametrize(("codec", "of"), [("cae-admm", "cae-theis"), ("cae", "cae-admm")])
def test_trained_codec_takes_no_model_of_another_codec(models, codec, of):
    named = get_codec(codec, models=models, model=f"{of} fine")
    with pytest.raises(ValueError, match=f"model='{of} fine' is for {of}, not {codec}"):
        named.encode(IMAGE)
    container = unpack(changed(codec_of(models, of, "fine").encode(IMAGE), REGISTRY[codec].number))
    for read in (REGISTRY[codec].read, REGISTRY[codec].macs_per_pixel):
        with pytest.raises(BitstreamError, match=f"a {codec} file of model {of} fine, which is for {of}"):
            read(container, models)


# What is not such a file ----------------------------------------------------------------------------------------------


@each
def test_trained_codec_refuses_files_that_no_encoder_writes(models, name):
    setting, word = ({"step": 256}, "step") if name == "cae" else ({"keep": 0.3}, "threshold")
    model = "fine" if name == "cae" else "other"
    written = codec_of(models, name, model, **setting).encode(crop("coffee", 33, 40))
    network, values = unpack(written).sections["network"], unpack(written).sections["values"]
    number, symbols = number_of(written, models), symbols_of(written, models)

    def with_number(number: int) -> bytes:
        return network[:8] + struct.pack("<H", number)

    broken = [
        ({"network": b""}, f"{name} file has a network section of 10 or 12 bytes"),
        ({"weights": b"x"}, "nothing else"),
        ({"network": with_number(0)}, f"{word} must be .*got 0"),
        ({"network": with_number(number + 1)}, "damaged|number"),
        ({"values": values + b"\0"}, "no zeros"),
        ({"values": values + b"x"}, "damaged"),
        ({"values": values[: len(values) // 2]}, "damaged|number"),
        ({"values": b""}, "at least 1"),
        ({"height": 80}, "damaged"),
    ]
    if name == "cae-admm":
        lower = integer_latents.encode(symbols, model_of(written, models).counts, 1)
        broken.append(({"network": with_number(1), "values": lower}, f"number 1: it is {number} of these symbols"))
    for sections, message in broken:
        with pytest.raises(BitstreamError, match=message):
            codecs.decode(changed(written, **sections), models=models)


@each
def test_models_too_costly_for_a_picture_neither_write_nor_read(models, monkeypatch, name):
    image, codec, stored = crop("coffee", 33, 40), codec_of(models, name, "fine"), models.find(f"{name} fine")
    written, places = codec.encode(image), -(-33 // stored.scale) * -(-40 // stored.scale)
    macs = round(codec.macs_per_pixel(unpack(written), models) * stored.scale**2) * places
    for limit, most in (("MOST_MACS", macs), ("MOST_SYMBOLS", stored.model.shape.latent * places)):
        with monkeypatch.context() as patch:
            patch.setattr(trained, limit, most)
            assert codec.encode(image) == written
            codec.decode(written)
            patch.setattr(trained, limit, most - 1)
            for call in (lambda: codec.encode(image), lambda: codec.at_bpp(image, 1)):
                with pytest.raises(ValueError, match=f"model='{name} fine' does not go with 33 x 40 pixels"):
                    call()
            with pytest.raises(BitstreamError, match="absurd size"):
                codec.decode(written)
