"""Site and time of recordings: file names, WAV headers, and recordings.csv."""

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from features.data.metadata import SiteTime, later, read_site_times, recorder_time, site_time
from features.data.tables import DatasetError

AUDIOMOTH = (
    "Recorded at 05:30:00 15/03/2024 (UTC{}) by AudioMoth 24F319055FDF2902 at medium gain while battery was "
    "4.2V and temperature was 21.3C."
)


def write_wav(path: Path, *, comment: str = "", guano: str = "") -> Path:
    """Write a silent WAV file with a comment as AudioMoth writes it, or with GUANO metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(800), 8000, subtype="PCM_16")
    chunks = b""
    if comment:
        text = comment.encode().ljust(384, b"\0")
        artist = b"AudioMoth 24F319055FDF2902".ljust(32, b"\0")
        chunks += chunk(b"LIST", b"INFO" + chunk(b"ICMT", text) + chunk(b"IART", artist))
    if guano:
        chunks += chunk(b"guan", guano.encode())
    data = path.read_bytes()
    at = data.index(b"data")
    data = data[:at] + chunks + data[at:]
    path.write_bytes(data[:4] + struct.pack("<L", len(data) - 8) + data[8:])
    return path


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<L", len(content)) + content + b"\0" * (len(content) % 2)


@pytest.mark.parametrize(
    ("stem", "start"),
    [
        ("20240315_053000", "2024-03-15T05:30:00"),  # AudioMoth
        ("20240315_053000T", "2024-03-15T05:30:00"),  # AudioMoth, triggered by amplitude
        ("24F319055FDF2902_20240315_053000", "2024-03-15T05:30:00"),  # AudioMoth with its number
        ("5BC3E5F0", "2018-10-15T00:57:20+00:00"),  # AudioMoth before 2018: seconds since 1970 in UTC
        ("RIDGE_20240315_053000", "2024-03-15T05:30:00"),  # Song Meter 4 and Mini
        ("RIDGE_0+1_20240315_053000", "2024-03-15T05:30:00"),  # Song Meter 2 and 3
        ("RIDGE_20240315$053000", "2024-03-15T05:30:00"),  # Song Meter 3
        ("RIDGE_A_20240315_053000_000", "2024-03-15T05:30:00"),
        ("5042.240315053000", "2024-03-15T05:30:00"),  # SoundTrap
        ("RIDGE_20240315T053000-0400_Owl", "2024-03-15T05:30:00-04:00"),
        ("DEADBEEF", ""),  # AudioMoth wrote such names until about 2018, and this would be in 2088
        ("20240315", ""),  # no time of day
        ("20241315_053000", ""),  # no such month
        ("RIDGE_20240315_253000", ""),
        ("12345678", ""),  # digits are not an AudioMoth number
        ("00204117D", ""),  # RFCX
        ("XC123456", ""),
        ("99991231_235959", ""),
    ],
)
def test_time_is_read_from_the_file_name(stem: str, start: str) -> None:
    assert recorder_time(stem, Path(f"{stem}.flac")) == SiteTime("", start, math.nan, math.nan)


def test_site_is_the_first_folder() -> None:
    assert recorder_time("ridge/card1/a", Path("a.flac")).site == "ridge"
    assert recorder_time("a", Path("ridge/a.flac")).site == ""


@pytest.mark.parametrize(
    ("offset", "start"),
    [
        ("", "2024-03-15T05:30:00+00:00"),
        ("-4", "2024-03-15T05:30:00-04:00"),
        ("+5:30", "2024-03-15T05:30:00+05:30"),
    ],
)
def test_audiomoth_comment_states_the_offset(tmp_path: Path, offset: str, start: str) -> None:
    path = write_wav(tmp_path / "20240315_053000.WAV", comment=AUDIOMOTH.format(offset))
    assert recorder_time("20240315_053000", path).start == start


def test_offset_of_the_first_audiomoth_firmware_is_not_assumed(tmp_path: Path) -> None:
    comment = (
        "Recorded at 05:30:00 15/03/2024 by AudioMoth 24F319055FDF2902 at gain setting 2 while battery state "
        "was 3.6V"
    )
    assert recorder_time("x", write_wav(tmp_path / "x.wav", comment=comment)).start == "2024-03-15T05:30:00"


@pytest.mark.parametrize(
    ("timestamp", "start"),
    [
        ("2024-03-15T05:30:00-04:00", "2024-03-15T05:30:00-04:00"),
        ("2024-03-15T05:30:00Z", "2024-03-15T05:30:00+00:00"),
        ("2024-03-15 05:30:00", "2024-03-15T05:30:00"),
        ("2024-03-15T05:30:00.250", "2024-03-15T05:30:00.250"),
    ],
)
def test_guano_states_time_and_place(tmp_path: Path, timestamp: str, start: str) -> None:
    guano = f"GUANO|Version: 1.0\nTimestamp: {timestamp}\nLoc Position: 18.25 -65.75\n"
    path = write_wav(tmp_path / "20200101_000000.wav", guano=guano)
    assert recorder_time("ridge/20200101_000000", path) == SiteTime("ridge", start, 18.25, -65.75)


@pytest.mark.parametrize(
    "guano", ["GUANO|Version: 1.0\nTimestamp: yesterday\nLoc Position: here\n", "no colon", "\xff: \xfe"]
)
def test_damaged_header_is_ignored(tmp_path: Path, guano: str) -> None:
    path = write_wav(tmp_path / "20240315_053000.wav", guano=guano)
    assert recorder_time("20240315_053000", path).start == "2024-03-15T05:30:00"
    path.write_bytes(path.read_bytes()[:30])
    assert recorder_time("20240315_053000", path).start == "2024-03-15T05:30:00"


def test_table_takes_precedence_where_it_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "recordings.csv"
    file.write_text(
        "recording_id,site,start,latitude,longitude\n"
        "a/20240315_053000,,,18.3,-65.8\n"
        "b,pond,2024-03-15 05:30-04:00,,\n"
    )
    table = read_site_times(file)
    path = Path("20240315_053000.flac")
    assert site_time("a/20240315_053000", path, table) == SiteTime("a", "2024-03-15T05:30:00", 18.3, -65.8)
    found = site_time("b", path, table)
    assert found[:2] == ("pond", "2024-03-15T05:30:00-04:00")
    assert math.isnan(found.latitude)
    assert site_time("c/20240315_053000", path, table).site == "c"


def test_columns_of_the_table_are_optional(tmp_path: Path) -> None:
    assert read_site_times(tmp_path / "recordings.csv") == {}
    (tmp_path / "recordings.csv").write_text("recording_id,site\na,pond\n")
    assert read_site_times(tmp_path / "recordings.csv")["a"][:2] == ("pond", "")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,pond,yesterday,,", "line 2: start 'yesterday' is not a date and time; write it as 2024-03-15"),
        ("a,pond,2024-03-15,,", "line 2: start '2024-03-15' is not a date and time"),
        ("a,pond,,91,0", "line 2: latitude '91' is not a number from -90 to 90"),
        ("a,pond,,0,east", "line 2: longitude 'east' is not a number from -180 to 180"),
        ("a,,,,\na,,,,", "line 3: duplicate recording_id 'a'"),
    ],
)
def test_invalid_table_is_rejected(tmp_path: Path, row: str, message: str) -> None:
    file = tmp_path / "recordings.csv"
    file.write_text(f"recording_id,site,start,latitude,longitude\n{row}\n")
    with pytest.raises(DatasetError, match=message):
        read_site_times(file)


def test_later_keeps_the_offset_and_milliseconds() -> None:
    assert later("2024-12-31T23:59:30", 45) == "2025-01-01T00:00:15"
    assert later("2024-03-15T05:30:00+05:30", 0.0204) == "2024-03-15T05:30:00.020+05:30"
    assert later("", 5) == ""
