# SPDX-License-Identifier: MIT
"""Who may talk to RAUC: the shipped policy, loaded by dbus-daemon behind Debian's own, which lets everybody
do everything, and RAUC's own service behind both."""

from __future__ import annotations

from pathlib import Path

import pytest

from rauc_lab import Bus, Rauc, changes, recorder
from test_mkbundle import Keys

PROPERTIES = "org.freedesktop.DBus.Properties"
INSTALLER = "de.pengutronix.rauc.Installer"

# member, signature, arguments, interface
WATCH = [
    ("GetSlotStatus", "", (), INSTALLER),
    ("GetPrimary", "", (), INSTALLER),
    ("Get", "ss", (INSTALLER, "Operation"), PROPERTIES),
    ("GetAll", "s", (INSTALLER,), PROPERTIES),
    ("Introspect", "", (), "org.freedesktop.DBus.Introspectable"),
]
# They fail, there being no bundle; but it is RAUC that says so.
ASK = [
    ("InstallBundle", "sa{sv}", ("/nonexistent.raucb", "0"), INSTALLER),
    # Since RAUC 1.9 and 1.13: here they are unknown to RAUC, but allowed to reach it.
    ("InspectBundle", "sa{sv}", ("/nonexistent.raucb", "0"), INSTALLER),
    ("GetArtifactStatus", "", (), INSTALLER),
]
RULE = [
    # What InstallBundle and InspectBundle have replaced.
    ("Install", "s", ("/nonexistent.raucb",), INSTALLER),
    ("Info", "s", ("/nonexistent.raucb",), INSTALLER),
    ("Mark", "ss", ("good", "booted"), INSTALLER),
    ("Mark", "ss", ("bad", "other"), INSTALLER),
    ("Mark", "ss", ("active", "other"), INSTALLER),
    ("Set", "ssv", (INSTALLER, "Operation", "s", "idle"), PROPERTIES),
    ("NoSuchThing", "", (), INSTALLER),
    ("Poll", "", (), "de.pengutronix.rauc.Poller"),
]


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Keys.made(tmp_path_factory.mktemp("keys") / "k").keyring


@pytest.fixture(params=["root", "bf-update", "nobody"])
def lab(request: pytest.FixtureRequest, tmp_path: Path, keyring: Path):
    """(role, bus, RAUC, what its backend was asked)"""
    backend, notes = recorder(tmp_path)
    bus = Bus(tmp_path, request.param).start()
    rauc = Rauc(tmp_path, bus, backend, keyring)
    try:
        rauc.start()
        yield request.param, bus, rauc, notes
    finally:
        rauc.stop()
        bus.stop()


def test_policy(lab) -> None:
    role, bus, rauc, notes = lab
    before = rauc.slots()

    def reaches(call) -> bool:
        member, signature, arguments, interface = call
        done = bus.call(member, signature, *arguments, interface=interface)
        denied = "Access denied" in done.stderr or "AccessDenied" in done.stderr or "not allowed" in done.stderr
        assert denied or done.returncode == 0 or done.stderr, (call, done)
        return not denied

    for call in WATCH + ASK:
        assert reaches(call) == (role != "nobody"), call
    for call in WATCH if role != "nobody" else []:
        assert bus.call(call[0], call[1], *call[2], interface=call[3]).returncode == 0, call
    for call in RULE:
        assert reaches(call) == (role == "root"), call
    asked = changes(notes)
    assert asked == (["set-state A good", "set-state B bad", "set-primary B"] if role == "root" else [])
    assert rauc.slots() == before
    # The command line tools that a person or a kiosk uses.
    assert (rauc.cli("status").returncode == 0) == (role != "nobody")
    assert (rauc.cli("status", "mark-good").returncode == 0) == (role == "root")


@pytest.mark.parametrize("role", ["root", "bf-update", "nobody"])
def test_only_root_can_be_rauc(tmp_path: Path, role: str) -> None:
    bus = Bus(tmp_path, role, serve=False).start()
    try:
        done = bus.call("RequestName", "su", "de.pengutronix.rauc", "4", interface="org.freedesktop.DBus",
                        name="org.freedesktop.DBus")
    finally:
        bus.stop()
    assert (done.returncode == 0) == (role == "root"), done.stderr
