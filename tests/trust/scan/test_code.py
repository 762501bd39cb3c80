"""Dangerous calls: each rule finds what it is about, under every name, and nothing else."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.refusal import Rejected
from clearance.trust.scan.code import scan_code, scan_text
from clearance.trust.scan.finding import Severity, refused
from clearance.trust.scan.reading import Text
from clearance.trust.scan.rules import ALL

COMMIT = "0123456789abcdef" * 2 + "01234567"


def rules(source: str) -> list[str]:
    return sorted(each.rule for each in scan_text(textwrap.dedent(source).encode(), "x.py"))


BAD = {
    "pickle-load": [
        "import pickle\npickle.load(f)", "import pickle as p\np.loads(b)", "from pickle import loads\nloads(b)",
        "from pickle import loads as l\nl(b)", "import pickle\nl = pickle.loads\nl(b)",
        "from pickle import *\nloads(b)",
        "__import__('pickle').loads(b)", "import importlib\nimportlib.import_module('pickle').loads(b)",
        "import pickle\ngetattr(pickle, 'loads')(b)", "import pickle\nlist(map(pickle.loads, xs))",
        "import pickle\nm = n = pickle\nm.Unpickler(f).load()", "import joblib\njoblib.load(f)",
        "import pandas as pd\npd.read_pickle(f)", "def f():\n    import dill\n    return dill.loads(b)",
        "import shelve\nshelve.open(f)", "import pickle\n(p := pickle).loads(b)",
        "import pickle\na, b = pickle, 1\na.loads(x)", "import pickle, functools\nfunctools.partial(pickle.load)(f)",
    ],
    "marshal-load": ["import marshal\nmarshal.loads(b)"],
    "numpy-pickle": ["import numpy as np\nnp.load(f, allow_pickle=True)",
                     "import numpy as np\nnp.load(f, allow_pickle=x)"],
    "torch-load": [
        "import torch\ntorch.load(f)", "import torch\ntorch.load(f, weights_only=False)",
        "import torch\ntorch.load(f, weights_only=x)", "from torch.serialization import load\nload(f)",
    ],
    "torch-hub": ["import torch\ntorch.hub.load('a/b', 'c')"],
    "keras-unsafe": [
        "import keras\nkeras.models.load_model(f, safe_mode=False)",
        "import tensorflow as tf\ntf.keras.models.load_model(f, safe_mode=False)",
        "import keras\nkeras.config.enable_unsafe_deserialization()",
    ],
    "remote-code": ["anything.at.all(trust_remote_code=True)", "f()(trust_remote_code=flag)"],
    "hub-unpinned": [
        "from transformers import AutoModel\nAutoModel.from_pretrained('a/b')",
        "from transformers import AutoModel\nAutoModel.from_pretrained('a/b', revision='main')",
        "from huggingface_hub import hf_hub_download as h\nh(repo_id='a/b', filename='c')",
    ],
    "yaml-load": [
        "import yaml\nyaml.load(f)", "import yaml\nyaml.load(f, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(f)",
        "import yaml\nyaml.load(f, yaml.FullLoader)",
    ],
    "eval": ["eval(x)", "exec(x)", "import builtins\nbuiltins.eval(x)", "list(map(eval, xs))"],
    "shell": [
        "import subprocess\nsubprocess.run(x, shell=True)", "from subprocess import Popen as P\nP(x, shell=flag)",
        "import os\nos.system(x)", "import os\nos.popen('ls')", "import asyncio\nasyncio.create_subprocess_shell(x)",
    ],
    "tls-unverified": [
        "import requests\nrequests.get(u, verify=False)",
        "import requests\ns = requests.Session()\ns.post(u, verify=False)",
        "import httpx\nhttpx.Client(verify=False)", "import ssl\nssl._create_unverified_context()",
        "import aiohttp\naiohttp.TCPConnector(ssl=False)",
        "import requests\nwith requests.Session() as s:\n    s.get(u, verify=False)",
    ],
    "ssh-unverified": ["import paramiko\nc.set_missing_host_key_policy(paramiko.AutoAddPolicy())"],
    "archive-extract": [
        "import tarfile\ntarfile.open(f).extractall()",
        "import tarfile\nwith tarfile.open(f) as t:\n    t.extractall(p)",
        "import tarfile\nt = tarfile.TarFile(f)\nt.extract(m, filter='fully_trusted')",
        "import shutil\nshutil.unpack_archive(f, d)",
    ],
    "sql-text": [
        "c.execute(f'SELECT {x}')", "db.cursor().executemany('SELECT %s' % x)", "c.execute('SELECT ' + x)",
        "self.c.execute('SELECT {}'.format(x))", "import pandas as pd\npd.read_sql(f'SELECT {x}', c)",
    ],
    "temporary-name": ["import tempfile\ntempfile.mktemp()"],
    "weak-hash": ["import hashlib\nhashlib.md5(b)"],
    "debug-server": ["from flask import Flask\napp = Flask(__name__)\napp.run(debug=True)"],
    "world-writable": ["import os\nos.chmod(p, 0o777)", "from pathlib import Path\nPath(p).chmod(0o666)"],
    "plain-protocol": ["import ftplib\nftplib.FTP(h)"],
    "template-escape": ["import jinja2\njinja2.Environment()", "import jinja2\njinja2.Environment(autoescape=False)"],
    "bind-all": ["s.bind(('0.0.0.0', 80))", "HOST = '::'"],
    "code-unparsable": ["def", "print 'x'", "x = (", "\0", "(" * 500 + ")" * 500],
}  # fmt: skip

GOOD = [
    "c.execute('SELECT ?', x)", "c.execute(query)", "c.execute(f'SELECT 1')", "c.execute('SELECT ' + '1')",
    "import json\njson.loads(b)", "import pickle\npickle.dumps(x)", "model.eval()", "import ast\nast.literal_eval(x)",
    "import torch\ntorch.load(f, weights_only=True)", "import torch\ntorch.loader(f)", "import yaml\nyaml.safe_load(f)",
    "import yaml\nyaml.load(f, Loader=yaml.SafeLoader)",
    "from yaml import CSafeLoader as S, load\nload(f, Loader=CSafeLoader)",
    "import numpy as np\nnp.load(f)", "import numpy as np\nnp.load(f, allow_pickle=False)",
    "import subprocess\nsubprocess.run(['a'])", "import subprocess\nsubprocess.run(['a'], shell=False)",
    "import requests\nrequests.get(u)", "import requests\nrequests.get(u, verify='ca.pem')",
    "import tarfile\nwith tarfile.open(f) as t:\n    t.extractall(p, filter='data')",
    "import zipfile\nzipfile.ZipFile(f).extractall(p)", "import hashlib\nhashlib.sha256(b)",
    "import hashlib\nhashlib.md5(b, usedforsecurity=False)", "import os\nos.chmod(p, 0o755)", "load(f)", "loads(b)",
    "from mine import load\nload(f)", "import tempfile\ntempfile.mkstemp()", "HOST = '127.0.0.1'", "x = ':::'",
    f"from transformers import AutoModel\nAutoModel.from_pretrained('a/b', revision='{COMMIT}')",
    "from transformers import AutoModel\nAutoModel.from_pretrained('./a')", "f(trust_remote_code=False)",
    "from transformers import AutoModel\nAutoModel.from_pretrained(folder)",
    "import jinja2\njinja2.Environment(autoescape=True)", "# pickle.load(f)\n'eval(x)'", "",
]  # fmt: skip


@pytest.mark.parametrize(("rule", "source"), [(rule, source) for rule, sources in BAD.items() for source in sources])
def test_a_rule_finds_what_it_is_about(rule: str, source: str):
    assert rule in rules(source)


@pytest.mark.parametrize("source", GOOD)
def test_what_is_safe_is_no_finding(source: str):
    assert rules(source) == []


def test_every_rule_is_tried():
    assert set(BAD) == {rule.id for rule in ALL}


def test_a_finding_has_its_line_and_its_mend():
    (found,) = scan_text(b"import torch\n\n\ntorch.load(\n  f)\n", "a/b.py")
    assert (found.where, found.line, found.severity) == ("a/b.py", 4, "high")
    assert "weights_only=True" in found.mend


def test_no_comment_switches_a_rule_off():
    assert rules("eval(x)  # nosec  # noqa: S307  # type: ignore") == ["eval"]


def test_what_cannot_be_parsed_is_refused_whatever_the_least_severity():
    (found,) = scan_text(b"\xff\xfe", "x.py")
    assert refused([found], Severity.CRITICAL) == [found]


def test_python_is_known_by_suffix_or_first_line():
    files = [
        Text("a", "a", b"#!/usr/bin/env python3\neval(x)"),
        Text("b.md", "b.md", b"eval(x)"),
        Text("c", "c", b"eval(x)"),
    ]
    found, count = scan_code(files)
    assert ([each.where for each in found], count) == (["a"], 1)
    with pytest.raises(Rejected) as caught:
        scan_code(files[1:], "here")
    assert caught.value.code == "source-none"


def test_names_that_grow_without_end_do_not():
    source = "import pickle\nx = pickle\n" + "x = x.y\nx = x()\n" * 200 + "x.loads(b)"
    assert "pickle-load" in rules(source)


@given(st.binary(max_size=200))
def test_any_bytes_are_scanned(data: bytes):
    assert all(each.rule in {rule.id for rule in ALL} for each in scan_text(data, "x.py"))


LINES = [
    "import pickle as p", "p = q", "q = p", "p.loads(b)", "q = getattr(p, 'loads')", "q(b)", "def f(): return p",
    "p = f()", "with p as q: q()", "(p := p.x)",
]  # fmt: skip


@given(st.lists(st.sampled_from(LINES), max_size=12))
def test_any_bindings_end(lines: list[str]):
    rules("\n".join(lines))
