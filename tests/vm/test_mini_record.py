"""The boot record and autoboot.txt, lost, damaged or at odds with each other. On the mini root."""

from __future__ import annotations

from dataclasses import replace

import pytest

import bootrecord
from firmware import Settings
from machine import End
from test_firmware import NO_A_B, SWAPPED
from test_mini_boot import (SECTOR_A, SECTOR_B, assert_booted, commit, image_of, request_trial)


def sector(device) -> bytes:
    return image_of(device).fat_read("BF_BOOTSEL", "autoboot.txt")


# -- the record -----------------------------------------------------------------------------------

def test_record_missing_is_made_anew(device):
    run = device.boot()
    assert_booted(run, "A")
    assert run.boot_file()["record"] == "lost"
    record = bootrecord.load(image_of(device))
    assert record["committed"] == "A" and record["state.B"] == "unknown"
    assert ("rebuilt", "A", "-") in bootrecord.history(record)
    # The next boot finds it.
    again = device.boot()
    assert again.boot_file()["record"] in ("ok", "backup")
    assert int(bootrecord.load(image_of(device))["gen"]) > int(record["gen"])


def test_record_is_left_in_two_generations(device):
    device.boot()
    device.boot()
    image = image_of(device)
    with image.settled("BF_DATA") as data:
        found = [bootrecord.parse(data.ext4_read(0, path)) for path in bootrecord.PATHS]
    assert all(found) and found[0]["gen"] != found[1]["gen"]


DAMAGE = [
    ("truncated", lambda text: text[:700]),
    ("empty", lambda text: b""),
    ("wrong crc", lambda text: text.replace(b"committed=A", b"committed=B")),
    ("zeros", lambda text: bytes(len(text))),
    ("binary", lambda text: bytes(range(256)) * 32),
    ("one byte too long", lambda text: text + b"\n"),
]


@pytest.mark.parametrize("name,damage", DAMAGE, ids=[row[0] for row in DAMAGE])
def test_newest_generation_damaged(device, name, damage):
    """The other generation is the backup."""
    image = image_of(device)
    bootrecord.seasoned(image, committed="A", soft="3")
    image.ext4_write("BF_DATA", bootrecord.PATHS[0],
                     damage(bootrecord.text(gen="9", committed="A", state_A="good")))
    run = device.boot()
    assert_booted(run, "A")
    assert run.boot_file()["record"] == "backup"
    record = bootrecord.load(image_of(device))
    assert record["state.A"] == "good" and record["soft"] == "3"


@pytest.mark.parametrize("name,damage", DAMAGE, ids=[row[0] for row in DAMAGE])
def test_both_generations_damaged(device, name, damage):
    """Rebuilt from autoboot.txt and the device tree: never a reason not to boot."""
    commit(device, "B")
    image = image_of(device)
    for path in bootrecord.PATHS:
        image.ext4_write("BF_DATA", path, damage(bootrecord.text(gen="9", committed="A")))
    run = device.boot()
    assert_booted(run, "B")
    assert run.boot_file()["record"] == "lost"
    assert bootrecord.load(image_of(device))["committed"] == "B"


def test_record_from_the_future_is_left_alone(device):
    """Written by a newer version, which may come back: not used, not overwritten."""
    image = image_of(device)
    future = bootrecord.text(format="2", gen="50", committed="A")
    for path in bootrecord.PATHS:
        image.ext4_write("BF_DATA", path, future)
    run = device.boot()
    assert run.slot == "A" and run.ended == End("poweroff")
    assert run.boot_file()["record"] == "future"
    with image_of(device).settled("BF_DATA") as data:
        assert [data.ext4_read(0, path) for path in bootrecord.PATHS] == [future, future]


# -- autoboot.txt --------------------------------------------------------------------------------------

def lose(device, how: str) -> None:
    image = image_of(device)
    if how == "missing":
        image.fat_delete("BF_BOOTSEL", "autoboot.txt")
    elif how == "garbage in place":
        image.fat_patch("BF_BOOTSEL", "autoboot.txt", bytes(range(128, 256)) * 4)
    elif how == "zeros in place":
        image.fat_patch("BF_BOOTSEL", "autoboot.txt", bytes(512))
    elif how == "half a sector":
        image.fat_patch("BF_BOOTSEL", "autoboot.txt", SECTOR_B[:20] + bytes(492))
    elif how == "empty":
        image.fat_write("BF_BOOTSEL", "autoboot.txt", b"")
    elif how == "600 bytes":
        image.fat_write("BF_BOOTSEL", "autoboot.txt", SWAPPED.ljust(600, b"\n"))
    elif how == "both sections equal":
        image.fat_patch("BF_BOOTSEL", "autoboot.txt",
                        b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=2\n".ljust(512, b"\n"))
    elif how == "without tryboot_a_b":
        image.fat_patch("BF_BOOTSEL", "autoboot.txt",
                        NO_A_B.replace(b"=2", b"=9").replace(b"=3", b"=2").ljust(512, b"\n"))
    elif how == "no FAT":
        image.zero_partition("BF_BOOTSEL")
    else:
        raise ValueError(how)


REPAIRABLE = ["garbage in place", "zeros in place", "half a sector", "both sections equal",
              "without tryboot_a_b"]
# The directory entry is gone or names another size: only a mount could repair it, in the running system.
GONE = ["missing", "empty", "600 bytes", "no FAT"]


@pytest.mark.parametrize("how", REPAIRABLE)
def test_lost_selection_is_repaired(device, how):
    """B is committed, the firmware starts A: the sector is written, one reboot, B runs."""
    commit(device, "B")
    lose(device, how)
    first = device.boot()
    assert first.decision.partition == 2
    assert first.slot is None and first.ended == End("reboot")
    assert "wrong-slot" in first.console
    assert sector(device) == SECTOR_B
    second = device.boot()
    assert_booted(second, "B")
    record = bootrecord.load(image_of(device))
    assert record["repairs"] == "1"
    assert any(entry[:2] == ("repaired", "B") for entry in bootrecord.history(record))


@pytest.mark.parametrize("how", REPAIRABLE)
def test_lost_selection_of_the_slot_that_runs(device, how):
    """A is committed and runs: repaired without a reboot."""
    commit(device, "A")
    lose(device, how)
    run = device.boot()
    assert_booted(run, "A")
    assert sector(device) == SECTOR_A


@pytest.mark.parametrize("how", GONE)
def test_selection_beyond_repair_of_the_slot_that_runs(device, how):
    """A is committed and runs: nothing to be done before the running system."""
    commit(device, "A")
    lose(device, how)
    run = device.boot()
    assert run.slot == "A" and run.ended == End("poweroff")
    boot = run.boot_file()
    assert (boot["selector"], boot["limbo"]) == ("gone", "no")


@pytest.mark.parametrize("how", GONE)
def test_selection_beyond_repair_is_passed_by(device, how):
    """B is committed, the firmware starts A: left by the number of B's partition, counted."""
    commit(device, "B")
    lose(device, how)
    first = device.boot()
    assert first.decision.partition == 2
    assert first.slot is None and first.ended == End("reboot", "3")
    assert bootrecord.load(image_of(device))["repairs"] == "1"
    second = device.boot()
    assert second.slot == "B" and second.ended == End("poweroff")
    boot = second.boot_file()
    assert (boot["selector"], boot["limbo"]) == ("gone", "no")


@pytest.mark.parametrize("repairs", [2, 3])
def test_a_slot_that_is_started_again_and_again(device, repairs):
    """After the reboots of bf-init it runs, in limbo; after the one of bf-boot as its own fallback."""
    bootrecord.seasoned(image_of(device), committed="B", repairs=str(repairs))
    lose(device, "missing")
    run = device.boot()
    assert run.slot == "A" and run.ended == End("poweroff")
    boot, record = run.boot_file(), bootrecord.load(image_of(device))
    if repairs == 2:
        assert (boot["limbo"], boot["trial"], record["staged"]) == ("yes", "no", "-")
    else:
        assert (boot["limbo"], boot["trial"], boot["committable"]) == ("no", "yes", "yes")
        assert (record["staged"], record["kind"], record["repairs"]) == ("A", "fallback", "4")
        assert ("fallback", "B", "wrong-slot") in bootrecord.history(record)


def test_selection_too_long_as_an_old_bootloader_reads_it(device):
    """600 bytes, of which the firmware reads the first 512."""
    commit(device, "B")
    lose(device, "600 bytes")
    device.settings = Settings(truncate_autoboot=True)
    run = device.boot()
    assert run.decision.partition == 3
    assert run.slot == "B" and run.ended == End("poweroff")


def test_crlf_is_a_selection(device):
    """Edited on another system: the firmware obeys it, so it is one."""
    commit(device, "B")
    image_of(device).fat_patch("BF_BOOTSEL", "autoboot.txt",
                               SWAPPED.replace(b"\n", b"\r\n").ljust(512, b"\n"))
    run = device.boot()
    assert_booted(run, "B")
    assert run.boot_file()["selector"] == "valid"


def test_the_record_beats_a_hand_edit(device):
    """The record is the truth; the sector follows it."""
    commit(device, "A")
    image_of(device).fat_patch("BF_BOOTSEL", "autoboot.txt", SECTOR_B)
    first = device.boot()
    assert first.decision.partition == 3 and first.slot is None
    assert_booted(device.boot(), "A")
    assert sector(device) == SECTOR_A


def test_repairs_are_bounded(device):
    """A sector that does not stay: two reboots, then what runs is used (I5)."""
    commit(device, "B")
    ended = []
    for _ in range(3):
        lose(device, "garbage in place")
        ended.append(device.boot())
    assert [(r.slot, r.ended) for r in ended] == \
        [(None, End("reboot")), (None, End("reboot")), ("A", End("poweroff"))]
    assert ended[-1].boot_file()["limbo"] == "yes"


def test_lost_record_and_lost_selection(device):
    """Nothing says which slot is committed: what runs is taken for it."""
    lose(device, "garbage in place")
    run = device.boot()
    assert_booted(run, "A")
    assert bootrecord.load(image_of(device))["committed"] == "A"
    assert sector(device) == SECTOR_A


def test_the_flag_with_a_lost_selection_does_not_hang(device):
    """The firmware takes tryboot.txt, which every boot image carries; bf-init sees that it is no trial."""
    commit(device, "B")
    lose(device, "garbage in place")
    request_trial(device)
    run = device.boot()
    assert run.decision.config == "tryboot.txt" and run.decision.partition == 2
    assert run.slot is None
    assert_booted(device.boot(), "B")


def test_nothing_but_the_selection_is_written(device):
    """One block of BF_BOOTSEL, and nothing else of it; both boot partitions untouched."""
    commit(device, "B")
    image = image_of(device)
    lose(device, "garbage in place")
    before = {name: image.read_partition(name, 0, image.partition(name).size)
              for name in ("BF_BOOTSEL", "BF_BOOT_A", "BF_BOOT_B")}
    device.boot()
    fat = image_of(device).fat("BF_BOOTSEL")
    at = fat.cluster_offset(fat.find("autoboot.txt").cluster) - fat.start
    for name, old in before.items():
        new = image_of(device).read_partition(name, 0, len(old))
        if name == "BF_BOOTSEL":
            old = old[:at] + SECTOR_B + old[at + 512:]
        assert new == old, name


def test_power_cut_right_after_the_repair(device):
    """The sector is written before anything counts: a cut costs nothing (I1)."""
    commit(device, "B")
    lose(device, "garbage in place")
    run = device.start()
    run.machine.wait(r"autoboot\.txt is as it must be")
    device.cut(run)
    assert_booted(device.boot(), "B")


@pytest.mark.parametrize("size", [4096])
def test_repair_on_a_4096_byte_disk(make_device, size):
    device = make_device(sector_size=size)
    commit(device, "B")
    lose(device, "garbage in place")
    assert device.boot().slot is None
    assert_booted(device.boot(), "B")
    assert sector(device) == SECTOR_B


# -- resolving past trials ------------------------------------------------------------------------------

def staged(device, **changes: str) -> None:
    commit(device, "A")
    values = {"committed": "A", "staged": "B", "attempts": "1", "hash_B": "ab" * 32, **changes}
    bootrecord.seasoned(image_of(device), **values)


def test_three_dark_trials_reject_an_update(device):
    staged(device, trials="3")
    assert_booted(device.boot(), "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["state.B"], record["refused.0"]) == ("-", "bad", "ab" * 32)
    assert ("rejected", "B", "trial-dark") in bootrecord.history(record)


def test_six_attempts_that_never_ran_give_up_without_blame(device):
    staged(device, attempts="6", state_B="unknown")
    assert_booted(device.boot(), "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["state.B"]) == ("-", "unknown")
    assert ("given-up", "B", "trial-never-ran") in bootrecord.history(record)


def test_a_trial_that_died_before_bf_init_is_counted(device):
    """The firmware's count says that one boot in between left no trace."""
    staged(device, last_slot="A", last_phase="attempt", last_count="4")
    device.request = replace(device.request, count=6)
    assert_booted(device.boot(), "A")
    assert bootrecord.load(image_of(device))["trials"] == "1"


def test_quick_power_cycles_do_not_condemn_a_slot(device):
    """A person who plugs and unplugs: soft, never hard."""
    commit(device, "A")
    for _ in range(2):
        device.boot_until("^MINI begin", "mini.do=hang")
    device.boot()
    record = bootrecord.load(image_of(device))
    assert record["hard"] == "0" and record["soft"] == "2"
