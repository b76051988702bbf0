"""YAML files: data by YAML 1.2, a place for everything, hostile and mistaken files refused in words and quickly."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backfill.document import Faults, Positions, field_path, nearest, read_document, suggest
from backfill.document.nodes import DEEPEST, MOST_NODES
from backfill.document.reader import MOST_BYTES
from backfill.errors import Fault, JobError
from tests.support.examples import examples


def read(folder: Path, text: str | bytes) -> Positions:
    """The document of that text."""
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_document(path, "job file")


def refusal(folder: Path, text: str | bytes) -> Fault:
    """The one fault a text that cannot be read is refused with."""
    with pytest.raises(JobError) as caught:
        read(folder, text)
    (fault,) = caught.value.faults
    assert fault.file == str(folder / "file.yaml")
    return fault


# -- data ------------------------------------------------------------------------------------------------------------

KEYS = st.text(max_size=20).filter(lambda key: key != "<<")  # YAML's keys end at 1,024 characters, escapes and all
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, JSON, max_size=5))
@example({"a": 1e22, "b": [1e-7, -0.0, 123456789012345678901234567890]})
def test_json_is_yaml(tmp_path_factory: pytest.TempPathFactory, data: dict[str, object]) -> None:
    """Every JSON object is read as the data it is."""
    assert read(tmp_path_factory.mktemp("json"), json.dumps(data)).data == json.loads(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("2024-01-31", "2024-01-31"),
        ("12:30:45", "12:30:45"),
        ("0x1F", 31),
        ("0o17", 15),
        ("1_000", "1_000"),
        ("+5", 5),
        ("-0", 0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("0.0", 0.0),
        ("~", None),
        ("", None),
        ("True", True),
        ("1.2.3", "1.2.3"),
        ("!!str 5", "5"),
        ("'00123'", "00123"),
        ("9" * 2000, "9" * 2000),
    ],
)
def test_scalars_follow_the_core_schema(tmp_path: Path, text: str, value: object) -> None:
    """Plain scalars are what YAML 1.2's core schema says, not what 1.1 said."""
    found = read(tmp_path, f"a: {text}\n").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_aliases_stand_for_their_node(tmp_path: Path) -> None:
    """Anchors and aliases work as long as they stay small."""
    data = read(tmp_path, "a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\n").data
    assert data == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": [{"k": [1, 2]}, {"k": [1, 2]}]}


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_line_breaks_are_equal(tmp_path: Path, line_break: str) -> None:
    """Windows and old Mac line breaks read the same, and lines count the same; so does a byte order mark."""
    text = "\ufeffa: 1\nb:\n  c: 2\n".replace("\n", line_break)
    document = read(tmp_path, text)
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.locate("b.c") == (3, 6)


# -- traps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a: *\n", (1, 5), "is not YAML", 'quote the star: "*"'),
        ("a:\n  *: {}\n", (2, 3), "* refers to an anchor", 'begins with `*`: "*"'),
        ("a: *.csv\n", (1, 4), "refers to an anchor that is not there", '"*.csv"'),
        ("f: %Y-%m-%d\n", (1, 4), "is not YAML", "begins with `%`"),
        ("a: @x\n", (1, 4), "is not YAML", "begins with `@`"),
        ("a: `x`\n", (1, 4), "is not YAML", "begins with ``"),
        ("a:\n\tb: 1\n", (2, 1), "is not YAML", "indent with spaces"),
        ('w: "Total Amount" > 0\n', (1, 21), "is not YAML", "the other kind of quotes"),
        ("a: b: c\n", (1, 5), "mapping values", "wants quotes"),
        ("a: 'x\n", (2, 1), "is not YAML", "not closed"),
        ("a: [1, 2\nb: 3\n", (2, 2), "is not YAML", "not closed"),
        ("a: !secret x\n", (1, 4), "the tag !secret is not taken", "quote text that begins with `!`"),
        ("a: !!python/object/apply:os.system [id]\n", (1, 4), "tag !!python", "quote"),
        ("a: 1\n---\nb: 2\n", (2, 1), "a second document", "remove the `---`"),
        ("%YAML 1.1\n---\na: yes\n", (1, 1), "YAML 1.1", ""),
        ("- a\n", (1, 1), "is a mapping of fields", "version: 1"),
        ("", (0, 0), "is empty", ""),
        ("# nothing\n", (0, 0), "is empty", ""),
        ("a: b\0c\n", (1, 5), "U+0000", "remove it"),
        (b"a: 1\nb: \xff\n", (2, 4), "is not UTF-8", "save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), (1, 1), "is not UTF-8", ""),
        ('a: "\\UFFFFFFFF"\n', (0, 0), "is not YAML", "escapes"),
        ("a: &x [*x]\n", (1, 8), "inside what it refers to", ""),
        ("? " * 3000, (1, 81), "nested deeper", ""),
    ],
)
def test_unreadable_files_say_what_to_do(
    tmp_path: Path, text: str | bytes, place: tuple[int, int], message: str, hint: str
) -> None:
    """What YAML itself trips over is explained, at the place where it is."""
    fault = refusal(tmp_path, text)
    assert (fault.line, fault.column) == place
    assert message in fault.message
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("text", "place", "path", "message", "hint"),
    [
        ("a: {sql: f(a, b)}", (1, 15), "a", "`b)` is a key without a value", "put the whole text in quotes"),
        ("a: [f(x, y), z]", (1, 5), "a[0]", "the comma tears `f(x, y)` in two", "quotes"),
        ("a: 1\nb: 2\na: 3", (3, 1), "a", "is given twice", "keep one"),
        ("z: {k: 1, k: 2}", (1, 11), "z.k", "is given twice", "keep one"),
        ("a: 00123", (1, 4), "a", "would lose its leading zeros", '"00123"'),
        ("a: [.nan]", (1, 5), "a[0]", "JSON has no number .nan", "quote it"),
        ("a: 1e999", (1, 4), "a", "too large", "quote it"),
        ('a: "\\ud83d"', (1, 4), "a", "half of a surrogate pair", ""),
        ("a: {1: x}", (1, 5), "a", "the key 1 is not text", '"1"'),
        ("a: {null: x}", (1, 5), "a", "the key null is not text", '"null"'),
        ("? [x]\n: y", (1, 3), "", "the key [x] is not text", ""),
        ("a: &a {b: 1}\nc:\n  <<: *a", (3, 3), "c", "no merge key", "defaults"),
    ],
)
def test_slips_leave_the_rest_readable(
    tmp_path: Path, text: str, place: tuple[int, int], path: str, message: str, hint: str
) -> None:
    """What is legal YAML but cannot be meant is a fault, and the rest of the file is still read."""
    document = read(tmp_path, f"{text}\nlast: here\n")
    (fault,) = document.faults
    assert (fault.line, fault.column, fault.path) == (*place, path)
    assert message in fault.message
    assert hint in fault.hint
    assert document.data["last"] == "here"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
        ),
        "a: " + "x" * 50_000_000,
        "[" * 1_000_000,
        "{a: " * 200_000,
        "- " * 500_000,
        "".join(f"k{number}: 1\n" for number in range(MOST_NODES)),
        "\n" * 1_000_000,
    ],
    ids=["laughs", "large", "brackets", "braces", "dashes", "keys", "lines"],
)
def test_hostile_files_are_refused(tmp_path: Path, text: str) -> None:
    """No file takes more than its bounded share of time and memory: the bounds stop it, not a timeout."""
    fault = refusal(tmp_path, text)
    bounds = (f"{MOST_NODES:,} values", f"larger than {MOST_BYTES // 1024} KB", f"deeper than {DEEPEST}", "is empty")
    assert any(bound in fault.message for bound in bounds)


def test_no_file_at_all(tmp_path: Path) -> None:
    """A missing file, a folder, a device and a path that is none are refused like any other fault."""
    for path in (tmp_path / "missing.yaml", tmp_path, Path("/dev/zero"), Path("a\0b")):
        with pytest.raises(JobError) as caught:
            read_document(path, "job file")
        assert caught.value.faults[0].line == 0


PIECES = st.sampled_from(
    [
        *"abc:-?{}[],&*!|>'\"%@`#~.\\01 \n\t",
        "\n  ",
        ": ",
        "- ",
        "<<",
        "&a ",
        "*a",
        "!!str",
        "---\n",
        "...\n",
        "\\u",
        "é",
        "\x85",
    ]
)


@settings(max_examples=examples(400))
@given(st.lists(PIECES, max_size=40).map("".join) | st.text(alphabet=string.printable, max_size=60))
@example("{a, b}")
@example("a: |9\n x")
@example("%TAG ! x\n--- !a b")
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No text makes the reader raise anything but JobError, and all faults have places inside the file."""
    lines = text.count("\n") + text.count("\r") + 2
    try:
        faults = read(tmp_path_factory.mktemp("fuzz"), text).faults
    except JobError as error:
        faults = error.faults
        assert faults
    assert all(0 <= fault.line <= lines for fault in faults)


# -- positions -------------------------------------------------------------------------------------------------------

SCALARS = """\
plain: total > 0
single: 'it''s > x'
double: "a\\tb \\u0041 > c"
literal: |
  foo
    bar > 1

  baz
blank: |-

   foo
    > bar
folded: >
  foo
  bar > 1

  baz
spread: foo
   bar
   baz > q
broken: "foo
   bar > \\
   z"
long: {sql: "x > 1"}
tagged: !!str  a > b
anchored: &x a > b
list:
  - >-
    x
    > y
"""


def test_offsets_are_followed_back_into_the_file(tmp_path: Path) -> None:
    """Every visible character of every kind of scalar is found where it stands; a fold's space is its line break."""
    document = read(tmp_path, SCALARS)
    lines = [f"{line}\n" for line in SCALARS.split("\n")]
    for name, value in document.data.items():
        path = "list[0]" if name == "list" else name
        text = value[0] if name == "list" else value if isinstance(value, str) else value["sql"]
        for offset, character in enumerate(text):
            line, column = document.locate(path, offset)
            found = lines[line - 1][column - 1]
            escaped = found == "\\" and character in "\tA"
            assert found == character or escaped or (character == " " and found in "\n\\"), (name, offset)


def test_offsets_that_cannot_be_followed_give_the_start(tmp_path: Path) -> None:
    """A stated indentation, an offset beyond the text and a field that is no text give the scalar's own place."""
    document = read(tmp_path, "a: |2\n    x\nb: text\nc: [1]\n")
    assert document.locate("a", 3) == (1, 4)
    assert document.locate("b", 99) == (3, 4)
    assert document.locate("c", 1) == (4, 4)


def test_paths_are_found_as_people_write_them(tmp_path: Path) -> None:
    """Dotted keys, places of lists, keys, defaults of calls, and the nearest thing around what is not there."""
    text = """\
defaults: {timestamp: at, message_key: id}
calls:
  - type: track
    properties:
      a.b: x
      "*": {exclude: [z]}
"""
    document = read(tmp_path, text)
    assert document.locate("calls[0].properties.a.b") == (5, 12)
    assert document.locate("calls[0].properties.a.b", key=True) == (5, 7)
    assert document.locate("calls[0].properties.*.exclude[0]") == (6, 23)
    assert document.locate("calls[0].timestamp") == (1, 23)
    assert document.locate("calls[0].message_key[0]") == (1, 40)
    assert document.locate("calls[0].userId") == (3, 5)
    assert document.locate("calls[9].userId") == (3, 3)
    assert document.written("calls[0].timestamp") == "defaults.timestamp"
    assert document.written("calls[0].type") == "calls[0].type"
    assert document.locate("nowhere.at.all") == (1, 1)


def test_field_path() -> None:
    """Locations are written as people read them."""
    assert field_path(("calls", 0, "properties", "a.b")) == "calls[0].properties.a.b"
    assert field_path(()) == ""


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "near"),
    [("userID", "userId"), ("user_id", "userId"), ("timestmp", "timestamp"), ("zzz", ""), ("TRAITS", "traits")],
)
def test_nearest(name: str, near: str) -> None:
    """Misspellings, other case and underscores find the name that was meant; strangers find none."""
    known = ["userId", "anonymousId", "timestamp", "traits"]
    assert nearest(name, known) == near
    assert suggest(name, known) == (f'did you mean "{near}"?' if near else "")


def test_faults_are_bounded_and_not_repeated_inside_broken_parts(tmp_path: Path) -> None:
    """A part left out takes its inner faults with it, and a hostile file cannot make faults without end."""
    faults = Faults(read(tmp_path, "a: {b: 1}\nc: 2\n"))
    faults.broken.add("a")
    faults.add("a.b", "inside")
    assert faults.found == []
    for number in range(1000):
        faults.add("c", f"fault {number}")
    assert faults.full
    assert len(faults.found) < 1000
