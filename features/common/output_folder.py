"""`OutputFolder`: replace the files that a command wrote to a folder earlier, and no other files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath

from features.common.errors import UserError
from features.common.files import (
    MAX_NAME,
    read_json,
    sha256,
    validate_inside_folder,
    write_errors,
    write_json,
)

LIST = ".written.json"
DIGITS = 16  # of the SHA-256 of a file in the list


class OutputFolder:
    """A folder of the user to which a command writes files.

    The hidden file `LIST` names the command and has the digest of each file that it wrote. A file that
    somebody has changed since then, or that the command did not write, is never replaced.

    Parameters
    ----------
    folder : Path
        Created when it is first written to.
    command : str
        Name of the command. The files of another command are not replaced.

    Raises
    ------
    UserError
        Another command wrote to the folder, somebody has changed a file that was written earlier, or the list
        of files is not valid.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("a.txt", "b.txt"):
    ...     with OutputFolder(folder, "example").replacing(complete=True) as staged:
    ...         (staged / name).touch()
    >>> [file.name for file in sorted(folder.iterdir())]
    ['.written.json', 'b.txt']
    """

    def __init__(self, folder: Path, command: str) -> None:
        self.folder = folder
        self.command = command
        self._validate_unchanged()

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
            The folder cannot be written, or a file in it is not one that this command wrote, or has been
            changed since.
        """
        existed, root = self.folder.exists(), self.folder / ".staged"
        staged = root / "files"
        shutil.rmtree(root, ignore_errors=True)
        with write_errors(self.folder):
            staged.mkdir(parents=True)
        try:
            yield staged
            self._validate_unchanged()
            self._move(staged, complete)
        except UserError as error:
            raise type(error)(str(error).replace(str(staged), str(self.folder))) from error
        finally:
            shutil.rmtree(root, ignore_errors=True)
            if not existed:
                with suppress(OSError):  # it contains files
                    self.folder.rmdir()

    def _validate_unchanged(self) -> None:
        for file, digests in self._written().items():
            path = self.folder / file
            if path.is_file() and _digest(path) not in digests:
                raise UserError(
                    f"{path}: changed since it was written, for example by a review; move it to another "
                    f"folder, and run the command again"
                )

    def _move(self, staged: Path, complete: bool) -> None:
        new = {
            file.relative_to(staged).as_posix(): [_digest(file)]
            for file in sorted(staged.rglob("*"))
            if file.is_file()
        }
        before = self._written()
        for file, digests in new.items():
            self._validate_target(self.folder / file, digests + before.get(file, []))
        # Remembered before it is moved: after a kill, it must not look as if somebody had changed it.
        self._remember({file: before.get(file, []) + new.get(file, []) for file in before | new})
        with write_errors(self.folder):
            # Removed first: on some file systems, names that only differ in case are the same file.
            for file in before.keys() - new.keys() if complete else ():
                validate_inside_folder((self.folder / file).parent, self.folder)
                (self.folder / file).unlink(missing_ok=True)
                _remove_empty(self.folder, file)
            for file in new:
                (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / file, self.folder / file)
        self._remember(new if complete else before | new)

    def _validate_target(self, path: Path, digests: list[str]) -> None:
        validate_inside_folder(path.parent, self.folder)
        if path.is_dir() or (path.exists() and _digest(path) not in digests):
            raise UserError(
                f"{path}: exists, but this command did not write it; move it elsewhere, or give another "
                f"folder with --out"
            )

    def _remember(self, files: dict[str, list[str]]) -> None:
        write_json(self.folder / LIST, {"command": self.command, "files": files})

    def _written(self) -> dict[str, list[str]]:
        """Return the possible digests of each file."""
        file = self.folder / LIST
        if not file.exists():
            return {}
        try:
            stored = read_json(file)
            command, files = str(stored["command"]), dict(stored["files"])
            if not all(isinstance(digests, list) and _is_valid(name) for name, digests in files.items()):
                raise ValueError("it is not a list of files and digests")
        except (LookupError, TypeError, ValueError) as error:
            raise UserError(
                f"{file}: is not valid ({error}); move your files to another folder, and delete it"
            ) from error
        if command != self.command:
            raise UserError(f"{self.folder}: contains files of '{command}'; give another folder with --out")
        return files


def _digest(file: Path) -> str:
    return sha256(file)[:DIGITS]


def _is_valid(file: str) -> bool:
    """Return whether a name in the list can be that of a file in the folder."""
    parts = PurePath(file).parts
    try:
        is_short = all(len(os.fsencode(part)) <= MAX_NAME for part in parts)
    except UnicodeEncodeError:
        return False
    return (
        bool(parts) and is_short and not PurePath(file).is_absolute() and not {"..", "\0"} & {*parts, *file}
    )


def _remove_empty(folder: Path, file: str) -> None:
    """Remove the folders of a removed file below `folder` as far as they are empty."""
    for parent in list(PurePath(file).parents)[:-1]:
        try:
            (folder / parent).rmdir()
        except FileNotFoundError:
            continue
        except OSError:  # it contains files
            break
