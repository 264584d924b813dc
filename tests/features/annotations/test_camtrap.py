import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pytest
import requests
from frictionless import Package, system, validate
from urllib3 import HTTPResponse

from features.annotations.camtrap import PROFILE, write_camtrap
from features.annotations.camtrap_schemas import SOUND_FIELDS
from features.common.errors import UserError

OBSERVATION_COLUMNS = [
    *("observationID", "deploymentID", "mediaID", "eventID", "eventStart", "eventEnd", "observationLevel"),
    *("observationType", "cameraSetupType", "scientificName", "count", "lifeStage", "sex", "behavior"),
    *("individualID", "individualPositionRadius", "individualPositionAngle", "individualSpeed"),
    *("bboxX", "bboxY", "bboxWidth", "bboxHeight", "classificationMethod", "classifiedBy"),
    *("classificationTimestamp", "classificationProbability", "observationTags", "observationComments"),
    *("frequencyLow", "frequencyHigh", "startTime", "endTime"),
]
STANDARD = "raw.githubusercontent.com/tdwg/camtrap-dp"
RULES = {
    "required": [
        *("resources", "profile", "created", "contributors", "project", "spatial", "temporal", "taxonomic")
    ],
    "properties": {
        "resources": {
            "minItems": 3,
            "items": {
                "required": ["name", "path", "profile", "schema"],
                "properties": {
                    "name": {"enum": ["deployments", "media", "observations"]},
                    "profile": {"const": "tabular-data-resource"},
                    "schema": {"type": "string", "pattern": r"1\.0\.1"},
                },
            },
        },
        "name": {"pattern": "^[-a-z0-9._/]+$"},
        "contributors": {"minItems": 1, "items": {"required": ["title"]}},
        "project": {
            "required": ["title", "samplingDesign", "captureMethod", "individualAnimals", "observationLevel"],
            "properties": {
                "captureMethod": {"items": {"enum": ["activityDetection", "timeLapse"]}, "minItems": 1},
                "observationLevel": {"items": {"enum": ["media", "event"]}},
            },
        },
        "temporal": {"required": ["start", "end"]},
        "taxonomic": {"items": {"required": ["scientificName"]}},
    },
}
"""What the profile of Camtrap DP 1.0 requires of datapackage.json."""


class Offline(requests.Session):
    """A session that answers requests for the profile with `RULES`, and rejects all others."""

    def request(self, method: str, url: str, *_: object, **__: object) -> requests.Response:
        assert url == PROFILE, f"network access: {method} {url}"
        response = requests.Response()
        response.status_code = 200
        response.raw = HTTPResponse(io.BytesIO(json.dumps(RULES).encode()), preload_content=False)
        return response


def errors(folder: Path) -> list[tuple[str, str]]:
    """Return type and message of the errors that frictionless finds in a package, without network access."""
    with system.use_context(http_session=Offline()):
        report = validate(str(folder / "datapackage.json"))
    return [
        (error.type, error.message)
        for error in [*report.errors, *(error for task in report.tasks for error in task.errors)]
    ]


def recordings() -> pd.DataFrame:
    """Return three recordings of two sites; the clocks changed between the first two."""
    rows = {
        "ridge/a": ("ridge", "2024-03-10T01:59:00-05:00", 18.3, -66.6, "ridge/a.WAV", 60.0),
        "ridge/b": ("ridge", "2024-03-10T03:00:00.250-04:00", 18.3001, -66.6, "ridge/b.flac", 59.5),
        "c": ("river", "2024-03-09T23:00:00Z", -2.0, 10.5, "c.mp3", 60.0),
    }
    columns = ["site", "start", "latitude", "longitude", "file", "duration"]
    table = pd.DataFrame(list(rows.values()), index=list(rows), columns=columns)
    table["file"] = [Path("season") / file for file in table["file"]]
    return table


def observations() -> Iterator[pd.DataFrame]:
    """Yield detections and boxes in two chunks."""
    columns = ["recording_id", "species", "t_min", "t_max", "f_min", "f_max", "score", "verified"]
    nan = float("nan")
    yield pd.DataFrame(
        [
            ("ridge/a", "Megascops nudipes", 44.5, 45.1, 500.0, 900.0, 0.75, ""),
            ("ridge/b", "Megascops nudipes", 0.5, 59.5, 500.0, 2999.123456789, 0.9, "yes"),
            ("ridge/b", "Megascops nudipes", 1.0, 2.0, 500.0, 900.0, 0.8, "no"),
        ],
        columns=columns,
    )
    yield pd.DataFrame(columns=columns)
    yield pd.DataFrame([("c", "Coquí", 1 / 3, 2.0, nan, nan, nan, "yes")], columns=columns)


def write(folder: Path, table: pd.DataFrame | None = None) -> Path:
    write_camtrap(
        folder,
        name="Two Sites",
        classified_by="Understory blend",
        recordings=recordings() if table is None else table,
        observations=observations(),
    )
    return folder


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write(tmp_path / "package")


def test_package_is_valid(package: Path) -> None:
    assert errors(package) == []
    assert sorted(path.name for path in package.iterdir()) == [
        "datapackage.json",
        "deployments-table-schema-1.0.1.json",
        "deployments.csv",
        "media-table-schema-1.0.1.json",
        "media.csv",
        "observations-table-schema-1.0.1.json",
        "observations.csv",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "error"),
    [
        ("observations.csv", "0.75", "1.5", ("constraint-error", '"maximum" is "1"')),
        ("observations.csv", "2024-03-10T01:59:44-05:00", "at night", ("type-error", "datetime")),
        ("observations.csv", "2024-03-10T01:59:44-05:00", "2024-03-10T01:59:44", ("type-error", "datetime")),
        ("observations.csv", "machine", "magic", ("constraint-error", "enum")),
        ("observations.csv", "500.0", "-1", ("constraint-error", '"minimum" is "0"')),
        ("observations.csv", "ridge/a#1", "ridge/b#2", ("unique-error", "same as in the row")),
        ("observations.csv", ",c,,", ",d,,", ("foreign-key", "media")),
        ("media.csv", "audio/mpeg", "", ("constraint-error", "required")),
        ("media.csv", "c.mp3", "../c.mp3", ("constraint-error", "pattern")),
        ("deployments.csv", "18.3", "98.3", ("constraint-error", '"maximum" is "90"')),
        ("deployments.csv", "locationName", "name", ("incorrect-label", "locationName")),
        ("datapackage.json", '"created"', '"generated"', ("package-error", "'created' is a required")),
        ("datapackage.json", '"timeLapse"', '"always"', ("package-error", "'always' is not one of")),
    ],
)
def test_damaged_package_is_not_valid(
    package: Path, file: str, old: str, new: str, error: tuple[str, str]
) -> None:
    text = (package / file).read_text(encoding="utf-8")
    assert old in text
    (package / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    found = errors(package)
    assert any(kind == error[0] and error[1] in note for kind, note in found), found


def test_a_deployment_lasts_from_the_first_start_to_the_last_end_of_its_recordings(package: Path) -> None:
    fields = ("deploymentID", "locationName", "latitude", "longitude", "deploymentStart", "deploymentEnd")
    # ridge/b ends at 03:00:59.75, which is rounded up.
    assert [tuple(row[name] for name in fields) for row in read(package / "deployments.csv")] == [
        ("ridge", "ridge", "18.3", "-66.6", "2024-03-10T01:59:00-05:00", "2024-03-10T03:01:00-04:00"),
        ("river", "river", "-2.0", "10.5", "2024-03-09T23:00:00+00:00", "2024-03-09T23:01:00+00:00"),
    ]


def test_media_are_the_recordings(package: Path) -> None:
    fields = ("mediaID", "deploymentID", "timestamp", "filePath", "filePublic", "fileName", "fileMediatype")
    assert [tuple(row[name] for name in fields) for row in read(package / "media.csv")] == [
        ("ridge/a", "ridge", "2024-03-10T01:59:00-05:00", "ridge/a.WAV", "false", "a.WAV", "audio/wav"),
        ("ridge/b", "ridge", "2024-03-10T03:00:00-04:00", "ridge/b.flac", "false", "b.flac", "audio/flac"),
        ("c", "river", "2024-03-09T23:00:00+00:00", "c.mp3", "false", "c.mp3", "audio/mpeg"),
    ]


def test_observations_are_the_detections_and_the_boxes_that_are_not_rejected(package: Path) -> None:
    rows = read(package / "observations.csv")
    assert list(rows[0]) == OBSERVATION_COLUMNS
    filled = [{name: value for name, value in row.items() if value} for row in rows]
    common = {"observationLevel": "media", "observationType": "animal"}
    assert filled == [
        {
            **common,
            "observationID": "ridge/a#1",
            "deploymentID": "ridge",
            "mediaID": "ridge/a",
            "eventStart": "2024-03-10T01:59:44-05:00",
            "eventEnd": "2024-03-10T01:59:46-05:00",
            "scientificName": "Megascops nudipes",
            "classificationMethod": "machine",
            "classifiedBy": "Understory blend",
            "classificationProbability": "0.75",
            "frequencyLow": "500.0",
            "frequencyHigh": "900.0",
            "startTime": "44.5",
            "endTime": "45.1",
        },
        {
            **common,
            "observationID": "ridge/b#2",
            "deploymentID": "ridge",
            "mediaID": "ridge/b",
            "eventStart": "2024-03-10T03:00:00-04:00",
            "eventEnd": "2024-03-10T03:01:00-04:00",
            "scientificName": "Megascops nudipes",
            "classificationMethod": "human",
            "frequencyLow": "500.0",
            "frequencyHigh": "2999.123456789",
            "startTime": "0.5",
            "endTime": "59.5",
        },
        {
            **common,
            "observationID": "c#3",
            "deploymentID": "river",
            "mediaID": "c",
            "eventStart": "2024-03-09T23:00:00+00:00",
            "eventEnd": "2024-03-09T23:00:02+00:00",
            "scientificName": "Coquí",
            "classificationMethod": "human",
            "startTime": repr(1 / 3),
            "endTime": "2.0",
        },
    ]


def test_the_event_contains_the_sound_and_is_less_than_2_s_longer(package: Path) -> None:
    start = {row["mediaID"]: row["timestamp"] for row in read(package / "media.csv")}
    start["ridge/b"] = "2024-03-10T03:00:00.250-04:00"
    for row in read(package / "observations.csv"):
        times = row["eventStart"], row["eventEnd"], start[row["mediaID"]]
        begin, end, recording = map(datetime.fromisoformat, times)
        before = float(row["startTime"]) - (begin - recording).total_seconds()
        after = (end - recording).total_seconds() - float(row["endTime"])
        assert 0 <= before < 1
        assert 0 <= after < 1


def test_package_describes_its_extent(package: Path) -> None:
    descriptor = json.loads((package / "datapackage.json").read_text(encoding="utf-8"))
    assert descriptor["profile"] == f"https://{STANDARD}/1.0.1/camtrap-dp-profile.json"
    assert (descriptor["name"], descriptor["title"]) == ("two-sites", "Two Sites")
    assert descriptor["created"] == "2024-03-10T03:01:00-04:00"
    assert descriptor["temporal"] == {"start": "2024-03-09", "end": "2024-03-10"}
    (ring,) = descriptor["spatial"]["coordinates"]
    assert ring[0] == ring[-1]
    assert {tuple(corner) for corner in ring} == {(x, y) for x in (-66.6, 10.5) for y in (-2.0, 18.3)}
    assert descriptor["taxonomic"] == [{"scientificName": "Coquí"}, {"scientificName": "Megascops nudipes"}]


def test_additional_fields_follow_those_of_the_standard(package: Path) -> None:
    schema = json.loads((package / "observations-table-schema-1.0.1.json").read_text(encoding="utf-8"))
    assert [field["name"] for field in schema["fields"]] == OBSERVATION_COLUMNS
    assert [field["name"] for field in SOUND_FIELDS] == OBSERVATION_COLUMNS[-4:]
    assert all("Hz" in field["description"] or " s " in field["description"] for field in SOUND_FIELDS)


def test_values_are_read_back_by_frictionless(package: Path) -> None:
    with system.use_context(http_session=Offline()):
        rows = Package(str(package / "datapackage.json")).get_resource("observations").read_rows()
    assert [row["frequencyHigh"] for row in rows] == [900, Decimal("2999.123456789"), None]
    assert rows[0]["eventStart"] == datetime.fromisoformat("2024-03-10T01:59:44-05:00")


def test_files_do_not_depend_on_the_chunks(package: Path, tmp_path: Path) -> None:
    rows = [chunk.iloc[k : k + 1] for chunk in observations() for k in range(len(chunk))]
    write_camtrap(
        tmp_path / "again",
        name="Two Sites",
        classified_by="Understory blend",
        recordings=recordings(),
        observations=rows,
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        path.name: path.read_bytes() for path in package.iterdir()
    }


def test_package_without_observations_is_valid(tmp_path: Path) -> None:
    write_camtrap(
        tmp_path, name="…", classified_by="Understory", recordings=recordings(), observations=iter(())
    )
    assert errors(tmp_path) == []
    assert read(tmp_path / "observations.csv") == []


def test_single_recording_is_a_deployment(tmp_path: Path) -> None:
    package, one = tmp_path / "package", recordings().iloc[:1]
    write_camtrap(package, name="…", classified_by="Understory", recordings=one, observations=iter(()))
    for table in ("deployments", "media"):
        assert {row["deploymentID"] for row in read(package / f"{table}.csv")} == {"ridge"}


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match="contains other files, which a package would replace"):
        write(tmp_path, recordings())


def test_recordings_without_a_site_are_a_deployment_named_after_their_folder(tmp_path: Path) -> None:
    table = recordings()
    table["site"] = ["ridge", "ridge", ""]
    rows = read(write(tmp_path / "package", table) / "media.csv")
    assert [row["deploymentID"] for row in rows] == ["ridge", "ridge", "season"]
    assert errors(tmp_path / "package") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": ""}, "but 2 of 3 recordings have no start with a UTC offset (first: 'ridge/b'); add them"),
        (
            {"start": "2024-03-10T03:00:00"},
            "2 of 3 recordings have no start with a UTC offset (first: 'ridge/b')",
        ),
        ({"start": "03:00"}, "2 of 3 recordings have no start with a UTC offset"),
        (
            {"latitude": float("nan")},
            "but 2 of 3 recordings have no latitude (first: 'ridge/b'); add them",
        ),
        (
            {"latitude": 91.0, "longitude": 181.0},
            "2 of 3 recordings have no latitude (first: 'ridge/b'), 2 of 3 recordings have no longitude",
        ),
    ],
)
def test_recordings_without_place_or_time_are_rejected(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    table = recordings()
    for column, value in changes.items():
        table.loc[["ridge/b", "c"], column] = value
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        write(tmp_path / "package", table)
    assert "recording_id,site,start,latitude,longitude" in str(caught.value)
    assert "2024-03-15T05:30:00-04:00" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_recordings_of_a_site_at_different_places_are_rejected(tmp_path: Path) -> None:
    table = recordings()
    table.loc["ridge/b", "longitude"] = -66.59
    message = (
        r"recordings 'ridge/a' and 'ridge/b' of site 'ridge' have different coordinates; give each place"
    )
    with pytest.raises(UserError, match=message):
        write(tmp_path / "package", table)


@pytest.mark.parametrize("recording_id", ["a..b", "~a", "d/../a"])
def test_path_that_the_standard_does_not_allow_is_rejected(tmp_path: Path, recording_id: str) -> None:
    with pytest.raises(UserError, match=r"a\.WAV: Camtrap DP allows no '\.\.' in a path .*rename the file"):
        write(tmp_path / "package", recordings().rename({"ridge/a": recording_id}))


def test_no_recordings_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recordings to export; check that they could be decoded"):
        write(tmp_path / "package", recordings()[:0])


def test_interrupted_writing_leaves_the_package_unchanged(package: Path) -> None:
    before = {path.name: path.read_bytes() for path in package.iterdir()}

    def interrupted() -> Iterator[pd.DataFrame]:
        yield from observations()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_camtrap(
            package, name="x", classified_by="x", recordings=recordings(), observations=interrupted()
        )
    assert {path.name: path.read_bytes() for path in package.iterdir()} == before
    assert list(package.parent.iterdir()) == [package]
