import gzip
import io
import tarfile

import pytest

from moprune.data.tars import index_tar
from moprune.errors import UsageError


def write(path, members, **extra):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in extra.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_spans_point_at_the_bytes(tmp_path):
    members = {"./a/1.png": b"one", "a/" + "long" * 60 + ".png": b"x" * 1000, "b/ä.png": b""}
    path = write(tmp_path / "x.tar", members)
    found = index_tar(path).members
    data = path.read_bytes()
    read = {name: data[offset : offset + size] for name, (offset, size) in found.items()}
    assert read == {name.removeprefix("./"): content for name, content in members.items()}


@pytest.mark.parametrize("name", ["../../etc/passwd.png", "a/../../b.png", "/etc/x.png"])
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    path = write(tmp_path / "x.tar", {"a/1.png": b"1", name: b"2"})
    with pytest.raises(UsageError, match="leads out of the archive"):
        index_tar(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(tmp_path, kind):
    path = write(tmp_path / "x.tar", {"a/1.png": b""}, type=kind, linkname="/etc/passwd")
    with pytest.raises(UsageError, match=r"a/1.png.*is a link"):
        index_tar(path)


def test_a_compressed_tar_is_told_to_be_decompressed(tmp_path):
    plain = write(tmp_path / "x.tar", {"a/1.png": b"1"}).read_bytes()
    packed = tmp_path / "x.tar.gz"
    packed.write_bytes(gzip.compress(plain))
    with pytest.raises(UsageError, match=r"compressed \(gzip\); decompress it or extract it"):
        index_tar(packed)


def test_a_damaged_tar_is_never_taken_for_a_shorter_one(tmp_path):
    path = write(tmp_path / "x.tar", {f"a/{number}.png": b"x" * 700 for number in range(5)})
    data = path.read_bytes()
    member = 512 + 1024
    for length in (700, member, member + 100, member + 512, 3 * member):
        path.write_bytes(data[:length])
        with pytest.raises(UsageError, match="not a tar or damaged"):
            index_tar(path)
    path.write_bytes(data[:member] + b"\xff" * 512 + data[member + 512 :])
    with pytest.raises(UsageError, match="not a tar or damaged"):
        index_tar(path)


def test_what_is_no_tar_is_named(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"hello")
    with pytest.raises(UsageError, match="not a tar"):
        index_tar(tmp_path / "x.tar")
    with pytest.raises(UsageError, match=r"cannot read tar .*none.tar: No such file"):
        index_tar(tmp_path / "none.tar")
