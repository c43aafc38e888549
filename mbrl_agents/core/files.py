"""Files that are either whole or not there, and arrays without pickle."""

from __future__ import annotations

import io
import os
import pathlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Self, TypeVar

import jax
import numpy as np

T = TypeVar("T")

_ONE_AT_A_TIME = threading.Lock()


def write_atomically(path: str | os.PathLike[str], content: bytes | Callable[[BinaryIO], None]) -> None:
    """Writes a file under a temporary name, then renames it: whatever goes wrong, ``path`` is the old file or the new one.

    Args:
        path: The file.
        content: What goes into it; or a function that writes it, so that much of it need not be in memory twice.

    Raises:
        OSError: Writing failed (disk full, no permission, …); nothing is left behind. It names the file.
    """
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~umask())
        os.replace(temporary, target)
    except BaseException as error:
        pathlib.Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a full disk, say
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


def find(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    """The file of that very name if there is one, else that of the name with the suffix, unless the name has one."""
    given = pathlib.Path(path)
    return given if given.is_file() else _with_suffix(given, suffix)


def _with_suffix(path: str | os.PathLike[str], suffix: str) -> pathlib.Path:
    """``path``, with the suffix if it has none, as SB3 does it."""
    path = pathlib.Path(path)
    return path if path.suffix else path.with_name(f"{path.name}.{suffix}")


def write_to(
    place: str | os.PathLike[str] | io.BufferedIOBase, suffix: str, content: bytes | Callable[[BinaryIO], None]
) -> None:
    """Writes a file, whole or not at all, or into a stream.

    Args:
        place: Path, to which the suffix is added if it has none; or stream.
        suffix: The suffix, without its dot.
        content: As for :func:`write_atomically`.

    Raises:
        OSError: Writing failed; the old file, if any, is intact.
    """
    if isinstance(place, (str, os.PathLike)):
        write_atomically(_with_suffix(place, suffix), content)
        return
    if not isinstance(content, bytes):  # streams need not be able to go back, as writers of archives do
        buffer = io.BytesIO()
        content(buffer)
        content = buffer.getvalue()
    place.write(content)


def read_from(
    place: str | os.PathLike[str] | io.BufferedIOBase, suffix: str, what: str
) -> tuple[pathlib.Path | io.BytesIO, str]:
    """Finds what :func:`write_to` wrote.

    Args:
        place: Path, with or without the suffix, or stream.
        suffix: The suffix, without its dot.
        what: What is looked for, for the message.

    Returns:
        What to read, and what to call it in messages.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not isinstance(place, (str, os.PathLike)):
        return io.BytesIO(place.read()), "the given stream"
    file = find(place, suffix)
    if not file.is_file():
        raise FileNotFoundError(f"there is no {what} at {place}")
    return file, str(file)


def is_half_written(file: pathlib.Path, name: str) -> bool:
    """Whether a file was left behind by a process that was killed while it wrote the file called ``name`` beside it."""
    return file.name.startswith(f".{name}.") and file.suffix == ".part"


def umask() -> int:
    """The permissions that new files are to lack. They can only be asked for by setting them, which is the whole process's."""
    with _ONE_AT_A_TIME:
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


def flatten(tree: Any, *, copy: bool = True) -> dict[str, np.ndarray]:
    """A pytree of arrays as a flat dictionary of NumPy arrays, keys being paths such as ``"Dense_0/kernel"``."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): np.array(leaf) if copy else np.asarray(leaf) for path, leaf in leaves}


def unflatten(template: Any, arrays: Mapping[str, np.ndarray], what: str, *, exact: bool = True) -> Any:
    """The pytree of the template's structure with the given arrays.

    Args:
        template: Pytree of arrays; keeps its own leaves where ``arrays`` has none and ``exact`` is False.
        arrays: Flat dictionary as made by :func:`flatten`.
        what: Name of the whole, for messages.
        exact: Whether names must match exactly.

    Raises:
        ValueError: Names, shapes or dtypes do not match.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    names = [_name(path) for path, _ in leaves]
    unknown, missing = sorted(set(arrays) - set(names)), sorted(set(names) - set(arrays))
    if unknown or (exact and missing):
        raise ValueError(f"{what} does not match this agent: unknown arrays {unknown}, missing arrays {missing}")
    out = []
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if name not in arrays:
            out.append(leaf)
            continue
        given = np.asarray(arrays[name])
        if given.shape != leaf.shape or given.dtype != leaf.dtype:
            raise ValueError(
                f"{what}: array {name!r} must have shape {leaf.shape} and dtype {leaf.dtype}, "
                f"got {given.shape} and {given.dtype}"
            )
        out.append(jax.numpy.array(given))
    return jax.tree_util.tree_unflatten(structure, out)


def _name(path: Any) -> str:
    return "/".join(str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in path) or "value"


def write_arrays(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a flat dictionary of arrays as an NPZ file."""
    np.savez(file, **dict(arrays))  # type: ignore[arg-type]


def save_arrays(place: str | os.PathLike[str] | io.BufferedIOBase, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a flat dictionary of arrays to an NPZ file, whole or not at all, or into a stream; see :func:`write_to`.

    Raises:
        OSError: Writing failed; the old file, if any, is intact.
    """
    write_to(place, "npz", lambda file: write_arrays(file, arrays))


def arrays_to_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """A flat dictionary of arrays as an NPZ file."""
    buffer = io.BytesIO()
    write_arrays(buffer, arrays)
    return buffer.getvalue()


def load_numpy(read: Callable[[], T]) -> T:
    """Calls ``read``, which reads NumPy's files, and returns its result; safe in several threads.

    NumPy has Python parse the headers of its files, and CPython 3.11 counts the parser's depth for all threads together:
    it may fail with a `SystemError` when another thread parses too (https://github.com/python/cpython/issues/106905).
    Nothing is wrong with the file, so it is read again.

    Raises:
        SystemError: It failed 20 times.
    """
    for _ in range(19):
        try:
            return read()
        except SystemError:
            continue
    return read()


class ArrayFile:
    """An NPZ file, whose arrays are read one by one as they are asked for; pickled objects are refused.

    Args:
        source: The file.
        what: What it is, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or no NPZ file of plain arrays; also when an array is asked for.
    """

    def __init__(self, source: pathlib.Path | BinaryIO, what: str) -> None:
        self._what = what
        self._archive = self._guarded(lambda: np.load(source, allow_pickle=False))
        self.names: list[str] = self._guarded(lambda: list(self._archive.files))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._guarded(lambda: self._archive[name])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._archive.close()

    def _guarded(self, read: Callable[[], Any]) -> Any:
        try:
            return load_numpy(read)
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever NumPy, zipfile and zlib may raise
            raise ValueError(f"{self._what} is not a readable NPZ file of plain arrays: {error}") from error


def arrays_from_bytes(content: bytes, what: str) -> dict[str, np.ndarray]:
    """Reads a whole NPZ file; see :class:`ArrayFile`.

    Raises:
        ValueError: It is damaged, or no NPZ file of plain arrays.
    """
    with ArrayFile(io.BytesIO(content), what) as file:
        return {name: file[name] for name in file.names}
