# SPDX-License-Identifier: MIT
"""bf-mkbundle and bf-mkkeys as an image builder uses them; RAUC, as on a device, says whether a
bundle is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from test_mkimage import PATH, Bench, settle, systemd_tree, write

TOP = Path(__file__).resolve().parents[2]
MKBUNDLE = TOP / "hooks/image/bf-mkbundle"
MKKEYS = TOP / "hooks/image/bf-mkkeys"
MARK = "development only"
NO_KEYS = {"RAUC_KEY_FILE": "", "RAUC_CERT_FILE": "", "RAUC_KEYRING_FILE": ""}


def run(*argv: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": PATH, **NO_KEYS, **env})


def done(*argv: object, **env: str) -> str:
    result = run(*argv, **env)
    assert result.returncode == 0, f"{argv}\n{result.stdout}{result.stderr}"
    return result.stdout + result.stderr


def failed(code: int, *argv: object, **env: str) -> str:
    """The sentence of a program that ends with this code."""
    result = run(*argv, **env)
    assert result.returncode == code, f"{argv}\n{result.stdout}{result.stderr}"
    assert result.stdout == "" and result.stderr
    return result.stderr


@dataclass
class Keys:
    """A directory of bf-mkkeys."""

    dir: Path

    @classmethod
    def made(cls, where: Path, *options: str) -> "Keys":
        done(MKKEYS, "--quiet", *options, where)
        return cls(where)

    @property
    def keyring(self) -> Path:
        return self.dir / "keyring.pem"

    @property
    def env(self) -> dict[str, str]:
        return {"RAUC_KEY_FILE": str(self.dir / "signing.key.pem"), "RAUC_KEYRING_FILE": str(self.keyring),
                "RAUC_CERT_FILE": str(self.dir / "signing.cert.pem")}

    def old(self) -> dict[str, str]:
        """The same for what the last change replaced."""
        def newest(name: str) -> str:
            return str(sorted((self.dir / "old").glob(f"*.{name}"))[-1])
        return {"RAUC_KEY_FILE": newest("signing.key.pem"), "RAUC_CERT_FILE": newest("signing.cert.pem"),
                "RAUC_KEYRING_FILE": newest("keyring.pem")}


@dataclass
class Lab:
    """Artifacts of one small image; bundles made from them."""

    dir: Path
    artifacts: Path
    count: int = field(default=0)

    def bundle(self, *options: object, artifacts: Path | None = None, **env: str) -> Path:
        self.count += 1
        out = self.dir / f"bundle-{self.count}.raucb"
        done(*self.argv(out, *options, artifacts=artifacts), **env)
        return out

    def argv(self, out: Path, *options: object, artifacts: Path | None = None) -> list[object]:
        return [MKBUNDLE, "--artifacts", artifacts or self.artifacts, "--output", out, *options]

    def copy(self, where: Path) -> Path:
        return Path(shutil.copytree(self.artifacts, where))


@pytest.fixture(scope="module")
def made_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("artifacts")
    Bench(where).image(systemd_tree(where / "root"), "--artifacts", where / "kept")
    return where / "kept"


@pytest.fixture(scope="module")
def module_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.made(tmp_path_factory.mktemp("keys") / "real", "--name", "Test")


@pytest.fixture
def lab(tmp_path: Path, made_artifacts: Path) -> Lab:
    return Lab(tmp_path, made_artifacts)


@pytest.fixture
def keys(tmp_path: Path, module_keys: Keys) -> Keys:
    """Real keys; changed only in this test's own copy."""
    return Keys(Path(shutil.copytree(module_keys.dir, tmp_path / "keys")))


def conf(keyring: Path) -> Path:
    """What RAUC on a device checks a bundle with: the shipped settings, another keyring."""
    shipped = (TOP / "hooks/rauc/system.conf").read_text()
    path = keyring.with_suffix(".conf")
    path.write_text(shipped.replace("path=/etc/rauc/keyring.pem", f"path={keyring}"))
    assert str(keyring) in path.read_text()
    return path


def info(bundle: Path, keyring: Path) -> subprocess.CompletedProcess[str]:
    return run("rauc", "--conf", conf(keyring), "info", "--output-format=json", bundle)


def trusted(bundle: Path, keyring: Path) -> bool:
    result = info(bundle, keyring)
    assert result.returncode == 0 or "signature" in result.stderr or "verif" in result.stderr.lower(), result.stderr
    return result.returncode == 0


# ---- the bundle ----


def test_same_bits_as_the_image(lab: Lab, keys: Keys) -> None:
    bundle = lab.bundle("--description", "two words", "--build", "20260101", **keys.env)
    said = json.loads(info(bundle, keys.keyring).stdout)
    assert (said["compatible"], said["version"]) == ("betterframe-rpi5-aarch64", "1.2.3")
    assert (said["description"], said["build"], said["hooks"]) == ("two words", "20260101", [])
    # A half-written boot partition is the worse one: it is written last.
    assert [next(iter(image)) for image in said["images"]] == ["rootfs", "boot"]
    content = lab.dir / "content"
    done("rauc", "--conf", conf(keys.keyring), "extract", bundle, content)
    for name in ("root.img", "boot.img"):
        assert (content / name).read_bytes() == (lab.artifacts / name).read_bytes()
    assert sorted(p.name for p in content.iterdir()) == ["betterframe.env", "boot.img", "manifest.raucm", "root.img"]
    env = dict(line.split("=") for line in (content / "betterframe.env").read_text().splitlines())
    assert env == {"BF_ROOTHASH": (lab.artifacts / "roothash").read_text().strip(), "BF_EEPROM_FLOOR": "1741564800"}
    assert sorted(os.listdir(lab.dir)) == ["bundle-1.raucb", "content", "keys"], "only the bundle is left"


def test_format_is_verity(lab: Lab, keys: Keys) -> None:
    """The shipped system.conf refuses plain bundles; this one passes."""
    assert "bundle-formats=-plain" in conf(keys.keyring).read_text()
    text = done("rauc", "--conf", conf(keys.keyring), "info", lab.bundle(**keys.env))
    assert "Bundle Format: \tverity" in text, text


def test_options(lab: Lab, keys: Keys) -> None:
    bundle = lab.bundle("--bundle-version=2.0~rc1", "--compatible", "other-board", "--eeprom-floor", "none",
                        "--compress", "zstd", **keys.env)
    said = json.loads(info(bundle, keys.keyring).stdout)
    assert (said["compatible"], said["version"]) == ("other-board", "2.0~rc1")
    assert b"hsqs" == bundle.read_bytes()[:4] and bundle.read_bytes()[20] == 6, "squashfs with zstd"
    content = lab.dir / "content"
    done("rauc", "--conf", conf(keys.keyring), "extract", bundle, content)
    assert "BF_EEPROM_FLOOR=\n" in (content / "betterframe.env").read_text()


USAGE = [
    (["--output", "x"], "--artifacts is missing"),
    (["--artifacts", "x"], "--output is missing"),
    (["--artifacts", "x", "--output", "y", "--no-such"], "unknown option"),
    (["--artifacts", "x", "--output", "y", "--build"], "needs a value"),
    (["--artifacts", "x", "--output", "y", "--quiet=1"], "takes no value"),
    (["--artifacts", "x", "--output", "y", "stray"], "unexpected argument"),
    (["--artifacts", "x", "--output", "y", "--bundle-version", "1 2"], "letters, digits"),
    (["--artifacts", "x", "--output", "y", "--description", "1\n2"], "one line"),
    (["--artifacts", "x", "--output", "y", "--compatible", ""], "must not be empty"),
    (["--artifacts", "x", "--output", "y", "--eeprom-floor", "2025-3-1"], "is not a day"),
    (["--artifacts", "x", "--output", "y", "--eeprom-floor", "2025-02-30"], "is not a day"),
    (["--artifacts", "x", "--output", "y", "--compress", "lzma"], "is not one of"),
]


@pytest.mark.parametrize("argv, says", USAGE)
def test_usage(argv: list[str], says: str) -> None:
    assert says in failed(2, MKBUNDLE, *argv)


def test_help_and_version() -> None:
    for program in (MKBUNDLE, MKKEYS):
        for option in ("--help", "--version"):
            assert program.name in done(program, option)


def test_version_is_needed(lab: Lab, keys: Keys) -> None:
    bare = lab.copy(lab.dir / "bare")
    text = (bare / "verity.env").read_text()
    write(bare / "verity.env", text.replace("BF_IMAGE_VERSION=1.2.3", "BF_IMAGE_VERSION="))
    assert "--bundle-version" in failed(1, *lab.argv(lab.dir / "x", artifacts=bare), **keys.env)
    lab.bundle("--bundle-version", "5", artifacts=bare, **keys.env)


def flip(path: Path, at: int) -> None:
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0xFF]))


@pytest.mark.parametrize("fault, says", [
    ("no-root", "has no root.img"),
    ("short-root", "another size"),
    ("flipped-root", "checking root.img failed"),
    ("foreign-boot", "does not start this root image"),
    ("foreign-hash", "not of one image"),
    ("foreign-env", "not a line of bf-mkimage"),
])
def test_artifacts_that_do_not_belong_together(lab: Lab, keys: Keys, fault: str, says: str) -> None:
    """Else only a device would find out, in a trial. The bundle of before stays."""
    broken = lab.copy(lab.dir / "broken")
    roothash = (broken / "roothash").read_text().strip()
    if fault == "no-root":
        (broken / "root.img").unlink()
    elif fault == "short-root":
        os.truncate(broken / "root.img", (broken / "root.img").stat().st_size - 4096)
    elif fault == "flipped-root":
        flip(broken / "root.img", 300_000)
    elif fault == "foreign-boot":
        line = broken / "cmdline-b.txt"
        write(line, f"rauc.slot=B roothash={'0' * 64}\n")
        done("mcopy", "-o", "-i", broken / "boot.img", line, "::cmdline-b.txt")
    elif fault == "foreign-hash":
        write(broken / "roothash", roothash[::-1] + "\n")
    else:
        write(broken / "verity.env", "rm -rf /\n")
    out = write(lab.dir / "out/old.raucb", "old")
    assert says in failed(1, *lab.argv(out, artifacts=broken), **keys.env)
    assert out.read_text() == "old" and os.listdir(out.parent) == ["old.raucb"]


# ---- who is trusted ----


def test_development_keys(lab: Lab) -> None:
    """Made once, marked, warned about."""
    home = lab.dir / "home"
    for n in range(2):
        result = run(*lab.argv(lab.dir / f"{n}.raucb"), HOME=str(home), XDG_CACHE_HOME="")
        assert result.returncode == 0 and "warning: signed with the development key" in result.stderr
    directory = home / ".cache/betterframe/development-keys"
    assert not (directory / "old").exists(), "the second run made new keys"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in directory.glob("*.key.pem"))
    for name in ("ca", "signing"):
        assert MARK in done("openssl", "x509", "-in", directory / f"{name}.cert.pem", "-noout", "-subject")
    assert trusted(lab.dir / "1.raucb", directory / "keyring.pem")


def test_production(lab: Lab, keys: Keys) -> None:
    out = lab.dir / "out.raucb"
    argv = lab.argv(out, "--production", "--quiet")
    toys = Keys.made(lab.dir / "toys", "--development")
    assert "needs real keys" in failed(1, *argv)
    assert MARK in failed(1, *argv, **toys.env)
    both = lab.dir / "both.pem"
    both.write_text(keys.keyring.read_text() + toys.keyring.read_text())
    assert MARK in failed(1, *argv, **{**keys.env, "RAUC_KEYRING_FILE": str(both)})
    assert not out.exists()
    assert done(*argv, **keys.env) == ""
    assert trusted(out, keys.keyring)


def test_production_image(tmp_path: Path, keys: Keys) -> None:
    """bf-mkimage --production looks at the keyring that the root brings."""
    bench, tree = Bench(tmp_path), systemd_tree(tmp_path / "root")

    def image() -> subprocess.CompletedProcess[str]:
        settle(tree)
        return bench.try_image(tree, "--production")

    assert "no keyring" in image().stderr
    write(tree / "etc/rauc/system.conf", (TOP / "hooks/rauc/system.conf").read_text())
    assert "no certificate" in image().stderr
    toys = Keys.made(tmp_path / "toys", "--development")
    write(tree / "etc/rauc/keyring.pem", toys.keyring.read_text())
    assert MARK in image().stderr and not list(bench.out.iterdir())
    write(tree / "etc/rauc/keyring.pem", keys.keyring.read_text())
    result = image()
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("missing", ["RAUC_KEY_FILE", "RAUC_CERT_FILE", "RAUC_KEYRING_FILE"])
def test_half_a_set_of_keys(lab: Lab, keys: Keys, missing: str) -> None:
    out = lab.dir / "x.raucb"
    assert f"{missing} is not set" in failed(1, *lab.argv(out), **{**keys.env, missing: ""})
    assert f"{missing}: cannot read" in failed(1, *lab.argv(out), **{**keys.env, missing: "/nonexistent"})


def test_keys_of_another_set(lab: Lab, keys: Keys) -> None:
    """What devices would refuse is refused here."""
    other = Keys.made(lab.dir / "other")
    out = lab.dir / "x.raucb"
    failed(1, *lab.argv(out), **{**keys.env, "RAUC_KEYRING_FILE": str(other.keyring)})
    failed(1, *lab.argv(out), **{**keys.env, "RAUC_KEY_FILE": other.env["RAUC_KEY_FILE"]})
    assert not out.exists()


def issue(keys: Keys, *, days: str = "30", start: str = "", end: str = "", usage: str = "codeSigning") -> dict[str, str]:
    """A signing certificate that bf-mkkeys would not make."""
    key, csr, cert = (keys.dir / f"odd.{kind}" for kind in ("key", "csr", "pem"))
    done("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", csr, "-subj", "/O=Test/CN=odd")
    write(keys.dir / "index.txt")
    when = ["-startdate", start, "-enddate", end] if start else ["-days", days]
    write(keys.dir / "ca.conf", f"""[ca]
default_ca = d
[d]
database = {keys.dir}/index.txt
new_certs_dir = {keys.dir}
rand_serial = yes
default_md = sha256
policy = p
[p]
organizationName = optional
commonName = supplied
[e]
basicConstraints = critical,CA:FALSE
{f'extendedKeyUsage = critical,{usage}' if usage else ''}
""")
    done("openssl", "ca", "-batch", "-notext", "-config", keys.dir / "ca.conf", "-extensions", "e", "-in", csr,
         "-cert", keys.dir / "ca.cert.pem", "-keyfile", keys.dir / "ca.key.pem", "-out", cert, *when)
    return {**keys.env, "RAUC_KEY_FILE": str(key), "RAUC_CERT_FILE": str(cert)}


def sign_anyway(lab: Lab, env: dict[str, str], out: Path) -> Path:
    """As bf-mkbundle, with RAUC alone, which signs with anything when it has no keyring."""
    good = lab.dir / "content-of-good"
    if not good.exists():
        helper = Keys.made(lab.dir / "helper")
        done("rauc", "--conf", conf(helper.keyring), "extract", lab.bundle(**helper.env), good)
    again = Path(shutil.copytree(good, out.with_suffix(".d")))
    done("rauc", f"--cert={env['RAUC_CERT_FILE']}", f"--key={env['RAUC_KEY_FILE']}", "bundle", again, out)
    return out


def test_expired_certificate(lab: Lab, keys: Keys) -> None:
    expired = issue(keys, start="20200101000000Z", end="20210101000000Z")
    assert "expired" in failed(1, *lab.argv(lab.dir / "x.raucb"), **expired)
    assert "expired" in info(sign_anyway(lab, expired, lab.dir / "expired.raucb"), keys.keyring).stderr


@pytest.mark.parametrize("usage, good", [("codeSigning", True), ("emailProtection", False), ("serverAuth", False), ("", False)])
def test_certificate_for_something_else(lab: Lab, keys: Keys, usage: str, good: bool) -> None:
    """A CA that issues other certificates too does not make them keys to the device."""
    other = issue(keys, usage=usage)
    assert (run(*lab.argv(lab.dir / "x.raucb"), **other).returncode == 0) == good
    assert trusted(sign_anyway(lab, other, lab.dir / "y.raucb"), keys.keyring) == good


def test_damaged_bundles(lab: Lab, keys: Keys) -> None:
    """None of them passes; RAUC says so before anything is installed."""
    good = lab.bundle(**keys.env)
    size = good.stat().st_size
    assert trusted(good, keys.keyring)

    def copy(name: str) -> Path:
        return Path(shutil.copy(good, lab.dir / name))

    cut = copy("cut")
    os.truncate(cut, size - 2000)
    half = copy("half")
    os.truncate(half, size // 2)
    signature = copy("signature")
    flip(signature, size - 400)
    unsigned = lab.dir / "unsigned"
    done("mksquashfs", lab.artifacts, unsigned, "-quiet", "-no-progress")
    stranger = sign_anyway(lab, Keys.made(lab.dir / "stranger").env, lab.dir / "stranger.raucb")
    empty = write(lab.dir / "empty")
    for bad in (cut, half, signature, unsigned, stranger, empty):
        assert info(bad, keys.keyring).returncode != 0, bad.name


# ---- another key, another CA ----


def test_renewed_certificate(lab: Lab, keys: Keys) -> None:
    """Devices need not know."""
    first = lab.bundle(**keys.env)
    before = keys.keyring.read_bytes()
    done(MKKEYS, "--renew", keys.dir)
    assert keys.keyring.read_bytes() == before
    second = lab.bundle(**keys.env)
    assert keys.env["RAUC_CERT_FILE"] and Path(keys.env["RAUC_CERT_FILE"]).read_bytes() != Path(
        str(next((keys.dir / "old").glob("*.signing.cert.pem")))).read_bytes()
    assert trusted(first, keys.keyring) and trusted(second, keys.keyring)


def test_rotation_of_the_ca(lab: Lab, keys: Keys) -> None:
    """The update that brings the new keyring is signed with the old key, the next with the new."""
    old_keyring = Path(shutil.copy(keys.keyring, lab.dir / "device-old.pem"))
    done(MKKEYS, "--new-ca", keys.dir)
    new_keyring = Path(shutil.copy(keys.keyring, lab.dir / "device-new.pem"))
    bridge = lab.bundle("--bundle-version", "2", **keys.old())
    after = lab.bundle("--bundle-version", "3", **keys.env)
    assert trusted(bridge, old_keyring) and trusted(bridge, new_keyring), "it can be installed, and again"
    assert not trusted(after, old_keyring) and trusted(after, new_keyring)
    done(MKKEYS, "--drop-old-ca", keys.dir)
    assert not trusted(bridge, keys.keyring) and trusted(after, keys.keyring)


def test_ca_that_must_not_be_trusted_a_day_longer(lab: Lab, keys: Keys) -> None:
    """As bf-mkkeys(8) has it: of the two old keyrings it is the devices' that the bridge is checked against."""
    device = Path(shutil.copy(keys.keyring, lab.dir / "device.pem"))
    done(MKKEYS, "--new-ca", keys.dir)
    done(MKKEYS, "--drop-old-ca", keys.dir)
    [ca] = (keys.dir / "old").glob("*.ca.key.pem")
    stamp = ca.name.split(".")[0]
    names = ("signing.key.pem", "signing.cert.pem", "keyring.pem")
    assert len(list((keys.dir / "old").glob("*.keyring.pem"))) == 2
    old = dict(zip(("RAUC_KEY_FILE", "RAUC_CERT_FILE", "RAUC_KEYRING_FILE"),
                   (str(keys.dir / "old" / f"{stamp}.{name}") for name in names)))
    assert Path(old["RAUC_KEYRING_FILE"]).read_bytes() == device.read_bytes()
    bridge = lab.bundle("--bundle-version", "2", **old)
    assert trusted(bridge, device) and not trusted(bridge, keys.keyring)
    refused = {**old, "RAUC_KEYRING_FILE": str(keys.keyring)}
    assert run(*lab.argv(lab.dir / "x.raucb"), **refused).returncode == 1


def test_mkkeys_never_overwrites(keys: Keys, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in keys.dir.glob("*.pem")}
    assert "not empty" in failed(1, MKKEYS, keys.dir)
    assert MARK in failed(1, MKKEYS, "--development", keys.dir), "real keys are not toys"
    assert {p.name: p.read_bytes() for p in keys.dir.glob("*.pem")} == before
    assert "no CA" in failed(1, MKKEYS, "--renew", tmp_path / "none")
    done(MKKEYS, "--new-ca", keys.dir)
    assert {p.name.split(".", 1)[1]: p.read_bytes() for p in (keys.dir / "old").iterdir()} == before


def test_development_keys_are_renewed_in_time(lab: Lab) -> None:
    toys = Keys.made(lab.dir / "toys", "--development", "--days", "20")
    first = lab.bundle(**toys.env)
    done(MKKEYS, "--development", toys.dir)
    assert [p.name.split(".", 1)[1] for p in sorted((toys.dir / "old").iterdir())] == [
        "signing.cert.pem", "signing.key.pem"]
    assert trusted(first, toys.keyring) and trusted(lab.bundle(**toys.env), toys.keyring)


@pytest.mark.parametrize("argv, says", [
    ([], "which directory"),
    (["--days", "0", "x"], "number of days"),
    (["--ca-days=ten", "x"], "number of days"),
    (["--name", "a/b", "x"], "letters"),
    (["--name", "The Development Only Co", "x"], "is for --development"),
    (["--renew", "--new-ca", "x"], "exclude each other"),
    (["--frobnicate", "x"], "unknown option"),
    (["x", "y"], "unexpected argument"),
])
def test_mkkeys_usage(argv: list[str], says: str) -> None:
    assert says in failed(2, MKKEYS, *argv)

