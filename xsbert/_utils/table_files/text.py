"""Conversion of bytes to lines of text. Errors for other data name the format or encoding."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from os import PathLike

__all__ = ["TextLines", "lines_of"]

CHUNK = 1 << 16

# Byte order marks, longer ones first, with the codec and the name of the encoding.
MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
# First bytes of binary formats. No text begins with them.
FORMATS = (
    (b"PAR1\x15", "a Parquet file"),
    (b"PAR1\x1c", "a Parquet file"),
    (b"PARE", "an encrypted Parquet file"),
    (b"PK\x03\x04", "a zip archive, as .xlsx and .ods files are"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an .xls or another Office file"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"BZh91AY&SY", "compressed by bzip2"),
    (b"\xfd7zXZ\x00", "compressed by xz"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"ARROW1\x00\x00", "an Arrow file"),
    (b"\xff\xff\xff\xff", "an Arrow stream"),
    (b"Obj\x01", "an Avro file"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"%PDF-", "a PDF file"),
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
)
LONGEST_HEAD = max(len(start) for start, _ in FORMATS)
READABLE = "CSV, TSV and JSON lines are read, in UTF-8, or in UTF-16 with a byte order mark"


class TextLines:
    """Splits bytes into lines of text. Only line feeds end lines.

    The encoding is UTF-8, or that of a byte order mark. The mark is not part of the text.

    Args:
        name: name of the file, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._head = b""
        self._decoder: codecs.IncrementalDecoder | None = None
        self._codec, self._encoding = "utf-8", "UTF-8"
        self._part: list[str] = []
        self._n_lines = 0

    def feed(self, data: bytes) -> list[str]:
        """Adds further bytes. Returns the complete lines, each with its line feed.

        Raises:
            ValueError: the bytes are not text, or have an unknown encoding.
        """
        if self._decoder is None:
            self._head += data
            if len(self._head) < LONGEST_HEAD and b"\n" not in self._head:
                return []
            data = self._begin()
        return self._lines(data, final=False)

    def finish(self) -> list[str]:
        """Returns the last line if it has no line feed.

        Raises:
            ValueError: as for `feed`.
        """
        lines = self._lines(self._begin() if self._decoder is None else b"", final=True)
        last = "".join(self._part)
        return [*lines, last] if last else lines

    def _begin(self) -> bytes:
        """Detects the encoding and returns the bytes after the byte order mark."""
        head = self._head
        for start, name in FORMATS:
            if head.startswith(start):
                raise ValueError(f"{self._name} is {name}, and no text: {READABLE}")
        for mark, codec, name in MARKS:
            if head.startswith(mark):
                self._codec, self._encoding, head = codec, name, head[len(mark) :]
                break
        self._decoder = codecs.getincrementaldecoder(self._codec)("strict")
        return head

    def _lines(self, data: bytes, final: bool) -> list[str]:
        assert self._decoder is not None
        try:
            text = self._decoder.decode(data, final)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(self._codec)
            self._check_no_nul(before)
            wrong = error.object[error.start : error.end]
            raise ValueError(
                f"{self._name} is not {self._encoding}: line {self._line(before)} holds the bytes "
                f"{wrong.hex(' ')}. {READABLE}; convert files in Latin-1, Windows-1252 and other encodings"
            ) from None
        self._check_no_nul(text)
        first, *others = text.split("\n")
        self._part.append(first)
        if not others:
            return []
        lines = ["".join(self._part) + "\n", *(line + "\n" for line in others[:-1])]
        self._part = [others[-1]]
        self._n_lines += len(lines)
        return lines

    def _check_no_nul(self, text: str) -> None:
        place = text.find("\0")
        if place >= 0:
            raise ValueError(
                f"{self._name} is not text: line {self._line(text[:place])} holds a NUL character, as binary files do, "
                f"and UTF-16 without a byte order mark. {READABLE}"
            )

    def _line(self, before: str) -> int:
        return self._n_lines + before.count("\n") + 1


def lines_of(source: str | PathLike[str] | Iterable[bytes], name: str) -> Iterator[str]:
    """Yields the lines of a file, or of chunks of its bytes, as `TextLines`.

    Raises:
        ValueError: the file is not text.
        OSError: the file cannot be read.
    """
    decoder = TextLines(name)
    for chunk in _chunks_of(source) if isinstance(source, (str, PathLike)) else source:
        yield from decoder.feed(chunk)
    yield from decoder.finish()


def _chunks_of(path: str | PathLike[str]) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
