"""The few operations on files that a record needs, in one place so that a crash can be rehearsed after each of them."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class Disk:
    """Real files. The crash tests put a subclass in its place that also writes down what it did."""

    def make_folder(self, path: Path) -> None:
        """Make one folder that only its owner may enter.

        Raises:
            FileExistsError: it exists already; two runs never share a folder.
        """
        path.mkdir(mode=0o700)

    def open(self, path: Path, *, create: bool) -> int:
        """Open a file for reading and appending; with ``create`` it must not exist yet."""
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if create else 0)
        return os.open(path, flags, 0o600)

    def write(self, descriptor: int, content: bytes) -> None:
        """Append all of ``content``."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Return when the file's content is on the disk."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to ``size`` bytes."""
        os.ftruncate(descriptor, size)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file or folder its new name in one step."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is gone already is fine."""
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Return when the folder's entries are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, content: bytes, *, durable: bool = True) -> None:
        """Write a file whole: a reader sees the old content or the new, never a part.

        Args:
            path: the file.
            content: all of it.
            durable: return only when content and name are on the disk. Without it a power cut may lose the file;
                its digest, kept elsewhere, then tells.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        self.remove(temporary)
        descriptor = self.open(temporary, create=True)
        try:
            self.write(descriptor, content)
            if durable:
                self.sync(descriptor)
        except OSError:
            self.remove(temporary)
            raise
        finally:
            os.close(descriptor)
        self.rename(temporary, path)
        if durable:
            self.sync_folder(path.parent)

    def sync_file(self, path: Path) -> None:
        """Return when a file that was written earlier is on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)


DISK = Disk()
