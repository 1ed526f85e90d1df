"""The pictures: pinned, checked by SHA-256, and found without a download wherever that is possible.

`bundled` photographs come with the scikit-image wheel. Kodak and BSDS500 may not be passed on with the code:
they are looked for in ``$SPARSECOMP_DATA`` (``kodak/kodimNN.png``, ``bsds500/{train,val,test}/*.jpg``), then
in the cache (``$SPARSECOMP_CACHE``, else the platform's cache folder), then fetched from their home pages.

``checksums.json`` pins 475 of the 500 pictures of BSDS500: train 200, val 100, and 175 of the 200 of test.
The other 25 were kept out when the checksums were made, and are never loaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import tarfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sparsecomp.checks import InputError, one_of, require
from sparsecomp.files import write_atomic

MAX_PIXELS = 2**26  # the same bound that a file is decoded under
SPLITS = ("train", "val", "test")


class DataUnavailable(RuntimeError):
    """A pinned set is not here, not whole or not the pinned one; the message says in one line what to do."""


@dataclass(frozen=True)
class PictureSet:
    """One pinned set: where it comes from, under what terms, and the SHA-256 of each of its files."""

    home: str  # page a reader can open
    source: str  # what is downloaded: a folder of files if it ends in "/", else a .tgz archive
    licence: str
    files: dict[str, str]  # path inside the set -> SHA-256


_CHECKSUMS = json.loads(resources.files(__package__).joinpath("checksums.json").read_text())
# Terms are those the home page states, in a few words; the page itself is what counts.
SETS = {
    "bundled": PictureSet(
        home="https://scikit-image.org/docs/stable/api/skimage.data.html",
        source="",
        licence="in the scikit-image wheel: CC0 or public domain; motorcycle: Middlebury stereo 2014",
        files=_CHECKSUMS["bundled"],
    ),
    "kodak": PictureSet(
        home="https://r0k.us/graphics/kodak/",
        source="https://r0k.us/graphics/kodak/kodak/",
        licence="released by Kodak for unrestricted use, says the home page; not passed on here",
        files=_CHECKSUMS["kodak"],
    ),
    "bsds500": PictureSet(
        home="https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/resources.html",
        source="http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/BSR/BSR_bsds500.tgz",
        licence="non-commercial research and education only; not passed on here",
        files=_CHECKSUMS["bsds500"],
    ),
}
BUNDLED = tuple(Path(file).stem for file in SETS["bundled"].files)


def bundled() -> dict[str, np.ndarray]:
    """The photographs in the scikit-image wheel that came from PNG: name -> uint8 (H, W, 3).

    astronaut 512x512, coffee 600x400, chelsea 451x300, motorcycle_left and motorcycle_right 741x500. Those
    that came from JPEG are left out: their block artefacts would be coded too.
    """
    return _load("bundled")


def kodak() -> dict[str, np.ndarray]:
    """The Kodak Lossless True Color Image Suite: "kodim01" .. "kodim24" -> uint8 array.

    (512, 768, 3), or (768, 512, 3) for the six upright ones.

    Raises
    ------
    DataUnavailable : if the set is neither here nor to be had, or a file is not the pinned one.
    """
    return _load("kodak")


def bsds500(split: str) -> dict[str, np.ndarray]:
    """One split of the Berkeley Segmentation Data Set 500 (Arbeláez et al. 2011): name -> uint8 (H, W, 3).

    The pictures are 481x321 or 321x481 JPEG and carry its artefacts. "test" holds the 175
    pinned pictures of 200 (see the module).

    Parameters
    ----------
    split : "train" (200 pictures), "val" (100) or "test" (175); or "paper", all of them: what Zhao & Liao (2019) train
        on. A model that was trained on it must not be scored on this set.

    Raises
    ------
    ValueError : if `split` is none of these. DataUnavailable : as `kodak`.
    """
    one_of("split", split, (*SPLITS, "paper"))
    parts = SPLITS if split == "paper" else (split,)
    return {name: picture for part in parts for name, picture in _load("bsds500", part + "/").items()}


def folder(path: str | Path) -> dict[str, np.ndarray]:
    """Every picture in a folder, by its file's name without suffix: a set that cannot be pinned here.

    Sparse CAE was trained on 473 pictures of Flickr that have no address to fetch them from; who has them trains on
    them with this.

    Raises
    ------
    ValueError : if there is no such folder, no picture in it, or two of one name; and as `load_picture`.
    """
    place = Path(path)
    kinds = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp")
    files = sorted(file for file in place.glob("*") if file.suffix.lower() in kinds)
    if not files:
        raise InputError(f"folder {str(place)!r}: there are no pictures in it")
    if len({file.stem for file in files}) < len(files):
        raise InputError(f"folder {str(place)!r}: two pictures have one name")
    return {file.stem: load_picture(file) for file in files}


def load_picture(name_or_path: str | Path) -> np.ndarray:
    """Read a bundled photograph by name, or any picture file that Pillow reads, as 8-bit RGB.

    A file is turned upright by its EXIF orientation; of an animation the first frame is read. Grey becomes
    three equal channels, a palette its colours, 16 bits are rounded to 8 (``x / 257``; Pillow itself keeps
    the upper byte of 16-bit colour). What is transparent is shown on white, because an ``.spc`` file holds no
    alpha channel. A colour profile is not applied.

    Parameters
    ----------
    name_or_path : one of `BUNDLED`, which wins over a file of that name (write ``./chelsea``), or a path.

    Returns
    -------
    uint8 array (H, W, 3).

    Raises
    ------
    ValueError : in one line, if there is no such picture, it cannot be read, or it has above 2^26 pixels.
    """
    if name_or_path in BUNDLED:
        return _load("bundled", f"{name_or_path}.png")[name_or_path]
    path = Path(name_or_path)
    if not os.path.isfile(path):  # unlike Path.is_file, False for a name too long or not permitted
        raise InputError(f"picture {str(path)!r} is neither a file nor a bundled one ({', '.join(BUNDLED)})")
    return _decode(path, path)


def available(name: str) -> bool:
    """Whether set `name` ("bundled", "kodak", "bsds500"; else ValueError) is here, every file of it."""
    return _locate(_known(name)) is not None


def fetch(name: str) -> Path:
    """Return the folder of a set, downloading it into the cache if it is not here yet.

    Parameters
    ----------
    name : "bundled", "kodak" or "bsds500".

    Raises
    ------
    ValueError : if `name` is none of these. DataUnavailable : if it cannot be downloaded, or is not the
        pinned set.
    """
    return _locate(_known(name)) or _download(name)


@dataclass(frozen=True)
class SetRow:
    """One line of `listing`: `found` is the folder, or None if the set would have to be fetched."""

    name: str
    pictures: int
    found: Path | None
    licence: str
    home: str


def listing() -> list[SetRow]:
    """What sets there are, how many pictures are pinned, where each was found, and its terms."""
    return [SetRow(name, len(s.files), _locate(name), s.licence, s.home) for name, s in SETS.items()]


def cache_folder() -> Path:
    """Where downloads and compiled code are kept: ``$SPARSECOMP_CACHE``, else ``sparsecomp`` in the user's cache."""
    if os.environ.get("SPARSECOMP_CACHE"):
        return Path(os.environ["SPARSECOMP_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sparsecomp"


def fingerprint(images: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, shapes and pixels of uint8 pictures, whatever their order; goes into a record.

    It is of *decoded* pixels: for JPEG sources (BSDS500) two versions of the decoder may give two
    fingerprints.
    """
    digest = hashlib.sha256()
    for name in sorted(images):
        picture = images[name]
        require(picture.dtype == np.uint8, f"images[{name!r}]", "uint8", picture.dtype)
        digest.update(f"{name}\0{picture.shape}\0".encode())
        digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()


def _known(name: str) -> str:
    one_of("name", name, SETS)
    return name


def _bundled_folder() -> Path:
    found = importlib.util.find_spec("skimage")
    assert found is not None and found.origin is not None  # a dependency
    return Path(found.origin).parent / "data"


def _folders(name: str) -> Iterator[Path]:
    """Folders in which a set may lie, in the order in which they are searched."""
    if name == "bundled":
        yield _bundled_folder()
        return
    if os.environ.get("SPARSECOMP_DATA"):
        yield Path(os.environ["SPARSECOMP_DATA"]) / name
    yield cache_folder() / name


def _locate(name: str, prefix: str = "") -> Path | None:
    """First folder that holds every file of the set whose path starts with `prefix`."""
    wanted = [file for file in SETS[name].files if file.startswith(prefix)]
    return next((f for f in _folders(name) if all((f / file).is_file() for file in wanted)), None)


def _load(name: str, prefix: str = "") -> dict[str, np.ndarray]:
    folder = _locate(name, prefix) or _download(name)
    files = [file for file in SETS[name].files if file.startswith(prefix)]
    return {Path(file).stem: _decode(_read_pinned(name, folder, file), folder / file) for file in files}


def _read_pinned(name: str, folder: Path, file: str) -> io.BytesIO:
    data = (folder / file).read_bytes()
    if hashlib.sha256(data).hexdigest() != SETS[name].files[file]:
        raise DataUnavailable(
            f"{folder / file} is not the pinned picture of {name} (its SHA-256 differs): "
            f"replace it by the one from {SETS[name].home}, or remove it to have it fetched"
        )
    return io.BytesIO(data)


def _download(name: str) -> Path:
    """Fetch a set from its home page into the cache; every file is checked before it gets its name there."""
    cache, pictures = cache_folder(), SETS[name]
    if name == "bundled":
        raise DataUnavailable(f"bundled pictures are missing from {_bundled_folder()}: reinstall scikit-image")
    try:
        import pooch

        pooch.get_logger().setLevel("WARNING")  # what cannot be had is said in one line, ours

        if pictures.source.endswith("/"):
            shelf = pooch.create(cache / name, pictures.source, registry=pictures.files)
            for file in pictures.files:
                shelf.fetch(file)
        else:
            # No hash of the archive: what is pinned is each picture taken out of it.
            archive = Path(pooch.retrieve(pictures.source, None, fname=f"{name}.tgz", path=cache))
            try:
                _unpack(archive, cache / name, pictures.files)
            finally:
                archive.unlink()
    except (ImportError, OSError, ValueError, EOFError, tarfile.TarError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
        raise DataUnavailable(
            f"{name} is neither in $SPARSECOMP_DATA ({os.environ.get('SPARSECOMP_DATA') or 'not set'}) nor "
            f"in the cache ({cache}), and could not be fetched ({reason}): get it from {pictures.home} into "
            f"FOLDER/{name} and set SPARSECOMP_DATA=FOLDER, or run `sparsecomp data fetch {name}` online"
        ) from error
    return cache / name


def _unpack(archive: Path, folder: Path, files: Mapping[str, str]) -> None:
    """Take the pinned files, nothing else, out of a .tgz: ``.../SPLIT/NAME`` -> ``folder/SPLIT/NAME``."""
    missing = set(files)
    with tarfile.open(archive) as tar:
        for member in tar:
            file = "/".join(Path(member.name).parts[-2:])
            if file not in missing or not member.isfile():
                continue
            opened = tar.extractfile(member)
            assert opened is not None  # a plain file
            data = opened.read()
            if hashlib.sha256(data).hexdigest() != files[file]:
                raise InputError(f"SHA-256 of {member.name} differs from the pinned one")
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, data)
            missing.remove(file)
    if missing:
        raise InputError(f"{len(missing)} pinned files are not in the archive, {min(missing)} for one")


def _decode(file: Path | io.BytesIO, label: str | Path) -> np.ndarray:
    """Decode one picture to uint8 (H, W, 3) as `load_picture` says; ValueError on all that can go wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:  # before anything is decoded
                    raise InputError(f"{width}x{height} is above {MAX_PIXELS} pixels")
                return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise InputError(f"picture {str(label)!r} cannot be read: no picture format that Pillow knows") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"picture {str(label)!r} cannot be read: {reason}") from error


def _as_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips these at 255
        grey = np.rint(np.asarray(image, dtype=np.float64) / 257.0).astype(np.uint8)
        if "transparency" in image.info:  # one grey that stands for nothing
            grey[np.asarray(image) == image.info["transparency"]] = 255
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise InputError(f"mode {image.mode!r}, 32 bits a sample, has no fixed range")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))
