"""A time-stamping authority (RFC 3161): a third party's signed word that a digest existed at a time."""

from __future__ import annotations

import importlib.util
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib.errors import RecordError, SourceAnswerError, SourceUnreachableError, UsageError

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_CONNECT_SECONDS, _TOTAL_SECONDS = 5.0, 15.0
_QUERY, _REPLY = "application/timestamp-query", "application/timestamp-reply"
_SOURCE = "rfc3161"
_MOST_BYTES = 2**20


def stamp(url: str, content: bytes) -> bytes:
    """Have some bytes stamped; only their SHA-512 leaves this machine. One request.

    Args:
        url: address of the authority.
        content: what is stamped.

    Returns:
        The answer (DER), to be kept beside what was stamped.

    Raises:
        UsageError: the library for it is not installed.
        SourceError: the authority did not stamp it.
    """
    _installed()
    import httpx
    from rfc3161_client import TimestampRequestBuilder

    request = TimestampRequestBuilder().data(content).nonce(nonce=True).cert_request(cert_request=True).build()
    timeout = httpx.Timeout(_TOTAL_SECONDS, connect=_CONNECT_SECONDS)
    try:
        reply = httpx.post(url, content=request.as_bytes(), headers={"Content-Type": _QUERY}, timeout=timeout)
    except httpx.HTTPError as error:
        raise SourceUnreachableError(f"{url}: {type(error).__name__}", source=_SOURCE) from error
    kind = reply.headers.get("content-type", "").partition(";")[0]
    if reply.status_code != 200 or kind != _REPLY or len(reply.content) > _MOST_BYTES:
        raise SourceAnswerError(f"{url}: answered {reply.status_code} with {kind or 'no type'}", source=_SOURCE)
    answer = _parsed(reply.content)
    # Looked at now: an answer to something else is found while the authority can still be asked again.
    if answer.status != 0 or answer.tst_info.nonce != request.nonce:
        raise SourceAnswerError(f"{url}: did not stamp what was sent (status {answer.status})", source=_SOURCE)
    return reply.content


def check(token: bytes, content: bytes, authorities: Path) -> datetime:
    """When an authority says that it saw some bytes. Offline.

    Args:
        token: its answer, as ``stamp`` gave it.
        content: what was stamped.
        authorities: PEM file with the certificates that are trusted: the root, and what stands between.

    Returns:
        The authority's time.

    Raises:
        UsageError: the library for it is not installed.
        RecordError: none of these authorities stamped this content.
    """
    _installed()
    from cryptography import x509
    from rfc3161_client import VerificationError, VerifierBuilder

    try:
        answer = _parsed(token)
        builder = VerifierBuilder(roots=[], intermediates=[])
        for certificate in x509.load_pem_x509_certificates(authorities.read_bytes()):
            own = certificate.issuer == certificate.subject
            add = builder.add_root_certificate if own else builder.add_intermediate_certificate
            builder = add(certificate)
        builder.build().verify_message(answer, content)
    except (VerificationError, SourceAnswerError, ValueError) as error:
        raise RecordError(f"no authority of {authorities} stamped this: {error}") from error
    except OSError as error:
        raise RecordError(f"{authorities}: cannot be read: {error.strerror}") from error
    return answer.tst_info.gen_time


def _parsed(token: bytes) -> TimeStampResponse:
    from rfc3161_client import decode_timestamp_response

    try:
        return decode_timestamp_response(token)
    except ValueError as error:
        raise SourceAnswerError("the answer is no time stamp", source=_SOURCE) from error


def _installed() -> None:
    if importlib.util.find_spec("rfc3161_client") is None:
        raise UsageError('time stamps need the extra "rfc3161": pip install "runbook-lib[rfc3161]"')
