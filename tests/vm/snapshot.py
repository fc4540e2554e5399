"""A running guest that is put aside once, and goes on from there as often as tests want.

A real root takes most of a minute to boot, and most tests of the guard want the same boot: this
saves them the way there. What goes on is the very guest, clocks and watchdog included; only its disk
is another copy, and what was connected to a server is not any more.
"""

from __future__ import annotations

import contextlib
import pickle
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import firmware
import real
from artifacts import HERE, Artifacts, digest
from machine import Device, Disk, Hardware, Machine, Run, qemu_version

# Whatever takes part in making one, beside the image and who makes it.
MAKERS = tuple(HERE / f"{name}.py" for name in ("bootrecord", "diskimage", "firmware", "machine", "real", "snapshot"))
FILES = ("kernel", "initramfs", "dtb")


@dataclass(frozen=True)
class Snapshot:
    directory: Path
    decision: firmware.Boot
    request: firmware.Request
    hardware: Hardware
    cmdline: str
    commands: int                       # of the shell

    def go_on(self, art: Artifacts, work: Path, log: Path, server_port: int,
              stack: contextlib.ExitStack) -> tuple[Device, Run, real.Shell]:
        """The stack ends it."""
        hardware = replace(self.hardware, server_port=server_port)
        device = Device(disk=Disk(art.copy(self.directory / "disk.img", work / "disk.img")), work=work, log=log,
                        hardware=hardware, request=self.request)
        stack.callback(device.close)
        kernel, initrd, dtb = (self.directory / name for name in FILES)
        machine = Machine(kernel=kernel, initrd=initrd, cmdline=self.cmdline, dtb=dtb, disks=[device.disk], log=log,
                          hardware=hardware, incoming=self.directory / "memory")
        run = Run(self.decision, machine)
        device.runs.append(run)
        machine.taken_over()
        return device, run, real.Shell.of(run, self.commands)


def put_aside(device: Device, run: Run, shell: real.Shell, directory: Path) -> None:
    """Ends the run."""
    directory.mkdir(parents=True)
    run.machine.put_aside(directory / "memory")
    device.disk.path.rename(directory / "disk.img")
    for name in FILES:
        shutil.copy(device.work / name, directory / name)
    decision = replace(run.decision, kernel=b"", initramfs=b"")
    snapshot = Snapshot(directory, decision, device.request, device.hardware, run.machine.cmdline, shell.count)
    (directory / "snapshot").write_bytes(pickle.dumps(snapshot))


def once(art: Artifacts, image: Path, kind: str, maker: Path, hardware: Hardware,
         make: Callable[[Path], None]) -> Snapshot:
    """The snapshot of that kind of a device with that image; make(directory), of the file `maker`, makes it
    when it is not there or anything that it comes from has changed. What it replaces is half a gigabyte."""
    key = digest(maker, *MAKERS, hardware, qemu_version())
    directory = art.vm / "snapshots" / f"{image.stem}-{kind}-{key}"
    with art._locked("snapshots"):
        if not (directory / "snapshot").exists():
            for old in directory.parent.glob("*"):
                if old.name.startswith(f"{image.stem}-{kind}-") or not old.name.startswith(f"{image.stem}-"):
                    shutil.rmtree(old)
            make(directory)
    return pickle.loads((directory / "snapshot").read_bytes())
