"""bf-guard with the real kernel, systemd, D-Bus and RAUC: what it makes of each way in which a kiosk, a server or
the system around it can fail, in a trial and after the commit.

Most of these go on from a boot that was put aside (guarded.py): some seconds each, mostly waiting.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

import guarded
from artifacts import Artifacts
from diskimage import DiskImage
from guarded import PLAIN, WATCHDOG, Guarded
from server import Server



def rare(*values: object) -> object:
    """Another of its kind is in `make check`."""
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.fixture
def go_on(artifacts: Artifacts, console_log: Path, tmp_path: Path) -> Iterator[Callable[[bool], Guarded]]:
    with contextlib.ExitStack() as stack:
        def make(trial: bool) -> Guarded:
            work = artifacts.vm / "run" / f"guard-{tmp_path.parent.name}-{tmp_path.name}"
            stack.callback(shutil.rmtree, work, ignore_errors=True)
            frozen = guarded.frozen(artifacts, trial, work, console_log)
            server = stack.enter_context(Server(work / "www"))
            return Guarded(*frozen.go_on(artifacts, work, console_log, server.port, stack), server)

        yield make


@pytest.fixture
def trial(go_on: Callable[[bool], Guarded]) -> Guarded:
    """Slot B on trial; the server answered before the update."""
    box = go_on(True)
    box.baseline("reached")
    return box


@pytest.fixture
def committed(go_on: Callable[[bool], Guarded]) -> Guarded:
    """Slot A, committed, in the probation of its update; it has been rebooted twice for its kiosk. B is good."""
    box = go_on(False)
    box.record_in_guest(probation="yes", ladder="2", hash_A="aa" * 32)
    return box


# ---- a trial

def test_a_kiosk_that_lives_is_committed(trial: Guarded) -> None:
    trial.start()
    trial.confirmed()


def forged(box: Guarded, word: str) -> None:
    """Somebody else beats for a kiosk that runs, again and again, and the guard takes none of it: another account does
    not get that far."""
    until, now = time.monotonic() + guarded.GUEST_SEC, box.status()
    outside = word == "other-user"
    while now["heartbeats-refused"] < (0 if outside else 2) or now["checks"]["unit"]["verdict"] != "pass":
        assert time.monotonic() < until, f"nothing was forged: {now}"
        now = box.status()
    if outside:
        box.in_the_end("journalctl --sync; journalctl -b -o cat --no-pager | grep 'forging as .*: socket Permission denied'")
    assert now["heartbeats"] == 0 and now["kiosk-status"] is None
    assert now["checks"]["heartbeat"]["verdict"] == "fail"


@pytest.mark.parametrize("word, reason", [
    rare("never-starts", "kiosk-never-started"),
    rare("dies:6", "kiosk-not-alive"),
    ("loop:1", "kiosk-restarts"),
    rare("silent", "kiosk-silent"),
    ("refused", "server-silent"),
    ("hangs:3", "kiosk-silent"),
    rare("other-user", "kiosk-silent"),
    ("other-unit", "kiosk-silent"),
])
def test_a_kiosk_that_fails_is_rejected(trial: Guarded, word: str, reason: str) -> None:
    trial.hurry()
    trial.configure(trial={"window": "30s"})
    if reason == "kiosk-restarts":
        trial.configure(committed={"recovery": "{60}s"})
    trial.switch(word)
    trial.start()
    if word.startswith("other-"):
        forged(trial, word)
    trial.rejected(reason)


def test_a_kiosk_that_hangs_after_a_restart_is_rejected(trial: Guarded) -> None:
    """What it said before it crashed was taken for a sign of the one that hangs: it was committed."""
    trial.hurry()
    trial.configure(trial={"window": "30s"})
    trial.start()
    trial.until("window")
    trial.switch("hangs:3")
    trial.ok("systemctl kill -s KILL bf-kiosk")
    trial.in_the_end("bf-guard status --json | grep -q '\"unit-restarts\": *1'")
    trial.rejected("kiosk-silent")


@pytest.mark.long
def test_a_kiosk_that_eats_the_memory_is_rejected(trial: Guarded) -> None:
    """The guard outlives it, and the kernel kills the right one."""
    trial.configure(trial={"window": "90s"}, kiosk={"crashes": "1"})
    trial.switch("memory:400")
    trial.start()
    trial.rejected("kiosk-restarts")


@pytest.mark.parametrize("word", [rare("late:15"), "flood:1000"])
def test_a_kiosk_that_is_only_odd_is_committed(trial: Guarded, word: str) -> None:
    trial.switch(word)
    trial.start()
    trial.confirmed()


# ---- the server

@pytest.mark.long
def test_a_server_that_was_gone_before_too_does_not_matter(trial: Guarded) -> None:
    trial.baseline("silent")
    trial.server.stop()
    trial.start()
    trial.confirmed()


def test_a_server_that_goes_away_with_the_update_matters(trial: Guarded) -> None:
    trial.hurry()
    trial.server.stop()
    trial.start()
    trial.rejected("server-silent")


@pytest.mark.long
def test_a_server_that_comes_late_is_waited_for(trial: Guarded) -> None:
    trial.server.stop()
    trial.start()
    trial.until("waiting")
    trial.server.start()
    trial.confirmed()


def test_a_cable_that_is_pulled_blames_nobody(trial: Guarded) -> None:
    """The way out is gone with it; the trial ends undecided, to be repeated."""
    trial.hurry()
    trial.run.machine.link(False)
    trial.ok("while awk '$2 == \"00000000\" { exit 1 }' /proc/net/route; [ $? = 1 ]; do sleep 0.2; done")
    trial.start()
    record = trial.ends(PLAIN)
    assert (record["committed"], record["staged"], record["trial_reason"]) == ("A", "B", "-")
    assert record["state.B"] == "unknown" and record["refused.0"] == "-"


# ---- the clock

def test_a_clock_that_jumps_changes_nothing(trial: Guarded) -> None:
    trial.ok("date -s '1970-01-02 00:00:00'")
    trial.configure(trial={"window": "30s"})
    trial.start()
    before, since = trial.uptime(), trial.until("window")["since-sec"]
    trial.ok("date -s '2027-06-01 00:00:00'")
    now = trial.status()
    assert now["phase"] == "window" and now["since-sec"] - since <= trial.uptime() - before + 1
    trial.confirmed()


def test_a_system_that_slept_was_not_watched(trial: Guarded) -> None:
    """For longer than the guard itself may be late: the window begins anew. The beats would be fresh enough."""
    trial.configure(trial={"window": "120s"}, heartbeat={"max-age": "55s"})
    # Nobody feeds the hardware watchdog meanwhile.
    trial.hardware_watchdog(300)
    trial.start()
    trial.until("window")
    before = trial.uptime()
    trial.ok("rtcwake -m freeze -s 45")
    assert trial.uptime() - before > 43, "it did not sleep"
    assert trial.status()["phase"] in ("collecting", "window")
    assert trial.until("window")["left-sec"] > 120 - 43
    assert trial.cut()["committed"] == "A"


# ---- check scripts

# What each does, and how many processes named "sleep 1000" it has at most.
BAD_SCRIPTS = {
    "hangs": ("exec sleep 1000", 1),
    "ignores-term": ("trap '' TERM; while :; do sleep 1000; done", 1),
    "forks": ("(trap '' TERM; setsid sleep 1000) & (sleep 1000) & exit 1", 2),
    "prints": ("head -c 10000000 /dev/zero | tr '\\\\0' x; exit 1", 0),
    "is-killed": ("kill -TERM $$", 0),
}


@pytest.mark.parametrize("name", [name if name == "ignores-term" else rare(name) for name in BAD_SCRIPTS])
def test_a_check_that_fails_badly_rejects(trial: Guarded, name: str) -> None:
    script, limit = BAD_SCRIPTS[name]
    trial.hurry()
    trial.configure(checks={"timeout": "3s"})
    if limit:
        trial.configure(committed={"recovery": "{60}s"})    # for a second run
    trial.write(f"/etc/bf-guard/check.d/required/{name}", f"#!/bin/sh\necho >>/run/started\n{script}\n", "0755")
    trial.start()
    trial.in_the_end("bf-guard status | grep -q '^scripts *fail'")
    if limit:
        # All of it is gone before it is started again, at a tick in ten seconds, whatever it left running.
        trial.ok("(n=0; until [ $n -ge 4 ]; do [ $(wc -l </run/started) -lt 2 ] || n=$((n + 1)); sleep 0.3; "
                 f"[ $(pgrep -fc 'sleep 1000$') -le {limit} ] || exit 1; done)")
    trial.rejected("check-failed")


def test_existing_checks_run_unchanged(trial: Guarded) -> None:
    """As for greenboot: they write where they like, ask systemd, and use the network."""
    trial.configure(checks={"timeout": "30s"})
    trial.write("/etc/bf-guard/check.d/required/10-all.sh", "#!/bin/bash\nset -e\nsystemctl is-active bf-kiosk\n"
                "echo x >/var/tmp/check\nexec 3<>/dev/tcp/10.0.2.100/80\n", "0755")
    trial.write("/etc/bf-guard/check.d/wanted/20-never.sh", "#!/bin/sh\nexit 1\n", "0755")
    trial.start()
    trial.confirmed()


# ---- RAUC, D-Bus, systemd

def backend(box: Guarded, script: str) -> None:
    """RAUC calls this instead of bf-boot."""
    box.write("/etc/backend", f"#!/bin/sh\n{script}\n", "0755")
    box.ok("sed -i 's,^bootloader-custom-backend=.*,bootloader-custom-backend=/etc/backend,' /etc/rauc/system.conf && "
           "grep -q /etc/backend /etc/rauc/system.conf && systemctl restart rauc")


@pytest.mark.long
def test_rauc_that_was_stopped_is_started(trial: Guarded) -> None:
    trial.ok("systemctl stop rauc")
    trial.start()
    trial.confirmed()


def test_rauc_that_is_gone_means_no_commit(trial: Guarded) -> None:
    trial.configure(trial={"commit-timeout": "10s"})
    trial.ok("systemctl stop rauc && systemctl mask --runtime rauc")
    trial.start()
    trial.rejected("commit-failed")


@pytest.mark.long
def test_rauc_that_is_slow_is_waited_for(trial: Guarded) -> None:
    """And not asked a second time."""
    backend(trial, 'case $1 in set-state) echo "$@" >>/run/marks; sleep 40;; esac; exec bf-boot "$@"')
    trial.start()
    trial.until("committing", "reading-back")
    trial.ok("until pgrep -f 'backend set-state'; do sleep 0.2; done")
    trial.until("probation", "committed")
    trial.ok("! pgrep -f 'backend set-state'")
    assert trial.ok("cat /run/marks") == "set-state B good"
    trial.confirmed()


@pytest.mark.long
def test_an_error_after_the_commit_is_looked_behind(trial: Guarded) -> None:
    backend(trial, 'case $1 in set-state) bf-boot "$@"; exit 1;; esac; exec bf-boot "$@"')
    trial.start()
    trial.confirmed()


def test_a_commit_that_is_only_said_is_not_believed(trial: Guarded) -> None:
    trial.configure(trial={"commit-timeout": "10s"})
    backend(trial, 'case $1 in set-state) exit 0;; esac; exec bf-boot "$@"')
    trial.start()
    trial.rejected("commit-failed")


def test_dbus_dies_in_the_window(trial: Guarded) -> None:
    trial.configure(trial={"window": "20s"})
    trial.start()
    trial.until("window")
    trial.ok("systemctl kill --signal=KILL dbus.service; systemctl reset-failed; systemctl restart dbus.socket dbus.service")
    trial.confirmed()


@pytest.mark.long
def test_systemd_executes_itself_anew_in_the_window(trial: Guarded) -> None:
    """Emulated, it says nothing for half a minute."""
    trial.configure(trial={"window": "20s"})
    trial.start()
    trial.until("window")
    trial.ok("systemctl daemon-reexec")
    trial.confirmed()


def test_the_emergency_mode_is_left(trial: Guarded) -> None:
    """A mount fails: nothing of the system starts, systemd feeds the watchdog and waits for a person."""
    # A second trial would have twice the time.
    trial.record_in_guest(trials="0")
    trial.cut()
    trial.boot_again(tryboot=True, append="systemd.mount-extra=none:/mnt:nosuchfs")
    trial.rejected("kiosk-silent")
    assert re.search("Reached target.*emergency.target", trial.run.console)
    assert not re.search("(Reached target.*sysinit.target|bf-kiosk.service)", trial.run.console)


def test_a_reboot_needs_no_dbus(trial: Guarded) -> None:
    trial.hurry()
    trial.switch("silent")
    trial.ok("systemctl mask --runtime dbus.service dbus.socket")
    trial.start()
    trial.ok("sleep 3; systemctl kill --signal=KILL dbus.service")
    record = trial.ends(PLAIN)
    assert record["committed"] == "A" and record["state.B"] != "good"


# ---- the guard itself

@pytest.mark.parametrize("phase", [rare("window"), rare("waiting"), "committing"])
def test_a_guard_that_is_killed_begins_again(trial: Guarded, phase: str) -> None:
    if phase == "window":
        trial.configure(trial={"window": "20s"})
    if phase == "waiting":
        trial.server.stop()
    if phase == "committing":
        backend(trial, 'case $1 in set-state) sleep 15;; esac; exec bf-boot "$@"')
    trial.start()
    trial.until(phase)
    trial.ok("systemctl kill --signal=KILL bf-guard")
    if phase == "waiting":
        trial.server.start()
    trial.ok("sleep 1; until bf-guard status; do sleep 1; done")
    trial.confirmed()


@pytest.mark.long
def test_a_guard_that_is_stopped_is_replaced(trial: Guarded) -> None:
    """systemd's watchdog: 60 s."""
    trial.configure(trial={"window": "20s"})
    trial.start()
    trial.until("window")
    trial.ok("systemctl kill --signal=STOP bf-guard; n=$(systemctl show -P NRestarts bf-guard); "
             "while [ $(systemctl show -P NRestarts bf-guard) = $n ]; do sleep 1; done")
    trial.ok("until bf-guard status; do sleep 1; done")
    trial.confirmed()


@pytest.mark.parametrize("text", ["[trial\nwindow==\n\\x01\n", rare("")])
def test_a_guard_without_a_usable_configuration_is_careful(trial: Guarded, text: str) -> None:
    trial.ok("mkdir -p /etc/bf-guard.conf.d && ln -s /nowhere /etc/bf-guard.conf.d/50-bf-kiosk.conf")
    trial.write("/etc/bf-guard.conf", "[kiosk]\nunit=bf-kiosk.service\n" + text)
    trial.write("/etc/bf-kiosk.env", guarded.KIOSK)
    trial.ok("systemctl start bf-guard bf-kiosk")
    now = trial.until("window")
    assert now["left-sec"] > 30, "the default window is a minute"
    if text:
        assert now["config-warnings"] > 0
    trial.confirmed()


# ---- a person, the power, the disk

def test_a_person_who_reboots_has_not_rejected_it(trial: Guarded) -> None:
    trial.configure(trial={"window": "60s"})
    trial.start()
    trial.until("window")
    trial.run.machine.send("reboot\n")
    record = trial.ends(PLAIN)
    assert (record["staged"], record["trials"], record["trial_reason"]) == ("B", "0", "-")
    assert record["state.B"] == "unknown"


@pytest.mark.parametrize("phase", [rare("collecting"), "window", rare("waiting")])
def test_a_power_cut_before_the_commit_is_no_verdict(trial: Guarded, phase: str) -> None:
    if phase == "waiting":
        trial.server.stop()
    if phase == "window":
        trial.configure(trial={"window": "60s"})
    trial.start_guard()
    if phase != "collecting":
        trial.start()
    trial.until(phase)
    record = trial.cut()
    assert (record["committed"], record["staged"], record["trials"], record["trial_reason"]) == ("A", "B", "1", "-")


def test_a_full_data_partition_is_no_obstacle(trial: Guarded) -> None:
    trial.ok("fallocate -l 100G /data/full 2>/dev/null || dd if=/dev/zero of=/data/full bs=1M 2>/dev/null || :; "
             "dd if=/dev/zero of=/data/full2 bs=4k 2>/dev/null || :; [ $(df --output=avail /data | tail -n1) -lt 100 ]")
    trial.start()
    trial.confirmed()


def test_a_data_partition_that_cannot_be_written_keeps_the_trial_undecided(trial: Guarded) -> None:
    trial.ok("sync; echo u >/proc/sysrq-trigger")
    trial.in_the_end("dmesg | grep -q 'Emergency Remount complete'")
    trial.start()
    trial.until("limbo")
    time.sleep(8)
    now = trial.status()
    assert now["phase"] == "limbo" and now["device"] == "BF_DATA cannot be written"
    record = trial.cut()
    assert (record["committed"], record["staged"]) == ("A", "B")


def test_a_trial_without_its_data_stays_undecided(trial: Guarded) -> None:
    """bf-init finds no file system, and e2fsck no trace of one: nothing that could be decided could be
    written down."""
    trial.cut()
    DiskImage(trial.device.disk.path).zero_partition("BF_DATA")
    trial.boot_again(tryboot=True)
    trial.logged_in()
    assert trial.shell.boot_file()["BF_DATA"] == "missing"
    trial.until("limbo")
    time.sleep(10)
    now = trial.status()
    assert (now["phase"], now["role"], now["confirmed"]) == ("limbo", "trial", False)
    assert {check["verdict"] for check in now["checks"].values()} == {"pass"}
    assert "BF_DATA" in now["device"]
    trial.ok("test ! -e /run/betterframe/rauc-confirmed")
    trial.device.cut(trial.run)
    assert trial.decides(2, False)


# ---- the committed slot

@pytest.mark.parametrize("word, reason", [
    rare("never-starts", "kiosk-never-started"),
    ("dies:6", "kiosk-not-alive"),
    rare("loop:1", "kiosk-restarts"),
    rare("memory:400", "kiosk-restarts"),
    ("silent", "kiosk-silent"),
    rare("hangs:3", "kiosk-silent"),
    rare("other-unit", "kiosk-silent"),
])
def test_a_kiosk_that_fails_after_the_commit_is_left(committed: Guarded, word: str, reason: str) -> None:
    committed.hurry()
    # One that lives for a while may not be taken for healthy meanwhile.
    committed.configure(committed={"probation": "1h", "settle": "1h"})
    if word.startswith("memory"):
        committed.configure(kiosk={"crashes": "1"})
    if reason == "kiosk-restarts":
        committed.configure(committed={"recovery": "{60}s" if word == "loop:1" else "{25}s", "patience": "30s"})
    if reason == "kiosk-silent":
        # Waited for twice: before the kiosk is restarted, and after.
        committed.configure(committed={"recovery": "{15}s"})
    committed.switch(word)
    committed.start()
    if word.startswith("other-"):
        forged(committed)
    committed.rung("fallback", reason)


def test_a_kiosk_that_stops_beating_is_restarted_first(committed: Guarded) -> None:
    committed.start()
    committed.until("probation")
    committed.ok("systemctl kill --signal=STOP bf-kiosk; n=$(systemctl show -P InvocationID bf-kiosk); "
                 "while [ $(systemctl show -P InvocationID bf-kiosk) = $n ]; do sleep 1; done")
    assert "restarted: " in committed.ok("journalctl --sync; journalctl -b -u bf-guard -o cat --no-pager")
    committed.until("committed")
    record = committed.cut()
    assert (record["committed"], record["staged"], record["last.phase"]) == ("A", "-", "settled")


def test_the_first_failures_only_reboot(committed: Guarded) -> None:
    committed.hurry()
    committed.record_in_guest(ladder="0")
    committed.switch("dies:2")
    committed.start()
    record = committed.ends(PLAIN)
    assert (record["committed"], record["staged"], record["ladder"], record["last.phase"]) == ("A", "-", "1", "clean")


def test_when_both_slots_are_bad_the_device_stays(committed: Guarded) -> None:
    committed.hurry()
    committed.record_in_guest(state_B="bad", proven_B="no")
    committed.switch("never-starts")
    committed.start()
    committed.until("staying")
    said = guarded.said_as_json(committed.ok("bf-boot status --json"))
    assert (said["committed"], said["staged"]) == ("A", None)
    assert "stays" in committed.ok("journalctl --sync; journalctl -b -u bf-guard -o cat --no-pager")
    # It heals when somebody mends the kiosk.
    committed.ok("rm /etc/bf-kiosk.switch; systemctl restart bf-kiosk")
    committed.until("probation", "committed")


@pytest.mark.parametrize("how", [rare("is-gone"), "refuses"])
def test_a_server_that_fails_after_the_commit_is_no_reason(committed: Guarded, how: str) -> None:
    """Longer than the patience with a kiosk that fails itself: nothing is restarted, the probation ends well."""
    ask = "systemctl show -P InvocationID bf-kiosk; systemctl show -P NRestarts bf-kiosk"
    # This kiosk renews its marker when the server has answered.
    committed.configure(heartbeat={"marker-proves": "server"})
    committed.start()
    committed.until("probation")
    committed.in_the_end("bf-guard status | grep -q '^server *pass'")
    before = committed.ok(ask)
    if how == "is-gone":
        committed.server.stop()
    else:
        committed.switch("refused")
    committed.ok("sleep 30; journalctl -b -u bf-kiosk -o cat --no-pager | grep 'server: '")
    now = committed.until("committed")
    assert now["reason"] is None and {check["verdict"] for check in now["checks"].values()} == {"pass"}
    assert committed.ok(ask) == before and before.split()[1] == "0"
    record = committed.cut()
    assert (record["committed"], record["staged"], record["last.phase"]) == ("A", "-", "settled")
    assert committed.decides(2, False)


@pytest.mark.long
def test_a_kiosk_that_fills_run_is_left(committed: Guarded) -> None:
    """Its directory is on the tmpfs that the other slot's trial is armed in."""
    committed.hurry()
    committed.switch("silent")
    committed.start()
    committed.ok("dd if=/dev/zero of=/run/betterframe/full bs=1M 2>/dev/null || :; "
                 "dd if=/dev/zero of=/run/betterframe/full2 bs=4k 2>/dev/null || :; "
                 "! sh -c 'echo x >/run/x' 2>/dev/null")
    committed.rung("fallback", "kiosk-silent")


def test_a_worn_out_card_ends_all_climbing(committed: Guarded) -> None:
    """No reboot, and no other slot, that cannot be counted, though the kiosk never lives and the other slot is good."""
    # The journal is clean, so that the file system can still be read.
    committed.ok("sync; echo u >/proc/sysrq-trigger")
    committed.in_the_end("dmesg | grep -q 'Emergency Remount complete'")
    before = committed.cut()
    assert (before["state.B"], before["ladder"]) == ("good", "2")
    committed.device.disk.read_only = True
    committed.boot_again(tryboot=False)
    committed.logged_in()
    assert committed.shell.boot_file()["BF_DATA"] == "readonly"
    committed.switch("never-starts")
    committed.ok("systemctl stop bf-kiosk")
    committed.configure(committed={"recovery": "5s"})
    committed.start_guard()
    committed.ok("systemctl start --no-block bf-kiosk")
    committed.until("staying")
    time.sleep(10)
    now = committed.status()
    assert (now["phase"], now["reason"]) == ("staying", "kiosk-never-started")
    assert "boot record cannot be written" in committed.ok("journalctl --sync; journalctl -b -u bf-guard -o cat --no-pager")
    assert committed.cut() == before
    assert committed.decides(2, False)


# ---- what the hardware watchdog is for

def test_a_dead_pid_1_in_a_trial_ends_in_a_reset(trial: Guarded) -> None:
    trial.configure(trial={"window": "600s"}, committed={"recovery": "600s"})
    trial.hardware_watchdog(60)
    trial.start()
    trial.until("window")
    trial.run.machine.send("kill -SEGV 1\n")
    record = trial.ends(WATCHDOG)
    assert (record["committed"], record["staged"], record["trials"]) == ("A", "B", "1")
    assert trial.decides(2, False)


@pytest.mark.long
def test_a_kernel_that_hangs_on_the_committed_slot_ends_in_a_reset(committed: Guarded) -> None:
    """Something of the kernel's own priority never lets go of the processor."""
    committed.hardware_watchdog(60)
    committed.start()
    committed.until("probation")
    # The kernel keeps a share of the processor for the others, in two ways.
    committed.ok("echo -1 >/proc/sys/kernel/sched_rt_runtime_us; mountpoint -q /sys/kernel/debug || "
                 "mount -t debugfs debugfs /sys/kernel/debug; echo 0 >/sys/kernel/debug/sched/fair_server/cpu0/runtime")
    committed.run.machine.send("exec chrt -f 99 sh -c 'while :; do :; done'\n")
    record = committed.ends(WATCHDOG)
    assert (record["committed"], record["staged"]) == ("A", "-")
    assert committed.decides(2, False)


# ---- what it costs

@pytest.mark.long
def test_what_the_guard_costs(committed: Guarded) -> None:
    """Printed; the limits are the promises of README."""
    committed.configure(committed={"probation": "1h", "settle": "1h"})
    committed.start()
    committed.until("probation")
    def sample() -> tuple[int, int, int]:
        text = committed.ok(ask)
        return (int(re.search(r"VmRSS:\s+(\d+)", text)[1]), int(re.search(r"^voluntary\w+:\s+(\d+)", text, re.M)[1]),
                int(text.split()[0]))

    # A kiosk that beats wakes it: its beats are not the guard's.
    committed.ok("sed -i s/BEAT=1/BEAT=3600/ /etc/bf-kiosk.env")
    committed.ok("cat >/etc/bf-guard.conf.d/95.conf <<<$'[heartbeat]\\nrequired=no'; systemctl restart bf-guard bf-kiosk")
    committed.until("probation")
    pid = committed.ok("systemctl show -P MainPID bf-guard")
    ask = f"cat /proc/{pid}/schedstat; grep -E 'ctxt|VmRSS' /proc/{pid}/status"
    committed.ok("sleep 5")
    _, before, cpu = sample()
    committed.ok("sleep 60")
    rss, after, cpu_after = sample()
    print(f"guard at rest: {rss} KiB, {after - before} wake-ups and {(cpu_after - cpu) / 1e6:.0f} ms (emulated) a minute")
    assert rss < 4096 and cpu_after - cpu < 0.5e9
    assert after - before <= 8, "one in ten seconds, and what the measuring itself causes"
