"""Verdicts of a reviewer: reading them, and adding them to a data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pandas as pd

from features.annotations.importing import GivenTables, add_boxes
from features.annotations.merging.reviews import REVIEW_COLUMNS
from features.annotations.merging.tables import GROUPS, PRESENCE, RECORDINGS, SPECIES, TP
from features.common.errors import UserError
from features.common.formulas import escape_formulas
from features.data.tables import read_table, validate_unique, validate_values
from pipelines.reviewing.queue import Queue

COLUMNS = ("queue", "item", "recording_id", "species", "t_min", "t_max", "verdict", "reviewed")
ANSWERS = ("yes", "no", "unsure")


class Applied(NamedTuple):
    """What `apply_verdicts` did: numbers of boxes and recordings."""

    n_tp: int
    n_fp: int
    n_known: int
    n_unsure: int
    n_recordings: int


def read_verdicts(file: Path, queue: Queue) -> pd.DataFrame:
    """Return the items of a queue that have a verdict, with the columns verdict and reviewed.

    Parameters
    ----------
    file : the file that the page for the reviewer exports.
    queue : the queue that it must belong to.

    Raises
    ------
    UserError
        The file is not valid, or a verdict does not belong to the queue.
    """
    table = read_table(file, COLUMNS)
    validate_unique(table, "item", file)
    validate_values(
        table["queue"],
        table["queue"] != queue.id,
        path=file,
        problem=f"is not the queue '{queue.id}'; give the folder that the verdicts belong to with --queue",
    )
    validate_values(
        table["verdict"],
        ~table["verdict"].isin(ANSWERS),
        path=file,
        problem=f"is not one of {', '.join(ANSWERS)}; correct it",
    )
    items = queue.items.set_index(queue.items["item"].astype(str))
    known = items.reindex(table["item"]).set_axis(table.index)
    same = known["recording_id"].eq(table["recording_id"]) & known["species"].eq(table["species"])
    for name in ("t_min", "t_max"):
        same &= (known[name] - pd.to_numeric(table[name], errors="coerce")).abs() < 1e-6
    validate_values(
        table["item"],
        ~same,
        path=file,
        problem="is not this item of the queue; export the verdicts again",
    )
    return known.assign(verdict=table["verdict"], reviewed=table["reviewed"]).rename_axis("line")


def apply_verdicts(
    verdicts: pd.DataFrame,
    file: Path,
    queue: Queue,
    folder: Path,
    root: Path,
    *,
    copy: bool,
    follow_links: bool,
) -> Applied:
    """Add confirmed windows as TP boxes and rejected ones as FP boxes to a data set, or to a new one.

    A box that the data set has already is not added again. The recordings are referred to, or copied. Where
    each box comes from is added to `reviews.csv`. A new recording belongs to the group of its site.

    Parameters
    ----------
    verdicts : what `read_verdicts` returned for `file`.
    queue : the queue in `folder`.
    root : folder of the data set.
    copy : whether to copy the audio files to the data set.
    follow_links : whether symbolic links may lead out of the data set.

    Raises
    ------
    UserError
        A verdict contradicts the data set, a recording is missing or has no group, or no window is confirmed
        for a new data set. The data set is then unchanged.
    """
    answered = verdicts[verdicts["verdict"] != "unsure"]
    if not (answered["verdict"] == "yes").any() and not (root / TP).exists():
        raise UserError(f"{file}: no window is confirmed, but the new data set {root} needs a TP box")
    stored = read_table(folder / RECORDINGS, ("recording_id", "site", "file")).set_index("recording_id")
    used = [recording_id for recording_id in stored.index if recording_id in set(answered["recording_id"])]
    recordings = {recording_id: Path(stored["file"][recording_id]) for recording_id in used}
    for recording_id, path in recordings.items():
        if not path.is_file():
            raise UserError(f"{path}: recording '{recording_id}' of the queue is missing; restore the file")
    boxes = answered.assign(
        verified=answered["verdict"],
        songtype="",
        file=str(file),
        line=answered.index,
    ).reset_index(drop=True)
    reviews = verdicts.assign(model=queue.model, queue=queue.id)[list(REVIEW_COLUMNS)].astype(str)
    with _given_tables(stored.loc[used], root) as given:
        added = add_boxes(
            boxes,
            recordings,
            root,
            given=given,
            copy=copy,
            follow_links=follow_links,
            reviews=reviews,
        )
    is_new = added.unique.to_numpy(bool)
    is_tp = (boxes["verdict"] == "yes").to_numpy(bool)
    return Applied(
        n_tp=int((is_new & is_tp).sum()),
        n_fp=int((is_new & ~is_tp).sum()),
        n_known=int((~is_new).sum()),
        n_unsure=int((verdicts["verdict"] == "unsure").sum()),
        n_recordings=added.n_new_recordings,
    )


@contextmanager
def _given_tables(stored: pd.DataFrame, root: Path) -> Iterator[GivenTables]:
    """Yield temporary tables with sites and times of recordings and, if the data set has groups, groups.

    Parameters
    ----------
    stored : rows of the queue's recordings.csv, indexed by recording id.
    """
    groups = root / GROUPS
    with TemporaryDirectory() as name:
        given = GivenTables(*(Path(name) / table for table in (GROUPS, RECORDINGS, PRESENCE, SPECIES)))
        escape_formulas(stored.drop(columns="file").reset_index()).to_csv(given.recordings, index=False)
        if groups.exists():
            grouped = set(read_table(groups, ("recording_id", "group"))["recording_id"])
            new = stored[~stored.index.isin(grouped)]
            unknown = new.index[new["site"] == ""]
            if len(unknown):
                raise UserError(
                    f"{groups}: {len(unknown)} recordings have neither group nor site (first: "
                    f"'{unknown[0]}'); add their lines"
                )
            if len(new):
                table = new["site"].rename("group").reset_index()
                escape_formulas(table).to_csv(given.groups, index=False)
        yield given
