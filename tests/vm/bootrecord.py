"""The boot record on a disk image, written and read by other code than the one under test.

Format: boot/record.h. Two files in bf/ on BF_DATA, the newer generation counts.
"""

from __future__ import annotations

import zlib

from diskimage import DiskImage

SIZE = 8192
PATHS = ("/bf/boot-record", "/bf/boot-record.old")

DEFAULTS = {
    "format": "1", "gen": "1", "committed": "A", "staged": "-", "kind": "update", "attempts": "0",
    "trials": "0", "trial_reason": "-", "state.A": "unknown", "state.B": "unknown",
    "proven.A": "unknown", "proven.B": "unknown", "hash.A": "-", "hash.B": "-", "hard": "0",
    "soft": "0", "doublings": "0", "ladder": "0", "probation": "no", "repairs": "0", "healthy_sec": "0",
    "last.slot": "-", "last.phase": "none", "last.boot_id": "-", "last.count": "-",
    "last.reason": "-", **{f"refused.{i}": "-" for i in range(8)},
    **{f"history.{i}": "-" for i in range(16)},
}

# A device some months old: both slots have been committed once, A is.
SEASONED = {"state.A": "good", "state.B": "good", "proven.A": "yes", "proven.B": "yes"}


def text(later: dict[str, str] | None = None, **changes: str) -> bytes:
    """A record; "state.A" is given as state_A, "last.phase" as last_phase. `later`: keys of a later
    version, among the others."""
    values = {**{key: DEFAULTS[key] for key in ("format", "gen")}, **(later or {}), **DEFAULTS}
    for name, value in changes.items():
        key = name if name in values else name.replace("_", ".", 1)
        if key not in values:
            raise KeyError(name)
        values[key] = str(value)
    body = "".join(f"{key}={value}\n" for key, value in values.items()).encode()
    body += b"crc32=%08x\n" % zlib.crc32(body)
    return body.ljust(SIZE, b"\n")


def parse(data: bytes) -> dict[str, str] | None:
    """None if it is damaged."""
    body, separator, rest = data.partition(b"crc32=")
    if len(data) != SIZE or not separator or rest.strip(b"\n") != b"%08x" % zlib.crc32(body):
        return None
    return dict(line.split("=", 1) for line in body.decode().splitlines())


def store(image: DiskImage, **changes: str) -> None:
    """Both generations, as after two writes."""
    generation = int(changes.pop("gen", 7))
    for path, gen in zip(PATHS, (generation, generation - 1)):
        image.ext4_write("BF_DATA", path, text(gen=str(gen), **changes))


def seasoned(image: DiskImage, **changes: str) -> None:
    known = {key.replace(".", "_"): value for key, value in SEASONED.items()}
    store(image, **{**known, **changes})


def load(image: DiskImage) -> dict[str, str] | None:
    """The newest good generation, after the journal was replayed in a copy."""
    found = []
    with image.settled("BF_DATA") as data:
        for path in PATHS:
            if data.ext4_exists(0, path):
                found.append(parse(data.ext4_read(0, path)))
    good = [record for record in found if record]
    return max(good, key=lambda record: int(record["gen"])) if good else None


def history(record: dict[str, str]) -> list[tuple[str, str, str]]:
    """(event, slot, reason), newest first."""
    entries = (record[f"history.{i}"] for i in range(16))
    return [tuple(entry.split(" ")[1:4]) for entry in entries if entry != "-"]
