"""Identity of a data set: digests of its recordings and tables, which tell data sets apart."""

from collections.abc import Mapping
from pathlib import Path

from features.common.files import digest
from features.data.audio import Clip, file_of, source_of
from features.data.dataset import BOX_COLUMNS, Dataset
from features.data.tables import DatasetError


def data_identity(dataset: Dataset) -> dict[str, str]:
    """Return a digest of each part of a data set that training or scoring depends on.

    The name and the folder of the data set do not matter. All audio is read, which takes about a second per
    gigabyte, once per process.

    Parameters
    ----------
    dataset : Dataset

    Raises
    ------
    AudioError
        A recording is missing or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from dataclasses import replace
    >>> from features.data.dataset import load_dataset
    >>> from features.data.synthetic import SyntheticSettings, write_dataset
    >>> settings = SyntheticSettings(n_train=4, n_test=2, duration=8.0)
    >>> dataset = load_dataset(write_dataset(Path(tempfile.mkdtemp()), n_jobs=1, settings=settings))
    >>> identity, other = data_identity(dataset), data_identity(replace(dataset, fp=dataset.fp[1:]))
    >>> [part for part in identity if identity[part] != other[part]]
    ['FP boxes']
    """
    return {
        "species": digest(dataset.species),
        "training recordings": _recordings(dataset.train),
        "TP boxes": digest(dataset.tp[list(BOX_COLUMNS)].to_csv(index=False)),
        "FP boxes": digest(dataset.fp[list(BOX_COLUMNS)].to_csv(index=False)),
        "training labels": digest(dataset.train_labels),
        "groups": digest(*map(str, dataset.groups)),
        "reviewed recordings": digest(*sorted(dataset.reviewed)),
        "test recordings": _recordings(dataset.test),
        "test labels": digest(dataset.test_labels),
    }


def validate_separate(dataset: Dataset) -> None:
    """Raise DatasetError if test recordings with known labels are also training recordings, under any name.

    The scores of the test recordings would be too high.

    Parameters
    ----------
    dataset : Dataset

    Raises
    ------
    DatasetError
        A test recording has the same audio as a training recording.
    AudioError
        A recording is missing or cannot be read.
    """
    if dataset.test_labels is not None:
        _validate_none_in(
            dataset.test,
            dataset.train,
            "so the test scores would be too high; remove one of the two, or test_labels.csv",
        )


def validate_unlabelled(unlabelled: Mapping[str, Path], dataset: Dataset) -> None:
    """Raise DatasetError if recordings for self-training are also training recordings, under any name.

    Templates from the boxes of such a recording would recognise their own calls in it.
    """
    _validate_none_in(unlabelled, dataset.train, "which is used without this; remove it")


def _validate_none_in(
    recordings: Mapping[str, Path | Clip], training: Mapping[str, Path | Clip], why: str
) -> None:
    """Raise DatasetError if a recording has the same audio as a training recording."""
    # Of a clip, the whole file counts: other parts of it are from the same place and time.
    known = {source_of(file_of(audio)): recording_id for recording_id, audio in training.items()}
    for file in map(file_of, recordings.values()):
        same = known.get(source_of(file))
        if same is not None:
            raise DatasetError(f"{file}: has the same audio as the training recording '{same}', {why}")


def _recordings(recordings: Mapping[str, Path | Clip]) -> str:
    return digest(*((recording_id, source_of(audio)) for recording_id, audio in recordings.items()))
