#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The server of a fleet, for tests: takes beats, serves offers and bundles, fails when told to.

Everything it offers is a static file below one directory: os/CHANNEL.json and bundles/. Any web
server could do that; this one can also be slow, broken and wrong. With `tls` it speaks HTTPS, for
RAUC, which streams a bundle in ranges; the kiosk has no TLS.

As a module: `with Server(directory) as server:`. As a program: `server.py DIRECTORY --port 8080`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import ssl
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FORMAT = 1
ROLLOUT_BUCKETS = 10_000
PIECE = 64 * 1024


# -- what is offered: README.md has the words for it ------------------------------------------------

def bucket(device_id: str, version: str) -> int:
    """Where in a rollout a device stands; the same arithmetic as the device's."""
    digest = hashlib.sha256(f"{device_id}\n{version}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % ROLLOUT_BUCKETS


def entry(bundle: Path, *, version: str, roothash: str, url: str | None = None, arch: str = "arm64",
          compatible: str = "betterframe-rpi5-aarch64", rollout: float = 100,
          **more: Any) -> dict[str, Any]:
    """One bundle of an offer. The URL is relative to the document, so that both can move."""
    digest = hashlib.sha256()
    with open(bundle, "rb") as f:
        while piece := f.read(1 << 20):
            digest.update(piece)
    return {"compatible": compatible, "arch": arch, "version": version,
            "url": url or f"/bundles/{bundle.name}", "size": bundle.stat().st_size,
            "sha256": digest.hexdigest(), "roothash": roothash, "rollout": rollout, **more}


def document(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"betterframe-offer": FORMAT, "bundles": list(entries)}


def publish(directory: Path, bundle: Path, *, channel: str = "stable", **facts: Any) -> dict[str, Any]:
    """Puts a bundle and the offer of it below a server's directory; the offer last, in one step."""
    kept = directory / "bundles" / bundle.name
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not (kept.exists() and kept.samefile(bundle)):
        shutil.copyfile(bundle, kept)
    offer = document(entry(kept, **facts))
    withdraw_or_write(directory, channel, json.dumps(offer, indent=2).encode() + b"\n")
    return offer


def withdraw_or_write(directory: Path, channel: str, text: bytes | None) -> None:
    """The document of a channel, or none."""
    path = directory / "os" / f"{channel}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        path.unlink(missing_ok=True)
        return
    work = path.with_suffix(".new")
    work.write_bytes(text)
    work.replace(path)


# -- how it fails -----------------------------------------------------------------------------------

@dataclass
class Fault:
    """One way to answer a request wrongly. `times` requests for paths that start with `path` get it."""

    path: str = "/"
    times: int = 1_000_000_000
    status: int = 0                     # answer only this
    cut: int = -1                       # hang up after so many bytes of the body
    delay: float = 0                    # seconds before the answer
    rate: int = 0                       # bytes a second
    redirect: str = ""                  # to this URL
    ignore_range: bool = False          # always the whole file
    ignore_if_range: bool = False       # go on with a file that has changed
    etag: str | None = None             # this ETag; "" none
    no_length: bool = False             # the end of the connection is the end of the file
    body: bytes | None = None           # instead of the file
    raw: bytes | None = None            # exactly this, instead of an answer
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Seen:
    """A request that came in."""

    method: str
    path: str
    range: str | None
    if_range: str | None
    sent: int = 0                       # bytes of body


class Handler(BaseHTTPRequestHandler):
    server: "_HttpServer"
    protocol_version = "HTTP/1.1"
    # Answers are sent in two writes, and RAUC asks for hundreds.
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:    # noqa: A002 (the name is the library's)
        if self.server.owner.verbose:
            super().log_message(format, *args)

    def do_POST(self) -> None:          # noqa: N802
        owner, url = self.server.owner, urlsplit(self.path)
        text = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), 1 << 16))
        fault = owner.fault(self.path)
        self._note()
        if self._broken(fault):
            return
        if url.path != "/heartbeat":
            return self._answer(404)
        if owner.refuse_beats or "refuse=1" in url.query:
            return self._answer(403)
        try:
            beat = json.loads(text)
        except ValueError:
            return self._answer(400)
        owner.take_beat(beat)
        self._answer(200, b"ok\n")

    def do_GET(self) -> None:           # noqa: N802
        owner = self.server.owner
        fault = owner.fault(self.path)
        seen = self._note()
        if self._broken(fault):
            return
        path = owner.file(urlsplit(self.path).path)
        if path is None:
            return self._answer(404)
        self._send_file(path, fault, seen)

    do_HEAD = do_GET

    def _note(self) -> Seen:
        seen = Seen(self.command, self.path, self.headers.get("Range"), self.headers.get("If-Range"))
        self.server.owner.take_request(seen)
        return seen

    def _broken(self, fault: Fault) -> bool:
        """Answers that are no file."""
        self.server.owner.stopping.wait(fault.delay)
        if fault.raw is not None:
            self.close_connection = True
            self.wfile.write(fault.raw)
        elif fault.redirect:
            self._answer(302, headers={"Location": fault.redirect})
        elif fault.status:
            self._answer(fault.status, b"no\n")
        else:
            return False
        return True

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body)),
                            "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _part(self, etag: str, size: int, fault: Fault) -> range | None:
        """The range that is asked for and to be honoured, an empty one if there is nothing in it; None for all."""
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "")
        if not found or fault.ignore_range:
            return None
        if condition and condition != etag and not fault.ignore_if_range:
            return None
        return range(int(found[1]), min(int(found[2] or size) + 1, size))

    def _send_file(self, path: Path, fault: Fault, seen: Seen) -> None:
        if fault.body is None:
            state = path.stat()
            # As web servers do: a range of a bundle is not worth hashing it.
            size, etag = state.st_size, f'"{state.st_mtime_ns:x}-{state.st_size:x}"'
        else:
            size, etag = len(fault.body), f'"{hashlib.sha256(fault.body).hexdigest()[:16]}"'
        if fault.etag is not None:
            etag = fault.etag
        part = self._part(etag, size, fault)
        if part is not None and not part:
            return self._answer(416, headers={"Content-Range": f"bytes */{size}"})
        if fault.cut >= 0 or fault.rate or fault.no_length:
            self.close_connection = True
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {part.start}-{part.stop - 1}/{size}")
        part = part or range(size)
        if etag:
            self.send_header("ETag", etag)
        if not fault.no_length:
            self.send_header("Content-Length", str(len(part)))
        closing = {"Connection": "close"} if self.close_connection else {}
        for name, value in {"Accept-Ranges": "bytes", **closing, **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self._send_body(self._read(path, fault, part), fault, seen)

    def _read(self, path: Path, fault: Fault, part: range) -> bytes:
        if fault.body is not None:
            return fault.body[part.start:part.stop]
        with open(path, "rb") as f:
            f.seek(part.start)
            return f.read(len(part))

    def _send_body(self, data: bytes, fault: Fault, seen: Seen) -> None:
        if fault.cut >= 0:
            data = data[:fault.cut]
        step = max(1, fault.rate // 10) if fault.rate else PIECE
        try:
            for at in range(0, len(data), step):
                self.wfile.write(data[at:at + step])
                seen.sent += len(data[at:at + step])
                if fault.rate and self.server.owner.stopping.wait(0.1):
                    return
        except OSError:
            pass                        # the device hung up: its right


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    owner: "Server"

    def get_request(self) -> tuple[Any, Any]:
        request, address = super().get_request()
        if self.owner.tls:
            # The handshake comes with the first read: in the connection's own thread.
            request = self.owner.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return request, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass                            # a device that goes away in the middle is no error here


class Server:
    """Runs from start() to stop(); can be started again on the same port."""

    def __init__(self, directory: Path, port: int = 0, host: str = "127.0.0.1", verbose: bool = False,
                 tls: ssl.SSLContext | None = None):
        self.directory = directory
        self.host, self.port, self.verbose = host, port, verbose
        self.tls = tls                  # of the connections to come
        self.refuse_beats = False
        self.faults: list[Fault] = []
        self.beats: list[dict[str, Any]] = []
        self.requests: list[Seen] = []
        self.stopping = threading.Event()
        self._changed = threading.Condition()
        self._http: _HttpServer | None = None

    # -- running

    def start(self) -> "Server":
        self.stopping.clear()
        self._http = _HttpServer((self.host, self.port), Handler)
        self._http.owner = self
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05},
                         daemon=True).start()
        return self

    def stop(self) -> None:
        if self._http:
            self.stopping.set()
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://{self.host}:{self.port}"

    # -- what the handler needs

    def fault(self, path: str) -> Fault:
        with self._changed:
            for fault in self.faults:
                if path.startswith(fault.path) and fault.times > 0:
                    fault.times -= 1
                    return fault
        return Fault()

    def file(self, path: str) -> Path | None:
        found = (self.directory / path.lstrip("/")).resolve()
        inside = found.is_relative_to(self.directory.resolve())
        return found if inside and found.is_file() else None

    def take_beat(self, beat: dict[str, Any]) -> None:
        with self._changed:
            self.beats.append({**beat, "time": time.monotonic()})
            self._changed.notify_all()

    def take_request(self, seen: Seen) -> None:
        with self._changed:
            self.requests.append(seen)
            self._changed.notify_all()

    # -- what a test asks

    def wait_beats(self, count: int, timeout: float, **facts: Any) -> list[dict[str, Any]]:
        """Waits until so many beats with these facts (slot="B") have come; they are the result."""
        def matching() -> list[dict[str, Any]]:
            return [b for b in self.beats if all(b.get(k) == v for k, v in facts.items())]

        with self._changed:
            if not self._changed.wait_for(lambda: len(matching()) >= count, timeout):
                raise AssertionError(f"{len(matching())} of {count} beats with {facts} in {timeout:.0f} s; "
                                     f"the last one: {self.beats[-1:]}")
            return matching()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--publish", type=Path, metavar="BUNDLE", help="offer this bundle first")
    for name, standard in (("channel", "stable"), ("version", None), ("roothash", None),
                           ("compatible", "betterframe-rpi5-aarch64"), ("arch", "arm64")):
        parser.add_argument(f"--{name}", default=standard)
    parser.add_argument("--rollout", type=float, default=100, metavar="PERCENT")
    a = parser.parse_args()
    if a.publish:
        if not a.version or not a.roothash:
            parser.error("--publish needs --version and --roothash")
        publish(a.directory, a.publish, channel=a.channel, version=a.version, roothash=a.roothash,
                compatible=a.compatible, arch=a.arch, rollout=a.rollout)
    with Server(a.directory, a.port, a.host, verbose=True) as server:
        print(f"serving {a.directory} at {server.url}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
