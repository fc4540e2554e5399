# SPDX-License-Identifier: MIT
"""Small target roots for bf-mkinitramfs, built by the host's compiler and depmod in a second.

A module here is an object file with the two sections depmod reads: .modinfo ("key=value" strings)
and __ksymtab_strings (the names it exports); what it needs are its undefined symbols.
"""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

RELEASE = "6.12.1-test"


@dataclass(frozen=True)
class Module:
    name: str
    needs: tuple[str, ...] = ()
    softdep: str = ""
    aliases: tuple[str, ...] = ()
    suffix: str = ".ko"  # .ko.xz, .ko.zst; ".ko" may still be packed: see `packed`
    packed: str = ""  # "gz": content packed although the name says .ko (Debian's depmod knows no gz)

    @property
    def symbol(self) -> str:
        return "sym_" + self.name.replace("-", "_")

    @property
    def target(self) -> str:
        return f"lib/modules/{RELEASE}/kernel/{self.name}.ko"

    def source(self) -> str:
        info = [f"softdep={self.softdep}"] if self.softdep else []
        info += [f"alias={alias}" for alias in self.aliases]
        info += [f"depends={','.join(need.replace('-', '_') for need in self.needs)}"]
        info += ["license=GPL", f"name={self.name.replace('-', '_')}"]
        text = "\\0".join(info)
        lines = [
            f'const char info[] __attribute__((section(".modinfo"), used)) = "{text}";',
            f'const char syms[] __attribute__((section("__ksymtab_strings"), used)) = "{self.symbol}";',
            f"int {self.symbol};",
        ]
        for need in self.needs:
            symbol = "sym_" + need.replace("-", "_")
            lines.append(f"extern int {symbol}; int *use_{symbol} = &{symbol};")
        return "\n".join(lines) + "\n"


MODULES = (
    Module("dm-verity", needs=("dm-bufio", "dm-mod")),
    Module("dm-bufio", needs=("dm-mod",), packed="gz"),
    Module("dm-mod"),
    Module("ext4", needs=("jbd2",), softdep="pre: crypto-crc32c post: quota", suffix=".ko.xz"),
    Module("jbd2", softdep="pre: crypto-crc32c"),
    Module("crc32c_generic", aliases=("crypto-crc32c", "crc32c")),
    Module("quota"),
    Module("overlay", suffix=".ko.zst"),
    Module("sha256-fast", needs=("sha256-lib",),
           aliases=("crypto-sha256", "cpu:type:*:feature:*0006*")),
    Module("sha256-slow", aliases=("crypto-sha256",)),
    Module("sha256-lib"),
    Module("nvme", needs=("nvme-core",), softdep="pre: nowhere",
           aliases=("pci:v*d*sv*sd*bc01sc08i02*",)),
    Module("nvme-core"),
    Module("i6300esb", needs=("watchdog",),
           aliases=("pci:v00008086d000025ABsv*", "platform:some-watch[a-z-]dog", "devname:watchdog")),
    Module("watchdog"),
    Module("erofs"),
    Module("usb-storage", needs=("usbcore",)),
    Module("usbcore"),
    Module("extra-disk"),
    Module("virtio_mmio", aliases=("of:N*T*Cvirtio,mmio",)),
    # A disk of a device tree, and what stands in the tree beside it.
    *(Module(f"dt-{name}", aliases=(f"of:N*T*Clab,{name}", f"of:N*T*Clab,{name}C*"))
      for name in ("disk", "regulator", "gpio", "pins", "clock", "oscillator", "msi", "intc", "bus", "reset",
                   "stranger")),
)
BUILT_IN = ("virtio_pci", "virtio_blk")

# Real programs run in a chroot; small ones only look like it, so that packing them takes no time.
SMALL_INIT = "int part(void); void _start(void) { part(); }\n"
SMALL_LOADER = "/lib/ld-small.so.1"
INIT = '#include <stdio.h>\nint part(void);\nint main(void) { printf("init says %d\\n", part()); }\n'
PART = "int part(void) { return 42; }\n"


def cc(*args: str | Path, compiler: str = "gcc") -> None:
    subprocess.run([compiler, "-O1", *map(str, args)], check=True, capture_output=True)


def host_triplet() -> str:
    return subprocess.run(["gcc", "-dumpmachine"], check=True, capture_output=True,
                          text=True).stdout.strip()


def host_file(name: str) -> Path:
    """A library of the host's compiler, resolved."""
    out = subprocess.run(["gcc", f"-print-file-name={name}"], check=True, capture_output=True,
                         text=True).stdout.strip()
    return Path(out).resolve(strict=True)


def interpreter(program: Path) -> str:
    out = subprocess.run(["readelf", "-lW", program], check=True, capture_output=True,
                         text=True).stdout
    return out.split("interpreter: ")[1].split("]")[0]


@dataclass
class Root:
    """A root below `path`. `linked`: /lib and the like are links into /usr, as Debian has them."""

    path: Path
    linked: bool = True
    plain: dict[str, bytes] = field(default_factory=dict)  # modules as they were before packing

    def put(self, name: str, content: bytes, mode: int = 0o644) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        file.chmod(mode)
        return file

    @property
    def modules(self) -> Path:
        return self.path / "usr/lib/modules" / RELEASE

    def module(self, name: str) -> Path:
        return next(self.modules.glob(f"kernel/{name}.ko*"))

    def depmod(self) -> None:
        """With the modules unpacked that Debian's cannot read: it would say that they need nothing."""
        unread = [module.name for module in MODULES if module.packed == "gz"]
        for name in unread:
            self.module(name).write_bytes(self.plain[name])
        subprocess.run(["/sbin/depmod", "-b", self.path / "usr", RELEASE], check=True)
        for name in unread:
            self.module(name).write_bytes(gzip.compress(self.plain[name], mtime=0))


def make_links(root: Path) -> None:
    for name in ("lib", "lib64", "bin", "sbin"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")


def add_real_programs(root: Root, scratch: Path, libs: str) -> None:
    (scratch / "init.c").write_text(INIT)
    cc("-o", scratch / "init", scratch / "init.c", scratch / "libpart.so.1.0")
    root.put(f"{libs}/libc.so.6", host_file("libc.so.6").read_bytes(), 0o755)
    loader = interpreter(scratch / "init")
    root.put("usr" + loader, Path(loader).read_bytes(), 0o755)


def add_small_programs(root: Root, scratch: Path, libs: str) -> None:
    (scratch / "init.c").write_text(SMALL_INIT)
    cc("-nostdlib", f"-Wl,-dynamic-linker,{SMALL_LOADER}", "-o", scratch / "init",
       scratch / "init.c", scratch / "libpart.so.1.0")
    root.put("usr" + SMALL_LOADER, (scratch / "libpart.so.1.0").read_bytes(), 0o755)


def add_programs(root: Root, scratch: Path, real: bool) -> None:
    """bf-init and busybox, with a library and a loader."""
    libs = f"usr/lib/{host_triplet()}"
    (scratch / "part.c").write_text(PART)
    cc("-shared", "-fPIC", "-nostdlib", "-Wl,-soname,libpart.so.1", "-o",
       scratch / "libpart.so.1.0", scratch / "part.c")
    (add_real_programs if real else add_small_programs)(root, scratch, libs)
    root.put(f"{libs}/libpart.so.1.0", (scratch / "libpart.so.1.0").read_bytes())
    (root.path / libs / "libpart.so.1").symlink_to("libpart.so.1.0")
    for name in ("usr/lib/betterframe/bf-init", "usr/bin/busybox"):
        root.put(name, (scratch / "init").read_bytes(), 0o755)


def add_modules(root: Root, scratch: Path) -> None:
    kernel = root.modules / "kernel"
    kernel.mkdir(parents=True)
    for module in MODULES:
        source, plain = scratch / f"{module.name}.c", scratch / f"{module.name}.o"
        source.write_text(module.source())
        cc("-c", "-o", plain, source)
        content = plain.read_bytes()
        root.plain[module.name] = content
        if module.suffix == ".ko.xz":
            content = lzma.compress(content, check=lzma.CHECK_CRC32)
        elif module.suffix == ".ko.zst":
            content = subprocess.run(["zstd", "-q", "-c"], input=content, check=True,
                                     capture_output=True).stdout
        (kernel / f"{module.name}{module.suffix}").write_bytes(content)
    (root.modules / "modules.order").write_text("")
    (root.modules / "modules.builtin").write_text(
        "".join(f"kernel/{name}.ko\n" for name in BUILT_IN))
    (root.modules / "modules.builtin.modinfo").write_bytes(
        b"".join(f"{name}.license=GPL\0".encode() for name in BUILT_IN))
    root.depmod()


def make_root(path: Path, scratch: Path, linked: bool = True, real: bool = False) -> Root:
    root = Root(path, linked)
    path.mkdir(parents=True)
    scratch.mkdir(parents=True)
    if linked:
        make_links(path)
    add_programs(root, scratch, real)
    add_modules(root, scratch)
    return root


def copy_root(root: Root, path: Path) -> Root:
    shutil.copytree(root.path, path, symlinks=True)
    return Root(path, root.linked, root.plain)
