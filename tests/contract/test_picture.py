# SPDX-License-Identifier: MIT
"""README's picture of an update: it shows what the code does, and it was drawn from its source as that is now."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
SOURCE, PICTURE = TOP / "guard/update-flow.dot", TOP / "guard/update-flow.svg"
SVG = "{http://www.w3.org/2000/svg}"

# Phases of bf-guard that are no step of an update's life.
LEFT_OUT = {
    "starting",    # the facts of the boot are read: at once, whatever the boot is
    "confirming",  # what is committed and healthy is written down, here and in later boots: nothing is decided
    "limbo",       # nothing is decided here, by design
    "going-down",  # somebody else's shutdown
}


def source() -> str:
    """Without the comments."""
    return re.sub(r"/\*.*?\*/|^\s*//[^\n]*", "", SOURCE.read_text(), flags=re.DOTALL | re.MULTILINE)


def source_lines() -> list[str]:
    """The lines of text of all labels: "plain" or <with <b>tags</b>>."""
    labels = re.findall(r'\blabel=(?:"([^"]*)"|<(.*?)>(?=[\],]))', source())
    lines = [line for plain, tagged in labels for line in [*plain.split(r"\n"), *re.split(r"<[^>]*>", tagged)]]
    return [html.unescape(line) for line in lines if line]


def source_arrows() -> list[tuple[str, str]]:
    chains = [re.sub(r"\[.*", "", line).split("->") for line in source().splitlines() if "->" in line]
    return [(a.strip(), b.strip()) for chain in chains for a, b in zip(chain, chain[1:])]


class Group:
    """A box or an arrow of the picture."""

    def __init__(self, group: ET.Element) -> None:
        self.title = group.findtext(f"{SVG}title", "")
        # Some versions of dot write other spaces.
        self.lines = ["".join(text.itertext()).replace("\u00a0", " ") for text in group.iter(f"{SVG}text")]
        shape = next((e for e in group if e.get("fill")), None)
        self.fill = None if shape is None or shape.tag == f"{SVG}text" else shape.get("fill")


def drawn(kind: str) -> list[Group]:
    return [Group(g) for g in ET.parse(PICTURE).iter(f"{SVG}g") if g.get("class") == kind]


def phases() -> set[str]:
    table = re.search(r"#define PHASES\(X\)(.*?)\n\n", (TOP / "guard/policy.h").read_text(), re.DOTALL)
    assert table
    return set(re.findall(r'X\(\w+, "([a-z-]+)"', table[1]))


def number(file: str, pattern: str) -> int:
    return int(re.search(pattern, (TOP / file).read_text())[1])


def test_it_was_drawn_from_its_source() -> None:
    lines = [line for group in drawn("node") for line in group.lines]
    assert Counter(lines) == Counter(source_lines()), "make picture"
    arrows = [tuple(group.title.split("->")) for group in drawn("edge")]
    assert Counter(arrows) == Counter(source_arrows()), "make picture"


def test_all_text_was_compared() -> None:
    """Words of arrows or of the whole picture would be no node's."""
    assert len(list(ET.parse(PICTURE).iter(f"{SVG}text"))) == len(source_lines()) > 50


def test_it_shows_the_phases_of_the_guard() -> None:
    """Each in a box of the guard's colour, and nothing else in that colour but its name."""
    boxes = [group for group in drawn("node") if group.lines]
    colour = next(box.fill for box in boxes if box.lines == ["bf-guard"])
    shown = [box.lines[0] for box in boxes if box.fill == colour and box.lines != ["bf-guard"]]
    assert len(phases()) >= 20 and LEFT_OUT < phases()
    assert Counter(shown) == Counter(phases() - LEFT_OUT)


@pytest.mark.parametrize("words, file, pattern", [
    ("{} trials and", "boot/rules.h", r"RULES_TRIALS_MAX\s+(\d+)"),
    ("{} attempts at most", "boot/rules.h", r"RULES_ATTEMPTS_MAX\s+(\d+)"),
    ("{} reboots", "boot/requests.h", r"REQUEST_LADDER_MAX\s+(\d+)"),
    ("{} times", "guard/policy.c", r"\.restarts = (\d+)"),
])
def test_its_limits_are_those_of_the_code(words: str, file: str, pattern: str) -> None:
    said = words.format(number(file, pattern))
    assert [line for line in source_lines() if re.search(rf"\b{said}", line)]


def test_readme_shows_it() -> None:
    alt = re.search(r"!\[([^]]*)\]\(guard/update-flow\.svg\)", (TOP / "README.md").read_text())
    assert alt and "bf-guard" in alt[1]
