from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from features.annotations.boxes import BAND, TIMES
from features.annotations.formats import read_labels
from features.annotations.raven_sequence import write_raven_sequence

BOX = (*TIMES, *BAND)

COLUMNS = ["species", *BOX]


def boxes(*rows: tuple[object, ...], columns: list[str] = COLUMNS, **values: object) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=columns).assign(**values)


def random_recordings(n: int, seed: int = 0) -> list[tuple[Path, float, pd.DataFrame]]:
    """Return recordings with many digits in durations and boxes; some of them have no boxes."""
    rng = np.random.default_rng(seed)
    recordings = []
    for k in range(n):
        duration = rng.integers(1, 10_000_000) / 48_000
        times = np.sort(rng.uniform(0, duration, (rng.integers(4), 2)))
        frequencies = np.sort(rng.uniform(0, 24_000, times.shape))
        found = pd.DataFrame(np.hstack([times, frequencies]), columns=list(BOX))
        found.insert(0, "species", [f"species {k}" for k in range(len(found))])
        recordings.append((Path(f"site/{k}.wav"), duration, found))
    return recordings


def exact_boxes(table: pd.DataFrame) -> np.ndarray:
    """Return the boxes of a table of text in decimal arithmetic, times in s from the start of their file."""
    offset, begin, end = (
        table[name].map(Decimal) for name in ("File Offset (s)", "Begin Time (s)", "End Time (s)")
    )
    return np.array([offset, offset + end - begin, table["Low Freq (Hz)"], table["High Freq (Hz)"]], float).T


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "all.selections.txt"


def test_table_is_a_raven_selection_table(file: Path) -> None:
    owl = ("owl", 44.5, 45.1, 500.0, 900.0)
    found = boxes(owl, ("tree frog", 50.0, 60.0, 2000.0, 5500.0), score=[0.75, 0.5], threshold=0.25)
    empty = boxes(score=0.0, threshold=0.0)
    later = boxes(owl, score=np.nan, threshold=0.25)
    a, b, c = Path("/s/a.wav"), Path("/s/b.wav"), Path("/t/c.wav")
    write_raven_sequence(file, [(a, 60.0, found), (b, 30.5, empty), (c, 60.0, later)])
    header = (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin File\t"
        "Begin Path\tFile Offset (s)\tSpecies\tScore\tThreshold\tVerified"
    )
    view = "Spectrogram 1\t1"
    assert file.read_text(encoding="utf-8").splitlines() == [
        header,
        f"1\t{view}\t44.5\t45.1\t500.0\t900.0\ta.wav\t/s/a.wav\t44.5\towl\t0.75\t0.25\t",
        f"2\t{view}\t50.0\t60.0\t2000.0\t5500.0\ta.wav\t/s/a.wav\t50.0\ttree frog\t0.5\t0.25\t",
        f"3\t{view}\t135.0\t135.6\t500.0\t900.0\tc.wav\t/t/c.wav\t44.5\towl\t\t0.25\t",
    ]


def test_boxes_are_read_back_exactly(file: Path) -> None:
    recordings = random_recordings(300)
    write_raven_sequence(file, recordings)
    expected = pd.concat([found for _, _, found in recordings])
    assert len(expected) > 300
    table = read(file)
    np.testing.assert_array_equal(exact_boxes(table), expected[list(BOX)].to_numpy())
    assert table["Species"].tolist() == expected["species"].tolist()


def test_times_in_the_sequence_follow_the_durations_of_all_files(file: Path) -> None:
    recordings = random_recordings(300)
    write_raven_sequence(file, recordings)
    starts = np.cumsum([0.0, *(duration for _, duration, _ in recordings)])
    expected = np.concatenate(
        [start + found["t_min"] for start, (_, _, found) in zip(starts, recordings, strict=False)]
    )
    np.testing.assert_allclose(read(file)["Begin Time (s)"].astype(float), expected, rtol=1e-12)


def test_table_is_read_by_our_reader(file: Path) -> None:
    rejected = boxes(("owl", 1 / 3, 2.0, 500.0, 900.0), verified="no", songtype="4")
    confirmed = boxes(("frog", 0.1, 59.9, 0.0, 900.0), verified="yes", songtype="1")
    write_raven_sequence(file, [(Path("a.wav"), 60.1, rejected), (Path("b.wav"), 60.0, confirmed)])
    _, found = read_labels(file)
    expected = pd.concat([rejected, confirmed], ignore_index=True)
    assert found["recording"].tolist() == [str(Path("a.wav").absolute()), str(Path("b.wav").absolute())]
    pd.testing.assert_frame_equal(found[list(expected)].reset_index(drop=True), expected, check_dtype=False)


def test_our_reader_reads_times_back_exactly(file: Path) -> None:
    recordings = random_recordings(100)
    write_raven_sequence(file, recordings)
    expected = pd.concat([found for _, _, found in recordings])
    _, found = read_labels(file)
    np.testing.assert_array_equal(found[list(BOX)], expected[list(BOX)])


def test_path_is_absolute(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    write_raven_sequence(file, [(Path("ridge/a.wav"), 60.0, boxes(("owl", 0.0, 1.0, 0.0, 1.0)))])
    assert read(file).loc[0, ["Begin File", "Begin Path"]].tolist() == [
        "a.wav",
        str(tmp_path / "ridge" / "a.wav"),
    ]


def test_only_one_recording_is_in_memory(file: Path) -> None:
    alive = 0

    class Counted(pd.DataFrame):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def recordings() -> Iterator[tuple[Path, float, pd.DataFrame]]:
        nonlocal alive
        for k in range(20):
            assert alive <= 1, "boxes of earlier recordings are still in memory"
            alive += 1
            yield Path(f"{k}.wav"), 60.0, Counted(boxes(("owl", 0.0, 1.0, 0.0, 1.0)))

    write_raven_sequence(file, recordings())
    assert len(read(file)) == 20


def test_sequence_without_selections_has_a_header(file: Path) -> None:
    write_raven_sequence(file, [(Path("a.wav"), 60.0, boxes())])
    assert len(read(file)) == 0
    assert {"Selection", "File Offset (s)", "Species", "Verified"} <= set(read(file))


def test_recordings_with_different_columns_are_rejected(file: Path) -> None:
    file.write_text("before")
    with pytest.raises(ValueError, match=r"b\.wav: columns .*'score'.* differ from those before"):
        write_raven_sequence(file, [(Path("a.wav"), 60.0, boxes()), (Path("b.wav"), 60.0, boxes(score=1.0))])
    assert file.read_text() == "before"
    assert list(file.parent.iterdir()) == [file]
