"""A season as recorders write it: `predict` finds all recordings, with the right ids, sites and times."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.conftest import run_command, tone

SITES = ("pond", "ridge", "river", "río 2")
DAYS, PER_DAY = 5, 20
RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000, 250_000)
SUFFIXES = (".WAV", ".wav", ".flac", ".FLAC", ".Ogg")

Predicted = tuple[Path, dict[str, tuple[str, datetime]], str]
"""The output folder, the site and start of each recording, and what was printed to stderr."""


def write_season(folder: Path) -> dict[str, tuple[str, datetime]]:
    """Write 4 sites x 5 days x 20 recordings with equal names at all sites; return site and start of each."""
    expected = {}
    for k, site in enumerate(SITES):
        for day in range(DAYS):
            for n in range(PER_DAY):
                start = datetime(2024, 3, 15) + timedelta(days=day, minutes=37 * n)
                stem = f"{site}/{start:%Y%m%d}/{start:%Y%m%d_%H%M%S}"
                which = k + day + n
                suffix, sr = SUFFIXES[which % len(SUFFIXES)], RATES[which % len(RATES)]
                if suffix == ".Ogg":
                    sr = min(sr, 192_000)
                path = folder / f"{stem}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                form = {"wav": "WAV", "flac": "FLAC", "ogg": "OGG"}[suffix[1:].lower()]
                y = tone(800 * (1 + n % 3), 0.25, sr, seed=n)
                soundfile.write(path, np.stack([y] * (1 + which % 2), axis=1), sr, format=form)
                expected[stem] = (site, start)
    return expected


@pytest.fixture(scope="module")
def predicted(trained: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Predicted:
    folder = tmp_path_factory.mktemp("season")
    expected = write_season(folder / "season")
    (folder / "season" / "pond" / "notes.txt").write_text("rain on the 16th")
    (folder / "season" / "pond" / "phone.m4a").write_bytes(b"")
    flags = ("--model", trained[1] / "gbm", "--out", folder / "out", "--recall", "0.99", "--per-recording")
    done = run_command("predict", folder / "season", *flags)
    assert done.returncode == 0, done.stderr
    return folder / "out", expected, done.stderr


def test_every_recording_has_scores_with_its_site_and_time(
    predicted: Predicted,
) -> None:
    out, expected, _ = predicted
    assert len(expected) == 400
    scores = pd.read_csv(out / "scores.csv")
    assert list(scores["recording_id"]) == sorted(expected, key=lambda stem: Path(stem).parts)
    found = {
        row.recording_id: (row.site, datetime.fromisoformat(str(row.time))) for row in scores.itertuples()
    }
    assert found == expected
    assert scores[["coqui", "owl", "frog"]].notna().all(axis=None)


def test_detections_have_the_time_of_their_start(
    predicted: Predicted,
) -> None:
    out, expected, _ = predicted
    detections = pd.read_csv(out / "detections.csv")
    assert len(detections) > 10
    for row in detections.itertuples():
        site, start = expected[str(row.recording_id)]
        assert row.site == site
        assert datetime.fromisoformat(str(row.time)) == start + timedelta(
            milliseconds=round(1000 * float(row.t_min))  # type: ignore[arg-type]
        )


def test_output_folders_mirror_the_structure(
    predicted: Predicted,
) -> None:
    out, _, _ = predicted
    with_detections = set(pd.read_csv(out / "detections.csv")["recording_id"])
    for folder, suffix in (("raven", ".Table.1.selections.txt"), ("audacity", ".txt")):
        files = [file for file in (out / folder).rglob("*") if file.is_file()]
        found = {file.relative_to(out / folder).as_posix().removesuffix(suffix) for file in files}
        assert found == with_detections


def test_warnings_name_low_sample_rates_and_formats_that_cannot_be_read(
    predicted: Predicted,
) -> None:
    *_, stderr = predicted
    warnings = [line for line in stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "ignored 1 .m4a files; .flac, .wav, .ogg and .mp3 files can be read" in warnings[0]
    assert (
        "40 of 400 recordings have a lower sample rate than the training recordings (16000 Hz)" in warnings[1]
    )
    assert "with 8000 Hz; bands above 4000 Hz are silent" in warnings[1]
