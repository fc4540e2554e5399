#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Searches all states of the boot selection that a few faults can lead to, for what must not be.

    tests/model/search.py                        every scenario with small limits; ends with 1 on a violation
    tests/model/search.py --real                 with the limits of boot/rules.h: longer
    tests/model/search.py --scenario file --kind good --trace     some of it, with the shortest traces
    tests/model/search.py --without file,number  leaves rules out: there must be violations
    tests/model/search.py --mistakes             each rule left out alone, and that it is missed
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque

import model
from model import (A, B, C, FILE, GONE, KINDS, LINE, LOST, NONE, Budget, Program, Rec, S, is_trial,
                   named, next_by_itself, obeyed, other, power_off, with_item)

STATES_MAX = 3_000_000
ROTS = ("init", "nodata", "user", "kiosk", "later", "laterdark", "reboots", "empty")
UP = ("active", "confirmed", "done", "stay", "limbo")


def start(content, versions, committed=A, **left) -> S:
    budget = Budget(*(left.get(name, 0) for name in Budget._fields))
    r = Rec(committed, NONE, "u", 0, 0, 0, "gg", 0, 0, 0, 0, "s", 0, 0, 0)
    return S(committed, content, versions, (True, True), r, 0, NONE, 0, committed, 0, "done", "ok", 0, 0,
             0, budget, None, 0)


GOOD = ("good", "good")
SCENARIOS = {
    "update": lambda: start(GOOD, (1, 0), cut=2, noflag=1, person=1, install=1),
    "update-b": lambda: start(GOOD, (0, 1), B, cut=2, noflag=1, person=1, install=1),
    "lost-b": lambda: start(GOOD, (0, 1), B, cut=1, lost=1, person=1, install=1),
    "lost": lambda: start(GOOD, (1, 0), cut=1, lost=1, person=1, install=1),
    "no-record": lambda: start(GOOD, (1, 0), cut=1, norec=1, person=1, install=1),
    "rot": lambda: start(GOOD, (1, 0), cut=2, rot=1),
    "rot-install": lambda: start(GOOD, (1, 0), cut=1, install=1, rot=1),
    "rot-bad": lambda: start(("good", "user"), (1, 0), cut=1, install=1, rot=1),
    "rot-kiosk": lambda: start(("good", "kiosk"), (1, 0), cut=1, install=1, rot=1),
    "readonly": lambda: start(GOOD, (1, 0), cut=1, readonly=2, install=1, rot=1),
    "no-data": lambda: start(GOOD, (1, 0), cut=1, nodata=2, install=1, rot=1),
    "kill": lambda: start(GOOD, (1, 0), cut=1, kill=2, person=1, install=2),
    "edit": lambda: start(GOOD, (1, 0), cut=1, person=1, install=1, edit=1),
    "two": lambda: start(GOOD, (1, 0), cut=1, install=2),
    # autoboot.txt deleted or written by hand, and the firmware obeys it
    "file": lambda: start(GOOD, (1, 0), cut=2, person=1, file=1),
    "file-b": lambda: start(GOOD, (0, 1), B, cut=2, person=1, file=1),
    "file-install": lambda: start(GOOD, (0, 1), B, cut=1, install=1, file=1),
    "file-twice": lambda: start(GOOD, (0, 1), B, cut=1, kill=1, file=2),
    "file-readonly": lambda: start(GOOD, (0, 1), B, cut=1, readonly=1, file=1),
    "file-rot": lambda: start(GOOD, (0, 1), B, cut=1, rot=1, file=1),
    "file-wrong-init": lambda: start(("init", "good"), (1, 0), B, cut=2, file=1),
    "file-wrong-user": lambda: start(("user", "good"), (1, 0), B, cut=2, file=1),
    "deaf": lambda: start(GOOD, (0, 1), B, cut=1, person=1, file=1),
    "deaf-install": lambda: start(GOOD, (0, 1), B, cut=1, install=1, file=1),
    # the committed slot cannot use BF_DATA, or not be started at all: the other one stages itself
    "own": lambda: start(GOOD, (1, 0), cut=2, person=1, rot=1),
    "own-b": lambda: start(GOOD, (0, 1), B, cut=1, kill=1, rot=1),
    "own-bad": lambda: start(("good", "kiosk"), (1, 0), cut=1, rot=1),
}
DEAF = ("deaf", "deaf-install")
ROTS_OF = {"own": ("nodata", "empty"), "own-b": ("nodata", "empty"), "own-bad": ("nodata", "empty")}
WITHOUT_INSTALL = [n for n, make in SCENARIOS.items() if not make().left.install]

# What these rules cannot mend: see README.md. Each (violation, scenarios in which it may show).
WRONG_UNPROVEN = "an unproven slot runs outside a trial"
STARTS_FOR_EVER = "restarts for ever, though there is a good slot"
REMAINS = {
    WRONG_UNPROVEN: ("lost", "lost-b", "edit", "file", "file-install", "file-twice", "deaf-install",
                     "file-wrong-init", "file-wrong-user"),
    STARTS_FOR_EVER: ("lost", "lost-b", "edit", "file-install", "file-rot", "deaf-install"),
    "a trial of a slot that is not staged": ("no-data",),
}


# -- what can happen -----------------------------------------------------------------------------

def successors(s: S, offers, rots):
    """(name, state, violations) of everything that can happen next."""
    out, left = [], s.left

    def add(name, state, violations=()):
        out.append((name, state, violations))

    def pay(state, what):
        return state._replace(left=left._replace(**{what: getattr(left, what) - 1}))

    def program(name, p, spent=None):
        if not isinstance(p, Program):
            add(name, p)
            return
        add(name, p.s if spent is None else pay(p.s, spent), p.violations)
        if left.cut:
            for i, w in enumerate(p.writes[:-1]):
                add(f"{name} [cut after write {i}]", pay(power_off(w), "cut"))
            for w in p.torn:
                add(f"{name} [torn]", pay(power_off(w), "cut"))
        if left.kill and s.phase in UP:
            for i, w in enumerate(p.writes[1:-1]):
                add(f"{name} [killed after write {i + 1}]", pay(w, "kill"))

    following = next_by_itself(s)
    if following:
        program(*following)
    if s.phase == "firmware":
        if left.noflag and s.flag:
            add("the flag is lost", pay(s._replace(flag=0), "noflag"))
        if left.norec and s.rec is not None:
            add("the record is lost", pay(s._replace(rec=None), "norec"))
        if left.edit and s.text < LOST:
            add("autoboot.txt is edited in place", pay(s._replace(text=other(s.text)), "edit"))
    if s.phase == "boot" and s.mode == "ok":
        if left.readonly:
            add("BF_DATA is read-only", pay(s._replace(mode="ro"), "readonly"))
        if left.nodata:
            add("BF_DATA is missing", pay(s._replace(mode="none"), "nodata"))
    if s.phase in ("firmware", "active", "done", "stay", "confirmed"):
        if left.lost and s.text < LOST:
            add("autoboot.txt is lost", pay(s._replace(text=LOST), "lost"))
        if left.file:
            for text in (GONE, FILE, FILE + 1, LINE, LINE + 1):
                add(f"autoboot.txt is made {TEXTS[text]}", pay(s._replace(text=text), "file"))
    if left.cut and s.phase in (*UP, "user", "degraded"):
        add("the power is cut", pay(power_off(s), "cut"))
    if s.phase in UP:
        happens_when_up(s, offers, rots, add, pay, program)
    return out


TEXTS = {A: "A", B: "B", LOST: "lost", GONE: "none", FILE: "A by hand", FILE + 1: "B by hand",
         LINE: "one line, A", LINE + 1: "one line, B"}


def happens_when_up(s: S, offers, rots, add, pay, program) -> None:
    left = s.left
    if left.person:
        p = model.clean_reboot(s)
        add("somebody reboots", pay(p.s, "person"), p.violations)
        p = model.forced_reboot(s)
        add("somebody forces a reboot", pay(p.s, "person"), p.violations)
    if left.rot and s.rec is not None and s.rec.com == s.run and s.content[s.run] == "good" \
            and s.phase == "done":
        for kind in rots:
            add(f"the committed slot turns {kind}",
                pay(s._replace(content=with_item(s.content, s.run, kind)), "rot"))
    if s.inst == 0 and left.install and s.mode == "ok" and not is_trial(s):
        for kind, version in offers:
            if s.version[s.run] == version or (s.rec and s.rec.refused >> version & 1):
                continue
            p = model.set_bad(s)
            if p is None:
                continue
            if s.text != GONE and obeyed(p.s.text) == other(s.run):
                p.violations.append("RAUC overwrites what the firmware starts")
            p.s = p.s._replace(offer=(kind, version))
            program(f"set-state bad (v{version} {kind})", p, "install")
    if s.inst in (1, 2):
        add("RAUC writes the slot", model.write_slot(s))
    if s.inst == 3:
        p = model.set_primary(s)
        if p is not None:
            program("set-primary", p)


def without_faults(s: S):
    """The next state when nothing goes wrong any more, or None: it stays."""
    if s.inst in (1, 2):
        return model.write_slot(s)
    if s.inst == 3:
        p = model.set_primary(s)
        return p.s if p else s._replace(inst=0)
    following = next_by_itself(s)
    if following is None:
        return None
    return following[1].s if isinstance(following[1], Program) else following[1]


# -- the search ----------------------------------------------------------------------------------

class Search:
    def __init__(self, init: S, offers, rots):
        self.init, self.offers, self.rots = init, offers, rots
        self.parent = {init: None}
        self.violations: dict[str, list] = {}
        self.ends: dict[S, tuple[str, S]] = {}

    def trace(self, s: S) -> list:
        steps = []
        while self.parent[s] is not None:
            before, name = self.parent[s]
            steps.append((name, s))
            s = before
        return steps[::-1]

    def report(self, what: str, s: S, *last) -> None:
        if what not in self.violations:
            self.violations[what] = self.trace(s) + list(last)

    def run(self) -> None:
        queue = deque([self.init])
        while queue:
            s = queue.popleft()
            for name, state, violations in successors(s, self.offers, self.rots):
                for what in violations:
                    self.report(what, s, (name, state))
                if state in self.parent:
                    continue
                self.parent[state] = (s, name)
                queue.append(state)
                self.check_start(state)
            if len(self.parent) > STATES_MAX:
                raise SystemExit("too many states")
        for s in self.parent:
            self.check_end(s)
        self.check_offers()

    def check_start(self, s: S) -> None:
        if s.phase != "boot" or s.proven[s.run]:
            return
        if not s.trial:
            self.report(WRONG_UNPROVEN, s)
        elif s.rec is not None and s.rec.staged != s.run:
            self.report("a trial of a slot that is not staged", s)
        elif s.rec is not None and s.rec.kind == "f" and self.init.left.norec == s.left.norec:
            self.report("a fallback into a slot that was never confirmed", s)

    def end(self, s: S) -> tuple[str, S]:
        """Where it ends without faults: a phase, or "loop"."""
        path, seen, x = [], set(), s
        while x not in self.ends:
            if x in seen:
                self.ends[x] = ("loop", x)
                break
            seen.add(x)
            path.append(x)
            following = without_faults(x)
            if following is None:
                self.ends[x] = (x.phase, x)
                break
            x = following
        for y in path:
            self.ends[y] = self.ends[x]
        return self.ends[s]

    def check_end(self, s: S) -> None:
        phase, e = self.end(s)
        good = any(s.content[i] == "good" and s.proven[i] for i in (A, B))
        update = s.rec is not None and s.rec.staged != NONE and s.rec.kind == "u" \
            and s.content[s.rec.staged] == "good"
        last = (f"... and then by itself: {phase}", e)
        if phase == "loop":
            if good:
                self.report(STARTS_FOR_EVER, s, last)
            return
        if e.mode != "ok":
            return
        if phase == "stay" and good and s.mode == "ok":
            self.report("stays in a failing slot, though there is a good one", s, last)
        if phase == "stay" and e.rec is not None and e.rec.com == e.run and model.set_bad(e) is None:
            self.report("a failing slot stays, and takes no installation", s, last)
        if phase == "limbo":
            self.report("stays in a slot that is not the committed one", s, last)
        if phase == "done" and not e.proven[e.run]:
            self.report("an unproven slot is confirmed", s, last)
        if phase == "done" and s.phase == "firmware" and named(e.text) != e.run:
            self.report("ends with an autoboot.txt that names another slot", s, last)
        given_up = s.rec is not None and s.rec.attempts >= C.attempts
        if update and not given_up and s.left.norec == self.init.left.norec and s.mode == "ok" \
                and e.version[e.run] != s.version[s.rec.staged]:
            self.report("a good update is not committed", s, last)

    def check_offers(self) -> None:
        """The same bundle is not installed again and again."""
        for phase, e in set(self.ends.values()):
            if phase == "loop" or e.mode != "ok" or e.left.norec != self.init.left.norec:
                continue
            x, n = e, 0
            while n < 3 and x.phase in ("done", "stay") and x.rec is not None:
                kind, version = self.offers[0]
                if x.rec.refused >> version & 1 or x.version[x.run] == version \
                        or x.rec.staged != NONE:
                    break
                p = model.set_bad(x)
                if p is None:
                    break
                x, n = p.s._replace(offer=(kind, version)), n + 1
                for _ in range(400):
                    following = without_faults(x)
                    if following is None:
                        break
                    x = following
            if n >= 3 and e in self.parent:
                self.report("the same bundle is installed again and again", e)


def search(scenario: str, kind: str) -> Search:
    C.deaf = scenario in DEAF
    offers = [(kind, 2), ("good", 3)] if scenario == "two" else [(kind, 2)]
    rots = ROTS_OF.get(scenario, tuple(r for r in ROTS if r not in ("nodata", "empty")))
    found = Search(SCENARIOS[scenario](), offers, rots)
    found.run()
    return found


def remains(scenario: str, what: str) -> bool:
    return scenario in REMAINS.get(what, ())


def kinds_of(scenario: str, kinds) -> list[str]:
    """Without an installation the kind of the bundle makes no difference."""
    return list(kinds)[:1] if scenario in WITHOUT_INSTALL else list(kinds)


def search_all(scenarios, kinds, trace: bool) -> int:
    states = bad = 0
    shown: set[str] = set()
    for scenario in scenarios:
        for kind in kinds_of(scenario, kinds):
            begin = time.monotonic()
            found = search(scenario, kind)
            states += len(found.parent)
            news = [w for w in found.violations if not remains(scenario, w)]
            bad += len(news)
            words = "; ".join(f"{w} ({len(t)}){' [known]' if w not in news else ''}"
                              for w, t in sorted(found.violations.items()))
            print(f"{scenario:16} {kind:10} {len(found.parent):8} states {time.monotonic() - begin:5.1f} s  "
                  f"{words or 'ok'}", flush=True)
            for what in found.violations:
                if trace and what not in shown:
                    shown.add(what)
                    for name, s in found.violations[what]:
                        print(f"      {name:46} {show(s)}")
    print(f"{states} states in {len(scenarios)} scenarios; violations outside of what remains: {bad}")
    return 1 if bad else 0


# Rules left out, and where they are missed: they must be.
MISTAKES = {
    "file": ("deaf", "good"), "number": ("file-wrong-init", "good"), "own-trial": ("own", "good"),
    "ensure": ("lost-b", "good"), "repair,file": ("lost-b", "good"),
    "repair,number,file": ("lost-b", "init"), "count": ("update", "good"),
}


def search_mistakes() -> int:
    missed = 0
    for name, (scenario, kind) in MISTAKES.items():
        C.without = set(name.split(","))
        found = search(scenario, kind)
        news = [w for w in found.violations if not remains(scenario, w)]
        missed += not news
        print(f"without {name:20} in {scenario:16} {'; '.join(news) or 'NOT MISSED'}", flush=True)
    C.without = set()
    return 1 if missed else 0


def show(s: S) -> str:
    r, slots = s.rec, "AB-------"
    words = "none" if r is None else (
        f"committed {slots[r.com]} staged {slots[min(r.staged, 2)]}{r.kind} trials {r.trials} attempts "
        f"{r.attempts} {r.st} failures {r.hard}/{r.soft} ladder {r.ladder} {r.last} repairs {r.repairs}")
    return (f"{TEXTS[s.text]}, {slots[min(s.run, 2)]}{'*' if s.trial else ''} {s.phase} {s.mode} "
            f"{','.join(s.content)} | {words}")


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--scenario", default=",".join(SCENARIOS))
    p.add_argument("--kind", default=",".join(KINDS))
    p.add_argument("--real", action="store_true")
    p.add_argument("--trace", action="store_true")
    p.add_argument("--mistakes", action="store_true")
    p.add_argument("--without", default="")
    a = p.parse_args()
    C.without = set(filter(None, a.without.split(",")))
    if a.real:
        C.hard, C.soft, C.attempts, C.ladder = 5, 15, 6, 2
    if a.mistakes:
        return search_mistakes()
    return search_all(a.scenario.split(","), a.kind.split(","), a.trace)


if __name__ == "__main__":
    sys.exit(main())
