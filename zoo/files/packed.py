"""MessagePack, decoded without a copy (https://github.com/msgpack/msgpack/blob/master/spec.md)."""

import struct
from collections.abc import Callable
from typing import Any

from fewstep.zoo.files.keys import keys
from fewstep.zoo.files.mapped import Source

DEEPEST = 100
NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
LISTS = {0xDC: ">H", 0xDD: ">I"}
MAPS = {0xDE: ">H", 0xDF: ">I"}
FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
EXTENSIONS = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}


class Decoder:
    """The values in a source, one after the other.

    extension(code, data) makes what stands for an extension.  Texts are str (views of their bytes if they are none in
    UTF-8), bytes are views of the source.
    """

    def __init__(self, source: Source, extension: Callable[[int, memoryview], Any]):
        self.at = 0
        self._source, self._extension = source, extension

    def value(self, depth: int = 0) -> Any:
        """The next value; Damaged if the source ends within it, or if it is nested too deep."""
        self._source.step()
        if depth > DEEPEST:
            raise self._source.damaged(f"is not opened: its values are nested more than {DEEPEST} deep")
        kind = self._number(">B")
        if kind < 0x80:
            return kind
        if kind >= 0xE0:
            return kind - 0x100
        if kind in CONSTANTS:
            return CONSTANTS[kind]
        if kind in NUMBERS:
            return self._number(NUMBERS[kind])
        if kind < 0x90 or kind in MAPS:
            return self._map(self._number(MAPS[kind]) if kind in MAPS else kind & 0x0F, depth)
        if kind < 0xA0 or kind in LISTS:
            count = self._number(LISTS[kind]) if kind in LISTS else kind & 0x0F
            return [self.value(depth + 1) for _ in range(count)]
        if kind < 0xC0 or kind in TEXTS:
            return self._text(self._take(self._number(TEXTS[kind]) if kind in TEXTS else kind & 0x1F))
        if kind in BYTES:
            return self._take(self._number(BYTES[kind]))
        if kind in EXTENSIONS or kind in FIXED_EXTENSIONS:
            size = self._number(EXTENSIONS[kind]) if kind in EXTENSIONS else FIXED_EXTENSIONS[kind]
            code = self._number(">b")
            return self._extension(code, self._take(size))
        raise self._source.damaged("is damaged (no MessagePack): fetch it again")

    def _map(self, count, depth):
        made = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, str | int) or next(keys(self._source, (key,), len(made))) in made:
                raise self._source.damaged("is damaged (a name twice, or no name): fetch it again")
            made[key] = self.value(depth + 1)
        return made

    def _text(self, data):
        if len(data) > 1 << 16:  # in old files, arrays
            return data
        try:
            return self._source.text(data)
        except UnicodeDecodeError:
            return data

    def _number(self, form):
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, size):
        data = self._source.part(self.at, size)
        self.at += size
        return data
