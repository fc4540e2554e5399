"""Builds what the tests boot, once, below the build directory: programs, kernel, mini root, images.

Everything is named after a hash of what went into it, so that a change of bf-init makes new images
and nothing else does. Two pytest processes may ask at once: locks keep them apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Iterator, Sequence

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent


class BuildError(Exception):
    """A build step failed."""


def build(*argv: str | Path, cwd: Path = TOP, env: dict[str, str] | None = None) -> str:
    """Run a build step; its output is in the error, if there is one."""
    done = subprocess.run([str(a) for a in argv], cwd=cwd, env={**os.environ, **(env or {})},
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, argv))}\nended with {done.returncode}:\n"
                         f"{done.stdout}{done.stderr}")
    return done.stdout


def digest(*parts: object) -> str:
    """Hash of texts and of the content of files."""
    h = hashlib.sha256()
    for part in parts:
        h.update(part.read_bytes() if isinstance(part, Path) else repr(part).encode())
        h.update(b"\0")
    return h.hexdigest()[:12]


def tree_digest(tree: Path) -> str:
    """Hash of names, modes and contents of a small tree."""
    h = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        state = path.lstat()
        h.update(f"{path.relative_to(tree)}\0{state.st_mode:o}\0".encode())
        if path.is_symlink():
            h.update(os.readlink(path).encode())
        elif path.is_file():
            h.update(path.read_bytes())
    return h.hexdigest()[:12]


RUN_MAX_AGE_SEC = 24 * 3600             # what a run that was killed has left, or a test that failed
IMAGE_MAX_AGE_SEC = 3600                # since its last use; longer than one run of all tests
# A failing boot is not watched by anybody here: one second instead of ten. And the image would be quiet.
CMDLINE = "console=ttyAMA0 loglevel=7 bf.show=1"


@dataclass(frozen=True)
class ImageOptions:
    """How an image differs from the plain one."""

    fstab: str | None = None            # text; None = the kiosk's, "" = no fstab
    make_mount_points: bool = True
    init: bool = True
    initramfs: tuple[str, ...] = ()     # further arguments of bf-mkinitramfs
    mkimage: tuple[str, ...] = ()       # further arguments of bf-mkimage
    cmdline: str = ""                   # added to the kernel command line of both slots
    bf_init: Path | None = None         # another bf-init
    programs: tuple[str, ...] = ()      # of ours, for the mini root's /usr/sbin ("bf-boot")
    e2fsck: bool = False                # Debian's, in the mini root
    # What happens to the packed initramfs afterwards: "FILE-" takes a file out, "FILE:OLD:NEW"
    # replaces text in one. To play what bf-mkinitramfs itself refuses to make.
    edits: tuple[str, ...] = ()

    @property
    def one_off(self) -> bool:
        return bool(self.fstab is not None or self.edits or self.bf_init or not self.init
                    or not self.make_mount_points)


@dataclass
class Artifacts:
    builddir: Path
    flavour: str = "stock"              # of the kernel, see kernel-tree

    def __post_init__(self) -> None:
        self.builddir = self.builddir.resolve()
        self.vm = self.builddir / "vm"
        self.vm.mkdir(parents=True, exist_ok=True)

    def with_kernel(self, flavour: str) -> Artifacts:
        """The same with another kernel."""
        return self if flavour == self.flavour else Artifacts(self.builddir, flavour)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with open(self.vm / f".{name}.lock", "w") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def _make(self, *targets: str, **variables: str) -> None:
        with self._locked("make"):
            build("make", "--no-print-directory", f"O={self.builddir}",
                  *(f"{k}={v}" for k, v in variables.items()), *targets)

    # -- inputs -----------------------------------------------------------------------------

    @cached_property
    def kernel_tree(self) -> Path:
        return Path(build(HERE / "kernel-tree", self.flavour, self.vm).strip())

    @cached_property
    def kernel_version(self) -> str:
        return (self.kernel_tree / ".kernel-version").read_text().strip()

    @cached_property
    def kernel(self) -> Path:
        return self.kernel_tree / "boot" / f"vmlinuz-{self.kernel_version}"

    @cached_property
    def kernel_config(self) -> str:
        places = (self.kernel_tree / f"boot/config-{self.kernel_version}",
                  self.kernel_tree / f"usr/lib/modules/{self.kernel_version}/config")
        return next(place for place in places if place.exists()).read_text()

    @cached_property
    def sysroot(self) -> Path:
        """arm64 headers and libraries of the host's release."""
        self._make(f"{self.builddir}/sysroot-arm64/.done", ARCH="arm64")
        return self.builddir / "sysroot-arm64"

    @cached_property
    def bf_init(self) -> Path:
        self._make(f"{self.builddir}/arm64/bf-init", ARCH="arm64")
        return self.builddir / "arm64" / "bf-init"

    def program(self, name: str) -> Path:
        """A program of ours for the device."""
        self._make(f"{self.builddir}/arm64/{name}", ARCH="arm64")
        return self.builddir / "arm64" / name

    @cached_property
    def mkinitramfs(self) -> Path:
        self._make(f"{self.builddir}/host/bf-mkinitramfs")
        return self.builddir / "host" / "bf-mkinitramfs"

    @cached_property
    def mkimage(self) -> Path:
        return TOP / "hooks" / "image" / "bf-mkimage"

    @cached_property
    def mini_init(self) -> Path:
        """The mini root's init alone."""
        out = self.vm / f"mini-init-{digest(HERE / 'mini-init.c', HERE / 'mini-root')}"
        with self._locked("mini-init"):
            if not out.exists():
                work = self.vm / "mini-init.tmp"
                build(HERE / "mini-root", "--sysroot", self.sysroot, "--no-fstab", "--output", work)
                (work / "usr/sbin/init").replace(out)
                shutil.rmtree(work)
        return out

    def module(self, name: str) -> bytes:
        """A kernel module, decompressed."""
        found = [p for p in (self.kernel_tree / "usr/lib/modules").rglob(f"{name}.ko*")]
        if len(found) != 1:
            raise BuildError(f"module {name}: {found}")
        return subprocess.run(["xz", "-dc", str(found[0])], capture_output=True, check=True).stdout \
            if found[0].suffix == ".xz" else found[0].read_bytes()

    # -- the mini root and its images ---------------------------------------------------------

    def mini_root(self, options: ImageOptions = ImageOptions()) -> Path:
        argv: list[str | Path] = [HERE / "mini-root", "--sysroot", self.sysroot]
        kiosk = TOP / "hooks/image/fstab"
        text = kiosk.read_text() if options.fstab is None else options.fstab
        if not options.init:
            argv.append("--no-init")
        if not options.make_mount_points:
            argv.append("--no-mkdir")
        programs = [self.program(name) for name in options.programs]
        for program in programs:
            argv += ["--program", program]
        foreign = [self.kernel_tree / "usr/sbin/e2fsck"] if options.e2fsck else []
        for program in foreign:
            argv += ["--from", self.kernel_tree, program.relative_to(self.kernel_tree)]
        key = digest(HERE / "mini-root", HERE / "mini-init.c", text, options.init,
                     options.make_mount_points, *programs, *foreign)
        out = self.vm / "roots" / key
        with self._locked("roots"):
            if not out.exists():
                out.parent.mkdir(exist_ok=True)
                work = out.with_suffix(".tmp")
                if text:
                    plan = out.with_suffix(".fstab")
                    plan.write_text(text)
                    argv += ["--fstab", plan]
                else:
                    argv.append("--no-fstab")
                build(*argv, "--output", work)
                work.replace(out)
        return out

    def initramfs(self, *options: str, bf_init: Path | None = None, root: Path | None = None,
                  edits: tuple[str, ...] = ()) -> Path:
        init = bf_init or self.bf_init
        if edits:
            options = (*options, "--compress", "none")
        key = digest(init, self.mkinitramfs, options, str(root), self.kernel_tree.name, edits)
        out = self.vm / f"initramfs-{key}"
        with self._locked("initramfs"):
            if not out.exists():
                build(self.mkinitramfs, "--root", root or self.kernel_tree, "--kernel-version",
                      self.kernel_version, "--init", init, "--output", f"{out}.tmp", *options)
                if edits:
                    files = read_cpio(Path(f"{out}.tmp").read_bytes())
                    for edit in edits:
                        edit_cpio(files, edit)
                    Path(f"{out}.tmp").write_bytes(cpio(files))
                Path(f"{out}.tmp").replace(out)
        return out

    def kernel_tree_without(self, module: str) -> Path:
        """A kernel tree (links into the real one) whose modules lack one, as a broken build would."""
        out = self.vm / f"tree-without-{module}-{self.kernel_tree.name[-12:]}"
        with self._locked("tree-without"):
            if not out.exists():
                work = out.with_suffix(".tmp")
                shutil.rmtree(work, ignore_errors=True)
                shutil.copytree(self.kernel_tree, work, symlinks=True, copy_function=os.link)
                removed = [p.unlink() for p in work.rglob(f"{module}.ko*")]
                if not removed:
                    raise BuildError(f"no module {module} to leave out")
                # depmod replaces its files by rename; the links into the real tree stay untouched.
                build("/sbin/depmod", "-b", work, self.kernel_version)
                work.replace(out)
        return out

    def image(self, options: ImageOptions = ImageOptions()) -> Path:
        """A base image that several tests start from; they work on copies."""
        root, initramfs = self.mini_root(options), self._packed(options)
        helpers = sorted(p for p in self.mkimage.parent.iterdir() if p.is_file())
        key = digest(*helpers, self.kernel.name, initramfs, tree_digest(root), options.mkimage,
                     options.cmdline)
        out = self.vm / "images" / f"{key}.img"
        with self._locked("images"):
            if not out.exists():
                out.parent.mkdir(exist_ok=True)
                self._forget_old_images(out.parent)
                self._make_image(options, root, initramfs, out)
            os.utime(out)
        return out

    def image_for(self, options: ImageOptions, to: Path) -> Path:
        """An image of its own for one test, at `to`. Odd ones are not worth 100 MB in the cache."""
        to.parent.mkdir(parents=True, exist_ok=True)
        if options.one_off:
            self._make_image(options, self.mini_root(options), self._packed(options), to)
            return to
        return self.copy(self.image(options), to)

    def _packed(self, options: ImageOptions) -> Path:
        # A third of a boot is the kernel checking signatures; the real root keeps them.
        return self.initramfs("--strip-signatures", *options.initramfs, bf_init=options.bf_init,
                              edits=options.edits)

    def _make_image(self, options: ImageOptions, root: Path, initramfs: Path, out: Path) -> None:
        work = out.with_suffix(".tmp")
        arguments: Sequence[str] = options.mkimage
        if "--slot-b" not in arguments:
            arguments = (*arguments, "--slot-b", "same")
        if "--data-size" not in arguments:
            arguments = (*arguments, "--data-size", "32M")
        build(self.mkimage, "--root", root, "--kernel", self.kernel, "--initramfs", initramfs,
              "--output", work, "--cmdline", f"{CMDLINE} {options.cmdline}".strip(),
              "--unchecked", "--serial-only", *arguments)
        work.replace(out)

    def forget_old_runs(self) -> None:
        with self._locked("run"):
            for old in (self.vm / "run").glob("*"):
                if old.name != "dtb-cache" and old.stat().st_mtime < time.time() - RUN_MAX_AGE_SEC:
                    shutil.rmtree(old)

    @staticmethod
    def _forget_old_images(directory: Path) -> None:
        """Each change of bf-init makes the images of before useless."""
        for old in directory.glob("*.img"):
            if old.stat().st_mtime < time.time() - IMAGE_MAX_AGE_SEC:
                old.unlink()

    def copy(self, image: Path, to: Path) -> Path:
        """A copy that shares blocks or keeps holes, whatever the file system can."""
        to.parent.mkdir(parents=True, exist_ok=True)
        build("cp", "--reflink=auto", "--sparse=always", image, to)
        return to


# -- cpio -----------------------------------------------------------------------------------------

Archive = dict[str, tuple[int, bytes]]          # name → (mode, content)
CONSOLE = ("dev/console", 5, 1)


def cpio(files: Archive) -> bytes:
    """A newc archive (cpio(5)). Directories have mode 040755; the one device is the console."""
    out = bytearray()

    def entry(name: str, mode: int, data: bytes, inode: int) -> None:
        major, minor = CONSOLE[1:] if name == CONSOLE[0] else (0, 0)
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        out.extend(b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0")
        out.extend(bytes(-len(out) % 4))
        out.extend(data)
        out.extend(bytes(-len(out) % 4))

    for inode, (name, (mode, data)) in enumerate(sorted(files.items()), 1):
        entry(name, mode, data, inode)
    entry("TRAILER!!!", 0, b"", 0)
    return bytes(out)


def read_cpio(packed: bytes) -> Archive:
    """The same, backwards; uncompressed newc only."""
    files: Archive = {}
    at = 0
    while packed[at:at + 6] == b"070701":
        fields = [int(packed[at + 6 + i * 8:at + 14 + i * 8], 16) for i in range(13)]
        name = packed[at + 110:at + 110 + fields[11] - 1].decode()
        data_at = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return files
        files[name] = (fields[1], packed[data_at:data_at + fields[6]])
        at = (data_at + fields[6] + 3) // 4 * 4
    raise BuildError("not an uncompressed newc archive")


def edit_cpio(files: Archive, edit: str) -> None:
    """See ImageOptions.edits. FILE is the last part of a name."""
    name, _, change = edit.removesuffix("-").partition(":")
    found = [n for n in files if Path(n).name == name]
    if len(found) != 1:
        raise BuildError(f"{edit}: {len(found)} such files")
    mode, data = files.pop(found[0])
    if change:
        old, new = (text.encode() for text in change.split(":"))
        if old not in data:
            raise BuildError(f"{edit}: no such text")
        files[found[0]] = (mode, data.replace(old, new))
