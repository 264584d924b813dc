"""The tables of a Camera Trap Data Package (Camtrap DP) and their fields, as Frictionless table schemas.

Names, order, types and constraints are those of Camtrap DP 1.0 (https://camtrap-dp.tdwg.org/data). Version
1.0 has no fields for the frequencies of a sound, and its times have whole seconds. `SOUND_FIELDS` are
therefore added after the fields of the standard.
"""

from typing import Any

VERSION = "1.0.1"  # its fields are those of 1.0, whose profile frictionless >= 5.17 cannot read
TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%z"
FILE_PATH = r"^(?=^[^./~])(^((?!\.{2}).)*$).*$"
"""Pattern of valid file paths: relative paths and URLs without ".."."""
KEYS = {"deployments": "deploymentID", "media": "mediaID", "observations": "observationID"}
"""Primary key of each table."""


def _field(name: str, kind: str = "string", **constraints: Any) -> dict[str, Any]:
    """Return the description of a field; a datetime has a UTC offset and whole seconds."""
    field: dict[str, Any] = {"name": name, "type": kind}
    if kind == "datetime":
        field["format"] = TIME_FORMAT
    return {**field, "constraints": constraints} if constraints else field


def _key(name: str) -> dict[str, Any]:
    return _field(name, required=True, unique=True)


SOUND_FIELDS: tuple[dict[str, Any], ...] = (
    {
        **_field("frequencyLow", "number", minimum=0),
        "description": "Lowest frequency of the sound, in Hz.",
    },
    {
        **_field("frequencyHigh", "number", minimum=0),
        "description": "Highest frequency of the sound, in Hz.",
    },
    {
        **_field("startTime", "number", minimum=0),
        "description": "Start of the sound, in s from the start of the media file.",
    },
    {
        **_field("endTime", "number", minimum=0),
        "description": "End of the sound, in s from the start of the media file.",
    },
)

FIELDS: dict[str, tuple[dict[str, Any], ...]] = {
    "deployments": (
        _key("deploymentID"),
        _field("locationID"),
        _field("locationName"),
        _field("latitude", "number", required=True, minimum=-90, maximum=90),
        _field("longitude", "number", required=True, minimum=-180, maximum=180),
        _field("coordinateUncertainty", "integer", minimum=1),
        _field("deploymentStart", "datetime", required=True),
        _field("deploymentEnd", "datetime", required=True),
        _field("setupBy"),
        _field("cameraID"),
        _field("cameraModel"),
        _field("cameraDelay", "integer", minimum=0),
        _field("cameraHeight", "number", minimum=0),
        _field("cameraDepth", "number", minimum=0),
        _field("cameraTilt", "integer", minimum=-90, maximum=90),
        _field("cameraHeading", "integer", minimum=0, maximum=360),
        _field("detectionDistance", "number", minimum=0),
        _field("timestampIssues", "boolean"),
        _field("baitUse", "boolean"),
        _field(
            "featureType",
            enum=[
                *("roadPaved", "roadDirt", "trailHiking", "trailGame", "roadUnderpass", "roadOverpass"),
                *("roadBridge", "culvert", "burrow", "nestSite", "carcass", "waterSource", "fruitingTree"),
            ],
        ),
        _field("habitat"),
        _field("deploymentGroups"),
        _field("deploymentTags"),
        _field("deploymentComments"),
    ),
    "media": (
        _key("mediaID"),
        _field("deploymentID", required=True),
        _field("captureMethod", enum=["activityDetection", "timeLapse"]),
        _field("timestamp", "datetime", required=True),
        _field("filePath", required=True, pattern=FILE_PATH),
        _field("filePublic", "boolean", required=True),
        _field("fileName"),
        _field("fileMediatype", required=True, pattern="^(image|video|audio)/.*$"),
        _field("exifData", "any"),
        _field("favorite", "boolean"),
        _field("mediaComments"),
    ),
    "observations": (
        _key("observationID"),
        _field("deploymentID", required=True),
        _field("mediaID"),
        _field("eventID"),
        _field("eventStart", "datetime", required=True),
        _field("eventEnd", "datetime", required=True),
        _field("observationLevel", required=True, enum=["media", "event"]),
        _field(
            "observationType",
            required=True,
            enum=["animal", "human", "vehicle", "blank", "unknown", "unclassified"],
        ),
        _field("cameraSetupType", enum=["setup", "calibration"]),
        _field("scientificName"),
        _field("count", "integer", minimum=1),
        _field("lifeStage", enum=["adult", "subadult", "juvenile"]),
        _field("sex", enum=["female", "male"]),
        _field("behavior"),
        _field("individualID"),
        _field("individualPositionRadius", "number", minimum=0),
        _field("individualPositionAngle", "number", minimum=-90, maximum=90),
        _field("individualSpeed", "number", minimum=0),
        _field("bboxX", "number", minimum=0, maximum=1),
        _field("bboxY", "number", minimum=0, maximum=1),
        _field("bboxWidth", "number", minimum=1e-15, maximum=1),
        _field("bboxHeight", "number", minimum=1e-15, maximum=1),
        _field("classificationMethod", enum=["human", "machine"]),
        _field("classifiedBy"),
        _field("classificationTimestamp", "datetime"),
        _field("classificationProbability", "number", minimum=0, maximum=1),
        _field("observationTags"),
        _field("observationComments"),
        *SOUND_FIELDS,
    ),
}
"""Fields of each table, in the order of its columns."""


def columns_of(table: str) -> list[str]:
    """Return the names of a table's columns."""
    return [field["name"] for field in FIELDS[table]]


def schema_file(table: str) -> str:
    """Return the name of a table's schema file.

    The profile of Camtrap DP requires a path that contains the version, and does not allow the schema in
    datapackage.json itself.
    """
    return f"{table}-table-schema-{VERSION}.json"


def table_schema(table: str) -> dict[str, Any]:
    """Return the Frictionless table schema of a table."""
    references = [
        {"fields": key, "reference": {"resource": other, "fields": key}}
        for other, key in KEYS.items()
        if other != table and key in columns_of(table)
    ]
    return {
        "fields": list(FIELDS[table]),
        "missingValues": [""],
        "primaryKey": KEYS[table],
        "foreignKeys": references,
    }
