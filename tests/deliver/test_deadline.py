"""deliver's deadline: an attempt that takes too long loses its socket, and no other does."""

import socket
from collections.abc import Iterator

import pytest

from backfill.deliver.deadline import Deadline
from tests.support.waiting import until


@pytest.fixture
def deadline() -> Iterator[Deadline]:
    """Closed in the end."""
    one = Deadline()
    yield one
    one.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; whoever reads waits for a minute at most."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    theirs.settimeout(60)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def test_a_reader_is_woken(deadline: Deadline, pair: Pair) -> None:
    """Who waits for an answer is told that the connection is over; so is the other side."""
    ours, theirs = pair
    deadline.watch(ours)
    deadline.begin(0.01)
    assert (ours.recv(1), theirs.recv(1)) == (b"", b"")
    assert deadline.passed


def test_a_writer_is_woken(deadline: Deadline, pair: Pair) -> None:
    """As is who waits for room to send."""
    ours, _ = pair
    deadline.watch(ours)
    deadline.begin(0.01)
    with pytest.raises(BrokenPipeError):
        ours.sendall(bytes(50_000_000))


def test_a_connection_that_comes_too_late(deadline: Deadline, pair: Pair) -> None:
    """It is of no use any more."""
    ours, theirs = pair
    deadline.begin(0.0)
    until(lambda: deadline.passed)
    deadline.watch(ours)
    assert theirs.recv(1) == b""


def test_one_that_ends_in_time(deadline: Deadline, pair: Pair) -> None:
    """Its connection stays, whatever becomes of a later and shorter attempt on another one."""
    ours, theirs = pair
    deadline.watch(ours)
    for _ in range(3):
        deadline.begin(60.0)
        deadline.end()
    other, peer = socket.socketpair()
    with other, peer:
        deadline.watch(other)
        deadline.begin(0.01)
        assert peer.recv(1) == b""
    ours.sendall(b"x")
    assert theirs.recv(1) == b"x"


def test_the_next_attempt(deadline: Deadline, pair: Pair) -> None:
    """It begins anew."""
    deadline.watch(pair[0])
    deadline.begin(0.0)
    assert pair[1].recv(1) == b""
    deadline.begin(60.0)
    assert not deadline.passed


def test_a_socket_that_was_closed(deadline: Deadline, pair: Pair) -> None:
    """There is nothing to shut down, and the deadline goes on."""
    closed = socket.socket()
    closed.close()
    deadline.watch(closed)
    deadline.begin(0.0)
    deadline.watch(pair[0])
    deadline.begin(0.0)
    assert pair[1].recv(1) == b""
