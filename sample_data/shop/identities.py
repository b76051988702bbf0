"""The exports about people: users.csv, accounts.ndjson, shop.db and signups.tsv."""

import json
import random
import sqlite3
from contextlib import closing
from datetime import UTC, date, timedelta
from pathlib import Path

from shop.people import NOTES, PLANS, Customer, Row, csv_text, generator, identifier, moment

USER_COLUMNS = (
    "customer_id", "email", "first_name", "last_name", "phone", "city", "postal_code", "country", "birthday",
    "loyalty_points", "newsletter", "plan", "created_at", "updated_at", "notes", "internal_note",
)  # fmt: skip


def user_row(rng: random.Random, person: Customer) -> Row:
    """One sound row of users.csv, its times in New York's clock and without a zone."""
    birthday = date(1940, 1, 1) + timedelta(days=rng.randrange(24_000))
    updated = max(person.joined, moment(rng, person.joined.date()))
    return [
        person.customer_id, person.email, person.first_name, person.last_name,
        f"+1 617 555 01{rng.randrange(100):02}" if rng.random() < 0.8 else None,
        *person.place,
        birthday.isoformat() if rng.random() < 0.7 else None,
        str(rng.randrange(5_000)), rng.choice(("true", "false")), rng.choice(PLANS),
        str(person.joined), str(updated),
        rng.choice(NOTES) if rng.random() < 0.15 else None,
        "checked" if rng.random() < 0.1 else None,
    ]  # fmt: skip


def spoil_users(rows: list[Row]) -> None:
    """Give rows of users.csv the faults of a real export (see README.md)."""
    index = {name: place for place, name in enumerate(USER_COLUMNS)}
    changes: tuple[tuple[int, str, str | None], ...] = (
        (40, "customer_id", "000000"),
        (41, "customer_id", "n/a"),
        (42, "customer_id", "NULL"),
        (77, "customer_id", None),
        (120, "updated_at", "2021-03-14 02:30:00"),  # New York's clocks went from 2:00 to 3:00: no such time
        (121, "updated_at", "2021-11-07 01:30:00"),  # the hour that came twice
        (122, "created_at", "2021-03-14 02:45:00"),  # the same two as a trait, where the job states a policy
        (123, "created_at", "2020-11-01 01:15:00"),
        (200, "updated_at", "2021-13-45 10:00:00"),
        (201, "updated_at", "1968-05-01 12:00:00"),
        (202, "updated_at", None),
        (260, "birthday", "1985-02-31"),
        (261, "birthday", "unknown"),
        (300, "loyalty_points", "1,250"),
        (301, "loyalty_points", "12.5"),
        (350, "notes", ""),
        (351, "notes", '"'),
    )
    for row, column, value in changes:
        rows[row][index[column]] = value
    rows.insert(500, list(rows[480]))
    rows.insert(900, list(rows[481]))
    twin = list(rows[600])
    twin[index["email"]] = "someone.else@example.com"
    rows.insert(601, twin)
    rows.insert(700, rows[10][:9])
    rows.insert(1_000, [*rows[11], "one", "two many"])


def users(folder: Path, people: list[Customer]) -> None:
    """users.csv: what the shop knew last of each customer."""
    rng = generator("users")
    rows = [user_row(rng, person) for person in people]
    spoil_users(rows)
    (folder / "users.csv").write_bytes(csv_text([USER_COLUMNS, *rows]).encode())


def account(rng: random.Random, number: int, owner: Customer) -> dict[str, object]:
    """One sound business account, with nested objects and lists."""
    city, postal_code, country = owner.place
    roles = ("billing", "office")[: rng.randrange(3)]
    return {
        "account_id": f"acc-{number:04}",
        "owner_id": owner.customer_id,
        "name": f"{owner.last_name} & {rng.choice(('Söhne', 'Daughters', 'Co.', 'Теа Хаус', '茶屋'))}",
        "employees": rng.choice((None, 3, 12, 40, 250)),
        "plan": rng.choice(("office", "café", "wholesale")),
        "credit_limit": f"{rng.randrange(500, 20_000)}.{rng.randrange(100):02}",
        "address": {
            "street": f"{rng.randrange(1, 400)} Pier Rd",
            "city": city,
            "postal_code": postal_code,
            "country": country,
        },
        "contacts": [{"role": role, "email": f"{role}.{number}@example.com"} for role in roles],
        "tags": rng.sample(("priority", "net-30", "tea room", "fragile ☕", "no-plastic"), rng.randrange(4)),
        "opened_at": moment(rng, owner.joined.date()).replace(tzinfo=UTC).isoformat(),
    }


def accounts(folder: Path, people: list[Customer]) -> None:
    """accounts.ndjson: nested objects; one key appears in the last record only, one line is not JSON."""
    rng = generator("accounts")
    records = [account(rng, number, rng.choice(people)) for number in range(1, 241)]
    records[30]["account_id"] = None
    records[31]["account_id"] = "acc-" + "9" * 600
    records[60]["owner_id"] = None
    records[61]["owner_id"] = "-1"
    records[90]["opened_at"] = "last spring"
    records[120]["bank_reference"] = 12345678901234567890123456789012345678901
    records[121]["name"] = 'Tab\t"quote" \\ slash / \u0001 🫖'
    records[150] = dict(records[20])
    records[151] = {**records[21], "plan": "wholesale, renamed"}
    records[-1]["closed"] = {"reason": "moved", "on": "2024-11-30"}
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    lines.insert(200, lines[199][: len(lines[199]) // 2])  # a line that a full disk cut short
    (folder / "accounts.ndjson").write_bytes("".join(line + "\n" for line in lines).encode())


def identity_merges(folder: Path, people: list[Customer]) -> None:
    """shop.db: an SQLite file with guests who later turned out to be customers."""
    rng = generator("identity merges")
    merges: list[tuple[int, str | None, str | None, int, int]] = []
    for number, person in enumerate(sorted(rng.sample(people, 160), key=lambda person: person.joined), start=1):
        merged = int(person.joined.replace(tzinfo=UTC).timestamp()) + rng.randrange(86_400)
        merges.append((number, f"guest-{rng.getrandbits(40):010x}", person.customer_id, merged, rng.randrange(1, 4)))
    merges[20] = (21, None, *merges[20][2:])
    merges[21] = (22, "anonymous", *merges[21][2:])
    merges[50] = (51, merges[50][1], "00000000-0000-0000-0000-000000000000", *merges[50][3:])
    merges[80] = (*merges[80][:3], -86_400, merges[80][4])
    merges[100] = (101, *merges[99][1:])
    path = folder / "shop.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE staff (staff_id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        database.execute(
            "CREATE TABLE merges "
            "(merge_id INTEGER PRIMARY KEY, guest_id TEXT, customer_id TEXT, merged_at INTEGER, staff_id INTEGER)"
        )
        database.executemany("INSERT INTO staff VALUES (?, ?)", [(1, "Ines"), (2, "Bộ phận hỗ trợ"), (3, 'Kim "K"')])
        database.executemany("INSERT INTO merges VALUES (?, ?, ?, ?, ?)", merges)


SIGNUP_COLUMNS = (
    "signup_id", "anonymous_id", "user_id", "email", "plan", "monthly_price", "confirmed", "utm_source", "utm_medium",
    "utm_campaign", "signed_up_at",
)  # fmt: skip


CAMPAIGNS = ((None, None, None), ("newsletter", "email", "spring-🌱"), ("search", "cpc", "tea & cake"))


def signups(folder: Path, people: list[Customer]) -> None:
    """signups.tsv: tab-separated, times in milliseconds since 1970; one row becomes two calls."""
    rng = generator("signups")
    prices = {"basic": "0.00", "club": "4.90", "cellar": "12.50"}
    rows: list[Row] = []
    for number, person in enumerate(people[:700], start=5_001):
        plan = rng.choice(PLANS)
        campaign = rng.choice(CAMPAIGNS)
        when = int(person.joined.replace(tzinfo=UTC).timestamp()) * 1_000 + rng.randrange(1_000)
        confirmed = "true" if rng.random() < 0.85 else "false"
        rows.append([
            f"S-{number}", identifier(rng), person.customer_id, person.email, plan, prices[plan], confirmed, *campaign,
            str(when),
        ])  # fmt: skip
    rows[50][5] = "$4.90"
    rows[51][5] = "free"
    rows[90][2] = "10482.0"  # an id that went through a spreadsheet
    rows[130][1] = rows[130][2] = None
    rows[131][1], rows[131][2] = "anonymous", None
    rows[170][10] = "1690000000"  # seconds among milliseconds: reads as January 1970, sound but surely wrong
    rows[171][10] = "yesterday"
    rows[210][6] = "maybe"
    rows[250][10] = "4102444800000"  # the year 2100
    rows.insert(300, list(rows[299]))
    rows.insert(350, rows[20][:6])
    (folder / "signups.tsv").write_bytes(csv_text([SIGNUP_COLUMNS, *rows], "\t").encode())
