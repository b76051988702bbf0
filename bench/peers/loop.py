"""The loop that comes to mind first, FILE.ndjson: a line, its object, its id, its call as JSON; nothing is checked."""

import sys
import uuid
from pathlib import Path

import orjson

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:bench:orders")


def main(path: Path) -> None:
    """Encode every order."""
    size = 0
    with path.open("rb") as file:
        for line in file:
            row = orjson.loads(line)
            call = {
                "type": "track",
                "messageId": str(uuid.uuid5(NAMESPACE, f'["{row["order_id"]}"]')),
                "userId": row.pop("customer_id"),
                "timestamp": row.pop("ordered_at"),
                "event": "Order Completed",
                "properties": {name: value for name, value in row.items() if value is not None},
                "integrations": {"All": False},
            }
            size += len(orjson.dumps(call))
    print(size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
