# SPDX-License-Identifier: MIT
"""An explicit-state model of the boot selection: the device, its programs, and what befalls it.

Slots are 0 (A) and 1 (B). A program is a list of durable writes; after each the power can go, or
the program be killed. What the rules are, and why, stands at the top of boot/rules.c and
boot/requests.c; here they are written down once more, to be searched to the end (search.py).
"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, field

NONE = 9
A, B = 0, 1

# The record. st: a character for each slot: g good, b bad, u new and unproven, w was good (proven),
# x unknown after a rebuild. kind: u update, f fallback. last: how the last boot of the committed
# slot, or the attempt, stands: i init, c confirmed, e clean end, F failed with a reason, s settled,
# a attempt, t trial. refused: a bit for each version.
Rec = namedtuple(
    "Rec", "com staged kind version trials attempts st hard soft ladder probation last reason "
    "refused repairs"
)

# text: what stands in autoboot.txt, see below. content, version, proven: of each slot; proven is what
# the world knows, not the record. flag, number: of the next boot. param: MARKED, or COUNTED and only
# then the reboot argument. run, trial, phase, mode: the boot that is; trial: the firmware's flag, and
# from bf-init on its verdict. inst: steps of an installation. ran: the staged slot was started.
# wanted: its version. left: budget of faults. count: warm resets since the last record write, 9 after
# a power-on.
S = namedtuple(
    "S", "text content version proven rec flag number param run trial phase mode inst ran wanted "
    "left offer count"
)
Budget = namedtuple(
    "Budget", "cut lost norec noflag readonly nodata kill person install rot edit file"
)

# autoboot.txt: in place 0 and 1 name a slot, 2 is lost; else only a mount can change it: 3 there
# is none, 4 and 5 a selection written by hand, 6 and 7 one line, which the firmware obeys.
LOST, GONE, FILE, LINE = 2, 3, 4, 6
MARKED, COUNTED = 1, 2

# What a slot holds. pre: the kernel dies before bf-init; init: bf-init fails; nodata: the same, and
# BF_DATA cannot be used there; user: dies in user space; kiosk: the kiosk never lives; later,
# laterdark: passes its trial, then fails; reboots: restarts by itself; empty: no boot filesystem;
# halfpre, halfinit: half installed.
KINDS = ("good", "pre", "init", "user", "kiosk", "later", "laterdark", "reboots")
HEALTHY = ("good", "later", "laterdark")
PROVEN = "gwx"  # not known to be bad


@dataclass
class Config:
    """Limits, small ones by default, and the rules that are left out."""

    hard: int = 2
    soft: int = 3
    trials: int = 3
    attempts: int = 4
    ladder: int = 1
    repairs_init: int = 2
    repairs_reboot: int = 3
    repairs: int = 6
    deaf: bool = False  # a firmware that takes no partition number
    without: set[str] = field(default_factory=set)


C = Config()


def rule(name: str) -> bool:
    return name not in C.without


def other(slot: int) -> int:
    return 1 - slot


def named(text: int) -> int:
    """The slot of a complete selection, as we and the firmware read it."""
    return text if text < LOST else text - FILE if FILE <= text < LINE else NONE


def in_place(text: int) -> bool:
    return text <= LOST


def obeyed(text: int) -> int:
    """The slot that the firmware starts."""
    return named(text) if named(text) != NONE else text - LINE if text >= LINE else A


def with_item(items, i, value):
    if isinstance(items, str):
        return items[:i] + value + items[i + 1:]
    return items[:i] + (value,) + items[i + 1:]


class Program:
    """One run of one program: states after each write, and those that only a power cut shows."""

    def __init__(self, s: S):
        self.s, self.writes, self.torn, self.violations = s, [s], [], []

    def set(self, **changes) -> None:
        self.s = self.s._replace(**changes)

    def record(self, r: Rec) -> bool:
        if self.s.mode != "ok":
            return False
        if r.st == "bb":
            self.violations.append("I2 both slots bad")
        self.set(rec=r, count=0)
        self.writes.append(self.s)
        return True

    def select(self, slot: int, anew: bool = False) -> None:
        """autoboot.txt names the slot: one sector, or the file removed and made."""
        if not self.s.proven[slot]:
            self.violations.append("I3 autoboot.txt names an unproven slot")
        if in_place(self.s.text) and not anew:
            self.torn.append(self.s._replace(text=LOST))
        else:
            self.set(text=GONE)
            self.writes.append(self.s)
        self.set(text=slot)
        self.writes.append(self.s)

    def argument(self, on: int) -> None:
        if self.s.param != on:
            self.set(param=on)
            self.writes.append(self.s)

    def reboot(self, flag: int = 0, number: int = NONE) -> Program:
        self.set(flag=flag, number=number, param=0, run=NONE, trial=0, phase="firmware", inst=0,
                 mode="ok")
        self.writes.append(self.s)
        return self

    def goes_on(self, phase: str) -> Program:
        self.set(phase=phase)
        return self


# -- the record ----------------------------------------------------------------------------------

def rebuilt(s: S) -> Rec:
    committed = named(s.text) if named(s.text) != NONE else s.run
    return Rec(committed, NONE, "u", 0, 0, 0, "xx", 0, 0, 0, 0, "s", 0, 0, 0)


def unstaged(r: Rec, **changes) -> Rec:
    return r._replace(staged=NONE, kind="u", version=0, trials=0, attempts=0, **changes)


def fallback(r: Rec, **changes) -> Rec:
    return r._replace(staged=other(r.com), kind="f", version=0, trials=0, attempts=1, reason=0,
                      **changes)


def rejected(p: Program, r: Rec, why: str) -> Rec:
    if not p.s.ran:
        p.violations.append(f"I4 a trial that never ran is rejected ({why})")
    if r.kind == "f":
        return unstaged(r, st=with_item(r.st, r.staged, "w"), reason=0)
    return unstaged(r, st=with_item(r.st, r.staged, "b"), refused=r.refused | 1 << r.version, reason=0)


def resolved(p: Program, r: Rec) -> Rec:
    """What became of the staged slot."""
    if r.staged == NONE:
        return r
    if r.reason and r.trials > 0:
        return rejected(p, r, "reason")
    if r.trials >= C.trials:
        return rejected(p, r, "dark")
    if r.attempts >= C.attempts:
        if r.kind == "f":
            return unstaged(r, st=with_item(r.st, r.staged, "w"))
        return unstaged(r, refused=r.refused | 1 << r.version)
    return r


def weighed(r: Rec, s: S) -> Rec:
    """What the count of resets tells of a trial that wrote nothing."""
    if r.staged == NONE or r.reason:
        return r
    if s.count == 9 and r.last == "t":
        return r._replace(trials=max(0, r.trials - 1))
    if s.count == 2 and r.last == "a":
        return r._replace(trials=min(C.trials, r.trials + 1))
    return r


def counted(r: Rec, s: S) -> Rec:
    """The last boot of the committed slot."""
    hard, soft = r.hard, r.soft
    if r.last == "F":
        hard += 1
    elif s.count == 9:
        soft += r.last in "ie"
    else:
        hard += r.last in "ic"
        soft += r.last == "e"
    return r._replace(hard=min(hard, 2 * C.hard + 2), soft=min(soft, 2 * C.soft + 2), last="i")


def to_leave(r: Rec) -> Rec | None:
    """The record with which the committed slot is left, if it failed too often."""
    if r.hard < C.hard and r.soft < C.soft:
        return None
    there = other(r.com)
    if r.staged != NONE:
        return r._replace(attempts=r.attempts + 1) if r.attempts < C.attempts else None
    if r.st[there] == "g":
        return fallback(r)
    if (r.hard >= 2 * C.hard or r.soft >= 2 * C.soft) and r.st[there] in "wx":
        return fallback(r, hard=0, soft=0)
    return None


def committed(r: Rec, slot: int, version: tuple) -> Rec:
    st, refused = with_item(r.st, slot, "g"), r.refused
    if r.kind == "f" and r.staged == slot:
        st = with_item(st, other(slot), "w")
        if r.probation:
            refused |= 1 << version[other(slot)]
    return unstaged(r, com=slot, st=st, hard=0, soft=0, ladder=0, probation=int(r.kind == "u"),
                    last="c", repairs=0, refused=refused, reason=0)


# -- bf-init -------------------------------------------------------------------------------------

def bf_init(s: S) -> Program:
    p = Program(s)
    r = s.rec if s.mode != "none" else None
    lost = r is None and s.mode == "ok"
    if lost:
        r = rebuilt(s)
    asked = s.trial and named(s.text) == other(s.run)
    role = "unknown"
    if r is None:
        pass
    elif s.run == r.com:
        role = "committed"
        start_committed(p, r)
    elif asked and (lost or r.staged == s.run):
        role = "trial"
        start_trial(p, r._replace(staged=s.run, kind="u", trials=0) if lost else r)
    elif asked:
        role = start_stray(p, r)
    else:
        role = start_wrong(p, r)
    if p.s.phase == "firmware":
        return p
    if s.content[s.run] in ("init", "nodata", "halfinit"):
        return fail(p, role, r)
    return p.goes_on("user")


def start_trial(p: Program, r: Rec) -> None:
    p.record(r._replace(trials=min(C.trials, r.trials + 1), last="t"))
    p.set(trial=1, ran=1)


def start_own_trial(p: Program, r: Rec) -> bool:
    """What the firmware starts in spite of everything stages itself."""
    here = p.s.run
    if not rule("own-trial") or p.s.mode != "ok" or r.repairs >= C.repairs:
        return False
    if r.staged != here:
        if r.st[here] not in PROVEN:
            return False
        r = fallback(r)
    start_trial(p, r._replace(repairs=r.repairs + 1))
    return True


def start_stray(p: Program, r: Rec) -> str:
    """A trial boot of a slot that is not staged: back, twice."""
    if p.s.mode != "ok":
        if r.st[p.s.run] not in PROVEN:
            p.reboot()
        return "trial"
    if r.repairs >= C.repairs_init:
        if start_own_trial(p, r):
            return "trial"
        p.set(trial=0)
        return "wrong"
    p.record(r._replace(repairs=r.repairs + 1))
    p.reboot()
    return "trial"


def start_wrong(p: Program, r: Rec) -> str:
    """Neither committed nor a trial."""
    if r.repairs >= C.repairs_reboot and start_own_trial(p, r):
        return "trial"
    p.set(trial=0)
    place = in_place(p.s.text)
    if place and p.s.text != r.com and rule("repair"):
        p.select(r.com)
    if p.s.mode != "ok" or r.repairs >= C.repairs_init or not (rule("number") or place):
        return "wrong"
    p.record(r._replace(repairs=r.repairs + 1))
    p.reboot(number=NONE if place else r.com)
    return "wrong"


def start_committed(p: Program, r: Rec) -> None:
    s = p.s
    p.set(trial=0)
    repair = in_place(s.text) and s.text != r.com and rule("repair")
    if s.mode != "ok":
        if repair:
            p.select(r.com)
        return
    r = weighed(r, s)
    r = counted(resolved(p, r), s)
    leave = to_leave(r) if repair or named(s.text) == r.com else None
    if leave is None:
        p.record(r)
        if repair:
            p.select(r.com)
        return
    if repair:
        p.select(r.com)
    if leave.attempts == 1:
        p.set(ran=0)
    p.record(leave._replace(last="a"))
    p.reboot(flag=1)


def fail(p: Program, role: str, r: Rec | None) -> Program:
    s, now = p.s, p.s.rec
    if role in ("committed", "unknown") and s.mode != "ok":
        rescue = named(s.text) == s.run and not (s.trial and role == "unknown")
        if rescue and (r is None or r.st[other(s.run)] in PROVEN):
            return p.reboot(flag=1)
        if r is None and s.text == LOST and rule("number"):
            return p.reboot(number=other(s.run))
    elif role == "committed":
        p.record(now._replace(last="F"))
    elif role == "trial" and now is not None and now.staged == s.run:
        p.record(now._replace(reason=1))
    return p.reboot(number=r.com if role == "wrong" and rule("number") else NONE)


# -- the running system --------------------------------------------------------------------------

def readable(s: S) -> bool:
    return s.rec is not None and s.mode != "none"


def is_trial(s: S) -> bool:
    """bf-init said so, and nobody has committed it since."""
    if not s.trial:
        return False
    return s.rec.com != s.run if readable(s) else named(s.text) == other(s.run)


def is_sure(s: S) -> bool:
    return s.mode == "ok" and s.rec is not None and s.rec.com == s.run


def ensure(p: Program) -> None:
    if rule("ensure") and named(p.s.text) != p.s.rec.com:
        p.select(p.s.rec.com)


def reconcile(s: S) -> Program:
    p, r = Program(s), s.rec
    if not readable(s) or is_trial(s):
        return p.goes_on("active")
    if not rule("file"):
        pass
    elif r.com != s.run:
        if s.mode == "ok" and r.repairs < C.repairs_reboot:
            p.select(r.com, anew=True)
            p.record(r._replace(repairs=r.repairs + 1))
            return p.reboot()
        if not in_place(s.text) or named(s.text) != r.com:
            p.select(r.com)
    elif s.mode == "ok" and (named(s.text) != r.com or (r.repairs and not in_place(s.text))):
        p.select(r.com)
    if r.com == s.run and r.staged != NONE and s.mode == "ok":
        mark(p)
    return p.goes_on("active")


def mark(p: Program) -> None:
    """The next reboot that counts the attempt is the trial."""
    if p.s.param != COUNTED:
        p.argument(MARKED if rule("count") else COUNTED)


def try_staged(s: S) -> Program:
    p = Program(s)
    ensure(p)
    if s.rec.last != "a" or s.rec.attempts == 0:  # not in this boot yet
        p.record(s.rec._replace(attempts=s.rec.attempts + 1, last="a"))
    p.argument(COUNTED)
    return p.reboot(flag=1)


def commit(s: S) -> Program:
    r = s.rec if s.rec is not None else rebuilt(s)._replace(staged=s.run)
    p = Program(s._replace(proven=with_item(s.proven, s.run, True)))
    p.record(committed(r, s.run, s.version))
    p.select(s.run)
    p.argument(0)
    return p.goes_on("confirmed")


def reject(s: S) -> Program:
    p, r = Program(s), s.rec
    p.argument(0)
    if r is not None and s.mode == "ok" and r.staged == s.run:
        p.record(rejected(p, r, "guard"))
    return p.reboot()


def changed(p: Program, r: Rec) -> None:
    if r != p.s.rec:
        p.record(r)


def confirm(s: S) -> Program:
    p = Program(s)
    last = "a" if s.rec.last == "a" else "c"
    changed(p, s.rec._replace(last=last, soft=0, st=with_item(s.rec.st, s.run, "g")))
    ensure(p)
    return p.goes_on("confirmed")


def settle(s: S) -> Program:
    p = Program(s)
    if readable(s) and s.mode == "ok":
        last = "a" if s.rec.last == "a" else "s"
        changed(p, s.rec._replace(hard=0, soft=0, ladder=0, probation=0, last=last, repairs=0))
        ensure(p)
    return p.goes_on("done")


def climb(s: S) -> Program:
    """The committed slot's kiosk fails."""
    p, r, there = Program(s), s.rec, other(s.run)
    if not is_sure(s):
        return p.goes_on("stay")
    if r.ladder < C.ladder:
        p.record(r._replace(ladder=r.ladder + 1, last="e"))
        p.argument(0)
        return p.reboot()
    if r.staged != NONE:
        if r.attempts < C.attempts:
            return try_staged(s)
        p.record(resolved(p, r))
    elif r.st[there] == "g":
        ensure(p)
        p.set(ran=0)
        p.record(fallback(r)._replace(last="a"))
        p.argument(COUNTED)
        return p.reboot(flag=1)
    return p.goes_on("stay")


def retry_other(s: S) -> Program:
    p = Program(s)
    p.set(ran=0)
    ensure(p)
    p.record(fallback(s.rec)._replace(last="a"))
    p.argument(COUNTED)
    return p.reboot(flag=1)


def clean_reboot(s: S) -> Program:
    p, r = Program(s), s.rec
    if s.param == MARKED and may_try(s):
        return try_staged(s)
    if s.param != COUNTED and s.mode == "ok" and r is not None:
        if is_trial(s) and r.staged == s.run:
            p.record(r._replace(trials=max(0, r.trials - 1)))
        elif s.run == r.com and r.last != "s":
            p.record(r._replace(last="e"))
    return p.reboot(flag=p.s.param == COUNTED)


def forced_reboot(s: S) -> Program:
    """No unit is run: `reboot -f`, a job of systemd's that took too long."""
    p = Program(s)
    if s.param == COUNTED and (s.rec is None or s.rec.last != "a" or s.rec.attempts == 0):
        p.violations.append("a trial that nobody counted")
    return p.reboot(flag=s.param == COUNTED)


# -- an installation, by RAUC --------------------------------------------------------------------

def set_bad(s: S) -> Program | None:
    p, r, target = Program(s), s.rec, other(s.run)
    if s.mode != "ok" or r is None or r.com != s.run:
        return None
    if r.probation and r.st[target] == "g" and s.phase != "stay":
        return None
    ensure(p)
    st = with_item(r.st, s.run, "u") if r.st[s.run] == "b" else r.st
    p.argument(0)
    r = unstaged(r) if r.staged == target else r
    p.set(proven=with_item(p.s.proven, target, False))
    p.record(r._replace(st=with_item(st, target, "b")))
    p.set(inst=1)
    return p


def write_slot(s: S) -> S:
    target = other(s.run)
    if s.inst == 1:
        return s._replace(content=with_item(s.content, target, "halfinit"), inst=2,
                          version=with_item(s.version, target, 0),
                          proven=with_item(s.proven, target, False))
    kind, version = s.offer
    return s._replace(content=with_item(s.content, target, kind), inst=3,
                      version=with_item(s.version, target, version))


def set_primary(s: S) -> Program | None:
    p, r, target = Program(s), s.rec, other(s.run)
    if r is None or s.mode != "ok":
        return None
    ensure(p)
    p.set(ran=0)
    p.record(r._replace(staged=target, kind="u", version=s.version[target], trials=0, attempts=0,
                        st=with_item(r.st, target, "u"), reason=0))
    mark(p)
    p.set(inst=0, wanted=s.version[target])
    return p


# -- firmware and power --------------------------------------------------------------------------

def firmware(s: S) -> S:
    slot = obeyed(s.text)
    if s.number != NONE and not C.deaf:
        slot = s.number
    elif s.flag and named(s.text) != NONE:
        slot = other(slot)
    if s.content[slot] == "empty":
        slot = other(slot)  # PARTITION_WALK
    mode = "none" if s.content[slot] == "nodata" else "ok"
    return s._replace(run=slot, trial=s.flag, flag=0, number=NONE, phase="boot",
                      ran=1 if s.flag else s.ran, mode=mode,
                      count=9 if s.count == 9 else min(3, s.count + 1))


def dark(s: S) -> S:
    return s._replace(flag=0, number=NONE, param=0, run=NONE, trial=0, phase="firmware", inst=0,
                      mode="ok")


def power_off(s: S) -> S:
    return dark(s)._replace(count=9)


def next_by_itself(s: S):
    """(name, Program or state) of what comes next without faults, or None: it stays so."""
    if s.phase == "firmware":
        return "firmware", firmware(s)
    kind = s.content[s.run]
    if s.phase == "boot":
        if kind in ("pre", "halfpre", "empty"):
            return "dies before bf-init", dark(s)
        return "bf-init", bf_init(s)
    if s.phase == "user":
        return "reconcile", reconcile(s)
    if kind == "user" and s.phase == "active":
        return "dies in user space", dark(s)
    if kind == "reboots" and s.phase == "active":
        return "reboots by itself", clean_reboot(s)
    if s.phase == "active":
        return next_when_active(s, kind)
    if s.phase == "confirmed":
        if kind == "good":
            return "settle", settle(s)
        if kind == "laterdark":
            return "dies later", dark(s)
        return "kiosk fails", climb(s)
    if s.phase in ("done", "limbo", "stay"):
        if may_try(s):
            return "try", try_staged(s)
        if s.phase == "stay" and s.inst == 0 and is_sure(s) and s.rec.staged == NONE \
                and s.rec.st[other(s.run)] in "wx":
            return "retry other", retry_other(s)
    return None


def may_try(s: S) -> bool:
    return s.inst == 0 and is_sure(s) and s.rec.staged == other(s.run) and s.rec.attempts < C.attempts


def next_when_active(s: S, kind: str):
    if is_trial(s):
        if s.mode != "ok":
            return ("runs uncommitted", s._replace(phase="degraded")) if kind == "good" \
                else ("reject", reject(s))
        return ("commit", commit(s)) if kind in HEALTHY else ("reject", reject(s))
    if may_try(s):
        return "try", try_staged(s)
    if not is_sure(s):
        return "limbo", s._replace(phase="limbo" if kind == "good" else "stay")
    return ("confirm", confirm(s)) if kind in HEALTHY else ("kiosk fails", climb(s))
