# SPDX-License-Identifier: MIT
"""bf-guard on a private bus, with a device, a systemd and a RAUC that a test makes up."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <servicedir>{services}</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""

CONFIG = """[kiosk]
unit=kiosk.service
failed-grace=1
[heartbeat]
once=yes
max-age=2
marker={marker}
[trial]
window=1
mark-patience=1
commit-timeout=10
[committed]
probation=10
settle=10
patience=1
recovery=2
[checks]
directory={checks}
interval=1
timeout=1
"""


class Reader:
    """The lines of a process, as they come."""

    def __init__(self, stream) -> None:
        self.lines: list[str] = []
        self._queue: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream) -> None:
        for line in stream:
            self.lines.append(line.rstrip("\n"))
            self._queue.put(line.rstrip("\n"))

    def wait_for(self, text: str, timeout: float = 10.0) -> str:
        """The next line that has text in it."""
        end = time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                line = self._queue.get(timeout=max(left, 0.001))
            except queue.Empty:
                raise AssertionError(f"no line with {text!r} in {self.lines}") from None
            if text in line:
                return line


class Lab:
    """One device in one boot."""

    def __init__(self, programs: Path, facts: str, *, uptime: float = 10.0, extra: str = "") -> None:
        self.programs = programs / "tests"
        # Sockets have short names; the marker has to be on a tmpfs.
        self.dir = Path(tempfile.mkdtemp(prefix="bfg-", dir="/dev/shm"))
        self.dir.chmod(0o755)
        for name in ("device", "root/etc", "run", "kiosk", "checks/required", "checks/wanted", "services"):
            (self.dir / name).mkdir(parents=True)
        self.marker = self.dir / "kiosk" / "healthy"
        self.checks = self.dir / "checks"
        self.device = self.dir / "device"
        self.config = self.dir / "root/etc/bf-guard.conf"
        self.config.write_text(CONFIG.format(marker=self.marker, checks=self.checks) + extra)
        self.set_uptime(uptime)
        self.set_facts(facts)
        self.socket = self.dir / "bus"
        self.environment = {
            "PATH": os.environ["PATH"],
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.socket}",
            "BF_TEST_DEVICE": str(self.device),
            # Neither this boot's journal nor its systemd hears of it.
            "NOTIFY_SOCKET": str(self.dir / "nobody"),
        }
        self.wrapper: list[str] = []  # what starts the guard, in its own process
        self.bus: subprocess.Popen | None = None
        self.fake: subprocess.Popen | None = None
        self.guard: subprocess.Popen | None = None
        self.calls: Reader | None = None
        self.log: Reader | None = None

    # ---- the world

    def set_uptime(self, seconds: float) -> None:
        start = time.clock_gettime(time.CLOCK_BOOTTIME) - seconds
        (self.device / "start").write_text(str(int(start * 1e6)))

    def set_facts(self, facts: str) -> None:
        (self.device / "facts").write_text(facts + "\n")

    def start_bus(self) -> None:
        config = self.dir / "bus.conf"
        config.write_text(BUS_CONFIG.format(socket=self.socket, services=self.dir / "services"))
        self.bus = subprocess.Popen(["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"])
        self.until(self.listens, "the bus")
        self.fake = subprocess.Popen(
            [self.programs / "fake-bus"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=self.environment,
        )
        self.calls = Reader(self.fake.stdout)
        self.calls.wait_for("ready")

    def listens(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            return s.connect_ex(str(self.socket)) == 0

    def stop_bus(self) -> None:
        for process in (self.bus, self.fake):
            if process:
                process.kill()
                process.wait()
        self.bus = self.fake = None
        self.socket.unlink(missing_ok=True)

    def say(self, *lines: str) -> None:
        """Tells the fake bus what the world is like now."""
        for line in lines:
            self.fake.stdin.write(line + "\n")
            self.fake.stdin.flush()
            self.calls.wait_for("done " + line.split()[0])

    def busctl(self, *words: str) -> str:
        done = subprocess.run(["busctl", f"--address=unix:path={self.socket}", *words],
                              capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def forge(self, path: str, interface: str, member: str, *values: str) -> None:
        """A signal straight to the guard, of somebody who is not who it seems to come from."""
        self.busctl(f"--destination={self.name_on_the_bus()}", "emit", path, interface, member, *values)

    def name_on_the_bus(self) -> str:
        rows = [row.split() for row in self.busctl("list", "--unique", "--no-legend").splitlines()]
        return next(row[0] for row in rows if row[1] == str(self.guard.pid))

    def kiosk_starts(self) -> None:
        self.say("active active running")
        if self.guard:
            self.until(lambda: self.status()["checks"]["unit"]["verdict"] == "pass", "the unit")

    def check(self, name: str, script: str, kind: str = "required") -> None:
        path = self.checks / kind / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)

    # ---- the guard

    def start(self, *, bus: bool = True, **environment: str) -> None:
        if bus and not self.bus:
            self.start_bus()
        self.guard = subprocess.Popen(
            [*self.wrapper, self.programs / "bf-guard",
             f"--runtime-dir={self.dir / 'run'}", f"--root={self.dir / 'root'}", "run"],
            stderr=subprocess.PIPE, text=True, env=self.environment | environment,
        )
        self.log = Reader(self.guard.stderr)
        self.until(lambda: self.ask("status").returncode == 0, "the guard")

    def kill_guard(self, how: int = signal.SIGKILL) -> None:
        self.guard.send_signal(how)
        self.guard.wait(10)

    def ask(self, *words: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
        command = [self.programs / "bf-guard", f"--runtime-dir={self.dir / 'run'}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, user=uid, group=uid,
                              env=self.environment)

    def beat(self, *words: str, uid: int = 0) -> None:
        assert self.ask("beat", *words, uid=uid).returncode == 0

    def beats(self, *words: str) -> None:
        """One heartbeat, with the server's answer."""
        self.beat("READY=1", "X_BF_SERVER=1", *words)

    def status(self) -> dict:
        answer = self.ask("status", "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    # ---- waiting

    @staticmethod
    def until(holds: Callable[[], bool], what: str, timeout: float = 10.0) -> None:
        end = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.02)

    def until_phase(self, *phases: str, timeout: float = 15.0) -> dict:
        seen = {}

        def reached() -> bool:
            nonlocal seen
            seen = self.status()
            return seen["phase"] in phases

        try:
            self.until(reached, f"phase {phases}", timeout)
        except AssertionError:
            raise AssertionError(f"not {phases} but {seen}") from None
        return seen

    def asked(self) -> list[str]:
        """What was asked of the device, reads aside."""
        path = self.device / "log"
        return path.read_text().splitlines() if path.exists() else []

    def until_asked(self, line: str, timeout: float = 15.0) -> None:
        try:
            self.until(lambda: line in self.asked(), line, timeout)
        except AssertionError:
            raise AssertionError(f"{line!r} is not in {self.asked()}; the log: {self.log.lines}") from None

    def close(self) -> None:
        if self.guard and self.guard.poll() is None:
            self.guard.send_signal(signal.SIGCONT)
            self.guard.kill()
            self.guard.wait()
        self.stop_bus()
        assert not self.log or not [line for line in self.log.lines if "Sanitizer" in line or "runtime error" in line]
        shutil.rmtree(self.dir)
