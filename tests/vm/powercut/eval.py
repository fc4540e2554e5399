"""What becomes of a device after a power cut, without starting it.

The firmware model says what it boots, bf-init's own code (tests/tools/disk-eval.c) what it decides
from autoboot.txt and the record, comparing with the released images whether the slot can start at
all. That goes on until a slot runs; then the staged slot, if there is one, has its trial as well.
Everything that breaks an invariant on the way is a violation.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Sequence

import bootrecord
import firmware
from diskimage import Fat, FatError
from powercut.cut import Cut, Replay, State, StateFat
from powercut.log import Entry

BOOTS_MAX = 8                           # more resets than that are a loop
SLOTS = {2: "A", 3: "B"}
BOOT_ID = "0123456789abcdef0123456789abcdef"
NOW_SEC = 1_900_000_000


@dataclass(frozen=True)
class Release:
    """What was once installed, or was to be: the two images of a slot."""

    name: str
    root: Path
    boot: Path
    roothash: str
    boots: bool = True                  # False: the root image is not what roothash says


@dataclass(frozen=True)
class Story:
    """An update of slot B by a device that runs slot A, as the disk saw it."""

    name: str
    base: Path                          # the disk before
    entries: Sequence[Entry]
    releases: tuple[Release, ...]
    new: str                            # name of the release installed
    committed: bool                     # whether the story ends with it

    @property
    def release(self) -> Release:
        return next(r for r in self.releases if r.name == self.new)


Record = dict[str, str]


RecordFiles = tuple[bytes | None, bytes | None]


@dataclass
class Box:
    """The small part of the disk that changes while a device finds its slot."""

    selector: bytes
    record_files: RecordFiles | None    # None: BF_DATA cannot be mounted
    request: firmware.Request = firmware.Request()

    def record(self) -> Record | None:
        """Read by other code than the device's."""
        good = [r for r in map(bootrecord.parse, filter(None, self.record_files or ())) if r]
        return max(good, key=lambda r: int(r["gen"])) if good else None


@dataclass
class Verdict:
    cut: Cut
    before: Record | None = None        # the record as the cut left it
    after: Record | None = None         # and when a slot runs
    slot: str | None = None
    steps: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    @property
    def state(self) -> str:
        """In words that say the same of many cuts."""
        if not self.slot:
            return "does not start"
        if not self.after:
            return f"runs {self.slot}, without BF_DATA"
        staged = {"-": "nothing staged"}.get(self.after["staged"], f"{self.after['staged']} staged")
        return (f"runs {self.slot}, {staged}, A {self.after['state.A']}, B {self.after['state.B']}")

    def break_(self, invariant: str, text: str) -> None:
        self.violations.append(f"{invariant}: {text}")


class StateView:
    """The disk for the firmware model: the selector from the box, the rest from the state."""

    def __init__(self, evaluator: "Evaluator", state: State, box: Box):
        self.evaluator, self.state, self.box = evaluator, state, box

    def _fat(self, number: int) -> Fat | None:
        if number == self.evaluator.selector.number:
            return self.evaluator.selector_fat(self.box.selector)
        return self.evaluator.fat(self.state, number)

    def fat_partitions(self) -> list[int]:
        return [n for n in sorted(self.evaluator.replay.image.partitions) if self._fat(n)]

    def read(self, partition: int, name: str) -> bytes | None:
        fat = self._fat(partition)
        try:
            if name not in ("kernel8.img", "initramfs.img") or fat is None:
                return fat.read(name) if fat else None
            # Tens of megabytes that nobody here looks at; whether they are whole says release().
            return b"" if fat.find(name) else None
        except FatError:
            return None


class Evaluator:
    def __init__(self, story: Story, replay: Replay, disk_eval: Path, work: Path):
        self.story, self.replay, self.disk_eval, self.work = story, replay, disk_eval, work
        self.selector = replay.image.partition("BF_BOOTSEL")
        self._cache: dict[object, object] = {}
        self._kept: dict[str, tuple[object, object]] = {}
        self._selectors: dict[bytes, bytes] = {}
        self.found: Counter[str] = Counter()
        (work / "bf").mkdir(parents=True, exist_ok=True)

    # -- what a state holds -------------------------------------------------------------------

    def _once(self, key: object, make: Callable[[], object]) -> object:
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def _last(self, name: str, key: object, make: Callable[[], object]) -> object:
        """Of large things only the newest is kept."""
        if name not in self._kept or self._kept[name][0] != key:
            self._kept[name] = (key, make())
        return self._kept[name][1]

    def fat(self, state: State, number: int) -> Fat | None:
        p = self.replay.image.partitions[number]

        def make() -> Fat | None:
            try:
                return StateFat(state, p)
            except FatError:
                return None

        fat = self._last(f"fat {number}", state.key(p), make)
        if isinstance(fat, StateFat):
            fat.state = state           # the same content, read through the state at hand
        return fat

    def _selector(self, content: bytes) -> bytes:
        """The one object of this content: there are few of them, and each is a megabyte."""
        return self._selectors.setdefault(content, content)

    def selector_bytes(self, state: State) -> bytes:
        p = self.selector
        return self._once(("selector", state.key(p)),
                          lambda: self._selector(state.read(p.start, p.size)))

    def selector_fat(self, content: bytes) -> Fat | None:
        path = self.work / "selector"

        def make() -> Fat | None:
            try:
                path.write_bytes(content)
                return Fat(path, 0, len(content))
            except FatError:
                return None

        return self._last("selector", content, make)

    def release(self, state: State, slot: str) -> Release | None:
        """The release a slot holds completely, None if it holds none."""
        boot = self.replay.image.partition(f"BF_BOOT_{slot}")
        root = self.replay.image.partition(f"BF_ROOT_{slot}")

        def matching() -> Release | None:
            return next((r for r in self.story.releases if state.equals(boot.start, r.boot)
                         and state.equals(root.start, r.root)), None)

        return self._once((state.key(boot), state.key(root)), matching)

    def record_files(self, state: State) -> RecordFiles | None:
        """Both generations, after the journal was replayed as a mount does."""
        p = self.replay.image.partition("BF_DATA")

        def make() -> RecordFiles | None:
            copy = self.work / "data.img"
            state.copy_partition(p, copy)
            outs = [self.work / name for name in ("new", "old")]
            for out in outs:
                out.unlink(missing_ok=True)
            script = ["journal_run", *(f'dump "{path}" {out}'
                                       for path, out in zip(bootrecord.PATHS, outs))]
            done = subprocess.run(["debugfs", "-w", "-f", "-", copy], capture_output=True,
                                  input="\n".join(script).encode(), check=False)
            # debugfs goes on without what the kernel insists on.
            if done.returncode or b"Checksum errors in superblock" in done.stdout + done.stderr:
                return None
            new, old = (out.read_bytes() if out.exists() else None for out in outs)
            return new, old

        return self._once(state.key(p), make)

    # -- bf-init --------------------------------------------------------------------------------

    def _decide(self, box: Box, words: tuple[str, ...]) -> dict[str, str]:
        """bf-init's decision; what it wrote is in the box afterwards."""
        key = (box.selector, box.record_files, words)

        def make() -> tuple[dict[str, str], bytes, RecordFiles | None]:
            path = self.work / "bootsel"
            path.write_bytes(box.selector)
            files = [self.work / name.lstrip("/") for name in bootrecord.PATHS]
            for file, content in zip(files, box.record_files or (None, None)):
                file.unlink(missing_ok=True)
                if content is not None:
                    file.write_bytes(content)
            data = self.work if box.record_files is not None else "-"
            answer = subprocess.run([self.disk_eval, path, data, *words], check=True,
                                    capture_output=True, text=True).stdout
            return (dict(word.split("=", 1) for word in answer.split()),
                    self._selector(path.read_bytes()),
                    tuple(f.read_bytes() if f.exists() else None for f in files)
                    if box.record_files is not None else None)

        answer, box.selector, box.record_files = self._once(key, make)
        return answer

    def _boot(self, state: State, box: Box, verdict: Verdict) -> tuple[str | None, str]:
        """One pass through firmware and bf-init: (slot, what bf-init does next)."""
        outcome = firmware.decide(StateView(self, state, box), box.request)
        if not isinstance(outcome, firmware.Boot):
            verdict.break_("I1", f"the firmware {outcome}")
            return None, "dead"
        slot, request = SLOTS[outcome.partition], box.request
        release = self.release(state, slot)
        trial = " for a trial" if request.tryboot else ""
        if release is None:
            verdict.break_("I1", f"the firmware starts slot {slot}{trial}, which holds no complete release")
            return None, "dead"
        words = dict(w.split("=", 1) for w in outcome.cmdline.split() if "=" in w)
        if words["roothash"] != release.roothash or words["rauc.slot"] != slot:
            raise AssertionError(f"{release.name}: {outcome.cmdline}")
        facts = [f"running={slot}", f"tryboot={int(request.tryboot)}", f"count={request.count}",
                 f"roothash={release.roothash}", f"boot_id={BOOT_ID}", f"now={NOW_SEC}"]
        if not release.boots:
            facts.append("fails=verity-corrupt")
        answer = self._decide(box, tuple(facts))
        verdict.steps.append(f"{slot}{trial}: selector {answer['found.selector']}, record "
                             f"{answer['found.record']} gen {answer['found.gen']}, writes "
                             f"{answer['writes']}, {answer['next']}, reason {answer['reason']}")
        if answer.get("record-write", "ok") != "ok" or answer.get("sector-write", "ok") != "ok":
            verdict.break_("I1", f"what bf-init decided could not be written: {answer}")
        if answer["limbo"] == "1" and answer["next"] == "boot":
            verdict.break_("I1", f"slot {slot} runs, but bf-init is not sure which one is committed")
        argument = {"reboot": None, "reboot-trial": "0 tryboot",
                    "reboot-other": {"A": "3", "B": "2"}[slot]}
        if answer["next"] in argument:
            box.request = firmware.after_reboot(request, argument[answer["next"]])
        return slot, answer["next"]

    def _settle(self, state: State, box: Box, verdict: Verdict) -> tuple[str | None, str]:
        for _ in range(BOOTS_MAX):
            slot, what = self._boot(state, box, verdict)
            if what not in ("reboot", "reboot-trial", "reboot-other"):
                return slot, what
        verdict.break_("I5", f"no slot runs after {BOOTS_MAX} boots")
        return None, "dead"

    # -- the verdict ----------------------------------------------------------------------------

    def judge(self, cut: Cut) -> Verdict:
        state = self.replay.at(cut)
        verdict = Verdict(cut)
        box = Box(self.selector_bytes(state), self.record_files(state))
        verdict.before = box.record()
        self._check_disk(cut, box, verdict)
        verdict.slot, what = self._settle(state, box, verdict)
        verdict.after = box.record()
        if verdict.slot and verdict.after:
            self._check_rest(cut, what, verdict)
            self._check_staged(state, replace(box), verdict)
        self.found[verdict.state] += 1
        return verdict

    def _check_disk(self, cut: Cut, box: Box, verdict: Verdict) -> None:
        """What holds of the disk itself, before anything started from it."""
        record, marks = verdict.before, self.replay.marks(cut.entry)
        if record is None:
            verdict.break_("record", "no generation of the record can be read"
                           if box.record_files is not None else "BF_DATA cannot be mounted")
            return
        for row in map(bootrecord.parse, filter(None, box.record_files or ())):
            if row and row["state.A"] == row["state.B"] == "bad":
                verdict.break_("I2", "both slots are bad")
        fat = self.selector_fat(box.selector)
        text = fat.read("autoboot.txt") if fat else None
        named = SLOTS.get(firmware.parse_autoboot(text, False).boot_partition)
        if named is None and cut.variant != "garbled":
            verdict.break_("I1", "autoboot.txt names no slot")
        if named == "B" and record["committed"] != "B":
            verdict.break_("I3", "autoboot.txt names slot B before the record does")
        for holds, invariant, text in self._durable(record, named, cut, marks):
            if not holds:
                verdict.break_(invariant, text)

    def _durable(self, record: Record, named: str | None, cut: Cut,
                 marks: list[str]) -> list[tuple[bool, str, str]]:
        """A command that has returned is done for good; one that has not begun has done nothing."""
        release, rows = self.story.release, []
        if "commit begin" not in marks:
            rows.append((record["committed"] == "A" and named in ("A", None), "I3",
                         "slot B is committed before its trial"))
        if "commit done" in marks:
            rows.append((record["committed"] == "B" and record["state.B"] == "good"
                         and (named == "B" or cut.variant == "garbled"), "durable",
                         "the commit was reported and is lost"))
        if "set-bad done" in marks and "set-primary begin" not in marks:
            rows.append((record["state.B"] == "bad" and record["staged"] == "-", "durable",
                         "set-state bad was reported and is lost"))
        if "set-primary done" in marks and not self._trial_began(cut):
            rows.append((record["staged"] == "B" and record["hash.B"] == release.roothash
                         and record["state.B"] != "bad", "durable",
                         "set-primary was reported and is lost"))
        if not self._trial_began(cut):
            rows.append((release.roothash not in refused(record), "I4",
                         "a release that never ran is refused"))
        if "rejected" in marks:
            rows.append((record["state.B"] == "bad" and release.roothash in refused(record),
                         "durable", "the rejection was reported and is lost"))
        return rows

    def _trial_began(self, cut: Cut) -> bool:
        """The trial is the second boot of every story; before it writes, it is none."""
        return cut.entry > 0 and self.replay.entries[cut.entry - 1].run > 0

    def _check_rest(self, cut: Cut, what: str, verdict: Verdict) -> None:
        """A slot runs now."""
        before, after = verdict.before, verdict.after
        assert after is not None
        if what != "boot" or after["committed"] != verdict.slot:
            verdict.break_("I3", f"slot {verdict.slot} runs ({what}), committed is "
                                 f"{after['committed']}")
        if after["state.A"] == after["state.B"] == "bad":
            verdict.break_("I2", "both slots are bad")
        if before is None:
            return
        if before["committed"] != after["committed"]:
            verdict.break_("I3", f"a boot changed the committed slot to {after['committed']}")
        if before["staged"] == "B" and after["staged"] == "-":
            if not self._trial_began(cut):
                verdict.break_("I4", "a trial that never ran was given up")
            self._check_reason(after, verdict)

    @staticmethod
    def _check_reason(record: Record, verdict: Verdict) -> None:
        left = [reason for event, _, reason in bootrecord.history(record)
                if event in ("rejected", "given-up", "fallback")]
        if not left or left[0] == "-":
            verdict.break_("I8", "the staged slot was given up without a reason")

    def _check_staged(self, state: State, box: Box, verdict: Verdict) -> None:
        """Whatever restarts the device now starts the trial."""
        record = box.record()
        assert record is not None
        if record["staged"] == "-":
            return
        release = self.release(state, record["staged"])
        if release is None or release.roothash != record["hash.B"]:
            verdict.break_("I1", f"slot {record['staged']} is staged and holds no complete release")
            return
        box.request = replace(box.request, tryboot=True, count=box.request.count + 1)
        slot, what = self._settle(state, box, verdict)
        after = box.record()
        assert after is not None
        if release.boots:
            if (slot, what) != (record["staged"], "trial"):
                verdict.break_("I1", f"the trial of slot {record['staged']} ends with {slot}, {what}")
        elif (slot, what) != ("A", "boot") or after["staged"] != "-" or after["state.B"] != "bad":
            verdict.break_("I1", f"the broken release is not rejected: {slot}, {what}, "
                                 f"B {after['state.B']}")
        else:
            self._check_reason(after, verdict)


def refused(record: Record) -> list[str]:
    return [record[f"refused.{i}"] for i in range(8) if record[f"refused.{i}"] != "-"]
