"""What goes wrong inside: bf-init dies, hangs, lacks something; and that it ends well. On the mini root."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import bootrecord
from artifacts import BuildError, build, cpio
from firmware import Settings
from machine import WATCHDOG_SLOWER, End, Timeout
from test_mini_boot import WATCHED, assert_booted, commit, image_of


# -- a bf-init that breaks --------------------------------------------------------------------------

def patch_function(program: Path, out: Path, name: str, code: bytes) -> Path:
    """A copy of an ELF program with other instructions at the start of a function.

    The program is stripped; PROGRAM.debug beside it has the same addresses and the names.
    """
    symbols = program.with_name(f"{program.name}.debug")
    listing = subprocess.run(["aarch64-linux-gnu-nm", str(symbols)], capture_output=True, text=True,
                             check=True).stdout
    found = re.findall(rf"^([0-9a-f]+) [tT] {re.escape(name)}$", listing, re.M)
    assert len(found) == 1, f"{name} is not one function of {symbols}: {found}"
    address = int(found[0], 16)
    data = bytearray(program.read_bytes())
    table, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        kind, _, offset, start, _, length = struct.unpack_from("<IIQQQQ", data, table + i * size)
        if kind == 1 and start <= address < start + length:
            at = offset + address - start
            data[at:at + len(code)] = code
            out.write_bytes(data)
            out.chmod(0o755)
            return out
    raise AssertionError(f"{name} at {address:#x} is in no segment")


UDF = struct.pack("<I", 0)                      # udf #0: SIGILL
LOOP = struct.pack("<I", 0x14000000)            # b . : it never gets on
CRASH = struct.pack("<II", 0xD2800000, 0xF9400000)      # mov x0, #0; ldr x0, [x0]: SIGSEGV


@pytest.fixture
def broken_device(make_device, artifacts, tmp_path):
    def make(function: str, code: bytes, **options):
        program = patch_function(artifacts.bf_init, tmp_path / "bf-init", function, code)
        return make_device(bf_init=program, **options)

    return make


@pytest.mark.parametrize("function,code", [
    ("modules_load", UDF), ("data_mount", UDF), ("data_mount", CRASH), ("plan_make", UDF),
    ("handover_switch", UDF)],
    ids=lambda v: {UDF: "SIGILL", CRASH: "SIGSEGV"}.get(v) if isinstance(v, bytes) else v)
def test_bf_init_killed_by_a_signal(broken_device, function, code):
    """PID 1 dies, the kernel panics, the machine restarts by itself."""
    device = broken_device(function, code)
    run = device.boot("panic=1")
    assert run.slot is None
    assert "Attempted to kill init" in run.console
    assert run.ended == End("reset")


def test_a_crash_without_panic_on_the_command_line(broken_device):
    """bf-init sets it itself, first of all."""
    device = broken_device("data_mount", UDF)
    device.edit_cmdline = lambda line: " ".join(w for w in line.split() if not w.startswith("panic="))
    run = device.boot()
    assert "Attempted to kill init" in run.console
    assert run.ended == End("reset")


def test_a_crash_in_a_trial_falls_back(device, artifacts, tmp_path):
    """The new version's bf-init crashes before it can say a word: the flag is gone, the old one runs."""
    program = patch_function(artifacts.bf_init, tmp_path / "bf-init", "modules_load", UDF)
    image = image_of(device)
    image.fat_write("BF_BOOT_B", "initramfs.img", artifacts.initramfs(bf_init=program).read_bytes())
    commit(device, "A")
    bootrecord.seasoned(image, committed="A", staged="B", attempts="1", last_slot="A",
                        last_phase="attempt", last_count="1")
    device.request = replace(device.request, tryboot=True, count=2)
    trial = device.boot("panic=1")
    assert trial.decision.partition == 3 and trial.ended == End("reset")
    back = device.boot()
    assert_booted(back, "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["trials"]) == ("B", "1")


# -- a kernel that hangs before bf-init ---------------------------------------------------------------

def endless_program() -> bytes:
    """The smallest static program for arm64: one instruction, which goes to itself."""
    code = 64 + 56
    return (b"\x7fELF\2\1\1" + bytes(9)
            + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0x400000 + code, 64, 0, 0, 64, 56, 1, 0, 0, 0)
            + struct.pack("<IIQQQQQQ", 1, 5, 0, 0x400000, 0x400000, code + 4, code + 4, 0x1000) + LOOP)


def hang_slot_b(device, how: str) -> None:
    """A new version that hangs before any instruction of bf-init; its watchdog is a short one."""
    image, sec = image_of(device), b"kernel_watchdog_timeout="
    config = image.fat_read("BF_BOOT_B", "config.txt")
    kernel = bytearray(image.fat_read("BF_BOOT_B", "kernel8.img"))
    assert config.count(sec + b"31\n") == 1
    for name in ("config.txt", "tryboot.txt"):
        image.fat_write("BF_BOOT_B", name, config.replace(sec + b"31\n", sec + b"8\n"))
    if how == "kernel":
        kernel[4:8] = LOOP                      # code1 of its header, where it is entered (arm64/booting.rst)
        image.fat_write("BF_BOOT_B", "kernel8.img", bytes(kernel))
    else:
        image.fat_write("BF_BOOT_B", "initramfs.img", cpio({"init": (0o100755, endless_program())}))


@pytest.mark.parametrize("how", ["kernel", "first program"])
def test_k2_a_trial_that_hangs_before_bf_init_falls_back(make_device, how):
    """The firmware's watchdog resets it; the record, which was told nothing, counts a dark trial."""
    device = make_device(hardware=WATCHED)
    hang_slot_b(device, how)
    bootrecord.seasoned(image_of(device), committed="A", staged="B", attempts="1", last_slot="A",
                        last_phase="attempt", last_count="1")
    device.request = replace(device.request, tryboot=True, count=2)
    device.watchdog_slower = 1
    trial = device.boot()
    assert trial.decision.partition == 3 and trial.ended == End("watchdog")
    assert "bf-init" not in trial.console
    assert ("Run /init" in trial.console) == (how == "first program")
    device.watchdog_slower = WATCHDOG_SLOWER
    back = device.boot()
    assert_booted(back, "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["trials"], record["committed"]) == ("B", "1", "A")


def test_k2_without_the_firmwares_watchdog_it_stays_dark(make_device):
    """An EEPROM that is too old for it: what the watchdog is for, and that nothing else here ends the guest."""
    device = make_device(hardware=WATCHED, settings=Settings(kernel_watchdog=False))
    hang_slot_b(device, "kernel")
    device.request = replace(device.request, tryboot=True)
    device.watchdog_slower = 1
    run = device.start()
    with pytest.raises(Timeout, match="did not end"):
        run.machine.wait_end(20)


def test_hang_in_bf_init_is_ended_by_the_watchdog(broken_device):
    device = broken_device("plan_make", LOOP, hardware=WATCHED)
    run = device.boot("bf.watchdog=10 bf.deadline=600", timeout=240)
    assert run.slot is None
    assert run.ended == End("watchdog")


def test_hang_in_bf_init_without_a_watchdog_is_ended_by_the_deadline(broken_device):
    """An endless loop: the second alarm reboots although nothing can be reported."""
    device = broken_device("plan_make", LOOP)
    run = device.boot("bf.deadline=20", timeout=240)
    assert run.slot is None
    assert run.ended == End("reboot")


def test_hanging_disk_is_ended_by_the_watchdog(make_device):
    """The disk answers no more: bf-init waits inside the kernel, where no alarm wakes it."""
    device = make_device(hardware=WATCHED)
    run = device.start("bf.watchdog=10 bf.deadline=60")
    run.machine.wait("bf-init: stage modules")
    run.machine.hang_io()
    device.finish(run, 300)
    assert run.slot is None
    assert run.ended in (End("watchdog"), End("reboot"))
    # And the device is as good as before.
    assert_booted(device.boot(), "A")


# -- things that are missing ---------------------------------------------------------------------------

@pytest.mark.parametrize("module,end", [
    ("overlay", End("reboot")), ("dm-verity", End("reboot")),
    ("ext4", End("reboot", "0 tryboot"))])      # no BF_DATA, nothing to count by: the other slot
def test_module_file_missing(make_device, module, end):
    """The list names a module that is not in the image."""
    run = make_device(edits=(f"{module}.ko-",)).boot()
    assert run.slot is None and run.reason == "module-load"
    assert f"{module}.ko" in run.console
    assert run.ended == end


def test_missing_module_is_recorded(make_device):
    """The disk comes all the same, and with it the record: so the failure counts."""
    device = make_device(edits=("overlay.ko-",))
    commit(device, "A")
    run = device.boot()
    assert run.reason == "module-load"
    record = bootrecord.load(image_of(device))
    assert (record["last.phase"], record["last.reason"]) == ("failed", "module-load")


def test_missing_module_ends_a_trial(make_device, artifacts):
    """An update whose initramfs lacks a module is rejected after one trial, with the reason."""
    device = make_device()
    image = image_of(device)
    bad = artifacts.initramfs(edits=("overlay.ko-",))
    image.fat_write("BF_BOOT_B", "initramfs.img", bad.read_bytes())
    commit(device, "A")
    bootrecord.seasoned(image, committed="A", staged="B", attempts="1", last_slot="A",
                        last_phase="attempt")
    device.request = replace(device.request, tryboot=True)
    trial, back = device.boot_to_rest(2)
    assert trial.reason == "module-load"
    assert_booted(back, "A")
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["state.B"]) == ("-", "bad")
    assert ("rejected", "B", "module-load") in bootrecord.history(record)


@pytest.mark.parametrize("module,where,code", [
    ("virtio_blk", None, "disk-missing"), ("overlay", "fs/overlayfs", "mount"),
    ("dm-verity", "drivers/md", "verity-setup")])
def test_module_never_packed(make_device, artifacts, module, where, code):
    """Not there, and nothing calls for it: what needs it says so. A driver may be missing anyway."""
    edits = (f"{module}.ko-",)
    if where:
        path = f"/lib/modules/{artifacts.kernel_version}/kernel/{where}/{module}.ko"
        edits += (f"bf-modules: {path}: -/absent.ko",)
    run = make_device(edits=edits).boot("bf.wait=8")
    assert run.slot is None and run.reason == code
    assert run.ended == End("reboot")


@pytest.mark.parametrize("edit,code", [
    ("bf-modules-", "module-list"), ("bf-modules:# bf-modules 2:# bf-modules 1", "module-list"),
    ("bf-modules:0 /lib:x /lib", "module-list"), ("overlay.ko:ELF:FLE", "module-load")])
def test_module_list_damaged(make_device, edit, code):
    run = make_device(edits=(edit,)).boot("bf.wait=3")
    assert run.slot is None and run.reason == code


def test_packer_refuses_a_root_without_a_needed_module(artifacts):
    tree = artifacts.kernel_tree_without("dm-verity")
    with pytest.raises(BuildError, match="dm.verity"):
        artifacts.initramfs(root=tree)


def test_real_init_missing(make_device):
    device = make_device(init=False)
    commit(device, "A")
    run = device.boot()
    assert run.reason == "init-missing" and run.ended == End("reboot")
    assert bootrecord.load(image_of(device))["last.reason"] == "init-missing"


def test_init_of_the_command_line_missing(device):
    run = device.boot("init=/usr/bin/nothing")
    assert run.reason == "init-missing"
    assert "/usr/bin/nothing" in run.console


def test_modules_of_another_kernel(make_device, artifacts):
    run = make_device(edits=(f"bf-modules:2 {artifacts.kernel_version}:2 9.9.9-arm64",)).boot("bf.wait=3")
    assert run.slot is None and run.reason == "module-kernel"


# -- what a person sees -------------------------------------------------------------------------------

def test_a_failure_is_shown_in_plain_words(device):
    """What happened, what to do, the code, and for as long as it takes to read it."""
    commit(device, "A")
    device.edit_cmdline = lambda line: " ".join(w for w in line.split()
                                                if not w.startswith(("roothash=", "bf.show=")))
    run = device.start()
    run.machine.wait(r"cannot start: slot A")
    run.machine.wait(r"^  What:  (.+)$")
    run.machine.wait(r"^  To do: (.+)$")
    run.machine.wait(r"^  Code:  verity-roothash$")
    run.machine.wait(r"Restarting in 10 s")
    run.machine.wait(r"Restarting in 1 s")
    device.finish(run)
    assert run.ended == End("reboot")


def test_no_shell_ever(device):
    """A failing production image gives nobody a prompt, whatever is typed."""
    device.edit_cmdline = lambda line: line.replace("roothash=", "no=").replace("bf.show=1", "bf.show=5")
    run = device.start()
    run.machine.wait("cannot start")
    run.machine.send("\n\x03\x1ash\n\n")
    device.finish(run)
    assert not re.search(r"(^|\n)[^\n]*[#$] ?$", run.console.rstrip("\n").rsplit("\n", 1)[-1])
    assert run.ended == End("reboot")


def test_dangerous_words_on_the_command_line_do_nothing(device):
    """Words other initramfs know as "give me a shell"."""
    run = device.boot("break=premount rd.break rd.shell rescue emergency single debug")
    assert_booted(run, "A")


def test_a_shell_as_rdinit_ends_in_a_restart(device):
    """rdinit= is the kernel's own word. There is no shell to find: it panics, and restarts."""
    run = device.boot("rdinit=/bin/sh")
    assert run.slot is None and run.ended == End("reset")


# -- loops end (I5) ----------------------------------------------------------------------------------

def test_reboot_loop_of_the_committed_slot_ends_in_the_other(device):
    """The committed slot fails for good: after five failures the other one is tried, and runs."""
    commit(device, "A")
    image_of(device).ext4_flip("BF_ROOT_A", "/etc/fstab")
    runs = device.boot_to_rest(9)
    assert runs[-1].slot == "B" and runs[-1].trial
    failed = [r for r in runs if r.reason == "verity-corrupt"]
    assert len(failed) == 5
    record = bootrecord.load(image_of(device))
    assert record["staged"] == "B" and record["kind"] == "fallback"
    assert any(entry[0] == "fallback" and entry[2] == "committed-failing"
               for entry in bootrecord.history(record))


def test_reboot_loop_with_nowhere_to_go_slows_down(device):
    """Both slots are broken: it goes on trying, but ever more slowly, and does not bounce between them."""
    image = image_of(device)
    commit(device, "A")
    bootrecord.seasoned(image, committed="A", hard="7", state_B="bad", proven_B="no",
                        last_slot="A", last_phase="failed", last_reason="verity-corrupt")
    image.ext4_flip("BF_ROOT_A", "/etc/fstab")
    run = device.start()
    wait = run.machine.wait(r"Restarting in (\d+) s")
    assert int(wait[1]) >= 60
    device.cut(run)
    assert bootrecord.load(image_of(device))["staged"] == "-"


def test_reboot_loop_before_the_record_slows_down(device):
    """No disk, no record: the firmware's count of resets is all that tells a loop."""
    image_of(device).rename_partition("BF_ROOT_A", "OTHER")
    device.request = replace(device.request, count=12)
    run = device.start("bf.wait=1")
    wait = run.machine.wait(r"Restarting in (\d+) s")
    assert int(wait[1]) == 70
    device.cut(run)


def test_a_failing_committed_slot_without_a_record_goes_to_the_other_at_once(device):
    """Nothing can be counted, so nothing is counted on."""
    commit(device, "A")
    image = image_of(device)
    image.rename_partition("BF_DATA", "OTHER")
    image.ext4_flip("BF_ROOT_A", "/etc/fstab")
    first = device.boot("bf.wait=10")
    assert first.slot is None and first.ended == End("reboot", "0 tryboot")
    second = device.boot("bf.wait=10")
    assert second.slot == "B" and second.degraded


def test_a_slot_that_cannot_use_bf_data_hands_over_to_the_other(device, artifacts):
    """Only the other slot can write the record: it sends the boot back twice, then stages itself (the third)."""
    image = image_of(device)
    lame = artifacts.initramfs(edits=("ext4.ko-",))
    image.fat_write("BF_BOOT_A", "initramfs.img", lame.read_bytes())
    commit(device, "A")
    runs = device.boot_to_rest(6)
    assert [run.decision.partition for run in runs] == [2, 3, 2, 3, 2, 3]
    assert runs[-1].slot == "B" and runs[-1].trial
    record = bootrecord.load(image_of(device))
    assert (record["staged"], record["kind"], record["repairs"]) == ("B", "fallback", "3")


def test_both_slots_broken_without_a_record_does_not_spin(device):
    """Nothing can be counted and nothing boots: no more than a bounce, and the firmware never hangs."""
    image = image_of(device)
    image.rename_partition("BF_DATA", "OTHER")
    for slot in "AB":
        image.ext4_flip(f"BF_ROOT_{slot}", "/etc/fstab")
    partitions = [device.boot("bf.wait=10").decision.partition for _ in range(4)]
    assert partitions[0] == 2 and set(partitions) == {2, 3}


# -- what the image is --------------------------------------------------------------------------------

def listing(initramfs: Path) -> str:
    """Names and modes, by GNU cpio."""
    packed = initramfs.read_bytes()
    if packed[:4] == b"\x28\xb5\x2f\xfd":
        packed = subprocess.run(["zstd", "-dc"], input=packed, capture_output=True, check=True).stdout
    elif packed[:2] == b"\x1f\x8b":
        packed = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True).stdout
    return subprocess.run(["cpio", "-tv", "--quiet"], input=packed, capture_output=True,
                          check=True).stdout.decode()


def test_no_shell_and_no_setuid_in_the_production_image(artifacts):
    text = listing(artifacts.initramfs())
    names = [line.split()[8] if not line.startswith(("c", "b")) else line.split()[-1]
             for line in text.splitlines()]
    assert any(name.endswith("init") for name in names)
    assert not [n for n in names if Path(n).name in ("sh", "bash", "dash", "busybox", "ash", "getty",
                                                     "login", "su", "sulogin", "modprobe", "mount")]
    assert not [line for line in text.splitlines() if "s" in line.split()[0].lower()]


def test_rescue_image_says_so(make_device):
    device = make_device(initramfs=("--rescue",))
    run = device.boot()
    assert_booted(run, "A")
    assert "RESCUE IMAGE" in run.console
    assert run.boot_file()["rescue"] == "yes"


def test_rescue_image_gives_a_shell_on_failure(make_device):
    device = make_device(initramfs=("--rescue",))
    device.edit_cmdline = lambda line: line.replace("roothash=", "no=")
    run = device.start()
    run.machine.wait("a root shell")
    run.machine.wait(r"~ # ")
    run.machine.send("echo $((6 * 7))\n")
    run.machine.wait(r"^42$")
    run.machine.send("exit\n")
    device.finish(run)
    assert run.ended == End("reboot")


def copy_backwards(tree: Path, to: Path) -> None:
    """The same tree, made in another order: other inode numbers, another order in its directories."""
    shutil.copytree(tree, to, symlinks=True, ignore=lambda d, names: [
        n for n in names if not Path(d, n).is_dir() or Path(d, n).is_symlink()])
    for path in sorted(tree.rglob("*"), reverse=True):
        if path.is_symlink() or path.is_file():
            shutil.copy2(path, to / path.relative_to(tree), follow_symlinks=False)
    for path in [*sorted(tree.rglob("*"), reverse=True), tree]:
        if path.is_dir() and not path.is_symlink():
            shutil.copystat(path, to / path.relative_to(tree))


def test_reproducible_image(artifacts, tmp_path):
    """Two builds of all of it are the same bits, wherever and in whatever order the files came."""
    images = []
    for turn in ("one", "two"):
        root = tmp_path / turn / "root"
        if turn == "one":
            shutil.copytree(artifacts.mini_root(), root, symlinks=True)
        else:
            copy_backwards(artifacts.mini_root(), root)
        initramfs = tmp_path / turn / "initramfs"
        build(artifacts.mkinitramfs, "--root", artifacts.kernel_tree, "--kernel-version",
              artifacts.kernel_version, "--init", artifacts.bf_init, "--output", initramfs)
        image = tmp_path / turn / "disk.img"
        build(artifacts.mkimage, "--root", root, "--kernel", artifacts.kernel, "--initramfs",
              initramfs, "--output", image, "--unchecked", "--slot-b", "same", "--data-size", "32M",
              env={"SOURCE_DATE_EPOCH": "1700000000"})
        images.append((initramfs, image))
    build("cmp", images[0][0], images[1][0])
    build("cmp", images[0][1], images[1][1])
