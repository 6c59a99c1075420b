import gzip
import io
import tarfile
import tracemalloc

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


def header(path, start, **fields):
    """Changes fields of the header block at ``start`` (their offsets as keys' numbers) and puts its sum right."""
    data = bytearray(path.read_bytes())
    for place, value in fields.items():
        at = start + int(place.removeprefix("at"))
        data[at : at + len(value)] = value
    block = data[start : start + 512]
    block[148:156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    path.write_bytes(data)
    return path


def test_a_sparse_map_that_is_none_is_damage(tmp_path):
    extended = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    path = write(tmp_path / "x.tar", {"a/1.png": b"no map" * 100}, pax_headers=extended)
    with pytest.raises(UsageError, match="not a tar or damaged"):
        index_tar(path)


def test_a_size_that_leads_back_to_the_member_itself_is_damage(tmp_path):
    path = write(tmp_path / "x.tar", {"a/1.png": b"x" * 600, "a/2.png": b"y"})
    header(path, 0, at124=(-512).to_bytes(12, signed=True))  # binary, so that the next header is this one again
    with pytest.raises(UsageError, match="not a tar or damaged"):
        index_tar(path)


@pytest.mark.parametrize("kind", [b"0", b"L", b"x"])
def test_a_size_beyond_the_file_takes_no_memory(tmp_path, kind):
    path = write(tmp_path / "x.tar", {"a/1.png": b"x" * 600})
    header(path, 0, at124=b"\x80" + (1 << 50).to_bytes(11), at156=kind)
    with pytest.raises(UsageError, match="not a tar or damaged"):
        index_tar(path)


def test_many_members_are_not_kept_as_headers(tmp_path):
    names = [f"a/{number}.png" for number in range(3000)]
    path = write(tmp_path / "x.tar", dict.fromkeys(names, b""))
    tracemalloc.start()
    try:
        found = index_tar(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert list(found.members) == names
    assert peak < 600 * len(names)  # a header that is kept takes twice that


def test_a_name_cannot_break_the_line_of_an_error(tmp_path):
    path = write(tmp_path / "x.tar", {"../a\n\x1b[2J.png": b""})
    with pytest.raises(UsageError) as caught:
        index_tar(path)
    assert str(caught.value).isprintable()
