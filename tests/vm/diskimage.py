"""Read and damage disk images: GPT, FAT (read-only, own reader), ext4 through e2fsprogs.

Everything works on a raw image file in place, for 512 and 4096 byte sectors, without loop devices
and without root. Offsets and sizes are bytes unless a name says otherwise.

Sources: UEFI 2.10 section 5.3 (GPT), Microsoft "FAT: General Overview of On-Disk Format" 1.03.
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import tempfile
import uuid
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator


class ImageError(Exception):
    """The image does not hold what was asked for."""


@dataclass(frozen=True)
class Partition:
    number: int
    label: str
    start: int
    size: int
    type_guid: str
    guid: str


def run(*argv: str | Path, stdin: bytes | None = None, ok: tuple[int, ...] = (0,)) -> bytes:
    """Run a tool; its stderr becomes the error message."""
    done = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, check=False)
    if done.returncode not in ok:
        raise ImageError(f"{argv[0]} ended with {done.returncode}: "
                         f"{done.stderr.decode(errors='replace').strip()}"
                         f" (command: {' '.join(map(str, argv))})")
    return done.stdout


class DiskImage:
    """A raw disk image with a GPT. The file is opened anew for each access: a guest may write to it between two."""

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.sector_size, self.partitions = self._read_gpt()

    # -- bytes ------------------------------------------------------------------------------

    def read_at(self, offset: int, length: int) -> bytes:
        with open(self.path, "rb") as f:
            f.seek(offset)
            return f.read(length)

    def write_at(self, offset: int, data: bytes) -> None:
        with open(self.path, "r+b") as f:
            f.seek(offset)
            f.write(data)

    def flip(self, offset: int) -> None:
        """Change one byte."""
        old = self.read_at(offset, 1)
        if len(old) != 1:
            raise ImageError(f"offset {offset} is behind the end of {self.path}")
        self.write_at(offset, bytes([old[0] ^ 0xFF]))

    # -- partitions -------------------------------------------------------------------------

    def _read_gpt(self) -> tuple[int, dict[int, Partition]]:
        for sector in (512, 4096):
            head = self.read_at(sector, 92)
            if head[:8] == b"EFI PART":
                return sector, self._read_entries(sector, head)
        raise ImageError(f"{self.path}: no GPT at byte 512 or 4096")

    def _read_entries(self, sector: int, head: bytes) -> dict[int, Partition]:
        entries_lba, count, entry_size = struct.unpack_from("<QII", head, 72)
        if not 128 <= entry_size <= 4096 or count > 1024:
            raise ImageError(f"{self.path}: {count} GPT entries of {entry_size} bytes")
        table = self.read_at(entries_lba * sector, count * entry_size)
        found = {}
        for i in range(count):
            entry = table[i * entry_size:(i + 1) * entry_size]
            if len(entry) < 128 or entry[:16] == bytes(16):
                continue
            first, last = struct.unpack_from("<QQ", entry, 32)
            label = entry[56:128].decode("utf-16-le").split("\0", 1)[0]
            found[i + 1] = Partition(i + 1, label, first * sector, (last - first + 1) * sector,
                                     str(uuid.UUID(bytes_le=entry[:16])),
                                     str(uuid.UUID(bytes_le=entry[16:32])))
        return found

    def backup_partitions(self) -> dict[int, Partition]:
        """Those of the backup table in the disk's last sector, checksums proven."""
        head = bytearray(self.read_at(os.stat(self.path).st_size - self.sector_size, 92))
        stored = struct.unpack_from("<I", head, 16)[0]
        struct.pack_into("<I", head, 16, 0)
        if head[:8] != b"EFI PART" or zlib.crc32(head) != stored:
            raise ImageError(f"{self.path}: no backup table at its end")
        entries_lba, count, entry_size, table_crc = struct.unpack_from("<QIII", head, 72)
        if zlib.crc32(self.read_at(entries_lba * self.sector_size, count * entry_size)) != table_crc:
            raise ImageError(f"{self.path}: the backup table's checksum is wrong")
        return self._read_entries(self.sector_size, bytes(head))

    def partition(self, which: int | str) -> Partition:
        for p in self.partitions.values():
            if which in (p.number, p.label):
                return p
        raise ImageError(f"{self.path}: no partition {which!r}")

    def _edit_entry(self, which: int | str, edit: Callable[[bytearray], None]) -> None:
        """Change a partition's GPT entry in both copies, checksums kept right."""
        p = self.partition(which)
        size = os.stat(self.path).st_size
        for header_at in (self.sector_size, size - self.sector_size):
            head = bytearray(self.read_at(header_at, 92))
            if head[:8] != b"EFI PART":
                continue                 # the disk was made larger: the backup is elsewhere, nobody reads it
            entries_lba, count, entry_size = struct.unpack_from("<QII", head, 72)
            table_at = entries_lba * self.sector_size
            table = bytearray(self.read_at(table_at, count * entry_size))
            at = (p.number - 1) * entry_size
            entry = table[at:at + entry_size]
            edit(entry)
            table[at:at + entry_size] = entry
            struct.pack_into("<I", head, 88, zlib.crc32(table))
            struct.pack_into("<I", head, 16, 0)
            struct.pack_into("<I", head, 16, zlib.crc32(head))
            self.write_at(table_at, bytes(table))
            self.write_at(header_at, bytes(head))
        self.sector_size, self.partitions = self._read_gpt()

    def rename_partition(self, which: int | str, label: str) -> None:
        def rename(entry: bytearray) -> None:
            entry[56:128] = label.encode("utf-16-le").ljust(72, b"\0")

        self._edit_entry(which, rename)

    def shrink_partition(self, which: int | str, size: int) -> None:
        """Move a partition's end; its content stays where it is."""
        def shrink(entry: bytearray) -> None:
            first = struct.unpack_from("<Q", entry, 32)[0]
            struct.pack_into("<Q", entry, 40, first + size // self.sector_size - 1)

        self._edit_entry(which, shrink)

    def read_partition(self, which: int | str, offset: int, length: int) -> bytes:
        p = self.partition(which)
        return self.read_at(p.start + offset, min(length, p.size - offset))

    def write_partition(self, which: int | str, offset: int, data: bytes) -> None:
        p = self.partition(which)
        if offset + len(data) > p.size:
            raise ImageError(f"{len(data)} bytes at {offset} do not fit into {p.label}")
        self.write_at(p.start + offset, data)

    def zero_partition(self, which: int | str) -> None:
        p = self.partition(which)
        step = 1 << 20
        for at in range(0, p.size, step):
            self.write_at(p.start + at, bytes(min(step, p.size - at)))

    def grow(self, size: int) -> None:
        """Make the disk larger than its partition table says, as a card larger than the image is."""
        if size < os.stat(self.path).st_size:
            raise ImageError("a disk is never made smaller")
        os.truncate(self.path, size)

    # -- FAT --------------------------------------------------------------------------------

    def fat(self, which: int | str) -> "Fat":
        p = self.partition(which)
        return Fat(self.path, p.start, p.size)

    def fat_read(self, which: int | str, name: str) -> bytes:
        data = self.fat(which).read(name)
        if data is None:
            raise ImageError(f"no {name} in {which}")
        return data

    def _mtools(self, which: int | str) -> str:
        return f"{self.path}@@{self.partition(which).start}"

    def fat_write(self, which: int | str, name: str, data: bytes) -> None:
        """Create or replace a file. For a change of the bytes in place, see fat_patch."""
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            run("mcopy", "-D", "o", "-i", self._mtools(which), f.name, f"::{name}")

    def fat_delete(self, which: int | str, name: str) -> None:
        run("mdel", "-i", self._mtools(which), f"::{name}")

    def fat_patch(self, which: int | str, name: str, data: bytes) -> None:
        """Overwrite the first bytes of a file's first cluster; its size stays."""
        fat = self.fat(which)
        entry = fat.find(name)
        if entry is None:
            raise ImageError(f"no {name} in {which}")
        if len(data) > fat.cluster_size:
            raise ImageError(f"{len(data)} bytes are more than one cluster")
        self.write_at(fat.cluster_offset(entry.cluster), data)

    # -- ext4 -------------------------------------------------------------------------------

    def _ext4(self, which: int | str) -> str:
        return f"{self.path}?offset={self.partition(which).start}"

    def debugfs(self, which: int | str, *commands: str, write: bool = True) -> str:
        """Run debugfs commands; an error message of any of them is an error here."""
        argv = ["debugfs", "-f", "-"] + (["-w"] if write else []) + [self._ext4(which)]
        done = subprocess.run(argv, input="\n".join(commands).encode() + b"\n",
                              capture_output=True, check=False)
        errors = [line for line in done.stderr.decode(errors="replace").splitlines()
                  if line and not line.startswith("debugfs 1.")]
        if done.returncode or errors:
            raise ImageError(f"debugfs {commands}: {'; '.join(errors)}")
        # "debugfs: command" echoes precede each answer.
        return "\n".join(line for line in done.stdout.decode(errors="replace").splitlines()
                         if not line.startswith("debugfs: "))

    def ext4_exists(self, which: int | str, path: str) -> bool:
        try:
            self.debugfs(which, f'stat "{path}"', write=False)
        except ImageError:
            return False
        return True

    def ext4_read(self, which: int | str, path: str) -> bytes:
        with tempfile.TemporaryDirectory() as d:
            out = Path(d, "out")
            self.debugfs(which, f'dump "{path}" {out}', write=False)
            return out.read_bytes()

    def ext4_write(self, which: int | str, path: str, data: bytes) -> None:
        """Create or replace a regular file (root:root, mode 0644); missing directories are made."""
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts)):
            directory = "/" + "/".join(parts[:depth])
            if not self.ext4_exists(which, directory):
                self.debugfs(which, f'mkdir "{directory}"')
        if self.ext4_exists(which, path):
            self.debugfs(which, f'rm "{path}"')
        with tempfile.NamedTemporaryFile() as f:
            f.write(data)
            f.flush()
            self.debugfs(which, f'write {f.name} "{path}"', f'sif "{path}" mode 0100644',
                         f'sif "{path}" uid 0', f'sif "{path}" gid 0')

    def ext4_symlink(self, which: int | str, path: str, target: str) -> None:
        self.debugfs(which, f'symlink "{path}" "{target}"')

    def ext4_remove(self, which: int | str, path: str) -> None:
        """Remove a file, or a directory with the files in it, if it exists."""
        if not self.ext4_exists(which, path):
            return
        if "Type: directory" not in self.debugfs(which, f'stat "{path}"', write=False):
            self.debugfs(which, f'rm "{path}"')
            return
        # ls -p: /inode/mode/uid/gid/name/size/
        for line in self.debugfs(which, f'ls -p "{path}"', write=False).splitlines():
            name = line.split("/")[5] if line.startswith("/") else ""
            if name and name not in (".", ".."):
                self.debugfs(which, f'rm "{path}/{name}"')
        self.debugfs(which, f'rmdir "{path}"')

    def ext4_mkdir(self, which: int | str, path: str) -> None:
        self.debugfs(which, f'mkdir "{path}"')

    def ext4_block_size(self, which: int | str) -> int:
        return 1024 << struct.unpack("<I", self.read_partition(which, 1024 + 24, 4))[0]

    def ext4_file_offset(self, which: int | str, path: str, offset: int = 0) -> int:
        """Byte of the disk that holds byte `offset` of a file."""
        block = self.ext4_block_size(which)
        answer = self.debugfs(which, f'bmap "{path}" {offset // block}', write=False).split()
        if not answer or not answer[-1].isdigit() or answer[-1] == "0":
            raise ImageError(f"{path}: no block at {offset}: {answer}")
        return self.partition(which).start + int(answer[-1]) * block + offset % block

    def ext4_flip(self, which: int | str, path: str, offset: int = 0) -> int:
        """Flip one byte of a file's content behind the file system's back; returns where."""
        at = self.ext4_file_offset(which, path, offset)
        self.flip(at)
        return at

    def ext4_free_block(self, which: int | str) -> int:
        """Byte of the disk at the start of a block that no file and no metadata uses."""
        answer = self.debugfs(which, "ffb 1", write=False)
        return (self.partition(which).start
                + int(answer.split(":")[-1].split()[0]) * self.ext4_block_size(which))

    @contextlib.contextmanager
    def settled(self, which: int | str) -> Iterator["Volume"]:
        """A copy of an ext4 partition with its journal replayed; the image is left alone."""
        p = self.partition(which)
        with tempfile.NamedTemporaryFile(dir=self.path.parent) as f:
            f.write(self.read_at(p.start, p.size))
            f.flush()
            run("e2fsck", "-y", "-E", "journal_only", f.name, ok=(0, 1))
            yield Volume(Path(f.name))

    def e2fsck(self, which: int | str, *options: str) -> int:
        """Exit code of e2fsck: 0 clean, 1 repaired, 4 errors left. Other codes raise."""
        done = subprocess.run(["e2fsck", *options, self._ext4(which)], capture_output=True,
                              check=False)
        if done.returncode not in (0, 1, 4):
            raise ImageError(f"e2fsck ended with {done.returncode}: {done.stderr.decode()}")
        return done.returncode

    def tune2fs(self, which: int | str, *options: str) -> None:
        run("tune2fs", *options, self._ext4(which))


class Volume(DiskImage):
    """A file that holds one file system and no partition table; "partition" 0 is all of it."""

    def __init__(self, path: Path):
        self.path, self.sector_size = path, 512
        self.partitions = {0: Partition(0, "", 0, path.stat().st_size, "", "")}


# -- FAT, read-only -----------------------------------------------------------------------------

@dataclass(frozen=True)
class FatEntry:
    name: str           # long name where there is one
    short: str          # 8.3 name as "NAME.EXT"
    cluster: int
    size: int
    directory: bool


class FatError(ImageError):
    """Not a FAT file system, or a broken one."""


class Fat:
    """The root directory of a FAT12, FAT16 or FAT32 file system inside a file."""

    def __init__(self, path: Path, start: int, size: int):
        self.path, self.start, self.size = path, start, size
        boot = self._at(0, 512)
        if len(boot) < 512 or boot[510:512] != b"\x55\xaa":
            raise FatError("no boot sector signature")
        self.sector, self.per_cluster, reserved, fats, root_entries, total16 = \
            struct.unpack_from("<HBHBHH", boot, 11)
        fat16, = struct.unpack_from("<H", boot, 22)
        total32, fat32 = struct.unpack_from("<I", boot, 32)[0], struct.unpack_from("<I", boot, 36)[0]
        if self.sector not in (512, 1024, 2048, 4096):
            raise FatError(f"sector size {self.sector}")
        if self.per_cluster == 0 or self.per_cluster & (self.per_cluster - 1):
            raise FatError(f"{self.per_cluster} sectors in a cluster")
        if reserved == 0 or fats == 0:
            raise FatError("no reserved sectors or no FAT")
        fat_sectors = fat16 or fat32
        total = total16 or total32
        root_sectors = -(-root_entries * 32 // self.sector)
        self.data_sector = reserved + fats * fat_sectors + root_sectors
        if fat_sectors == 0 or total * self.sector > size or self.data_sector >= total:
            raise FatError("the boot sector's sizes contradict each other")
        clusters = (total - self.data_sector) // self.per_cluster
        self.bits = 12 if clusters < 4085 else 16 if clusters < 65525 else 32
        if self.bits == 32 and (fat16 or root_entries):
            raise FatError("too many clusters for FAT16")
        self.clusters = clusters
        self.cluster_size = self.sector * self.per_cluster
        self.table = self._at(reserved * self.sector, fat_sectors * self.sector)
        if self.bits == 32:
            self.root = self._chain(struct.unpack_from("<I", boot, 44)[0])
        else:
            self.root = self._at((self.data_sector - root_sectors) * self.sector, root_entries * 32)

    def _at(self, offset: int, length: int) -> bytes:
        with open(self.path, "rb") as f:
            f.seek(self.start + offset)
            return f.read(length)

    def cluster_offset(self, cluster: int) -> int:
        """Byte of the disk where a cluster starts."""
        return self.start + (self.data_sector + (cluster - 2) * self.per_cluster) * self.sector

    def _next(self, cluster: int) -> int:
        try:
            if self.bits == 32:
                return struct.unpack_from("<I", self.table, cluster * 4)[0] & 0x0FFFFFFF
            if self.bits == 16:
                return struct.unpack_from("<H", self.table, cluster * 2)[0]
            pair = struct.unpack_from("<H", self.table, cluster * 3 // 2)[0]
            return pair >> 4 if cluster & 1 else pair & 0xFFF
        except struct.error as e:
            raise FatError(f"cluster {cluster} is outside the FAT") from e

    def _chain(self, cluster: int) -> bytes:
        end = {12: 0xFF8, 16: 0xFFF8, 32: 0x0FFFFFF8}[self.bits]
        runs: list[list[int]] = []
        seen = 0
        while cluster < end:
            if not 2 <= cluster < self.clusters + 2:
                raise FatError(f"cluster {cluster} is outside the file system")
            seen += 1
            if seen > self.clusters:
                raise FatError("a loop in the FAT")
            if runs and runs[-1][0] + runs[-1][1] == cluster:
                runs[-1][1] += 1
            else:
                runs.append([cluster, 1])
            cluster = self._next(cluster)
        return b"".join(self._at(self.cluster_offset(first) - self.start, n * self.cluster_size)
                        for first, n in runs)

    def entries(self) -> list[FatEntry]:
        found = []
        long_parts: dict[int, str] = {}
        for at in range(0, len(self.root) - 31, 32):
            raw = self.root[at:at + 32]
            if raw[0] == 0:
                break
            if raw[0] == 0xE5:
                long_parts = {}
                continue
            attributes = raw[11]
            if attributes & 0x3F == 0x0F:
                text = raw[1:11] + raw[14:26] + raw[28:32]
                long_parts[raw[0] & 0x3F] = text.decode("utf-16-le", "replace")
                continue
            if not attributes & 0x08:
                stem = raw[0:8].decode("cp437").rstrip()
                extension = raw[8:11].decode("cp437").rstrip()
                short = f"{stem}.{extension}" if extension else stem
                name = "".join(long_parts[k] for k in sorted(long_parts))
                name = name.split("\0", 1)[0] or short
                high, low, size = struct.unpack_from("<H", raw, 20)[0], *struct.unpack_from("<HI", raw, 26)
                cluster = low | (high << 16 if self.bits == 32 else 0)
                found.append(FatEntry(name, short, cluster, size, bool(attributes & 0x10)))
            long_parts = {}
        return found

    def find(self, name: str) -> FatEntry | None:
        wanted = name.lower()
        for e in self.entries():
            if not e.directory and wanted in (e.name.lower(), e.short.lower()):
                return e
        return None

    def read(self, name: str) -> bytes | None:
        """Content of a file in the root directory, None if there is none of that name."""
        entry = self.find(name)
        if entry is None:
            return None
        if entry.size == 0:
            return b""
        data = self._chain(entry.cluster)
        if len(data) < entry.size:
            raise FatError(f"{name}: {entry.size} bytes, but its clusters hold {len(data)}")
        return data[:entry.size]
