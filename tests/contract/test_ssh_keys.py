"""The ssh host keys that bf-ssh-keys keeps on BF_DATA and puts into a volatile /etc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
KEYS = tuple(f"ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519"))
KEY = KEYS[2]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    boot(tmp_path)
    return tmp_path


def boot(root: Path) -> None:
    """As after bf-init: /etc has what the image has, which is no key."""
    shutil.rmtree(root / "etc", ignore_errors=True)
    for directory in ("etc/ssh", "run/bf", "data"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    (root / "run/bf/boot").write_text(f'BF_DATA_DIR="{root}/data"\n')


def run(root: Path) -> dict[str, bytes]:
    """Runs it; the keys that sshd finds."""
    subprocess.run([TOP / "hooks/systemd/bf-ssh-keys"], check=True, capture_output=True, timeout=60,
                   env={**os.environ, "BF_TEST_ROOT": str(root)})
    for key in KEYS:
        path = root / "etc/ssh" / key
        assert path.stat().st_mode & 0o7777 == 0o600
        public = subprocess.run(["ssh-keygen", "-y", "-f", path], check=True, capture_output=True).stdout
        assert path.with_suffix(".pub").read_bytes().split()[:2] == public.split()[:2]
    return {key: (root / "etc/ssh" / key).read_bytes() for key in KEYS}


def kept(root: Path) -> Path:
    return root / "data/ssh/etc/ssh"


def test_made_once(root: Path) -> None:
    first = run(root)
    assert (root / "data/ssh").stat().st_mode & 0o7777 == 0o700
    boot(root)
    assert run(root) == first


def test_keys_of_the_image_are_not_the_devices(root: Path) -> None:
    """An image is on many devices."""
    baked = run(root)
    shutil.rmtree(root / "data/ssh")
    made = run(root)
    assert all(made[key] != baked[key] for key in KEYS)


@pytest.fixture(scope="module")
def data_with_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making keys takes a second; this is done once."""
    root = tmp_path_factory.mktemp("keys")
    boot(root)
    run(root)
    return root / "data"


@pytest.mark.parametrize("trap", ["nothing", "empty", "garbage", "cut", "link", "dangling", "directory", "pipe"])
def test_what_is_no_key_is_made_anew(root: Path, data_with_keys: Path, trap: str) -> None:
    """After a power cut, or left there by somebody. The other keys stay."""
    shutil.copytree(data_with_keys, root / "data", dirs_exist_ok=True)
    first = run(root)
    boot(root)
    path = kept(root) / KEY
    whole = path.read_bytes()
    path.unlink()
    if trap == "empty":
        path.write_bytes(b"")
    elif trap == "garbage":
        path.write_bytes(os.urandom(400))
    elif trap == "cut":
        path.write_bytes(whole[:len(whole) // 2])
    elif trap == "link":
        path.symlink_to(root / "data/ssh/etc/ssh" / KEYS[0])
    elif trap == "dangling":
        path.symlink_to("/nowhere")
    elif trap == "directory":
        (path / "x").mkdir(parents=True)
    elif trap == "pipe":
        os.mkfifo(path)
    now = run(root)
    assert now[KEY] != first[KEY] and now[KEYS[0]] == first[KEYS[0]]
    boot(root)
    assert run(root) == now


@pytest.mark.parametrize("place", ["ssh", "ssh/etc", "ssh/etc/ssh"])
def test_a_link_leads_nowhere(root: Path, place: str) -> None:
    """Nothing is written where it points; sshd has keys of this boot."""
    victim = root / "victim"
    victim.mkdir()
    (root / "data" / place).parent.mkdir(parents=True, exist_ok=True)
    (root / "data" / place).symlink_to(victim)
    run(root)
    assert list(victim.rglob("*")) == []


def test_without_data(root: Path) -> None:
    (root / "run/bf/boot").write_text('BF_DATA_DIR=""\n')
    first = run(root)
    shutil.rmtree(root / "etc/ssh")
    (root / "etc/ssh").mkdir()
    assert run(root) != first


def test_data_that_takes_no_directory(root: Path) -> None:
    shutil.rmtree(root / "data")
    (root / "data").write_text("a file")
    run(root)
