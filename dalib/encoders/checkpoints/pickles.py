"""Reads the data out of a pickle without executing any of it.

A small machine walks over the opcodes. A pickle may name globals; each must be a key of the caller's table, whose value
is a function of ours that only builds data. Any other global, and any opcode that is not needed for arrays in
dictionaries, ends the reading with an error that names it. Python's own unpickler is never used: it imports what a file
asks for, sets attributes on it and calls it.
"""

import os
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dalib.core.checks import InputError, input_error

Build = Callable[..., Any]


class Global(NamedTuple):
    """A name in a pickle that the caller's table allows, with the function that stands in for it."""

    name: str
    call: Build


class Setter(NamedTuple):
    """An object that the pickle builds in two steps: ``state`` turns what is set on it into the finished object."""

    state: Callable[[Any], Any]
    value: Any = None


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})


def read_pickle(
    file: Any, allowed: Mapping[str, Build], *, name: str, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Reads one pickle from a binary file, up to and with its end.

    Args:
        file: an open binary file (or ``io.BytesIO``) at the pickle's first byte.
        allowed: functions by ``module.name``; they stand in for the globals and get the arguments of the pickle.
        name: of the file, for messages.
        persistent: turns a persistent id into an object (torch's storages); None refuses such ids.

    Raises:
        InputError: for a global that is not allowed, an opcode that is not needed for data, or a damaged pickle.
    """
    machine = _Machine(allowed, persistent, name)
    bounded: Any = _Bounded(file)
    try:
        for opcode, argument, _ in pickletools.genops(bounded):
            if opcode.name == "STOP":
                return machine.pop()
            machine.do(opcode.name, argument)
    except InputError:
        raise
    except Exception as error:  # damaged bytes can fail in any of the steps above
        raise input_error(
            "path",
            got=f"{name}, whose pickle is damaged ({type(error).__name__}: {error})",
            expected="a complete file",
            todo="fetch it again",
        ) from None
    raise AssertionError("genops ends with STOP or raises")


def refused(name: str, what: str) -> InputError:
    """The error for a pickle that asks for more than data."""
    return input_error(
        "path",
        got=f"{name}, whose pickle asks for {what}",
        expected="arrays in dictionaries and nothing that would have to be executed",
        todo="do not trust the file; ask its authors for safetensors, or for a bare state_dict",
    )


class _Bounded:
    """A file that is never asked for more bytes than it has: a length in a pickle may be any number."""

    def __init__(self, file: Any):
        self.file, self.readline, self.tell = file, file.readline, file.tell
        position = file.tell()
        self.end = file.seek(0, os.SEEK_END)
        file.seek(position)

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, self.end - self.file.tell()))


class _Machine:
    """Stack and memo of one pickle."""

    def __init__(self, allowed: Mapping[str, Build], persistent: Callable[[Any], Any] | None, name: str):
        self.allowed, self.persistent, self.name = allowed, persistent, name
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("the stack is empty")
        return self.stack.pop()

    def pop_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError("a mark is missing")

    def do(self, opcode: str, argument: Any) -> None:
        push = self.stack.append
        if opcode in _LITERALS:
            push(argument)
        elif opcode in _CONSTANTS:
            push(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            push(_EMPTY[opcode]())
        elif opcode == "MARK":
            push(_MARK)
        elif opcode in _PUTS:
            self.memo[int(argument)] = self.top()
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif opcode in _GETS:
            push(self.memo[int(argument)])
        elif opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
            items = [self.pop() for _ in range(int(opcode[-1]))]
            push(tuple(reversed(items)))
        elif opcode == "TUPLE":
            push(tuple(self.pop_mark()))
        elif opcode == "LIST":
            push(self.pop_mark())
        elif opcode == "DICT":
            push(_pairs(self.pop_mark()))
        elif opcode in ("SETITEM", "SETITEMS"):
            items = self.pop_mark() if opcode == "SETITEMS" else [self.pop(), self.pop()][::-1]
            self.top(dict).update(_pairs(items))
        elif opcode in ("APPEND", "APPENDS"):
            items = self.pop_mark() if opcode == "APPENDS" else [self.pop()]
            self.top(list).extend(items)
        elif opcode == "ADDITEMS":
            items = self.pop_mark()
            self.top(set).update(_atom(item) for item in items)
        elif opcode == "POP":
            self.pop()
        elif opcode == "POP_MARK":
            self.pop_mark()
        elif opcode == "GLOBAL":
            push(self.find(argument.replace(" ", ".", 1)))
        elif opcode == "STACK_GLOBAL":
            attribute, module = self.pop(), self.pop()
            push(self.find(f"{module}.{attribute}"))
        elif opcode == "REDUCE":
            arguments, function = self.pop(), self.pop()
            if not isinstance(function, Global) or not isinstance(arguments, tuple):
                raise refused(self.name, f"a call of {type(function).__name__}")
            push(function.call(*arguments))
        elif opcode == "BUILD":
            state, top = self.pop(), self.top()
            # torch keeps a state_dict's version numbers as an attribute of the dictionary; they are not needed.
            if isinstance(top, Setter):
                self.stack[-1] = self._replace(top, top.state(state))
            elif not isinstance(top, dict):
                raise refused(self.name, f"attributes of {type(top).__name__}")
        elif opcode in ("PERSID", "BINPERSID"):
            if self.persistent is None:
                raise refused(self.name, "an object outside the pickle")
            push(self.persistent(argument if opcode == "PERSID" else self.pop()))
        elif opcode not in ("PROTO", "FRAME"):
            raise refused(self.name, f"the operation {opcode}")

    def top(self, kind: type = object) -> Any:
        if not self.stack or self.stack[-1] is _MARK or not isinstance(self.stack[-1], kind):
            raise ValueError(f"no {kind.__name__} on the stack")
        return self.stack[-1]

    def find(self, name: str) -> Global:
        if name not in self.allowed:
            raise refused(self.name, f"the global {name!r}")
        return Global(name, self.allowed[name])

    def _replace(self, old: Any, new: Any) -> Any:
        """Later references to a half-built object get the finished one."""
        self.memo = {k: new if v is old else v for k, v in self.memo.items()}
        return new


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if len(items) % 2:
        raise ValueError("a key without a value")
    return {_atom(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _atom(key: Any) -> Any:
    """A key as it is, if it is a name or a number: the hash of tuples inside tuples can take forever."""
    if not isinstance(key, str | bytes | int | float | None):
        raise ValueError(f"a key of type {type(key).__name__}")
    return key
