# SPDX-License-Identifier: MIT
"""What other accounts can do to the guard: nothing. The kiosk's beats are all heard, and the watchdog is fed in time.

README states the figures; `make check-contract PYTEST_FLAGS='-rP -k doors'` prints them.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guardlab import Lab

STRANGER = 65534  # nobody
KIOSK = pwd.getpwnam("daemon")
WATCHDOG_SEC = 6.0  # the guard's parts of it are three
BEATS = 60


class Feeds:
    """The guard's word to systemd, as it comes."""

    def __init__(self, lab: Lab) -> None:
        path = lab.dir / "systemd"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_SEC * 1e6))}
        self.at: list[float] = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            if b"WATCHDOG=1" in self.socket.recv(4096):
                self.at.append(time.monotonic())

    def late(self, since: float) -> int:
        """Those that systemd would have killed it for."""
        times = [since, *(at for at in self.at if at > since), time.monotonic()]
        return sum(b - a > WATCHDOG_SEC for a, b in zip(times, times[1:]))


@pytest.fixture
def one(programs: Path) -> Iterator[Lab]:
    """A trial that goes on; the kiosk has an account of its own."""
    lab = Lab(programs, "trial committable reached", extra=f"[kiosk]\nuser={KIOSK.pw_name}\n[trial]\nwindow=300\n"
                                                           "[heartbeat]\nmax-age=10\n")
    lab.feeds = Feeds(lab)
    lab.start(**lab.feeds.environment)
    lab.kiosk_starts()
    try:
        yield lab
    finally:
        lab.close()


@contextlib.contextmanager
def strangers(lab: Lab, count: int, *words: str | Path, uid: int = STRANGER, says: str) -> Iterator[None]:
    """Processes of that account that do as tests/kiosk/stranger.c says."""
    started = [subprocess.Popen([lab.programs / "bf-stranger", *words], stdout=subprocess.PIPE, text=True,
                                env=lab.environment, user=uid, group=uid, extra_groups=[]) for _ in range(count)]
    try:
        for process in started:
            assert says in process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()


BEATING = """
import socket, sys, time
lost, s = 0, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(sys.argv[1])
s.setblocking(sys.argv[2] == "blocks")
for _ in range(int(sys.argv[3])):
    try:
        s.send(b"WATCHDOG=1")
    except BlockingIOError:
        lost += 1
    time.sleep(0.05)
print(lost)
"""


def beats_lost(lab: Lab, how: str = "never-waits") -> int:
    """The kiosk's, of BEATS in three seconds: what it could not send, and what the guard has not heard."""
    before = lab.status()["heartbeats"]
    done = subprocess.run(["python3", "-c", BEATING, lab.dir / "run/notify", how, str(BEATS)], user=KIOSK.pw_uid,
                          group=KIOSK.pw_gid, extra_groups=[], capture_output=True, text=True, check=True, timeout=60)
    with contextlib.suppress(AssertionError):
        lab.until(lambda: lab.status()["heartbeats"] - before == BEATS, "the last one", timeout=3)
    return max(int(done.stdout), BEATS - (lab.status()["heartbeats"] - before))


def on_the_bus(lab: Lab) -> tuple[str, str]:
    """Where signals reach the guard, and the kiosk's unit in its matches."""
    return lab.name_on_the_bus(), "/org/freedesktop/systemd1/unit/kiosk_2eservice"


@contextlib.contextmanager
def unmoved(lab: Lab, what: str) -> Iterator[None]:
    """All the while, and after it."""
    begin = time.monotonic()
    yield
    time.sleep(WATCHDOG_SEC)
    late = lab.feeds.late(begin)
    print(f"{what}: feeds late: {late}")
    assert late == 0 and lab.guard.poll() is None


# ---- who gets in


def mode_of(lab: Lab) -> tuple[int, int]:
    st = (lab.dir / "run/notify").lstat()
    assert stat.S_ISSOCK(st.st_mode)
    return st.st_uid, stat.S_IMODE(st.st_mode)


def test_the_socket_is_the_kiosks(one: Lab) -> None:
    assert mode_of(one) == (KIOSK.pw_uid, 0o600)
    assert [path.name for path in (one.dir / "run").iterdir() if path.is_socket()] == ["notify"]


def test_the_socket_follows_the_kiosks_account(programs: Path) -> None:
    """With DynamicUser= it is another one each time, and nobody's between two."""
    lab = Lab(programs, "trial committable reached")
    try:
        lab.start()
        for uid in (12345, 12346):
            lab.say(f"uid {uid}")
            lab.kiosk_starts()
            lab.until(lambda: mode_of(lab) == (uid, 0o600), "its account")
            lab.say("uid 4294967295", "active inactive dead")
            lab.until(lambda: mode_of(lab) == (0, 0o600), "nobody's")
    finally:
        lab.close()


def test_the_socket_is_nobodys_without_a_bus(programs: Path) -> None:
    lab = Lab(programs, "trial committable reached")
    os.umask(0)
    try:
        lab.start(bus=False)
        assert mode_of(lab) == (0, 0o600)
    finally:
        os.umask(0o022)
        lab.close()


def test_who_may_do_what(one: Lab) -> None:
    for uid, status in ((STRANGER, 3), (KIOSK.pw_uid, 0), (0, 0)):
        assert one.ask("beat", uid=uid).returncode == status
        assert one.ask("status", "--json", uid=uid).returncode == 0
    one.until(lambda: one.status()["heartbeats"] == 2, "two")


def test_nobody_can_write_or_lock_what_is_published(one: Lab) -> None:
    for name in ("status", "status.json"):
        st = (one.dir / "run" / name).lstat()
        assert (st.st_uid, stat.S_IMODE(st.st_mode)) == (0, 0o644)


# ---- descriptors


@pytest.mark.parametrize("uid", [STRANGER, KIOSK.pw_uid], ids=["stranger", "kiosk"])
def test_descriptors_that_are_slow_to_close(one: Lab, uid: int) -> None:
    """A connection that lingers for an hour: whoever closes it last waits, if that is what the kernel is asked for."""
    says = "sent" if uid == KIOSK.pw_uid else "refused"
    with unmoved(one, f"four slow descriptors of {pwd.getpwuid(uid).pw_name}"):
        # So that none of the senders closes its own last.
        one.guard.send_signal(signal.SIGSTOP)
        with strangers(one, 4, "descriptor", one.dir / "run/notify", "WATCHDOG=1", uid=uid, says=says):
            one.guard.send_signal(signal.SIGCONT)
            time.sleep(1.5 * WATCHDOG_SEC)
            assert beats_lost(one) == 0


def test_descriptors_over_the_bus(one: Lab) -> None:
    """D-Bus' own daemon may wait for the close, and nobody gets through it then; the guard goes on."""
    with unmoved(one, "a slow descriptor over D-Bus"):
        with strangers(one, 1, "bus-descriptor", *on_the_bus(one), says="sent"):
            time.sleep(1.5 * WATCHDOG_SEC)
            assert beats_lost(one) == 0


def test_a_sender_is_looked_at_before_it_is_let_go(one: Lab) -> None:
    """systemd-notify waits for the close of its descriptor, bf-guard beat for the end of its datagram."""
    environment = one.environment | {"NOTIFY_SOCKET": str(one.dir / "run/notify")}
    for _ in range(5):
        subprocess.run(["systemd-notify", "WATCHDOG=1"], env=environment, check=True, timeout=10)
        assert one.ask("beat", uid=KIOSK.pw_uid).returncode == 0
    one.until(lambda: one.status()["heartbeats"] == 10, "all of them")


# ---- floods


@pytest.mark.parametrize("how", ["blocks", "never-waits"])
@pytest.mark.parametrize("count", [1, 4, 16])
def test_floods(one: Lab, count: int, how: str) -> None:
    with unmoved(one, f"{count} flooders"):
        with strangers(one, count, "flood", one.dir / "run/notify", says="refused: Permission denied"):
            lost = beats_lost(one, how)
    print(f"{count} flooders, a kiosk that {how}: beats lost: {lost} of {BEATS}")
    assert lost == 0 and one.status()["heartbeats-refused"] == 0


@pytest.mark.parametrize("count", [1, 4])
def test_floods_of_signals(one: Lab, count: int) -> None:
    with unmoved(one, f"{count} flooders on D-Bus"):
        with strangers(one, count, "bus-flood", *on_the_bus(one), says="sent"):
            lost = beats_lost(one)
    print(f"{count} flooders on D-Bus: beats lost: {lost} of {BEATS}")
    assert lost == 0


def test_readers_that_hold_on(one: Lab) -> None:
    """Open files, locks, watches on what is published: none of them keeps the guard from publishing."""
    holder = """
import contextlib, fcntl, sys
files = [open(path) for path in sys.argv[1:] for _ in range(400)]
for f in files:
    fcntl.flock(f, fcntl.LOCK_SH)
    with contextlib.suppress(BlockingIOError):
        fcntl.lockf(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
print("held", flush=True)
sys.stdin.read()
"""
    with unmoved(one, "readers that hold on"), subprocess.Popen(
        ["python3", "-c", holder, one.dir / "run/status", one.dir / "run/status.json"], user=STRANGER, group=STRANGER,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:
        assert process.stdout.readline() == "held\n"
        assert beats_lost(one) == 0
        one.kill_guard()
        assert one.ask("status").returncode == 3
        one.start(**one.feeds.environment)
        process.stdin.close()


# ---- what is published


def test_status_of_a_guard_that_is_gone(one: Lab) -> None:
    assert json.loads(one.ask("status", "--json").stdout)["current"] is True
    one.kill_guard()
    gone = one.ask("status", "--json")
    assert gone.returncode == 3 and "left by a guard" in gone.stderr
    assert json.loads(gone.stdout)["current"] is False
    one.start(**one.feeds.environment)
    assert json.loads(one.ask("status", "--json").stdout)["current"] is True


def test_status_that_cannot_be_published(one: Lab) -> None:
    """A full /run: what is there is whole, and says that it is old; the guard goes on, and says so when it can."""
    run = one.dir / "run"
    one.kill_guard()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", run], check=True)
    try:
        one.start(**one.feeds.environment)
        one.kiosk_starts()
        with unmoved(one, "a full /run"):
            with (run / "full").open("wb") as full, contextlib.suppress(OSError):
                while True:
                    os.write(full.fileno(), bytes(1024))
            before = (run / "status.json").read_text()
            assert one.ask("beat", uid=KIOSK.pw_uid).returncode == 0
            one.log.wait_for("the status cannot be published: No space left on device")
            assert one.ask("status").returncode == 3
            assert (run / "status.json").read_text() == before and json.loads(before)["heartbeats"] == 0
        (run / "full").unlink()
        one.until(lambda: one.ask("status").returncode == 0, "room", timeout=5)
        assert one.status()["heartbeats"] == 1
        assert len([line for line in one.log.lines if "cannot be published" in line]) == 1
    finally:
        one.kill_guard()
        subprocess.run(["umount", "--lazy", run], check=True)


def test_status_is_replaced_whole(one: Lab) -> None:
    """Read as often as it goes, while it changes as often as it may."""
    end, seen = time.monotonic() + 4, set()
    thread = threading.Thread(target=beats_lost, args=(one,))
    thread.start()
    while time.monotonic() < end:
        seen.add(json.loads((one.dir / "run/status.json").read_text())["heartbeats"])
    thread.join()
    assert 5 < len(seen) < 30, "changed, but not for every beat"


def test_wait_outlives_the_guard(one: Lab) -> None:
    """A guard that is restarted while boot-complete.target waits for it."""
    command = [one.programs / "bf-guard", f"--runtime-dir={one.dir / 'run'}", "wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=STRANGER, group=STRANGER) as waiting:
        time.sleep(0.3)
        one.kill_guard()
        (one.dir / "run/status.json").unlink()
        time.sleep(0.3)
        assert waiting.poll() is None
        one.config.write_text(one.config.read_text() + "[trial]\nwindow=1\n")
        one.start(**one.feeds.environment)
        one.kiosk_starts()
        one.beats()
        assert waiting.wait(20) == 0
