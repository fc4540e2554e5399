"""A disk that is slow costs time and no boot; one that hangs costs a reset. On the mini root."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from machine import End
from test_mini_boot import WATCHED, assert_booted, image_of

WATCHDOG_SEC = 5
MIB = 1 << 20
JOURNAL_MIB = 24


def fill_journal(device) -> None:
    """BF_DATA with a journal full of blocks that are not yet in their places, as after a cut."""
    image = image_of(device)
    with tempfile.NamedTemporaryFile(dir=device.work) as f:
        f.truncate(image.partition("BF_DATA").size)
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-J", f"size={JOURNAL_MIB}", f.name], check=True)
        free = subprocess.run(["debugfs", "-R", "ffb 4096", f.name], check=True, capture_output=True,
                              text=True).stdout.split(":")[1].split()
        for at in range(0, len(free), 512):
            blocks = free[at:at + 512]
            subprocess.run(["debugfs", "-w", "-f", "-", f.name], check=True, capture_output=True, text=True,
                           input=f"jo\njw -b {blocks[0]}-{blocks[-1]} /dev/zero\njc\n")
        image.write_partition("BF_DATA", 0, Path(f.name).read_bytes())


def stage_sec(run, stage: str) -> float:
    took = re.search(rf"bf-init: stage {stage}: (\d+) us", run.console)
    assert took, f"no stage {stage}"
    return int(took[1]) / 1e6


def test_steps_longer_than_the_watchdog(make_device):
    """A journal that takes long to replay, then a mount plan on a slow disk: nobody kicks but bf-init."""
    device = make_device(hardware=WATCHED, mkimage=("--data-size", "96M"))
    fill_journal(device)
    run = device.start(f"bf.watchdog={WATCHDOG_SEC}")
    run.machine.wait(r"stage modules")
    run.machine.slow_io(3 * MIB)
    run.machine.wait(r"stage data")
    run.machine.slow_io(20 * 1024)
    run.machine.wait(r"stage handover")
    run.machine.resume_io()
    device.finish(run)
    assert_booted(run, "A")
    for stage in ("data", "mounts"):
        assert stage_sec(run, stage) > WATCHDOG_SEC + 2
    assert not run.degraded and "recovery complete" in run.console


def test_a_wait_longer_than_the_deadline(device):
    """The deadline's clock stands still while the disk is awaited: the reason is what is missing."""
    image_of(device).rename_partition("BF_ROOT_A", "OTHER")
    run = device.boot("bf.wait=20 bf.deadline=10")
    assert run.reason == "disk-missing" and "(waited 20 s)" in run.console


def test_a_disk_that_hangs_is_reset(make_device):
    """Patience ends with the deadline, in a call that no signal ends. The next boot is like any other."""
    device = make_device(hardware=WATCHED)
    run = device.start(f"bf.watchdog={WATCHDOG_SEC} bf.deadline=15")
    run.machine.wait(r"stage decide")
    run.machine.hang_io()
    assert device.finish(run).ended == End("watchdog")
    assert run.reason is None
    assert_booted(device.boot(), "A")
