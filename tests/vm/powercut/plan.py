"""Which cuts are tried, which of them are booted, and what came of it all."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable, Iterable, Sequence

from powercut.cut import Cut, Replay
from powercut.eval import Evaluator, Story, Verdict

TORN, GARBLED = 3, 4                    # different accidents for each write that decides
# A record is written, flushed, exchanged by name and flushed through the journal; what else the
# file system does at the time belongs to it. So many requests are watched from its first one on.
RECORD_WINDOW = 48
ALL_DATA_MAX = 1500                     # so many writes to BF_DATA are all tried


def deciding(replay: Replay, record_blocks: Sequence[tuple[int, int]]) -> list[int]:
    """The requests that change what is booted: writes to BF_BOOTSEL and to the record."""
    data = replay.touching("BF_DATA")
    if len(data) > ALL_DATA_MAX:
        record = [e.index for e in replay.entries
                  if any(e.touches(start, size) for start, size in record_blocks)]
        windows = {i for first in record for i in range(first, first + RECORD_WINDOW)}
        data = [i for i in data if i in windows]
    return sorted({*replay.touching("BF_BOOTSEL"), *data})


def around(index: int, selector: bool) -> Iterable[Cut]:
    """Every way in which the power can go at one request."""
    for entry in (index, index + 1):
        yield Cut(entry, "kept")
        yield Cut(entry, "dropped")
    for n in range(TORN):
        yield Cut(index, "torn", n)
    for n in range(GARBLED if selector else 0):
        yield Cut(index, "garbled", n)


def phases(replay: Replay) -> dict[str, list[int]]:
    """Between which two words of the guest each request fell."""
    found: dict[str, list[int]] = {}
    name = "before"
    for entry in replay.entries:
        found.setdefault(name, []).append(entry.index)
        if entry.mark is not None:
            name = entry.mark
    return found


def phase(replay: Replay, entry: int) -> str:
    marks = replay.marks(entry)
    return marks[-1] if marks else "before"


def elsewhere(replay: Replay, count: int, taken: set[int], tried: set[Cut],
              seed: int) -> list[Cut]:
    """A sample of the rest, the same number from each phase of the story."""
    chance = random.Random(f"{seed}/elsewhere")
    places = [[i for i in indexes if i not in taken] for indexes in phases(replay).values()]
    places = [p for p in places if p]
    found: set[Cut] = set()
    for n in range(20 * count):
        if len(found) == count or not places:
            break
        variant = chance.choices(("torn", "dropped", "kept"), (6, 3, 1))[0]
        entry = chance.choice(places[n % len(places)])
        cut = Cut(entry, variant, chance.randrange(1, 1000) if variant == "torn" else 0)
        if cut not in tried:
            found.add(cut)
    return sorted(found)


@dataclass
class Plan:
    deciding: list[Cut]
    elsewhere: list[Cut]

    @property
    def cuts(self) -> list[Cut]:
        return sorted({*self.deciding, *self.elsewhere})


def make_plan(replay: Replay, record_blocks: Sequence[tuple[int, int]], sample: int,
              seed: int) -> Plan:
    indexes = deciding(replay, record_blocks)
    selector = set(replay.touching("BF_BOOTSEL"))
    cuts = sorted({cut for i in indexes for cut in around(i, i in selector)
                   if cut.entry <= len(replay.entries)})
    return Plan(cuts, elsewhere(replay, sample, set(indexes), set(cuts), seed))


@dataclass
class Tally:
    """What is printed at the end."""

    seed: int
    cuts: int = 0
    deciding: int = 0
    boots: int = 0
    states: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.cuts += other.cuts
        self.deciding += other.deciding
        self.boots += other.boots
        self.states += other.states
        self.violations += other.violations

    def lines(self) -> list[str]:
        return [f"cut points tried  {self.cuts} ({self.deciding} at writes of the selection and the record)",
                f"boots to the end  {self.boots}",
                f"states found      {len(self.states)}",
                *(f"  {count:6d}  {state}" for state, count in self.states.most_common()),
                f"seed              {self.seed}",
                f"violations        {len(self.violations)}",
                *(f"  {text}" for text in self.violations)]


def judge_all(evaluator: Evaluator, story: Story, plan: Plan, seed: int,
              say: Callable[[str], None] = lambda text: None,
              enough: int = 20) -> tuple[Tally, list[Verdict]]:
    """All cuts of a plan. A story that is broken everywhere need not be judged to its end."""
    tally, verdicts = Tally(seed), []
    decided = set(plan.deciding)
    for cut in plan.cuts:
        verdict = evaluator.judge(cut)
        verdicts.append(verdict)
        tally.cuts += 1
        tally.deciding += cut in decided
        tally.states[verdict.state] += 1
        tally.violations += [f"{story.name}-{cut} {text} [{'; '.join(verdict.steps)}]"
                             for text in verdict.violations]
        if tally.cuts % 200 == 0:
            say(f"{story.name}: {tally.cuts} of {len(plan.cuts)} cuts")
        if len(tally.violations) >= enough:
            break
    return tally, verdicts


def sample(replay: Replay, verdicts: Sequence[Verdict], count: int, seed: int) -> list[Verdict]:
    """To be booted: by turns from each phase, accident and state there is."""
    chance = random.Random(f"{seed}/boots")
    strata: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        key = (phase(replay, verdict.cut.entry), verdict.cut.variant, verdict.state)
        strata.setdefault(key, []).append(verdict)
    order = sorted(strata)
    chance.shuffle(order)
    for key in order:
        chance.shuffle(strata[key])
    found: list[Verdict] = []
    while len(found) < count and any(strata.values()):
        for key in order:
            if strata[key] and len(found) < count:
                found.append(strata[key].pop())
    return sorted(found, key=lambda verdict: verdict.cut)
