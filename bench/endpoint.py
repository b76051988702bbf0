"""An nginx of the benchmark's own on loopback, which reads every request's whole body and answers 200.

`return 200` alone may answer before the body has arrived. Therefore the request goes on, without its body, to a second
server inside the same nginx: it passes a request on only when it holds all of it.
"""

import shutil
import signal
import socket
import subprocess
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.servers import free_ports

CONFIGURATION = """\
daemon off;
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
    log_format received '$status $request_length';
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 10m;
    client_body_buffer_size 1m;
    upstream answer {{ server 127.0.0.1:{answer_port}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        keepalive_requests 1000000;
        access_log {folder}/access.log received;
        location / {{
            proxy_pass http://answer;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Content-Encoding "";
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }}
    }}
    server {{
        listen 127.0.0.1:{answer_port};
        keepalive_requests 1000000;
        access_log off;
        default_type application/json;
        location / {{ return 200 '{{"success":true}}'; }}
    }}
}}
"""
START_SECONDS = 10.0


@dataclass(frozen=True)
class Received:
    """What the endpoint has taken in: requests answered with 200, other answers, and bytes with their headers."""

    requests: int
    failures: int
    size: int

    def __sub__(self, earlier: Self) -> "Received":
        """What came in since `earlier`."""
        return Received(self.requests - earlier.requests, self.failures - earlier.failures, self.size - earlier.size)


class Endpoint(AbstractContextManager["Endpoint"]):
    """The running nginx; stopped, by its own process id, when the block ends."""

    def __init__(self, folder: Path) -> None:
        """Prepare to run in an empty folder of its own."""
        self.folder = folder
        self.port, self.answer_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start nginx and wait until it answers; RuntimeError where it is not installed or does not start."""
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
        if program is None:
            message = "the benchmark needs nginx (Debian: apt-get install nginx-light)"
            raise RuntimeError(message)
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "nginx.conf"
        configuration.write_text(
            CONFIGURATION.format(folder=self.folder, port=self.port, answer_port=self.answer_port), encoding="utf-8"
        )
        self.process = subprocess.Popen(
            [program, "-p", str(self.folder), "-c", str(configuration)], stderr=subprocess.DEVNULL
        )
        self._wait_until_listening()
        return self

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        log = self.folder / "error.log"
        message = f"nginx did not start: {log.read_text(encoding='utf-8') if log.exists() else 'no log'}"
        raise RuntimeError(message)

    def received(self) -> Received:
        """All that has come in since the start, from the access log."""
        lines = (self.folder / "access.log").read_text(encoding="ascii").split("\n")[:-1]
        answers = [line.split() for line in lines]
        return Received(
            requests=sum(status == "200" for status, _ in answers),
            failures=sum(status != "200" for status, _ in answers),
            size=sum(int(size) for _, size in answers),
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop nginx once its connections are closed, or at once where they are not within five seconds."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
