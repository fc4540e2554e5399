# SPDX-License-Identifier: MIT
"""The units and scripts that bring a staged slot through a reboot. (In tests/vm/test_rauc.py the real
systemd runs them.)"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
HOOKS = TOP / "hooks"
SCRIPT = HOOKS / "systemd/bf-boot-shutdown"

# What "systemctl list-jobs" says in each kind of shutdown (systemd 257, shortened).
JOBS = [
    ("", None),
    ("""101 reboot.target start waiting
102 systemd-reboot.service start waiting
103 shutdown.target start waiting
110 bf-boot-reconcile.service stop running
111 bf-boot-arm.service start waiting
""", "shutdown reboot"),
    ("101 poweroff.target start waiting\n102 systemd-poweroff.service start waiting\n", "shutdown halt"),
    ("7 halt.target start waiting\n", "shutdown halt"),
    # Full reboots, both; see the drop-ins of their services.
    ("7 kexec.target start waiting\n8 systemd-kexec.service start waiting\n", "shutdown reboot"),
    ("7 soft-reboot.target start waiting\n8 bf-boot-reconcile.service stop running\n", "shutdown reboot"),
    # A person restarts the unit; something else is about to stop.
    ("7 bf-boot-reconcile.service restart running\n", None),
    ("7 reboot.target stop waiting\n", None),
    ("7 my-reboot.target start waiting\n9 reboot.target.mount start waiting\n", None),
]


def program(path: Path, text: str) -> Path:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("jobs, says", JOBS)
@pytest.mark.parametrize("shell", ["dash", "bash --posix"])
def test_kind_of_shutdown(tmp_path: Path, shell: str, jobs: str, says: str | None) -> None:
    (tmp_path / "jobs").write_text(jobs)
    env = {**os.environ,
           "BF_SYSTEMCTL": str(program(tmp_path / "systemctl", f'[ "$1" = list-jobs ] || exit 3\ncat {tmp_path}/jobs\n')),
           "BF_BOOT": str(program(tmp_path / "bf-boot", f'echo "$*" >>{tmp_path}/said\n'))}
    subprocess.run([*shell.split(), SCRIPT], env=env, check=True)
    said = tmp_path / "said"
    assert (said.read_text() if said.exists() else None) == (f"{says}\n" if says else None)


def test_failure_is_reported(tmp_path: Path) -> None:
    """systemd shows it; nothing is counted that was not."""
    env = {**os.environ,
           "BF_SYSTEMCTL": str(program(tmp_path / "systemctl", "echo 7 reboot.target start waiting\n")),
           "BF_BOOT": str(program(tmp_path / "bf-boot", "exit 4\n"))}
    assert subprocess.run([SCRIPT], env=env, check=False).returncode == 4


def test_units_are_sound(tmp_path: Path) -> None:
    """systemd's own check; it wants the programs to be there."""
    root = tmp_path / "root"
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in (HOOKS / "systemd").glob("bf-*.service"):
        text = unit.read_text()
        (units / unit.name).write_text(re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", text, flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
                           *map(str, sorted(units.iterdir()))], capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if "bf-" in line]
    assert done.returncode == 0 and ours == [], done.stderr


def settings(name: str) -> list[str]:
    return (HOOKS / "systemd" / name).read_text().splitlines()


def test_the_count_comes_before_the_unmount() -> None:
    unit = settings("bf-boot-reconcile.service")
    assert "RequiresMountsFor=/data" in unit and "RemainAfterExit=yes" in unit
    assert "Conflicts=shutdown.target" in unit and "Before=shutdown.target" in unit, "it must be stopped by a shutdown"
    assert "ExecStop=/usr/lib/betterframe/bf-boot-shutdown" in unit


def test_the_argument_is_written_after_everything() -> None:
    unit = settings("bf-boot-arm.service")
    for line in ("DefaultDependencies=no", "WantedBy=reboot.target soft-reboot.target kexec.target",
                 "Before=systemd-reboot.service systemd-soft-reboot.service systemd-kexec.service",
                 "ConditionPathExists=/run/bf/armed"):
        assert line in unit


def test_a_reboot_that_hangs_is_ended_in_order() -> None:
    """By bf-boot, which keeps the argument; then by systemd; all of it within five minutes."""
    unit = settings("bf-boot-end.service")
    assert "DefaultDependencies=no" in unit and not any(line.startswith(("Conflicts=", "Before=", "After=")) for line in unit)
    mine = int(re.search(r"^ExecStart=@\S+ @bf-boot end (\d+)$", "\n".join(unit), re.M)[1])
    for target in ("reboot", "soft-reboot", "kexec", "poweroff", "halt"):
        text = "\n".join(settings(f"{target}.target.d/50-bf.conf"))
        limit, action = re.search(r"^JobTimeoutSec=(\d+)s\nJobTimeoutAction=(\S+)$", text, re.M).groups()
        off = target in ("poweroff", "halt")
        assert action == ("poweroff-immediate" if off else "reboot-force")
        assert (0 if off else mine) < int(limit) <= 300 - 15
    watchdog = re.search(r"^RebootWatchdogSec=(\d+)s$", "\n".join(settings("system.conf.d/50-bf.conf")), re.M)
    grace = re.search(r"#define END_SEC (\d+)", (TOP / "boot/tool/reconcile.c").read_text())
    assert int(grace[1]) < int(watchdog[1])


def test_the_doctor_looks_where_the_units_are_enabled() -> None:
    """A unit that moves to another target must not be called "not enabled" on every device."""
    text = (TOP / "boot/tool/doctor-system.c").read_text()
    table = text.split("void doctor_units")[1].split("rows[] = {")[1].split("\n\t};")[0]
    rows = re.findall(r'\{ "(bf-[a-z-]+\.service)",\s*\{([^}]*)\}', table)
    assert [unit for unit, _ in rows] == re.findall(r'"(bf-[^"]+)"', table) and len(rows) >= 3
    for unit, targets in rows:
        wanted = [line.split("=")[1].split() for line in settings(unit) if line.startswith("WantedBy=")]
        assert sorted(re.findall(r'"(.+?)"', targets)) == sorted(sum(wanted, [])), unit
