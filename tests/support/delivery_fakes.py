"""What the tests of delivery stand on: a scripted endpoint, a ledger and a spool in memory, a clock, a delivery."""

import gzip
import json
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Self, TypedDict, Unpack

from backfill.clock import Clock
from backfill.deliver import DeliveryEnd, DeliveryOptions, TargetAccess, deliver
from backfill.ledger.sql_delivery import check_cut, check_end, check_parts
from backfill.records import (
    AGE_UNKNOWN,
    Answer,
    Batch,
    BatchPart,
    BatchState,
    ClockMark,
    Decision,
    DeliveryTotals,
    Outcome,
)
from backfill.targets import AnswerFormat
from backfill.wire import HEAD

KEY = "wk_do_not_show_me"
SUCCESS = b'{"success":true}'


@dataclass(frozen=True)
class Step:
    """What the endpoint does with one request.

    `how`: answer; reset_before, reset_after (a TCP reset before, after the request was read); close (without an
    answer); garbage (what is no HTTP); cut (the body ends early); stall (no answer until released).
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = SUCCESS
    how: str = "answer"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes  # as on the wire
    connection: int  # from 1

    @property
    def plain(self) -> bytes:
        """The body, uncompressed."""
        return gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body

    @property
    def calls(self) -> bytes:
        """The body up to the envelope's tail."""
        return self.plain[: self.plain.rindex(b'],"sentAt":"')]

    @property
    def sent_at(self) -> str:
        """The envelope's sentAt."""
        text: str = json.loads(self.plain)["sentAt"]
        return text


class Endpoint:
    """An HTTP server that does what its script says, one step a request, and answers 200 after the script's end."""

    def __init__(self, script: Iterable[Step] = (), *, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script)
        self.seen: list[Seen] = []
        self.connections = 0
        self.at_once = 0  # most requests being answered at the same time
        self.released = threading.Event()  # lets stalled answers end
        self.stalled = threading.Event()  # an answer is being held back
        self.on_request: Callable[[Seen], object] = lambda _: None
        self.decides: Callable[[Seen], Step | None] = lambda _: None  # goes before the script, where it says a step
        self._tls = tls
        self._lock = threading.Lock()
        self._busy = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://localhost:{self.port}/v1/batch"
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                connection.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._start(self._serve, connection, self.connections)

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(raw, server_side=True)
            self._open.add(connection)
            with connection, connection.makefile("rb") as reader:
                while self._one(connection, reader, number):
                    pass
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            raw.close()

    def _one(self, connection: socket.socket, reader: BinaryIO, number: int) -> bool:
        first = reader.readline()
        if not first:
            return False
        with self._lock:
            step = self.script.pop(0) if self.script else Step()
        if step.how == "reset_before":
            return self._reset(connection, reader)
        lines = (line.decode("latin-1").rstrip("\r\n").split(": ", 1) for line in iter(reader.readline, b"\r\n"))
        headers = {name.lower(): value for name, value in lines}
        seen = Seen(first.decode().split()[1], headers, reader.read(int(headers["content-length"])), number)
        with self._lock:
            self.seen.append(seen)
            self._busy += 1
            self.at_once = max(self.at_once, self._busy)
        try:
            self.on_request(seen)
            return self._answer(connection, reader, self.decides(seen) or step)
        finally:
            with self._lock:
                self._busy -= 1

    def _answer(self, connection: socket.socket, reader: BinaryIO, step: Step) -> bool:
        if step.how == "stall":
            self.stalled.set()
            self.released.wait(30)
        if step.how == "reset_after":
            return self._reset(connection, reader)
        if step.how == "close":
            return False
        if step.how == "garbage":
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            return False
        length = len(step.body) + (1000 if step.how == "cut" else 0)
        lines = [f"HTTP/1.1 {step.status} X", f"Content-Length: {length}", *(f"{n}: {v}" for n, v in step.headers)]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + step.body)
        return step.how != "cut"

    @staticmethod
    def _reset(connection: socket.socket, reader: BinaryIO) -> bool:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reader.close()
        connection.close()
        return False


class InDoubt(TypedDict, total=False):
    """What an earlier process did with a batch."""

    attempts: int
    first_unknown_at: float


class Access(TypedDict, total=False):
    """What of a target's access a test may want otherwise."""

    gzip: bool
    rate: float
    requests: float
    body_limit: int
    envelope: str
    headers: dict[str, str]
    verify: str
    answers: AnswerFormat


def deflated(plain: bytes) -> bytes:
    """A raw deflate stream with a sync flush at its end."""
    press = zlib.compressobj(1, zlib.DEFLATED, -15)
    return press.compress(plain) + press.flush(zlib.Z_SYNC_FLUSH)


class Shelf:
    """A spool and a ledger in memory, which keep the order of what happened.

    What the ledger refuses to record is refused by its own checks (`check_end`, `check_parts`): it is the delivery that
    is tested with this one, and a fake that took more than the ledger does would hide its faults.
    """

    def __init__(self, batches: int = 1, *, calls: int = 3, size: int = 0) -> None:
        self.contents: dict[int, bytes] = {}
        self.streams: dict[int, bytes] = {}
        self.sizes: dict[int, list[int]] = {}
        self.made: dict[int, BatchState] = {}  # parts of batches, as they began
        self._next = 1_000_000
        self.batches: list[Batch] = []
        self.marks: list[tuple[int, int, float]] = []  # batch, attempt, at
        self.answers: list[tuple[int, int, Answer]] = []
        self.flushed = 0
        self.clocks: list[ClockMark] = []
        self.history: list[str] = []
        self._handed = 0
        self._lock = threading.Lock()
        for number in range(1, batches + 1):
            self.add(number, calls, size)

    def add(self, number: int, calls: int, size: int, **fields: Unpack[InDoubt]) -> None:
        """One more batch of that many calls, each of about `size` bytes more than it needs."""
        texts = [json.dumps({"messageId": f"secret-call-{number}-{call}", "x": "y" * size}) for call in range(calls)]
        plain = HEAD + ",".join(texts).encode()
        self.contents[number] = plain
        self.sizes[number] = [len(text) for text in texts]
        self.streams[number] = deflated(plain)
        length = len(self.streams[number])
        self.batches.append(Batch(number, 0, calls, len(plain), 0, length, zlib.crc32(plain), **fields))

    def next_batches(self, limit: int) -> list[Batch]:
        """The ledger's part: hand out."""
        with self._lock:
            handed = self.batches[self._handed : self._handed + limit]
            self._handed += len(handed)
            return handed

    def mark_sent(self, batch: Batch, at: float) -> int:
        """The ledger's part: an attempt leaves."""
        with self._lock:
            number = batch.attempts + 1
            self.marks.append((batch.id, number, at))
            return number

    def record_answer(self, batch: Batch, attempt: int, answer: Answer) -> None:
        """The ledger's part: an attempt has ended."""
        check_end(answer)
        with self._lock:
            self.answers.append((batch.id, attempt, answer))

    def record_parts(self, batch: Batch, attempt: int, answer: Answer, parts: Sequence[BatchPart]) -> list[Batch]:
        """The ledger's part: an attempt has ended, and these stand for its batch."""
        check_parts(batch, answer, parts)
        with self._lock:
            self.answers.append((batch.id, attempt, answer))
        return self._planned(batch, parts)

    def record_cut(self, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
        """The ledger's part: these stand for a batch of which nothing was sent."""
        check_cut(batch, parts)
        return self._planned(batch, parts)

    def _planned(self, batch: Batch, parts: Sequence[BatchPart]) -> list[Batch]:
        with self._lock:
            planned, first = [], batch.first_call
            for part in parts:
                number = self._next
                self._next += 1
                self.made[number] = state = part.state
                if state is BatchState.PLANNED:
                    planned.append(
                        Batch(
                            *(number, batch.shard, part.calls, part.bytes, batch.offset, batch.length, part.crc32),
                            first_call=first,
                            root=batch.root or batch.id,
                            start=part.start,
                        )
                    )
                first += part.calls
            return planned

    def call_sizes(self, batch: Batch) -> list[int]:
        """The spool's part."""
        sizes = self.sizes[batch.root or batch.id]
        return sizes[batch.first_call : batch.first_call + batch.calls]

    def clock_mark(self) -> ClockMark | None:
        """The ledger's part: the clock of the last process."""
        return self.clocks[-1] if self.clocks else None

    def mark_clock(self, mark: ClockMark) -> None:
        """The ledger's part: the clock of this one."""
        self.clocks.append(mark)

    def lose_ages(self, detail: str) -> None:
        """The ledger's part: nobody knows how old the doubts are."""
        self.history.append(detail)
        self.batches = [
            batch if batch.first_unknown_at is None else replace(batch, first_unknown_at=AGE_UNKNOWN)
            for batch in self.batches
        ]

    def in_doubt(self) -> list[Batch]:
        """The ledger's part: what earlier processes left in doubt."""
        return [batch for batch in self.batches if batch.first_unknown_at is not None]

    def decide(self, batches: Sequence[Batch], decision: Decision, at: float) -> None:
        """The ledger's part: what becomes of some of them."""
        ids = {batch.id for batch in batches}
        if decision is Decision.SKIP:
            self.batches = [batch for batch in self.batches if batch.id not in ids]
        else:
            self.batches = [replace(batch, first_unknown_at=at) if batch.id in ids else batch for batch in self.batches]

    def flush(self) -> None:
        """The ledger's part: all is durable."""
        self.flushed += 1

    def deflated(self, batch: Batch) -> bytes:
        """The spool's part."""
        return self.streams[batch.id] if batch.start is None else deflated(self.plain(batch))

    def plain(self, batch: Batch) -> bytes:
        """The spool's part."""
        if batch.start is None:
            return self.contents[batch.id]
        end = batch.start + batch.bytes - len(HEAD)
        return HEAD + self.contents[batch.root or 0][batch.start : end]

    def states(self) -> dict[int, BatchState]:
        """The last state that each batch was given."""
        return {batch: answer.state for batch, _, answer in self.answers if answer.state is not None}

    def outcomes(self) -> list[Outcome]:
        """The outcomes in the order they were recorded."""
        return [answer.outcome for _, _, answer in self.answers]


@dataclass
class Simulated:
    """A clock that moves only when somebody sleeps. For one sender at a time: two that sleep at once age it twice."""

    time: float = 1_700_000_000.0
    up: float = 0.0
    slept: list[float] = field(default_factory=list)
    jitter: float = 0.0

    def sleep(self, seconds: float) -> None:
        """Pass the time."""
        self.slept.append(seconds)
        self.time += seconds
        self.up += seconds

    def clock(self) -> Clock:
        """The clock to hand in."""
        return Clock(lambda: self.time, lambda: self.up, self.sleep, lambda: self.jitter)


@dataclass
class Run:
    """One delivery with everything at hand that a test may want to turn."""

    shelf: Shelf
    url: str
    clock: Clock | None = None
    options: DeliveryOptions = field(default_factory=lambda: DeliveryOptions(concurrency=1, first_alone=False))
    access: Access = field(default_factory=Access)
    stop: threading.Event = field(default_factory=threading.Event)
    abort: threading.Event = field(default_factory=threading.Event)
    told: list[DeliveryTotals] = field(default_factory=list)

    def go(self) -> DeliveryEnd:
        """Deliver."""
        return deliver(
            ledger=self.shelf,
            spool=self.shelf,
            target=TargetAccess(self.url, KEY, **self.access),
            options=self.options,
            stop=self.stop,
            abort=self.abort,
            progress=self.told.append,
            clock=self.clock,
        )

    def in_background(self) -> Callable[[], DeliveryEnd]:
        """Deliver in a thread; returns what waits for the end."""
        ends: list[DeliveryEnd] = []
        thread = threading.Thread(target=lambda: ends.append(self.go()), daemon=True)
        thread.start()

        def end() -> DeliveryEnd:
            thread.join(20)
            assert not thread.is_alive(), "the delivery does not end"
            return ends[0]

        return end


def scripted(*statuses: int) -> list[Step]:
    """A script of plain answers."""
    return [Step(status, body=f'{{"code":{status}}}'.encode()) for status in statuses]
