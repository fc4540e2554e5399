# SPDX-License-Identifier: MIT
"""bf-mkinitramfs as image builders run it; its images as GNU cpio and a chroot see them."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import pytest

from target_root import MODULES, RELEASE, Root, cc, copy_root, host_triplet, make_root

SHELL_NAMES = {"sh", "ash", "bash", "dash", "busybox", "toybox", "ksh", "zsh"}
PACKED = {"gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"], "none": ["cat"]}


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Root:
    top = tmp_path_factory.mktemp("mkinitramfs")
    return make_root(top / "root", top / "scratch")


@pytest.fixture
def root(pristine: Root, tmp_path: Path) -> Root:
    """A copy that the test may spoil."""
    return copy_root(pristine, tmp_path / "root")


@dataclass
class Packer:
    program: Path
    directory: Path

    @property
    def output(self) -> Path:
        return self.directory / "out" / "initrd.img"

    def command(self, root: Root, *args: str | Path) -> list[str]:
        self.output.parent.mkdir(exist_ok=True)
        return [str(self.program), "--root", str(root.path), "--kernel-version", RELEASE,
                "--output", str(self.output), *map(str, args)]

    def run(self, root: Root, *args: str | Path, prefix: tuple[str, ...] = (),
            **env: str) -> subprocess.CompletedProcess[str]:
        clean = {"PATH": os.environ["PATH"], "LC_ALL": "C", **env}
        return subprocess.run([*prefix, *self.command(root, *args)], env=clean,
                              capture_output=True, text=True, timeout=120)

    def image(self, root: Root, *args: str | Path, **env: str) -> bytes:
        done = self.run(root, *args, **env)
        assert done.returncode == 0, done.stderr
        return self.output.read_bytes()

    def fails(self, root: Root, *args: str | Path, status: int = 1,
              prefix: tuple[str, ...] = ()) -> str:
        """The message; nothing may be left behind."""
        done = self.run(root, *args, prefix=prefix)
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        assert list(self.output.parent.iterdir()) == []
        return done.stderr


@pytest.fixture
def packer(programs: Path, tmp_path: Path) -> Packer:
    return Packer(programs / "bf-mkinitramfs", tmp_path)


@dataclass(frozen=True)
class Member:
    mode: str
    owner: str
    path: str
    date: str


def cpio(*args: str, archive: bytes, cwd: Path | None = None) -> bytes:
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
    done = subprocess.run(["cpio", "--quiet", *args], input=archive, cwd=cwd, capture_output=True,
                          env=env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout


def unpack(image: bytes, method: str = "zstd") -> bytes:
    return subprocess.run(PACKED[method], input=image, check=True, capture_output=True).stdout


def listing(image: bytes, method: str = "zstd") -> dict[str, Member]:
    members = {}
    for line in cpio("-itv", archive=unpack(image, method)).decode().splitlines():
        mode, _links, user, group, rest = line.split(maxsplit=4)
        if mode[0] == "c":
            rest = rest.split(",", 1)[1].strip()
        _size, month, day, year, path = rest.split(maxsplit=4)
        members[path] = Member(mode, f"{user}:{group}", path, f"{month} {day} {year}")
    return members


def content(image: bytes, path: str) -> bytes:
    return cpio("-i", "--to-stdout", path, archive=unpack(image))


def extract(image: bytes, to: Path) -> Path:
    to.mkdir()
    cpio("-id", "--no-absolute-filenames", "--no-preserve-owner", "-f", "dev/console",
         archive=unpack(image), cwd=to)
    return to


def chroot_run(top: Path, program: str) -> str:
    """Only what is in the image is there: the loader has to find everything in it."""
    enter = ["chroot"] if os.geteuid() == 0 else ["unshare", "-Ur", "chroot"]
    done = subprocess.run([*enter, str(top), program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass(frozen=True)
class Line:
    level: int
    kind: str  # "": required; "-": may fail; "?": may fail, on demand
    path: str
    params: str
    needs: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def optional(self) -> bool:
        return self.kind != ""

    @property
    def name(self) -> str:
        return Path(self.path).stem


def module_list(image: bytes) -> list[Line]:
    first, *rest = content(image, "lib/modules/bf-modules").decode().splitlines()
    assert first == f"# bf-modules 2 {RELEASE}"
    lines: list[Line] = []
    for text in rest:
        word, value, *params = text.split(" ", 2)
        if word == "needs":
            lines[-1] = replace(lines[-1], needs=(*lines[-1].needs, lines[int(value)].name))
        elif word == "alias":
            lines[-1] = replace(lines[-1], aliases=(*lines[-1].aliases, value))
        else:
            path = value.lstrip("-?")
            lines.append(Line(int(word), value.removesuffix(path), path, "".join(params)))
    return lines


def names(image: bytes) -> set[str]:
    return {line.name for line in module_list(image)}


# ---- the image ---------------------------------------------------------------


@pytest.mark.parametrize("linked", [True, False], ids=["usr-merged", "links not made yet"])
def test_programs_run_from_the_image_alone(packer: Packer, tmp_path: Path, linked: bool) -> None:
    root = make_root(tmp_path / "made", tmp_path / "scratch", linked, real=True)
    image = packer.image(root, "--rescue")
    top = extract(image, tmp_path / "extracted")
    for program in ("/init", "/bin/busybox", "/bin/sh"):
        assert chroot_run(top, program) == "init says 42\n"


@pytest.mark.parametrize("method", PACKED)
def test_cpio_reads_every_compression(packer: Packer, root: Root, method: str) -> None:
    members = listing(packer.image(root, "--compress", method), method)
    assert members["init"].mode == "-rwxr-xr-x"
    assert members["dev/console"].mode == "crw-------"
    for path in ("dev", "proc", "sys", "run", "root", "tmp"):
        assert members[path].mode.startswith("d")
    assert {member.owner for member in members.values()} == {"root:root"}
    assert {member.date for member in members.values()} == {"Jan 1 1970"}
    assert list(members) == sorted(members)
    for path in members:
        assert "/" not in path or path.rsplit("/", 1)[0] in members


def test_gzip_is_gzip_and_zstd_the_default(packer: Packer, root: Root) -> None:
    assert packer.image(root)[:4] == b"\x28\xb5\x2f\xfd"
    plain = packer.image(root, "--compress", "none")
    packed = packer.image(root, "--compress", "gzip")
    assert gzip.decompress(packed) == plain
    assert packed[4:8] == bytes(4)  # no time


def test_two_builds_are_the_same_bytes(packer: Packer, pristine: Root, tmp_path: Path) -> None:
    """Another copy of the root, touched, in another order, under another umask."""
    first = packer.image(pristine, "--rescue", "--with", "erofs,usb")
    other = Root(tmp_path / "another" / "place")
    shutil.copytree(pristine.path, other.path, symlinks=True, copy_function=shutil.copy)
    for file in sorted(other.path.rglob("*"), reverse=True):
        if file.is_file() and not file.is_symlink():
            file.write_bytes(file.read_bytes())
    before = os.umask(0o077)
    try:
        second = packer.image(other, "--with", "usb", "--with", "erofs", "--rescue")
    finally:
        os.umask(before)
    assert first == second
    assert first != packer.image(pristine, "--rescue")


def test_source_date_epoch_is_the_time_of_all_files(packer: Packer, root: Root) -> None:
    image = packer.image(root, SOURCE_DATE_EPOCH="1000000000")
    assert {member.date for member in listing(image).values()} == {"Sep 9 2001"}
    assert image == packer.image(root, SOURCE_DATE_EPOCH="1000000000")


@pytest.mark.parametrize("epoch", ["", "x", "-1", "4294967296", "1 "])
def test_bad_source_date_epoch(packer: Packer, root: Root, epoch: str) -> None:
    done = packer.run(root, SOURCE_DATE_EPOCH=epoch)
    assert done.returncode == 2 and "SOURCE_DATE_EPOCH" in done.stderr


def test_no_shell_and_no_setuid(packer: Packer, root: Root) -> None:
    for file in (root.path / "usr").rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o6777)
    extra = root.put("../setuid", b"data", 0o6777)
    members = listing(packer.image(root, "--file", f"{extra}=/etc/extra"))
    assert "etc/extra" in members
    modes = {m.mode for path, m in members.items() if not m.mode.startswith(("d", "c"))}
    assert modes == {"-rwxr-xr-x", "-rw-r--r--"} or modes == {"-rwxr-xr-x"}
    assert not any("s" in member.mode for member in members.values())
    assert not SHELL_NAMES & {Path(path).name for path in members}
    assert not any("rescue" in path for path in members)


def test_rescue_is_marked(packer: Packer, root: Root) -> None:
    done = packer.run(root, "--rescue")
    assert done.returncode == 0 and "never ship it" in done.stderr
    image = packer.output.read_bytes()
    members = listing(image)
    assert members["bin/busybox"].mode == "-rwxr-xr-x"
    assert members["bin/sh -> busybox"].mode == "lrwxrwxrwx"
    assert b"Not for production" in content(image, "etc/bf/rescue")


def test_foreign_architecture(packer: Packer, root: Root, tmp_path: Path) -> None:
    """The host cannot run these, and need not."""
    cross = "aarch64-linux-gnu-gcc"
    (tmp_path / "a.c").write_text("int part(void) { return 1; }")
    (tmp_path / "b.c").write_text("int part(void); void _start(void) { part(); }")
    lib = root.path / "usr/lib/aarch64-linux-gnu"
    lib.mkdir()
    cc("-nostdlib", "-shared", "-Wl,-soname,libpart.so.1", "-o", lib / "libpart.so.1",
       tmp_path / "a.c", compiler=cross)
    cc("-nostdlib", "-shared", "-o", root.path / "usr/lib/ld-linux-aarch64.so.1", tmp_path / "a.c",
       compiler=cross)
    cc("-nostdlib", "-o", tmp_path / "init", tmp_path / "b.c", lib / "libpart.so.1",
       compiler=cross)
    image = packer.image(root, "--init", tmp_path / "init")
    members = listing(image)
    assert "lib/ld-linux-aarch64.so.1" in members
    assert content(image, "lib/aarch64-linux-gnu/libpart.so.1") == (
        lib / "libpart.so.1").read_bytes()
    assert not any("x86" in path or "libc.so" in path for path in members)


def test_nothing_outside_the_root_is_read(packer: Packer, root: Root, tmp_path: Path) -> None:
    """A link in the root that leads out of it on this machine leads nowhere, or to a file inside."""
    module = root.module("overlay")
    secret = tmp_path / "secret.ko.zst"
    module.rename(secret)
    module.symlink_to(secret)
    assert "overlay.ko.zst" in packer.fails(root)
    inside = root.path / str(secret).lstrip("/")
    inside.parent.mkdir(parents=True)
    shutil.copy(secret, inside)
    secret.write_bytes(b"not this one")
    assert content(packer.image(root), f"lib/modules/{RELEASE}/kernel/overlay.ko") == (
        root.plain["overlay"])


# ---- modules -------------------------------------------------------------------


def test_modules_are_unpacked_and_whole(packer: Packer, root: Root) -> None:
    image = packer.image(root, "--with", "usb,erofs")
    for line in module_list(image):
        assert content(image, line.path.lstrip("/")) == root.plain[line.name]
    packed = {path for path in listing(image) if path.startswith("lib/modules/6")
              and path.endswith(".ko")}
    assert packed == {line.path.lstrip("/") for line in module_list(image)}


def test_load_order(packer: Packer, root: Root) -> None:
    lines = module_list(packer.image(root, "--with", "usb"))
    level = {line.name: line.level for line in lines}
    assert [line.level for line in lines] == sorted(level.values())
    for module in MODULES:
        for need in module.needs:
            assert module.name not in level or level[need] < level[module.name]
    assert level["crc32c_generic"] < level["jbd2"] < level["ext4"]  # soft, soft, hard
    assert "quota" not in level  # "post:" is not for us
    assert lines[0].name == "watchdog"
    assert [line.name for line in lines if line.level == 1][0] == "i6300esb"


def test_which_may_fail(packer: Packer, root: Root) -> None:
    lines = {line.name: line for line in module_list(packer.image(root, "--module", "extra-disk"))}
    required = {name for name, line in lines.items() if not line.optional}
    assert required == {"dm-verity", "dm-bufio", "dm-mod", "ext4", "jbd2", "overlay", "extra-disk"}
    # each for some CPU: of several behind one alias none must work
    assert lines["sha256-fast"].optional and lines["sha256-slow"].optional


def test_what_waits_for_what(packer: Packer, root: Root) -> None:
    lines = {line.name: line for line in module_list(
        packer.image(root, "--with", "usb,erofs", "--optional-module", "extra-disk"))}
    for line in lines.values():
        assert line.kind == "?" or not line.aliases
    # for a device
    assert lines["nvme"].kind == "?" and lines["nvme"].aliases == ("pci:v*d*sv*sd*bc01sc08i02*",)
    assert lines["i6300esb"].aliases == ("pci:v00008086d000025ABsv*", "platform:some_watch[a-z-]dog")
    assert lines["sha256-fast"].aliases == ("cpu:type:*:feature:*0006*",)
    # only for others
    for name in ("nvme-core", "watchdog", "sha256-lib", "crc32c_generic", "usbcore"):
        assert lines[name].kind == "?" and not lines[name].aliases, name
    # for nothing: no device says that it is needed
    for name in ("sha256-slow", "erofs", "extra-disk"):
        assert lines[name].kind == "-", name
    # last of all
    assert lines["virtio_mmio"].kind == "?" and not lines["virtio_mmio"].aliases
    assert set(lines["dm-verity"].needs) == {"dm-bufio", "dm-mod"}
    assert set(lines["ext4"].needs) == {"jbd2", "crc32c_generic"}
    assert set(lines["jbd2"].needs) == {"crc32c_generic"}
    assert lines["nvme"].needs == ("nvme-core",)


def test_a_late_module_that_is_asked_for_is_not_late(packer: Packer, root: Root) -> None:
    lines = {line.name: line for line in module_list(
        packer.image(root, "--optional-module", "virtio-mmio"))}
    assert lines["virtio_mmio"].aliases == ("of:N*T*Cvirtio,mmio",)
    lines = {line.name: line for line in module_list(packer.image(root, "--module", "virtio-mmio"))}
    assert lines["virtio_mmio"].kind == ""


SIGNATURE = b"\x30\x82" * 200 + bytes((0, 0, 2, 0, 0, 0, 0, 0)) + (400).to_bytes(4, "big")
MARKER = b"~Module signature appended~\n"


def test_signatures_stay_unless_they_are_stripped(packer: Packer, root: Root) -> None:
    overlay, nvme = root.module("overlay"), root.module("nvme-core")
    subprocess.run(["zstd", "-q", "-f", "-o", overlay],
                   input=root.plain["overlay"] + SIGNATURE + MARKER, check=True)
    nvme.write_bytes(root.plain["nvme-core"] + SIGNATURE + MARKER)
    at = {line.name: line.path.lstrip("/") for line in module_list(packer.image(root))}
    image = packer.image(root)
    assert content(image, at["overlay"]) == root.plain["overlay"] + SIGNATURE + MARKER
    done = packer.run(root, "--strip-signatures")
    assert done.returncode == 0
    image = packer.output.read_bytes()
    for name, path in at.items():
        assert content(image, path) == root.plain[name]
    assert f"bf-mkinitramfs: signatures stripped from 2 of {len(at)} modules\n" in done.stderr


@pytest.mark.parametrize("end", [MARKER, SIGNATURE[-12:-4] + b"\xff" * 4 + MARKER,
                                 b"\1" + SIGNATURE[-11:] + MARKER],
                         ids=["nothing before it", "too long", "another kind"])
def test_damaged_signature(packer: Packer, root: Root, end: bytes) -> None:
    root.module("nvme-core").write_bytes(root.plain["nvme-core"] + end)
    assert "nvme-core.ko: its signature is damaged" in packer.fails(root)


def test_an_index_that_lacks_what_a_module_needs(packer: Packer, root: Root) -> None:
    """As of a depmod that cannot read the modules' compression: it says that nothing is needed."""
    index = root.modules / "modules.dep"
    text = index.read_text()
    assert "kernel/ext4.ko.xz: kernel/jbd2.ko\n" in text
    index.write_text(text.replace("kernel/ext4.ko.xz: kernel/jbd2.ko\n", "kernel/ext4.ko.xz:\n"))
    assert re.search(r"modules\.dep does not say that ext4 needs jbd2, as the module itself does; run a depmod .*: "
                     rf"depmod -b \S+ {re.escape(RELEASE)}$", packer.fails(root), re.M)
    root.module("jbd2").unlink()
    index.write_text(text.replace("kernel/ext4.ko.xz: kernel/jbd2.ko\n", "kernel/ext4.ko.xz:\n")
                     .replace("kernel/jbd2.ko:\n", ""))
    assert "needs jbd2, as the module itself does, and has no such module" in packer.fails(root)


def test_soft_dependencies_of_a_driver_in_the_kernel(packer: Packer, root: Root) -> None:
    """virtio_blk is built in, and wants a module first: its own modinfo is all that says so."""
    modinfo = root.modules / "modules.builtin.modinfo"
    assert "extra-disk" not in [line.name for line in module_list(packer.image(root))]
    modinfo.write_bytes(modinfo.read_bytes() + b"virtio_blk.softdep=pre: extra-disk post: quota\0"
                        b"not_asked_for.softdep=pre: dt-stranger\0")
    root.depmod()
    lines = {line.name: line for line in module_list(packer.image(root))}
    assert lines["extra-disk"].kind == "-", "nothing asks for it later, so it is loaded at once"
    assert "quota" not in lines and "dt-stranger" not in lines


TREE = """/dts-v1/;
/ {
	#address-cells = <1>; #size-cells = <1>; interrupt-parent = <&intc>;
	intc: intc { compatible = "lab,intc"; #interrupt-cells = <1>; phandle = <9>; };
	bus { compatible = "lab,bus"; ranges;
		disk@0 { compatible = "lab,disk-2", "lab,disk"; interrupts = <1>; vmmc-supply = <&power>;
			pinctrl-names = "default"; pinctrl-0 = <&group>; clocks = <&clock 1 2>, <&clock 3 4>;
			msi-map = <0 &msi 0 1>; resets = <0>, <&reset>, <77 1>; status = "okay"; };
	};
	power: power { compatible = "lab,regulator"; enable-gpios = <&gpio 1 2>; };
	gpio: gpio { compatible = "lab,gpio"; #gpio-cells = <2>; };
	pins { compatible = "lab,pins"; group: group { group-1 { pins = "a"; }; }; };
	clock: clock { compatible = "lab,clock"; #clock-cells = <2>; clocks = <&oscillator>; };
	oscillator: oscillator { compatible = "lab,oscillator"; #clock-cells = <0>; clocks = <&clock 0 0>; };
	msi: msi { compatible = "lab,msi"; };
	reset: reset { compatible = "lab,reset"; #reset-cells = <0>; };
	stranger { compatible = "lab,stranger"; clocks = <&clock 0 0>; disk = <&msi>; };
};
"""


def device_tree(text: str, to: Path) -> Path:
    subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", to, "-"], input=text, text=True, check=True)
    return to


def test_suppliers_in_the_device_tree(packer: Packer, root: Root, tmp_path: Path) -> None:
    """The kernel lets no driver begin before those of its suppliers: regulator, its GPIO, pins, clock, the
    clock's own, MSI and interrupt controller, reset, bus. Without a disk in the tree there are none."""
    dtb = device_tree(TREE, tmp_path / "board.dtb")
    wanted = {f"dt-{name}" for name in ("regulator", "gpio", "pins", "clock", "oscillator", "msi", "intc", "bus",
                                        "reset")}

    def packed(*args: str | Path) -> dict[str, Line]:
        return {line.name: line for line in module_list(packer.image(root, *args)) if line.name.startswith("dt-")}

    lines = packed("--optional-module", "dt-disk", "--dtb", dtb)
    assert set(lines) == {"dt-disk", *wanted}
    assert all(line.kind == "?" and line.aliases for line in lines.values()), "loaded when the device is there"
    assert set(packed("--dtb", dtb)) == set()
    assert set(packed("--optional-module", "dt-disk")) == {"dt-disk"}
    # Where Debian's kernel packages put them.
    place = root.path / "usr/lib" / f"linux-image-{RELEASE}" / "broadcom"
    place.mkdir(parents=True)
    shutil.copy(dtb, place / "bcm2837-rpi-3-b.dtb")
    assert set(packed("--optional-module", "dt-disk")) == {"dt-disk"}
    shutil.copy(dtb, place / "bcm2712-rpi-5-b.dtb")
    assert set(packed("--optional-module", "dt-disk")) == {"dt-disk", *wanted}
    assert "supplies disk@0 of the device tree" in packer.run(root, "-v", "--optional-module", "dt-disk").stderr


@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_damaged_device_tree(packer: Packer, root: Root, tmp_path: Path, damage: str) -> None:
    dtb = device_tree(TREE, tmp_path / "board.dtb")
    dtb.write_bytes({"empty": b"", "text": TREE.encode(), "cut": dtb.read_bytes()[:-200]}[damage])
    assert f"{dtb} is no device tree, or a damaged one" in packer.fails(root, "--dtb", dtb)
    assert f"{tmp_path}/none: No such file" in packer.fails(root, "--dtb", tmp_path / "none", status=2)


def test_groups_are_packed_when_asked_for(packer: Packer, root: Root) -> None:
    assert not {"usb-storage", "usbcore", "erofs"} & names(packer.image(root))
    assert {"usb-storage", "usbcore"} <= names(packer.image(root, "--with", "usb"))
    assert "erofs" in names(packer.image(root, "--with", "erofs,squashfs"))


def test_single_module_behind_an_alias_is_required(packer: Packer, root: Root) -> None:
    for name in ("sha256-fast", "sha256-lib"):
        root.module(name).unlink()
    root.depmod()
    lines = {line.name: line for line in module_list(packer.image(root))}
    assert not lines["sha256-slow"].optional


def test_built_in_modules_are_skipped(packer: Packer, root: Root) -> None:
    done = packer.run(root, "-v", "--module", "virtio_blk")
    assert done.returncode == 0
    assert "built in   virtio_blk" in done.stderr
    assert "not there  pcie-brcmstb" in done.stderr
    assert not {"virtio_blk", "virtio-blk"} & names(packer.output.read_bytes())


def test_parameters(packer: Packer, root: Root, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("# disks\n\n-missing-one x=1\n  nvme a=1  b=2 # fast\r\n-usb-storage\n")
    image = packer.image(root, "--module", "i6300esb heartbeat=20", "--modules-from", listed)
    lines = {line.name: line for line in module_list(image)}
    assert lines["i6300esb"].params == "heartbeat=20" and not lines["i6300esb"].optional
    assert lines["nvme"].params == "a=1  b=2" and not lines["nvme"].optional
    assert not lines["nvme-core"].optional
    assert lines["usb-storage"].optional and lines["usbcore"].optional


def test_parameters_of_a_built_in_module(packer: Packer, root: Root) -> None:
    assert "kernel command line" in packer.fails(root, "--module", "virtio_blk x=1")


def test_optional_module_may_be_absent(packer: Packer, root: Root) -> None:
    assert packer.image(root) == packer.image(root, "--optional-module", "warp-drive")


def test_modules_in_lib_without_usr(packer: Packer, root: Root) -> None:
    (root.path / "lib").unlink()
    shutil.move(root.path / "usr/lib", root.path / "lib")
    assert "ext4" in names(packer.image(root, "--init", root.path / "lib/betterframe/bf-init"))


# ---- files -----------------------------------------------------------------------


def test_file(packer: Packer, root: Root, tmp_path: Path) -> None:
    sig = tmp_path / "odd=name.sig"
    sig.write_bytes(bytes(range(256)))
    image = packer.image(root, "--file", f"{sig}=/etc/bf/roothash.p7s")
    assert content(image, "etc/bf/roothash.p7s") == bytes(range(256))
    assert listing(image)["etc/bf/roothash.p7s"].mode == "-rw-r--r--"


def test_file_brings_its_libraries(packer: Packer, tmp_path: Path) -> None:
    root = make_root(tmp_path / "made", tmp_path / "scratch", real=True)
    (tmp_path / "more.c").write_text("int more(void) { return 7; }")
    (tmp_path / "tool.c").write_text("int more(void); int main(void) { return more() - 7; }")
    libs = root.path / "usr/lib" / host_triplet()
    cc("-shared", "-fPIC", "-Wl,-soname,libmore.so", "-o", libs / "libmore.so", tmp_path / "more.c")
    cc("-o", tmp_path / "tool", tmp_path / "tool.c", libs / "libmore.so")
    image = packer.image(root, "--file", f"{tmp_path}/tool=/usr/bin/tool")
    chroot_run(extract(image, tmp_path / "extracted"), "/usr/bin/tool")


SCRIPT = b"#!/bin/sh\necho hook\n"
FILE_ERRORS: dict[str, tuple[bytes, str, str]] = {
    "a script": (SCRIPT, "/etc/hook", "without --rescue"),
    "a shell": (b"\x7fELF", "/bin/dash", "only with --rescue"),
    "on top of init": (b"x", "/init", "wanted twice"),
    "on top of the module list": (b"x", "/lib/modules/bf-modules", "File exists"),
    "below a file": (b"x", "/init/x", "Not a directory"),
    "on a directory": (b"x", "/dev", "wanted twice"),
    "out of the image": (b"x", "/etc/../../x", "no path in an image"),
}


@pytest.mark.parametrize("case", FILE_ERRORS)
def test_file_refused(packer: Packer, root: Root, tmp_path: Path, case: str) -> None:
    data, dst, said = FILE_ERRORS[case]
    src = tmp_path / "src"
    src.write_bytes(data)
    assert said in packer.fails(root, "--file", f"{src}={dst}")


def test_script_is_fine_in_a_rescue_image(packer: Packer, root: Root, tmp_path: Path) -> None:
    (tmp_path / "hook").write_bytes(SCRIPT)
    image = packer.image(root, "--rescue", "--file", f"{tmp_path}/hook=/etc/hook")
    assert content(image, "etc/hook") == SCRIPT


# ---- errors ----------------------------------------------------------------------

Spoil = Callable[[Root], object]


def spoil_library(root: Root) -> None:
    (root.path / "usr/lib" / host_triplet() / "libpart.so.1").unlink()


def spoil_loop(root: Root) -> None:
    module = root.module("ext4")
    module.unlink()
    module.symlink_to(module.name)


def spoil_modinfo(root: Root) -> None:
    subprocess.run(["objcopy", "-R", ".modinfo", root.module("nvme-core")], check=True)


def huge(file: Path) -> None:
    os.truncate(file, 1 << 40)  # sparse


ERRORS: dict[str, tuple[Spoil, tuple[str, ...]]] = {
    "module missing": (
        lambda r: (r.module("overlay").unlink(), r.depmod()),
        ("module overlay", "writable paths", RELEASE, "install the kernel package")),
    "module of a dependency missing": (
        lambda r: r.module("jbd2").unlink(), ("jbd2.ko", "for ext4", "modules.dep")),
    "module damaged": (
        lambda r: huge(r.module("dm-mod")), ("dm-mod.ko", "File too large")),
    "xz damaged": (
        lambda r: r.module("ext4").write_bytes(r.module("ext4").read_bytes()[:-20]),
        ("ext4.ko.xz: damaged xz file", "reinstall")),
    "zstd damaged": (
        lambda r: r.module("overlay").write_bytes(r.module("overlay").read_bytes()[:40]),
        ("overlay.ko.zst: damaged zstd file",)),
    "module without module information": (spoil_modinfo, ("nvme-core.ko: not a kernel module",)),
    "module empty": (
        lambda r: r.module("nvme-core").write_bytes(b""), ("nvme-core.ko: not a kernel module",)),
    "module a link to itself": (spoil_loop, ("ext4.ko.xz", "Too many levels of symbolic links")),
    "module a pipe": (
        lambda r: (r.module("dm-mod").unlink(), os.mkfifo(r.modules / "kernel/dm-mod.ko")),
        ("dm-mod.ko", "No such device")),
    "depmod has not run": (
        lambda r: (r.modules / "modules.dep.bin").unlink(),
        ("modules.dep.bin is missing", "run: depmod -b", f"/root {RELEASE}")),
    "depmod has not run, and /lib is not made yet": (
        lambda r: ((r.path / "lib").unlink(), (r.modules / "modules.dep").unlink()),
        ("modules.dep is missing", "run: depmod -b", f"/root/usr {RELEASE}")),
    "modules.dep damaged": (
        lambda r: (r.modules / "modules.dep").write_text("kernel/ext4.ko.xz kernel/jbd2.ko\n"),
        ("modules.dep is damaged; run: depmod",)),
    "modules.dep with a circle": (
        lambda r: (r.modules / "modules.dep").write_text(
            (r.modules / "modules.dep").read_text().replace("dm-mod.ko:",
                                                            "dm-mod.ko: kernel/dm-verity.ko")),
        ("modules.dep has modules that need each other",)),
    "modules.dep that leads out": (
        lambda r: (r.modules / "modules.dep").write_text(
            (r.modules / "modules.dep").read_text().replace("kernel/dm-mod.ko",
                                                            "../../../../../../../etc/dm-mod.ko")),
        ("etc/dm-mod.ko", "is missing although")),
    "index a link": (
        lambda r: (r.modules / "modules.alias.bin").rename(r.path / "x")
        and (r.modules / "modules.alias.bin").symlink_to("/x"),
        ("modules.alias.bin is no regular file",)),
    "kernel absent": (
        lambda r: r.modules.rename(r.modules.parent / "6.1.0-other"),
        (f"kernel {RELEASE} is not in", "it has: 6.1.0-other")),
    "no kernel at all": (
        lambda r: shutil.rmtree(r.modules.parent), ("no kernel modules", "install a kernel")),
    "library missing": (
        spoil_library, ("libpart.so.1, needed by /init, is missing", "install its package")),
    "init missing": (
        lambda r: (r.path / "usr/lib/betterframe/bf-init").unlink(),
        ("/usr/lib/betterframe/bf-init is missing", "--init FILE")),
    "init a script": (
        lambda r: r.put("usr/lib/betterframe/bf-init", SCRIPT), ("bf-init: not a program",)),
    "init cut short": (
        lambda r: os.truncate(r.path / "usr/lib/betterframe/bf-init", 100),
        ("/init: damaged ELF file",)),
}


@pytest.mark.parametrize("case", ERRORS)
def test_error(packer: Packer, root: Root, case: str) -> None:
    spoil, said = ERRORS[case]
    spoil(root)
    message = packer.fails(root)
    assert message.count("\n") == 1 and message.startswith("bf-mkinitramfs: ")
    for part in said:
        assert part in message


def test_unreadable_file(packer: Packer, root: Root) -> None:
    root.module("ext4").chmod(0)
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search",
               "--inh-caps=-dac_override,-dac_read_search")
    message = packer.fails(root, prefix=without if os.geteuid() == 0 else ())
    assert "ext4.ko.xz: Permission denied" in message


def test_missing_program_names_its_package(packer: Packer, root: Root) -> None:
    (root.path / "usr/bin/busybox").unlink()
    assert "install the package busybox-static" in packer.fails(root, "--rescue")


def test_damaged_index_never_crashes(packer: Packer, root: Root) -> None:
    index = root.modules / "modules.dep.bin"
    whole = index.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        index.write_bytes(whole[:size])
        assert packer.run(root).returncode in (0, 1)


USAGE: dict[str, list[str]] = {
    "nothing": [],
    "no output": ["--root", "/", "--kernel-version", "x"],
    "unknown option": ["--frobnicate"],
    "a word too many": ["--root", "/", "--kernel-version", "x", "--output", "o", "more"],
    "kernel version with a slash": ["--root", "/", "--kernel-version", "../x", "--output", "o"],
    "empty kernel version": ["--root", "/", "--kernel-version", "", "--output", "o"],
    "unknown compression": ["--compress", "xz"],
    "unknown group": ["--with", "usb,floppy"],
    "file without target": ["--file", "/etc/passwd"],
    "file with a relative target": ["--file", "/etc/passwd=passwd"],
    "no module name": ["--module", "-nvme"],
    "list that is not there": ["--modules-from", "/nonexistent"],
}


@pytest.mark.parametrize("case", USAGE)
def test_usage_error(programs: Path, case: str) -> None:
    done = subprocess.run([programs / "bf-mkinitramfs", *USAGE[case]], capture_output=True,
                          text=True)
    assert done.returncode == 2 and done.stdout == "" and "bf-mkinitramfs" in done.stderr


def test_help_and_version(programs: Path) -> None:
    for option, said in (("--help", "Usage: bf-mkinitramfs"), ("--version", "bf-mkinitramfs 0.")):
        done = subprocess.run([programs / "bf-mkinitramfs", option], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.startswith(said) and done.stderr == ""


def test_every_option_is_in_help_and_manual(programs: Path) -> None:
    source = Path(__file__).resolve().parents[2] / "initramfs/pack"
    text = subprocess.run([programs / "bf-mkinitramfs", "--help"], capture_output=True, text=True,
                          check=True).stdout
    manual = (source / "bf-mkinitramfs.8").read_text()
    options = [line.split('"')[1] for line in (source / "bf-mkinitramfs.c").read_text().splitlines()
               if line.strip().startswith('{ "') and "_argument" in line]
    assert len(options) > 10
    for option in options:
        assert f"--{option}" in text
        assert re.search(rf"^\.It .*Fl Fl {option}\b", manual, re.M) or option in ("help", "version")


# ---- output ----------------------------------------------------------------------


def with_mounts(script: str, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs @script where it may mount; nothing of it stays."""
    space = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    return subprocess.run([*space, "sh", "-euc", script, *map(str, args)], capture_output=True,
                          text=True)


def test_full_disk_leaves_the_old_image(packer: Packer, root: Root) -> None:
    packer.output.parent.mkdir()
    noise = packer.directory / "noise"
    noise.write_bytes(os.urandom(100_000))
    done = with_mounts(
        'mount -t tmpfs -o size=64k none "$0"; echo old >"$0/initrd.img"; status=0; "$@" ||'
        ' status=$?; ls -A "$0"; cat "$0/initrd.img"; exit $status',
        packer.output.parent, *packer.command(root, "--file", f"{noise}=/etc/noise"))
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "make room" in done.stderr
    assert done.stdout == "initrd.img\nold\n"


def test_full_device(packer: Packer, root: Root) -> None:
    """On a copy of /dev/full: a program that renamed something over the real one would break the
    machine. A mount point cannot be renamed over."""
    command = packer.command(root)
    done = with_mounts('touch "$0"; mount --bind /dev/full "$0"; exec "$@"', packer.output, *command)
    assert done.returncode == 1
    assert f"{packer.output}: not written" in done.stderr and "No space left" in done.stderr
    assert packer.output.read_bytes() == b""


def test_output_to_a_pipe(packer: Packer, root: Root) -> None:
    """Through a link like /dev/stdout, but our own."""
    packer.output.parent.mkdir()
    stdout = packer.output.parent / "stdout"
    stdout.symlink_to("/proc/self/fd/1")
    command = packer.command(root, "--output", stdout)
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    assert stdout.readlink() == Path("/proc/self/fd/1")
    assert piped == packer.image(root)


def test_link_to_nothing_is_not_replaced(packer: Packer, root: Root) -> None:
    packer.output.parent.mkdir()
    packer.output.symlink_to("gone/initrd.img")
    done = packer.run(root)
    assert done.returncode == 1 and "No such file" in done.stderr
    assert packer.output.is_symlink() and len(list(packer.output.parent.iterdir())) == 1


def test_output_behind_a_link_stays_a_link(packer: Packer, root: Root) -> None:
    out = packer.output.parent
    out.mkdir()
    packer.output.symlink_to("initrd.img-1")
    (out / "initrd.img-1").write_bytes(b"old")
    image = packer.image(root)
    assert packer.output.is_symlink() and (out / "initrd.img-1").read_bytes() == image
    assert sorted(p.name for p in out.iterdir()) == ["initrd.img", "initrd.img-1"]


def test_output_is_as_readable_as_any_new_file(packer: Packer, root: Root) -> None:
    before = os.umask(0o022)
    try:
        packer.image(root)
    finally:
        os.umask(before)
    assert stat.S_IMODE(packer.output.stat().st_mode) == 0o644


@pytest.mark.parametrize("output", ["none/x", "."], ids=["no directory", "a directory"])
def test_output_impossible(packer: Packer, root: Root, output: str) -> None:
    assert "not written" in packer.fails(root, "--output", packer.directory / "out" / output)


def test_verbose_tells_what_and_why(packer: Packer, root: Root) -> None:
    done = packer.run(root, "-v")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert any(line.endswith("/init  (PID 1)") for line in lines)
    assert any("jbd2.ko  (for ext4)" in line for line in lines)
    assert any("libpart.so.1  (library of /init)" in line for line in lines)
    files = sum(1 for line in lines if line.split()[1].startswith("/") and line[0] == " "
                and "-> " not in line)
    packed = len(packer.output.read_bytes())
    count = len(module_list(packer.output.read_bytes()))
    assert lines[-1].startswith(
        f"bf-mkinitramfs: {packer.output}: {files} files, {count} modules, {packed} bytes (zstd;")


def test_quiet_is_one_line(packer: Packer, root: Root) -> None:
    done = packer.run(root)
    assert done.stdout == "" and done.stderr.count("\n") == 1
