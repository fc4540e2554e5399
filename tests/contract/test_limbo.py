# SPDX-License-Identifier: MIT
"""Whatever stands in autoboot.txt, a device comes back to its committed slot, and everything works.

Every text that people write, on a real FAT made by mkfs.vfat and mtools, with each slot committed
and each slot started by the firmware. The firmware is the model of tests/vm/firmware.py; where the
slot that is started is not the one that the model reads from the text, a firmware is played that
reads it otherwise, until the text is our own. bf-init's decision comes from disk-eval, the running
system is bf-boot-fake.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))

import diskimage
import firmware

SIZE = 512
PARTITION = {"A": 2, "B": 3}
SLOT = {2: "A", 3: "B"}
BOOT = {"config.txt": b"", "tryboot.txt": b"", "kernel8.img": b"k", "cmdline.txt": b""}


def other(slot: str) -> str:
    return {"A": "B", "B": "A"}[slot]


def canonical(slot: str, eol: str = "\n", sep: str = "=") -> str:
    lines = ["[all]", f"tryboot_a_b{sep}1", f"boot_partition{sep}{PARTITION[slot]}",
             "[tryboot]", f"boot_partition{sep}{PARTITION[other(slot)]}"]
    return "".join(line + eol for line in lines)


def ours(slot: str) -> bytes:
    return canonical(slot).encode().ljust(SIZE, b"\n")


# -- texts ---------------------------------------------------------------------------------------

Files = tuple[tuple[str, bytes], ...]


def one(text: str | bytes, name: str = "autoboot.txt") -> Files:
    return ((name, text.encode() if isinstance(text, str) else text),)


def of_a_slot(slot: str) -> Iterator[tuple[str, Files]]:
    """Texts that mean the slot, or nearly."""
    n, m, text = PARTITION[slot], PARTITION[other(slot)], canonical(slot)
    variants = {
        "our own": text.ljust(SIZE, "\n"),
        "one line": f"boot_partition={n}\n",
        "one line, no end": f"boot_partition={n}",
        "one line, CRLF": f"boot_partition={n}\r\n",
        "one line, padded": f"boot_partition={n}".ljust(SIZE, "\n"),
        "not padded": text,
        "no last end": text.rstrip("\n"),
        "CRLF": canonical(slot, "\r\n"),
        "CR": canonical(slot, "\r"),
        "trailing spaces": canonical(slot, "  \n"),
        "spaces around the sign": canonical(slot, sep=" = "),
        "indented": "".join(f"\t{line}\n" for line in text.split()),
        "BOM": "\ufeff" + text,
        "BOM, padded": ("\ufeff" + text).encode().ljust(SIZE, b"\n").decode(),
        "comments": f"# edited by hand\n{text}# do not touch\n",
        "comment behind": text.replace(f"={n}\n", f"={n} # the good one\n", 1),
        "blank lines": text.replace("\n", "\n\n"),
        "upper case": text.upper(),
        "upper case filters": text.replace("[all]", "[ALL]").replace("[tryboot]", "[TRYBOOT]"),
        "without [all]": text.replace("[all]\n", ""),
        "[tryboot] first": f"[tryboot]\nboot_partition={m}\n[all]\ntryboot_a_b=1\nboot_partition={n}\n",
        "[none] last": text + "[none]\nboot_partition=1\n",
        "leading zero": text.replace(f"={n}\n", f"=0{n}\n", 1),
        "no tryboot_a_b": text.replace("tryboot_a_b=1\n", ""),
        "tryboot_a_b=0": text.replace("_b=1", "_b=0"),
        "no [tryboot]": text.split("[tryboot]")[0],
        "both the same": text.replace(f"={m}", f"={n}"),
        "partition walk": text + "PARTITION_WALK=1\n",
        "filled with spaces": text.ljust(SIZE),
        "filled with a comment": (text + "#").ljust(SIZE, "-"),
        "one byte short": text.ljust(SIZE - 1, "\n"),
        "one byte long": text.ljust(SIZE + 1, "\n"),
        "600 bytes": text.ljust(600, "\n"),
        "two clusters and more": text.ljust(5000, "#"),
        "config.txt's filters": "[pi5]\n" + text,
    }
    for name, content in variants.items():
        yield f"{slot}: {name}", one(content)
    yield f"{slot}: UTF-16", one(text.encode("utf-16"))
    yield f"{slot}: upper case name", one(text, "AUTOBOOT.TXT")
    yield f"{slot}: mixed case name", one(text, "AutoBoot.txt")
    yield f"{slot}: long name, our own", one(text.ljust(SIZE, "\n"), "AutoBoot.txt")
    yield f"{slot}: another short name", one(text.ljust(SIZE, "\n"), "AutoBoot.txt~")
    yield f"{slot}: .txt twice", one(text, "autoboot.txt.txt")
    yield f"{slot}: with a copy", one(text) + one(canonical(other(slot)), "autoboot.bak")
    yield f"{slot}: with a longer name", one(text) + one(canonical(other(slot)), "autoboot.txt.old")
    yield f"{slot}: copied by a file manager", one(text, "autoboot (1).txt") + one(ours(other(slot)))


def texts() -> dict[str, Files]:
    found: dict[str, Files] = {
        "missing": (),
        "empty": one(""),
        "a line end": one("\n"),
        "a NUL": one(b"\0"),
        "a number": one("2"),
        "zeroes": one(bytes(SIZE)),
        "0xff": one(b"\xff" * SIZE),
        "prose": one("This file says what the firmware starts.\n" * 10),
        "prose of our length": one(("This file says what is started.\n" * 16)[:SIZE]),
        "partition 1": one("boot_partition=1\n"),
        "partition 4": one("boot_partition=4\n"),
        "a huge number": one("boot_partition=4294967298\n"),
        "a negative number": one("boot_partition=-2\n"),
        "a fraction": one("boot_partition=2.5\n"),
    }
    return found | dict(itertools.chain(of_a_slot("A"), of_a_slot("B")))


# -- the device ----------------------------------------------------------------------------------

def mtools(*argv: object) -> None:
    subprocess.run([str(a) for a in argv], check=True, capture_output=True,
                   env={**os.environ, "MTOOLS_SKIP_CHECK": "1", "LC_ALL": "C"})


def give_another_short_name(image: Path) -> None:
    """As some tools write it: AUTOBO~1.TXT, with the long name autoboot.txt."""
    data = bytearray(image.read_bytes())
    at = data.index(b"AUTOBO~1TXT") if b"AUTOBO~1TXT" in data else data.index(b"AUTOBOOTTXT")
    short = b"AUTOBO~1TXT"
    data[at:at + 11] = short
    checksum = 0
    for byte in short:
        checksum = ((checksum >> 1) + ((checksum & 1) << 7) + byte) & 0xFF
    assert data[at - 32 + 11] == 0x0F, "there is a long name"
    data[at - 32 + 13] = checksum
    image.write_bytes(data)


@dataclass
class Firmware:
    """The model, and what it does with a text that it does not read as we say."""

    image: Path
    starts: str                 # the slot that it starts by the text that is there now
    deaf: bool = False          # takes no partition number
    stubborn: bool = field(init=False)

    def __post_init__(self) -> None:
        self.stubborn = self.decide(firmware.Request()) != self.starts

    def text(self) -> bytes | None:
        return diskimage.Fat(self.image, 0, self.image.stat().st_size).read("autoboot.txt")

    def decide(self, request: firmware.Request) -> str:
        text = self.text()
        files = {} if text is None else {"autoboot.txt": text}
        outcome = firmware.decide(firmware.DictView({1: files, 2: BOOT, 3: BOOT}), request)
        assert isinstance(outcome, firmware.Boot), outcome
        return SLOT[outcome.partition]

    def boot(self, request: firmware.Request) -> str:
        if request.partition and not self.deaf:
            return SLOT[request.partition]
        if self.stubborn and self.text() not in (ours("A"), ours("B")):
            return self.starts
        return self.decide(firmware.Request(tryboot=request.tryboot))


class Device:
    def __init__(self, programs: Path, root: Path, template: Path, files: Files, committed: str):
        self.programs, self.root = programs, root
        shutil.copytree(template, root, symlinks=True)
        self.image = root / "dev/nvme0n1p1"
        source = root / "source"
        for name, content in files:
            source.write_bytes(content)
            mtools("mcopy", "-i", self.image, source, f"::{name.rstrip('~')}")
            if name.endswith("~"):
                give_another_short_name(self.image)
        self.committed, self.boots, self.request = committed, 0, firmware.Request()
        self.words: dict[str, str] = {}

    def start(self, model: Firmware) -> str | None:
        """One boot; the slot that is up then, or None when bf-init restarts."""
        slot = model.boot(self.request)
        self.boots += 1
        done = subprocess.run(
            [self.programs / "tests/disk-eval", self.image, self.root / "data", f"running={slot}",
             f"tryboot={int(self.request.tryboot)}", f"boot_id={self.boots:032x}", "now=1767225600"],
            capture_output=True, text=True, check=True)
        self.words = dict(word.split("=", 1) for word in done.stdout.split())
        arguments = {"reboot": None, "reboot-trial": "0 tryboot",
                     "reboot-other": str(PARTITION[other(slot)])}
        if self.words["next"] in arguments:
            self.request = firmware.after_reboot(self.request, arguments[self.words["next"]])
            return None
        self._hand_over(slot)
        return slot

    def _hand_over(self, slot: str) -> None:
        for name in ("bf", "systemd"):
            shutil.rmtree(self.root / "run" / name, ignore_errors=True)
            (self.root / "run" / name).mkdir()
        trial = self.words["next"] == "trial"
        yes = {True: "yes", False: "no"}
        values = {"SLOT": slot, "TRIAL": yes[trial], "COMMITTABLE": yes[self.words["committable"] == "1"],
                  "LIMBO": yes[self.words["limbo"] == "1"], "REASON": self.words["reason"],
                  "TRYBOOT": yes[self.request.tryboot], "BOOT_ID": f"{self.boots:032x}"}
        text = (self.root / "boot").read_text()
        for key, value in values.items():
            text, n = re.subn(rf"^BF_{key}=.*$", f"BF_{key}={value}", text, flags=re.M)
            assert n == 1, key
        (self.root / "run/bf/boot").write_text(text)

    def bf_boot(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.programs / "tests/bf-boot-fake", *argv], text=True, cwd="/",
                              capture_output=True, check=False, env={"BF_FAKE_ROOT": str(self.root)})

    def ok(self, *argv: str) -> str:
        done = self.bf_boot(*argv)
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    def status(self) -> dict:
        return json.loads(self.ok("status", "--json"))

    def reconcile(self) -> bool:
        """True when it has asked for a reboot."""
        log = self.root / "log"
        log.unlink(missing_ok=True)
        self.ok("reconcile")
        if "systemctl reboot --check-inhibitors=no\n" not in log.read_text():
            return False
        self.request = firmware.after_reboot(self.request, None)
        return True

    def come_up(self, model: Firmware, boots_max: int) -> str:
        """Until a slot stays up, reconciled."""
        for _ in range(boots_max):
            slot = self.start(model)
            if slot and not self.reconcile():
                return slot
        pytest.fail(f"no slot stays up in {boots_max} boots: {self.words}")

    def update(self, model: Firmware) -> None:
        """All that a device is for: an installation, its trial, the commit, and an ordinary boot."""
        here, there = self.committed, other(self.committed)
        self.ok("set-state", there, "bad")
        self.ok("set-primary", there)
        self.ok("shutdown", "reboot")
        assert "next boot is the trial" in self.bf_boot("arm").stderr
        argument = (self.root / "run/systemd/reboot-param").read_text().strip()
        self.request = firmware.after_reboot(self.request, argument)
        assert self.come_up(model, 1) == there and self.words["next"] == "trial"
        self.ok("set-state", there, "good")
        assert model.text() == ours(there), f"{here} was committed, {there} is"
        self.request = firmware.after_power_cut(self.request)
        assert self.come_up(model, 1) == there and self.words["limbo"] == "0"


@pytest.fixture(scope="module")
def templates(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A device for each committed slot, with an empty BF_BOOTSEL."""
    found = {}
    for committed in "AB":
        root = tmp_path_factory.mktemp(f"device-{committed}")
        done = subprocess.run([programs / "tests/bf-boot-fake", "--make", f"committed={committed}",
                               f"running={committed}"], check=False, capture_output=True,
                              env={"BF_FAKE_ROOT": str(root)})
        assert done.returncode == 0, done.stderr
        image = root / "dev/nvme0n1p1"
        image.unlink()
        subprocess.run(["mkfs.vfat", "--invariant", "-C", image, "1024"], check=True, capture_output=True)
        shutil.move(root / "run/bf/boot", root / "boot")
        found[committed] = root
    return found


# -- tests ---------------------------------------------------------------------------------------

STARTS = [(committed, starts, deaf) for committed in "AB" for starts in "AB" for deaf in (False, True)]


def story(programs: Path, tmp_path: Path, templates: dict[str, Path], name: str, files: Files,
          committed: str, starts: str, deaf: bool) -> None:
    root = tmp_path / "device"
    shutil.rmtree(root, ignore_errors=True)
    device = Device(programs, root, templates[committed], files, committed)
    model = Firmware(device.image, starts, deaf)
    # One reboot; of a firmware that takes no number, and only where a mount is needed, two more.
    slot = device.come_up(model, 4 if deaf else 2)
    status = device.status()
    assert slot == committed, name
    assert (status["running"], status["committed"], status["limbo"]) == (committed, committed, False)
    assert status["next_boot"] == {"reboot": committed, "power_on": committed}, "and says so"
    assert not status["notes"], status["notes"]
    device.request = firmware.after_power_cut(device.request)
    boots = device.boots
    assert device.come_up(model, 1) == committed and device.boots == boots + 1, "it stays so"
    device.update(model)


@pytest.mark.parametrize("name", texts())
def test_text(programs: Path, tmp_path: Path, templates: dict[str, Path], name: str) -> None:
    """The text with each slot committed, and each started, by two kinds of firmware."""
    for committed, starts, deaf in STARTS:
        try:
            story(programs, tmp_path, templates, name, texts()[name], committed, starts, deaf)
        except BaseException as e:
            e.add_note(f"{name}: {committed} committed, the firmware starts {starts}"
                       f"{', takes no number' if deaf else ''}")
            raise


@pytest.mark.parametrize("slot", "AB")
def test_every_length(programs: Path, tmp_path: Path, templates: dict[str, Path], slot: str) -> None:
    """From 1 to 600 bytes, cut or filled: where we see a selection, the firmware model sees the same."""
    image, source = tmp_path / "image", tmp_path / "source"
    shutil.copy(templates["A"] / "dev/nvme0n1p1", image)
    text, seen = canonical(slot).encode(), set()
    for length in range(1, 601):
        source.write_bytes(text[:length].ljust(length, b"\n"))
        mtools("mcopy", "-o", "-i", image, source, "::autoboot.txt")
        done = subprocess.run([programs / "tests/disk-eval", image, "-", "running=A"],
                              capture_output=True, text=True, check=True)
        found = dict(word.split("=", 1) for word in done.stdout.split())["found.selector"]
        starts = Firmware(image, slot).decide(firmware.Request())
        tries = Firmware(image, slot).decide(firmware.Request(tryboot=True))
        if found[0] in "AB":
            assert (found[0], starts, tries) == (slot, slot, other(slot)), length
        assert (found in ("A", "B", "invalid")) == (length == SIZE), "one sector, or a mount"
        seen.add(found)
    assert seen == {slot, f"{slot}-file", "gone"}


def test_figures() -> None:
    """For README: what test_text and test_every_length go through."""
    n = len(texts())
    print(f"{n} texts of autoboot.txt, each with both slots committed, both started, and firmwares that "
          f"take a partition number and that do not: {n * len(STARTS)} devices; lengths 1 to 600, twice")
    assert n * len(STARTS) > 800
