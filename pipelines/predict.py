"""New recordings to scores per species, by a GBM that `gbm.py` trained."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self
from zipfile import BadZipFile

import joblib
import numpy as np
from tqdm import tqdm

from features.audio import AudioError
from features.dataset import AUDIO_SUFFIXES, find_recordings
from features.descriptors import Descriptor
from features.files import replacing
from features.parallel import in_parallel
from features.spectral import SpectralSettings
from features.store import VERSION as FEATURES_VERSION
from features.store import frames_of
from features.windows import WindowSettings, window_starts
from models.gbm import OneVsRestGBM
from models.readout import Readout
from pipelines.common import positive, run
from pipelines.runs import RunError


def file_columns(path: Path, descriptor: Descriptor, window: WindowSettings) -> np.ndarray:
    """Return the (n_windows, n_features) columns of an audio file's windows."""
    frames = frames_of(path, descriptor.settings)
    length, hop = window.in_frames(descriptor.settings.frame_rate)
    return descriptor.describe(frames, window_starts(len(frames), length, hop), length)


@dataclass(frozen=True)
class Recogniser:
    """All that stands between a recording and its scores."""

    species: tuple[str, ...]
    descriptor: Descriptor
    window: WindowSettings
    model: OneVsRestGBM
    readout: Readout

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the recogniser that `gbm.py` left in a results folder's `gbm`."""
        remedy = "run pipelines/gbm.py, and give its results/<data set>/gbm"
        if not (folder / "config.json").exists() or not (folder / "model.json").exists():
            raise RunError(f"{folder}: holds no trained model; {remedy}")
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            found = cls(
                species=tuple(config["species"]),
                descriptor=Descriptor.load(folder, SpectralSettings(**config["spectral"])),
                window=WindowSettings(**config["window"]),
                model=OneVsRestGBM.load(folder),
                readout=Readout.from_config(config),
            )
            if config["features_version"] != FEATURES_VERSION:
                raise ValueError(f"its features are of version {config['features_version']}")
            found.check()
            return found
        except (KeyError, TypeError, ValueError, OSError, BadZipFile) as error:
            reason = f"no {error}" if isinstance(error, KeyError) else error
            raise RunError(f"{folder}: is not what this version saves ({reason}); {remedy}") from error

    def check(self) -> None:
        """Raise ValueError where the parts are of several models."""
        sizes = {self.descriptor.n_species, self.model.n_species_, len(self.readout.calibrator.coef_)}
        if sizes != {len(self.species)} or len(self.descriptor.names()) != self.model.n_features_in_:
            raise ValueError("its files are of several models")

    def score(self, path: Path) -> np.ndarray:
        """Return the (n_species,) scores of an audio file, those that the pipeline would give it."""
        X = file_columns(path, self.descriptor, self.window)
        return self.readout(self.model.predict_proba(X), np.array([0]))[0]


def scan(
    recogniser: Recogniser, recordings: Mapping[str, Path], n_jobs: int
) -> Iterator[tuple[str, np.ndarray | AudioError]]:
    """Yield each recording's id, and its (n_species,) scores or why it has none, as they come."""

    def score(path: Path) -> np.ndarray | AudioError:
        try:
            return recogniser.score(path)
        except AudioError as error:
            return error

    scored = in_parallel(score, ((path,) for path in recordings.values()), n_jobs)
    yield from zip(recordings, scored, strict=True)


def main(args: argparse.Namespace) -> None:
    recogniser = Recogniser.load(args.model)
    recordings = find_recordings(args.recordings)
    if not recordings:
        raise AudioError(
            f"{args.recordings}: holds no recordings; give a folder of {', '.join(AUDIO_SUFFIXES)} files"
        )
    failed = []
    with replacing(args.out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["recording_id", *(f"s{k}" for k in range(len(recogniser.species)))])
        results = scan(recogniser, recordings, args.jobs)
        for recording_id, result in tqdm(results, desc="predict", total=len(recordings), unit="recording"):
            if isinstance(result, AudioError):
                failed.append(result)
            else:
                table.writerow([recording_id, *result.tolist()])
    for error in failed:
        print(f"no scores: {error}", file=sys.stderr)
    print(f"{args.out}: {len(recordings) - len(failed)} recordings scored, {len(failed)} failed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("recordings", type=Path, help="folder of recordings")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="results/<data set>/gbm")
    parser.add_argument(
        "--out", type=Path, default=Path("scores.csv"), metavar="FILE", help="table of scores"
    )
    parser.add_argument("--jobs", type=positive, default=joblib.cpu_count(), help="cores to use")
    run(main, parser)
