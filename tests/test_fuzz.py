"""Ten thousand damaged files: each is a `BitstreamError` or a picture of the declared size, in little memory.

Every codec's share runs in a process of its own, so that a decoder that dies or swells is seen as such. That
process is this file, run as a script.
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
from sparsecomp.codecs.network import Coin
from sparsecomp.codecs.standard import Avif, Standard
from sparsecomp.coding.container import SECTIONS, Container, pack, unpack, varint
from sparsecomp.models.pretrained import Models
from sparsecomp.models.siren import Architecture

FILES_A_CODEC = -(-10_000 // len(NAMES))
MEGABYTES = 200


def harm_header(data: bytes, rng: random.Random) -> bytes:
    """Write the file anew, byte for byte by hand, with one or two fields of its header wrong."""
    container = unpack(data)
    fields = {
        "magic": b"SPC\x1a",
        "version": b"\1",
        "codec": bytes([container.codec]),
        "height": varint(container.height),
        "width": varint(container.width),
        "count": bytes([len(container.sections)]),
    }
    for name, body in container.sections.items():
        fields[f"{name} number"] = bytes([SECTIONS[name]])
        fields[f"{name} length"] = varint(len(body))
    for field in rng.sample(sorted(fields), rng.choice((1, 1, 2))):
        if len(fields[field]) == 1 and not field.endswith(("height", "width", "length")):
            fields[field] = bytes([rng.randrange(256)])
        else:
            near = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(fields[field][:4]))
            value = rng.choice((0, 1, near + 1, abs(near - 1), 2 * near, 8192, 65535, 2**26, 2**32 - 1))
            odd = (rng.randbytes(5), b"\xff" * 9, b"\x80\0")
            fields[field] = varint(value) if rng.random() < 0.5 else rng.choice(odd)
    return seal(b"".join(fields.values()) + b"".join(container.sections.values()))


def damaged(seeds: dict[str, list[bytes]], codec: str, count: int) -> list[tuple[bytes, bool]]:
    """Harmed files of one codec; every other one has a checksum that is right, as its flag says."""
    rng = random.Random(codec)
    everything = [data for files in seeds.values() for data in files]
    files = []
    for i in range(count):
        data = rng.choice(seeds[codec])
        if i % 2:
            files.append((harmed(data, rng, everything), False))
        elif i % 8 == 0:
            files.append((harm_header(data, rng), True))
        elif i % 8 == 2:
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


def main(folder: Path, codec: str, count: int) -> None:
    """Decode `count` damaged files, print what became of them."""
    import imagecodecs  # noqa: F401 - one of the imports over which memory is measured

    torch.set_num_threads(1)
    models = Models(folder)
    seeds = {name: [p.read_bytes() for p in sorted(folder.glob(f"{name}--*.spc"))] for name in NAMES}
    files = damaged(seeds, codec, count)
    before = peak_megabytes()
    pictures = foreign = 0
    for number, (data, sound) in enumerate(files):
        sys.stderr.write(f"{number}\n")  # the last number there is the file that killed a decoder
        try:
            picture = decode(data, models=models)
        except BitstreamError as error:
            foreign += "cannot be decoded" in str(error)
            continue
        declared = unpack(data)
        assert picture.dtype == np.uint8 and picture.shape == (declared.height, declared.width, 3)
        assert sound or data in seeds[codec_of(declared).name], "a wrong checksum went unnoticed"
        pictures += 1
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


@pytest.mark.parametrize("codec", NAMES)
def test_decode_of_damaged_files_is_a_picture_or_a_bitstream_error(folder, codec):
    command = [sys.executable, "-X", "faulthandler", __file__, str(folder), codec, str(FILES_A_CODEC)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, f"it ended with {ran.returncode} after\n{ran.stderr[-3000:]}"
    outcome = json.loads(ran.stdout)
    assert outcome["megabytes"] < MEGABYTES
    # The harm must have reached the decoders: some files still give a picture, some only a decoder refuses.
    assert outcome["pictures"] > 5
    assert outcome["foreign"] > 0 or not issubclass(REGISTRY[codec], Standard)


def test_coin_tall_picture_takes_little_memory():
    """Positions are made tile by tile: a side of 2^22 pixels costs its picture and little else."""
    script = """
import resource, torch
from sparsecomp.codecs import decode
from sparsecomp.codecs.network import Coin
from sparsecomp.models.siren import Architecture
small = Architecture(2, 24)
decode(Coin.write(small, torch.zeros(small.n_parameters), 40, 24))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
picture = decode(Coin.write(small, torch.zeros(small.n_parameters), 2**22, 1))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=110, check=True)
    assert float(ran.stdout) < 60  # the picture is 12 MB


def test_coin_refuses_a_network_too_costly_to_draw():
    large = Architecture(10, 512)
    with pytest.raises(BitstreamError, match="absurd size"):
        decode(Coin.write(large, torch.zeros(large.n_parameters), 4096, 4096))


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


def test_folder_holds_every_kind_of_sparse_network(folder):
    found = [unpack((folder / f"loonie--{i}.spc").read_bytes()).sections for i in range(3)]
    flags = [sections["tables"][1] for sections in found]
    assert ["values" in sections for sections in found] == [True, False, True] and "weights" in found[1]
    assert [each >> 7 for each in flags] == [0, 0, 1], "in the last one, neurons are gone"
    assert [each >> 1 & 7 for each in flags] == [3, 0, 3] and flags[1] & 1, "frequencies, coordinates"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
