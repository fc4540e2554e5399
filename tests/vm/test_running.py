"""A person, or a program, asks systemd for another state of the system: in a trial of B, and on the committed
slot A with an update staged. What bf-init has mounted stays usable, or it is a full reboot; no slot is blamed.

All of these go on from the boots that were put aside for test_guard.py; the guard itself mostly does not run.
"""

from __future__ import annotations

import pytest

import bootrecord
from diskimage import DiskImage
from guarded import GUEST_SEC, PLAIN, TRYBOOT, Guarded, said_as_json
from machine import End
from test_guard import committed, go_on, trial  # noqa: F401 (fixtures)

MOUNTS = "findmnt --real -nlo TARGET,SOURCE,FSTYPE | sort"
# As logind asks for it. ("systemctl kexec" first wants kexec-tools, and a kernel to load.)
ASKED = "systemctl start --no-block --job-mode=replace-irreversibly {}"
SLOW_STOP_SEC = 60


@pytest.fixture(params=["trial", "committed"])
def box(request: pytest.FixtureRequest, go_on) -> Guarded:  # noqa: F811
    """B on trial, or A with B staged and armed."""
    made: Guarded = go_on(request.param == "trial")
    if request.param == "committed":
        made.record_in_guest(staged="B", state_B="unknown", attempts="0", trials="0", kind="update")
        made.ok("bf-boot reconcile; test -e /run/bf/armed")
    return made


def is_trial(box: Guarded) -> bool:
    return box.run.decision.tryboot


def assert_nobody_is_blamed(record: dict[str, str]) -> None:
    assert (record["committed"], record["staged"], record["state.B"]) == ("A", "B", "unknown"), record
    assert record["trial_reason"] == "-"
    assert not [entry for entry in bootrecord.history(record) if entry[0] in ("rejected", "given-up", "fallback", "failed")]


def goes_down(box: Guarded, command: str) -> None:
    """A full reboot: out of a trial, back to A, to be repeated; on A, into the trial, counted once."""
    box.run.machine.send(f"{command}\n")
    record = box.ends(PLAIN if is_trial(box) else TRYBOOT)
    assert_nobody_is_blamed(record)
    assert (record["trials"], record["attempts"]) == ("0", "1")
    assert box.decides(*((2, False) if is_trial(box) else (3, True)))


@pytest.mark.parametrize("command", ["systemctl soft-reboot", ASKED.format("kexec.target")], ids=["soft-reboot", "kexec"])
def test_what_passes_the_firmware_by_is_a_full_reboot(box: Guarded, command: str) -> None:
    goes_down(box, command)


@pytest.mark.parametrize("box", ["committed"], indirect=True)
def test_a_slow_shutdown_ends_as_asked(box: Guarded) -> None:
    """Longer than the watchdog waits: systemd feeds it while units stop, and the trial's argument gets through."""
    box.write("/run/systemd/system/slow.service",
              "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
              f"ExecStop=/bin/sleep {SLOW_STOP_SEC}\nTimeoutStopSec=600\n")
    box.ok("systemctl daemon-reload; systemctl start slow")
    # Half of the time that the service takes; less, and a busy host lets it bite.
    for name in ("Runtime", "Reboot"):
        box.ok("busctl set-property org.freedesktop.systemd1 /org/freedesktop/systemd1 "
               f"org.freedesktop.systemd1.Manager {name}WatchdogUSec t {SLOW_STOP_SEC // 2}000000")
    before = box.uptime()
    goes_down(box, "systemctl reboot")
    after = box.run.machine.console.rsplit("Restarting system", 1)[0].rsplit("[", 1)[1]
    assert float(after.split("]")[0]) - before > SLOW_STOP_SEC, "the service was not waited for"


# Not in the shell, which does not live so long.
ISOLATE = """
exec 2>/data/said
{mounts} >/data/before
systemctl isolate {target}.target
{mounts} >/data/after
echo $(systemctl is-active multi-user.target {target}.target) >/data/state
touch /etc/x /var/lib/x /home/x /data/x && echo written >>/data/state
systemctl reboot
"""


# The emergency mode stops more.
@pytest.mark.parametrize("target", [pytest.param("rescue", marks=pytest.mark.long), "emergency"])
def test_the_rescue_mode_keeps_what_is_mounted(box: Guarded, target: str) -> None:
    """And a reboot from there counts as any other."""
    box.write("/run/probe", ISOLATE.format(target=target, mounts=MOUNTS))
    box.write("/run/systemd/system/probe.service", "[Unit]\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n"
              "[Service]\nType=oneshot\nExecStart=/bin/sh /run/probe\n")
    # Its shell would wait for somebody who types, on this console.
    box.write(f"/run/systemd/system/{target}.service.d/90-test.conf",
              "[Service]\nExecStartPre=\nExecStart=\nExecStart=/bin/sleep infinity\nStandardInput=null\n")
    # Here nobody is to end it before.
    box.ok("systemctl daemon-reload; systemctl mask --runtime bf-guard")
    goes_down(box, "systemctl start --no-block probe")
    disk = DiskImage(box.device.disk.path)
    before, after, state = (disk.debugfs("BF_DATA", f"cat /{name}", write=False) for name in ("before", "after", "state"))
    assert "/home" in before and after == before
    assert state.splitlines()[-2:] == ["inactive active", "written"]


@pytest.mark.parametrize("command", ["systemctl poweroff", pytest.param("halt", marks=pytest.mark.long)])
def test_what_stops_here_is_no_verdict(box: Guarded, command: str) -> None:
    """The update is tried later; nothing of it is lost."""
    assert "disabled" in box.shell("systemctl suspend 2>&1")[1], "it slept"
    box.run.machine.send(f"{command}\n")
    if command == "halt":
        box.run.machine.wait("reboot: System halted", GUEST_SEC)
        record = box.cut()
    else:
        record = box.ends(End("poweroff"))
    assert_nobody_is_blamed(record)
    assert (record["trials"], record["attempts"]) == (("0", "1") if is_trial(box) else ("0", "0"))
    assert box.decides(2, False)


@pytest.mark.parametrize("force", ["--force", pytest.param("--force --force", marks=pytest.mark.long)],
                         ids=["once", "twice"])
def test_a_forced_reboot_is_no_verdict(box: Guarded, force: str) -> None:
    """No unit is stopped, so nobody counts anything: the staged slot is not tried, and stays staged."""
    box.run.machine.send(f"systemctl reboot {force}\n")
    record = box.ends(PLAIN)
    assert_nobody_is_blamed(record)
    assert (record["trials"], record["attempts"]) == (("1", "1") if is_trial(box) else ("0", "0"))
    assert box.decides(2, False)


@pytest.mark.parametrize("box", ["committed"], indirect=True)
def test_a_trial_is_counted_when_its_reboot_begins(box: Guarded) -> None:
    """Somebody holds the reboot up: refused, with who it is, and nothing counted. Then it begins."""
    box.ok("systemd-run --quiet --unit=hold systemd-inhibit --what=shutdown --who=baker --why=oven --mode=block "
           "sleep infinity; until systemd-inhibit --list | grep -q baker; do sleep 0.2; done")
    status, said = box.shell("bf-boot try 2>&1")
    assert status == 1 and "nothing was counted" in said, said
    assert said_as_json(box.ok("bf-boot status --json"))["attempts"] == 0
    box.ok("test ! -e /run/systemd/reboot-param; systemctl stop hold")
    goes_down(box, "bf-boot try")


# ---- a shutdown that hangs

# Nothing can kill who writes to a file system that is frozen.
FROZEN = ("truncate -s 16M /run/frozen; mkfs.ext4 -q /run/frozen; mount -o loop /run/frozen /mnt; "
          "fsfreeze --freeze /mnt; systemd-run --quiet --unit=hung touch /mnt/x; ")
HANGS = {
    # It goes on in systemd-shutdown, which waits for it longer than the watchdog does.
    "ignores-term": "systemd-run --quiet --unit=hung -p SendSIGKILL=no -p TimeoutStopSec=5 "
                    "sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done'",
    "D-state": FROZEN + "until grep -q 'State:.D' /proc/$(systemctl show -P MainPID hung)/status; do sleep 0.2; done",
}
LIMIT_SEC = 40


def hurry_up(box: Guarded, kind: str, dbus: bool) -> None:
    """Something hangs; the limits are shorter, in the same order. The watchdog, which would lose the argument,
    gets more time, as the host may be busy; less still than systemd waits for what it cannot kill."""
    box.ok("busctl set-property org.freedesktop.systemd1 /org/freedesktop/systemd1 "
           "org.freedesktop.systemd1.Manager RebootWatchdogUSec t 40000000")
    box.write("/run/systemd/system/bf-boot-end.service.d/90-test.conf",
              f"[Service]\nExecStart=\nExecStart=@/usr/sbin/bf-boot @bf-boot end {LIMIT_SEC}\n")
    box.ok("systemctl daemon-reload; " + HANGS[kind])
    if not dbus:
        box.ok("systemctl mask --runtime dbus.service dbus.socket; systemctl kill --signal=KILL dbus.service")


def ended_in_time(box: Guarded, asked: float) -> None:
    """By the reboot, not by a reset."""
    after = box.run.machine.console.rsplit("reboot: Restarting system", 1)[0].rsplit("[", 1)[1]
    assert float(after.split("]")[0]) - asked < LIMIT_SEC + 20


@pytest.mark.parametrize("kind, dbus", [("ignores-term", False), ("D-state", True),
                                        pytest.param("ignores-term", True, marks=pytest.mark.long),
                                        pytest.param("D-state", False, marks=pytest.mark.long)])
@pytest.mark.parametrize("box", ["committed"], indirect=True)
def test_a_shutdown_that_hangs_still_begins_the_trial(box: Guarded, kind: str, dbus: bool) -> None:
    hurry_up(box, kind, dbus)
    asked = box.uptime()
    goes_down(box, "systemctl reboot")
    ended_in_time(box, asked)


@pytest.mark.parametrize("kind, dbus", [("ignores-term", True), pytest.param("D-state", False, marks=pytest.mark.long)])
def test_a_rejected_trial_is_left_whatever_hangs(trial: Guarded, kind: str, dbus: bool) -> None:  # noqa: F811
    hurry_up(trial, kind, dbus)
    trial.hurry()
    trial.switch("silent")
    trial.start()
    trial.rejected("kiosk-silent")


@pytest.mark.long
@pytest.mark.parametrize("box", ["committed"], indirect=True)
def test_a_poweroff_that_hangs_ends(box: Guarded) -> None:
    box.ok(HANGS["D-state"])
    box.write("/run/systemd/system/poweroff.target.d/90-test.conf", f"[Unit]\nJobTimeoutSec={LIMIT_SEC}\n")
    box.ok("systemctl daemon-reload")
    box.run.machine.send("systemctl poweroff\n")
    assert_nobody_is_blamed(box.ends(End("poweroff")))


@pytest.mark.long
@pytest.mark.parametrize("box", ["committed"], indirect=True)
def test_a_shutdown_that_hangs_ends_within_five_minutes(box: Guarded) -> None:
    """With the limits as they are shipped."""
    box.ok(HANGS["D-state"])
    asked = box.uptime()
    goes_down(box, "systemctl reboot")
    after = box.run.machine.console.rsplit("reboot: Restarting system", 1)[0].rsplit("[", 1)[1]
    assert float(after.split("]")[0]) - asked < 300
