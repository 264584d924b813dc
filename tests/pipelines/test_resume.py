"""`predict` continues after it was killed, and only scores what is new or has changed."""

import os
import shutil
import sqlite3
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from filelock import FileLock

from features.common.output_folder import OutputFolder
from features.data.recordings import find_recordings
from pipelines.core import new_recordings
from pipelines.core.batches import Outcome
from pipelines.core.detector import Detector
from pipelines.core.prediction_files import PredictionFiles
from pipelines.core.prediction_store import PredictionStore
from pipelines.core.predictions import Predictions
from pipelines.core.runs import RunError
from tests import kill_predict
from tests.conftest import error_message, read_scores, run_command


def test_killed_calls_end_with_the_files_of_a_call_that_was_not_killed(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    found = kill_predict.compare(tmp_path, trained[1] / "gbm", n_recordings=12, n_kills=2)
    assert "2 kills" in found


@pytest.fixture
def season(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """Four recordings in two folders, which are already scored to `out`."""
    for k in range(4):
        folder = tmp_path / "season" / "ab"[k % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained[0] / "train" / f"a{k}.flac", folder)
    assert "4 recordings scored" in predict(trained, tmp_path)
    return tmp_path / "season"


def predict(trained: tuple[Path, Path], tmp_path: Path, *flags: str) -> str:
    """Run `predict` on the season and return what it prints."""
    command = (
        tmp_path / "season",
        "--model",
        trained[1] / "gbm",
        "--out",
        tmp_path / "out",
        "--recall",
        "0.99",
    )
    done = run_command("predict", *command, *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_repeated_call_scores_nothing_and_writes_the_same_files(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    before = kill_predict.files(tmp_path / "out")
    assert "4 of 4 recordings are already scored" in predict(trained, tmp_path)
    assert kill_predict.files(tmp_path / "out") == before


def test_changed_new_and_vanished_recordings_are_detected(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    before = read_scores(tmp_path / "out")
    shutil.copyfile(season / "b" / "a1.flac", season / "a" / "a0.flac")  # changed
    shutil.copy(season / "b" / "a1.flac", season / "a" / "new.flac")
    (season / "b" / "a3.flac").unlink()
    assert "2 of 4 recordings are already scored" in predict(trained, tmp_path)
    after = read_scores(tmp_path / "out")
    assert list(after.index) == ["a/a0", "a/a2", "a/new", "b/a1"]
    for name in ("a/a0", "a/new"):
        assert after.loc[name].equals(before.loc["b/a1"].rename(name))
    assert after.loc["a/a2"].equals(before.loc["a/a2"])


def test_output_of_vanished_recordings_and_other_formats_is_removed(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict(trained, tmp_path, "--per-recording", "--prior", "estimate")
    names = set(kill_predict.files(out))
    assert {"raven/b/a1.Table.1.selections.txt", "audacity/b/a1.txt", "prior.csv", "scores.csv"} <= names
    (out / "raven" / "b" / "mine.txt").write_text("notes")  # written by the user
    (season / "b" / "a1.flac").unlink()
    (season / "b" / "a3.flac").unlink()
    predict(trained, tmp_path, "--per-recording")
    names = set(kill_predict.files(out))
    assert "prior.csv" not in names
    assert not (out / "audacity" / "b").exists()
    assert {name for name in names if "/b/" in name} == {"raven/b/mine.txt"}
    predict(trained, tmp_path, "--format", "parquet")
    names = set(kill_predict.files(out))
    assert names == {
        *("scores.parquet", "detections.parquet", "detections.selections.txt"),
        *("submission.csv", "raven/b/mine.txt"),
    }


def test_tables_can_be_written_while_recordings_are_scored(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    detector = Detector.load(trained[1] / "gbm")
    out = tmp_path / "partial"
    out.mkdir()
    store = PredictionStore(out / "predictions.db", model="a", n_species=3)
    predictions = Predictions(detector, store, find_recordings(season), {}, {})
    threshold = detector.thresholds.at(recall=0.99)
    files = PredictionFiles(OutputFolder(out, "predict.py"), predictions, None, threshold, "csv", False)
    outcomes = list(predictions.score(predictions.missing()[1:3], n_jobs=1))
    assert outcomes == [Outcome(2.0), Outcome(2.0)]
    files.write_tables()
    assert set(kill_predict.files(out)) == {"scores.csv", "detections.csv"}
    assert list(read_scores(out).index) == ["a/a2", "b/a1"]
    OutputFolder(out, "predict.py")  # no file has changed
    assert list(predictions.score(predictions.missing(), n_jobs=1)) == [Outcome(2.0), Outcome(2.0)]
    files.write({})
    assert kill_predict.files(out) == kill_predict.files(tmp_path / "out")


def test_camtrap_without_place_still_writes_scores_and_with_place_a_package(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    command = (season, "--model", trained[1] / "gbm", "--recall", "0.99", "--format", "camtrap-dp", "--out")
    message = error_message(run_command("predict", *command, tmp_path / "new"))
    assert "4 of 4 recordings have no start with a UTC offset (first: 'a/a0')" in message
    assert len(read_scores(tmp_path / "new")) == 4
    rows = [f"{r},,2024-03-15T05:30:00-04:00,18.3,-65.8" for r in ("a/a0", "a/a2", "b/a1", "b/a3")]
    table = "\n".join(["recording_id,site,start,latitude,longitude", *rows])
    (season / "recordings.csv").write_text(table)
    assert run_command("predict", *command, tmp_path / "new").returncode == 0
    observations = pd.read_csv(tmp_path / "new" / "camtrap-dp" / "observations.csv")
    assert len(observations) == len(pd.read_csv(tmp_path / "new" / "detections.csv"))
    assert set(observations["classificationMethod"]) == {"machine"}
    assert set(pd.read_csv(tmp_path / "new" / "camtrap-dp" / "deployments.csv")["locationName"]) == {"a", "b"}


def test_folders_of_the_output_can_be_removed(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    predict(trained, tmp_path, "--per-recording")
    shutil.rmtree(tmp_path / "out" / "raven")
    predict(trained, tmp_path)
    assert not (tmp_path / "out" / "audacity").exists()


@pytest.mark.parametrize("name", ["detections.selections.txt", "raven/a/a0.Table.1.selections.txt"])
def test_review_is_not_overwritten(
    trained: tuple[Path, Path], season: Path, tmp_path: Path, name: str
) -> None:
    predict(trained, tmp_path, "--per-recording")
    file = tmp_path / "out" / name
    file.write_text(file.read_text().replace("a0.flac", "a0.flac reviewed") + "\n")
    reviewed = file.read_bytes()
    done = run_command("predict", season, "--model", trained[1] / "gbm", "--out", tmp_path / "out")
    message = error_message(done)
    assert f"{file}: changed since it was written, for example by a review; move it to another" in message
    assert file.read_bytes() == reviewed
    file.rename(tmp_path / "reviewed.txt")
    predict(trained, tmp_path, "--per-recording")
    assert file.exists()


def test_call_that_is_killed_while_files_are_moved_continues(
    trained: tuple[Path, Path], season: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict(trained, tmp_path, "--per-recording")
    (season / "a" / "a0.flac").unlink()
    n_moves = 0

    def replace_twice(source: Path, target: Path) -> None:
        nonlocal n_moves
        n_moves += target.parent.is_relative_to(tmp_path / "out")
        if n_moves == 3:
            raise OSError("killed")
        shutil.move(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("features.common.output_folder.os.replace", replace_twice)
        command = (season, "--model", trained[1] / "gbm", "--out", tmp_path / "out", "--recall", "0.99")
        assert run_command("predict", *command).returncode == 2
    predict(trained, tmp_path)
    assert list(read_scores(tmp_path / "out").index) == ["a/a2", "b/a1", "b/a3"]
    assert not (tmp_path / "out" / "raven").exists()


def test_recordings_of_equal_name_size_and_time_are_told_apart(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    """Recorders on one schedule write such files; their content is random, so the last bytes differ."""
    before = read_scores(tmp_path / "out")
    path, other = season / "a" / "a0.flac", season / "b" / "a1.flac"
    state, size = path.stat(), min(path.stat().st_size, other.stat().st_size)
    for file in (path, other):
        soundfile.write(file.with_suffix(".wav"), *soundfile.read(file))
        file.unlink()
    path, other = path.with_suffix(".wav"), other.with_suffix(".wav")
    assert path.stat().st_size == other.stat().st_size > size
    predict(trained, tmp_path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    predict(trained, tmp_path)
    shutil.copyfile(other, path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert "3 of 4 recordings are already scored" in predict(trained, tmp_path)
    assert read_scores(tmp_path / "out").loc["a/a0"].equals(before.loc["b/a1"].rename("a/a0"))


def test_output_of_other_recordings_is_not_replaced(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    flags = ("--model", trained[1] / "gbm", "--out", tmp_path / "out")
    message = error_message(run_command("predict", trained[0] / "test", *flags))
    assert "contains the scores of other recordings, such as 'a/a0'; give another folder" in message


def test_stray_files_in_the_model_folder_do_not_matter(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    results = shutil.copytree(trained[1], tmp_path / "results")
    (results / "gbm" / ".DS_Store").touch()
    assert Detector.load(results / "gbm").species
    (results / "gbm" / "linear.npz").write_bytes(b"")
    with pytest.raises(RunError, match=r"linear\.npz has changed since the run was written"):
        Detector.load(results / "gbm")


def test_parquet_has_the_values_of_csv(trained: tuple[Path, Path], season: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    tables = {
        name: pd.read_csv(out / f"{name}.csv", keep_default_na=False) for name in ("scores", "detections")
    }
    assert len(tables["detections"])
    predict(trained, tmp_path, "--format", "parquet")
    for name, table in tables.items():
        pd.testing.assert_frame_equal(
            pd.read_parquet(out / f"{name}.parquet"), table, rtol=1e-5, check_dtype=False
        )


def test_other_model_scores_all_recordings_again(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    flags = (season, "--model", trained[1] / "gru", "--out", tmp_path / "out")
    done = run_command("predict", *flags)
    assert done.stdout.startswith("the model has changed, so 4 recordings are scored again\n")
    run_command("predict", season, "--model", trained[1] / "gru", "--out", tmp_path / "fresh")
    assert kill_predict.files(tmp_path / "out") == kill_predict.files(tmp_path / "fresh")


def test_recording_that_fails_is_tried_again(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    content = (season / "a" / "a0.flac").read_bytes()
    (season / "a" / "a0.flac").write_bytes(content[:100])
    assert "3 recordings scored" in predict(trained, tmp_path)
    (season / "a" / "a0.flac").write_bytes(content)
    assert "4 recordings scored" in predict(trained, tmp_path)
    assert not (tmp_path / "out" / "failed_recordings.csv").exists()


def test_recording_that_vanishes_while_the_command_runs_is_missing_not_undecodable(
    trained: tuple[Path, Path], season: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_recordings(season)

    def find_and_remove(folder: Path, *, follow_links: bool = False) -> dict[str, Path]:
        (season / "a" / "a0.flac").unlink()
        return found

    monkeypatch.setattr(new_recordings, "find_recordings", find_and_remove)
    assert "3 recordings scored" in predict(trained, tmp_path)
    failed = pd.read_csv(tmp_path / "out" / "failed_recordings.csv")
    assert failed["recording_id"].tolist() == ["a/a0"]
    assert "a0.flac: missing (moved, renamed or deleted); restore the file" in failed["reason"][0]


def test_two_calls_cannot_write_to_one_folder(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with FileLock(tmp_path / "other" / ".lock"):
        done = run_command("predict", season, "--model", trained[1] / "gbm", "--out", tmp_path / "other")
    assert "another command is writing to this folder; wait, or give another --out" in error_message(done)


def test_damaged_store_is_a_clear_error(trained: tuple[Path, Path], season: Path, tmp_path: Path) -> None:
    file = tmp_path / "broken" / "predictions.db"
    file.parent.mkdir()
    file.write_bytes(b"not a database" * 100)
    done = run_command("predict", season, "--model", trained[1] / "gbm", "--out", file.parent)
    message = error_message(done)
    assert str(file) in message
    assert "delete the file to score all recordings again" in message


def test_store_of_another_model_or_version_is_emptied(tmp_path: Path) -> None:
    file = tmp_path / "predictions.db"
    insert = "INSERT INTO recording (recording_id, source) VALUES ('x', 'y')"
    PredictionStore(file, model="a", n_species=3)
    with sqlite3.connect(file) as database:
        database.execute(insert)
    same, other = (PredictionStore(file, model=model, n_species=3) for model in "ab")
    assert (same.n_discarded, other.n_discarded, other.sources()) == (0, 1, {})
    with sqlite3.connect(file) as database:
        database.execute(insert)
        database.execute("ALTER TABLE recording DROP COLUMN sr")
        database.execute("PRAGMA user_version = 1")
    assert PredictionStore(file, model="b", n_species=3).read_sample_rates() == {}


def test_site_and_time_come_from_recordings_csv_without_scoring_again(
    trained: tuple[Path, Path], season: Path, tmp_path: Path
) -> None:
    (season / "recordings.csv").write_text(
        "recording_id,site,start\na/a0,pond,2024-03-15T05:30:00-04:00\nb/a1,,2024-03-16 06:00\n"
    )
    os.utime(season / "recordings.csv")
    assert "4 of 4 recordings are already scored" in predict(trained, tmp_path)
    scores = pd.read_csv(tmp_path / "out" / "scores.csv", index_col="recording_id", keep_default_na=False)
    assert scores.loc["a/a0", ["site", "time"]].tolist() == ["pond", "2024-03-15T05:30:00-04:00"]
    assert scores.loc["b/a1", ["site", "time"]].tolist() == ["b", "2024-03-16T06:00:00"]
    assert scores.loc["b/a3", ["site", "time"]].tolist() == ["b", ""]
