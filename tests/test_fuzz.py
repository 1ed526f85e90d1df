"""Five thousand damaged files: each is a `BitstreamError` or a picture of the declared size, in little memory.

The codecs of one module share a process, so that a decoder that dies or swells is seen as such. That process is this
file, run as a script.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import samples
import torch
from coding_strategies import harmed, seal

from sparsecomp.codecs import NAMES, BitstreamError, decode
from sparsecomp.codecs.base import REGISTRY, codec_of
from sparsecomp.codecs.standard import Avif, Standard
from sparsecomp.coding.container import Container, pack, unpack
from sparsecomp.models.pretrained import Models

FILES_A_CODEC = -(-5_000 // len(NAMES))
MEGABYTES = 200


def damaged(seeds: dict[str, list[bytes]], codec: str, count: int) -> list[tuple[bytes, bool]]:
    """Harmed files of one codec; every other one has a checksum that is right, as its flag says."""
    rng = random.Random(codec)
    everything = [data for files in seeds.values() for data in files]
    files = []
    for i in range(count):
        data = rng.choice(seeds[codec])
        if i % 2:
            files.append((harmed(data, rng, everything), False))
        elif i % 4 == 0:
            files.append((seal(harmed(data[:-4], rng, everything)), True))
        else:  # an impeccable container around a harmed section: for the decoders
            container = unpack(data)
            name = rng.choice(sorted(container.sections))
            container.sections[name] = harmed(container.sections[name], rng, everything)
            files.append((pack(container), True))
    return files


def peak_megabytes() -> float:
    """This program's high-water mark; `getrusage` would include the parent's, which fork hands down."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main(folder: Path, codecs: list[str]) -> None:
    """Decode damaged files of these codecs, print what became of them."""
    import imagecodecs  # noqa: F401 - one of the imports over which memory is measured

    torch.set_num_threads(1)
    models = Models(folder)
    seeds = {name: [p.read_bytes() for p in sorted(folder.glob(f"{name}--*.spc"))] for name in NAMES}
    files = [(codec, *each) for codec in codecs for each in damaged(seeds, codec, FILES_A_CODEC)]
    before = peak_megabytes()
    pictures, foreign = dict.fromkeys(codecs, 0), 0
    for number, (codec, data, sound) in enumerate(files):
        sys.stderr.write(f"{codec} {number}\n")  # the last line there is the file that killed a decoder
        try:
            picture = decode(data, models=models)
        except BitstreamError as error:
            foreign += "cannot be decoded" in str(error)
            continue
        declared = unpack(data)
        assert picture.dtype == np.uint8 and picture.shape == (declared.height, declared.width, 3)
        assert sound or data in seeds[codec_of(declared).name], "a wrong checksum went unnoticed"
        pictures[codec] += 1
    print(json.dumps({"pictures": pictures, "foreign": foreign, "megabytes": peak_megabytes() - before}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Write the files to be damaged: a small picture through every codec."""
    folder = tmp_path_factory.mktemp("seeds")
    image, models = samples.photograph(24, 40), samples.write_models(folder)
    for name in NAMES:
        for i, codec in enumerate(samples.variants(name, models)):
            (folder / f"{name}--{i}.spc").write_bytes(codec.encode(image))
    return folder


MODULES = sorted({REGISTRY[name].__module__ for name in NAMES})


@pytest.mark.parametrize("module", MODULES)
def test_decode_of_damaged_files_is_a_picture_or_a_bitstream_error(folder, module):
    codecs = [name for name in NAMES if REGISTRY[name].__module__ == module]
    command = [sys.executable, "-X", "faulthandler", __file__, str(folder), *codecs]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, f"it ended with {ran.returncode} after\n{ran.stderr[-3000:]}"
    outcome = json.loads(ran.stdout)
    assert outcome["megabytes"] < MEGABYTES
    # The harm must have reached the decoders: some files still give a picture, some only a decoder refuses.
    assert min(outcome["pictures"].values()) > 5
    assert outcome["foreign"] > 0 or not issubclass(REGISTRY[codecs[0]], Standard)


def test_coin_tall_picture_takes_little_memory():
    """Positions are made tile by tile: a side of 2^20 pixels costs its picture and little else."""
    script = """
import resource, torch
from sparsecomp.codecs import decode
from sparsecomp.codecs.network import Coin
from sparsecomp.models.siren import Architecture
small = Architecture(2, 24)
decode(Coin.write(small, torch.zeros(small.n_parameters), 40, 24))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = decode(Coin.write(small, torch.zeros(small.n_parameters), 2**20, 1))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=110, check=True)
    assert float(ran.stdout) < 30  # the picture is 3 MB


def test_avif_refuses_a_length_without_end_in_its_stream(folder):
    container = unpack((folder / "avif--0.spc").read_bytes())
    payload = bytearray(container.sections["payload"])
    box = payload.index(b"mdat") - 4
    old, endless = len(payload) - box - 8, b"\x12" + b"\xff" * 200_000
    payload += endless
    payload[box : box + 4] = (len(payload) - box).to_bytes(4, "big")
    at = payload.index(old.to_bytes(4, "big"), payload.index(b"iloc"))  # the length of the one item
    payload[at : at + 4] = (old + len(endless)).to_bytes(4, "big")
    with pytest.raises(BitstreamError, match="more than 8 bytes"):
        decode(pack(Container(Avif.number, container.height, container.width, {"payload": bytes(payload)})))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
