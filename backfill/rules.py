"""The rules a call must pass before it is sent: one table, and nothing else.

Codes are stable: they stand in job files (`rules: {BF105: warn}`), ledgers and scripts. BF0xx: a record could not be
read. BF1xx: a call breaks a rule. BF2xx: a timestamp cannot be used. BF3xx: all
calls together are odd. A rule whose breach the API (or a tool behind it)
answers with silence cannot be lowered (`lowerable` false).

Who sees a breach: `sources`, of records and in `query`; `encode` (`VALUE_CODES`, wherever a value stands) and
`mapping`, whose `Binder.check` asks `severity` for both; `prepare`, of whole calls (BF107, BF113, BF117, BF134: errors
without asking, for no job can lower them; BF122 has asked); `lint`,
of a whole plan (BF3xx). A new code is a line in `_TABLE`, its page in
backfill/explain/problems.toml (`make pages` carries both into
docs/problems.md), and the place that sees it.

The sources of the rules stand with their pages, in backfill/explain/problems.toml.
"""

from __future__ import annotations

import re
from typing import Final

from backfill.frozen import frozen
from backfill.records import Severity


@frozen
class Rule:
    """One rule: what is wrong, how bad it is, whether a job may lower it, and what to do."""

    code: str
    title: str
    severity: Severity
    lowerable: bool
    hint: str


_E, _W = Severity.ERROR, Severity.WARNING

_TABLE: Final = (
    # code, title, severity, may a job lower it, hint
    ("BF001", "too few fields", _E, False,
     "mend the record in the source, or check `csv.delimiter` and `csv.quote`, of fixed width the widths"),
    ("BF002", "too many fields", _E, False,
     "mend the record in the source, or check `csv.delimiter` and `csv.quote`, of fixed width the widths"),
    ("BF003", "broken quotes", _E, False, "close or double the quote in the source, or check `csv.quote`"),
    ("BF004", "bad encoding", _E, False, "write the file anew as UTF-8; of CSV, `csv.encoding` can state another"),
    ("BF005", "bad JSON", _E, False, "mend the record: one JSON object a line"),
    ("BF006", "record too long", _E, False, "look for a quote that is never closed"),
    ("BF007", "in a column `query` or `latest` reads: a value that does not fit, or a time that is no one instant",
     _E, False, "mend the value, state `ambiguous` or `nonexistent`, or declare the column as text"),
    ("BF008", "no list in the column that `explode` names", _E, False,
     "mend the value in the source: one element is a list of one, none is null or an empty list"),
    ("BF009", "unreadable record", _E, False, "mend the record in the source"),
    ("BF101", "no userId and no anonymousId", _E, False, "map a column that is never empty, or use `when`"),
    ("BF102", "no event name", _E, False, "map `event` to a column that is never empty, or to a constant"),
    ("BF103", "empty name or category", _E, False, "leave the field out, or map a column that is never empty"),
    ("BF104", "groupId missing or longer than 500 characters", _E, False, "map the column of the group's id"),
    ("BF105", "placeholder in place of an id", _E, True,  # Unify's suggested blocked values
     "clean the id, use `when`, or `placeholders` where it is a real one; it would merge strangers into one profile"),
    ("BF106", "alias without previousId or userId", _E, False, "map both to columns that are never empty"),
    ("BF107", "call larger than the limit", _E, False, "leave out or shorten its largest property"),
    ("BF108", "more than 300 properties or traits", _W, True, "Unify drops such calls in silence; send fewer"),
    ("BF109", "more than 10,000 properties or traits", _E, False, "values beyond are dropped in silence"),
    ("BF110", "integer beyond 2^53", _E, False, "send it as text: `as: text`"),
    ("BF111", "number that is not finite", _E, False, "JSON has no NaN and no infinity: clean it, or `on_bad: omit`"),
    ("BF112", "null or empty message key", _E, False, "choose key columns that are never null"),
    ("BF113", "same message id, other content", _E, False,
     "the key does not tell the rows apart: add a column to `message_key`"),
    ("BF114", "money-like property sent as text", _W, True, "declare the column as number, or use `as: number`"),
    ("BF115", "id that looks like a float", _W, True,
     "123.0 and 123 are two users: export the column as integer or text"),
    ("BF116", "message id null, empty or longer than 99 characters", _E, False, "use `message_key` instead"),
    ("BF117", "value does not fit its type", _E, False, "mend the value, declare another type, or `on_bad: omit`"),
    ("BF118", "bad value in a column that `where` reads", _E, False, "mend the value, or declare the column as text"),
    ("BF119", "id with something in it that cannot be seen, or written as a spreadsheet's formula", _E, True,
     "clean the id where it is exported, or in SQL"),
    ("BF120", "id whose last digits are lost", _E, True,
     "a spreadsheet, or a column of floats, rounded it: export the column as text from where it came"),
    ("BF121", "id with blanks at its ends", _W, True, "trim it where it is exported, or in SQL: trim(...)"),
    ("BF122", "id that differs from another one only in case, or in blanks at its ends", _W, True,
     "they are two users: write them alike where they are exported, or in SQL, by lower(trim(...))"),
    ("BF123", "object or array where a single value is wanted", _E, False, "take a single value out of it in SQL"),
    ("BF124", "email address or telephone number as an id", _W, True,
     "people change theirs: map an id that stays, and send the address as a trait"),
    ("BF125", "anonymousId that is no UUID of version 4, where Mixpanel is on", _W, True,
     "Mixpanel takes no other: map a column that holds such UUIDs, or leave it out where there is a userId"),
    ("BF126", "day as a spreadsheet counts it, in a property that is named as a date", _W, True,
     "declare the column as `{type: timestamp, format: excel, timezone: UTC}`, so that a date is sent"),
    ("BF130", "an SQL expression fails on the row", _E, False,
     "guard it, for example with TRY_CAST, nullif or CASE WHEN, or `on_bad: omit`"),
    ("BF131", "a time in the database's own form inside JSON that SQL made", _E, True,
     "write it as ISO 8601: strftime(t, '%Y-%m-%dT%H:%M:%S.%gZ')"),
    ("BF132", "JSON sent as text: every value of the column is an object or array", _W, True,
     "declare the column as json, or say `as: text`"),
    ("BF133", "number out of JSON whose last digits SQL rounded away", _E, True,
     "take the member without SQL, or by from_json as DECIMAL; where doubles will do: `rules: {BF133: ignore}`"),
    ("BF134", "a library failed on the row", _E, False,
     "please report it, with the row if you may; until it is mended, leave such rows out by `where`"),
    ("BF135", "value without an entry in `lookup`", _E, False,
     "add it to the lookup, or say `unknown: keep` or `null`; values are compared as they are (see trim, lower)"),
    ("BF140", "event that the tracking plan does not have", _W, True,
     "write its name as the plan has it (case and blanks count), add it to the plan, or leave it out by `when`"),
    ("BF141", "property that the tracking plan does not have", _W, True,
     "name it as the plan does, add it to the plan, or leave it out of the call"),
    ("BF142", "property that the tracking plan requires is missing", _W, True,
     "map a column that is never empty, or make it optional in the plan"),
    ("BF143", "property of another type than in the tracking plan", _W, True,
     "say `as: number` or `as: text`, declare the column's type, or change the plan"),
    ("BF144", "value that the tracking plan does not allow", _W, True,
     "mend the value in the source, or change the plan"),
    ("BF201", "no timestamp", _E, False,
     "map a column that is never null, or a constant, or both by coalesce(...) in SQL: undated is dated now"),
    ("BF202", "unparsable timestamp", _E, False, "mend the value, or the `format` that it is read by"),
    ("BF203", "timestamp before 1970", _E, True, "Unify does not always ingest it; mend it or use `when`"),
    ("BF204", "timestamp more than an hour in the future", _E, True, "check the format, the unit and the time zone"),
    ("BF205", "local time that occurs twice (clocks back)", _E, False,
     "state `ambiguous: earliest` or `latest` in `source.columns.COLUMN`; in a `timestamp` it is for that alone"),
    ("BF206", "local time that never was (clocks forward)", _E, False,
     "state `nonexistent: shift_forward` in `source.columns.COLUMN`; in a `timestamp` it is for that alone"),
    ("BF207", "instant in 1970, from an epoch: of another unit, or no time at all", _E, True,
     "check the unit of `format`, or use `when`"),
    ("BF301", "property whose JSON type changes", _W, True,
     "the warehouse keeps the type that comes first: make it one type, by `as` or in SQL"),
    ("BF302", "property that a warehouse leaves out, as every table has a column of its name", _W, True,
     "give the property another name, or leave it out"),
    ("BF303", "properties that become one column in a warehouse", _W, True,
     "names are written in snake case there: write each in one way, in all calls"),
    ("BF304", "text of more than 512 bytes", _W, True, "a warehouse cuts it: shorten it, or do not rely on its end"),
    ("BF306", "more than 500 event names", _W, True,
     "a warehouse makes a table of each: say what differs in a property, not in the name"),
    ("BF307", "event name with a date, an id or an address in it", _W, True,
     "say it in a property: a warehouse makes a table of each name"),
    ("BF308", "many calls at midnight in UTC", _W, True,
     "a date alone is no instant: map a column with the time of day if there is one"),
    ("BF309", "all calls at one instant", _W, True,
     "that is mostly when they were exported: map the column of when each happened"),
    ("BF310", "a few calls before 2000, the others after", _W, True,
     "dates such as 1900-01-01 stand for unknown: mend them, or use `when`"),
    ("BF311", "revenue without currency", _W, True, "Segment takes it for US dollars: add `currency`"),
    ("BF312", "properties with one value in every call", _W, True,
     "a constant tells nothing, and may be a mistake of the export: leave them out, or state them as `value`"),
    ("BF313", "instants in January 1970 that are dates of today in another unit", _W, True,
     "seconds were taken for milliseconds, or milliseconds for microseconds: mend the column, or multiply it in SQL"),
    ("BF314", "users without an identify call in any of the jobs of one command", _W, True,
     "add the job that identifies them, or mend the ids: they may be written in another way than there"),
)  # fmt: skip

CODES: Final[dict[str, Rule]] = {row[0]: Rule(*row) for row in _TABLE}


def of_all_calls(code: str) -> bool:
    """Whether a code is of all calls together: what is counted then are the calls (or names) of its findings.

    Users without an identify call (BF314) are not, though all calls tell them: each is one, with the row that has it.
    """
    return code.startswith("BF3") and code != "BF314"


#: Properties that tools sum up; as text they are worth nothing (Segment's spec: revenue is a number).
MONEY_PROPERTIES: Final = frozenset({"revenue", "price", "value", "quantity", "total"})

#: Serial days of spreadsheets that are likely to be dates of a history: 18 February 1982 to 7 April 2064.
SERIAL_DAYS: Final = (30_000, 59_999)
_DATE_NAME: Final = re.compile(
    r"(?:^|[^a-z])(?:date|datetime|timestamp|birthday|birthdate|dob)(?:$|[^a-z])|[^a-z](?:at|on)$"
)
_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def is_date_name(name: str) -> bool:
    """Whether a property's name says that it holds a day or an instant: `signup_date`, `createdAt`, not `update`."""
    return _DATE_NAME.search(_WORD_START.sub("_", name).lower()) is not None


def severity(code: str, overrides: dict[str, str]) -> Severity | None:
    """The severity of a code under a job's `rules`; None where the job ignores it. `overrides`: error, warn, ignore.

    Rules that cannot be lowered keep their severity whatever the job says (loading the job refuses such an entry).
    """
    rule = CODES[code]
    said = overrides.get(code) if rule.lowerable else None
    if said == "ignore":
        return None
    return rule.severity if said is None else (Severity.WARNING if said == "warn" else Severity.ERROR)
