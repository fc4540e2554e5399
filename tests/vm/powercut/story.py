"""The stories whose every write is looked at, told by the mini root: an update that is committed and
one that cannot start. bf-boot and bf-init are the device's own; the installer writes the slots in
RAUC's order and asks bf-boot what RAUC asks (powercut/real.py has the same with RAUC itself).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable

import bootrecord
from powercut import log as powercut_log
from artifacts import Artifacts, ImageOptions, digest, tree_digest
from diskimage import DiskImage
from machine import LAB_WORDS, SMALL, Device, Disk, End, Run
from powercut.cut import State, copy
from powercut.eval import Release, Story, Verdict

BF_BOOT = "/usr/sbin/bf-boot"
DISK, BOOT_DISK, ROOT_DISK = "/dev/vda", "/dev/vdb", "/dev/vdc"
TARGETS = {"root": "/dev/vda5", "boot": "/dev/vda3"}
# bf-boot reads the root hash of what was installed from the boot partition.
MODULES = ("--module", "vfat", "--module", "nls_cp437", "--module", "nls_ascii")
OPTIONS = ImageOptions(programs=("bf-boot",), initramfs=MODULES, mkimage=("--boot-size", "48M"))
# What a boot decides about the slots, and nothing that differs from boot to boot.
DECIDED = ("committed", "staged", "kind", "state.A", "state.B", "proven.A", "proven.B", "hash.A",
           "hash.B", "refused.0")
SALT_AT = 88                            # in the verity superblock


def disk_eval(art: Artifacts) -> Path:
    """bf-init's decision as a program of this machine."""
    art._make(f"{art.builddir}/host/tests/disk-eval", ARCH="host")
    return art.builddir / "host/tests/disk-eval"


# -- releases -------------------------------------------------------------------------------------

def made(art: Artifacts, name: str) -> tuple[Path, Release]:
    """A disk image with a release in both slots, and the release itself."""
    root, initramfs = art.mini_root(OPTIONS), art._packed(OPTIONS)
    kept = art.vm / "powercut" / f"{name}-{digest(art.mkimage, initramfs, tree_digest(root), OPTIONS)}"
    with art._locked(f"powercut-{name}"):
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            for old in kept.parent.glob(f"{name}-*"):
                shutil.rmtree(old)
            work = kept.with_name(f"{name}.unfinished")
            arguments = (*OPTIONS.mkimage, "--artifacts", str(work), "--seed", f"powercut {name}")
            options = replace(OPTIONS, mkimage=arguments, cmdline=f"powercut={name}")
            art._make_image(options, root, initramfs, work.with_suffix(".img"))
            work.with_suffix(".img").replace(work / "disk.img")
            work.replace(kept)
    return kept / "disk.img", release(name, kept)


def release(name: str, kept: Path, boots: bool = True) -> Release:
    return Release(name, kept / "root.img", kept / "boot.img",
                   (kept / "roothash").read_text().strip(), boots)


def own(art: Artifacts, found: Release, work: Path, name: str, boots: bool = True) -> Release:
    """A copy that stays with the story as long as it may be looked at again."""
    kept = work / "releases" / name
    for file in (found.root, found.boot):
        art.copy(file, kept / file.name)
    (kept / "roothash").write_text(found.roothash + "\n")
    return release(name, kept, boots)


def broken(art: Artifacts, good: Release, work: Path) -> Release:
    """The same with a root that does not have its root hash."""
    made_ = own(art, good, work, "broken", boots=False)
    environment = dict(line.split("=", 1) for line in
                       (good.root.parent / "verity.env").read_text().splitlines())
    with open(made_.root, "r+b") as f:
        f.seek(int(environment["BF_VERITY_HASH_OFFSET"]) + SALT_AT)
        f.write(b"\x55" * 32)
    return made_


# -- what the guest does ----------------------------------------------------------------------------

def bf_boot(*words: str) -> str:
    return "run:" + "~".join((BF_BOOT, *words))


def mark(text: str) -> str:
    return f"mark:{DISK}:{text.replace(' ', '~')}"


def marked(name: str, *actions: str) -> list[str]:
    return [mark(f"{name} begin"), *actions, mark(f"{name} done")]


UP = [bf_boot("reconcile")]
REBOOT = [bf_boot("shutdown", "reboot"), mark("counted"), bf_boot("arm"), "shutdown"]
HALT = [bf_boot("shutdown", "halt"), "poweroff"]
INSTALL = [*marked("set-bad", bf_boot("set-state", "B", "bad")),
           *marked("root", f"flash:{ROOT_DISK}:{TARGETS['root']}"),
           *marked("boot", f"flash:{BOOT_DISK}:{TARGETS['boot']}"),
           *marked("set-primary", bf_boot("set-primary", "B"))]
COMMIT = marked("commit", bf_boot("set-state", "B", "good"))
CONFIRM = marked("confirm", bf_boot("set-state", "B", "good"))


@dataclass(frozen=True)
class Chapter:
    """One boot: what is done, and how it must end."""

    actions: list[str]
    slot: str | None
    end: End


TRIAL = End("reboot", "0 tryboot")
COMMITTED = [Chapter([*UP, *INSTALL, *REBOOT], "A", TRIAL),
             Chapter([mark("trial ran"), *UP, *COMMIT, *REBOOT], "B", End("reboot")),
             Chapter([*UP, *CONFIRM, *HALT], "B", End("poweroff"))]
REJECTED = [Chapter([*UP, *INSTALL, *REBOOT], "A", TRIAL),
            Chapter([], None, End("reboot")),
            Chapter([mark("rejected"), *UP, *HALT], "A", End("poweroff"))]


def do(actions: list[str]) -> str:
    return "mini.do=" + ";".join(actions)


class StoryError(Exception):
    """The story did not go as it is written."""


def check_run(run: Run, slot: str | None, end: End) -> None:
    failed = [line for line in run.console.splitlines()
              if (line.startswith("MINI ran ") and not line.endswith("=0"))
              or (line.startswith("MINI did ") and not line.endswith("=ok"))]
    if (run.slot, run.ended) != (slot, end) or failed:
        raise StoryError(f"ran slot {run.slot}, ended by {run.ended}; expected {slot}, {end}; "
                         f"{failed}")


# -- recording --------------------------------------------------------------------------------------

def mini_device(disk: Path, work: Path, log: Path, payload: Release | None = None,
                say: Callable[[str], None] | None = None) -> Device:
    extra = [Disk(payload.boot, read_only=True), Disk(payload.root, read_only=True)] if payload else []
    return Device(disk=Disk(disk), work=work, log=log, extra_disks=extra, hardware=SMALL,
                  append=LAB_WORDS, say=say)


def tell(art: Artifacts, work: Path, name: str, log: Path,
         say: Callable[[str], None] | None = None) -> Story:
    """Record a story: "mini-committed" or "mini-rejected"."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    disk, old = made(art, "old")
    _, new = made(art, "new")
    base = art.copy(disk, work / "base.img")
    committed = name == "mini-committed"
    old = own(art, old, work, "old")
    payload = own(art, new, work, "new") if committed else broken(art, new, work)
    device = mini_device(base, work / "prepare", log, say=say)
    check_run(device.boot(do([*UP, bf_boot("set-state", "A", "good"), *HALT])), "A", End("poweroff"))
    disk = work / "disk.img"
    copy(base, disk)
    device = mini_device(disk, work / "machine", log, payload, say)
    logs = []
    try:
        for n, chapter in enumerate(COMMITTED if committed else REJECTED):
            logs.append(work / f"writes-{n}.log")
            device.disk.write_log = logs[-1]
            check_run(device.boot(do(chapter.actions)), chapter.slot, chapter.end)
    finally:
        device.close()
    disk.unlink()
    save(work, name, base, logs, (old, payload), payload.name, committed)
    return load(work)


def save(work: Path, name: str, base: Path, logs: list[Path], releases: tuple[Release, ...],
         new: str, committed: bool) -> None:
    (work / "story.json").write_text(json.dumps({
        "name": name, "base": str(base), "logs": [str(log) for log in logs], "new": new,
        "committed": committed, "releases": [{"name": r.name, "kept": str(r.root.parent),
                                              "boots": r.boots} for r in releases]}, indent=1))


def load(work: Path) -> Story:
    """A story that was recorded before."""
    told = json.loads((work / "story.json").read_text())
    releases = tuple(release(r["name"], Path(r["kept"]), r["boots"]) for r in told["releases"])
    return Story(told["name"], Path(told["base"]), powercut_log.read([Path(p) for p in told["logs"]]),
                 releases, told["new"], told["committed"])


def record_blocks(story: Story) -> list[tuple[int, int]]:
    """(offset, size) of what the record's two files occupy on the disk."""
    image, found = DiskImage(story.base), []
    block = image.ext4_block_size("BF_DATA")
    for path in bootrecord.PATHS:
        found += [(image.ext4_file_offset("BF_DATA", path, at), block)
                  for at in range(0, bootrecord.SIZE, block)]
    return found


# -- booting a cut ------------------------------------------------------------------------------------

def boot_mini(story: Story, state: State, verdict: Verdict, work: Path, log: Path) -> list[str]:
    """Start the device from the disk as it is after a cut. What is not as predicted."""
    wrong: list[str] = []
    device = mini_device(state.copy_disk(work / "disk.img"), work, log)
    assert verdict.after is not None
    staged = verdict.after["staged"] != "-"
    try:
        run = boot_to_slot(device, [*UP, bf_boot("get-current"), bf_boot("status"),
                                    *(REBOOT if staged else HALT)])
        if (run.slot, run.trial if run.slot else None) != (verdict.slot, False):
            wrong.append(f"runs {run.slot}, predicted {verdict.slot}")
        else:
            wrong += sane(device, run, verdict, End("reboot", "0 tryboot") if staged else End("poweroff"))
        if staged and not wrong:
            wrong += boot_trial(story, device)
    except (AssertionError, StoryError) as e:
        wrong.append(str(e))
    finally:
        device.close()
        shutil.rmtree(work, ignore_errors=True)
    return wrong


def boot_to_slot(device: Device, actions: list[str]) -> Run:
    """bf-init may reboot before it lets a slot run."""
    for _ in range(4):
        run = device.boot(do(actions))
        if run.slot:
            return run
    raise StoryError("no slot runs after four boots")


def sane(device: Device, run: Run, verdict: Verdict, end: End) -> list[str]:
    wrong = []
    try:
        check_run(run, verdict.slot, end)
    except StoryError as e:
        wrong.append(str(e))
    before = run.console.split(f"MINI ran {BF_BOOT} get-current=", 1)[0]
    said = [line for line in before.splitlines() if not line.startswith("MINI ")][-1]
    if said != verdict.slot:
        wrong.append(f"bf-boot get-current says {said!r}")
    image = DiskImage(device.disk.path)
    record = bootrecord.load(image)
    if record is None:
        return [*wrong, "the record cannot be read afterwards"]
    assert verdict.after is not None
    wrong += [f"{key} is {record[key]}, predicted {verdict.after[key]}"
              for key in DECIDED if record[key] != verdict.after[key]]
    if image.e2fsck("BF_DATA", "-f", "-n") != 0:
        wrong.append("the file system on BF_DATA has errors")
    return wrong


def boot_trial(story: Story, device: Device) -> list[str]:
    """The staged slot gets its trial: the new release runs, a broken one falls back."""
    run = boot_to_slot(device, [*UP, "poweroff"])
    record = bootrecord.load(DiskImage(device.disk.path))
    if record is None:
        return ["the record cannot be read after the trial"]
    if story.release.boots:
        return [] if run.slot == "B" and run.trial else [f"no trial of slot B: {run.slot} runs"]
    left = [row for row in bootrecord.history(record) if row[0] == "rejected"]
    if (run.slot, record["state.B"], record["staged"]) != ("A", "bad", "-") or not left \
            or left[0][2] == "-":
        return [f"the broken release was not rejected: {run.slot} runs, B {record['state.B']}, {left}"]
    return []
