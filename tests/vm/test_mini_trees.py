"""Trees of BF_DATA made at random, booted: whatever is on it, the committed slot comes up, and what it writes
lies where the mount plan says. A million more go over the plan in one process: tests/tools/data-trees.c."""

from __future__ import annotations

import random
import re
import subprocess

import pytest

from diskimage import DiskImage
from machine import End
from test_mini_boot import assert_booted, commit, image_of
from test_mini_traps import LINK_TARGETS, PLACES, PLAN, VICTIM, assert_written_in_place, with_victim, writes

PER_TEST = 5                            # boots of one image
TREES_IN_CHECK, TREES = 20, 200

# What the plan and bf-init want on BF_DATA, above it and below it; {} is the slot.
WANTED = ["bf", "trash", "trash/0", "overlay", "overlay/mnt", "overlay/mnt/upper", "overlay/mnt/work",
          "overlay/mnt/work/work", "overlay/mnt/upper/m", "slots", "slots/{}", "slots/{}/.image", "slots/{}/srv",
          "slots/{}/srv/upper", "slots/{}/srv/work", "slots/{}/srv/upper/log", "slots/{}/srv/upper/a",
          "slots/{}/srv/upper/a/state", "slots/{}/srv/upper/a/tmp", "home", "home/y", "log", "s", "s/t", "m"]
NODES = ["p", "c 0 0", "c 0 0", "c 1 3", "b 254 0", "p socket"]
MARKS = [("opaque y", False), ("impure y", False), ("redirect /outside", True), ("redirect /log", True),
         ("redirect ../../../victim", True), ("origin garbage", True), ("metacopy x", True)]
NAMES = ["a" * 255, "\\", "*", "?", "%s", "$(reboot)", ";", "&", "~", "#", "\x7f", "-rf", "\xe9", "\u00e9\u20ac"]


def commands_for(draw: random.Random, path: str) -> tuple[list[str], bool]:
    """debugfs commands that put something at the path, and whether it may cost a line."""
    parent, _, name = path.rpartition("/")
    parent = parent or "/"
    kind = draw.choice(("link", "link", "node", "node", "file", "directory", "mark", "names"))
    if kind == "link":
        return [f"symlink {path} {draw.choice(LINK_TARGETS)}"], False
    if kind == "file":
        return [f"cd {parent}", f"write /dev/null {name}", f"sif {path} mode 010{draw.randrange(0o10000):04o}"], False
    if kind == "node":
        node, *socket = draw.choice(NODES).split(" socket")
        return [f"cd {parent}", f"mknod {name} {node}",
                *([f"sif {path} mode 0140666"] if socket else [])], False
    commands = [f"mkdir {path}"]
    if kind == "directory":
        owner = draw.choice((0, 1000, 65534))
        return [*commands, f"sif {path} mode 04{draw.randrange(0o10000):04o}", f"sif {path} uid {owner}",
                f"sif {path} gid {owner}"], False
    if kind == "names":
        return [*commands, f"cd {path}", *(f"write /dev/null {n}" for n in draw.sample(NAMES, 6))], False
    mark, refused = draw.choice(MARKS)
    return [*commands, f"ea_set {path} trusted.overlay.{mark}"], refused


def make_tree(image: DiskImage, seed: int, slot: str) -> bool:
    """Whether what is in it may cost a line of the plan its place on BF_DATA."""
    draw = random.Random(seed)
    commands, no_dirs, stubborn = [], set(), False
    for path in sorted("/" + p.format(slot) for p in draw.sample(WANTED, draw.randint(3, 8))):
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(2, len(parts))]
        if no_dirs.intersection(above):             # debugfs would follow a link
            continue
        made, refused = commands_for(draw, path)
        commands += [f"mkdir {directory}" for directory in above] + made
        stubborn |= refused
        if f"mkdir {path}" not in made:
            no_dirs.add(path)
    # What debugfs refuses (a name that is taken, a parent that is none) is not in the tree.
    subprocess.run(["debugfs", "-w", "-f", "-", image._ext4("BF_DATA")], check=True, capture_output=True,
                   input="\n".join(commands).encode() + b"\n")
    trash = image.ext4_exists("BF_DATA", "/trash") and \
        "Type: directory" not in image.debugfs("BF_DATA", "stat /trash", write=False)
    return stubborn or trash


def batches() -> list:
    starts = range(0, TREES, PER_TEST)
    return [pytest.param(start, marks=() if start < TREES_IN_CHECK else pytest.mark.long) for start in starts]


@pytest.mark.parametrize("start", batches())
def test_trees(make_device, start):
    device = make_device(fstab=PLAN)
    image = with_victim(device)
    clean = image.read_partition("BF_DATA", 0, image.partition("BF_DATA").size)
    for seed in range(start, start + PER_TEST):
        image.write_partition("BF_DATA", 0, clean)
        slot = "AB"[seed % 2]
        commit(device, slot)
        if seed % 3:                                # an upper of this image: what is in it counts
            roothash = re.search(r"roothash=(\w+)", device.decide().cmdline)[1]
            image.ext4_write("BF_DATA", f"/slots/{slot}/.image", roothash.encode() + b"\n")
        stubborn = make_tree(image, seed, slot)
        run = device.boot("mini.do=" + ";".join(writes()))
        assert (run.slot, run.reason, run.ended) == (slot, None, End("poweroff")), f"tree {seed}"
        failed = [w for w in PLACES if run.mini()[f"did write:{w}"] != "ok"]
        assert not failed, f"tree {seed}: {failed}"
        if not stubborn:
            assert_booted(run, slot)
            assert_written_in_place(device, slot)
        assert image_of(device).ext4_read("BF_DATA", "/victim/file") == VICTIM, f"tree {seed}"
