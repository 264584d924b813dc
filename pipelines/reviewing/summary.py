"""What verdicts tell about the species: tables of precision, recall, call density and presence."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from models.survey import Estimate, Verified, estimate, interval, threshold_for_precision
from pipelines.reviewing.population import SampledScores
from pipelines.reviewing.queue import Queue

MIN_VERDICTS = 5  # per species; fewer give no estimate
DECIMALS = 4


class Summary(NamedTuple):
    """Estimates from verdicts.

    Attributes
    ----------
    species : one row per species with enough verdicts.
    sites : one row per species and site.
    places : one row per species, site and day.
    hours : one row per species and hour of the day; empty if the times are unknown.
    too_few : names of species with a verdict, but fewer than `MIN_VERDICTS`.
    """

    species: pd.DataFrame
    sites: pd.DataFrame
    places: pd.DataFrame
    hours: pd.DataFrame
    too_few: tuple[str, ...]


def summarise(
    queue: Queue, population: SampledScores, verdicts: pd.DataFrame, *, precision: float, seed: int
) -> Summary:
    """Return what the verdicts on a queue tell about each species.

    Windows that already had a box when the queue was made are not included.

    Parameters
    ----------
    queue, population : what `Queue.load` returned.
    verdicts : what `read_verdicts` returned.
    precision : precision that the updated thresholds are to have.
    seed : random seed of the intervals.
    """
    rng = np.random.default_rng(seed)
    species_rows, site_rows, place_rows, hour_rows, too_few = [], [], [], [], []
    sites = sorted({place.site for place in queue.places})
    site_of_place = np.array([sites.index(place.site) for place in queue.places])
    answered = verdicts[verdicts["verdict"] != "unsure"]
    for k, name in enumerate(queue.species):
        own = answered[answered["species"] == name]
        if len(own) < MIN_VERDICTS:
            too_few += [name] * (len(own) > 0)
            continue
        inside = population.stratum[:, k] >= 0
        verdict = np.full(len(inside), np.nan)
        verdict[own["window"]] = own["verdict"] == "yes"
        verified = Verified.of(
            population.scores[inside, k].astype(float), population.stratum[inside, k], verdict[inside], rng
        )
        found = estimate(verified, queue.threshold[k], rng)
        species_rows.append(
            {
                "species": name,
                "verdicts": len(own),
                "confirmed": int((own["verdict"] == "yes").sum()),
                "threshold": round(float(queue.threshold[k]), DECIMALS),
                **_columns("precision", found.precision),
                **_columns("recall", found.recall),
                **_columns("density", found.density),
                f"threshold_for_precision_{precision:g}": round(
                    threshold_for_precision(verified, precision), DECIMALS
                ),
            }
        )
        site_rows += _parts(verified, site_of_place[population.place[inside]], len(sites), rng, name)
        place_rows += _parts(verified, population.place[inside], len(queue.places), rng, name)
        known = population.hour[inside]
        hour_rows += _parts(verified, known, 24, rng, name)
    by_site = pd.DataFrame(site_rows).rename(columns={"part": "site"})
    if len(by_site):
        by_site["site"] = [sites[k] for k in by_site["site"]]
    places = pd.DataFrame(place_rows)
    if len(places):
        part = places.pop("part")
        places.insert(1, "site", [queue.places[k].site for k in part])
        places.insert(2, "day", [queue.places[k].day for k in part])
    hours = pd.DataFrame(hour_rows).rename(columns={"part": "hour"})
    return Summary(pd.DataFrame(species_rows), by_site, places, hours, tuple(too_few))


def _parts(
    verified: Verified, part: np.ndarray, n_parts: int, rng: np.random.Generator, name: str
) -> list[dict[str, object]]:
    """Return a row with density and probability of presence for each part that has windows."""
    size = np.bincount(part[part >= 0], minlength=n_parts)
    _, draws = verified.count(part, n_parts, rng)
    rows = []
    for k in np.flatnonzero(size):
        density = draws[:, k] / size[k]
        counted = verified.verdict[part == k]
        rows.append(
            {
                "species": name,
                "part": int(k),
                "windows": int(size[k]),
                "verdicts": int((~np.isnan(counted)).sum()),
                "confirmed": int(np.nansum(counted)),
                **_columns("density", interval(float(np.median(density)), density)),
                "presence": round(float((draws[:, k] > 0).mean()), DECIMALS),
            }
        )
    return rows


def _columns(name: str, found: Estimate) -> dict[str, float]:
    low, high = (round(x, DECIMALS) for x in (found.low, found.high))
    return {name: round(found.value, DECIMALS), f"{name}_low": low, f"{name}_high": high}
