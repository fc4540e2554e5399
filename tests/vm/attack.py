"""What somebody who once got hold of a device could leave on BF_DATA to be root in it again.

Every file leaves a mark in /run/bf-attack when it is run by root, or shows itself to a probe.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from artifacts import HERE, Artifacts, build
from diskimage import DiskImage

MARKS = "/run/bf-attack"
# (directory on BF_DATA, directories of the system that are below it): where a persistent and where a slot's
# overlay keeps what is written, and where somebody would bind them from.
PLACES = {"overlay": "overlay/{}/upper", "slot-a": "slots/A/{}/upper", "slot-b": "slots/B/{}/upper", "bind": "{}"}
# What a shell in the guest is asked, whether it took effect. All else leaves a mark by itself.
PROBES = {
    "authorized_keys": "ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
                       "-i /run/attack-key-{place} root@127.0.0.1 true",
    "sudoers.d": "runuser -u bfkiosk -- sudo -n /etc/attack-sudo-{place}",
    "modprobe.d": "modprobe bfattack-{place}",
    "passwd": "getent passwd attack-{place}",
    "sysctl.d": "sysctl -n kernel.core_pattern | grep -q attack-{place}",
    "extension": "test -e /usr/lib/attack-{place}",
    "portable": "portablectl list --no-legend | grep -q attack-{place}",
    "machine": "machinectl list-images --no-legend | grep -q attack-{place}",
    # Last: where it is laid over /etc, that is read-only.
    "confext": "{{ systemctl start systemd-confext.service; test -e /etc/attack-confext-{place}; }}",
}


@dataclass
class Node:
    content: bytes = b""
    mode: int = 0o100644
    device: str = ""            # "c 1 8"
    link: str = ""


@dataclass
class Loot:
    """Files by their path on BF_DATA, and the mark (or probe) of each that has one."""

    files: dict[str, Node] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, content: str | bytes = b"", mode: int = 0o644, mark: str = "", **more: str) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.files[path] = Node(data, 0o100000 | mode, **more)
        if mark:
            self.marks[path] = mark


def run(mark: str) -> str:
    """A command that leaves a mark."""
    return f"mkdir -p {MARKS}; : >{MARKS}/{mark}"


def unit(mark: str) -> str:
    return (f"[Unit]\nDescription=attack\nDefaultDependencies=no\n[Service]\nType=oneshot\n"
            f"ExecStart=/bin/sh -c '{run(mark)}'\n[Install]\nWantedBy=multi-user.target\n")


def at_job(mark: str) -> str:
    return f"#!/bin/sh\n# atrun uid=0 gid=0\n# mail root 0\numask 22\ncd /\n{run(mark)}\n"


AT_JOB = "a0000101000000"       # of queue a, number 1; its minute has come in 2001


def compiled(art: Artifacts, *options: str) -> bytes:
    with tempfile.NamedTemporaryFile() as out:
        build("aarch64-linux-gnu-gcc", f"--sysroot={art.sysroot}", "-O2", "-s", "-Wall", "-Wextra", *options,
              "-o", out.name, HERE / "attack.c")
        return Path(out.name).read_bytes()


def system_files(loot: Loot, place: str, library: bytes, passwd: str, key: str) -> None:
    """Whatever root executes or is configured by, as PLACES[place] holds it."""
    def add(path: str, content: str | bytes = b"", mode: int = 0o644, mark: str = "", **more: str) -> None:
        top, _, rest = path.partition("/")
        loot.add(f"{PLACES[place].format(top)}/{rest}", content, mode, f"{place}.{mark}" if mark else "", **more)

    def script(mark: str) -> str:
        return f"#!/bin/sh\n{run(f'{place}.{mark}')}\n"

    every_minute = "* * * * *"
    add("etc/crontab", f"{every_minute} root {run(f'{place}.crontab')}\n", mark="crontab")
    add("etc/cron.d/attack", f"{every_minute} root {run(f'{place}.cron.d')}\n", mark="cron.d")
    add("var/spool/cron/crontabs/root", f"{every_minute} {run(f'{place}.crontabs')}\n", 0o600, "crontabs")
    add(f"var/spool/cron/atjobs/{AT_JOB}", at_job(f"{place}.at"), 0o700, "at")
    add("etc/systemd/system/attack.service", unit(f"{place}.unit"), mark="unit")
    add("etc/systemd/system/multi-user.target.wants/attack.service", link="../attack.service")
    add("etc/systemd/system/cron.service.d/attack.conf",
        f"[Service]\nExecStartPre=/bin/sh -c '{run(f'{place}.drop-in')}'\n", mark="drop-in")
    add("etc/systemd/system-generators/attack", script("generator"), 0o755, "generator")
    add("etc/init.d/attack-init", f"#!/bin/sh\n### BEGIN INIT INFO\n# Provides: attack-init\n# Default-Start: 2 3 4 5\n"
        f"### END INIT INFO\n{run(f'{place}.init.d')}\n", 0o755, "init.d")
    add("etc/rc3.d/S01attack-init", link="../init.d/attack-init")
    add("etc/udev/rules.d/99-attack.rules",
        f"KERNEL==\"null\", RUN+=\"/bin/sh -c '{run(f'{place}.udev')}'\"\n", mark="udev")
    add("etc/profile.d/attack.sh", f"{run(f'{place}.profile.d')}\n", mark="profile.d")
    add("etc/ld.so.preload", f"/etc/attack-{place}.so\n", mark="ld.so.preload")
    add(f"etc/attack-{place}.so", library, 0o755)
    add("etc/tmpfiles.d/attack.conf", f"d {MARKS} 0755\nf {MARKS}/{place}.tmpfiles.d 0644\n", mark="tmpfiles.d")
    add("etc/sudoers.d/attack", f"bfkiosk ALL=(root) NOPASSWD: /etc/attack-sudo-{place}\n", 0o440, "sudoers.d")
    add(f"etc/attack-sudo-{place}", script("sudo"), 0o755)
    add("etc/pam.d/common-session", f"session optional pam_exec.so seteuid /etc/attack-pam-{place}\n"
        "session required pam_unix.so\n", mark="pam.d")
    add(f"etc/attack-pam-{place}", script("pam.d"), 0o755)
    add("etc/modprobe.d/attack.conf", f"install bfattack-{place} /bin/sh -c '{run(f'{place}.modprobe')}'\n",
        mark="modprobe.d")
    add("etc/sysctl.d/99-attack.conf", f"kernel.core_pattern=|/bin/attack-{place}\n", mark="sysctl.d")
    add("etc/NetworkManager/dispatcher.d/99-attack", script("dispatcher.d"), 0o755, "dispatcher.d")
    add("etc/passwd", passwd + f"attack-{place}:x:0:0::/:/bin/sh\n", mark="passwd")
    add("root/.profile", f"{run(f'{place}.root-profile')}\n", mark="root-profile")
    add("root/.ssh/authorized_keys", key, 0o600, "authorized_keys")
    extension = f"var/lib/extensions/attack-{place}/usr/lib"
    add(f"{extension}/extension-release.d/extension-release.attack-{place}", "ID=_any\n")
    add(f"{extension}/attack-{place}", "x", mark="extension")
    extension = f"var/lib/confexts/attack-{place}/etc"
    add(f"{extension}/extension-release.d/extension-release.attack-{place}", "ID=_any\n")
    add(f"{extension}/attack-confext-{place}", "x", mark="confext")
    add(f"var/lib/portables/attack-{place}/usr/lib/os-release", "ID=attack\n", mark="portable")
    add(f"var/lib/portables/attack-{place}/etc/machine-id")
    add(f"var/lib/portables/attack-{place}/usr/lib/systemd/system/attack-{place}.service", unit(f"{place}.portabled"))
    add(f"var/lib/machines/attack-{place}/usr/lib/os-release", "ID=attack\n", mark="machine")


def files_among_data(loot: Loot, directory: str, suid: bytes) -> None:
    """What root might take for its own, in a directory that the kiosk's plan keeps."""
    name = directory.replace("/", "-")

    def add(path: str, content: str | bytes, mode: int = 0o644) -> None:
        mark = f"{name}.{path}"
        loot.add(f"{directory}/{path}", content if isinstance(content, bytes) else content.replace("@", run(mark)),
                 mode, mark)

    add("root", "* * * * * @\n", 0o600)
    add("crontab", "* * * * * root @\n")
    add(AT_JOB, "#!/bin/sh\n# atrun uid=0 gid=0\n# mail root 0\n@\n", 0o700)
    add("attack.service", unit(f"{name}.attack.service"))
    add("attack.conf", f"f {MARKS}/{name}.attack.conf 0644\n")
    add("99-attack.rules", "KERNEL==\"null\", RUN+=\"/bin/sh -c '@'\"\n")
    add("99-attack", "#!/bin/sh\n@\n", 0o755)
    add(".profile", "@\n")
    add(".bashrc", "@\n")
    add("attack.sh", "@\n", 0o755)
    add("attack.nmconnection", "[connection]\nid=attack\ntype=dummy\ninterface-name=attack0\n"
        "[ipv4]\nmethod=manual\naddress1=192.0.2.1/24\n", 0o600)
    add("attack-suid", suid, 0o4755)
    loot.add(f"{directory}/attack-null", device="c 1 3")
    loot.add(f"{directory}/attack-disk", device="b 254 0")


def loot(art: Artifacts, passwd: str, directories: list[str], keys: dict[str, str]) -> Loot:
    """All of it; @directories are those of BF_DATA that the kiosk's plan keeps, @keys are by place."""
    everything = Loot()
    for place in PLACES:
        library = compiled(art, "-shared", "-fPIC", f'-DMARK="{place}.ld.so.preload"')
        system_files(everything, place, library, passwd, keys[place])
    suid = compiled(art, "-static")
    for directory in directories:
        files_among_data(everything, directory, suid)
    return everything


def host_keys() -> dict[str, Node]:
    """What bf-ssh-keys would have made in an earlier boot: an emulated guest takes minutes for it."""
    with tempfile.TemporaryDirectory() as d:
        Path(d, "etc/ssh").mkdir(parents=True)
        subprocess.run(["ssh-keygen", "-A", "-f", d], check=True, capture_output=True)
        return {f"ssh/{path.relative_to(d)}": Node(path.read_bytes(), 0o100600) for path in Path(d).rglob("*_key")}


def plant(disk: DiskImage, everything: Loot, roothash: str, keys: dict[str, Node]) -> None:
    """Onto BF_DATA, beside its own host keys. The slots' uppers are marked as this image's own, so that they
    are not put aside."""
    files = everything.files | keys
    made: set[str] = set()
    for slot in "AB":
        files[f"slots/{slot}/.image"] = Node(f"{roothash}\n".encode())
    commands: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (path, node) in enumerate(sorted(files.items())):
            parents = path.split("/")[:-1]
            for depth in range(1, len(parents) + 1):
                parent = "/".join(parents[:depth])
                if parent not in made:
                    made.add(parent)
                    commands.append(f'mkdir "/{parent}"')
            if node.link:
                commands.append(f'symlink "/{path}" "{node.link}"')
            elif node.device:
                directory, _, name = path.rpartition("/")
                commands += [f'cd "/{directory}"', f'mknod "{name}" {node.device}', "cd /",
                             f'sif "/{path}" mode 0{0o020666 if node.device[0] == "c" else 0o060666:o}']
            else:
                source = Path(scratch, str(number))
                source.write_bytes(node.content)
                commands += [f'write {source} "/{path}"', f'sif "/{path}" mode 0{node.mode:o}',
                             f'sif "/{path}" uid 0', f'sif "/{path}" gid 0']
        for path in made:
            if path.endswith("spool/cron/atjobs"):      # daemon's, as in the image
                commands += [f'sif "/{path}" uid 1', f'sif "/{path}" gid 1', f'sif "/{path}" mode 041770']
        disk.debugfs("BF_DATA", *commands)


def key_pair() -> tuple[str, str]:
    """Private and public."""
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{d}/key"], check=True)
        return Path(d, "key").read_text(), Path(d, "key.pub").read_text()
