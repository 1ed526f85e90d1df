"""The codecs of trained autoencoders: their bytes, budgets and models, and what they take and refuse."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tiny_cae
import tiny_cae_admm
import torch

from sparsecomp import codecs, metrics
from sparsecomp.codecs import BitstreamError, BudgetError, Codec, get_codec, trained
from sparsecomp.codecs.base import REGISTRY
from sparsecomp.codecs.trained import read_network, read_symbols
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
    [("cae", "fine", {"step": 700}), ("cae-admm", "fine", {"keep": 0.2}), ("cae-theis", "fine", {})],
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
            unit, coder = 1.0, integer_latents
            code = top_l(z.round(), options["keep"]) if options else z.round()
            symbols = code[0].numpy().astype(np.int32)
            number = int(np.abs(symbols[symbols != 0]).min())
        drawn = stored.model.decoder(torch.from_numpy(symbols)[None] * unit)
    written = codec_of(models, name, model, **options).encode(image)
    container = unpack(written)
    assert (container.codec, container.height, container.width) == (REGISTRY[name].number, 33, 70)
    assert list(container.sections) == ["network", "values"]
    assert container.sections["network"] == bytes.fromhex(stored.key) + struct.pack("<H", number)
    assert container.sections["values"] == coder.encode(symbols, stored.counts, number)
    read = read_symbols(container, models)
    assert read[0] is stored and np.array_equal(read[1], symbols) and read[1].dtype == np.int32 and read[2] == number
    wanted = (drawn.clamp(0, 1) * 255).round()[0, :, :33, :70].permute(1, 2, 0).numpy()
    found = codecs.decode(written, models=models)
    assert np.abs(found - wanted).max() <= 1 and (found == wanted).mean() > 0.99


def test_cae_admm_cost_of_a_pixel(models):
    written = codec_of(models, "cae-admm", "other").encode(IMAGE)
    # Of width 8, latent 3, depth 2: at 1/64, 1/64, 1/16, the blocks and 8 -> 4 at 1/4, and then 4 -> 2 -> 3.
    first, blocks = 3 * 2 / 64 + 2 * 16 / 64 + 4 * 32 / 16, 2 * 64 * 11 / 4
    found = REGISTRY["cae-admm"].macs_per_pixel(unpack(written), models)
    assert found == first + blocks + 8 * 4 / 4 + 4 * 8 / 4 + 2 * 3


def test_cae_admm_keeps_the_entries_of_largest_magnitude(models):
    image, lengths = crop("chelsea", 64, 96), []
    code = trained.latent_of(models.find("cae-admm other"), image)
    assert code.shape == (3, 8, 12) and code.dtype == np.int32 and np.abs(code).max() > 5
    for keep in (None, 1.0, 0.5, 0.3, 0.1, 0.03, 0.001):
        written = codec_of(models, "cae-admm", "other", keep=keep).encode(image)
        kept, lengths = symbols_of(written, models), [*lengths, len(written)]
        entries = max(1, round((keep or 1) * code.size))
        assert np.count_nonzero(kept) == min(entries, np.count_nonzero(code))
        assert np.array_equal(kept[kept != 0], code[kept != 0])
        assert np.abs(kept[kept != 0]).min() >= np.abs(code[kept == 0]).max()
        assert keep is None or np.array_equal(kept, trained.pruned(code, keep))
    assert lengths[0] == lengths[1] and lengths[1:] == sorted(set(lengths), reverse=True)


@pytest.mark.parametrize("spread", [400.0, 6000.0])
def test_cae_admm_loses_no_huge_values(tmp_path, spread):
    models, image = Models(tmp_path), crop("coffee", 70, 50)
    tiny_cae_admm.write(tmp_path, "huge", spread=spread)
    code = trained.latent_of(models.find("huge"), image)
    assert np.abs(code).max() > 300 and (np.abs(code) > integer_latents.LARGEST).mean() > 0.1
    written = codec_of(models, "cae-admm").encode(image)
    assert np.array_equal(symbols_of(written, models), code)
    budget = rate(written, image) / 3
    assert rate(codec_of(models, "cae-admm").at_bpp(image, budget), image) <= budget


def test_cae_admm_refuses_values_that_no_file_can_hold(tmp_path):
    models, made = Models(tmp_path), tiny_cae_admm.model()
    counts = tiny_cae_admm.counts(made)
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
        codec = get_codec("cae-admm", models=models, model=model)
        for call in (lambda codec=codec: codec.encode(IMAGE), lambda codec=codec: codec.at_bpp(IMAGE, 1.0)):
            with pytest.raises(ValueError, match=f"model='{model}': of this picture it makes values beyond 32767"):
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


@each
def test_trained_codec_does_not_touch_the_model_that_all_share(tmp_path, name):
    write(tmp_path, name, "new")
    models = Models(tmp_path)
    state = models.find("new").model.state_dict()
    before = {key: (t.clone(), t.stride()) for key, t in state.items()}
    codecs.evaluate(codec_of(models, name), crop("coffee", 40, 40), 1.0)
    for key, tensor in models.find("new").model.state_dict().items():
        assert torch.equal(tensor, before[key][0]) and tensor.stride() == before[key][1]


# The budget -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "best"), [("cae", {"step": 64}), ("cae-admm", {})])
def test_trained_codec_takes_the_best_setting_where_it_fits(models, name, best):
    for size in ((1, 1), (40, 40)):
        image, codec = crop("coffee", *size), codec_of(models, name, "fine")
        written = codec.at_bpp(image, 1000)
        assert written == codec_of(models, name, "fine", **best).encode(image)
        assert codec.decode(written).shape == image.shape


@pytest.mark.parametrize(
    ("size", "budgets"), [((12, 16), range(160, 250, 10)), ((17, 9), range(160, 250, 10)), ((48, 80), (30, 80, 150))]
)
def test_cae_takes_the_finest_step_that_fits_to_the_byte(models, size, budgets):
    """Of a small picture too, whose estimate is wrong by as much as a step changes."""
    image = crop("coffee", *size)
    for bpp in (budget / 100 for budget in budgets):
        step = number_of(codec_of(models, "cae", "fine").at_bpp(image, bpp), models)
        finer = [step - n for n in range(1, 20)] + [round(step * 0.8**n) for n in range(1, 4)]
        rates = [rate(codec_of(models, "cae", "fine", step=n).encode(image), image) for n in finer if n >= 64]
        assert rates[0] > bpp and sum(r > bpp for r in rates) > 0.8 * len(rates), "but for a byte here and there"


@pytest.mark.parametrize("size", [(24, 24), (17, 40), (64, 64)])
def test_cae_admm_keeps_as_many_entries_as_fit_to_the_byte(models, size):
    image = crop("coffee", *size)
    code = trained.latent_of(models.find("cae-admm other"), image)
    shares = [entries / code.size for entries in range(1, code.size + 1)]
    files = [codec_of(models, "cae-admm", "other", keep=share).encode(image) for share in shares]
    lengths, most = np.array([len(file) for file in files]), np.count_nonzero(code)
    for budget in range(int(lengths[0]), int(lengths.max()) + 8, 3):
        written = codec_of(models, "cae-admm", "other").at_bpp(image, 8 * (budget + 1e-6) / image[..., 0].size)
        entries = np.count_nonzero(symbols_of(written, models))
        assert len(written) <= budget and written == files[entries - 1]
        assert entries == most or lengths[entries] > budget, "one entry more does not fit"


@pytest.mark.parametrize(
    ("name", "coder", "model", "bpp"), [("cae", latents, "fine", 1.0), ("cae-admm", integer_latents, "other", 0.15)]
)
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.5])
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
@pytest.mark.parametrize("bpp", [0.4, 1.0, 3.0])
def test_trained_codec_takes_the_best_of_the_models_that_may_be_chosen(models, tmp_path, name, bpp):
    image, files = crop("coffee", 64, 64), {}
    quality = metrics.psnr if name == "cae" else metrics.ssim
    for model in ("fine", "sparse"):
        written = codec_of(models, name, model).at_bpp(image, bpp)
        files[quality(reference=image, reconstruction=codecs.decode(written, models=models))] = written
    assert len(files) == 2
    for either in (models, turned(models, name, tmp_path)):
        assert codec_of(either, name).at_bpp(image, bpp) == files[max(files)]


def test_cae_admm_decides_by_ssim_and_by_psnr_where_that_is_not_defined(models, monkeypatch):
    image, files = crop("coffee", 10, 60), {}
    assert metrics.ssim(reference=image, reconstruction=image) is None
    for model in ("fine", "sparse"):
        written = codec_of(models, "cae-admm", model).at_bpp(image, 1.0)
        files[metrics.psnr(reference=image, reconstruction=codecs.decode(written, models=models))] = written
    assert len(files) == 2 and codec_of(models, "cae-admm").at_bpp(image, 1.0) == files[max(files)]
    monkeypatch.setattr(metrics, "ssim", lambda **pictures: -metrics.psnr(**pictures))
    assert codec_of(models, "cae-admm").at_bpp(image, 1.0) == files[min(files)]


@each
def test_trained_codec_names_the_smallest_budget_of_all_models_and_keeps_it(models, tmp_path, name):
    def least(codec: Codec, image: np.ndarray) -> float:
        with pytest.raises(BudgetError, match=f"{name}: bpp=0.001 is too small") as caught:
            codec.at_bpp(image, 0.001)
        return caught.value.smallest

    other = turned(models, name, tmp_path)
    for size in ((1, 1), (5, 3), (30, 40), (40, 40)):
        image = crop("coffee", *size)
        reached = {model: least(codec_of(models, name, model), image) for model in ("fine", "sparse")}
        smallest = min(reached.values())
        assert least(codec_of(models, name), image) == least(codec_of(other, name), image) == smallest
        if len(set(reached.values())) == 2:  # a model that cannot does not stop one that can
            written = codec_of(models, name).at_bpp(image, smallest * (1 + 1e-9))
            assert model_of(written, models).name == f"{name} {min(reached, key=reached.get)}"
    assert name == "cae" or len(set(reached.values())) == 2


def test_encode_takes_the_model_that_training_left_the_densest(models, tmp_path):
    def chosen(models: Models, name: str) -> str:
        return model_of(codec_of(models, name).encode(IMAGE), models).name

    for name in WRITERS:
        assert chosen(models, name) == f"{name} fine"
        by_path = get_codec(name, models=models, model=str(models.files[f"{name} fine"]))
        assert by_path.encode(IMAGE) == codec_of(models, name).encode(IMAGE)
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
def test_trained_codec_without_a_model_says_how_to_get_one(tmp_path, name):
    write(tmp_path, "cae" if name != "cae" else "cae-admm", "stranger")
    codec, study = codec_of(Models(tmp_path), name), "cae" if name == "cae" else "cae_admm"
    for call in (lambda: codec.encode(IMAGE), lambda: codec.at_bpp(IMAGE, 1.0)):
        with pytest.raises(
            ValueError, match=f"{name}: .*`python -m reproduce study {study} --profile laptop` trains them"
        ):
            call()
    write(tmp_path, name, "shy", search=False)
    with pytest.raises(ValueError, match=f"{name}: no model here may be chosen without being named; name one of shy$"):
        codec.at_bpp(IMAGE, 1.0)
    with pytest.raises(ValueError, match="model='nope' is unknown; known are shy, stranger"):
        get_codec(name, models=Models(tmp_path), model="nope").encode(IMAGE)


@pytest.mark.parametrize(
    ("codec", "of"), [("cae-admm", "cae"), ("cae-admm", "cae-theis"), ("cae-theis", "cae-admm"), ("cae", "cae-admm")]
)
def test_trained_codec_takes_no_model_of_another_codec(models, codec, of):
    named = get_codec(codec, models=models, model=f"{of} fine")
    for call in (lambda: named.encode(IMAGE), lambda: named.at_bpp(IMAGE, 1.0)):
        with pytest.raises(ValueError, match=f"model='{of} fine' is for {of}, not {codec}"):
            call()
    written = codec_of(models, of, "fine").encode(IMAGE)
    with pytest.raises(BitstreamError, match=f"a {of} file, not {codec}"):
        named.decode(written)
    container = unpack(changed(written, REGISTRY[codec].number))
    for read in (REGISTRY[codec].read, REGISTRY[codec].macs_per_pixel):
        with pytest.raises(BitstreamError, match=f"a {codec} file of model {of} fine, which is for {of}"):
            read(container, models)


def test_one_network_may_serve_both_codecs_from_two_files(tmp_path):
    models = Models(tmp_path)
    for name, codec in (("a", "cae-admm"), ("b", "cae-theis")):
        tiny_cae_admm.write(tmp_path, name, codec=codec)
    assert models.find("a").key == models.find("b").key
    for codec in ("cae-admm", "cae-theis"):
        assert codecs.evaluate(codec_of(models, codec), IMAGE).codec == codec


OPTIONS = [
    *(("cae", {"step": step}) for step in (63, 65536, 100.0, True)),
    *((name, {"keep": keep}) for name in ("cae-admm", "cae-theis") for keep in (0, -0.1, 1.01, float("nan"), "0.5")),
    *((name, {"model": 5}) for name in ("cae", "cae-admm")),
    ("cae-admm", {"step": 100}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_trained_codec_refuses_impossible_options(name, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        get_codec(name, **options)


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
        ({"network": b""}, f"{name} file has a network section of 10 bytes"),
        ({"network": network + b"\0"}, "network section of 10 bytes"),
        ({"weights": b"x"}, "nothing else"),
        ({"network": with_number(0)}, f"{word} must be .*got 0"),
        ({"network": with_number(number + 1)}, "damaged|threshold"),
        ({"values": values + b"\0"}, "no zeros"),
        ({"values": values + b"x"}, "damaged"),
        ({"values": values[:-3]}, "damaged|threshold"),
        ({"values": values[: len(values) // 2]}, "damaged|threshold"),
        ({"values": b""}, "at least 1"),
        ({"height": 80}, "damaged"),
    ]
    if name == "cae":
        broken.append(({"network": with_number(63)}, "step must be .*got 63"))
    else:
        assert number > 2
        lower = integer_latents.encode(symbols, model_of(written, models).counts, 1)
        broken.append(({"network": with_number(1), "values": lower}, f"threshold 1: it is {number} of these symbols"))
        broken.append(({"network": with_number(32768)}, "threshold must be .*got 32768"))
    for sections, message in broken:
        with pytest.raises(BitstreamError, match=message):
            codecs.decode(changed(written, **sections), models=models)


@each
def test_trained_code_of_zeros_is_as_long_as_its_picture_asks_for(models, tmp_path, name):
    """Nothing but padding: 64 x 64 pixels and fewer are one byte, a row of places more is two."""
    codec = codec_of(models, "cae", "fine", step=65535)
    if name == "cae-admm":
        made, models = tiny_cae_admm.model(), Models(tmp_path)
        with torch.no_grad():
            for tensor in (made.encoder[-1][1].weight, made.encoder[-1][1].bias):
                tensor.zero_()
        pretrained.save(tmp_path / "nothing.safetensors", made, tiny_cae_admm.counts(made), tiny_cae_admm.ABOUT)
        codec = codec_of(models, name)
    for height, least in ((64, 1), (65, 2), (192, 3)):
        image = np.zeros((height, 64, 3), np.uint8)
        written = codec.encode(image)
        assert unpack(written).sections["values"] == bytes(least)
        if name == "cae-admm":
            assert unpack(written).sections["network"][8:] == struct.pack("<H", 32767)
            assert written == codec_of(models, name, keep=0.1).encode(image) == codec.at_bpp(image, 24)
        assert codecs.decode(written, models=models).shape == image.shape
        for wrong in (bytes(least - 1), bytes(least + 1), bytes(least + 40)):
            with pytest.raises(BitstreamError, match=f"at least {least}"):
                codecs.decode(changed(written, values=wrong), models=models)


@each
def test_trained_codec_refuses_forged_sizes_before_any_work(models, monkeypatch, name):
    written = codec_of(models, name).encode(IMAGE)
    monkeypatch.setattr(REGISTRY[name].coder, "decode", lambda *a: pytest.fail("it was decoded first"))
    for height, width in ((2**13, 2**13), (1, 2**26), (2**20, 2)):
        with pytest.raises(BitstreamError, match="at least|absurd"):
            codecs.decode(changed(written, height=height, width=width), models=models)


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


@pytest.mark.parametrize(("macs", "scale"), [(279_088, 4), (682_224, 8)])
def test_the_papers_network_takes_the_largest_picture(macs, scale):
    assert 2**26 * macs <= trained.MOST_MACS and 32 * 2**26 // scale**2 <= trained.MOST_SYMBOLS


@each
def test_trained_codec_says_that_there_is_no_memory_for_a_picture(models, monkeypatch, name):
    codec = codec_of(models, name)
    written = codec.encode(IMAGE)

    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(pretrained, "in_strips", full)
    with pytest.raises(BitstreamError, match="no memory to draw 20 x 22 pixels"):
        codec.decode(written)
