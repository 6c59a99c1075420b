"""Where the members of an uncompressed tar lie, so that they can be read in place."""

import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from moprune.errors import UsageError

Span: TypeAlias = tuple[int, int]
"""The offset of a member's bytes in the tar, and how many there are."""

_BLOCK = 512
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class TarIndex:
    """The files of a tar with their spans, and its folders; names are relative, without ``./``."""

    members: dict[str, Span]
    folders: tuple[str, ...]


def index_tar(path: Path) -> TarIndex:
    """Reads the headers of an uncompressed tar; memory is taken for the names alone, whatever sizes it declares.

    Raises:
        UsageError: no such file; not a tar; compressed; damaged or truncated; a member whose name leads out
            of the archive, or that is a link or sparse and so has no bytes of its own to read.
    """
    members: dict[str, Span] = {}
    folders: list[str] = []
    try:
        with _Bounded(path) as file:
            start = file.read(8)
            for magic, kind in _COMPRESSED.items():
                if start.startswith(magic):
                    raise UsageError(f"tar {path} is compressed ({kind}); decompress it or extract it first")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for member in _members(archive, path.stat().st_size):
                    name = _plain(member.name, path)
                    if member.isdir():
                        folders.extend([name] if name else [])  # "./" itself is none
                    elif member.isreg() and not member.issparse():
                        members[name] = (member.offset_data, member.size)
                    else:
                        raise UsageError(
                            f"member {name!r} of tar {path} is a link, sparse or special file; "
                            "write the tar again with: tar --dereference --hard-dereference"
                        )
                # tarfile takes a damaged header for the end; only a block of zeros is one.
                file.seek(archive.offset)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    raise tarfile.ReadError(f"no end mark at byte {archive.offset}")
    except OSError as error:
        raise UsageError(f"cannot read tar {path}: {error.strerror or error}; check the path") from error
    except UsageError:
        raise
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError) as error:  # headers hold text as numbers
        raise UsageError(f"tar {path} is not a tar or damaged ({error}); fetch or write it again") from error
    return TarIndex(members, tuple(folders))


class _Bounded(io.FileIO):
    """A file of which no more is read at once than there is: a read takes its memory before it looks."""

    def read(self, size: int | None = -1, /) -> bytes:
        whole = os.fstat(self.fileno()).st_size
        return super().read(whole if size is None else min(size, whole)) or b""


def _members(archive: tarfile.TarFile, whole: int) -> Iterator[tarfile.TarInfo]:
    """Yields the members without keeping them, each behind the one before and within the file's ``whole`` bytes."""
    end = 0
    while (member := archive.next()) is not None:
        archive.members.clear()  # type: ignore[attr-defined] # typeshed leaves it out
        if member.offset < end or member.size < 0 or archive.offset > whole:  # a negative size would lead back
            raise tarfile.ReadError(f"member {member.name!r} cannot have {member.size} bytes")
        end = archive.offset
        yield member


def _plain(name: str, path: Path) -> str:
    """Returns the member name without ``.`` parts; one that leads out of the archive is refused."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):
        raise UsageError(
            f"member {name!r} of tar {path} leads out of the archive; write the tar again with relative names"
        )
    return "/".join(parts)
