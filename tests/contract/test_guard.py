# SPDX-License-Identifier: MIT
"""bf-guard against a private D-Bus daemon: what it does in each situation, and what it must not do."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardlab import Lab, Reader

TOP = Path(__file__).resolve().parents[2]

STRANGER = 65534  # nobody
KIOSK = 12345


@pytest.fixture
def lab(programs: Path) -> Iterator[Callable[..., Lab]]:
    labs: list[Lab] = []

    def make(facts: str, **how) -> Lab:
        labs.append(Lab(programs, facts, **how))
        return labs[-1]

    yield make
    for one in labs:
        one.close()


# The trial's end is near: time for a kiosk to start, on a slow machine too.
UNHURRIED = "[committed]\nrecovery=6\n"


def trial(lab: Callable[..., Lab], **how) -> Lab:
    return lab("trial committable reached", **how)


# ---- a trial


def test_good_trial_is_committed(lab) -> None:
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("probation")
    one.calls.wait_for("rauc Mark good booted")
    one.until_asked("confirmed -")
    assert "reject" not in " ".join(one.asked())
    one.until_asked("settle -", timeout=20)
    assert one.until_phase("committed")["role"] == "committed"


def test_a_kiosk_that_starts_again_is_told_again(lab) -> None:
    """systemd takes its directory away between two invocations."""
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_asked("confirmed -")
    one.until_phase("probation")
    one.say("restart")
    one.until(lambda: one.asked().count("confirmed -") == 2, "the marker once more")


def test_window_is_not_shortened(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=3\n")
    one.start()
    begin = time.monotonic()
    one.kiosk_starts()
    one.beats()
    one.calls.wait_for("rauc Mark good booted")
    assert time.monotonic() - begin >= 3


def test_restart_breaks_the_window(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=6\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("window")
    time.sleep(1.5)
    begin = time.monotonic()
    one.say("restart")
    one.beats()
    one.calls.wait_for("rauc Mark good booted")
    assert time.monotonic() - begin >= 6


def test_kiosk_that_never_starts(lab) -> None:
    one = trial(lab, uptime=597)
    one.start()
    one.until_asked("reject kiosk-never-started")
    one.until_asked("save -")
    one.calls.wait_for("logind Reboot")
    assert one.asked().index("save -") < one.asked().index("reject kiosk-never-started")
    assert "prepare plain" in one.asked()
    assert not [line for line in one.calls.lines if "Mark" in line]


def test_kiosk_that_never_beats(lab) -> None:
    one = trial(lab, uptime=590, extra="[heartbeat]\nmarker-proves=local\n")
    one.start()
    one.kiosk_starts()
    one.until_asked("reject kiosk-silent")
    one.calls.wait_for("logind Reboot")


def test_kiosk_that_beats_only_through_the_server_gets_the_servers_time(lab) -> None:
    one = trial(lab, uptime=1797, extra="[server]\nnetwork-grace=2\n" + UNHURRIED)
    one.start()
    one.kiosk_starts()
    one.until_asked("reject kiosk-silent", timeout=20)


def test_no_network(lab) -> None:
    """Nor was there one before the update."""
    one = lab("trial committable silent", uptime=1796, extra=UNHURRIED)
    (one.device / "offline").touch()
    one.start()
    one.kiosk_starts()
    one.beat("READY=1")
    one.until_phase("probation", timeout=20)


def undecided(one: Lab, *words: str) -> None:
    one.start()
    one.kiosk_starts()
    if words:
        one.beat(*words)
    one.until_asked("abort -", timeout=20)
    one.calls.wait_for("logind Reboot")
    assert "reject" not in " ".join(one.asked()) and marks(one) == 0


def test_network_that_is_gone_after_the_update(lab) -> None:
    one = trial(lab, uptime=1796, extra=UNHURRIED)
    (one.device / "offline").touch()
    undecided(one, "READY=1")


def test_no_network_and_no_sign_of_life(lab) -> None:
    """Active, but nobody knows what it shows: the marker would come with the server's answer only."""
    one = lab("trial committable silent", uptime=1796, extra=UNHURRIED)
    (one.device / "offline").touch()
    undecided(one)


def test_restart_loop(lab) -> None:
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    for n in range(1, 5):
        one.until(lambda: one.status()["unit-restarts"] >= n - 1, "the restart before")
        one.say("active failed failed", "active activating auto-restart", "restart")
    one.until_asked("reject kiosk-restarts")


def test_failed_for_a_moment_is_no_verdict(lab) -> None:
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    one.beats()
    one.say("active failed failed", "active activating auto-restart", "restart")
    one.beats()
    one.until_phase("probation")


def test_failed_for_good_does_not_wait_for_the_deadline(lab) -> None:
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    one.say("result exit-code", "active failed failed")
    one.until_asked("reject kiosk-not-alive", timeout=25)


def test_heartbeats_that_stop(lab) -> None:
    one = trial(lab, uptime=590, extra="[trial]\nwindow=20\n[heartbeat]\nmax-age=5\n")
    one.start()
    one.kiosk_starts()
    one.beats("WATCHDOG=1")
    one.until_phase("window")
    one.until_asked("reject kiosk-silent")


def test_watchdog_of_the_unit_is_a_heartbeat(lab) -> None:
    one = trial(lab, extra="[server]\nrequired=no\n[heartbeat]\nmarker=\n")
    one.start()
    one.say("watchdog 3000000 0")
    one.kiosk_starts()
    assert one.until_phase("collecting")["checks"]["heartbeat"]["verdict"] == "fail"
    one.say("watchdog 3000000 1")
    one.until_phase("probation", timeout=20)


# ---- whose heartbeat


def test_heartbeat_of_somebody_else_is_refused(lab) -> None:
    account = pwd.getpwnam("daemon")
    one = trial(lab, extra=f"[heartbeat]\nmarker-proves=local\n[kiosk]\nuser={account.pw_name}\n")
    one.start()
    one.kiosk_starts()
    assert one.ask("beat", "READY=1", "X_BF_SERVER=1", uid=STRANGER).returncode == 3
    time.sleep(1.5)
    status = one.status()
    assert status["phase"] == "collecting" and status["heartbeats-refused"] == 0
    one.beat("READY=1", "X_BF_SERVER=1", uid=account.pw_uid)
    one.until_phase("probation")


def test_heartbeat_from_outside_the_unit_is_refused(lab) -> None:
    """The account is right. (The other half, from within it, takes a systemd: tests/vm/test_guard.py.)"""
    one = trial(lab, extra="[heartbeat]\nmarker-proves=local\n")
    one.start()
    one.say(f"uid {KIOSK}")
    one.kiosk_starts()
    one.beat("READY=1", "X_BF_SERVER=1", uid=KIOSK)
    time.sleep(1.5)
    status = one.status()
    assert status["phase"] == "collecting" and status["heartbeats-refused"] == 1


def test_beat_does_not_wait_for_a_guard_that_hangs(lab) -> None:
    one = trial(lab)
    one.start()
    one.guard.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    assert one.ask("beat").returncode == 3
    assert 5 < time.monotonic() - begin < 20
    one.guard.send_signal(signal.SIGCONT)
    # Its sender is gone: whose it was cannot be told any more.
    one.until(lambda: one.status()["heartbeats-refused"] == 1, "the heartbeat that was late")


def mark(one: Lab, uid: int, text: str = "ok\n") -> None:
    one.marker.write_text(text)
    os.chown(one.marker, uid, uid)


def test_marker_of_the_kiosk(lab) -> None:
    one = trial(lab)
    one.start()
    one.say(f"uid {KIOSK}")
    one.kiosk_starts()
    mark(one, KIOSK)
    one.until_phase("probation")


@pytest.mark.parametrize("kind", ["stranger", "empty", "link", "directory", "pipe", "other-disk"])
def test_marker_that_is_none(lab, kind: str, tmp_path: Path) -> None:
    extra = "[heartbeat]\nmarker-proves=local\n"
    elsewhere = tmp_path / "marker"
    one = trial(lab, extra=extra + (f"marker={elsewhere}\n" if kind == "other-disk" else ""))
    if kind == "other-disk":
        elsewhere.write_text("ok\n")
        if subprocess.run(["stat", "-f", "-c", "%T", elsewhere], capture_output=True, text=True).stdout == "tmpfs\n":
            pytest.fail("the temporary directory is a tmpfs: this test needs another one")
    elif kind == "stranger":
        mark(one, STRANGER)
    elif kind == "empty":
        mark(one, 0, "")
    elif kind == "link":
        (one.dir / "real").write_text("ok\n")
        one.marker.symlink_to(one.dir / "real")
    elif kind == "directory":
        one.marker.mkdir()
    elif kind == "pipe":
        os.mkfifo(one.marker)
    one.start()
    one.say(f"uid {KIOSK}")
    one.kiosk_starts()
    one.beat("X_BF_SERVER=1")
    time.sleep(2)
    assert one.status()["phase"] == "collecting"


def test_thousand_heartbeats_a_second(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=8\n[heartbeat]\nmax-age=10\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(str(one.dir / "run/notify"))
        s.setblocking(False)
        end, tried = time.monotonic() + 4.5, 0
        before = cpu_seconds(one.guard.pid)
        while time.monotonic() < end or tried < 4000:
            for _ in range(100):
                tried += 1
                with contextlib.suppress(BlockingIOError):  # the queue is full: the sender waits
                    s.send(b"WATCHDOG=1\nX_BF_SERVER=1")
            time.sleep(0.04)
    assert cpu_seconds(one.guard.pid) - before < 1.0
    one.until_phase("probation")


def test_datagrams_that_are_garbage(lab) -> None:
    one = trial(lab)
    one.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(str(one.dir / "run/notify"))
        for data in (b"\0" * 10, b"A" * 4097, b"WATCHDOG=1" + b"\n" * 5000, bytes(range(256)), b"="):
            s.send(data)
        with open("/dev/null") as null:
            socket.send_fds(s, [b"READY=nonsense"], [null.fileno()] * 4)
    one.until(lambda: one.status()["heartbeats-refused"] >= 6, "all refused")
    assert one.status()["heartbeats-refused"] == 6
    assert len(list(Path(f"/proc/{one.guard.pid}/fd").iterdir())) < 24


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- scripts


def run_scripts(lab, script: str, **how) -> Lab:
    one = trial(lab, **how)
    one.check("10-it.sh", script)
    one.start()
    one.kiosk_starts()
    one.beats()
    return one


@pytest.mark.parametrize("status", [0, 77])
def test_required_script_passes(lab, status: int) -> None:
    run_scripts(lab, f"exit {status}\n").until_phase("probation")


FAILURES = {
    "exit 1\n": "exit status 1",
    "echo it is; echo; kill -9 $$\n": 'killed by SIGKILL ("it is")',
    "sleep 100\n": "it was still running after 1 s; does it wait for the boot to finish, which waits for the guard?",
    "trap '' TERM; sleep 100\n": "it was still running after 1 s; does it wait for the boot to finish, which waits for "
                                "the guard?",
    "yes | head -c 10000000; exit 3\n": 'exit status 3 ("y")',
}


@pytest.mark.parametrize("script", FAILURES)
def test_required_script_fails(lab, script: str) -> None:
    """And each place says by name which one, and why."""
    one = run_scripts(lab, script, uptime=590)
    one.until(lambda: one.status()["checks"]["scripts"]["verdict"] == "fail", "its verdict")
    why = FAILURES[script]
    said = one.status()
    assert re.fullmatch(re.escape(f"10-it.sh: {why}; since ") + r"9 min \d+ s after the start",
                        said["checks"]["scripts"]["why"])
    assert said["scripts"][0]["answer"] == why
    assert f"required {one.checks}/required/10-it.sh: {why}\n" in one.ask("status").stdout
    one.until_asked("reject check-failed", timeout=20)
    one.until(lambda: one.status()["blamed"] is not None, "who is blamed")  # published a moment later
    blamed = one.status()["blamed"]
    assert (blamed["check"], blamed["answer"]) == ("scripts", said["checks"]["scripts"]["why"])
    assert blamed["since-usec"] == said["checks"]["scripts"]["since-usec"]
    assert re.search(rf"^blamed     scripts for \d+ s: 10-it\.sh: {re.escape(why)}; since ", one.ask("status").stdout, re.M)
    lines = [line for line in one.log.lines if "required check" in line]
    assert len(lines) == 1 and lines[0].endswith(f"required check {one.checks}/required/10-it.sh: {why}"), lines


# systemd-run, as systemd has it: what it returns for SIGTERM, and that ExecStopPost= is told what happened.
SYSTEMD_RUN = """#!/usr/bin/python3
import os, shlex, signal, string, subprocess, sys
words = sys.argv[1:]
end = words.index("--")
assert {{"--wait", "--pipe", "--collect", "--quiet"}} < set(words[:end])
died = subprocess.run(words[end + 1:]).returncode
after = [w.partition("=")[2] for w in words[:end] if w.startswith("ExecStopPost=")]
known = {{"SERVICE_RESULT": "success" if died == 0 else "exit-code" if died > 0 else "signal",
          "EXIT_CODE": "exited" if died >= 0 else "killed",
          "EXIT_STATUS": str(died) if died >= 0 else signal.Signals(-died).name[3:]}}
if os.path.exists("{lost}"):
    known = dict.fromkeys(known, "")
for a in after:
    subprocess.run([string.Template(w).substitute(known) for w in shlex.split(a)])
with open("{log}", "a") as log:
    print(died, file=log)
sys.exit(died if died >= 0 else 0)
"""


def in_units(one: Lab) -> Path:
    """The guard believes that systemd started it. The log of what has ended."""
    run, log = one.dir / "systemd-run", one.dir / "systemd-run.log"
    run.write_text(SYSTEMD_RUN.format(log=log, lost=one.dir / "lost"))
    run.chmod(0o755)
    one.wrapper = ["unshare", "--mount", "/bin/sh", "-c", f'mount --bind {run} /usr/bin/systemd-run && exec "$0" "$@"']
    return log


@pytest.mark.parametrize(
    ("script", "verdict", "answer"),
    [("exit 0\n", "pass", "it passed"),
     ("kill -TERM $$\n", "fail", "killed by SIGTERM"),
     ("kill -HUP $$\n", "fail", "killed by SIGHUP"),
     ("echo oh; kill -KILL $$\n", "fail", 'killed by SIGKILL ("oh")'),
     ("echo no such thing >&2; exit 3\n", "fail", 'exit status 3 ("no such thing")'),
     ("exit 75\n", "inconclusive", "not now, exit status 75"),
     ("exit 77\n", "pass", "it does not apply, exit status 77")],
)
def test_script_in_a_unit(lab, script: str, verdict: str, answer: str) -> None:
    """What systemd itself makes of it takes a systemd: tests/vm/test_guard.py."""
    one = trial(lab)
    log = in_units(one)
    one.check("10-it.sh", script)
    one.start(INVOCATION_ID="1")
    one.until(log.exists, "the script's end")
    told = [{"name": "10-it.sh", "path": f"{one.checks}/required/10-it.sh", "required": True, "verdict": verdict,
             "answer": answer}]
    # The guard hears of the end after the log was written.
    one.until(lambda: one.status()["scripts"] == told, "the verdict")


def test_script_whose_end_systemd_has_lost(lab) -> None:
    """As 252 does when it reloads its units meanwhile: nothing is known, and it is run again."""
    one = trial(lab)
    log = in_units(one)
    (one.dir / "lost").touch()
    one.check("10-it.sh", "exit 0\n")
    one.start(INVOCATION_ID="1")
    one.until(log.exists, "the script's end")
    assert one.status()["checks"]["scripts"]["verdict"] == "inconclusive"
    (one.dir / "lost").unlink()
    one.until(lambda: one.status()["checks"]["scripts"]["verdict"] == "pass", "the next run", timeout=20)


def test_script_that_needs_a_second_run(lab) -> None:
    one = run_scripts(lab, 'test -e "$0.done" || { touch "$0.done"; exit 75; }\n')
    one.until_phase("probation", timeout=30)


def test_script_that_leaves_children_behind(lab, tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    one = run_scripts(lab, f"sleep 1000 & echo $! >{pids}\nexit 0\n")
    one.until_phase("probation")
    pid = int(pids.read_text())
    one.until(lambda: not Path(f"/proc/{pid}").exists() or zombie(pid), "the child's end")


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_script_that_prints_ten_megabytes(lab) -> None:
    one = run_scripts(lab, "yes | head -c 10000000; exit 0\n", extra="[checks]\ntimeout=10\n")
    one.until_phase("probation")
    resident = int(Path(f"/proc/{one.guard.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert resident < 12 << 20


def test_script_is_not_protected_from_the_oom_killer(lab, tmp_path: Path) -> None:
    score = tmp_path / "score"
    one = trial(lab)
    one.check("10-it.sh", f"cat /proc/self/oom_score_adj >{score}\nexit 75\n")
    one.start()
    Path(f"/proc/{one.guard.pid}/oom_score_adj").write_text("300")
    one.until(score.exists, "a run")
    time.sleep(0.1)
    score.unlink()
    one.until(lambda: score.exists() and score.read_text(), "a run after that", timeout=20)
    assert score.read_text() == "0\n"


def test_wanted_script_decides_nothing(lab) -> None:
    one = trial(lab)
    one.check("bad.sh", "exit 1\n", kind="wanted")
    one.start()
    one.kiosk_starts()
    one.beats()
    status = one.until_phase("probation")
    assert [(one["name"], one["required"], one["verdict"]) for one in status["scripts"]] == [("bad.sh", False, "fail")]


# ---- scripts of greenboot, and what cannot be run


def greenboot(one: Lab, path: str, script: str) -> Path:
    """As its packages install them, but without the x bit: it needs none."""
    where = one.dir / "root" / path
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(script)
    where.chmod(0o644)
    return where


def test_greenboots_folders(lab) -> None:
    """The vendor's first, each after the other; bash; what is disabled, what is only wanted."""
    one = trial(lab)
    ran = one.dir / "ran"
    note = f'[[ -n $BASH_VERSION ]] && echo "${{0##*/}}" >>{ran}\n'
    greenboot(one, "usr/lib/greenboot/check/required.d/02_b.sh", f"#!/bin/false\nsleep 0.3\n{note}")
    greenboot(one, "usr/lib/greenboot/check/required.d/01_a.sh", f"sleep 0.3\n{note}")
    greenboot(one, "etc/greenboot/check/required.d/00_c.sh", f"#!/bin/bash\nset -euo pipefail\n{note}")
    greenboot(one, "etc/greenboot/check/required.d/03_dns.sh", f"{note}exit 1\n")
    greenboot(one, "etc/greenboot/check/wanted.d/01_a.sh", f"echo >&2 none; exit 1\n")
    greenboot(one, "etc/greenboot/greenboot.conf", 'DISABLED_HEALTHCHECKS=(\n  "03_dns.sh"\n)\n')
    one.start()
    one.kiosk_starts()
    one.beats()
    said = one.until_phase("probation")["scripts"]
    assert ran.read_text().split()[:3] == ["01_a.sh", "02_b.sh", "00_c.sh"]
    assert "03_dns.sh" not in ran.read_text()
    assert [(row["name"], row["verdict"], row["answer"]) for row in said] == [
        ("01_a.sh", "pass", "it passed"), ("02_b.sh", "pass", "it passed"), ("00_c.sh", "pass", "it passed"),
        ("03_dns.sh", "pass", "disabled in /etc/greenboot/greenboot.conf"),
        ("01_a.sh", "fail", 'exit status 1 ("none")')]


def test_a_check_waits_for_the_one_before(lab) -> None:
    """As with greenboot, which skips the rest; here it is tried again."""
    one = trial(lab)
    ready = one.dir / "ready"
    greenboot(one, "etc/greenboot/check/required.d/10_first.sh", f"test -e {ready}\n")
    greenboot(one, "etc/greenboot/check/required.d/20_next.sh", f"test -e {ready} || touch {one.dir}/too-early\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until(lambda: one.status()["checks"]["scripts"]["verdict"] == "fail", "the first one's failure")
    assert one.status()["scripts"][1]["answer"] == "not run yet"
    ready.touch()
    one.until_phase("probation", timeout=30)
    assert not (one.dir / "too-early").exists()


def test_a_required_check_that_cannot_be_run_fails(lab) -> None:
    one = trial(lab, uptime=590)
    one.check("10-it", "exit 0\n")
    path = one.checks / "required/10-it"
    path.chmod(0o644)
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_asked("reject check-failed", timeout=20)
    assert [line for line in one.log.lines if line.endswith(f"{path}: it cannot be run: it is not executable: chmod +x")]


def test_a_check_that_is_mended_passes(lab) -> None:
    one = trial(lab)
    one.check("10-it", "exit 0\n", kind="required")
    path = one.checks / "required/10-it"
    path.write_bytes(b"#!/bin/sh\r\nexit 0\r\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until(lambda: "CRLF" in one.status()["checks"]["scripts"]["why"], "the reason")
    path.write_bytes(b"#!/bin/sh\nexit 0\n")
    one.until_phase("probation", timeout=30)


# ---- greenboot's hooks


def test_green_hooks_follow_the_healthy_boot_once(lab) -> None:
    """A guard that is started again in the same boot does not run them again, and none fails anything."""
    one = trial(lab)
    ran = one.dir / "ran"
    greenboot(one, "usr/lib/greenboot/green.d/20.sh", f"echo vendor >>{ran}; exit 1\n")
    greenboot(one, "etc/greenboot/green.d/10.sh", f"echo etc >>{ran}\n")
    greenboot(one, "etc/greenboot/red.d/10.sh", f"echo red >>{ran}\n")
    one.start()
    one.kiosk_starts()
    assert not ran.exists()
    one.beats()
    one.until_phase("committed", timeout=30)
    assert "hook" in one.log.wait_for("exit status 1")
    one.kill_guard()
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until(lambda: one.status()["confirmed"], "the same once more")
    assert ran.read_text() == "vendor\netc\n"


def test_red_hooks_follow_the_rejection_and_the_reboot_waits(lab) -> None:
    """Not for ever: one that hangs has the time of a check."""
    one = trial(lab, uptime=597)
    greenboot(one, "usr/lib/greenboot/red.d/10.sh", f"cp {one.device}/log {one.dir}/before\n")
    greenboot(one, "etc/greenboot/red.d/20.sh", "sleep 1000\n")
    greenboot(one, "etc/greenboot/red.d/30.sh", f"touch {one.dir}/after\n")
    one.start()
    one.until_asked("reject kiosk-never-started")
    one.calls.wait_for("logind Reboot")
    assert "reject kiosk-never-started" in (one.dir / "before").read_text()
    assert (one.dir / "after").exists()
    assert [line for line in one.log.lines if line.endswith("red.d/20.sh: it was still running after 1 s; does it wait for "
                                                            "the boot to finish, which waits for the guard?")]


def test_red_hooks_do_not_follow_what_was_not_written(lab) -> None:
    one = trial(lab, uptime=597)
    (one.device / "fail").write_text("reject\n")
    greenboot(one, "etc/greenboot/red.d/10.sh", f"touch {one.dir}/ran\n")
    one.start()
    one.until_asked("reject kiosk-never-started")
    one.calls.wait_for("logind Reboot", timeout=30)
    assert not (one.dir / "ran").exists()


# ---- the server


def test_server_silent_is_waited_for(lab) -> None:
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    one.beat("READY=1")
    one.until_phase("waiting")
    one.beat("X_BF_SERVER=0")
    time.sleep(0.5)
    assert one.status()["phase"] == "waiting"
    one.beat("X_BF_SERVER=1")
    one.until_phase("probation")


def test_server_that_was_silent_before_the_update(lab) -> None:
    one = lab("trial committable silent", uptime=1795, extra=UNHURRIED)
    one.start()
    one.kiosk_starts()
    one.beat("READY=1")
    one.until_phase("probation")


def test_clock_that_is_not_set_blames_nobody(lab) -> None:
    undecided(trial(lab, uptime=1796, extra=UNHURRIED), "READY=1", "X_BF_SERVER=clock")


def test_clock_that_is_not_set_where_the_server_was_silent_before(lab) -> None:
    one = lab("trial committable silent", uptime=1796, extra=UNHURRIED)
    one.start()
    one.kiosk_starts()
    one.beat("READY=1", "X_BF_SERVER=clock")
    one.until_phase("probation")


def test_never_without_the_server(lab) -> None:
    one = lab("trial committable silent", uptime=1796, extra="[server]\ncommit-offline=no\n" + UNHURRIED)
    one.start()
    one.kiosk_starts()
    one.beat("READY=1")
    one.until_asked("abort -")
    one.calls.wait_for("logind Reboot")
    assert "reject" not in " ".join(one.asked())


def test_offline_at_once(lab) -> None:
    one = lab("trial committable silent", extra="[server]\ncommit-offline=yes\n")
    one.start()
    one.kiosk_starts()
    one.beat("READY=1")
    one.until_phase("probation")


# ---- the root


def test_root_is_read(lab) -> None:
    one = trial(lab, extra="[trial]\nread-root=yes\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("probation")
    assert "read-root clean" in one.asked()


def test_corrupt_root_is_rejected(lab) -> None:
    one = trial(lab, extra="[trial]\nread-root=yes\n")
    (one.device / "corrupt").touch()
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_asked("reject root-corrupt")


# ---- RAUC


def ready_to_commit(lab, *world: str, **how) -> Lab:
    one = trial(lab, **how)
    one.start()
    one.say(*world)
    one.kiosk_starts()
    one.beats()
    return one


def marks(one: Lab) -> int:
    return sum("rauc Mark" in line for line in one.calls.lines)


def test_rauc_that_is_slow(lab) -> None:
    one = ready_to_commit(lab, "mark-delay 4000")
    one.until_phase("probation", timeout=20)
    assert marks(one) == 1


def test_rauc_that_lies(lab) -> None:
    one = ready_to_commit(lab, "mark lie", extra="[trial]\ncommit-timeout=12\n")
    one.until_asked("reject commit-failed", timeout=40)
    assert marks(one) >= 2 and not any("AT THE SAME TIME" in line for line in one.calls.lines)


def test_rauc_that_fails_after_the_commit(lab) -> None:
    """The record may be written, and autoboot.txt not."""
    one = ready_to_commit(lab, "mark after")
    one.until_phase("probation")
    one.until_asked("set-good -")
    assert marks(one) == 1


def test_confirmation_that_cannot_be_written(lab) -> None:
    one = trial(lab)
    (one.device / "fail").write_text("set-good\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("probation")
    assert "set-good -" in one.asked() and one.status()["confirmed"]
    assert one.ask("wait").returncode == 0


def test_rauc_that_is_busy_first(lab) -> None:
    one = ready_to_commit(lab, "mark busy")
    one.calls.wait_for("rauc Mark")
    one.say("mark ok")
    one.until_phase("probation")


def test_rauc_that_stays_busy_blames_nobody(lab) -> None:
    one = ready_to_commit(lab, "mark busy")
    one.until_asked("abort -", timeout=30)
    assert marks(one) >= 2 and restarts_of_rauc(one) == 1 and "reject" not in " ".join(one.asked())


def test_rauc_that_is_not_there(lab) -> None:
    one = ready_to_commit(lab, "rauc off")
    one.until_asked("reject commit-failed", timeout=30)


def restarts_of_rauc(one: Lab) -> int:
    return one.calls.lines.count("systemd RestartUnit rauc.service replace")


def test_rauc_that_never_answers_is_not_contradicted(lab) -> None:
    one = ready_to_commit(lab, "mark silent", extra="[trial]\ncommit-timeout=20\n")
    one.until_asked("abort -", timeout=40)
    # Once more by the one that was started then.
    assert (marks(one), restarts_of_rauc(one)) == (2, 1)
    assert "reject" not in " ".join(one.asked())


def test_rauc_that_is_held_up(lab) -> None:
    """As by InspectBundle of a FIFO, which any updater may ask for."""
    one = ready_to_commit(lab, "mark held", extra="[trial]\ncommit-timeout=20\n")
    one.until_phase("probation", timeout=40)
    assert (marks(one), restarts_of_rauc(one)) == (2, 1)


def test_rauc_that_dies_meanwhile(lab) -> None:
    one = ready_to_commit(lab, "mark silent")
    one.calls.wait_for("rauc Mark")
    one.say("rauc off", "mark ok", "rauc on")
    one.until_phase("probation", timeout=20)
    assert marks(one) == 2


def test_old_question_does_not_end_the_mark(lab) -> None:
    one = ready_to_commit(lab, "get-delay 2500", "mark-delay 4000", "completed 0")
    one.calls.wait_for("rauc Mark")
    one.until_phase("probation", timeout=20)
    assert marks(one) == 1


def test_rauc_that_the_bus_starts_for_the_mark(lab) -> None:
    one = trial(lab, extra="[trial]\ncommit-timeout=30\n")
    (one.dir / "services/rauc.service").write_text(
        "[D-BUS Service]\nName=de.pengutronix.rauc\nExec=/bin/sleep 60\n"
    )
    one.start()
    one.say("rauc off")
    one.kiosk_starts()
    one.beats()
    one.until_phase("committing")
    one.forge("/", "de.pengutronix.rauc.Installer", "Completed", "i", "0")
    time.sleep(7)  # a Mark that has failed is repeated after five seconds
    one.say("rauc on")
    one.until_phase("probation")
    assert marks(one) == 1


# ---- signals, which anybody can send


LOGIND = ("/org/freedesktop/login1", "org.freedesktop.login1.Manager", "PrepareForShutdown", "b")


def test_forged_shutdown(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=15\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("window")
    one.forge(*LOGIND, "true")
    time.sleep(0.5)
    assert one.status()["phase"] == "window"
    one.until_phase("probation", timeout=30)


def test_forged_end_of_a_shutdown(lab) -> None:
    one = trial(lab)
    one.start()
    one.kiosk_starts()
    one.say("down 1")
    one.until_phase("going-down")
    one.forge(*LOGIND, "false")
    one.beats()
    time.sleep(2.5)
    assert one.status()["phase"] == "going-down" and marks(one) == 0


def test_forged_death_of_rauc(lab) -> None:
    one = ready_to_commit(lab, "mark-delay 4000")
    one.calls.wait_for("rauc Mark")
    one.forge("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged", "sss",
              "de.pengutronix.rauc", ":1.1", "")
    one.until_phase("probation", timeout=20)
    assert marks(one) == 1


def children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_flood_of_signals(lab) -> None:
    one = committed(lab, extra="[update]\ntry=on-request\n")
    (one.device / "slow").write_text("2")
    most = 0
    for _ in range(200):
        one.say("completed 0")
        most = max(most, children(one.guard.pid))
    assert 1 <= most <= 2
    # What happened last is not missed.
    one.set_facts("committed staged")
    one.say("completed 0")
    one.until(lambda: one.status()["staged"] == "A", "staged")


def test_flood_of_signals_costs_a_read_a_second(lab) -> None:
    one = committed(lab, extra="[update]\ntry=on-request\n")
    begin = time.monotonic()
    before = len((one.device / "reads").read_text())
    asked = sum("rauc Get" in line for line in one.calls.lines)
    while time.monotonic() < begin + 3:
        one.say("completed 0")
    assert len((one.device / "reads").read_text()) - before <= time.monotonic() - begin + 3
    assert not any("rauc Get AT THE SAME TIME" in line for line in one.calls.lines)
    assert sum("rauc Get" in line for line in one.calls.lines) > asked


def test_rauc_that_is_slow_is_asked_once(lab) -> None:
    one = committed(lab)
    one.say("get-delay 1000")
    for _ in range(20):
        one.say("completed 0")
    time.sleep(2.5)
    assert not any("AT THE SAME TIME" in line for line in one.calls.lines)


# ---- the bus, and the guard itself


def test_bus_that_is_restarted(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=3\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("window")
    one.stop_bus()
    one.until_phase("collecting")
    one.start_bus()
    one.kiosk_starts()
    one.until_phase("probation", timeout=30)


def test_no_bus_at_all_still_rejects(lab) -> None:
    one = trial(lab, uptime=597)
    one.start(bus=False)
    one.until_asked("reject no-bus", timeout=20)


def test_bus_that_is_lost_is_not_a_lost_kiosk(lab) -> None:
    one = lab("committed")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("committed")
    one.until_asked("settle -", timeout=20)
    one.stop_bus()
    time.sleep(4)
    assert one.status()["phase"] == "committed"
    assert "kiosk-fails" not in " ".join(one.asked())


def test_guard_that_is_killed_begins_anew(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=3\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("window")
    one.kill_guard()
    begin = time.monotonic()
    one.start()
    one.beats()
    one.until_phase("probation")
    assert time.monotonic() - begin >= 3


def test_guard_that_is_killed_while_it_rejects(lab) -> None:
    one = lab("trial rejected")
    one.start()
    one.calls.wait_for("logind Reboot")


def test_guard_that_is_killed_after_the_commit(lab) -> None:
    one = ready_to_commit(lab)
    one.until_phase("probation")
    one.kill_guard()
    one.start()
    one.beats()
    one.until(lambda: one.asked().count("set-good -") == 2, "the second confirmation")
    assert marks(one) == 1


def test_guard_that_was_stopped_for_a_while(lab) -> None:
    one = trial(lab, extra="[heartbeat]\nmax-age=1\n[trial]\nwindow=2\n")
    one.start()
    one.kiosk_starts()
    one.beats("WATCHDOG=1")
    one.guard.send_signal(signal.SIGSTOP)
    time.sleep(4)
    one.guard.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert marks(one) == 0, "the window counted while nobody looked"


# ---- the journal


def journal(one: Lab) -> socket.socket:
    path = one.dir / "root/run/systemd/journal/socket"
    path.parent.mkdir(parents=True)
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(str(path))
    s.setblocking(False)
    return s


def fill(s: socket.socket) -> None:
    """Until it takes nothing more, from anybody: a sender may have only so much under way."""
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(s.getsockname())
            try:
                sender.send(b"MESSAGE=something else\n")
                for _ in range(100):
                    sender.send(b"MESSAGE=something else\n")
            except BlockingIOError:
                return


def entries(s: socket.socket) -> list[dict[str, str]]:
    got = []
    with contextlib.suppress(BlockingIOError):
        while True:
            lines = s.recv(65536).decode().removesuffix("\n").split("\n")
            got.append(dict(line.split("=", 1) for line in lines))
    return got


def test_entries_for_the_journal(lab) -> None:
    one = lab("trial rejected")
    with journal(one) as s:
        one.start(JOURNAL_STREAM="8:1")
        one.calls.wait_for("logind Reboot")
        got = entries(s)
    reject = next(e for e in got if "MESSAGE_ID" in e)
    assert reject["MESSAGE"].startswith("The trial is rejected") and reject["PRIORITY"] == "3"
    assert all(reject[key] for key in ("BF_SLOT", "BF_REASON", "BF_WHAT", "BF_TODO"))
    assert (reject["BF_CHECK"], reject["BF_ANSWER"], reject["BF_FOR"]) == ("-", "-", "-")  # by hand: nobody's
    assert all(e["SYSLOG_IDENTIFIER"] == "bf-guard" and e["MESSAGE"] and e["PRIORITY"] in "3456" for e in got)
    assert not one.log.lines


def test_the_entry_of_a_rejection_names_the_check(lab) -> None:
    """Its last answer and since when, too: "a required check failed" had to be looked up elsewhere."""
    one = trial(lab, uptime=590)
    one.check("10-it.sh", "echo no @17 network; exit 3\n")
    with journal(one) as s:
        one.start(JOURNAL_STREAM="8:1")
        one.kiosk_starts()
        one.beats()
        one.until_asked("reject check-failed", timeout=20)
        got = entries(s)
    reject = next(e for e in got if e.get("BF_REASON") == "check-failed")
    assert reject["BF_CHECK"] == "scripts" and re.fullmatch(r"\d+ s", reject["BF_FOR"])
    assert reject["BF_ANSWER"].startswith('10-it.sh: exit status 3 ("no @17 network"); since ')
    assert f"scripts, for {reject['BF_FOR']}: {reject['BF_ANSWER']}" in reject["MESSAGE"]
    one.until(lambda: f": {reject['BF_ANSWER']}\n" in one.ask("status").stdout, "what it said, as it is")


def test_journal_that_hangs_holds_nothing_up(lab) -> None:
    one = trial(lab)
    with journal(one) as s:
        fill(s)
        one.start(JOURNAL_STREAM="8:1")
        one.kiosk_starts()
        one.beats()
        one.until_phase("probation")
        one.until_asked("settle -", timeout=20)
        assert entries(s)
        one.say("active inactive dead")
        one.until(lambda: any("did not take" in e["MESSAGE"] for e in entries(s)), "the count of what is missing")


# ---- configuration


def test_configuration_that_is_gone(lab) -> None:
    one = trial(lab)
    one.config.unlink()
    one.start()
    assert one.status()["config-warnings"] == 0
    assert one.status()["phase"] in ("starting", "collecting")


@pytest.mark.parametrize("text", ["[trial]\nwindow=no\n", "\0\0\0", "[nothing]\nx=1\n", "window=3\n", "[trial\nx\n"])
def test_configuration_that_is_broken(lab, text: str) -> None:
    one = trial(lab)
    one.config.write_bytes(text.encode())
    one.start()
    assert one.status()["config-warnings"] > 0
    one.log.wait_for("bf-guard.conf:")


def test_configuration_that_is_a_directory(lab) -> None:
    one = trial(lab)
    one.config.unlink()
    one.config.mkdir()
    one.start()
    assert one.status()["config-warnings"] == 1


@pytest.mark.parametrize("mistake", ["no unit", "masked", "account", "typo", "no section"])
def test_nobody_is_judged_by_a_mistake(lab, mistake: str) -> None:
    """A committed slot whose configuration names no kiosk, or is not understood: it is said, and nothing is done."""
    extra = {"account": "[kiosk]\nuser=nobody-of-that-name\n", "typo": "[kiosk]\nunits=other.service\n",
             "no section": "[kiosk\nunit=other.service\n"}.get(mistake, "")
    one = lab("committed", extra=extra, uptime=700)
    one.start_bus()
    one.say({"no unit": "load not-found", "masked": "load masked"}.get(mistake, "load loaded"), "active failed failed")
    one.start()
    one.log.wait_for("The guard judges nobody: n")
    one.until(lambda: one.status()["checks"]["unit"]["verdict"] == "inconclusive", "the unit")
    time.sleep(4)  # patience, twice recovery
    assert not [name for name, check in one.status()["checks"].items() if check["verdict"] in ("fail", "hopeless")]
    assert one.status()["phase"] == "committed"
    assert not [line for line in one.calls.lines if "Restart" in line or "Reboot" in line]
    assert "kiosk-fails" not in " ".join(one.asked())
    assert "o kiosk to judge" in one.ask("status").stdout or "mistake" in one.ask("status").stdout


@pytest.mark.parametrize("mistake", ["no unit", "typo"])
def test_an_update_is_not_refused_for_a_mistake(lab, mistake: str) -> None:
    """Even where the kiosk failed: the trial ends undecided, and is tried again, a few times."""
    one = trial(lab, extra="[kiosk]\nunits=other.service\n" if mistake == "typo" else "", uptime=596)
    one.start_bus()
    one.say("load not-found" if mistake == "no unit" else "load loaded", "active failed failed")
    one.start()
    one.log.wait_for("The guard judges nobody: n")
    one.until_asked("abort -", timeout=30)
    one.calls.wait_for("logind Reboot")
    assert "reject" not in " ".join(one.asked()) and marks(one) == 0


def test_a_kiosk_that_comes_is_judged(lab) -> None:
    one = lab("committed", uptime=700)
    one.start_bus()
    one.say("load not-found", "active inactive dead")
    one.start()
    one.log.wait_for("The guard judges nobody: no kiosk to judge: kiosk.service is not-found")
    one.say("load loaded", "active failed failed")
    one.calls.wait_for("systemd RestartUnit kiosk.service replace")


# ---- committed


def committed(lab, facts: str = "committed", **how) -> Lab:
    one = lab(facts, **how)
    one.start()
    one.kiosk_starts()
    one.beats("WATCHDOG=1") if how.get("beating") else one.beats()
    one.until_phase("committed", "probation")
    return one


def test_committed_slot_is_confirmed_and_remembers_the_server(lab) -> None:
    one = committed(lab)
    one.until_asked("set-good -")
    one.until_asked("baseline reached")
    assert marks(one) == 0


def test_failing_kiosk_is_restarted_then_rebooted(lab) -> None:
    one = committed(lab)
    (one.device / "next").write_text("reboot\n")
    one.say("active inactive dead")
    one.calls.wait_for("systemd ResetFailedUnit kiosk.service")
    one.calls.wait_for("systemd RestartUnit kiosk.service replace")
    one.calls.wait_for("systemd RestartUnit kiosk.service replace")
    one.until_asked("kiosk-fails kiosk-not-alive")
    one.calls.wait_for("logind Reboot")
    assert "prepare plain" in one.asked()


def test_failing_kiosk_that_recovers(lab) -> None:
    one = committed(lab, extra="[committed]\nrecovery=10\n")
    one.say("active inactive dead")
    one.calls.wait_for("systemd RestartUnit")
    one.say("restart")
    one.beats()
    one.until_phase("committed")
    assert "kiosk-fails" not in " ".join(one.asked())


def test_fallback_is_a_trial_boot(lab) -> None:
    one = committed(lab, "committed probation")
    (one.device / "next").write_text("trial\n")
    one.say("active inactive dead")
    one.until_asked("kiosk-fails kiosk-not-alive", timeout=20)
    one.until_asked("prepare trial")


def test_both_slots_fail(lab) -> None:
    one = committed(lab)
    one.say("active inactive dead")
    one.until_phase("staying", timeout=20)
    one.until_asked("stay -")
    assert not any("Reboot" in line for line in one.calls.lines)


def test_record_that_cannot_be_written_means_no_reboot(lab) -> None:
    one = committed(lab)
    (one.device / "next").write_text("reboot\n")
    (one.device / "fail").write_text("kiosk-fails\n")
    one.say("active inactive dead")
    one.until_phase("staying", timeout=20)
    assert not any("Reboot" in line for line in one.calls.lines)


@pytest.mark.parametrize("facts", ["limbo", "gone"])
def test_limbo_decides_nothing(lab, facts: str) -> None:
    one = lab(facts, uptime=5000)
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("limbo")
    one.say("active failed failed")
    one.calls.wait_for("systemd RestartUnit", timeout=25)
    time.sleep(1)
    assert one.asked() == [] and marks(one) == 0


def test_uncommittable_trial_stays(lab) -> None:
    one = lab("trial reached")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("limbo")
    assert marks(one) == 0


# ---- updates


def test_installed_update_is_tried(lab) -> None:
    one = committed(lab)
    one.say("operation installing")
    one.set_facts("committed staged")
    time.sleep(1)
    assert "try -" not in one.asked()
    one.say("operation idle", "completed 0")
    one.until_asked("try -")
    one.until_asked("prepare trial")
    # The end of the installation is enough for it: it may be asked for before "completed" was said.
    one.until(lambda: any("logind Reboot" in line for line in one.calls.lines), "the reboot")


def test_update_is_tried_on_request(lab) -> None:
    one = committed(lab, extra="[update]\ntry=on-request\n")
    assert one.ask("try").returncode == 1
    one.set_facts("committed staged")
    one.say(f"uid {KIOSK}", "completed 0")
    one.until(lambda: one.status()["staged"] == "A", "staged")
    time.sleep(0.5)
    assert "try -" not in one.asked()
    assert one.ask("try", uid=STRANGER).returncode == 1
    assert one.ask("try", uid=KIOSK).returncode == 0
    one.until_asked("try -")


def test_try_that_cannot_be_written(lab) -> None:
    one = committed(lab)
    (one.device / "fail").write_text("try\n")
    one.set_facts("committed staged")
    one.say("completed 0")
    one.until_asked("try -")
    one.until_phase("committed")
    assert not any("Reboot" in line for line in one.calls.lines)


# ---- the end


def test_reboot_ladder(lab) -> None:
    one = trial(lab, uptime=598)
    one.start()
    one.say("reboot fail")
    one.calls.wait_for("logind Reboot")
    one.calls.wait_for("systemd StartUnit reboot.target replace-irreversibly")
    one.calls.wait_for("systemd Reboot")
    one.until_asked("reboot plain")
    one.until_asked("sync -")


def test_reboot_without_a_bus(lab) -> None:
    one = trial(lab, uptime=598)
    one.start(bus=False)
    one.until_asked("prepare plain", timeout=20)


def test_shutdown_by_a_person_decides_nothing(lab) -> None:
    one = trial(lab, extra="[trial]\nwindow=4\n")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.say("down 1")
    time.sleep(5.5)
    assert one.asked() == [] and marks(one) == 0
    one.say("down 0")
    one.until_phase("probation")


def test_guard_that_is_started_during_a_shutdown(lab) -> None:
    one = trial(lab)
    (one.device / "slow").write_text("1")
    one.start_bus()
    one.say("quiet-down 1")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("going-down")
    time.sleep(2)
    assert one.asked() == [] and marks(one) == 0
    one.say("down 0")
    one.until_phase("probation")


def test_device_that_answers_late(lab) -> None:
    one = trial(lab)
    (one.device / "slow").write_text("2")
    one.start()
    one.kiosk_starts()
    one.beats()
    one.until_phase("probation", timeout=30)


# ---- asking it


def test_status_for_people(lab) -> None:
    one = trial(lab)
    one.start()
    text = one.ask("status").stdout
    assert "slot " in text and "waits for" in text and "heartbeat" in text


def test_follow(lab) -> None:
    """It goes on when the guard ends: another one may come."""
    one = trial(lab)
    one.start()
    with subprocess.Popen(
        [one.programs / "bf-guard", f"--runtime-dir={one.dir / 'run'}", "status", "--follow", "--json"],
        stdout=subprocess.PIPE, text=True,
    ) as follower:
        try:
            said = Reader(follower.stdout)
            said.wait_for('"phase": "collecting"')
            one.kiosk_starts()
            one.beats()
            said.wait_for('"phase": "window"')
            said.wait_for('"phase": "probation"')
            one.kill_guard(signal.SIGTERM)
            said.wait_for('"current": false')
            assert follower.poll() is None
        finally:
            follower.terminate()


def test_wait_is_the_gate(lab) -> None:
    one = trial(lab)
    one.start()
    with subprocess.Popen(
        [one.programs / "bf-guard", f"--runtime-dir={one.dir / 'run'}", "wait"], stdout=subprocess.PIPE, text=True
    ) as waiting:
        time.sleep(0.5)
        assert waiting.poll() is None
        one.kiosk_starts()
        one.beats()
        assert waiting.wait(15) == 0
    assert one.status()["confirmed"]


def test_nobody_there(lab, programs: Path) -> None:
    one = trial(lab)
    assert one.ask("status").returncode == 3
    assert one.ask("beat").returncode == 3
    assert one.ask("nonsense").returncode == 2
    assert one.ask("--help").returncode == 0


def test_idle_guard_is_small_and_quiet(lab) -> None:
    one = committed(lab)
    one.until_asked("settle -", timeout=20)
    time.sleep(1)

    def switches() -> int:
        text = Path(f"/proc/{one.guard.pid}/status").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("voluntary_ctxt"))

    # The host's own switches are not counted; a guard that never sleeps has no other.
    before, cpu = switches(), cpu_seconds(one.guard.pid)
    time.sleep(10)
    assert switches() - before <= 8 and cpu_seconds(one.guard.pid) - cpu < 0.2
    text = Path(f"/proc/{one.guard.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM"))
    assert resident <= 4096


# ---- a real RAUC


BACKEND = """#!/bin/sh
echo "$*" >>{log}
case $1 in
get-primary) echo A ;;
get-state) echo good ;;
set-state) sleep {sleep}; [ "$2 $3" = "B good" ] && echo "committed probation" >{facts} ;;
esac
"""

SYSTEM_CONF = """[system]
compatible=test
bootloader=custom
statusfile={dir}/rauc.status
[handlers]
bootloader-custom-backend={dir}/backend
[slot.rootfs.0]
device={dir}/a
type=raw
bootname=A
[slot.rootfs.1]
device={dir}/b
type=raw
bootname=B
"""


@pytest.mark.parametrize("seconds", [0, 4])
def test_commit_through_a_real_rauc(lab, seconds: int) -> None:
    one = trial(lab, extra="[trial]\ncommit-timeout=60\n")
    log = one.dir / "backend.log"
    (one.dir / "backend").write_text(BACKEND.format(log=log, facts=one.device / "facts", sleep=seconds))
    (one.dir / "backend").chmod(0o755)
    (one.dir / "system.conf").write_text(SYSTEM_CONF.format(dir=one.dir))
    for slot in "ab":
        (one.dir / slot).write_bytes(bytes(4096))
    one.start()
    one.say("rauc off")
    bus = {"DBUS_STARTER_BUS_TYPE": "session", "DBUS_SESSION_BUS_ADDRESS": f"unix:path={one.socket}"}
    with subprocess.Popen(
        ["rauc", f"--conf={one.dir / 'system.conf'}", "--override-boot-slot=B", "service"],
        env=one.environment | bus, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as rauc:
        try:
            one.kiosk_starts()
            one.beats()
            one.until_phase("probation", timeout=30)
        finally:
            rauc.kill()
    assert log.read_text().splitlines().count("set-state B good") == 1


# ---- what is shipped beside it


def test_unit_is_hardened() -> None:
    unit = TOP / "hooks/systemd/bf-guard.service"
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=21", unit],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:] + done.stderr


def test_every_message_is_in_the_catalog() -> None:
    ids = set(re.findall(r'"([0-9a-f]{32})"', (TOP / "guard/report.c").read_text()))
    catalog = set(re.findall(r"^-- ([0-9a-f]{32})$", (TOP / "hooks/systemd/bf-guard.catalog").read_text(), re.M))
    assert len(ids) >= 8 and ids == catalog


def test_every_key_is_in_the_manual() -> None:
    sections = "kiosk|heartbeat|server|trial|committed|update|checks"
    keys = set(re.findall(rf'"(?:{sections})", "([a-z-]+)"', (TOP / "guard/config.c").read_text()))
    manual = set(re.findall(r"([a-z-]+)=", (TOP / "guard/bf-guard.conf.5").read_text()))
    assert len(keys) > 25 and keys <= manual


# ---- what the man page shows


def examples(head: str) -> list[str]:
    """Those of bf-guard(8) that have this line."""
    page = (TOP / "guard/bf-guard.8").read_text()
    blocks = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$", page, re.M | re.S)
    return [block for block in blocks if f"\n{head}\n" in f"\n{block}"]


def test_the_example_of_a_unit_is_sound(tmp_path: Path) -> None:
    unit, _ = examples("[Service]")
    for line in ("After=bf-guard.service", "RuntimeDirectory=betterframe", "RuntimeDirectoryPreserve=yes",
                 "StartLimitIntervalSec=0"):
        assert f"\n{line}\n" in unit
    assert "u bfkiosk " in (TOP / "hooks/systemd/sysusers.d/50-bf.conf").read_text() and "\nUser=bfkiosk\n" in unit
    path = tmp_path / "kiosk.service"
    path.write_text(re.sub(r"^ExecStart=.*", "ExecStart=/bin/true", unit, flags=re.M))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "kiosk.service" not in done.stderr, done.stderr


@pytest.mark.parametrize("at, server", [(0, False), (1, True), (2, False)])
def test_the_examples_of_a_configuration_are_sound(lab, at: int, server: bool) -> None:
    """Understood, and what the page says of them: a kiosk that beats is enough, or its server is needed too."""
    found = examples("[kiosk]")
    assert len(found) == 3
    account = pwd.getpwuid(STRANGER).pw_name
    one = trial(lab, extra=found[at].replace("user=bfkiosk", f"user={account}"))
    one.start()
    assert one.status()["config-warnings"] == 0
    one.say("watchdog 3000000 1")
    one.kiosk_starts()
    assert one.status()["checks"]["heartbeat"]["verdict"] == "pass"
    assert (one.status()["checks"]["server"]["verdict"] == "pass") == server
    if not server:
        one.beat("X_BF_SERVER=1", uid=STRANGER if "user=" in found[at] else 0)
    one.until_phase("probation", timeout=20)
