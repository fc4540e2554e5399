from pathlib import Path
from artifacts import Artifacts
def disk_eval(art: Artifacts) -> Path:
    """bf-init's decision as a program of this machine."""
    art._make(f"{art.builddir}/host/tests/disk-eval", ARCH="host")
    return art.builddir / "host/tests/disk-eval"
