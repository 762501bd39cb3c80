"""Live payloads in pickles and containers, and clean models beside them: what `trust.ingest` lets through.

Each payload makes a folder when it is executed. It is first shown to be alive: a child process reads it as its victim
would. Then it is judged: it must be refused, and its folder must not be there. picklescan and fickling
(`make peers ROOM=trust`) say what they think of the same files.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.common import show

from clearance.trust.ingest import judge_model

Makes = Callable[[str], bytes]
LIVE, CLEAN = 60, 20


def text(value: str) -> bytes:
    """Returns the opcodes that push a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def called(function: str, *arguments: bytes, protocol: bytes = b"\x80\x02") -> bytes:
    """Returns a pickle that calls `module name` with arguments, each given as opcodes."""
    module, name = function.split()
    return protocol + f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR."


def code(path: str) -> str:
    """Returns Python that makes the folder."""
    return f"__import__('os').mkdir({path!r})"


def _method(module: str, name: str, method: str, made: bytes, arguments: bytes) -> bytes:
    """Returns a pickle that calls a method of an object: by `getattr`."""
    built = f"c{module}\n{name}\n".encode() + b"(" + made + b"tR"
    return b"\x80\x02cbuiltins\ngetattr\n(" + built + text(method) + b"tR(" + arguments + b"tR."


CALLS: dict[str, Makes] = {
    "os.mkdir": lambda p: called("os mkdir", text(p)),
    "posix.mkdir": lambda p: called("posix mkdir", text(p)),
    "os.makedirs": lambda p: called("os makedirs", text(p)),
    "os.system": lambda p: called("os system", text(f"mkdir '{p}'")),
    "posix.system": lambda p: called("posix system", text(f"mkdir '{p}'")),
    "os.popen": lambda p: called("os popen", text(f"mkdir '{p}'")),
    "subprocess.getoutput": lambda p: called("subprocess getoutput", text(f"mkdir '{p}'")),
    "subprocess.check_output": lambda p: called("subprocess check_output", b"(" + text("mkdir") + text(p) + b"l"),
    "subprocess.Popen": lambda p: called("subprocess Popen", b"(" + text("mkdir") + text(p) + b"l"),
    "subprocess.run": lambda p: called("subprocess run", b"(" + text("mkdir") + text(p) + b"l"),
    "builtins.eval": lambda p: called("builtins eval", text(code(p))),
    "builtins.exec": lambda p: called("builtins exec", text(code(p))),
    "__builtin__.eval": lambda p: called("__builtin__ eval", text(code(p)), protocol=b"\x80\x02"),
    "timeit.timeit": lambda p: called(
        "timeit timeit", text(code(p)), text("pass"), b"ctimeit\ndefault_timer\n", b"K\x01"
    ),
    "cProfile.run": lambda p: called("cProfile run", text(code(p))),
    "profile.run": lambda p: called("profile run", text(code(p))),
    "runpy._run_code": lambda p: called("runpy _run_code", text(code(p)), b"}"),
    "code.interpreter": lambda p: _method("code", "InteractiveInterpreter", "runsource", b"", text(code(p))),
    "bdb.Bdb": lambda p: _method("bdb", "Bdb", "run", b"", text(code(p))),
    "trace.Trace": lambda p: _method("trace", "Trace", "run", b"", text(code(p))),
    "pathlib.Path": lambda p: _method("pathlib", "Path", "mkdir", text(p), b""),
    "operator.methodcaller": lambda p: (
        b"\x80\x02coperator\nmethodcaller\n(" + text("mkdir") + b"tR(cpathlib\nPath\n(" + text(p) + b"tRtR."
    ),
    "operator.attrgetter": lambda p: (
        b"\x80\x02coperator\nattrgetter\n(" + text("mkdir") + b"tR(cimportlib\nimport_module\n("
        + text("os") + b"tRtR(" + text(p) + b"tR."
    ),
    "functools.partial": lambda p: b"\x80\x02cfunctools\npartial\n(cos\nmkdir\n" + text(p) + b"tR)R.",
    "importlib": lambda p: (
        b"\x80\x02cbuiltins\ngetattr\n(cimportlib\nimport_module\n(" + text("os") + b"tR" + text("mkdir") + b"tR("
        + text(p) + b"tR."
    ),
    "map and list": lambda p: b"\x80\x02cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nmkdir\n(" + text(p) + b"ltRtR.",
    "tempfile.mkdtemp": lambda p: called("tempfile mkdtemp", text("x"), text("y"), text(os.path.dirname(p))),
    "logging.FileHandler": lambda p: called("logging FileHandler", text(p)),
    "io.open": lambda p: called("io open", text(p), text("w")),
    "builtins.open": lambda p: called("builtins open", text(p), text("w")),
    "zipfile.ZipFile": lambda p: called("zipfile ZipFile", text(p), text("w")),
    "sqlite3.connect": lambda p: called("sqlite3 connect", text(p)),
    "shutil.copytree": lambda p: called("shutil copytree", text(os.path.dirname(__file__)), text(p)),
    "os.symlink": lambda p: called("os symlink", text("/etc"), text(p)),
    "ctypes": lambda p: (
        b"\x80\x02cbuiltins\ngetattr\n(cctypes\nCDLL\n(NtR" + text("mkdir") + b"tR(cbuiltins\nbytes\n("
        + text(p) + text("utf-8") + b"tRM\xed\x01tR."
    ),
}  # fmt: skip


def _inst(p: str) -> bytes:
    return b"(" + b"V" + p.encode() + b"\nios\nmkdir\n."


FORMS: dict[str, Makes] = {
    "protocol 0": lambda p: b"cos\nmkdir\n(V" + p.encode() + b"\ntR.",
    "protocol 0, INST": _inst,
    "protocol 1, OBJ": lambda p: b"(cos\nmkdir\n" + text(p) + b"o.",
    "protocol 0, after a long line": lambda p: b"V" + b"a" * 9000 + b"\n0cos\nmkdir\n(V" + p.encode() + b"\ntR.",
    "protocol 0, after a comment": lambda p: b"V read me first\n0cos\nmkdir\n(V" + p.encode() + b"\ntR.",
    "protocol 0, after numbers": lambda p: b"I1\n0F2.5\n0L3L\n0cos\nmkdir\n(V" + p.encode() + b"\ntR.",
    "protocol 4, STACK_GLOBAL": lambda p: b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93(" + text(p) + b"tR.",
    "protocol 4, names from the memo": lambda p: (
        b"\x80\x04\x8c\x02os\x940\x8c\x05mkdir\x940h\x00h\x01\x93(" + text(p) + b"tR."
    ),
    "protocol 4, NEWOBJ": lambda p: (
        b"\x80\x02clogging\nFileHandler\n(" + text(p) + b"t\x810cos\nmkdir\n(" + text(p) + b"tR."
    ),
    "protocol 5, in a frame": lambda p: (
        (body := b"\x8c\x02os\x8c\x05mkdir\x93(" + text(p) + b"tR.")
        and b"\x80\x05\x95" + struct.pack("<Q", len(body)) + body
    ),
    "without an end": lambda p: called("os mkdir", text(p))[:-1],
    "broken behind the call": lambda p: called("os mkdir", text(p))[:-1] + b"\xff\xff\xff",
    "behind a PROTO of its own": lambda p: b"\x80\x02\x80\x03" + called("os mkdir", text(p), protocol=b""),
    "junk after its end": lambda p: called("os mkdir", text(p)) + b"\0" * 64,
    "in a list": lambda p: b"\x80\x02]cos\nmkdir\n(" + text(p) + b"tRa.",
    "in a dict": lambda p: b"\x80\x02}" + text("weights") + b"cos\nmkdir\n(" + text(p) + b"tRs.",
    "thrown away": lambda p: b"\x80\x02cos\nmkdir\n(" + text(p) + b"tR0N.",
    "by BUILD": lambda p: (
        b"\x80\x02cpathlib\nPath\n(" + text(p) + b"tR0cbuiltins\ngetattr\n(cpathlib\nPath\n(" + text(p) + b"tR"
        + text("mkdir") + b"tR)R."
    ),
    "a list reduced": lambda p: pickle.dumps(_Reduced(p)),
}  # fmt: skip


class _Reduced:
    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self._path,)


def evil(path: str) -> bytes:
    """Returns the payload that containers are filled with."""
    return called("os mkdir", text(path))


def zip_of(**members: bytes) -> bytes:
    """Returns a zip; a double underscore in a name stands for a slash, a single one for a dot."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), data)
    return target.getvalue()


def tar_of(name: str, data: bytes) -> bytes:
    """Returns a tar of one file."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return target.getvalue()


def safetensors_of(tensors: dict[str, bytes], metadata: dict[str, str] | None = None) -> bytes:
    """Returns a safetensors file of bytes."""
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    body = json.dumps(header).encode()
    body += b" " * (-len(body) % 8)
    return struct.pack("<Q", len(body)) + body + b"".join(tensors.values())


def _pickle_in_safetensors(path: str) -> bytes:
    """A safetensors file whose length begins as a pickle: a text that reaches into the header, where the rest is."""
    payload = b"0" + called("os mkdir", text(path), protocol=b"")
    skipped = 40
    length = ord("X") + 256 * skipped
    header = b'{"__metadata__": {"a": "' + b"a" * length
    at = 5 + skipped - 8  # in the header, where the text ends
    header = header[:at] + payload + header[at + len(payload) : length - 3] + b'"}}'
    return struct.pack("<Q", length) + header


def _objects(path: str) -> bytes:
    import numpy as np

    array = np.array([_Reduced(path)], dtype=object)
    target = io.BytesIO()
    np.save(target, array, allow_pickle=True)
    return target.getvalue()


def _prefixed_zip(path: str) -> bytes:
    return b"GIF89a" + zip_of(data_pkl=evil(path))


def _flagged(data: bytes) -> bytes:
    """Returns a zip of which the directory says that its first member is encrypted; lenient readers do not care."""
    at = data.index(b"PK\x01\x02")
    return data[: at + 8] + struct.pack("<H", struct.unpack("<H", data[at + 8 : at + 10])[0] | 1) + data[at + 10 :]


CONTAINERS: dict[str, tuple[str, str, Makes]] = {
    "gzip": ("model.bin.gz", "gzip", lambda p: gzip.compress(evil(p))),
    "bzip2": ("model.bin", "bz2", lambda p: bz2.compress(evil(p))),
    "xz": ("model.xz", "lzma", lambda p: lzma.compress(evil(p))),
    "stacked behind a harmless one": ("model.pkl", "stacked", lambda p: pickle.dumps({"weights": [1.0]}) + evil(p)),
    "zip": ("model.pt", "zip", lambda p: zip_of(archive__data_pkl=evil(p))),
    "zip, renamed": ("model.pt", "zip", lambda p: zip_of(archive__weights_txt=evil(p))),
    "zip in a zip": ("model.zip", "zipzip", lambda p: zip_of(a_zip=zip_of(data_pkl=evil(p)))),
    "zip behind a picture": ("cat.gif", "zip", _prefixed_zip),
    "zip behind safetensors": (
        "model.safetensors", "zip", lambda p: safetensors_of({"a": b"\1" * 64, "b": zip_of(data_pkl=evil(p))})
    ),
    "gzip in a zip": ("model.zip", "zipgzip", lambda p: zip_of(a_gz=gzip.compress(evil(p)))),
    "tar": ("model.tar", "tar", lambda p: tar_of("pickle", evil(p))),
    "tar.gz": ("model.tar.gz", "tar", lambda p: gzip.compress(tar_of("weights", evil(p)))),
    "called README.md": ("README.md", "pickle", lambda p: b"V# A model\n0cos\nmkdir\n(V" + p.encode() + b"\ntR."),
    "called config.json": ("config.json", "pickle", evil),
    "called model.safetensors": ("model.safetensors", "pickle", evil),
    "safetensors and pickle at once": ("model.safetensors", "pickle", _pickle_in_safetensors),
    "an array of objects": ("weights.npy", "numpy", _objects),
    "an array of objects in a npz": ("weights.npz", "numpy", lambda p: zip_of(a_npy=_objects(p))),
    "a module": ("modeling.py", "python", lambda p: code(p).encode() + b"\n"),
    "a module called vocab.txt": ("vocab.txt", "python", lambda p: f"import os\nos.mkdir({p!r})\n".encode()),
}  # fmt: skip

VICTIM = """
import bz2, gzip, io, json, lzma, pickle, sys, tarfile, zipfile
def read(kind, path):
    data = open(path, "rb").read()
    if kind == "stacked":
        file = io.BytesIO(data)
        while True:
            pickle.load(file)
    if kind in ("gzip", "bz2", "lzma"):
        return pickle.loads({"gzip": gzip, "bz2": bz2, "lzma": lzma}[kind].decompress(data))
    if kind.startswith("zip"):
        archive = zipfile.ZipFile(path)
        data = archive.read(archive.namelist()[0])
        if kind == "zipzip":
            inner = zipfile.ZipFile(io.BytesIO(data)); data = inner.read(inner.namelist()[0])
        if kind == "zipgzip":
            data = gzip.decompress(data)
    if kind == "tar":
        archive = tarfile.open(path); data = archive.extractfile(archive.getmembers()[0]).read()
    if kind == "numpy":
        import numpy as np
        found = np.load(path, allow_pickle=True)
        return [found[key] for key in found.files] if hasattr(found, "files") else found
    if kind == "python":
        return exec(data)
    return pickle.load(io.BytesIO(data))
for kind, path in json.load(sys.stdin):
    try: read(kind, path)
    except BaseException: pass
"""


def payloads(folder: Path) -> Iterator[tuple[str, str, Path, Path]]:
    """Writes each payload; yields its name, how a victim reads it, its file and the folder that it would make."""
    everything = [
        *((f"call {name}", "model.bin", "pickle", make) for name, make in CALLS.items()),
        *((f"form {name}", "model.pkl", "pickle", make) for name, make in FORMS.items()),
        *((f"container {name}", file, kind, make) for name, (file, kind, make) in CONTAINERS.items()),
    ]
    for number, (name, file, kind, make) in enumerate(everything):
        place = folder / f"p{number}"
        place.mkdir()
        (folder / f"m{number}").mkdir()
        path, marker = place / file, folder / f"m{number}" / "made"
        path.write_bytes(make(str(marker)))
        yield name, kind, path, marker


def clean(folder: Path) -> Iterator[Path]:
    """Writes models that are as they should be."""
    import numpy as np

    rng = np.random.default_rng(7)
    for number in range(12):
        shapes = [(3, 4), (128,), (64, 64), (0, 5), ()][: 1 + number % 5]
        tensors = {
            f"layer.{at}.weight": rng.standard_normal(shape).astype(np.float32) for at, shape in enumerate(shapes)
        }
        place = folder / f"c{number}"
        place.mkdir()
        data = {name: tensor.tobytes() for name, tensor in tensors.items()}
        (place / "model.safetensors").write_bytes(safetensors_of(data, {"format": "pt"} if number % 2 else None))
        config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 64, "vocab": ["import", "os"]}
        (place / "config.json").write_text(json.dumps(config))
        (place / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n\nimport it with `transformers`.\n")
        (place / "vocab.txt").write_text("[PAD]\ncat\ndog\n.\nRe\n(t\n")
        (place / "merges.txt").write_text("#version: 0.2\nt h\nth e\n")
        yield place
    for number in range(4):
        path = folder / f"weights{number}.npy"
        np.save(path, rng.standard_normal((4, number)))
        yield path
    for number in range(4):
        path = folder / f"weights{number}.npz"
        pack = np.savez if number % 2 else np.savez_compressed
        pack(path, a=rng.standard_normal((64, 8)), b=np.arange(number))
        yield path
    path = folder / "words.txt"
    path.write_text("cat\ndog\n(bird\ntR\n.\n")
    yield path
    path = folder / "model.tar.gz"
    path.write_bytes(gzip.compress(tar_of("model.safetensors", safetensors_of({"a": b"\1" * 4096}))))
    yield path


PEERS = Path(__file__).parents[1] / ".peers/scanners/bin/python"
OPINIONS = """
import json, logging, sys
logging.disable()
import fickling
from picklescan.scanner import scan_file_path
found = {"picklescan": 0, "fickling": 0}
for path in json.load(sys.stdin):
    try: found["picklescan"] += scan_file_path(path).infected_files > 0
    except Exception: pass
    try: found["fickling"] += not fickling.is_likely_safe(path)
    except Exception: pass
print(json.dumps(found))
"""


def peers(paths: list[Path]) -> None:
    """Prints how many of the same payloads picklescan and fickling find; a file at which one gives up is not found."""
    if not PEERS.exists():
        show("trust.payloads.peers", "not measured: no scanners: make peers ROOM=trust")
        return
    given = json.dumps([str(path) for path in paths])
    told = subprocess.run([PEERS, "-c", OPINIONS], input=given, text=True, capture_output=True, timeout=300, check=True)
    for name, found in json.loads(told.stdout.splitlines()[-1]).items():
        show(f"trust.payloads.{name}_found", f"{found} of {len(paths)}")


def alive(told: list[tuple[str, str, Path, Path]]) -> list[tuple[str, str, Path, Path]]:
    """Returns the payloads that work: a child reads each as its victim would, and what it made is taken away again."""
    line = [sys.executable, "-c", VICTIM]
    given = json.dumps([(kind, str(path)) for _, kind, path, _ in told])
    subprocess.run(line, input=given, text=True, capture_output=True, timeout=120)
    found = [each for each in told if any(each[3].parent.iterdir())]
    for _, _, _, marker in found:
        subprocess.run(["rm", "-rf", str(marker.parent)], check=True)
        marker.parent.mkdir()
    return found


def main() -> None:
    """Prints the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = list(payloads(folder))
        living = alive(told)
        for each in told:
            if each not in living:
                print(f"# not alive: {each[0]}", file=sys.stderr)
        through = [each[0] for each in living if judge_model(each[2]).allowed]
        executed = [each[0] for each in living if any(each[3].parent.iterdir())]
        models = list(clean(folder))
        refused = [str(path) for path in models if not judge_model(path).allowed]
        show("trust.payloads.live", len(living), f">= {LIVE}", len(living) >= LIVE)
        show("trust.payloads.let_through", len(through), "= 0", not through)
        show("trust.payloads.executed", len(executed), "= 0", not executed)
        show("trust.payloads.clean", len(models), f">= {CLEAN}", len(models) >= CLEAN)
        show("trust.payloads.clean_refused", len(refused), "= 0", not refused)
        for name in (*through, *executed, *refused):
            print(f"# {name}")
        peers([path for _, _, path, _ in living])


if __name__ == "__main__":
    main()
