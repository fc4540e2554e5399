# SPDX-License-Identifier: MIT
"""The guard, RAUC's own service of this machine and bf-boot together, natively: how long a commit takes."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from guardlab import Lab
from rauc_lab import Rauc
from test_mkbundle import Keys, made_artifacts  # noqa: F401 (a fixture)

WINDOW_SEC = 1.0
PROMISED_SEC = 1.0


@dataclass
class GuardsBus:
    """The guard's bus, as rauc_lab wants one."""

    lab: Lab

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.lab.socket}"}

    def has(self, name: str) -> bool:
        return any(line.split()[0] == name for line in self.lab.busctl("list", "--no-legend").splitlines())


def real_backend(where: Path, lab: Lab, fake: Path) -> Path:
    """bf-boot on a device that is a directory. It leaves fsync out: done here, once a file."""
    device, backend = where / "device", where / "bf-boot"
    device.mkdir()
    backend.write_text(f"""#!/bin/sh
set -e
BF_FAKE_ROOT={device} {fake} "$@"
case $1 in set-state)
	sync {device}/data/bf/boot-record {device}/dev/nvme0n1p1
	touch {device}/durable
	echo committed probation >{lab.device}/facts
esac
""")
    backend.chmod(0o755)
    subprocess.run([fake, "--make", "running=B", "staged=B"], check=True, env={"BF_FAKE_ROOT": str(device)})
    return backend


@pytest.fixture
def commit(programs: Path, tmp_path: Path):
    lab = Lab(programs, "trial committable reached")
    lab.start_bus()
    lab.say("rauc off")
    backend = real_backend(tmp_path, lab, programs / "tests/bf-boot-fake")
    keys = Keys.made(tmp_path / "keys")
    rauc = Rauc(tmp_path, GuardsBus(lab), backend, keys.keyring, "B").start()
    yield lab, tmp_path / "device"
    rauc.stop()
    lab.close()


def test_commit_is_on_disk_soon_after_the_window(commit) -> None:
    """Printed; the limit is the promise. From the last check that passed, which begins the window."""
    lab, device = commit
    lab.start()
    lab.kiosk_starts()
    began = time.time()
    lab.beats()
    lab.log.wait_for("The trial is committed")
    believed = time.time()
    assert b"\ncommitted=B\n" in (device / "data/bf/boot-record").read_bytes()
    on_disk = (device / "durable").stat().st_mtime - began - WINDOW_SEC
    print(f"from the end of the window to the commit on disk {1000 * on_disk:.0f} ms, "
          f"read back and believed after {1000 * (believed - began - WINDOW_SEC):.0f} ms")
    assert 0 <= on_disk < PROMISED_SEC
