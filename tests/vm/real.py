"""The real root: Debian 13 with systemd, udev, dbus and RAUC, built, booted and spoken to."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

from artifacts import HERE, TOP, Artifacts, build, digest, tree_digest
from machine import Device, Disk, Hardware, Run

# A guest under software emulation on a shared host is slow: PID 1's longest step was seen to take 20 s.
CMDLINE = ("console=ttyAMA0 loglevel=7 systemd.show_status=1 bf.watchdog=120 cryptomgr.notests "
           "sysrq_always_enabled")
RELEASE = "2.0"                         # IMAGE_VERSION of the image
# With a second processor the kernel's last word can get lost, see machine.last_words(); and once QEMU 7.2
# gave a driver all ones for a register just when the other processor moved the watchdog's memory.
HARDWARE = Hardware(smp=1, memory=1024, watchdog=True)
# Only a test about them wants the guard and the kiosk: alone, it would find fault with a device that has none.
UNGUARDED = " ".join(f"systemd.mask={unit}.service" for unit in
                     ("bf-guard", "bf-kiosk", "bf-kiosk-forger-user", "bf-kiosk-forger-unit"))
LOGIN_SEC = max(600.0, float(os.environ.get("BF_VM_TIMEOUT", "0")))


@dataclass(frozen=True)
class RealOptions:
    packages: tuple[str, ...] = ()      # besides those of real-root
    suite: str = "trixie"               # of Debian
    kernel: str = "linux-image-arm64"   # its package
    enable: tuple[str, ...] = ()        # units of theirs
    # A directory whose files are laid over the root, another mount plan than the kiosk's; named by
    # their content, or a change of it would not make another root.
    add: Path | None = None
    fstab: Path | None = None
    slot_b: str = "same"
    mkimage: tuple[str, ...] = ()


def keys(art: Artifacts) -> Path:
    """The development keys that the real root's devices trust; see bf-mkkeys(8)."""
    out = art.vm / "keys"
    build(TOP / "hooks/image/bf-mkkeys", "--development", "--quiet", out)
    return out


def next_keys(art: Artifacts) -> Path:
    """What becomes of them when the CA is changed and the old one is dropped. Made once: the image that
    brings the new keyring has to stay the same."""
    now = keys(art)
    out = art.vm / f"next-keys-{digest(now / 'ca.cert.pem', now / 'signing.cert.pem')}"
    with art._locked("next-keys"):
        if not out.exists():
            work = out.with_suffix(".tmp")
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(now, work)
            for step in ("--new-ca", "--drop-old-ca"):
                build(TOP / "hooks/image/bf-mkkeys", step, "--quiet", work)
            work.rename(out)
    return out


def install_target(art: Artifacts) -> Path:
    """What `make install-target` puts into a device, and the stand-in kiosk. Another tree when that has changed."""
    with art._locked("device"):
        work = art.vm / "device.tmp"
        shutil.rmtree(work, ignore_errors=True)
        art._make("install-target", "install-kiosk", ARCH="arm64", DESTDIR=str(work))
        out = art.vm / f"device-{tree_digest(work)}"
        if out.exists():
            shutil.rmtree(work)
        else:
            work.rename(out)
    return out


def root(art: Artifacts, options: RealOptions = RealOptions()) -> Path:
    """The tree; made when it is not there or something that goes into it has changed."""
    out = art.vm / f"real-{digest(replace(options, slot_b='', mkimage=()))}"
    with art._locked("real"):
        extra: list[str | Path] = ["--enable", ",".join(options.enable)] if options.enable else []
        extra += ["--add", options.add] if options.add else []
        extra += ["--fstab", options.fstab] if options.fstab else []
        build(HERE / "real-root", *extra, "--with", ",".join(options.packages), "--suite", options.suite,
              "--kernel", options.kernel, "--cache", art.vm / "cache", "--device", install_target(art),
              "--keyring", keys(art) / "keyring.pem", "--release", RELEASE, out)
    return out


def image(art: Artifacts, options: RealOptions = RealOptions()) -> Path:
    """A disk image with the real root; made when something that goes into it has changed. Beside it,
    as .artifacts, what bf-mkbundle takes."""
    tree = root(art, options)
    version = next((tree / "usr/lib/modules").iterdir()).name
    helpers = sorted(p for p in (TOP / "hooks").rglob("*") if p.is_file())
    key = digest(*helpers, install_target(art).name, keys(art) / "keyring.pem", HERE / "real-root", art.bf_init,
                 art.mkinitramfs, options, CMDLINE)
    out = art.vm / "images" / f"real-{key}.img"
    with art._locked("real-image"):
        if not out.exists():
            out.parent.mkdir(exist_ok=True)
            forget_old_images(art, out.parent)
            initramfs, work = out.with_suffix(".initramfs"), out.with_suffix(".tmp")
            build(art.mkinitramfs, "--root", tree, "--kernel-version", version, "--init", art.bf_init,
                  "--output", initramfs)
            build(art.mkimage, "--root", tree, "--kernel", tree / f"boot/vmlinuz-{version}",
                  "--initramfs", initramfs, "--output", work, "--cmdline", CMDLINE, "--serial-only",
                  "--slot-b", options.slot_b, "--data-size", "256M", "--artifacts", out.with_suffix(".artifacts"),
                  *options.mkimage)
            work.replace(out)
        os.utime(out)
    return out


def forget_old_images(art: Artifacts, directory: Path) -> None:
    """With what lies beside them."""
    art._forget_old_images(directory)
    for beside in directory.glob("real-*"):
        if not beside.with_suffix(".img").exists():
            shutil.rmtree(beside) if beside.is_dir() else beside.unlink()


def device(art: Artifacts, base: Path, work: Path, log: Path,
           say: Callable[[str], None] | None = None, hardware: Hardware = HARDWARE,
           guarded: bool = False) -> Device:
    """A device with its own copy of the image."""
    return Device(disk=Disk(art.copy(base, work / "disk.img")), work=work, log=log,
                  hardware=hardware, say=say, append="" if guarded else UNGUARDED)


# A command for the guest: the way to the server is there.
UNTIL_ROUTED = "until awk '$2 == \"00000000\" { found = 1 } END { exit !found }' /proc/net/route; do sleep 0.5; done"


class Shell:
    """Root's shell on the serial console of a running guest."""

    def __init__(self, run: Run, timeout: float = LOGIN_SEC):
        self.machine = run.machine
        self.count = 0
        self.machine.wait(r"root@[\w-]+:", timeout)
        # No echo, no colours, no bracketed paste: what comes back is what the commands say.
        self.machine.send("stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; PS1=; "
                          "export TERM=dumb SYSTEMD_PAGER= SYSTEMD_COLORS=0\n")
        # The kernel's own lines would stand in the answers.
        self.lines("dmesg -n 1")

    @classmethod
    def of(cls, run: Run, count: int) -> "Shell":
        """One that is open already and has done so many commands."""
        shell = cls.__new__(cls)
        shell.machine, shell.count = run.machine, count
        return shell

    def __call__(self, command: str, timeout: float = 300) -> tuple[int, str]:
        """Exit status and output of a command. The marks are spelled so that no echo can match."""
        self.count += 1
        n = self.count
        self.machine.send(f"echo; printf '<<%s\\n' begin{n}; {command}; printf '>>%s %d\\n' end{n} $?\n")
        self.machine.wait(rf"^<<begin{n}$", timeout)
        start = self.machine._seen
        status = int(self.machine.wait(rf"^>>end{n} (\d+)$", timeout)[1])
        text = self.machine.console[start:self.machine._seen]
        return status, re.sub(rf">>end{n} \d+$", "", text).strip("\n")

    def lines(self, command: str) -> list[str]:
        """Output of a command that must succeed."""
        status, text = self(command)
        assert status == 0, f"{command!r} ended with {status}:\n{text}"
        return text.splitlines()

    def boot_file(self) -> dict[str, str]:
        """/run/bf/boot."""
        return {key: value.strip('"') for key, value in
                (line.split("=", 1) for line in self.lines("cat /run/bf/boot") if "=" in line)}

    def settled(self) -> str:
        """Waits until systemd has started everything; its own word for the result."""
        return self("systemctl is-system-running --wait", timeout=LOGIN_SEC)[1].strip()
