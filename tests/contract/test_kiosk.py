# SPDX-License-Identifier: MIT
"""The stand-in kiosk of tests/kiosk against its server, a bus with the shipped policy, and RAUC's place taken."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from rauc_lab import TOP, Bus, Rauc, recorder
from test_mkbundle import Keys

sys.path.insert(0, str(TOP / "tests/kiosk"))
from server import Fault, Server, bucket, document, entry, publish, withdraw_or_write  # noqa: E402

COMPATIBLE, ROOTHASH, RUNNING = "betterframe-rpi5-aarch64", "ab" * 32, "cd" * 32
BUNDLE = random.Random(7).randbytes(300_000)
SHA256 = hashlib.sha256(BUNDLE).hexdigest()


# -- the pure part: offers, rollout, versions -------------------------------------------------------

class Questions:
    """One run of offer-eval; see there."""

    def __init__(self, programs: Path):
        self.program = programs / "tests/offer-eval"
        self.text: list[bytes] = []

    def ask(self, *words: object, data: bytes | None = None) -> None:
        line = " ".join(map(str, words)) + ("" if data is None else f" {len(data)}")
        self.text.append(line.encode() + b"\n" + (data or b""))

    def offer(self, data: bytes, device: str = "id", group: str = "-", version: str = "1.0",
              roothash: str = RUNNING) -> None:
        self.ask("offer", device, group, COMPATIBLE, "arm64", version, roothash, data=data)

    def answers(self) -> list[str]:
        done = subprocess.run([self.program], input=b"".join(self.text), capture_output=True, check=False)
        assert done.returncode == 0, done
        lines = done.stdout.decode().splitlines()
        assert len(lines) == len(self.text)
        self.text = []
        return lines


@pytest.fixture
def questions(programs: Path) -> Questions:
    return Questions(programs)


def good_entry(**change: Any) -> dict[str, Any]:
    made = {"compatible": COMPATIBLE, "arch": "arm64", "version": "2.0", "url": "/bundles/b.raucb",
            "size": len(BUNDLE), "sha256": SHA256, "roothash": ROOTHASH,
            "rollout": 100, **change}
    return {k: v for k, v in made.items() if v is not None}


def good_offer(**change: Any) -> bytes:
    return json.dumps(document(good_entry(**change))).encode()


def test_sha256_is_the_one_of_everybody_else(questions: Questions) -> None:
    data = random.Random(1).randbytes(70_001)
    lengths = [*range(0, 200), 4096, 70_001]
    for n in lengths:
        questions.ask("sha256", data=data[:n])
    assert questions.answers() == [hashlib.sha256(data[:n]).hexdigest() for n in lengths]


def test_buckets_are_those_of_the_description(questions: Questions) -> None:
    pairs = [(f"device-{n}", f"{n % 3}.{n % 7}") for n in range(2000)]
    for pair in pairs:
        questions.ask("bucket", *pair)
    assert questions.answers() == [str(bucket(*pair)) for pair in pairs]


def test_a_rollout_is_even_and_another_one_each_time(questions: Questions) -> None:
    ids = [hashlib.md5(str(n).encode()).hexdigest() for n in range(20_000)]
    by_version = {}
    for version in ("2.0", "2.1"):
        for device in ids:
            questions.ask("bucket", device, version)
        by_version[version] = [int(a) for a in questions.answers()]
    for buckets in by_version.values():
        for percent in (1, 10, 25, 50, 90):
            share = 100 * sum(b < percent * 100 for b in buckets) / len(ids)
            assert abs(share - percent) < 1.2, (percent, share)
    # A tenth of the first tenth, not the same devices again.
    early = [b for a, b in zip(by_version["2.0"], by_version["2.1"]) if a < 1000]
    assert 0.07 < sum(b < 1000 for b in early) / len(early) < 0.13


def test_a_growing_rollout_never_takes_a_device_back(questions: Questions) -> None:
    percentages = [0, 0.01, 1, 5, 20, 50, 99.99, 100]
    devices = [f"device-{n}" for n in range(400)]
    for percent in percentages:
        for device in devices:
            questions.offer(good_offer(rollout=percent), device=device)
    answers = questions.answers()
    taken = [{d for d, a in zip(devices, answers[i * 400:]) if a.startswith("take ")} for i in range(8)]
    assert all(now <= after for now, after in zip(taken, taken[1:]))
    assert not taken[0] and len(taken[-1]) == 400 and 150 < len(taken[5]) < 250
    assert {a.split()[0] for a in answers} == {"take", "not-yet"}


def test_the_edge_of_a_rollout(questions: Questions) -> None:
    """A device in bucket n is in when n is below 100 times the percentage, and not before."""
    devices = [f"device-{n}" for n in range(300)]
    for device in devices:
        place = bucket(device, "2.0")
        questions.offer(good_offer(rollout=place / 100), device=device)
        questions.offer(good_offer(rollout=(place + 1) / 100), device=device)
    assert [a.split()[0] for a in questions.answers()] == ["not-yet", "take"] * len(devices)


def test_versions_are_ordered_as_sort_orders_them(questions: Questions) -> None:
    versions = ["0", "0.9", "1.0~rc1", "1.0~rc2", "1.0", "1.0.1", "1.0-1", "1.0+git2", "1.2", "1.9", "1.10~b",
                "1.10", "1.10.1", "2", "2.0~~", "2.0", "2.0a", "2.0b", "10", "2026.11.3", "2026.11.23", "v1", "a1",
                "99999999999999999999999", "100000000000000000000000"]
    order = subprocess.run(["sort", "-V"], input="\n".join(versions), env={**os.environ, "LC_ALL": "C"},
                           capture_output=True, text=True, check=True).stdout.split()
    pairs = [(a, b) for a in order for b in order]
    for pair in pairs:
        questions.ask("versions", *pair)
    sign = {-1: "<", 0: "=", 1: ">"}
    expected = [sign[(order.index(a) > order.index(b)) - (order.index(a) < order.index(b))] for a, b in pairs]
    wrong = [(p, said) for p, said, right in zip(pairs, questions.answers(), expected) if said != right]
    assert not wrong


def changed(**change: Any) -> bytes:
    return good_offer(**change)


def several(*entries: dict[str, Any]) -> bytes:
    return json.dumps(document(*entries)).encode()


TAKE = f"take 2.0 /bundles/b.raucb {len(BUNDLE)} {SHA256} {ROOTHASH}"
OFFERS: dict[str, tuple[bytes, str]] = {
    "good": (good_offer(), TAKE),
    "unknown-members": (several(good_entry(notes={"de": ["x", None, 1.5]}, priority=7)), TAKE),
    "upper-case-hash": (changed(roothash=ROOTHASH.upper()), TAKE),
    "sha512-roothash": (changed(roothash="12" * 64), TAKE.replace(ROOTHASH, "12" * 64)),
    "empty": (several(), "nothing"),
    "other-compatible": (changed(compatible="betterframe-rpi4"), "nothing"),
    "other-arch": (changed(arch="amd64"), "nothing"),
    "other-and-broken": (several(good_entry(arch="riscv64", size="?"), good_entry()), TAKE),
    "no-compatible": (changed(compatible=None), "nothing"),
    "same-version": (changed(version="1.0"), "current"),
    "older": (changed(version="0.9"), "current"),
    "prerelease-of-ours": (changed(version="1.0~rc9"), "current"),
    "same-roothash": (changed(roothash=RUNNING), "current"),
    "rollout-0": (changed(rollout=0), "not-yet"),
    "group-in": (changed(rollout=0, groups={"lab": 100}), TAKE),
    "group-out": (changed(groups={"lab": 0}), "not-yet"),
    "group-of-others": (changed(groups={"shop": 0}), TAKE),
    "next-best": (several(good_entry(version="3.0", rollout=0), good_entry()), TAKE),
    "first-one-wins": (several(good_entry(), good_entry(version="3.0")), TAKE),
    "current-and-held-back": (several(good_entry(version="1.0"), good_entry(rollout=0)), "not-yet"),
    "held-back-and-current": (several(good_entry(rollout=0), good_entry(version="1.0")), "not-yet"),
    "good-and-broken": (several(good_entry(), good_entry(size=0)), "error EBADMSG"),
    "not-json": (b"<html>", "error EBADMSG"),
    "nothing-at-all": (b"", "error EBADMSG"),
    "cut-off": (good_offer()[:-3], "error EBADMSG"),
    "text-behind": (good_offer() + b"x", "error EBADMSG"),
    "list": (b"[]", "error EBADMSG"),
    "twice-the-same-member": (good_offer().replace(b'"size"', b'"size": 1, "size"'), "error EBADMSG"),
    "nul": (good_offer().replace(b"2.0", b"2.0\0"), "error EBADMSG"),
    "nul-escaped": (good_offer().replace(b"2.0", b"2.0\\u0000"), "error EBADMSG"),
    "not-utf8": (good_offer().replace(b"2.0", b"2.\xff"), "error EBADMSG"),
    "deep": (b"[" * 5000 + b"]" * 5000, "error EBADMSG"),
    "newer-format": (good_offer().replace(b'offer": 1', b'offer": 2'), "error EOPNOTSUPP"),
    "no-format": (b'{"bundles": []}', "error EBADMSG"),
    "no-bundles": (b'{"betterframe-offer": 1}', "error EBADMSG"),
    "bundles-an-object": (b'{"betterframe-offer": 1, "bundles": {}}', "error EBADMSG"),
    "bundle-a-number": (b'{"betterframe-offer": 1, "bundles": [3]}', "error EBADMSG"),
    "too-many": (several(*[good_entry(arch="amd64")] * 257), "error EMSGSIZE"),
    "too-many-small": (several(*[{}] * 257), "error EBADMSG"),
    "at-the-limit": (good_offer() + b" " * (65_536 - len(good_offer())), TAKE),
    "too-long": (good_offer() + b" " * (65_537 - len(good_offer())), "error EMSGSIZE"),
    **{f"no-{name}": (changed(**{name: None}), "error EBADMSG")
       for name in ("version", "url", "size", "sha256", "roothash", "rollout")},
    **{f"size-{value}": (changed(size=value), "error EBADMSG")
       for value in (0, -1, 1.5, "5", True, 2**34 + 1, 2**63 - 1, 2**63)},
    **{f"sha256-{n}": (changed(sha256=value), "error EBADMSG")
       for n, value in enumerate(("", "ab", "g" * 64, "a" * 63, "a" * 65, "a" * 128, 5))},
    **{f"roothash-{n}": (changed(roothash=value), "error EBADMSG")
       for n, value in enumerate(("", "a" * 65, "a" * 129, "x" * 64))},
    **{f"version-{n}": (changed(version=value), "error EBADMSG")
       for n, value in enumerate(("", "2 0", "2/0", "2.0\n", "2" * 65, "2.ö", 2.0))},
    **{f"url-{n}": (changed(url=value), "error EBADMSG")
       for n, value in enumerate(("", "a b", "a\r\nHost: x", "../x", "/a/../b", "ä", "#x", "x" * 1025, 5))},
    **{f"rollout-{value}": (changed(rollout=value), "error EBADMSG")
       for value in (-1, 100.01, "50", True, 1e300)},
    "groups-list": (changed(groups=["lab"]), "error EBADMSG"),
    "groups-text": (changed(groups={"lab": "all"}), "error EBADMSG"),
}


@pytest.mark.parametrize("name", OFFERS)
def test_what_an_offer_comes_to(questions: Questions, name: str) -> None:
    text, expected = OFFERS[name]
    questions.offer(text, group="lab")
    said = questions.answers()[0]
    assert said.startswith(expected) if expected.startswith("error") else said == expected


# An independent reading of the description, for documents that are JSON.

def expect(doc: Any) -> str:
    def is_hex(s: Any, *lengths: int) -> bool:
        return isinstance(s, str) and len(s) in lengths and set(s) <= set("0123456789abcdefABCDEF")

    def number(x: Any) -> bool:
        return isinstance(x, (int, float)) and not isinstance(x, bool) and 0 <= x <= 100

    def fine(b: dict[str, Any]) -> bool:
        version, url, size = b.get("version"), b.get("url"), b.get("size")
        letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.+~_-"
        groups = b.get("groups", {})
        return (isinstance(version, str) and 0 < len(version) <= 64 and set(version) <= set(letters)
                and isinstance(url, str) and 0 < len(url) <= 1024 and ".." not in url
                and all("!" <= c <= "~" and c not in '"<>\\^`{|}#' for c in url)
                and isinstance(size, int) and not isinstance(size, bool) and 0 < size <= 2**34
                and is_hex(b.get("sha256"), 64) and is_hex(b.get("roothash"), 64, 128)
                and number(b.get("rollout")) and isinstance(groups, dict)
                and ("lab" not in groups or number(groups["lab"])))

    if not isinstance(doc, dict) or isinstance(doc.get("betterframe-offer"), bool):
        return "error"
    if doc.get("betterframe-offer") != 1 or not isinstance(doc["betterframe-offer"], int):
        return "error"
    bundles = doc.get("bundles")
    if not isinstance(bundles, list) or len(bundles) > 256 or not all(isinstance(b, dict) for b in bundles):
        return "error"
    ours = [b for b in bundles if b.get("compatible") == COMPATIBLE and b.get("arch") == "arm64"]
    if not all(fine(b) for b in ours):
        return "error"
    answer = "nothing"
    for b in ours:
        # Versions are judged by the test above; of those in here only these are not newer.
        newer = b["version"] not in ("0.9", "1.0") and b["roothash"].lower() != RUNNING
        share = b.get("groups", {}).get("lab", b["rollout"])
        if newer and bucket("id", b["version"]) < int(share * 100 + 0.5):
            return "take"
        answer = "not-yet" if newer or answer == "not-yet" else "current"
    return answer


ODD: list[Any] = [None, True, 0, -1, 50, 100, 1e9, 2**40, "", "x", "2.0", "0.9", "1.0", [], {}, [1], {"lab": 0},
                  "a" * 64, "AB" * 32, RUNNING, "..", "/x y", COMPATIBLE, "amd64"]


def mangle(doc: Any, rng: random.Random) -> Any:
    """A document with some places replaced, removed or repeated."""
    doc = copy.deepcopy(doc)
    for _ in range(rng.choice((1, 1, 2, 3))):
        target = doc if rng.random() < 0.15 else rng.choice(doc["bundles"]) if doc.get("bundles") else doc
        if not isinstance(target, dict) or not target:
            break
        key = rng.choice(list(target))
        change = rng.randrange(4)
        if change == 0:
            del target[key]
        elif change == 1 and isinstance(doc.get("bundles"), list):
            doc["bundles"].insert(0, copy.deepcopy(rng.choice([*doc["bundles"], {}, good_entry(rollout=50)])))
        else:
            target[key] = rng.choice(ODD)
        if not isinstance(doc.get("bundles"), list):
            break
    return doc


def test_mangled_offers_are_read_as_described(questions: Questions) -> None:
    rng = random.Random(2026)
    base = document(good_entry(groups={"lab": 100}), good_entry(version="1.0", rollout=50))
    docs = [mangle(base, rng) for _ in range(6000)]
    for doc in docs:
        questions.offer(json.dumps(doc).encode(), group="lab")
    said = [a.split()[0] for a in questions.answers()]
    expected = [expect(doc) for doc in docs]
    wrong = [(s, e, d) for s, e, d in zip(said, expected, docs) if s != e]
    assert not wrong, wrong[:3]
    assert {"take", "current", "not-yet", "nothing", "error"} <= set(expected)


def test_damaged_bytes_are_never_taken_for_another_offer(questions: Questions) -> None:
    rng = random.Random(5)
    base = good_offer()
    texts = []
    for _ in range(6000):
        text = bytearray(base)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(text))
            text[at:at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        texts.append(bytes(text))
        questions.offer(texts[-1], group="lab")
    seen = set()
    for text, said in zip(texts, questions.answers()):
        seen.add(said.split()[0])
        if said.startswith("take"):
            doc = json.loads(text)      # whatever is taken is JSON for everybody else, too
            got = doc["bundles"][0]
            assert said == " ".join(["take", got["version"], got["url"], str(got["size"]),
                                     got["sha256"].lower(), got["roothash"].lower()])
        assert said.isprintable()
    assert seen >= {"take", "error"}


HEADS: dict[str, tuple[bytes, str]] = {
    "plain": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 5 -1 -1 "),
    "old": (b"HTTP/1.0 404 Not Found\r\n\r\n", "404 -1 -1 -1 "),
    "no-reason": (b"HTTP/1.1 204\r\n\r\n", "204 -1 -1 -1 "),
    "range": (b'HTTP/1.1 206 P\r\ncontent-range:  bytes 5-9/10\r\nETAG: "x"\r\n\r\n', '206 -1 5 10 "x"'),
    "weak": (b'HTTP/1.1 200 OK\r\nETag: W/"x"\r\n\r\n', "200 -1 -1 -1 "),
    "range-unasked": (b"HTTP/1.1 416 X\r\nContent-Range: bytes */10\r\n\r\n", "416 -1 -1 -1 "),
    "range-backwards": (b"HTTP/1.1 206 P\r\nContent-Range: bytes 9-5/10\r\n\r\n", "error EPROTO"),
    "range-past-end": (b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-10/10\r\n\r\n", "error EPROTO"),
    "range-star": (b"HTTP/1.1 206 P\r\nContent-Range: bytes 5-9/*\r\n\r\n", "error EPROTO"),
    "two-lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "error EPROTO"),
    "negative": (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "error EPROTO"),
    "huge": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", "error EPROTO"),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "error EPROTO"),
    "packed": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n", "error EPROTO"),
    "http2": (b"HTTP/2 200\r\n\r\n", "error EPROTO"),
    "not-http": (b"220 smtp.example\r\n\r\n", "error EPROTO"),
    "nul": (b"HTTP/1.1 200 OK\r\n\0\r\n\r\n", "error EPROTO"),
    "nothing": (b"", "error EPROTO"),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_a_head_comes_to(questions: Questions, name: str) -> None:
    questions.ask("head", data=HEADS[name][0])
    assert questions.answers() == [HEADS[name][1]]


def test_damaged_heads_do_no_harm(questions: Questions) -> None:
    rng = random.Random(9)
    heads = [head for head, _ in HEADS.values() if head]
    for _ in range(4000):
        text = bytearray(rng.choice(heads))
        at = rng.randrange(len(text))
        text[at:at + rng.randint(0, 6)] = rng.choice((rng.randbytes(3), b"\r\n", b":", b"9" * 30, b"\0"))
        questions.ask("head", data=bytes(text))
    assert all(a.startswith("error ") or a[:3].isdigit() for a in questions.answers())


URLS = [("http://h/os/s.json", "b.raucb", "http://h/os/b.raucb"), ("http://h/os/s.json", "/b", "http://h/b"),
        ("http://h:80/os/s.json?x=/y", "b/c", "http://h:80/os/b/c"), ("http://h", "b", "http://h/b"),
        ("http://h", "/b", "http://h/b"), ("http://h/os/s.json", "http://cdn/b", "http://cdn/b")]


def test_where_a_url_leads(questions: Questions) -> None:
    for base, url, _ in URLS:
        questions.ask("resolve", base, url)
    assert questions.answers() == [right for _, _, right in URLS]


# -- a device, its server, its bus ------------------------------------------------------------------

@dataclass
class Unit:
    """What a kiosk finds around it, and how it is started."""

    dir: Path
    programs: Path
    server: Server
    bus: Bus | None = None
    options: dict[str, object] = field(default_factory=dict)
    rauc: subprocess.Popen[str] | None = None

    def __post_init__(self) -> None:
        for name in ("run", "state", "cache"):
            (self.dir / name).mkdir()
        self.write("os-release", 'NAME=x\nIMAGE_VERSION="1.0"\n')
        self.write("cmdline", f"quiet rauc.slot=A roothash={RUNNING.upper()}\n")
        self.write("boot", "BF_SLOT=A\nBF_TRIAL=no\n")
        self.write("boot-id", "1111\n")
        self.guard("exit 0")

    def write(self, name: str, text: str) -> None:
        (self.dir / name).write_text(text)

    def guard(self, script: str) -> None:
        self.write("guard", f'#!/bin/sh\necho "$@" >>{self.dir}/asked\n{script}\n')
        (self.dir / "guard").chmod(0o755)

    @property
    def asked(self) -> list[str]:
        path = self.dir / "asked"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def cached(self) -> list[str]:
        return sorted(p.name for p in (self.dir / "cache").iterdir())

    @property
    def marker(self) -> Path:
        return self.dir / "run/kiosk-healthy"

    def argv(self, *words: str, **options: object) -> list[str]:
        standard: dict[str, object] = {
            "server": self.server.url, "arch": "arm64", "device-id": "id", "guard": self.dir / "guard",
            "notify": self.dir / "notify", "runtime": self.dir / "run", "state": self.dir / "state",
            "cache": self.dir / "cache", "boot-file": self.dir / "boot", "refusal": self.dir / "refusal", "os-release": self.dir / "os-release",
            "cmdline": self.dir / "cmdline", "boot-id": self.dir / "boot-id", "pause": 0.01, "quiet": 2,
            "busy": 1, "install": 3, "beat": 0.2, "first-check": 1000, **self.options,
            **{k.replace("_", "-"): v for k, v in options.items()}}
        return [str(self.programs / "tests/bf-kiosk"), *words, *(f"--{k}={v}" for k, v in standard.items())]

    @property
    def env(self) -> dict[str, str]:
        return self.bus.env if self.bus else {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nowhere"}

    def update(self, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv("--update-once", **options), env=self.env, capture_output=True, text=True,
                              check=False, timeout=60)

    def start(self, *words: str, **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen(self.argv(*words, **options), env={**self.env, **self.extra_env},
                                stderr=subprocess.PIPE, text=True)

    extra_env: dict[str, str] = field(default_factory=dict)

    def fake_rauc(self, *words: str) -> None:
        assert self.bus and not self.rauc
        self.rauc = subprocess.Popen([self.programs / "tests/fake-rauc", f"compatible={COMPATIBLE}", "version=2.0",
                                      *words], env=self.bus.env, stdout=subprocess.PIPE, text=True)
        assert self.rauc.stdout and self.rauc.stdout.readline() == "ready \n"

    def end_rauc(self) -> list[str]:
        """What RAUC was asked."""
        if not self.rauc:
            return []
        self.rauc.terminate()
        out = self.rauc.communicate()[0]
        self.rauc = None
        return [line.split()[0] for line in out.splitlines()]


@pytest.fixture
def unit(tmp_path: Path, programs: Path) -> Iterator[Unit]:
    (tmp_path / "www").mkdir()
    bundle = tmp_path / "b.raucb"
    bundle.write_bytes(BUNDLE)
    publish(tmp_path / "www", bundle, version="2.0", roothash=ROOTHASH)
    (tmp_path / "bus").mkdir()
    (tmp_path / "device").mkdir()
    bus = Bus(tmp_path / "bus", role="bf-update").start()
    try:
        with Server(tmp_path / "www") as server:
            made = Unit(tmp_path / "device", programs, server, bus)
            yield made
            made.end_rauc()
    finally:
        bus.stop()


def downloads(unit: Unit) -> list[Any]:
    return [r for r in unit.server.requests if r.path.startswith("/bundles/")]


WHOLE = [f"{SHA256}.raucb"]


def test_from_offer_to_trial(unit: Unit) -> None:
    unit.fake_rauc()
    done = unit.update()
    assert done.returncode == 0, done.stderr
    assert unit.end_rauc() == ["inspect", "install", "completed"]
    assert unit.asked == ["try"]
    assert unit.cached == WHOLE and (unit.dir / "cache" / WHOLE[0]).read_bytes() == BUNDLE
    assert [r.range for r in downloads(unit)] == [None]


def test_the_same_again_in_the_same_boot_only_asks_again(unit: Unit) -> None:
    unit.fake_rauc()
    assert unit.update().returncode == 0
    assert unit.update().returncode == 0
    assert unit.end_rauc() == ["inspect", "install", "completed"]
    assert unit.asked == ["try", "try"] and len(downloads(unit)) == 1


def test_an_update_that_does_not_stay_is_not_tried_for_ever(unit: Unit) -> None:
    unit.fake_rauc()
    for boot in range(6):
        unit.write("boot-id", f"{boot}\n")
        assert unit.update().returncode == 0
    assert unit.end_rauc() == ["inspect", "install", "completed"] * 3
    # Another bundle is another matter.
    other = unit.dir / "c.raucb"
    other.write_bytes(b"other")
    publish(unit.server.directory, other, version="2.0", roothash=ROOTHASH)
    unit.fake_rauc()
    assert unit.update().returncode == 0
    assert unit.end_rauc() == ["inspect", "install", "completed"]
    assert unit.cached == [f"{hashlib.sha256(b'other').hexdigest()}.raucb"]


def test_when_it_runs_what_is_offered_the_download_goes(unit: Unit) -> None:
    unit.fake_rauc()
    assert unit.update().returncode == 0 and unit.cached == WHOLE
    (unit.dir / "cache/somebody-elses.raucb").touch()
    unit.write("os-release", "IMAGE_VERSION=2.0\n")
    assert unit.update().returncode == 0
    assert unit.cached == ["somebody-elses.raucb"] and unit.asked == ["try"]


@pytest.mark.parametrize("cuts", [1, 7])
def test_a_cut_download_goes_on_where_it_stopped(unit: Unit, cuts: int) -> None:
    unit.fake_rauc()
    unit.server.faults = [Fault("/bundles/", times=cuts, cut=30_000)]
    assert unit.update().returncode == 0
    seen = downloads(unit)
    assert [r.range for r in seen] == [None, *(f"bytes={n * 30_000}-" for n in range(1, cuts + 1))]
    assert all(r.if_range for r in seen[1:])
    assert sum(r.sent for r in seen) == len(BUNDLE)
    assert unit.cached == WHOLE


def test_a_killed_download_goes_on_where_it_stopped(unit: Unit) -> None:
    unit.fake_rauc()
    unit.server.faults = [Fault("/bundles/", times=1, rate=20_000)]
    process = unit.start("--update-once")
    part = unit.dir / "cache" / WHOLE[0].replace("raucb", "part")
    until = time.monotonic() + 30
    while (not part.exists() or part.stat().st_size < 20_000) and time.monotonic() < until:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    have = part.stat().st_size
    assert 20_000 <= have < len(BUNDLE)
    assert unit.update().returncode == 0
    assert downloads(unit)[-1].range == f"bytes={have}-" and unit.cached == WHOLE


# A fault of the server for all requests below a path, and what becomes of the update: whether it
# succeeds, at most how many requests, and whether anything may be kept.
BAD_SERVERS: dict[str, tuple[list[Fault], bool, int]] = {
    "changed-in-between": ([Fault("/bundles/", times=1, cut=5000, etag='"old"')], True, 2),
    "no-ranges": ([Fault("/bundles/", times=1, cut=5000), Fault("/bundles/", ignore_range=True)], True, 2),
    "no-if-range": ([Fault("/bundles/", times=1, cut=5000, etag='"old"', body=bytes(300_000)),
                     Fault("/bundles/", times=1, ignore_if_range=True)], True, 3),
    "no-etag": ([Fault("/bundles/", times=2, cut=5000, etag="")], True, 3),
    "never-an-etag": ([Fault("/bundles/", cut=5000, etag="")], False, 5),
    "weak-etag": ([Fault("/bundles/", times=1, cut=5000, etag='W/"x"')], True, 2),
    "no-length": ([Fault("/bundles/", no_length=True)], True, 1),
    "no-length-and-cut": ([Fault("/bundles/", times=1, cut=5000, no_length=True)], True, 2),
    "other-bytes": ([Fault("/bundles/", body=bytes(300_000))], False, 1),
    "too-short": ([Fault("/bundles/", body=BUNDLE[:-1])], False, 1),
    "too-long": ([Fault("/bundles/", body=BUNDLE + b"x")], False, 1),
    "too-long-untold": ([Fault("/bundles/", body=BUNDLE + b"x", no_length=True)], False, 1),
    "endless": ([Fault("/bundles/", body=BUNDLE * 20, no_length=True)], False, 1),
    "500-once": ([Fault("/bundles/", times=1, status=500)], True, 2),
    "500": ([Fault("/bundles/", status=500)], False, 5),
    "gone": ([Fault("/bundles/", status=404)], False, 5),
    "bundle-redirected": ([Fault("/bundles/", times=1, redirect="/bundles/b.raucb?mirror")], True, 2),
    "redirect-loop": ([Fault("/bundles/", redirect="/bundles/b.raucb")], False, 30),
    "redirect-nowhere": ([Fault("/bundles/", redirect="ftp://x/y")], False, 5),
    "hangs-up": ([Fault("/bundles/", raw=b"")], False, 5),
    "no-http": ([Fault("/bundles/", raw=b"\x16\x03\x01 hello\r\n\r\n")], False, 5),
    "endless-head": ([Fault("/bundles/", raw=b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000)], False, 5),
    "chunks": ([Fault("/bundles/", raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")], False, 5),
    "cut-before-a-byte": ([Fault("/bundles/", cut=0)], False, 5),
    "wrong-range": ([Fault("/bundles/", times=1, cut=5000),
                     Fault("/bundles/", raw=b"HTTP/1.1 206 P\r\nContent-Range: bytes 0-9/300000\r\n"
                                            b"Content-Length: 10\r\n\r\n0123456789")], False, 6),
    "slow-and-steady": ([Fault("/bundles/", rate=400_000)], True, 1),
    "offer-500": ([Fault("/os/", status=500)], False, 0),
    "offer-gone": ([Fault("/os/", status=404)], False, 0),
    "offer-redirected": ([Fault("/os/stable.json", times=1, redirect="/os/./stable.json")], True, 1),
    "offer-cut": ([Fault("/os/", cut=100)], False, 0),
    "offer-cut-untold": ([Fault("/os/", cut=100, no_length=True)], False, 0),
    "offer-too-long": ([Fault("/os/", body=good_offer() + b" " * 70_000)], False, 0),
    "offer-a-login-page": ([Fault("/os/", body=b"<html>Welcome to our WiFi</html>")], False, 0),
}


@pytest.mark.parametrize("name", BAD_SERVERS)
def test_a_bad_server(unit: Unit, name: str) -> None:
    faults, succeeds, most = BAD_SERVERS[name]
    unit.fake_rauc()
    unit.server.faults = [copy.copy(f) for f in faults]
    done = unit.update()
    asked = unit.end_rauc()
    assert (done.returncode == 0) == succeeds, done.stderr
    assert asked == (["inspect", "install", "completed"] if succeeds else [])
    assert unit.asked == (["try"] if succeeds else [])
    assert len(downloads(unit)) <= most
    # Whatever is called whole is whole; bytes known to be wrong do not stay.
    if not succeeds:
        assert done.stderr
        assert not [n for n in unit.cached if n.endswith(".raucb")]


def test_a_server_that_says_nothing_is_given_up(unit: Unit) -> None:
    unit.server.faults = [Fault("/os/", delay=30)]
    begun = time.monotonic()
    assert unit.update(quiet=1).returncode == 1
    assert 0.9 < time.monotonic() - begun < 20


def test_no_server_at_all(unit: Unit) -> None:
    unit.server.stop()
    assert unit.update().returncode == 1


def test_bytes_of_another_bundle_are_not_mixed_in(unit: Unit) -> None:
    """The offer changes after half of the old bundle has come."""
    unit.fake_rauc()
    unit.server.faults = [Fault("/bundles/", cut=5000, times=1), Fault("/bundles/", status=503)]
    assert unit.update().returncode == 1
    unit.server.faults = []
    other = unit.dir / "b.raucb"
    other.write_bytes(BUNDLE[::-1])
    publish(unit.server.directory, other, version="2.0", roothash=ROOTHASH)
    assert unit.update().returncode == 0
    assert (unit.dir / "cache" / unit.cached[0]).read_bytes() == BUNDLE[::-1] and len(unit.cached) == 1


def test_held_back_by_the_rollout_means_nothing_is_fetched(unit: Unit) -> None:
    publish(unit.server.directory, unit.server.directory / "bundles/b.raucb", version="2.0", roothash=ROOTHASH,
            rollout=0)
    assert unit.update().returncode == 0
    assert not downloads(unit) and not unit.cached


def test_without_a_version_of_its_own_it_does_not_ask(unit: Unit) -> None:
    unit.write("os-release", "NAME=x\n")
    assert unit.update().returncode == 1
    assert not unit.server.requests


# -- RAUC ---------------------------------------------------------------------------------------------

GOOD = ["inspect", "install", "completed"]
REFUSAL = "Pre-install handler error: Child process exited with code 10"
NOT_NOW = "Pre-install handler error: Child process exited with code 75"
# RAUC's behaviour → exit status, what it is asked, whether the bundle is remembered as refused.
BAD_RAUCS: dict[str, tuple[list[str], int, list[str], bool]] = {
    "fails-once": (["fail=1:Input/output error"], 0, GOOD * 2, False),
    "fails-always": (["fail=9:Input/output error"], 1, GOOD * 2, False),
    "refused-for-now": ([f"fail=9:{NOT_NOW}"], 1, GOOD, False),
    "refused-by-the-check": ([f"fail=9:{REFUSAL}"], 0, GOOD, True),
    "zero-but-an-error": (["zero=something broke"], 1, GOOD * 2, False),
    "not-signed": (["refuse=signature verification failed: unknown CA"], 0, ["inspect"], True),
    "not-signed-says-the-installation": (["mute=signature verification failed: unknown CA"], 0, GOOD, True),
    "not-a-bundle": (["mute=Invalid bundle format: Signature size exceeds bundle size"], 0, GOOD, True),
    "clock-of-1970": (["mute=signature verification failed: Verify error: certificate is not yet valid"], 1,
                      GOOD * 2, False),
    "other-device": (["compatible=toaster"], 0, ["inspect"], True),
    "other-version": (["version=2.1"], 0, ["inspect"], True),
    "busy-for-a-moment": (["busy=2"], 0, GOOD, False),
    "busy": (["busy=1000"], 1, [], False),
    "goes-away": (["vanish"], 1, ["inspect", "install"], False),
    "never-ends": (["never"], 1, ["inspect", "install"], False),
}


@pytest.mark.parametrize("name", BAD_RAUCS)
def test_a_bad_rauc(unit: Unit, name: str) -> None:
    words, status, asked, refused = BAD_RAUCS[name]
    # Of what was checked last: it counts only when RAUC says that the handler refused.
    unit.write("refusal", "Not now: the running version is in its probation\n" if name == "refused-for-now"
               else "This image was tried on this device and failed\n")
    unit.fake_rauc(*words)
    done = unit.update(install=1 if name == "never-ends" else 20, busy=10 if name == "busy-for-a-moment" else 1)
    assert done.returncode == status, done.stderr
    assert unit.end_rauc() == asked
    assert unit.asked == (["try"] if asked and status == 0 and not refused else [])
    memory = (unit.dir / "state/kiosk-update").read_text()
    assert ("refused=" in memory) == refused
    assert ("This image was tried" in memory) == (name == "refused-by-the-check")
    if refused:
        # Not again by itself, whatever RAUC would say now.
        unit.fake_rauc()
        assert unit.update().returncode == 0
        assert unit.end_rauc() == [] and len(downloads(unit)) == 1 and unit.asked == []


def test_no_rauc_on_the_bus(unit: Unit) -> None:
    assert unit.update().returncode == 1
    assert unit.cached == WHOLE          # and it need not be fetched again


def test_no_bus(unit: Unit) -> None:
    assert unit.bus
    unit.bus.stop()
    assert unit.update().returncode == 1
    unit.bus.process = None


def test_the_guard_is_asked_again(unit: Unit) -> None:
    unit.fake_rauc()
    unit.guard(f"[ $(wc -l <{unit.dir}/asked) -ge 2 ]")
    assert unit.update().returncode == 0
    assert unit.asked == ["try", "try"]


# RAUC itself (1.8 in Debian 12), as far as it goes without a device-mapper of our own: it reads and
# checks the bundle, and begins. tests/vm has the rest.

@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    """The keyring of the devices, and bundles of version 2.0: "ours", and one by a "stranger"."""
    base = tmp_path_factory.mktemp("signed")
    content = base / "content"
    content.mkdir()
    (content / "root.img").write_bytes(BUNDLE[:65536])
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={COMPATIBLE}\nversion=2.0\n[bundle]\nformat=verity\n[image.rootfs]\nfilename=root.img\n")
    made, keyring = {}, base
    for name in ("stranger", "ours"):
        keys = Keys.made(base / f"keys-{name}")
        keyring, made[name] = keys.keyring, base / f"{name}.raucb"
        copied = shutil.copytree(content, base / f"content-{name}")
        subprocess.run(["rauc", f"--cert={keys.env['RAUC_CERT_FILE']}", f"--key={keys.env['RAUC_KEY_FILE']}", "bundle",
                        copied, made[name]], capture_output=True, check=True)
    return keyring, made


# It has no InspectBundle yet, so what is offered as another version than it is, is installed.
@pytest.mark.parametrize("name", ["ours", "stranger", "no-bundle"])
def test_the_real_rauc(unit: Unit, tmp_path: Path, signed: tuple[Path, dict[str, Path]], name: str) -> None:
    keyring, bundles = signed
    bundle = bundles["stranger" if name == "stranger" else "ours"]
    if name == "no-bundle":
        bundle = tmp_path / "b.raucb"
    publish(unit.server.directory, bundle, version="2.0", roothash=ROOTHASH)
    backend, notes = recorder(tmp_path)
    assert unit.bus
    rauc = Rauc(tmp_path, unit.bus, backend, keyring).start()
    try:
        done = unit.update(install=30)
    finally:
        rauc.stop()
    log, memory = rauc.log(), (unit.dir / "state/kiosk-update").read_text()
    began = ": started" in log
    assert ("refused=" in memory) == (name != "ours"), (done.stderr, log)
    if name == "ours":
        # A machine that may make device-mapper devices goes on and succeeds.
        assert began and (done.returncode == 0 or "RAUC could not install the bundle: " in done.stderr), log
        assert done.returncode or "set-primary B" in notes.read_text()
    else:
        assert "ignature" in memory and "BF_ROOT_A" in rauc.slots()["BF_ROOT_A"].decode(errors="replace")
    assert unit.asked == (["try"] if done.returncode == 0 and name == "ours" else [])


# -- beats --------------------------------------------------------------------------------------------

class Ear:
    """The guard's socket: every datagram with the sender's pid and uid, as the kernel tells them."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(str(path))

    def hear(self, timeout: float) -> tuple[str, int] | None:
        self.socket.settimeout(timeout)
        try:
            text, control, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(12))
        except TimeoutError:
            return None
        pid, _, _ = struct.unpack("3i", control[0][2])
        return text.decode(), pid

    def all(self) -> list[str]:
        """Everything that has come until now."""
        heard = []
        while (one := self.hear(0.001)) is not None:
            heard.append(one[0])
        return heard

    def until(self, wanted: str, timeout: float = 30) -> list[str]:
        heard: list[str] = []
        end = time.monotonic() + timeout
        while not any(wanted in text for text in heard):
            one = self.hear(max(0.01, end - time.monotonic()))
            assert one is not None, f"no {wanted} in {heard}"
            heard.append(one[0])
        return heard


@pytest.fixture
def running(unit: Unit) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts kiosks that are gone when the test is."""
    made: list[subprocess.Popen[str]] = []

    def start(*words: str, **options: object) -> subprocess.Popen[str]:
        made.append(unit.start(*words, **options))
        return made[-1]

    yield start
    for process in made:
        process.kill()
        process.communicate()


def test_beats_reach_guard_server_marker_and_systemd(unit: Unit, running: Callable[..., Any]) -> None:
    ear, systemd = Ear(unit.dir / "notify"), Ear(unit.dir / "systemd")
    unit.extra_env = {"NOTIFY_SOCKET": str(unit.dir / "systemd")}
    unit.write("boot", "BF_SLOT=B\n")
    process = running()
    first = ear.hear(30)
    assert first == ("READY=1\nSTATUS=beating", process.pid)
    assert ear.until("X_BF_SERVER=1") == ["WATCHDOG=1", "X_BF_SERVER=1\nWATCHDOG=1"]
    assert unit.marker.read_text() == "ok\n" and not unit.marker.is_symlink()
    assert systemd.until("READY=1") == ["READY=1"]
    beats = unit.server.wait_beats(3, 30, slot="B", version="1.0", device="id", switch="none", boot="1111")
    assert [b["beat"] for b in beats[:3]] == [1, 2, 3] and beats[0]["pid"] == process.pid
    assert systemd.until("WATCHDOG=1")


def test_without_the_server_it_beats_to_the_guard_only(unit: Unit, running: Callable[..., Any]) -> None:
    ear = Ear(unit.dir / "notify")
    unit.server.stop()
    running()
    ear.until("READY=1")
    ear.until("WATCHDOG=1")
    ear.until("WATCHDOG=1")
    assert not any("SERVER" in text for text in ear.all()) and not unit.marker.exists()
    unit.server.start()
    ear.until("X_BF_SERVER=1")
    assert unit.marker.exists()


def test_without_a_guard_it_works_all_the_same(unit: Unit, running: Callable[..., Any]) -> None:
    running()
    unit.server.wait_beats(2, 30)
    assert unit.marker.exists()


@pytest.mark.parametrize("marker,again", [("each", True), ("once", False)])
def test_how_often_the_marker_is_written(unit: Unit, running: Callable[..., Any], marker: str, again: bool) -> None:
    running(marker=marker)
    unit.server.wait_beats(1, 30)
    until = time.monotonic() + 30
    while not unit.marker.exists() and time.monotonic() < until:
        time.sleep(0.02)
    unit.marker.unlink()
    unit.server.wait_beats(len(unit.server.beats) + 2, 30)
    assert unit.marker.exists() == again


def test_it_updates_itself_while_it_beats(unit: Unit, running: Callable[..., Any]) -> None:
    unit.fake_rauc()
    unit.server.faults = [Fault("/bundles/", rate=120_000)]
    running(first_check=0, check=0.2)
    unit.server.wait_beats(3, 30)
    until = time.monotonic() + 30
    while not unit.asked and time.monotonic() < until:
        time.sleep(0.05)
    assert unit.asked[0] == "try" and unit.end_rauc()[:3] == GOOD


def test_in_a_trial_nothing_is_fetched_until_it_is_over(unit: Unit, running: Callable[..., Any]) -> None:
    unit.fake_rauc()
    unit.write("boot", "BF_SLOT=B\nBF_TRIAL=yes\n")
    running(first_check=0, check=0.2)
    unit.server.wait_beats(3, 30)
    assert all(r.method == "POST" for r in unit.server.requests)
    (unit.dir / "run/rauc-confirmed").touch()
    until = time.monotonic() + 30
    while not unit.asked and time.monotonic() < until:
        time.sleep(0.05)
    assert unit.asked


# -- the switches ---------------------------------------------------------------------------------------

@dataclass
class Ended:
    """A kiosk that ran with a switch for some seconds."""

    code: int | None                    # None: still running
    state: str                          # of the process, as ps shows it
    rss: int                            # MiB
    heard: list[str]                    # by the guard
    systemd: list[str]                  # heard by systemd
    marker: bool
    beats: list[float]                  # seconds since the start
    seconds: float                      # it lived

    @property
    def server(self) -> bool:
        return any("X_BF_SERVER=1" in text for text in self.heard)

    @property
    def ready(self) -> bool:
        return "READY=1" in self.systemd


SWITCH_SECONDS = 5                      # and longer on a busy machine, for what comes late
SWITCH_SECONDS_MAX = 40
# What becomes true of a kiosk with that switch, and what stays so.
SWITCHES: dict[str, Callable[[Ended], bool]] = {
    "none": lambda e: e.code is None and e.state == "S" and e.ready and e.server and e.marker and e.rss < 20
    and len(e.beats) > 3 and len(e.heard) <= 1 + 2 * e.seconds / 0.2,
    "never-starts": lambda e: e.code == 3 and not (e.ready or e.heard or e.beats),
    "dies:1": lambda e: e.code == 3 and e.seconds > 0.9 and e.ready and e.server and bool(e.beats),
    "loop:1": lambda e: e.code == 1 and e.seconds > 0.9 and e.ready and e.server and bool(e.beats),
    "silent": lambda e: e.code is None and e.systemd == ["READY=1"] and not (e.heard or e.beats or e.marker),
    "refused": lambda e: e.code is None and e.heard.count("WATCHDOG=1") >= 3 and not (e.server or e.beats or e.marker),
    "memory:30": lambda e: e.code is None and e.rss > 60 and e.server,
    "hangs:1": lambda e: e.code is None and e.state == "T" and bool(e.beats) and e.seconds - e.beats[-1] > 1,
    "other-user": lambda e: e.code is None and not (e.heard or e.beats or e.marker),
    "other-unit": lambda e: e.code is None and not (e.heard or e.beats or e.marker),
    "late:3": lambda e: e.code is None and e.ready and e.server and bool(e.beats) and e.beats[0] > 2.5,
    "flood:1000": lambda e: e.code is None and e.server and len(e.heard) > 150,
}


def proc_state(pid: int) -> tuple[str, int]:
    try:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except OSError:
        return "gone", 0
    return fields["State"].split()[0], int(fields.get("VmRSS", "0 kB").split()[0]) // 1024


def run_switches(programs: Path, base: Path) -> dict[str, Ended]:
    """All switches at once, each with a server and a guard's socket of its own."""
    units, ears, processes, begun, ends = {}, {}, {}, {}, {}
    heard: dict[str, list[str]] = {name: [] for name in SWITCHES}
    systemd: dict[str, list[str]] = {name: [] for name in SWITCHES}

    def look(name: str, process: subprocess.Popen[str]) -> Ended:
        now = time.monotonic()
        code = process.poll()
        if code is not None:
            ends.setdefault(name, now)
        heard[name] += ears[name][0].all()
        systemd[name] += ears[name][1].all()
        return Ended(code, *proc_state(process.pid), heard[name], systemd[name], units[name].marker.exists(),
                     [b["time"] - begun[name] for b in units[name].server.beats], ends.get(name, now) - begun[name])

    try:
        for name in SWITCHES:
            (base / name / "device").mkdir(parents=True)
            units[name] = unit = Unit(base / name / "device", programs, Server(base / name).start())
            ears[name] = Ear(unit.dir / "notify"), Ear(unit.dir / "systemd")
            unit.extra_env = {"NOTIFY_SOCKET": str(unit.dir / "systemd")}
            begun[name] = time.monotonic()
            processes[name] = unit.start(switch=name)
        while True:
            seen = {name: look(name, process) for name, process in processes.items()}
            lived = time.monotonic() - max(begun.values())
            if lived > SWITCH_SECONDS and (lived > SWITCH_SECONDS_MAX or all(SWITCHES[n](e) for n, e in seen.items())):
                return seen
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
        for unit in units.values():
            unit.server.stop()


def test_every_switch_does_what_it_says(programs: Path, tmp_path: Path) -> None:
    ended = run_switches(programs, tmp_path)
    assert not {name: e for name, e in ended.items() if not SWITCHES[name](e)}


def test_forged_beats_come_from_somebody_else(unit: Unit, running: Callable[..., Any]) -> None:
    ear = Ear(unit.dir / "notify")
    (unit.dir / "run/kiosk-switch").write_text("other-user\n")
    kiosk, forger = running(), running("--forge=other-user")
    one = ear.hear(30)
    assert one and "X_BF_SERVER=1" in one[0] and one[1] == forger.pid != kiosk.pid
    until = time.monotonic() + 30
    while not unit.marker.exists() and time.monotonic() < until:
        time.sleep(0.02)
    forger.kill()
    forger.wait()
    unit.marker.unlink()                 # here nothing keeps it from writing it
    # The marker belongs to the account: from the kiosk's own it would be no forgery.
    (unit.dir / "run/kiosk-switch").write_text("other-unit\n")
    ear.all()
    other = running("--forge=other-unit")
    ear.until("X_BF_SERVER=1")
    assert ear.hear(30) and not unit.marker.exists() and other.poll() is None
    assert running("--forge=silent").wait(30) == 2


# Where a switch stands → the text there; the first that is there counts.
PLACES = ["option", "run", "state", "kernel"]


@pytest.mark.parametrize("place", PLACES)
def test_where_a_switch_can_stand(unit: Unit, running: Callable[..., Any], place: str) -> None:
    options = {}
    for n, where in enumerate(PLACES):
        text = "never-starts" if where == place else "silent"
        if n < PLACES.index(place):
            continue
        if where == "option":
            options["switch"] = text
        elif where == "kernel":
            unit.write("cmdline", f"quiet bf.kiosk=silent bf.kiosk={text} root=x\n")
        else:
            (unit.dir / where / "kiosk-switch").write_text(f"{text}\n")
    assert running(**options).wait(30) == 3


def test_a_switch_can_be_thrown_later(unit: Unit, running: Callable[..., Any]) -> None:
    process = running()
    unit.server.wait_beats(1, 30)
    # Whole, or not there: it is read at any time.
    (unit.dir / "run/new").write_text("dies:0\n")
    (unit.dir / "run/new").rename(unit.dir / "run/kiosk-switch")
    assert process.wait(30) == 3


@pytest.mark.parametrize("text", ["unknown", "dies:", "dies:x", "dies:5 ", "Dies", "", "dies:99999999999"])
def test_a_misspelled_switch_is_an_error(unit: Unit, running: Callable[..., Any], text: str) -> None:
    assert running(switch=text).wait(30) == 2


@pytest.mark.parametrize("argv", [["--unknown"], ["--beat=x"], ["--beat=-1"], ["--beat=1."], ["--beat=.5"], ["--beat=1.2345"], ["--quiet=0.5"], ["--beat=1000001"], ["more"]])
def test_wrong_usage(programs: Path, argv: list[str]) -> None:
    assert subprocess.run([programs / "tests/bf-kiosk", *argv], capture_output=True, check=False).returncode == 2


def test_help_names_every_switch(programs: Path) -> None:
    text = subprocess.run([programs / "tests/bf-kiosk", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"  {name.split(':')[0]} " in text for name in SWITCHES)


def test_settings_come_from_the_environment_too(unit: Unit) -> None:
    done = subprocess.run([a for a in unit.argv("--update-once") if not a.startswith("--channel")],
                          env={**unit.env, "BF_KIOSK_CHANNEL": "beta"}, capture_output=True, check=False)
    assert done.returncode == 1 and unit.server.requests[-1].path == "/os/beta.json"


# -- the server as a program -------------------------------------------------------------------------

def test_the_server_publishes_what_a_kiosk_takes(unit: Unit, tmp_path: Path) -> None:
    bundle, port = tmp_path / "n.raucb", socket.socket()
    bundle.write_bytes(b"new")
    port.bind(("127.0.0.1", 0))
    number = port.getsockname()[1]
    port.close()
    process = subprocess.Popen([sys.executable, TOP / "tests/kiosk/server.py", tmp_path / "pub", f"--port={number}",
                                f"--publish={bundle}", "--version=2.0", f"--roothash={ROOTHASH}"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               # Whoever runs tests in the background ignores it for all of them.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        assert process.stdout and "serving" in process.stdout.readline()
        unit.fake_rauc()
        assert unit.update(server=f"http://127.0.0.1:{number}").returncode == 0
        assert unit.end_rauc() == GOOD
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_server_keeps_to_its_directory(unit: Unit) -> None:
    (unit.server.directory.parent / "secret").write_text("x")
    assert unit.server.file("/../secret") is None
    assert unit.server.file("/os/stable.json") is not None
    withdraw_or_write(unit.server.directory, "stable", None)
    assert unit.server.file("/os/stable.json") is None
    assert entry(unit.server.directory / "bundles/b.raucb", version="1", roothash=ROOTHASH)["size"] == len(BUNDLE)


def test_the_description_shows_an_offer_that_counts(questions: Questions) -> None:
    text = (TOP / "tests/kiosk/README.md").read_text().split("```json\n")[1].split("```")[0]
    example = json.loads(text)["bundles"][0]
    questions.offer(text.encode(), group="lab")
    questions.offer(text.encode(), group="hold")
    questions.offer(text.encode(), version=example["version"])
    taken, *others = questions.answers()
    assert taken.split()[:2] == ["take", example["version"]] and others == ["not-yet", "current"]
    assert set(example) == set(good_entry(groups={}))
