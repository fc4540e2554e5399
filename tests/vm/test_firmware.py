"""The firmware model against the vendor's words: one row for each rule, on written-down disks and on real images."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from diskimage import DiskImage, Fat, FatError, ImageError
from firmware import (Autoboot, Boot, DictView, Fatal, Hang, ImageView, Request, Settings,
                      after_power_cut, after_reboot, decide, parse_autoboot)

CANONICAL = b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
SWAPPED = b"[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n"
NO_A_B = b"[all]\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
CONFIG = (b"kernel=kernel8.img\ninitramfs initramfs.img followkernel\n"
          b"[boot_partition=2]\ncmdline=cmdline-a.txt\n"
          b"[boot_partition=3]\ncmdline=cmdline-b.txt\n[all]\n")


def boot_files(**changes: bytes | None) -> dict[str, bytes]:
    files: dict[str, bytes | None] = {
        "config.txt": CONFIG, "tryboot.txt": CONFIG, "kernel8.img": b"KERNEL",
        "initramfs.img": b"INITRAMFS", "cmdline-a.txt": b"rauc.slot=A\n",
        "cmdline-b.txt": b"rauc.slot=B\n"}
    files.update({name.replace("_", "."): data for name, data in changes.items()})
    return {name: data for name, data in files.items() if data is not None}


def disk(autoboot: bytes | None = CANONICAL, a: dict[str, bytes] | None = boot_files(),
         b: dict[str, bytes] | None = boot_files()) -> DictView:
    return DictView({1: {} if autoboot is None else {"autoboot.txt": autoboot}, 2: a, 3: b,
                     4: None, 5: None, 6: None})


T = Request(tryboot=True)
WATCHDOG = b"kernel_watchdog_timeout="
PLAIN = Request()

# What is booted: (partition, tryboot in the device tree, config file), or Hang, or Fatal.
# Sources: AB = config_txt/autoboot.adoc, CF = config_txt/conditional.adoc, BO = config_txt/boot.adoc,
# BF = raspberry-pi/bootflow-eeprom.adoc, EB = raspberry-pi/eeprom-bootloader.adoc.
SELECTION = [
    ("AB: initial autoboot.txt, powered on, boots 2", disk(), PLAIN, (2, False, "config.txt")),
    ("AB: [tryboot] passes with the flag", disk(), T, (3, True, "config.txt")),
    ("AB: after the swap", disk(SWAPPED), PLAIN, (3, False, "config.txt")),
    ("AB: after the swap, flag", disk(SWAPPED), T, (2, True, "config.txt")),
    ("AB: a partition passed to reboot beats boot_partition", disk(), Request(partition=3),
     (3, False, "config.txt")),
    ("AB: boot_partition=0 is the first bootable FAT", disk(b"[all]\nboot_partition=0\n"), PLAIN,
     (2, False, "config.txt")),
    ("AB: no boot_partition is the same", disk(b"[all]\ntryboot_a_b=1\n"), PLAIN,
     (2, False, "config.txt")),
    ("AB: no autoboot.txt", disk(None), PLAIN, (2, False, "config.txt")),
    ("AB: empty autoboot.txt", disk(b""), PLAIN, (2, False, "config.txt")),
    ("AB: random bytes", disk(bytes(range(128, 256)) * 4), PLAIN, (2, False, "config.txt")),
    ("AB: zeros", disk(bytes(512)), PLAIN, (2, False, "config.txt")),
    ("AB: without B committed by a filter, the last line wins", disk(b"boot_partition=2\nboot_partition=3\n"),
     PLAIN, (3, False, "config.txt")),
    ("AB: [none] hides what follows", disk(b"[all]\nboot_partition=3\n[none]\nboot_partition=2\n"),
     PLAIN, (3, False, "config.txt")),
    ("CF: [all] ends [none]", disk(b"[none]\nboot_partition=2\n[all]\nboot_partition=3\n"), PLAIN,
     (3, False, "config.txt")),
    ("CF: a comment is no setting", disk(b"[all]\nboot_partition=3\n#boot_partition=2\n"), PLAIN,
     (3, False, "config.txt")),
    ("AB: only three filters exist there", disk(b"[all]\nboot_partition=3\n[pi5]\nboot_partition=2\n"),
     PLAIN, (3, False, "config.txt")),
    ("AB: PARTITION_WALK is no property of autoboot.txt",
     disk(b"PARTITION_WALK=1\n[all]\nboot_partition=3\n"), PLAIN, (3, False, "config.txt")),
    ("lines with CRLF", disk(CANONICAL.replace(b"\n", b"\r\n")), T, (3, True, "config.txt")),
    ("no newline at the end", disk(CANONICAL[:-1]), T, (3, True, "config.txt")),
    ("AB: exactly 512 bytes", disk(SWAPPED + b"#" * (512 - len(SWAPPED))), PLAIN,
     (3, False, "config.txt")),
    ("AB: 513 bytes are too many", disk(SWAPPED + b"#" * (513 - len(SWAPPED))), PLAIN,
     (2, False, "config.txt")),
    ("BF: flag without tryboot_a_b loads tryboot.txt", disk(NO_A_B), T, (3, True, "tryboot.txt")),
    ("BF: lost autoboot.txt and the flag: tryboot.txt of the first bootable", disk(None), T,
     (2, True, "tryboot.txt")),
    ("HAOS #3740: the same without tryboot.txt hangs", disk(None, boot_files(tryboot_txt=None)), T,
     Hang),
    ("AB: tryboot_a_b needs no tryboot.txt", disk(b=boot_files(tryboot_txt=None)), T,
     (3, True, "config.txt")),
    ("EB: walk to the next bootable partition", disk(a=None), PLAIN, (3, False, "config.txt")),
    ("EB: walk from 3 wraps to 2", disk(SWAPPED, b=None), PLAIN, (2, False, "config.txt")),
    ("EB: an empty trial slot walks back, the flag stays in the device tree", disk(b=None), T,
     (2, True, "config.txt")),
    ("AB: FAT without config.txt is not bootable", disk(a={"kernel8.img": b"K"}), PLAIN,
     (3, False, "config.txt")),
    ("EB: a partition that does not exist", disk(b"boot_partition=7\n"), PLAIN,
     (2, False, "config.txt")),
    ("EB: a partition beyond the walk", disk(b"boot_partition=40\n"), PLAIN,
     (2, False, "config.txt")),
    ("nothing bootable", disk(a=None, b=None), PLAIN, Fatal),
    ("no FAT at all", DictView({1: None, 2: None}), PLAIN, Fatal),
    ("no kernel", disk(a=boot_files(kernel8_img=None)), PLAIN, Fatal),
]


@pytest.mark.parametrize("name,view,request_,expected", SELECTION, ids=[row[0] for row in SELECTION])
def test_selection(name, view, request_, expected):
    outcome = decide(view, request_)
    if isinstance(expected, type):
        assert isinstance(outcome, expected), outcome
    else:
        assert isinstance(outcome, Boot), outcome
        assert (outcome.partition, outcome.tryboot, outcome.config) == expected
        assert outcome.device_tree["partition"] == expected[0]
        assert outcome.device_tree["tryboot"] == int(expected[1])


def test_without_partition_walk_an_unbootable_partition_is_fatal():
    assert isinstance(decide(disk(a=None), PLAIN, Settings(partition_walk=False)), Fatal)


def test_the_walk_does_not_read_autoboot_again():
    """EB: autoboot.txt files are not processed during the walk."""
    view = DictView({1: {"autoboot.txt": b"boot_partition=4\n"}, 4: None,
                     5: dict(boot_files(), **{"autoboot.txt": b"boot_partition=6\n"}),
                     6: boot_files()})
    outcome = decide(view, PLAIN)
    assert isinstance(outcome, Boot) and outcome.partition == 5


def test_an_oversized_autoboot_may_be_truncated():
    text = SWAPPED + b"#" * 600
    assert parse_autoboot(text, False) == Autoboot(0, False)
    assert parse_autoboot(text, False, Settings(truncate_autoboot=True)) == Autoboot(3, True)


def test_old_bootloader_reports_partition_zero():
    outcome = decide(disk(SWAPPED), PLAIN, Settings(report_partition=False))
    assert isinstance(outcome, Boot)
    assert outcome.partition == 3 and outcome.device_tree["partition"] == 0


def test_boot_mode_and_count_reach_the_device_tree():
    outcome = decide(disk(), Request(boot_mode=6, count=4))
    assert isinstance(outcome, Boot)
    assert outcome.device_tree == {"partition": 2, "tryboot": 0, "count": 4, "boot-mode": 6}
    unknown = decide(disk(), Request())
    assert isinstance(unknown, Boot) and "boot-mode" not in unknown.device_tree


# (name, config.txt, partition, expected cmdline, expected kernel, expected initramfs)
LOADING = [
    ("release notes 2025-03-10: [boot_partition=2]", CONFIG, 2, "rauc.slot=A", b"KERNEL",
     b"INITRAMFS"),
    ("release notes 2025-03-10: [boot_partition=3]", CONFIG, 3, "rauc.slot=B", b"KERNEL",
     b"INITRAMFS"),
    ("BO: cmdline.txt is the default name", b"", 2, "default", b"KERNEL", b""),
    ("BO: a cmdline file that is missing", b"cmdline=none.txt\n", 2, "", b"KERNEL", b""),
    ("missing kernel= falls back to kernel8.img", b"[all]\n", 2, "default", b"KERNEL", b""),
    ("kernel= of a missing file falls back too", b"kernel=gone.img\n", 2, "default", b"KERNEL", b""),
    ("BO: kernel=", b"kernel=other.img\n", 2, "default", b"OTHER", b""),
    ("BO: an absolute path", b"kernel=/other.img\n", 2, "default", b"OTHER", b""),
    ("BO: several initramfs files are concatenated",
     b"initramfs initramfs.img,more.img followkernel\n", 2, "default", b"KERNEL", b"INITRAMFSMORE"),
    ("BO: initramfs takes no =", b"initramfs=initramfs.img followkernel\n", 2, "default", b"KERNEL",
     b""),
    ("CF: [none] in config.txt", b"[none]\ncmdline=cmdline-b.txt\n", 2, "default", b"KERNEL", b""),
    ("CF: filters of different types combine",
     b"[boot_partition=2]\n[pi4]\ncmdline=cmdline-b.txt\n", 2, "default", b"KERNEL", b""),
    ("CF: filters of one type replace each other",
     b"[pi4]\n[pi5]\ncmdline=cmdline-b.txt\n", 2, "rauc.slot=B", b"KERNEL", b""),
    ("CF: a filter nobody knows", b"[moon=full]\ncmdline=cmdline-b.txt\n", 2, "default", b"KERNEL",
     b""),
]


@pytest.mark.parametrize("name,config,partition,cmdline,kernel,initramfs", LOADING,
                         ids=[row[0] for row in LOADING])
def test_loading(name, config, partition, cmdline, kernel, initramfs):
    files = dict(boot_files(config_txt=config, cmdline_txt=b"default\nsecond line\n"),
                 **{"other.img": b"OTHER", "more.img": b"MORE"})
    outcome = decide(DictView({partition: files}), Request(partition=partition))
    assert isinstance(outcome, Boot)
    assert (outcome.cmdline, outcome.kernel, outcome.initramfs) == (cmdline, kernel, initramfs)


def test_filter_partition_is_what_was_asked_for():
    files = boot_files(config_txt=b"[partition=3]\ncmdline=cmdline-b.txt\n", cmdline_txt=b"default")
    asked = decide(DictView({3: files}), Request(partition=3))
    found = decide(DictView({3: files}), Request())
    assert isinstance(asked, Boot) and isinstance(found, Boot)
    assert (asked.cmdline, found.cmdline) == ("rauc.slot=B", "default")


@pytest.mark.parametrize("config, seconds", [
    (CONFIG, 0), (WATCHDOG + b"31\n" + CONFIG, 31), (CONFIG + WATCHDOG + b"31\n", 31),
    (WATCHDOG + b"31\n" + CONFIG + WATCHDOG + b"0\n", 0), (WATCHDOG + b"soon\n" + CONFIG, 0),
    (b"[tryboot]\n" + WATCHDOG + b"31\n[all]\n" + CONFIG, 0),
    (b"[pi5]\n" + WATCHDOG + b"31\n[all]\n" + CONFIG, 31)])
def test_kernel_watchdog_timeout(config, seconds):
    """boot.adoc: the watchdog is started, and the kernel is told."""
    found = decide(disk(a=boot_files(config_txt=config)))
    assert isinstance(found, Boot) and found.watchdog_sec == seconds
    assert found.cmdline == "rauc.slot=A" + (f" watchdog.open_timeout={seconds}" if seconds else "")
    old = decide(disk(a=boot_files(config_txt=config)), PLAIN, Settings(kernel_watchdog=False))
    assert isinstance(old, Boot) and (old.watchdog_sec, old.cmdline) == (0, "rauc.slot=A")


# drivers/firmware/raspberrypi.c (" tryboot" with its space) and drivers/watchdog/bcm2835_wdt.c
ARGUMENTS = [
    (None, False, 0), ("", False, 0), ("0 tryboot", True, 0), ("tryboot", False, 0),
    ("0 tryboot\n", True, 0), ("3", False, 3), ("3 tryboot", True, 0), ("0x3", False, 3),
    ("010", False, 8), ("63", False, 0), ("64", False, 0), ("2x", False, 0),
    ("dm-verity device corrupted", False, 0),
]


@pytest.mark.parametrize("argument,tryboot,partition", ARGUMENTS)
def test_reboot_argument(argument, tryboot, partition):
    after = after_reboot(Request(tryboot=True, boot_mode=1, count=3), argument)
    assert after == Request(tryboot=tryboot, partition=partition, boot_mode=1, count=4)


def test_a_power_cut_loses_the_flag():
    assert after_power_cut(Request(tryboot=True, partition=3, boot_mode=6, count=9)) == \
        Request(boot_mode=6)


# -- real images --------------------------------------------------------------------------------

LABELS = ["BF_BOOTSEL", "BF_BOOT_A", "BF_BOOT_B", "BF_ROOT_A"]


def make_image(path: Path, sector: int, fat_bits: int, mebibytes: int) -> DiskImage:
    """GPT by fdisk, FAT by mkfs.vfat, files by mtools: none of the code under test."""
    step = mebibytes << 20
    with open(path, "wb") as f:
        f.truncate((len(LABELS) * mebibytes + 2) << 20)
    lines = ["label: gpt", f"sector-size: {sector}"]
    for i, label in enumerate(LABELS):
        lines.append(f"start={((1 << 20) + i * step) // sector}, size={step // sector}, name={label}")
    # sfdisk takes every plain file for a 512-byte disk; fdisk can be told.
    script = path.with_suffix(".sfdisk")
    script.write_text("\n".join(lines) + "\n")
    subprocess.run(["fdisk", "-b", str(sector), str(path)], input=f"I\n{script}\nw\n".encode(),
                   check=True, capture_output=True)
    for i in range(3):
        fs = path.with_suffix(f".{i}")
        with open(fs, "wb") as f:
            f.truncate(step)
        argv = ["mkfs.vfat", "-F", str(fat_bits), "-S", str(sector), "-s", "1", str(fs)]
        subprocess.run(argv, check=True, capture_output=True)
        files = {"autoboot.txt": CANONICAL} if i == 0 else dict(
            boot_files(kernel8_img=bytes(range(256)) * 4096, initramfs_img=b"I" * (3 * sector + 1)),
            **{"A long file name.dat": b"long"})
        for name, data in files.items():
            source = path.with_suffix(".file")
            source.write_bytes(data)
            subprocess.run(["mcopy", "-i", str(fs), str(source), f"::{name}"], check=True,
                           capture_output=True)
        with open(path, "r+b") as f:
            f.seek((1 << 20) + i * step)
            f.write(fs.read_bytes())
    return DiskImage(path)


IMAGES = [(512, 12, 2), (512, 16, 4), (512, 32, 40), (4096, 12, 8), (4096, 16, 20),
          (4096, 32, 280)]


@pytest.fixture(params=IMAGES, ids=[f"{s}-byte sectors, FAT{b}" for s, b, _ in IMAGES])
def image(request, tmp_path):
    sector, bits, size = request.param
    made = make_image(tmp_path / "disk.img", sector, bits, size)
    yield made
    made.path.unlink()


def test_the_model_reads_a_real_image(image):
    assert [p.label for p in image.partitions.values()] == LABELS
    view = ImageView(image.path)
    assert view.fat_partitions() == [1, 2, 3]
    outcome = decide(view, T)
    assert isinstance(outcome, Boot)
    assert (outcome.partition, outcome.cmdline) == (3, "rauc.slot=B")
    assert outcome.kernel == bytes(range(256)) * 4096
    assert outcome.initramfs == b"I" * (3 * image.sector_size + 1)
    assert view.read(2, "a LONG file name.dat") == b"long"


def test_damage_to_a_real_image_is_seen(image):
    image.fat_write("BF_BOOTSEL", "autoboot.txt", SWAPPED)
    assert decide(ImageView(image.path), PLAIN).partition == 3
    # In place, as bf-init writes it: the size in the directory stays.
    image.fat_patch("BF_BOOTSEL", "autoboot.txt", CANONICAL)
    assert decide(ImageView(image.path), PLAIN).partition == 2
    image.fat_delete("BF_BOOT_A", "config.txt")
    assert decide(ImageView(image.path), PLAIN).partition == 3
    image.zero_partition("BF_BOOT_B")
    assert isinstance(decide(ImageView(image.path), PLAIN), Fatal)


def test_fat_that_points_at_itself_is_refused(tmp_path):
    image = make_image(tmp_path / "disk.img", 512, 16, 4)
    fat = image.fat("BF_BOOT_A")
    cluster = fat.find("kernel8.img").cluster
    table = image.partition("BF_BOOT_A").start + 512 * int.from_bytes(
        image.read_partition("BF_BOOT_A", 14, 2), "little")
    image.write_at(table + cluster * 2, cluster.to_bytes(2, "little"))
    with pytest.raises(FatError, match="loop"):
        image.fat("BF_BOOT_A").read("kernel8.img")
    # The firmware sees a partition whose kernel it cannot read.
    assert isinstance(decide(ImageView(image.path), PLAIN), Fatal)


def test_not_a_disk(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    with pytest.raises(ImageError, match="no GPT"):
        DiskImage(path)
    assert isinstance(decide(ImageView(path), PLAIN), Fatal)
    with pytest.raises(FatError):
        Fat(path, 0, 1 << 20)


def test_partition_renamed_in_both_tables(tmp_path):
    image = make_image(tmp_path / "disk.img", 512, 12, 2)
    image.rename_partition("BF_ROOT_A", "OTHER")
    shown = subprocess.run(["sfdisk", "-d", str(image.path)], capture_output=True, check=True)
    assert b'name="OTHER"' in shown.stdout and b"BF_ROOT_A" not in shown.stdout
    checked = subprocess.run(["sfdisk", "-V", str(image.path)], capture_output=True, check=False)
    assert checked.returncode == 0 and b"mismatch" not in checked.stderr


def test_ext4_helpers(tmp_path):
    image = make_image(tmp_path / "disk.img", 512, 16, 4)
    part = image.partition("BF_ROOT_A")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", f"offset={part.start}", "-F",
                    str(image.path), f"{part.size // 1024}k"], check=True, capture_output=True)
    image.ext4_write("BF_ROOT_A", "/a/b/file", b"x" * 5000)
    assert image.ext4_read("BF_ROOT_A", "/a/b/file") == b"x" * 5000
    image.ext4_write("BF_ROOT_A", "/a/b/file", b"y" * 3000)
    image.ext4_symlink("BF_ROOT_A", "/a/link", "../../etc")
    assert image.ext4_exists("BF_ROOT_A", "/a/link")
    assert not image.ext4_exists("BF_ROOT_A", "/a/nothing")
    at = image.ext4_flip("BF_ROOT_A", "/a/b/file", 2047)
    assert image.ext4_read("BF_ROOT_A", "/a/b/file") == b"y" * 2047 + b"\x86" + b"y" * 952
    assert image.read_at(at, 1) == b"\x86"
    image.ext4_remove("BF_ROOT_A", "/a/b")
    image.ext4_remove("BF_ROOT_A", "/a/b")
    assert not image.ext4_exists("BF_ROOT_A", "/a/b") and image.ext4_exists("BF_ROOT_A", "/a/link")
    free = image.ext4_free_block("BF_ROOT_A")
    assert part.start < free < part.start + part.size
    assert image.e2fsck("BF_ROOT_A", "-fn") == 0
    image.debugfs("BF_ROOT_A", "set_super_value state 2")
    assert image.e2fsck("BF_ROOT_A", "-p") == 1
    with pytest.raises(ImageError, match="File not found"):
        image.ext4_read("BF_ROOT_A", "/nothing")
