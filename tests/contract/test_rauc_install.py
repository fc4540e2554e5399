# SPDX-License-Identifier: MIT
"""What RAUC's service of this machine (1.8 in Debian 12) installs for the kiosk's account, with the shipped
system.conf, policy and pre-install handler. The other side, 1.13 with verity bundles, is in tests/vm/test_rauc.py.

There is no device mapper everywhere, so these bundles are plain, and allowed to be."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rauc_lab import INTERFACE, SLOTS, TOP, Bus, Rauc, changes, recorder
from test_mkbundle import Keys

HANDLER = TOP / "hooks/rauc/bf-pre-install"
HASH, REFUSED = "ab" * 32, "5a" * 32
PRODUCT = "betterframe-rpi5-aarch64"
# All that RAUC 1.8 lets a caller override.
FORCE = ("1", "ignore-compatible", "b", "true")


@dataclass
class Box:
    dir: Path
    bus: Bus
    rauc: Rauc
    notes: Path
    keys: Keys

    def bundle(self, name: str, *, compatible: str = PRODUCT, version: str = "9.0", roothash: str = HASH,
               images: tuple[str, ...] = ("rootfs", "boot"), more: str = "") -> Path:
        content = self.dir / f"{name}.d"
        content.mkdir()
        text = f"[update]\ncompatible={compatible}\nversion={version}\n{more}"
        for image in images:
            (content / f"{image}.img").write_bytes(f"new {image} ".encode() + bytes(4096))
            text += f"[image.{image}]\nfilename={image}.img\n"
        if roothash:
            (content / "betterframe.env").write_text(f"BF_ROOTHASH={roothash}\nBF_EEPROM_FLOOR=\n")
        (content / "manifest.raucm").write_text(text)
        (content / "program").write_text(f"#!/bin/sh\ntouch {self.dir}/program-ran\n")
        (content / "program").chmod(0o755)
        out = self.dir / f"{name}.raucb"
        subprocess.run(["rauc", f"--cert={self.keys.env['RAUC_CERT_FILE']}", f"--key={self.keys.env['RAUC_KEY_FILE']}", "bundle", content, out], check=True,
                       capture_output=True)
        return out

    def says(self, name: str) -> str:
        done = self.bus.call("Get", "ss", INTERFACE, name, interface="org.freedesktop.DBus.Properties")
        assert done.returncode == 0, done.stderr
        return done.stdout.split(" ", 2)[2].strip().strip('"')

    def install(self, bundle: Path, options: tuple[str, ...] = ("0",)) -> str:
        """What RAUC says in the end; "": that it is installed."""
        done = self.bus.call("InstallBundle", "sa{sv}", str(bundle), *options)
        assert done.returncode == 0, done.stderr
        deadline = time.monotonic() + 60
        while self.says("Operation") != "idle":
            assert time.monotonic() < deadline, self.rauc.log()
            time.sleep(0.05)
        return self.says("LastError")

    @property
    def reason(self) -> str:
        return (self.dir / "device/run/bf/refusal").read_text()

    def refuses(self, bundle: Path, status: int, why: str) -> None:
        """Before anything is written or marked, whatever the caller asks for."""
        before = self.rauc.slots()
        for options in (("0",), FORCE):
            said = self.install(bundle, options)
            assert said == f"Pre-install handler error: Child process exited with code {status}", (bundle, said, self.rauc.log())
            assert why in self.reason and why in self.rauc.log()
            assert self.rauc.slots() == before and changes(self.notes) == [], bundle
        assert not (self.dir / "program-ran").exists()


@pytest.fixture
def box(tmp_path: Path, programs: Path):
    backend, notes = recorder(tmp_path)
    # Of the real one what is asked about devices.
    text = backend.read_text().replace("#!/bin/sh\n", f"""#!/bin/sh
case $1 in
is-free) exec {programs}/bf-boot "$@" ;;
is-refused) [ "$2" = {REFUSED} ]; exit ;;
status) echo '{{ "trial": false }}'; exit ;;
esac
""")
    backend.write_text(text)
    device = tmp_path / "device"
    for name in ("usr/sbin", "usr/lib", "run/bf"):
        (device / name).mkdir(parents=True)
    (device / "usr/sbin/bf-boot").symlink_to(backend)
    for name in ("proc", "sys"):
        (device / name).symlink_to(f"/{name}")
    (device / "usr/lib/os-release").write_text("IMAGE_VERSION=2.0\n")
    handler = tmp_path / "bf-pre-install"
    handler.write_text(f"#!/bin/sh\nBF_TEST_ROOT={device} exec {HANDLER}\n")
    handler.chmod(0o755)
    keys = Keys.made(tmp_path / "keys")
    bus = Bus(tmp_path, "bf-update").start()
    rauc = Rauc(tmp_path, bus, backend, keys.keyring,
                replace={"bundle-formats=-plain": "bundle-formats=plain", "/usr/lib/betterframe/": f"{tmp_path}/"})
    try:
        rauc.start()
        yield Box(tmp_path, bus, rauc, notes, keys)
    finally:
        rauc.stop()
        bus.stop()


def test_what_is_installed(box: Box) -> None:
    """Signed by whom the device trusts is not enough."""
    hook = "[hooks]\nfilename=program\nhooks=install-check\n"
    for name, status, why, how in (
            ("unknown", 10, "does not say what is in it", {"roothash": ""}),
            ("hook", 10, "programs of its own", {"more": hook}),
            ("handler", 10, "programs of its own", {"more": "[handler]\nfilename=program\n"}),
            ("half", 10, "all of a slot", {"images": ("rootfs",)}),
            ("fridge", 10, "is for 'fridge'", {"compatible": "fridge"}),
            ("older", 10, "version 1.9, which is older", {"version": "1.9"}),
            ("refused", 10, "tried on this device and failed", {"roothash": REFUSED})):
        box.refuses(box.bundle(name, **how), status, why)
    before = box.rauc.slots()
    assert box.install(box.bundle("good")) == "", box.rauc.log()
    after = box.rauc.slots()
    assert {slot for slot in SLOTS if after[slot] != before[slot]} == {"BF_ROOT_B", "BF_BOOT_B"}
    assert changes(box.notes) == ["set-state B bad", "set-primary B"]
    assert not (box.dir / "device/run/bf/refusal").exists()


def test_what_is_no_file(box: Box) -> None:
    """Only a FIFO holds RAUC up: nobody installs, nobody marks, until it is ended; it still says how things are."""
    (box.dir / "directory").mkdir()
    os.mkfifo(box.dir / "fifo")
    for path in (box.dir / "directory", box.dir / "absent", Path("/dev/zero"), Path("/dev/tty"), Path("/proc/kmsg")):
        assert box.install(path), path
    assert box.bus.call("InstallBundle", "sa{sv}", str(box.dir / "fifo"), "0").returncode == 0
    assert box.says("Operation") == "installing"
    assert "lready processing" in box.bus.call("InstallBundle", "sa{sv}", str(box.dir / "fifo"), "0").stderr
    assert box.rauc.process
    box.rauc.process.terminate()
    box.rauc.process.wait(5)


@pytest.fixture
def disk(box: Box):
    """The boot slot's partition is a real one."""
    image = box.dir / "boot.img"
    image.write_bytes(bytes(1 << 20))
    subprocess.run(["mkfs.ext4", "-q", image], check=True, capture_output=True)
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    (box.dir / "BF_BOOT_B").unlink()
    (box.dir / "BF_BOOT_B").symlink_to(device)
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_target_in_use_is_named(box: Box, disk: str) -> None:
    """RAUC 1.8 writes the root image first, and then cannot write to the mounted boot partition: the slot is lost."""
    good = box.bundle("good")
    place = box.dir / "my card"
    place.mkdir()
    subprocess.run(["mount", disk, place], check=True)
    try:
        box.refuses(good, 75, f"BF_BOOT_B is mounted on {place}: umount it first")
    finally:
        subprocess.run(["umount", place], check=True)
    other = subprocess.Popen(["unshare", "--mount", "sh", "-c", f"mount {disk} '{place}' && echo there && exec cat"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout and other.stdout.readline() == "there\n"
        box.refuses(good, 75, f"is mounted on {place} for process {other.pid} (cat)")
    finally:
        other.communicate()
    # Somebody has it, and it cannot be seen what for.
    fd = os.open(disk, os.O_RDONLY | os.O_EXCL)
    try:
        box.refuses(good, 75, "BF_BOOT_B is in use")
    finally:
        os.close(fd)
    assert box.install(good) == "", box.rauc.log()
