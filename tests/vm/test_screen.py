"""A failure is read from three metres: pictures of the screen, by their pixels. On the mini root."""

from __future__ import annotations

import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

import screen
from artifacts import TOP
from machine import SERIAL_NUMBER, SMALL

# README's. When the text on it changes, it becomes build/vm-logs/test_screen.test_failure_screen_1080p_.png.
PICTURE, PICTURE_SIZE = TOP / "initramfs/init/failure-screen.png", (1920, 1080)
COLUMNS_MAX = 64
# Seen under 16 minutes of arc a letter is read with ease (ISO 9241-303), from three metres one of 14 mm: a
# twenty-eighth of the height of a display of 32 inches.
CAPITALS_IN_HEIGHT = 28
SETTLE_SEC = 60
REDRAWN_SEC = 2                         # a line of the kernel has come to the screen by then

def page(columns: int) -> list[str]:
    def beside(label: str, text: str) -> list[str]:
        lines = textwrap.wrap(text, columns - len(label) - 4)
        return [f"  {label}{lines[0]}", *(f"  {'':{len(label)}}{line}" for line in lines[1:])]

    return ["",
            "  BetterFrame cannot start: slot A",
            "",
            *beside("What:   ", "roothash= is missing or malformed."),
            *beside("        ", "no roothash= on the command line"),
            "",
            *beside("To do:  ", "Rebuild the boot image with the root hash of its root image."),
            "",
            "  Code:   verity-roothash",
            f"  Device: {SERIAL_NUMBER}",
            "",
            "  Restarting in 120 s."]


def as_on_a_device(line: str) -> str:
    """The image's own words, but no root hash, and a page that stays."""
    return " ".join([*(w for w in line.split() if not w.startswith(("roothash=", "bf.show=", "loglevel="))),
                     "bf.show=120"])


def assert_text(cells: list[list[screen.Cell]]) -> None:
    """These lines and nothing else: each character has one shape, and each shape is one character's.

    No font is needed. The seconds are whatever they are.
    """
    shapes: dict[str, screen.Cell] = {}
    lines = page(len(cells[0]))
    for y, row in enumerate(cells):
        line = lines[y] if y < len(lines) else ""
        for x, cell in enumerate(row):
            letter = line[x] if x < len(line) else " "
            if line.startswith("  Restarting") and x >= line.index("120"):
                continue
            assert cell.inked == (letter != " "), f"row {y}, column {x}: not {letter!r} of {line!r}"
            assert shapes.setdefault(letter, cell) == cell, f"row {y}, column {x}: another {letter!r}"
    assert len(set(shapes.values())) == len(shapes), "two characters have the same shape"


def assert_page(picture: screen.Picture, font: tuple[int, int]) -> None:
    assert picture.colours == {0x000000, 0xFFFFFF}, "white on black, and no grey of a kernel's log"
    scale = picture.scale()
    width, height = font[0] * scale, font[1] * scale
    assert scale > 1 and picture.width // width <= COLUMNS_MAX
    cells = picture.cells(width, height)
    assert_text(cells)
    capital = sum(map(any, cells[1][2].rows))
    assert capital * CAPITALS_IN_HEIGHT >= picture.height


def settled(take: Callable[[], screen.Picture], font: tuple[int, int], keep: Path) -> screen.Picture:
    """A picture of the page; one may have been taken while it was drawn."""
    until = time.monotonic() + SETTLE_SEC
    while True:
        picture = take()
        keep.write_bytes(picture.png())
        try:
            assert_page(picture, font)
            return picture
        except AssertionError:
            if time.monotonic() > until:
                raise
        time.sleep(0.5)


# The font is the one that the kernel takes for a screen of this size.
@pytest.mark.parametrize("size,font,words", [
    ((1280, 720), (8, 16), "ignore_loglevel console=tty1"),     # over a screenful of the kernel's log
    (PICTURE_SIZE, (8, 16), "quiet loglevel=3 console=tty1"),   # as bf-mkimage has it
    ((3840, 2160), (16, 32), "quiet"),                          # the only console is a serial one
], ids=["720p", "1080p", "4K"])
def test_failure_screen(make_device, size, font, words):
    device = make_device(hardware=replace(SMALL, screen=size))
    device.edit_cmdline = as_on_a_device
    run = device.start(words)
    run.machine.wait(r"^  Code:  verity-roothash$")
    kept = device.log.with_suffix(".png")

    def take() -> screen.Picture:
        return screen.take(run.machine, size, device.hardware.memory, device.work)

    picture = settled(take, font, kept)
    if "ignore_loglevel" in words:
        # What the kernel says later goes away. A break and a letter are SysRq on a serial line.
        run.machine.qmp.command("chardev-send-break", id="con")
        run.machine.send(b"h")
        run.machine.wait(r"sysrq: HELP.*\n")
        time.sleep(REDRAWN_SEC)
        settled(take, font, kept)
    device.cut(run)
    if size == PICTURE_SIZE:
        glyph = font[0] * picture.scale(), font[1] * picture.scale()
        above = (len(page(size[0] // glyph[0])) - 1) * glyph[1]     # the countdown
        assert screen.png_rows(PICTURE.read_bytes())[:above] == picture.rows[:above], f"{kept} is newer"
