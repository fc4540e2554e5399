"""One life of a device on every kernel and every kind of disk: what holds on Debian 13's own kernel
holds with pages of 16 KiB, as the Raspberry Pi 5 has them, and on the newest kernel of the backports.

`make check-vm PYTEST_FLAGS="-rP -k test_kernels"` says what was booted.
"""

from __future__ import annotations

import re
import zlib

import pytest

import bootrecord
from artifacts import Artifacts
from machine import Device, End, Run
from test_mini_boot import SECTOR_B, WATCHED, assert_booted, image_of
from test_mini_record import sector
from test_mini_select import HALT, REBOOT, assert_all_ran, boot, boot_command, seasoned  # noqa: F401

FLAVOURS = {"stock": 4096, "16k": 16384, "backports": 4096}     # bytes of a page
DISKS = ("virtio", "nvme", "sd")
FLIPPED = ("/etc/mini-probe", "/etc/fstab", "/bf-unread/data")
# Both slots hold the same image: as if it had just been written to B.
STAGE = [boot_command("set-state", "B", "bad"), boot_command("set-primary", "B")]
STORIES = ("A", "B", "FEC", "corrupt block", "fallback", "degraded")


def facts(run: Run) -> list[str]:
    """Kernel, pages and disk of a run, for a person."""
    mini = run.mini()
    return [mini["kernel"], f"{int(mini['page-bytes']) // 1024} KiB pages", mini["boot.BF_DISK"].strip('"')]


def sha256_driver(run: Run, kernel: Artifacts) -> str:
    """What verity hashes with: the processor's own instructions, or reading costs 14 times as much."""
    mini = run.console
    assert re.search(r"^MINI lines /proc/cpuinfo\.Features.* sha2\b", mini, re.M), "this processor has none"
    chosen = set(re.findall(r'device-mapper: verity: sha256 using \w+ "(\S+)"', mini))
    if chosen:
        assert chosen == {"sha256-ce"}, chosen
        return "sha256-ce"
    # A kernel whose verity asks no driver but the kernel's library, which has the instructions built in.
    text = "\n".join(re.findall(r"^MINI lines /proc/crypto\.(.*)$", mini, re.M))
    drivers = re.findall(r"^name +: sha256\ndriver +: (\S+)\n(?:\w.*\n)*?priority +: (\d+)", text, re.M)
    assert max(drivers, key=lambda driver: int(driver[1]))[0] == "sha256-lib", drivers
    assert "CONFIG_CRYPTO_LIB_SHA256_ARCH=y" in kernel.kernel_config.splitlines()
    return "sha256-lib"


def damage_beyond_repair(device: Device, run: Run, which: str) -> None:
    """The error correction of a root is wiped, and a block is not what it was. Its place is in a run's command line."""
    image = image_of(device)
    at = int(re.search(r"fec-offset=(\d+)", run.decision.cmdline)[1])
    image.write_partition(which, at, bytes(image.partition(which).size - at))
    image.ext4_flip(which, "/etc/fstab", 3)


def failed_before(device: Device, times: int) -> None:
    """The committed slot has failed so often in a row."""
    image = image_of(device)
    record = {key: value for key, value in bootrecord.load(image).items() if key in bootrecord.DEFAULTS}
    bootrecord.store(image, **{**record, "hard": str(times)})


@pytest.mark.parametrize("kind", DISKS)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_life(artifacts, seasoned, flavour, kind):  # noqa: F811
    device = seasoned(kind, flavour=flavour, hardware=WATCHED, mkimage=("--fec",))
    # What verity says of its hash; and nobody here feeds the watchdog.
    device.append += " loglevel=7 bf.watchdog=120"

    first = boot(device, "lines:/proc/cpuinfo", "lines:/proc/crypto", *STAGE, *REBOOT)
    assert_all_ran(first)
    assert (first.slot, first.trial, first.degraded) == ("A", False, False)
    assert first.boot_file()["verity"] == "V" and first.mini()["watchdog"] == "open"
    assert int(first.mini()["page-bytes"]) == FLAVOURS[flavour]
    assert first.ended == End("reboot", "0 tryboot")

    trial = boot(device, boot_command("set-state", "B", "good"), *REBOOT)
    assert_all_ran(trial)
    assert (trial.slot, trial.trial, trial.ended) == ("B", True, End("reboot"))
    assert sector(device) == SECTOR_B

    image = image_of(device)
    clean = image.ext4_read("BF_ROOT_B", FLIPPED[-1])
    for path in FLIPPED:
        image.ext4_flip("BF_ROOT_B", path, 7)
    repaired = boot(device, f"sum:{FLIPPED[-1]}", *HALT)
    assert_all_ran(repaired)
    assert (repaired.slot, repaired.trial, repaired.decision.partition) == ("B", False, 3)
    assert repaired.boot_file()["verity_fec"] == "yes" and "corrected" in repaired.console
    assert repaired.mini()[f"sum {FLIPPED[-1]}"] == f"{zlib.crc32(clean):08x}"

    damage_beyond_repair(device, repaired, "BF_ROOT_B")
    failed_before(device, 4)
    corrupt = boot(device, up=False)
    assert (corrupt.slot, corrupt.reason) == (None, "verity-corrupt")
    assert corrupt.ended == End("reboot")
    assert bootrecord.load(image)["last.reason"] == "verity-corrupt"

    away = boot(device, up=False)
    assert (away.slot, away.ended) == (None, End("reboot", "0 tryboot"))
    fallback = boot(device, boot_command("set-state", "A", "good"), *HALT)
    assert_all_ran(fallback)
    assert (fallback.slot, fallback.trial) == ("A", True)
    assert bootrecord.load(image)["committed"] == "A"

    image.write_partition("BF_DATA", 0, bytes(64 * 1024))
    degraded = boot(device, "poweroff")
    assert (degraded.slot, degraded.degraded, degraded.ended) == ("A", True, End("poweroff"))
    assert image.read_partition("BF_DATA", 0, 64 * 1024) == bytes(64 * 1024)
    driver = sha256_driver(first, artifacts.with_kernel(flavour))
    print("; ".join([*facts(first), driver, f"{', '.join(STORIES)}: {len(device.runs)} boots"]))


def test_a_slow_sha256_is_told_from_the_fast_one(artifacts, make_device):
    """The same image for which the fast one's module fits no processor: the lives above would not pass."""
    device = make_device(flavour="stock", edits=("bf-modules:*0006*:*9999*",))
    run = device.boot("loglevel=7 mini.do=lines:/proc/cpuinfo;lines:/proc/crypto")
    assert_booted(run, "A")
    with pytest.raises(AssertionError, match="sha256-arm64"):
        sha256_driver(run, artifacts.with_kernel("stock"))
