"""What a device may get next: Debian 13 on the newest kernel of its backports.

`make check-long PYTEST_FLAGS="-rP -k newest"` says what was booted."""

from __future__ import annotations

import re

import pytest

import bundles
import real
from artifacts import Artifacts
from machine import Disk, End
from test_real import assert_sound, real_device, shut_down  # noqa: F401

INSTALL_SEC = 1200
# RAUC 1.13 cannot install on such a kernel, and bf-mkimage refuses the two together.
KERNEL = real.RealOptions(kernel="linux-image-arm64/trixie-backports", mkimage=("--unchecked",))
SYSTEM = real.RealOptions(suite="forky")


def versions(shell: real.Shell) -> dict[str, str]:
    return {"Linux": shell.lines("uname -r")[0],
            "systemd": shell.lines("systemctl --version")[0].split()[1],
            "RAUC": shell.lines("rauc --version")[0].split()[1]}


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"[\d.]+", version)[0].strip(".").split("."))


@pytest.mark.long
def test_newest_kernel(artifacts: Artifacts, real_device, tmp_path):  # noqa: F811
    """Nothing complains; and the RAUC that is refused with this kernel indeed cannot install with it."""
    device = real_device(KERNEL)
    bundle = bundles.tiny(tmp_path, "next", real.keys(artifacts))
    device.extra_disks.append(Disk(bundles.carrier([bundle], device.work / "bundles.img"), read_only=True))
    run = device.start()
    shell = real.Shell(run)
    assert_sound(shell)
    # A generator that fails (systemd 258's for GPT beside roothash=) starts no unit, so none has failed.
    journal = "\n".join(shell.lines("journalctl -b --no-pager -o cat"))
    assert not re.search(r"generators?/\S+ (failed|terminated)", journal)
    boot = shell.boot_file()
    assert (boot["BF_SLOT"], boot["BF_VERITY"], boot["BF_DEGRADED"]) == ("A", "V", "no")
    found = versions(shell)
    assert number(found["Linux"]) >= (6, 19)
    shell.lines("mount -o ro /dev/vdb1 /mnt; systemctl start rauc")
    status, said = shell("rauc install /mnt/next.raucb 2>&1", INSTALL_SEC)
    assert status != 0 and "Unexpected dm-verity status" in said, f"bf-mkimage need not refuse RAUC {found['RAUC']}"
    assert shut_down(device, run, "poweroff") == End("poweroff")
    print(", ".join(f"{name} {version}" for name, version in found.items()))


@pytest.mark.long
def test_newest_system(artifacts: Artifacts, real_device, tmp_path):  # noqa: F811
    """Debian's testing, with its systemd and a RAUC that can install."""
    device = real_device(SYSTEM)
    bundle = bundles.tiny(tmp_path, "next", real.keys(artifacts))
    device.extra_disks.append(Disk(bundles.carrier([bundle], device.work / "bundles.img"), read_only=True))
    run = device.start()
    shell = real.Shell(run)
    assert_sound(shell)
    journal = "\n".join(shell.lines("journalctl -b --no-pager -o cat"))
    assert not re.search(r"generators?/\S+ (failed|terminated)", journal)
    boot = shell.boot_file()
    assert (boot["BF_SLOT"], boot["BF_VERITY"], boot["BF_DEGRADED"]) == ("A", "V", "no")
    found = versions(shell)
    assert number(found["Linux"]) >= (6, 19) and number(found["systemd"]) >= (258,)
    shell.lines("mount -o ro /dev/vdb1 /mnt; systemctl start rauc")
    status, said = shell("rauc install /mnt/next.raucb 2>&1", INSTALL_SEC)
    assert status == 0, said
    assert shut_down(device, run, "poweroff") == End("poweroff")
    print(", ".join(f"{name} {version}" for name, version in found.items()))
