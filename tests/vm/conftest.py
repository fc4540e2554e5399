"""Fixtures of the VM tests. Options: --builddir DIR (default: build), --kernel FLAVOUR, --keep-disks, --long."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Callable, Iterator

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from artifacts import TOP, Artifacts, ImageOptions  # noqa: E402
from machine import LAB_WORDS, SMALL, Device, Disk, Hardware, Settings, tail  # noqa: E402

sys.path.append(str(TOP / "tests/kiosk"))           # server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--builddir", type=Path, default=TOP / "build",
                     help="where programs and images are built (make's O)")
    parser.addoption("--kernel", default="stock", help="flavour of the mini root's kernel, see kernel-tree")
    parser.addoption("--keep-disks", action="store_true", help="keep each test's disk image")
    parser.addoption("--long", action="store_true", help="the tests marked long, and only those")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "long: slow and rare, run by `make check-long` only")


# Minutes each: begun last, one of them would keep all others waiting for its end.
LONGEST = ("test_rauc.py", "test_real.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long = config.getoption("long")
    out = [item for item in items if (item.get_closest_marker("long") is not None) != long]
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in out]
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    setattr(item, f"report_{report.when}", report)
    log = getattr(item, "console_log", None)
    if report.when == "call" and report.failed and log is not None and log.exists():
        text = log.read_text(errors="replace").replace("\r", "")
        report.sections.append((f"console, last lines of {log}", tail(text, 60)))


@pytest.fixture(scope="session")
def artifacts(request: pytest.FixtureRequest) -> Artifacts:
    made = Artifacts(request.config.getoption("builddir"), request.config.getoption("kernel"))
    made.forget_old_runs()
    return made


@pytest.fixture
def console_log(request: pytest.FixtureRequest, artifacts: Artifacts) -> Path:
    """builddir/vm-logs/<test>.log, emptied. Its tail is shown when the test fails."""
    name = re.sub(r"[^\w.=-]+", "_", request.node.name)
    log = artifacts.builddir / "vm-logs" / f"{request.node.path.stem}.{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    request.node.console_log = log
    return log


DeviceFactory = Callable[..., Device]


@pytest.fixture
def make_device(request: pytest.FixtureRequest, artifacts: Artifacts, console_log: Path,
                tmp_path: Path) -> Iterator[DeviceFactory]:
    """Devices with a fresh copy of an image each. Arguments: those of ImageOptions by name, and kind,
    hardware, settings, sector_size, write_log, flavour (of the kernel)."""
    devices: list[Device] = []

    def make(kind: str = "virtio", hardware: Hardware = SMALL, settings: Settings = Settings(),
             sector_size: int = 512, write_log: bool = False, flavour: str = "",
             **options: object) -> Device:
        if sector_size != 512:
            options["mkimage"] = (*options.get("mkimage", ()), "--sector-size", str(sector_size))
        work = artifacts.vm / "run" / f"{tmp_path.parent.name}-{tmp_path.name}-{len(devices)}"
        kernel = artifacts.with_kernel(flavour or artifacts.flavour)
        disk = kernel.image_for(ImageOptions(**options), work / "disk.img")
        device = Device(disk=Disk(disk, kind=kind, sector_size=sector_size,
                                  write_log=work / "writes.log" if write_log else None),
                        work=work, log=console_log, hardware=hardware, settings=settings,
                        append=LAB_WORDS)
        devices.append(device)
        return device

    yield make
    for device in devices:
        device.close()
        report = getattr(request.node, "report_call", None)
        failed = report is None or report.failed
        if not failed and not request.config.getoption("keep_disks"):
            shutil.rmtree(device.work, ignore_errors=True)


@pytest.fixture
def device(make_device: DeviceFactory) -> Device:
    """The plain image, both slots the same, on a virtio disk."""
    return make_device()
