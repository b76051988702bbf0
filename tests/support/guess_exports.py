# ruff: noqa: E501 (a table of exports, each read at a glance)
"""Exports as tools write them, with the columns that matter in each: what `guess` is measured by."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import sqlite3
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl

#: What is right to leave open.
BLANK = "CHOOSE"
ROWS = 40
START = dt.datetime(2023, 1, 5, 7, 3, 9)  # noqa: DTZ001 (wall clocks are what exports have)


@dataclass(frozen=True)
class Export:
    """One export: how it is written, what is right to say of it, what fills its blanks (by the end of their path)."""

    name: str
    write: Callable[[Path], None]
    right: dict[str, Any]
    fill: dict[str, str] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)


def moment(row: int) -> dt.datetime:
    """When row's thing happened: the days go beyond the twelfth, one each nine hours."""
    return START + dt.timedelta(hours=9 * row, seconds=row * 7)


def table(
    columns: dict[str, Callable[[int], Any]],
    sign: str = ",",
    before: str = "",
    encoding: str = "utf-8",
    rows: int = ROWS,
) -> Callable[[Path], None]:
    """Writes delimited text."""

    def write(path: Path) -> None:
        lines = [sign.join(columns), *(sign.join(str(one(row)) for one in columns.values()) for row in range(rows))]
        data = (before + "\r\n".join(lines) + "\r\n").encode(encoding)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)

    return write


def lines(make: Callable[[int], dict[str, Any]], rows: int = ROWS) -> Callable[[Path], None]:
    """Writes one JSON object a line."""

    def write(path: Path) -> None:
        data = "".join(json.dumps(make(row)) + "\n" for row in range(rows)).encode()
        if path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for hour in range(2):
                    archive.writestr(f"170/170_2023-01-05_{hour}#1.json.gz", gzip.compress(data if not hour else b""))
        else:
            path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)

    return write


def frame(columns: dict[str, Callable[[int], Any]]) -> pl.DataFrame:
    """The rows as a frame."""
    return pl.DataFrame({name: [one(row) for row in range(ROWS)] for name, one in columns.items()})


def parquet(columns: dict[str, Callable[[int], Any]], *, utc: bool = False) -> Callable[[Path], None]:
    """Writes Parquet; with `utc` its times are instants."""

    def write(path: Path) -> None:
        made = frame(columns)
        (made.with_columns(pl.selectors.datetime().dt.replace_time_zone("UTC")) if utc else made).write_parquet(path)

    return write


def workbook(columns: dict[str, Callable[[int], Any]], *, title: bool = False) -> Callable[[Path], None]:
    """Writes a workbook of one sheet; with a title its header is in the third row."""

    def write(path: Path) -> None:
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        if title:
            sheet.append(["Bookings of the spring"])
            sheet.append([])
        sheet.append(list(columns))
        for row in range(ROWS):
            sheet.append([one(row) for one in columns.values()])
        book.save(path)

    return write


def sqlite(name: str, columns: dict[str, Callable[[int], Any]]) -> Callable[[Path], None]:
    """Writes a database of one table."""

    def write(path: Path) -> None:
        with sqlite3.connect(path) as made:
            made.execute(f"CREATE TABLE {name} ({', '.join(columns)})")
            marks = ", ".join("?" * len(columns))
            values = [[one(row) for one in columns.values()] for row in range(ROWS)]
            made.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
        made.close()

    return write


def user(row: int) -> str:
    """One of seven users."""
    return f"c-{row * 5 % 7:03}"


def address(row: int) -> str:
    """An address for each row."""
    return f"ada.{row}@example.org"


def stamp(pattern: str) -> Callable[[int], str]:
    """The row's moment as text."""
    return lambda row: moment(row).strftime(pattern)


def short(row: int) -> str:
    """A US time without leading zeros, as Excel in the United States writes it."""
    at = moment(row)
    return f"{at.month}/{at.day}/{at.year} {(at.hour - 1) % 12 + 1}:{at.minute:02} {'AM' if at.hour < 12 else 'PM'}"


def euros(row: int) -> str:
    """An amount with a decimal comma, some in thousands."""
    return f"{row % 3 + 1}.{row:03},{row:02}" if row % 4 == 0 else f"{row + 9},{row:02}"


def serial(row: int) -> float:
    """The row's moment as a spreadsheet's days."""
    return round((moment(row) - dt.datetime(1899, 12, 30)) / dt.timedelta(days=1), 6)  # noqa: DTZ001


def epoch(row: int, factor: int = 1) -> int:
    """The row's moment since 1970."""
    return int(moment(row).replace(tzinfo=dt.UTC).timestamp()) * factor


def names(row: int) -> str:
    """The name of one of four events."""
    return ("Signed Up", "Cart Viewed", "Order Completed", "Logged In")[row % 4]


ISO, ISO_Z, DAY = "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"
EXPORTS = [
    Export(
        "orders.csv",
        table({"order_id": lambda r: 70001 + r, "customer_id": user, "total": lambda r: f"{r}.50", "ordered_at": stamp(ISO)}),
        {"type": "track", "userId": "customer_id", "message_key": ["order_id"], "timestamp": "ordered_at", "event": BLANK,
         "zone": BLANK, "column total": "decimal", "column ordered_at": "timestamp"},
    ),
    Export(
        "bestellungen.csv",
        table({"Bestellnummer": lambda r: f"B{r:05}", "Kundennummer": user, "Bestelldatum": stamp("%d.%m.%Y %H:%M"),
               "Betrag": euros}, ";"),
        {"type": "track", "delimiter": ";", "userId": "Kundennummer", "message_key": ["Bestellnummer"], "zone": BLANK,
         "timestamp": "Bestelldatum", "column Bestelldatum": {"type": "timestamp", "format": "%d.%m.%Y %H:%M"},
         "column Betrag": {"type": "decimal", "decimal": ","}, "event": BLANK},
    ),
    Export(
        "customers.csv",  # last names are unique by chance, and no key
        table({"CustomerId": lambda r: r + 1, "FirstName": lambda r: f"F{r % 9}", "LastName": lambda r: f"L{r}",
               "Country": lambda r: "Norway", "Email": lambda r: f"u{r}@example.org"}),
        {"type": "identify", "userId": "CustomerId", "message_key": ["CustomerId"], "timestamp": BLANK},
        fill={"timestamp": '{value: "2024-01-31T00:00:00Z"}'},
    ),
    Export(
        "titled.xlsx",
        workbook({"Booking": lambda r: f"B-{r}", "Guest": user, "Booked on": moment, "Nights": lambda r: r % 5}, title=True),
        {"type": "track", "message_key": ["Booking"], "timestamp": "Booked on", "event": BLANK, "zone": BLANK,
         "header_row": 3, "userId": BLANK},
        fill={"userId": "Guest"},
    ),
    Export(
        "hubspot-contacts.csv",
        table({"Record ID": lambda r: 9_000_101 + r, "First Name": lambda r: f"Ada{r}", "Last Name": lambda r: "Byron",
               "Email": address, "Create Date": stamp("%Y-%m-%d %H:%M")}),
        {"type": "identify", "userId": "Record ID", "message_key": ["Record ID"], "timestamp": "Create Date",
         "column Record ID": "text", "zone": BLANK},
    ),
    Export(
        "transactions.csv",
        table({"Transaction ID": lambda r: f"T{r:07}", "Customer Email": lambda r: f"{user(r)}@example.org", "Date": short,
               "Amount": lambda r: f'"{r % 3 + 1},{r:03}.00"'}),
        {"type": "track", "userId": "Customer Email", "message_key": ["Transaction ID"], "timestamp": "Date",
         "column Date": {"type": "timestamp", "format": "%m/%d/%Y %I:%M %p"},
         "column Amount": {"type": "decimal", "decimal": "."}, "zone": BLANK, "event": BLANK},
    ),
    Export(
        "early-month.csv",
        table({"order_id": lambda r: f"o{r}", "customer_id": user, "date": lambda r: f"{r % 12 + 1}/{r % 9 + 1}/2009 0:00:00"}),
        {"type": "track", "userId": "customer_id", "message_key": ["order_id"], "timestamp": "date",
         "column date.format": BLANK, "zone": BLANK, "event": BLANK},
        {"date.format": '"%d/%m/%Y %H:%M:%S"'},
    ),
    Export(
        "excel-as-csv.csv",
        table({"Invoice No": lambda r: f"INV-{r}", "Customer No": user, "Invoice Date": serial, "Net": lambda r: r * 3}, ";"),
        {"type": "track", "delimiter": ";", "userId": "Customer No", "message_key": ["Invoice No"],
         "timestamp": "Invoice Date", "column Invoice Date": {"type": "timestamp", "format": "excel"}, "zone": BLANK,
         "event": BLANK},
    ),
    Export(
        "sales.xlsx",
        workbook({"Order ID": lambda r: f"o-{r}", "Customer ID": user, "Order Date": moment, "Quantity": lambda r: r % 5}),
        {"type": "track", "userId": "Customer ID", "message_key": ["Order ID"], "timestamp": "Order Date", "zone": BLANK,
         "event": BLANK},
    ),
    Export(
        "general-format.xlsx",
        workbook({"Order ID": lambda r: f"o-{r}", "Customer ID": user, "Order Date": serial}),
        {"type": "track", "userId": "Customer ID", "message_key": ["Order ID"], "zone": BLANK, "event": BLANK,
         "timestamp": {"column": "Order Date", "format": "excel"}},
    ),
    Export(
        "app-signups.csv.gz",
        table({"uuid": lambda r: f"{r:08x}-0000-4000-8000-000000000000", "device_id": lambda r: f"d{r}", "user_id": user,
               "event": names, "created_at": lambda r: epoch(r, 1000)}),
        {"type": "track", "userId": "user_id", "anonymousId": "device_id", "message_key": ["uuid"], "event": "event",
         "timestamp": "created_at", "column created_at": {"type": "timestamp", "format": "epoch_ms"}},
    ),
    Export(
        "events.ndjson",
        lines(lambda r: {"id": f"e{r}", "event_name": names(r), "user_id": user(r), "ts": epoch(r),
                         "props": {"plan": "pro", "n": r}}),
        {"type": "track", "userId": "user_id", "message_key": ["id"], "event": "event_name",
         "timestamp": {"column": "ts", "format": "epoch_s"}, "column props": "json"},
    ),
    Export(
        "web.jsonl",
        lines(lambda r: {"messageId": f"m{r}", "anonymousId": f"a{r % 9}", "userId": user(r), "event": names(r),
                         "timestamp": moment(r).isoformat() + "+02:00", "context": {"ip": "203.0.113.9"}}),
        {"type": "track", "userId": "userId", "anonymousId": "anonymousId", "message_key": ["messageId"], "event": "event",
         "timestamp": "timestamp", "column timestamp": "timestamp"},
    ),
    Export(
        "warehouse.parquet",
        parquet({"order_id": lambda r: 2**53 + 7 + r, "customer_id": lambda r: r % 7 + 100, "placed_at": moment,
                 "updated_at": lambda r: moment(r + 3), "total": lambda r: r / 4}, utc=True),
        {"type": "track", "userId": "customer_id", "message_key": ["order_id"], "timestamp": "placed_at", "event": BLANK},
    ),
    Export(
        "spark.parquet",
        parquet({"event_id": lambda r: f"e{r}", "member_id": user, "action": names, "event_time": moment}),
        {"type": "track", "userId": "member_id", "message_key": ["event_id"], "event": "action", "timestamp": "event_time",
         "zone": BLANK},
    ),
    Export(
        "shop.db",
        sqlite("activity", {"id": lambda r: r + 1, "user_id": user, "activity": names, "occurred_at": stamp(ISO)}),
        {"type": "track", "userId": "user_id", "message_key": ["id"], "event": "activity", "timestamp": "occurred_at",
         "column occurred_at": "timestamp", "zone": BLANK},
    ),
    Export(
        "pageviews.tsv",
        table({"visited_at": stamp(ISO_Z), "visitor_id": lambda r: f"v{r % 11}", "user_id": lambda r: user(r) if r % 3 else "",
               "url": lambda r: f"https://shop.example/{r % 5}", "referrer": lambda r: ""}, "\t"),
        {"type": "page", "userId": "user_id", "anonymousId": "visitor_id", "timestamp": "visited_at", "message_key": BLANK},
        {"message_key": "[visitor_id, visited_at]"},
    ),
    Export(
        "users.csv",
        table({"id": lambda r: f"{r + 101:06}", "email": address, "first_name": lambda r: "Zoë", "zip": lambda r: f"0{r:04}",
               "birthday": lambda r: f"19{60 + r % 40}-02-1{r % 10}", "created_at": stamp(ISO_Z),
               "updated_at": lambda r: moment(r + 9).strftime(ISO_Z)}),
        {"type": "identify", "userId": "id", "message_key": ["id"], "timestamp": "created_at", "column id": "text",
         "column zip": "text", "column birthday": "date"},
    ),
    Export(
        "report.txt",
        table({"Ticket No": lambda r: f"#{r}", "Contact ID": user, "Opened at": stamp("%d-%b-%Y %H:%M:%S")}, "|",
              "Tickets by day\r\n\r\n"),
        {"type": "track", "format": "csv", "delimiter": "|", "userId": "Contact ID", "message_key": ["Ticket No"],
         "timestamp": "Opened at", "column Opened at": {"type": "timestamp", "format": "%d-%b-%Y %H:%M:%S"}, "zone": BLANK,
         "event": BLANK},
    ),
    Export(
        "bigquery.csv",
        table({"event_id": lambda r: f"x{r}", "user_id": user, "event_type": names,
               "event_timestamp": lambda r: moment(r).strftime(ISO) + (f".{r:06}" if r % 5 else "") + " UTC"}),
        {"type": "track", "userId": "user_id", "message_key": ["event_id"], "event": "event_type",
         "timestamp": "event_timestamp",
         "column event_timestamp": {"type": "timestamp", "format": "%Y-%m-%d %H:%M:%S%.f UTC"}},
    ),
    Export(
        "from-r.csv",
        table({'""': lambda r: f'"{r + 1}"', '"customer_id"': lambda r: f'"{user(r)}"', '"order_date"': stamp(DAY),
               '"amount"': lambda r: "NA" if r % 6 == 2 else r / 2}),
        {"type": "track", "userId": "customer_id", "timestamp": "order_date", "column order_date": "date", "zone": BLANK,
         "column amount": "decimal", "nulls": ["", "NA"], "message_key": BLANK, "event": BLANK},
    ),
    Export(
        "commandes.csv",
        table({"numero": lambda r: f"N{r}", "client": user, "date de commande": stamp("%d/%m/%Y"),
               "libellé": lambda r: "Thé vert, façon été", "prix": euros}, ";", encoding="cp1252"),
        {"type": "track", "encoding": BLANK, "delimiter": ";", "userId": "client", "message_key": ["numero"],
         "timestamp": "date de commande", "column date de commande": {"type": "timestamp", "format": "%d/%m/%Y"},
         "column prix": {"type": "decimal", "decimal": ","}, "zone": BLANK, "event": BLANK},
    ),
    Export(
        "charges.csv",
        table({"id": lambda r: f"ch_{r}", "Created (UTC)": stamp(ISO), "Amount": lambda r: f"{r}.00", "Currency": lambda r: "usd",
               "Customer Email": lambda r: f"{user(r)}@example.org"}),
        {"type": "track", "userId": "Customer Email", "message_key": ["id"], "timestamp": "Created (UTC)",
         "column Created (UTC)": {"type": "timestamp", "timezone": "UTC"}, "event": BLANK},
    ),
    Export(
        "mainframe.csv",
        table({"CUST_ID": user, "TXN_DATE": stamp("%Y%m%d"), "TXN_REF": lambda r: f"R{r}"}),
        {"type": "track", "userId": "CUST_ID", "message_key": ["TXN_REF"], "timestamp": "TXN_DATE",
         "column TXN_DATE": {"type": "timestamp", "format": "%Y%m%d"}, "zone": BLANK, "event": BLANK},
    ),
    Export(
        "companies.ndjson",
        lines(lambda r: {"account_id": f"acc-{r}", "owner_id": user(r), "name": f"Shop {r}", "employees": r * 10,
                         "created_at": moment(r).isoformat() + "Z"}),
        {"type": "group", "groupId": "account_id", "userId": "owner_id", "message_key": ["account_id"],
         "timestamp": "created_at"},
    ),
    Export(
        "two-users.csv",
        table({"event_id": lambda r: f"e{r}", "event": names, "user_id": user, "customer_id": lambda r: f"k{r % 5}",
               "timestamp": stamp(ISO_Z)}),
        {"type": "track", "userId": BLANK, "message_key": ["event_id"], "event": "event", "timestamp": "timestamp"},
        {"userId": "user_id"},
    ),
    Export(
        "screens.ndjson.gz",
        lines(lambda r: {"uuid": f"u{r}", "device_id": f"d{r % 9}", "screen_name": "Home", "time": epoch(r, 1000)}),
        {"type": "screen", "anonymousId": "device_id", "message_key": ["uuid"], "name": "screen_name",
         "timestamp": {"column": "time", "format": "epoch_ms"}},
    ),
    Export(
        "archive.ndjson",
        lines(lambda r: {"type": ("track", "identify")[r % 2], "messageId": f"m{r}", "anonymousId": "a", "userId": user(r),
                         "timestamp": moment(r).isoformat() + "Z", "originalTimestamp": moment(r).isoformat() + "Z",
                         "context": {"ip": "203.0.113.9"}, "integrations": {}, "channel": "client", "event": names(r),
                         "properties": {"n": r}, "traits": {"plan": "pro"}}),
        {"type": "track", "userId": "userId", "anonymousId": "anonymousId", "message_id": "messageId", "event": "event",
         "timestamp": "timestamp"},
    ),
    Export(
        "mixpanel.ndjson",
        lines(lambda r: {"event": names(r), "properties": {"time": epoch(r), "distinct_id": user(r), "$insert_id": f"i{r}",
                                                           "$user_id": user(r)}}),
        {"type": "track", "event": "event", "message_key": [{"sql": "properties ->> '$.\"$insert_id\"'"}],
         "timestamp": BLANK},
    ),
    Export(
        "amplitude.zip",
        lines(lambda r: {"event_type": names(r), "event_time": moment(r).strftime(ISO) + ".123000", "user_id": user(r),
                         "device_id": f"d{r % 9}", "uuid": f"u{r}", "event_properties": {"n": r}, "user_properties": {},
                         "session_id": r, "ip_address": "203.0.113.9", "os_name": "iOS", "version_name": "1.10",
                         "city": "Oslo", "country": "NO"}),
        {"type": "track", "userId": "user_id", "anonymousId": "device_id", "message_key": ["uuid"], "event": "event_type",
         "timestamp": "event_time"},
    ),
    Export(
        "posthog.jsonl.gz",
        lines(lambda r: {"uuid": f"u{r}", "event": "order completed", "distinct_id": user(r),
                         "timestamp": moment(r).isoformat() + "+00:00", "properties": {"$ip": "203.0.113.9", "n": r}}),
        {"type": "track", "userId": "distinct_id", "message_key": ["uuid"], "event": "event", "timestamp": "timestamp"},
    ),
    Export(
        "ga4.json.gz",
        lines(lambda r: {"event_name": "purchase", "event_timestamp": str(epoch(r, 10**6)), "user_pseudo_id": "1.2",
                         "user_id": user(r), "event_bundle_sequence_id": str(r), "event_date": "20230105",
                         "event_params": [{"key": "value", "value": {"int_value": str(r)}}], "items": [],
                         "device": {"language": "en", "operating_system": "iOS"}, "geo": {"country": "NO", "city": "Oslo"}}),
        {"type": "page", "userId": "user_id", "anonymousId": "user_pseudo_id",
         "timestamp": {"column": "event_timestamp", "format": "epoch_us"}},
    ),
]  # fmt: skip
