"""What a disk was told, in the order in which it said "done": QEMU's blklogwrites logs.

Format: dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst) as far as QEMU uses it:
a request is logged when it has completed, FUA as a write and a flush, and the count in the header is
right only after a flush (a log is read up to its last whole entry instead). Offsets and lengths are
bytes here.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Sequence

MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, DISCARD = 1, 4

# Between the partition table and the first partition nothing is kept: a guest writes there, past the
# cache of its kernel, what it has just done. No flush: such a mark changes nothing about the rest.
MARK_AT = 512 * 1024
MARK_WORD = b"BF-MARK "


class LogError(Exception):
    """Not a log of writes."""


@dataclass(frozen=True)
class Entry:
    """One request to the disk."""

    index: int                          # in the whole story
    run: int                            # which boot of the story, from 0
    offset: int = 0
    length: int = 0                     # 0: no write
    data: bytes | memoryview = field(default=b"", repr=False)
    barrier: bool = False               # all before it is durable from here on
    mark: str | None = None             # what the guest says it has done

    @property
    def writes(self) -> bool:
        return self.length > 0 and self.mark is None

    @property
    def end(self) -> int:
        return self.offset + self.length

    def touches(self, start: int, size: int) -> bool:
        return self.writes and self.offset < start + size and self.end > start


def _mark(offset: int, data: bytes | memoryview) -> str | None:
    if offset != MARK_AT or bytes(data[:len(MARK_WORD)]) != MARK_WORD:
        return None
    return bytes(data[len(MARK_WORD):512]).split(b"\0", 1)[0].decode().strip()


def parse(log: bytes | memoryview | mmap.mmap, run: int, first: int) -> list[Entry]:
    """All entries of one log. A log that ends within an entry ends before it."""
    view = memoryview(log)
    if len(view) < 20:
        raise LogError("shorter than its header")
    magic, version, _, sector = struct.unpack_from("<QQQI", view)
    if magic != MAGIC or version != VERSION:
        raise LogError("not a dm-log-writes log, version 1")
    if sector not in (512, 1024, 2048, 4096):
        raise LogError(f"sectors of {sector} bytes")
    entries: list[Entry] = []
    at = sector
    while at + sector <= len(view):
        start, count, flags, _ = struct.unpack_from("<QQQQ", view, at)
        if flags not in (0, FLUSH, DISCARD) or (flags == FLUSH and count):
            raise LogError(f"entry {len(entries)}: flags {flags:#x}, {count} sectors")
        at += sector
        # A discard promises nothing about the content afterwards: here the old one stays.
        offset, length = start * sector, 0 if flags else count * sector
        if at + length > len(view):
            break
        data = view[at:at + length]
        entries.append(Entry(first + len(entries), run, offset, length, data, flags == FLUSH,
                             _mark(offset, data)))
        at += length
    return entries


def read(paths: Sequence[Path]) -> list[Entry]:
    """The logs of consecutive boots of one disk. A restart does not empty the disk's cache."""
    entries: list[Entry] = []
    for run, path in enumerate(paths):
        with open(path, "rb") as f:
            if path.stat().st_size == 0:
                continue                # a boot that wrote nothing
            entries += parse(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ), run, len(entries))
    return entries


def write(path: Path, entries: Iterable[Entry], sector: int = 512) -> None:
    """A log as QEMU writes it."""
    with open(path, "wb") as f:
        f.write(bytes(sector))
        count = 0
        for count, entry in enumerate(entries, 1):
            flags = FLUSH if entry.barrier else 0
            f.write(struct.pack("<QQQQ", entry.offset // sector, entry.length // sector, flags, 0)
                    .ljust(sector, b"\0"))
            f.write(entry.data)
        f.seek(0)
        f.write(struct.pack("<QQQI", MAGIC, VERSION, count, sector))


def renumber(entries: Iterable[Entry]) -> list[Entry]:
    """After a change of the order."""
    return [Entry(i, e.run, e.offset, e.length, e.data, e.barrier, e.mark)
            for i, e in enumerate(entries)]
