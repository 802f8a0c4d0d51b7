"""Pickles, carried out by a machine of our own that can make plain values and arrays and nothing else.

A pickle is a program for a stack machine.  Python's machine imports whatever the program names and calls it; this one
has no import and no call: a name is looked up in a table (`names.py`), and what it stands for is made by a function of
ours.  All that is not in the table is refused by its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewstep.zoo.files.keys import keys
from fewstep.zoo.files.mapped import Source, quoted
from fewstep.zoo.files.opcodes import decode
from fewstep.zoo.files.records import Namespace, Persistent

REMEDY = "nothing in a file is run; in the program that wrote it, save state_dict() with safetensors or torch.save"


@dataclass(frozen=True, eq=False)  # not a tuple: it must not pass for one of the file
class Known:
    """A name that pickles may ask for, and what is made when it is called; without `make` it is only passed around."""

    name: str
    make: Callable[[Source, tuple], Any] | None = None


class Built:
    """What gets its content after it was made: `build` is given its state."""

    def build(self, source: Source, state: Any) -> None:
        """Take over the state; Damaged if it is not one."""
        raise NotImplementedError


class Unpickler:
    """The machine for one pickle.

    find: what a name stands for, None if it is not known; persistent: the object outside the pickle with this id.
    Its result is made of Python's containers and constants, arrays, and the records of `find` and `persistent`, which
    `plain.py` turns into plain values.
    """

    def __init__(
        self, source: Source, find: Callable[[str], Known | None], persistent: Callable[[Any], Any] | None = None
    ):
        self._source, self._find, self._persistent = source, find, persistent
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self, at: int = 0) -> tuple[Any, int]:
        """The object that starts at a place of the file, and where it ends; Damaged for all that is not opened."""
        source = self._source
        while True:
            source.step()
            code, argument, at = decode(source, at)
            if code == b".":
                return self._pop(), at
            handler = HANDLERS.get(code)
            if handler is None:
                raise self._wrong(f"the instruction {code[0]:#04x}")
            handler(self, argument)

    def _wrong(self, what):
        return self._source.damaged(f"is damaged, or no pickle that is opened ({what})")

    # The stack; nothing is taken from below the last mark.

    def _push(self, value):
        self._stack.append(value)

    def _top(self):
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise self._wrong("nothing on the stack")
        return self._stack[-1]

    def _pop(self):
        value = self._top()
        del self._stack[-1]
        return value

    def _items(self):
        """All since the last mark."""
        if not self._marks:
            raise self._wrong("no mark")
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _tuple(self, count):
        items = [self._pop() for _ in range(count)]
        self._push(tuple(reversed(items)))

    # Containers.

    def _append(self, items):
        target = self._top()
        if not isinstance(target, list):
            raise self._wrong("items of what is no list")
        target.extend(items)

    def _add(self, items):
        target = self._top()
        if not isinstance(target, set):
            raise self._wrong("items of what is no set")
        target.update(keys(self._source, items, len(target)))

    def _set(self, items):
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self._wrong("items of what is no dict")
        target.update(zip(keys(self._source, items[::2], len(target)), items[1::2], strict=True))

    def _new_dict(self):
        items = self._items()
        self._push({})
        self._set(items)

    def _new_frozenset(self):
        self._push(frozenset(keys(self._source, self._items())))

    # The memo.

    def _keep(self, index):
        self._memo[len(self._memo) if index is None else index] = self._top()

    def _recall(self, index):
        if index not in self._memo:
            raise self._wrong(f"nothing was kept as {quoted(index)}")
        self._push(self._memo[index])

    # Names and what is made of them.

    def _name(self, module, name):
        if not isinstance(module, str) or not isinstance(name, str):
            raise self._wrong("a name that is no text")
        asked = f"{module}.{name}"
        known = self._find(asked)
        if known is None:
            raise self._source.damaged(f"asks for {quoted(asked)}, which is not opened: {REMEDY}")
        return known

    def _make(self, known, args):
        if not isinstance(known, Known) or not isinstance(args, tuple):
            raise self._wrong("a call of what is no function")
        if known.make is None:
            raise self._source.damaged(f"calls {known.name}, which is not opened: {REMEDY}")
        self._push(known.make(self._source, args))

    def _reduce(self):
        args = self._pop()
        self._make(self._pop(), args)

    def _reduce_named(self):
        named = self._pop()
        if not isinstance(named, dict) or named:
            raise self._wrong("a call with named arguments")
        self._reduce()

    def _instance(self, known=None):
        args = self._items()
        if known is None:
            known, args = args[0] if args else None, args[1:]
        self._make(known, tuple(args))

    def _build(self):
        state, target = self._pop(), self._top()
        if isinstance(target, Built):
            target.build(self._source, state)
        elif isinstance(target, Namespace | Persistent):
            values = target.values if isinstance(target, Namespace) else target.state
            if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
                raise self._wrong("a state that is no dict")
            values.update(state)
        elif not isinstance(target, dict | np.ndarray | None):  # their attributes, such as _metadata of a state dict
            raise self._wrong(f"a state of a {type(target).__name__}")

    def _outside(self, name):
        if self._persistent is None:
            raise self._wrong("it refers to what is not in it")
        self._push(self._persistent(name))


def _constant(value: Any) -> Callable[[Unpickler, Any], None]:
    return lambda machine, _: machine._push(value)


def _tuple_of(count: int) -> Callable[[Unpickler, Any], None]:
    return lambda machine, _: machine._tuple(count)


def _nothing(machine: Unpickler, argument: Any) -> None:
    """PROTO and FRAME: the instructions are the same in all protocols, with frames or without."""


def _pop_or_mark(machine: Unpickler, _: Any) -> None:
    if machine._marks and machine._marks[-1] == len(machine._stack):
        machine._marks.pop()
    else:
        machine._pop()


def _stack_global(machine: Unpickler, _: Any) -> None:
    name = machine._pop()
    machine._push(machine._name(machine._pop(), name))


HANDLERS: Mapping[bytes, Callable[[Unpickler, Any], Any]] = {
    b"\x80": _nothing, b"\x95": _nothing,
    b"N": _constant(None), b"\x88": _constant(True), b"\x89": _constant(False), b")": _constant(()),
    **dict.fromkeys((b"I", b"J", b"K", b"M", b"L", b"\x8a", b"\x8b", b"F", b"G"), Unpickler._push),
    **dict.fromkeys((b"S", b"T", b"U", b"V", b"X", b"\x8c", b"\x8d"), Unpickler._push),
    **dict.fromkeys((b"C", b"B", b"\x8e", b"\x96"), Unpickler._push),
    b"]": lambda m, _: m._push([]), b"}": lambda m, _: m._push({}), b"\x8f": lambda m, _: m._push(set()),
    b"t": lambda m, _: m._push(tuple(m._items())), b"l": lambda m, _: m._push(m._items()),
    b"\x85": _tuple_of(1), b"\x86": _tuple_of(2), b"\x87": _tuple_of(3),
    b"d": lambda m, _: m._new_dict(), b"\x91": lambda m, _: m._new_frozenset(),
    b"a": lambda m, _: m._append([m._pop()]), b"e": lambda m, _: m._append(m._items()),
    b"s": lambda m, _: m._set([m._pop(), m._pop()][::-1]), b"u": lambda m, _: m._set(m._items()),
    b"\x90": lambda m, _: m._add(m._items()),
    b"(": lambda m, _: m._marks.append(len(m._stack)), b"0": _pop_or_mark, b"1": lambda m, _: m._items(),
    b"2": lambda m, _: m._push(m._top()),
    **dict.fromkeys((b"p", b"q", b"r", b"\x94"), Unpickler._keep),
    **dict.fromkeys((b"g", b"h", b"j"), Unpickler._recall),
    b"c": lambda m, names: m._push(m._name(*names)), b"\x93": _stack_global,
    b"i": lambda m, names: m._instance(m._name(*names)), b"o": lambda m, _: m._instance(),
    b"R": lambda m, _: m._reduce(), b"\x81": lambda m, _: m._reduce(), b"\x92": lambda m, _: m._reduce_named(),
    b"b": lambda m, _: m._build(), b"P": lambda m, name: m._outside(name), b"Q": lambda m, _: m._outside(m._pop()),
}  # fmt: skip
"""What each instruction does.  EXT and the buffers outside a pickle (protocol 5) are none that is opened."""
