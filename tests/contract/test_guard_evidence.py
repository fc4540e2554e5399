# SPDX-License-Identifier: MIT
"""Whose sign of life it is: bf-guard with real processes as the kiosk's, and their real start times."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardlab import Lab

# Signs have to go on, and none of them fills the window.
AGES = "[heartbeat]\nonce=no\nmax-age=2\nmarker-max-age=2\nmarker-proves=local\n[trial]\nwindow=4\n[server]\nrequired=no\n"
TRIAL = "trial committable reached"


class Kiosk:
    """A unit whose main process is another one after each restart."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.processes: list[subprocess.Popen] = []

    def main(self) -> None:
        # Its start is known to a hundredth of a second, and what came before it is not of it.
        time.sleep(0.05)
        self.processes.append(subprocess.Popen(["sleep", "1000"]))
        self.lab.say(f"main {self.processes[-1].pid}")

    def starts(self) -> None:
        self.main()
        self.lab.kiosk_starts()

    def restarts(self, how: str = "restart") -> None:
        self.main()
        self.lab.say(how)

    def heartbeat(self) -> str:
        return self.lab.status()["checks"]["heartbeat"]["verdict"]

    def until(self, verdict: str) -> None:
        self.lab.until(lambda: self.heartbeat() == verdict, f"a heartbeat that is {verdict}")

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def kiosk(programs: Path) -> Iterator[Callable[..., Kiosk]]:
    made: list[Kiosk] = []

    def make(facts: str, extra: str = "", **how) -> Kiosk:
        one = Lab(programs, facts, extra=AGES + extra, **how)
        made.append(Kiosk(one))
        one.start()
        made[-1].starts()
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.lab.close()


def test_hung_kiosk_that_once_beat_is_rejected(kiosk) -> None:
    """It beats, crashes, is restarted, beats once and hangs. It was committed fifteen seconds after its last sign."""
    one = kiosk(TRIAL, uptime=590)
    one.lab.beat()
    one.lab.until_phase("window")
    one.restarts()
    one.lab.beat()
    one.lab.until_asked("reject kiosk-silent", timeout=20)
    assert not [line for line in one.lab.calls.lines if "Mark" in line]


def test_another_invocation_starts_with_nothing(kiosk) -> None:
    one = kiosk(TRIAL)
    one.lab.beat()
    one.lab.marker.write_text("ok\n")
    one.until("pass")
    one.restarts()
    one.until("fail")
    one.lab.beat()
    one.until("pass")


def test_marker_of_the_one_before_proves_nothing(kiosk) -> None:
    one = kiosk(TRIAL)
    one.lab.marker.write_text("ok\n")
    one.until("pass")
    one.restarts()
    one.until("fail")
    time.sleep(1)
    assert one.heartbeat() == "fail"
    one.lab.marker.write_text("ok again\n")
    one.until("pass")


def test_process_that_the_one_before_left_behind_proves_nothing(kiosk) -> None:
    one = kiosk(TRIAL)
    one.restarts()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:      # older than the main process
        s.sendto(b"WATCHDOG=1", str(one.lab.dir / "run/notify"))
        one.lab.until(lambda: one.lab.status()["heartbeats-refused"] == 1, "it to be refused")
    assert one.heartbeat() == "fail" and one.lab.status()["heartbeats"] == 0


def test_sign_that_comes_before_the_news(kiosk) -> None:
    """It does not count for the old invocation, nor is it lost for the new one."""
    one = kiosk(TRIAL)
    one.restarts("quiet-restart")
    one.lab.beat("WATCHDOG=1", "STATUS=the new one")
    one.until("pass")
    now = one.lab.status()
    assert now["unit-restarts"] == 1 and now["kiosk-status"] == "the new one"


def test_signs_that_go_on_are_committed(kiosk) -> None:
    one = kiosk(TRIAL)
    for _ in range(8):
        one.lab.beat()
        time.sleep(0.7)
    one.lab.until_phase("probation")


def test_silence_in_the_probation_settles_nothing(kiosk) -> None:
    one = kiosk("committed probation", extra="[committed]\nprobation=10\npatience=600\n")
    for _ in range(8):
        one.lab.beat()
        time.sleep(0.7)
    one.lab.until_asked("confirmed -")
    one.until("fail")
    time.sleep(11)
    assert "settle -" not in one.lab.asked() and one.lab.status()["probation"]


def test_window_that_one_sign_fills_is_made_longer(kiosk) -> None:
    one = kiosk(TRIAL, extra="[heartbeat]\nmax-age=7\n")
    assert any("max-age=7 s is not shorter than [trial] window=4 s" in line for line in one.lab.log.lines)
    assert one.lab.status()["config-warnings"] == 1
    one.lab.beat()
    window = one.lab.until_phase("window")
    assert 12 < window["left-sec"] <= 14


def test_script_that_passed_before_a_restart_is_run_again(kiosk) -> None:
    one = kiosk(TRIAL, extra="[checks]\ninterval=600\ntimeout=20\n")
    runs = one.lab.dir / "runs"
    one.lab.check("asks-the-kiosk", f"echo >>{runs}; [ $(wc -l <{runs}) = 1 ] || sleep 3\n")
    one.lab.kill_guard()
    one.lab.start()
    scripts = lambda: one.lab.status()["checks"]["scripts"]["verdict"]      # noqa: E731
    one.lab.until(lambda: scripts() == "pass", "the first answer")
    one.lab.until(lambda: one.lab.status()["checks"]["unit"]["verdict"] == "pass", "the unit")
    one.restarts()
    one.lab.until(lambda: scripts() == "inconclusive", "that answer to be forgotten")
    one.lab.until(lambda: scripts() == "pass", "another one")
    assert runs.read_text() == "\n\n"


# ---- a unit that is down on purpose


@pytest.mark.parametrize("how", [
    ["ended 1", "active inactive dead"],
    ["active active exited"],
    ["condition no", "active inactive dead"],
    ["result exec-condition", "active inactive dead"],
])
def test_kiosk_that_ended_as_it_wanted_is_left_alone(kiosk, how: list[str]) -> None:
    one = kiosk("committed")
    one.lab.beat()
    one.lab.say(*how)
    one.lab.until(lambda: one.lab.status()["checks"]["unit"]["verdict"] == "inconclusive", "no verdict")
    time.sleep(5)      # patience and the signs' age are long over
    now = one.lab.status()["checks"]
    assert now["unit"]["verdict"] == now["heartbeat"]["verdict"] == "inconclusive", now
    assert not [line for line in one.lab.calls.lines if "Restart" in line or "Reboot" in line]
    assert not [line for line in one.lab.asked() if "kiosk-fails" in line]


def test_kiosk_that_failed_is_not(kiosk) -> None:
    one = kiosk("committed")
    one.lab.beat()
    one.lab.say("ended 1", "result exit-code", "active failed failed")
    one.lab.calls.wait_for("systemd RestartUnit kiosk.service replace")


def test_unit_that_is_an_alias(kiosk) -> None:
    """News come under the unit's own name, as of display-manager.service."""
    one = kiosk(TRIAL)
    one.lab.say("id other.service", "active active running")      # nobody hears this one
    one.lab.beat()      # which asks, and finds the name
    one.lab.until(lambda: one.heartbeat() == "pass", "the heartbeat")
    one.restarts()
    one.lab.until(lambda: one.lab.status()["unit-restarts"] == 1, "its restart")
