"""Debian 13 with systemd, udev, dbus and RAUC takes over from bf-init without a complaint."""

from __future__ import annotations

import re

import pytest

import bootrecord
from powercut import log as powercut_log
import real
from artifacts import Artifacts
from diskimage import DiskImage
from firmware import Request
from machine import Device, End, Hardware

# What a hand-over done wrong shows in the journal, sooner or later.
COMPLAINTS = re.compile(r"Timed out|timed out|Dependency failed|Failed to (mount|start)|degraded", re.I)


@pytest.fixture
def real_device(request, artifacts: Artifacts, console_log, tmp_path):
    """Makes devices with the real root; leaves no QEMU behind."""
    devices: list[Device] = []

    def make(options: real.RealOptions = real.RealOptions(),
             hardware: Hardware = real.HARDWARE) -> Device:
        work = artifacts.vm / "run" / f"real-{tmp_path.parent.name}-{tmp_path.name}"
        device = real.device(artifacts, real.image(artifacts, options), work, console_log,
                             hardware=hardware)
        devices.append(device)
        return device

    yield make
    for device in devices:
        device.close()
        device.disk.path.unlink(missing_ok=True)


def assert_sound(shell: real.Shell) -> None:
    """No failed unit, nothing that waited in vain."""
    settled = shell.settled()
    assert shell.lines("systemctl --failed --no-legend --plain") == []
    assert settled == "running"
    journal = "\n".join(shell.lines("journalctl -b -p notice --no-pager -o cat"))
    complaint = COMPLAINTS.search(journal)
    assert complaint is None, journal[max(0, complaint.start() - 300):complaint.end() + 300]


def assert_doctor(shell: real.Shell) -> None:
    """What bf-boot doctor says of a device that is as it should be, but for what the lab cannot have."""
    said = shell("bf-boot doctor")[1]
    faults = re.findall("^FAULT  (.*)$", said, re.M)
    assert len(faults) == 1 and "development certificate" in faults[0], said
    for line in ("ok     panic         reboot after 10 s", "warn   console       the screen shows no panic of the kernel",
                 "ok     watchdog      the firmware gives the kernel 31 s"):
        assert f"\n{line}" in said, said


def shut_down(device: Device, run, command: str) -> End:
    run.machine.send(f"systemctl {command}\n")
    return device.finish(run, real.LOGIN_SEC).ended


def assert_table_grew_in_order(device: Device) -> None:
    """Wherever power had been cut, one of the two partition tables was whole; ends the logging."""
    log, device.disk.write_log = device.disk.write_log, None
    entries = powercut_log.read([log])
    table = 33 * 512
    primary = [e.index for e in entries if e.touches(512, table)]
    backup = [e.index for e in entries if e.touches(device.disk.path.stat().st_size - table, table)]
    assert len(primary) == 1 and backup
    assert any(e.barrier for e in entries[backup[-1] + 1:primary[0]])
    assert any(e.barrier for e in entries[primary[0] + 1:])
    log.unlink()


def test_slot_a_twice(real_device):
    """First boot of a flashed image, then an ordinary one: the same machine, the same journal."""
    device = real_device()
    disk = DiskImage(device.disk.path)
    flashed = disk.partition("BF_DATA").size
    disk.grow(device.disk.path.stat().st_size + (512 << 20))
    device.disk.write_log = device.work / "writes.log"
    first = device.start()
    shell = real.Shell(first)
    assert_sound(shell)
    boot = shell.boot_file()
    assert (boot["BF_SLOT"], boot["BF_VERITY"], boot["BF_DEGRADED"], boot["BF_TRIAL"]) == ("A", "V", "no", "no")
    machine_id = shell.lines("cat /etc/machine-id")
    assert re.fullmatch(r"[0-9a-f]{32}", machine_id[0])
    assert "Detected first boot" not in "\n".join(shell.lines("journalctl -b --no-pager -o cat"))
    assert "(initrd)" in shell.lines("systemd-analyze")[0]
    assert shell("test -e /dev/mapper/root && test -b /dev/mapper/root")[0] == 0
    assert "SYSTEMD_READY=0" not in shell("udevadm info /dev/dm-0")[1]
    for part in ("BOOTSEL", "BOOT_A", "BOOT_B", "ROOT_A", "ROOT_B", "DATA"):
        said = shell.lines(f"udevadm info --query=property /dev/disk/by-partlabel/BF_{part}")
        assert "UDISKS_IGNORE=1" in said, part
    # The hardware watchdog went from bf-init to systemd without a gap.
    assert shell.lines("cat /sys/class/watchdog/watchdog0/state") == ["active"]
    assert "Using hardware watchdog" in "\n".join(shell.lines("journalctl -b --no-pager -o cat"))
    assert shell("touch /usr/x")[0] != 0
    assert shell("touch /etc/x /var/lib/x /var/log/x /data/x")[0] == 0
    # What the kiosk's plan keeps where the image has the program, and bf-init makes the mount point.
    assert shell.lines("findmnt -no FSROOT /var/lib/systemd/timers") == ["/systemd/timers"]
    assert shell("findmnt /var/lib/NetworkManager")[0] != 0
    assert shell.lines("readlink -f /var/lib/systemd/random-seed") == ["/var/lib/systemd/seed/random-seed"]
    assert int(shell.lines("stat -c %s /data/systemd/seed/random-seed")[0]) >= 32
    # The partition behind the root cannot be written, whoever asks.
    assert shell("dd if=/dev/zero of=/dev/disk/by-partlabel/BF_ROOT_A bs=4096 count=1 conv=fsync")[0] != 0
    # BF_DATA grew to the end of the disk, partition and file system.
    assert int(shell.lines("findmnt -bno SIZE /data")[0]) > flashed + (400 << 20)
    assert shell("ls /run/bf/growfs.*")[0] != 0, "the scratch file was left"
    # And what it grew by costs a check nothing: e2fsck does not read tables that were never used.
    groups = re.findall(r"^Group \d+: .*?(?:\[(.*)\])?$",
                        "\n".join(shell.lines("dumpe2fs /dev/disk/by-partlabel/BF_DATA 2>/dev/null")), re.M)
    assert len(groups) >= 6 and all("INODE_UNINIT" in flags for flags in groups[3:]), groups
    assert_doctor(shell)
    assert shut_down(device, first, "reboot") == End("reboot")
    disk = DiskImage(device.disk.path)
    assert disk.partition("BF_DATA").size > flashed + (500 << 20)
    assert disk.backup_partitions() == disk.partitions
    assert_table_grew_in_order(device)

    # As the image itself boots, without the lab's own words: quietly, and the journal has all of it.
    second = device.start("loglevel=3 systemd.show_status=auto")
    shell = real.Shell(second)
    assert not re.search(r"^\[ *\d+\.\d+\] |^\[ *OK *\]|bf-init:", second.console, re.M), second.console
    journal = "\n".join(shell.lines("journalctl -k -b --no-pager"))
    assert "kernel: Linux version " in journal and "kernel: Run /init as init process" in journal
    assert re.search(r"bf-init(\[\d+\])?: slot A, committed", journal), journal
    # The unit that bf-mkimage(8) has for the serial line.
    copy = "StandardOutput=tty -p TTYPath=/dev/ttyAMA0 journalctl --boot --follow --lines=all --no-pager"
    assert shell(f"systemd-run --quiet --unit=serial-log --setenv=SYSTEMD_COLORS=0 -p {copy}")[0] == 0
    second.machine.wait(r"kernel: Linux version ")
    second.machine.wait(r"bf-init(\[\d+\])?: slot A, committed")
    shell.lines("systemctl stop serial-log")
    assert_sound(shell)
    assert shell.lines("cat /etc/machine-id") == machine_id
    assert shell("test -e /etc/x")[0] != 0, "the volatile /etc kept a file"
    assert shell("test -e /var/lib/x")[0] != 0, "the volatile /var kept a file"
    assert shell("test -e /var/log/x && test -e /data/x")[0] == 0
    assert len(shell.lines("journalctl --list-boots --no-pager -q")) == 2
    assert shut_down(device, second, "poweroff") == End("poweroff")


def test_slot_b_with_cryptsetup_and_dmsetup(real_device):
    """roothash= must not wake systemd's own verity generator; dmsetup's udev rules must be content."""
    device = real_device(real.RealOptions(packages=("systemd-cryptsetup", "dmsetup")))
    disk = DiskImage(device.disk.path)
    bootrecord.seasoned(disk, committed="B")
    text = b"[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"
    disk.fat_patch("BF_BOOTSEL", "autoboot.txt", text.ljust(512, b"\n"))
    run = device.start()
    assert run.decision.partition == 3
    shell = real.Shell(run)
    assert_sound(shell)
    assert shell.boot_file()["BF_SLOT"] == "B"
    assert "systemd-veritysetup@" not in "\n".join(shell.lines("systemctl list-units --all --no-legend --plain"))
    assert "DM_NAME=root" in shell("udevadm info /dev/dm-0")[1]
    assert "SYSTEMD_READY=0" not in shell("udevadm info /dev/dm-0")[1]


def test_degraded(real_device):
    """BF_DATA is ruined beyond what e2fsck finds: the system runs all the same, nothing fails, and it says so."""
    device = real_device()
    disk = DiskImage(device.disk.path)
    disk.zero_partition("BF_DATA")
    run = device.start()
    shell = real.Shell(run)
    settled = shell.settled()
    assert shell("systemctl --failed --no-legend --plain")[1] == ""
    assert settled == "running"
    boot = shell.boot_file()
    assert boot["BF_DEGRADED"] == "yes" and boot["BF_DATA_WHY"]
    assert shell.lines("findmnt -no FSTYPE /data") == ["tmpfs"]
    journal = "\n".join(shell.lines("journalctl -b --no-pager -o cat"))
    assert "Timed out" not in journal
    device.cut(run)
    data = disk.read_partition("BF_DATA", 0, disk.partition("BF_DATA").size)
    assert data[:512].rstrip(b"\0") == b"BF-CHECK begun=1 skipped=0\n"
    assert not data[512:].strip(b"\0"), "I7: somebody wrote to BF_DATA"


def test_a_bad_block_met_by_systemd_ends_a_trial(real_device):
    """Behind bf-init the kernel restarts at the first bad block, and the firmware falls back."""
    device = real_device()
    disk = DiskImage(device.disk.path)
    listed = disk.debugfs("BF_ROOT_B", "ls -p /usr/lib/aarch64-linux-gnu/systemd", write=False)
    library = re.search(r"/(libsystemd-core-[\w.-]+\.so)/", listed)
    assert library, listed
    disk.ext4_flip("BF_ROOT_B", f"/usr/lib/aarch64-linux-gnu/systemd/{library[1]}", 200_000)
    bootrecord.seasoned(disk, staged="B", state_B="unknown", attempts="1")
    device.request = Request(tryboot=True, boot_mode=device.request.boot_mode)
    trial = device.boot(timeout=real.LOGIN_SEC)
    assert trial.decision.partition == 3
    assert trial.ended == End("reboot", "dm-verity device corrupted")
    record = bootrecord.load(disk)
    assert record["trials"] == "1" and record["committed"] == "A"
    assert device.decide().partition == 2, "the firmware does not fall back"
