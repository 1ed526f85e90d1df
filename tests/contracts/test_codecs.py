"""The contract of a codec, checked for every registered one.

A new codec is found by itself. The example of CONTRIBUTING.md is checked here, too.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import samples

from sparsecomp import codecs
from sparsecomp.codecs import NAMES, BitstreamError, BudgetError, Codec, get_codec
from sparsecomp.codecs.base import REGISTRY, codec_of, register
from sparsecomp.coding.container import SECTIONS, Container, layout, pack, unpack
from sparsecomp.models.pretrained import Models

ROOT = Path(__file__).parents[2]
IMAGE = samples.photograph(24, 36)
# What is in files stays what it is.
NUMBERS = {
    "jpeg": 1, "jpeg2000": 2, "webp": 3, "avif": 4, "jpegxl": 5, "coin": 16, "loonie": 17, "cae": 18, "cae-admm": 19,
    "cae-theis": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return samples.write_models(tmp_path_factory.mktemp("models"))


def rate(data: bytes, image: np.ndarray) -> float:
    return 8 * len(data) / (image.shape[0] * image.shape[1])


def smallest(codec: Codec, image: np.ndarray) -> float:
    """The rate, as it is printed, that a codec says it can reach."""
    with pytest.raises(BudgetError, match=f"^{codec.name}: bpp=1e-05 is too small") as caught:
        codec.at_bpp(image, 1e-5)
    named = float(str(caught.value).rsplit("=", 1)[1])
    assert named >= caught.value.smallest > named - 2e-4
    return named


def check_files_are_of_their_codec_and_decode_from_bytes_alone(name: str, models: Models) -> None:
    for codec in samples.variants(name, models):
        before = IMAGE.copy()
        data = codec.encode(IMAGE)
        assert np.array_equal(IMAGE, before), "the picture was changed"
        container = unpack(data)
        assert isinstance(data, bytes) and codec_of(container) is type(codec)
        assert (container.codec, container.height, container.width) == (codec.number, *IMAGE.shape[:2])
        assert sum(size for _, size in layout(data)) == len(data)
        picture = codecs.decode(data, models=models)
        assert picture.dtype == np.uint8 and picture.shape == IMAGE.shape
        assert np.array_equal(picture, codec.decode(data))


def check_same_picture_same_bytes(name: str, models: Models) -> None:
    codec = samples.variants(name, models)[0]
    data = codec.encode(IMAGE)
    assert data == codec.encode(IMAGE) == codec.encode(np.asfortranarray(IMAGE)), "the same pixels, other bytes"
    with ThreadPoolExecutor(3) as threads:
        pictures = list(threads.map(codec.decode, [data] * 3))
    assert all(np.array_equal(picture, codec.decode(data)) for picture in pictures), "threads disturb each other"


def check_any_size(name: str, models: Models) -> None:
    codec = samples.make(name, models)
    for size in ((1, 2), (19, 1), (3, 23)):  # of one pixel, L0onie needs more than the 1000 bpp that its fit takes
        image = samples.photograph(*size)
        data = codec.at_bpp(image, 1.3 * smallest(codec, image))
        assert codecs.decode(data, models=models).shape == image.shape


def check_at_bpp_is_a_ceiling(name: str, models: Models) -> None:
    codec = samples.make(name, models)
    least = smallest(codec, IMAGE)
    for bpp in (least, 1.1 * least, 5.0):
        data = codec.at_bpp(IMAGE, bpp)
        assert rate(data, IMAGE) <= bpp
        measured = codecs.measure(data, IMAGE, encode_seconds=0.0, models=models)
        assert (measured.codec, measured.bytes, measured.bpp) == (name, len(data), rate(data, IMAGE))


def check_bad_pictures_and_budgets(name: str, models: Models) -> None:
    codec = samples.make(name, models)
    huge = np.broadcast_to(np.uint8(0), (2**14, 2**13, 3))
    for image in (None, IMAGE.astype(float), IMAGE[..., 0], IMAGE[:0], huge):
        for call in (lambda image=image: codec.encode(image), lambda image=image: codec.at_bpp(image, 1.0)):
            with pytest.raises(ValueError, match="image"):
                call()
    for bpp in (0, float("nan")):
        with pytest.raises(ValueError, match="bpp must be .*"):
            codec.at_bpp(IMAGE, bpp)


def check_options(name: str, models: Models) -> None:
    codec = get_codec(name)
    assert codec.options() == tuple(field.name for field in fields(codec))
    with pytest.raises(ValueError, match=f"^{name} has no option 'loudness'; it has"):
        get_codec(name, loudness=11)


def check_what_is_said_of_a_file(name: str, models: Models) -> None:
    for codec in samples.variants(name, models):
        container = unpack(codec.encode(IMAGE))
        for label, text in codec.describe(container, models):
            assert label and text and label == label.strip() and "\n" not in label + text
        macs = codec.macs_per_pixel(container, models)
        assert macs is None or (isinstance(macs, float) and macs > 0)


def check_malformed_files(name: str, models: Models) -> None:
    """A picture of the declared size or a `BitstreamError`; `tests/test_fuzz.py` does much more of this."""
    codec = samples.variants(name, models)[-1]
    data = codec.encode(IMAGE)
    sound, (height, width) = unpack(data), IMAGE.shape[:2]
    foreign = get_codec("webp" if name == "jpeg" else "jpeg").encode(IMAGE)
    with pytest.raises(BitstreamError, match=f"file, not {name}$"):
        codec.decode(foreign)
    with pytest.raises(BitstreamError, match=f"limit of {height * width - 1} pixels"):
        codecs.decode(data, max_pixels=height * width - 1, models=models)
    broken = [{section: b"x" * 20} for section in SECTIONS] + [sound.sections | {s: b""} for s in SECTIONS]
    for section, body in sound.sections.items():
        changed = (body[:-1], body + b"x", body[: len(body) // 2], bytes(len(body)), body[1:])
        broken += [sound.sections | {section: other} for other in changed]
    refused = 0
    for sections in broken:
        for size in ((height, width), (height, width + 64), (8192, 8191)):
            container = unpack(pack(Container(codec.number, *size, sections)))
            for method in (codec.read, codec.describe, codec.macs_per_pixel):
                try:
                    found = method(container, models)
                except BitstreamError as error:
                    refused += 1
                    assert str(error)
                    continue
                assert method != codec.read or found.shape == (*size, 3)
    assert refused > len(broken)


CHECKS = [check for label, check in list(globals().items()) if label.startswith("check_")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_codec(check, name, models):
    check(name, models)


def test_numbers_in_files_stay_what_they_are():
    assert {name: REGISTRY[name].number for name in NAMES} == NUMBERS


def test_codecs_are_known_by_name_and_number(monkeypatch):
    monkeypatch.setattr("sparsecomp.codecs.base.REGISTRY", dict(REGISTRY))

    def codec(**attributes):
        return type("New", (REGISTRY["jpeg"],), attributes)

    for name, number, message in (("jpeg", 99, "jpeg has number 1"), ("new", 1, "jpeg has"), ("new", 256, "got 256")):
        with pytest.raises(ValueError, match=message):
            register(codec(name=name, number=number))
    new = register(codec(name="new", number=99))
    assert codec_of(Container(99, 1, 1, {})) is new
    with pytest.raises(ValueError, match=f"codec='gif' is unknown; known are {', '.join(NAMES)}"):
        get_codec("gif")
    with pytest.raises(BitstreamError, match="unknown codec number 255"):
        codecs.decode(pack(Container(255, 1, 1, {"payload": b""})))


def test_another_process_decodes_the_same(tmp_path, models):
    expected = {}
    for name in NAMES:
        codec = samples.variants(name, models)[0]
        (tmp_path / f"{name}.spc").write_bytes(codec.encode(IMAGE))
        expected[name] = codec.decode((tmp_path / f"{name}.spc").read_bytes())
    script = """
import sys
from pathlib import Path
import numpy as np
from sparsecomp.codecs import decode
from sparsecomp.models.pretrained import Models
for path in Path(sys.argv[1]).glob("*.spc"):
    np.save(path.with_suffix(".npy"), decode(path.read_bytes(), models=Models(sys.argv[2])))
"""
    subprocess.run([sys.executable, "-c", script, tmp_path, models.places[0]], check=True, timeout=100)
    for name, picture in expected.items():
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), picture), name


@pytest.mark.parametrize("name", ["coin", "loonie", "cae", "cae-admm"])
def test_codec_says_that_there_is_no_memory_for_a_picture(models, monkeypatch, name):
    def full(*arguments, **options):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    codec = samples.variants(name, models)[0]
    data = codec.encode(IMAGE)
    monkeypatch.setattr("sparsecomp.codecs.network.render", full)
    monkeypatch.setattr("sparsecomp.models.pretrained.in_strips", full)
    with pytest.raises(BitstreamError, match="no memory to draw 24 x 36 pixels"):
        codec.decode(data)


@pytest.fixture
def example(tmp_path, monkeypatch) -> type[Codec]:
    """The codec of CONTRIBUTING.md, registered for a while."""
    (source,) = re.findall(r"```python\n(.*?@register.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(source.splitlines()) <= 60
    (tmp_path / "mosaic.py").write_text(source)
    before = dict(REGISTRY)
    spec = importlib.util.spec_from_file_location("mosaic", tmp_path / "mosaic.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "mosaic", module)
    spec.loader.exec_module(module)
    (name,) = set(REGISTRY) - set(before)
    yield REGISTRY[name]
    del REGISTRY[name]


def test_the_example_of_a_codec_keeps_the_contract(example, models):
    for check in CHECKS:
        check(example.name, models)
