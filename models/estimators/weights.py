"""Files with the weights of networks, which are read without executing code."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from features.common.files import digest, replacing, validate_regular_file, validate_stored


class Encoder(NamedTuple):
    """Pre-trained weights of a network without its last layer.

    Attributes
    ----------
    params : parameters of the network, and its class as "kind".
    state : `WindowNet.encoder_state` of the network.
    """

    params: Mapping[str, Any]
    state: Mapping[str, Tensor]

    def digest(self) -> str:
        """Return a digest of the weights."""
        return digest(*(part for name, x in self.state.items() for part in (name, x.numpy())))


def write_weights(file: Path, content: Mapping[str, Any], *, unique: bool = True) -> None:
    """Write tensors and plain values to a file; `unique` is that of `replacing`."""
    stored = io.BytesIO()  # if torch wrote the file itself, a full disk would not raise OSError
    torch.save(dict(content), stored)
    with replacing(file, unique=unique) as temporary:
        temporary.write_bytes(stored.getvalue())


def read_weights(file: Path) -> dict[str, Any]:
    """Return what `write_weights` wrote.

    Raises
    ------
    Exception
        The file is missing or not valid. The type of the error depends on what is not valid.
    """
    validate_regular_file(file)
    with zipfile.ZipFile(file) as parts:
        validate_stored(parts)
    content: dict[str, Any] = torch.load(file, weights_only=True, map_location="cpu")
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
    if n_bytes > file.stat().st_size:  # the elements of a stored tensor can share their memory
        raise ValueError(f"its weights would need {n_bytes} bytes")
    return content


def short_reason(error: Exception) -> str:
    """Return the first line of an error's message, or its type if it has no message."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
