# SPDX-License-Identifier: MIT
"""RAUC's pre-install handler, run as RAUC runs it, on a device that is a directory.

(That RAUC does run it, and stops when it says no, is seen in test_rauc_install.py and tests/vm/test_rauc.py.)"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

HANDLER = Path(__file__).resolve().parents[2] / "hooks/rauc/bf-pre-install"
HASH = "5a" * 32
FLOOR = 1741564800                      # 2025-03-10
SHELLS = ["dash", "bash --posix"]


@dataclass
class Lab:
    bundle: Path                        # where RAUC mounts it
    device: Path
    shell: str
    images: tuple[str, ...] = ("root.img", "boot.img")

    def write(self, path: str, text: str | bytes) -> Path:
        file = self.device / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    def facts(self, text: str) -> None:
        (self.bundle / "betterframe.env").write_text(text)

    def bf_boot(self, status: int, said: str = '"trial": false') -> None:
        """Answers is-refused, and only for our hash, status --json, and is-free."""
        self.write("usr/sbin/bf-boot", f'''#!/bin/sh
[ "$1" != is-free ] || {{ [ ! -e {self.device}/busy/${{2##*/}} ] || {{ echo "$2 is in use" >&2; exit 1; }}; exit 0; }}
[ "$*" != "status --json" ] || {{ printf '{{\\n  "slot": "A",\\n  {said},\\n  "x": 1\\n}}\\n'; exit 0; }}
[ "$*" = "is-refused {HASH}" ] || exit 77
echo "bf-boot: chatter" >&2
exit {status}
''').chmod(0o755)

    def bootloader(self, built: int | bytes) -> None:
        data = built if isinstance(built, bytes) else struct.pack(">I", built)
        self.write("proc/device-tree/chosen/bootloader/build-timestamp", data)

    def running(self, version: str, line: str = 'IMAGE_VERSION="{}"') -> None:
        self.write("usr/lib/os-release", f'ID=debian\nVERSION_ID="13"\n{line.format(version)}\n')

    def force(self) -> None:
        self.write("run/bf/force-install", "")

    def snapshot(self) -> dict[str, bytes]:
        return {str(p): p.read_bytes() for d in (self.bundle, self.device) for p in d.rglob("*")
                if p.is_file() and p != self.reason}

    @property
    def reason(self) -> Path:
        return self.device / "run/bf/refusal"

    def check(self, *, version: str = "2.0", compatible: str = "kiosk", system: str = "kiosk",
              more: str = "") -> subprocess.CompletedProcess[str]:
        """With RAUC 1.8's environment: later versions only add to it."""
        (self.bundle / "manifest.raucm").write_text(
            f"[update]\ncompatible={compatible}\nversion={version}\n\n[bundle]\nformat=verity\n{more}"
            "[image.rootfs]\nfilename=root.img\n")
        conf = self.write("etc/rauc/system.conf", f"[system]\ncompatible={system}\n\n[keyring]\npath=x\n")
        self.write("run/bf/refusal", "of before\n")
        before = self.snapshot()
        env = {"PATH": os.environ["PATH"], "RAUC_SYSTEM_CONFIG": str(conf), "RAUC_CURRENT_BOOTNAME": "A",
               "RAUC_BUNDLE_MOUNT_POINT": str(self.bundle), "RAUC_UPDATE_SOURCE": str(self.bundle),
               "RAUC_MOUNT_PREFIX": "/run/rauc/mnt", "RAUC_SLOTS": "1 2 3 4", "RAUC_TARGET_SLOTS": "2 4",
               "BF_TEST_ROOT": str(self.device)}
        for number, name in ((2, "BF_ROOT_B"), (4, "BF_BOOT_B")):
            env[f"RAUC_SLOT_DEVICE_{number}"] = f"{self.device}/dev/{name}"
        env.update({f"RAUC_IMAGE_NAME_{number}": name for number, name in zip((2, 4), self.images)})
        # The one argument is from the caller of RAUC.
        done = subprocess.run([*self.shell.split(), HANDLER, "--force"], env=env, cwd="/", capture_output=True,
                              text=True, check=False)
        assert self.snapshot() == before, "a check writes nothing"
        assert done.stdout == "" and done.returncode in (0, 10, 75)
        assert done.returncode or not self.reason.exists()
        return done

    def refused(self, **how: str) -> str:
        """The reason, which is published."""
        done = self.check(**how)
        said = self.reason.read_text()
        assert self.reason.stat().st_mode & 0o777 == 0o644 and said.count("\n") == 1
        assert said.strip() == done.stderr.splitlines()[-1]
        assert done.returncode == (75 if said.startswith("Not now: ") else 10), done.stderr
        return said.strip()

    def accepted(self, **how: str) -> str:
        done = self.check(**how)
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(params=SHELLS, ids=["dash", "bash"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Lab:
    """A device that takes the bundle."""
    made = Lab(tmp_path / "bundle", tmp_path / "device", request.param)
    made.bundle.mkdir()
    made.facts(f"BF_ROOTHASH={HASH}\nBF_EEPROM_FLOOR={FLOOR}\n")
    made.bf_boot(1)
    made.bootloader(FLOOR + 1)
    made.running("1.9")
    return made


def test_takes_a_good_bundle(lab: Lab) -> None:
    assert lab.accepted() == "bf-boot: chatter\n"


def test_the_reason_goes_into_a_full_run(lab: Lab) -> None:
    """Or it does not; the answer is the same."""
    (lab.device / "run/bf/refusal.new").mkdir(parents=True)
    done = lab.check(compatible="fridge")
    assert done.returncode == 10 and "fridge" in done.stderr and not lab.reason.exists()


def test_compatible(lab: Lab) -> None:
    lab.force()
    assert "for 'fridge', this device is a 'kiosk'" in lab.refused(compatible="fridge")
    lab.refused(compatible="")
    lab.refused(compatible="Kiosk")
    lab.refused(compatible="", system="kiosk ")


# running, bundle, older?
AGES = [
    ("1.9", "1.10", False), ("1.10", "1.9", True), ("2.0", "2.0", False), ("2.0", "2.0~rc1", True),
    ("2.0~rc1", "2.0", False), ("20260101", "20251231", True), ("1.2-3", "1.2-4", False), ("1.2", "1.2.0", False),
    ("1.2.0", "1.2", True), ("2026.1", "2", True), ("1", "0.9.9", True),
]


@pytest.mark.parametrize("running, version, older", AGES)
def test_age(lab: Lab, running: str, version: str, older: bool) -> None:
    lab.running(running)
    if not older:
        lab.accepted(version=version)
        return
    reason = lab.refused(version=version)
    assert version in reason and running in reason and "/run/bf/force-install" in reason
    lab.force()
    assert "older" in lab.accepted(version=version)


@pytest.mark.parametrize("line", ["IMAGE_VERSION={}", "IMAGE_VERSION='{}'", 'IMAGE_VERSION="{}"'])
def test_spellings_of_the_running_version(lab: Lab, line: str) -> None:
    lab.running("3.0", line)
    lab.refused(version="2.0")
    lab.accepted(version="3.0")


def test_no_running_version(lab: Lab) -> None:
    """Debian's VERSION_ID says nothing about the image."""
    lab.running("", "X={}")
    assert "ages are not compared" in lab.accepted(version="0.1")
    (lab.device / "usr/lib/os-release").unlink()
    assert "ages are not compared" in lab.accepted(version="0.1")


def test_during_a_trial(lab: Lab) -> None:
    """bf-boot would refuse it, too; here the reason reaches whoever asked."""
    lab.bf_boot(1, '"trial": true')
    lab.force()
    assert lab.refused().startswith("Not now: a trial boot is running")


def slots(a: str, b: str) -> str:
    return f'"slots": {{ "A": {{ "state": "{a}", "proven": "yes" }}, "B": {{ "state": "{b}", "proven": "no" }} }}'


@pytest.mark.parametrize("said, refused", [
    (f'"trial": false, {slots("good", "good")}, "probation": true, "staying": false', True),
    (f'"trial": false, {slots("good", "good")}, "probation": true, "staying": true', False),
    (f'"trial": false, {slots("good", "good")}, "probation": false, "staying": false', False),
    (f'"trial": false, {slots("good", "bad")}, "probation": true, "staying": false', False),
    (f'"trial": false, {slots("unknown", "good")}, "probation": true, "staying": false', False),
])
def test_in_probation(lab: Lab, said: str, refused: bool) -> None:
    lab.bf_boot(1, said)
    if refused:
        assert re.match("Not now: .*probation", lab.refused())
    else:
        lab.accepted()


def test_refused_before(lab: Lab) -> None:
    lab.bf_boot(0)
    assert "tried on this device and failed" in lab.refused()
    lab.force()
    assert "tried and failed" in lab.accepted()


@pytest.mark.parametrize("status", [2, 3, 77, 127])
def test_bf_boot_does_not_know(lab: Lab, status: int) -> None:
    """Not knowing is no permission."""
    lab.bf_boot(status)
    assert re.match("Not now: .*could not say", lab.refused())
    lab.force()
    lab.accepted()


def test_no_bf_boot(lab: Lab) -> None:
    (lab.device / "usr/sbin/bf-boot").unlink()
    assert "could not say" in lab.refused()


@pytest.mark.parametrize("text", ["", "BF_EEPROM_FLOOR=1\n", "BF_ROOTHASH=\n"])
def test_no_root_hash(lab: Lab, text: str) -> None:
    lab.facts(text)
    assert "does not name its root hash" in lab.refused()


def test_no_facts_at_all(lab: Lab) -> None:
    (lab.bundle / "betterframe.env").unlink()
    assert "does not say what is in it" in lab.refused()


def test_bootloader_floor(lab: Lab) -> None:
    lab.bootloader(FLOOR - 1)
    lab.force()                         # it would not start: nothing lets it in
    reason = lab.refused()
    assert "2025-03-09" in reason and "2025-03-10" in reason and "BOOTFS=/tmp rpi-eeprom-update -a" in reason
    lab.bootloader(FLOOR)
    lab.accepted()
    lab.bootloader(0xFFFFFFFF)
    lab.accepted()
    lab.bootloader(b"\0\0")
    assert "cannot be read" in lab.refused()


def test_no_bootloader_floor(lab: Lab) -> None:
    lab.bootloader(1)
    lab.facts(f"BF_ROOTHASH={HASH}\nBF_EEPROM_FLOOR=\n")
    lab.accepted()


def test_not_a_raspberry_pi(lab: Lab) -> None:
    shutil.rmtree(lab.device / "proc")
    lab.accepted()


def test_the_manifest_is_read_as_rauc_does(lab: Lab) -> None:
    """Blanks before a line do not count, and the last of two values does."""
    assert "for 'fridge'" in lab.refused(more="  [update]\n\tcompatible = fridge\n")
    assert "older" in lab.refused(more="[update]\n version=1.0\n")
    lab.accepted(compatible="fridge", more=" [update]\n compatible=kiosk\n")
    assert "no version" in lab.refused(version="")


@pytest.mark.parametrize("more", ["[hooks]\nfilename=x\nhooks=install-check\n", "[handler]\nfilename=x\n",
                                  "  [hooks]\nfilename=x\n"])
def test_programs_of_the_bundle(lab: Lab, more: str) -> None:
    lab.force()
    assert "programs of its own" in lab.refused(more=more)


@pytest.mark.parametrize("images", [("root.img", ""), ("root.img",), ("", "boot.img"), ()])
def test_half_a_slot(lab: Lab, images: tuple[str, ...]) -> None:
    lab.images = images
    assert "all of a slot" in lab.refused()


def in_use(lab: Lab, name: str, mounts: dict[str, str], holder: str = "", swaps: str = "") -> str:
    lab.write(f"dev/{name}", "")
    lab.write(f"busy/{name}", "")
    lab.write(f"sys/class/block/{name}/dev", "254:3\n")
    for process, text in mounts.items():
        lab.write(f"proc/{process}/mountinfo", text)
        lab.write(f"proc/{process}/comm", "udisksd\n")
    if holder:
        lab.write(f"sys/class/block/{name}/holders/{holder}/dev", "253:0\n")
    lab.write("proc/swaps", f"Filename Type Size Used Priority\n{swaps}")
    lab.force()                         # nothing makes it free
    return lab.refused()


OURS = "29 1 254:30 / / ro - ext4 /dev/x ro\n30 29 254:3 / {} rw,nosuid shared:7 - vfat /dev/vda3 rw\n"


def test_a_target_is_mounted(lab: Lab) -> None:
    """RAUC 1.8 and 1.13 write the root image before they notice that the boot partition is mounted."""
    said = in_use(lab, "BF_BOOT_B", {"self": OURS.format("/media/my\\040card"), "12": OURS.format("/elsewhere")})
    assert said == f"Not now: {lab.device}/dev/BF_BOOT_B is mounted on /media/my card: umount it first."


def test_a_target_is_mounted_where_only_another_process_sees_it(lab: Lab) -> None:
    said = in_use(lab, "BF_ROOT_B", {"self": "29 1 254:30 / / ro - ext4 /dev/x ro\n", "12": OURS.format("/private")})
    assert "BF_ROOT_B is mounted on /private for process 12 (udisksd)" in said


def test_a_target_is_in_use(lab: Lab) -> None:
    assert "BF_ROOT_B is used by dm-0" in in_use(lab, "BF_ROOT_B", {}, holder="dm-0")


def test_a_target_is_swapped_to(lab: Lab) -> None:
    assert "is swapped to" in in_use(lab, "BF_ROOT_B", {}, swaps=f"{lab.device}/dev/BF_ROOT_B partition 9 0 -2\n")


def test_a_target_is_in_use_and_nobody_says_for_what(lab: Lab) -> None:
    assert lab.device.name in in_use(lab, "BF_ROOT_B", {}) and "is in use" in lab.reason.read_text()
