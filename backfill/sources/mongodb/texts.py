"""The records of MongoDB's exports: lines or arrays of extended JSON (mongoexport), and BSON (mongodump)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from backfill.errors import SourceError
from backfill.extras import required
from backfill.records import SourceFile
from backfill.sources.mongodb.extended import NOT_FINITE, ExtendedError, plain
from backfill.sources.ndjson.judge import fault_of
from backfill.sources.ndjson.lines import SHOWN_BYTES, Line
from backfill.sources.ndjson.scanner import NOT_A_NUMBER
from backfill.sources.ndjson.texts import FileTexts, Head, JsonTexts
from backfill.sources.ndjson.types import MarkedTypes, Types
from backfill.sources.origins.content import origin_of, plain_pieces

if TYPE_CHECKING:
    from bson.codec_options import CodecOptions

#: A document of MongoDB's holds 16 MB at most, an operation's log a little more.
#: https://www.mongodb.com/docs/manual/reference/limits/
MAX_DOCUMENT_BYTES = 2**24 + 2**14
_LEAST_BYTES = 5  # of an empty document: its length and its end


class ExtendedTexts:
    """Extended JSON, as JSON is parted into records."""

    types: ClassVar[Types] = MarkedTypes()

    def of(self, file: SourceFile, watch: Callable[[int], None], head: Head | None) -> FileTexts:
        """The records of a file, in plain JSON with marks; see ndjson.texts.Texts."""
        found = JsonTexts().of(file, watch, head)
        return FileTexts(map(_rewritten, found.records), found.in_lines)


def _rewritten(line: Line) -> Line:
    """The record in plain JSON; what is no JSON stays, for others to say so."""
    if not line.whole or b'"$' not in line.text or fault_of(line.text) is not None:
        return line
    return _plain_line(line.number, line.text)


def _plain_line(number: int, text: bytes) -> Line:
    try:
        return Line(number, plain(text))
    except ExtendedError as error:
        return Line(number, text, fault=("BF009", f"the record holds {error}"))


class BsonTexts:
    """BSON documents, one behind the other, as mongodump writes a collection; each is decoded by pymongo's `bson`.

    Python per document and per key: the decoder gives nothing else. A document becomes the extended JSON that
    mongoexport writes of it, and is read as that.
    """

    types: ClassVar[Types] = MarkedTypes()

    def of(self, file: SourceFile, watch: Callable[[int], None], head: Head | None) -> FileTexts:
        """The records of a file, in plain JSON with marks; see ndjson.texts.Texts."""
        required("bson.codec_options", "mongo", "BSON files")
        return FileTexts(_decoded(_beginning(_documents(file, watch), head), file.name), in_lines=False)


def _documents(file: SourceFile, watch: Callable[[int], None]) -> Iterator[bytes]:
    """The documents of a file by their lengths (https://bsonspec.org/spec.html)."""
    held, size = bytearray(), 0
    place, record = 0, 1
    for piece in plain_pieces(origin_of(file), watch):
        held += piece
        while len(held) - place >= 4:  # noqa: PLR2004 (the bytes of a length)
            size = int.from_bytes(held[place : place + 4], "little", signed=True)
            if not _LEAST_BYTES <= size <= MAX_DOCUMENT_BYTES:
                raise _damaged(file.name, record, f"has a length of {size:,} bytes")
            if len(held) - place < size:
                break
            yield bytes(held[place : place + size])
            place, record = place + size, record + 1
        del held[:place]
        place = 0
    if held:
        raise _damaged(file.name, record, "does not end: the file is truncated")


def _damaged(name: str, record: int, said: str) -> SourceError:
    return SourceError(
        f"{name} is no BSON, or corrupt or truncated: document {record} {said}",
        hint="`mongodump` writes such files, one for each collection (not its one archive); dump it again",
    )


def _beginning(documents: Iterable[bytes], head: Head | None) -> Iterator[bytes]:
    """The documents, or the first ones, about as many bytes as the head is to have."""
    left = head.size if head else None
    for document in documents:
        if left is not None and head is not None:
            if left <= 0:
                head.cut = True
                return
            left -= len(document)
        yield document


def _decoded(documents: Iterable[bytes], name: str) -> Iterator[Line]:
    """The records' texts; raises SourceError for a document that cannot be decoded."""
    import bson

    options = _options()
    for record, document in enumerate(documents, 1):
        try:
            value = bson.decode(document, options)
            line = _line(value)
        except bson.InvalidBSON as error:
            raise _damaged(name, record, f"cannot be decoded ({error})") from error
        except _RepeatedKeyError:
            yield Line(0, document[:SHOWN_BYTES], fault=("BF005", "a key stands twice in a document"))
        except RecursionError:
            yield Line(0, document[:SHOWN_BYTES], fault=("BF005", "nested too deep"))
        else:
            yield line


def _line(value: _Document) -> Line:
    """A document's record."""
    text = _written(value)
    try:
        written = text.encode()
    except UnicodeEncodeError:
        return Line(0, text[:SHOWN_BYTES].encode(errors="replace"), fault=("BF004", "text that is not UTF-8"))
    if _NOT_FINITE.search(written) and fault_of(written) == ("BF005", NOT_A_NUMBER):
        return Line(0, written, fault=("BF009", f"the record holds {NOT_FINITE}"))
    return _plain_line(0, written)


_NOT_FINITE = re.compile(rb"[:\[,-](?:NaN|Infinity)\b")


class _RepeatedKeyError(ValueError):
    """A document has a key twice."""


class _Document(dict[str, Any]):
    """A decoded document, which has each key once."""

    def __setitem__(self, key: str, value: Any) -> None:  # noqa: ANN401
        if key in self:
            raise _RepeatedKeyError(key)
        super().__setitem__(key, value)


class _Code:
    """JavaScript code."""


def _options() -> CodecOptions[_Document]:
    """Every value as a type of its own, and no text mended."""
    from bson.binary import UuidRepresentation
    from bson.code import Code
    from bson.codec_options import CodecOptions, DatetimeConversion, TypeDecoder, TypeRegistry

    class _CodeDecoder(TypeDecoder):
        """Code, which else is a kind of text."""

        bson_type = Code

        def transform_bson(self, value: object) -> object:
            """Something that JSON does not know."""
            del value
            return _Code()

    return CodecOptions(
        document_class=_Document,
        uuid_representation=UuidRepresentation.UNSPECIFIED,
        datetime_conversion=DatetimeConversion.DATETIME_MS,
        unicode_decode_error_handler="surrogateescape",
        type_registry=TypeRegistry([_CodeDecoder()]),
    )


def _extended(value: object) -> object:
    """A value that JSON does not have, as extended JSON (canonical, version 2) writes it."""
    import bson
    from bson.datetime_ms import DatetimeMS

    match value:
        case bson.ObjectId():
            return {"$oid": str(value)}
        case DatetimeMS():
            return {"$date": {"$numberLong": str(int(value))}}
        case bson.Decimal128():
            return {"$numberDecimal": str(value)}
        case bytes():
            subtype = value.subtype if isinstance(value, bson.Binary) else 0
            return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": f"{subtype:02x}"}}
        case bson.DBRef():
            return dict(value.as_doc())
    return {f"${_OTHERS[type(value).__name__]}": 1}


_OTHERS = {
    "_Code": "code",
    "Regex": "regularExpression",
    "Timestamp": "timestamp",
    "MinKey": "minKey",
    "MaxKey": "maxKey",
}
_written = json.JSONEncoder(default=_extended, ensure_ascii=False, separators=(",", ":")).encode
