"""`python -m bench.mysqldump`: reading a dump of MariaDB beside loading it into a server, in turn, on this machine.

Read means staged: found, checked, of its types, and frozen as Parquet, by a process whose start counts. The server is
as it is installed, without binary log and with memory for the whole table, and its own CPU time counts. It is Debian's:
`mariadb-server-core` and `mariadb-client`.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from bench.process import run
from tests.support.mariadb import MariaDb, running_mariadb

BOUND = 3.0
SERVER = (
    "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=256M", "--innodb-flush-log-at-trx-commit=1",
    "--innodb-doublewrite=1",
)  # fmt: skip
TABLE = """
CREATE TABLE orders (
    id bigint unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, customer_id varchar(36) NOT NULL, email varchar(120),
    status enum('new','paid','sent') NOT NULL, quantity int NOT NULL, total decimal(10,2) NOT NULL, discount double,
    ordered_at datetime NOT NULL, updated_at timestamp NULL, city varchar(60), note text, gift tinyint(1), extra text,
    KEY (customer_id)
) CHARACTER SET utf8mb4
"""
ROWS = """
INSERT INTO orders SELECT
    seq, md5(seq % 50000), concat('user', seq % 50000, '@example.com'), elt(1 + seq % 3, 'new', 'paid', 'sent'),
    1 + seq % 7, (seq * 7919 % 100000) / 100, IF(seq % 5 = 0, NULL, seq % 97 / 100),
    '2019-01-01' + INTERVAL seq * 60 SECOND, '2019-01-01 12:00:00' + INTERVAL seq * 61 SECOND,
    elt(1 + seq % 4, 'Boston', 'København', '東京', 'New York'),
    IF(seq % 9 = 0, NULL, concat('it''s "', md5(seq + 1), '"\\nand more')), seq % 2, concat('{"n": ', seq, '}')
FROM seq_1_to_{rows}
"""
STAGE = """
import sys
from pathlib import Path
from backfill.sources import stage
from tests.support.sourcing import job_over
job = job_over(sys.argv[1], format="mysqldump", table="orders")
print(stage(job, Path(sys.argv[2])).rows)
"""


def server_cpu_seconds(server: MariaDb) -> float:
    """What the server's process has used so far."""
    fields = Path(f"/proc/{server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(server: MariaDb, dump: Path, turn: int) -> tuple[float, float]:
    """Wall and CPU seconds of loading the dump into a database of its own; the client's share of CPU is left out."""
    server.sql(f"CREATE DATABASE load_{turn}")
    data, began, before = dump.read_bytes(), time.monotonic(), server_cpu_seconds(server)
    server.load(data, f"load_{turn}")
    spent = time.monotonic() - began, server_cpu_seconds(server) - before
    server.sql(f"DROP DATABASE load_{turn}")
    return spent


def read(dump: Path, folder: Path, rows: int) -> tuple[float, float]:
    """Wall and CPU seconds of a process that stages the dump, its start included."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    cost = run([sys.executable, "-c", STAGE, str(dump), str(folder / "state")], folder, environment)
    assert cost.output.strip() == str(rows), (folder / "stderr.txt").read_text(encoding="utf-8")
    return cost.seconds, cost.cpu_seconds


@click.command()
@click.option("--rounds", default=3, show_default=True, help="How often each runs, in turn; the median counts.")
@click.option("--rows", default=2_000_000, show_default=True)
def main(rounds: int, rows: int) -> None:
    """Measure, print the table, and say whether the target is met; exit 1 where it is not."""
    with (
        tempfile.TemporaryDirectory(prefix="backfill-bench-") as temporary,
        running_mariadb(*SERVER) as server,
    ):
        folder = Path(temporary)
        server.new_database(f"{TABLE}; {ROWS.replace('{rows}', str(rows))}")
        dump = folder / "orders.sql"
        dump.write_bytes(server.dump("test_1", "orders"))
        ways: dict[str, Callable[[int], tuple[float, float]]] = {
            "load into MariaDB": lambda turn: load(server, dump, turn),
            "read by backfill": lambda turn: read(dump, folder / f"read-{turn}", rows),
        }
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(rounds):
            for name, way in ways.items():
                spent[name].append(way(turn))
        megabytes = dump.stat().st_size / 1e6
    click.echo(f"{rows:,} rows, {megabytes:,.0f} MB\n\n| | s | CPU s | MB/s |\n|---|---|---|---|")
    medians = {name: [statistics.median(one) for one in zip(*times, strict=True)] for name, times in spent.items()}
    for name, (seconds, cpu) in medians.items():
        click.echo(f"| {name} | {seconds:.1f} | {cpu:.1f} | {megabytes / seconds:.0f} |")
    loaded, staged = medians.values()
    ratio = loaded[0] / staged[0]
    click.echo(f"\nread {ratio:.1f} times as fast as loaded ({loaded[1] / staged[1]:.1f} by CPU), at least {BOUND}")
    sys.exit(0 if ratio >= BOUND else 1)


if __name__ == "__main__":
    main()
