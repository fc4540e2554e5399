"""Nothing that lies on BF_DATA is run by root: a real Debian 13 with cron, at, sshd, sudo, NetworkManager and
systemd's extensions boots over a BF_DATA on which somebody left whatever makes root run it."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

import attack
import real
from artifacts import TOP, Artifacts, digest
from attack import MARKS, PLACES, PROBES, Loot
from diskimage import DiskImage
from machine import Device, Hardware

PACKAGES = ("cron", "at", "sudo", "openssh-server", "systemd-container", "network-manager", "logrotate")
UNITS = ("cron", "atd", "ssh", "systemd-sysext", "NetworkManager", "NetworkManager-dispatcher", "logrotate.timer",
         "fstrim.timer", "e2scrub_all.timer")
PLAN = TOP / "hooks/image/fstab"
HARDWARE = Hardware(smp=1, memory=1024, watchdog=True)
# The image's own job of each daemon whose time comes later: when these are done, the others' were, too.
WITNESSES = ("cron", "at")
WAIT_SEC = 300.0


def kept_directories() -> list[str]:
    """Of BF_DATA, by the kiosk's plan."""
    lines = [line.split() for line in PLAN.read_text().splitlines() if not line.startswith("#") and line.strip()]
    return [source.removeprefix("/data/") for source, _, _, options, *_ in lines if "bind" in options.split(",")]


def trusting_plan(art: Artifacts) -> Path:
    """The kiosk's plan, but /etc, /var and /root come from BF_DATA."""
    text = re.sub(r"x-bf.upper=volatile(,x-bf.size=\w+)?", "x-bf.upper=persistent,x-bf.trust", PLAN.read_text())
    text += "overlay /root overlay nosuid,nodev,x-initrd.mount,x-bf.upper=persistent,x-bf.trust 0 0\n"
    out = art.vm / f"trusting-{digest(text)}.fstab"
    out.write_text(text)
    return out


def witnesses(art: Artifacts) -> Path:
    """Jobs of the image's own."""
    files = {"etc/cron.d/witness": (0o644, "* * * * * root : >/run/witness.cron\n"),
             f"var/spool/cron/atjobs/{attack.AT_JOB.replace('1', '2', 1)}": (0o700, attack.at_job("x").replace(
                 attack.run("x"), ": >/run/witness.at"))}
    out = art.vm / f"witnesses-{digest(files)}"
    for path, (mode, text) in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
        (out / path).chmod(mode)
    (out / "var/spool/cron/atjobs").chmod(0o1770)
    return out


class Victim:
    """A device with all of it on BF_DATA."""

    def __init__(self, art: Artifacts, work: Path, log: Path, fstab: Path | None):
        options = real.RealOptions(packages=PACKAGES, enable=UNITS, add=witnesses(art), fstab=fstab)
        self.device: Device = real.device(art, real.image(art, options), work, log, hardware=HARDWARE)
        pairs = {place: attack.key_pair() for place in PLACES}
        passwd = (real.root(art, options) / "etc/passwd").read_text()
        self.loot: Loot = attack.loot(art, passwd, kept_directories(), {p: pair[1] for p, pair in pairs.items()})
        disk = DiskImage(self.device.disk.path)
        cmdline = disk.fat_read("BF_BOOT_A", "cmdline-a.txt").decode()
        keys = attack.host_keys()
        self.host_key = next(hashlib.sha256(node.content).hexdigest() for path, node in keys.items() if path.endswith("ed25519_key"))
        attack.plant(disk, self.loot, re.search(r"roothash=(\w+)", cmdline)[1], keys)
        self.shell = real.Shell(self.device.start())
        self.settled = self.shell.settled()
        for place, (private, _) in pairs.items():
            text = base64.b64encode(private.encode()).decode()
            self.shell.lines(f"(umask 077; echo {text} | base64 -d >/run/attack-key-{place})")

    def wait_for_the_daemons(self) -> None:
        """Until each has looked, and has had the time to do what it found."""
        for daemon in ("cron", "atd", "ssh", "NetworkManager"):
            assert self.shell(f"systemctl is-active {daemon}")[1].strip() == "active"
        deadline = time.monotonic() + WAIT_SEC
        while self.shell("ls " + " ".join(f"/run/witness.{w}" for w in WITNESSES))[0]:
            assert time.monotonic() < deadline, "cron or at did not run the image's own job"
            time.sleep(5)
        self.shell.lines("udevadm trigger && udevadm settle && sleep 5")

    def took_effect(self) -> set[str]:
        """Marks that were left, and what shows itself to a probe; as "place.mark"."""
        found = {f"{place}.{mark}" for mark, probe in PROBES.items() for place in PLACES
                 if self.shell(f"{probe.format(place=place)} >/dev/null 2>&1")[0] == 0}
        return found | set(self.shell(f"ls -A {MARKS} 2>/dev/null")[1].split())

    def set_user_id(self, top: str) -> None:
        """The kiosk and root themselves run every such program below a directory."""
        self.shell(f"for f in $(find {top} -name attack-suid); do runuser -u bfkiosk -- $f suid; $f run-by-root; "
                   "done 2>/dev/null")

    def nodes_that_open(self, top: str) -> list[str]:
        return self.shell(f"for f in $(find {top} -name 'attack-null' -o -name attack-disk); do "
                          "dd if=$f of=/dev/null count=1 2>/dev/null && echo $f; done")[1].split()


@pytest.fixture
def victim(artifacts: Artifacts, console_log: Path, tmp_path: Path) -> Iterator[Callable[..., Victim]]:
    made: list[Victim] = []

    def make(fstab: Path | None = None) -> Victim:
        work = artifacts.vm / "run" / f"attack-{tmp_path.name}"
        made.append(Victim(artifacts, work, console_log, fstab))
        return made[-1]

    yield make
    for one in made:
        one.device.close()
        shutil.rmtree(one.device.work, ignore_errors=True)


def test_nothing_left_on_data_is_run_by_root(victim):
    device = victim()
    shell = device.shell
    assert device.settled == "running", shell("systemctl --failed --no-legend --plain")[1]
    device.wait_for_the_daemons()
    # What was left is there, in each directory that is kept.
    plan = [line.split()[:2] for line in PLAN.read_text().splitlines() if line.startswith("/data/")]
    shown = [target for _, target in plan if shell(f"test -e {target}/attack-suid")[0] == 0]
    assert len(shown) >= 11 and set(shown) >= {"/home", "/var/log", "/var/lib/NetworkManager",
                                               "/etc/NetworkManager/system-connections"}
    for top in ["/data", *shown]:
        device.set_user_id(top)
        assert device.nodes_that_open(top) == []
    found = device.took_effect()
    planted = len(device.loot.files)
    print(f"planted on BF_DATA: {planted} files, {len(device.loot.marks)} of them with a trace of their own, "
          f"in {len(shown)} kept directories and {len(PLACES)} places of older plans; run by root: {len(found)}")
    assert found == set()
    # And sshd has the keys of the device, which are kept there.
    assert shell.lines("sha256sum </etc/ssh/ssh_host_ed25519_key")[0].split()[0] == device.host_key
    assert shell.lines("ssh-keyscan -t ed25519 127.0.0.1 2>/dev/null | grep -o 'ssh-ed25519 .*'") == \
        shell.lines("cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub")
    a_day_of_var(shell)


def a_day_of_var(shell: real.Shell) -> None:
    """What the volatile /var takes of the memory: after the boot, and when each hour's and the day's timers
    have run, with a connection and a log-in in each hour."""
    used = ["df -k --output=used /var | tail -n 1", "df --output=iused /var | tail -n 1"]
    boot = [int(shell.lines(command)[0]) for command in used]
    size = int(shell.lines("df -k --output=size /var | tail -n 1")[0])
    for _ in range(25):
        shell("date -s '+1 hour'; nmcli -g name connection; runuser -l bfkiosk -c true; logger an hour; sleep 1")
    day = [int(shell.lines(command)[0]) for command in used]
    files = shell.lines("find /var -xdev -type f -newer /run/bf/boot -printf '%k %p\\n' | sort -rn | head -n 8")
    print(f"/var in memory: {boot[0]} KiB in {boot[1]} files and directories after the boot, {day[0]} KiB in {day[1]} "
          f"after a day, of {size} KiB; most of it (KiB): " + ", ".join(files))
    assert day[0] < size / 8
    assert shell("systemctl is-active --quiet cron")[0] == 0


@pytest.mark.long
def test_the_same_files_are_run_where_the_builder_trusts_them(victim, artifacts):
    """The traces work: the same BF_DATA under a plan that says x-bf.trust."""
    device = victim(trusting_plan(artifacts))
    device.wait_for_the_daemons()
    shell = device.shell
    shell.lines("mount -t tmpfs attack /mnt && cp -a /data/home/attack-* /mnt")
    device.set_user_id("/mnt")
    assert set(device.nodes_that_open("/mnt")) == {"/mnt/attack-null", "/mnt/attack-disk"}
    found = device.took_effect()
    expected = {mark for mark in device.loot.marks.values() if mark.startswith("overlay.")}
    print(f"run by root: {len(found & expected)} of {len(expected)}")
    assert expected - found == set()
    assert {"suid", "run-by-root"} <= found
