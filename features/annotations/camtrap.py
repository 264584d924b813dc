"""Write recordings and what was found in them as a Camera Trap Data Package (Camtrap DP) 1.0.

The package is a folder with `datapackage.json`, the tables `deployments.csv` (one row per site), `media.csv`
(one row per recording) and `observations.csv` (one row per detection or box), and their schemas. See
https://camtrap-dp.tdwg.org.

Camtrap DP also requires facts that the recordings do not tell. `datapackage.json` states an "opportunistic"
sampling design and names the software as the only contributor; correct both before publication.
"""

import csv
import math
import re
from collections.abc import Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from features.annotations.camtrap_schemas import (
    FILE_PATH,
    KEYS,
    VERSION,
    columns_of,
    schema_file,
    table_schema,
)
from features.common.errors import UserError
from features.common.files import replacing_folder, write_json

PROFILE = f"https://raw.githubusercontent.com/tdwg/camtrap-dp/{VERSION}/camtrap-dp-profile.json"
MEDIA_TYPES = {".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".wav": "audio/wav"}
SITE_EXTENT = 0.001
"""Largest difference between the coordinates of one site in degrees, about 100 m."""


def write_camtrap(
    folder: Path,
    *,
    name: str,
    classified_by: str,
    recordings: pd.DataFrame,
    observations: Iterable[pd.DataFrame],
) -> None:
    """Write a Camtrap DP package.

    Memory does not grow with the number of observations. The times of an observation are rounded to whole
    seconds so that the event contains its sound. Additional fields contain the exact times and the
    frequencies. The files depend on the arguments only, not on the time of the call: the package is dated to
    the end of the last recording.

    Parameters
    ----------
    folder : Path
        Folder of the package. All its files are replaced together, and other files in it are removed.
    name : str
        Title of the package.
    classified_by : str
        The software and model that made the detections.
    recordings : pd.DataFrame
        Indexed by recording id, with the columns site (may be ""), start (ISO 8601 with UTC offset), latitude
        and longitude (degrees), file (Path of the audio), and duration (s). The recordings of a site, or of a
        folder if the site is "", form one deployment at the coordinates of its first recording.
    observations : iterable of pd.DataFrame
        Detections or boxes in chunks, with the columns recording_id, species (name), t_min and t_max (s),
        f_min and f_max (Hz, may be nan), and optionally score and verified. Rows with "yes" in verified are
        classified by a human, and all others by `classified_by` with the score as their probability. Rows
        with "no" are not written.

    Raises
    ------
    UserError
        The folder contains other files than a package; or there are no recordings, or they lack a UTC offset
        or coordinates; or the recordings of one site have different coordinates; or the files cannot be
        written.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp()) / "package"
    >>> place = {"site": "ridge", "latitude": 18.3, "longitude": -66.6}
    >>> recording = {"start": "2024-03-15T05:30:00-04:00", "file": Path("a.wav"), "duration": 60.0}
    >>> owl = {"species": "Megascops nudipes", "t_min": 44.5, "t_max": 45.1, "f_min": 500.0, "f_max": 900.0}
    >>> write_camtrap(
    ...     folder,
    ...     name="One night",
    ...     classified_by="Understory",
    ...     recordings=pd.DataFrame([{**place, **recording}], index=["a"]),
    ...     observations=[pd.DataFrame([{"recording_id": "a", **owl, "score": 0.9}])],
    ... )
    >>> written = pd.read_csv(folder / "observations.csv").iloc[0]
    >>> print(written["eventStart"], written["eventEnd"], written["endTime"])
    2024-03-15T05:30:44-04:00 2024-03-15T05:30:46-04:00 45.1
    """
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "datapackage.json").exists():
        raise UserError(f"{folder}: contains other files, which a package would replace; give another folder")
    if recordings.empty:
        raise UserError(f"{folder}: there are no recordings to export; check that they could be decoded")
    captures = _captures(recordings, folder)
    tables = {
        "deployments": _deployments(recordings, captures, folder),
        "media": _media(recordings, captures),
    }
    with replacing_folder(folder) as temporary:
        for table in KEYS:
            write_json(temporary / schema_file(table), table_schema(table))
        for table, rows in tables.items():
            rows.to_csv(temporary / f"{table}.csv", index=False)
        species = _write_observations(
            temporary / "observations.csv", observations, captures=captures, classified_by=classified_by
        )
        package = _package(name, tables["deployments"], captures=captures, species=species)
        write_json(temporary / "datapackage.json", package)


class _Capture(NamedTuple):
    """Deployment and time of a recording."""

    deployment: str
    start: datetime
    end: datetime


def _captures(recordings: pd.DataFrame, folder: Path) -> dict[str, _Capture]:
    """Return the deployment and time of each recording.

    Raises
    ------
    UserError
        A recording has no start with a UTC offset, no coordinates, or a path that Camtrap DP does not allow.
    """
    starts = [_with_offset(start) for start in recordings["start"]]
    missing = {
        "start with a UTC offset": np.array([start is None for start in starts]),
        "latitude": ~recordings["latitude"].between(-90, 90).to_numpy(),
        "longitude": ~recordings["longitude"].between(-180, 180).to_numpy(),
    }
    counts = [
        f"{is_missing.sum()} of {len(recordings)} recordings have no {what} (first: "
        f"'{recordings.index[is_missing][0]}')"
        for what, is_missing in missing.items()
        if is_missing.any()
    ]
    if counts:
        raise UserError(
            f"{folder}: Camtrap DP requires place and time, but {', '.join(counts)}; add them to a table "
            f"recordings.csv with the columns recording_id,site,start,latitude,longitude, where start has a "
            f"UTC offset, such as 2024-03-15T05:30:00-04:00"
        )
    captures = {}
    for (recording_id, recording), start in zip(recordings.iterrows(), starts, strict=True):
        if not re.fullmatch(FILE_PATH, str(recording_id)):
            raise UserError(
                f"{recording['file']}: Camtrap DP allows no '..' in a path and no '~' at its start; "
                f"rename the file"
            )
        assert start is not None
        deployment = recording["site"] or recording["file"].absolute().parent.name
        end = start + timedelta(seconds=recording["duration"])
        captures[str(recording_id)] = _Capture(deployment, start, end)
    return captures


def _with_offset(text: str) -> datetime | None:
    """Return a time with its UTC offset, or None if the text does not state both."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo else None


def _deployments(recordings: pd.DataFrame, captures: Mapping[str, _Capture], folder: Path) -> pd.DataFrame:
    """Return the table of deployments, sorted by name.

    Raises
    ------
    UserError
        The recordings of a deployment have different coordinates.
    """
    rows = []
    deployments = np.array([capture.deployment for capture in captures.values()])
    for site, group in recordings.groupby(deployments):
        places = group[["latitude", "longitude"]]
        is_elsewhere = ((places - places.iloc[0]).abs() > SITE_EXTENT).any(axis=1)
        if is_elsewhere.any():
            raise UserError(
                f"{folder}: recordings '{group.index[0]}' and '{is_elsewhere.idxmax()}' of site '{site}' "
                f"have different coordinates; give each place its own site in recordings.csv"
            )
        rows.append(
            {
                "deploymentID": site,
                "locationID": site,
                "locationName": site,
                **places.iloc[0].to_dict(),
                "deploymentStart": _rounded_down(min(captures[key].start for key in group.index)),
                "deploymentEnd": _rounded_up(max(captures[key].end for key in group.index)),
            }
        )
    return pd.DataFrame(rows, columns=columns_of("deployments"))


def _media(recordings: pd.DataFrame, captures: Mapping[str, _Capture]) -> pd.DataFrame:
    """Return the table of media, in the order of the recordings."""
    rows = [
        {
            "mediaID": recording_id,
            "deploymentID": captures[recording_id].deployment,
            "captureMethod": "timeLapse",
            "timestamp": _rounded_down(captures[recording_id].start),
            "filePath": f"{recording_id}{file.suffix}",
            "filePublic": "false",
            "fileName": file.name,
            "fileMediatype": MEDIA_TYPES[file.suffix.lower()],
        }
        for recording_id, file in zip(captures, recordings["file"], strict=True)
    ]
    return pd.DataFrame(rows, columns=columns_of("media"))


def _write_observations(
    file: Path,
    observations: Iterable[pd.DataFrame],
    *,
    captures: Mapping[str, _Capture],
    classified_by: str,
) -> set[str]:
    """Write the table of observations, and return the species in it."""
    species: set[str] = set()
    numbers = count(1)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, columns_of("observations"), lineterminator="\n")
        writer.writeheader()
        for chunk in observations:
            for found in chunk.to_dict("records"):
                if found.get("verified") == "no":
                    continue
                capture = captures[found["recording_id"]]
                row = _observation(found, capture, number=next(numbers), classified_by=classified_by)
                writer.writerow(row)
                species.add(row["scientificName"])
    return species


def _observation(
    found: Mapping[Hashable, Any], capture: _Capture, *, number: int, classified_by: str
) -> dict[str, Any]:
    """Return the row of a detection or box; `number` makes its id unique."""
    row = {
        "observationID": f"{found['recording_id']}#{number}",
        "deploymentID": capture.deployment,
        "mediaID": found["recording_id"],
        "eventStart": _rounded_down(capture.start + timedelta(seconds=found["t_min"])),
        "eventEnd": _rounded_up(capture.start + timedelta(seconds=found["t_max"])),
        "observationLevel": "media",
        "observationType": "animal",
        "scientificName": found["species"],
        "frequencyLow": found["f_min"],
        "frequencyHigh": found["f_max"],
        "startTime": found["t_min"],
        "endTime": found["t_max"],
    }
    if found.get("verified") == "yes":
        row["classificationMethod"] = "human"
    else:
        row["classificationMethod"] = "machine"
        row["classifiedBy"] = classified_by
        row["classificationProbability"] = found.get("score", math.nan)
    return {name: value for name, value in row.items() if value == value}  # nan: an empty cell


def _package(
    name: str, deployments: pd.DataFrame, *, captures: Mapping[str, _Capture], species: set[str]
) -> dict[str, Any]:
    """Return the content of datapackage.json."""
    first = min(capture.start for capture in captures.values())
    last = max(capture.end for capture in captures.values())
    west, east = deployments["longitude"].min(), deployments["longitude"].max()
    south, north = deployments["latitude"].min(), deployments["latitude"].max()
    corners = [(west, south), (east, south), (east, north), (west, north), (west, south)]
    return {
        "profile": PROFILE,
        "name": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "recordings",
        "title": name,
        "created": _rounded_up(last),
        "contributors": [{"title": "Understory"}],
        "project": {
            "title": name,
            "samplingDesign": "opportunistic",
            "captureMethod": ["timeLapse"],
            "individualAnimals": False,
            "observationLevel": ["media"],
        },
        "spatial": {"type": "Polygon", "coordinates": [corners]},
        "temporal": {"start": first.date().isoformat(), "end": last.date().isoformat()},
        "taxonomic": [{"scientificName": name} for name in sorted(species)],
        "resources": [
            {
                "name": table,
                "path": f"{table}.csv",
                "profile": "tabular-data-resource",
                "format": "csv",
                "mediatype": "text/csv",
                "encoding": "utf-8",
                "schema": schema_file(table),
            }
            for table in KEYS
        ],
    }


def _rounded_down(time: datetime) -> str:
    """Return a time with its UTC offset in whole seconds, as Camtrap DP requires."""
    return time.isoformat(timespec="seconds")


def _rounded_up(time: datetime) -> str:
    """Return the first whole second that is not before a time."""
    return _rounded_down(time + timedelta(microseconds=999_999))
