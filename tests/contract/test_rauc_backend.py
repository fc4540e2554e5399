# SPDX-License-Identifier: MIT
"""RAUC's service of this machine (1.8 in Debian 12) with the shipped system.conf, on a private bus, and
bf-boot behind it on a device that is a directory. The other side, 1.13, is in tests/vm/test_rauc.py."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

import test_mkbundle
from rauc_lab import Bus, Rauc
from test_mkbundle import Keys, Lab, made_artifacts  # noqa: F401 (a fixture)


@dataclass
class Box:
    """A device and RAUC on it."""

    dir: Path
    rauc: Rauc
    asked: Path

    def status(self) -> dict[str, tuple[str, str]]:
        """slot → (state, boot status), "primary" → (slot, ...), as `rauc status` tells it."""
        done = self.rauc.cli("status", "--output-format=json")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        found = {"primary": (str(said["boot_primary"]), "")}
        for slot in said["slots"]:
            for name, facts in slot.items():
                found[name] = (facts["state"], str(facts.get("boot_status")))
        return found

    def mark(self, *what: str) -> bool:
        return self.rauc.cli("status", *what).returncode == 0

    def bf_boot(self, *argv: str) -> str:
        """Asked directly, beside RAUC."""
        return subprocess.run([self.rauc.backend, *argv], capture_output=True, text=True, check=True).stdout

    def files(self) -> dict[str, bytes]:
        """All that the device keeps, and the slots; but not the lock's empty file."""
        root = self.dir / "device"
        kept = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        kept = {name: data for name, data in kept.items() if name not in ("log", "run/bf/lock")}
        return {**kept, **self.rauc.slots()}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.made(tmp_path_factory.mktemp("keys") / "k")


@pytest.fixture
def make_box(tmp_path: Path, programs: Path, keys: Keys):
    stops = []

    def make(booted: str = "A", *facts: str) -> Box:
        device, backend, asked = tmp_path / "device", tmp_path / "bf-boot", tmp_path / "asked"
        device.mkdir()
        asked.touch()
        fake = programs / "tests/bf-boot-fake"
        backend.write_text(f'#!/bin/sh\necho "$*" >>{asked}\nBF_FAKE_ROOT={device} exec {fake} "$@"\n')
        backend.chmod(0o755)
        subprocess.run([backend, "--make", f"running={booted}", *facts], check=True)
        asked.write_text("")
        bus = Bus(tmp_path, "root").start()
        stops.append(bus)
        rauc = Rauc(tmp_path, bus, backend, keys.keyring, booted)
        stops.append(rauc)
        return Box(tmp_path, rauc.start(), asked)

    yield make
    for each in reversed(stops):
        each.stop()


def test_status_of_a_good_device(make_box) -> None:
    box = make_box()
    before = box.files()
    assert box.status() == {"primary": ("rootfs.0", ""), "rootfs.0": ("booted", "good"), "boot.0": ("active", "None"),
                            "rootfs.1": ("inactive", "good"), "boot.1": ("inactive", "None")}
    assert box.files() == before


def test_marks_of_the_committed_slot(make_box) -> None:
    box = make_box()
    for _ in range(2):                  # called twice it is as well a success
        assert box.mark("mark-good")
    assert not box.mark("mark-bad"), "a wrong rauc.slot= makes RAUC ask this"
    assert box.status()["rootfs.0"] == ("booted", "good") and box.status()["primary"] == ("rootfs.0", "")
    assert not box.mark("mark-good", "other"), "nobody knows that without running it"
    assert box.mark("mark-bad", "other")
    assert box.status()["rootfs.1"] == ("inactive", "bad")


def test_an_install_as_rauc_does_it(make_box) -> None:
    """set-state bad, the writing, set-primary: then it is armed, and RAUC shows a slot that will boot."""
    box = make_box()
    assert box.mark("mark-bad", "other") and box.mark("mark-active", "other")
    status = box.status()
    assert (status["primary"], status["rootfs.1"]) == (("rootfs.1", ""), ("inactive", "good"))
    armed = box.dir / "device/run/bf/armed"
    param = box.dir / "device/run/systemd/reboot-param"
    assert armed.exists() and not param.exists(), "nothing is counted yet"
    # A second installation while the first waits.
    assert box.mark("mark-bad", "other") and not armed.exists()
    assert box.mark("mark-active", "other") and armed.exists()
    # A person takes it back.
    assert box.mark("mark-active", "booted")
    assert not armed.exists() and box.status()["primary"] == ("rootfs.0", "")


def test_a_trial(make_box) -> None:
    """While it runs, nothing may touch the slot that the firmware would fall back to."""
    box = make_box("B", "committed=A", "staged=B")
    before = box.files()
    assert not box.mark("mark-bad", "other"), "an installation starts so"
    assert not box.mark("mark-good", "other") and not box.mark("mark-active", "other")
    assert box.files() == before
    for _ in range(2):
        assert box.mark("mark-good")
        status = box.status()
        assert (status["primary"], status["rootfs.1"]) == (("rootfs.1", ""), ("booted", "good"))
    assert json.loads(box.bf_boot("status", "--json"))["committed"] == "B"


def test_rauc_asks_what_is_documented(make_box) -> None:
    """RAUC 1.8 never asks for get-current; every call is one of the five."""
    box = make_box()
    box.mark("mark-bad", "other")
    box.mark("mark-active", "other")
    box.mark("mark-good")
    asked = box.asked.read_text().splitlines()
    forms = r"get-primary|get-state [AB]|set-state [AB] (good|bad)|set-primary [AB]|get-current"
    assert asked and all(re.fullmatch(forms, line) for line in asked), asked


def test_bad_bundles_change_nothing(make_box, made_artifacts: Path, keys: Keys, tmp_path: Path) -> None:  # noqa: F811
    box = make_box()
    lab = Lab(tmp_path, made_artifacts)
    mine = Keys(Path(keys.dir))
    good = lab.bundle(**mine.env)

    def damaged(name: str, change) -> Path:
        path = tmp_path / name
        path.write_bytes(good.read_bytes())
        change(path)
        return path

    size = good.stat().st_size
    bad = {
        "stranger": test_mkbundle.sign_anyway(lab, Keys.made(tmp_path / "stranger").env, tmp_path / "stranger.raucb"),
        "expired": test_mkbundle.sign_anyway(
            lab, test_mkbundle.issue(mine, start="20200101000000Z", end="20210101000000Z"), tmp_path / "expired.raucb"),
        "unsigned": damaged("unsigned", lambda p: os.truncate(p, size // 4096 * 4096 - 8192)),
        "truncated": damaged("truncated", lambda p: os.truncate(p, size - 100)),
        "signature": damaged("signature", lambda p: test_mkbundle.flip(p, size - 400)),
        "empty": damaged("empty", lambda p: os.truncate(p, 0)),
        "absent": tmp_path / "absent.raucb",
    }
    before, errors = box.files(), {}
    for name, bundle in bad.items():
        done = box.rauc.cli("install", bundle)
        assert done.returncode == 1, (name, done.stdout, done.stderr)
        errors[name] = box.rauc.bus.call("Get", "ss", "de.pengutronix.rauc.Installer", "LastError",
                                         interface="org.freedesktop.DBus.Properties").stdout
    assert box.files() == before
    assert not [line for line in box.asked.read_text().splitlines() if line.startswith("set-")]
    assert "expired" in errors["expired"] and "issuer certificate" in errors["stranger"], errors
    # It was RAUC, not the lab, that said no: the good one passes the same check.
    assert box.rauc.cli("info", good).returncode == 0
