# SPDX-License-Identifier: MIT
"""boot/pi/fat.c against mkfs.vfat (which makes the volumes) and mtools (which reads them too)."""

from __future__ import annotations

import os
import random
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

MIB = 1 << 20
ENVIRONMENT = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"}

# Clusters that make a volume safely of its type (the specification: < 4085, < 65525, the rest).
CLUSTERS = {12: 2000, 16: 6000, 32: 66500}


def run(*command: object, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(c) for c in command], check=check, capture_output=True, env=ENVIRONMENT)


@dataclass(frozen=True)
class Found:
    offset: int
    size: int
    contiguous: int
    sector: int


class Volume:
    """One FAT volume in a file, worked on with mtools."""

    def __init__(self, programs: Path, path: Path, size: int, *options: object):
        self.finder = programs / "tests/fat-find"
        self.path = path
        with open(path, "wb") as file:
            file.truncate(size)
        run("mkfs.vfat", "--invariant", *options, path)

    def put(self, name: str, data: bytes) -> None:
        source = self.path.with_name("source")
        source.write_bytes(data)
        run("mcopy", "-o", "-i", self.path, source, f"::{name}")

    def get(self, name: str) -> bytes:
        return run("mcopy", "-n", "-i", self.path, f"::{name}", "-").stdout

    def remove(self, name: str) -> None:
        run("mdel", "-i", self.path, f"::{name}")

    def first_run(self, name: str) -> int:
        """Clusters in a row from the file's first one on."""
        text = run("mshowfat", "-i", self.path, f"::{name}").stdout.decode()
        match = re.search(r"<(\d+)(?:-(\d+))?>", text)
        assert match, text
        return int(match[2] or match[1]) - int(match[1]) + 1

    def ask(self, name: str) -> Found | str:
        """What fat.c finds, or the name of its error."""
        result = run(self.finder, self.path, name, check=False)
        assert result.returncode in (0, 1), result.stderr
        words = result.stdout.decode().split()
        return words[0] if result.returncode else Found(*map(int, words))

    def check(self, name: str, data: bytes, cluster: int, sector: int) -> None:
        found = self.ask("AUTOBOOTTXT")
        assert isinstance(found, Found), found
        assert self.get(name) == data
        assert found.size == len(data)
        assert found.sector == sector
        # fat.c stops looking after 1 MiB
        assert found.contiguous == min(self.first_run(name) * cluster, -(-MIB // cluster) * cluster)
        with open(self.path, "rb") as file:
            file.seek(found.offset)
            length = min(len(data), found.contiguous)
            assert file.read(length) == data[:length]


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


GRID = [(kind, sector, per_cluster) for kind in (12, 16, 32) for sector in (512, 1024, 2048, 4096)
        for per_cluster in (1, 4)]


@pytest.mark.parametrize("kind,sector,per_cluster", GRID)
def test_grid(programs: Path, tmp_path: Path, kind: int, sector: int, per_cluster: int) -> None:
    cluster = sector * per_cluster
    volume = Volume(programs, tmp_path / "image", CLUSTERS[kind] * cluster + MIB,
                    "-F", kind, "-S", sector, "-s", per_cluster)
    assert volume.ask("AUTOBOOTTXT") == "ENOENT"
    # alone
    for size in (1, 511, 512, 513, cluster, cluster + 1, 3 * cluster + 7):
        volume.put("autoboot.txt", content(size))
        volume.check("autoboot.txt", content(size), cluster, sector)
    # behind other files, long names and a deleted namesake
    volume.remove("autoboot.txt")
    assert volume.ask("AUTOBOOTTXT") == "ENOENT"
    volume.put("first.txt", content(cluster))
    volume.put("A rather long name, in five entries or so, of a file.text", content(5 * cluster))
    volume.put("AUTOBOOT.TXT", content(512))
    volume.put("autoboot.tx", content(700))
    volume.put("last.txt", content(cluster))
    volume.check("AUTOBOOT.TXT", content(512), cluster, sector)
    # in several pieces
    volume.remove("first.txt")
    volume.put("AUTOBOOT.TXT", content(4 * cluster))
    volume.check("AUTOBOOT.TXT", content(4 * cluster), cluster, sector)
    # empty
    volume.put("AUTOBOOT.TXT", b"")
    assert volume.ask("AUTOBOOTTXT") == "ENOENT"


@pytest.mark.parametrize("fats", [1, 2])
@pytest.mark.parametrize("reserved", [1, 8, 33])
@pytest.mark.parametrize("kind", [12, 16])
def test_layout(programs: Path, tmp_path: Path, kind: int, reserved: int, fats: int) -> None:
    volume = Volume(programs, tmp_path / "image", CLUSTERS[kind] * 512 + MIB,
                    "-F", kind, "-S", 512, "-s", 1, "-R", reserved, "-f", fats, "-r", 64)
    volume.put("autoboot.txt", content(512))
    volume.check("autoboot.txt", content(512), 512, 512)


@pytest.mark.parametrize("kind,files", [(12, 100), (16, 400), (32, 400)])
def test_long_directory(programs: Path, tmp_path: Path, kind: int, files: int) -> None:
    """The root directory of FAT32 grows over several clusters, which are not in a row."""
    volume = Volume(programs, tmp_path / "image", CLUSTERS[kind] * 512 + MIB, "-F", kind, "-S", 512, "-s", 1)
    names = [tmp_path / f"F{i}.TXT" for i in range(files)]
    for name in names:
        name.write_bytes(b"x")
    run("mcopy", "-i", volume.path, *names, "::")
    assert volume.ask("AUTOBOOTTXT") == "ENOENT"
    volume.put("autoboot.txt", content(1000))
    volume.check("autoboot.txt", content(1000), 512, 512)


def test_large_file(programs: Path, tmp_path: Path) -> None:
    volume = Volume(programs, tmp_path / "image", 64 * MIB, "-F", 16, "-S", 512, "-s", 4)
    volume.put("autoboot.txt", content(3 * MIB))
    volume.check("autoboot.txt", content(3 * MIB), 2048, 512)


def test_boot_selection_volume(programs: Path, tmp_path: Path) -> None:
    """As BF_BOOTSEL is made: its one file starts on a multiple of 4096."""
    volume = Volume(programs, tmp_path / "image", 32 * MIB, "-R", 8, "-s", 8)
    volume.put("autoboot.txt", content(512))
    volume.check("autoboot.txt", content(512), 4096, 512)
    found = volume.ask("AUTOBOOTTXT")
    assert isinstance(found, Found) and found.offset % 4096 == 0


def test_undersized_fat32_is_refused(programs: Path, tmp_path: Path) -> None:
    """By its count of clusters it is FAT16, by its fields FAT32: readers disagree, and mtools refuses it too."""
    volume = Volume(programs, tmp_path / "image", 16 * MIB, "-F", 32, "-S", 512, "-s", 1)
    mdir = subprocess.run(["mdir", "-i", volume.path], capture_output=True)
    assert mdir.returncode != 0 and b"Error reading FAT" in mdir.stderr
    assert volume.ask("AUTOBOOTTXT") == "EUCLEAN"


@pytest.mark.parametrize("make", ["ext4", "zeros", "ones"])
def test_not_fat(programs: Path, tmp_path: Path, make: str) -> None:
    volume = Volume(programs, tmp_path / "image", 4 * MIB)
    if make == "ext4":
        run("mke2fs", "-q", "-F", "-t", "ext4", volume.path)
    else:
        volume.path.write_bytes((b"\0" if make == "zeros" else b"\xff") * MIB)
    assert volume.ask("AUTOBOOTTXT") == "EINVAL"
