"""Site and time of recordings, from `recordings.csv` or from what the recorder wrote.

Recorders write the time to the file name (AudioMoth, Song Meter, SoundTrap) or into the WAV header (GUANO,
AudioMoth comments). A UTC offset is kept where it is known and never assumed: a time without an offset is the
local time of the recorder's clock. The site of a recording is the first folder of its id.
"""

import logging
import math
import re
import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import guano
import pandas as pd
import soundfile
from metamoth.parsing import MessageFormatError, parse_comment

from features.data.tables import finite_numbers, read_table, validate_unique, validate_values

# Date, time and UTC offset in a file name, and the format of date and time.
_NAMES = (
    # AudioMoth 20240315_053000.WAV, with a prefix or a T for a triggered recording; Song Meter
    # RIDGE_20240315_053000.wav, RIDGE_0+1_20240315_053000.wav or RIDGE_20240315$053000.wav
    (re.compile(r"(?:^|[_.-])(\d{8})[_$T-]?(\d{6})T?([+-]\d{4})?(?:$|[_.-])"), "%Y%m%d%H%M%S"),
    # SoundTrap 5042.240315053000.wav
    (re.compile(r"^\d+\.(\d{6})(\d{6})()(?:$|[_.])"), "%y%m%d%H%M%S"),
)
_AUDIOMOTH_HEX = re.compile(r"[0-9A-F]{8}")  # first AudioMoth firmware: seconds since 1970 in UTC
_AUDIOMOTH_HEX_YEARS = range(2017, 2021)
_FIRST_YEAR, _LAST_YEAR = 1990, 2100  # other numbers in a file name are not times

logging.getLogger("guano").addHandler(logging.NullHandler())  # a damaged header is not worth a message


class SiteTime(NamedTuple):
    """Site and time of a recording.

    Attributes
    ----------
    site : str
        "" if unknown.
    start : str
        Start in ISO 8601, with the UTC offset if it is known; "" if unknown.
    latitude, longitude : float
        Degrees; nan if unknown.
    """

    site: str = ""
    start: str = ""
    latitude: float = math.nan
    longitude: float = math.nan


def read_site_times(path: Path) -> dict[str, SiteTime]:
    """Return the site and time of each recording id in a table; empty if there is no file.

    Parameters
    ----------
    path : Path
        A CSV file with the column recording_id, and some of the columns site, start, latitude and longitude.
        Cells may be empty. The start is in ISO 8601, such as 2024-03-15T05:30:00-04:00.

    Raises
    ------
    DatasetError
        The file is not a CSV table, a recording is duplicate, or a value is not valid.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "recordings.csv"
    >>> _ = file.write_text("recording_id,site,start\\na,ridge,2024-03-15 05:30\\n")
    >>> read_site_times(file)["a"].start
    '2024-03-15T05:30:00'
    """
    if not path.exists():
        return {}
    table = read_table(path, ("recording_id",))
    validate_unique(table, "recording_id", path)
    for column, limit in (("latitude", 90), ("longitude", 180)):
        text = _column(table, column)
        numbers = finite_numbers(text)
        problem = f"is not a number from -{limit} to {limit}; give degrees, or leave it empty"
        validate_values(text, (text != "") & ~(numbers.abs() <= limit), path=path, problem=problem)
        table[column] = numbers
    text = _column(table, "start")
    starts = text.map(_iso)
    problem = "is not a date and time; write it as 2024-03-15T05:30:00-04:00, or leave it empty"
    validate_values(text, (text != "") & (starts == ""), path=path, problem=problem)
    rows = zip(_column(table, "site"), starts, table["latitude"], table["longitude"], strict=True)
    return {
        recording_id: SiteTime(*row) for recording_id, row in zip(table["recording_id"], rows, strict=True)
    }


def warn_unknown_rows(table: Mapping[str, SiteTime], recordings: Collection[str], path: Path) -> None:
    """Warn of the rows of a table that belong to no recording.

    Parameters
    ----------
    table : mapping of str to SiteTime
        What `read_site_times` returned.
    recordings : collection of str
        Ids of all recordings.
    path : Path
        File of the table.
    """
    unknown = [recording_id for recording_id in table if recording_id not in recordings]
    if unknown:
        warnings.warn(
            f"{path}: {len(unknown)} of {len(table)} rows belong to no recording, such as '{unknown[0]}'; "
            f"give the path below the folder of recordings, without suffix",
            stacklevel=2,
        )


def site_time(recording_id: str, path: Path, table: Mapping[str, SiteTime]) -> SiteTime:
    """Return the site and time of a recording.

    Parameters
    ----------
    recording_id : str
    path : Path
        Audio file. Its header and name are read.
    table : mapping of str to SiteTime
        What `read_site_times` returned. Its values take precedence over those of the recorder.
    """
    return with_table(recorder_time(recording_id, path), table.get(recording_id, SiteTime()))


def with_table(recorder: SiteTime, row: SiteTime) -> SiteTime:
    """Return what a row of the table says, and what the recorder says where the row is empty."""
    known = {name: value for name, value in row._asdict().items() if value == value and value != ""}
    return recorder._replace(**known)


def recorder_time(recording_id: str, path: Path) -> SiteTime:
    """Return the site and time of a recording from its id, its WAV header and its file name.

    The header takes precedence over the name, because it can state the UTC offset.

    Parameters
    ----------
    recording_id : str
    path : Path
        Audio file. If it cannot be read, only its name is used.

    Examples
    --------
    >>> recorder_time("ridge/20240315_053000", Path("season/ridge/20240315_053000.WAV"))[:2]
    ('ridge', '2024-03-15T05:30:00')
    """
    header = _header(path) if path.suffix.lower() == ".wav" else SiteTime()
    return header._replace(site=site_of(recording_id, {}), start=header.start or _start_in_name(path.stem))


def site_of(recording_id: str, table: Mapping[str, SiteTime]) -> str:
    """Return the site of a recording: as in the table, or else the first folder of its id; "" if unknown."""
    row = table.get(recording_id, SiteTime())
    return row.site or (recording_id.split("/")[0] if "/" in recording_id else "")


def later(start: str, seconds: float) -> str:
    """Return the time some seconds after `start` in ISO 8601, to the millisecond; "" if `start` is "".

    Examples
    --------
    >>> later("2024-03-15T05:30:00-04:00", 59.5)
    '2024-03-15T05:30:59.500-04:00'
    """
    if not start:
        return ""
    time = datetime.fromisoformat(start) + timedelta(milliseconds=round(1000 * seconds))
    return time.isoformat(timespec="milliseconds" if time.microsecond else "seconds")


def _header(path: Path) -> SiteTime:
    """Return the time and place in the header of a WAV file: GUANO, or else the comment of an AudioMoth."""
    try:
        found = guano.GuanoFile(str(path))
    except Exception:  # the library raises many types, depending on where a header is damaged
        found = {}
    time, position = found.get("Timestamp"), found.get("Loc Position")
    start = _iso(time.isoformat()) if isinstance(time, datetime) else ""
    latitude, longitude = position if isinstance(position, tuple) and len(position) == 2 else (math.nan,) * 2
    return SiteTime("", start or _start_in_comment(path), latitude, longitude)


def _start_in_comment(path: Path) -> str:
    """Return the start in the comment of an AudioMoth recording, or ""."""
    try:
        # libsndfile reads the header, because metamoth does not end if the file is truncated.
        with soundfile.SoundFile(path) as file:
            comment = parse_comment(file.comment)
    except (soundfile.LibsndfileError, OSError, ValueError, MessageFormatError):
        return ""
    # The first firmware wrote no offset. The library then assumes UTC.
    offset = comment["timezone"] if "(UTC" in comment["comment"] else None
    return _iso(comment["datetime"].replace(tzinfo=offset).isoformat())


def _start_in_name(stem: str) -> str:
    """Return the start that a file name states, or ""."""
    if _AUDIOMOTH_HEX.fullmatch(stem) and not stem.isdigit():
        time = datetime.fromtimestamp(int(stem, 16), UTC)
        return _iso(time.isoformat()) if time.year in _AUDIOMOTH_HEX_YEARS else ""
    for pattern, form in _NAMES:
        found = pattern.search(stem)
        if found:
            try:
                day, time_of_day, offset = found.groups(default="")
                return _iso(datetime.strptime(day + time_of_day, form).isoformat() + offset)
            except ValueError:  # digits that are not a date
                continue
    return ""


def _iso(text: str) -> str:
    """Return a time in ISO 8601 in the form that `later` returns; "" if it is not a plausible time."""
    with suppress(ValueError):
        date.fromisoformat(text)
        return ""  # a date without time
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return later(time.isoformat(), 0) if _FIRST_YEAR <= time.year <= _LAST_YEAR else ""


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column of text, or empty text if the table has no such column."""
    return table[name].str.strip() if name in table else pd.Series("", table.index, name=name)
