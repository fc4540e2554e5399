"""The same stories with Debian 13, systemd and RAUC: what else they write to the disk is in them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Callable

import bootrecord
import bundles
import real
from artifacts import Artifacts, build
from diskimage import DiskImage
from machine import Device, Disk, End, Hardware, Run, Timeout
from powercut.cut import State
from powercut.eval import Release, Story, Verdict
from powercut.log import MARK_AT, MARK_WORD
from powercut.story import DECIDED, StoryError, load, release, save

INSTALL_SEC = 1800
# No watchdog: on a busy host it would write a boot of its own into the story.
HARDWARE = Hardware(smp=1, memory=1024)
TRIAL = End("reboot", "0 tryboot")
MARK = (f"mark() {{ printf '{MARK_WORD.decode()}%s' \"$*\" | dd of=/dev/vda bs=4096 seek={MARK_AT // 4096} "
        "conv=sync,notrunc iflag=fullblock oflag=direct status=none; }")


class Guest:
    """A running system and root's shell in it."""

    def __init__(self, device: Device):
        self.device = device
        self.run: Run = device.start()
        self.shell = real.Shell(self.run)
        self.shell.settled()
        self.ok(MARK)

    def ok(self, command: str) -> str:
        status, text = self.shell(command, INSTALL_SEC)
        if status:
            raise StoryError(f"{command!r} ended with {status}:\n{text}")
        return text

    def expect(self, slot: str, trial: bool) -> None:
        found = self.shell.boot_file()
        if (found["BF_SLOT"], found["BF_TRIAL"]) != (slot, "yes" if trial else "no"):
            raise StoryError(f"slot {found['BF_SLOT']} runs, trial {found['BF_TRIAL']}")

    def leave(self, command: str, end: End) -> None:
        self.run.machine.send(f"{command}\n")
        ended = self.device.finish(self.run, real.LOGIN_SEC).ended
        if ended != end:
            raise StoryError(f"{command!r} ended by {ended}, expected {end}")


def unpacked(bundle: bundles.Bundle, name: str, work: Path, boots: bool) -> Release:
    """What RAUC writes: the images out of the bundle."""
    kept = work / "releases" / name
    kept.parent.mkdir(parents=True, exist_ok=True)
    build("unsquashfs", "-quiet", "-no-progress", "-dest", kept, bundle.file, "root.img", "boot.img")
    (kept / "roothash").write_text(bundle.roothash + "\n")
    return release(name, kept, boots)


def tell(art: Artifacts, work: Path, name: str, log: Path,
         say: Callable[[str], None] | None = None) -> Story:
    """Record a story: "rauc-committed" or "rauc-rejected"."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    committed = name == "rauc-committed"
    bundle = (bundles.full(art, "good", version="3.0") if committed else
              bundles.full(art, "broken", version="4.0", fault="verity"))
    new = unpacked(bundle, "new" if committed else "broken", work, committed)
    image = real.image(art)
    kept = work / "releases" / "old"
    shutil.copytree(image.with_suffix(".artifacts"), kept,
                    copy_function=lambda a, b: build("cp", "--reflink=auto", "--sparse=always", a, b))
    base = art.copy(image, work / "base.img")
    old = release("old", kept)
    bootrecord.seasoned(DiskImage(base), hash_A=old.roothash, hash_B=old.roothash)
    here = work / "update.raucb"
    here.symlink_to(bundle.file)
    device = real.device(art, base, work / "machine", log, say, HARDWARE)
    device.extra_disks.append(Disk(bundles.carrier([here], work / "bundles.img"), read_only=True))
    logs = [work / f"writes-{n}.log" for n in range(3)]
    try:
        _install(_logged(device, logs[0]))
        if committed:
            _commit(_logged(device, logs[1]))
            _confirm(_logged(device, logs[2]))
        else:
            _fail(_logged(device, logs[1]))
            _rejected(_logged(device, logs[2]))
    finally:
        device.close()
    shutil.rmtree(work / "machine")
    (work / "bundles.img").unlink()
    save(work, name, base, logs, (old, new), new.name, committed)
    return load(work)


def _logged(device: Device, log: Path) -> Device:
    device.disk.write_log = log
    return device


def _install(device: Device) -> None:
    guest = Guest(device)
    guest.expect("A", False)
    guest.ok("mount -o ro /dev/vdb1 /mnt")
    guest.ok("mark set-bad begin")
    guest.ok("rauc install /mnt/update.raucb")
    guest.ok("mark set-primary done")
    guest.leave("systemctl reboot", TRIAL)


def _commit(device: Device) -> None:
    guest = Guest(device)
    guest.expect("B", True)
    guest.ok("mark commit begin")
    guest.ok("rauc status mark-good")
    guest.ok("mark commit done")
    guest.leave("systemctl reboot", End("reboot"))


def _confirm(device: Device) -> None:
    guest = Guest(device)
    guest.expect("B", False)
    guest.ok("mark confirm begin")
    guest.ok("rauc status mark-good")
    guest.ok("mark confirm done")
    guest.leave("poweroff", End("poweroff"))


def _fail(device: Device) -> None:
    run = device.boot(timeout=real.LOGIN_SEC)
    if run.reason != "verity-corrupt":
        raise StoryError(f"the trial of the broken release ended by {run.ended}, {run.reason}")


def _rejected(device: Device) -> None:
    guest = Guest(device)
    guest.expect("A", False)
    guest.ok("mark rejected")
    guest.leave("poweroff", End("poweroff"))


# -- booting a cut ------------------------------------------------------------------------------------

def boot_real(story: Story, state: State, verdict: Verdict, work: Path, log: Path) -> list[str]:
    """Start the device from the disk as it is after a cut. What is not as predicted."""
    device = Device(disk=Disk(state.copy_disk(work / "disk.img")), work=work, log=log,
                    hardware=HARDWARE, append=real.UNGUARDED)
    wrong: list[str] = []
    assert verdict.after is not None and verdict.slot is not None
    try:
        guest = _reach(device)
        guest.expect(verdict.slot, False)
        said = guest.ok("bf-boot get-current 2>/dev/null").strip()
        if said != verdict.slot:
            wrong.append(f"bf-boot get-current says {said!r}")
        failed = guest.ok("systemctl --failed --no-legend --plain")
        if failed:
            wrong.append(f"failed units: {failed}")
        device.cut(guest.run)
        record = bootrecord.load(DiskImage(device.disk.path))
        if record is None:
            return [*wrong, "the record cannot be read afterwards"]
        wrong += [f"{key} is {record[key]}, predicted {verdict.after[key]}"
                  for key in DECIDED if record[key] != verdict.after[key]]
    except (AssertionError, StoryError) as e:
        wrong.append(str(e))
    finally:
        device.close()
        shutil.rmtree(work, ignore_errors=True)
    return wrong


def _reach(device: Device) -> Guest:
    """bf-init may reboot before it lets a slot run."""
    for _ in range(4):
        try:
            return Guest(device)
        except Timeout:
            run = device.runs[-1]
            if run.machine.running:
                raise
            device.finish(run)
    raise StoryError("no slot runs after four boots")
