"""What a file is, by its first bytes, and how to bring it into a form that is read here.

A sound file of another kind must not be called damaged: whoever copies a video again gets the same
video.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of file: `name` with its article, and the way to something that is read, or ""."""

    name: str
    way: str = ""


_FRAMES = (
    "write its frames as images first: ffmpeg -i FILE frame_%06d.png, or use handjax predict video"
)
_BAG = "export its frames as PNG, or use handjax predict video"
_AS_PNG = "convert it to PNG first"
_UNPACK = "unpack it first"
_VIDEO = {
    "mp4": Kind("an MP4 video", _FRAMES),
    "mov": Kind("a QuickTime video", _FRAMES),
}
# (where the bytes are, the bytes, kind). The first match counts.
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Kind("a PNG image")),
    (0, b"\xff\xd8\xff", Kind("a JPEG image")),
    (0, b"II*\0", Kind("a TIFF image")),
    (0, b"MM\0*", Kind("a TIFF image")),
    (0, b"II+\0", Kind("a BigTIFF image")),
    (0, b"MM\0+", Kind("a BigTIFF image")),
    (0, b"GIF8", Kind("a GIF image", "write its frames as PNG first")),
    (0, b"v/1\x01", Kind("an OpenEXR image", "save it as PNG, or depth as float TIFF or .npy")),
    (0, b"8BPS", Kind("a Photoshop image", _AS_PNG)),
    (0, b"\0\0\0\x0cjP  \r\n", Kind("a JPEG 2000 image", _AS_PNG)),
    (0, b"\xff\x4f\xff\x51", Kind("a JPEG 2000 image", _AS_PNG)),
    (0, b"\0\0\0\x0cJXL \r\n", Kind("a JPEG XL image", _AS_PNG)),
    (0, b"\xff\x0a", Kind("a JPEG XL image", _AS_PNG)),
    (0, b"qoif", Kind("a QOI image", _AS_PNG)),
    (0, b"\x93NUMPY", Kind("a NumPy array (.npy)")),
    (0, b"\x89HDF\r\n\x1a\n", Kind("an HDF5 file")),
    (0, b"MATLAB 7.3", Kind("a MATLAB 7.3 file")),
    (0, b"MATLAB", Kind("a MATLAB file")),
    (0, b"#ROSBAG", Kind("a ROS bag (.bag, as RealSense records)", _BAG)),
    (0, b"\x89MCAP0", Kind("a ROS 2 bag (.mcap)", "export its frames as PNG")),
    (0, b"SQLite format 3", Kind("an SQLite database (a ROS 2 bag?)", _BAG)),
    (0, b"\x1aE\xdf\xa3", Kind("a Matroska or WebM video", _FRAMES)),
    (0, b"FLV", Kind("a Flash video", _FRAMES)),
    (0, b"\0\0\x01\xba", Kind("an MPEG video", _FRAMES)),
    (0, b"\0\0\x01\xb3", Kind("an MPEG video", _FRAMES)),
    (0, b"0&\xb2u\x8ef\xcf\x11", Kind("a Windows Media video", _FRAMES)),
    (0, b"\x1f\x8b", Kind("a gzip archive", _UNPACK)),
    (0, b"BZh", Kind("a bzip2 archive", _UNPACK)),
    (0, b"\xfd7zXZ\0", Kind("an xz archive", _UNPACK)),
    (0, b"(\xb5/\xfd", Kind("a Zstandard archive", _UNPACK)),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7-Zip archive", _UNPACK)),
    (0, b"Rar!", Kind("a RAR archive", _UNPACK)),
    (257, b"ustar", Kind("a tar archive", _UNPACK)),
    (0, b"%PDF", Kind("a PDF", "")),
    (0, b"ply\n", Kind("a PLY point cloud", "expected depth as an image, not points")),
    (0, b"# .PCD", Kind("a PCD point cloud", "expected depth as an image, not points")),
    (0, b"\0\x05\x16\x07", Kind("a companion file of macOS (._NAME)", "leave it out")),
    (0, b"\0\0\0\x01Bud1", Kind("a .DS_Store of macOS", "leave it out")),
    (0, b"version https://git-lfs", Kind("a pointer of Git LFS, not the file", "git lfs pull")),
    (0, b"/annex/", Kind("a pointer of git-annex, not the file", "git annex get")),
    (4, b"mdat", _VIDEO["mov"]),
    (4, b"moov", _VIDEO["mov"]),
    (4, b"wide", _VIDEO["mov"]),
)
# Brands of the ISO media format that are no video; all others are.
_BRANDS = {
    b"heic": Kind("a HEIC image", _AS_PNG),
    b"heix": Kind("a HEIC image", _AS_PNG),
    b"hevc": Kind("a HEIC image sequence", _AS_PNG),
    b"mif1": Kind("a HEIF image", _AS_PNG),
    b"msf1": Kind("a HEIF image sequence", _AS_PNG),
    b"avif": Kind("an AVIF image", _AS_PNG),
    b"avis": Kind("an AVIF image sequence", _AS_PNG),
    b"crx ": Kind("a raw image of a Canon camera", _AS_PNG),
    b"qt  ": _VIDEO["mov"],
}
_RIFF = {
    b"WEBP": Kind("a WebP image"),
    b"AVI ": Kind("an AVI video", _FRAMES),
    b"WAVE": Kind("a sound recording"),
}
_PNM = {
    **dict.fromkeys((b"P1", b"P4"), Kind("a PBM bitmap", _AS_PNG)),
    **dict.fromkeys((b"P2", b"P5"), Kind("a PGM image")),
    **dict.fromkeys((b"P3", b"P6"), Kind("a PPM image")),
    b"Pf": Kind("a PFM image"),
    b"PF": Kind("a PFM image of three channels", "save it as PNG, or depth as float TIFF or .npy"),
}
_UNKNOWN = Kind("a file of an unknown kind")


def kind_of(data: bytes) -> Kind:
    """The kind of a file of this content."""
    if not data:
        return Kind("an empty file", "copy it again")
    if not any(data[:4096]) and not any(data):
        return Kind("nothing but zeros, as an unfinished copy is", "copy it again")
    for at, magic, kind in _MAGIC:
        if data[at : at + len(magic)] == magic:
            return kind
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], _VIDEO["mp4"])
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], _UNKNOWN)
    if data[:2] in _PNM and data[2:3].isspace():
        return _PNM[data[:2]]
    if data[:2] == b"BM" and data[6:10] == bytes(4):
        return Kind("a BMP image")
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _zip(io.BytesIO(data))
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return Kind("a pickle")
    return _text(data[:4096]) or _UNKNOWN


def described(data: bytes, expected: str) -> str:
    """The part of an error message about a file that is not of the expected kind: what it is, what
    is `expected`, and the way from one to the other."""
    kind = kind_of(data)
    return f"{kind.name}; expected {expected}" + (f"; {kind.way}" if kind.way else "")


def counted(files: Mapping[str, Path]) -> str:
    """Files by name, as text: per ending how many there are, the first names, and what the first
    one is by its content: "2 .mp4 (a.mp4, b.mp4: an MP4 video; ...)"."""
    endings: dict[str, list[str]] = {}
    for name, path in files.items():
        endings.setdefault(path.suffix or path.name, []).append(name)
    parts = []
    for ending, names in endings.items():
        kind = kind_at(files[names[0]])
        listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        what = "; ".join(filter(None, kind))
        parts.append(f"{len(names)} {ending} ({listed}: {what})")
    return ", ".join(parts)


def kind_at(path: Path) -> Kind:
    """The kind of a file, by its first bytes."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
            return _zip(file) if start[:4] == b"PK\x03\x04" else kind_of(start)
    except OSError as error:
        return Kind(f"cannot be read: {error.strerror}")


def _zip(file: io.BytesIO | io.BufferedReader) -> Kind:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises a dozen kinds; a cut archive has lost its list of files
        return Kind("a zip or .npz archive, cut short or damaged", "copy it again")
    if names and all(name.endswith(".npy") for name in names):
        return Kind("NumPy arrays (.npz)", "of a picture, write it as a PNG file")
    if any(name.endswith("data.pkl") for name in names):
        return Kind("a file of PyTorch", "scripts/convert_torch.py converts weights")
    return Kind("a zip archive", _UNPACK)


def _text(start: bytes) -> Kind | None:
    try:
        text = start.decode("utf-8").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a letter that the 4096 bytes cut in two
            return None
        text = start[: error.start].decode("utf-8").lstrip("\ufeff \t\r\n")
    if any(ord(letter) < 32 and letter not in "\t\r\n\f" for letter in text):
        return None
    if text[:9].lower() == "<!doctype" or text[:5].lower() == "<html":
        return Kind("a web page, as a server sends in place of a file", "download it again")
    if text[:1] in ("{", "["):
        return Kind("a JSON text")
    return Kind("a text")
