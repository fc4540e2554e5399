# SPDX-License-Identifier: MIT
"""What may be asked of the running system: a model in Python, written from the table.

The sequel of rules_model.py, and as ignorant of the C code. test_requests_model.py asks both the
same questions. Where several refusals hold at once, any of them is a right answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rules_model import ATTEMPTS, COUNTER_MAX, DOUBLINGS, REPAIRS_REBOOT, Last, Record, other, resolve

LADDER = 2
HEX = frozenset("0123456789abcdef")

# Requests
SET_BAD, SET_GOOD, SET_PRIMARY, CANCEL = "set-bad", "set-good", "set-primary", "cancel"
TRY, RECONCILE, SHUTDOWN_REBOOT, SHUTDOWN_HALT = "try", "reconcile", "reboots", "halts"
REJECT, SETTLE, KIOSK_FAILS, RETRY_OTHER = "reject", "settle", "kiosk-fails", "retry-other"
HEALTHY = "healthy"
REQUESTS = (
    SET_BAD,
    SET_GOOD,
    SET_PRIMARY,
    CANCEL,
    TRY,
    RECONCILE,
    SHUTDOWN_REBOOT,
    SHUTDOWN_HALT,
    REJECT,
    HEALTHY,
    SETTLE,
    KIOSK_FAILS,
    RETRY_OTHER,
)


@dataclass(frozen=True)
class RunFacts:
    running: str = "A"  # or "-"
    mismatch: bool = False
    limbo: bool = False
    validated: bool = False
    committable: bool = False
    staying: bool = False
    armed: bool = False
    # the slot under [all]; with "-file" only a mount could change it; or "invalid", or "gone"
    selector: str = "A"
    status: str = "ok"  # of the record: ok, lost, future
    writable: bool = True
    count: int | None = None
    boot_id: str = "-"
    record: Record = Record()

    @property
    def named(self) -> str:
        return self.selector[0] if self.selector[0] in "AB" else "-"

    @property
    def in_place(self) -> bool:
        return self.selector in ("A", "B", "invalid")


@dataclass(frozen=True)
class Args:
    slot: str = "-"
    reason: str = "-"
    force: bool = False
    seconds: int = 0
    hash: str = "-"


@dataclass(frozen=True)
class Plan:
    record: Record
    refusals: frozenset[str] = frozenset()
    steps: str = "none"  # S: sector, F: file made anew, W: record, +: arm, C: counted, -: disarm
    sector: str = "-"
    next: str = "boot"
    always: bool = False


# -- what is known --------------------------------------------------------------------------


def believed(f: RunFacts) -> Record:
    """The record, or the guess that stands for a lost one."""
    if f.running == "-" and f.status != "ok":
        return Record(committed="A" if f.named == "-" else f.named)
    if f.status == "ok":
        return f.record
    committed = f.running if f.named == "-" else f.named
    trial = f.validated and f.running != committed
    r = Record(committed=committed, staged=f.running if trial else "-")
    return r.note("rebuilt", committed)


def is_trial(f: RunFacts) -> bool:
    r = believed(f)
    return f.validated and f.running != "-" and f.running == r.staged


def was_trial(f: RunFacts, r: Record) -> bool:
    """A trial that was rejected, or overtaken, since it started."""
    return f.validated and f.committable and f.status == "ok" and r.committed != f.running


def gate(f: RunFacts) -> set[str]:
    """What stands against any durable change."""
    why = set()
    if f.running == "-":
        why.add("unknown-slot")
    if f.mismatch:
        why.add("mismatch")
    if f.limbo:
        why.add("limbo")
    if f.status == "future":
        why.add("future")
    if not f.writable:
        why.add("degraded")
    if f.status == "lost" and f.validated and f.named == "-":
        why.add("limbo")  # committed since, or not: nothing says so
    return why


def not_committed(f: RunFacts, r: Record) -> set[str]:
    """Only the committed slot may do this."""
    if r.committed == f.running:
        return set()
    return {"trial-runs", "not-committed"} if is_trial(f) else {"not-committed", "limbo"}


def only_fallback(f: RunFacts, a: Args, r: Record) -> bool:
    return r.probation and r.state[a.slot] == "good" and not (f.staying or a.force)


def this_boot(f: RunFacts, r: Record) -> bool:
    """Whether the last words in the record are from the boot that runs."""
    return r.last.slot == f.running and r.last.boot_id == f.boot_id


def armed_slot(f: RunFacts) -> str:
    """The staged slot, if its trial may still be asked for, or was asked for in this boot."""
    r = believed(f)
    if r.committed != f.running or r.staged == "-":
        return "-"
    return r.staged if r.attempts < ATTEMPTS or is_counted(f, r) else "-"


def primary(f: RunFacts) -> str:
    armed = armed_slot(f)
    return armed if armed != "-" else believed(f).committed


def is_good(f: RunFacts, slot: str) -> bool:
    if f.status != "ok":
        return slot == f.running
    r = f.record
    if slot == armed_slot(f) or (is_trial(f) and slot == f.running):
        return True
    runs = slot == f.running and slot == r.committed
    return r.state[slot] == "good" or (r.state[slot] == "unknown" and (r.proven[slot] == "yes" or runs))


def is_counted(f: RunFacts, r: Record) -> bool:
    """The attempt that this boot asked for stands in the record."""
    if f.boot_id == "-" or r.attempts == 0:
        return False
    return r.last.phase == "attempt" and r.last.boot_id == f.boot_id


# -- steps ----------------------------------------------------------------------------------


def last(f: RunFacts, phase: str) -> Last:
    good_id = len(f.boot_id) == 32 and HEX.issuperset(f.boot_id)
    return Last(f.running, phase, f.boot_id if good_id else "-", f.count)


def ensure(f: RunFacts, r: Record) -> str:
    return "" if f.named == r.committed else "S"


def mark_bad(r: Record, slot: str) -> Record:
    state = {s: "unknown" if v == "bad" else v for s, v in r.state.items()} | {slot: "bad"}
    return replace(r, state=state, proven={**r.proven, slot: "no"})


def refused(r: Record, *why: str, **more: object) -> Plan:
    return Plan(r, refusals=frozenset(why), **more)  # type: ignore[arg-type]


def plan(before: Record, steps: str, after: Record, **more: object) -> Plan:
    """Steps without those that would change nothing; the sector is always the committed slot's."""
    if after == before:
        steps = steps.replace("W", "")
    sector = after.committed if "S" in steps or "F" in steps else "-"
    return Plan(after, steps=steps or "none", sector=sector, **more)  # type: ignore[arg-type]


def attempt(f: RunFacts, r: Record) -> Record:
    """Counted once in a boot, however often it is asked for."""
    return r if is_counted(f, r) else replace(r, attempts=r.attempts + 1, last=last(f, "attempt"))


def leave(f: RunFacts, r: Record, why: str) -> Record:
    """Start of a fallback trial."""
    return replace(r.fallback(), last=last(f, "attempt")).note("fallback", r.committed, why)


# -- the rows -------------------------------------------------------------------------------


def set_bad(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    if a.slot == f.running:
        if is_trial(f):
            return refused(r, *gate(f)) if gate(f) - {"limbo"} else give_up(f, a, r)
        if was_trial(f, r) and not f.mismatch:
            return plan(r, "", r)  # rejected before: the same answer again
        why = {"committed"} if r.committed == f.running else {"not-committed", "limbo"}
        return refused(r, *why, *gate(f))
    why = gate(f) | not_committed(f, r)
    if only_fallback(f, a, r):
        why.add("probation")
    if why:
        return refused(r, *why)
    after = mark_bad(r.cleared() if r.staged == a.slot else r, a.slot)
    return plan(r, ensure(f, r) + "-W", after)


def set_good(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    if a.slot != f.running:
        return refused(r, "not-running", *gate(f))
    if is_trial(f):
        why = gate(f) | (set() if f.committable else {"not-committable"})
        steps = "W-" if f.named == f.running else "WS-"
        return refused(r, *why) if why else plan(r, steps, commit(f, r))
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    after = confirm(f, r)
    return plan(r, ensure(f, r) + "W", after)


def commit(f: RunFacts, r: Record) -> Record:
    here, left, update = f.running, other(f.running), r.kind == "update"
    state = {**r.state, here: "good"}
    if not update:
        state[left] = "unknown"
        if r.probation:
            r = r.refuse(r.hash[left])
    r = replace(
        r.cleared(),
        committed=here,
        state=state,
        proven={**r.proven, here: "yes"},
        hard=0,
        soft=0,
        ladder=0,
        repairs=0,
        healthy_sec=0,
        probation=update,
        last=last(f, "confirmed"),
    )
    return r.note("committed", here)


def confirm(f: RunFacts, r: Record) -> Record:
    here = f.running
    r = replace(r, state={**r.state, here: "good"}, proven={**r.proven, here: "yes"})
    if f.count is not None:
        r = replace(r, soft=0)
    if this_boot(f, r) and r.last.phase not in ("none", "started"):
        return r
    return replace(r, last=last(f, "confirmed"))


def give_up(f: RunFacts, a: Args, r: Record, **more: object) -> Plan:
    """The trial rejects itself."""
    why = a.reason if a.reason != "-" else "trial-rejected"
    return plan(r, "-W", resolve(replace(r, trial_reason=why)), **more)


def set_primary(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    if a.slot == r.committed:
        return plan(r, "-W", unstage(r))
    if only_fallback(f, a, r):
        return refused(r, "probation")
    hashes = {**r.hash, a.slot: a.hash if HEX.issuperset(a.hash) else "-"}
    after = replace(r.cleared(), staged=a.slot, hash=hashes).with_state(a.slot, "unknown")
    if after == r:
        return plan(r, ensure(f, r) + "+", r)
    return plan(r, ensure(f, r) + "W+", after.note("staged", a.slot))


def cancel(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    return plan(r, "-W", unstage(r))


def unstage(r: Record) -> Record:
    """Taken back, and said so."""
    return r if r.staged == "-" else r.cleared().note("given-up", r.staged, "trial-cancelled")


def try_staged(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if r.staged == "-":
        why.add("nothing-staged")
    elif armed_slot(f) == "-":
        why.add("attempts")
    if why:
        return refused(r, *why)
    return plan(r, ensure(f, r) + "WC", attempt(f, r), next="reboot-trial")


def reconcile(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    if f.status == "ok" and not f.validated and not f.mismatch and r.committed != f.running:
        return wrong_slot(f, r)
    wanted = not gate(f) and armed_slot(f) != "-"
    sure = f.status == "ok" and not gate(f) | not_committed(f, r)
    # Repairs: somebody's text, which was read otherwise before.
    anew = "F" if r.repairs and not f.in_place else ensure(f, r)
    steps = anew if sure else ""
    if wanted != f.armed:
        steps += "+" if wanted else "-"
    return plan(r, steps, r)


def wrong_slot(f: RunFacts, r: Record) -> Plan:
    """The firmware should not have started this one: autoboot.txt, and one more reboot, counted."""
    after = r
    if f.writable and r.repairs < REPAIRS_REBOOT:
        after = replace(r, repairs=r.repairs + 1).note("repaired", r.committed, "wrong-slot")
        steps = "FW"
    else:
        steps = ensure(f, r) if f.in_place else "F"
    return plan(r, steps + ("-" if f.armed else ""), after, next="boot" if after is r else "reboot")


def end(f: RunFacts, r: Record) -> Record:
    """The last words of a boot that ends on purpose."""
    if is_trial(f):
        if r.last.phase == "clean":
            return r
        counted = r.last.phase == "trial" and r.last.slot == f.running
        return replace(r, trials=max(0, r.trials - counted), last=last(f, "clean"))
    if r.committed != f.running or r.last.slot != f.running:
        return r
    if r.last.phase in ("settled", "clean", "attempt"):
        return r
    return replace(r, last=last(f, "clean"))


def shutdown_reboot(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    if f.armed and not gate(f) and armed_slot(f) != "-":
        return plan(r, ensure(f, r) + "WC", attempt(f, r))
    return shutdown_halt(f, a)


def shutdown_halt(f: RunFacts, a: Args) -> Plan:
    """Never refused: what cannot be written is not, and nobody is left to tell."""
    r = believed(f)
    after = r if gate(f) - {"limbo"} else end(f, r)
    return plan(r, "-W" if f.armed else "W", after)


def reject(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    if is_trial(f):
        if gate(f) - {"limbo", "mismatch"}:
            return plan(r, "-", r, next="reboot", always=True)
        return give_up(f, a, r, next="reboot", always=True)
    if f.validated and r.committed != f.running:
        return plan(r, "-", r, next="reboot")
    why = gate(f) | not_committed(f, r)
    if not a.force:
        why.add("committed" if r.committed == f.running else "not-committed")
    if why:
        return refused(r, *why)
    return leave_slot(f, r, a.reason if a.reason != "-" else "left-by-hand", proven_is_enough=True)


def leave_slot(f: RunFacts, r: Record, why: str, proven_is_enough: bool) -> Plan:
    there = other(f.running)
    if r.staged != "-" and r.attempts < ATTEMPTS:
        return plan(r, ensure(f, r) + "WC", attempt(f, r), next="reboot-trial")
    resolved = resolve(r)
    if not proven_is_enough:
        if r.staged != "-":
            return plan(r, "-W", resolved)
        if r.state[there] != "good":
            return plan(r, "", r)
    elif resolved.proven[there] == "no":
        return refused(r, "no-other")
    return plan(r, ensure(f, r) + "WC", leave(f, resolved, why), next="reboot-trial")


def healthy(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    after = replace(r, healthy_sec=min(a.seconds, COUNTER_MAX))
    # A lost record is made anew by it.
    return plan(r, "W", after) if f.status == "ok" else Plan(after, steps="W")


def settle(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    after = replace(r, hard=0, soft=0, doublings=0, ladder=0, repairs=0, healthy_sec=0, probation=False)
    if not (this_boot(f, r) and r.last.phase in ("settled", "attempt", "clean")):
        after = replace(after, last=last(f, "settled"))
    return plan(r, ensure(f, r) + "W", after)


def kiosk_fails(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    reason = a.reason if a.reason != "-" else "kiosk-failing"
    if r.ladder >= LADDER:
        return leave_slot(f, r, reason, proven_is_enough=False)
    after = replace(r, ladder=r.ladder + 1, healthy_sec=0).note("failed", f.running, reason)
    if r.staged != "-" and r.attempts < ATTEMPTS:
        return plan(r, ensure(f, r) + "WC", attempt(f, after), next="reboot-trial")
    return plan(r, "-W", replace(after, last=last(f, "clean")), next="reboot")


def retry_other(f: RunFacts, a: Args) -> Plan:
    r = believed(f)
    why = gate(f) | not_committed(f, r)
    if why:
        return refused(r, *why)
    reason = a.reason if a.reason != "-" else "kiosk-failing"
    p = leave_slot(f, r, reason, proven_is_enough=True)
    if p.next == "reboot-trial" and not (r.staged != "-" and r.attempts < ATTEMPTS):
        doublings = max(r.doublings, min(DOUBLINGS, r.doublings + 1))
        p = replace(p, record=replace(p.record, doublings=doublings))
    return p


ROWS = {
    SET_BAD: set_bad,
    SET_GOOD: set_good,
    SET_PRIMARY: set_primary,
    CANCEL: cancel,
    TRY: try_staged,
    RECONCILE: reconcile,
    SHUTDOWN_REBOOT: shutdown_reboot,
    SHUTDOWN_HALT: shutdown_halt,
    REJECT: reject,
    HEALTHY: healthy,
    SETTLE: settle,
    KIOSK_FAILS: kiosk_fails,
    RETRY_OTHER: retry_other,
}


def ask(f: RunFacts, request: str, a: Args) -> Plan:
    r = believed(f)
    why = set()
    if request in (SET_BAD, SET_GOOD, SET_PRIMARY) and a.slot not in ("A", "B"):
        why.add("slot")
    if f.running == "-":
        why.add("unknown-slot")
    return refused(r, *why) if why else ROWS[request](f, a)
