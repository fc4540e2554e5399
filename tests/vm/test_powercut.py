"""Power cuts: the harness itself on a written-down story, then the mini root's stories, with every
cut that decides and a bounded sample of the others. All of it: make powercut.
"""

from __future__ import annotations

import random
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

import bootrecord
from powercut import log as powercut_log
from artifacts import Artifacts
from diskimage import DiskImage
from powercut.cut import Cut, Piece, Replay
from powercut.eval import Evaluator, Release, Story
from powercut.log import Entry, LogError
from powercut.plan import deciding, judge_all, make_plan, phases, sample
from powercut.run import Bench, forget
from powercut.story import disk_eval, tell as tell_story
from test_firmware import CONFIG
from test_mini_boot import SECTOR_A, SECTOR_B

HASHES = {"old": "01" * 32, "new": "02" * 32}
MIB = 1 << 20
SEED = 7


# -- a story without a machine ----------------------------------------------------------------------

Step = tuple[str, object]


class Writer:
    """Writes down what a device would do to the disk, request by request."""

    def __init__(self, image: DiskImage):
        self.image, self.entries, self.run, self.generation = image, [], 0, 7
        self.fields: dict[str, str] = {}
        self.record_at = [image.ext4_file_offset("BF_DATA", path) for path in bootrecord.PATHS]
        fat = image.fat("BF_BOOTSEL")
        self.selector_at = fat.cluster_offset(fat.find("autoboot.txt").cluster)

    def write(self, offset: int, data: bytes, mark: str | None = None) -> None:
        self.entries.append(Entry(len(self.entries), self.run, offset, len(data), data, mark=mark))

    def flush(self) -> None:
        self.entries.append(Entry(len(self.entries), self.run, barrier=True))

    def mark(self, text: str) -> None:
        block = (powercut_log.MARK_WORD + text.encode()).ljust(512, b"\0")
        self.write(powercut_log.MARK_AT, block, mark=text)

    def record(self, flush: bool = True, **fields: str) -> None:
        self.fields.update(fields)
        self.generation += 1
        # The names take turns; the larger generation counts, whatever its name.
        place = self.record_at[self.generation % 2]
        self.write(place, bootrecord.text(gen=str(self.generation), **self.fields))
        if flush:
            self.flush()

    def sector(self, text: bytes) -> None:
        self.write(self.selector_at, text)
        self.flush()

    def flash(self, label: str, image: Path, flush: bool = True) -> None:
        data, start = image.read_bytes(), self.image.partition(label).start
        for at in range(0, len(data), 64 * 1024):
            self.write(start + at, data[at:at + 64 * 1024])
        if flush:
            self.flush()


def right_order(w: Writer, new: Release) -> None:
    """What bf-boot and RAUC do."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    set_primary(w)
    trial(w)
    commit(w)


def set_bad(w: Writer) -> None:
    w.mark("set-bad begin")
    w.record(state_A="good", proven_A="yes", state_B="bad", proven_B="no")
    w.mark("set-bad done")


def set_primary(w: Writer, flush: bool = True) -> None:
    w.mark("set-primary begin")
    w.record(flush, staged="B", state_B="unknown", proven_B="unknown", hash_B=HASHES["new"])
    w.mark("set-primary done")


def trial(w: Writer) -> None:
    w.record(attempts="1", last_slot="A", last_phase="attempt")
    w.run = 1
    w.record(trials="1", last_slot="B", last_phase="trial")
    w.mark("trial ran")


def record_commit(w: Writer, flush: bool = True) -> None:
    w.record(flush, committed="B", staged="-", attempts="0", trials="0", state_B="good",
             proven_B="yes", probation="yes")


def commit(w: Writer) -> None:
    w.mark("commit begin")
    record_commit(w)
    w.sector(SECTOR_B)
    w.mark("commit done")


# -- the same with a mistake: each must be caught -----------------------------------------------

def sector_first(w: Writer, new: Release) -> None:
    """The commit writes autoboot.txt before the record."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    set_primary(w)
    trial(w)
    w.mark("commit begin")
    w.sector(SECTOR_B)
    record_commit(w)
    w.mark("commit done")


def truncating_writer(w: Writer, new: Release) -> None:
    """autoboot.txt is written like any file: made empty, then filled."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    set_primary(w)
    trial(w)
    w.mark("commit begin")
    record_commit(w)
    fat = w.image.fat("BF_BOOTSEL")
    root_at = fat.start + (fat.data_sector * fat.sector) - len(fat.root)
    at = next(i for i in range(0, len(fat.root), 32) if fat.root[i:i + 11] == b"AUTOBOOTTXT")
    directory_sector = root_at + at // 512 * 512
    full = w.image.read_at(directory_sector, 512)
    empty = bytearray(full)
    empty[at % 512 + 26:at % 512 + 32] = bytes(6)        # first cluster, size
    w.write(directory_sector, bytes(empty))
    w.flush()
    w.write(w.selector_at, SECTOR_B)
    w.write(directory_sector, full)
    w.flush()
    w.mark("commit done")


def record_not_flushed(w: Writer, new: Release) -> None:
    """The commit's record is in the disk's cache when the command returns."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    set_primary(w)
    trial(w)
    w.mark("commit begin")
    record_commit(w, flush=False)
    w.write(w.selector_at, SECTOR_B)
    w.mark("commit done")
    w.flush()


def image_not_flushed(w: Writer, new: Release) -> None:
    """The slot is staged while its last blocks are in the disk's cache."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot, flush=False)
    w.mark("set-primary begin")
    w.record(flush=False, staged="B", state_B="unknown", proven_B="unknown", hash_B=HASHES["new"])
    w.mark("set-primary done")
    w.flush()
    trial(w)
    commit(w)


def staged_before_written(w: Writer, new: Release) -> None:
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    set_primary(w)
    w.flash("BF_BOOT_B", new.boot)
    trial(w)
    commit(w)


def overwritten_in_place(w: Writer, new: Release) -> None:
    """The newest generation is written over itself."""
    w.record_at = [w.record_at[0]] * 2
    right_order(w, new)


def both_generations_at_once(w: Writer, new: Release) -> None:
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    for _ in range(8):
        set_primary(w, flush=False)
    trial(w)


def committed_untried(w: Writer, new: Release) -> None:
    """The installer makes the new slot the default."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    set_primary(w)
    record_commit(w)
    w.sector(SECTOR_B)
    w.run = 1
    w.mark("commit begin")
    w.mark("commit done")


def running_slot_overwritten(w: Writer, new: Release) -> None:
    set_bad(w)
    w.flash("BF_ROOT_A", new.root)
    w.flash("BF_BOOT_A", new.boot)


def both_bad(w: Writer, new: Release) -> None:
    w.mark("set-bad begin")
    w.record(state_A="bad", state_B="bad", proven_B="no")
    w.mark("set-bad done")


def refused_untried(w: Writer, new: Release) -> None:
    """The slot that never ran is counted as failed."""
    set_bad(w)
    w.flash("BF_ROOT_B", new.root)
    w.flash("BF_BOOT_B", new.boot)
    set_primary(w)
    w.record(staged="-", state_B="bad", proven_B="no", refused_0=HASHES["new"])


MISTAKES = [(sector_first, "I3"), (truncating_writer, "I1"), (record_not_flushed, "durable"),
            (image_not_flushed, "I1"), (staged_before_written, "I1"),
            (overwritten_in_place, "durable"), (committed_untried, "I3"),
            (running_slot_overwritten, "I1"), (both_bad, "I2"), (refused_untried, "I4")]


# -- fixtures ---------------------------------------------------------------------------------------

SIZES = {"BF_BOOTSEL": 4, "BF_BOOT_A": 4, "BF_BOOT_B": 4, "BF_ROOT_A": 1, "BF_ROOT_B": 1,
         "BF_DATA": 8}                  # MiB


def fat_image(path: Path, files: dict[str, bytes]) -> Path:
    with open(path, "wb") as f:
        f.truncate(4 * MIB)
    subprocess.run(["mkfs.vfat", "-F", "12", str(path)], check=True, capture_output=True)
    for name, data in files.items():
        source = path.with_suffix(".file")
        source.write_bytes(data)
        subprocess.run(["mcopy", "-i", str(path), str(source), f"::{name}"], check=True,
                       capture_output=True)
    return path


def boot_image(path: Path, roothash: str) -> Path:
    return fat_image(path, {
        "config.txt": CONFIG, "tryboot.txt": CONFIG, "kernel8.img": roothash.encode() * 4096,
        "initramfs.img": b"I" * 1000,
        **{f"cmdline-{slot.lower()}.txt": f"rauc.slot={slot} roothash={roothash}\n".encode()
           for slot in "AB"}})


def empty_disk(path: Path) -> DiskImage:
    with open(path, "wb") as f:
        f.truncate((sum(SIZES.values()) + 2) * MIB)
    script = "label: gpt\n" + "".join(f"size={size}MiB, name={label}\n"
                                      for label, size in SIZES.items())
    subprocess.run(["/sbin/sfdisk", "-q", str(path)], input=script.encode(), check=True)
    return DiskImage(path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Release, ...]]:
    """A small disk with release "old" in both slots, and a release "new"."""
    work = tmp_path_factory.mktemp("lab")
    image = empty_disk(work / "disk.img")
    chance = random.Random(1)
    releases = []
    for name, roothash in HASHES.items():
        root = work / f"{name}.root"
        root.write_bytes(chance.randbytes(MIB))
        boot = boot_image(work / f"{name}.boot", roothash)
        releases.append(Release(name, root, boot, roothash))
    for slot in "AB":
        image.write_partition(f"BF_ROOT_{slot}", 0, releases[0].root.read_bytes())
        image.write_partition(f"BF_BOOT_{slot}", 0, releases[0].boot.read_bytes())
    selector = fat_image(work / "selector", {"autoboot.txt": SECTOR_A})
    image.write_partition("BF_BOOTSEL", 0, selector.read_bytes())
    data = work / "data"
    with open(data, "wb") as f:
        f.truncate(image.partition("BF_DATA").size)
    subprocess.run(["/sbin/mkfs.ext4", "-q", str(data)], check=True)
    image.write_partition("BF_DATA", 0, data.read_bytes())
    bootrecord.store(image, state_A="good", proven_A="yes", hash_A=HASHES["old"], gen="7")
    return image.path, tuple(releases)


Tell = Callable[..., tuple[Story, Replay, Evaluator]]


@pytest.fixture
def tell(lab, artifacts: Artifacts, tmp_path: Path) -> Tell:
    def tell_(order: Callable[[Writer, Release], None], new: int = 1) -> tuple[Story, Replay, Evaluator]:
        base, releases = lab
        writer = Writer(DiskImage(base))
        order(writer, releases[new])
        story = Story(order.__name__, base, writer.entries, releases, releases[new].name, True)
        replay = Replay(base, writer.entries, tmp_path, SEED)
        return story, replay, Evaluator(story, replay, disk_eval(artifacts), tmp_path / "eval")

    return tell_


# -- the log ---------------------------------------------------------------------------------------

def test_log_is_read_as_it_was_written(tmp_path):
    first = [Entry(0, 0, 4096, 1024, b"a" * 512 + b"b" * 512), Entry(1, 0, barrier=True),
             Entry(2, 0, powercut_log.MARK_AT, 512, b"BF-MARK here we are".ljust(512, b"\0"))]
    powercut_log.write(tmp_path / "0", first)
    powercut_log.write(tmp_path / "1", [Entry(0, 0, 0, 512, b"c" * 512)])
    (tmp_path / "2").touch()
    read = powercut_log.read([tmp_path / "0", tmp_path / "2", tmp_path / "1"])
    assert [(e.index, e.run, e.offset, e.length, bytes(e.data), e.barrier, e.mark) for e in read] == [
        (0, 0, 4096, 1024, b"a" * 512 + b"b" * 512, False, None),
        (1, 0, 0, 0, b"", True, None),
        (2, 0, powercut_log.MARK_AT, 512, first[2].data, False, "here we are"),
        (3, 2, 0, 512, b"c" * 512, False, None)]
    assert [e.writes for e in read] == [True, False, False, True]


def header(magic: int = powercut_log.MAGIC, version: int = 1, sector: int = 512) -> bytes:
    return struct.pack("<QQQI", magic, version, 0, sector).ljust(512, b"\0")


@pytest.mark.parametrize("log", [b"short", header(magic=1), header(version=2), header(sector=100),
                                 header() + struct.pack("<QQQQ", 0, 0, 2, 0).ljust(512, b"\0"),
                                 header() + struct.pack("<QQQQ", 0, 1, 1, 0).ljust(512, b"\0")])
def test_what_is_no_log_is_said_to_be_none(log):
    with pytest.raises(LogError):
        powercut_log.parse(log, 0, 0)


def test_log_that_was_cut_ends_before_the_cut(tmp_path):
    powercut_log.write(tmp_path / "log", [Entry(0, 0, 0, 512, b"a" * 512),
                                          Entry(1, 0, 512, 1024, b"b" * 1024)])
    log = (tmp_path / "log").read_bytes()
    assert len(powercut_log.parse(log, 0, 0)) == 2
    assert len(powercut_log.parse(log[:-1], 0, 0)) == 1


# -- the disk ---------------------------------------------------------------------------------------

@pytest.fixture
def replay(tmp_path) -> Replay:
    """Ten sectors "0" behind a partition table's place; three writes, a flush, two writes."""
    base = empty_disk(tmp_path / "disk.img")
    at = 600 * 1024
    entries = [Entry(0, 0, at, 1024, b"a" * 1024), Entry(1, 0, at + 512, 1024, b"b" * 1024),
               Entry(2, 0, barrier=True), Entry(3, 0, at, 512, b"c" * 512),
               Entry(4, 0, at + 1024, 512, b"d" * 512)]
    return Replay(base.path, entries, tmp_path, SEED)


def words(data: bytes) -> str:
    return "".join(chr(data[i]) if data[i] else "." for i in range(0, len(data), 512))


@pytest.mark.parametrize("cut,expected", [
    ("0-kept-0", "...."), ("1-kept-0", "aa.."), ("2-kept-0", "abb."), ("2-dropped-0", "...."),
    ("3-dropped-0", "abb."), ("4-kept-0", "cbb."), ("4-dropped-0", "abb."), ("5-kept-0", "cbd."),
    ("5-dropped-0", "abb.")])
def test_disk_after_a_cut(replay, cut, expected, tmp_path):
    state = replay.at(Cut.named(cut))
    assert words(state.read(600 * 1024, 2048)) == expected
    # Not only whole reads, and a copy says the same.
    assert state.read(600 * 1024 + 700, 500) == state.read(600 * 1024, 2048)[700:1200]
    copy = DiskImage(state.copy_disk(tmp_path / "copy"))
    assert words(copy.read_at(600 * 1024, 2048)) == expected


def test_torn_writes_are_old_or_new_by_sector_and_the_same_each_time(replay):
    seen = set()
    for n in range(60):
        cut = Cut(4, "torn", n)
        text = words(replay.at(cut).read(600 * 1024, 2048))
        assert text[0] in "ac" and text[1:2] == "b" and text[2] in "bd" and text[3] == "."
        assert text == words(replay.at(cut).read(600 * 1024, 2048))
        seen.add(text)
    assert len(seen) == 4                # each of the two writes, with and without the other


def test_going_back_gives_the_same_disk(replay):
    first = replay.at(Cut(1, "kept")).read(600 * 1024, 2048)
    replay.at(Cut(5, "kept"))
    assert replay.at(Cut(1, "kept")).read(600 * 1024, 2048) == first


def test_pieces_write_no_other_sector():
    entry = Entry(0, 0, 4096, 2048, b"a" * 512 + b"b" * 512 + b"c" * 512 + b"d" * 512)
    assert [(at, bytes(data[:1])) for at, data in Piece(entry, 0b1010).spans()] == [
        (4096 + 512, b"b"), (4096 + 1536, b"d")]


# -- judging ----------------------------------------------------------------------------------------

def judge(told: tuple[Story, Replay, Evaluator], count: int = 40):
    story, replay, evaluator = told
    plan = make_plan(replay, [], count, SEED)
    return judge_all(evaluator, story, plan, SEED)


def test_right_order_has_no_violation(tell):
    told = tell(right_order)
    tally, verdicts = judge(told, 150)
    assert tally.violations == []
    assert tally.cuts == 150 + tally.deciding > 180
    assert set(tally.states) == {
        "runs A, nothing staged, A good, B unknown", "runs A, nothing staged, A good, B bad",
        "runs A, B staged, A good, B unknown", "runs B, nothing staged, A good, B good"}


@pytest.mark.parametrize("order,invariant", MISTAKES, ids=[row[0].__name__ for row in MISTAKES])
def test_mistake_is_caught(tell, order, invariant):
    tally, _ = judge(tell(order))
    assert any(f" {invariant}: " in text for text in tally.violations), tally.lines()
    # What is printed leads back to the same cut.
    name = tally.violations[0].split()[0].removeprefix(f"{order.__name__}-")
    _, _, evaluator = tell(order)
    assert evaluator.judge(Cut.named(name)).violations


def test_lost_record_is_caught(tell):
    """It takes both generations torn by the same cut."""
    _, replay, evaluator = tell(both_generations_at_once)
    last = [e for e in replay.entries if e.mark == "set-primary done"][-1].index
    assert any(text.startswith("record: ") for n in range(1, 80)
               for text in evaluator.judge(Cut(last, "torn", n)).violations)


def test_broken_release_is_rejected_at_every_cut(tell, lab):
    story, replay, evaluator = tell(right_order)
    evaluator.story = replace(story, releases=(lab[1][0], replace(lab[1][1], boots=False)))
    end = next(e.index for e in replay.entries if e.mark == "set-primary done")
    for n in range(5):
        verdict = evaluator.judge(Cut(end + 1, "torn", n))
        assert verdict.violations == []
        assert any("verity-corrupt" in step for step in verdict.steps), verdict.steps


def test_every_deciding_write_is_tried_in_every_way(tell):
    story, replay, _ = tell(right_order)
    plan = make_plan(replay, [], 50, SEED)
    indexes = deciding(replay, [])
    assert len(indexes) == 6             # five of the record, one of autoboot.txt
    for index in indexes:
        ways = {(c.variant, c.number) for c in plan.deciding if c.entry == index}
        assert ways >= {("kept", 0), ("dropped", 0), ("torn", 0), ("torn", 1), ("torn", 2)}
    assert {c.number for c in plan.deciding if c.variant == "garbled"} == {0, 1, 2, 3}
    assert len(plan.elsewhere) == 50 and not {c.entry for c in plan.elsewhere} & set(indexes)
    assert plan.cuts == make_plan(replay, [], 50, SEED).cuts
    assert plan.cuts != make_plan(replay, [], 50, SEED + 1).cuts


def test_sample_to_boot_is_spread_over_the_story(tell):
    story, replay, evaluator = tell(right_order)
    _, verdicts = judge((story, replay, evaluator), 100)
    chosen = sample(replay, verdicts, 30, SEED)
    assert len(chosen) == len({v.cut for v in chosen}) == 30
    assert {v.state for v in chosen} == {v.state for v in verdicts}
    assert len(phases(replay)) == 7


# -- the stories ------------------------------------------------------------------------------------

SAMPLE, BOOTS = 150, 5                  # make powercut: more than 1000, more than 60


@pytest.fixture(params=["mini-committed", "mini-rejected"])
def bench(request, artifacts: Artifacts, console_log: Path, tmp_path: Path):
    work = artifacts.vm / "run" / f"powercut-{tmp_path.parent.name}-{request.param}"
    story = tell_story(artifacts, work, request.param, console_log)
    yield Bench(artifacts, story, work, SEED)
    if request.node.report_call.passed:
        forget(work)


def test_power_cut_at_every_write_that_decides(bench):
    tally = bench.all(SAMPLE, BOOTS)
    print("\n".join(tally.lines()))
    assert tally.violations == []
    assert tally.boots == BOOTS and tally.cuts - tally.deciding == SAMPLE
    assert len(bench.replay.touching("BF_BOOTSEL")) == (1 if bench.story.committed else 0)
    assert any(state.startswith("runs A, B staged") for state in tally.states)
    if bench.story.committed:
        assert any(state.startswith("runs B") for state in tally.states)
        assert_mistakes_are_caught(bench)
    else:
        assert "runs A, nothing staged, A good, B bad" in tally.states


def assert_mistakes_are_caught(bench: Bench) -> None:
    """The recorded log again, as mistakes would have made it."""
    entries = list(bench.story.entries)
    place = next(e.index for e in entries if e.mark == "commit begin")
    sector = bench.replay.touching("BF_BOOTSEL")[0]
    early = entries[:place + 1] + [entries[sector], Entry(0, 1, barrier=True)] \
        + entries[place + 1:sector] + entries[sector + 1:]
    assert caught(bench, early, Cut(place + 3, "dropped"), "I3")
    # A record that is not flushed when the command returns.
    unflushed = [replace(e, barrier=False) for e in entries]
    for name in ("set-bad done", "set-primary done", "commit done"):
        said = next(e.index for e in entries if e.mark == name)
        assert caught(bench, unflushed, Cut(said + 1, "dropped"), "durable")
    # An image of which a part (the file system's UUID is in it) never came when the slot is staged.
    part = bench.replay.touching("BF_ROOT_B")[0]
    staged = next(e.index for e in entries if e.mark == "set-primary done")
    lost = entries[:part] + [Entry(0, 0)] + entries[part + 1:]
    assert caught(bench, lost, Cut(staged + 1, "kept"), "I1")


def caught(bench: Bench, entries: list[Entry], cut: Cut, invariant: str) -> bool:
    work = bench.work / "mistake"
    work.mkdir(exist_ok=True)
    story = replace(bench.story, entries=powercut_log.renumber(entries))
    replay = Replay(story.base, story.entries, work, SEED)
    verdict = Evaluator(story, replay, disk_eval(bench.art), work / "eval").judge(cut)
    return any(text.startswith(f"{invariant}: ") for text in verdict.violations)


SUPERBLOCK = 1024                       # of two sectors


def test_torn_superblock_of_the_data_partition(device):
    """The kernel itself says that what a cut may make of it does not matter."""
    image = DiskImage(device.disk.path)
    before = image.read_partition("BF_DATA", SUPERBLOCK, 1024)
    device.boot("mini.do=write:/data/kept:precious;sync;poweroff")
    after = image.read_partition("BF_DATA", SUPERBLOCK, 1024)
    assert before[:512] != after[:512]      # with metadata_csum the other sector, too: its checksum
    for torn in (before[:512] + after[512:], after[:512] + before[512:]):
        image.write_partition("BF_DATA", SUPERBLOCK, torn)
        run = device.boot("mini.do=cat:/data/kept;poweroff")
        assert run.slot == "A" and not run.degraded
        assert run.mini()["cat /data/kept"] == "precious"
