# SPDX-License-Identifier: MIT
"""boot/rules.c against the model in rules_model.py, case by case: any difference fails."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rules_model as model
from rules_model import Decision, Facts, Last, Record
from rules_words import DEFAULT_WORDS, number, random_record, record_words

CHUNK = 20_000
RANDOM_CASES = 120_000
SEED = int(os.environ.get("BF_SEED", "20240229"))
REASON = "verity-corrupt"

Case = tuple[str, Facts]


# -- words ---------------------------------------------------------------------------------


def question(call: str, f: Facts) -> str:
    words = {
        "call": call,
        "running": f.running,
        "mismatch": str(int(f.mismatch)),
        "tryboot": str(int(f.tryboot)),
        "count": number(f.count),
        "selector": f.selector,
        "record": f.status,
        "writable": str(int(f.writable)),
        "boot_id": f.boot_id,
        "roothash": f.roothash,
    }
    if f.status == "ok":
        words |= {k: v for k, v in record_words(f.record).items() if v != DEFAULT_WORDS[k]}
    return "".join(f"{k}={v}\n" for k, v in words.items()) + "\n"


def answer(d: Decision) -> str:
    words = {
        "writes": d.writes,
        "sector": d.sector,
        "next": d.next,
        "unwritten": d.unwritten,
        "committable": str(int(d.committable)),
        "limbo": str(int(d.limbo)),
        "reason": d.reason,
        "delay": str(d.delay),
    } | record_words(d.record)
    return " ".join(f"{k}={v}" for k, v in words.items())


def expected(call: str, f: Facts) -> Decision:
    if call == "init":
        return model.bf_init(f)
    if call == "failed":
        return model.bf_init_failed(f, None, REASON)
    decision = model.bf_init(f)
    if call == "unwritten":
        decision, f = model.unwritten(decision, f)
    return model.bf_init_failed(f, decision, REASON)


def ask(rules_eval: Path, cases: list[Case]) -> list[str]:
    text = "".join(question(call, f) for call, f in cases)
    done = subprocess.run([rules_eval], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def compare(rules_eval: Path, cases: Iterable[Case]) -> int:
    iterator, total = iter(cases), 0
    while chunk := list(itertools.islice(iterator, CHUNK)):
        answers = ask(rules_eval, chunk)
        assert len(answers) == len(chunk)
        for (call, f), got in zip(chunk, answers, strict=True):
            want = answer(expected(call, f))
            if got != want:
                lines = [question(call, f).strip(), "", "word: C code / model"]
                for g, w in zip(got.split(), want.split(), strict=True):
                    if g != w:
                        lines.append(f"{g} / {w}")
                pytest.fail("\n".join(lines))
        total += len(chunk)
    return total


# -- cases ---------------------------------------------------------------------------------

CALLS = ("init", "failed", "after", "unwritten")
BOOLS = (False, True)
SELECTORS = ("A", "B", "A-file", "B-file", "invalid", "gone")
HASHES = {"A": "aa11", "B": "bb22"}


def surroundings() -> Iterator[Facts]:
    for running, selector in itertools.product("AB", SELECTORS):
        for tryboot, mismatch, writable in itertools.product(BOOLS, repeat=3):
            yield Facts(
                running=running,
                selector=selector,
                tryboot=tryboot,
                mismatch=mismatch,
                writable=writable,
                boot_id="0123456789abcdef" * 2,
                roothash="cc33",
            )


def without_record() -> Iterator[Case]:
    for f, status, call in itertools.product(surroundings(), ("lost", "none"), CALLS):
        yield call, replace(f, status=status)


def every_selection() -> Iterator[Case]:
    """Which slot runs, and why: everything that chooses the row of the table."""
    stagings = [("-", "update"), ("other", "update"), ("other", "fallback")]
    for committed, (staged, kind), repairs, proven, hard, call in itertools.product(
        "AB", stagings, (0, 1, 2, 3, 5, 6), ("unknown", "no", "yes"), (0, 5), CALLS
    ):
        there = model.other(committed)
        record = Record(
            committed=committed,
            staged=there if staged == "other" else "-",
            kind=kind,
            repairs=repairs,
            hard=hard,
            hash=HASHES,
            state={committed: "good", there: "bad" if proven == "no" else "unknown"},
            proven={committed: "yes", there: proven},
        )
        for f in surroundings():
            yield call, replace(f, record=record)


def every_return() -> Iterator[Case]:
    """What the committed slot makes of its own past and of the trial's."""
    counts = [(None, None), (None, 1), (None, 4), (4, None), (4, 1), (4, 4), (4, 5), (4, 6), (4, 7)]
    phases = "none started trial attempt confirmed clean failed settled".split()
    trials = [("-", "update", 0, 0, "-")]
    for kind, attempts, n, why in itertools.product(
        ("update", "fallback"), (1, 5, 6), (0, 1, 2, 3), ("-", "mount")
    ):
        trials.append(("B", kind, attempts, n, why))
    for (stored, now), phase, slot, probation, trial in itertools.product(
        counts, phases, "AB", BOOLS, trials
    ):
        staged, kind, attempts, n, why = trial
        record = Record(
            staged=staged,
            kind=kind,
            attempts=attempts,
            trials=n,
            trial_reason=why,
            probation=probation,
            hash=HASHES,
            last=Last(slot, phase, count=stored),
        )
        yield "init", Facts(count=now, record=record)


def every_threshold() -> Iterator[Case]:
    """When the committed slot is left, for which slot, and how often."""
    hards = (0, 3, 4, 5, 8, 9, 10, 18, 19, 20, 39, 40, 10 * 1024 - 1, 10 * 1024, 1_000_000)
    softs = (0, 13, 14, 15, 28, 29, 30, 58, 59, 60, 30 * 1024 - 1, 30 * 1024)
    states = [(s, p) for s in ("unknown", "good", "bad") for p in ("unknown", "no", "yes")]
    stagings = [("-", 0), ("B", 0), ("B", 5), ("B", 6)]
    for hard, soft, doublings, (state, proven), (staged, attempts), phase in itertools.product(
        hards, softs, (0, 1, 9, 10, 11), states, stagings, ("failed", "clean")
    ):
        record = Record(
            staged=staged,
            attempts=attempts,
            hard=hard,
            soft=soft,
            doublings=doublings,
            state={"A": "good", "B": state},
            proven={"A": "yes", "B": proven},
            last=Last("A", phase, reason="mount" if phase == "failed" else "-"),
        )
        yield "init", Facts(record=record)


def random_cases(n: int) -> Iterator[Case]:
    rng = random.Random(SEED)
    for _ in range(n):
        record = random_record(rng)
        stored = record.last.count
        counts = [None, 0, 1, 2, rng.randrange(2**32)]
        if stored is not None:
            counts += [min(2**32 - 1, stored + step) for step in (0, 1, 2, 3)]
        yield (
            rng.choice(CALLS),
            Facts(
                running=rng.choice("AB"),
                mismatch=rng.random() < 0.2,
                tryboot=rng.choice(BOOLS),
                count=rng.choice(counts),
                selector=rng.choice(["A", "A", "B", "B", *SELECTORS]),
                status=rng.choice(["ok", "ok", "ok", "ok", "lost", "none"]),
                writable=rng.random() < 0.8,
                boot_id=rng.choice(["-", "0" * 32, "0" * 31, "X" * 32]),
                roothash=rng.choice(["-", "ab" * 32, "ab" * 64, "not-hex"]),
                record=record,
            ),
        )


# -- tests ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rules_eval(programs: Path) -> Path:
    path = programs / "tests" / "rules-eval"
    assert path.is_file(), f"{path} is not built; run make check-contract"
    return path


@pytest.mark.parametrize(
    "domain", [without_record, every_selection, every_return, every_threshold]
)
def test_every_case_of(rules_eval: Path, domain: Callable[[], Iterator[Case]]) -> None:
    assert compare(rules_eval, domain()) > 500


def test_random_cases(rules_eval: Path) -> None:
    assert compare(rules_eval, random_cases(RANDOM_CASES)) == RANDOM_CASES
