# SPDX-License-Identifier: MIT
"""RAUC's own service on a private bus, with files as slots and a backend that is ours to choose."""

from __future__ import annotations

import os
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
POLICY = TOP / "hooks/rauc/de.pengutronix.rauc.conf"
SYSTEM_CONF = TOP / "hooks/rauc/system.conf"
NAME, PATH, INTERFACE = "de.pengutronix.rauc", "/", "de.pengutronix.rauc.Installer"
SLOTS = ("BF_ROOT_A", "BF_BOOT_A", "BF_ROOT_B", "BF_BOOT_B")

# What Debian's rauc-service ships: everybody may do everything.
DEBIAN_POLICY = """<busconfig>
  <policy context="default"><allow send_destination="de.pengutronix.rauc"/></policy>
  <policy user="root"><allow own="de.pengutronix.rauc"/></policy>
</busconfig>
"""
# What every system bus starts from: no calls, but answers.
BASE_POLICY = """
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
"""
NOBODY_ELSE = 4_000_000_000             # a user id that is not ours


@dataclass
class Bus:
    """A system bus of our own. `role`: whose place in the shipped policy the caller takes ("root",
    a member of "bf-update", or anybody else), so that no accounts are needed."""

    dir: Path
    role: str
    serve: bool = True                  # let the caller be RAUC, whatever its role
    process: subprocess.Popen[str] | None = None
    address: str = ""

    def start(self) -> "Bus":
        me = os.getuid()               # and our group, as root's
        policy = POLICY.read_text()
        for kind, name in (("user", "root"), ("group", "bf-update")):
            assert f'<policy {kind}="{name}">' in policy
            policy = policy.replace(f'{kind}="{name}"', f'{kind}="{me if name == self.role else NOBODY_ELSE}"')
        (self.dir / "debian.conf").write_text(DEBIAN_POLICY.replace('"root"', f'"{NOBODY_ELSE}"'))
        (self.dir / "ours.conf").write_text(policy)
        own = f'<policy context="mandatory"><allow own="{NAME}"/></policy>' if self.serve else ""
        (self.dir / "bus.conf").write_text(
            f"<busconfig><type>system</type><listen>unix:abstract=bf-test-{secrets.token_hex(8)}</listen>"
            f"<auth>EXTERNAL</auth>{BASE_POLICY}"
            f"<include>{self.dir}/debian.conf</include><include>{self.dir}/ours.conf</include>"
            f"{own}</busconfig>")
        self.process = subprocess.Popen(["dbus-daemon", f"--config-file={self.dir}/bus.conf", "--nofork",
                                         "--nopidfile", "--print-address"], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        assert self.address, "dbus-daemon did not start"
        return self

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}

    def call(self, member: str, signature: str = "", *arguments: str, interface: str = INTERFACE,
             name: str = NAME) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["busctl", f"--address={self.address}", "--timeout=20", "call", name, PATH, interface,
                               member, *([signature] if signature else []), *arguments],
                              capture_output=True, text=True, check=False)

    def has(self, name: str) -> bool:
        done = subprocess.run(["busctl", f"--address={self.address}", "call", "org.freedesktop.DBus", "/",
                               "org.freedesktop.DBus", "NameHasOwner", "s", name], capture_output=True, text=True,
                              check=False)
        return done.stdout.strip() == "b true"


@dataclass
class Rauc:
    """`rauc service` with the shipped system.conf, but for paths."""

    dir: Path
    bus: Bus
    backend: Path
    keyring: Path
    booted: str = "A"
    replace: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Rauc":
        text = SYSTEM_CONF.read_text()
        changes = {"/dev/disk/by-partlabel/": f"{self.dir}/", "/usr/sbin/bf-boot": str(self.backend),
                   "/etc/rauc/keyring.pem": str(self.keyring), "/var/lib/rauc": f"{self.dir}/data",
                   "/usr/lib/betterframe/": f"{TOP}/hooks/rauc/", **self.replace}
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (self.dir / "data").mkdir(exist_ok=True)
        (self.dir / "system.conf").write_text(text)
        for slot in SLOTS:
            (self.dir / slot).write_bytes(b"old " + slot.encode() + bytes(65536))
        with open(self.dir / "rauc.log", "wb") as log:
            self.process = subprocess.Popen(["rauc", f"--conf={self.dir}/system.conf", f"--mount={self.dir}/mnt",
                                             "service", f"--override-boot-slot={self.booted}"],
                                            env=self.bus.env, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while not self.bus.has(NAME):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self

    def log(self) -> str:
        return (self.dir / "rauc.log").read_text(errors="replace")

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()

    def cli(self, *argv: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["rauc", f"--conf={self.dir}/system.conf", *map(str, argv)], env=self.bus.env,
                              capture_output=True, text=True, check=False)

    def slots(self) -> dict[str, bytes]:
        return {slot: (self.dir / slot).read_bytes() for slot in SLOTS}


def recorder(where: Path) -> tuple[Path, Path]:
    """A backend that only writes down what it is asked, and its notes."""
    notes, program = where / "asked", where / "backend"
    notes.touch()
    program.write_text(f"""#!/bin/sh
echo "$*" >>{notes}
case $1 in
get-primary | get-current) echo A ;;
get-state) echo good ;;
esac
""")
    program.chmod(0o755)
    return program, notes


def changes(notes: Path) -> list[str]:
    return [line for line in notes.read_text().splitlines() if line.startswith("set-")]
