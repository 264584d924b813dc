"""The queue: windows for a reviewer to verify, and its folder on disk."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from features.annotations.merging.tables import RECORDINGS
from features.annotations.raven_sequence import write_raven_sequence
from features.common.errors import UserError
from features.common.files import digest, read_json, write_json
from features.common.formulas import escape_formulas
from features.common.output_folder import OutputFolder
from features.common.parallel import in_parallel
from features.data.metadata import SiteTime, later
from features.data.tables import read_table, validate_unique
from models.survey import draw_sample
from pipelines.core.detector import Detector
from pipelines.reviewing.clips import read_clip, write_wav
from pipelines.reviewing.page import page_item, write_page
from pipelines.reviewing.population import Place, Population, SampledScores

VERSION = 1  # increase it when the files change
QUEUE, ITEMS, POPULATION = "queue.json", "queue.csv", "population.npz"
VERDICTS = "verdicts.csv"
PAGE, RAVEN, CLIPS = "review.html", "queue.selections.txt", "clips"
COLUMNS = (
    *("item", "recording_id", "species", "t_min", "t_max", "f_min", "f_max", "score", "threshold"),
    *("reason", "inclusion_probability", "window", "site", "time"),
)


@dataclass(frozen=True)
class Queue:
    """Windows to verify.

    Attributes
    ----------
    id : digest of the items and of the model.
    model : id of the run that scored the windows, or the example that they are similar to.
    species : names of all species of the model.
    threshold : (n_species,) score from which each species is reported.
    places : sites and days of the population.
    items : one row per window to verify, with the columns `COLUMNS`; `window` is its row in the population.
    """

    id: str
    model: str
    species: tuple[str, ...]
    threshold: np.ndarray
    places: tuple[Place, ...]
    items: pd.DataFrame

    @classmethod
    def of(
        cls,
        model: str,
        species: tuple[str, ...],
        threshold: np.ndarray,
        items: pd.DataFrame,
        population: Population,
    ) -> Self:
        """Return a queue of windows of a population.

        Parameters
        ----------
        items : window, species, score, reason, inclusion_probability, threshold, f_min and f_max of each.
        """
        placed = _with_places(items, population)
        return cls(_id(model, placed), model, species, threshold, population.places, placed)

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, SampledScores]:
        """Return the queue in a folder, and the scores that its windows were chosen from.

        Raises
        ------
        UserError
            The folder has no queue, or its files are not valid or do not belong together.
        """
        if not (folder / QUEUE).is_file():
            raise UserError(f"{folder}: has no queue; give the folder of 'review.py queue' with --queue")
        try:
            stored = read_json(folder / QUEUE)
            if stored["version"] != VERSION:
                raise ValueError(f"it has version {stored['version']}")
            species = tuple(map(str, stored["species"]))
            places = tuple(Place(*map(str, place)) for place in stored["places"])
            table = read_table(folder / ITEMS, COLUMNS)
            validate_unique(table, "item", folder / ITEMS)
            items = table.astype(
                {name: float for name in ("t_min", "t_max", "f_min", "f_max", "score", "threshold")}
                | {"item": int, "window": int, "inclusion_probability": float}
            ).reset_index(drop=True)
            threshold = np.array(stored["threshold"], float)
            queue = cls(str(stored["id"]), str(stored["model"]), species, threshold, places, items)
            population = SampledScores.load(folder / POPULATION, len(species), len(places))
            queue._validate(population)
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{folder}: its queue is not valid ({error}); run 'review.py queue' again"
            ) from error
        return queue, population

    def _validate(self, population: SampledScores) -> None:
        if self.threshold.shape != (len(self.species),) or not set(self.items["species"]) <= set(
            self.species
        ):
            raise ValueError("its species differ from those of the items")
        if not self.items["window"].between(0, len(population.place) - 1).all():
            raise ValueError("an item is not in the population")
        if self.id != _id(self.model, self.items):
            raise ValueError("its items were changed")

    def species_of_items(self) -> np.ndarray:
        """Return the number of the species of each item, (n_items,)."""
        return self.items["species"].map({name: k for k, name in enumerate(self.species)}).to_numpy(int)


def choose_items(
    population: Population,
    detector: Detector,
    *,
    names: Sequence[str],
    n: int,
    verified: np.ndarray,
    threshold: np.ndarray,
    seed: int,
) -> tuple[Queue, SampledScores]:
    """Return a queue of windows, in equal numbers for each species, and the scores they were chosen from.

    Parameters
    ----------
    population : windows to choose from.
    detector : model that scored them.
    names : species to verify.
    n : number of windows.
    verified : (n_windows, n_species) bool, windows with a box of the species, which are not chosen.
    threshold : (n_species,) score from which each species is reported.
    seed : random seed.
    """
    rng = np.random.default_rng(seed)
    species = [detector.species.index(name) for name in names]
    extra = rng.permutation(len(species))[: n % len(species)]
    quota = np.full(len(species), n // len(species)) + np.isin(np.arange(len(species)), extra)
    stratum = np.full(population.scores.shape, -1, np.int32)
    parts = []
    for k, of_species in zip(species, quota, strict=True):
        left = np.flatnonzero(~verified[:, k])
        if not of_species or not len(left):
            continue
        p = population.scores[left, k].astype(float)
        sample = draw_sample(p, of_species, place=population.place[left], threshold=threshold[k], rng=rng)
        stratum[left, k] = sample.stratum
        shuffled = rng.permutation(len(sample.window))  # so that their order does not reveal the reason
        parts.append(
            pd.DataFrame(
                {
                    "window": left[sample.window],
                    "species": detector.species[k],
                    "score": p[sample.window].round(6),
                    "reason": sample.reason,
                    "inclusion_probability": sample.inclusion_probability().round(6),
                    "threshold": round(float(threshold[k]), 6),
                    "f_min": detector.bands[k, 0],
                    "f_max": detector.bands[k, 1],
                }
            ).iloc[shuffled]
        )
    if not parts:
        raise UserError("all windows of these species have a box; add recordings, or choose other species")
    items = pd.concat(parts, ignore_index=True)
    queue = Queue.of(detector.run_id, detector.species, threshold, items, population)
    return queue, SampledScores(population.scores, stratum, population.place, population.hour)


def write_queue(
    output: OutputFolder, queue: Queue, sampled: SampledScores, population: Population, n_jobs: int
) -> None:
    """Write the folder of a queue: tables, clips, a Raven selection table, and the page for the reviewer.

    Raises
    ------
    AudioError
        A recording cannot be read.
    """
    with output.replacing(complete=True) as staged:
        (staged / CLIPS).mkdir()

        def write_clip(row: Mapping[Any, Any]) -> dict[str, Any]:
            recording_id = row["recording_id"]
            duration = population.durations[recording_id]
            clip = read_clip(population.recordings[recording_id], row["t_min"], row["t_max"], duration)
            write_wav(clip, staged / CLIPS / _clip_name(row))
            return page_item(row, clip)

        rows = queue.items.to_dict("records")
        items = list(in_parallel(write_clip, ((row,) for row in rows), n_jobs))
        write_page(staged / PAGE, queue.id, items)
        _write_tables(staged, queue, population)
        sampled.save(staged / POPULATION)
        write_json(
            staged / QUEUE,
            {
                "version": VERSION,
                "id": queue.id,
                "model": queue.model,
                "species": queue.species,
                "threshold": queue.threshold.tolist(),
                "places": queue.places,
            },
        )


def _write_tables(folder: Path, queue: Queue, population: Population) -> None:
    escape_formulas(queue.items[list(COLUMNS)]).to_csv(folder / ITEMS, index=False)
    used = [r for r in population.recordings if r in set(queue.items["recording_id"])]
    places = pd.DataFrame([population.site_times[r] for r in used], columns=list(SiteTime._fields))
    places.insert(0, "recording_id", used)
    places["file"] = [str(population.recordings[r].absolute()) for r in used]
    escape_formulas(places).to_csv(folder / RECORDINGS, index=False)
    boxes = queue.items[["species", "t_min", "t_max", "f_min", "f_max", "score", "threshold"]]
    of_recording = dict(list(boxes.groupby(queue.items["recording_id"])))
    write_raven_sequence(
        folder / RAVEN,
        (
            (path, population.durations[r], of_recording.get(r, boxes.iloc[:0]))
            for r, path in population.recordings.items()
        ),
    )


def _clip_name(row: Mapping[Any, Any]) -> str:
    species = re.sub(r"[^\w-]+", "_", row["species"])[:40]  # a name can have characters that a path cannot
    return f"{row['item']:04d}_{species}.wav"


def _with_places(items: pd.DataFrame, population: Population) -> pd.DataFrame:
    """Return items with their number, recording, times, site and absolute time."""
    window = items["window"].to_numpy()
    ids = np.array(list(population.recordings), object)[population.recording[window]]
    t_min = population.start[window].round(3)
    t_max = np.minimum(t_min + population.length, [population.durations[r] for r in ids]).round(3)
    places = [population.site_times[r] for r in ids]
    return items.assign(
        item=np.arange(1, len(items) + 1),
        recording_id=ids,
        t_min=t_min,
        t_max=t_max,
        site=[place.site for place in places],
        time=[later(place.start, float(t)) for place, t in zip(places, t_min, strict=True)],
    )[list(COLUMNS)]


def _id(model: str, items: pd.DataFrame) -> str:
    named = items[["item", "recording_id", "species", "t_min", "t_max"]]
    # A spreadsheet would take some digests, such as 1234567890e1, for numbers.
    return f"queue-{digest(model, json.dumps(named.to_numpy().tolist()))}"
