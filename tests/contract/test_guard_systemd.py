# SPDX-License-Identifier: MIT
"""bf-guard's check scripts in units of a real systemd: in namespaces of its own, with a bus and nothing else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardlab import BUS_CONFIG, Lab

UNITS = {
    "all.target": "[Unit]\nDefaultDependencies=no\nWants=dbus.service\n",
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream={socket}\n",
    "dbus.service": "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n"
                    "ExecStart=/usr/bin/dbus-daemon --config-file={bus} --address=systemd: --nofork --nopidfile "
                    "--systemd-activation\n",
    "sysinit.target": "[Unit]\nDefaultDependencies=no\n",
    "basic.target": "[Unit]\nDefaultDependencies=no\n",
    "shutdown.target": "[Unit]\nDefaultDependencies=no\n",
}
# It takes itself for a container's, and leaves alone what is not in its namespaces.
START = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/dbus
ln -s {socket} /run/dbus/system_bus_socket
umount -R /sys/fs/cgroup || :
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=other SYSTEMD_UNIT_PATH={units}
exec /usr/lib/systemd/systemd --system --unit=all.target --show-status=no --log-target=console --log-level=warning
"""


class SystemdLab(Lab):
    def start_bus(self) -> None:
        units, bus = self.dir / "units", self.dir / "bus.conf"
        units.mkdir()
        bus.write_text(BUS_CONFIG.format(socket=self.socket, services=self.dir / "services"))
        for name, text in UNITS.items():
            (units / name).write_text(text.format(socket=self.socket, bus=bus))
        self.bus = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--cgroup",
                                     "--uts", "--ipc", "--net", "/bin/sh", "-c",
                                     START.format(socket=self.socket, units=units)], env={"PATH": "/usr/sbin:/usr/bin"})
        self.until(self.has_systemd, "systemd", timeout=60)
        inside = Path(f"/proc/{self.bus.pid}/task/{self.bus.pid}/children").read_text().split()[0]
        # systemd-run looks for /run/systemd, and for itself in /proc.
        self.wrapper = ["nsenter", f"--target={inside}", "--mount", "--pid", "--"]

    def has_systemd(self) -> bool:
        done = subprocess.run(["busctl", f"--address=unix:path={self.socket}", "call", "org.freedesktop.systemd1",
                               "/org/freedesktop/systemd1", "org.freedesktop.DBus.Peer", "Ping"], capture_output=True)
        return done.returncode == 0


@pytest.fixture
def one(programs: Path) -> Iterator[Lab]:
    lab = SystemdLab(programs, "trial committable reached", extra="[checks]\ntimeout=8\n")
    yield lab
    lab.close()


STILL_RUNNING = "it was still running after 8 s; does it wait for the boot to finish, which waits for the guard?"
SCRIPTS = {
    "passes": ("echo well", "it passed"),
    "no-line-feed": ("printf x; exit 1", 'exit status 1 ("x")'),
    "fails": ("echo 'no such thing' >&2; exit 3", 'exit status 3 ("no such thing")'),
    "not-now": ("exit 75", "not now, exit status 75"),
    "not-here": ("exit 77", "it does not apply, exit status 77"),
    "is-ended": ("echo almost; kill -TERM $$", 'killed by SIGTERM ("almost")'),
    "is-killed": ("kill -KILL $$", "killed by SIGKILL"),
    "hangs": ("exec sleep 1000", STILL_RUNNING),
    "ignores": ("trap '' TERM; while :; do sleep 1; done", STILL_RUNNING),
    "ends-when-told": ("trap 'exit 0' TERM; while :; do sleep 0.1; done", STILL_RUNNING),
    # What it has left behind was ended, not it.
    "leaves-some": ("(trap '' TERM; exec sleep 1000) & exit 0", "it passed"),
    "prints": ("head -c 3000000 /dev/zero | tr '\\0' x; exit 4", f'exit status 4 ("{"x" * 120}")'),
    "pretends": ("echo bf-guard: ended success exited 0; exit 5", 'exit status 5 ("bf-guard: ended success exited 0")'),
}


def test_what_systemd_says_of_scripts(one: Lab) -> None:
    """What systemd-run returns is another matter: 0 for SIGTERM, 1 for a script that left something behind."""
    for name, (script, _) in SCRIPTS.items():
        one.check(name, script + "\n", kind="wanted")
    one.start(INVOCATION_ID="1")
    expected = {name: answer for name, (_, answer) in SCRIPTS.items()}
    said: dict[str, str] = {}

    def all_said() -> bool:
        nonlocal said
        said = {row["name"]: row["answer"] for row in one.status()["scripts"]}
        return said == expected

    try:
        one.until(all_said, "the answers", timeout=90)
    except AssertionError:
        raise AssertionError({name: (said.get(name), expected[name]) for name in expected
                              if said.get(name) != expected[name]}) from None
