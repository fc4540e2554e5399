# SPDX-License-Identifier: MIT
"""What looks at an image before a device has it: `bf-guard check-config` and `bf-init --check-fstab`."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
UNIT = "usr/lib/systemd/system/kiosk.service"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def check(programs: Path, tmp_path: Path):
    def run() -> tuple[int, str]:
        done = subprocess.run([programs / "bf-guard", "check-config", f"--root={tmp_path}"],
                              capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, done.stdout
    return run


def test_an_image_without_problems(check, tmp_path: Path) -> None:
    write(tmp_path / UNIT, "[Service]\n")
    write(tmp_path / "etc/bf-guard.conf", "[kiosk]\nunit=kiosk.service\n")
    assert check() == (0, "no problem; the kiosk is kiosk.service\n")


@pytest.mark.parametrize("text", [
    b"\xef\xbb\xbf[kiosk]\r\nunit=kiosk.service\r\n", b"[kiosk]\nunit = \"kiosk.service\"\n",
    b"[kiosk]\nunit=kiosk.service # mine\n", b"[Kiosk]\nUnit=kiosk.service\n"])
@pytest.mark.parametrize("name", ["bf-guard.conf", "bf-guard.conf.d/10-mine.conf"])
def test_what_people_write_is_taken(check, tmp_path: Path, text: bytes, name: str) -> None:
    write(tmp_path / UNIT, "[Service]\n")
    write(tmp_path / "etc" / name, text)
    assert check() == (0, "no problem; the kiosk is kiosk.service\n")


def test_each_problem_has_its_place_and_its_cure(check, tmp_path: Path) -> None:
    write(tmp_path / "etc/bf-guard.conf", "[kiosk]\nunit=kiosk\n[trail]\n")
    write(tmp_path / "usr/lib/bf-guard.conf.d/50.conf", "# the vendor's\n[kiosk]\nunit=cage@tty1.service\n")
    assert check() == (1, (
        "/etc/bf-guard.conf:2: unit=kiosk is not understood; ignored.\n    Say unit=kiosk.service.\n"
        "/etc/bf-guard.conf:3: There is no section [trail]; what follows is ignored.\n"
        "    See bf-guard.conf(5) for the names.\n"
        "/usr/lib/bf-guard.conf.d/50.conf:3: The unit cage@tty1.service is nowhere in this root: there is no "
        "kiosk to judge.\n    Install the kiosk, or name its unit with unit=.\n"))
    write(tmp_path / "etc/bf-guard.conf", "")
    write(tmp_path / "usr/lib/systemd/system/cage@.service", "[Service]\n")
    assert check()[0] == 0


def test_the_builders_own_files_do_not_count(check, tmp_path: Path) -> None:
    """A link in the tree leads to where it leads on the device."""
    outside = write(tmp_path / "outside/kiosk.service", "[Service]\n")
    unit = tmp_path / "etc/systemd/system/kiosk.service"
    unit.parent.mkdir(parents=True)
    unit.symlink_to(outside)
    write(tmp_path / "etc/bf-guard.conf", "[kiosk]\nunit=kiosk.service\n")
    assert check()[0] == 1


def test_a_tree_that_is_not_there(programs: Path, tmp_path: Path) -> None:
    done = subprocess.run([programs / "bf-guard", "check-config", f"--root={tmp_path}/none"], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "") and "No such file or directory" in done.stderr


@pytest.mark.parametrize("text, status, said", [
    ((TOP / "hooks/image/fstab").read_text(), 0, ""),
    ("PARTLABEL=BF_DATA /data ext4 nodev,noexec,x-initrd.mount 0 0\n", 1, "line 1, /data: "),
    ("tmpfs /tmp tmpfs nosuid 0 0\n", 1, "no line has x-initrd.mount"),
    (None, 2, "")])
def test_check_fstab(programs: Path, tmp_path: Path, text: str | None, status: int, said: str) -> None:
    if text is not None:
        write(tmp_path / "fstab", text)
    done = subprocess.run([programs / "bf-init", "--check-fstab", tmp_path / "fstab"], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stderr == "") == (status, status < 2)
    assert done.stdout.startswith(said) and bool(said) == bool(done.stdout)
