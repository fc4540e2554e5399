"""A Raspberry Pi 5 as far as booting goes: QEMU's virt board behind the firmware model.

Machine is one power-on-to-reset run of QEMU. Device is the box on the wall: a disk, the state that
survives a warm reset, and the loop that asks firmware.decide() what comes next.

Software emulation only: a /dev/kvm that opens is not a KVM that works.
"""

from __future__ import annotations

import codecs
import ctypes
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Sequence

import firmware
import screen
from firmware import Request, Settings

QEMU = os.environ.get("BF_QEMU", "qemu-system-aarch64")
# Emulated seconds pass slowly on a busy host; these bound a failure, not a success.
BOOT_TIMEOUT = float(os.environ.get("BF_VM_TIMEOUT", "180"))

ANSWER_SEC = 10.0                       # what QEMU may take to answer about a guest that hangs
STATE_SEC = 120.0                       # for the state of a guest to be written or read
WAKE_SEC = 1.0                          # an idle guest is late by this at most
LINE_PAUSE_SEC = 1.0                    # a prompt, if nothing follows it for so long
# A second of the firmware's watchdog takes so many here: the guest is emulated, on a host that does more.
WATCHDOG_SLOWER = 10
# Where QEMU's board has the configuration space of its i6300esb, and in it the byte that says whether
# the watchdog runs.
WATCHDOG_SLOT = 0x1E
WATCHDOG_LOCK = 0x40_1000_0000 + (WATCHDOG_SLOT << 15) + 0x68
WATCHDOG_RUNS = 0x02

DISK_KINDS = ("virtio", "nvme", "sd", "usb")


class MachineError(Exception):
    """The lab itself failed (QEMU did not start, QMP broke)."""


class Timeout(AssertionError):
    """The guest did not get where it should have."""


@dataclass(frozen=True)
class End:
    """How one run ended.

    how: "reboot" (the kernel restarted, with `argument`), "reset" (panic=N, sysrq), "unheard" (a
    reset, and the kernel did not say which: see last_words()), "watchdog", "poweroff", "cut" (we
    pulled the plug).
    """

    how: str
    argument: str | None = None

    def __str__(self) -> str:
        return self.how if self.argument is None else f"{self.how} {self.argument!r}"


@dataclass
class Disk:
    path: Path
    kind: str = "virtio"
    sector_size: int = 512
    read_only: bool = False
    write_log: Path | None = None       # every write in dm-log-writes format
    nbd: Path | None = None             # QEMU's disk is the server behind this socket, see worn_card.py

    def __post_init__(self) -> None:
        if self.kind not in DISK_KINDS:
            raise MachineError(f"disk kind {self.kind!r} is none of {', '.join(DISK_KINDS)}")


@dataclass(frozen=True)
class Hardware:
    smp: int = 2
    memory: int = 1024                  # MiB
    watchdog: bool = False              # i6300esb, resets the machine; see Machine.watch_start()
    icount: int | None = None           # -icount shift=N: 2^N ns of guest time per instruction
    plugin: str | None = None           # -plugin argument
    # A network of one server: this TCP port of the host's loopback is SERVER_ADDRESS, port 80, to
    # the guest. It reaches nothing else, and nothing reaches it.
    server_port: int | None = None
    screen: tuple[int, int] | None = None       # width and height of a framebuffer, see screen.py


SERVER_ADDRESS = "10.0.2.100"           # the guest's own is 10.0.2.15/24

SERIAL_NUMBER = "10000000c0ffee42"      # of the board, as the firmware writes it

# One processor emulates in less host time than two; what can differ with two has its own test.
SMALL = Hardware(smp=1, memory=512)
# A quarter of the kernel's boot, and nothing we test: ciphers, trace points, a source of randomness.
# What a guest that hangs is asked needs the last word.
LAB_WORDS = ("cryptomgr.notests initcall_blacklist=init_kprobe_trace,jent_mod_init "
             "sysrq_always_enabled")


# -- device tree --------------------------------------------------------------------------------

def qemu_version() -> str:
    return subprocess.run([QEMU, "--version"], check=True, capture_output=True, text=True).stdout


def device_tree(hardware: Hardware, cells: dict[str, int] | None, out: Path, cache: Path) -> Path:
    """QEMU's own device tree plus /chosen/bootloader (big-endian cells). None leaves the node out."""
    base = cache / f"virt-{hardware.smp}-{hardware.memory}.dtb"
    if not base.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as d:
            made = Path(d, "dtb")
            subprocess.run([QEMU, "-M", f"virt,dumpdtb={made}", "-cpu", "cortex-a76", "-accel",
                            "tcg", "-m", str(hardware.memory), "-smp", str(hardware.smp)],
                           check=True, capture_output=True)
            # QEMU dumps 1 MiB, mostly air, and doubles what it loads: arm64 takes 2 MiB at most.
            subprocess.run(["dtc", "-q", "-I", "dtb", "-O", "dtb", "-o", f"{made}.packed", str(made)],
                           check=True, capture_output=True)
            Path(f"{made}.packed").replace(base)
    out.write_bytes(base.read_bytes())
    if cells is not None:
        subprocess.run(["fdtput", "-c", str(out), "/chosen/bootloader"], check=True)
        for name, value in cells.items():
            subprocess.run(["fdtput", "-t", "x", str(out), "/chosen/bootloader", name,
                            f"{value & 0xFFFFFFFF:x}"], check=True)
    subprocess.run(["fdtput", "-t", "s", str(out), "/", "serial-number", SERIAL_NUMBER], check=True)
    if hardware.screen:
        screen.add_node(out, hardware.screen, hardware.memory)
    return out


# -- QMP ----------------------------------------------------------------------------------------

class Qmp:
    """The control channel: commands of any thread, events as they come."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.events: list[dict] = []
        self.answers: dict[int, dict] = {}
        self.asked = 0
        self.closed = False
        self.changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            with self.sock.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    with self.changed:
                        if "event" in message:
                            self.events.append(message)
                        elif "QMP" not in message:
                            self.answers[message.get("id", 0)] = message
                        self.changed.notify_all()
        except (OSError, ValueError):
            pass
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def command(self, name: str, timeout: float = 60, /, **arguments: object) -> object:
        with self.changed:
            self.asked = me = self.asked + 1
            self.sock.sendall(json.dumps({"execute": name, "arguments": arguments, "id": me}).encode())
            if not self.changed.wait_for(lambda: me in self.answers or self.closed, timeout):
                raise MachineError(f"no answer to {name}")
            if me not in self.answers:
                raise MachineError(f"QEMU went away during {name}")
            answer = self.answers.pop(me)
        if "error" in answer:
            raise MachineError(f"{name}: {answer['error'].get('desc')}")
        return answer.get("return")

    def drain(self) -> None:
        """Read what QEMU said before it went away."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed, 30)

    def seen(self, event: str) -> dict | None:
        with self.changed:
            return next((e for e in self.events if e["event"] == event), None)


_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    """However a test run ends, no QEMU outlives it: prctl(PR_SET_PDEATHSIG, SIGKILL)."""
    _libc.prctl(1, signal.SIGKILL)


# -- network ------------------------------------------------------------------------------------

RELAY = Path(__file__).resolve().parent / "relay.py"


def network_arguments(port: int) -> list[str]:
    """QEMU starts the relay for each connection; a guestfwd to a socket would have one for all."""
    relay = f"{sys.executable} -ISs {RELAY} {port}".replace(",", ",,")
    return ["-netdev", f"user,id=net0,restrict=on,guestfwd=tcp:{SERVER_ADDRESS}:80-cmd:{relay}",
            "-device", "virtio-net-pci,netdev=net0,id=nic0,romfile="]


# -- one run ------------------------------------------------------------------------------------

def last_words(console: str) -> End:
    """What kind of reset it was, as far as the console tells.

    With two processors the farewell can get lost: the one that restarts leaves its line to the one
    that is printing, and then stops it. No argument can be made of silence, so a test that needs
    one right after other kernel messages runs on one processor, where printk cannot be preempted.
    """
    said = re.findall(r"reboot: Restarting system(?: with command '([^\n]*)')?$", console, re.M)
    if said:
        return End("reboot", said[-1] or None)
    return End("reset" if re.search(r"Kernel panic - not syncing|sysrq: Resetting", console)
               else "unheard")


class Machine:
    """One run of QEMU. The console goes to the log file from the first byte on."""

    def __init__(self, *, kernel: Path, initrd: Path | None, cmdline: str, dtb: Path | None,
                 disks: Sequence[Disk], log: Path, hardware: Hardware = Hardware(),
                 echo: Callable[[bytes], None] | None = None, incoming: Path | None = None):
        self.log, self.cmdline = log, cmdline
        self.started = time.monotonic()
        self._echo = echo
        self._text = ""
        self._seen = 0                  # everything before was matched by wait()
        self._grown = threading.Condition()
        self._console_closed = False
        self._cut = self._never_opened = False
        self._disks = list(disks)
        serial, serial_far = socket.socketpair()
        qmp, qmp_far = socket.socketpair()
        # Threads of the vCPUs and QEMU's main loop share two cores with other tests: no more.
        argv = [QEMU, "-M", "virt", "-cpu", "cortex-a76", "-accel", "tcg",
                "-smp", str(hardware.smp), "-m", str(hardware.memory), "-display", "none",
                "-nodefaults", "-action", "reboot=shutdown",
                "-chardev", f"socket,id=con,fd={serial_far.fileno()}", "-serial", "chardev:con",
                "-chardev", f"socket,id=mon,fd={qmp_far.fileno()}", "-mon", "chardev=mon,mode=control",
                "-kernel", str(kernel), "-append", cmdline]
        if initrd:
            argv += ["-initrd", str(initrd)]
        if dtb:
            argv += ["-dtb", str(dtb)]
        if hardware.watchdog:
            argv += ["-device", f"i6300esb,addr={WATCHDOG_SLOT:#x}", "-action", "watchdog=reset"]
        if hardware.icount is not None:
            argv += ["-icount", f"shift={hardware.icount},sleep=on"]
        if hardware.plugin:
            argv += ["-plugin", hardware.plugin]
        if incoming:
            argv += ["-incoming", f"exec:cat {shlex.quote(str(incoming))}"]
        argv += self._disk_arguments()
        if hardware.server_port is not None:
            argv += network_arguments(hardware.server_port)
        self.argv = argv
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = open(log, "ab", buffering=0)
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self._stderr,
                                        stderr=self._stderr, start_new_session=True,
                                        preexec_fn=_die_with_parent,
                                        pass_fds=(serial_far.fileno(), qmp_far.fileno()))
        serial_far.close()
        qmp_far.close()
        self._serial = serial
        self._reader = threading.Thread(target=self._read_console, daemon=True)
        self._reader.start()
        self.qmp = Qmp(qmp)
        try:
            self.qmp.command("qmp_capabilities")
        except (MachineError, OSError) as e:
            self.kill()
            raise MachineError(f"QEMU did not start: {self._qemu_says()}") from e
        threading.Thread(target=self._keep_awake, daemon=True).start()

    def _keep_awake(self) -> None:
        """QEMU's main loop, on a busy host, can sleep through a timer that the guest has set.

        A disk that is read by the processor's own thread (sd-card, nvme on its shutdown) takes the
        notice away before the main loop has seen it. An idle guest then waits, until anything else
        wakes QEMU: a command does.
        """
        while not self.qmp.closed:
            time.sleep(WAKE_SEC)
            try:
                self.qmp.command("query-status")
            except MachineError:
                pass                    # late, or about to end
            except OSError:
                return

    def _disk_arguments(self) -> list[str]:
        # no-flush: what the guest has written outlives QEMU, and the host's power is not on trial here; a
        # busy host may take minutes for an fsync(), and the guest stands still meanwhile.
        argv: list[str] = []
        cache = {"direct": False, "no-flush": True}
        for i, disk in enumerate(self._disks):
            node: dict = {"driver": "raw", "node-name": f"disk{i}-raw", "read-only": disk.read_only,
                          "file": {"driver": "file", "filename": str(disk.path), "cache": cache}}
            if disk.nbd:
                node["file"] = {"driver": "nbd", "server": {"type": "unix", "path": str(disk.nbd)},
                                "cache": cache}
            if disk.write_log:
                disk.write_log.touch()
                node = {"driver": "blklogwrites", "file": node, "log-sector-size": disk.sector_size,
                        "log": {"driver": "file", "filename": str(disk.write_log), "cache": cache}}
            node["node-name"] = f"disk{i}"
            argv += ["-blockdev", json.dumps(node)]
            blocks = f"logical_block_size={disk.sector_size},physical_block_size={disk.sector_size}"
            if disk.kind == "virtio":
                # Zeroes that the disk is to write by itself are logged in two steps, and another request's
                # entry may get between them.
                blocks += ",write-zeroes=off" if disk.write_log else ""
                argv += ["-device", f"virtio-blk-pci,id=dev{i},drive=disk{i},{blocks}"]
            elif disk.kind == "nvme":
                argv += ["-device", f"nvme,id=dev{i},drive=disk{i},serial=lab{i},{blocks}"]
            elif disk.kind == "usb":
                argv += ["-device", f"qemu-xhci,id=usb{i}",
                         "-device", f"usb-storage,id=dev{i},bus=usb{i}.0,drive=disk{i},{blocks}"]
            else:
                argv += ["-device", f"sdhci-pci,id=sd{i}", "-device", f"sd-card,id=dev{i},drive=disk{i}"]
        return argv

    def _read_console(self) -> None:
        # A character may come in pieces.
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            try:
                data = self._serial.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            self._log.write(data)
            if self._echo:
                self._echo(data)
            with self._grown:
                self._text += decoder.decode(data).replace("\r", "")
                self._grown.notify_all()
        with self._grown:
            self._console_closed = True
            self._grown.notify_all()

    def _qemu_says(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace").strip()

    # -- watching -----------------------------------------------------------------------------

    @property
    def console(self) -> str:
        with self._grown:
            return self._text

    def wait(self, pattern: str, timeout: float = BOOT_TIMEOUT) -> re.Match[str]:
        """Wait for console text that no earlier wait() has passed. Ends early when the guest does."""
        regex = re.compile(pattern, re.M)
        until = time.monotonic() + timeout
        with self._grown:
            while True:
                match = regex.search(self._text, self._seen)
                known = len(self._text)
                # A match at the very end may be half a line of which more is on its way.
                at_end = match is not None and match.end() == known and self._text[-1:] != "\n"
                if self._console_closed or (match and not at_end):
                    break
                grew = self._grown.wait_for(
                    lambda: len(self._text) > known or self._console_closed,
                    min(LINE_PAUSE_SEC, until - time.monotonic()) if at_end
                    else until - time.monotonic())
                if not grew and (at_end or time.monotonic() >= until):
                    break
            if match is None:
                how = "ended" if self._console_closed else f"said nothing of it in {timeout:.0f} s"
                raise Timeout(f"waiting for {pattern!r}, the guest {how}; "
                              f"last lines:\n{tail(self._text)}")
            self._seen = match.end()
            return match

    def wait_end(self, timeout: float = BOOT_TIMEOUT) -> End:
        """Wait until the guest is gone. A guest that stays is an error and is killed."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            said = tail(self.console)
            why = self._ask_why()
            self.kill()
            raise Timeout(f"the guest did not end in {timeout:.0f} s ({why}); last lines:\n{said}") from None
        self._reader.join(30)
        self.qmp.drain()
        self._close()
        return self.end()

    def end(self) -> End:
        if self._cut:
            return End("cut")
        if self._never_opened:
            return End("watchdog")
        shutdown = self.qmp.seen("SHUTDOWN")
        if shutdown is None:
            raise MachineError(f"QEMU died: code {self.process.returncode}: {self._qemu_says()}")
        if self.qmp.seen("WATCHDOG"):
            return End("watchdog")
        if shutdown["data"]["reason"] == "guest-shutdown":
            return End("poweroff")
        return last_words(self.console)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    # -- acting -------------------------------------------------------------------------------

    def send(self, text: str | bytes) -> None:
        self._serial.sendall(text.encode() if isinstance(text, str) else text)

    def cut(self) -> End:
        """Pull the plug now. What the guest has not handed to the disk is lost."""
        self._cut = True
        self.kill()
        return End("cut")

    def watch_start(self, seconds: float) -> None:
        """Plays the part of a watchdog that runs before the kernel does, and ends the run if nobody
        has opened it in time.

        QEMU's i6300esb cannot run before its driver has started it. So the lab looks whether it
        does; from then on it counts by itself. (The kernel's own watchdog.open_timeout= has
        nothing to do here: it is for a device that ran when its driver came.)
        """
        threading.Thread(target=self._watch_start, args=(seconds,), daemon=True).start()

    def _watch_start(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.running and not self.watchdog_runs():
            if time.monotonic() > until:
                self._never_opened = True
                self.process.send_signal(signal.SIGKILL)
                return
            time.sleep(WAKE_SEC)

    def watchdog_runs(self) -> bool:
        """Nobody can say of a guest that has just ended, or is late: then the next look does."""
        try:
            said = self.qmp.command("human-monitor-command",
                                    **{"command-line": f"xp /1bx {WATCHDOG_LOCK:#x}"})
        except (MachineError, OSError):
            return False
        found = re.search(r": 0x([0-9a-f]{2})\b", str(said))
        if not found:
            raise MachineError(f"the watchdog cannot be looked at: {said}")
        return bool(int(found[1], 16) & WATCHDOG_RUNS)

    def link(self, up: bool) -> None:
        """Plug the network cable in, or pull it."""
        self.qmp.command("set_link", name="nic0", up=up)

    def put_aside(self, memory: Path) -> None:
        """Stops the guest for good; its state goes to a file, from which others go on (`incoming`)."""
        self.qmp.command("stop")
        self.qmp.command("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
        self.qmp.command("migrate", uri=f"exec:cat >{shlex.quote(str(memory))}")
        self._until("query-migrate", "completed")
        self.cut()

    def taken_over(self) -> None:
        """Lets a guest from a file run: it was stopped when it was put there."""
        self._until("query-status", "paused")
        self.qmp.command("cont")

    def _until(self, query: str, status: str) -> None:
        until = time.monotonic() + STATE_SEC
        while (found := self.qmp.command(query)).get("status") != status:      # type: ignore[attr-defined]
            if time.monotonic() > until or found.get("status") == "failed":
                raise MachineError(f"{query}: {found}; {self._qemu_says()}")
            time.sleep(0.05)

    def _limit(self, disk: int, bytes_per_second: int) -> None:
        owner = "/virtio-backend" if self._disks[disk].kind == "virtio" else ""
        self.qmp.command("block_set_io_throttle", id=f"/machine/peripheral/dev{disk}{owner}",
                         bps=bytes_per_second, bps_rd=0, bps_wr=0, iops=0, iops_rd=0, iops_wr=0)

    def slow_io(self, bytes_per_second: int, disk: int = 0) -> None:
        """From now on the disk reads and writes no faster; resume_io() ends it."""
        self._limit(disk, bytes_per_second)

    def hang_io(self, disk: int = 0) -> None:
        """From now on requests do not complete: at a byte a second, a block takes an hour. One may slip through."""
        self._limit(disk, 1)

    def resume_io(self, disk: int = 0) -> None:
        self._limit(disk, 0)

    def _ask_why(self) -> str:
        """Of a guest that hangs: what QEMU's threads do, where the processor is; who waits, in the log."""
        found = []
        try:
            found += filter(None, map(thread_state, Path(f"/proc/{self.process.pid}/task").iterdir()))
            found.append(str(self.qmp.command("query-status", ANSWER_SEC)))
            for _ in range(3):
                registers = self.qmp.command("human-monitor-command", ANSWER_SEC,
                                             **{"command-line": "info registers"})
                found += re.findall(r"PC=\w+|X30=\w+", str(registers))
                time.sleep(0.1)
            for key in b"9wl":
                # A break and a letter are SysRq on a serial line: say all, blocked tasks, backtraces.
                self.qmp.command("chardev-send-break", ANSWER_SEC, id="con")
                self.send(bytes([key]))
                time.sleep(ANSWER_SEC / 5)
        except (MachineError, OSError) as e:
            found.append(f"no more: {e}")
        why = ", ".join(found)
        self._log.write(f"\n==== hangs: {why}\n".encode())
        return why

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self._reader.join(30)
        self._close()

    def _close(self) -> None:
        self._serial.close()
        self.qmp.sock.close()
        if not self._log.closed:
            self._log.close()


def thread_state(task: Path) -> str:
    """Of a directory in /proc: name, state, and where in the kernel it is; nothing of one that has ended."""
    try:
        name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        return f"{name} is {rest.split()[0]} in {(task / 'wchan').read_text()}"
    except OSError:
        return ""


def tail(text: str, lines: int = 25) -> str:
    return "\n".join(text.splitlines()[-lines:])


# -- the box ------------------------------------------------------------------------------------

@dataclass
class Run:
    """One boot: what the firmware decided, the console, the end."""

    decision: firmware.Boot
    machine: Machine
    ended: End | None = None

    @property
    def console(self) -> str:
        return self.machine.console

    def mini(self) -> dict[str, str]:
        """What the mini root's init said: its "MINI key=value" lines."""
        return dict(re.findall(r"^MINI (?!mount )([^=\n]+)=(.*)$", self.console, re.M))

    def boot_file(self) -> dict[str, str]:
        """/run/bf/boot as the mini root's init found it: "BF_SLOT" is "slot" here."""
        return {key.removeprefix("boot.BF_").lower(): value.strip("\"'")
                for key, value in self.mini().items() if key.startswith("boot.")}

    @property
    def slot(self) -> str | None:
        """Slot whose init was reached, None if none was."""
        return self.boot_file().get("slot")

    def _flag(self, name: str) -> bool:
        return self.boot_file()[name] in ("1", "yes", "true")

    @property
    def trial(self) -> bool:
        return self._flag("trial")

    @property
    def degraded(self) -> bool:
        return self._flag("degraded")

    @property
    def reason(self) -> str | None:
        """Code of the reason on the console, None if the boot did not fail."""
        shown = re.search(r"^  Code:  (\S+)$", self.console, re.M)
        return shown[1] if shown else None

    def mounts(self) -> dict[str, tuple[str, str, set[str], str]]:
        """target → (type, source, options, super block options), last mount on a target wins."""
        found = {}
        for line in re.findall(r"^MINI mount (.*)$", self.console, re.M):
            target, kind, source, options, super_options = line.split(" ", 4)
            found[target] = (kind, source, set(options.split(",")), super_options)
        return found


@dataclass
class Device:
    """A disk and what survives a warm reset. boot() asks the firmware model and runs QEMU."""

    disk: Disk
    work: Path                          # kernel, initramfs, device tree of the boot in progress
    log: Path
    extra_disks: list[Disk] = field(default_factory=list)
    hardware: Hardware = Hardware()
    settings: Settings = Settings()
    request: Request = Request()
    append: str = ""                    # added to every command line (the lab's own switches)
    watchdog_slower: float = WATCHDOG_SLOWER
    # Change or drop what the firmware writes into the device tree, to play old or wrong firmware.
    edit_cells: Callable[[dict[str, int]], dict[str, int] | None] = lambda cells: cells
    edit_cmdline: Callable[[str], str] = lambda line: line
    say: Callable[[str], None] | None = None
    echo: Callable[[bytes], None] | None = None
    runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        mode = firmware.BOOT_MODE.get(self.disk.kind, 0)
        self.request = replace(self.request, boot_mode=mode)
        if self.disk.kind == "sd":
            # An SD card of another size than a power of two does not exist, QEMU insists.
            size = self.disk.path.stat().st_size
            os.truncate(self.disk.path, 1 << (size - 1).bit_length())

    def _note(self, text: str) -> None:
        with open(self.log, "ab") as f:
            f.write(f"\n==== firmware: {text}\n".encode())
        if self.say:
            self.say(text)

    def decide(self) -> firmware.Outcome:
        """What the firmware would do now; changes nothing."""
        return firmware.decide(firmware.ImageView(self.disk.path), self.request, self.settings)

    def start(self, append: str = "") -> Run:
        """Firmware, then the kernel. The guest runs when this returns."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        decision = self.decide()
        self._note(str(decision))
        if not isinstance(decision, firmware.Boot):
            raise AssertionError(f"the firmware {decision}")
        # One-shot: cleared before the kernel starts.
        self.request = replace(self.request, tryboot=False, partition=0)
        self.work.mkdir(parents=True, exist_ok=True)
        kernel, initrd = self.work / "kernel", self.work / "initramfs"
        kernel.write_bytes(decision.kernel)
        initrd.write_bytes(decision.initramfs)
        cells = self.edit_cells(dict(decision.device_tree))
        dtb = device_tree(self.hardware, cells, self.work / "dtb", self.work.parent / "dtb-cache")
        cmdline = " ".join(filter(None, (self.edit_cmdline(decision.cmdline), self.append, append)))
        if "console=ttyAMA0" not in cmdline:
            cmdline += " console=ttyAMA0"       # the image's own may be a screen, which QEMU has none of
        machine = Machine(kernel=kernel, initrd=initrd if decision.initramfs else None,
                          cmdline=cmdline, dtb=dtb, disks=[self.disk, *self.extra_disks],
                          log=self.log, hardware=self.hardware, echo=self.echo)
        if decision.watchdog_sec and self.hardware.watchdog:
            machine.watch_start(decision.watchdog_sec * self.watchdog_slower)
        run = Run(decision, machine)
        self.runs.append(run)
        return run

    def finish(self, run: Run, timeout: float = BOOT_TIMEOUT) -> Run:
        """Wait for the end of a run and let the firmware's state follow it."""
        run.ended = run.machine.wait_end(timeout)
        self._follow(run.ended)
        return run

    def cut(self, run: Run) -> Run:
        """Pull the plug."""
        run.ended = run.machine.cut()
        self._follow(run.ended)
        return run

    def _follow(self, end: End) -> None:
        if end.how in ("cut", "poweroff"):
            self.request = firmware.after_power_cut(self.request)
        else:
            self.request = firmware.after_reboot(self.request, end.argument)
        self._note(f"the run ended by {end}")

    def boot(self, append: str = "", timeout: float = BOOT_TIMEOUT) -> Run:
        """One boot from firmware to reset or power-off."""
        return self.finish(self.start(append), timeout)

    def boot_until(self, pattern: str, append: str = "", timeout: float = BOOT_TIMEOUT) -> Run:
        """One boot; the plug is pulled when the pattern shows on the console."""
        run = self.start(append)
        run.machine.wait(pattern, timeout)
        return self.cut(run)

    def boot_to_rest(self, limit: int, append: str = "", timeout: float = BOOT_TIMEOUT) -> list[Run]:
        """Boot again after each reset until the guest powers off. More than `limit` boots fail."""
        done = []
        for _ in range(limit):
            done.append(self.boot(append, timeout))
            if done[-1].ended == End("poweroff"):
                return done
        story = "; ".join(f"{r.decision.partition} ended by {r.ended}" for r in done)
        raise AssertionError(f"no rest after {limit} boots: {story}")

    def close(self) -> None:
        """Leave no QEMU behind."""
        for run in self.runs:
            if run.machine.running:
                run.machine.kill()
