"""The lab watched by itself: a guest that does one thing, and what machine.py says of it.

The guest is the mini root's init as /init of a two-file initramfs; nothing of the product runs here.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import pytest

from artifacts import Artifacts, cpio
from firmware import Request
from machine import (LAB_WORDS, SMALL, Device, Disk, End, Hardware, Machine, MachineError, Timeout,
                     device_tree, last_words, network_arguments)
from test_firmware import CANONICAL, boot_files, make_image

DIRECTORY, PROGRAM, FILE = 0o040755, 0o100755, 0o100644

# What each kind of disk needs in load order, and the name its disk gets.
DISK_MODULES = {
    "virtio": (["virtio_blk"], "vda"),
    "nvme": (["nvme-core", "nvme"], "nvme0n1"),
    "sd": (["sdhci", "sdhci-pci"], "mmcblk0"),
    "usb": (["usb-common", "usbcore", "xhci-hcd", "xhci-pci", "scsi_common", "scsi_mod", "sd_mod",
             "usb-storage"], "sda"),
}


@pytest.fixture(scope="module")
def initramfs(artifacts: Artifacts, tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {"init": (PROGRAM, artifacts.mini_init.read_bytes()), "dev": (DIRECTORY, b""),
             "dev/console": (0o020600, b""), "data": (DIRECTORY, b"")}
    path = tmp_path_factory.mktemp("machine") / "initramfs"
    path.write_bytes(cpio(files))
    return path


def with_modules(artifacts: Artifacts, path: Path, modules: list[str]) -> str:
    """An initramfs with modules, and the actions that load them in dependency order."""
    def canonical(file: str) -> str:
        return Path(file).name.split(".")[0].replace("-", "_")

    listing = artifacts.kernel_tree / "usr/lib/modules" / artifacts.kernel_version / "modules.dep"
    closure = {}                         # module → file names, what it needs last
    for line in listing.read_text().splitlines():
        name, needs = line.split(":")
        closure[canonical(name)] = [Path(n).name.split(".")[0] for n in (name, *needs.split())]
    order: list[str] = []
    for module in modules:
        for file in reversed(closure.get(canonical(module), [])):     # none: built into the kernel
            if file not in order:
                order.append(file)
    files = {"init": (PROGRAM, artifacts.mini_init.read_bytes())}
    files.update({f"{name}.ko": (FILE, artifacts.module(name)) for name in order})
    path.write_bytes(cpio(files))
    return ";".join(f"insmod:/{name}.ko" for name in order)


@pytest.fixture
def guest(artifacts: Artifacts, initramfs: Path, console_log: Path, tmp_path: Path):
    machines = []

    def start(do: str, *disks: Disk, hardware: Hardware = SMALL, modules: list[str] | None = None,
              cells: dict[str, int] | None = None, extra: str = "") -> Machine:
        initrd = initramfs
        if modules:
            initrd = tmp_path / "initramfs"
            do = f"{with_modules(artifacts, initrd, modules)};{do}"
        dtb = device_tree(hardware, cells, tmp_path / "dtb", artifacts.vm / "dtb-cache")
        machine = Machine(kernel=artifacts.kernel, initrd=initrd, dtb=dtb, disks=disks,
                          cmdline=f"console=ttyAMA0 {LAB_WORDS} mini.do={do} {extra}", log=console_log,
                          hardware=hardware)
        machines.append(machine)
        return machine

    yield start
    for machine in machines:
        if machine.running:
            machine.kill()


ENDS = [
    ("poweroff", "", End("poweroff")),
    ("reboot", "", End("reboot")),
    ("reboot:0~tryboot", "", End("reboot", "0 tryboot")),
    ("reboot:dm-verity~device~corrupted", "", End("reboot", "dm-verity device corrupted")),
    ("panic", "panic=1", End("reset")),
]


@pytest.mark.parametrize("do,extra,expected", ENDS, ids=[row[0] for row in ENDS])
def test_how_a_run_ended(guest, do, extra, expected):
    assert guest(do, extra=extra).wait_end() == expected


FAREWELLS = [
    ("plain", "reboot: Restarting system\n", End("reboot")),
    ("argument", "[ 1.0] reboot: Restarting system with command '0 tryboot'\n", End("reboot", "0 tryboot")),
    ("last", "reboot: Restarting system\nreboot: Restarting system with command 'x'\n", End("reboot", "x")),
    ("panic", "[ 1.0] Kernel panic - not syncing: x\nRebooting in 1 seconds..\n", End("reset")),
    ("sysrq", "[ 1.0] sysrq: Resetting\n", End("reset")),
    ("half-a-line", "reboot: Restarting system with comm", End("unheard")),
    ("silence", "[ 1.0] I/O error, dev vda, sector 8\n", End("unheard")),
]


@pytest.mark.parametrize("console,expected", [row[1:] for row in FAREWELLS],
                         ids=[row[0] for row in FAREWELLS])
def test_what_the_last_words_tell(console, expected):
    assert last_words(console) == expected


def test_console_is_logged_and_matched_once(guest, console_log):
    machine = guest("poweroff")
    assert machine.wait(r"^MINI argv\.0=(\S+)$")[1] == "/init"
    machine.wait_end()
    with pytest.raises(Timeout, match="the guest ended"):
        machine.wait(r"^MINI argv\.0=")
    assert b"MINI begin=1" in console_log.read_bytes()


def test_a_guest_that_stays_is_a_failure(guest, console_log):
    machine = guest("hang")
    machine.wait("MINI end")
    with pytest.raises(Timeout, match="said nothing"):
        machine.wait("never said", timeout=1)
    with pytest.raises(Timeout, match="did not end"):
        machine.wait_end(timeout=1)
    assert not machine.running
    # What it was doing is in the log.
    log = console_log.read_text(errors="replace")
    assert re.search("^==== hangs: .* is [RS] in .*'status': 'running'", log, re.M) and "sysrq: Show Blocked State" in log


def test_power_cut_at_a_marker(guest):
    machine = guest("sleep:1000")
    machine.wait("MINI end")
    assert machine.cut() == End("cut")
    assert not machine.running


def test_watchdog_resets_a_hanging_guest(guest):
    machine = guest("watchdog:5;hang", hardware=Hardware(smp=2, watchdog=True),
                    modules=["watchdog", "i6300esb"])
    machine.wait(r"MINI did watchdog:5=ok")
    assert machine.watchdog_runs()
    assert machine.wait_end(60) == End("watchdog")


def test_a_watchdog_that_nobody_opens(guest):
    """The firmware's, which runs before the kernel; QEMU has none such, the lab plays it."""
    machine = guest("hang", hardware=Hardware(smp=2, watchdog=True))
    machine.wait("MINI end")
    assert not machine.watchdog_runs()
    machine.watch_start(2)
    assert machine.wait_end(60) == End("watchdog")


def test_device_tree_cells_are_big_endian(guest):
    base = "/proc/device-tree/chosen/bootloader"
    machine = guest(f"sum:{base}/partition;sum:{base}/tryboot;poweroff",
                    cells={"partition": 3, "tryboot": 1})
    machine.wait_end()
    for name, value in (("partition", 3), ("tryboot", 1)):
        assert f"MINI sum {base}/{name}={zlib.crc32(struct.pack('>I', value)):08x}" in machine.console


def test_without_cells_there_is_no_bootloader_node(guest):
    machine = guest("ls:/proc/device-tree/chosen/bootloader;poweroff")
    machine.wait_end()
    assert "MINI ls /proc/device-tree/chosen/bootloader=ENOENT" in machine.console


# An SD card knows no other sector, and QEMU's usb-storage does not bring up 4096.
@pytest.mark.parametrize("kind,sector", [("virtio", 512), ("virtio", 4096), ("nvme", 512),
                                         ("nvme", 4096), ("sd", 512), ("usb", 512)])
def test_disk_kinds(guest, tmp_path, kind, sector):
    modules, name = DISK_MODULES[kind]
    path = tmp_path / "disk.img"
    image = make_image(path, sector, 16, 20)
    image.fat_write("BF_BOOT_A", "kernel8.img", b"changed")
    separator = "p" if name[-1].isdigit() else ""
    last = f"{name}{separator}4"
    device = Device(Disk(path, kind=kind, sector_size=sector), tmp_path / "w", tmp_path / "log")
    machine = guest(f"await:/dev/{last};ls:/sys/class/block;cat:/sys/class/block/{name}/queue/logical_block_size",
                    device.disk, modules=modules)
    machine.wait_end()
    assert f"queue/logical_block_size={sector}" in machine.console
    names = machine.console.split("MINI ls /sys/class/block=")[1].split("\n")[0].split()
    assert [f"{name}{separator}{n}" in names for n in range(1, 5)] == [True] * 4


def test_a_hanging_disk_and_its_return(guest, tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    machine = guest("await:/dev/vda;sleep:2;sleep:10;sum:/dev/vda;sleep:1", Disk(path), modules=["virtio_blk"])
    machine.wait("MINI did sleep:2=ok")
    machine.hang_io()
    with pytest.raises(Timeout):
        machine.wait("MINI sum", timeout=20)
    machine.resume_io()
    machine.wait("MINI sum /dev/vda=")
    assert machine.wait_end() == End("poweroff")


def test_writes_reach_the_image_and_the_log(guest, tmp_path):
    path, log = tmp_path / "disk.img", tmp_path / "writes.log"
    path.write_bytes(b"X" * 512 + bytes(1 << 20))
    machine = guest("overwrite:/dev/vda:hello", Disk(path, write_log=log), modules=["virtio_blk"])
    assert machine.wait_end() == End("poweroff")
    assert path.read_bytes()[:6] == b"helloX"
    # dm-log-writes: magic, version, number of entries, sector size (Documentation/admin-guide/device-mapper/log-writes.rst)
    magic, version, entries, sector = struct.unpack_from("<QQQI", log.read_bytes())
    assert (magic, version, sector) == (0x6A736677736872, 1, 512) and entries >= 1


def test_the_network_has_one_server(guest):
    machine = guest("ls:/sys/class/net;poweroff", hardware=Hardware(smp=1, memory=512, server_port=1),
                    modules=["virtio_net"])
    machine.wait("MINI ls /sys/class/net=.*eth0")
    machine.link(False)                  # QEMU knows the card by the name that we use
    assert machine.wait_end() == End("poweroff")


def test_the_relay_joins_a_guest_and_a_server():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        guests, relays = zip(*[start_relay(port) for _ in range(2)])
        server.settimeout(10)
        for n, guest_end in enumerate(guests):
            guest_end.sendall(b"%d" % n)
        # Two at a time, each with a connection of its own, in whichever order they come.
        connections = [server.accept()[0] for _ in guests]
        numbers = [int(connection.recv(10)) for connection in connections]
        assert sorted(numbers) == [0, 1]
        for n, connection in zip(numbers, connections):
            guests[n].shutdown(socket.SHUT_WR)
            with connection:
                assert connection.recv(10) == b""
                # More than any buffer holds.
                reader = threading.Thread(target=read_all, args=(guests[n], received := []), daemon=True)
                reader.start()
                connection.sendall(bytes(3_000_000))
            reader.join(10)
            assert sum(received) == 3_000_000 and relays[n].wait(10) == 0
    guest_end, relay = start_relay(port)         # nobody listens any more
    assert guest_end.recv(10) == b"" and relay.wait(10) == 0


def start_relay(port: int) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """As QEMU starts it: one socket is its stdin and its stdout."""
    ours, its = socket.socketpair()
    argument = next(a for a in network_arguments(port) if a.startswith("user,"))
    relay = subprocess.Popen(argument.split("-cmd:")[1].split(), stdin=its, stdout=its)
    its.close()
    ours.settimeout(10)
    return ours, relay


def read_all(source: socket.socket, sizes: list[int]) -> None:
    while data := source.recv(65536):
        sizes.append(len(data))


def test_unknown_disk_kind():
    with pytest.raises(MachineError, match="floppy"):
        Disk(Path("x"), kind="floppy")


def test_qemu_that_does_not_start(guest, tmp_path):
    with pytest.raises(MachineError, match="No such file"):
        guest("poweroff", Disk(tmp_path / "missing.img"))


# -- the box ------------------------------------------------------------------------------------

@pytest.fixture
def box(artifacts, initramfs, tmp_path, console_log):
    """A/B disk whose slots both hold the two-file initramfs."""
    path = tmp_path / "disk.img"
    image = make_image(path, 512, 32, 60)
    for part, name in (("BF_BOOT_A", "A"), ("BF_BOOT_B", "B")):
        image.fat_write(part, "kernel8.img", artifacts.kernel.read_bytes())
        image.fat_write(part, "initramfs.img", initramfs.read_bytes())
    device = Device(Disk(path), tmp_path / "work", console_log, hardware=SMALL, append=LAB_WORDS)
    yield device
    device.close()


def test_tryboot_is_one_shot(box):
    runs = [box.boot("mini.do=reboot:0~tryboot"), box.boot("mini.do=reboot"),
            box.boot("mini.do=reboot:3"), box.boot("mini.do=reboot:0~tryboot")]
    assert [(r.decision.partition, r.decision.tryboot) for r in runs] == \
        [(2, False), (3, True), (2, False), (3, False)]
    assert [r.decision.device_tree["count"] for r in runs] == [1, 2, 3, 4]
    assert "rauc.slot=B" in runs[1].mini()["cmdline"] and "rauc.slot=A" in runs[2].mini()["cmdline"]
    # The flag is set now; a power cut loses it.
    trial = box.start("mini.do=hang")
    trial.machine.wait("MINI end")
    assert trial.decision.tryboot
    box.cut(trial)
    assert box.request == Request()
    assert box.boot("mini.do=poweroff").decision.partition == 2


def test_power_cut_before_the_trial_starts(box):
    box.boot("mini.do=reboot:0~tryboot")
    assert box.request.tryboot
    run = box.start("mini.do=hang")
    assert run.decision.tryboot
    # Pulled in the first moment: the flag is gone, nothing of the trial ran.
    box.cut(run)
    assert box.boot("mini.do=poweroff").decision.tryboot is False


def test_boot_to_rest_is_bounded(box):
    with pytest.raises(AssertionError, match="no rest after 2 boots"):
        box.boot_to_rest(2, "mini.do=reboot")
    assert [r.ended for r in box.boot_to_rest(2, "mini.do=poweroff")] == [End("poweroff")]


def test_firmware_that_cannot_boot_is_an_assertion(box):
    from diskimage import DiskImage
    image = DiskImage(box.disk.path)
    image.zero_partition("BF_BOOT_A")
    assert box.boot("mini.do=poweroff").decision.partition == 3
    image.zero_partition("BF_BOOT_B")
    with pytest.raises(AssertionError, match="no bootable partition"):
        box.boot()


def test_broken_firmware_can_be_played(box):
    box.edit_cells = lambda cells: {**cells, "partition": 0}
    base = "/proc/device-tree/chosen/bootloader"
    run = box.boot(f"mini.do=sum:{base}/partition")
    assert f"MINI sum {base}/partition={zlib.crc32(bytes(4)):08x}" in run.console
    box.edit_cells = lambda cells: None
    run = box.boot(f"mini.do=ls:{base}")
    assert f"MINI ls {base}=ENOENT" in run.console
