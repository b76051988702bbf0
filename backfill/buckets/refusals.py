"""What a store answered, told so that somebody knows what to do about it; nothing that it says is shown as it came.

A store's own words may hold the request, and that a signature: of them only the code is shown (S3's and GCS's
`<Code>`, Azure's too), and the region that a bucket lies in.
"""

from __future__ import annotations

import os
import re
from contextlib import closing, suppress
from http import HTTPStatus
from urllib.parse import urlsplit

from backfill.buckets.stores import ALLOW_HTTP, endpoint
from backfill.errors import SourceError
from backfill.job.remote import Remote

_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_STATUS = re.compile(r"status: (\d{3})|non-2xx status code: (\d{3})")
_REGION = re.compile(r"<Region>([a-z0-9-]{3,30})</Region>")
_REDIRECT = "Received redirect without LOCATION"
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))
_METADATA = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "fd00:ec2::254")
#: What obstore says of a request that had no answer, or half of one.
_LOST = ("HTTP error", "reqwest::Error", "HttpError")
_REGION_SECONDS = 5.0

_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones, AWS_SESSION_TOKEN; "
    "of a public bucket AWS_SKIP_SIGNATURE=true",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or `gcloud auth application-default "
    "login`; of a public bucket GOOGLE_SKIP_SIGNATURE=true",
    "az": "set AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN, or log in with `az login` and set "
    "AZURE_USE_AZURE_CLI=true; of a public container AZURE_SKIP_SIGNATURE=true",
}
_UNKNOWN = (
    "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure", "AuthenticationFailed",
    "InvalidAuthenticationInfo", "AuthenticationRequired", "UnauthorizedAccess", "InvalidClientTokenId",
)  # fmt: skip
_DENIED = (
    "AccessDenied", "AllAccessDisabled", "AuthorizationFailure", "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions", "Forbidden", "NoAuthenticationInformation", "PublicAccessNotPermitted",
)  # fmt: skip
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "InvalidBucketName", "InvalidResourceName")
_ELSEWHERE = ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException")
_NOT_KNOWN = "is refused: the store does not know these credentials"
_EXPIRED = ("is refused: the credentials have expired", "get new ones, then run the same command again")
_ARCHIVED = (
    "is archived, and cannot be read as it is",
    "restore it first (`aws s3api restore-object`), or leave it out",
)
_SAID = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(("InvalidObjectState", "BlobArchived"), _ARCHIVED),
    "UserProjectMissing": (
        "lies in a bucket whose requester pays",
        "copy it first, with `gcloud storage cp --billing-project=...`",
    ),
    "RequestTimeTooSkewed": ("is refused: this machine's clock is wrong", "set the clock"),
}


def is_passing(error: Exception) -> bool:
    """The same request may succeed a little later: the store is busy, or the connection was lost."""
    if isinstance(error, ConnectionError):
        return True
    text = str(error)
    if _no_trust(text) or "BadScheme" in text or any(host in text for host in _METADATA):
        return False
    status = status_of(error)
    return status in _PASSING if status else any(sign in text for sign in _LOST)


def status_of(error: Exception) -> int:
    """The HTTP status of the answer; 0 where there was none."""
    found = _STATUS.search(str(error))
    return int(found[1] or found[2]) if found else 0


def refusal(error: Exception, remote: Remote, name: str, *, writing: bool = False) -> SourceError:
    """The error for what a store answered when it was asked for `name`, or to change it."""
    text = str(error)
    found = _CODE.search(text)
    code, status = found[1] if found else "", status_of(error)
    what, hint = _told(text, code, status, remote)
    said = code or (str(status) if status else "")
    if writing and what == _DENIED_TEXT:
        what, hint = "is refused: access is denied", _RIGHTS_TO_WRITE[remote.scheme]
    elif writing:
        what = what.replace("cannot be read", "cannot be written")
    return SourceError(f"{name} {what}{f' ({said})' if said else ''}", hint=hint)


def _told(text: str, code: str, status: int, remote: Remote) -> tuple[str, str]:
    """What happened, behind the object's name, and what to do."""
    if code in _ELSEWHERE or _REDIRECT in text or status == HTTPStatus.MOVED_PERMANENTLY:
        return _elsewhere(text, remote)
    if code in _NO_BUCKET:
        what = "container" if remote.scheme == "az" else "bucket"
        return f"cannot be read: there is no {what} {remote.place}", "is the name right, and the endpoint?"
    if code in _SAID:
        return _SAID[code]
    if code in _UNKNOWN or status == HTTPStatus.UNAUTHORIZED or any(host in text for host in _METADATA):
        there = "needs credentials, and there are none" if "169.254" in text or "metadata" in text else _NOT_KNOWN
        return there, _CREDENTIALS.get(remote.scheme, "the server wants a login: fetch the file by another program")
    return _denied(remote) if status == HTTPStatus.FORBIDDEN or code in _DENIED else _unreachable(text, status, remote)


_DENIED_TEXT = "is refused: access is denied, or there is no such object"
_RIGHTS_TO_WRITE = {
    "s3": "the credentials need s3:PutObject, s3:GetObject, s3:DeleteObject and s3:ListBucket",
    "gs": "the account needs the role Storage Object User",
    "az": "the account needs the role Storage Blob Data Contributor",
}


def _denied(remote: Remote) -> tuple[str, str]:
    hint = {
        "s3": "the credentials need s3:GetObject, and s3:ListBucket for patterns and folders",
        "gs": "the account needs storage.objects.get and storage.objects.list",
        "az": "the account needs the role Storage Blob Data Reader",
    }.get(remote.scheme, "the server gives it to nobody without a login; fetch it by another program")
    if remote.scheme == "s3" and not os.environ.get("AWS_REQUEST_PAYER"):
        hint += "; where the bucket's requester pays, AWS_REQUEST_PAYER=requester agrees to that"
    return _DENIED_TEXT, hint


def _elsewhere(text: str, remote: Remote) -> tuple[str, str]:
    found = _REGION.search(text)
    region = found[1] if found else _region(remote)
    now = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    what = f"lies in another region than {now}"
    return (f"{what}: {region}", f"set AWS_REGION={region}") if region else (what, "set AWS_REGION to the bucket's own")


def _region(remote: Remote) -> str:
    """The region of a bucket, which S3 tells everybody, in a header that obstore does not pass on."""
    import http.client  # TLS, and so 10 ms of each start

    at = urlsplit(endpoint("s3") or "https://s3.amazonaws.com")
    kind = http.client.HTTPSConnection if at.scheme == "https" else http.client.HTTPConnection
    connection = kind(at.netloc, timeout=_REGION_SECONDS)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("HEAD", f"/{remote.place}")
        region = connection.getresponse().getheader("x-amz-bucket-region") or ""
        return region if re.fullmatch(r"[a-z0-9-]{3,30}", region) else ""
    return ""


def _no_trust(text: str) -> bool:
    return "certificate" in text.casefold() or "UnknownIssuer" in text


def _unreachable(text: str, status: int, remote: Remote) -> tuple[str, str]:
    """What is no answer about the object."""
    if "BadScheme" in text:
        variable = ALLOW_HTTP.get(remote.scheme, "")
        return "would be read without encryption", f"an http:// endpoint needs {variable}=true"
    if _no_trust(text):
        return "cannot be read: the server's certificate is not trusted", "SSL_CERT_FILE names whom to trust"
    if status and status not in _PASSING:
        return "cannot be read: the store refuses the request", "is the URL right?"
    reasons = {
        "ConnectionRefused": (
            "cannot be read: nothing answers there",
            "is the endpoint right, and its server running?",
        ),
        "dns error": ("cannot be read: its server's name leads nowhere", "is the name right, and the network up?"),
        "status": ("cannot be read: the store is out of order or busy", "run the same command again later"),
    }
    lost = ("cannot be read: the connection was lost, again and again", "run the same command again later")
    strange = ("cannot be read: what answers there does not answer as such a store does", "is the endpoint right?")
    otherwise = lost if any(sign in text for sign in _LOST) else strange
    return next((said for sign, said in reasons.items() if sign in text), otherwise)
