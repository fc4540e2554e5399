"""What the Raspberry Pi 5 firmware boots: a pure function from a disk and one request to one outcome.

Nothing here starts anything. Rules, each with its source (raspberrypi/documentation,
documentation/asciidoc/computers/): config_txt/autoboot.adoc, config_txt/boot.adoc,
config_txt/conditional.adoc, raspberry-pi/bootflow-eeprom.adoc, raspberry-pi/eeprom-bootloader.adoc.
Where the vendor says nothing, the reading chosen is marked "chosen" and, where the choice matters to
a caller, it is a field of Settings. Not modelled: boot.img ramdisks, secure boot, os_prefix,
include, device tree files (QEMU brings its own), the EEPROM's own configuration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping, Protocol

from diskimage import DiskImage, Fat, FatError, ImageError

AUTOBOOT_MAX = 512          # "limited to 512 bytes" (autoboot.adoc)
INITRAMFS = "initramfs "    # no property name can end so: it never meets "initramfs="
WALK_MAX = 8                # "check each partition in turn (up to 8 ...)" (eeprom-bootloader.adoc)
BOOT_MODE = {"sd": 1, "usb": 4, "nvme": 6}      # BOOT_ORDER fields (eeprom-bootloader.adoc)


class View(Protocol):
    """A disk as the firmware sees it."""

    def fat_partitions(self) -> list[int]:
        """Numbers of the partitions that hold a readable FAT, ascending."""

    def read(self, partition: int, name: str) -> bytes | None:
        """A file of the root directory of a FAT partition."""


class DictView:
    """A disk written down in a test: partition number → files; None for a partition without FAT."""

    def __init__(self, partitions: Mapping[int, Mapping[str, bytes] | None]):
        self.partitions = partitions

    def fat_partitions(self) -> list[int]:
        return sorted(n for n, files in self.partitions.items() if files is not None)

    def read(self, partition: int, name: str) -> bytes | None:
        files = self.partitions.get(partition) or {}
        return files.get(name.lower())


class ImageView:
    """The same for a real image file. Without a GPT it has no partitions."""

    def __init__(self, path: Path | str):
        self.fats: dict[int, Fat] = {}
        try:
            image = DiskImage(path)
        except ImageError:
            return
        for number, partition in image.partitions.items():
            try:
                self.fats[number] = Fat(image.path, partition.start, partition.size)
            except FatError:
                continue

    def fat_partitions(self) -> list[int]:
        return sorted(self.fats)

    def read(self, partition: int, name: str) -> bytes | None:
        fat = self.fats.get(partition)
        try:
            return fat.read(name) if fat else None
        except FatError:
            return None


@dataclass(frozen=True)
class Settings:
    """What differs between bootloader versions and configurations."""

    partition_walk: bool = True         # PARTITION_WALK, default 1 since 2025-08-13
    # autoboot.txt above 512 bytes: the vendor names the limit, not the consequence. Chosen: ignored.
    truncate_autoboot: bool = False
    # Bootloaders before 2024-05-13 reported partition 0 in the device tree.
    report_partition: bool = True
    # kernel_watchdog_timeout came in July 2025; older ones take it for a property they do not know.
    kernel_watchdog: bool = True


@dataclass(frozen=True)
class Request:
    """What survives a warm reset; all of it is lost when the power goes."""

    tryboot: bool = False               # the one-shot flag
    partition: int = 0                  # "reboot 2"; 0 = default
    boot_mode: int = 0                  # device the disk hangs on; 0 = not one the firmware knows
    count: int = 1                      # passes through the boot order since power-on


@dataclass(frozen=True)
class Boot:
    """A kernel is started. The flag is already cleared (bootflow-eeprom.adoc)."""

    partition: int
    tryboot: bool
    kernel: bytes = field(repr=False)
    initramfs: bytes = field(repr=False)
    cmdline: str
    config: str                         # config.txt or tryboot.txt
    device_tree: dict[str, int]         # cells of /chosen/bootloader
    # Seconds after which the hardware watchdog resets, running since before the kernel's first
    # instruction, if nobody has opened it; 0 = it does not run.
    watchdog_sec: int = 0
    story: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        trial = " (tryboot)" if self.tryboot else ""
        return f"boots partition {self.partition}{trial}: {'; '.join(self.story)}"


@dataclass(frozen=True)
class Hang:
    """Nothing happens any more until the power is cut."""

    reason: str

    def __str__(self) -> str:
        return f"hangs: {self.reason}"


@dataclass(frozen=True)
class Fatal:
    """The firmware resets itself (REBOOT_ON_FATAL_ERROR=1) or tries the same again for ever."""

    reason: str

    def __str__(self) -> str:
        return f"cannot boot: {self.reason}"


Outcome = Boot | Hang | Fatal


# -- the text files -----------------------------------------------------------------------------

class Filters:
    """Conditional filters: one type replaces itself, types combine, [all] resets (conditional.adoc)."""

    MODELS_PI5 = {"pi5"}
    MODEL = re.compile(r"(pi|cm)\d[\w+]*$")

    def __init__(self, values: Mapping[str, object], models: bool):
        self.values, self.models = values, models
        self.active: dict[str, bool] = {}

    def section(self, name: str) -> None:
        if name == "all":
            self.active = {}
        elif name == "none":
            self.active["none"] = False
        elif name == "tryboot":
            self.active["tryboot"] = bool(self.values["tryboot"])
        elif self.models and self.MODEL.match(name):
            self.active["model"] = name in self.MODELS_PI5
        elif "=" in name and name.split("=", 1)[0] in self.values:
            key, value = name.split("=", 1)
            self.active[key] = value.isdigit() and int(value) == self.values[key]
        else:
            self.active["unknown"] = False          # chosen: a filter nobody knows never passes

    def passes(self) -> bool:
        return all(self.active.values())


def properties(text: bytes, filters: Filters) -> dict[str, str]:
    """Lines that pass the filters; the last one of a name wins."""
    found: dict[str, str] = {}
    for raw in text.decode("latin-1").splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        section = re.fullmatch(r"\[(.*)\]", line)
        if section:
            filters.section(section[1])
            continue
        if not filters.passes():
            continue
        # "initramfs" is the one property without "=" (boot.adoc).
        key, sep, value = line.partition("=")
        if sep:
            found[key] = value
        elif line.startswith("initramfs "):
            found[INITRAMFS] = line.split(None, 1)[1]
    return found


def number(text: str | None) -> int:
    """A property's number; what is none counts as 0 (chosen)."""
    return int(text) if text is not None and re.fullmatch(r"\d{1,4}", text) else 0


@dataclass(frozen=True)
class Autoboot:
    boot_partition: int = 0
    tryboot_a_b: bool = False


def parse_autoboot(text: bytes | None, tryboot: bool, settings: Settings = Settings()) -> Autoboot:
    """[all], [none], [tryboot]; boot_partition, tryboot_a_b; nothing else (autoboot.adoc)."""
    if text is None:
        return Autoboot()
    if len(text) > AUTOBOOT_MAX:
        if not settings.truncate_autoboot:
            return Autoboot()
        text = text[:AUTOBOOT_MAX]
    values = properties(text, Filters({"tryboot": tryboot}, models=False))
    return Autoboot(number(values.get("boot_partition")), values.get("tryboot_a_b") == "1")


# -- the decision -------------------------------------------------------------------------------

def bootable(view: View, partition: int) -> bool:
    """FAT with config.txt (autoboot.adoc; Raspberry Pi 5)."""
    return partition in view.fat_partitions() and view.read(partition, "config.txt") is not None


def walk(view: View, wanted: int, settings: Settings) -> int | None:
    """The wanted partition, or the next bootable one. wanted 0 = first bootable FAT (autoboot.adoc)."""
    if wanted == 0:
        order = list(range(1, WALK_MAX + 1))
    elif settings.partition_walk:
        order = [(wanted - 1 + i) % WALK_MAX + 1 for i in range(WALK_MAX)]
        order = [wanted] + [p for p in order if p != wanted]
    else:
        order = [wanted]
    return next((p for p in order if bootable(view, p)), None)


def decide(view: View, request: Request = Request(), settings: Settings = Settings()) -> Outcome:
    story = []
    fats = view.fat_partitions()
    auto = Autoboot()
    wanted = request.partition
    if wanted:
        # "unless the partition number was already specified as a parameter to the reboot command"
        story.append(f"reboot asked for partition {wanted}")
    elif fats:
        text = view.read(fats[0], "autoboot.txt")
        auto = parse_autoboot(text, request.tryboot, settings)
        wanted = auto.boot_partition
        story.append(f"autoboot.txt says partition {wanted}" if wanted else
                     "no usable autoboot.txt" if text is not None else "no autoboot.txt")
    chosen = walk(view, wanted, settings)
    if chosen is None:
        return Fatal("no bootable partition")
    if chosen != wanted:
        story.append(f"first bootable is {chosen}" if wanted == 0 else
                     f"partition {wanted} is not bootable, walked on to {chosen}")
    config = "config.txt"
    if request.tryboot and not auto.tryboot_a_b:
        # The flag without tryboot_a_b selects a file, not a partition (bootflow-eeprom.adoc).
        # Without that file the bootloader stops for ever (home-assistant/operating-system#3740).
        config = "tryboot.txt"
        story.append("flag set without tryboot_a_b: tryboot.txt")
        if view.read(chosen, config) is None:
            return Hang(f"tryboot flag set, no tryboot_a_b, no tryboot.txt on partition {chosen}")
    return load(view, chosen, config, request, settings, story)


def load(view: View, partition: int, config: str, request: Request, settings: Settings,
         story: list[str]) -> Outcome:
    """Read what config.txt names (boot.adoc; [boot_partition=N]: release notes 2025-03-10)."""
    text = view.read(partition, config) or b""
    # boot_partition: where config.txt was loaded from. partition: what was asked for.
    values = properties(text, Filters({"tryboot": request.tryboot, "boot_partition": partition,
                                       "partition": request.partition}, models=True))

    def file(name: str) -> bytes | None:
        return view.read(partition, name.lstrip("/"))

    # A kernel named but absent, or not named: the defaults of a Pi 5.
    names = [values["kernel"]] if "kernel" in values else []
    kernel = next((k for k in map(file, names + ["kernel_2712.img", "kernel8.img"])
                   if k is not None), None)
    if kernel is None:
        return Fatal(f"no kernel on partition {partition}")
    parts = []
    if INITRAMFS in values:
        for name in values[INITRAMFS].split()[0].split(","):
            data = file(name)
            if data is None:
                story.append(f"{name} is missing, started without it")
            else:
                parts.append(data)
    cmdline = file(values.get("cmdline", "cmdline.txt")) or b""
    # Only the first line counts.
    line = cmdline.decode("latin-1").split("\n", 1)[0].strip()
    # kernel_watchdog_timeout: "handed over to the operating system", which is told on its command line
    # (boot.adoc). Where on it: chosen. kernel_watchdog_partition is not modelled, nobody sets it.
    watchdog = number(values.get("kernel_watchdog_timeout")) if settings.kernel_watchdog else 0
    if watchdog:
        line += f" watchdog.open_timeout={watchdog}"
        story.append(f"watchdog started, {watchdog} s for the kernel")
    cells = {"partition": partition if settings.report_partition else 0,
             "tryboot": int(request.tryboot), "count": request.count}
    if request.boot_mode:
        cells["boot-mode"] = request.boot_mode
    return Boot(partition, request.tryboot, kernel, b"".join(parts), line, config, cells,
                watchdog, tuple(story))


# -- the reboot argument ------------------------------------------------------------------------

def after_reboot(request: Request, argument: str | None) -> Request:
    """What the kernel passes on to the firmware at a warm reset.

    drivers/firmware/raspberrypi.c: the flag is set if the argument contains " tryboot", leading
    space included; otherwise nothing is written. drivers/watchdog/bcm2835_wdt.c: the partition is
    the argument if the whole of it is a number up to 63. The flag of the boot that just ended was
    cleared before that boot began.
    """
    text = argument or ""
    whole = re.fullmatch(r"(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9]\d*)\n?", text)
    partition = 0
    if whole:
        digits = whole[1]
        partition = (int(digits, 16) if digits[:2].lower() == "0x" else
                     int(digits, 8) if digits[0] == "0" else int(digits))
    return Request(tryboot=" tryboot" in text, partition=partition if partition <= 62 else 0,
                   boot_mode=request.boot_mode, count=request.count + 1)


def after_power_cut(request: Request) -> Request:
    """Everything volatile is gone."""
    return Request(boot_mode=request.boot_mode)
