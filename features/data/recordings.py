"""Recordings in a folder and its subfolders, and their ids."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from features.common.errors import UserError
from features.common.files import real_path, validate_name
from features.data.tables import DatasetError

AUDIO_SUFFIXES = (".flac", ".wav", ".ogg", ".mp3")
UNREADABLE_SUFFIXES = (
    *(".3gp", ".aac", ".aif", ".aiff", ".amr", ".au", ".caf", ".m4a", ".mp4", ".opus"),
    *(".w4v", ".w64", ".wac", ".wma", ".zc"),
)
"""Suffixes of audio formats that are not read, although libsndfile can decode a few of them."""
READABLE = f"{', '.join(AUDIO_SUFFIXES[:-1])} and {AUDIO_SUFFIXES[-1]} files can be read"


def find_recordings(folder: Path, *, follow_links: bool = False) -> dict[str, Path]:
    """Return the audio file of each recording id in a folder, sorted by path; empty if there is no folder.

    The folder is searched recursively. The id of a recording is its path below the folder without suffix,
    with "/" as separator. Hidden files and folders, and files whose suffix is not in `AUDIO_SUFFIXES`, are
    ignored. Links to files and folders inside `folder` are ignored too, because these have an id already.

    Parameters
    ----------
    folder : Path
    follow_links : bool
        Whether symbolic links may lead out of the folder.

    Raises
    ------
    DatasetError
        Two files have the same id.
    UserError
        A symbolic link leads out of the folder, and `follow_links` is false.

    Warns
    -----
    UserWarning
        The folder contains audio files in formats that cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> season = Path(tempfile.mkdtemp())
    >>> for name in ("ridge/20240315_053000.WAV", "river/20240315_053000.WAV", "notes.txt"):
    ...     (season / name).parent.mkdir(exist_ok=True)
    ...     (season / name).touch()
    >>> list(find_recordings(season))
    ['ridge/20240315_053000', 'river/20240315_053000']
    """
    found: dict[str, Path] = {}
    unreadable: Counter[str] = Counter()
    for path in files_below(folder, real_path(folder), follow_links=follow_links, parents=()):
        suffix = path.suffix.lower()
        if suffix in UNREADABLE_SUFFIXES:
            unreadable[suffix] += 1
        if suffix not in AUDIO_SUFFIXES:
            continue
        validate_recording_name(path)
        recording_id = path.relative_to(folder).with_suffix("").as_posix()
        if recording_id in found:
            raise DatasetError(
                f"{path}: duplicate recording id '{recording_id}' (also {found[recording_id].name}); keep "
                f"one of the two files"
            )
        found[recording_id] = path
    if unreadable:
        listed = ", ".join(f"{n} {suffix}" for suffix, n in sorted(unreadable.items()))
        warnings.warn(f"{folder}: ignored {listed} files; {READABLE}, convert them", stacklevel=2)
    return found


def files_below(folder: Path, root: Path, *, follow_links: bool, parents: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the files below a folder, sorted by path.

    Parameters
    ----------
    root : Path
        The folder that the search began in, resolved.
    parents : tuple of Path
        The resolved folders from the root to this one. A link to one of them would never end.
    """
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        resolved = real_path(path)
        is_audio_or_folder = path.is_dir() or path.suffix.lower() in AUDIO_SUFFIXES
        if path.is_symlink() and is_audio_or_folder:
            if resolved.is_relative_to(root) or resolved in parents:
                continue
            if not follow_links:
                raise UserError(
                    f"{path}: links to {resolved}, outside the folder; copy it into the folder, or give "
                    f"--follow-links"
                )
        if not path.is_dir():
            yield path
            continue
        yield from files_below(path, root, follow_links=follow_links, parents=(*parents, resolved))


def validate_recording_name(path: Path) -> None:
    """Raise UserError if a recording's name cannot be written to a table: see `validate_name`."""
    validate_name(path, remedy="rename the file or its folder")
    if "\\" in path.name:
        raise UserError(f"{path}: the name has a backslash; rename the file")
