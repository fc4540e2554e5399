"""The boot selection of a running device: install, trial, commit, fallback, by bf-boot on the mini
root, as RAUC and the units call it. Each boot is a real one, behind the firmware model."""

from __future__ import annotations

import re

import pytest

import bootrecord
from machine import End, Run
from worn_card import WornCard
from test_mini_boot import SECTOR_A, SECTOR_B, image_of
from test_mini_record import sector

BF_BOOT = "/usr/sbin/bf-boot"
DEVICES = {"virtio": "/dev/vda", "nvme": "/dev/nvme0n1p", "sd": "/dev/mmcblk0p", "usb": "/dev/sda"}
ROOTS, BOOTS = {"A": 4, "B": 5}, {"A": 2, "B": 3}


def boot_command(*words: str) -> str:
    """The action that runs bf-boot."""
    return "run:" + "~".join((BF_BOOT, *words))


def install(slot: str, kind: str = "virtio") -> list[str]:
    """What RAUC does, in its order; the image comes from the other slot."""
    disk, other = DEVICES[kind], "A" if slot == "B" else "B"
    return [boot_command("set-state", slot, "bad"),
            f"flash:{disk}{ROOTS[other]}:{disk}{ROOTS[slot]}",
            f"flash:{disk}{BOOTS[other]}:{disk}{BOOTS[slot]}",
            boot_command("set-primary", slot)]


# What the units do on the way down: bf-boot-reconcile's stop, then bf-boot-arm.
REBOOT = [boot_command("shutdown", "reboot"), boot_command("arm"), "shutdown"]
HALT = [boot_command("shutdown", "halt"), "poweroff"]
UP = [boot_command("reconcile")]


def boot(device, *actions: str, up: bool = True) -> Run:
    """One boot: reconciled, then @actions."""
    return device.boot("mini.do=" + ";".join([*(UP if up else []), *actions]))


def status(run: Run, *words: str) -> int:
    """Exit status of a bf-boot call in a run; the last one of several equal ones."""
    found = re.findall(rf"^MINI ran {re.escape(' '.join((BF_BOOT, *words)))}=(\S+)", run.console, re.M)
    assert found, f"bf-boot {' '.join(words)} did not run"
    return int(found[-1])


def assert_all_ran(run: Run) -> None:
    """Every bf-boot call of the run ended well, and every other action too."""
    for command, result in re.findall(r"^MINI ran (.*)=(\S+)", run.console, re.M):
        assert result == "0", f"{command}: {result}\n{run.console[-3000:]}"
    for action, result in re.findall(r"^MINI did (\S+)=(\S+)", run.console, re.M):
        assert result == "ok", f"{action}: {result}"


def answer(run: Run, *words: str) -> str:
    """What a bf-boot call printed last."""
    end = run.console.index(f"MINI took {BF_BOOT} {' '.join(words)}=")
    return run.console[:end].rstrip().splitlines()[-1]


def record_of(device) -> dict[str, str]:
    record = bootrecord.load(image_of(device))
    assert record, "no record"
    return record


@pytest.fixture
def seasoned(make_device):
    """Makes a device that has been through an update: A committed, B good; bf-boot in its root."""
    def make(kind: str = "virtio", **options: object):
        device = make_device(kind=kind, programs=("bf-boot",), **options)
        bootrecord.seasoned(image_of(device))
        return device
    return make


# -- the story -----------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["virtio", "nvme", "sd"])
def test_install_trial_commit(seasoned, kind):
    """The whole story, with the sectors it costs; then the other way round."""
    device = seasoned(kind)
    before = sector(device)
    run = boot(device, *install("B", kind), boot_command("get-primary"), boot_command("get-state", "B"),
               *REBOOT)
    assert_all_ran(run)
    assert run.slot == "A" and run.ended == End("reboot", "0 tryboot")
    assert (answer(run, "get-primary"), answer(run, "get-state", "B")) == ("B", "good")
    assert sector(device) == before, "a trial does not need the sector"
    record = record_of(device)
    assert (record["staged"], record["attempts"], record["last.phase"]) == ("B", "1", "attempt")

    trial = boot(device, boot_command("get-primary"), boot_command("set-state", "B", "good"),
                 boot_command("set-state", "B", "good"), boot_command("get-primary"), *REBOOT)
    assert_all_ran(trial)
    assert (trial.slot, trial.trial, trial.ended) == ("B", True, End("reboot"))
    record = record_of(device)
    assert (record["committed"], record["staged"], record["state.B"]) == ("B", "-", "good")
    assert (record["proven.B"], record["probation"], record["state.A"]) == ("yes", "yes", "good")
    assert sector(device) == SECTOR_B

    after = boot(device, *HALT)
    assert_all_ran(after)
    assert (after.slot, after.trial, after.decision.partition) == ("B", False, 3)


def test_an_ordinary_boot_writes_little(seasoned):
    """At most two record writes, none to BF_BOOTSEL."""
    device = seasoned()
    boot(device, *HALT)
    before, generation = sector(device), int(record_of(device)["gen"])
    run = boot(device, boot_command("set-state", "A", "good"), boot_command("set-state", "A", "good"),
               "poweroff")
    assert_all_ran(run)
    assert int(record_of(device)["gen"]) - generation <= 2
    assert sector(device) == before


@pytest.mark.parametrize("where", ["after the install", "after the shutdown counted"])
def test_power_cut_between_install_and_trial(seasoned, where):
    """A trial that did not happen is not a failed one: it happens at the next reboot."""
    device = seasoned()
    actions = install("B") + (REBOOT[:1] if "counted" in where else [])
    run = device.start("mini.do=" + ";".join([*UP, *actions, "hang"]))
    run.machine.wait(rf"MINI ran {BF_BOOT} {'shutdown reboot' if 'counted' in where else 'set-primary B'}=0")
    device.cut(run)
    again = boot(device, boot_command("get-primary"), *REBOOT)
    assert_all_ran(again)
    assert again.slot == "A" and answer(again, "get-primary") == "B"
    assert again.ended == End("reboot", "0 tryboot")
    trial = boot(device, boot_command("set-state", "B", "good"), *HALT)
    assert_all_ran(trial)
    assert trial.trial and record_of(device)["committed"] == "B"


def test_switched_off_instead(seasoned):
    """Switching off is not a trial, and does not use one up."""
    device = seasoned()
    for _ in range(2):
        run = boot(device, *install("B"), *HALT)
        assert_all_ran(run)
        record = record_of(device)
        assert (record["staged"], record["attempts"], record["trials"]) == ("B", "0", "0")


# -- trials that fail ------------------------------------------------------------------------------

def test_trial_rejected_by_set_state_bad(seasoned):
    """RAUC's mark-bad of the booted slot: refused for good, and A is what boots."""
    device = seasoned()
    boot(device, *install("B"), *REBOOT)
    trial = boot(device, boot_command("set-state", "B", "bad"), boot_command("set-state", "B", "good"),
                 *REBOOT)
    assert trial.trial and status(trial, "set-state", "B", "bad") == 0
    assert status(trial, "set-state", "B", "good") == 1, "rejected, then committed"
    assert trial.ended == End("reboot")
    record = record_of(device)
    assert (record["state.B"], record["proven.B"], record["staged"]) == ("bad", "no", "-")
    assert ("rejected", "B", "trial-rejected") in bootrecord.history(record)
    after = boot(device, boot_command("get-primary"), boot_command("get-state", "B"), *HALT)
    assert_all_ran(after)
    assert (after.slot, answer(after, "get-primary"), answer(after, "get-state", "B")) == ("A", "A", "bad")


def test_a_trial_that_breaks_in_bf_init_is_rejected_at_once(seasoned):
    """Installed whole, but not what was signed: the reason stands in the record."""
    device = seasoned()
    run = boot(device, *install("B"), *REBOOT)
    assert_all_ran(run)
    image_of(device).ext4_flip("BF_ROOT_B", "/etc/fstab")
    trial = boot(device, up=False)
    assert trial.reason == "verity-corrupt"
    after = boot(device, boot_command("history"), boot_command("get-state", "B"), *HALT)
    assert_all_ran(after)
    assert after.slot == "A" and answer(after, "get-state", "B") == "bad"
    record = record_of(device)
    assert ("rejected", "B", "verity-corrupt") in bootrecord.history(record)
    assert record["refused.0"] == record["hash.B"] != "-"


def test_a_trial_that_hangs_is_tried_three_times(seasoned):
    """Dark trials: the watchdog ends each; the device comes back to A every time."""
    device = seasoned()
    boot(device, *install("B"), *REBOOT)
    for number in (1, 2, 3):
        trial = boot(device, "reset", up=False)          # as a watchdog would: no word, no record
        assert trial.trial and trial.slot == "B", number
        after = boot(device, boot_command("get-primary"), *REBOOT)
        assert_all_ran(after)
        assert after.slot == "A"
        assert answer(after, "get-primary") == ("B" if number < 3 else "A")
    record = record_of(device)
    assert (record["state.B"], record["staged"]) == ("bad", "-")
    assert ("rejected", "B", "trial-dark") in bootrecord.history(record)


# -- refusals --------------------------------------------------------------------------------------

def test_no_install_while_a_trial_runs(seasoned):
    """The other slot is what the firmware falls back to."""
    device = seasoned()
    boot(device, *install("B"), *REBOOT)
    before = record_of(device)
    trial = boot(device, boot_command("set-state", "A", "bad"), boot_command("set-primary", "A"),
                 boot_command("set-state", "A", "good"), boot_command("try"), "poweroff")
    assert trial.trial
    for words in (("set-state", "A", "bad"), ("set-primary", "A"), ("set-state", "A", "good"), ("try",)):
        assert status(trial, *words) == 1, words
    after = record_of(device)
    assert {k: after[k] for k in ("committed", "staged", "state.A", "state.B")} == \
        {k: before[k] for k in ("committed", "staged", "state.A", "state.B")}
    assert sector(device) == SECTOR_A


def test_what_is_refused_changes_nothing(seasoned):
    device = seasoned()
    boot(device, *HALT)
    before = record_of(device)
    calls = [("set-state", "A", "bad"), ("set-state", "B", "good"), ("set-state", "C", "bad"),
             ("set-primary", "C"), ("get-state", "C"), ("try",), ("reject",)]
    run = boot(device, *(boot_command(*words) for words in calls), "poweroff")
    for words in calls:
        assert status(run, *words) == 1, words
    after = record_of(device)
    assert {k: v for k, v in after.items() if not k.startswith(("last", "gen", "soft"))} == \
        {k: v for k, v in before.items() if not k.startswith(("last", "gen", "soft"))}


# -- around it -------------------------------------------------------------------------------------

def test_install_twice_while_armed(seasoned):
    device = seasoned()
    run = boot(device, *install("B"), *install("B"), boot_command("get-primary"), *REBOOT)
    assert_all_ran(run)
    assert answer(run, "get-primary") == "B" and run.ended == End("reboot", "0 tryboot")
    assert record_of(device)["attempts"] == "1"


def test_armed_and_taken_back(seasoned):
    device = seasoned()
    run = boot(device, *install("B"), boot_command("set-primary", "A"), boot_command("get-primary"), *REBOOT)
    assert_all_ran(run)
    assert answer(run, "get-primary") == "A" and run.ended == End("reboot")
    assert boot(device, *HALT).slot == "A"


def test_autoboot_txt_edited_by_hand_between(seasoned):
    """The record is the truth: the hand edit is taken back, the armed trial still happens."""
    device = seasoned()
    boot(device, *install("B"), *HALT)
    image_of(device).fat_patch("BF_BOOTSEL", "autoboot.txt", SECTOR_B)
    run = boot(device, *REBOOT)                         # the firmware starts B; bf-init sends it back
    assert run.decision.partition == 3 and run.ended == End("reboot")
    assert sector(device) == SECTOR_A
    run = boot(device, *REBOOT)
    assert_all_ran(run)
    assert run.slot == "A" and run.ended == End("reboot", "0 tryboot")


def test_sector_lost_while_armed(seasoned):
    """No reboot with the flag before the sector is right again: it could hang the firmware."""
    device = seasoned()
    boot(device, *install("B"), *HALT)
    image_of(device).fat_patch("BF_BOOTSEL", "autoboot.txt", bytes(512))
    run = boot(device, *REBOOT)
    assert_all_ran(run)
    assert sector(device) == SECTOR_A and run.ended == End("reboot", "0 tryboot")


LATER = {"lit_sec": "4711", "state.C": "worn", "note": "a = b \u00e4"}


def test_a_record_of_a_later_version(seasoned):
    """A later version has settled and written keys and words of its own; then the device goes back to
    this version. It installs, stages, tries, commits and falls back, and loses none of them."""
    device = seasoned()
    bootrecord.seasoned(image_of(device), later=LATER, proven_A="cloned", history_0="1735689600 moved A why c=d")

    def check(**expected: str) -> dict[str, str]:
        record = record_of(device)
        assert {key: record.get(key) for key in LATER} == LATER
        assert "1735689600 moved A why c=d" in record.values()
        for name, value in expected.items():
            assert record[name.replace("_", ".", 1)] == value, name
        return record

    run = boot(device, *install("B"), boot_command("status"), boot_command("history"), *REBOOT)
    assert_all_ran(run)
    assert "moved" in run.console
    check(staged="B", proven_A="cloned")
    trial = boot(device, boot_command("set-state", "B", "good"), *REBOOT)
    assert_all_ran(trial)
    assert trial.trial
    check(committed="B", proven_A="cloned")
    run = boot(device, boot_command("settle"), *install("A"), *REBOOT)
    assert_all_ran(run)
    check(staged="A", proven_A="no")
    trial = boot(device, boot_command("set-state", "A", "bad"), *REBOOT)
    assert (trial.slot, trial.trial) == ("A", True)
    check(committed="B", state_A="bad")
    run = boot(device, boot_command("status"), *HALT)
    assert_all_ran(run)
    assert run.slot == "B"
    check(committed="B", staged="-")


# The mini root has no modules of its own: what the mount of a FAT takes is loaded before it.
VFAT = ("--module", "vfat", "--module", "nls_cp437", "--module", "nls_ascii")
SWAPPED = b"[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"
EDITS = {  # what stands in autoboot.txt (None: deleted), and the slot that is committed
    "one line": (b"boot_partition=3\n", "A"),
    "2 and 3 exchanged, not padded": (SWAPPED, "A"),
    "deleted": (None, "B"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_out_of_the_wrong_slot(seasoned, edit):
    """The firmware starts the other slot: one reboot by number, and reconcile makes the file anew."""
    device, (text, committed) = seasoned(initramfs=VFAT), EDITS[edit]
    other = "A" if committed == "B" else "B"
    bootrecord.seasoned(image_of(device), committed=committed)
    if text is None:
        image_of(device).fat_delete("BF_BOOTSEL", "autoboot.txt")
    else:
        image_of(device).fat_write("BF_BOOTSEL", "autoboot.txt", text)
    wrong = boot(device, *REBOOT)
    assert wrong.decision.partition == BOOTS[other] and wrong.slot is None
    assert wrong.ended == End("reboot", str(BOOTS[committed])) and "wrong-slot" in wrong.console
    run = boot(device, boot_command("status"), *install(other), *REBOOT)
    assert_all_ran(run)
    assert run.slot == committed and run.ended == End("reboot", "0 tryboot")
    assert sector(device) == (SECTOR_A if committed == "A" else SECTOR_B)
    trial = boot(device, boot_command("set-state", other, "good"), *HALT)
    assert_all_ran(trial)
    assert trial.slot == other and trial.trial and record_of(device)["committed"] == other
    assert sector(device) == (SECTOR_A if other == "A" else SECTOR_B)


def test_reconcile_in_the_wrong_slot(seasoned):
    """The reboots of bf-init were in vain: reconcile makes the file and has one reboot of its own."""
    device = seasoned(initramfs=VFAT)
    bootrecord.seasoned(image_of(device), committed="B", repairs="2")
    image_of(device).fat_delete("BF_BOOTSEL", "autoboot.txt")
    run = boot(device, boot_command("set-state", "B", "bad"), boot_command("status"), *REBOOT)
    assert run.slot == "A" and run.boot_file()["limbo"] == "yes"
    assert "autoboot.txt names slot B again: rebooting into it" in run.console
    assert status(run, "set-state", "B", "bad") == 1
    assert "The running slot is not the committed one, which autoboot.txt names." in run.console
    assert sector(device) == SECTOR_B and record_of(device)["repairs"] == "3"
    after = boot(device, boot_command("get-primary"), *HALT)
    assert_all_ran(after)
    assert after.slot == "B" and after.decision.partition == 3


def test_update_of_a_slot_left_by_fallback(seasoned):
    """A fails until B is tried and committed; then A gets a new image and is committed again."""
    device = seasoned()
    bootrecord.seasoned(image_of(device), committed="A", hard="5", last_slot="A", last_phase="failed",
                        last_reason="init-missing")
    away = boot(device, up=False)
    assert away.ended == End("reboot", "0 tryboot"), "five failures: the good other slot is tried"
    trial = boot(device, boot_command("set-state", "B", "good"), *install("A"), boot_command("get-state", "A"),
                 *REBOOT)
    assert_all_ran(trial)
    assert trial.slot == "B" and trial.trial and answer(trial, "get-state", "A") == "good"
    assert trial.ended == End("reboot", "0 tryboot")
    back = boot(device, boot_command("set-state", "A", "good"), *HALT)
    assert_all_ran(back)
    assert back.slot == "A" and back.trial
    assert record_of(device)["committed"] == "A" and sector(device) == SECTOR_A


def test_full_data_partition(seasoned):
    """The record needs no free space."""
    device = seasoned()
    run = boot(device, "fill:/data/full", *install("B"), *REBOOT)
    for words in (("set-state", "B", "bad"), ("set-primary", "B"), ("shutdown", "reboot")):
        assert status(run, *words) == 0
    trial = boot(device, boot_command("set-state", "B", "good"), *HALT)
    assert trial.slot == "B" and status(trial, "set-state", "B", "good") == 0
    assert record_of(device)["committed"] == "B"


def test_degraded_answers_and_refuses(seasoned):
    """Without BF_DATA the questions are answered, and nothing is changed."""
    device = seasoned()
    image_of(device).zero_partition("BF_DATA")
    calls = [("get-primary",), ("get-state", "A"), ("get-current",), ("set-state", "B", "bad"),
             ("set-primary", "B"), ("set-state", "A", "good"), ("status",)]
    run = boot(device, *(boot_command(*words) for words in calls), "poweroff")
    assert run.degraded
    assert [status(run, *words) for words in calls] == [0, 0, 0, 1, 1, 1, 0]
    assert (answer(run, "get-primary"), answer(run, "get-state", "A")) == ("A", "good")
    assert sector(device) == SECTOR_A


def test_blocks_of_4096_bytes(seasoned):
    device = seasoned(sector_size=4096)
    boot(device, *install("B"), *REBOOT)
    trial = boot(device, boot_command("set-state", "B", "good"), *HALT)
    assert_all_ran(trial)
    assert trial.slot == "B" and record_of(device)["committed"] == "B"
    assert boot(device, *HALT).decision.partition == 3


def test_a_trial_nobody_could_write_down_is_not_committed(seasoned):
    """Committed only what is durable: the stamp of the trial has to be."""
    device = seasoned()
    boot(device, *install("B"), *REBOOT)
    image = image_of(device)
    future = bootrecord.text(format="2", gen="50", committed="A", staged="B")
    for path in bootrecord.PATHS:
        image.ext4_write("BF_DATA", path, future)
    trial = boot(device, boot_command("set-state", "B", "good"), boot_command("status"), "poweroff")
    assert trial.slot == "B" and status(trial, "set-state", "B", "good") == 1
    assert sector(device) == SECTOR_A


def test_a_card_that_forgets_what_it_takes(seasoned, tmp_path):
    """Worn out, it takes every write and keeps none. The slot boots, once and again; it is said, and nothing
    is installed."""
    device = seasoned()
    before, record = sector(device), record_of(device)
    card = WornCard(device.disk.path, tmp_path / "nbd")
    device.disk.nbd = card.path
    for _ in range(2):
        run = boot(device, boot_command("set-state", "B", "bad"), boot_command("status"), boot_command("doctor"),
                   *HALT)
        assert (run.slot, run.reason, run.ended) == ("A", None, End("poweroff"))
        assert status(run, "set-state", "B", "bad") != 0
        assert "The disk takes writes and forgets them" in run.console
        assert re.search(r"FAULT +disk ", run.console)
        assert "boot record cannot be written" in run.console
    card.close()
    device.disk.nbd = None
    assert card.dropped > 0
    assert (sector(device), record_of(device)) == (before, record)
