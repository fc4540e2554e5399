"""The root is the one that was signed, or it does not boot. On the mini root."""

from __future__ import annotations

import struct
import zlib

import pytest

import bootrecord
from diskimage import DiskImage
from machine import End
from test_mini_boot import assert_booted, commit, image_of, without

# Superblock: cryptsetup lib/verity/verity.c; offsets in bytes.
MAGIC = b"verity\0\0"
RESTARTED = End("reboot", "dm-verity device corrupted")


def superblock_at(image: DiskImage, which: str = "BF_ROOT_A") -> int:
    """Byte of the partition at which the verity superblock is: behind the file system."""
    head = image.read_partition(which, 1024, 1024)
    blocks, shift = struct.unpack_from("<I", head, 4)[0], struct.unpack_from("<I", head, 24)[0]
    at = blocks * (1024 << shift)
    assert image.read_partition(which, at, 8) == MAGIC
    return at


def assert_refused(run, *codes: str) -> None:
    assert run.slot is None, "the real init ran"
    assert run.reason in codes
    assert run.ended == End("reboot")


# -- the root hash --------------------------------------------------------------------------------

def change_hash(change):
    def edit(line: str) -> str:
        words = [f"roothash={change(w[9:])}" if w.startswith("roothash=") else w
                 for w in line.split()]
        return " ".join(words)
    return edit


HASHES = [
    ("one digit is another", lambda h: h[:-1] + "%x" % (int(h[-1], 16) ^ 1), "verity-corrupt"),
    ("of another length that is a hash too", lambda h: h + h, "verity-roothash"),
    ("too short", lambda h: h[:-2], "verity-roothash"),
    ("an odd digit", lambda h: h + "a", "verity-roothash"),
    ("not hex", lambda h: "z" + h[1:], "verity-roothash"),
    ("empty", lambda h: "", "verity-roothash"),
    ("far too long", lambda h: h * 20, "verity-roothash"),
]


@pytest.mark.parametrize("name,change,code", HASHES, ids=[row[0] for row in HASHES])
def test_wrong_roothash(device, name, change, code):
    commit(device, "A")
    device.edit_cmdline = change_hash(change)
    run = device.boot()
    assert_refused(run, code)
    assert bootrecord.load(image_of(device))["last.reason"] == code


def test_missing_roothash(device):
    commit(device, "A")
    device.edit_cmdline = lambda line: without(line, "roothash=")
    assert_refused(device.boot(), "verity-roothash")


# -- the superblock ---------------------------------------------------------------------------------

# (field, offset, new bytes, reasons). Whoever can write the partition can write these; none may boot
# another root, none may hang or crash bf-init. None: harmless, it boots.
FIELDS = [
    ("magic", 0, b"VERITY\0\0", ("verity-superblock",)),
    ("version 2", 8, struct.pack("<I", 2), ("verity-superblock",)),
    ("version huge", 8, b"\xff" * 4, ("verity-superblock",)),
    ("hash type ChromeOS", 12, struct.pack("<I", 0), ("verity-corrupt",)),
    ("hash type 2", 12, struct.pack("<I", 2), ("verity-superblock",)),
    ("uuid", 16, bytes(range(16)), None),
    ("algorithm unknown", 32, b"sha999".ljust(32, b"\0"), ("verity-superblock", "verity-setup")),
    ("algorithm of another length", 32, b"sha512".ljust(32, b"\0"),
     ("verity-roothash", "verity-superblock")),
    ("algorithm of the same length", 32, b"sha3-256".ljust(32, b"\0"),
     ("verity-superblock", "verity-setup", "verity-corrupt")),
    ("algorithm empty", 32, bytes(32), ("verity-superblock",)),
    ("algorithm without end", 32, b"a" * 32, ("verity-superblock",)),
    ("algorithm with a space", 32, b"sha256 1 x".ljust(32, b"\0"), ("verity-superblock",)),
    ("data block 0", 64, struct.pack("<I", 0), ("verity-superblock",)),
    ("data block 1000", 64, struct.pack("<I", 1000), ("verity-superblock",)),
    ("data block 2048", 64, struct.pack("<I", 2048), ("verity-corrupt", "verity-superblock")),
    ("data block 65536", 64, struct.pack("<I", 65536), ("verity-superblock",)),
    ("hash block 0", 68, struct.pack("<I", 0), ("verity-superblock",)),
    ("hash block 1024", 68, struct.pack("<I", 1024), ("verity-corrupt", "verity-superblock")),
    ("hash block 2^31", 68, struct.pack("<I", 1 << 31), ("verity-superblock",)),
    ("no data blocks", 72, struct.pack("<Q", 0), ("verity-superblock",)),
    ("one data block less than the file system", 72, -1,
     ("verity-superblock", "verity-corrupt", "root-mount")),
    ("one data block more", 72, +1, ("verity-superblock", "verity-corrupt")),
    ("2^63 data blocks", 72, struct.pack("<Q", 1 << 63), ("verity-superblock",)),
    ("all data blocks", 72, b"\xff" * 8, ("verity-superblock",)),
    ("salt of 257 bytes", 80, struct.pack("<H", 257), ("verity-superblock",)),
    ("salt of 65535 bytes", 80, b"\xff\xff", ("verity-superblock",)),
    ("salt shorter", 80, struct.pack("<H", 4), ("verity-corrupt",)),
    ("salt none", 80, bytes(2), ("verity-corrupt",)),
    ("salt another", 88, b"\x55" * 32, ("verity-corrupt",)),
]


@pytest.mark.parametrize("name,offset,value,codes", FIELDS, ids=[row[0] for row in FIELDS])
def test_tampered_superblock(device, name, offset, value, codes):
    image = image_of(device)
    at = superblock_at(image)
    if isinstance(value, int):
        blocks = struct.unpack("<Q", image.read_partition("BF_ROOT_A", at + offset, 8))[0]
        value = struct.pack("<Q", blocks + value)
    assert image.read_partition("BF_ROOT_A", at + offset, len(value)) != value
    image.write_partition("BF_ROOT_A", at + offset, value)
    run = device.boot()
    if codes is None:
        assert_booted(run, "A")
    else:
        assert_refused(run, *codes)


def test_superblock_missing(device):
    image = image_of(device)
    image.write_partition("BF_ROOT_A", superblock_at(image), bytes(512))
    assert_refused(device.boot(), "verity-superblock")


# -- the tree and the data ----------------------------------------------------------------------------

def test_hash_tree_truncated(device):
    """The partition ends inside the tree."""
    image = image_of(device)
    image.shrink_partition("BF_ROOT_A", superblock_at(image) + 4096 + 4096)
    assert_refused(device.boot(), "verity-superblock", "verity-setup")


def test_hash_tree_zeroed(device):
    image = image_of(device)
    image.write_partition("BF_ROOT_A", superblock_at(image) + 4096, bytes(4096))
    assert_refused(device.boot(), "verity-corrupt")


def test_partition_ends_inside_the_file_system(device):
    image = image_of(device)
    image.shrink_partition("BF_ROOT_A", superblock_at(image) // 2 // 4096 * 4096)
    assert_refused(device.boot(), "verity-superblock", "root-filesystem")


def test_flipped_block_in_a_file_bf_init_reads(device):
    """Before the new init runs, a bad block is a reason a person can read."""
    commit(device, "A")
    image_of(device).ext4_flip("BF_ROOT_A", "/etc/fstab", 3)
    run = device.boot()
    assert_refused(run, "verity-corrupt")
    assert bootrecord.load(image_of(device))["last.reason"] == "verity-corrupt"


def test_flipped_block_in_the_init(device):
    commit(device, "A")
    image_of(device).ext4_flip("BF_ROOT_A", "/usr/sbin/init", 0)
    run = device.boot()
    assert run.slot is None
    # bf-init may meet it, or the kernel when it executes the file.
    assert run.ended == RESTARTED or run.reason in ("verity-corrupt", "init-missing", "handover")


def test_flipped_block_in_a_file_read_at_boot(device):
    """The new init meets it: the machine restarts, and the record knows that the boot went dark."""
    commit(device, "A")
    image_of(device).ext4_flip("BF_ROOT_A", "/etc/mini-probe", 100)
    run = device.boot()
    assert run.ended == RESTARTED
    again = device.boot()
    assert again.ended == RESTARTED
    assert bootrecord.load(image_of(device))["hard"] == "1"


def test_flipped_block_in_a_file_that_is_not_read(device):
    """It boots; whoever reads the file later restarts the machine, nobody gets the changed byte."""
    image_of(device).ext4_flip("BF_ROOT_A", "/bf-unread/data", 50000)
    assert_booted(device.boot(), "A")
    run = device.boot("mini.do=read:/bf-unread/data")
    assert run.slot == "A" and run.ended == RESTARTED
    assert "did read:/bf-unread/data" not in run.mini()


def test_flipped_byte_in_free_space_is_harmless(device):
    image = image_of(device)
    image.flip(image.ext4_free_block("BF_ROOT_A") + 10)
    assert_booted(device.boot(), "A")


def test_fec_repairs_a_flipped_block(make_device):
    device = make_device(mkimage=("--fec",))
    image = image_of(device)
    clean = image.ext4_read("BF_ROOT_A", "/bf-unread/data")
    for path in ("/etc/mini-probe", "/etc/fstab", "/bf-unread/data"):
        image.ext4_flip("BF_ROOT_A", path, 7)
    run = device.boot("mini.do=sum:/bf-unread/data")
    assert_booted(run, "A")
    assert run.mini()["sum /bf-unread/data"] == f"{zlib.crc32(clean):08x}"
    assert run.mini()["probe"] == "the mini root"
    assert run.boot_file()["verity_fec"] == "yes"
    assert "corrected" in run.console


def test_without_fec_the_same_does_not_boot(make_device):
    """The test above would pass for the wrong reason if nothing read the flipped bytes."""
    device = make_device()
    for path in ("/etc/mini-probe", "/etc/fstab"):
        image_of(device).ext4_flip("BF_ROOT_A", path, 7)
    assert_refused(device.boot(), "verity-corrupt")


# -- formats -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [
    ("--hash", "sha512"), ("--data-block", "1024", "--hash-block", "1024"),
    ("--hash-block", "512"), ("--salt", "-"), ("--salt", "ab" * 256)],
    ids=lambda o: " ".join(o)[:40])
def test_format(make_device, options):
    device = make_device(mkimage=options)
    run = device.boot("mini.do=sum:/bf-unread/data")
    assert_booted(run, "A")
    assert run.mini()["did sum:/bf-unread/data"] == "ok"
    # And it is verity that reads: one byte, and it is over.
    image_of(device).ext4_flip("BF_ROOT_A", "/etc/fstab", 3)
    assert_refused(device.boot(), "verity-corrupt")
