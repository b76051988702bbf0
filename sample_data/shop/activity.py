"""The exports about what people did: orders.parquet, page_views.csv.gz and app_screens.csv."""

import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl

from shop.people import NOTES, Customer, Row, csv_text, generator, identifier, moment

TEAS = (
    ("OOL-050", "Oolong, Tie Guan Yin 50 g", "14.90"), ("SEN-100", "Sencha 100 g", "11.50"),
    ("DRJ-100", "Darjeeling “first flush” 100 g", "18.00"), ("PUE-357", "Pu-erh 普洱 cake 357 g", "64.95"),
    ("RBS-200", "Rooibos à la vanille 200 g", "9.20"), ("POT-001", "Teapot 0.8 l", "39.00"),
    ("CUP-002", "Cup, 2 pcs", "17.10"),
)  # fmt: skip
ITEM = pl.Struct({"sku": pl.String, "name": pl.String, "quantity": pl.Int32, "price": pl.Decimal(10, 2)})
ORDER_SCHEMA: dict[str, pl.DataType] = {
    "order_id": pl.Int64(),
    "customer_id": pl.String(),
    "anonymous_id": pl.String(),
    "ordered_at": pl.Datetime("us", "UTC"),
    "refunded_at": pl.Datetime("us", "UTC"),
    "status": pl.String(),
    "currency": pl.String(),
    "total": pl.Decimal(12, 2),
    "discount": pl.Decimal(12, 2),
    "items": pl.List(ITEM),
    "shipping": pl.Struct({"city": pl.String, "postal_code": pl.String, "country": pl.String}),
    "weight_kg": pl.Float64(),
    "carrier_reference": pl.Int64(),
    "coupon": pl.String(),
    "gift_note": pl.String(),
    "internal_note": pl.String(),
}


def order(rng: random.Random, number: int, person: Customer) -> dict[str, object]:
    """One sound order with one to four lines; every fifth is a guest's."""
    chosen = [(*tea, rng.randrange(1, 5)) for tea in rng.sample(TEAS, rng.randrange(1, 5))]
    total = sum((Decimal(price) * quantity for _, _, price, quantity in chosen), Decimal(0))
    ordered = moment(rng, person.joined.date()).replace(tzinfo=UTC)
    guest = rng.random() < 0.2
    refunded = rng.random() < 0.04
    return {
        "order_id": number,
        "customer_id": None if guest else person.customer_id,
        "anonymous_id": identifier(rng) if guest else None,
        "ordered_at": ordered + timedelta(microseconds=rng.randrange(1_000_000)),
        "refunded_at": ordered + timedelta(days=9) if refunded else None,
        "status": "test" if rng.random() < 0.02 else "refunded" if refunded else "paid",
        "currency": rng.choice(("USD", "USD", "EUR", "JPY")),
        "total": total,
        "discount": (total / 10).quantize(Decimal("0.01")) if rng.random() < 0.3 else None,
        "items": [
            {"sku": sku, "name": name, "quantity": quantity, "price": Decimal(price)}
            for sku, name, price, quantity in chosen
        ],
        "shipping": dict(zip(("city", "postal_code", "country"), person.place, strict=True)),
        "weight_kg": round(rng.uniform(0.1, 8), 3),
        "carrier_reference": 9_007_199_254_740_993 + number if rng.random() < 0.5 else None,
        "coupon": rng.choice((None, None, "SPRING", "TWO-FOR-1", "ÉTÉ")),
        "gift_note": rng.choice(NOTES) if rng.random() < 0.05 else None,
        "internal_note": "packed by K." if rng.random() < 0.1 else None,
    }


def spoil_orders(rows: list[dict[str, object]]) -> None:
    """Give orders their faults (see README.md). The rows named here are all paid ones."""
    for place in (100, 101, 200, 201, 300, 301, 302, 400, 401, 402, 500, 501, 600, 700):
        rows[place].update(status="paid", refunded_at=None)
    rows[100].update(gift_note="Dear all, " + "thank you for the tea! 🍵 " * 1_600)  # over 32 KB once encoded
    rows[101].update(gift_note="Dear all, " + "thank you for the tea! 🍵 " * 900)  # long, and within the limit
    rows[200].update(customer_id=None, anonymous_id=None)
    rows[201].update(customer_id="", anonymous_id=None)
    rows[300].update(weight_kg=float("nan"))
    rows[301].update(weight_kg=float("inf"))
    rows[302].update(weight_kg=-0.0)
    rows[400].update(ordered_at=datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    rows[401].update(ordered_at=None)
    rows[402].update(ordered_at=datetime(2099, 1, 1, tzinfo=UTC))
    rows[500].update(order_id=None)
    rows[501].update(items=[], shipping={"city": None, "postal_code": None, "country": None})
    rows.insert(702, {**rows[700], "total": Decimal("1.00")})  # the same number for another order
    rows.insert(601, dict(rows[600]))  # sent twice by the shop's own export


def orders(folder: Path, people: list[Customer]) -> None:
    """orders.parquet: decimals, line items as a list of structs, integers beyond 2^53."""
    rng = generator("orders")
    rows = [order(rng, number, rng.choice(people)) for number in range(70_001, 71_801)]
    spoil_orders(rows)
    pl.DataFrame(rows, schema=ORDER_SCHEMA, orient="row").write_parquet(folder / "orders.parquet", row_group_size=600)


PAGES = (
    ("Home", "shop", "/"),
    ("Oolong", "tea", "/tea/oolong"),
    ("Pu-erh 普洱", "tea", "/tea/pu-erh"),
    ("Basket", "shop", "/basket"),
)


def page_view(rng: random.Random, person: Customer) -> Row:
    """One sound page view; its time carries an offset and its parameters are JSON."""
    title, section, path = rng.choice(PAGES)
    offset = rng.choice(("-05:00", "-04:00", "+00:00", "Z"))
    query = rng.choice((None, {"utm_source": "newsletter"}, {"q": "thé vert", "page": 2, "filters": ["bio", "fair"]}))
    return [
        moment(rng, person.joined.date()).isoformat() + offset,
        identifier(rng), person.customer_id if rng.random() < 0.4 else None, title, section, path,
        rng.choice((None, "https://search.example/?q=tea", "https://example.org/blog")),
        None if query is None else json.dumps(query, ensure_ascii=False),
        str(rng.randrange(80, 4_000)),
    ]  # fmt: skip


def page_views(folder: Path, people: list[Customer]) -> None:
    """page_views.csv.gz: a log without ids of its own, so that true twins must both be kept."""
    rng = generator("page views")
    rows = [page_view(rng, rng.choice(people)) for _ in range(2_000)]
    rows[99] = list(rows[98])  # true twins: two quick clicks
    rows[150][0] = "2023-07-04"
    rows[151][0] = "not a time"
    rows[152][0] = "1960-01-01T00:00:00Z"
    rows[153][0] = "2098-01-01T00:00:00Z"
    rows[300][3] = ""
    rows[301][4] = ""
    rows[302][3] = None
    rows[450][7] = '{"q": "unclosed"'
    rows[600][8] = "fast"
    rows[750][1], rows[750][2] = "none", None
    rows[900].pop()
    header = ("viewed_at", "anonymous_id", "user_id", "title", "section", "path", "referrer", "params", "load_ms")
    lines = csv_text([header, *rows]).encode().splitlines(keepends=True)
    lines[1_200] = lines[1_200].replace(b"/", b"/\xff\xfe", 1)  # bytes that are not UTF-8
    (folder / "page_views.csv.gz").write_bytes(gzip.compress(b"".join(lines), compresslevel=9, mtime=0))


def app_screens(folder: Path, people: list[Customer]) -> None:
    """app_screens.csv: no header, semicolons, Latin-1; the app gave every event an id of its own."""
    rng = generator("app screens")
    screens = (("Accueil", "principal"), ("Panier", "achat"), ("Détail du thé", "catalogue"), ("Réglages", "profil"))
    rows: list[Row] = []
    for person in rng.choices(people, k=900):
        screen, section = rng.choice(screens)
        seconds = int(moment(rng, person.joined.date()).replace(tzinfo=UTC).timestamp())
        rows.append([
            identifier(rng), f"device-{rng.getrandbits(32):08x}", person.customer_id if rng.random() < 0.6 else None,
            screen, section, rng.choice(("1.9", "1.10", "2.0")), rng.choice(("iOS", "Android")),
            f"{rng.uniform(0.2, 90):.1f}", str(seconds),
        ])  # fmt: skip
    rows[40][0] = None
    rows[41][0] = rows[40 + 2][0]
    rows[80][1] = rows[80][2] = None
    rows[81][1], rows[81][2] = "0", "0-0"
    rows[120][3] = ""
    rows[121][3] = "Thé; glacé à l'été"
    rows[160][7] = "NaN"
    rows[161][7] = "1e1"
    rows[200][8] = "-86400"
    rows.insert(300, list(rows[299]))
    rows.insert(400, [*rows[399][:8]])
    (folder / "app_screens.csv").write_bytes(csv_text(rows, ";").encode("latin-1"))
