"""make install and make uninstall: what they promise, and nothing left."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


def make(builddir: Path, *argv: str) -> None:
    done = subprocess.run(["make", "--no-print-directory", f"O={builddir}", "WERROR=1", *argv], cwd=TOP,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir()}


@pytest.fixture
def builddir(request: pytest.FixtureRequest) -> Path:
    return Path(request.config.getoption("builddir")).resolve()


@pytest.mark.parametrize("which", ["", "-target"])
@pytest.mark.parametrize("prefix", ["/usr", "/opt/bf"])
def test_uninstall_leaves_nothing(builddir, tmp_path, which, prefix):
    where = [f"DESTDIR={tmp_path}", f"PREFIX={prefix}"]
    make(builddir, f"install{which}", *where)
    installed = files(tmp_path)
    elsewhere = {name for name in installed if not f"/{name}".startswith(prefix + "/")}
    assert installed - elsewhere and all(name.startswith("etc/") for name in elsewhere)
    assert which or not elsewhere, "on the builder's machine all is below PREFIX"
    make(builddir, f"uninstall{which}", *where)
    assert list(tmp_path.rglob("*")) == []
    make(builddir, f"uninstall{which}", *where)


def test_other_files_stay(builddir, tmp_path):
    mine = tmp_path / "usr/bin/mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("kept")
    make(builddir, "install", f"DESTDIR={tmp_path}")
    make(builddir, "uninstall", f"DESTDIR={tmp_path}")
    assert files(tmp_path) == {"usr/bin/mine"}


def test_builder_gets_no_units(builddir, tmp_path):
    """The watchdog settings of a kiosk must not land on the machine that builds it."""
    make(builddir, "install", f"DESTDIR={tmp_path}")
    names = files(tmp_path)
    assert {f"usr/bin/bf-{name}" for name in ("mkinitramfs", "mkimage", "mkbundle", "mkkeys")} <= names
    assert "usr/share/man/man8/bf-mkimage.8" in names
    assert not [n for n in names if "systemd" in n or "udev" in n or "etc/" in n or "sbin/" in n]
    assert {n for n in names if n.endswith(("bf-init", "bf-guard"))} == \
        {"usr/libexec/betterframe/bf-init", "usr/libexec/betterframe/bf-guard"}, "for bf-mkimage only"


def test_target_is_complete(builddir, tmp_path):
    """Every file of hooks/systemd, hooks/udev and hooks/rauc goes into the device."""
    make(builddir, "install-target", f"DESTDIR={tmp_path}")
    names = {Path(n).name for n in files(tmp_path)}
    hooks = {p.name for d in ("systemd", "udev", "rauc") for p in (TOP / "hooks" / d).rglob("*") if p.is_file()}
    assert hooks | {"bf-init", "bf-boot", "bf-guard"} == names


@pytest.mark.parametrize("program", ["bf-mkinitramfs", "bf-init", "bf-guard"])
def test_help_and_version(builddir, program):
    path = builddir / "host" / program
    for option in ("--help", "--version"):
        done = subprocess.run([path, option], capture_output=True, text=True, check=True)
        assert program in done.stdout and done.stderr == ""
    done = subprocess.run([path, "--no-such-option"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
