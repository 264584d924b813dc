"""The recordings that a command scores or reviews, from paths given on the command line."""

from collections.abc import Sequence
from pathlib import Path

from features.common.errors import UserError
from features.data.metadata import SiteTime, read_site_times, warn_unknown_rows
from features.data.recordings import AUDIO_SUFFIXES, READABLE, find_recordings, validate_recording_name


def recordings_of(
    paths: Sequence[Path], *, follow_links: bool
) -> tuple[dict[str, Path], dict[str, SiteTime]]:
    """Return the audio file of each recording id, and the rows of recordings.csv in the given folders.

    Parameters
    ----------
    paths : audio files, and folders of them.
    follow_links : whether symbolic links may lead out of the folders.

    Raises
    ------
    UserError
        A path does not exist or is not a recording, no recording is found, or two recordings share an id.
    """
    found: dict[str, Path] = {}
    site_times: dict[str, SiteTime] = {}
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; correct the path")
        if path.is_dir():
            inside = find_recordings(path, follow_links=follow_links)
            rows = read_site_times(path / "recordings.csv")
            warn_unknown_rows(rows, inside, path / "recordings.csv")
            site_times |= rows
        elif path.suffix.lower() in AUDIO_SUFFIXES:
            validate_recording_name(path)
            inside = {path.stem: path}
        else:
            raise UserError(f"{path}: not a recording; {READABLE}, convert it")
        for recording_id, file in inside.items():
            if recording_id in found:
                raise UserError(
                    f"{file}: same recording id '{recording_id}' as {found[recording_id]}; give the folder "
                    f"that contains both, or rename one of them"
                )
            found[recording_id] = file.absolute()  # workers of a cluster have other working directories
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: no recordings found; {READABLE}")
    return found, site_times
