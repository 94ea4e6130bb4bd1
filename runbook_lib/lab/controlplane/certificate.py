"""A self-signed certificate for loopback, made without any tool.

Go clients (``kubectl``, Helm) send credentials only over TLS, so a server that knows users has to speak it. The
standard library cannot make certificates, and neither ``openssl`` nor a cryptography package is a given, so this writes
the few structures itself: an ECDSA key on P-256 (FIPS 186-4, SEC 1) in an X.509 certificate (RFC 5280).
The key protects nothing but loopback traffic of a practice system.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import secrets
from datetime import UTC, datetime, timedelta

# Domain parameters of P-256, FIPS 186-4 D.1.2.3; a = -3.
P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)
Point = tuple[int, int] | None
VALID_DAYS = 365

OID_EC_PUBLIC_KEY, OID_P256, OID_ECDSA_SHA256 = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"
OID_COMMON_NAME, OID_SERVER_AUTH, OID_CLIENT_AUTH = "2.5.4.3", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"
OID_SUBJECT_KEY, OID_KEY_USAGE, OID_ALT_NAME = "2.5.29.14", "2.5.29.15", "2.5.29.17"
OID_BASIC, OID_AUTHORITY_KEY, OID_EXTENDED_USAGE = "2.5.29.19", "2.5.29.35", "2.5.29.37"


def make(common_name: str, address: str = "127.0.0.1") -> tuple[str, str]:
    """Certificate and private key as PEM, for ``localhost`` and one address, of server or client; valid for a year."""
    private = secrets.randbelow(N - 1) + 1
    point = _times(private, G)
    assert point is not None
    public = b"\x04" + point[0].to_bytes(32, "big") + point[1].to_bytes(32, "big")
    algorithm = _sequence(_oid(OID_ECDSA_SHA256))
    name = _sequence(_tag(0x31, _sequence(_oid(OID_COMMON_NAME), _tag(0x0C, common_name.encode()))))
    begin = datetime.now(UTC) - timedelta(days=1)
    validity = _sequence(
        *(_tag(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode()) for moment in (begin, begin + timedelta(VALID_DAYS)))
    )
    key_info = _sequence(_sequence(_oid(OID_EC_PUBLIC_KEY), _oid(OID_P256)), _bits(public))
    body = _sequence(
        _tag(0xA0, _integer(2)),
        _integer(secrets.randbits(64)),
        algorithm,
        name,
        validity,
        name,
        key_info,
        _tag(0xA3, _sequence(*_extensions(public, address))),
    )
    certificate = _sequence(body, algorithm, _bits(_sign(body, private)))
    key = _sequence(
        _integer(1), _tag(0x04, private.to_bytes(32, "big")), _tag(0xA0, _oid(OID_P256)), _tag(0xA1, _bits(public))
    )
    return _pem("CERTIFICATE", certificate), _pem("EC PRIVATE KEY", key)


def _extensions(public: bytes, address: str) -> list[bytes]:
    identity = hashlib.sha256(public).digest()[:20]
    names = _tag(0x82, b"localhost") + _tag(0x87, ipaddress.ip_address(address).packed)
    return [
        _extension(OID_BASIC, _sequence(_tag(0x01, b"\xff")), critical=True),
        _extension(OID_KEY_USAGE, _tag(0x03, b"\x02\x84"), critical=True),  # digital signature, certificate signing
        _extension(OID_EXTENDED_USAGE, _sequence(_oid(OID_SERVER_AUTH), _oid(OID_CLIENT_AUTH))),
        _extension(OID_ALT_NAME, _tag(0x30, names)),
        _extension(OID_SUBJECT_KEY, _tag(0x04, identity)),
        _extension(OID_AUTHORITY_KEY, _sequence(_tag(0x80, identity))),
    ]


def _extension(identifier: str, value: bytes, *, critical: bool = False) -> bytes:
    flag = [_tag(0x01, b"\xff")] if critical else []
    return _sequence(_oid(identifier), *flag, _tag(0x04, value))


def _sign(data: bytes, private: int) -> bytes:
    digest = int.from_bytes(hashlib.sha256(data).digest(), "big")
    while True:
        nonce = secrets.randbelow(N - 1) + 1
        point = _times(nonce, G)
        assert point is not None
        r = point[0] % N
        s = pow(nonce, -1, N) * (digest + r * private) % N
        if r and s:
            return _sequence(_integer(r), _integer(s))


def _add(left: Point, right: Point) -> Point:
    if left is None or right is None:
        return left or right
    if left[0] == right[0]:
        if (left[1] + right[1]) % P == 0:
            return None
        slope = (3 * left[0] * left[0] - 3) * pow(2 * left[1], -1, P) % P
    else:
        slope = (right[1] - left[1]) * pow(right[0] - left[0], -1, P) % P
    x = (slope * slope - left[0] - right[0]) % P
    return x, (slope * (left[0] - x) - left[1]) % P


def _times(factor: int, point: Point) -> Point:
    result: Point = None
    while factor:
        if factor & 1:
            result = _add(result, point)
        point = _add(point, point)
        factor >>= 1
    return result


def _tag(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 128:
        return bytes((tag, length)) + content
    size = (length.bit_length() + 7) // 8
    return bytes((tag, 0x80 | size)) + length.to_bytes(size, "big") + content


def _sequence(*parts: bytes) -> bytes:
    return _tag(0x30, b"".join(parts))


def _integer(value: int) -> bytes:
    return _tag(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _bits(content: bytes) -> bytes:
    return _tag(0x03, b"\x00" + content)


def _oid(text: str) -> bytes:
    first, second, *rest = (int(part) for part in text.split("."))
    content = bytes([first * 40 + second])
    for number in rest:
        septets = [number & 0x7F]
        while number := number >> 7:
            septets.append(0x80 | number & 0x7F)
        content += bytes(reversed(septets))
    return _tag(0x06, content)


def _pem(title: str, content: bytes) -> str:
    text = base64.encodebytes(content).decode().replace("\n", "")
    lines = [text[i : i + 64] for i in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {title}-----", *lines, f"-----END {title}-----", ""])
