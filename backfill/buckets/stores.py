"""The stores that URLs of objects lie in, through obstore, with the credentials that the vendors' own tools would use.

Nothing of a store is in the job file but the URL: keys, profiles, regions and endpoints come from the environment, by
the names that the vendors give them (AWS_*, GOOGLE_*, AZURE_*), and from the machine (instance and workload roles).
"""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backfill.errors import SourceError
from backfill.extras import required
from backfill.job.remote import Remote, is_loopback

EXTRA = "cloud"
#: Seconds without a byte until a connection counts as lost.
STALL_SECONDS = 20.0
#: A body may take as long as it does: it is a lost connection that ends it.
_WHOLE_BODY = timedelta(days=7)
#: Where another server than the vendor's is named: a MinIO, R2, an emulator.
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}
#: Any of these, and a profile is not asked.
_AWS_CREDENTIALS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
)


def obstore() -> Any:  # noqa: ANN401 (loaded where a job reads a bucket)
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    return required("obstore", EXTRA, "Buckets and https:// URLs")


def store_of(remote: Remote, *, stall: float | None = None) -> Any:  # noqa: ANN401
    """The store that a URL lies in, opened once in a process; `stall` stands in place of STALL_SECONDS.

    Raises:
        UsageError: obstore is not installed.
        SourceError: the environment names no account or profile that can be used.
    """
    obstore()
    settings = (*sorted(os.environ.items()),) if remote.scheme in ENDPOINTS else ()
    return _opened(remote.scheme, remote.place, stall or STALL_SECONDS, hash(settings))


@lru_cache(maxsize=64)
def _opened(scheme: str, place: str, stall: float, _settings: int) -> Any:  # noqa: ANN401
    from obstore import store
    from obstore.exceptions import BaseError

    client: dict[str, Any] = {
        "timeout": _WHOLE_BODY,
        "read_timeout": timedelta(seconds=stall),
        **_plain_http(scheme, place),
    }
    if scheme == "gs":  # the bytes as they are stored: GCS unpacks what says `Content-Encoding: gzip`, unless asked so
        client |= {"default_headers": {"accept-encoding": "gzip"}}
    options: dict[str, Any] = {
        "client_options": client,
        # Whoever asks again (see objects.py) looks in between at whether to go on, and at the pin.
        "retry_config": {"max_retries": 0},
    }
    try:
        if scheme == "s3":
            return store.S3Store(place, **options, **_profile())
        if scheme == "gs":
            return store.GCSStore(place, **options)
        if scheme == "az":
            if "@" in place:
                return store.AzureStore.from_url(f"abfss://{place}/", **options)
            return store.AzureStore(place, **options)
        return store.HTTPStore(f"{scheme}://{place}/", **options)
    except (BaseError, ValueError) as error:
        raise SourceError(
            f"{scheme}://{place}/ cannot be opened: {str(error).partition(chr(10))[0]}", hint=_MISSING.get(scheme, "")
        ) from None


_MISSING = {
    "az": "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or another credential",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or log in with `gcloud auth "
    "application-default login`",
}


def endpoint(scheme: str) -> str:
    """The server that the environment names in place of the vendor's; empty where it names none."""
    return next(filter(None, (os.environ.get(name) for name in ENDPOINTS.get(scheme, ()))), "")


def _plain_http(scheme: str, place: str) -> dict[str, Any]:
    """Without TLS only to this machine, or where the environment says so."""
    allowed = os.environ.get(ALLOW_HTTP.get(scheme, ""), "").casefold() in ("1", "true", "on", "y")
    at = endpoint(scheme) or f"{scheme}://{place}/"
    return {"allow_http": True} if allowed or (at.startswith("http://") and is_loopback(at)) else {}


def _profile() -> dict[str, Any]:
    """The credentials of a profile of ~/.aws, where there is one and nothing goes before it.

    Raises:
        SourceError: boto3, which reads it, is not installed.
    """
    if any(os.environ.get(name) for name in _AWS_CREDENTIALS):
        return {}
    file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials").expanduser()
    profile = os.environ.get("AWS_PROFILE")
    if not (profile or file.is_file()):
        return {}  # the role of the machine
    if find_spec("boto3") is None:
        raise SourceError(
            f"the AWS profile {profile or 'default'} is read by boto3, which is not installed",
            hint='install boto3, or put its credentials in the environment: `eval "$(aws configure export-credentials '
            '--format env)"`',
        )
    from obstore.auth.boto3 import Boto3CredentialProvider

    return {"credential_provider": Boto3CredentialProvider()}
