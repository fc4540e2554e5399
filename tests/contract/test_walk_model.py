# SPDX-License-Identifier: MIT
"""What a random walk really asked of the boot rules, asked of the models in Python once more."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from requests_model import Args, RunFacts
from rules_model import Facts, Last, Record
from test_requests_model import difference
from test_rules_model import answer, expected

STEPS = 6000
SEED = int(os.environ.get("BF_SEED", "7"))


def words_of(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split())


def number(word: str) -> int | None:
    return None if word == "-" else int(word)


def record_of(w: dict[str, str]) -> Record:
    if "committed" not in w:
        return Record()
    history = [] if w["history"] == "-" else w["history"].split(",")
    return Record(
        committed=w["committed"],
        staged=w["staged"],
        kind=w["kind"],
        attempts=int(w["attempts"]),
        trials=int(w["trials"]),
        trial_reason=w["trial_reason"],
        state={s: w[f"state.{s}"] for s in "AB"},
        proven={s: w[f"proven.{s}"] for s in "AB"},
        hash={s: w[f"hash.{s}"] for s in "AB"},
        hard=int(w["hard"]),
        soft=int(w["soft"]),
        doublings=int(w["doublings"]),
        ladder=int(w["ladder"]),
        probation=w["probation"] == "1",
        repairs=int(w["repairs"]),
        last=Last(
            w["last.slot"],
            w["last.phase"],
            w["last.boot_id"],
            number(w["last.count"]),
            w["last.reason"],
        ),
        refused=() if w["refused"] == "-" else tuple(w["refused"].split(",")),
        history=tuple((e, s, r) for e, s, r in (h.split(":") for h in history)),
    )


def boot_difference(w: dict[str, str], got: str) -> str | None:
    f = Facts(
        running=w["running"],
        mismatch=w["mismatch"] == "1",
        tryboot=w["tryboot"] == "1",
        count=number(w["count"]),
        selector=w["selector"],
        status=w["record"],
        writable=w["writable"] == "1",
        boot_id=w["boot_id"],
        roothash=w["roothash"],
        record=record_of(w),
    )
    want = answer(expected(w["call"], f))
    return None if got == want else f"{w}\n\ngot  {got}\nwant {want}"


def request_difference(w: dict[str, str], got: str) -> str | None:
    flags = ("mismatch", "limbo", "validated", "committable", "staying", "armed", "writable")
    f = RunFacts(
        running=w["running"],
        selector=w["selector"],
        status=w["record"],
        count=number(w["count"]),
        boot_id=w["boot_id"],
        record=record_of(w),
        **{flag: w[flag] == "1" for flag in flags},
    )
    a = Args(w["arg.slot"], w["arg.reason"], w["arg.force"] == "1", int(w["arg.seconds"]), w["arg.hash"])
    return difference((w["request"], f, a), got)


def test_every_decision_of_a_walk(programs: Path, tmp_path: Path) -> None:
    walk, dump = programs / "tests" / "walk", tmp_path / "dump"
    assert walk.is_file(), f"{walk} is not built; run make check-contract"
    done = subprocess.run(
        [walk, "--steps", str(STEPS), "--seed", str(SEED), "--dump", dump],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = dump.read_text().splitlines()
    boots = requests = 0
    for asked, got in zip(lines[::2], lines[1::2], strict=True):
        w = words_of(asked)
        if "call" in w:
            boots += 1
            text = boot_difference(w, got)
        else:
            requests += 1
            text = request_difference(w, got)
        if text is not None:
            pytest.fail(text)
    assert boots > STEPS // 20 and requests > STEPS // 5
