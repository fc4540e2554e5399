"""One story from its first boot to the last cut: recorded, judged, a sample booted, counted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from artifacts import Artifacts
from powercut.cut import Cut, Replay, State
from powercut.eval import Evaluator, Story, Verdict
from powercut.plan import Tally, judge_all, make_plan, sample
from powercut.story import boot_mini, disk_eval, record_blocks

Boot = Callable[[Story, State, Verdict, Path, Path], list[str]]


@dataclass
class Bench:
    """Where a recorded story is taken apart."""

    art: Artifacts
    story: Story
    work: Path
    seed: int
    boot: Boot = boot_mini
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        self.replay = Replay(self.story.base, self.story.entries, self.work, self.seed)
        self.evaluator = Evaluator(self.story, self.replay, disk_eval(self.art), self.work / "eval")

    def all(self, elsewhere: int, boots: int) -> Tally:
        plan = make_plan(self.replay, record_blocks(self.story), elsewhere, self.seed)
        self.say(f"{self.story.name}: {len(self.story.entries)} requests to the disk, "
                 f"{len(plan.cuts)} cuts")
        tally, verdicts = judge_all(self.evaluator, self.story, plan, self.seed, self.say)
        for verdict in sample(self.replay, [v for v in verdicts if not v.violations], boots,
                              self.seed):
            tally.violations += self.start(verdict)
            tally.boots += 1
        self.replay.path.unlink(missing_ok=True)
        return tally

    def start(self, verdict: Verdict) -> list[str]:
        name = f"{self.story.name}-{verdict.cut}"
        log = self.work / f"boot-{verdict.cut}.log"
        log.unlink(missing_ok=True)
        self.say(f"booting {name}: {verdict.state}")
        wrong = self.boot(self.story, self.replay.at(verdict.cut), verdict, self.work / "boot", log)
        if not wrong:
            log.unlink()
        return [f"{name} booted: {text} (console: {log})" for text in wrong]

    def again(self, cut: Cut) -> Tally:
        """One cut, with everything there is to say about it; its disk stays."""
        verdict = self.evaluator.judge(cut)
        state = self.replay.at(cut)
        self.say(f"{self.story.name}, cut when {cut.entry} of {len(self.story.entries)} requests were "
                 f"done; {state.stable} of them are durable, {len(state.pieces)} more on the disk, "
                 f"last mark {self.replay.marks(cut.entry)[-1:]}")
        for step in verdict.steps:
            self.say(f"  {step}")
        self.say(f"  {verdict.state}")
        tally = Tally(self.seed, cuts=1)
        tally.states[verdict.state] += 1
        tally.violations = list(verdict.violations)
        disk = state.copy_disk(self.work / f"cut-{cut}.img")
        if not verdict.violations:
            tally.violations += self.start(verdict)
            tally.boots = 1
        self.say(f"the disk as it was: {disk}")
        return tally


def forget(work: Path) -> None:
    """Hundreds of megabytes for each story."""
    shutil.rmtree(work, ignore_errors=True)
