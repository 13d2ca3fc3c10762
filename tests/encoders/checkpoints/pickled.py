"""Pickles written opcode by opcode: what torch writes, without torch, and what no library would write."""

import io
import pickletools
import struct
import zipfile

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage", "bool": "BoolStorage"}


def name(module, attribute):
    """A global."""
    return f"c{module}\n{attribute}\n".encode()


def value(x):
    """A string, number, None, bytes of opcodes (as they are), tuple, list or dict."""
    if isinstance(x, bytes):
        return x
    if x is None or isinstance(x, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[x]
    if isinstance(x, int):
        return b"J" + struct.pack("<i", x)
    if isinstance(x, str):
        return b"X" + struct.pack("<I", len(x.encode())) + x.encode()
    if isinstance(x, tuple):
        return b"(" + b"".join(map(value, x)) + b"t"
    if isinstance(x, list):
        return b"](" + b"".join(map(value, x)) + b"e"
    return b"}(" + b"".join(value(k) + value(v) for k, v in x.items()) + b"u"


def call(function, *arguments):
    return function + value(arguments) + b"R"


def whole(x):
    return b"\x80\x02" + value(x) + b"."


ORDERED = call(name("collections", "OrderedDict"))


def tensor(key, x, *, size=None, stride=None, offset=0, legacy=False):
    """The opcodes of a tensor over the storage ``key`` with the elements of ``x``."""
    storage = ("storage", name("torch", STORAGES[str(x.dtype)]), key, "cpu", x.size, *((None,) if legacy else ()))
    steps = tuple(s // x.itemsize for s in x.strides)
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        value(storage) + b"Q",
        offset,
        x.shape if size is None else size,
        steps if stride is None else stride,
        False,
        ORDERED,
    )


def at_protocol(data, protocol):
    """A pickle without a memo, written by opcodes of protocol 2, in a later protocol."""
    if protocol < 4:
        return b"\x80" + bytes([protocol]) + data[2:]
    ops = list(pickletools.genops(data))[1:]
    ends = [position for _, _, position in ops[1:]] + [len(data)]
    out = b""
    for (opcode, argument, start), end in zip(ops, ends, strict=True):
        if opcode.name == "GLOBAL":
            names = [b"\x8c" + bytes([len(part)]) + part.encode() + b"\x94" for part in argument.split(" ")]
            out += b"".join(names) + b"\x93\x94"
        else:
            out += data[start:end]
    return b"\x80" + bytes([protocol]) + b"\x95" + struct.pack("<Q", len(out)) + out


def torch_zip(
    path, arrays, *, extra=None, members=None, pickle=None, protocol=2, wrap=lambda content: content, **changes
):
    """What ``torch.save`` writes today for a dict of arrays; ``changes`` go to every tensor."""
    content = {k: tensor(str(i), x, **changes) for i, (k, x) in enumerate(arrays.items())}
    with zipfile.ZipFile(path, "w") as archive:
        data = pickle or at_protocol(whole(wrap({**content, **(extra or {})})), protocol)
        archive.writestr("archive/data.pkl", data)
        for i, x in enumerate(arrays.values()):
            archive.writestr(f"archive/data/{i}", x.tobytes())
        for member, data in (members or {}).items():
            archive.writestr(member, data)
    return path


def torch_legacy(path, arrays, *, extra=None, protocol=2, wrap=lambda content: content):
    """What ``torch.save`` wrote before version 1.6."""
    content = {k: tensor(str(i), x, legacy=True) for i, (k, x) in enumerate(arrays.items())}
    system = {"protocol_version": 1001, "little_endian": True}
    keys = [str(i) for i in range(len(arrays))]
    file = io.BytesIO()
    for part in (b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", 1001, system, wrap({**content, **(extra or {})}), keys):
        file.write(at_protocol(whole(part), protocol))
    for x in arrays.values():
        file.write(struct.pack("<q", x.size) + x.tobytes())
    path.write_bytes(file.getvalue())
    return path


def example():
    """A few arrays of several dtypes and ranks."""
    rng = np.random.default_rng(0)
    return {
        "conv.weight": rng.normal(size=(4, 3, 2, 2)).astype(np.float32),
        "bn.running_mean": rng.normal(size=4).astype(np.float16),
        "bn.num_batches_tracked": np.array(7),
        "mask": np.array([True, False]),
    }
