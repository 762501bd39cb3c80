"""The rules for pipeline code: which calls are dangerous, why, and what to write instead.

A pattern is the dotted name of what is called, as imports give it; a part `()` stands for the result of a call
(`tarfile.open().extractall`), and `*` at the end for any name. Sources: bandit's plugins and CWE for what is known to
be dangerous, the documentation of pickle, tarfile, PyYAML, PyTorch, Keras and transformers for what is safe.
"""

from __future__ import annotations

import ast
from collections.abc import Callable

import msgspec

from clearance.trust.scan.finding import Severity

Test = Callable[[ast.Call], bool]


class Rule(msgspec.Struct, frozen=True):
    """One rule.

    Attributes:
        id: its name in findings.
        severity: of a finding.
        why: what can happen.
        mend: what to write instead.
        patterns: which calls.
        when: whether such a call breaks it; by default it does.
    """

    id: str
    severity: Severity
    why: str
    mend: str
    patterns: tuple[str, ...]
    when: Test | None = None


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """Returns the value of a keyword argument."""
    return next((each.value for each in call.keywords if each.arg == name), None)


def _spread(call: ast.Call) -> bool:
    return any(each.arg is None for each in call.keywords)


def _is(name: str, value: object) -> Test:
    """The keyword is this constant, or is not a constant, or may hide in `**`."""

    def test(call: ast.Call) -> bool:
        found = keyword(call, name)
        if found is None:
            return False
        return not isinstance(found, ast.Constant) or found.value == value

    return test


def _without(name: str, *values: object) -> Test:
    """The keyword is not one of these constants."""

    def test(call: ast.Call) -> bool:
        found = keyword(call, name)
        return not (isinstance(found, ast.Constant) and found.value in values)

    return test


def _truthy(name: str) -> Test:
    """The keyword is there and is not a constant that is false."""

    def test(call: ast.Call) -> bool:
        found = keyword(call, name)
        return found is not None and not (isinstance(found, ast.Constant) and not found.value)

    return test


def _unsafe_yaml(call: ast.Call) -> bool:
    loader = call.args[1] if len(call.args) > 1 else keyword(call, "Loader")
    name = loader.attr if isinstance(loader, ast.Attribute) else loader.id if isinstance(loader, ast.Name) else ""
    return name not in ("SafeLoader", "CSafeLoader", "BaseLoader", "CBaseLoader")


def _first_is_text(call: ast.Call) -> bool:
    return not (call.args and isinstance(call.args[0], ast.Constant))


def _unpinned(call: ast.Call) -> bool:
    """A name of the hub without the commit: what is loaded can change. A folder begins with `.`, `/` or `~`."""
    first = call.args[0] if call.args else next(
        (found for name in ("pretrained_model_name_or_path", "repo_id", "path") if (found := keyword(call, name))), None
    )  # fmt: skip
    if not (isinstance(first, ast.Constant) and isinstance(first.value, str)) or first.value[:1] in ("", ".", "/", "~"):
        return False
    revision = keyword(call, "revision")
    if isinstance(revision, ast.Constant) and isinstance(revision.value, str):
        return len(revision.value) != 40 or not all(each in "0123456789abcdef" for each in revision.value)
    return revision is None and not _spread(call)


def _put_together(call: ast.Call) -> bool:
    """The first argument is a text into which something is put: f"…{x}", "…" % x, "…" + x, "….format(x)"."""
    first = call.args[0] if call.args else None
    if isinstance(first, ast.JoinedStr):
        return any(isinstance(each, ast.FormattedValue) for each in first.values)
    if isinstance(first, ast.BinOp) and isinstance(first.op, ast.Mod | ast.Add):
        sides = (first.left, first.right)
        texts = [isinstance(each, ast.Constant) and isinstance(each.value, str) for each in sides]
        return any(texts) and not all(texts)
    return isinstance(first, ast.Call) and isinstance(first.func, ast.Attribute) and first.func.attr == "format"


def _unfiltered(call: ast.Call) -> bool:
    return _without("filter", "data", "tar")(call)


_PICKLE = "reading it runs whatever code its writer chose"
_PLAIN = "keep data as safetensors, Arrow, npy or JSON"
_H, _M, _L, _C = Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.CRITICAL

RULES: tuple[Rule, ...] = (
    Rule("pickle-load", _H, f"a pickle: {_PICKLE}", _PLAIN,
         ("pickle.load", "pickle.loads", "pickle.Unpickler", "_pickle.load", "_pickle.loads", "_pickle.Unpickler",
          "cPickle.load", "cPickle.loads", "cloudpickle.load", "cloudpickle.loads", "dill.load", "dill.loads",
          "dill.load_session", "dill.load_module", "joblib.load", "shelve.open", "shelve.Shelf",
          "shelve.DbfilenameShelf", "pandas.read_pickle", "jsonpickle.decode", "jsonpickle.loads", "pickle5.load",
          "pickle5.loads", "compress_pickle.load")),
    Rule("marshal-load", _H, f"marshalled code: {_PICKLE}", _PLAIN, ("marshal.load", "marshal.loads")),
    Rule("numpy-pickle", _H, f"allow_pickle lets an array be a pickle: {_PICKLE}", "leave allow_pickle out",
         ("numpy.load", "numpy.lib.npyio.load", "numpy.lib.format.read_array"), _truthy("allow_pickle")),
    Rule("torch-load", _H, f"a checkpoint is a pickle: {_PICKLE}",
         "write torch.load(…, weights_only=True), or use safetensors",
         ("torch.load", "torch.serialization.load"), _without("weights_only", True)),
    Rule("torch-hub", _H, "it downloads code and runs it",
         "import the model by an ingested package, its weights as safetensors",
         ("torch.hub.load", "torch.hub.load_state_dict_from_url")),
    Rule("keras-unsafe", _H, "a Lambda layer is code of whoever wrote the model", "leave safe_mode as it is",
         ("keras.models.load_model", "tensorflow.keras.models.load_model", "keras.saving.load_model",
          "tf_keras.models.load_model", "keras.layers.deserialize", "keras.models.model_from_json"),
         _is("safe_mode", False)),
    Rule("keras-unsafe", _H, "a Lambda layer is code of whoever wrote the model", "leave safe mode on",
         ("keras.config.enable_unsafe_deserialization", "tensorflow.keras.config.enable_unsafe_deserialization")),
    Rule("remote-code", _C, "it runs code that the repository of a model or dataset brings",
         "write trust_remote_code=False, or ingest the code as a package",
         ("*",), _truthy("trust_remote_code")),
    Rule("hub-unpinned", _L, "without the commit, what is loaded can change any day",
         "write revision='…' with the 40 digits of the commit, or load an ingested model",
         ("*.from_pretrained", "datasets.load_dataset", "huggingface_hub.hf_hub_download",
          "huggingface_hub.snapshot_download", "transformers.pipeline"), _unpinned),
    Rule("yaml-load", _H, "this loader makes any Python object that the text asks for", "use yaml.safe_load",
         ("yaml.load", "yaml.load_all"), _unsafe_yaml),
    Rule("yaml-load", _H, "this loader makes any Python object that the text asks for", "use yaml.safe_load",
         ("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all", "yaml.UnsafeLoader",
          "yaml.Loader")),
    Rule("eval", _H, "it runs text as code", "use ast.literal_eval for data, a function for anything else",
         ("eval", "exec", "builtins.eval", "builtins.exec", "__builtins__.eval", "__builtins__.exec",
          "code.InteractiveInterpreter().runcode", "pandas.eval")),
    Rule("shell", _H, "a shell reads the text: what is put into it can become a command",
         "give a list of arguments, without shell=True",
         ("subprocess.run", "subprocess.Popen", "subprocess.call", "subprocess.check_call",
          "subprocess.check_output", "asyncio.subprocess.create_subprocess_exec"), _truthy("shell")),
    Rule("shell", _H, "a shell reads the text: what is put into it can become a command",
         "use subprocess.run with a list of arguments",
         ("os.system", "os.popen", "posix.system", "subprocess.getoutput", "subprocess.getstatusoutput",
          "asyncio.create_subprocess_shell", "asyncio.subprocess.create_subprocess_shell", "commands.getoutput",
          "popen2.popen2"), _first_is_text),
    Rule("shell", _M, "a shell reads the text", "use subprocess.run with a list of arguments",
         ("os.system", "os.popen", "posix.system", "subprocess.getoutput", "subprocess.getstatusoutput",
          "asyncio.create_subprocess_shell", "asyncio.subprocess.create_subprocess_shell"),
         lambda call: not _first_is_text(call)),
    Rule("tls-unverified", _H, "whoever is in between can read and change what is sent",
         "leave verify as it is; name an own authority by verify='ca.pem'",
         ("requests.*", "httpx.*"), _is("verify", False)),
    Rule("tls-unverified", _H, "whoever is in between can read and change what is sent",
         "use ssl.create_default_context()",
         ("ssl._create_unverified_context", "ssl._create_stdlib_context", "urllib3.disable_warnings")),
    Rule("tls-unverified", _H, "whoever is in between can read and change what is sent", "leave ssl as it is",
         ("aiohttp.*",), lambda call: _is("ssl", False)(call) or _is("verify_ssl", False)(call)),
    Rule("ssh-unverified", _H, "any host key is taken: whoever is in between is believed",
         "use RejectPolicy and known_hosts", ("paramiko.AutoAddPolicy", "paramiko.WarningPolicy",
         "paramiko.client.AutoAddPolicy", "paramiko.client.WarningPolicy")),
    Rule("archive-extract", _H, "an entry can name a file outside of the target, or be a link to one",
         "write filter='data'",
         ("tarfile.open().extractall", "tarfile.open().extract", "tarfile.TarFile().extractall",
          "tarfile.TarFile().extract", "tarfile.TarFile.open().extractall", "tarfile.TarFile.open().extract"),
         _unfiltered),
    Rule("archive-extract", _M, "an entry of a tar can name a file outside of the target", "write filter='data'",
         ("shutil.unpack_archive",), _unfiltered),
    Rule("sql-text", _M, "what is put into the text can become another statement",
         "write a placeholder, and give the value beside the text",
         ("*.execute", "*.executemany", "*.executescript", "pandas.read_sql", "pandas.read_sql_query"), _put_together),
    Rule("temporary-name", _M, "between naming and opening, somebody else can put a link there",
         "use tempfile.mkstemp or TemporaryDirectory",
         ("tempfile.mktemp", "os.tempnam", "os.tmpnam")),
    Rule("weak-hash", _L, "two files with one digest can be made", "use hashlib.sha256, or usedforsecurity=False",
         ("hashlib.md5", "hashlib.sha1"), _without("usedforsecurity", False)),
    Rule("debug-server", _H, "the debugger of a web server runs code for whoever asks", "leave debug out",
         ("flask.Flask().run", "werkzeug.serving.run_simple"),
         lambda call: _truthy("debug")(call) or _truthy("use_debugger")(call)),
    Rule("world-writable", _M, "everybody on the machine can change it", "use 0o755 or 0o700",
         ("os.chmod", "os.fchmod", "pathlib.Path().chmod"),
         lambda call: any(isinstance(each, ast.Constant) and isinstance(each.value, int) and each.value & 0o002
                          for each in [*call.args, *(each.value for each in call.keywords)])),
    Rule("plain-protocol", _M, "it sends passwords and data in the clear", "use SSH or TLS",
         ("telnetlib.Telnet", "ftplib.FTP")),
    Rule("template-escape", _L, "what is put into a page can be a script",
         "write autoescape=True, or select_autoescape()",
         ("jinja2.Environment",), lambda call: keyword(call, "autoescape") is None or _is("autoescape", False)(call)),
)  # fmt: skip

ALL_INTERFACES = Rule(
    "bind-all", Severity.MEDIUM, "every network that the machine has can reach it",
    "bind 127.0.0.1, and let an endpoint of the platform answer outside", (),
)  # fmt: skip
UNPARSABLE = Rule(
    "code-unparsable", Severity.UNKNOWN, "it cannot be read as Python, so that nobody knows what it does",
    "mend its syntax", (),
)  # fmt: skip
ALL = (*RULES, ALL_INTERFACES, UNPARSABLE)
