"""Updates as they happen: a real RAUC installs real bundles, the device tries them, keeps or leaves them.

Real-root boots are the dear part: few boots, many questions in each."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import bootrecord
import bundles
import real
from artifacts import Artifacts, build
from diskimage import DiskImage
from machine import SERVER_ADDRESS, Device, Disk, End, Run
from server import Server

INSTALL_SEC = 1200
AS_KIOSK = "setpriv --reuid=bfkiosk --regid=bfkiosk --init-groups "
FROM_FILE = "rauc install /mnt/"
# All that RAUC lets a caller override.
FORCED = "rauc install --ignore-compatible --ignore-version-limit /mnt/"
# Port 80 is the only one that leads to a server: machine.Hardware.server_port.
STREAMED = f"rauc install --tls-ca=/mnt/fleet-ca.pem https://{SERVER_ADDRESS}:80/"
UNKNOWN_SIGNER = "issuer certificate|self.signed"
REFUSED = "5a" * 32
TRYBOOT = End("reboot", "0 tryboot")


@dataclass
class Slots:
    """What `rauc status` shows."""

    booted: str
    primary: str
    good: dict[str, bool]

    @classmethod
    def parse(cls, text: str) -> "Slots":
        said = json.loads(text)
        slots = {name: facts for entry in said["slots"] for name, facts in entry.items() if facts["bootname"]}
        return cls(said["booted"], slots[said["boot_primary"]]["bootname"],
                   {facts["bootname"]: facts["boot_status"] == "good" for facts in slots.values()})


@dataclass
class Guest:
    """A running real root, spoken to as root."""

    run: Run
    shell: real.Shell
    figures: list[str] = field(default_factory=list)

    def ok(self, command: str, timeout: float = INSTALL_SEC) -> str:
        status, text = self.shell(command, timeout)
        assert status == 0, f"{command!r} ended with {status}:\n{text}"
        return text

    def fails(self, command: str, timeout: float = INSTALL_SEC) -> str:
        status, text = self.shell(command, timeout)
        assert status != 0, f"{command!r} was a success:\n{text}"
        return text

    def rauc(self) -> Slots:
        return Slots.parse(self.ok("rauc status --output-format=json 2>/dev/null").splitlines()[-1])

    def status(self) -> dict:
        return json.loads(self.ok("bf-boot status --json"))

    def written(self) -> list[str]:
        """What was written since power-on, in sectors: boot and root of both slots, the selector."""
        return self.ok("for n in 1 2 3 4 5; do awk '{ print $7 }' /sys/class/block/vda$n/stat; done").splitlines()

    def record(self) -> str:
        return self.ok("cksum /data/bf/boot-record /data/bf/boot-record.old")

    def install(self, name: str, how: str = FROM_FILE) -> None:
        started = time.monotonic()
        self.ok(f"{how}{name}.raucb 2>&1")
        self.figures.append(f"{how.removeprefix(AS_KIOSK)}{name}: {time.monotonic() - started:.0f} s")

    def install_is_refused(self, name: str, why: str, how: str = FROM_FILE) -> None:
        """And nothing is written, nothing forgotten."""
        before = self.written(), self.record()
        said = self.fails(f"{how}{name}.raucb 2>&1")
        if handled := re.search(r"Pre-install handler error: Child process exited with code (10|75)\b", said):
            said = self.ok("cat /run/bf/refusal")
            assert said.startswith("Not now: ") == (handled[1] == "75")
        assert re.search(why, said), f"{name}: {said}"
        assert (self.written(), self.record()) == before, f"{name} left traces"

    def armed(self) -> bool:
        return self.shell("test -e /run/bf/armed")[0] == 0


@dataclass
class Box:
    device: Device
    guests: list[Guest] = field(default_factory=list)

    def boot(self) -> Guest:
        run = self.device.start()
        guest = Guest(run, real.Shell(run))
        self.guests.append(guest)
        guest.shell.settled()
        assert guest.ok("systemctl --failed --no-legend --plain") == ""
        guest.ok("mount -o ro /dev/vdb1 /mnt; systemctl start rauc")
        return guest

    def leave(self, guest: Guest, command: str) -> End:
        guest.run.machine.send(f"{command}\n")
        ended = self.device.finish(guest.run, real.LOGIN_SEC).ended
        assert ended
        return ended

    def failed_trial(self) -> Run:
        """The next boot is a trial and fails by itself."""
        run = self.device.boot(timeout=real.LOGIN_SEC)
        assert run.decision.partition == 3 and run.decision.tryboot
        assert self.device.decide().partition == 2, "the firmware does not fall back"  # type: ignore[union-attr]
        return run


@pytest.fixture
def make_box(artifacts: Artifacts, console_log: Path, tmp_path: Path):
    made: list[Device] = []

    def make(files: list[Path], **record: str) -> Box:
        work = artifacts.vm / "run" / f"rauc-{tmp_path.parent.name}-{tmp_path.name}"
        device = real.device(artifacts, real.image(artifacts), work, console_log)
        made.append(device)
        device.extra_disks.append(Disk(bundles.carrier(files, work / "bundles.img"), read_only=True))
        bootrecord.seasoned(DiskImage(device.disk.path), **record)
        return Box(device)

    yield make
    for device in made:
        device.close()
        shutil.rmtree(device.work, ignore_errors=True)


def faulty(artifacts: Artifacts, where: Path, good: Path) -> dict[str, tuple[Path, str]]:
    """name → (bundle, what RAUC says)"""
    ours = real.keys(artifacts)
    stranger = where / "stranger-keys"
    build(bundles.MKKEYS, "--quiet", stranger)
    made = {
        "stranger": (bundles.tiny(where, "stranger", stranger), UNKNOWN_SIGNER),
        "other-product": (bundles.tiny(where, "other-product", ours, compatible="fridge"), "is for 'fridge'"),
        "older": (bundles.tiny(where, "older", ours, version="1.9"), "version 1.9, which is older"),
        "refused": (bundles.tiny(where, "refused", ours, roothash=REFUSED), "tried on this device and failed"),
        "unknown": (bundles.tiny(where, "unknown", ours, roothash=""), "does not say what is in it"),
        "hook": (bundles.tiny(where, "hook", ours, more="[hooks]\nfilename=program\nhooks=install-check\n",
                              program="#!/bin/sh\ntouch /run/program-ran\n"), "programs of its own"),
    }
    whole = good.read_bytes()
    for name, data, why in (("cut", whole[:-1000], "[Ii]nvalid|signature"), ("half", whole[:len(whole) // 2], "[Ii]nvalid|signature")):
        path = where / f"{name}.raucb"
        path.write_bytes(data)
        made[name] = (path, why)
    return made


def https(where: Path, name: str) -> ssl.SSLContext:
    """A server, certified by address by a CA of its own: NAME-ca.pem."""
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    ca, ca_key, cert, key = (where / f"{name}-{what}.pem" for what in ("ca", "ca-key", "cert", "key"))
    build(*new, "-subj", f"/CN={name} CA", "-out", ca, "-keyout", ca_key)
    build(*new, "-subj", f"/CN={name}", "-out", cert, "-keyout", key, "-CA", ca, "-CAkey", ca_key,
          "-addext", f"subjectAltName=IP:{SERVER_ADDRESS}", "-addext", "basicConstraints=critical,CA:FALSE")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def holds(box: Box, slot: str, bundle: Path, where: Path) -> bool:
    """The slot begins with the images of the bundle."""
    build("unsquashfs", "-quiet", "-no-progress", "-dest", where, bundle, "root.img", "boot.img")
    disk = DiskImage(box.device.disk.path)
    root, boot = ((where / name).read_bytes() for name in ("root.img", "boot.img"))
    return (disk.read_partition(f"BF_ROOT_{slot}", 0, len(root)) == root
            and disk.read_partition(f"BF_BOOT_{slot}", 0, len(boot)) == boot)


def test_an_update_is_tried_and_kept(artifacts: Artifacts, make_box, tmp_path: Path) -> None:
    """The update brings another keyring: the one after it is signed with the new key, and is streamed."""
    rotated = bundles.full(artifacts, "rotated", version="3.0", keyring=real.next_keys(artifacts) / "keyring.pem")
    bad = faulty(artifacts, tmp_path, bundles.tiny(tmp_path, "whole", real.keys(artifacts)))
    here = tmp_path / "rotated.raucb"
    here.symlink_to(rotated.file)
    # Not to be booted, so a small one will do.
    after = bundles.tiny(tmp_path / "www", "next", real.next_keys(artifacts), size=1 << 20)
    bad["next"] = after, UNKNOWN_SIGNER
    fleet, impostor = https(tmp_path, "fleet"), https(tmp_path, "impostor")
    box = make_box([here, tmp_path / "fleet-ca.pem", *(file for file, _ in bad.values())], refused_0=REFUSED)

    # 1. Slot A, committed.
    a = box.boot()
    assert a.rauc() == Slots("A", "A", {"A": True, "B": True})
    assert a.ok("readlink -f /dev/disk/by-partlabel/BF_ROOT_B") == "/dev/vda5", "another disk caught the update"
    for name, (_, why) in bad.items():
        a.install_is_refused(name, why, AS_KIOSK + FORCED)
    a.ok("[ ! -e /run/program-ran ]")
    # RAUC would write the root image before it finds the boot partition mounted, and the slot would be lost.
    private = "unshare --mount sh -c 'mount -o ro /dev/vda3 /srv && exec sleep 9999' & sleep 3"
    for how, end, why in (("mount -o ro /dev/vda3 /srv", "umount /srv", r"BF_BOOT_B is mounted on /srv: umount it"),
                          (private, "kill $!; wait", r"BF_BOOT_B is mounted on /srv for process \d+ \(sleep\)")):
        a.ok(how)
        a.install_is_refused("rotated", why)
        a.ok(end)
    assert a.rauc() == Slots("A", "A", {"A": True, "B": True})
    # The kiosk's account asks for the update and never judges a slot; others do not even ask.
    before = a.record()
    for verb in ("mark-good", "mark-bad other", "mark-active other"):
        assert "Rejected send message" in a.fails(f"{AS_KIOSK} rauc status {verb} 2>&1")
    a.fails("setpriv --reuid=nobody --clear-groups rauc status 2>&1")
    assert a.record() == before
    assert not a.armed()
    a.install("rotated", AS_KIOSK + FROM_FILE)
    # RAUC left it marked bad while it wrote; now it is what boots next.
    assert a.rauc() == Slots("A", "B", {"A": True, "B": True}) and a.armed()
    assert a.status()["staged"] == "B" and a.status()["slots"]["B"]["roothash"] == rotated.roothash
    # Once more over the first: the last one counts, and it is armed again.
    a.install("rotated")
    assert a.rauc().primary == "B" and a.armed() and a.status()["attempts"] == 0
    # Plain "reboot" deletes the reboot argument.
    assert box.leave(a, "reboot") == TRYBOOT

    # 2. Slot B, on trial.
    b = box.boot()
    assert b.run.decision.partition == 3 and b.shell.boot_file()["BF_TRIAL"] == "yes"
    assert b.shell.boot_file()["BF_ROOTHASH"] == rotated.roothash
    status = b.status()
    assert (status["running"], status["committed"], status["trial"]) == ("B", "A", True)
    assert b.rauc().booted == "B"
    before_trial = b.written(), b.record()
    b.install_is_refused("next", "trial boot is running")
    for verb in ("mark-bad", "mark-good", "mark-active"):
        b.fails(f"rauc status {verb} other 2>&1")
    assert (b.written(), b.record()) == before_trial
    b.ok("rauc status mark-good")
    committed = b.written(), b.record()
    assert int(committed[0][0]) - int(before_trial[0][0]) == 1, "a commit is one sector of the selector"
    b.ok("rauc status mark-good")
    assert (b.written(), b.record()) == committed, "a second commit writes nothing"
    assert b.rauc() == Slots("B", "B", {"A": True, "B": True})
    assert "committed" in b.ok("bf-boot history").splitlines()[0]
    assert not b.armed()
    assert box.leave(b, "systemctl reboot") == End("reboot")

    # 3. It stays, and with it the new keyring.
    with Server(tmp_path / "www", tls=impostor) as server:
        box.device.hardware = replace(box.device.hardware, server_port=server.port)
        b = box.boot()
        assert b.run.decision.partition == 3 and not b.run.decision.tryboot
        assert b.shell.boot_file()["BF_TRIAL"] == "no"
        assert b.rauc() == Slots("B", "B", {"A": True, "B": True})
        # In its probation the slot it came from is the way back: nothing else goes there.
        b.install_is_refused("next", "in its probation")
        b.fails("rauc status mark-active other 2>&1")
        assert b.rauc().primary == "B" and not b.armed()
        # After it, what the old CA vouches for is not taken any more; it is how this system came here.
        b.ok("bf-boot settle")
        b.install_is_refused("rotated", UNKNOWN_SIGNER)
        b.ok(f"systemctl start systemd-networkd; {real.UNTIL_ROUTED}")
        # Loaded by the first installation instead, the module would make that one fail.
        b.ok("test -e /sys/class/block/nbd0")
        b.install_is_refused("next", "failed to configure streaming", AS_KIOSK + STREAMED)
        assert "certificate signer not trusted" in b.ok("journalctl -b -u rauc -o cat --no-pager")
        assert not server.requests
        server.tls = fleet
        b.install("next", AS_KIOSK + STREAMED)
        b.figures[-1] += f", {len(server.requests)} requests"
        assert b.rauc() == Slots("B", "A", {"A": True, "B": True}) and b.armed()
        assert box.leave(b, "poweroff") == End("poweroff")
    assert box.device.decide().partition == 3
    assert holds(box, "A", after, tmp_path / "installed")
    print(f"\nrotated: {rotated.file.stat().st_size / 1e6:.0f} MB, next: {after.stat().st_size / 1e6:.0f} MB")
    print("\n".join(figure for guest in box.guests for figure in guest.figures))


def test_bad_updates_fall_back(artifacts: Artifacts, make_box, tmp_path: Path) -> None:
    files, made = [], {}
    for name, fault in (("no-init", "no-init"), ("broken", "verity"), ("panic", "panic")):
        made[name] = bundles.full(artifacts, name, version="4.0", fault=fault)
        here = tmp_path / f"{name}.raucb"
        here.symlink_to(made[name].file)
        files.append(here)
    box = make_box(files)

    a = box.boot()
    a.install("no-init")
    assert a.armed()
    assert box.leave(a, "systemctl reboot") == TRYBOOT
    assert box.failed_trial().reason == "init-missing"

    a = box.boot()
    said = a.status()
    assert a.rauc() == Slots("A", "A", {"A": True, "B": False})
    assert said["staged"] is None and said["slots"]["B"]["state"] == "bad"
    assert "init-missing" in a.ok("bf-boot history").splitlines()[0]
    # Refused from now on, whoever offers it.
    a.install_is_refused("no-init", "tried on this device and failed")
    a.install("broken")
    assert a.rauc() == Slots("A", "B", {"A": True, "B": True})
    assert box.leave(a, "shutdown -r now") == TRYBOOT
    assert box.failed_trial().reason == "verity-corrupt"

    a = box.boot()
    assert a.rauc() == Slots("A", "A", {"A": True, "B": False})
    assert "verity-corrupt" in a.ok("bf-boot history").splitlines()[0]
    a.install("panic")
    assert a.status()["attempts"] == 0
    assert box.leave(a, "bf-boot try") == TRYBOOT
    assert box.failed_trial().reason is None, "bf-init ran in a kernel that should have died"

    # The kernel died before anybody could say why: seen by the firmware's count, and tried again.
    run = box.device.boot_until(r"systemd\[1\]: ", timeout=real.LOGIN_SEC)
    assert run.decision.partition == 2
    record = bootrecord.load(DiskImage(box.device.disk.path))
    assert record and (record["staged"], record["trials"], record["attempts"]) == ("B", "1", "1")
    assert record["state.A"] == "good" and record["state.B"] == "unknown" and record["committed"] == "A"
