# SPDX-License-Identifier: MIT
"""tests/ensure-packages, with a package manager that only writes down what it is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PROGRAM = TOP / "tests/ensure-packages"


def names(*groups: str) -> list[str]:
    done = subprocess.run([PROGRAM, "--list", *groups], capture_output=True, text=True, check=True)
    return done.stdout.split()


class Debian:
    """A machine with the given packages; its commands append to a log."""

    def __init__(self, place: Path, installed: list[str], uid: int = 0, sudo: bool = True) -> None:
        self.bin, self.log = place / "bin", place / "log"
        self.bin.mkdir()
        for tool in ("sh", "awk", "sed", "sort", "tr", "dirname", "fold", "env"):
            (self.bin / tool).symlink_to(f"/usr/bin/{tool}")
        status = "\n".join(f"{name} installed" for name in installed)
        self.add("dpkg-query", f"cat <<'END'\n{status}\nremoved-one config-files\nEND\nexit 1")
        (self.bin / "cat").symlink_to("/usr/bin/cat")
        self.add("id", f"echo {uid}")
        self.add("apt-get", f'echo "apt-get $* $DEBIAN_FRONTEND" >>{self.log}')
        if sudo:
            self.add("sudo", f'echo sudo >>{self.log}; unset DEBIAN_FRONTEND; exec "$@"')

    def add(self, name: str, text: str) -> None:
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def ensure(self, *groups: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([PROGRAM, *groups], capture_output=True, text=True, check=False,
                              env={"PATH": str(self.bin)})

    def done(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def test_complete_machine_is_left_alone(tmp_path: Path) -> None:
    machine = Debian(tmp_path, names())
    done = machine.ensure()
    assert (done.returncode, done.stdout, done.stderr, machine.done()) == (0, "", "", [])


@pytest.mark.parametrize("uid, before", [(0, []), (1000, ["sudo"])])
def test_what_is_missing_is_said_and_installed(tmp_path: Path, uid: int, before: list[str]) -> None:
    machine = Debian(tmp_path, [n for n in names() if n not in ("make", "mtools")], uid)
    done = machine.ensure()
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert "missing" in lines[0] and ("with sudo" in lines[0]) == bool(before)
    assert lines[1].split() == ["make", "mtools"]
    assert machine.done() == [*before, "apt-get -qq update ", *before,
                              "apt-get -qq -y --no-install-recommends install make mtools noninteractive"]


def test_a_name_that_begins_another_is_not_the_other(tmp_path: Path) -> None:
    assert {"python3", "python3-pytest"} <= set(names("vm"))
    machine = Debian(tmp_path, [n for n in names("vm") if n != "python3"])
    machine.ensure("vm")
    assert machine.done()[-1].split()[-2:] == ["python3", "noninteractive"]


def test_only_the_groups_asked_for(tmp_path: Path) -> None:
    machine = Debian(tmp_path, [])
    assert machine.ensure("image").returncode == 0
    assert machine.done()[-1].split()[5:-1] == names("image")
    assert set(names("image", "build")) == {*names("image"), *names("build")} < set(names())


def test_without_sudo_it_says_what_to_type(tmp_path: Path) -> None:
    machine = Debian(tmp_path, [], uid=1000, sudo=False)
    done = machine.ensure("build")
    assert done.returncode == 1 and machine.done() == []
    assert f"apt-get install --no-install-recommends {' '.join(names('build'))}\n" in done.stderr


def test_unknown_group(tmp_path: Path) -> None:
    done = Debian(tmp_path, []).ensure("kitchen")
    assert done.returncode == 2 and "no group 'kitchen'" in done.stderr and "build" in done.stderr


def test_another_distribution(tmp_path: Path) -> None:
    machine = Debian(tmp_path, [])
    os.unlink(machine.bin / "apt-get")
    done = machine.ensure()
    assert done.returncode == 1 and "tests/packages" in done.stderr
