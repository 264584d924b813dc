"""Checks of MP3 and OGG files that libsndfile does not make: is the whole file one undamaged stream?

libsndfile skips damaged parts of an MP3 file and reads only the first of several streams, without an error.
"""

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path

MPEG_1 = 3
LAYER_3 = 1
KILOBITS = {  # of layer 3, by the four bits of the header; 0 is "free format"
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
SAMPLE_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN")  # after the last frame
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
BEGINNING_OF_STREAM, END_OF_STREAM = 2, 4  # flags of an OGG page


def container_problem(path: Path) -> str:
    """Return why an MP3 or OGG file is not one whole stream; "" if it is, or if it has another format.

    The frames of an MP3 file follow each other without a gap, and most files state their number in the first
    frame. In a file without this number, a cut between two frames is not detected.

    Parameters
    ----------
    path : Path
        A file that is not empty.

    Examples
    --------
    >>> import tempfile, numpy as np, soundfile
    >>> path = Path(tempfile.mkdtemp()) / "a.mp3"
    >>> soundfile.write(path, np.zeros(16_000), 16_000)
    >>> container_problem(path)
    ''
    >>> _ = path.write_bytes(path.read_bytes()[:600])
    >>> container_problem(path)
    'truncated or damaged (8 of 30 frames until byte 576)'
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content[:4] == b"OggS":
            return _ogg_problem(content)
        if content[:3] == b"ID3" or _frame_size(content[:4]):
            return _mp3_problem(content)
        return ""


def _mp3_problem(content: mmap.mmap) -> str:
    stated, n_frames = None, 0
    position = start = _after_tag(content)
    for frame_start, frame in _frames(content, start):
        position = frame_start + len(frame)
        count = _stated_frames(frame)
        if count is not None and n_frames:
            return f"contains a second stream, which begins at byte {frame_start}"
        if count is not None:
            stated = count
        else:
            n_frames += 1
    if n_frames == 0 and stated is None:  # libsndfile says why it cannot be decoded
        return ""
    if stated and n_frames < stated:
        return f"truncated or damaged ({n_frames} of {stated} frames until byte {position})"
    rest = content[position : position + 4096]
    if not stated and rest.strip(b"\0") and not rest.startswith(TAGS):
        return f"truncated or damaged at byte {position}"
    if stated and n_frames > stated:
        return f"contains {n_frames} frames but states {stated}"
    return ""


def _ogg_problem(content: mmap.mmap) -> str:
    position, has_ended = 0, False
    while content[position : position + 4] == b"OggS" and position + 27 <= len(content):
        flags, n_segments = content[position + 5], content[position + 26]
        if flags & BEGINNING_OF_STREAM and has_ended:
            return f"contains a second stream, which begins at byte {position}"
        has_ended = has_ended or bool(flags & END_OF_STREAM)
        size = 27 + n_segments + sum(content[position + 27 : position + 27 + n_segments])
        page = content[position : position + size]
        if len(page) == size and page[22:26] != _page_checksum(page):
            return f"truncated or damaged (wrong checksum of the page at byte {position})"
        position += size
    if position > len(content) or not has_ended:
        return f"truncated or damaged (no end of the stream until byte {min(position, len(content))})"
    return ""


def _page_checksum(page: bytes) -> bytes:
    """Return the CRC-32 of an OGG page, whose checksum counts as zeros.

    OGG begins with the highest bit of a byte and zlib with the lowest, so bytes and result are reversed.
    """
    reversed_bits = (page[:22] + bytes(4) + page[26:]).translate(REVERSED)
    pure = zlib.crc32(reversed_bits, 0xFFFF_FFFF) ^ 0xFFFF_FFFF  # zlib inverts the value before and after
    return pure.to_bytes(4, "big").translate(REVERSED)


def _after_tag(content: mmap.mmap) -> int:
    """Return the position after an ID3v2 tag; its size has seven bits per byte."""
    position = 0
    while content[position : position + 3] == b"ID3":
        size = content[position + 6 : position + 10]
        position += 10 + sum((byte & 127) << 7 * k for k, byte in enumerate(reversed(size)))
    return position


def _frames(content: mmap.mmap, position: int) -> Iterator[tuple[int, bytes]]:
    """Yield the position and the bytes of each MP3 frame until the first gap or incomplete frame."""
    while position + 4 <= len(content):
        size = _frame_size(content[position : position + 4])
        if not size or position + size > len(content):
            return
        yield position, content[position : position + size]
        position += size


def _frame_size(header: bytes) -> int:
    """Return the number of bytes of a frame of layer 3; 0 if the four bytes are not such a header."""
    sync, version, layer = header[0] << 3 | header[1] >> 5, header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if sync != 0x7FF or version not in SAMPLE_RATES or layer != LAYER_3 or bitrate in (0, 15) or rate == 3:
        return 0
    bits = KILOBITS[version == MPEG_1][bitrate] * 1000
    return (144 if version == MPEG_1 else 72) * bits // SAMPLE_RATES[version][rate] + padding


def _stated_frames(frame: bytes) -> int | None:
    """Return the number of frames that a Xing, Info or VBRI header states; None if it has none."""
    for mark in (b"Xing", b"Info"):
        at = frame.find(mark, 4, 64)
        if at >= 0:
            has_count = frame[at + 7] & 1
            return int.from_bytes(frame[at + 8 : at + 12]) if has_count else 0
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54])
    return None
