"""Remote write 1.0: Snappy blocks and the few protobuf fields that it needs, in both directions.

The lab loads history through this door, which a real Prometheus has as well.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence

from runbook_lib.lab.metrics import labels as label_sets
from runbook_lib.lab.metrics.errors import QueryError
from runbook_lib.lab.metrics.labels import METRIC_NAME, Labels
from runbook_lib.lab.metrics.promql.series import Samples

WrittenSeries = tuple[Labels, Sequence[tuple[int, float]]]
"""Labels, and samples as milliseconds since the epoch and value."""

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
MAX_DECODED_BYTES = 64 * 1024 * 1024
# The longest literal that the encoder puts in one element.
_LITERAL_BYTES = 65536


def encode(series: Iterable[WrittenSeries]) -> bytes:
    """The body of a remote write request; send it with `HEADERS`."""
    message = b"".join(_field(1, _encode_series(labels, samples)) for labels, samples in series)
    return _snappy(message)


def decode(body: bytes) -> list[Samples]:
    """Read the body of a remote write request; nothing of a body that is wrong in any place.

    Raises:
        QueryError: not Snappy, not the expected message, without a metric name, or with native histograms, which
            the store does not keep.
    """
    try:
        return [_decode_series(value) for number, value in _fields(_unsnappy(body)) if number == 1]
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise QueryError(f"remote write body cannot be decoded: {error}") from error


def _encode_series(labels: Labels, samples: Iterable[tuple[int, float]]) -> bytes:
    parts = [_field(1, _field(1, name.encode()) + _field(2, value.encode())) for name, value in labels]
    parts += [
        _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(time_ms & (2**64 - 1)))
        for time_ms, value in samples
    ]
    return b"".join(parts)


def _decode_series(message: bytes) -> Samples:
    pairs: dict[str, str] = {}
    times_ms, values = array("q"), array("d")  # a request may hold a million samples
    for number, value in _fields(message):
        if number == 1:
            parts = dict(_fields(value))
            pairs[parts.get(1, b"").decode()] = parts.get(2, b"").decode()
        elif number == 2:
            time_ms, sample = _decode_sample(value)
            times_ms.append(time_ms)
            values.append(sample)
        elif number == 4:
            raise QueryError("remote write: native histograms are outside the subset of the embedded store")
    if not pairs.get(METRIC_NAME):
        raise QueryError("remote write: a series needs a metric name")
    return Samples(label_sets.make_labels(pairs), times_ms, values)


def _decode_sample(message: bytes) -> tuple[int, float]:
    value, time_ms, position = 0.0, 0, 0
    while position < len(message):
        key, position = _read_varint(message, position)
        if key == 0x09:
            (value,) = struct.unpack_from("<d", message, position)
            position += 8
        elif key == 0x10:
            time_ms, position = _read_varint(message, position)
        else:
            raise QueryError(f"remote write: unexpected field {key >> 3} in a sample")
    return (time_ms - 2**64 if time_ms >= 2**63 else time_ms), value


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; numbers are skipped."""
    position = 0
    while position < len(message):
        key, position = _read_varint(message, position)
        wire = key & 7
        if wire == 2:
            length, position = _read_varint(message, position)
            if position + length > len(message):
                raise IndexError("a field is longer than its message")
            yield key >> 3, message[position : position + length]
            position += length
        elif wire == 0:
            _, position = _read_varint(message, position)
        elif wire in {1, 5}:
            position += 8 if wire == 1 else 4
        else:
            raise IndexError(f"wire type {wire} is unknown")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(message: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = message[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise IndexError("a number is longer than 64 bits")


def _snappy(raw: bytes) -> bytes:
    """A Snappy block of literals only: valid, not smaller; it never leaves the machine."""
    parts = [_varint(len(raw))]
    for start in range(0, len(raw), _LITERAL_BYTES):
        literal = raw[start : start + _LITERAL_BYTES]
        parts.append(b"\xf4" + struct.pack("<H", len(literal) - 1) + literal)
    return b"".join(parts)


def _unsnappy(block: bytes) -> bytes:
    """Unpack a Snappy block: literals, and copies from what was unpacked before."""
    size, position = _read_varint(block, 0)
    if size > MAX_DECODED_BYTES:
        raise QueryError(f"remote write: more than {MAX_DECODED_BYTES} bytes in one request")
    out = bytearray()
    while position < len(block):
        tag = block[position]
        position += 1
        if tag & 3 == 0:
            length, position = _literal_length(block, position, tag >> 2)
            if position + length > len(block):
                raise IndexError("a literal is longer than the block")
            out += block[position : position + length]
            position += length
            continue
        length, offset, position = _copy(block, position, tag)
        if not 0 < offset <= len(out):
            raise IndexError("a copy starts before the block")
        for _ in range(length):
            out.append(out[-offset])
    if len(out) != size:
        raise IndexError(f"{size} bytes were announced and {len(out)} unpacked")
    return bytes(out)


def _literal_length(block: bytes, position: int, code: int) -> tuple[int, int]:
    if code < 60:
        return code + 1, position
    width = code - 59
    return int.from_bytes(block[position : position + width], "little") + 1, position + width


def _copy(block: bytes, position: int, tag: int) -> tuple[int, int, int]:
    kind = tag & 3
    if kind == 1:
        return (tag >> 2 & 7) + 4, (tag >> 5) << 8 | block[position], position + 1
    width = 2 if kind == 2 else 4
    offset = int.from_bytes(block[position : position + width], "little")
    return (tag >> 2) + 1, offset, position + width
