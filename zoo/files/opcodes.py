"""The instructions of a pickle, decoded (https://docs.python.org/3/library/pickletools.html lists them)."""

import codecs
import struct
from typing import Any

from fewstep.zoo.files.mapped import SMALL, Source, quoted

ARGUMENTS = {
    b"\x80": "<B", b"\x95": "<Q", b"K": "<B", b"M": "<H", b"J": "<i", b"G": ">d",
    b"h": "<B", b"j": "<I", b"q": "<B", b"r": "<I", b"\x82": "<B", b"\x83": "<H", b"\x84": "<i",
}  # fmt: skip
"""Numbers of a fixed size."""

TEXTS = {b"\x8c": "<B", b"X": "<I", b"\x8d": "<Q"}
BYTES = {b"C": "<B", b"B": "<I", b"\x8e": "<Q", b"\x96": "<Q"}
OLD_TEXTS = {b"U": "<B", b"T": "<i"}  # of Python 2: a text or bytes
LONGS = {b"\x8a": "<B", b"\x8b": "<i"}
LINES = {b"I": 1, b"L": 1, b"F": 1, b"S": 1, b"V": 1, b"P": 1, b"g": 1, b"p": 1, b"c": 2, b"i": 2}
WITH_ARGUMENT = {*ARGUMENTS, *TEXTS, *BYTES, *OLD_TEXTS, *LONGS, *LINES}

LONGEST_TEXT = 64 << 20  # bytes; old pickles hold arrays as texts
LONGEST_INTEGER = 64  # bytes
LONGEST_LINE = 1 << 16


def decode(source: Source, at: int) -> tuple[bytes, Any, int]:
    """The instruction at a place: its code, its argument (None if it has none), and where the next one starts.

    Bytes longer than SMALL are a view of the file.  Raises Damaged if the argument is not complete, or too large.
    """
    code = source.data[at : at + 1].tobytes()
    at += 1
    if not code:
        raise source.damaged("is cut off: fetch it again")
    if code not in WITH_ARGUMENT:
        return code, None, at
    if code in ARGUMENTS:
        value, at = _number(source, at, ARGUMENTS[code])
    elif code in TEXTS:
        data, at = _sized(source, at, TEXTS[code], LONGEST_TEXT)
        value = _text(source, data, "utf-8", "surrogatepass")
    elif code in BYTES:
        data, at = _sized(source, at, BYTES[code], len(source.data))
        value = bytes(data) if len(data) <= SMALL else data
    elif code in OLD_TEXTS:
        data, at = _sized(source, at, OLD_TEXTS[code], LONGEST_TEXT)
        value = _old_text(source, data)
    elif code in LONGS:
        data, at = _sized(source, at, LONGS[code], LONGEST_INTEGER)
        value = int.from_bytes(data, "little", signed=True)
    else:
        lines = []
        for _ in range(LINES[code]):
            line, at = _line(source, at)
            lines.append(line)
        value = _of_lines(source, code, lines)
    return code, value, at


def _number(source, at, form):
    size = struct.calcsize(form)
    return struct.unpack(form, source.part(at, size))[0], at + size


def _sized(source, at, form, most):
    size, at = _number(source, at, form)
    if not 0 <= size <= most and size <= len(source.data) - at:
        raise source.damaged(f"is not opened: it holds a text or number of {size} bytes")
    return source.part(at, size), at + size


def _text(source, data, *how):
    try:
        return source.text(data, *how)
    except UnicodeDecodeError:
        raise source.damaged("is damaged (a text that is none): fetch it again") from None


def _old_text(source, data):
    """A text; bytes, as of an array, are copied only if they are few."""
    if bytes(data).isascii():
        return source.text(data)
    return bytes(data) if len(data) <= SMALL else data


def _line(source, at):
    for most in (256, LONGEST_LINE):
        ahead = bytes(source.data[at : at + most])
        end = ahead.find(b"\n")
        if end >= 0:
            return ahead[:end], at + end + 1
    raise source.damaged("is cut off or damaged (a line without end): fetch it again")


def _of_lines(source, code, lines):
    """The values of the instructions of protocol 0, which are lines of text."""
    try:
        match code:
            case b"I" if lines[0] in (b"00", b"01"):
                return lines[0] == b"01"
            case b"I" | b"L" | b"g" | b"p":
                return int(_short(lines[0].removesuffix(b"L")))
            case b"F":
                return float(lines[0])
            case b"S":
                source.copy(len(lines[0]))
                return _old_text(source, _unquoted(lines[0]))
            case b"V":
                return source.text(lines[0], "raw-unicode-escape")
            case b"c" | b"i":
                return tuple(line.decode() for line in lines)
            case _:
                return lines[0].decode("ascii")
    except ValueError:  # also UnicodeDecodeError
        shown = quoted(lines[0].decode("latin1"))
        raise source.damaged(f"is damaged (a pickle with {shown}): fetch it again") from None


def _short(digits):
    if len(digits) > 3 * LONGEST_INTEGER:
        raise ValueError("too many digits")
    return digits


def _unquoted(line):
    if len(line) < 2 or line[0] != line[-1] or line[:1] not in (b"'", b'"'):
        raise ValueError("no quotes")
    return codecs.escape_decode(line[1:-1])[0]
