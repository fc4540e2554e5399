# SPDX-License-Identifier: MIT
"""bf-boot as RAUC runs it: one process a question, answers on stdout, the exit status, no more.

The device is a directory (tests/tools/bf-boot-fake.c); what became of it is read with other code
than ours: mtools for the selector partition, a few lines here for the boot record.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

HASH = "c0ffee00" * 8  # in the boot images of the fake device
LOCK_SEC = 10


@dataclass
class Device:
    tool: Path
    root: Path
    disk: str = "nvme0n1p"

    @property
    def _environment(self) -> dict[str, str]:
        return {"BF_FAKE_ROOT": str(self.root)}  # RAUC gives its own; nothing of it is needed

    def start(self, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen([self.tool, *argv], stdin=subprocess.DEVNULL, text=True, cwd="/",
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self._environment)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.tool, *argv], stdin=subprocess.DEVNULL, text=True, cwd="/", check=False,
                              capture_output=True, env=self._environment, timeout=60)

    def ok(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 0, (argv, done)
        return done.stdout

    def refused(self, *argv: str) -> str:
        done = self.run(*argv)
        assert done.returncode == 1 and done.stdout == "" and done.stderr, (argv, done)
        return done.stderr

    def record(self) -> dict[str, str]:
        """The newer generation of two."""
        found = []
        for name in ("boot-record", "boot-record.old"):
            path = self.root / "data/bf" / name
            data = path.read_bytes() if path.exists() else b""
            body, _, rest = data.partition(b"crc32=")
            if rest.strip() == b"%08x" % zlib.crc32(body):
                found.append(dict(line.split("=", 1) for line in body.decode().splitlines()))
        return max(found, key=lambda record: int(record["gen"]))

    def selector(self) -> bytes:
        """autoboot.txt as mtools reads it."""
        return subprocess.run(["mtype", "-i", self.root / f"dev/{self.disk}1", "::autoboot.txt"],
                              capture_output=True, check=True,
                              env={**os.environ, "MTOOLS_SKIP_CHECK": "1"}).stdout

    def committed(self) -> str:
        """By autoboot.txt, as the firmware reads it."""
        lines = self.selector().decode().split()
        assert lines[:2] == ["[all]", "tryboot_a_b=1"] and lines[3] == "[tryboot]", lines
        both = {"boot_partition=2": "A", "boot_partition=3": "B"}
        assert {both[lines[2]], both[lines[4]]} == {"A", "B"}
        return both[lines[2]]

    @property
    def argument(self) -> Path:
        return self.root / "run/systemd/reboot-param"

    @property
    def armed(self) -> Path:
        return self.root / "run/bf/armed"


@pytest.fixture
def make(programs: Path, tmp_path: Path):
    made = 0

    def factory(*words: str) -> Device:
        nonlocal made
        made += 1
        root = tmp_path / f"device{made}"
        root.mkdir()
        disk = next((w.removeprefix("disk=") for w in words if w.startswith("disk=")), "nvme0n1p")
        device = Device(programs / "tests/bf-boot-fake", root, disk)
        device.ok("--make", *words)
        return device

    return factory


# -- what RAUC relies on --------------------------------------------------------------------------


def test_answers_are_exactly_one_word(make):
    device = make()
    for question, answer in [(["get-primary"], "A\n"), (["get-current"], "A\n"),
                             (["get-state", "A"], "good\n"), (["get-state", "B"], "good\n")]:
        done = device.run(*question)
        assert (done.returncode, done.stdout, done.stderr) == (0, answer, "")


def test_commands_without_an_answer_say_nothing_on_stdout(make):
    device = make()
    assert device.ok("set-state", "B", "bad") == ""
    assert device.ok("set-primary", "B") == ""
    assert device.ok("set-state", "A", "good") == ""
    assert device.ok("reconcile") == ""


@pytest.mark.parametrize("argv", [(), ("get",), ("get-state",), ("set-state", "A"), ("set-state", "A", "GOOD"),
                                  ("set-primary", "A", "B"), ("get-primary", "--json")])
def test_wrong_usage(make, argv: Sequence[str]):
    device = make()
    before = device.record()
    done = device.run(*argv)
    assert done.returncode == 2 and done.stdout == "" and done.stderr
    assert device.record() == before


def test_unknown_slot(make):
    device = make()
    before = device.record()
    for argv in [("get-state", "C"), ("set-state", "C", "bad"), ("set-state", "rootfs.0", "good"), ("set-primary", "")]:
        assert "The slots are A and B." in device.refused(*argv)
    assert device.record() == before


def test_installation(make):
    """The calls of `rauc install`, of the shutdown, and what they leave behind."""
    device = make()
    device.ok("set-state", "B", "bad")
    assert device.ok("get-state", "B") == "bad\n" and device.ok("get-primary") == "A\n"
    device.ok("set-primary", "B")
    record = device.record()
    assert (record["staged"], record["kind"], record["attempts"]) == ("B", "update", "0")
    assert record["hash.B"] == HASH
    assert device.ok("get-primary") == "B\n" and device.ok("get-state", "B") == "good\n"
    assert not device.argument.exists(), "the next reboot may be one that counts nothing"
    assert device.committed() == "A"
    device.ok("shutdown", "reboot")
    assert device.argument.read_text() == "0 tryboot\n"
    device.argument.unlink()  # what a second `reboot` does
    device.ok("arm")
    assert device.argument.read_text() == "0 tryboot\n"
    assert device.record()["attempts"] == "1"


def test_install_twice_while_armed(make):
    device = make()
    for _ in range(2):
        device.ok("set-state", "B", "bad")
        assert device.ok("get-primary") == "A\n" and not device.armed.exists()
        device.ok("set-primary", "B")
        assert device.ok("get-primary") == "B\n" and device.armed.exists()
    assert device.record()["attempts"] == "0"


def test_set_primary_to_the_committed_slot_cancels(make):
    device = make("staged=B")
    device.ok("reconcile")
    assert device.armed.exists()
    device.ok("set-primary", "A")
    assert not device.armed.exists() and device.record()["staged"] == "-"
    assert device.ok("get-primary") == "A\n"


def test_commit_is_asked_for_twice(make):
    device = make("staged=B", "running=B")
    assert device.ok("get-primary") == "A\n" and device.ok("get-current") == "B\n"
    device.ok("set-state", "B", "good")
    record, sector = device.record(), device.selector()
    assert record["committed"] == "B" and device.committed() == "B"
    device.ok("set-state", "B", "good")
    assert device.record() == record and device.selector() == sector


def test_commit_from_the_wrong_slot(make):
    device = make("staged=B")
    before = device.record()
    device.refused("set-state", "B", "good")
    assert device.record() == before and device.committed() == "A"


def test_a_trial_protects_what_it_falls_back_to(make):
    device = make("staged=B", "running=B")
    before = device.record()
    assert "trial" in device.refused("set-state", "A", "bad")
    device.refused("set-primary", "A")
    assert device.record() == before and device.committed() == "A"


def test_reject_reboots_plainly(make):
    device = make("staged=B", "running=B")
    done = device.run("reject", "init-missing")
    assert done.returncode == 0
    assert "systemctl reboot --check-inhibitors=no\n" in (device.root / "log").read_text()
    record = device.record()
    assert record["state.B"] == "bad" and record["committed"] == "A"
    assert record["history.0"].endswith("init-missing")


@pytest.mark.parametrize("disk", ["nvme0n1p", "mmcblk0p", "sda"])
@pytest.mark.parametrize("fat", ["12", "16", "32"])
@pytest.mark.parametrize("block", ["512", "4096"])
def test_disks(make, disk, fat, block):
    device = make(f"disk={disk}", f"fat={fat}", f"block={block}", "staged=B", "running=B")
    assert device.committed() == "A"
    device.ok("set-state", "B", "good")
    assert device.committed() == "B" and len(device.selector()) == 512


# -- several at once -----------------------------------------------------------------------------


def test_many_at_once(make):
    """Nobody sees half of what another does, and no change is lost."""
    device = make()
    commands = [("set-state", "B", "bad"), ("set-primary", "B"), ("get-primary",), ("get-state", "B"),
                ("status", "--json"), ("set-primary", "A")] * 6
    running = [(argv, device.start(*argv)) for argv in commands]
    answers: dict[tuple[str, ...], set[str]] = {}
    for argv, process in running:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (argv, err)
        answers.setdefault(argv, set()).add(out)
    assert answers[("get-primary",)] <= {"A\n", "B\n"}
    assert answers[("get-state", "B")] <= {"good\n", "bad\n"}
    for text in answers[("status", "--json")]:
        assert json.loads(text)["committed"] == "A"
    device.ok("set-state", "B", "bad")
    assert device.ok("get-primary") == "A\n" and device.committed() == "A"


def test_a_lock_that_is_never_given_back(make):
    """RAUC has no deadline for its backend; ours ends by itself."""
    device = make()
    lock = device.root / "run/bf/lock"
    holder = subprocess.Popen(["flock", "--no-fork", lock, "sleep", "60"])
    try:
        while subprocess.run(["flock", "-n", lock, "true"], check=False).returncode == 0:
            time.sleep(0.01)
        before = time.monotonic()
        assert "locked" in device.refused("set-primary", "B")
        assert LOCK_SEC - 1 < time.monotonic() - before < LOCK_SEC + 5
    finally:
        holder.kill()
        holder.wait()


# -- for programs and for people ------------------------------------------------------------------

STATUS_KEYS = {
    "running", "committed", "trial", "committable", "staged", "kind", "attempts", "trials", "trial_reason", "armed",
    "primary", "next_boot", "slots", "probation", "hard", "soft", "ladder", "repairs", "doublings", "generation",
    "last", "reason", "degraded", "writable", "limbo", "mismatch", "staying", "record", "selector", "data", "data_why",
    "boot_id", "cause", "notes",
}


def test_status_json(make):
    device = make("staged=B", "running=B")
    status = json.loads(device.ok("status", "--json"))
    assert set(status) == STATUS_KEYS
    assert (status["running"], status["committed"], status["staged"]) == ("B", "A", "B")
    assert status["trial"] is True and status["next_boot"] == {"reboot": "A", "power_on": "A"}
    assert set(status["slots"]) == {"A", "B"} and status["slots"]["A"]["state"] == "good"
    assert status["notes"] == []
    device.ok("set-state", "B", "good")
    status = json.loads(device.ok("status", "--json"))
    assert status["probation"] is True and status["trial"] is False and status["primary"] == "B"
    # The only way back is not overwritten; when the probation is over, it may be.
    assert "probation" in device.refused("set-state", "A", "bad")
    device.ok("settle")
    assert json.loads(device.ok("status", "--json"))["probation"] is False
    device.ok("set-state", "A", "bad")


def test_history(make):
    device = make()
    device.ok("set-primary", "B")
    device.ok("cancel")
    events = json.loads(device.ok("history", "--json"))
    assert [(e["event"], e["slot"], e["reason"]) for e in events] == [
        ("given-up", "B", "trial-cancelled"), ("staged", "B", None)]
    lines = device.ok("history").splitlines()
    assert len(lines) == 2 and lines[0].startswith(events[0]["time"])


def test_is_refused(make):
    device = make()
    device.ok("set-primary", "B")
    assert device.run("is-refused", HASH).returncode == 1
    root = device.root
    (root / "run/bf/boot").write_text((root / "run/bf/boot").read_text() +
                                      "BF_SLOT=B\nBF_TRIAL=yes\nBF_COMMITTABLE=yes\n")
    assert device.run("reject").returncode == 0
    assert device.run("is-refused", HASH).returncode == 0
    assert device.run("is-refused", HASH.upper()).returncode == 0
    assert device.run("is-refused", "f00d").returncode == 1
    assert device.run("is-refused", "no hash").returncode == 2
    (root / "run/bf/boot").unlink()
    assert device.run("is-refused", HASH).returncode == 3


def test_the_program_itself(programs: Path):
    for argv in (["--help"], ["--version"], ["set-state", "--help"]):
        done = subprocess.run([programs / "bf-boot", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "bf-boot" in done.stdout and not done.stderr


def test_every_command_is_in_the_manual(programs: Path):
    text = subprocess.run([programs / "bf-boot", "--help"], capture_output=True, text=True, check=True).stdout
    commands = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and not line.startswith("  --")]
    manual = (Path(__file__).resolve().parents[2] / "boot/tool/bf-boot.8").read_text()
    assert len(commands) > 15
    described = [line for line in manual.splitlines() if line.startswith(".It Cm")]
    for command in commands:
        assert any(line.split()[2] == command for line in described), command
