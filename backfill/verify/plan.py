"""A plan compared, shard by shard, with the calls that its rows make by the recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl
import polars_hash  # noqa: F401  registers the expression namespace `nchash`

from backfill.errors import LedgerError, counted
from backfill.job.models import Job
from backfill.records import (
    CALL_RECORD,
    FILE_COLUMN,
    RECORD_COLUMN,
    RunSpool,
    ShardPlan,
    Snapshot,
    StoredRun,
)
from backfill.verify.bodies import BatchBodies
from backfill.verify.calls import Made, Recipe, make
from backfill.verify.columns import Columns
from backfill.verify.findings import Finding, Findings, first_difference
from backfill.verify.ids import id_bytes
from backfill.verify.kept import check_spool
from backfill.verify.repeated import Absent
from backfill.verify.result import WHOLE, Compared
from backfill.verify.rows import empty_frame, pieces
from backfill.verify.values import Texts
from backfill.verify.workers import MadeCalls, Maker, Piece, make_in_order

_RECORD: Final = np.dtype(CALL_RECORD)
#: A row has fewer calls.
CALLS: Final = 1 << 8
#: Rows that are sampled together.
BLOCK: Final = 64


@dataclass(slots=True)
class PlanComparison:
    """Compares the plan of a run with the rows of a snapshot; `sample` in percent."""

    run: StoredRun
    job: Job
    snapshot: Snapshot
    recipe: Recipe
    findings: Findings
    sample: float = WHOLE
    digest: str = ""  # of the plan: of it depends which rows are sampled
    compared: Compared = field(default_factory=Compared)

    def compare(self, shards: Mapping[int, ShardPlan], absent: Absent, check_stop: Callable[[], None]) -> None:
        """Compare all shards; what is made and not planned goes to `absent`, which tells what of it is missing.

        Raises:
            LedgerError: The snapshot is damaged.
        """
        calls = self._made(shards, check_stop)
        with closing(calls):
            self._compare(shards, calls, absent, check_stop)

    def _made(
        self, shards: Mapping[int, ShardPlan], check_stop: Callable[[], None]
    ) -> Generator[tuple[Piece, MadeCalls | None]]:
        """The rows of all shards in order, with what is made of them."""
        described = {column.name: column for column in self.snapshot.columns}
        maker = Maker(self.job, described, self.recipe, [file.key for file in self.snapshot.files])
        rows = sum(plan.rows for plan in shards.values()) * self.sample / WHOLE
        yield from make_in_order(maker, self._pieces(shards), rows, check_stop)

    def _pieces(self, shards: Mapping[int, ShardPlan]) -> Iterator[Piece]:
        """The rows of all shards in order, or those of them that are in the sample."""
        rows = _Pieces(self)
        for plan in shards.values():
            done = 0
            while done < plan.rows and (frame := rows.take(plan.rows - done)) is not None:
                chosen = self._chosen(plan.shard, done, done + len(frame))
                yield Piece(len(frame), chosen, frame if len(chosen) == len(frame) else frame[chosen - done])
                done += len(frame)

    def _chosen(self, shard: int, first: int, last: int) -> npt.NDArray[np.int64]:
        """Which of a shard's rows from `first` to before `last` are compared."""
        rows = np.arange(first, last)
        if self.sample >= WHOLE:
            return rows
        blocks = range(first // BLOCK, -(-last // BLOCK))
        return rows[np.isin(rows // BLOCK, [block for block in blocks if self._is_sampled(shard, block)])]

    def _is_sampled(self, shard: int, block: int) -> bool:
        """Whether a block of rows is in the sample: by a hash of its place and of the plan."""
        seed = f"{self.digest}:{shard}:{block}".encode()
        return int.from_bytes(hashlib.sha256(seed).digest()[:8], "big") < self.sample / WHOLE * 2**64

    def _compare(
        self,
        shards: Mapping[int, ShardPlan],
        calls: Iterator[tuple[Piece, MadeCalls | None]],
        absent: Absent,
        check_stop: Callable[[], None],
    ) -> None:
        spool = self.run.spool()
        for plan in shards.values():
            check_stop()
            check_spool(self.run, spool, plan, self.findings)
            shard = _Shard(self, plan, spool, absent)
            done = 0
            while done < plan.rows and (found := next(calls, None)) is not None:
                check_stop()
                piece, made = found
                if made is not None:
                    shard.compare(piece, made)
                done += piece.count
            shard.finish()
            if done < plan.rows:
                self.findings.kept(
                    "ledger", f"shard {plan.shard} has {counted(plan.rows, 'row', 'rows')}, the source {done:,}"
                )


class _Pieces:
    """The rows of a snapshot, from its first to its last, as many at a time as are taken."""

    def __init__(self, comparison: PlanComparison) -> None:
        described = {column.name: column for column in comparison.snapshot.columns}
        nothing = Columns(comparison.job, described, empty_frame(comparison.snapshot))
        for call in comparison.job.calls:  # which columns are read is found by making the calls of no row
            make(call, nothing, comparison.recipe, [""])
        self._pieces = pieces(comparison.snapshot, nothing.touched)
        self._left: pl.DataFrame | None = None

    def take(self, most: int) -> pl.DataFrame | None:
        """The next rows; None where there are no more."""
        frame = self._left if self._left is not None else next(self._pieces, None)
        if frame is None:
            return None
        self._left = frame.slice(most) if len(frame) > most else None
        return frame.head(most)


class _Shard:
    """One shard of the plan: what is kept of its calls, in the order of their rows."""

    def __init__(self, whole: PlanComparison, plan: ShardPlan, spool: RunSpool, absent: Absent) -> None:
        self._whole = whole
        self._plan = plan
        self._absent = absent
        try:
            self._records = np.frombuffer(spool.calls_of(plan.shard), _RECORD)
        except (LedgerError, ValueError):
            self._records = np.empty(0, _RECORD)  # which `check_spool` has told
        keys = self._records["row"].astype(np.int64) * CALLS + self._records["call"]
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._hashes = _hashes_of(spool, plan, len(keys), whole.findings)
        self._bodies = BatchBodies(spool, plan, self._records, whole.findings, whole=whole.sample >= WHOLE)
        self._seen = np.zeros(len(keys), np.bool_)
        self._given = [call.message_id is not None for call in whole.job.calls]

    def compare(self, piece: Piece, calls: MadeCalls) -> None:
        """Compare the calls of some rows of the shard with those planned."""
        made, rows = calls.made, piece.rows
        self._whole.compared.rows += len(rows)
        found = _Rows(piece.frame, made, calls.rewritten, rows)
        keys, (row_of, number_of) = found.keys, (found.row_of, found.number_of)
        self._whole.compared.rejected += len(rows) * len(made) - len(keys) - sum(len(one.skipped) for one in made)
        at = np.searchsorted(self._keys, keys)
        whole = slice(int(at[0]), int(at[0]) + len(keys)) if len(keys) else slice(0, 0)
        if len(rows) == rows[-1] - rows[0] + 1 and self._is_all_there_is(whole, keys, rows):  # as it should be
            self._seen[whole] = True
            self._compare_planned(found, row_of, number_of, self._order[whole])
            return
        there = np.zeros(len(keys), np.bool_)
        there[at < len(self._keys)] = self._keys[at[at < len(self._keys)]] == keys[at < len(self._keys)]
        self._note_surplus(found, keys)
        for place in np.flatnonzero(~there).tolist():
            row, number = int(row_of[place]), int(number_of[place])
            identity = id_bytes(made[number].ids[row] or "", given=self._given[number])
            self._absent.add(self._finding(found, row, number, "missing", ""), identity)
        self._compare_planned(found, row_of[there], number_of[there], self._order[at[there]])

    def _is_all_there_is(self, place: slice, keys: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> bool:
        """Whether the very calls that are made of these rows, which follow each other, are planned of them."""
        edges = np.searchsorted(self._keys, [rows[0] * CALLS, (rows[-1] + 1) * CALLS])
        return bool(edges[1] - edges[0] == len(keys) and np.array_equal(self._keys[edges[0] : edges[1]], keys)) and (
            not len(keys) or place.start == edges[0]
        )

    def _note_surplus(self, found: _Rows, keys: npt.NDArray[np.int64]) -> None:
        """Find what is planned of these rows and not made of them, and what is planned twice."""
        made_keys = set(keys.tolist())
        own = np.flatnonzero(np.isin(self._keys // CALLS, found.rows))
        self._seen[own] = True
        again = np.zeros(len(own), np.bool_)
        again[1:] = self._keys[own[1:]] == self._keys[own[:-1]]
        for place, is_again in zip(own.tolist(), again.tolist(), strict=True):
            key = int(self._keys[place])
            if not is_again and key in made_keys:
                continue
            row, number = int(np.searchsorted(found.rows, key // CALLS)), key % CALLS
            if number >= len(found.made):
                self._whole.findings.kept(f"calls of shard {self._plan.shard}", f"the job has no call {number}")
                continue
            codes = found.made[number].errors(row)
            said = "planned twice" if is_again else _why_not(found.made[number], row, codes)
            self._whole.findings.add(self._finding(found, row, number, "surplus", said))

    def _compare_planned(
        self,
        found: _Rows,
        row_of: npt.NDArray[np.int64],
        number_of: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> None:
        """Compare id, size and hash of calls with those at these places of what is kept."""
        texts = found.taken([one.texts for one in found.made], row_of, number_of)
        self._whole.compared.calls += len(texts)
        wrong = self._wrong_ids(found, row_of, number_of, places)
        column = pl.Series("text", texts, pl.String)
        sizes = column.str.len_bytes().to_numpy().astype(np.int64)
        loose = np.array(found.rewritten, np.bool_)[number_of]
        differs = (sizes != self._records["bytes"][places]) & ~loose
        if self._hashes is not None:
            comma = (pl.col("text") + ",").nchash.xxh3_64()  # type: ignore[attr-defined]
            hashes = column.to_frame().select(comma).to_series().to_numpy()
            differs |= (hashes != self._hashes[places]) & ~loose
        texts_kept = self._bodies.kept(places)
        by_bytes = np.array([each is not None for each in texts_kept], np.bool_)
        for index in np.flatnonzero(by_bytes).tolist():
            same = _is_same(texts_kept[index] or b"", texts[index], loose=bool(loose[index]))
            if same and differs[index]:
                said = f"size or hash of call {places[index]} are not those of its bytes, which are as they should be"
                self._whole.findings.kept(f"calls or hashes of shard {self._plan.shard}", said)
            differs[index] = not same
        has_digest = self._bodies.add(texts, places, differs | loose)
        for index in np.flatnonzero(differs).tolist():
            self._tell_different(found, int(row_of[index]), int(number_of[index]), texts[index], texts_kept[index])
        for index in wrong:
            row, number = int(row_of[index]), int(number_of[index])
            kept = self._records["id_bytes"][int(places[index])].tobytes().hex()
            said = f"the plan has another id for it, {kept}"
            self._whole.findings.add(self._finding(found, row, number, "different", said, "messageId"))
        compared, by_digest = self._whole.compared, (has_digest or self._hashes is not None) & ~loose & ~by_bytes
        compared.by_bytes += int(by_bytes.sum())
        compared.by_digest += int(by_digest.sum())
        compared.by_id_alone += int((~by_bytes & ~by_digest).sum())

    def _wrong_ids(
        self,
        found: _Rows,
        row_of: npt.NDArray[np.int64],
        number_of: npt.NDArray[np.int64],
        places: npt.NDArray[np.int64],
    ) -> list[int]:
        """Which of the calls have another id in what is kept."""
        ids = found.taken([one.ids for one in found.made], row_of, number_of)
        if any(self._given):
            pairs = zip(ids, number_of.tolist(), strict=True)
            content = b"".join([id_bytes(each, given=self._given[number]) for each, number in pairs])
        else:
            content = bytes.fromhex("".join(ids).replace("-", ""))
        made = np.frombuffer(content, np.uint8).reshape(-1, 16)
        kept = np.frombuffer(self._records["id_bytes"][places].tobytes(), np.uint8).reshape(-1, 16)
        job_calls = self._whole.job.calls
        open_keys = [each and job_calls[n].message_key == "content" for n, each in enumerate(found.rewritten)]
        odd = np.flatnonzero((made != kept).any(axis=1)).tolist()
        return [index for index in odd if not open_keys[number_of[index]]]

    def _tell_different(self, found: _Rows, row: int, number: int, text: str, kept: bytes | None) -> None:
        if kept is None:
            finding = self._finding(found, row, number, "different", "other bytes were prepared; they are not kept")
        else:
            try:
                path = first_difference(json.loads(kept), json.loads(text))
            except ValueError:
                path = ""
            finding = self._finding(found, row, number, "different", "other bytes were prepared", path)
        self._whole.findings.add(finding)

    def _finding(self, found: _Rows, row: int, number: int, kind: str, detail: str, member: str = "") -> Finding:
        """What is told of a row's call."""
        files = self._whole.snapshot.files
        file, record = found.origin(row)
        return Finding(
            kind,
            detail,
            file=files[file].name if file < len(files) else "",
            record=record,
            call=self._whole.job.calls[number].scope,
            message_id=found.made[number].ids[row] or "",
            field=member,
            batch=f"{self._plan.shard}/{int(found.rows[row])}",
        )

    def finish(self) -> None:
        """Find what is planned of rows that are none."""
        self._bodies.finish()
        if self._whole.sample >= WHOLE:
            for place in np.flatnonzero(~self._seen).tolist():
                row, number = divmod(int(self._keys[place]), CALLS)
                name = f"calls of shard {self._plan.shard}"
                self._whole.findings.add(
                    Finding("surplus", f"call {number} of row {row}, which there is none of", name)
                )


def _is_same(kept: bytes, text: str, *, loose: bool) -> bool:
    """Whether bytes that are kept are those of the call; `loose`: whether they say the same."""
    if kept == text.encode():
        return True
    try:
        return loose and bool(json.loads(kept) == json.loads(text))
    except ValueError:
        return False


def _why_not(made: Made, row: int, codes: Sequence[str]) -> str:
    if row in made.skipped:
        return "planned, though `when` is not true"
    return f"planned, though {', '.join(codes)} reject{'s' if len(codes) == 1 else ''} it" if codes else "planned"


def _hashes_of(spool: RunSpool, plan: ShardPlan, calls: int, findings: Findings) -> npt.NDArray[np.uint64] | None:
    """The hash of each call, where they are kept and fit."""
    found = spool.hashes_of(plan.shard)
    if found is None and calls:
        findings.kept(f"hashes of shard {plan.shard}", "they are gone or damaged: bytes are compared by batch")
    if found is not None and len(found) != calls:
        findings.kept(
            f"hashes of shard {plan.shard}", f"there are {len(found):,}, of {counted(calls, 'call', 'calls')}"
        )
        return None
    return found


class _Rows:
    """Some rows, and what each call makes of them."""

    def __init__(
        self, piece: pl.DataFrame, made: Sequence[Made], rewritten: Sequence[bool], rows: npt.NDArray[np.int64]
    ) -> None:
        self._piece = piece
        self.made = made
        self.rewritten = rewritten
        self.rows = rows  # their numbers in the shard
        there = [np.flatnonzero([text is not None for text in one.texts]) for one in made]
        row_of, number_of = np.concatenate(there), np.repeat(np.arange(len(made)), [len(each) for each in there])
        keys = rows[row_of] * CALLS + number_of
        order = np.argsort(keys) if len(made) > 1 else slice(None)
        #: Of each call that is made: which it is, by the row in the shard and its number in the job; its row here.
        self.keys, self.row_of, self.number_of = keys[order], row_of[order], number_of[order]

    def taken(
        self, columns: Sequence[Texts], row_of: npt.NDArray[np.int64], number_of: npt.NDArray[np.int64]
    ) -> list[str]:
        """The text of each call, out of one column a call of the job."""
        if len(columns) == 1:
            (column,) = columns
            return [column[row] or "" for row in row_of.tolist()]
        return [columns[number][row] or "" for row, number in zip(row_of.tolist(), number_of.tolist(), strict=True)]

    def origin(self, row: int) -> tuple[int, int]:
        """The number of a row's file, and its record there."""
        return int(self._piece[FILE_COLUMN][row]), int(self._piece[RECORD_COLUMN][row])
