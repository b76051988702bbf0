"""wire: the bytes of a body, whole, in parts and compressed."""

import gzip
import json
import subprocess
import zlib
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from isal import igzip, isal_zlib

from backfill.ledger.sql_delivery import check_parts
from backfill.records import Answer, Batch, BatchState, Outcome
from backfill.wire import (
    ENVELOPE_BYTES,
    HEAD,
    call_start,
    gzip_body,
    halves,
    members_bytes,
    members_json,
    message_ids,
    refused_parts,
    tail,
)
from tests.support.delivery_fakes import Shelf

TAIL = b'],"sentAt":"2024-01-31T12:00:00.000Z"}'


def with_isal(plain: bytes) -> bytes:
    """The raw deflate stream that the spool makes."""
    compressor = isal_zlib.compressobj(level=1, wbits=-15)
    stream: bytes = compressor.compress(plain) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)
    return stream


def with_zlib(plain: bytes) -> bytes:
    """The same from another compressor."""
    compressor = zlib.compressobj(level=6, wbits=-15)
    return compressor.compress(plain) + compressor.flush(zlib.Z_FULL_FLUSH)


@pytest.mark.parametrize("deflate", [with_isal, with_zlib])
@given(plain=st.one_of(st.binary(max_size=5_000), st.integers(0, 70_000).map(bytes)), tail=st.binary(max_size=200))
def test_every_reader_reads_plain_and_tail(deflate: Callable[[bytes], bytes], plain: bytes, tail: bytes) -> None:
    """gzip, ISA-L and a strict zlib that knows one member only read the plain bytes, then the tail, then the end."""
    body = gzip_body(deflate(plain), len(plain), zlib.crc32(plain), tail)
    assert gzip.decompress(body) == plain + tail
    assert igzip.decompress(body) == plain + tail
    reader = zlib.decompressobj(wbits=31)
    assert reader.decompress(body) == plain + tail
    assert reader.eof
    assert reader.unused_data == b""


def test_gzip_tool_accepts_it() -> None:
    """`gzip -t` finds a whole file, and `gzip -dc` gives the content."""
    plain = b'{"batch":[' + b",".join(b'{"type":"track","n":%d}' % n for n in range(20_000))
    body = gzip_body(with_isal(plain), len(plain), zlib.crc32(plain), TAIL)
    subprocess.run(["gzip", "-t"], input=body, check=True)
    done = subprocess.run(["gzip", "-dc"], input=body, check=True, capture_output=True)
    assert done.stdout == plain + TAIL


def test_nothing_but_a_tail() -> None:
    """An empty stream is a stream."""
    assert gzip.decompress(gzip_body(b"", 0, 0, TAIL)) == TAIL


def test_longest_tail_and_one_more() -> None:
    """A stored block holds 65,535 bytes; a longer tail is refused, not cut."""
    assert gzip.decompress(gzip_body(b"", 0, 0, bytes(65_535))) == bytes(65_535)
    with pytest.raises(ValueError, match="65536"):
        gzip_body(b"", 0, 0, bytes(65_536))


def test_wrong_crc_is_noticed_by_readers() -> None:
    """The trailer continues the checksum that was recorded: bytes altered since are found by whoever receives them."""
    plain = b"x" * 100
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(gzip_body(with_isal(plain), len(plain), zlib.crc32(plain) ^ 1, TAIL))


@given(sizes=st.lists(st.integers(0, 30), min_size=2, max_size=40))
def test_halves_are_the_batch(sizes: list[int]) -> None:
    """Halved down to single calls, the parts are the same bytes, one comma apart, with their own checksums."""
    shelf = Shelf(0)
    shelf.add(1, len(sizes), 5)
    pieces: list[tuple[int, bytes]] = []

    def halve(batch: Batch) -> None:
        plain = shelf.plain(batch)
        assert (len(plain), zlib.crc32(plain)) == (batch.bytes, batch.crc32)
        if batch.calls == 1:
            pieces.append((batch.first_call, plain.removeprefix(HEAD)))
            return
        parts = halves(batch, plain, shelf.call_sizes(batch))
        assert abs(parts[0].calls - parts[1].calls) <= 1
        answer = Answer(Outcome.NOT_TAKEN, BatchState.SPLIT, 400, "", 0.0, 0.0, 0)
        for part in shelf.record_parts(batch, 1, answer, parts):
            halve(part)

    halve(shelf.batches[0])
    assert [place for place, _ in pieces] == list(range(len(sizes)))
    assert HEAD + b",".join(piece for _, piece in pieces) == shelf.contents[1]


@given(st.data())
def test_parts_are_the_batch(data: st.DataObject) -> None:
    """Refused calls stand alone, taken neighbours together; the ledger takes them, and their bytes are the batch's."""
    calls = data.draw(st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=12))
    refused = data.draw(st.dictionaries(st.integers(0, len(calls) - 1), st.text(min_size=1, max_size=20)))
    before = data.draw(st.sampled_from([None, 500]))  # where it begins, if it is a part itself
    plain = HEAD + b",".join(calls)
    batch = Batch(7, 0, len(calls), len(plain), 0, 0, zlib.crc32(plain), start=before, root=before and 3)
    parts = refused_parts(batch, plain, [len(call) for call in calls], refused, 200)
    ended = Answer(Outcome.ACCEPTED, BatchState.SPLIT, 200, "", 0.0, 0.0, 0)
    check_parts(batch, ended, parts)
    shift = (before or len(HEAD)) - len(HEAD)
    first = 0
    for part in parts:
        inside = range(first, first + part.calls)
        own = HEAD + b",".join(calls[index] for index in inside)
        assert (part.bytes, part.crc32) == (len(own), zlib.crc32(own))
        assert plain[part.start - shift :].startswith(own[len(HEAD) :])
        if part.state is BatchState.REJECTED:
            assert (part.calls, part.status, part.detail) == (1, 200, refused[first])
        else:
            assert not refused.keys() & set(inside)
        first += part.calls
    assert sum(part.state is BatchState.REJECTED for part in parts) == len(refused)
    runs = [part.state for part in parts]
    assert (BatchState.DELIVERED,) * 2 not in list(pairwise(runs))


def test_message_ids() -> None:
    """As they stand in the calls, escapes read; a call that begins otherwise has none."""
    calls = [b'{"type":"track","messageId":"a\\"b","x":1}', b'{"messageId":"c"}', b'{"type":"page","messageId":"d"}']
    plain = HEAD + b",".join(calls)
    assert message_ids(plain, [len(call) for call in calls]) == ['a"b', "", "d"]


def test_call_start_is_where_message_ids_are_read() -> None:
    """What prepare begins a call with is what an id is found behind."""
    call = f'{call_start("track")}"é\\\\","x":1}}'.encode()
    assert message_ids(HEAD + call, [len(call)]) == ["é\\"]


@pytest.mark.parametrize(("members", "written"), [({}, ""), ({"é": [1.5, None], "b": {}}, '"é":[1.5,null],"b":{},')])
def test_a_body_is_json(members: dict[str, object], written: str) -> None:
    """Head, calls and tail are one object; milliseconds are cut; members take as many bytes as were counted."""
    end = tail(1_700_000_000.9879, members_json(members))
    assert end == f'],{written}"sentAt":"2023-11-14T22:13:20.987Z"}}'.encode()
    assert json.loads(HEAD + b"{},{}" + end)["batch"] == [{}, {}]
    assert len(HEAD) + len(end) == ENVELOPE_BYTES + members_bytes(members_json(members))
