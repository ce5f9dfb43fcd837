"""The file format of the store: one program per file, a small header and arrays that can be mapped into memory.

| bytes | content |
|---|---|
| 16 | b"xla-autotune set" |
| 4 | version of the format, uint32, little-endian as all numbers |
| 4 | n, length of the header, uint32 |
| 4 | CRC-32 of the header, uint32 |
| n | the header: JSON, an object with `source`, `facts`, `arrays` (name to type, shape and offset) and `size` |
| ... | the arrays, each at a multiple of 64 bytes |

A file is written beside its place, flushed to the disk and renamed, so there is no half of one. Should a disk lose the
end of a file all the same, its size tells.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from cost_model.files import replace_file

VERSION: Final = 1
"""Raised when the format changes, or the way in which files are made: older files are then made again."""

_MAGIC: Final = b"xla-autotune set"
_PREFIX: Final = struct.Struct("<16sIII")
_ALIGNMENT: Final = 64
_OFFSET_DIGITS: Final = 20
_DIRECTORY_BYTES: Final = 4096


class StoreFileError(Exception):
    """A file is not a whole file of this format and version."""


@dataclass(frozen=True)
class Source:
    """What an .npz file was like when it was read, so that a later change is noticed without reading it again.

    Attributes:
        size: bytes.
        mtime_ns: when it was last changed.
        directory: digest of its end. There stands the directory of the archive, with a CRC-32 of every array.
    """

    size: int
    mtime_ns: int
    directory: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """What the file is like now.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(max(0, status.st_size - _DIRECTORY_BYTES))
            end = file.read()
        return cls(status.st_size, status.st_mtime_ns, hashlib.blake2b(end, digest_size=16).hexdigest())


@dataclass(frozen=True)
class Place:
    """Where an array is in its file.

    Attributes:
        dtype: name of its type.
        shape: of the array.
        offset: of its first byte.
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def view(self, content: NDArray[np.uint8]) -> NDArray[Any]:
        """The array, within the bytes of the file."""
        return content[self.offset : self.offset + self.size].view(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Header:
    """What the beginning of a file says.

    Attributes:
        source: the file that this one was made from.
        facts: what its maker noted: numbers and names.
        arrays: by name.
        size: bytes of the whole file.
    """

    source: Source
    facts: Mapping[str, Any]
    arrays: Mapping[str, Place]
    size: int


def write_store_file(path: Path, source: Source, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes a file in one step.

    Args:
        path: the file, which is made or replaced. Its folder must exist.
        source: the file that it was made from, as it was before it was read.
        facts: anything that JSON can hold.
        arrays: by name.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    places: dict[str, Place] = {}
    end = 0
    for name, array in arrays.items():
        offset = _aligned(end)
        places[name] = Place(array.dtype.newbyteorder("<").str, array.shape, offset)
        end = offset + array.nbytes
    # The header holds offsets that depend on its own length: blanks fill it up to one that is long enough for sure.
    room = _aligned(_PREFIX.size + len(_header(source, facts, places, end)) + _OFFSET_DIGITS * (len(places) + 1))
    places = {name: Place(place.dtype, place.shape, place.offset + room) for name, place in places.items()}
    header = _header(source, facts, places, end + room).ljust(room - _PREFIX.size)
    content = bytearray(end + room)
    content[:room] = _PREFIX.pack(_MAGIC, VERSION, len(header), zlib.crc32(header)) + header
    for name, place in places.items():
        content[place.offset : place.offset + place.size] = arrays[name].astype(place.dtype, copy=False).tobytes()
    replace_file(path, bytes(content))


def read_header(path: Path) -> Header:
    """Reads the beginning of a file and checks that all of the file is there.

    Raises:
        OSError: it cannot be read.
        StoreFileError: it is not a whole file of this format and version.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        prefix = file.read(_PREFIX.size)
        if len(prefix) < _PREFIX.size:
            raise StoreFileError("too short")
        magic, version, length, checksum = _PREFIX.unpack(prefix)
        if (magic, version) != (_MAGIC, VERSION):
            raise StoreFileError("another format or version")
        text = file.read(min(length, size))
    if len(text) != length or zlib.crc32(text) != checksum:
        raise StoreFileError("the header is damaged")
    document = json.loads(text)
    if document["size"] != size:
        raise StoreFileError(f"{size} bytes of {document['size']}")
    arrays = {name: Place(dtype, tuple(shape), offset) for name, (dtype, shape, offset) in document["arrays"].items()}
    return Header(Source(**document["source"]), document["facts"], arrays, size)


def map_file(path: Path, size: int) -> NDArray[np.uint8]:
    """The bytes of a file, read only, read from the disk when they are looked at; uint8[size].

    Python's own `mmap` keeps a descriptor for every file, and a process may have 1,024; a split of tile:xla has 5,709
    files. The mapping of torch keeps none.

    Raises:
        OSError: the file cannot be mapped.
    """
    import torch  # takes a second, which the processes that make files need not spend

    try:
        content: NDArray[np.uint8] = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
    except RuntimeError as error:
        raise OSError(str(error).splitlines()[0]) from None
    content.flags.writeable = False
    return content


def _header(source: Source, facts: Mapping[str, Any], places: Mapping[str, Place], size: int) -> bytes:
    document = {
        "source": asdict(source),
        "facts": dict(facts),
        "arrays": {name: (place.dtype, place.shape, place.offset) for name, place in places.items()},
        "size": size,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
