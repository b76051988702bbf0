"""Made-up cases: a job that is a random mixture of all that a job file has, told by its number alone.

Some of these jobs are refused, which is a result as well.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.differential.cases import Case, Step, delivering, looking, run, words, write_targets
from tests.differential.made_rows import Source

#: One shard and a bit, as `prepare` cuts them, and three.
SEVERAL_SHARDS = (33_000, 70_000)
TYPES = ("identify", "track", "page", "screen", "group", "alias")


def made_case(number: int) -> Case:
    """The made-up case of that number."""
    return MadeUp(random.Random(f"differential {number}"), made_name(number)).case()


def made_name(number: int) -> str:
    """Its name."""
    return f"made-{number:04}"


def made_source(draw: random.Random) -> Source:
    """How the source is written."""
    kind = draw.choice(("csv", "csv", "ndjson", "ndjson", "parquet", "parquet", "sqlite"))
    return Source(
        draw,
        format=kind,
        times=draw.choice(("iso", "naive", "epoch_s", "epoch_ms", "typed")),
        packing=draw.choice(("", "", ".gz")) if kind in ("csv", "ndjson") else "",
        dialect=draw.choice(({}, {}, {"delimiter": ";"}, {"null_values": ["", "\\N"]})),
        oddness=draw.choice((0.0, 0.0, 0.002, 0.02, 0.1)),
        repeats=draw.choice((0.0, 0.0, 0.01, 0.2)),
    )


@dataclass
class MadeUp:
    """One made-up case in the making; every choice is drawn from `draw`, in the same order each time."""

    draw: random.Random
    name: str
    options: list[str] = field(default_factory=list)
    declared: bool = False  # the times of an epoch by the column's type, so that no call states it

    def case(self) -> Case:
        """The case."""
        draw = self.draw
        self.source = made_source(draw)
        self.count = draw.choice((0, 1, 9, 10, 11, 40, 120, 120, 300, 300, 700, 2_000))
        if draw.random() < 0.12:
            self.count = draw.choice(SEVERAL_SHARDS)
        self.poisoned = draw.random() < 0.15
        poison_rate = 3 / max(self.count, 30) if self.poisoned else 0.0
        source = self.source
        rows = list(self.source.rows(0, self.count, poison_rate))
        job = self.job()
        limits = self.limits()
        concurrency = "1" if draw.random() < 0.8 else "4"
        self.options += ["--concurrency", concurrency]
        later = [*rows, *self.source.rows(len(rows), 20, 0.0)][len(rows) // 10 :] if draw.random() < 0.2 else None
        files = draw.choice((1, 1, 1, 2, 3)) if self.source.format != "sqlite" else 1

        def make(folder: Path) -> None:
            folder.mkdir()
            write_targets(folder, limits)
            (folder / "job.yaml").write_text(json.dumps(job, ensure_ascii=False, indent=1), encoding="utf-8")
            size = -(-len(rows) // files) or 1
            for place in range(files):
                source.write(folder / source.file_name(place), rows[place * size : (place + 1) * size])
            if later is not None:
                source.write(folder / "later", later)

        steps = self.steps(later is not None)
        return Case(
            self.name,
            make,
            "job.yaml",
            steps,
            one_sender=concurrency == "1",
            poisoned=self.poisoned,
            resumed_after=3 if "--canary" in steps[0]["words"] else 0,
        )

    def steps(self, later: bool) -> list[Step]:
        """The command lines."""
        draw = self.draw
        if draw.random() < 0.15:
            self.options += ["--gzip"]
        if draw.random() < 0.1:
            self.options += ["--max-rejects", draw.choice(("0", "5%", "50%"))]
        steps = list(delivering(self.options))
        if draw.random() < 0.3:
            steps = [run("--canary", *self.options), *looking(), run(*self.options), *looking()]
        elif draw.random() < 0.3:
            steps = [run(*self.options), *looking()]
        if later:
            changed: Step = {"replace": [self.source.file_name(0), "later"]}
            dry = words("dry-run", "JOB", "--target", "there", "--endpoint", "URL", "--output", "json", "--only-new")
            steps += [changed, run(*self.options), dry, run("--only-new", *self.options), *looking()]
        return steps

    def limits(self) -> dict[str, int]:
        """Small ones mostly, so that there are many batches; not so many that it takes long."""
        draw = self.draw
        least = 30_000 if self.count > 10_000 else 1_500
        found = {"body_bytes": draw.choice((least, 2 * least, 12 * least, 500_000))}
        if draw.random() < 0.5:
            found["batch_calls"] = draw.choice((1, 3, 10, 11, 50)) if self.count < 1_000 else draw.choice((400, 2_500))
        found["call_bytes"] = min(32_000, found["body_bytes"] - 100, draw.choice((900, 32_000, 32_000)))
        return found

    def job(self) -> dict[str, Any]:
        """The job file's data."""
        draw = self.draw
        job: dict[str, Any] = {"version": 1, "name": self.name, "source": self.source_data()}
        if draw.random() < 0.2:
            job["generation"] = 3
        if draw.random() < 0.25:
            job["where"] = draw.choice(("plan IS DISTINCT FROM 'free'", "flag", "n % 3 <> 1", "false"))
        if draw.random() < 0.3:
            chosen = draw.sample(("BF105", "BF114", "BF119", "BF121", "BF122", "BF203", "BF204", "BF207"), 3)
            job["rules"] = {code: draw.choice(("warn", "ignore", "error")) for code in chosen}
        if draw.random() < 0.15:
            job["placeholders"] = {"add": ["u1", "u5"], "allow": ["0", "guest"]}
        if draw.random() < 0.15:
            job["ordered"] = True
        defaults = {"timestamp": self.timestamp(), "integrations": self.integrations()}
        if draw.random() < 0.5:
            defaults["userId"] = "user"
        job["defaults"] = defaults
        kinds = [draw.choice(TYPES) for _ in range(draw.choice((1, 1, 1, 2, 3)))]
        job["calls"] = [self.call(kind, f"c{place}", "userId" in defaults) for place, kind in enumerate(kinds)]
        return job

    def source_data(self) -> dict[str, Any]:
        """The source's part of the job."""
        draw = self.draw
        self.queried = self.source.format == "sqlite" or draw.random() < 0.2
        if self.source.format == "sqlite":
            typed = {"payload": "json", **({"flag": "boolean"} if draw.random() < 0.7 else {})}
            query = draw.choice(
                ("SELECT * FROM t", "SELECT * FROM t ORDER BY id, rowid", "SELECT * FROM t WHERE n > 3")
            )
            return {"database": "sqlite:///rows.db", "query": query, "columns": typed, "timezone": "UTC"}
        path = draw.choice(("rows*", "data/../rows*")) if self.source.format != "csv" else "rows*"
        found: dict[str, Any] = {
            "path": f"{path}.{self.source.suffix()}",
            "timezone": draw.choice(("UTC", "America/New_York")),
        }
        if self.source.format != "parquet":
            columns: dict[str, Any] = {
                "amount": draw.choice(("number", "decimal", "text")),
                "n": "integer",
                "flag": "boolean",
                "payload": "json",
            }
            if self.source.times == "naive":
                columns["at"] = {"type": "timestamp", "format": "%Y-%m-%d %H:%M:%S"} | self.policies()
            if self.source.times == "iso":
                columns["at"] = {"type": "timestamp", "format": "iso8601"}
            if self.source.times.startswith("epoch"):
                self.declared = draw.random() < 0.5
                columns["at"] = {"type": "timestamp", "format": self.source.times} if self.declared else "integer"
            found["columns"] = columns
        if self.source.format == "csv":
            found["csv"] = self.source.dialect
        if self.queried:
            found["query"] = draw.choice(
                (
                    "SELECT * FROM source",
                    "SELECT *, count(*) OVER (PARTITION BY plan) AS among FROM source ORDER BY id, note, n, anon",
                    "SELECT * FROM source WHERE n > 5 ORDER BY id DESC, note, n, anon, amount",
                )
            )
        return found

    def policies(self) -> dict[str, str]:
        """What is to be done where the clocks change."""
        draw = self.draw
        found = {"ambiguous": draw.choice(("earliest", "latest", "error", ""))}
        found["nonexistent"] = draw.choice(("error", "shift_forward", ""))
        return {name: value for name, value in found.items() if value}

    def timestamp(self) -> Any:
        """The timestamp of every call."""
        if self.draw.random() < 0.05:
            return {"value": "2024-01-31T00:00:00Z"}
        if self.source.format == "parquet" and self.source.times == "typed":
            return "at"
        if self.source.times.startswith("epoch") and not self.declared:
            return {"column": "at", "format": self.source.times}
        formats = {"iso": "iso8601", "typed": "iso8601", "naive": "%Y-%m-%d %H:%M:%S"}
        declared = self.declared or (self.source.format in ("csv", "ndjson") and self.source.times in ("iso", "naive"))
        return "at" if declared else {"column": "at", "format": formats[self.source.times], **self.policies()}

    def integrations(self) -> Any:
        """Where calls may go on to."""
        options = {"Amplitude": {"session_id": {"column": "anon"}, "plan": {"sql": "upper(plan)"}}}
        return self.draw.choice(({"All": False}, {"All": True, "Some One": {"x": 1}}, {"All": False, **options}))

    def call(self, kind: str, label: str, has_user: bool) -> dict[str, Any]:
        """One call of that type."""
        draw = self.draw
        found: dict[str, Any] = {"type": kind, "label": label}
        if not has_user or draw.random() < 0.2:
            found["userId"] = draw.choice(("user", "user", {"sql": "'x-' || \"user\""}, {"value": "one"}))
        if kind != "alias" and draw.random() < 0.4:
            found["anonymousId"] = "anon"
        found |= {
            "identify": {},
            "track": {"event": draw.choice(({"value": "Paid"}, "plan", {"sql": "coalesce(plan, 'none')"}))},
            "page": draw.choice(({}, {"name": "plan"}, {"name": "note", "category": "plan"})),
            "screen": {"name": "plan"},
            "group": {"groupId": draw.choice(("plan", "id"))},
            "alias": {"previousId": draw.choice(("anon", "id"))},
        }[kind]
        if draw.random() < 0.2:
            found["when"] = draw.choice(("n % 2 = 0", "flag", "plan = 'pro'", "amount IS NOT NULL"))
        found |= self.key()
        if kind != "alias":
            found["traits" if kind in ("identify", "group") else "properties"] = self.members()
        if draw.random() < 0.3:
            found["context"] = {"app": {"value": {"name": "importer", "v": [1, None]}}, "campaign.source": "plan"}
        return found

    def key(self) -> dict[str, Any]:
        """What makes its message ids."""
        draw = self.draw
        if draw.random() < 0.12:
            return {"message_id": draw.choice(({"column": "id"}, {"sql": "'m-' || id"}))}
        keys: list[Any] = [
            "content" if self.queried else "row",
            "content",
            ["id"],
            ["id"],
            ["id", "plan"],
            ["user", "at"],
            ["n"],
            "id",
        ]
        keys += [[{"value": "shop"}, "id"], [{"sql": "id || '-' || n"}]]
        return {"message_key": draw.choice(keys)}

    def members(self) -> Any:
        """Properties or traits."""
        draw = self.draw
        if draw.random() < 0.1:
            return {"column": "payload", "plan": "plan"}
        some: dict[str, Any] = {
            "plan": "plan",
            "note": draw.choice(("note", {"column": "note", "nulls": "keep"})),
            "amount": {"column": "amount", "on_bad": draw.choice(("omit", "reject"))},
            "n": draw.choice(("n", {"column": "n", "as": "text"})),
            "revenue": draw.choice(("amount", {"sql": "n * 2"}, {"sql": "n / nullif(n - 7, 0)"})),
            "flag": "flag",
            "payload": "payload",
            "deep.er.city": "plan",
            "list": {"list": ["plan", {"value": 2}, {"object": {"x": "n", "y": {"value": None}}}]},
            "made": {"sql": "upper(coalesce(plan, '')) || n"},
            "anon": "anon",
            "constant": {"value": {"a": [1, 2.50, None], "é": "ü"}},
        }
        chosen = {name: some[name] for name in draw.sample(sorted(some), draw.randrange(1, 8))}
        chosen["note"] = some["note"]  # which holds the poison
        if draw.random() < 0.3:
            chosen["*"] = draw.choice(({}, {"exclude": ["payload", "n"]}))
        return chosen
