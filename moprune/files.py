"""Files that are either whole or absent, digests of content, and the user's cache directory."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from moprune.errors import MopruneError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` that takes its place when the block ends without an error.

    A reader sees the old file or the new one, never half of one; on an error nothing is left behind.

    Raises:
        MopruneError: the folder cannot be written or the disk is full.
    """
    # Not tempfile: its files are readable by their owner alone, and stay so.
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:12]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes ``text`` (UTF-8) to ``path`` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def cannot_write(path: Path, error: OSError) -> MopruneError:
    """Returns the error for a file that cannot be written, with the reason and what to do."""
    reason = error.strerror or str(error)
    return MopruneError(f"cannot write {path}: {reason}; free some space or choose another folder")


def sha256_of_file(path: Path) -> str:
    """Returns the SHA-256 (hexadecimal) of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Returns the user's cache folder for moprune: ``$MOPRUNE_CACHE`` if set, else the platform's own."""
    import platformdirs

    given = os.environ.get("MOPRUNE_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("moprune"))
