# SPDX-License-Identifier: MIT
"""The boot record in the words of tests/lib/rules-text.h, and records made by chance."""

from __future__ import annotations

import random

import rules_model as model
from rules_model import Last, Record

BOOLS = (False, True)


def number(n: int | None) -> str:
    return "-" if n is None else str(n)


def record_words(r: Record) -> dict[str, str]:
    words = {
        "committed": r.committed,
        "staged": r.staged,
        "kind": r.kind,
        "attempts": str(r.attempts),
        "trials": str(r.trials),
        "trial_reason": r.trial_reason,
    }
    for slot in "AB":
        words[f"state.{slot}"] = r.state[slot]
        words[f"proven.{slot}"] = r.proven[slot]
        words[f"hash.{slot}"] = r.hash[slot]
    words |= {
        "hard": str(r.hard),
        "soft": str(r.soft),
        "doublings": str(r.doublings),
        "ladder": str(r.ladder),
        "probation": str(int(r.probation)),
        "repairs": str(r.repairs),
        "healthy_sec": str(r.healthy_sec),
        "last.slot": r.last.slot,
        "last.phase": r.last.phase,
        "last.boot_id": r.last.boot_id,
        "last.count": number(r.last.count),
        "last.reason": r.last.reason,
        "refused": ",".join(r.refused) or "-",
        "history": ",".join(":".join(h) for h in r.history) or "-",
    }
    return words


DEFAULT_WORDS = record_words(Record())


def random_record(rng: random.Random) -> Record:
    committed = rng.choice("AB")
    events = "staged trial committed rejected given-up fallback failed repaired rebuilt changed".split()
    hashes = [f"{n:04x}" for n in range(12)]
    return Record(
        committed=committed,
        staged=rng.choice(["-", model.other(committed), model.other(committed)]),
        kind=rng.choice(["update", "fallback"]),
        attempts=rng.choice([0, 1, 4, 5, 6, 7, 1000]),
        trials=rng.choice([0, 0, 1, 2, 3, 4, 1000]),
        trial_reason=rng.choice(["-", "-", "-", "mount", "a-code-of-a-newer-version"]),
        state={s: rng.choice(["unknown", "good", "bad"]) for s in "AB"},
        proven={s: rng.choice(["unknown", "no", "yes"]) for s in "AB"},
        hash={s: rng.choice(["-", *hashes]) for s in "AB"},
        hard=rng.choice([0, 1, 4, 5, 9, 10, rng.randrange(1_000_001)]),
        soft=rng.choice([0, 1, 14, 15, 29, 30, rng.randrange(1_000_001)]),
        doublings=rng.choice([0, 0, 1, 2, 10, 12, 1_000_000]),
        ladder=rng.randrange(4),
        probation=rng.choice(BOOLS),
        repairs=rng.choice([0, 0, 1, 2, 3, 4, 5, 6, 7]),
        healthy_sec=rng.choice([0, 0, 600]),
        last=Last(
            rng.choice("AB-"),
            rng.choice("none started trial attempt confirmed clean failed settled".split()),
            rng.choice(["-", "f" * 32]),
            rng.choice([None, 0, 1, 5, 2**32 - 2, 2**32 - 1, rng.randrange(2**32)]),
            rng.choice(["-", "root-mount"]),
        ),
        refused=tuple(rng.sample(hashes, rng.randrange(9))),
        history=tuple(
            (rng.choice(events), rng.choice("AB-"), rng.choice(["-", "mount"]))
            for _ in range(rng.choice([0, 0, 1, 15, 16]))
        ),
    )
