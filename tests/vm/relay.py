"""One TCP connection between QEMU's user network (stdin and stdout, which are one socket) and a port
of the loopback: relay.py PORT. Ends when either side does."""

import select
import socket
import sys


def relay(guest: socket.socket, host: socket.socket) -> None:
    other = {guest: host, host: guest}
    while other:
        for source in select.select(list(other), [], [])[0]:
            data = source.recv(65536)
            if data:
                other[source].sendall(data)
                continue
            # One direction is over; the other one may go on.
            other.pop(source).shutdown(socket.SHUT_WR)
            if source is host:
                return


def main() -> None:
    guest = socket.socket(fileno=0)
    try:
        with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=10) as host:
            host.settimeout(None)
            relay(guest, host)
    except OSError:
        pass                            # gone, on one side or the other: the guest sees it end


if __name__ == "__main__":
    main()
