"""A listener between the program and an endpoint: notes every body, passes it on, and passes on what happens there."""

from __future__ import annotations

import http.client
import re
import zlib
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.support.batch_server import BatchServer, batch_in

MESSAGE_ID = re.compile(rb'"messageId":"([^"]+)"')

#: What a batch is known by in the ledger, too: CRC-32 and length of its plain bytes, `sentAt` left out.
Fingerprint = tuple[int, int]


@dataclass(frozen=True)
class Heard:
    """One request: the batch it carried."""

    batch: Fingerprint
    ids: tuple[bytes, ...]
    status: int | None  # None: the endpoint cut the connection


@dataclass
class Wiretap(BatchServer):
    """Listens on loopback and forwards to `endpoint`."""

    endpoint: str
    heard: list[Heard] = field(default_factory=list)

    def answer(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """What the endpoint answers; noted."""
        status, answer = self.forward(path, headers, body)
        batch = batch_in(body, packed=headers.get("Content-Encoding") == "gzip")
        self.heard.append(Heard((zlib.crc32(batch), len(batch)), tuple(MESSAGE_ID.findall(batch)), status))
        return status, answer

    def forward(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        """Pass a request on; the status is None where the endpoint cut the connection."""
        connection = http.client.HTTPConnection(urlsplit(self.endpoint).netloc, timeout=30)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()
