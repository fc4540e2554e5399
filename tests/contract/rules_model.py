# SPDX-License-Identifier: MIT
"""The boot rules of bf-init, once more: a model in Python, written from the table.

It knows nothing of the C code. test_rules_model.py asks both the same questions; where they
differ, one of the two is wrong. Values are the words of the boot record.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

TRIALS, ATTEMPTS, HARD, SOFT = 3, 6, 5, 15
REPAIRS_INIT, REPAIRS_REBOOT, REPAIRS = 2, 3, 6  # by bf-init, and by bf-boot, and own trials
RETRY_HARD, RETRY_SOFT, DOUBLINGS = 10, 30, 10
COUNTER_MAX = 1_000_000
REFUSED_MAX, HISTORY_MAX = 8, 16
HEX = frozenset("0123456789abcdef")


def other(slot: str) -> str:
    return {"A": "B", "B": "A"}[slot]


@dataclass(frozen=True)
class Last:
    slot: str = "-"
    phase: str = "none"
    boot_id: str = "-"
    count: int | None = None
    reason: str = "-"


@dataclass(frozen=True)
class Record:
    committed: str = "A"
    staged: str = "-"
    kind: str = "update"
    attempts: int = 0
    trials: int = 0
    trial_reason: str = "-"
    state: dict[str, str] = field(default_factory=lambda: {"A": "unknown", "B": "unknown"})
    proven: dict[str, str] = field(default_factory=lambda: {"A": "unknown", "B": "unknown"})
    hash: dict[str, str] = field(default_factory=lambda: {"A": "-", "B": "-"})
    hard: int = 0
    soft: int = 0
    doublings: int = 0
    ladder: int = 0
    probation: bool = False
    repairs: int = 0
    healthy_sec: int = 0
    last: Last = Last()
    refused: tuple[str, ...] = ()
    history: tuple[tuple[str, str, str], ...] = ()

    def note(self, event: str, slot: str, reason: str = "-") -> Record:
        return replace(self, history=((event, slot, reason), *self.history)[:HISTORY_MAX])

    def refuse(self, digest: str) -> Record:
        if digest == "-" or digest in self.refused:
            return self
        return replace(self, refused=(digest, *self.refused)[:REFUSED_MAX])

    def with_state(self, slot: str, value: str) -> Record:
        return replace(self, state={**self.state, slot: value})

    def cleared(self) -> Record:
        return replace(self, staged="-", kind="update", attempts=0, trials=0, trial_reason="-")

    def fallback(self) -> Record:
        r = replace(self.cleared(), staged=other(self.committed), kind="fallback", attempts=1)
        return replace(r, healthy_sec=0)


@dataclass(frozen=True)
class Facts:
    running: str = "A"
    mismatch: bool = False
    tryboot: bool = False
    count: int | None = None
    # the slot under [all]; with "-file" only a mount could change it; or "invalid", or "gone"
    selector: str = "A"
    status: str = "ok"  # of the record: ok, lost, none
    writable: bool = True
    boot_id: str = "-"
    roothash: str = "-"
    record: Record = Record()

    @property
    def recordable(self) -> bool:
        """W is possible: a record that can be read, or one that can be made anew."""
        return self.writable and self.status in ("ok", "lost")

    @property
    def named(self) -> str:
        """The slot that autoboot.txt names, or "-"."""
        return self.selector[0] if self.selector[0] in "AB" else "-"

    @property
    def in_place(self) -> bool:
        """S is possible."""
        return self.selector in ("A", "B", "invalid")


@dataclass(frozen=True)
class Decision:
    record: Record
    writes: str = "-"
    sector: str = "-"
    next: str = "boot"
    unwritten: str = "boot"
    committable: bool = False
    limbo: bool = False
    reason: str = "-"
    delay: int = 0


# -- steps of the committed slot's one write ------------------------------------------------


def ending(last: Last, count: int | None) -> str:
    """What DT count says about the end of the boot that wrote `last`."""
    if count is None:
        return "unknown"
    if last.count is None:
        return "power" if count in (0, 1) else "unknown"
    return "power" if count <= last.count else "warm"


def evidence(r: Record, count: int | None) -> Record:
    if r.staged == "-" or r.trial_reason != "-":
        return r
    if r.last.phase == "trial" and r.last.slot == r.staged and ending(r.last, count) == "power":
        return replace(r, trials=max(0, r.trials - 1))
    if r.last.phase == "attempt" and None not in (r.last.count, count) and count == r.last.count + 2:
        return replace(r, trials=r.trials if r.trials >= TRIALS else r.trials + 1)
    return r


def ran(r: Record) -> bool:
    """The history tells of a trial of the staged slot, and of no verdict or installation after it."""
    for event, slot, _ in r.history:
        if event in ("staged", "committed", "rejected", "given-up"):
            return False
        if (event, slot) == ("trial", r.staged):
            return True
    return False


def resolve(r: Record) -> Record:
    if r.staged == "-":
        return r
    slot = r.staged
    if r.trial_reason != "-":
        why, content = r.trial_reason, True
    elif r.trials >= TRIALS:
        why, content = "trial-dark", True
    elif r.attempts >= ATTEMPTS:
        why, content = "trial-dark" if r.trials else "trial-undecided" if ran(r) else "trial-never-ran", False
    else:
        return r
    update = r.kind == "update"
    if update:
        r = r.refuse(r.hash[slot])
    if update and content:
        # I2: a bad slot beside this one turns unknown
        state = {s: "unknown" if v == "bad" else v for s, v in r.state.items()} | {slot: "bad"}
        r = replace(r, state=state, proven={**r.proven, slot: "no"})
        return r.cleared().note("rejected", slot, why)
    return r.with_state(slot, "unknown").cleared().note("given-up", slot, why)


def count_last(r: Record, count: int | None) -> Record:
    if r.last.slot != r.committed:
        return r
    phase, how = r.last.phase, ending(r.last, count)
    hard = phase == "failed"
    soft = phase == "clean"
    if phase == "started":
        hard, soft = how == "warm", how != "warm"
    if phase == "confirmed":
        hard = how == "warm" or (how == "unknown" and r.probation)
        soft = how == "unknown" and not r.probation
    if hard or phase in ("started", "confirmed") and how != "power":
        r = replace(r, healthy_sec=0)
    return replace(
        r,
        hard=max(r.hard, min(COUNTER_MAX, r.hard + hard)),
        soft=max(r.soft, min(COUNTER_MAX, r.soft + soft)),
    )


def decide(r: Record) -> Record | None:
    """The record to leave the committed slot with, or None to stay."""
    there = other(r.committed)
    if not (r.hard >= HARD or r.soft >= SOFT):
        return None
    if r.staged != "-":
        return replace(r, attempts=r.attempts + 1) if r.attempts < ATTEMPTS else None
    if r.state[there] == "good":
        return r.fallback()
    n = 2 ** min(r.doublings, DOUBLINGS)
    if (r.hard >= RETRY_HARD * n or r.soft >= RETRY_SOFT * n) and r.proven[there] != "no":
        doublings = r.doublings if r.doublings >= DOUBLINGS else r.doublings + 1
        return replace(r.fallback(), hard=0, soft=0, doublings=doublings)
    return None


def stamp(r: Record, f: Facts, phase: str) -> Record:
    good_id = len(f.boot_id) == 32 and HEX.issuperset(f.boot_id)
    last = Last(f.running, phase, f.boot_id if good_id else "-", f.count)
    good_hash = f.roothash != "-" and HEX.issuperset(f.roothash)
    if good_hash and r.hash[f.running] not in ("-", f.roothash):
        r = r.note("changed", f.running)
    hashes = {**r.hash, f.running: f.roothash} if good_hash else r.hash
    return replace(r, last=last, hash=hashes)


# -- one boot ------------------------------------------------------------------------------


def bf_init(f: Facts) -> Decision:
    known = f.status == "ok" or f.recordable
    if f.status == "ok":
        r = f.record
    else:
        r = Record(committed=f.running if f.named == "-" else f.named)
        if f.recordable:
            r = r.note("rebuilt", r.committed)

    if f.running == r.committed:
        return _committed(f, r, known)
    if f.tryboot and f.named == other(f.running):
        if f.status != "ok" or r.staged == f.running:
            return _trial(f, r)
        return _stray(f, r)
    return _wrong(f, r, known)


def _trial(f: Facts, r: Record) -> Decision:
    crossed = dict(limbo=True, reason="slot-mismatch") if f.mismatch else {}
    if not f.recordable:
        return Decision(r, next="trial", unwritten="trial", **crossed)
    if f.status == "lost":
        r = replace(r, staged=f.running)
    r = replace(r, trials=r.trials if r.trials >= TRIALS else r.trials + 1)
    r = stamp(r, f, "trial").note("trial", f.running)
    if f.mismatch:
        r = replace(r, trial_reason="slot-mismatch")
        return Decision(r, "W", next="reboot", unwritten="trial", **crossed)
    return Decision(r, "W", next="trial", unwritten="trial", committable=True)


def _stray(f: Facts, r: Record) -> Decision:
    """Without a durable write nothing bounds the way back: then a proven slot stays up. So it does,
    as a fallback, when the way back was taken as often as it may be and led here again."""
    why = "trial-not-staged"
    rescue = r.proven[f.running] in ("unknown", "yes")
    limbo = rescue and f.mismatch
    otherwise = "trial" if rescue else "reboot"
    if not f.recordable:
        return Decision(r, next=otherwise, unwritten=otherwise, limbo=limbo, reason=why)
    if r.repairs >= REPAIRS_INIT:
        own = _own_trial(f, r, "committed-failing")
        return Decision(r, limbo=True, reason=why) if own is None else own
    r = replace(r, repairs=r.repairs + 1).note("failed", f.running, why)
    return Decision(r, "W", next="reboot", unwritten=otherwise, limbo=limbo, reason=why)


def _own_trial(f: Facts, r: Record, why: str) -> Decision | None:
    """What the firmware starts in spite of everything tries itself: what is staged, or a fallback."""
    if not f.recordable or r.repairs >= REPAIRS:
        return None
    if r.staged != f.running:
        if r.proven[f.running] == "no":
            return None
        r = r.fallback().note("fallback", r.committed, why)
    return _trial(f, replace(r, repairs=r.repairs + 1))


def _wrong(f: Facts, r: Record, known: bool) -> Decision:
    if r.repairs >= REPAIRS_REBOOT and (own := _own_trial(f, r, "wrong-slot")):
        return own
    limbo = dict(limbo=True, reason="wrong-slot")
    if not known:
        return Decision(r, **limbo)
    repaired = f.in_place and f.named != r.committed
    r = r.note("repaired" if repaired else "failed", r.committed, "wrong-slot")
    sector = dict(sector=r.committed if f.in_place else "-")
    if f.recordable and r.repairs < REPAIRS_INIT:
        r = replace(r, repairs=r.repairs + 1)
        if f.in_place:
            return Decision(r, "SW", next="reboot", **sector, **limbo)
        return Decision(r, "W", next="reboot-other", **sector, **limbo)
    return Decision(r, "S" if f.in_place else "-", **sector, **limbo)


def _committed(f: Facts, r: Record, known: bool) -> Decision:
    repair = known and f.in_place and f.named != r.committed
    sector = r.committed if repair else "-"
    crossed = dict(limbo=True, reason="slot-mismatch") if f.mismatch else {}
    if not f.recordable:
        if repair:
            r = r.note("repaired", r.committed)
        return Decision(r, "S" if repair else "-", sector, **crossed)
    r = stamp(count_last(resolve(evidence(r, f.count)), f.count), f, "started")
    leave = decide(r) if f.in_place or f.named == r.committed else None
    if leave is None:
        if repair:
            r = r.note("repaired", r.committed)
        return Decision(r, "WS" if repair else "W", sector, **crossed)
    r = replace(leave, last=replace(leave.last, phase="attempt"))
    if repair:
        r = r.note("repaired", r.committed)
    r = r.note("fallback", r.committed, "committed-failing")
    return Decision(
        r,
        "SW" if repair else "W",
        sector,
        next="reboot-trial",
        limbo=f.mismatch,
        reason="committed-failing",
    )


# -- bf-init fails -------------------------------------------------------------------------


def delay(failures: int) -> int:
    return max(0, min(3600, 60 * (failures - HARD)))


def bf_init_failed(f: Facts, carried_out: Decision | None, reason: str) -> Decision:
    d = bf_init(f) if carried_out is None else replace(carried_out, writes="-", sector="-")
    d = replace(d, committable=False, delay=0)
    if d.next in ("reboot", "reboot-trial", "reboot-other"):
        return d
    was_trial, r = d.next == "trial", d.record
    d = replace(d, next="reboot", unwritten="reboot", reason=reason)
    writes = d.writes.strip("-")
    with_record = writes if "W" in writes else writes + "W"
    if was_trial:
        d = replace(d, delay=0 if r.trial_reason == "-" else 60)
        if f.recordable:
            d = replace(d, record=replace(r, trial_reason=reason), writes=with_record)
        return d
    if f.running != r.committed:
        if f.recordable or f.status == "ok":
            d = replace(d, next="reboot-other", unwritten="reboot-other")
        if f.recordable:
            d = replace(d, record=r.note("failed", f.running, reason), writes=with_record)
        return replace(d, delay=60)
    can_rescue = f.named == r.committed and r.proven[other(r.committed)] != "no"
    rescue = "reboot-trial" if can_rescue else "reboot"
    if f.status != "ok" and (f.selector == "invalid" or (carried_out and f.selector == "gone")):
        rescue = "reboot-other"
    if not f.recordable:
        wait = delay(r.hard + 1) if rescue == "reboot" else 0
        return replace(d, next=rescue, unwritten=rescue, delay=wait)
    r = replace(r, last=replace(r.last, phase="failed", reason=reason))
    r = r.note("failed", f.running, reason)
    return replace(d, record=r, writes=with_record, unwritten=rescue, delay=delay(r.hard + 1))


def unwritten(d: Decision, f: Facts) -> tuple[Decision, Facts]:
    """The record write of `d` has failed: what was carried out, and what is known then."""
    if "W" not in d.writes:
        return d, f
    return replace(d, next=d.unwritten, committable=False), replace(f, writable=False)
