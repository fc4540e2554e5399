"""A device with a guard, a kiosk and a server, in a boot that many tests want: the trial of B, or A committed."""

from __future__ import annotations

import base64
import gzip
import json
import re
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import bootrecord
import real
import snapshot
from artifacts import TOP, Artifacts
from diskimage import DiskImage
from firmware import Boot
from machine import Device, End, Run

sys.path.insert(0, str(TOP / "tests/kiosk"))

from server import Server  # noqa: E402

# Emulated and on a busy host everything takes its time; these bound a failure.
GUEST_SEC = 600.0
UNHURRIED_SEC = 50.0             # a guest is up for so long when a test begins, or it is a slow one
PLAIN, TRYBOOT, WATCHDOG = End("reboot"), End("reboot", "0 tryboot"), End("watchdog")

# Short enough for a test, long enough for a guest that is emulated on a busy host. The deadlines of
# [trial] and [committed] have passed at the start of each test: what holds is [committed] recovery,
# which a guard that starts late gives the kiosk. Nobody waits for the end of what ends by a commit.
# Numbers in braces grow with the time that the guest took to boot (see Guarded.spans).
CONFIG = {
    "kiosk": {"failed-grace": "3s", "crashes": "3", "crash-window": "60s"},
    # It beats every second, but emulated, on a busy host, a second may be long.
    "heartbeat": {"max-age": "9s", "marker-max-age": "9s"},
    "server": {"deadline": "{uptime+240}s", "network-grace": "5s", "commit-offline": "after {uptime+25}s"},
    "trial": {"window": "10s", "deadline": "10s", "mark-patience": "5s", "commit-timeout": "240s"},
    "committed": {"probation": "10s", "settle": "10s", "patience": "4s", "start-deadline": "10s", "restarts": "1",
                  "recovery": "240s", "stay": "1h"},
    "checks": {"interval": "2s", "timeout": "4s"},
}
# For tests of what is late, missing or ill to the end.
HURRY = {"server": {"deadline": "{uptime+25}s"}, "committed": {"recovery": "{25}s"}}
KIOSK = "BF_KIOSK_BEAT=1\nBF_KIOSK_FIRST_CHECK=9999\n"


def trial_of_b(disk: DiskImage, **changes: str) -> None:
    known = {"staged": "B", "state_B": "unknown", "attempts": "1", "hash_A": "aa" * 32, "hash_B": "bb" * 32}
    bootrecord.seasoned(disk, **{**known, **changes})


def said_as_json(text: str) -> dict:
    """What `status --json` has said; systemd has its own words on the console now and then."""
    return json.JSONDecoder().raw_decode(text, text.index("{"))[0]


def found_its_way(shell: real.Shell, trial: bool) -> None:
    """The guard that systemd has started: before D-Bus, and before the kiosk's directory was there."""
    started, bus = (int(shell.lines(f"systemctl show -P ActiveEnterTimestampMonotonic {unit}")[-1])
                    for unit in ("bf-guard", "dbus.socket"))
    assert 0 < started < bus, "it did not start early"
    if trial:
        # The window is over: what is left is the server, which refuses.
        until, now = time.monotonic() + GUEST_SEC, {}
        while now.get("phase") != "waiting":
            assert time.monotonic() < until, f"not waiting but {now}"
            now = said_as_json("\n".join(shell.lines("bf-guard status --json")))
    else:
        assert shell("bf-guard wait", GUEST_SEC)[0] == 0
        assert shell.lines("cat /run/betterframe/rauc-confirmed")[-1] == "ok"
        now = said_as_json("\n".join(shell.lines("bf-guard status --json")))
    assert now["role"] == ("trial" if trial else "committed") and now["confirmed"] is not trial
    assert {now["checks"][name]["verdict"] for name in ("unit", "heartbeat", "scripts")} == {"pass"}
    assert shell.lines("systemctl show -P NRestarts bf-guard")[-1] == "0"


def frozen(art: Artifacts, trial: bool, work: Path, log: Path) -> snapshot.Snapshot:
    """Everything is up; guard and kiosk are stopped."""
    image = real.image(art)

    def make(directory: Path) -> None:
        with Server(work / "www") as server:
            device = real.device(art, image, work / "frozen", log, guarded=True,
                                 hardware=replace(real.HARDWARE, server_port=server.port))
            # Else the trial could be committed before it is stopped.
            server.refuse_beats = trial
            (trial_of_b if trial else bootrecord.seasoned)(DiskImage(device.disk.path))
            device.request = replace(device.request, tryboot=trial)
            try:
                run = device.start()
                shell = real.Shell(run)
                assert shell.settled() in ("running", "starting")
                # Emulated, it takes its time, and no test has that to spare.
                shell.lines(real.UNTIL_ROUTED)
                found_its_way(shell, trial)
                shell.lines("systemctl stop bf-guard-complete bf-guard bf-kiosk; "
                            "rm -f /data/bf/guard-server /run/betterframe/*; sync")
                snapshot.put_aside(device, run, shell, directory)
            finally:
                device.close()

    return snapshot.once(art, image, "trial" if trial else "committed", Path(__file__), real.HARDWARE, make)


@dataclass
class Guarded:
    """Guard and kiosk are not started yet: configure, break something, then start()."""

    device: Device
    run: Run
    shell: real.Shell
    server: Server
    config: dict[str, dict[str, str]] = field(default_factory=lambda: {k: dict(v) for k, v in CONFIG.items()})

    def ok(self, command: str) -> str:
        status, text = self.shell(command, GUEST_SEC)
        assert status == 0, f"{command!r} ended with {status}:\n{text}"
        return text

    def in_the_end(self, condition: str) -> None:
        """Soon, the shell's condition holds."""
        self.ok(f"n=0; until {condition}; do n=$((n + 1)); [ $n -lt 400 ] || break; sleep 0.3; done; {condition}")

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        coded = base64.b64encode(gzip.compress(text.encode())).decode()
        assert len(coded) < 3000, "more than a terminal takes in a line"
        self.ok(f"mkdir -p $(dirname {path}) && echo {coded} | base64 -d | gzip -d >{path} && chmod {mode} {path}")

    def uptime(self) -> float:
        return float(self.ok("cut -d' ' -f1 /proc/uptime"))

    def configure(self, **sections: dict[str, str]) -> None:
        for name, settings in sections.items():
            self.config[name].update({key.replace("_", "-"): value for key, value in settings.items()})

    def hurry(self) -> None:
        self.configure(**HURRY)

    def switch(self, word: str) -> None:
        """How the kiosk fails from now on. It may read the file at any time."""
        self.ok(f"echo {word} >/etc/bf-kiosk.new && mv /etc/bf-kiosk.new /etc/bf-kiosk.switch")

    def hardware_watchdog(self, sec: int) -> None:
        """What PID 1 has to feed."""
        self.ok("busctl set-property org.freedesktop.systemd1 /org/freedesktop/systemd1 "
                f"org.freedesktop.systemd1.Manager RuntimeWatchdogUSec t {sec}000000")

    def baseline(self, word: str) -> None:
        self.ok(f"echo {word} >/data/bf/guard-server")

    def record_in_guest(self, **changes: str) -> None:
        """The record is another one; the guard does not run yet."""
        text = base64.b64decode(self.ok("base64 /data/bf/boot-record"))
        now = bootrecord.parse(text)
        assert now
        now.update({key.replace("_", ".", 1): value for key, value in changes.items()})
        now["gen"] = str(int(now["gen"]) + 1)
        self.write("/data/bf/boot-record", bootrecord.text(**now).decode(), "0600")
        self.ok("sync /data/bf/boot-record")

    def spans(self, text: str) -> str:
        """{25}: as many seconds, or up to four times that if the boot it goes on from was slow; {uptime+25}:
        the same, after now."""
        up = self.uptime()
        slow = min(4.0, max(1.0, up / UNHURRIED_SEC))
        return re.sub(r"\{(uptime\+)?(\d+)\}",
                      lambda match: str(int((up if match[1] else 0) + slow * int(match[2]))), text)

    def start_guard(self) -> None:
        text = self.spans("".join(f"[{name}]\n" + "".join(f"{k}={v}\n" for k, v in settings.items())
                                  for name, settings in self.config.items()))
        self.write("/etc/bf-guard.conf.d/90-test.conf", text)
        self.ok("systemctl restart bf-guard")
        assert self.status()["config-warnings"] == 0

    def start(self) -> None:
        self.write("/etc/bf-kiosk.env", KIOSK)
        self.start_guard()
        self.ok("systemctl start --no-block bf-kiosk")

    def status(self) -> dict:
        return said_as_json(self.ok("bf-guard status --json"))

    def until(self, *phases: str, timeout: float = GUEST_SEC) -> dict:
        """Asks until the guard is in one of these phases."""
        end = time.monotonic() + timeout
        while (now := self.status())["phase"] not in phases:
            assert time.monotonic() < end, f"not in {phases} but {now}"
            time.sleep(0.3)
        return now

    def confirmed(self) -> None:
        """The trial was committed; RAUC, record, sector, target and marker say so."""
        self.until("probation", "committed")
        self.in_the_end("[ -s /run/betterframe/rauc-confirmed ]")
        assert self.ok("cat /run/betterframe/rauc-confirmed") == "ok"
        self.ok("systemctl start boot-complete.target")
        said = said_as_json(self.ok("bf-boot status --json"))
        assert (said["running"], said["committed"], said["staged"], said["trial"]) == ("B", "B", None, False)
        assert said["slots"]["B"]["state"] == "good"
        self.ok("rauc status | grep -q 'Activated: rootfs.1 (B)'")
        # One reboot or power cut later.
        assert self.cut()["committed"] == "B"
        assert self.decides(3, False)

    def decides(self, partition: int, tryboot: bool) -> bool:
        """What the firmware makes of it."""
        now = self.device.decide()
        return isinstance(now, Boot) and (now.partition, now.tryboot) == (partition, tryboot)

    def cut(self) -> dict[str, str]:
        """Pulls the plug; the record that stays."""
        self.device.cut(self.run)
        return self.record_on_disk()

    def boot_again(self, tryboot: bool, append: str = "") -> None:
        """Of a guest that has ended: another boot, which guard and kiosk are part of; see logged_in()."""
        self.device.request = replace(self.device.request, tryboot=tryboot)
        self.run = self.device.start(append)

    def logged_in(self) -> None:
        self.shell = real.Shell(self.run)
        self.shell.settled()

    def ends(self, how: End) -> dict[str, str]:
        """Waits for the end of this boot; the record that it leaves."""
        assert self.device.finish(self.run, GUEST_SEC).ended == how
        return self.record_on_disk()

    def record_on_disk(self) -> dict[str, str]:
        """Of a guest that has ended."""
        record = bootrecord.load(DiskImage(self.device.disk.path))
        assert record
        return record

    def rung(self, event: str, reason: str) -> None:
        """The committed slot A is left for the other one: a trial of B."""
        record = self.ends(TRYBOOT)
        assert bootrecord.history(record)[0] == (event, "A", reason), record
        assert (record["committed"], record["staged"], record["kind"]) == ("A", "B", "fallback")
        assert self.decides(3, True)

    def rejected(self, reason: str) -> dict[str, str]:
        """The trial ends with that reason: the device is back on A, and B's image is refused."""
        record = self.ends(PLAIN)
        newest = bootrecord.history(record)[0]
        assert record["trial_reason"] == reason or newest == ("rejected", "B", reason), record
        assert record["committed"] == "A"
        assert self.decides(2, False)
        return record
