"""Reader of a pickle's data that executes none of it.

A small machine walks over the opcodes. A global that the caller's table knows is replaced by a function of ours that
only builds data. Any other class or function becomes a :class:`Foreign`, which keeps its name and swallows what is done
to it. Python's own unpickler is never used: it imports any name in a file, sets attributes on it and calls it.
"""

import os
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from dalib.core.checks import InputError, input_error

Build = Callable[..., Any]


class Global(NamedTuple):
    """Name in a pickle that the caller's table allows, with the function that replaces it."""

    name: str
    call: Build


class Foreign(NamedTuple):
    """Class or function that is not data, or an object made of it: only its name is kept."""

    name: str


class Setter:
    """An object that the pickle builds in two steps: ``state`` turns its later state into the value."""

    def __init__(self, state: Callable[[Any], Any], value: Any = None):
        self.state, self.value, self.done = state, value, False

    def finish(self, state: Any) -> Any:
        """Return the finished object, which later references to this one get as well."""
        self.value, self.done = self.state(state), True
        return self.value


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_SET": set}
_WITHOUT_EFFECT = frozenset({"PROTO", "FRAME"})
MOST_OPERATIONS = 5_000_000
"""Most opcodes of a pickle; they bound what it builds, as one byte can ask for an empty dictionary of 64."""
_BUILTINS = ("builtins", "__builtin__")
_PLAIN = frozenset(
    "set frozenset list dict tuple object bytearray bytes str int float bool complex range slice type".split()
)
# No checkpoint needs a function of these modules; a file that names one wants to run something.
_DANGEROUS = frozenset(
    "os posix nt ntpath posixpath subprocess sys importlib runpy pty socket ctypes shutil commands popen2 webbrowser "
    "pickle _pickle dill cloudpickle marshal types code codeop operator timeit pdb bdb pydoc tempfile asyncio "
    "multiprocessing threading signal platform http urllib requests".split()
)


def read_pickle(
    file: Any, allowed: Mapping[str, Build], *, name: str, persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Read one pickle from a binary file, up to and with its end.

    Args:
        file: an open binary file (or ``io.BytesIO``) at the pickle's first byte.
        allowed: functions by ``module.name`` that replace the globals and get the arguments of the pickle.
        name: of the file, for messages.
        persistent: function from a persistent id to an object (torch's storages); None refuses such ids.

    Raises:
        InputError: for a global that runs programs, an opcode that is not needed for data, or a damaged pickle.
    """
    machine = _Machine(allowed, persistent, name)
    bounded: Any = _Bounded(file)
    try:
        # genops only parses; every opcode is then done by our own machine, and nothing is imported or called.
        for number, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if opcode.name == "STOP":
                return machine.pop()
            if number > MOST_OPERATIONS:
                raise refused(name, f"more than {MOST_OPERATIONS} operations")
            machine.do(opcode.name, argument)
    except InputError:
        raise
    except Exception as error:  # damaged bytes can fail in any of the steps above
        raise input_error(
            "path",
            got=f"{name}, with a damaged pickle ({type(error).__name__}: {str(error)[:200]})",
            expected="a complete file",
            todo="fetch it again",
        ) from None
    raise AssertionError("genops ends with STOP or raises")


def refused(name: str, what: str) -> InputError:
    """Make the error for a pickle that asks for more than data."""
    return input_error(
        "path",
        got=f"{name}, with a pickle that asks for {what[:200]}",
        expected="arrays in dictionaries and nothing that would have to be executed",
        todo="do not trust the file; ask its authors for safetensors, or for a bare state_dict",
    )


class _Bounded:
    """File wrapper that reads no more bytes than there are: a length in a pickle may be any number."""

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
        self.top()
        return self.stack.pop()

    def top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("the stack is empty")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError("a mark is missing")

    def do(self, opcode: str, argument: Any) -> None:
        # Values first, then marks and the memo, then containers; what makes objects has rules of its own below.
        push = self.stack.append
        if opcode in _LITERALS:
            push(argument)
        elif opcode in _CONSTANTS:
            push(_CONSTANTS[opcode])
        elif opcode in _EMPTY:
            push(_EMPTY[opcode]())
        elif opcode == "MARK":
            push(_MARK)
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = self.top()
        elif opcode == "MEMOIZE":
            self.memo[len(self.memo)] = self.top()
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            found = self.memo[int(argument)]
            push(found.value if isinstance(found, Setter) and found.done else found)
        elif opcode in ("TUPLE1", "TUPLE2", "TUPLE3"):
            push(tuple([self.pop() for _ in range(int(opcode[-1]))][::-1]))
        elif opcode == "TUPLE":
            push(tuple(self.pop_mark()))
        elif opcode == "LIST":
            push(self.pop_mark())
        elif opcode == "DICT":
            push(pairs(self.pop_mark()))
        elif opcode == "FROZENSET":
            push(frozenset(map(_atom, self.pop_mark())))
        elif opcode in ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS"):
            self.add(opcode)
        elif opcode == "POP":
            self.pop()
        elif opcode == "POP_MARK":
            self.pop_mark()
        elif opcode in ("PERSID", "BINPERSID"):
            if self.persistent is None:
                raise refused(self.name, "an object outside the pickle")
            push(self.persistent(argument if opcode == "PERSID" else self.pop()))
        elif opcode not in _WITHOUT_EFFECT:
            self.make(opcode, argument)

    def add(self, opcode: str) -> None:
        """Put items into the container below them."""
        count = 2 if opcode == "SETITEM" else 1
        items = self.pop_mark() if opcode.endswith("S") else [self.pop() for _ in range(count)][::-1]
        container, kind = self.top(), {"S": dict, "A": set if opcode == "ADDITEMS" else list}[opcode[0]]
        # Items of an object that is no data are dropped with it.
        if isinstance(container, Foreign):
            return
        if not isinstance(container, kind):
            raise ValueError(f"no {kind.__name__} on the stack")
        if isinstance(container, dict):
            container.update(pairs(items))
        elif isinstance(container, set):
            container.update(map(_atom, items))
        else:
            container.extend(items)

    def make(self, opcode: str, argument: Any) -> None:
        """Push globals, and objects of them."""
        push = self.stack.append
        if opcode in ("GLOBAL", "STACK_GLOBAL"):
            attribute, module = (self.pop(), self.pop()) if opcode == "STACK_GLOBAL" else argument.split(" ", 1)[::-1]
            push(self.find(module, attribute))
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments, function = self.pop(), self.pop()
            push(self.call(function, arguments))
        elif opcode == "NEWOBJ_EX":
            # Named arguments would need a signature that we do not have: the object is kept by its name alone.
            named, arguments, function = self.pop(), self.pop(), self.pop()
            if named:
                function = Foreign(getattr(function, "name", type(function).__name__))
            push(self.call(function, arguments))
        elif opcode in ("OBJ", "INST"):
            items = self.pop_mark()
            function = self.find(*argument.split(" ", 1)) if opcode == "INST" else items.pop(0)
            push(self.call(function, tuple(items)))
        elif opcode == "BUILD":
            state, top = self.pop(), self.top()
            # torch keeps a state_dict's version numbers as an attribute of the dictionary; they are not needed.
            if isinstance(top, Setter):
                self.stack[-1] = top.finish(state)
            elif not isinstance(top, dict | Foreign):
                raise refused(self.name, f"attributes of {type(top).__name__}")
        else:
            raise refused(self.name, f"the operation {opcode}")

    def call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Foreign):
            # Objects of protocol 0 and 1 are made by a function of copyreg that gets the class.
            made_by = function.name.startswith("copy") and isinstance(arguments, tuple) and arguments
            return arguments[0] if made_by and isinstance(arguments[0], Foreign) else function
        if not isinstance(function, Global) or not isinstance(arguments, tuple):
            raise refused(self.name, f"a call of {type(function).__name__}")
        return function.call(*arguments)

    def find(self, module: Any, attribute: Any) -> Global | Foreign:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("a global without a name")
        name = f"{module}.{attribute}"
        if name in self.allowed:
            return Global(name, self.allowed[name])
        if module in _BUILTINS and attribute in _PLAIN:
            return Foreign(attribute)
        if module in _BUILTINS or module.partition(".")[0] in _DANGEROUS:
            raise refused(self.name, f"the global {name!r}")
        return Foreign(name)


def pairs(items: list[Any]) -> dict[Any, Any]:
    """Make a dictionary of keys and values in turn."""
    if len(items) % 2:
        raise ValueError("a key without a value")
    return {_atom(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _atom(key: Any) -> Any:
    """Return a key that is a name or a number: the hash of tuples inside tuples can take forever."""
    if isinstance(key, str | bytes | int | float | None):
        return key
    return Foreign(key.name if isinstance(key, Foreign | Global) else type(key).__name__)
