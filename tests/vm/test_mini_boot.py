"""Which slot boots, and what it is handed: slots, trials, device tree, disks. On the mini root."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import bootrecord
from artifacts import TOP
from diskimage import DiskImage
from machine import Disk, End, Hardware, Run
from test_firmware import CANONICAL, SWAPPED

WATCHED = Hardware(smp=1, memory=512, watchdog=True)
USB = ("--with", "usb")                 # not in the plain initramfs
SECTOR_A, SECTOR_B = CANONICAL.ljust(512, b"\n"), SWAPPED.ljust(512, b"\n")


def image_of(device) -> DiskImage:
    return DiskImage(device.disk.path)


def commit(device, slot: str) -> None:
    """A device whose committed slot this is, by sector and record."""
    image = image_of(device)
    image.fat_patch("BF_BOOTSEL", "autoboot.txt", SECTOR_A if slot == "A" else SECTOR_B)
    bootrecord.seasoned(image, committed=slot)


def request_trial(device) -> None:
    device.request = replace(device.request, tryboot=True)


def assert_booted(run: Run, slot: str, *, trial: bool = False, degraded: bool = False) -> None:
    assert run.reason is None
    assert run.slot == slot
    assert (run.trial, run.degraded) == (trial, degraded)
    assert run.ended == End("poweroff")


def kiosk_plan() -> list[list[str]]:
    text = (TOP / "hooks/image/fstab").read_text()
    return [line.split() for line in text.splitlines()
            if line.strip() and not line.startswith("#") and "x-initrd.mount" in line]


def without(line: str, word: str) -> str:
    """A command line without the words that start so."""
    return " ".join(w for w in line.split() if not w.startswith(word))


def damaged_below_the_firmware(device, damage) -> Run:
    """Boots with a disk that is damaged when the firmware has read it (what the vendor's makes of
    such a disk is not documented)."""
    edit, image = device.edit_cmdline, image_of(device)

    def damage_and_edit(line: str) -> str:
        damage(image)
        return edit(line)

    device.edit_cmdline = damage_and_edit
    return device.boot()


# -- slots ------------------------------------------------------------------------------------

def test_normal_boot_a(device):
    run = device.boot()
    assert_booted(run, "A")
    record = bootrecord.load(image_of(device))
    assert record["committed"] == "A" and record["last.slot"] == "A"
    assert record["last.phase"] == "started"
    assert record["hash.A"] == re.search(r"roothash=(\w+)", run.mini()["cmdline"])[1]
    # With the processor's own instructions: any other driver costs many times as much.
    assert re.search(r"bf-init: verity: sha256 by sha256-ce$", run.console, re.M)


def test_normal_boot_on_several_processors(make_device):
    """Modules are loaded in parallel there."""
    for smp in (2, 4):
        assert_booted(make_device(hardware=Hardware(smp=smp)).boot(), "A")


def test_normal_boot_b(device):
    commit(device, "B")
    run = device.boot()
    assert_booted(run, "B")
    assert run.decision.partition == 3
    assert run.mini()["dm-slaves"] == "vda5"
    assert bootrecord.load(image_of(device))["last.slot"] == "B"


def test_the_root_is_verified_and_read_only(device):
    run = device.boot("mini.do=write:/usr/new:x;remount:/;poke:/dev/vda4;poke:/dev/dm-0;"
                      "sum:/etc/mini-probe")
    mini = run.mini()
    kind, source, options, _ = run.mounts()["/"]
    assert (kind, "ro" in options) == ("ext4", True)
    assert source in ("/dev/mapper/root", "/dev/dm-0")
    assert mini["dm-name"] == "root" and mini["dm-slaves"] == "vda4"
    assert mini["dm-uuid"].startswith("CRYPT-VERITY-")
    assert "root" in mini["mapper"].split()
    assert mini["did write:/usr/new"] == "EROFS"
    assert mini["did remount:/"] in ("EACCES", "EROFS", "EPERM")
    assert mini["did poke:/dev/vda4"] in ("EPERM", "EACCES")
    assert mini["did poke:/dev/dm-0"] in ("EPERM", "EACCES")
    assert mini["did sum:/etc/mini-probe"] == "ok" and mini["probe"] == "the mini root"


def test_mount_plan_of_the_kiosk(device):
    run = device.boot()
    mounts = run.mounts()
    plan = kiosk_plan()
    assert len(plan) >= 5
    # The mini root has no NetworkManager, no systemd and so on: lines that name them are passed over.
    passed_over = {target for _, target, _, options, *_ in plan if "x-bf.if-exists" in options}
    assert len(passed_over) >= 5 and passed_over.isdisjoint(mounts)
    plan = [line for line in plan if line[1] not in passed_over]
    for source, target, kind, options, *_ in plan:
        expected = {"none": "ext4"}.get(kind, kind)
        assert mounts[target][0] == expected, target
        flags = {o for o in options.split(",") if o in ("nosuid", "nodev", "noexec", "ro")}
        assert flags <= mounts[target][2], target
        if kind == "overlay":
            assert mounts[target][2].isdisjoint({"ro"}) or "ro" in flags
    # Nothing of the initramfs is left mounted in sight, but what the plan and the kernel need.
    known = {target for _, target, *_ in plan} | {"/", "/dev", "/proc", "/sys", "/run"}
    assert set(mounts) <= known, set(mounts) - known


def test_flags_hold(device):
    run = device.boot("mini.do=copy:/sbin/init:/data/x;exec:/data/x;copy:/sbin/init:/home/x;exec:/home/x;"
                      "copy:/sbin/init:/var/x;exec:/var/x;node:/etc/null;node:/var/null;node:/data/null;"
                      "node:/home/null;node:/tmp/null;exec:/sbin/init")
    mini = run.mini()
    assert run.console.count("MINI did copy:/sbin/init=ok") == 3
    for place in ("/data", "/home", "/var"):
        assert mini[f"did exec:{place}/x"] == "EACCES", place
    for place in ("/etc", "/var", "/data", "/home", "/tmp"):
        assert mini[f"did node:{place}/null"] == "EACCES", place
    assert mini["did exec:/sbin/init"] == "ok"


def test_what_is_kept_and_what_is_not(device):
    """/etc and /var forget, but for what has a line of its own; /home and /data are shared."""
    commit(device, "A")
    device.boot("mini.do=write:/etc/kept:a;write:/var/kept:a;write:/home/kept:a;write:/data/kept:a;"
                "write:/tmp/kept:a;write:/var/log/kept:a")
    again = device.boot("mini.do=cat:/etc/kept;cat:/var/kept;cat:/home/kept;cat:/data/kept;cat:/tmp/kept;"
                        "cat:/var/log/kept").mini()
    assert [again[f"cat {p}/kept"] for p in ("/etc", "/var", "/home", "/data", "/tmp", "/var/log")] \
        == ["ENOENT", "ENOENT", "a", "a", "ENOENT", "a"]
    commit(device, "B")
    other = device.boot("mini.do=cat:/home/kept;cat:/data/kept;cat:/var/log/kept")
    assert other.slot == "B"
    mini = other.mini()
    assert [mini[f"cat {p}/kept"] for p in ("/home", "/data", "/var/log")] == ["a", "a", "a"]


def test_a_full_var_is_full_for_itself(device):
    """Its memory is bounded, and no other line's."""
    run = device.boot("mini.do=fill:/var/full;write:/var/more:x;write:/etc/more:x;write:/var/log/more:x")
    mini = run.mini()
    assert_booted(run, "A")
    assert [mini[f"did write:{p}/more"] for p in ("/var", "/etc", "/var/log")] == ["ENOSPC", "ok", "ok"]


def test_machine_id_is_made_once(device):
    first, second = device.boot().mini(), device.boot().mini()
    assert re.fullmatch(r"[0-9a-f]{32}", first["machine-id"])
    assert second["machine-id"] == first["machine-id"]
    commit(device, "B")
    assert device.boot().mini()["machine-id"] == first["machine-id"]


def test_hand_over(device):
    mini = device.boot().mini()
    assert mini["argv.0"] == "/sbin/init"
    assert int(mini["panic"]) > 0
    assert mini["initramfs-left"] == "ENOENT"
    assert any(name.startswith("b") for name in mini["udev-data"].split())
    # Only the console is handed over: no file descriptor of bf-init but the watchdog.
    extra = {k: v for k, v in mini.items() if re.fullmatch(r"fd\.\d+", k)
             and v != "/proc/1/fd" and not v.startswith(("/dev/watchdog", "/dev/console"))}
    assert extra == {}


def test_boot_file_is_whole(device):
    """What bf-boot stands on: stages, partitions, the firmware's words."""
    bootrecord.seasoned(image_of(device), staged="B", state_B="unknown", attempts="1")
    request_trial(device)
    boot = device.boot().boot_file()
    stages = ("start", "modules", "disk", "data", "decide", "root", "mounts", "handover")
    times = [int(boot[f"usec_{stage}"]) for stage in stages]
    assert times == sorted(times) and times[0] > 0
    parts = ("bootsel", "boot_a", "boot_b", "root_a", "root_b", "data")
    assert [boot[f"{part}_dev"] for part in parts] == [f"vda{n}" for n in range(1, 7)]
    assert boot["slot"] == "B" and boot["tryboot"] == "yes"
    assert boot["count"] == str(device.runs[0].decision.device_tree["count"])
    assert re.fullmatch(r"[0-9a-f]{32}", boot["boot_id"])
    assert bootrecord.load(image_of(device))["last.boot_id"] == boot["boot_id"]


def test_watchdog_is_handed_over_ticking(make_device):
    device = make_device(hardware=WATCHED)
    run = device.start("mini.do=hang bf.watchdog=15")
    run.machine.wait("^MINI watchdog=(open|none)")
    assert run.mini()["watchdog"] == "open"
    # Nobody feeds it: the machine must be reset although init only hangs.
    assert device.finish(run, 120).ended == End("watchdog")


@pytest.mark.parametrize("fs", ["erofs", "squashfs"])
def test_other_root_file_systems(make_device, fs):
    run = make_device(mkimage=("--fs", fs), initramfs=("--with", fs)).boot("mini.do=sum:/bf-unread/data")
    assert_booted(run, "A")
    assert run.mounts()["/"][0] == fs
    assert run.mini()["did sum:/bf-unread/data"] == "ok"


# -- trials -----------------------------------------------------------------------------------

def test_trial_flag_seen(device):
    commit(device, "A")
    bootrecord.seasoned(image_of(device), committed="A", staged="B", attempts="1")
    first = device.boot("mini.do=tryboot")
    assert first.slot == "A" and not first.trial
    assert first.ended == End("reboot", "0 tryboot")
    trial = device.boot("mini.do=reboot")
    assert trial.slot == "B" and trial.trial
    record = bootrecord.load(image_of(device))
    assert (record["trials"], record["last.phase"], record["last.slot"]) == ("1", "trial", "B")
    assert record["committed"] == "A"
    # Nothing was committed: the next boot is the committed slot, the trial stays staged.
    back = device.boot()
    assert_booted(back, "A")
    assert bootrecord.load(image_of(device))["staged"] == "B"


def test_trial_of_a_slot_that_is_not_staged_goes_back(device):
    """A reboot argument left behind is no trial."""
    commit(device, "A")
    request_trial(device)
    stray = device.boot()
    assert stray.slot is None and stray.ended == End("reboot")
    assert "trial-not-staged" in stray.console
    assert_booted(device.boot(), "A")
    assert bootrecord.load(image_of(device))["trials"] == "0"


def test_trial_with_a_lost_record_is_accepted(device):
    request_trial(device)
    run = device.boot()
    assert_booted(run, "B", trial=True)
    record = bootrecord.load(image_of(device))
    assert (record["committed"], record["staged"]) == ("A", "B")


def test_a_trial_that_fails_falls_back_and_says_why(device):
    """The staged slot's root is damaged: the trial ends in bf-init, the committed slot rejects it."""
    commit(device, "A")
    bootrecord.seasoned(image_of(device), committed="A", staged="B", attempts="1")
    image_of(device).ext4_flip("BF_ROOT_B", "/etc/fstab")
    request_trial(device)
    trial = device.boot()
    assert trial.slot is None and trial.reason == "verity-corrupt"
    assert "back to slot A" in trial.console
    assert trial.ended == End("reboot")
    back = device.boot()
    assert_booted(back, "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["state.B"], record["proven.B"]) == ("-", "bad", "no")
    assert ("rejected", "B", "verity-corrupt") in bootrecord.history(record)


def test_a_lost_flag_is_not_a_failed_trial(device):
    """I4: power was cut before the trial started."""
    commit(device, "A")
    bootrecord.seasoned(image_of(device), committed="A", staged="B", attempts="1")
    run = device.start("mini.do=tryboot")
    device.finish(run)
    assert device.request.tryboot
    device.request = replace(device.request, tryboot=False, count=1)
    assert_booted(device.boot(), "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["trials"], record["state.B"]) == ("B", "0", "good")


# -- device tree --------------------------------------------------------------------------------

def test_device_tree_partition_zero_means_unknown(device):
    commit(device, "B")
    device.edit_cells = lambda cells: {**cells, "partition": 0}
    run = device.boot()
    assert_booted(run, "B")
    assert run.mini()["dm-slaves"] == "vda5"


def test_device_tree_absent(device):
    commit(device, "B")
    device.edit_cells = lambda cells: None
    assert_booted(device.boot(), "B")


def test_neither_device_tree_nor_slot(device):
    device.edit_cells = lambda cells: None
    device.edit_cmdline = lambda line: without(line, "rauc.slot=")
    run = device.boot()
    assert run.slot is None and run.reason == "slot-unknown"
    assert run.ended == End("reboot")


def test_device_tree_alone(device):
    device.edit_cmdline = lambda line: without(line, "rauc.slot=")
    assert_booted(device.boot(), "A")


def test_device_tree_disagrees_on_the_committed_slot(device):
    """It runs and says so: the partition that was opened is the one the firmware loaded."""
    commit(device, "A")
    device.edit_cmdline = lambda line: line.replace("rauc.slot=A", "rauc.slot=B")
    run = device.boot()
    assert run.slot == "A" and run.ended == End("poweroff")
    assert run.mini()["dm-slaves"] == "vda4"
    boot = run.boot_file()
    assert (boot["mismatch"], boot["limbo"], boot["reason"]) == ("yes", "yes", "slot-mismatch")


def test_device_tree_disagrees_in_a_trial(device):
    commit(device, "A")
    bootrecord.seasoned(image_of(device), committed="A", staged="B", attempts="1")
    request_trial(device)
    device.edit_cmdline = lambda line: line.replace("rauc.slot=B", "rauc.slot=A")
    trial = device.boot()
    assert trial.slot is None and trial.ended == End("reboot")
    device.edit_cmdline = lambda line: line
    assert_booted(device.boot(), "A")
    assert ("rejected", "B", "slot-mismatch") in bootrecord.history(bootrecord.load(image_of(device)))


def test_tryboot_cell_of_the_wrong_size_is_unknown(device):
    """A cell that is not four bytes says nothing."""
    commit(device, "A")
    device.edit_cells = lambda cells: {k: v for k, v in cells.items() if k != "tryboot"}
    assert_booted(device.boot(), "A")


# -- disks --------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind,sector_size,disk", [
    ("virtio", 4096, "vda"), ("nvme", 512, "nvme0n1p"), ("nvme", 4096, "nvme0n1p"),
    ("sd", 512, "mmcblk0p"), ("usb", 512, "sda")])
def test_disk_kind(make_device, kind, sector_size, disk):
    device = make_device(kind=kind, sector_size=sector_size, initramfs=USB)
    commit(device, "A")
    run = device.boot()
    assert_booted(run, "A")
    assert run.mini()["dm-slaves"] == f"{disk}4"


def copy_of(device, artifacts, name: str) -> Path:
    return artifacts.copy(device.disk.path, device.work / name)


@pytest.mark.parametrize("kind", ["virtio", "nvme", "sd"])
def test_a_stick_with_the_same_labels_never_wins(make_device, artifacts, kind):
    device = make_device(kind=kind, initramfs=USB)
    commit(device, "A")
    stick = copy_of(device, artifacts, "stick.img")
    device.extra_disks = [Disk(stick, kind="usb")]
    before = stick.read_bytes()
    run = device.boot()
    assert_booted(run, "A")
    assert not run.mini()["dm-slaves"].startswith("sd")
    # Nobody wrote to the stick either.
    assert stick.read_bytes() == before


def test_a_stick_does_not_replace_a_missing_disk(make_device, artifacts):
    """The firmware booted from NVMe; only a stick carries the labels."""
    device = make_device(kind="nvme", initramfs=USB)
    commit(device, "A")
    stick = copy_of(device, artifacts, "stick.img")
    device.extra_disks = [Disk(stick, kind="usb")]
    image = image_of(device)
    for label in [p.label for p in image.partitions.values()]:
        image.rename_partition(label, f"X{label}")
    run = device.boot("bf.wait=10")
    assert run.slot is None and run.reason == "disk-missing"


def test_two_equal_disks_are_refused(device, artifacts):
    device.extra_disks = [Disk(copy_of(device, artifacts, "second.img"))]
    run = device.boot("bf.wait=10")
    assert run.slot is None and run.reason == "disk-ambiguous"


def test_boot_mode_decides_between_two_disks(make_device, artifacts):
    device = make_device(kind="nvme")
    device.extra_disks = [Disk(copy_of(device, artifacts, "second.img"), kind="virtio")]
    run = device.boot()
    assert_booted(run, "A")
    assert run.mini()["dm-slaves"] == "nvme0n1p4"


def test_root_partition_missing(device):
    commit(device, "A")
    image_of(device).rename_partition("BF_ROOT_A", "SOMETHING")
    run = device.boot("bf.wait=10")
    assert run.slot is None and run.reason == "disk-missing"
    assert "BF_ROOT_A" in run.console


def test_root_partition_empty(device):
    commit(device, "A")
    image_of(device).zero_partition("BF_ROOT_A")
    run = device.boot()
    assert run.slot is None and run.reason == "root-filesystem"
    assert bootrecord.load(image_of(device))["last.reason"] == "root-filesystem"


def test_root_partition_holds_something_else(device):
    commit(device, "A")
    image = image_of(device)
    image.zero_partition("BF_ROOT_A")
    image.write_partition("BF_ROOT_A", 0, b"XFSB" + bytes(508))
    run = device.boot()
    assert run.slot is None and run.reason in ("root-filesystem", "verity-superblock")


@pytest.mark.parametrize("gpt", [True, False], ids=["gpt", "without-the-word"])
def test_backup_partition_table_serves(device, gpt):
    """Power was cut while the partition table changed: with `gpt` the kernel takes the backup."""
    if not gpt:
        # Nothing else brings it back: the word is not an ornament.
        device.edit_cmdline = lambda line: without(line, "gpt") + " bf.wait=2"
    run = damaged_below_the_firmware(device, lambda image: image.write_at(image.sector_size, bytes(512)))
    assert run.slot == ("A" if gpt else None)
    assert run.reason == (None if gpt else "disk-missing")


def test_the_disk_was_made_larger(device):
    """A fresh card is larger than the image: its backup table is not at the end, and it boots."""
    image_of(device).grow(device.disk.path.stat().st_size + (512 << 20))
    assert_booted(device.boot(), "A")
