"""The JSON Schema of a job file as people write it, for editors and for programs that write job files."""

from __future__ import annotations

from typing import Any

from backfill.job.file import JobForm

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the shape of a job file; what its parts mean together `load_job` judges."""
    schema = JobForm.model_json_schema(by_alias=True)
    schema["title"] = "backfill job file"
    return {"$schema": DIALECT, **without_noise(schema)}


def without_noise(part: Any) -> Any:  # noqa: ANN401
    """The schema without the titles and null defaults that pydantic adds: a field left out is not a null."""
    if isinstance(part, list):
        return [without_noise(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {
        name: without_noise(one_of_two(value))
        for name, value in part.items()
        if not (name == "title" and isinstance(value, str)) and not (name == "default" and value is None)
    }


def one_of_two(part: Any) -> Any:  # noqa: ANN401
    """`anyOf` of a schema and null becomes the schema: an empty field is refused, not taken as left out."""
    options = part.get("anyOf") if isinstance(part, dict) else None
    if isinstance(options, list) and len(options) == 2 and {"type": "null"} in options:  # noqa: PLR2004
        (real,) = [option for option in options if option != {"type": "null"}]
        return {**real, **{name: value for name, value in part.items() if name != "anyOf"}}
    return part
