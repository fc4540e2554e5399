"""BF_DATA is kept, repaired when it asks for it, never made anew; the mount plan is obeyed or refused.
On the mini root."""

from __future__ import annotations

import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

import bootrecord
from diskimage import DiskImage
from machine import End
from test_mini_boot import assert_booted, commit, image_of

SUPERBLOCK = 1024
STATE, ERRORS_SEEN = SUPERBLOCK + 58, 2         # ext4 s_state (Documentation/filesystems/ext4/super.rst)
INCOMPAT, RECOVER = SUPERBLOCK + 96, 4          # s_feature_incompat, needs_recovery

KIOSK_DATA = "PARTLABEL=BF_DATA /data ext4 nosuid,nodev,noexec,x-initrd.mount 0 0\n"
ETC = "overlay /etc overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile 0 0\n"


def data_bytes(device) -> bytes:
    image = image_of(device)
    return image.read_partition("BF_DATA", 0, image.partition("BF_DATA").size)


def fill_data_from(device, *mkfs: str) -> None:
    """Make another file system in the place of BF_DATA."""
    image = image_of(device)
    size = image.partition("BF_DATA").size
    with tempfile.NamedTemporaryFile(dir=device.work) as f:
        f.truncate(size)
        subprocess.run([*mkfs, f.name], check=True, capture_output=True)
        image.write_partition("BF_DATA", 0, Path(f.name).read_bytes())


def assert_degraded(run, slot: str = "A") -> None:
    assert_booted(run, slot, degraded=True)
    assert run.mounts()["/data"][0] == "tmpfs"
    # Everything that would lie on BF_DATA works all the same.
    for place in ("/var", "/home", "/var/log"):
        assert place in run.mounts()
    assert run.boot_file()["data_why"], "degraded without a word"


WRITES = ("mini.do=write:/data/w:x;write:/home/w:x;write:/var/w:x;write:/var/log/w:x;"
          "cat:/data/w;cat:/home/w;cat:/var/w;cat:/var/log/w")


def assert_writable(run) -> None:
    mini = run.mini()
    assert [mini[f"cat {p}/w"] for p in ("/data", "/home", "/var", "/var/log")] == ["x"] * 4


# -- the file system ----------------------------------------------------------------------------------

def test_data_missing(device):
    commit(device, "A")
    image_of(device).rename_partition("BF_DATA", "OTHER")
    run = device.boot(WRITES)
    assert_degraded(run)
    assert_writable(run)
    assert "BF_DATA" in run.boot_file()["data_why"]


NOTE_BYTES = 512                        # where bf-init notes a check that was begun


@pytest.mark.parametrize("e2fsck", [False, True], ids=["without e2fsck", "with e2fsck"])
def test_data_empty_is_never_formatted(make_device, e2fsck):
    """I7: nothing but zeros may be a disk that lost its start: nobody formats it."""
    device = make_device(e2fsck=e2fsck)
    image_of(device).zero_partition("BF_DATA")
    before = data_bytes(device)
    run = device.boot(WRITES)
    assert_degraded(run)
    assert_writable(run)
    assert data_bytes(device)[NOTE_BYTES:] == before[NOTE_BYTES:]


def test_zeroed_superblock_is_repaired_by_e2fsck(make_device):
    # bf-mkimage's default: the lab's usual 32 MiB are one group of blocks, and so no second superblock.
    device = make_device(e2fsck=True, mkimage=("--data-size", "160M"))
    image = image_of(device)
    commit(device, "A")
    image.ext4_write("BF_DATA", "/keep", b"precious\n")
    image.write_partition("BF_DATA", SUPERBLOCK, bytes(1024))
    run = device.boot("mini.do=cat:/data/keep")
    assert run.slot == "A" and run.mini()["cat /data/keep"] == "precious"
    assert run.boot_file()["data_checked"] == "yes"
    assert bootrecord.load(image_of(device))["committed"] == "A"


def test_zeroed_superblock_without_e2fsck_is_left_alone(device):
    image = image_of(device)
    image.ext4_write("BF_DATA", "/keep", b"precious\n")
    image.write_partition("BF_DATA", SUPERBLOCK, bytes(1024))
    before = data_bytes(device)
    assert_degraded(device.boot())
    assert data_bytes(device) == before


def test_dirty_journal_is_replayed(device):
    """Power is cut while the file system is in use; what was synced is there, no check is needed."""
    run = device.boot_until(r"^MINI did sync=ok",
                            "mini.do=write:/data/kept:precious;mkdir:/data/d;write:/home/kept:too;sync;sleep:1000")
    assert run.ended == End("cut")
    image = image_of(device)
    assert struct.unpack("<I", image.read_partition("BF_DATA", INCOMPAT, 4))[0] & RECOVER
    again = device.boot("mini.do=cat:/data/kept;cat:/home/kept")
    assert_booted(again, "A")
    assert "recovery complete" in again.console
    assert again.boot_file()["data_checked"] == "no"
    mini = again.mini()
    assert (mini["cat /data/kept"], mini["cat /home/kept"]) == ("precious", "too")


def set_error_flag(device) -> None:
    image = image_of(device)
    state = struct.unpack("<H", image.read_partition("BF_DATA", STATE, 2))[0]
    image.debugfs("BF_DATA", f"set_super_value state {state | ERRORS_SEEN}")


def test_error_flag_makes_e2fsck_run(make_device):
    device = make_device(e2fsck=True)
    set_error_flag(device)
    run = device.boot()
    assert_booted(run, "A")
    assert run.boot_file()["data_checked"] == "yes"
    assert run.boot_file()["data_why"].endswith("e2fsck repaired errors") or \
        run.boot_file()["data_why"].endswith("e2fsck found no errors")
    assert "the data partition is being checked" in run.console
    # One boot is one stamp, whatever was read before and after the check.
    assert bootrecord.load(image_of(device))["gen"] == "1"
    # It is in order now, and the next boot does not check again.
    again = device.boot()
    assert_booted(again, "A")
    assert again.boot_file()["data_checked"] == "no"


def test_error_flag_without_e2fsck_boots_and_says_so(device):
    set_error_flag(device)
    run = device.boot()
    assert run.slot == "A" and run.ended == End("poweroff")
    assert "e2fsck" in run.boot_file()["data_why"]


def test_damage_is_repaired(make_device):
    """A directory's inode count is wrong: e2fsck asks a question, nobody is there to answer."""
    device = make_device(e2fsck=True)
    image = image_of(device)
    commit(device, "A")
    image.ext4_write("BF_DATA", "/keep", b"precious\n")
    image.debugfs("BF_DATA", "sif <2> links_count 77", "ssv free_blocks_count 1")
    set_error_flag(device)
    assert image.e2fsck("BF_DATA", "-fn") == 4
    run = device.boot("mini.do=cat:/data/keep")
    assert_booted(run, "A")
    assert run.mini()["cat /data/keep"] == "precious"
    assert image_of(device).e2fsck("BF_DATA", "-fn") == 0


def test_beyond_repair(make_device):
    """Superblocks and group descriptors are gone, all of them: degraded, and not one byte is changed. The
    first sector is not ours either, so nothing is noted there."""
    device = make_device(e2fsck=True)
    image = image_of(device)
    size = image.partition("BF_DATA").size
    image.write_partition("BF_DATA", 0, b"\xa5" * size)
    before = data_bytes(device)
    assert_degraded(device.boot())
    assert data_bytes(device) == before


def note(device) -> bytes:
    return image_of(device).read_partition("BF_DATA", 0, NOTE_BYTES).rstrip(b"\0")


def test_a_check_without_end(make_device):
    """The disk turns slow while it is checked: ended by its limit, used all the same, and noted."""
    device = make_device(e2fsck=True, cmdline="bf.check=5 bf.deadline=10")
    commit(device, "A")
    image_of(device).ext4_write("BF_DATA", "/keep", b"precious\n")
    set_error_flag(device)
    run = device.start("mini.do=cat:/data/keep")
    run.machine.wait("is being checked")
    run.machine.slow_io(2000)
    run.machine.wait(r"e2fsck did not end in 5 s")
    run.machine.resume_io()
    run = device.finish(run)
    assert (run.slot, run.reason, run.ended) == ("A", None, End("poweroff"))
    assert run.mini()["cat /data/keep"] == "precious"
    assert run.boot_file()["data_checked"] == "no"
    assert note(device) == b"BF-CHECK begun=1 skipped=0\n"


def test_a_check_in_vain_is_not_begun_at_each_boot(make_device):
    """Two in a row did not help: four boots go on without one, the fifth tries again."""
    device = make_device(e2fsck=True)
    set_error_flag(device)
    image_of(device).write_partition("BF_DATA", 0, b"BF-CHECK begun=2 skipped=3\n")
    run = device.boot()
    assert_booted(run, "A")
    assert "is being checked" not in run.console
    assert "2 checks in a row did not help" in run.boot_file()["data_why"]
    assert note(device) == b"BF-CHECK begun=2 skipped=4\n"
    run = device.boot()
    assert_booted(run, "A")
    assert run.boot_file()["data_checked"] == "yes"
    assert note(device) == b""


OTHERS = [("vfat", ("mkfs.vfat", "-F", "16")), ("ext2", ("mke2fs", "-q", "-t", "ext2")),
          ("squashfs magic", None)]


@pytest.mark.parametrize("name,mkfs", OTHERS, ids=[row[0] for row in OTHERS])
def test_wrong_file_system(device, name, mkfs):
    if mkfs:
        fill_data_from(device, *mkfs)
    else:
        image_of(device).zero_partition("BF_DATA")
        image_of(device).write_partition("BF_DATA", 0, b"hsqs" + bytes(100))
    before = data_bytes(device)
    assert_degraded(device.boot())
    assert data_bytes(device) == before


def test_data_full(device):
    """Preallocated: a full disk neither stops the record nor the boot."""
    commit(device, "A")
    device.boot("mini.do=fill:/data/full;sync")
    image = image_of(device)
    generation = int(bootrecord.load(image)["gen"])
    run = device.boot("mini.do=write:/data/more:x")
    assert run.slot == "A" and run.ended == End("poweroff")
    assert run.mini()["did write:/data/more"] == "ENOSPC"
    assert int(bootrecord.load(image_of(device))["gen"]) > generation


def test_data_full_on_the_first_boot(device):
    """No record, no directories yet, and no room for any."""
    image = image_of(device)
    free = image.partition("BF_DATA").size
    with tempfile.NamedTemporaryFile(dir=device.work) as f:
        f.write(b"f" * free)
        f.flush()
        try:
            image.debugfs("BF_DATA", f"write {f.name} /full")
        except Exception as e:              # it ends with "no space", which is what is wanted
            assert "allocate" in str(e) or "space" in str(e)
    run = device.boot("mini.do=write:/var/w:x;cat:/var/w")
    assert run.slot == "A" and run.ended == End("poweroff")
    assert run.degraded
    assert run.mini()["cat /var/w"] == "x"


def test_read_only_disk(device):
    """A worn out card takes no write: what is there can be read, the rest is volatile."""
    commit(device, "A")
    image_of(device).ext4_write("BF_DATA", "/keep", b"precious\n")
    device.boot()
    device.disk.read_only = True
    run = device.boot("mini.do=cat:/data/keep;write:/var/w:x;cat:/var/w")
    assert run.slot == "A" and run.degraded
    assert run.mini()["cat /data/keep"] == "precious"
    assert run.mini()["cat /var/w"] == "x"


# -- traps in the place of the record; all others are in test_mini_traps.py ------------------------------

def test_symlink_instead_of_the_record(device):
    """bf/boot-record leads to another file on BF_DATA: neither read nor written through."""
    image = image_of(device)
    image.ext4_write("BF_DATA", "/victim", b"victim\n")
    image.ext4_remove("BF_DATA", "/bf")
    image.ext4_mkdir("BF_DATA", "/bf")
    image.ext4_symlink("BF_DATA", "/bf/boot-record", "../victim")
    run = device.boot("mini.do=cat:/data/victim")
    assert run.slot == "A"
    assert run.mini()["cat /data/victim"] == "victim"


def test_symlinked_record_directory(device):
    image = image_of(device)
    image.ext4_remove("BF_DATA", "/bf")
    image.ext4_mkdir("BF_DATA", "/elsewhere")
    image.ext4_symlink("BF_DATA", "/bf", "elsewhere")
    run = device.boot("mini.do=ls:/data/elsewhere")
    assert run.slot == "A"
    assert run.mini()["ls /data/elsewhere"] == ""


# -- the mount plan -------------------------------------------------------------------------------------

PLANS = [
    ("no fstab", "", "fstab"),
    ("an empty plan", "# nothing\n", "fstab"),
    ("garbage", KIOSK_DATA + "this is not a line of fstab\n", "fstab"),
    ("binary", KIOSK_DATA + "\x01\x02\x03 \x7f\n", "fstab"),
    ("unknown x-bf option", KIOSK_DATA + ETC.replace("volatile", "volatile,x-bf.moon=full"), "fstab"),
    ("unknown upper", KIOSK_DATA + ETC.replace("volatile", "somewhere"), "fstab"),
    ("unknown file system option",
     KIOSK_DATA + "tmpfs /tmp tmpfs nosuid,nodev,moon=full,x-initrd.mount 0 0\n", "mount"),
    ("unknown file system", KIOSK_DATA + "x /tmp moonfs nosuid,nodev,x-initrd.mount 0 0\n", "fstab"),
    ("nosuid missing", KIOSK_DATA + "tmpfs /tmp tmpfs nodev,x-initrd.mount 0 0\n", "fstab"),
    ("fsck pass", KIOSK_DATA.replace("0 0", "0 2"), "fstab"),
    ("bind from outside", KIOSK_DATA + "/usr /home none bind,nosuid,nodev,x-initrd.mount 0 0\n",
     "fstab"),
    ("bind with ..", KIOSK_DATA +
     "/data/../etc /home none bind,nosuid,nodev,noexec,x-initrd.mount 0 0\n", "fstab"),
    ("target with ..", KIOSK_DATA + "tmpfs /tmp/../etc tmpfs nosuid,nodev,x-initrd.mount 0 0\n",
     "fstab"),
    ("two lines for one target", KIOSK_DATA + ETC + ETC, "fstab"),
    ("child before its parent",
     KIOSK_DATA + "/data/log /var/log none bind,nosuid,nodev,noexec,x-initrd.mount 0 0\n"
     "overlay /var overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile 0 0\n", "fstab"),
    ("what root runs on BF_DATA",
     KIOSK_DATA + "overlay /var overlay nosuid,nodev,x-initrd.mount,x-bf.upper=slot 0 0\n", "fstab"),
]


@pytest.mark.parametrize("name,fstab,code", PLANS, ids=[row[0] for row in PLANS])
def test_mount_plan_refused(make_device, name, fstab, code):
    run = make_device(fstab=fstab).boot()
    assert run.slot is None
    assert run.reason == code
    assert run.ended == End("reboot")


@pytest.mark.parametrize("line", [
    "tmpfs /not-there tmpfs nosuid,nodev,x-initrd.mount 0 0\n",
    "overlay /not-there overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile 0 0\n",
    "/data/x /not-there none bind,nosuid,nodev,noexec,x-initrd.mount 0 0\n"],
    ids=["tmpfs", "overlay whose lower is missing", "bind"])
def test_mount_point_missing(make_device, line):
    run = make_device(fstab=KIOSK_DATA + line, make_mount_points=False).boot()
    assert run.slot is None and run.reason == "mount-point"
    assert "/not-there" in run.console


def test_lines_without_our_mark_are_not_ours(make_device):
    run = make_device(fstab=KIOSK_DATA + "tmpfs /mnt tmpfs nosuid,nodev 0 0\n").boot()
    assert_booted(run, "A")
    assert "/mnt" not in run.mounts() and "/data" in run.mounts()


def test_uppers_on_data(make_device):
    """A persistent upper is both slots', another is the slot's own."""
    fstab = KIOSK_DATA + ETC + \
        "overlay /srv overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=persistent 0 0\n" \
        "overlay /mnt overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=slot 0 0\n"
    device = make_device(fstab=fstab)
    device.boot("mini.do=write:/srv/kept:x;write:/mnt/kept:x")
    again = device.boot("mini.do=cat:/srv/kept;cat:/mnt/kept").mini()
    assert (again["cat /srv/kept"], again["cat /mnt/kept"]) == ("x", "x")
    commit(device, "B")
    run = device.boot("mini.do=cat:/srv/kept;cat:/mnt/kept")
    assert run.slot == "B"
    assert (run.mini()["cat /srv/kept"], run.mini()["cat /mnt/kept"]) == ("x", "ENOENT")


def test_uppers_of_an_earlier_plan_are_put_aside(device):
    """An update from an image whose /var was the slot's own: its upper is not used, and not kept for ever. The
    other slot may still need its own, and what the old plan kept with a line of its own stays where it is."""
    image = image_of(device)
    for path in ("slots/A/var/upper/spool/cron/crontabs/root", "slots/B/var/upper/x", "rauc/central.raucs", "log/x"):
        image.ext4_write("BF_DATA", f"/{path}", b"x\n")
    run = device.boot("mini.do=ls:/data/slots;ls:/var/spool;cat:/var/lib/rauc/central.raucs;cat:/var/log/x")
    assert_booted(run, "A")
    mini = run.mini()
    assert mini["ls /data/slots"] == "B"
    assert "cron" not in mini.get("ls /var/spool", "")
    assert (mini["cat /var/lib/rauc/central.raucs"], mini["cat /var/log/x"]) == ("x", "x")


def test_what_root_runs_may_come_from_data_when_the_builder_says_so(make_device):
    fstab = KIOSK_DATA + ETC + \
        "overlay /var overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=slot,x-bf.trust 0 0\n"
    device = make_device(fstab=fstab)
    device.boot("mini.do=write:/var/kept:x")
    assert device.boot("mini.do=cat:/var/kept").mini()["cat /var/kept"] == "x"


def test_what_a_line_does_without_data(make_device):
    line = ("overlay /srv overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=slot{} 0 0\n")
    device = make_device(fstab=KIOSK_DATA + ETC + line.format(""))
    image_of(device).rename_partition("BF_DATA", "OTHER")
    run = device.boot()
    assert run.slot == "A" and run.mounts()["/srv"][0] == "overlay"
    device = make_device(fstab=KIOSK_DATA + ETC + line.format(",noauto,x-bf.degraded=skip"))
    image_of(device).rename_partition("BF_DATA", "OTHER")
    run = device.boot()
    assert run.slot == "A" and "/srv" not in run.mounts()
