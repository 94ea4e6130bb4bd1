"""Objects in an S3 bucket: read, listed, and written whole, also only if nobody wrote them in between."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from runbook_lib.errors import (
    SourceDeniedError,
    SourceEmptyError,
    SourceUnreachableError,
    UsageError,
)
from runbook_lib.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

_SOURCE = "archive"
_CONNECT_SECONDS, _REQUEST_SECONDS = 5, 30
# Every write is of the same bytes or conditional, so that sending it again cannot do harm.
_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where objects are, and how to get in.

    Args:
        url: ``s3://bucket/prefix``.
        endpoint: address of a server other than AWS's; empty for AWS, or what ``AWS_ENDPOINT_URL`` says.
        region: of the bucket; empty for what ``AWS_REGION`` says.
        access_key: name of the key; None leaves both to AWS's own ways (variables, web identity, instance).
        secret_key: the key.
    """

    url: str
    endpoint: str = ""
    region: str = ""
    access_key: Secret | None = None
    secret_key: Secret | None = None

    def check(self) -> None:
        """Refuse an address that is none.

        Raises:
            UsageError: see ``place``.
        """
        _ = self.place

    @property
    def place(self) -> tuple[str, str]:
        """Bucket and prefix.

        Raises:
            UsageError: the address is not of an S3 bucket, or holds a credential.
        """
        parts = urlsplit(self.url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise UsageError("write an archive in a bucket as s3://bucket/prefix")
        if "@" in parts.netloc:
            raise UsageError("the address of an archive holds no credential; see records.access_key of the catalogue")
        return parts.netloc, parts.path.strip("/")


class ObjectStore:
    """The objects below a bucket's prefix, by their names relative to it.

    Args:
        bucket: where they are.

    Raises:
        UsageError: the driver is not installed, or the address is wrong.
    """

    def __init__(self, bucket: Bucket) -> None:
        if importlib.util.find_spec("obstore") is None:
            raise UsageError('archives in a bucket need the extra "s3": pip install "runbook-lib[s3]"')
        name, prefix = bucket.place
        self.url = bucket.url
        self._store = _opened(bucket, name, prefix)

    def read(self, name: str) -> tuple[bytes, str]:
        """An object's content and its version.

        Raises:
            SourceEmptyError: there is no such object.
            SourceError: it cannot be read.
        """
        import obstore

        with self._told(f"reading {name}"):
            found = obstore.get(self._store, name)
            return bytes(found.bytes()), str(found.meta["e_tag"] or "")

    def names(self, prefix: str = "") -> dict[str, int]:
        """Names of the objects below ``prefix`` and their sizes, bytes.

        Raises:
            SourceError: they cannot be listed.
        """
        import obstore

        with self._told("listing"):
            return {
                str(one["path"]): int(one["size"]) for page in obstore.list(self._store, prefix or None) for one in page
            }

    def write(self, name: str, content: bytes) -> None:
        """Write an object whole; its readers see the old content or the new.

        Raises:
            SourceError: it cannot be written, or it cannot be told whether it was.
        """
        import obstore

        with self._told(f"writing {name}"):
            obstore.put(self._store, name, content, use_multipart=False)

    def write_if(self, name: str, content: bytes, version: str) -> bool:
        """Write an object only while it is as it was read; whether it was written.

        Args:
            name: the object.
            content: all of it.
            version: as ``read`` gave it; empty when there must be no such object yet.

        Raises:
            SourceError: it cannot be written, or it cannot be told whether it was.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told(f"writing {name}"):
            try:
                obstore.put(self._store, name, content, mode={"e_tag": version} if version else "create")
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; one that is gone already is fine.

        Raises:
            SourceError: one cannot be removed.
        """
        import obstore

        with self._told("removing"):
            for name in names:
                try:
                    obstore.delete(self._store, name)
                except FileNotFoundError:
                    continue

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Errors of the driver in our own words; its text can hold an address with a signature, so it is not kept."""
        from obstore import exceptions

        try:
            yield
        except FileNotFoundError as error:
            raise SourceEmptyError(f"{self.url}: {what}: not there", source=_SOURCE) from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise SourceDeniedError(f"{self.url}: {what}: access denied", source=_SOURCE) from error
        except exceptions.BaseError as error:
            if any(word in str(error) for word in ("403 Forbidden", "401 Unauthorized", "AccessDenied")):
                raise SourceDeniedError(f"{self.url}: {what}: access denied", source=_SOURCE) from error
            kind = type(error).__name__.removesuffix("Error")
            raise SourceUnreachableError(f"{self.url}: {what} failed ({kind})", source=_SOURCE) from error


def _opened(bucket: Bucket, name: str, prefix: str) -> S3Store:
    from obstore.store import S3Store

    config: S3Config = {"bucket": name}
    if bucket.endpoint:
        config["endpoint"] = bucket.endpoint
    if bucket.region:
        config["region"] = bucket.region
    if bucket.access_key and bucket.secret_key:
        config["access_key_id"] = bucket.access_key.reveal()
        config["secret_access_key"] = bucket.secret_key.reveal()
    client: ClientConfig = {
        "timeout": timedelta(seconds=_REQUEST_SECONDS),
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
        # Only an address that says http:// is asked without encryption.
        "allow_http": True,
    }
    retry: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_REQUEST_SECONDS)}
    return S3Store(config=config, prefix=prefix or None, client_options=client, retry_config=retry)
