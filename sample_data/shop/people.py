"""What all exports of the sample shop share: its customers, its clock, and how a cell of CSV is written."""

import random
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

FIRST_DAY = date(2019, 1, 7)
LAST_DAY = date(2024, 12, 20)
CUSTOMERS = 1_200

FIRST_NAMES = (
    "Ada", "Zoë", "José", "Łukasz", "Søren", "Renée", "Thị Mai", "Ольга", "明", "أحمد", "Siobhán", "Jürgen", "Grace",
    "Mateus", "Ngozi", "Aiko", "Björk", "Chloé", "Dmitri", "Eleni", "NaN", "Null", "Fatima", "Gaël", "Hans-Peter",
)  # fmt: skip
LAST_NAMES = (
    "Lovelace", "O'Brien", "Núñez", "Wójcik", "Kierkegård", "Dupont", "Nguyễn", "Иванова", "李", "حسن", "Ó Murchú",
    "Müller", "de la Cruz", "True", "Okafor", "Tanaka", "Guðmundsdóttir", "Lefèvre", "van der Berg", "Παπαδοπούλου",
)  # fmt: skip
CITIES = (
    ("Boston", "02134", "US"), ("Newark", "07102", "US"), ("San Juan", "00901", "US"), ("Zürich", "8001", "CH"),
    ("København", "1050", "DK"), ("Kraków", "30-001", "PL"), ("Montréal", "H2X 1Y4", "CA"), ("東京", "100-0001", "JP"),
    ("New York", "10001", "US"), ("Hartford", "06103", "US"), ("São Paulo", "01310-100", "BR"),
    ("Ciudad de México", "06000", "MX"), ("Rīga", "LV-1050", "LV"), ("Αθήνα", "105 51", "GR"),
)  # fmt: skip
NOTES = (
    'Says "only oolong", twice', "Ring the bell,\nthen wait a minute", "C:\\temp\\list.csv\tcol", "=SUM(A1:A9)",
    "🫖🍵 loves samples 👩‍👩‍👧", "línea 1\r\nlínea 2", "שלום, call in the morning",
    "zero\u200bwidth and\u2028separator", " padded ", "{'not': json}",
)  # fmt: skip
PLANS = ("basic", "basic", "basic", "club", "club", "cellar")

Row = list[str | None]


@dataclass(frozen=True)
class Customer:
    """One person whom every file knows by the same id."""

    customer_id: str
    first_name: str
    last_name: str
    email: str
    place: tuple[str, str, str]
    joined: datetime


def generator(name: str) -> random.Random:
    """A generator of its own for each file: a change in one leaves the others as they were."""
    return random.Random(f"backfill samples, {name}")


def moment(rng: random.Random, earliest: date = FIRST_DAY) -> datetime:
    """A naive time in shop hours, later days more likely than early ones: the shop grows."""
    days = (LAST_DAY - earliest).days
    day = earliest + timedelta(days=int(days * rng.random() ** 0.6))
    return datetime(day.year, day.month, day.day) + timedelta(seconds=rng.randrange(8 * 3600, 22 * 3600))  # noqa: DTZ001


def customers() -> list[Customer]:
    """The people of the shop, in the order of their ids ("000101" upward)."""
    rng = generator("customers")
    people = []
    for number in range(101, 101 + CUSTOMERS):
        first, last = rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)
        email = f"customer.{number}@example.{rng.choice(('com', 'org', 'net'))}"
        people.append(Customer(f"{number:06}", first, last, email, rng.choice(CITIES), moment(rng)))
    return people


def identifier(rng: random.Random) -> str:
    """A random-looking UUID, the same one every time."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def cell(value: str | None, delimiter: str) -> str:
    """One CSV cell: null is empty, the empty text is quoted, and quotes stand only where they must."""
    if value is None:
        return ""
    if value == "" or any(mark in value for mark in (delimiter, '"', "\n", "\r")):
        return '"' + value.replace('"', '""') + '"'
    return value


def csv_text(rows: Iterable[Sequence[str | None]], delimiter: str = ",") -> str:
    """The rows as CSV with LF line ends."""
    return "".join(delimiter.join(cell(value, delimiter) for value in row) + "\n" for row in rows)
