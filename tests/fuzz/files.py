"""Targets that read data sets: tars, images and texts."""

import io
import struct
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from moprune.data import ImageFiles, open_images, open_tar, open_text
from moprune.data.tars import index_tar
from tests.fuzz.oracle import Target, refused, scratch

_BLOCK = 512
_PNG = b"\x89PNG\r\n\x1a\n"


def read_tar(data: bytes) -> None:
    """Indexes a tar and reads its images, as it is and with the sums of its headers put right."""
    path = scratch("tar") / "images.tar"
    for content in dict.fromkeys((data, with_sums(data))):
        path.write_bytes(content)
        with refused("images.tar"):
            for name, (offset, size) in index_tar(path).members.items():
                assert not name.startswith("/")
                assert ".." not in PurePosixPath(name).parts
                assert 0 <= offset <= offset + size <= len(content)
        for read in (open_tar, open_images):
            with refused("images.tar"):
                read(path)
        with refused("images.tar"):
            images = open_images(path)
            for index in range(min(3, len(images))):
                images[index].close()


def with_sums(data: bytes) -> bytes:
    """Returns a tar whose header blocks have the checksums they should have, which mutations seldom hit."""
    blocks = [bytearray(data[start : start + _BLOCK]) for start in range(0, len(data), _BLOCK)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == _BLOCK:
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)


def _tar(*members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", **pax: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.pax_headers = kind, link, pax
    return info


def tars() -> list[bytes]:
    """Returns a tar that works, and tars with escapes, links, devices, long names, holes and false sizes."""
    picture = images()[0]
    plain = [(_member(f"{label}/{i}.png"), picture) for label in ("cat", "dog") for i in range(2)]
    long = "d/" * 80 + "cat/0.png"
    odd = [
        (_member("../up.png"), picture), (_member("/etc/root.png"), picture), (_member("cat/a\nb.png"), picture),
        (_member("cat/link.png", tarfile.SYMTYPE, "/etc/passwd"), b""), (_member("cat/\udcff\x1b[2J.png"), picture),
        (_member("cat/hard.png", tarfile.LNKTYPE, "../../x"), b""), (_member("null", tarfile.CHRTYPE), b""),
        (_member("pipe", tarfile.FIFOTYPE), b""), (_member("cat", tarfile.DIRTYPE), b""), (_member(long), picture),
    ]  # fmt: skip
    pax = [(_member("cat/0.png", **{"path": "../x.png", "size": "99999999999999"}), picture)]
    sparse = [(_member("cat/0.png", **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}), b"1\n0\n9\n".ljust(600))]
    nested = [(_member("cat/inner.tar"), _tar(*plain)), (_member("dog/0.png"), picture)]
    whole = _tar(*plain)
    huge = bytearray(whole)
    huge[124:136] = b"\x80" + (1 << 62).to_bytes(11)
    return [
        whole, whole[:700], bytes(huge), b"", b"no tar", b"\x1f\x8b\x08 gzip",
        *(_tar(each) for each in odd), _tar(*pax, form=tarfile.PAX_FORMAT), _tar(*sparse, form=tarfile.PAX_FORMAT),
        _tar(*nested), _tar(*plain, form=tarfile.USTAR_FORMAT),
    ]  # fmt: skip


def read_image(data: bytes) -> None:
    """Decodes an image in both modes, as it is and with the sums of its PNG chunks put right."""
    folder = scratch("image")
    for content in dict.fromkeys((data, with_crcs(data))):
        (folder / "0.png").write_bytes(content)
        for mode in ("RGB", "L"):
            with refused("0.png"):
                image = ImageFiles(folder, ("0.png",), mode)[0]
                assert image.mode == mode
                assert min(image.size) > 0
                assert np.asarray(image).dtype == np.uint8


def with_crcs(data: bytes) -> bytes:
    """Returns a PNG whose chunks have the checksums they should have."""
    if not data.startswith(_PNG):
        return data
    parts, place = [_PNG], len(_PNG)
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        parts.append(data[place : place + 4] + body + struct.pack(">I", zlib.crc32(body)))
        place += 12 + length
    return b"".join([*parts, data[place:]])


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def images() -> list[bytes]:
    """Returns small images of many kinds, one with a header that declares far too many pixels, one cut short."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    colour, rgba = Image.fromarray(pixels[..., :3]), Image.fromarray(pixels)
    palette = colour.convert("P")
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    png = _encoded(colour, "PNG")
    vast = with_crcs(png[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png[24:])
    wide = with_crcs(png[:16] + struct.pack(">II", 9000, 9000) + png[24:])
    return [
        png, vast, wide, png[:-30], b"",
        *(_encoded(each, "PNG") for each in (rgba, deep, colour.convert("1"), colour.convert("LA"))),
        _encoded(palette, "PNG", transparency=3), _encoded(colour, "PNG", save_all=True, append_images=[colour]),
        _encoded(colour, "JPEG", exif=turned), _encoded(colour.convert("CMYK"), "JPEG"), _encoded(colour, "BMP"),
        _encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]), _encoded(colour, "WEBP"),
        _encoded(deep, "TIFF"), _encoded(colour, "TIFF", compression="tiff_lzw"), _encoded(colour, "PPM"),
        _encoded(colour.convert("F").convert("F"), "TIFF"), b"P6 0 0 255\n", b"P5 9999 9999 65535\n",
    ]  # fmt: skip


def read_text(data: bytes) -> None:
    """Opens a data set of texts whose files are the input, of test also what is known to be whole."""
    folder = scratch("text")
    for test in (data, b"good film\tyes\nbad film\tno\n"):
        (folder / "train.tsv").write_bytes(data)
        (folder / "test.tsv").write_bytes(test)
        with refused("train.tsv", "test.tsv"):
            source = open_text(folder, words=20, length=5)
            assert len(source.classes) >= 2
            for name, split in source.subsets.items():
                assert len(split) > 0, name


def texts() -> Sequence[bytes]:
    """Returns tables of sentences with labels, whole and broken."""
    return [
        b"good film\tyes\nbad film\tno\n", b"\xef\xbb\xbfgood\tyes\r\nbad\tno\r\n", b"", b"\n", b"sentence\tlabel\n",
        b"a\tb\tc\n", b"\xff\xfe\tno\n", "it's \u202e\u2028 odd\t\x1b[2J\nsecond\tno\n".encode(), b"a\t\n", b"\ta\n",
        b"x " * 3000 + b"\t1\ny\t0\n", b"a\t1\n" * 50 + b"b\t2\n", b"a\x00b\t1\x0bc\nd\t2\x85\n",
    ]  # fmt: skip


TARGETS = {
    "tar": Target(read_tar, tars),
    "image": Target(read_image, images),
    "text": Target(read_text, texts),
}
