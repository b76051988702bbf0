"""The form of receipts and proofs, member by member (docs/proof.md, "Its form"): strict, and nothing else beside."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Count = Annotated[int, Field(ge=0)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Tree(_Strict):
    """The root over so many leaves."""

    count: Count
    root: Hash


class Run(_Strict):
    """What run it is of; times are ISO 8601."""

    run_id: str
    state: str
    exit_code: int | None
    live: bool
    target: str
    began_at: str
    ended_at: str | None
    first_sent_at: str | None
    last_answer_at: str | None
    backfill: str
    library: str


class Job(_Strict):
    """What job the run is of."""

    name: str
    generation: Count
    fingerprint: str
    id_scope: str


class SourceFile(_Strict):
    """A file as it was read."""

    name: str
    bytes: Count | None
    sha256: str | None


class Identity(_Strict):
    """One of the accounts, with both sides."""

    identity: str
    whole: Count
    parts: Count


class Doubt(_Strict):
    """A batch in doubt."""

    shard: Count
    first_call: Count
    calls: Count
    since: str | None
    left: bool


class InDoubt(_Strict):
    """How many are in doubt, and the first of them."""

    batches: Count
    calls: Count
    first: list[Doubt]


class MadeBy(_Strict):
    """The versions that made it, and who answers for it."""

    backfill: str
    python: str
    by: str = ""


class Receipt(_Strict):
    """A receipt; its signature is judged elsewhere."""

    form: Literal["backfill-receipt-v1"]
    notices: list[str]
    run: Run
    job: Job
    source: list[SourceFile]
    plan_digest: Hash | None
    counts: dict[str, Count]
    accounting: list[Identity]
    in_doubt: InDoubt
    batches: Tree
    delivered: Tree
    made_at: str
    made_by: MadeBy
    digest: Hash
    signature: Any = None


class Proof(_Strict):
    """A proof."""

    form: Literal["backfill-proof-v1"]
    run_id: str
    message_id: str
    index: Count
    count: Count
    path: list[Hash]
    root: Hash
    digest: Hash


def faults_of_form(found: dict[str, Any], form: type[Receipt | Proof]) -> list[str]:
    """Each member that is missing, or is not of the form, or not in it; without its value."""
    try:
        form.model_validate(found)
    except ValidationError as error:
        return [
            f"{'.'.join(map(str, each['loc']))} is not as the form has it: {each['msg']}"
            for each in error.errors(include_url=False, include_input=False, include_context=False)
        ]
    return []
