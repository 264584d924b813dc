"""Which recording a label file, or a row of it, is about."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from features.annotations.boxes import AnnotationError
from features.data.recordings import AUDIO_SUFFIXES, UNREADABLE_SUFFIXES

LABEL_SUFFIX = re.compile(
    r"(\.BirdNET\.(results|selection\.table)(\.\w+)?|(\.Table\.\d+)?(\.selections)?)\.(txt|csv|tsv)$",
    re.IGNORECASE,
)


def match_recordings(labels: pd.DataFrame, recordings: Mapping[str, Path], folder: Path) -> pd.DataFrame:
    """Return the recording of each box.

    A path in the table identifies the recording if there is one. A file name without folder is looked up in
    the folder that corresponds to the label file's. Without either, the name of the label file decides.

    Parameters
    ----------
    labels : pd.DataFrame
        Boxes with the columns recording, file (path of the label file, text) and line.
    recordings : mapping of str to Path
        Audio file of each recording id.
    folder : Path
        Folder of the label files.

    Returns
    -------
    pd.DataFrame
        The columns recording_id, folder (name of the recording's folder), and other_folder: the folder that
        the label states, if the recording was found by its file name in a folder of another name; else "".

    Raises
    ------
    AnnotationError
        No recording or more than one recording fits, or labels that state different folders fit the same one.
    """
    finder = RecordingFinder(recordings)
    found: dict[tuple[str, str], tuple[str, str, str]] = {}
    stated: dict[str, tuple[str, str]] = {}
    for file, text, line in labels[["file", "recording", "line"]].to_numpy():
        if (file, text) in found:
            continue
        place = f"{file} line {line}"
        own = name_of_labels(Path(file).relative_to(folder))
        *folders, name = path_parts(text)
        reference = text or own
        if text and not folders and text not in recordings:
            reference = (PurePosixPath(own).parent / name).as_posix()
        candidates = finder.candidates(reference)
        if len(candidates) != 1:
            raise AnnotationError(_problem(place, text or own, candidates))
        recording_id = candidates[0]
        if folders:
            other_place, before = stated.setdefault(recording_id, (place, folders[-1]))
            if before != folders[-1]:
                raise AnnotationError(
                    f"{place}: '{text}' is in the folder '{folders[-1]}', but {other_place} states the "
                    f"folder '{before}', and both can only be '{recording_id}'; add the missing recording, "
                    f"or correct the folder"
                )
        actual = finder.folder(recording_id)
        other = next((part for part in path_parts(reference)[-2:-1] if part != actual), "")
        found[file, text] = recording_id, actual, other
    pairs = [found[pair] for pair in zip(labels["file"], labels["recording"], strict=True)]
    return pd.DataFrame(pairs, columns=["recording_id", "folder", "other_folder"], index=labels.index)


def _problem(place: str, name: str, candidates: list[str]) -> str:
    """Return the message for a name that does not fit exactly one recording."""
    if candidates:
        listed = ", ".join(candidates[:5]) + (", ..." if len(candidates) > 5 else "")
        return (
            f"{place}: '{name}' can be any of {len(candidates)} recordings ({listed}); state the folder in "
            f"the table, or put the label file into a folder of that name"
        )
    return (
        f"{place}: recording '{name}' has no audio file; add the file to the recordings, or remove the boxes"
    )


class RecordingFinder:
    """Finds recordings by paths from other computers, other folders, and with other suffixes.

    Parameters
    ----------
    recordings : mapping of str to Path
        Audio file of each recording id.

    Examples
    --------
    >>> files = {"site1/a": Path("/season/site1/a.wav"), "site2/a": Path("/season/site2/a.wav")}
    >>> finder = RecordingFinder(files)
    >>> finder.candidates(r"D:\\season\\site2\\a.WAV")
    ['site2/a']
    >>> finder.candidates("a.WAV")
    ['site1/a', 'site2/a']
    """

    def __init__(self, recordings: Mapping[str, Path]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for recording_id in recordings:
            self._by_name.setdefault(recording_id.rpartition("/")[2], []).append(recording_id)
        self._folders = {key: path.absolute().parent.parts for key, path in recordings.items()}

    def candidates(self, reference: str) -> list[str]:
        """Return the ids of the recordings that fit a path best: same name, and most folders in common.

        A path that is a recording id fits that recording only.
        """
        if reference in self._folders:
            return [reference]
        *folders, name = path_parts(reference)
        same_name = self._by_name.get(name) or self._by_name.get(without_audio_suffix(name), [])
        common = {key: n_common(folders, self._folders[key]) for key in same_name}
        return [key for key, n in common.items() if n == max(common.values())]

    def folder(self, recording_id: str) -> str:
        """Return the name of the folder that contains a recording."""
        return self._folders[recording_id][-1]


def path_parts(path: str) -> list[str]:
    """Return folders and name of a path that has either kind of slash.

    Examples
    --------
    >>> path_parts(r"D:\\season/site1\\a.wav")
    ['D:', 'season', 'site1', 'a.wav']
    """
    return [part for part in re.split(r"[\\/]+", path.strip()) if part not in ("", ".")] or [""]


def without_audio_suffix(name: str) -> str:
    """Return a file name without the suffix of an audio file."""
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in AUDIO_SUFFIXES + UNREADABLE_SUFFIXES else name


def name_of_labels(path: Path) -> str:
    """Return the path of a label file without the suffixes of label files and audio files.

    Examples
    --------
    >>> name_of_labels(Path("site1/a.WAV.Table.1.selections.txt"))
    'site1/a'
    """
    return (path.parent / without_audio_suffix(LABEL_SUFFIX.sub("", path.name))).as_posix()


def n_common(folders: list[str], others: tuple[str, ...]) -> int:
    """Return the number of folders that are equal, counted from the end."""
    pairs = list(zip(reversed(folders), reversed(others), strict=False))
    return next((k for k, (one, other) in enumerate(pairs) if one != other), len(pairs))
