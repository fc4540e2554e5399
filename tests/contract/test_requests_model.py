# SPDX-License-Identifier: MIT
"""boot/requests.c against the model in requests_model.py, case by case: any difference fails."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests_model as model
from requests_model import Args, Plan, RunFacts
from rules_model import Record
from rules_words import BOOLS, DEFAULT_WORDS, number, random_record, record_words

CHUNK = 20_000
RANDOM_CASES = 60_000
SEED = int(os.environ.get("BF_SEED", "20240229"))
BOOT_ID = "0123456789abcdef" * 2

Case = tuple[str, RunFacts, Args]


# -- words ---------------------------------------------------------------------------------


def question(request: str, f: RunFacts, a: Args) -> str:
    words = {
        "request": request,
        "running": f.running,
        "mismatch": str(int(f.mismatch)),
        "limbo": str(int(f.limbo)),
        "validated": str(int(f.validated)),
        "committable": str(int(f.committable)),
        "staying": str(int(f.staying)),
        "armed": str(int(f.armed)),
        "selector": f.selector,
        "record": f.status,
        "writable": str(int(f.writable)),
        "count": number(f.count),
        "boot_id": f.boot_id,
        "arg.slot": a.slot,
        "arg.reason": a.reason,
        "arg.force": str(int(a.force)),
        "arg.seconds": str(a.seconds),
        "arg.hash": a.hash,
    }
    if f.status == "ok":
        words |= {k: v for k, v in record_words(f.record).items() if v != DEFAULT_WORDS[k]}
    return " ".join(f"{k}={v}" for k, v in words.items())


def answers(f: RunFacts, p: Plan) -> Iterator[str]:
    """Every right answer: one, or one for each of the refusals that hold."""
    told = {
        "trial": str(int(model.is_trial(f))),
        "armed": model.armed_slot(f),
        "primary": model.primary(f),
        "good.A": str(int(model.is_good(f, "A"))),
        "good.B": str(int(model.is_good(f, "B"))),
    }
    for refusal in sorted(p.refusals) or ["none"]:
        words = {
            "refusal": refusal.replace("-", "_").upper() if p.refusals else refusal,
            "steps": p.steps,
            "sector": p.sector,
            "next": p.next,
            "always": str(int(p.always)),
        }
        # What a refusal would have written is nobody's business.
        record = {} if p.refusals else record_words(p.record)
        yield " ".join(f"{k}={v}" for k, v in (words | told | record).items())


def without_record(p: Plan, got: str) -> str:
    return got.partition(" committed=")[0] if p.refusals else got


def ask(requests_eval: Path, cases: list[Case]) -> list[str]:
    text = "".join(question(*case) + "\n" for case in cases)
    done = subprocess.run([requests_eval], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def difference(case: Case, got: str) -> str | None:
    """None when `got` is a right answer."""
    request, f, a = case
    p = model.ask(f, request, a)
    got = without_record(p, got)
    wanted = list(answers(f, p))
    if got in wanted:
        return None
    lines = [question(request, f, a), "", f"refusals: {sorted(p.refusals)}", "C code / model"]
    for g, w in zip(got.split(), wanted[0].split(), strict=False):
        if g != w:
            lines.append(f"{g} / {w}")
    return "\n".join(lines)


def compare(requests_eval: Path, cases: Iterable[Case]) -> int:
    iterator, total = iter(cases), 0
    while chunk := list(itertools.islice(iterator, CHUNK)):
        got = ask(requests_eval, chunk)
        assert len(got) == len(chunk)
        for case, line in zip(chunk, got, strict=True):
            if (text := difference(case, line)) is not None:
                pytest.fail(text)
        total += len(chunk)
    return total


# -- cases ---------------------------------------------------------------------------------

REASONS = ("-", "kiosk-failing", "verity-corrupt")
SELECTORS = ("A", "B", "A-file", "B-file", "invalid", "gone")


def every_request() -> list[tuple[str, Args]]:
    out = []
    for request in model.REQUESTS:
        if request in (model.SET_BAD, model.SET_GOOD, model.SET_PRIMARY):
            out += [(request, Args(slot=s, hash="dd44")) for s in "AB-"]
        else:
            out.append((request, Args()))
    out += [(model.SET_BAD, Args(slot=s, force=True)) for s in "AB"]
    out += [(model.HEALTHY, Args(seconds=s)) for s in (600, 2**32 - 1)]
    return [*out, (model.REJECT, Args(force=True)), (model.REJECT, Args(reason="kiosk-failing"))]


def likely_record(rng: random.Random, f: RunFacts) -> Record:
    """Like random_record(), but nearer to what happens: the last words are often of this boot."""
    r = random_record(rng)
    if rng.random() < 0.7:
        last = replace(r.last, slot=f.running, boot_id=f.boot_id)
        r = replace(r, last=last)
    if rng.random() < 0.5:
        r = replace(r, attempts=rng.choice([0, 1, 5, 6]), trials=rng.choice([0, 1, 2, 3]))
    if rng.random() < 0.2:
        r = replace(r, hard=0, soft=0, doublings=0, ladder=0, repairs=0, probation=False)
    if rng.random() < 0.2 and r.staged != "-":
        r = replace(r, kind="update", attempts=0, trials=0, trial_reason="-")
        r = replace(r, hash={**r.hash, r.staged: "dd44"})
    return r


def every_surrounding() -> Iterator[Case]:
    """All that a request can meet outside of the record, with records made by chance."""
    rng = random.Random(SEED)
    requests = every_request()
    for running, selector, status in itertools.product("AB", SELECTORS, ("ok", "lost", "future")):
        for flags in itertools.product(BOOLS, repeat=7):
            mismatch, limbo, validated, committable, staying, armed, writable = flags
            f = RunFacts(
                running=running,
                selector=selector,
                status=status,
                mismatch=mismatch,
                limbo=limbo,
                validated=validated,
                committable=committable,
                staying=staying,
                armed=armed,
                writable=writable,
                boot_id=BOOT_ID,
            )
            for request, a in requests:
                yield request, replace(f, record=likely_record(rng, f)), a


def every_staging() -> Iterator[Case]:
    """Half of all that the committed slot and the trial can find, everything else in order."""
    rng = random.Random(SEED)
    stagings = [("-", "update"), ("B", "update"), ("B", "fallback")]
    phases = "none started trial attempt confirmed clean failed settled".split()
    for (staged, kind), attempts, trials, phase, ladder, probation in itertools.product(
        stagings, (0, 5, 6), (0, 1, 3), phases, (0, 2), BOOLS
    ):
        for state, proven, running, request in itertools.product(
            ("good", "bad", "unknown"), ("yes", "no"), "AB", every_request()
        ):
            if rng.random() < 0.5:
                continue
            f = RunFacts(running=running, boot_id=BOOT_ID, validated=running == "B")
            r = Record(
                staged=staged,
                kind=kind,
                attempts=attempts,
                trials=trials,
                ladder=ladder,
                probation=probation,
                state={"A": "good", "B": state},
                proven={"A": "yes", "B": proven},
                hash={"A": "aa11", "B": "dd44"},
                last=replace(Record().last, slot=running, phase=phase, boot_id=BOOT_ID),
            )
            yield request[0], replace(f, committable=True, armed=True, record=r), request[1]


def random_cases(n: int) -> Iterator[Case]:
    rng = random.Random(SEED)
    for _ in range(n):
        f = RunFacts(
            running=rng.choice("AAAAABBBBB-"),
            mismatch=rng.random() < 0.1,
            limbo=rng.random() < 0.1,
            validated=rng.random() < 0.4,
            committable=rng.random() < 0.7,
            staying=rng.random() < 0.3,
            armed=rng.choice(BOOLS),
            selector=rng.choice(["A", "A", "B", "B", *SELECTORS]),
            status=rng.choice(["ok"] * 10 + ["lost", "future"]),
            writable=rng.random() < 0.9,
            count=rng.choice([None, 1, 2, rng.randrange(2**32)]),
            boot_id=rng.choice(["-", BOOT_ID, BOOT_ID, "f" * 32]),
        )
        record = likely_record(rng, f)
        if rng.random() < 0.6 and f.running != "-":
            # the two cases that decide something
            ours = f.running if rng.choice(BOOLS) else {"A": "B", "B": "A"}[f.running]
            staged = "-" if rng.random() < 0.3 else {"A": "B", "B": "A"}[ours]
            record = replace(record, committed=ours, staged=staged)
        yield (
            rng.choice(model.REQUESTS),
            replace(f, record=record),
            Args(
                slot=rng.choice("AABB-"),
                reason=rng.choice(REASONS),
                force=rng.random() < 0.3,
                seconds=rng.choice([0, 300, 10**6, 10**6 + 1]),
                hash=rng.choice(["-", "ab" * 32, "dd44", "not-hex"]),
            ),
        )


# -- tests ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def requests_eval(programs: Path) -> Path:
    path = programs / "tests" / "requests-eval"
    assert path.is_file(), f"{path} is not built; run make check-contract"
    return path


def test_every_surrounding(requests_eval: Path) -> None:
    assert compare(requests_eval, every_surrounding()) > 50_000


def test_every_staging(requests_eval: Path) -> None:
    assert compare(requests_eval, every_staging()) > 20_000


def test_random_cases(requests_eval: Path) -> None:
    assert compare(requests_eval, random_cases(RANDOM_CASES)) == RANDOM_CASES
