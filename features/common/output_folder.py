"""`OutputFolder`: replace the files that a command wrote to a folder earlier, and no other files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from features.common.errors import UserError
from features.common.files import read_json, sha256, validate_inside_folder, write_errors, write_json

LIST = ".written.json"


class OutputFolder:
    """A folder of the user to which a command writes files.

    The hidden file `LIST` has the digest of each file that was written. A file that somebody has changed
    since then is never replaced.

    Parameters
    ----------
    folder : Path
        Created when it is first written to.

    Raises
    ------
    UserError
        Somebody has changed a file that was written earlier, or the list of files is not valid.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a.txt", "b.txt"):
    ...     with OutputFolder(folder).replacing(complete=True) as staged:
    ...         (staged / name).touch()
    >>> [file.name for file in sorted(folder.iterdir())]
    ['.written.json', 'b.txt']
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for file, digests in self._written().items():
            path = folder / file
            if path.exists() and sha256(path) not in digests:
                raise UserError(
                    f"{path}: changed since it was written, for example by a review; move it to another "
                    f"folder, and run the command again"
                )

    @contextmanager
    def replacing(self, *, complete: bool) -> Iterator[Path]:
        """Yield an empty folder; its files are moved to the output folder if the block ends without an error.

        Parameters
        ----------
        complete : bool
            Whether these are all files of a call. Those of earlier calls are then removed.

        Raises
        ------
        UserError
            The folder cannot be written.
        """
        staged = self.folder / ".staged"
        shutil.rmtree(staged, ignore_errors=True)
        with write_errors(self.folder):
            staged.mkdir(parents=True)
        try:
            yield staged
            with write_errors(self.folder):
                self._move(staged, complete)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
            with suppress(OSError):  # it contains files
                self.folder.rmdir()

    def _move(self, staged: Path, complete: bool) -> None:
        new = {
            file.relative_to(staged).as_posix(): [sha256(file)]
            for file in sorted(staged.rglob("*"))
            if file.is_file()
        }
        before = self._written()
        # Remembered before it is moved: after a kill, it must not look as if somebody had changed it.
        possible = {file: before.get(file, []) + new.get(file, []) for file in before | new}
        write_json(self.folder / LIST, possible)
        for file in new:
            validate_inside_folder((self.folder / file).parent, self.folder)
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(staged / file, self.folder / file)
        if complete:
            for file in before.keys() - new.keys():
                (self.folder / file).unlink(missing_ok=True)
                _remove_empty(self.folder, file)
            before = {}
        write_json(self.folder / LIST, before | new)

    def _written(self) -> dict[str, list[str]]:
        """Return the possible digests of each file."""
        file = self.folder / LIST
        if not file.exists():
            return {}
        try:
            stored = dict(read_json(file))
            if not all(isinstance(digests, list) and _is_inside(name) for name, digests in stored.items()):
                raise ValueError("it is not a list of files and digests")
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{file}: is not valid ({error}); move your files to another folder, and delete it"
            ) from error
        return stored


def _is_inside(file: str) -> bool:
    return not PurePath(file).is_absolute() and ".." not in PurePath(file).parts


def _remove_empty(folder: Path, file: str) -> None:
    """Remove the folders of a removed file below `folder` as far as they are empty."""
    for parent in list(PurePath(file).parents)[:-1]:
        try:
            (folder / parent).rmdir()
        except FileNotFoundError:
            continue
        except OSError:  # it contains files
            break
