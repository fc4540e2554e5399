"""Bundles for the real root: good ones, and every kind of bad one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import real
from artifacts import TOP, Artifacts, build, digest
from diskimage import Volume

MKBUNDLE = TOP / "hooks/image/bf-mkbundle"
MKKEYS = TOP / "hooks/image/bf-mkkeys"
COMPATIBLE = "betterframe-rpi5-aarch64"
PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"
KIOSK_FAULTS = ("silent", "hangs:8")    # switches of the stand-in kiosk


@dataclass(frozen=True)
class Bundle:
    file: Path
    roothash: str


def keys_env(keys: Path) -> dict[str, str]:
    return {"RAUC_KEY_FILE": str(keys / "signing.key.pem"), "RAUC_CERT_FILE": str(keys / "signing.cert.pem"),
            "RAUC_KEYRING_FILE": str(keys / "keyring.pem")}


def read_env(directory: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (directory / "verity.env").read_text().splitlines())


def hash_again(directory: Path, salt: str) -> str:
    """Another salt: the same files under another root hash, as another version would have."""
    env = read_env(directory)
    said = build("veritysetup", "format", directory / "root.img", directory / "root.img", f"--salt={salt}",
                 f"--hash={env['BF_VERITY_HASH']}", f"--hash-offset={env['BF_VERITY_HASH_OFFSET']}",
                 f"--data-blocks={env['BF_VERITY_DATA_BLOCKS']}", f"--uuid={env['BF_VERITY_UUID']}", env={"PATH": PATH})
    new = next(line.split()[-1] for line in said.splitlines() if line.startswith("Root hash:"))
    text = (directory / "verity.env").read_text().replace(env["BF_ROOTHASH"], new)
    (directory / "verity.env").write_text(text)
    (directory / "roothash").write_text(new + "\n")
    return new


def edit_cmdlines(directory: Path, old: str, new: str) -> None:
    for slot in "ab":
        name = f"cmdline-{slot}.txt"
        text = build("mtype", "-i", directory / "boot.img", f"::{name}")
        assert old in text
        (directory / name).write_text(text.replace(old, new))
        build("mcopy", "-o", "-i", directory / "boot.img", directory / name, f"::{name}")
        (directory / name).unlink()


def change(directory: Path, version: str, fault: str, salt: str, keyring: Path | None) -> None:
    """Makes the copied artifacts those of another version; `fault` is what is wrong with it, `keyring` whom it trusts."""
    before = read_env(directory)["BF_ROOTHASH"]
    root = Volume(directory / "root.img")
    release = root.ext4_read(0, "/usr/lib/os-release").decode()
    root.ext4_write(0, "/usr/lib/os-release", re.sub(r"(?m)^IMAGE_VERSION=.*$", f"IMAGE_VERSION={version}", release).encode())
    if keyring:
        root.ext4_write(0, "/etc/rauc/keyring.pem", keyring.read_bytes())
    if fault == "no-init":
        # bf-init knows other places to look for one.
        root.debugfs(0, "rm /usr/sbin/init", "rm /usr/lib/systemd/systemd")
    if fault in KIOSK_FAULTS:
        root.ext4_write(0, "/etc/bf-kiosk.switch", f"{fault}\n".encode())
    if fault == "hangs:8":
        # A sign of life is good for 12 s: those of before it hung must not fill the window.
        root.ext4_write(0, "/usr/lib/bf-guard.conf.d/60-window.conf", b"[trial]\nwindow=30s\n")
    roothash = hash_again(directory, salt)
    edit_cmdlines(directory, before, roothash)
    if fault == "panic":
        # The kernel never reaches bf-init.
        edit_cmdlines(directory, "panic=10", "panic=1 rdinit=/nowhere")
    if fault == "verity":
        Volume(directory / "root.img").ext4_flip(0, "/etc/fstab")


def pack(content: Path, out: Path, keys: Path, *, version: str, roothash: str, compatible: str = COMPATIBLE,
         more: str = "") -> None:
    """A bundle as bf-mkbundle makes it, but without its checks: from whatever lies in `content`. Without
    `roothash` it does not say what is in it; `more` is added to the manifest."""
    if roothash:
        (content / "betterframe.env").write_text(f"BF_ROOTHASH={roothash}\nBF_EEPROM_FLOOR=\n")
    (content / "manifest.raucm").write_text(
        f"[update]\ncompatible={compatible}\nversion={version}\n[bundle]\nformat=verity\n"
        f"[image.rootfs]\nfilename=root.img\n[image.boot]\nfilename=boot.img\n{more}")
    out.unlink(missing_ok=True)
    env = keys_env(keys)
    build("rauc", f"--cert={env['RAUC_CERT_FILE']}", f"--key={env['RAUC_KEY_FILE']}",
          "--mksquashfs-args=-comp lz4 -no-progress", "bundle", content, out)


def full(art: Artifacts, name: str, *, version: str, fault: str = "", keyring: Path | None = None) -> Bundle:
    """A bundle of a whole image; made once. With `keyring` the image trusts that one, not the one of its signature."""
    kept = real.image(art).with_suffix(".artifacts")
    key = digest(kept / "roothash", kept / "boot.img", real.keys(art) / "signing.cert.pem", MKBUNDLE, Path(__file__),
                 name, version, fault, keyring or "")
    out = art.vm / "bundles" / f"{name}-{key}.raucb"
    note = out.with_suffix(".roothash")
    with art._locked("bundles"):
        if not note.exists():
            out.parent.mkdir(exist_ok=True)
            for old in out.parent.glob(f"{name}-*"):
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            work = out.with_suffix(".d")
            shutil.rmtree(work, ignore_errors=True)
            shutil.copytree(kept, work, copy_function=lambda a, b: build("cp", "--reflink=auto", "--sparse=always", a, b))
            change(work, version, fault, digest(name) + "00", keyring)
            roothash = (work / "roothash").read_text().strip()
            if fault == "verity":
                # bf-mkbundle would find out.
                (work / "verity.env").unlink()
                (work / "roothash").unlink()
                pack(work, out, real.keys(art), version=version, roothash=roothash)
            else:
                build(MKBUNDLE, "--artifacts", work, "--output", out, "--bundle-version", version, "--quiet",
                      "--compress", "lz4", env={**keys_env(real.keys(art)), "PATH": PATH})
            shutil.rmtree(work)
            note.write_text(roothash)
    return Bundle(out, note.read_text())


def tiny(where: Path, name: str, keys: Path, *, version: str = "9.0", roothash: str = "ab" * 32,
         compatible: str = COMPATIBLE, size: int = 8192, more: str = "", program: str = "") -> Path:
    """A bundle whose images are nothing: to be refused before they are looked at, or installed and not booted."""
    content = where / f"{name}.d"
    content.mkdir(parents=True)
    for image in ("root.img", "boot.img"):
        (content / image).write_bytes(os.urandom(size))
    if program:
        (content / "program").write_text(program)
        (content / "program").chmod(0o755)
    out = where / f"{name}.raucb"
    pack(content, out, keys, version=version, roothash=roothash, compatible=compatible, more=more)
    shutil.rmtree(content)
    return out


def carrier(files: list[Path], out: Path) -> Path:
    """A second disk with files on it. Its only partition has the label of one of ours: it must not be
    taken for it."""
    content = out.with_suffix(".d")
    content.mkdir(parents=True)
    for file in files:
        shutil.copy(file, content / file.name)
    mib = (sum(f.stat().st_size for f in files) * 11 // 10 >> 20) + 16
    out.unlink(missing_ok=True)
    with open(out, "wb") as f:
        f.truncate(mib + 2 << 20)
    environment = {**os.environ, "PATH": PATH}
    subprocess.run(["sfdisk", "--quiet", str(out)], input=f"label: gpt\nstart=2048, size={mib * 2048}, name=BF_ROOT_B\n",
                   text=True, check=True, env=environment)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-E", "offset=1048576", "-d", str(content), str(out),
                    str(mib * 256)], check=True, env=environment, capture_output=True)
    shutil.rmtree(content)
    return out
