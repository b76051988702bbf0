"""The soak's endpoint, a process of its own: faults by the sandbox's grammar, every id kept, and as fast as can be.

The sandbox itself checks every call as Segment would, and is the slower of the two by far. This one notes what came:
16 bytes of each id into one file, and of each body that it stored its CRC-32 and size into another.
"""

from __future__ import annotations

import gzip
import re
import socket
import struct
import sys
import threading
import time
import zlib
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer

from backfill.sandbox.faults import FaultScript

ID = re.compile(rb'"messageId":"([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})"')
IDS_FILE, BATCHES_FILE = "ids.bin", "batches.bin"
#: CRC-32 and bytes of a batch, and how many calls were in it.
BATCH = struct.Struct("<III")
ANSWER = b"HTTP/1.1 %d X\r\nContent-Length: 16\r\n%s\r\n" + b'{"success":true}'


class Server(ThreadingTCPServer):
    """Listens on a free port of loopback; a thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, folder: Path, faults: FaultScript) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = faults
        self.lock = threading.Lock()
        self.number = 0
        self.ids = (folder / IDS_FILE).open("ab", buffering=0)
        self.batches = (folder / BATCHES_FILE).open("ab", buffering=0)

    def next_number(self) -> int:
        """The number of a request, from 1."""
        with self.lock:
            self.number += 1
            return self.number

    def store(self, plain: bytes) -> None:
        """Keep what a body holds; the process that counts may read it at once."""
        calls = plain[: plain.rindex(b'],"sentAt":"')]
        ids = [b"".join(parts) for parts in ID.findall(calls)]
        packed = bytes.fromhex(b"".join(ids).decode())
        with self.lock:
            self.ids.write(packed)
            self.batches.write(BATCH.pack(zlib.crc32(calls), len(calls), len(ids)))


class Handler(StreamRequestHandler):
    """One connection."""

    server: Server

    def handle(self) -> None:
        """Request after request."""
        try:
            while self.one():
                pass
        except (OSError, ValueError):
            pass  # the program was killed in the middle of a request: that is the soak

    def one(self) -> bool:
        """One request; whether the connection is kept."""
        if not self.rfile.readline():
            return False
        length = 0
        while (line := self.rfile.readline().strip()) and line:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        fault = self.server.faults.decide(self.server.next_number())
        time.sleep(fault.delay)
        if fault.cut == "before":
            return self.cut()
        body = self.rfile.read(length)
        if len(body) < length or fault.cut == "after":
            return self.cut()
        if fault.status is None or fault.stored:
            self.server.store(gzip.decompress(body))
        if fault.cut == "lost":
            return self.cut()
        after = f"Retry-After: {fault.retry_after.header(time.time())}\r\n" if fault.retry_after else ""
        self.wfile.write(ANSWER % (fault.status or 200, after.encode()))
        return True

    def cut(self) -> bool:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False


def main() -> None:
    """`python -m tests.torture.soak_endpoint FOLDER FAULT...`: says its port on the first line; ends with its input."""
    folder, *faults = sys.argv[1:]
    server = Server(Path(folder), FaultScript.parse(faults))
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
