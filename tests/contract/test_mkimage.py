# SPDX-License-Identifier: MIT
"""bf-mkimage as an image builder uses it. The oracles are other tools than those it calls, where there
are any: a GPT reader of a few lines, `veritysetup verify`, fsck, unsquashfs, mtools."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import signal
import struct
import subprocess
import tarfile
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Callable

import pytest

TOP = Path(__file__).resolve().parents[2]
MKIMAGE = TOP / "hooks/image/bf-mkimage"
MIB = 1 << 20
AUTOBOOT = b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
LABELS = ["BF_BOOTSEL", "BF_BOOT_A", "BF_BOOT_B", "BF_ROOT_A", "BF_ROOT_B", "BF_DATA"]
FAT = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
EPOCH = 1_700_000_000
AS_ROOT = os.geteuid() == 0


def run(*argv: object, check: bool = True, **kwargs: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, errors="replace",
                          env={**os.environ, "PATH": PATH, "TZ": "UTC"}, check=False, **kwargs)  # type: ignore
    assert not check or done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


# ---- inputs ----


def write(path: Path, text: str | bytes = "", mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


FSTAB = """# a comment
PARTLABEL=BF_DATA /data ext4    nosuid,nodev,noexec,x-initrd.mount              0 0
overlay           /etc  overlay nosuid,nodev,x-initrd.mount,x-bf.upper=volatile 0 0
/data/log         /var/log none bind,nosuid,nodev,x-initrd.mount                0 0
/data/x           /data/inside none bind,nosuid,nodev,x-initrd.mount            0 0
"""


def settle(tree: Path) -> None:
    """Old, whole-second times everywhere, /etc/.updated a second newer."""
    for path in [tree, *tree.rglob("*")]:
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    if (tree / "etc/.updated").exists():
        os.utime(tree / "etc/.updated", (EPOCH + 1, EPOCH + 1))


def systemd_tree(tree: Path) -> Path:
    """A root with systemd in which bf-mkimage finds nothing wrong."""
    for name in ("data", "dev", "home", "proc", "run", "sys", "tmp", "var/log", "usr/sbin"):
        (tree / name).mkdir(parents=True)
    for name in ("bin", "lib", "sbin"):
        (tree / name).symlink_to(f"usr/{name}")
    write(tree / "usr/lib/systemd/systemd", b"\x7fELF" + os.urandom(300_000), 0o755)
    (tree / "usr/sbin/init").symlink_to("../lib/systemd/systemd")
    write(tree / "usr/sbin/e2fsck", "x", 0o755)
    write(tree / "usr/lib/systemd/system.conf.d/50-bf.conf",
          "[Manager]\nRuntimeWatchdogSec=60\nRebootWatchdogSec=15s\n")
    write(tree / "usr/lib/systemd/system/ldconfig.service")
    write(tree / "usr/lib/os-release", 'ID=kiosk\nIMAGE_VERSION="1.2.3"\n')
    write(tree / "usr/lib/modules/6.12/modules.dep", "kernel/dm-verity.ko.xz:\n")
    write(tree / "usr/lib/modules/6.12/modules.builtin", "kernel/fs/overlayfs/overlay.ko\n")
    write(tree / "usr/lib/modules/6.12/kernel/dm-verity.ko.xz", "x")
    write(tree / "usr/lib/modules/6.12/updates/bcm2835_wdt.ko", "x")
    write(tree / "etc/machine-id")
    write(tree / "etc/ld.so.cache", "x")
    write(tree / "etc/fstab", FSTAB)
    write(tree / "etc/.updated")
    write(tree / "home/two words", "kept\n")
    write(tree / "home/big", os.urandom(2 * MIB))
    (tree / "home/hard").hardlink_to(tree / "home/big")
    settle(tree)
    return tree


def mini_tree(tree: Path) -> Path:
    """A root without systemd: nothing but an init and the directories."""
    for name in ("dev", "proc", "run", "sys", "etc"):
        (tree / name).mkdir(parents=True)
    write(tree / "sbin/init", os.urandom(100_000), 0o755)
    write(tree / "sbin/e2fsck", "x", 0o755)
    settle(tree)
    return tree


@dataclass
class Bench:
    """One directory with inputs; image() runs the program."""

    dir: Path

    def __post_init__(self) -> None:
        self.kernel = write(self.dir / "vmlinuz", os.urandom(700_000))
        self.initramfs = write(self.dir / "initramfs", os.urandom(300_000))
        self.out = self.dir / "out"
        self.out.mkdir()

    def argv(self, root: Path, *options: object) -> list[str]:
        return [str(a) for a in (MKIMAGE, "--root", root, "--kernel", self.kernel, "--initramfs",
                                 self.initramfs, "--output", self.out / "disk.img", *options)]

    def try_image(self, root: Path, *options: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(root, *options), capture_output=True, text=True, check=False,
                              env={**os.environ, **env})

    def image(self, root: Path, *options: object, **env: str) -> "Disk":
        done = self.try_image(root, *options, **env)
        assert done.returncode == 0, done.stderr
        assert os.listdir(self.out) == ["disk.img"], "only the image is left"
        sector = 4096 if "4096" in map(str, options) and "--sector-size" in options else 512
        return Disk(self.out / "disk.img", self.dir, sector, done.stderr)


@dataclass
class Partition:
    label: str
    type: str
    start: int
    size: int


def guid(raw: bytes) -> str:
    a, b, c = struct.unpack_from("<IHH", raw)
    return f"{a:08X}-{b:04X}-{c:04X}-{raw[8:10].hex().upper()}-{raw[10:].hex().upper()}"


@dataclass
class Disk:
    path: Path
    dir: Path
    sector: int
    said: str

    def read(self, at: int, size: int) -> bytes:
        with open(self.path, "rb") as f:
            f.seek(at)
            return f.read(size)

    def partitions(self) -> list[Partition]:
        header = self.read(self.sector, 92)
        assert header[:8] == b"EFI PART"
        first, count, size = struct.unpack_from("<QII", header, 72)
        found = []
        for i in range(count):
            e = self.read(first * self.sector + i * size, size)
            if e[:16] != bytes(16):
                begin, end = struct.unpack_from("<QQ", e, 32)
                found.append(Partition(e[56:128].decode("utf-16-le").rstrip("\0"), guid(e[:16]),
                                       begin * self.sector, (end + 1 - begin) * self.sector))
        return found

    def part(self, label: str) -> Partition:
        return next(p for p in self.partitions() if p.label == label)

    def extract(self, label: str) -> Path:
        p, out = self.part(label), self.dir / f"{label}.img"
        with open(self.path, "rb") as source, open(out, "wb") as target:
            source.seek(p.start)
            left = p.size
            while left:
                data = source.read(min(left, MIB))
                left -= len(data)
                if data.strip(b"\0"):
                    target.write(data)
                else:
                    target.seek(len(data), os.SEEK_CUR)
            target.truncate(p.size)
        return out

    def fat_file(self, label: str, name: str) -> bytes:
        return subprocess.run(["mtype", "-i", str(self.extract(label)), f"::{name}"],
                              capture_output=True, check=True).stdout

    def fat_names(self, label: str) -> list[str]:
        return sorted(run("mdir", "-b", "-/", "-i", self.extract(label), "::").stdout.split("\n")[:-1])

    def cmdline(self, slot: str = "a") -> dict[str, str]:
        words = self.fat_file("BF_BOOT_A", f"cmdline-{slot}.txt").decode().split()
        return dict(w.partition("=")[::2] for w in words)


@pytest.fixture
def bench(tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    # Where it finds bf-guard and bf-init when they are not in build/host.
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:{programs}")
    return Bench(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return systemd_tree(tmp_path / "root")


@dataclass
class Superblock:
    offset: int
    algorithm: str
    data_block: int
    hash_block: int
    blocks: int
    salt_size: int


def superblock(image: Path, fs: str) -> Superblock:
    """Found where it must be: behind what the file system says it is long."""
    raw = image.read_bytes()
    if fs == "ext4":
        size = struct.unpack_from("<I", raw, 1028)[0] * (1024 << struct.unpack_from("<I", raw, 1048)[0])
    elif fs == "erofs":
        size = struct.unpack_from("<I", raw, 1060)[0] << raw[1036]
    else:
        size = struct.unpack_from("<Q", raw, 40)[0]
    at = (size + 4095) // 4096 * 4096
    assert raw[at:at + 8] == b"verity\0\0", "no verity superblock behind the file system"
    data, hash_, blocks, salt = struct.unpack_from("<IIQH", raw, at + 64)
    return Superblock(at, raw[at + 32:at + 64].rstrip(b"\0").decode(), data, hash_, blocks, salt)


def verify(image: Path, offset: int, roothash: str, *options: object) -> subprocess.CompletedProcess[str]:
    return run("veritysetup", "verify", image, image, roothash, f"--hash-offset={offset}", *options, check=False)


# ---- the disk ----


def test_layout(bench: Bench, tree: Path) -> None:
    disk = bench.image(tree)
    parts = disk.partitions()
    assert [p.label for p in parts] == LABELS
    assert [p.type for p in parts] == [FAT] * 3 + [LINUX] * 3
    assert all(p.start % MIB == 0 and p.size % MIB == 0 for p in parts)
    assert [p.start for p in parts[1:]] == [p.start + p.size for p in parts[:-1]], "no gaps"
    assert parts[1].size == parts[2].size and parts[3].size == parts[4].size
    assert disk.path.stat().st_blocks * 512 < disk.path.stat().st_size / 4, "the image is sparse"
    assert "warning" not in disk.said
    run("sfdisk", "--verify", disk.path)


def test_autoboot_is_one_aligned_sector(bench: Bench, tree: Path) -> None:
    disk = bench.image(tree)
    p = disk.part("BF_BOOTSEL")
    raw = disk.read(p.start, p.size)
    at = raw.find(AUTOBOOT)
    assert (p.start + at) % 4096 == 0
    assert raw.count(b"tryboot_a_b") == 1
    text = disk.fat_file("BF_BOOTSEL", "autoboot.txt")
    assert text == AUTOBOOT.ljust(512, b"\n") == raw[at:at + 512]
    assert disk.fat_names("BF_BOOTSEL") == ["::/autoboot.txt"]
    run("fsck.vfat", "-n", disk.extract("BF_BOOTSEL"))


def test_boot_partition(bench: Bench, tree: Path, tmp_path: Path) -> None:
    dtb = write(tmp_path / "my.dtb", "device tree")
    write(tmp_path / "ov/one.dtbo", "1")
    write(tmp_path / "ov/deeper/two words.dtbo", "2")
    lines = write(tmp_path / "lines", "dtparam=watchdog=on\n")
    disk = bench.image(tree, "--boot-file", dtb, f"--boot-file={dtb}=other/name.dtb", "--boot-file",
                       f"{tmp_path / 'ov'}=overlays", "--config-txt", lines, "--cmdline", "loglevel=7 a=b=c")
    assert disk.fat_names("BF_BOOT_A") == sorted(f"::/{n}" for n in (
        "cmdline-a.txt", "cmdline-b.txt", "config.txt", "initramfs.img", "kernel8.img", "tryboot.txt", "my.dtb",
        "other/name.dtb", "overlays/one.dtbo", "overlays/deeper/two words.dtbo", "overlays/", "other/",
        "overlays/deeper/"))
    assert disk.fat_file("BF_BOOT_A", "kernel8.img") == bench.kernel.read_bytes()
    assert disk.fat_file("BF_BOOT_A", "initramfs.img") == bench.initramfs.read_bytes()
    assert disk.fat_file("BF_BOOT_A", "overlays/deeper/two words.dtbo") == b"2"
    config = disk.fat_file("BF_BOOT_A", "config.txt").decode()
    assert config.encode() == disk.fat_file("BF_BOOT_A", "tryboot.txt")
    sections = dict(re.findall(r"^\[(.*)\]\n([^[]*)", config, re.M))
    assert sections["boot_partition=2"].split() == ["cmdline=cmdline-a.txt"]
    assert sections["boot_partition=3"].split() == ["cmdline=cmdline-b.txt"]
    assert sections["all"].split() == ["dtparam=watchdog=on"], "the last [all] has the user's lines"
    assert re.search(r"^arm_64bit=1\nkernel=kernel8.img\n(.*\n)*initramfs initramfs.img followkernel$", config, re.M)
    assert re.findall(r"^kernel_watchdog_timeout=(\d+)$", config.partition("[boot_partition=")[0], re.M) == ["31"]
    a, b = (disk.fat_file("BF_BOOT_A", f"cmdline-{s}.txt").decode() for s in "ab")
    assert re.fullmatch(r"rauc\.slot=A roothash=[0-9a-f]{64} systemd\.verity=0 systemd\.gpt_auto=0 panic=10 gpt "
                        r"quiet loglevel=3 console=tty1 loglevel=7 a=b=c\n", a)
    assert b == a.replace("rauc.slot=A", "rauc.slot=B")
    run("fsck.vfat", "-n", disk.extract("BF_BOOT_A"))


def test_data_partition(bench: Bench, tree: Path) -> None:
    disk = bench.image(tree, "--data-size", "80M")
    assert disk.part("BF_DATA").size == 80 * MIB
    data = disk.extract("BF_DATA")
    run("e2fsck", "-f", "-n", data)
    listing = run("debugfs", "-R", "ls -l /", data).stdout
    assert re.search(r"\b40700 \(2\) +0 +0 .* bf\n", listing)
    said = run("dumpe2fs", data).stdout
    features = re.search(r"^Filesystem features: +(.*)$", said, re.M)[1].split()  # type: ignore
    # Without metadata_csum: half a superblock, from a power cut, must not be the end of all.
    assert {"has_journal", "uninit_bg"} <= set(features) and "metadata_csum" not in features


@pytest.mark.parametrize("size, journal", [("32M", 4), ("80M", 4), ("160M", 16), ("2G", 16)])
def test_data_partition_is_cheap_to_check(bench: Bench, tree: Path, size: str, journal: int) -> None:
    """However large it is and grows: one inode for 64 KiB, a small journal, nothing unused is read."""
    data = bench.image(tree, "--data-size", size).extract("BF_DATA")

    def check() -> None:
        said = run("dumpe2fs", data).stdout
        assert re.search(r"^Inodes per group: +2048$", said, re.M) and re.search(r"^Blocks per group: +32768$", said, re.M)
        assert re.search(rf"^Total journal size: +({journal}M|{journal * 1024}k)$", said, re.M)
        groups = re.findall(r"^Group \d+: .*?(?:\[(.*)\])?$", said, re.M)
        assert all("INODE_UNINIT" in flags for flags in groups[1:]), groups
        run("e2fsck", "-f", "-n", data)

    check()
    os.truncate(data, 5 << 30)
    run("resize2fs", data)
    check()


def test_default_data_partition_survives_its_superblock(bench: Bench, tree: Path) -> None:
    data = bench.image(tree).extract("BF_DATA")
    with open(data, "r+b") as f:
        f.seek(1024)
        f.write(bytes(1024))
    # 1: errors were corrected.
    assert run("e2fsck", "-f", "-y", data, check=False).returncode == 1
    assert "bf" in run("debugfs", "-R", "ls -p /", data).stdout
    small = bench.try_image(tree, "--data-size", "64M")
    assert small.returncode == 0 and "too small for a second superblock" in small.stderr


def test_slot_b(bench: Bench, tree: Path) -> None:
    disk = bench.image(tree)
    assert not disk.extract("BF_BOOT_B").read_bytes().strip(b"\0")
    assert not disk.extract("BF_ROOT_B").read_bytes().strip(b"\0")
    disk = bench.image(tree, "--slot-b", "same")
    for what in ("BOOT", "ROOT"):
        a, b = (disk.extract(f"BF_{what}_{slot}").read_bytes() for slot in "AB")
        assert a == b and a.strip(b"\0")


def test_sizes_and_prefix(bench: Bench, tree: Path) -> None:
    edit("etc/fstab", "PARTLABEL=BF_DATA", "PARTLABEL=ACM_DATA")(tree)
    disk = bench.image(tree, "--root-size", "70000K", "--boot-size=33M", "--prefix", "ACM")
    parts = disk.partitions()
    assert [p.label for p in parts] == [label.replace("BF_", "ACM_") for label in LABELS]
    assert [p.size // MIB for p in parts[1:5]] == [33, 33, 69, 69], "rounded up"


def test_4kn(bench: Bench, tree: Path) -> None:
    disk = bench.image(tree, "--sector-size", "4096")
    parts = disk.partitions()
    assert [p.label for p in parts] == LABELS
    assert all(p.start % MIB == 0 for p in parts)
    for label in ("BF_BOOTSEL", "BF_BOOT_A"):
        assert struct.unpack_from("<H", disk.read(disk.part(label).start, 13), 11) == (4096,)
        run("fsck.vfat", "-n", disk.extract(label))
    p = disk.part("BF_BOOTSEL")
    at = disk.read(p.start, p.size).find(AUTOBOOT)
    assert at > 0 and at % 4096 == 0
    assert disk.read(p.start + at + 512, 4096 - 512) == bytes(4096 - 512), "the rest of the block is empty"
    image = disk.extract("BF_ROOT_A")
    assert verify(image, superblock(image, "ext4").offset, disk.cmdline()["roothash"]).returncode == 0
    assert disk.cmdline("b")["rauc.slot"] == "B"
    # systemd neither opens the verity device itself nor looks for another root.
    assert [disk.cmdline(slot)[f"systemd.{word}"] for slot in "ab" for word in ("verity", "gpt_auto")] == ["0"] * 4


# ---- the root ----


# fs, hash, data block, hash block, salt, bytes of salt, FEC
VERITY = [
    ("ext4", "sha256", 4096, 4096, "", 32, False),
    ("ext4", "sha512", 4096, 4096, "", 32, False),
    ("ext4", "sha256", 512, 1024, "", 32, False),
    ("ext4", "sha256", 1024, 4096, "-", 0, False),
    ("ext4", "sha512", 4096, 512, "00ff", 2, False),
    ("ext4", "sha256", 4096, 4096, "", 32, True),
    ("ext4", "sha256", 2048, 2048, "", 32, True),
    ("erofs", "sha256", 4096, 4096, "", 32, False),
    ("erofs", "sha512", 4096, 4096, "", 32, True),
    ("squashfs", "sha256", 4096, 4096, "", 32, False),
    ("squashfs", "sha256", 512, 512, "aabb", 2, True),
]


@pytest.mark.parametrize("fs, algorithm, data, hash_, salt, salt_size, fec", VERITY)
def test_verity(bench: Bench, tree: Path, fs: str, algorithm: str, data: int, hash_: int, salt: str,
                salt_size: int, fec: bool) -> None:
    disk = bench.image(tree, "--fs", fs, "--hash", algorithm, f"--data-block={data}", f"--hash-block={hash_}",
                       f"--salt={salt}", *(["--fec"] if fec else []))
    image, line = disk.extract("BF_ROOT_A"), disk.cmdline()
    sb = superblock(image, fs)
    assert sb == Superblock(sb.offset, algorithm, data, hash_, sb.offset // data, salt_size), \
        "every byte before the hash tree is protected"
    assert len(line["roothash"]) == (128 if algorithm == "sha512" else 64)
    codes: list[str] = []
    if fec:
        found = re.fullmatch(r"fec-offset=(\d+),fec-roots=2", line["systemd.verity_root_options"])
        assert found and int(found[1]) % 4096 == 0
        codes = [f"--fec-offset={found[1]}", "--fec-roots=2"]
    else:
        assert "systemd.verity_root_options" not in line
    assert verify(image, sb.offset, line["roothash"]).returncode == 0
    # A changed byte in the first, a middle and the last data block is seen, and repaired with FEC.
    for at in (100, sb.offset // 2, sb.offset - 1):
        raw = bytearray(image.read_bytes())
        raw[at] ^= 0x40
        damaged = write(bench.dir / "damaged.img", bytes(raw))
        assert verify(damaged, sb.offset, line["roothash"]).returncode != 0
        if fec:
            done = verify(damaged, sb.offset, line["roothash"], f"--fec-device={damaged}", *codes)
            assert done.returncode == 0 and "repairable" in done.stderr


def read_back(image: Path, fs: str, into: Path) -> Path:
    """The tree in the image, unpacked by a tool that did not make it where there is one."""
    into.mkdir()
    if fs == "ext4":
        run("e2fsck", "-f", "-n", image)
        run("debugfs", "-R", f"rdump / {into}", image)
        shutil.rmtree(into / "lost+found")
    elif fs == "erofs":
        into.rmdir()
        run("fsck.erofs", f"--extract={into}", image)
    else:
        run("unsquashfs", "-f", "-d", into, image)
    return into


@pytest.mark.parametrize("fs", ["ext4", "erofs", "squashfs"])
def test_content(bench: Bench, tree: Path, tmp_path: Path, fs: str) -> None:
    disk = bench.image(tree, "--fs", fs)
    copy = read_back(disk.extract("BF_ROOT_A"), fs, tmp_path / "copy")
    names = sorted(p.relative_to(tree) for p in tree.rglob("*"))
    assert sorted(p.relative_to(copy) for p in copy.rglob("*")) == names
    for name in names:
        ours, theirs = tree / name, copy / name
        assert ours.is_symlink() == theirs.is_symlink() and ours.is_dir() == theirs.is_dir()
        if ours.is_symlink():
            assert os.readlink(ours) == os.readlink(theirs)
        elif ours.is_file():
            assert ours.read_bytes() == theirs.read_bytes()
            assert ours.stat().st_mode == theirs.stat().st_mode


def test_tar_keeps_owners_and_capabilities(bench: Bench, tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "root.tar.gz"
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid, member.gid = (1234, 4321) if member.name == "./home/big" else (0, 0)
        if member.name == "./home/big":
            member.pax_headers["SCHILY.xattr.security.capability"] = capability.decode("latin-1")
        return member

    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        tar.add(tree, ".", filter=owned)
        node = tarfile.TarInfo("./dev/null")
        node.type, node.devmajor, node.devminor, node.mode = tarfile.CHRTYPE, 1, 3, 0o666
        tar.addfile(node)
        strange = tarfile.TarInfo("./home/new\nline")
        strange.size = 1
        tar.addfile(strange, BytesIO(b"x"))
    image = bench.image(path).extract("BF_ROOT_A")
    assert re.search(r"User: +1234 +Group: +4321", run("debugfs", "-R", "stat /home/big", image).stdout)
    assert re.search(r"User: +0 +Group: +0", run("debugfs", "-R", "stat /etc/fstab", image).stdout)
    assert "Type: character special" in run("debugfs", "-R", "stat /dev/null", image).stdout
    if AS_ROOT:
        assert "security.capability (20)" in run("debugfs", "-R", "ea_list /home/big", image).stdout
    run("e2fsck", "-f", "-n", image)


@pytest.mark.skipif(not AS_ROOT, reason="this run is the other user already")
def test_without_root(tmp_path: Path) -> None:
    """Somebody who is not root gets the same image, from a tree of his own."""
    place = Path("/var/tmp") / tmp_path.parent.name / tmp_path.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    try:
        bench = Bench(place)
        tree = systemd_tree(place / "root")
        bench.image(tree, "--fec")
        first = bench.out / "disk.img"
        first.rename(place / "first.img")
        run("chown", "-R", "65534:65534", place)
        place.parent.chmod(0o755)
        done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                               *bench.argv(tree, "--fec")], capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done.stderr
        assert "not root" in done.stderr
        run("cmp", place / "first.img", bench.out / "disk.img")
    finally:
        shutil.rmtree(place.parent)


# ---- reproducible ----


@pytest.mark.parametrize("fs", ["ext4", "erofs", "squashfs"])
def test_reproducible(bench: Bench, tree: Path, tmp_path: Path, fs: str) -> None:
    write(tmp_path / "ov/b.dtbo", "1")
    write(tmp_path / "ov/a.dtbo", "2")
    options = ("--fs", fs, "--fec", "--slot-b", "same", "--boot-file", tmp_path / "ov")
    first = bench.image(tree, *options).path.rename(tmp_path / "first.img")
    # The same tree again: another place, another order, other change and access times.
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True, ignore=lambda d, names: {"hard"} & set(names))
    (copy / "home/hard").hardlink_to(copy / "home/big")
    moved = copy / "usr.new"
    (copy / "usr").rename(moved)
    shutil.copytree(moved, copy / "usr", symlinks=True)
    shutil.rmtree(moved)
    settle(copy)
    shutil.move(tmp_path / "ov", tmp_path / "old")
    for name in ("a", "b"):
        write(tmp_path / f"ov/{name}.dtbo", (tmp_path / f"old/{name}.dtbo").read_bytes())
    time.sleep(2.1)  # FAT counts in steps of two seconds
    run("cmp", first, bench.image(copy, *options).path)


def test_content_gives_the_identity(bench: Bench, tree: Path, tmp_path: Path) -> None:
    def ids(disk: Disk) -> list[bytes]:
        return [disk.read(512 + 56, 16), disk.read(1024 + 16, 16)]

    first = bench.image(tree)
    one, roothash = ids(first), first.cmdline()["roothash"]
    write(tree / "home/two words", "lost\n")
    settle(tree)
    second = bench.image(tree)
    other = ids(second)
    assert second.cmdline()["roothash"] != roothash
    assert one[0] != other[0] and one[1] != other[1]
    seeded = ids(bench.image(tree, "--seed", "mine"))
    write(tree / "home/two words", "kept\n")
    assert seeded == ids(bench.image(tree, "--seed", "mine"))
    assert seeded[0] not in (one[0], other[0])


def test_artifacts(bench: Bench, tree: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for _ in range(2):  # the second time it replaces them
        disk = bench.image(tree, "--artifacts", kept, "--fec")
    assert sorted(os.listdir(kept)) == ["boot.img", "root.img", "roothash", "verity.env"]
    roothash = (kept / "roothash").read_text().strip()
    assert roothash == disk.cmdline()["roothash"]
    env = dict(line.split("=", 1) for line in (kept / "verity.env").read_text().splitlines())
    assert env["BF_ROOTHASH"] == roothash and len(env) == 14 and all(env.values())
    assert env["BF_IMAGE_VERSION"] == "1.2.3"
    root = (kept / "root.img").read_bytes()
    assert len(root) == int(env["BF_ROOT_IMAGE_SIZE"])
    assert disk.read(disk.part("BF_ROOT_A").start, len(root)) == root
    assert disk.extract("BF_BOOT_A").read_bytes() == (kept / "boot.img").read_bytes()
    assert verify(kept / "root.img", int(env["BF_VERITY_HASH_OFFSET"]), roothash,
                  f"--fec-device={kept / 'root.img'}", f"--fec-offset={env['BF_VERITY_FEC_OFFSET']}",
                  f"--fec-roots={env['BF_VERITY_FEC_ROOTS']}").returncode == 0


# ---- checks of the tree ----


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def do(tree: Path) -> None:
        text = (tree / name).read_text()
        assert old in text
        (tree / name).write_text(text.replace(old, new))
    return do


def drop(name: str) -> Callable[[Path], None]:
    return lambda tree: shutil.rmtree(tree / name) if (tree / name).is_dir() else (tree / name).unlink()


OUR_UNITS = sorted(p for p in (TOP / "hooks/systemd").glob("*.service") if "[Install]" in p.read_text())
POLICY = "etc/dbus-1/system.d/de.pengutronix.rauc.conf"


def installed(tree: Path) -> None:
    """What `make install-target` and an image builder do with units and accounts."""
    for unit in OUR_UNITS:
        write(tree / "usr/lib/systemd/system" / unit.name, unit.read_text())
    write(tree / POLICY, (TOP / "hooks/rauc/de.pengutronix.rauc.conf").read_text())
    write(tree / "usr/lib/sysusers.d/50-bf.conf", (TOP / "hooks/systemd/sysusers.d/50-bf.conf").read_text())
    write(tree / "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
    run("systemd-sysusers", f"--root={tree}")
    run("systemctl", f"--root={tree}", "--quiet", "enable", *(unit.name for unit in OUR_UNITS))


def after_install(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda tree: (installed(tree), change(tree))[1]


# What another file than the drop-in says, so that only one thing is missing when that is gone.
SYSTEM_CONF_BUT_RUNTIME = "[Manager]\nRebootWatchdogSec=9s\n"


def link(path: Path, target: str, beside: str) -> None:
    """A link, or an empty file without a target; and a drop-in of another name."""
    write(path.with_name("40-beside.conf"), beside)
    if target:
        path.symlink_to(target)
    else:
        write(path)


WANTS = "etc/systemd/system/{}.target.wants/bf-{}.service"
SYSTEM_CONF = "usr/lib/systemd/system.conf.d/50-bf.conf"
PROBLEMS = {
    "no runtime watchdog": (edit(SYSTEM_CONF, "RuntimeWatchdogSec=60", ""), "RuntimeWatchdogSec is not set"),
    "commented": (edit(SYSTEM_CONF, "RuntimeWatchdogSec", "#RuntimeWatchdogSec"), "RuntimeWatchdogSec is not set"),
    "runtime watchdog 0": (edit(SYSTEM_CONF, "=60", "=0"), "RuntimeWatchdogSec is not set"),
    "off in etc": (lambda t: write(t / "etc/systemd/system.conf.d/z.conf", "[Manager]\nRuntimeWatchdogSec=off\n"),
                   "RuntimeWatchdogSec is not set"),
    "no reboot watchdog": (edit(SYSTEM_CONF, "RebootWatchdogSec=15s", ""), "RebootWatchdogSec is not set"),
    "off again behind": (lambda t: write(t / "usr/lib/systemd/system.conf.d/60.conf", "[Manager]\nRuntimeWatchdogSec=\n"),
                         "RuntimeWatchdogSec= is no time"),
    "watchdog that is no time": (edit(SYSTEM_CONF, "=60", "=false"), "RuntimeWatchdogSec=false is no time"),
    "0s": (edit(SYSTEM_CONF, "=60", "= 0s"), "RuntimeWatchdogSec is not set"),
    "in another section": (edit(SYSTEM_CONF, "RebootWatchdogSec", "[Journal]\nRebootWatchdogSec"),
                           "RebootWatchdogSec is not set"),
    "drop-in masked in etc": (lambda t: link(t / "etc/systemd/system.conf.d/50-bf.conf", "/dev/null", SYSTEM_CONF_BUT_RUNTIME),
                              "RuntimeWatchdogSec is not set"),
    "drop-in emptied in etc": (lambda t: link(t / "etc/systemd/system.conf.d/50-bf.conf", "", SYSTEM_CONF_BUT_RUNTIME),
                               "RuntimeWatchdogSec is not set"),
    "drop-in of run": (lambda t: write(t / "run/systemd/system.conf.d/60.conf", "[Manager]\nRuntimeWatchdogSec=0\n"),
                       "RuntimeWatchdogSec is not set"),
    "fstab that bf-init refuses": (edit("etc/fstab", "bind,nosuid,nodev", "bind,nosuid"), "/etc/fstab, line 4, /var/log: nodev"),
    "no machine-id": (drop("etc/machine-id"), "/etc/machine-id is missing"),
    "machine-id filled": (lambda t: write(t / "etc/machine-id", "0" * 32), "/etc/machine-id is not empty"),
    "no ld.so.cache": (drop("etc/ld.so.cache"), "/etc/ld.so.cache is missing"),
    "no fstab": (drop("etc/fstab"), "/etc/fstab is missing"),
    "no early mount": (lambda t: write(t / "etc/fstab", "tmpfs /tmp tmpfs nosuid 0 0\n"), "no line with x-initrd.mount"),
    "no data": (edit("etc/fstab", "PARTLABEL=BF_DATA", "/dev/sda1"), "does not mount PARTLABEL=BF_DATA"),
    "fsck pass": (edit("etc/fstab", "x-initrd.mount              0 0", "x-initrd.mount 0 2"), "pass 2"),
    "short line": (edit("etc/fstab", "# a comment", "/dev/sda1 /mnt"), "line 1 of /etc/fstab has fewer"),
    "no mount point": (drop("data"), "/data of /etc/fstab is not a directory"),
    "mount point is a link": (lambda t: (drop("data")(t), (t / "data").symlink_to("home")),
                              "/data of /etc/fstab is not a directory"),
    "no mount point below an overlay": (drop("var/log"), "/var/log of /etc/fstab is not a directory"),
    "no modules": (drop("usr/lib/modules/6.12"), "no kernel modules"),
    "no depmod": (drop("usr/lib/modules/6.12/modules.dep"), "no modules.dep"),
    "no dm-verity": (drop("usr/lib/modules/6.12/kernel"), "has no dm-verity"),
    "no overlay": (drop("usr/lib/modules/6.12/modules.builtin"), "has no overlay"),
    "no watchdog driver": (drop("usr/lib/modules/6.12/updates"), "has no bcm2835_wdt: the watchdog would reset"),
    "no init": (drop("usr/sbin/init"), "/sbin/init is missing"),
    # On the machine that builds, this path may well lead to an init.
    "init of the builder": (lambda t: (drop("usr/sbin/init")(t), (t / "usr/sbin/init").symlink_to("/usr/bin/env")),
                            "/sbin/init is missing"),
    "no e2fsck": (drop("usr/sbin/e2fsck"), "e2fsck is missing"),
    "e2fsck is no program": (lambda t: (t / "usr/sbin/e2fsck").chmod(0o644), "e2fsck is missing"),
    "init is busybox": (lambda t: (drop("usr/sbin/init")(t), write(t / "usr/sbin/init", b"\x7fELF busybox", 0o755)),
                        "/sbin/init is not systemd: the watchdog"),
    "init is another script": (lambda t: (drop("usr/sbin/init")(t), write(t / "usr/sbin/init", "#!/bin/sh\nexec runit\n", 0o755)),
                               "/sbin/init is not systemd: the watchdog"),
    "no proc": (drop("proc"), "/proc is missing"),
    "guard not enabled": (after_install(drop(WANTS.format("emergency", "guard"))),
                          "bf-guard.service is not enabled for emergency.target: nobody would commit"),
    "reconcile not enabled": (after_install(drop(WANTS.format("multi-user", "boot-reconcile"))),
                              "bf-boot-reconcile.service is not enabled for multi-user.target: no trial"),
    "arm not enabled": (after_install(drop(WANTS.format("reboot", "boot-arm"))),
                        "bf-boot-arm.service is not enabled for reboot.target: a reboot"),
    "complete not enabled": (after_install(drop("etc/systemd/system/boot-complete.target.requires")),
                             "bf-guard-complete.service is not enabled for boot-complete.target"),
    "no group": (after_install(edit("etc/group", "bf-update:", "updaters:")),
                 "names the group bf-update, which is not in /etc/group"),
}


def assert_problem(bench: Bench, message: str, tree: Path, *options: object) -> None:
    settle(tree)
    done = bench.try_image(tree, *options)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    at = [i for i, line in enumerate(lines) if message in line]
    assert len(at) == 1 and "root tree:" in lines[at[0]]
    assert re.match(r"    [A-Z].*\.$", lines[at[0] + 1]), "the next line says what to do"
    assert lines[-1].startswith("bf-mkimage: 1 problem(s)"), done.stderr
    assert os.listdir(bench.out) == []


def said_of(bench: Bench, tree: Path, *options: object) -> list[str]:
    """What the checks say, problems and warnings, without the time that an image takes: one problem is put in."""
    (tree / "proc").rmdir()
    settle(tree)
    done = bench.try_image(tree, *options)
    (tree / "proc").mkdir()
    lines = [line for line in done.stderr.splitlines() if "warning: " in line or "root tree: " in line]
    assert done.returncode == 1 and "bf-mkimage: root tree: /proc is missing" in lines, done.stderr
    return [line for line in lines if "/proc is missing" not in line]


@pytest.mark.parametrize("name", PROBLEMS)
def test_problem(bench: Bench, tree: Path, name: str) -> None:
    change, message = PROBLEMS[name]
    change(tree)
    assert_problem(bench, message, tree)


# ---- the kernel, and what of the root depends on it ----


def kernel_of(bench: Bench, release: str, how: str = "raw") -> None:
    """A kernel that says its release, as the real ones do."""
    image = os.urandom(300_000) + f"\0Linux version {release} (builder@host) #1 SMP\0".encode() + os.urandom(9000)
    write(bench.kernel, gzip.compress(image) if how == "gzip" else image)


@pytest.mark.parametrize("how", ["raw", "gzip"])
@pytest.mark.parametrize("option, config", [
    ("--fec", "CONFIG_DM_VERITY_FEC"),
    ("--cmdline=systemd.verity_root_options=panic-on-corruption,root-hash-signature=/etc/root.p7s",
     "CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG")])
def test_k7_kernel_without_fec_or_signature(bench: Bench, tree: Path, option: str, config: str, how: str) -> None:
    """The vendor's kernel has neither; the configuration of another kernel in the root does not count."""
    kernel_of(bench, "6.12.25+rpt-rpi-2712", how)
    write(tree / "boot/config-6.12.25+rpt-rpi-v8", f"{config}=y\n")
    write(tree / "boot/config-6.12.25+rpt-rpi-2712", f"CONFIG_DM_VERITY=m\n# {config} is not set\n")
    assert_problem(bench, f"Linux 6.12.25+rpt-rpi-2712 has no {config}:", tree, option)
    settle(tree)
    assert "warning" not in bench.image(tree).said, "not asked for, not missed"
    write(tree / "boot/config-6.12.25+rpt-rpi-2712", f"{config}=y\n")
    settle(tree)
    assert "warning" not in bench.image(tree, option).said


def test_k7_a_kernel_of_unknown_configuration_is_a_warning(bench: Bench, tree: Path) -> None:
    said = bench.image(tree, "--fec").said
    assert "warning: no /boot/config-6.12 in the root tree: cannot tell whether it has CONFIG_DM_VERITY_FEC" in said


def dpkg(version: str) -> Callable[[Path], None]:
    text = f"Package: raucous\nVersion: 9\n\nPackage: rauc\nStatus: install ok installed\nVersion: {version}\n\n" \
           "Package: zsh\nVersion: 5\n"
    return lambda tree: write(tree / "var/lib/dpkg/status", text) and None


def rauc_says(version: str) -> Callable[[Path], None]:
    """A root without a package manager: the program itself says it."""
    return lambda tree: write(tree / "usr/bin/rauc", b"\x7fELF\0\0rauc " + version.encode() + b"\0", 0o755) and None


@pytest.mark.parametrize("kernel, rauc, good", [
    ("6.18.40", dpkg("1.13-3+deb13u1"), True), ("6.19.0-rc1", dpkg("1.13-3+deb13u1"), False),
    ("7.3.4+deb13-arm64", dpkg("1.15-1"), False), ("7.3.4+deb13-arm64", dpkg("1:1.15.1-1~bpo13+1"), True),
    ("7.3.4", dpkg("1.16"), True), ("7.3.4", rauc_says("1.13"), False), ("7.3.4", rauc_says("1.15.1"), True),
    ("6.12.74", rauc_says("1.8"), True), ("7.3.4", lambda tree: None, True)])
def test_k1_rauc_that_does_not_understand_the_kernel(bench: Bench, tree: Path, kernel: str,
                                                     rauc: Callable[[Path], None], good: bool) -> None:
    """Since 6.19 dm-verity says more than "V"; RAUC reads that from 1.15.1 on."""
    kernel_of(bench, kernel)
    rauc(tree)
    if good:
        assert said_of(bench, tree) == []
    else:
        assert_problem(bench, f"cannot install with Linux {kernel}:", tree)


def test_every_unit_has_to_be_enabled(bench: Bench, tree: Path) -> None:
    """As installed, nothing is; enabled or masked, nobody complains; what is not installed is not missed."""
    installed(tree)
    links = [path for path in (tree / "etc/systemd/system").rglob("*") if path.is_symlink()]
    for link in links:
        link.unlink()
    settle(tree)
    said = bench.try_image(tree).stderr
    missed = re.findall(r"root tree: (bf-[a-z-]+\.service) is not enabled", said)
    assert sorted(missed) == sorted(unit.name for unit in OUR_UNITS), said
    for unit in OUR_UNITS[:-1]:
        (tree / "etc/systemd/system" / unit.name).symlink_to("/dev/null")
    (tree / "usr/lib/systemd/system" / OUR_UNITS[-1].name).unlink()
    assert said_of(bench, tree) == []


def test_installed_and_enabled_is_fine(bench: Bench, tree: Path) -> None:
    installed(tree)
    settle(tree)
    assert "root tree" not in bench.image(tree).said


def test_the_examples_enable_every_unit() -> None:
    """What README.md and the man page tell an image builder to type."""
    units = sorted(unit.stem for unit in OUR_UNITS)
    for page in ("README.md", "hooks/image/bf-mkimage.8"):
        text = re.sub(r"\\e?\n *", "", (TOP / page).read_text())
        commands = re.findall(r"systemctl --root=\w+ enable ([a-z -]+)", text)
        assert [sorted(c.split()) for c in commands] == [units], page


def test_lines_of_the_plan_that_need_a_word(bench: Bench, tree: Path) -> None:
    """Trusted ones are named; those for another image need no mount point."""
    with open(tree / "etc/fstab", "a") as fstab:
        fstab.write("/data/log2 /var/log/two none bind,nosuid,nodev,x-initrd.mount,x-bf.trust 0 0\n"
                    "/data/b /var/lib/nothing none bind,nosuid,nodev,noauto,x-initrd.mount,x-bf.if-exists 0 0\n"
                    "/data/c /var/lib/none none bind,nosuid,nodev,noauto,x-initrd.mount,x-bf.if-exists=/x 0 0\n")
    assert said_of(bench, tree) == ["bf-mkimage: warning: /var/log/two of /etc/fstab has x-bf.trust: root may run what "
                                    "somebody left on BF_DATA"]


def test_unchecked(bench: Bench, tree: Path) -> None:
    PROBLEMS["no reboot watchdog"][0](tree)
    settle(tree)
    disk = bench.image(tree, "--unchecked")
    assert "warning: root tree: RebootWatchdogSec is not set" in disk.said


@pytest.mark.parametrize("value, short", [("15", True), ("1.5s 10s", True), ("14s 999ms 500us", True), ("14s 1001ms", False), (" 9 sec", True), ("16s", False), ("2min", False),
                                          ("0015s", True), ("infinity", False)])
def test_more_than_the_hardware_counts_is_warned_of(bench: Bench, tree: Path, value: str, short: bool) -> None:
    edit(SYSTEM_CONF, "RebootWatchdogSec=15s", f"RebootWatchdogSec={value}")(tree)
    said = said_of(bench, tree)
    assert said == [] if short else f"warning: RebootWatchdogSec={value} is more than a" in said[0]


def test_drop_ins_are_read_as_systemd_does(bench: Bench, tree: Path) -> None:
    """By name over all directories; a link inside of the tree is followed there; a byte order mark and comments
    do not matter; what is taken away in one place may be given in another."""
    (tree / SYSTEM_CONF).unlink()
    write(tree / "usr/share/ours.conf", b"\xef\xbb\xbf[Manager]\nRuntimeWatchdogSec=1min 5s\n;RuntimeWatchdogSec=0\n")
    (tree / "usr/lib/systemd/system.conf.d/70-ours.conf").symlink_to("/usr/share/ours.conf")
    write(tree / "etc/systemd/system.conf.d/60-off.conf", "[Manager]\nRuntimeWatchdogSec=0\n")
    write(tree / "usr/lib/systemd/system.conf", "[Manager]\nRebootWatchdogSec=10\n")
    assert said_of(bench, tree) == []
    write(tree / "etc/systemd/system.conf", "")
    assert_problem(bench, "RebootWatchdogSec is not set", tree)


def test_a_drop_in_outweighs_the_main_file(bench: Bench, tree: Path) -> None:
    write(tree / "etc/systemd/system.conf", "[Manager]\nRuntimeWatchdogSec=off\n")
    assert said_of(bench, tree) == []


def test_without_systemd_nothing_of_it_is_asked(bench: Bench, tmp_path: Path) -> None:
    disk = bench.image(mini_tree(tmp_path / "mini"), "--cmdline", "bf.watchdog=0")
    assert "root tree" not in disk.said
    assert "/etc/.updated" not in disk.said


def test_k9_who_leaves_the_watchdog_alone_is_not_reset_by_the_firmware(bench: Bench, tmp_path: Path) -> None:
    """An init that cannot take it over, without that word, makes no image; the last word counts, as for bf-init."""
    tree = mini_tree(tmp_path / "mini")
    assert_problem(bench, "/sbin/init is not systemd: the watchdog", tree)
    assert_problem(bench, "/sbin/init is not systemd: the watchdog", tree, "--cmdline=bf.watchdog=0 bf.watchdog=15")
    assert_problem(bench, "/sbin/init is not systemd: the watchdog", tree, "--cmdline=-- bf.watchdog=0")
    disk = bench.image(tree, "--cmdline", "bf.watchdog=10 bf.watchdog=0")
    assert b"kernel_watchdog_timeout" not in disk.fat_file("BF_BOOT_A", "config.txt")


def test_k9_without_a_watchdog_driver_the_firmware_must_not_start_it(bench: Bench, tree: Path) -> None:
    drop("usr/lib/modules/6.12/updates")(tree)
    settle(tree)
    disk = bench.image(tree, "--cmdline", "bf.watchdog=0")
    assert "root tree" not in disk.said and b"kernel_watchdog_timeout" not in disk.fat_file("BF_BOOT_A", "config.txt")
    (tree / "usr/lib/modules/6.12/modules.builtin").write_text(
        "kernel/fs/overlayfs/overlay.ko\nkernel/drivers/watchdog/bcm2835_wdt.ko\n")
    settle(tree)
    disk = bench.image(tree)
    assert "root tree" not in disk.said and b"kernel_watchdog_timeout=31\n" in disk.fat_file("BF_BOOT_A", "config.txt")


@pytest.mark.parametrize("change", ["split usr", "script", "init="])
def test_k9_systemd_is_recognised(bench: Bench, tree: Path, change: str) -> None:
    """In /lib/systemd of a root without merged /usr; started by a script; under another name."""
    options = []
    if change == "split usr":
        (tree / "lib").unlink()
        (tree / "usr/sbin/init").unlink()
        (tree / "lib/systemd").mkdir(parents=True)
        (tree / "usr/lib/systemd/systemd").rename(tree / "lib/systemd/systemd")
        (tree / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    else:
        (tree / "usr/sbin/init").unlink()
        target = "usr/sbin/init" if change == "script" else "usr/sbin/start"
        write(tree / target, "#!/bin/sh\nexec /usr/lib/systemd/systemd \"$@\"\n", 0o755)
        options = [] if change == "script" else ["--cmdline=init=/usr/sbin/start"]
    settle(tree)
    assert "is not systemd" not in bench.try_image(tree, *options).stderr


def test_p3_systemd_of_an_unmerged_usr_is_checked(bench: Bench, tree: Path) -> None:
    """In /lib, with nothing of it in /usr/lib: the checks for systemd hold all the same."""
    installed(tree)
    (tree / "lib").unlink()
    for name in ("systemd", "modules"):
        (tree / "lib").mkdir(exist_ok=True)
        shutil.move(tree / f"usr/lib/{name}", tree / f"lib/{name}")
    (tree / "usr/sbin/init").unlink()
    (tree / "usr/sbin/init").symlink_to("/lib/systemd/systemd")
    assert said_of(bench, tree) == []
    write(tree / "lib/systemd/system.conf.d/60.conf", "[Manager]\nRuntimeWatchdogSec=0\n")
    assert_problem(bench, "RuntimeWatchdogSec is not set", tree)
    (tree / "lib/systemd/system.conf.d/60.conf").unlink()
    drop(WANTS.format("multi-user", "trash"))(tree)
    assert_problem(bench, "bf-trash.service is not enabled", tree)


# ---- the guard: its configuration, and that nobody else commits ----


def guarded(tree: Path) -> None:
    """bf-guard is in the tree, with a kiosk."""
    installed(tree)
    write(tree / "usr/sbin/bf-guard", b"\x7fELF", 0o755)
    write(tree / "usr/lib/systemd/system/kiosk.service", "[Service]\nExecStart=/usr/bin/kiosk\n")
    write(tree / "etc/bf-guard.conf", "[kiosk]\nunit=kiosk.service\n")
    write(tree / DEBIAN_POLICY, DEBIANS)


DEBIAN_POLICY = "usr/share/dbus-1/system.d/de.pengutronix.rauc.conf"
DEBIANS = """<busconfig>
  <policy context="default">
    <allow send_destination="de.pengutronix.rauc"/>
  </policy>
  <policy user="root">
    <allow own="de.pengutronix.rauc"/>
  </policy>
</busconfig>
"""
ALLOW = """<busconfig>
  <!-- <policy user="root"> -->
  <policy {}>
    <allow
      send_destination='de.pengutronix.rauc' {}/>
  </policy>
</busconfig>
"""
UNITS = "usr/lib/systemd/system/"
ANOTHER = "etc/dbus-1/system.d/updater.conf"
MISTAKES = {
    "no such unit": (edit("etc/bf-guard.conf", "kiosk.service", "kisok.service"),
                     "/etc/bf-guard.conf:2: The unit kisok.service is nowhere in this root"),
    "no suffix": (edit("etc/bf-guard.conf", "kiosk.service", "kiosk"), None),
    "no configuration": (drop("etc/bf-guard.conf"), "/etc/bf-guard.conf: The unit betterframe-kiosk.service is nowhere"),
    "typo in a drop-in": (lambda t: write(t / "usr/lib/bf-guard.conf.d/1.conf", "[trial]\nwidow=2\n"),
                          "/usr/lib/bf-guard.conf.d/1.conf:2: There is no key widow= in [trial]"),
    "mark-good unit": (lambda t: write(t / (UNITS + "rauc-mark-good.service"), "[Service]\nExecStart=rauc status mark-good\n"),
                       "rauc-mark-good.service commits a slot without asking bf-guard"),
    "mark-good unit, betterframe's": (lambda t: write(t / "etc/systemd/system/betterframe-rauc-mark-good.service", "[Unit]\n"),
                                      "/etc/systemd/system/betterframe-rauc-mark-good.service commits a slot"),
    "another unit": (lambda t: write(t / (UNITS + "ok.service"), "[Service]\nExecStart=/usr/bin/rauc status mark-good\n"),
                     "/usr/lib/systemd/system/ok.service calls RAUC to mark a slot"),
    "script": (lambda t: write(t / "usr/local/bin/good", "#!/bin/sh\nrauc --mount=/mnt status mark-active other\n", 0o755),
               "/usr/local/bin/good calls RAUC to mark a slot"),
    "python": (lambda t: write(t / "opt/app/good.py", "run(['rauc', 'status', 'mark-good'])\n"), "/opt/app/good.py calls RAUC"),
    "dbus": (lambda t: write(t / "usr/sbin/good", "busctl call de.pengutronix.rauc / de.pengutronix.rauc.Installer Mark ss good booted\n"),
             "/usr/sbin/good calls RAUC"),
    "cron": (lambda t: write(t / "etc/cron.d/good", "@reboot root rauc status mark-good\n"), "/etc/cron.d/good calls RAUC"),
    "policy for all of RAUC": (lambda t: write(t / ANOTHER, ALLOW.format('user="updater"', "")),
                               "/etc/dbus-1/system.d/updater.conf lets others than root commit"),
    "policy for Mark": (lambda t: write(t / ANOTHER, ALLOW.format('group="up"', 'send_member="Mark"')), "updater.conf lets others"),
    "policy for the interface": (lambda t: write(t / ANOTHER, ALLOW.format(
        'context="default"', 'send_interface="de.pengutronix.rauc.Installer"')), "updater.conf lets others"),
    "only Debian's policy": (drop(POLICY), f"/{DEBIAN_POLICY} lets others than root commit"),
    "Debian's policy in the place of ours": (lambda t: write(t / POLICY, DEBIANS), None),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_r5_g7_mistakes_around_the_guard(bench: Bench, tree: Path, name: str) -> None:
    change, message = MISTAKES[name]
    guarded(tree)
    change(tree)
    if message:
        assert_problem(bench, message, tree)
        return
    settle(tree)
    done = bench.try_image(tree)
    assert done.returncode == 1 and "2 problem(s)" in done.stderr
    for said in {"no suffix": ["unit=kiosk is not understood; ignored.\n    Say unit=kiosk.service.\n",
                               "betterframe-kiosk.service is nowhere"]}.get(name, [f"/{POLICY} lets", f"/{DEBIAN_POLICY} lets"]):
        assert said in done.stderr


def test_r5_what_is_no_committer(bench: Bench, tree: Path) -> None:
    """Comments, other words of RAUC, a masked unit, single methods for an updater, words in a binary."""
    guarded(tree)
    write(tree / (UNITS + "rauc-mark-good.service"), "[Service]\nExecStart=rauc status mark-good\n")
    (tree / "etc/systemd/system/rauc-mark-good.service").symlink_to("/dev/null")
    write(tree / (UNITS + "a.service"), "# rauc status mark-good\n[Unit]\nAfter=rauc-mark-good.service\n")
    write(tree / "usr/local/bin/b", "#!/bin/sh\nrauc status --output-format=json\n  # rauc status mark-good\nrauc status mark-bad\n")
    write(tree / "usr/bin/rauc", b"\x7fELF\0rauc status mark-good\0", 0o755)
    write(tree / ANOTHER, ALLOW.format('group="up"', 'send_interface="de.pengutronix.rauc.Installer" send_member="InstallBundle"'))
    assert said_of(bench, tree) == []


def test_r5_a_builder_who_insists(bench: Bench, tree: Path) -> None:
    guarded(tree)
    MISTAKES["script"][0](tree)
    assert said_of(bench, tree, "--other-committers") == [
        "bf-mkimage: warning: /usr/local/bin/good calls RAUC to mark a slot good or active: only bf-guard commits"]


@pytest.mark.parametrize("how", ["not there", "masked"])
def test_without_the_guard_others_commit(bench: Bench, tree: Path, how: str) -> None:
    """Somebody has to; and no kiosk is missed."""
    guarded(tree)
    MISTAKES["mark-good unit"][0](tree)
    drop("etc/bf-guard.conf")(tree)
    if how == "masked":
        (tree / "etc/systemd/system/bf-guard.service").symlink_to("/dev/null")
    else:
        (tree / "usr/sbin/bf-guard").unlink()
    assert said_of(bench, tree) == []


@pytest.mark.parametrize("words, console", [
    ("", "tty1"), ("a=console=ttyS0", "tty1"), ("console=tty1 console=ttyAMA10,115200", "ttyAMA10,115200"),
    ("console=ttyAMA10 console=tty0", "tty0")])
def test_one_console_is_the_screen(bench: Bench, tree: Path, words: str, console: str) -> None:
    disk = bench.image(tree, "--cmdline", words)
    assert disk.cmdline()["console"] == console


def test_serial_only(bench: Bench, tree: Path) -> None:
    assert bench.image(tree, "--serial-only", "--cmdline=console=ttyAMA10").cmdline()["console"] == "ttyAMA10"


@pytest.mark.parametrize("fs", ["ext4", "erofs", "squashfs"])
@pytest.mark.parametrize("stale", ["missing", "older"])
def test_updated_is_made_fresh_in_the_image_only(bench: Bench, tree: Path, tmp_path: Path, fs: str, stale: str) -> None:
    if stale == "missing":
        (tree / "etc/.updated").unlink()
    else:
        os.utime(tree / "etc/.updated", (EPOCH - 1, EPOCH - 1))
    settle_usr = EPOCH + 7
    os.utime(tree / "etc", (EPOCH, EPOCH))
    os.utime(tree / "usr", (settle_usr, settle_usr))

    def state() -> list[tuple[str, int, int]]:
        return sorted((str(p), p.lstat().st_mtime_ns, p.lstat().st_size) for p in tree.rglob("*"))

    before = state()
    disk = bench.image(tree, "--fs", fs)
    assert state() == before
    assert "/etc/.updated is missing or older" in disk.said
    image = disk.extract("BF_ROOT_A")
    if fs == "ext4":
        times = [int(re.search(r" mtime: 0x([0-9a-f]+)", run("debugfs", "-R", f"stat {p}", image).stdout)[1], 16)  # type: ignore
                 for p in ("/etc/.updated", "/usr", "/etc")]
        assert times[2] == EPOCH
    elif fs == "squashfs":
        copy = read_back(image, fs, tmp_path / "copy")
        times = [int((copy / p).stat().st_mtime) for p in ("etc/.updated", "usr")]
    else:
        said = [run("dump.erofs", f"--path={p}", image, check=False).stdout for p in ("/etc/.updated", "/usr")]
        times = [time.strptime(m[1], "%Y-%m-%d %H:%M:%S") for m in  # type: ignore
                 (re.search(r"Timestamp: (\S+ [^.]+)", s) for s in said) if m]
    assert times[0] >= times[1]


# ---- wrong use, failures ----

USAGE = {
    "unknown option": ("--frobnicate", "unknown option '--frobnicate'"),
    "argument": ("stray", "unexpected argument 'stray'"),
    "no value": ("--salt", "--salt needs a value"),
    "flag with a value": ("--fec=yes", "--fec takes no value"),
    "fs": ("--fs=btrfs", "--fs: 'btrfs' is not one of: ext4 erofs squashfs"),
    "hash": ("--hash=md5", "--hash: 'md5'"),
    "block": ("--data-block=8192", "--data-block: '8192'"),
    "salt": ("--salt=xyz", "--salt: write 1 to 256 bytes"),
    "odd salt": ("--salt=abc", "--salt: write 1 to 256 bytes"),
    "size": ("--data-size=12Q", "--data-size: '12Q' is not a size"),
    "size 0": ("--root-size=0", "--root-size: '0' is not a size"),
    "size negative": ("--boot-size=-5M", "--boot-size: '-5M' is not a size"),
    "huge size": ("--boot-size=99999999999999999999", "is not a size"),
    "prefix": ("--prefix=bf", "--prefix: one to three capital"),
    "slot-b": ("--slot-b=full", "--slot-b: 'full'"),
    "sector": ("--sector-size=1024", "--sector-size: '1024'"),
    "block below sector": ("--sector-size=4096 --data-block=512", "not smaller than the sector"),
    "fec blocks": ("--fec --data-block=1024", "--fec: --data-block and --hash-block must be the same"),
    "root= as a pattern": ("--cmdline=root=/dev/sd[ab]", "'root=' does not belong there"),
    "root=": ("--cmdline=root=/dev/sda1", "'root=' does not belong there"),
    "systemd.gpt_auto=": ("--cmdline=systemd.gpt_auto=1", "'systemd.gpt_auto=' does not belong there"),
    "roothash=": ("--cmdline=roothash=abc", "'roothash=' does not belong there"),
    "rauc.slot=": ("--cmdline=rauc.slot=B", "'rauc.slot=' does not belong there"),
    "only serial": ("--cmdline=console=ttyAMA10", "no console is the screen"),
    "only serial, two": ("--cmdline=console=hvc0\tconsole=ttyS0,115200", "no console is the screen"),
    "no screen, no console": ("--serial-only", "--serial-only: name the console"),
    "fec twice": ("--fec --cmdline=systemd.verity_root_options=fec-offset=1", "is written by bf-mkimage"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage_error(bench: Bench, tree: Path, name: str) -> None:
    options, message = USAGE[name]
    done = bench.try_image(tree, *options.split(" "))
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[0]
    assert done.stdout == "" and os.listdir(bench.out) == []


@pytest.mark.parametrize("missing", ["--root", "--kernel", "--initramfs", "--output"])
def test_required_option(bench: Bench, tree: Path, missing: str) -> None:
    argv = bench.argv(tree)
    at = argv.index(missing)
    done = run(*argv[:at], *argv[at + 2:], check=False)
    assert done.returncode == 2 and f"{missing} is missing" in done.stderr


def test_source_date_epoch_must_be_a_number(bench: Bench, tree: Path) -> None:
    done = bench.try_image(tree, SOURCE_DATE_EPOCH="today")
    assert done.returncode == 2 and "SOURCE_DATE_EPOCH: 'today'" in done.stderr


FAILURES = {
    "root too big": ("--root-size=1M", "--root-size: the root image needs"),
    "boot too big": ("--boot-size=1M", "--boot-size: the boot files need"),
    "no kernel": ("--kernel=/nonexistent", "--kernel: cannot read a file at '/nonexistent'"),
    "empty initramfs": ("--initramfs=/dev/null", "--initramfs: cannot read"),
    "no root": ("--root=/nonexistent", "--root: no directory or tar"),
    "not a tar": (f"--root={MKIMAGE}", "unpacking"),
    "no boot file": ("--boot-file=/nonexistent", "--boot-file: cannot read '/nonexistent'"),
    "config.txt": ("--boot-file={dir}/vmlinuz=config.txt", "with --config-txt"),
    "autoboot.txt": ("--boot-file={dir}/vmlinuz=AutoBoot.txt", "would disturb the choice of the slot"),
    "recovery.bin": ("--boot-file={dir}/vmlinuz=recovery.bin", "recovery.bin"),
    "dot dot": ("--boot-file={dir}/vmlinuz=../x", "is not a name for the boot partition"),
    "absolute": ("--boot-file={dir}/vmlinuz=/x", "is not a name for the boot partition"),
    "twice": ("--boot-file={dir}/vmlinuz=x --boot-file={dir}/vmlinuz=x", "'x' is given twice"),
    "case": ("--boot-file={dir}/vmlinuz=x --boot-file={dir}/vmlinuz=X", "differ only in capital letters"),
    "cmdline=": ("--config-txt={dir}/bad", "'cmdline=' and 'os_prefix=' would break"),
    "no directory": ("--output=/nonexistent/disk.img", "--output: no directory '/nonexistent'"),
    "output is a directory": ("--output={dir}", "is not a plain file"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_failure_leaves_the_old_image(bench: Bench, tree: Path, name: str) -> None:
    options, message = FAILURES[name]
    write(bench.dir / "bad", "cmdline=cmdline.txt\n")
    write(bench.out / "disk.img", "the old one")
    done = bench.try_image(tree, *options.format(dir=bench.dir).split(" "))
    assert done.returncode == 1
    assert message in done.stderr
    assert os.listdir(bench.out) == ["disk.img"] and (bench.out / "disk.img").read_text() == "the old one"


@pytest.mark.parametrize("tool, package", [("mcopy", "mtools"), ("mksquashfs", "squashfs-tools")])
def test_a_missing_tool_is_named(bench: Bench, tree: Path, tmp_path: Path, tool: str, package: str) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for directory in ("/bin", "/usr/bin"):
        for name in os.listdir(directory):
            if name != tool and not (commands / name).exists():
                (commands / name).symlink_to(f"{directory}/{name}")
    done = bench.try_image(tree, "--fs=squashfs", PATH=str(commands))
    assert done.returncode == 1
    assert f"missing: {tool} (Debian package {package})" in done.stderr


def fake_tool(tmp_path: Path, name: str, text: str) -> str:
    write(tmp_path / "fake" / name, f"#!/bin/sh\n{text}\n", 0o755)
    return f"{tmp_path / 'fake'}:{PATH}"


def test_a_failing_tool_is_heard(bench: Bench, tree: Path, tmp_path: Path) -> None:
    path = fake_tool(tmp_path, "veritysetup", "echo the disk is on fire >&2; exit 3")
    done = bench.try_image(tree, PATH=path)
    assert done.returncode == 1
    assert "    the disk is on fire\n" in done.stderr and "making the hash tree failed" in done.stderr
    assert os.listdir(bench.out) == []


def test_interrupted_leaves_nothing(bench: Bench, tree: Path, tmp_path: Path) -> None:
    started = tmp_path / "started"
    path = fake_tool(tmp_path, "veritysetup", f"touch {started}; sleep 60")
    with subprocess.Popen(bench.argv(tree), env={**os.environ, "PATH": path}, stderr=subprocess.DEVNULL,
                          start_new_session=True) as child:
        deadline = time.monotonic() + 60
        while not started.exists():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        assert len(os.listdir(bench.out)) == 1
        os.killpg(child.pid, signal.SIGTERM)
        assert child.wait(20) == 143
    assert os.listdir(bench.out) == []


def test_help_and_man_page_name_every_option() -> None:
    table = MKIMAGE.read_text().split("declare -A opt=(")[1].split("\n)")[0]
    names = {*re.findall(r"\[([a-z-]+)\]=", table), "boot-file", "help", "version"}
    assert len(names) == 28
    usage = run(MKIMAGE, "--help").stdout.split("\n\n", 2)[2]
    assert set(re.findall(r"^  (?:--help, )?--([a-z-]+)", usage, re.M)) | {"help"} == names
    page = (MKIMAGE.parent / "bf-mkimage.8").read_text()
    assert set(re.findall(r"Fl Fl ([a-z-]+)", page)) == names


def test_it_agrees_with_the_programs() -> None:
    product = (TOP / "boot/product.h").read_text()
    names = dict(re.findall(r'^#define (\w+) "(.*)"$', product, re.M))
    assert run(MKIMAGE, "--version").stdout == f"bf-mkimage {names['BF_VERSION']}\n"
    assert f" default_prefix={names['BF_LABEL_PREFIX']}\n" in MKIMAGE.read_text()
