"""A memory card that has worn out: it takes every write and keeps none.

A server of the NBD protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md) that
QEMU takes for the disk. What is read is what was there before; that is also what the next boot finds.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

NBD_MAGIC, OPTION_MAGIC, REPLY_MAGIC = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST, REPLY = 0x25609513, 0x67446698
EXPORT_NAME, ABORT, GO = 1, 2, 7
ACK, INFO, UNSUPPORTED = 1, 3, 0x80000001
READ, WRITE, DISCONNECT = 0, 1, 2
HAS_FLAGS, SEND_FLUSH = 1, 4


class WornCard:
    """Serves @disk on the socket @path until close(). `dropped`: bytes that were taken and forgotten."""

    def __init__(self, disk: Path, path: Path):
        self.path, self.dropped = path, 0
        self._disk = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._disk).st_size
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        self.path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer, peer.makefile("rwb") as wire:
            try:
                if self._agree(wire):
                    while self._request(wire):
                        pass
            except (OSError, struct.error):
                pass                    # QEMU went away

    def _agree(self, wire) -> bool:
        wire.write(struct.pack(">QQH", NBD_MAGIC, OPTION_MAGIC, 1))
        wire.flush()
        wire.read(4)
        flags = HAS_FLAGS | SEND_FLUSH
        while True:
            _, option, length = struct.unpack(">QII", wire.read(16))
            wire.read(length)

            def reply(kind: int, data: bytes = b"") -> None:
                wire.write(struct.pack(">QIII", REPLY_MAGIC, option, kind, len(data)) + data)

            if option == EXPORT_NAME:
                wire.write(struct.pack(">QH", self._size, flags) + bytes(124))
            elif option == GO:
                reply(INFO, struct.pack(">HQH", 0, self._size, flags))
                reply(ACK)
            else:
                reply(ACK if option == ABORT else UNSUPPORTED)
            wire.flush()
            if option in (EXPORT_NAME, GO, ABORT):
                return option != ABORT

    def _request(self, wire) -> bool:
        _, _, kind, handle, offset, length = struct.unpack(">IHHQQI", wire.read(28))
        if kind == DISCONNECT:
            return False
        data = b""
        if kind == WRITE:
            self.dropped += len(wire.read(length))
        elif kind == READ:
            data = os.pread(self._disk, length, offset)
        wire.write(struct.pack(">IIQ", REPLY, 0, handle) + data)
        wire.flush()
        return True
