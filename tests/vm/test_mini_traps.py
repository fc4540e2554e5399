"""BF_DATA has no veto: whatever is on it, both slots boot, nothing is followed, and no bundle is refused.
On the mini root."""

from __future__ import annotations

from typing import Callable

import pytest

import bootrecord
from diskimage import DiskImage, ImageError
from test_mini_boot import assert_booted, commit, image_of
from test_mini_data import ETC, KIOSK_DATA, fill_data_from
from test_mini_select import REBOOT, assert_all_ran, boot, boot_command, install, record_of

# A mount of every kind, and what hides the mount point of another one.
PLAN = KIOSK_DATA + ETC + """\
overlay     /srv         overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=slot 0 0
overlay     /mnt         overlay nosuid,nodev,noexec,x-initrd.mount,x-bf.upper=persistent 0 0
/data/home  /home        none    bind,nosuid,nodev,noexec,x-initrd.mount,x-bf.seed 0 0
/data/log   /srv/log     none    bind,nosuid,nodev,noexec,x-initrd.mount 0 0
/data/s/t   /srv/a/state none    bind,nosuid,nodev,noexec,x-initrd.mount,x-bf.mode=0700,x-bf.uid=0,x-bf.gid=0 0 0
tmpfs       /srv/a/tmp   tmpfs   nosuid,nodev,noexec,mode=1777,x-initrd.mount 0 0
/data/m     /mnt/m       none    bind,nosuid,nodev,noexec,x-initrd.mount 0 0
"""
# Where what is written below a mount point must be found on BF_DATA; {} is the slot.
PLACES = {"/srv/x": "/slots/{}/srv/upper/x", "/mnt/x": "/overlay/mnt/upper/x", "/home/x": "/home/x",
          "/srv/log/x": "/log/x", "/srv/a/state/x": "/s/t/x", "/mnt/m/x": "/m/x", "/data/x": "/x"}
VICTIM = b"not for bf-init\n"
LINK_TARGETS = ("/root/etc", "../../root/usr", "/proc/1/root", "victim", ".", "/", "..", "bf", "loop-a", "a\\b")


# -- making trees -------------------------------------------------------------------------------------

def parent_and_name(path: str) -> tuple[str, str]:
    parent, _, name = path.rpartition("/")
    return parent or "/", name


def make_node(image: DiskImage, path: str, *node: str) -> None:
    parent, name = parent_and_name(path)
    image.debugfs("BF_DATA", f"cd {parent}", f"mknod {name} {' '.join(node)}")


def make_socket(image: DiskImage, path: str) -> None:
    make_node(image, path, "p")
    image.debugfs("BF_DATA", f"sif {path} mode 0140666")


TRAPS: dict[str, Callable[[DiskImage, str], None]] = {
    "a link": lambda image, path: image.ext4_symlink("BF_DATA", path, "/root/etc"),
    "a link inside": lambda image, path: image.ext4_symlink("BF_DATA", path, "/victim"),
    "a link to itself": lambda image, path: image.ext4_symlink("BF_DATA", path, parent_and_name(path)[1]),
    "a file": lambda image, path: image.ext4_write("BF_DATA", path, b"a file\n"),
    "a device": lambda image, path: make_node(image, path, "c", "1", "3"),
    "a disk": lambda image, path: make_node(image, path, "b", "254", "0"),
    "a whiteout": lambda image, path: make_node(image, path, "c", "0", "0"),
    "a pipe": lambda image, path: make_node(image, path, "p"),
    "a socket": make_socket,
}


def make_dirs(image: DiskImage, path: str) -> None:
    """A directory and those above it; what is there stays."""
    parts = path.strip("/").split("/")
    for depth in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:depth])
        if not image.ext4_exists("BF_DATA", directory):
            image.ext4_mkdir("BF_DATA", directory)


def set_trap(image: DiskImage, kind: str, path: str) -> None:
    """The trap takes the place of what is at the path."""
    parent, name = parent_and_name(path)
    make_dirs(image, parent)
    if image.ext4_exists("BF_DATA", path):
        make_dirs(image, "/old")
        image.debugfs("BF_DATA", f"ln {path} /old/{name}-{kind.replace(' ', '-')}", f"unlink {path}")
    TRAPS[kind](image, path)


def make_upper(image: DiskImage, slot: str) -> None:
    """An upper of this slot and this image, so that it is used as it stands."""
    roothash = (bootrecord.load(image) or {}).get(f"hash.{slot}", "")
    assert roothash, "the slot has not booted yet"
    make_dirs(image, f"/slots/{slot}/srv/upper")
    image.ext4_write("BF_DATA", f"/slots/{slot}/.image", roothash.encode() + b"\n")


# -- what must hold -----------------------------------------------------------------------------------

def writes() -> list[str]:
    return [f"write:{where}:precious" for where in PLACES]


def with_victim(device) -> DiskImage:
    image = image_of(device)
    image.ext4_write("BF_DATA", "/victim/file", VICTIM)
    return image


def assert_written_in_place(device, slot: str) -> None:
    """Each write went where the plan says, through directories only; the victim was left alone."""
    image = image_of(device)
    with image.settled("BF_DATA") as data:
        for place in PLACES.values():
            path = place.format(slot)
            parts = path.strip("/").split("/")
            for depth in range(1, len(parts)):
                above = "/" + "/".join(parts[:depth])
                assert "Type: directory" in data.debugfs(0, f"stat {above}", write=False), above
            assert data.ext4_read(0, path) == b"precious", path
        assert data.ext4_read(0, "/victim/file") == VICTIM
        names = data.debugfs(0, "ls -p /victim", write=False).splitlines()
        assert [n.split("/")[5] for n in names if n.startswith("/")] == [".", "..", "file"]


def boot_and_write(device, slot: str):
    run = device.boot("mini.do=" + ";".join(writes()))
    assert_booted(run, slot)
    assert all(run.mini()[f"did write:{where}"] == "ok" for where in PLACES), run.console[-3000:]
    return run


# -- each kind ----------------------------------------------------------------------------------------

EVERYWHERE = ("/home", "/log", "/s", "/m", "/slots", "/overlay", "/bf")


@pytest.mark.parametrize("first", (0, 3, 6))
def test_traps_are_put_aside(make_device, first):
    """Another kind in each place. What is put aside is named once; then all is as it should be."""
    device = make_device(fstab=PLAN)
    slot = "AB"[first % 2]
    commit(device, slot)
    image, kinds = with_victim(device), [*TRAPS][first:] + [*TRAPS][:first]
    for place, kind in zip(EVERYWHERE, kinds):
        set_trap(image, kind, place)
    run = boot_and_write(device, slot)
    boot_file = run.boot_file()
    assert (boot_file["data"], boot_file["data_mended"]) == ("ok", str(len(EVERYWHERE)))
    assert "put aside as trash/" in boot_file["data_why"]
    for place in EVERYWHERE:
        assert f"BF_DATA: {place[1:]} was " in run.console
    assert_written_in_place(device, slot)
    again = device.boot()
    assert_booted(again, slot)
    assert (again.boot_file()["data_mended"], again.boot_file()["data_why"]) == ("0", "")


@pytest.mark.parametrize("kind", ["a link", "a file", "a whiteout"])
def test_a_trap_in_an_upper(make_device, kind):
    """It stands where another line mounts: above one mount point, and at another."""
    device = make_device(fstab=PLAN)
    commit(device, "A")
    device.boot()
    image = with_victim(device)
    make_upper(image, "A")
    image.ext4_write("BF_DATA", "/slots/A/srv/upper/kept", b"kept")
    set_trap(image, kind, "/slots/A/srv/upper/log")
    set_trap(image, kind, "/slots/A/srv/upper/a")
    set_trap(image, kind, "/overlay/mnt/upper/m")
    run = boot_and_write(device, "A")
    assert run.boot_file()["data_mended"] == "3"
    assert_written_in_place(device, "A")
    with image_of(device).settled("BF_DATA") as data:
        assert data.ext4_read(0, "/slots/A/srv/upper/kept") == b"kept"


@pytest.mark.parametrize("attribute,lost", [
    ("trusted.overlay.opaque y", False),
    ("trusted.overlay.redirect /etc", False),       # not in the lower: nothing to follow
    ("trusted.overlay.redirect /log", True),
    ("trusted.overlay.redirect ../../../victim", True)])
def test_an_upper_that_hides_a_mount_point(make_device, attribute, lost):
    """The kernel's own marks. What it shows again is used, what it refuses to show is done without."""
    device = make_device(fstab=PLAN)
    commit(device, "A")
    device.boot()
    image = with_victim(device)
    make_upper(image, "A")
    make_dirs(image, "/slots/A/srv/upper/a")
    image.debugfs("BF_DATA", f"ea_set /slots/A/srv/upper/a {attribute}")
    run = device.boot("mini.do=" + ";".join(writes()))
    assert_booted(run, "A", degraded=lost)
    assert all(run.mini()[f"did write:{where}"] == "ok" for where in PLACES)
    assert run.boot_file()["data_lost_lines"] == str(int(lost))
    with image_of(device).settled("BF_DATA") as data:
        assert data.ext4_read(0, "/s/t/x") == b"precious"
        assert data.ext4_exists(0, "/slots/A/srv/upper/x") != lost


@pytest.mark.parametrize("kind", ["a link", "a file"])
def test_a_trash_that_is_a_trap(make_device, kind):
    """Nothing can be made or put aside: without BF_DATA for this boot, and it says so."""
    device = make_device(fstab=PLAN)
    commit(device, "A")
    set_trap(with_victim(device), kind, "/trash")
    set_trap(image_of(device), kind, "/home")
    run = device.boot("mini.do=" + ";".join(writes()))
    assert_booted(run, "A", degraded=True)
    assert all(run.mini()[f"did write:{where}"] == "ok" for where in PLACES)
    assert "trash is no directory" in run.boot_file()["data_why"]
    assert bootrecord.load(image_of(device))["last.phase"] == "started"
    assert image_of(device).ext4_read("BF_DATA", "/victim/file") == VICTIM


def test_owners_and_modes(make_device):
    """Ours are given back to root; of the kiosk's only what the plan says, and what lets others write."""
    device = make_device(fstab=PLAN)
    commit(device, "A")
    device.boot()
    image = image_of(device)
    for path in ("/bf", "/slots", "/slots/A", "/overlay", "/trash", "/s/t", "/home"):
        image.debugfs("BF_DATA", f"sif {path} mode 040777", f"sif {path} uid 1000", f"sif {path} gid 1000")
    run = device.boot()
    assert_booted(run, "A")
    assert run.boot_file()["data_mended"] == "7"
    with image_of(device).settled("BF_DATA") as data:
        for path, mode, user in (("/bf", "0700", 0), ("/slots", "0700", 0), ("/slots/A", "0700", 0),
                                 ("/overlay", "0700", 0), ("/trash", "0700", 0), ("/s/t", "0700", 0),
                                 ("/home", "0755", 1000)):
            told = " ".join(data.debugfs(0, f"stat {path}", write=False).split())
            assert f"Mode: {mode}" in told and f"User: {user} Group: {user}" in told, told


def test_a_record_that_is_locked_and_a_work_directory_that_is_full(make_device):
    """chattr +i and +a on all of the record; and a work directory that mount(2) would have to empty."""
    device = make_device(fstab=PLAN)
    commit(device, "A")
    device.boot()
    image = image_of(device)
    before = bootrecord.load(image)
    make_dirs(image, "/slots/A/srv/work/work")
    image.debugfs("BF_DATA", *(f"mkdir /slots/A/srv/work/work/n{n}" for n in range(50)))
    for path in ("/bf/boot-record", "/bf/boot-record.old", "/bf"):
        image.debugfs("BF_DATA", f"sif {path} flags 0x80030")
    run = device.boot()
    assert_booted(run, "A")
    after = bootrecord.load(image_of(device))
    assert int(after["gen"]) > int(before["gen"]) and after["last.boot_id"] != before["last.boot_id"]
    with image_of(device).settled("BF_DATA") as data:
        assert not data.ext4_exists(0, "/slots/A/srv/work/work/n0")
        aside = [f"/trash/{n}" for n in range(10)]
        assert any(data.ext4_exists(0, trash + "/work/n0") for trash in aside), "mount(2) had to empty it"


def test_an_innocent_trial_is_committed(make_device):
    """A trapped BF_DATA says nothing about a bundle."""
    device = make_device(fstab=PLAN, programs=("bf-boot",))
    bootrecord.seasoned(image_of(device))
    assert_all_ran(boot(device, *install("B"), *REBOOT))
    image = with_victim(device)
    for place, kind in (("/home", "a link"), ("/slots", "a file"), ("/log", "a whiteout"),
                        ("/overlay", "a device")):
        set_trap(image, kind, place)
    trial = boot(device, boot_command("set-state", "B", "good"), *writes(), boot_command("status"), *REBOOT)
    assert (trial.slot, trial.trial, trial.degraded) == ("B", True, False)
    assert_all_ran(trial)
    assert "BF_DATA: slots was a file where a directory must be: put aside as trash/" in trial.console
    record = record_of(device)
    assert (record["committed"], record["state.B"], record["refused.0"]) == ("B", "good", "-")
    assert_written_in_place(device, "B")


def test_a_trap_and_no_trash_refuses_no_bundle(make_device):
    """The worst of them: the trial runs without BF_DATA's directories, and is committed all the same."""
    device = make_device(fstab=PLAN, programs=("bf-boot",))
    bootrecord.seasoned(image_of(device))
    assert_all_ran(boot(device, *install("B"), *REBOOT))
    image = with_victim(device)
    for place in ("/trash", "/home", "/slots", "/log"):
        set_trap(image, "a link", place)
    trial = boot(device, boot_command("set-state", "B", "good"), *writes(), *REBOOT)
    assert (trial.slot, trial.trial, trial.degraded) == ("B", True, True)
    assert_all_ran(trial)
    record = record_of(device)
    assert (record["committed"], record["state.B"], record["refused.0"]) == ("B", "good", "-")


# -- a file system that asks for more than this kernel has ---------------------------------------------

def test_a_feature_the_kernel_lacks_for_writing(device):
    """Debian's kernel has quotas, and their module is in no initramfs: what is there is read, the cause named."""
    commit(device, "B")
    image = image_of(device)
    image.ext4_write("BF_DATA", "/keep", b"precious\n")
    image.tune2fs("BF_DATA", "-O", "quota")
    run = device.boot("mini.do=cat:/data/keep;write:/home/w:x;cat:/home/w")
    assert_booted(run, "B", degraded=True)
    boot_file = run.boot_file()
    assert (boot_file["data"], boot_file["record"]) == ("readonly", "ok")
    assert "/dev/vda6 has the ext4 feature 'quota', which this kernel lacks" in boot_file["data_why"]
    assert "tune2fs -O ^quota" in boot_file["data_why"]
    assert "BetterFrame: BF_DATA cannot be written: /dev/vda6 has the ext4 feature 'quota'" in run.console
    assert (run.mini()["cat /data/keep"], run.mini()["cat /home/w"]) == ("precious", "x")
    image_of(device).tune2fs("BF_DATA", "-O", "^quota")
    assert_booted(device.boot(), "B")


@pytest.mark.parametrize("feature", ["FEATURE_I30", "FEATURE_R30"])
def test_a_feature_of_a_later_kernel(device, feature):
    image_of(device).debugfs("BF_DATA", f"feature {feature}")
    run = device.boot()
    assert run.slot == "A" and run.degraded
    kind = "incompat" if feature == "FEATURE_I30" else "ro_compat"
    assert f"ext4 features of a later kernel ({kind} 0x40000000)" in run.boot_file()["data_why"]
    assert f"features of a later kernel ({kind} 0x40000000)" in run.console


def test_casefold(device):
    """Debian's kernel has it: nothing to say."""
    fill_data_from(device, "mke2fs", "-q", "-t", "ext4", "-O", "casefold")
    run = device.boot("mini.do=write:/home/w:x")
    assert_booted(run, "A")
    assert run.boot_file()["data_why"] == ""
