"""The disk as a power cut leaves it: one point of a log of writes, and what the disk's cache lost.

Nothing is copied for a cut: one image follows the log as far as everything is durable, and what
came after that is laid over it when somebody reads.
"""

from __future__ import annotations

import bisect
import os
import random
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Sequence

from diskimage import DiskImage, Fat, Partition
from powercut.log import Entry

SECTOR = 512                            # what a disk writes whole or not at all
VARIANTS = ("kept", "dropped", "torn", "garbled")


@dataclass(frozen=True, order=True)
class Cut:
    """The power goes when `entry` requests have completed.

    kept: the cache had time to write all it held. dropped: nothing since the last flush. torn: each
    request since then by chance whole, not at all, or in some of its sectors; number 0 tears only
    the one that was on its way. garbled: the one on its way leaves sectors that are neither old nor
    new, as a card without power-loss protection does.
    """

    entry: int
    variant: str
    number: int = 0

    def __str__(self) -> str:
        return f"{self.entry}-{self.variant}-{self.number}"

    @staticmethod
    def named(name: str) -> "Cut":
        entry, variant, number = name.split("-")
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is none of {', '.join(VARIANTS)}")
        return Cut(int(entry), variant, int(number))


@dataclass(frozen=True)
class Piece:
    """A write, or those of its sectors that reached the disk."""

    entry: Entry
    sectors: int | None = None          # bit n: sector n; None: all
    garbled: int | None = None          # which garbage stands in for its data

    @property
    def key(self) -> tuple[int, int | None, int | None]:
        return self.entry.index, self.sectors, self.garbled

    def spans(self) -> Iterator[tuple[int, bytes | memoryview]]:
        """(offset on the disk, bytes)."""
        if self.sectors is None:
            yield self.entry.offset, self.entry.data
            return
        for n in range(self.entry.length // SECTOR):
            if self.sectors >> n & 1:
                yield (self.entry.offset + n * SECTOR,
                       self.entry.data[n * SECTOR:(n + 1) * SECTOR])


def garbage(entry: Entry, number: int, chance: random.Random) -> Entry:
    """The first write of a sector that lost its power: half of it, zeros, ones, noise."""
    if number == 0:
        data = bytes(entry.data[:entry.length // 2]) + b"\xa5" * (entry.length - entry.length // 2)
    elif number in (1, 2):
        data = bytes([0x00, 0xFF][number - 1:number]) * entry.length
    else:
        data = chance.randbytes(entry.length)
    return replace(entry, data=data)


class State:
    """A disk after a cut. Valid until the Replay it belongs to goes on."""

    def __init__(self, replay: "Replay", stable: int, pieces: list[Piece]):
        self.replay, self.stable, self.pieces = replay, stable, pieces

    def read(self, offset: int, length: int) -> bytes:
        data = os.pread(self.replay.fd, length, offset)
        touching = [p for p in self.pieces if p.entry.touches(offset, length)]
        if not touching:
            return data
        changed = bytearray(data)
        for piece in touching:
            for at, part in piece.spans():
                first, last = max(at, offset), min(at + len(part), offset + len(data))
                if first < last:
                    changed[first - offset:last - offset] = part[first - at:last - at]
        return bytes(changed)

    def key(self, p: Partition) -> tuple[object, ...]:
        """Two states of a partition with the same key are the same."""
        return (p.number, self.replay.written(p, self.stable),
                tuple(piece.key for piece in self.pieces
                      if piece.entry.touches(p.start, p.size)))

    def equals(self, offset: int, image: Path) -> bool:
        """Whether the disk holds an image from an offset on."""
        step = 1 << 20
        with open(image, "rb") as f:
            while part := f.read(step):
                if self.read(offset, len(part)) != part:
                    return False
                offset += len(part)
        return True

    def copy_partition(self, p: Partition, to: Path) -> None:
        """Into a file of its own, holes kept."""
        with open(self.replay.path, "rb") as disk, open(to, "wb") as out:
            out.truncate(p.size)
            for start, end in data_extents(disk.fileno(), p.start, p.start + p.size):
                disk.seek(start)
                out.seek(start - p.start)
                out.write(disk.read(end - start))
            for piece in self.pieces:
                if piece.entry.touches(p.start, p.size):
                    for at, part in piece.spans():
                        out.seek(at - p.start)
                        out.write(part)

    def copy_disk(self, to: Path) -> Path:
        to.parent.mkdir(parents=True, exist_ok=True)
        copy(self.replay.path, to)
        with open(to, "r+b") as out:
            for piece in self.pieces:
                for at, part in piece.spans():
                    out.seek(at)
                    out.write(part)
        return to


def data_extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end:
        try:
            first = os.lseek(fd, start, os.SEEK_DATA)
        except OSError:
            return                      # only holes from here on
        if first >= end:
            return
        start = min(os.lseek(fd, first, os.SEEK_HOLE), end)
        yield first, start


def copy(image: Path, to: Path) -> None:
    with open(image, "rb") as f, open(to, "wb") as out:
        size = os.fstat(f.fileno()).st_size
        out.truncate(size)
        for start, end in data_extents(f.fileno(), 0, size):
            f.seek(start)
            out.seek(start)
            shutil.copyfileobj(_Limited(f, end - start), out, 1 << 20)


class _Limited:
    """A file up to a length."""

    def __init__(self, file: object, length: int):
        self.file, self.left = file, length

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, self.left))
        self.left -= len(data)
        return data


class StateFat(Fat):
    """The FAT reader over a state instead of a file."""

    def __init__(self, state: State, p: Partition):
        self.state = state
        super().__init__(state.replay.path, p.start, p.size)

    def _at(self, offset: int, length: int) -> bytes:
        return self.state.read(self.start + offset, length)


class Replay:
    """A base image and what was written to it. Cuts come cheap in ascending order."""

    def __init__(self, base: Path, entries: Sequence[Entry], work: Path, seed: int):
        self.base, self.entries, self.seed = base, list(entries), seed
        self.path = work / "stable.img"
        self.image = DiskImage(base)
        self._barriers = [e.index for e in self.entries if e.barrier]
        self._touching = {number: [e.index for e in self.entries if e.touches(p.start, p.size)]
                          for number, p in self.image.partitions.items()}
        self._marks = [(e.index, e.mark) for e in self.entries if e.mark is not None]
        self._applied: int | None = None
        self.fd = -1

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)

    def written(self, p: Partition, before: int) -> int:
        """How many of the first `before` requests write to a partition."""
        return bisect.bisect_left(self._touching[p.number], before)

    def touching(self, label: str) -> list[int]:
        return self._touching[self.image.partition(label).number]

    def stable_before(self, entry: int) -> int:
        """So many requests are durable when `entry` have completed."""
        n = bisect.bisect_left(self._barriers, entry)
        return self._barriers[n - 1] + 1 if n else 0

    def pieces(self, cut: Cut) -> list[Piece]:
        stable = self.stable_before(cut.entry)
        pending = [e for e in self.entries[stable:cut.entry] if e.writes]
        coming = [e for e in self.entries[cut.entry:cut.entry + 1] if e.writes]
        if cut.variant == "dropped":
            return []
        if cut.variant == "kept":
            return [Piece(e) for e in pending]
        chance = random.Random(f"{self.seed}/{cut}")
        if cut.variant == "garbled":
            return [Piece(e) for e in pending] + [
                Piece(garbage(e, cut.number, chance), garbled=cut.number) for e in coming]
        if cut.number == 0:
            return [Piece(e) for e in pending] + [self._torn(e, chance) for e in coming]
        share = chance.choice((0.1, 0.5, 0.9))
        found = []
        for entry in pending + coming:
            luck = chance.random()
            if luck < share:
                found.append(Piece(entry))
            elif luck < share + (1 - share) / 2:
                found.append(self._torn(entry, chance))
        return found

    @staticmethod
    def _torn(entry: Entry, chance: random.Random) -> Piece:
        return Piece(entry, chance.getrandbits(max(entry.length // SECTOR, 1)))

    def at(self, cut: Cut) -> State:
        if not 0 <= cut.entry <= len(self.entries):
            raise ValueError(f"there are {len(self.entries)} requests")
        stable = self.stable_before(cut.entry)
        self._go_to(stable)
        return State(self, stable, self.pieces(cut))

    def _go_to(self, stable: int) -> None:
        if self._applied is None or stable < self._applied:
            copy(self.base, self.path)
            self._applied = 0
            if self.fd < 0:             # a second copy goes into the same file
                self.fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        with open(self.path, "r+b") as f:
            for entry in self.entries[self._applied:stable]:
                if entry.writes:
                    f.seek(entry.offset)
                    f.write(entry.data)
        self._applied = stable

    def marks(self, before: int) -> list[str]:
        """What the guest had said by then."""
        return [mark for index, mark in self._marks if index < before]
