"""SPDY/3.1, as far as an API server speaks it to a node: streams that the peer opens, with headers and data both ways.

Frames by the SPDY Protocol draft 3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/). Like the
library on the other side (moby/spdystream) it keeps no flow control windows and needs no priorities.
"""

from __future__ import annotations

import queue
import struct
import threading
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

_VERSION = 3
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY = 1, 2, 3, 6, 7
_FIN = 0x01
_CHUNK_BYTES = 32 * 1024
_MAX_FRAME_BYTES = 16 * 1024 * 1024
#: Section 2.6.10.1: what both sides' compression begins with. Words, each behind its length, and then plain text.
_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)
_PHRASES = (*_WORDS.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_DICTIONARY = (
    b"".join(struct.pack(">I", len(word)) + word.encode() for word in _PHRASES)
    + b"100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    b"203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    b"404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    b"Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    b"chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    b"publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


class Readable(Protocol):
    """Where frames come from, such as a buffered socket."""

    def read(self, size: int, /) -> bytes:
        """As many bytes, fewer at the end."""
        ...


class Stream:
    """One stream that the peer opened.

    Args:
        session: the connection it belongs to.
        number: its id on the wire.
        headers: what it was opened with; names in lower case.
    """

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.number, self.headers = number, headers
        self._session = session
        self._arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._closed = threading.Lock()

    def read(self) -> bytes:
        """What arrives next; waits for it. Empty when the peer has ended the stream or is gone."""
        data = self._arrived.get()
        if not data:
            self._arrived.put(b"")  # whoever asks again is told again
        return data

    def write(self, data: bytes) -> None:
        """Send data to the peer.

        Raises:
            OSError: the peer is gone.
        """
        for start in range(0, len(data), _CHUNK_BYTES):
            self._session.send_data(self.number, data[start : start + _CHUNK_BYTES], fin=False)

    def close(self) -> None:
        """Say that nothing more comes from here; once is enough."""
        if self._closed.acquire(blocking=False):
            self._session.send_data(self.number, b"", fin=True)

    def take(self, data: bytes) -> None:
        """Data of the peer; empty at its end."""
        self._arrived.put(data)


class Session:
    """One connection, as the side that was called.

    Args:
        source: what the peer sends.
        send: sends bytes to the peer.
        opened: told of each new stream, in the thread that reads; must not wait for data.
    """

    def __init__(self, source: Readable, send: Callable[[bytes], object], opened: Callable[[Stream], None]) -> None:
        self._source, self._send, self._opened = source, send, opened
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._inflate = zlib.decompressobj(zdict=_DICTIONARY)
        self._deflate = zlib.compressobj(zdict=_DICTIONARY)

    def run(self) -> None:
        """Read frames until the peer goes away; every stream then ends."""
        try:
            while head := self._exactly(8):
                first, second = struct.unpack(">II", head)
                size = second & 0xFFFFFF
                body = self._exactly(size) if size <= _MAX_FRAME_BYTES else b""
                if len(body) != size:
                    return
                if first & 0x80000000:
                    self._control(first & 0xFFFF, body)
                elif first in self._streams:
                    self._data(self._streams[first], body, fin=bool(second >> 24 & _FIN))
        except (OSError, zlib.error, struct.error, UnicodeDecodeError):
            return  # a peer that breaks off or writes nonsense has ended the session
        finally:
            for stream in list(self._streams.values()):
                stream.take(b"")

    def send_data(self, number: int, data: bytes, *, fin: bool) -> None:
        """One data frame.

        Raises:
            OSError: the peer is gone.
        """
        with self._lock:
            self._send(struct.pack(">II", number, (_FIN if fin else 0) << 24 | len(data)) + data)

    def _exactly(self, size: int) -> bytes:
        data = self._source.read(size) if size else b""
        return data if len(data) == size else b""

    def _data(self, stream: Stream, body: bytes, *, fin: bool) -> None:
        if body:
            stream.take(body)
        if fin:
            stream.take(b"")

    def _control(self, kind: int, body: bytes) -> None:
        if kind == _SYN_STREAM:
            number = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
            stream = self._streams[number] = Stream(self, number, self._headers(body[10:]))
            self._reply(number)
            self._opened(stream)
        elif kind == _RST_STREAM:
            number = struct.unpack_from(">I", body)[0] & 0x7FFFFFFF
            if number in self._streams:
                self._streams.pop(number).take(b"")
        elif kind == _PING:
            self._frame(_PING, body)
        elif kind == _GOAWAY:
            raise ConnectionAbortedError("the peer leaves")

    def _headers(self, block: bytes) -> dict[str, str]:
        """A block of headers: their number, then each name and value behind its length."""
        plain, at, found = self._inflate.decompress(block), 4, {}
        for _ in range(struct.unpack_from(">I", plain)[0]):
            words = []
            for _ in range(2):
                size = struct.unpack_from(">I", plain, at)[0]
                words.append(plain[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[words[0].lower()] = words[1]
        return found

    def _reply(self, number: int) -> None:
        with self._lock:
            block = self._deflate.compress(struct.pack(">I", 0)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            self._send(self._head(_SYN_REPLY, 4 + len(block)) + struct.pack(">I", number) + block)

    def _frame(self, kind: int, body: bytes) -> None:
        with self._lock:
            self._send(self._head(kind, len(body)) + body)

    @staticmethod
    def _head(kind: int, size: int) -> bytes:
        return struct.pack(">II", 0x80000000 | _VERSION << 16 | kind, size)
