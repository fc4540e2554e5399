# SPDX-License-Identifier: MIT
"""Our verity table against veritysetup: real images, formatted by it, read by us."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

os.environ["PATH"] += ":/usr/sbin:/sbin"

BLOCKS = (512, 1024, 2048, 4096)
SALTS = ("-", "00ff5a", "a5" * 256)
FEC_SYMBOLS = 255


def run(*argv: str | Path) -> str:
    return subprocess.run([str(a) for a in argv], check=True, capture_output=True, text=True).stdout


@dataclass
class Image:
    """A formatted image: what veritysetup says of it."""

    data: Path
    hash_device: Path
    offset: int
    roothash: str
    dump: dict[str, str] = field(default_factory=dict)

    @property
    def salt(self) -> bytes:
        return bytes.fromhex("" if self.dump["Salt"] == "-" else self.dump["Salt"])


@dataclass
class Table:
    """One dm-verity table line, by the names of the kernel's documentation."""

    sectors: int
    version: int
    data_device: str
    hash_device: str
    data_block: int
    hash_block: int
    data_blocks: int
    hash_start: int
    algorithm: str
    digest: str
    salt: str
    options: list[str]

    @classmethod
    def parse(cls, line: str) -> Table:
        w = line.split()
        options = w[12:]
        assert len(options) == (int(w[11]) if len(w) > 11 else 0), "the number of words is right"
        return cls(
            int(w[0]), int(w[1]), w[2], w[3], int(w[4]), int(w[5]), int(w[6]), int(w[7]),
            w[8], w[9], w[10], options,
        )

    def value(self, name: str) -> str:
        return self.options[self.options.index(name) + 1]


def read_dump(device: Path, offset: int) -> dict[str, str]:
    text = run("veritysetup", "dump", device, f"--hash-offset={offset}")
    rows = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name.strip(): value.split("[")[0].strip() for name, value in rows}


def make_filesystem(directory: Path, kind: str, kib: int) -> Path:
    tree = directory / "tree"
    tree.mkdir(exist_ok=True)
    (tree / "noise").write_bytes(hashlib.shake_256(b"noise").digest(kib * 512))
    image = directory / f"root.{kind}"
    if kind == "ext4":
        options = ("-q", "-t", "ext4", "-O", "^has_journal", "-b", "1024", "-d", tree)
        run("mke2fs", *options, image, f"{kib}k")
    elif kind == "erofs":
        run("mkfs.erofs", image, tree)
    else:
        run("mksquashfs", tree, image, "-quiet", "-no-progress")
    return image


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def verity_format(
    data: Path, hash_device: Path, offset: int, data_block: int, *options: str
) -> Image:
    argv = [f"--hash-offset={offset}", f"--data-block-size={data_block}", *options]
    if hash_device == data:
        argv.append(f"--data-blocks={offset // data_block}")
    text = run("veritysetup", "format", data, hash_device, *argv)
    match = re.search(r"^Root hash:\s*([0-9a-f]+)$", text, re.M)
    assert match
    return Image(data, hash_device, offset, match[1], read_dump(hash_device, offset))


def tables(programs: Path, image: Image, options: str = "", *devices: Path | str) -> list[Table]:
    text = run(programs / "tests/verity-table", image.roothash, options, image.data, *devices)
    return [Table.parse(line) for line in text.splitlines()]


def refusal(programs: Path, image: Image, options: str = "", *devices: Path | str) -> str:
    done = subprocess.run(
        [programs / "tests/verity-table", image.roothash, options, image.data, *devices],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def check_against(table: Table, image: Image) -> None:
    d = image.dump
    assert table.version == int(d["Hash type"])
    assert table.data_block == int(d["Data block size"])
    assert table.hash_block == int(d["Hash block size"])
    assert table.data_blocks == int(d["Data blocks"])
    assert table.algorithm == d["Hash algorithm"]
    assert table.salt == d["Salt"]
    assert table.digest == image.roothash
    assert table.sectors * 512 == table.data_blocks * table.data_block
    # The root hash is the hash of the tree's first block: the one proof that it starts there.
    top = image.hash_device if table.data_blocks > 1 else image.data
    size = table.hash_block if table.data_blocks > 1 else table.data_block
    start = table.hash_start * table.hash_block if table.data_blocks > 1 else 0
    block = top.read_bytes()[start : start + size]
    salted = image.salt + block if table.version == 1 else block + image.salt
    assert hashlib.new(table.algorithm, salted).hexdigest() == image.roothash


def cut(image: Path, length: int) -> None:
    os.truncate(image, length)


GRID = [
    (algorithm, data_block, hash_block, SALTS[i % len(SALTS)])
    for i, (algorithm, data_block, hash_block) in enumerate(
        itertools.product(("sha256", "sha512"), BLOCKS, BLOCKS)
    )
]


@pytest.mark.parametrize(("algorithm", "data_block", "hash_block", "salt"), GRID)
def test_table_of_every_geometry(
    programs: Path, tmp_path: Path, algorithm: str, data_block: int, hash_block: int, salt: str
) -> None:
    # 301 KiB: not a multiple of 4096, so that the padding of small hash blocks is met too.
    data = make_filesystem(tmp_path, "ext4", 301 if max(data_block, hash_block) <= 1024 else 304)
    offset = round_up(data.stat().st_size, max(data_block, hash_block))
    cut(data, offset)
    image = verity_format(
        data, data, offset, data_block,
        f"--hash={algorithm}", f"--hash-block-size={hash_block}", f"--salt={salt}",
    )
    first, final = tables(programs, image)
    check_against(first, image)
    assert first.options == []
    assert final.options[0] == "restart_on_corruption"
    assert (first.data_device, first.hash_device) == ("259:4", "259:4")
    # veritysetup wrote exactly up to the tree's end: one byte less, and both refuse.
    run("veritysetup", "verify", data, data, image.roothash, f"--hash-offset={offset}")
    cut(data, data.stat().st_size - 1)
    assert "hash tree truncated" in refusal(programs, image)
    with pytest.raises(subprocess.CalledProcessError):
        run("veritysetup", "verify", data, data, image.roothash, f"--hash-offset={offset}")


@pytest.mark.parametrize("kind", ["ext4", "erofs", "squashfs"])
def test_offset_is_found_behind_every_filesystem(programs: Path, tmp_path: Path, kind: str) -> None:
    data = make_filesystem(tmp_path, kind, 400)
    offset = round_up(data.stat().st_size, 4096)
    cut(data, offset)
    image = verity_format(data, data, offset, 4096)
    check_against(tables(programs, image)[0], image)
    # In a partition longer than the image, and when the option says so.
    cut(data, data.stat().st_size + 123 * 4096)
    check_against(tables(programs, image)[0], image)
    check_against(tables(programs, image, f"hash-offset={offset}")[0], image)


def test_chromeos_format(programs: Path, tmp_path: Path) -> None:
    data = make_filesystem(tmp_path, "ext4", 304)
    image = verity_format(data, data, data.stat().st_size, 4096, "--format=0", "--salt=0102")
    check_against(tables(programs, image)[0], image)


def test_one_block(programs: Path, tmp_path: Path) -> None:
    data = tmp_path / "one"
    data.write_bytes(make_filesystem(tmp_path, "ext4", 304).read_bytes()[:4096])
    image = verity_format(data, data, 4096, 4096)
    check_against(tables(programs, image, "hash-offset=4096")[0], image)


@pytest.mark.parametrize("offset", [0, 512, 4096, 12288])
def test_hash_device_of_its_own(programs: Path, tmp_path: Path, offset: int) -> None:
    data = make_filesystem(tmp_path, "ext4", 400)
    hash_device = tmp_path / "hash"
    hash_device.touch()
    image = verity_format(data, hash_device, offset, 4096)
    options = f"hash-offset={offset}" if offset else ""
    first, _ = tables(programs, image, options, hash_device)
    check_against(first, image)
    assert (first.data_device, first.hash_device) == ("259:4", "259:7")
    cut(hash_device, hash_device.stat().st_size - 1)
    assert "hash tree truncated" in refusal(programs, image, options, hash_device)


def check_fec(table: Table, roots: int, fec_bytes: int, offset: int) -> None:
    """veritysetup wrote so many bytes of codes: they are for so many blocks."""
    assert table.value("fec_roots") == str(roots)
    assert int(table.value("fec_start")) * table.data_block == offset
    rounds = -(-int(table.value("fec_blocks")) // (FEC_SYMBOLS - roots))
    assert rounds * roots * table.data_block == fec_bytes


@pytest.mark.parametrize(("roots", "block"), [(2, 4096), (7, 4096), (24, 1024), (2, 512)])
def test_fec_behind_the_tree(programs: Path, tmp_path: Path, roots: int, block: int) -> None:
    data = make_filesystem(tmp_path, "ext4", 1600)
    offset = data.stat().st_size
    plain = verity_format(data, data, offset, block, f"--hash-block-size={block}", "--salt=01")
    codes = data.stat().st_size
    image = verity_format(
        data, data, offset, block, f"--hash-block-size={block}", "--salt=01",
        f"--fec-device={data}", f"--fec-offset={codes}", f"--fec-roots={roots}",
    )
    assert image.roothash == plain.roothash
    options = f"fec-offset={codes},fec-roots={roots}"
    first, final = tables(programs, image, options)
    check_against(first, image)
    check_fec(first, roots, data.stat().st_size - codes, codes)
    assert first.value("use_fec_from_device") == final.value("use_fec_from_device") == "259:4"
    # All that lies between the tree's start and the codes is covered, and the data.
    assert int(first.value("fec_blocks")) == first.data_blocks + codes // block - first.hash_start
    cut(data, data.stat().st_size - 1)
    assert "truncated" in refusal(programs, image, options)


@pytest.mark.parametrize("offset", [0, 8192])
def test_fec_device_of_its_own(programs: Path, tmp_path: Path, offset: int) -> None:
    data = make_filesystem(tmp_path, "ext4", 1600)
    hash_device, fec = tmp_path / "hash", tmp_path / "fec"
    hash_device.touch()
    fec.touch()
    verity_format(data, hash_device, 0, 4096, "--salt=01")
    image = verity_format(
        data, hash_device, 0, 4096, "--salt=01", f"--fec-device={fec}", f"--fec-offset={offset}"
    )
    options = f"fec-device=/dev/nvme0n1p9,fec-offset={offset}"
    first, _ = tables(programs, image, options, hash_device, fec)
    check_against(first, image)
    check_fec(first, 2, fec.stat().st_size - offset, offset)
    assert first.value("use_fec_from_device") == "259:9"
    cut(fec, fec.stat().st_size - 1)
    assert "truncated" in refusal(programs, image, options, hash_device, fec)


def test_options_that_restate_the_superblock(programs: Path, tmp_path: Path) -> None:
    data = make_filesystem(tmp_path, "ext4", 304)
    image = verity_format(data, data, data.stat().st_size, 4096, "--salt=0102")
    d = image.dump
    options = (
        f"format={d['Hash type']},hash={d['Hash algorithm']},salt={d['Salt']},uuid={d['UUID']},"
        f"data-blocks={d['Data blocks']},data-block-size=4096,hash-block-size=4096"
    )
    check_against(tables(programs, image, options)[0], image)
    wrong = options.replace("salt=0102", "salt=0103")
    assert "salt= is not what the superblock says" in refusal(programs, image, wrong)
