# SPDX-License-Identifier: MIT
"""Where the programs under test are: --builddir, as given to make by O=."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--builddir", type=Path, default=ROOT / "build", help="where make built everything (O=)"
    )


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Path:
    """The directory of the host's programs; test programs are in its tests/."""
    return request.config.getoption("builddir").resolve() / "host"
