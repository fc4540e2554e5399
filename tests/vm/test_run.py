"""tests/vm/run as a person uses it: in a terminal, with keys."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from pathlib import Path

import pytest

from artifacts import HERE, ImageOptions
from machine import BOOT_TIMEOUT
from test_firmware import make_image


class Screen:
    """A program in a terminal of its own."""

    def __init__(self, *argv: str | Path):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execv(argv[0], [str(a) for a in argv])
        self.text = ""

    def wait(self, pattern: str) -> None:
        until = time.monotonic() + 2 * BOOT_TIMEOUT
        while not re.search(pattern, self.text):
            assert time.monotonic() < until, f"no {pattern!r} in:\n{self.text[-2000:]}"
            if not select.select([self.fd], [], [], 1)[0]:
                continue
            try:
                self.text += os.read(self.fd, 65536).decode(errors="replace")
            except OSError:
                raise AssertionError(f"it ended without {pattern!r}:\n{self.text[-2000:]}") from None

    def send(self, keys: bytes) -> None:
        os.write(self.fd, keys)

    def end(self) -> int:
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:
                break
        status = os.waitpid(self.pid, 0)[1]
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


@pytest.fixture
def image(artifacts, tmp_path) -> Path:
    return artifacts.image_for(ImageOptions(), tmp_path / "disk.img")


def test_a_trial_and_its_end_through_the_firmware(image):
    """Every reboot of the guest is one line of the firmware; the image is not touched."""
    before = image.stat().st_mtime_ns
    done = subprocess.run([HERE / "run", image, "--snapshot", "--smp", "1", "--no-watchdog",
                           "--append", "mini.do=tryboot", "--max-boots", "3"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=4 * BOOT_TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr
    said = re.findall(r"== (.*)", done.stderr)
    assert said[0].startswith("firmware: boots partition 2: ")
    assert said[1].startswith("firmware: the run ended by reboot '0 tryboot'")
    assert said[2].startswith("firmware: boots partition 3 (tryboot): ")
    # Nothing was staged there, so bf-init goes back, and the flag is gone.
    assert "trial-not-staged" in done.stdout
    assert said[4].startswith("firmware: boots partition 2: ")
    assert said[-1] == "stopped after 3 boots"
    assert image.stat().st_mtime_ns == before


def test_keys(image):
    """Ctrl-A C pulls the plug and powers on again, Ctrl-A X ends it."""
    screen = Screen(HERE / "run", image, "--snapshot", "--trial", "--smp", "1", "--append", "mini.do=hang")
    screen.wait(r"boots partition 3 \(tryboot\)")
    screen.wait("MINI end=1")
    screen.send(b"\x01c")
    screen.wait(r"the run ended by cut[\s\S]*boots partition 2: ")
    screen.send(b"\x01x")
    assert screen.end() == 0


@pytest.mark.parametrize("argv,code,message", [
    (["/nonexistent"], 1, "No such file"), (["/etc/passwd"], 1, "no GPT"), ([], 2, "required"),
    (["x", "--disk-kind", "floppy"], 2, "invalid choice")])
def test_wrong_use(argv, code, message):
    done = subprocess.run([HERE / "run", *argv], capture_output=True, text=True, check=False)
    assert done.returncode == code and message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_that_cannot_boot(tmp_path):
    made = make_image(tmp_path / "disk.img", 512, 16, 4)
    for part in ("BF_BOOT_A", "BF_BOOT_B"):
        made.fat_delete(part, "config.txt")
    done = subprocess.run([HERE / "run", made.path], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)
    assert done.returncode == 1 and "no bootable partition" in done.stderr
