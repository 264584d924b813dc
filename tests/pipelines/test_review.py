"""`review.py`: queue, apply and estimate, from recordings to a data set with verified boxes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from features.data.dataset import load_dataset
from tests.conftest import error_message, run_command, tone

N = 12


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return recordings of 8 s with a tone of one species each, in folders of two sites."""
    folder = tmp_path_factory.mktemp("recordings")
    for k in range(6):
        path = folder / ("ridge" if k % 2 else "river") / f"2024031{5 + k // 3}_05{k}000.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone(800 * (k % 3 + 1), 8.0, 16_000, seed=k + 50), 16_000)
    return folder


@pytest.fixture(scope="module")
def predicted(trained: tuple[Path, Path], recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predicted")
    done = run_command("predict", recordings, "--model", trained[1] / "blend", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def made(
    trained: tuple[Path, Path], recordings: Path, predicted: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the folder of a queue; tests must not change it."""
    out = tmp_path_factory.mktemp("made") / "queue"
    flags = ("--model", trained[1] / "blend", "--predicted", predicted, "--out", out, "--n", str(N))
    done = run_command("review", "queue", recordings, *flags)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture
def queue(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the queue with verdicts: yes, no and unsure in turn."""
    folder = shutil.copytree(made, tmp_path / "queue")
    write_verdicts(folder, ["yes", "no", "unsure"])
    return folder


@pytest.fixture
def data(trained: tuple[Path, Path], tmp_path: Path) -> Path:
    """Return a copy of the training data without complete labels, which new recordings would need."""
    root = shutil.copytree(trained[0], tmp_path / "data")
    (root / "train_labels.csv").unlink()
    return root


def write_verdicts(folder: Path, answers: list[str]) -> pd.DataFrame:
    """Write verdicts as the page exports them; `answers` are repeated for all items."""
    items = pd.read_csv(folder / "queue.csv")
    verdicts = items[["item", "recording_id", "species", "t_min", "t_max"]].copy()
    verdicts.insert(0, "queue", json.loads((folder / "queue.json").read_text())["id"])
    verdicts["verdict"] = np.resize(answers, len(items))
    verdicts["reviewed"] = "2026-11-28T10:00:00.000Z"
    verdicts.to_csv(folder / "verdicts.csv", index=False)
    return verdicts


def tables(root: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted(root.glob("*.csv"))}


def test_queue_has_windows_of_all_species_that_do_not_overlap(made: Path, recordings: Path) -> None:
    items = pd.read_csv(made / "queue.csv")
    assert items["species"].value_counts().to_dict() == dict.fromkeys(("coqui", "owl", "frog"), N // 3)
    for _, own in items.groupby(["species", "recording_id"]):
        t_min = own["t_min"].sort_values().to_numpy()
        assert (np.diff(t_min) >= 1 - 1e-9).all()
    assert set(items["site"]) == {"ridge", "river"}
    assert items["time"].str.startswith("2024-03-1").all()
    sizes = (1 / items["inclusion_probability"]).groupby(items["species"]).sum()
    np.testing.assert_allclose(sizes, 6 * 8, rtol=0.01)  # windows of 1 s
    assert len(pd.read_csv(made / "queue.selections.txt", sep="\t")) == N


def test_clips_are_the_windows_with_a_second_of_context(made: Path, recordings: Path) -> None:
    for row in pd.read_csv(made / "queue.csv").itertuples():
        (file,) = (made / "clips").glob(f"{row.item:04d}_{row.species}.wav")
        y, sr = soundfile.read(file)
        whole, _ = soundfile.read(recordings / f"{row.recording_id}.wav")
        first = round(max(row.t_min - 1, 0) * sr)
        stop = round(min(row.t_max + 1, 8.0) * sr)
        np.testing.assert_allclose(y, whole[first:stop], atol=1e-4)


def test_queue_is_the_same_again_and_leaves_out_windows_with_a_box(
    trained: tuple[Path, Path], recordings: Path, predicted: Path, made: Path, queue: Path, data: Path
) -> None:
    flags = ("--model", trained[1] / "blend", "--predicted", predicted, "--n", str(N))
    again = data.parent / "again"
    assert run_command("review", "queue", recordings, *flags, "--out", again).returncode == 0
    assert (again / "queue.csv").read_bytes() == (made / "queue.csv").read_bytes()
    assert (again / "review.html").read_bytes() == (made / "review.html").read_bytes()
    assert run_command("review", "apply", queue / "verdicts.csv", "--data", data).returncode == 0
    after = data.parent / "after"
    done = run_command("review", "queue", recordings, *flags, "--out", after, "--data", data)
    assert done.returncode == 0, done.stderr
    columns = ["recording_id", "species", "t_min"]
    answered = pd.read_csv(queue / "verdicts.csv").query("verdict != 'unsure'")
    both = pd.read_csv(after / "queue.csv").merge(answered, on=columns)
    assert both.empty


def test_apply_adds_boxes_once_with_their_origin(queue: Path, data: Path) -> None:
    before = load_dataset(data)
    verdicts = pd.read_csv(queue / "verdicts.csv")
    done = run_command("review", "apply", queue / "verdicts.csv", "--data", data)
    assert done.returncode == 0, done.stderr
    after = load_dataset(data)
    counts = verdicts["verdict"].value_counts()
    assert len(after.tp) == len(before.tp) + counts["yes"]
    assert len(after.fp) == len(before.fp) + counts["no"]
    answered = verdicts[verdicts["verdict"] != "unsure"]
    assert set(after.train) == set(before.train) | set(answered["recording_id"])
    new = after.tp.iloc[len(before.tp) :]
    expected = verdicts[verdicts["verdict"] == "yes"]
    np.testing.assert_allclose(new[["t_min", "t_max"]], expected[["t_min", "t_max"]])
    assert [after.species[k] for k in new["species_id"]] == expected["species"].tolist()
    reviews = pd.read_csv(data / "reviews.csv")
    assert reviews["verdict"].tolist() == verdicts["verdict"].tolist()
    assert set(reviews["model"]) == {json.loads((queue / "queue.json").read_text())["model"]}
    groups = pd.read_csv(data / "groups.csv").set_index("recording_id")["group"]
    assert groups[answered["recording_id"]].tolist() == [r.split("/")[0] for r in answered["recording_id"]]
    written = tables(data)
    assert run_command("review", "apply", queue / "verdicts.csv", "--data", data).returncode == 0
    assert tables(data) == written


def test_apply_copies_recordings(queue: Path, data: Path) -> None:
    assert run_command("review", "apply", queue / "verdicts.csv", "--data", data, "--copy").returncode == 0
    new = [
        path for path in load_dataset(data).train.values() if isinstance(path, Path) and "river" in str(path)
    ]
    assert new
    assert all(path.is_relative_to(data) for path in new)


def change(queue: Path, column: str, value: str) -> None:
    verdicts = pd.read_csv(queue / "verdicts.csv", dtype=str)
    verdicts.loc[1, column] = value
    verdicts.to_csv(queue / "verdicts.csv", index=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("queue", "0123", "is not the queue"),
        ("item", "77", "is not this item of the queue"),
        ("item", "1", "duplicate"),
        ("recording_id", "ridge/other", "is not this item of the queue"),
        ("t_min", "123.0", "is not this item of the queue"),
        ("verdict", "maybe", "is not one of yes, no, unsure"),
    ],
)
def test_verdicts_that_do_not_belong_to_the_queue_are_refused(
    queue: Path, data: Path, column: str, value: str, message: str
) -> None:
    change(queue, column, value)
    before = tables(data)
    for command in (("apply", queue / "verdicts.csv", "--data", data), ("estimate", queue / "verdicts.csv")):
        error = error_message(run_command("review", *command))
        assert message in error
        assert "verdicts.csv line" in error
    assert tables(data) == before


def test_changed_queue_is_refused(queue: Path, data: Path) -> None:
    items = pd.read_csv(queue / "queue.csv", dtype=str)
    items.loc[0, "t_min"] = "0.25"
    items.to_csv(queue / "queue.csv", index=False)
    error = error_message(run_command("review", "apply", queue / "verdicts.csv", "--data", data))
    assert "its items were changed" in error


@pytest.mark.parametrize("file", ["population.npz", "queue.json", "queue.csv"])
def test_damaged_queue_is_refused(queue: Path, data: Path, file: str) -> None:
    content = (queue / file).read_bytes()
    (queue / file).write_bytes(content[: len(content) // 2])
    before = tables(data)
    error_message(run_command("review", "apply", queue / "verdicts.csv", "--data", data))
    assert tables(data) == before


def test_later_answer_to_an_unsure_window_is_added(queue: Path, data: Path) -> None:
    assert run_command("review", "apply", queue / "verdicts.csv", "--data", data).returncode == 0
    n_before = len(load_dataset(data).tp)
    write_verdicts(queue, ["yes", "no", "yes"])
    assert run_command("review", "apply", queue / "verdicts.csv", "--data", data).returncode == 0
    assert len(load_dataset(data).tp) == n_before + N // 3
    reviews = pd.read_csv(data / "reviews.csv")
    assert reviews.drop_duplicates("item", keep="last")["verdict"].value_counts()["yes"] == 2 * N // 3


def test_recordings_without_group_are_refused(queue: Path, data: Path) -> None:
    stored = pd.read_csv(queue / "recordings.csv")
    stored["site"] = ""
    stored.to_csv(queue / "recordings.csv", index=False)
    before = tables(data)
    error = error_message(run_command("review", "apply", queue / "verdicts.csv", "--data", data))
    assert "have neither group nor site" in error
    assert tables(data) == before


def test_too_few_verdicts_give_no_estimate(queue: Path) -> None:
    error = error_message(run_command("review", "estimate", queue / "verdicts.csv"))
    assert "no species has 5 verdicts" in error


def test_estimate_is_near_the_truth_of_each_site(
    trained: tuple[Path, Path], recordings: Path, predicted: Path, tmp_path: Path
) -> None:
    queue = tmp_path / "queue"
    flags = ("--model", trained[1] / "blend", "--predicted", predicted, "--out", queue)
    done = run_command("review", "queue", recordings, *flags, "--species", "coqui", "--n", "24")
    assert done.returncode == 0, done.stderr
    items = pd.read_csv(queue / "queue.csv")
    with_coqui = {"river/20240315_050000", "ridge/20240316_053000"}  # all of their windows
    write_verdicts(queue, ["yes" if r in with_coqui else "no" for r in items["recording_id"]])
    done = run_command("review", "estimate", queue / "verdicts.csv")
    assert done.returncode == 0, done.stderr
    (row,) = pd.read_csv(queue / "estimates" / "species.csv").to_dict("records")
    assert row["verdicts"] == 24
    assert row["density_low"] - 1e-4 <= 1 / 3 <= row["density_high"] + 1e-4  # rounded
    assert row["density_high"] - row["density_low"] < 0.4
    places = pd.read_csv(queue / "estimates" / "places.csv")
    assert set(places["site"]) == {"ridge", "river"}
    assert set(places["day"]) == {"2024-03-15", "2024-03-16"}
    assert places["windows"].sum() == 48
    hours = pd.read_csv(queue / "estimates" / "hours.csv")
    assert set(hours["hour"]) == {5}


def test_queue_needs_scores_of_the_model_and_of_all_recordings(
    trained: tuple[Path, Path], recordings: Path, predicted: Path, tmp_path: Path
) -> None:
    flags = ("--out", tmp_path / "queue", "--predicted")
    blend = ("--model", trained[1] / "blend")
    error = error_message(run_command("review", "queue", recordings, *blend, *flags, tmp_path))
    assert "run 'python pipelines/predict.py'" in error
    other = ("--model", trained[1] / "gbm")
    error = error_message(run_command("review", "queue", recordings, *other, *flags, predicted))
    assert "has scores of another model" in error
    more = trained[0] / "test"
    error = error_message(run_command("review", "queue", recordings, more, *blend, *flags, predicted))
    assert "2 of 8 recordings have no scores, such as 't0'" in error
    error = error_message(
        run_command("review", "queue", recordings, *blend, *flags, predicted, "--species", "crow")
    )
    assert "--species crow" in error
    assert not (tmp_path / "queue" / "queue.csv").exists()


def test_queue_with_verdicts_is_not_replaced(
    trained: tuple[Path, Path], recordings: Path, predicted: Path, queue: Path
) -> None:
    flags = ("--model", trained[1] / "blend", "--predicted", predicted, "--out", queue)
    assert "contains verdicts.csv" in error_message(run_command("review", "queue", recordings, *flags))


def test_similar_makes_a_queue_for_a_new_data_set(recordings: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    example = tmp_path / "example.wav"
    y = 1e-3 * rng.standard_normal(5 * 16_000)
    y[32_000:40_000] += tone(1500, 0.5, 16_000)
    soundfile.write(example, y, 16_000)
    out, root = tmp_path / "first", tmp_path / "new"
    flags = ("--name", "=crow", "--out", out, "--n", "5", "--box", "2.0", "2.5", "1300", "1700")
    done = run_command("review", "similar", example, recordings, example, *flags)
    assert done.returncode == 0, done.stderr
    items = pd.read_csv(out / "queue.csv")
    assert items["score"].is_monotonic_decreasing
    assert items["recording_id"][0] == "example"
    assert items["t_min"][0] <= 2.0 <= 2.5 <= items["t_max"][0]
    assert items["recording_id"].value_counts().max() <= 3
    write_verdicts(out, ["no"])
    error = error_message(run_command("review", "apply", out / "verdicts.csv", "--data", root))
    assert "no window is confirmed" in error
    write_verdicts(out, ["yes", "no"])
    error = error_message(run_command("review", "estimate", out / "verdicts.csv"))
    assert "nothing can be estimated" in error
    done = run_command("review", "apply", out / "verdicts.csv", "--data", root)
    assert "new: new data set, 3 TP and 2 FP boxes and" in done.stdout
    dataset = load_dataset(root)
    assert (dataset.species, len(dataset.tp), len(dataset.fp)) == (("=crow",), 3, 2)
    assert set(pd.read_csv(root / "reviews.csv")["model"]) == {"similar to example.wav"}


@pytest.mark.parametrize(
    ("box", "message"),
    [
        (("2", "1", "500", "900"), "is not a box in this recording of 8.00 s"),
        (("7", "9", "500", "900"), "is not a box in this recording of 8.00 s"),
        (("1", "2", "900", "500"), "is not a box in this recording of 8.00 s"),
        (("1", "2", "500", "nan"), "is not a box in this recording of 8.00 s"),
    ],
)
def test_example_outside_the_clip_is_refused(
    recordings: Path, tmp_path: Path, box: tuple[str, ...], message: str
) -> None:
    clip = recordings / "river" / "20240315_050000.wav"
    flags = ("--name", "crow", "--out", tmp_path / "first", "--box", *box)
    error = error_message(run_command("review", "similar", clip, recordings, *flags))
    assert message in error
    assert "--box T_MIN T_MAX F_MIN F_MAX" in error
    assert not (tmp_path / "first").exists()
