"""The page on which a reviewer verifies a queue: one HTML file that needs neither server nor network."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from features.common.files import replacing
from pipelines.reviewing.clips import ReviewClip, mp3, spectrogram

TEMPLATE = "page.html"
MARKER = "{{data}}"


def page_item(row: Mapping[Any, Any], clip: ReviewClip) -> dict[str, Any]:
    """Return what the page needs of an item of a queue, as JSON values.

    Parameters
    ----------
    row : row of `Queue.items`.
    clip : audio of its window, with context.
    """
    names = ("item", "species", "recording_id", "t_min", "t_max", "f_min", "f_max", "site", "time")
    return {
        **{name: row[name] for name in names},
        "score": round(row["score"], 3),
        "start": round(clip.start, 3),
        "end": round(clip.end, 3),
        "top": clip.top,
        "image": "data:image/jpeg;base64," + b64encode(spectrogram(clip)).decode("ascii"),
        "audio": "data:audio/mpeg;base64," + b64encode(mp3(clip)).decode("ascii"),
    }


def write_page(file: Path, queue_id: str, items: Sequence[Mapping[str, Any]]) -> None:
    """Write the page.

    Parameters
    ----------
    file : the HTML file to write.
    queue_id : id of the queue. The browser stores the verdicts under it, and they are exported with it.
    items : what `page_item` returned for each item.
    """
    data = json.dumps({"queue": queue_id, "items": items}, ensure_ascii=False, allow_nan=False)
    # In a script element, "<" could begin a tag, for example in the name of a species.
    data = data.replace("<", "\\u003c")
    template = (files("pipelines.reviewing") / TEMPLATE).read_text(encoding="utf-8")
    before, after = template.split(MARKER)
    with replacing(file) as temporary:
        temporary.write_text(before + data + after, encoding="utf-8")
