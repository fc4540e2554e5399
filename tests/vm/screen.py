"""A screen for the guest as the Raspberry Pi's firmware leaves one: memory, and a node in the device tree.

The kernel's simplefb draws there; QEMU does not know that it is a screen, so its memory is read out.
"""

from __future__ import annotations

import struct
import subprocess
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

BYTES_PER_PIXEL = 4
RESERVED = 64 << 20                     # for the largest, 4K, which takes 32 MiB
RAM_START = 0x4000_0000                 # of QEMU's virt board


def address(memory_mib: int) -> int:
    """The end of the memory."""
    return RAM_START + (memory_mib << 20) - RESERVED


def add_node(dtb: Path, size: tuple[int, int], memory_mib: int) -> None:
    """simple-framebuffer in /chosen, in memory that the kernel does not use."""
    start, (width, height) = address(memory_mib), size
    memory = f"/reserved-memory/framebuffer@{start:x}"
    node = f"/chosen/framebuffer@{start:x}"

    def put(path: str, name: str, *cells: int) -> None:
        subprocess.run(["fdtput", "-t", "x", str(dtb), path, name, *(f"{c:x}" for c in cells)], check=True)

    def put_text(path: str, name: str, text: str) -> None:
        subprocess.run(["fdtput", "-t", "s", str(dtb), path, name, text], check=True)

    subprocess.run(["fdtput", "-p", "-c", str(dtb), memory, node], check=True)
    for parent in ("/reserved-memory", "/chosen"):
        put(parent, "#address-cells", 2)
        put(parent, "#size-cells", 2)
        put(parent, "ranges")
    put(memory, "reg", 0, start, 0, RESERVED)
    put(memory, "no-map")
    put_text(node, "compatible", "simple-framebuffer")
    put(node, "reg", 0, start, 0, width * height * BYTES_PER_PIXEL)
    put(node, "width", width)
    put(node, "height", height)
    put(node, "stride", width * BYTES_PER_PIXEL)
    put_text(node, "format", "x8r8g8b8")


@dataclass(frozen=True)
class Cell:
    """One character on the screen: its pixels, a tuple of rows of bytes, each 0 or 1."""

    rows: tuple[bytes, ...]

    @property
    def inked(self) -> bool:
        return any(map(any, self.rows))


class Picture:
    """What was on the screen: 32 bits a pixel."""

    def __init__(self, data: bytes, width: int, height: int):
        assert len(data) == width * height * BYTES_PER_PIXEL
        self.width, self.height = width, height
        pixels = memoryview(data).cast("I")
        self.colours = {colour & 0xFFFFFF for colour in set(pixels)}
        # One byte a pixel, 1: not black.
        blank = bytes(width)
        self.rows = []
        for y in range(height):
            row = data[y * width * BYTES_PER_PIXEL:(y + 1) * width * BYTES_PER_PIXEL]
            # Every colour here is grey, so that blue says all; the test asserts it by .colours.
            blue = row[::BYTES_PER_PIXEL]
            self.rows.append(blank if not any(blue) else blue.translate(NOT_BLACK))

    def cells(self, width: int, height: int) -> list[list[Cell]]:
        """As characters of that size."""
        return [[Cell(tuple(row[x:x + width] for row in self.rows[y:y + height]))
                 for x in range(0, self.width - width + 1, width)]
                for y in range(0, self.height - height + 1, height)]

    def scale(self) -> int:
        """By how much the font was enlarged: the most that divides the ends of all lines of ink."""
        edges = Counter()
        for row in self.rows:
            at = 0
            while (at := row.find(1, at)) >= 0:
                end = row.find(0, at)
                end = self.width if end < 0 else end
                edges.update((at, end))
                at = end
        return max((k for k in range(1, 17) if edges and all(edge % k == 0 for edge in edges)), default=0)

    def png(self) -> bytes:
        """One bit a pixel."""
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        def packed(row: bytes) -> bytes:
            bits = int(row.translate(DIGITS).decode() + "0" * (-self.width % 8), 2)
            return b"\0" + bits.to_bytes((self.width + 7) // 8, "big")

        head = struct.pack(">IIBBBBB", self.width, self.height, 1, 0, 0, 0, 0)
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                + chunk(b"IDAT", zlib.compress(b"".join(map(packed, self.rows)), 9)) + chunk(b"IEND", b""))


def png_rows(data: bytes) -> list[bytes]:
    """One byte a pixel, of what Picture.png() has made."""
    width, height = struct.unpack_from(">II", data, 16)
    start = data.index(b"IDAT") + 4
    length, = struct.unpack_from(">I", data, start - 8)
    packed, step = zlib.decompress(data[start:start + length]), 1 + (width + 7) // 8
    return [bytes(byte >> bit & 1 for byte in packed[y * step + 1:(y + 1) * step]
                  for bit in range(7, -1, -1))[:width] for y in range(height)]


NOT_BLACK = bytes([0] + [1] * 255)
DIGITS = b"01" + bytes(254)


def take(machine, size: tuple[int, int], memory_mib: int, work: Path) -> Picture:
    """What the guest shows now."""
    out = work / "screen.raw"
    machine.qmp.command("pmemsave", val=address(memory_mib), size=size[0] * size[1] * BYTES_PER_PIXEL,
                        filename=str(out))
    return Picture(out.read_bytes(), *size)
