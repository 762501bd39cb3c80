"""Licences: expressions, hub ids, cards, headers, and what metadata say."""

from __future__ import annotations

import contextlib
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.errors import UsageError
from clearance.trust.refusal import Rejected
from clearance.trust.scan.declared import join, of_metadata, read_card, read_declared
from clearance.trust.scan.hub import HUB, spdx_of
from clearance.trust.scan.licences import PERMISSIVE, Declared, Policy, findings, judge, make_policy, parse

GPL = "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"


def allowed(expression: str, policy: Policy | None = None) -> bool:
    return judge(Declared("x", "1", "w", 0, expression), policy or Policy()).allowed


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("mit or apache-2.0", True),
        ("GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT AND BSD-3-Clause) OR GPL-3.0-only", True),
        ("MIT AND (GPL-2.0-only OR GPL-3.0-only)", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("Apache-2.0+", True),
        ("LicenseRef-mine", False),
        ("NOASSERTION", False),
        ("NONE", False),
        ("", False),
        ("MIT AND", False),
        ("MIT; evil", False),
        ("MIT AND Nonsense-1.0", False),
        ("(" * 2000, False),
        ("MIT OR " * 1000 + "MIT", False),
    ],
)
def test_an_expression_is_allowed_if_every_way_through_it_is(expression: str, expected: bool):
    assert allowed(expression) is expected


def test_an_unknown_licence_is_not_allowed_whatever_is_denied():
    for said in ("", "Our own terms"):
        judged = judge(Declared("x", "1", "w", 3, "", said), make_policy([], ["GPL-3.0-only"]))
        assert not judged.allowed
        assert judged.finding is not None
        assert (judged.finding.rule, judged.finding.line) == ("licence-unknown", 3)


def test_denied_wins_and_lists_can_name_exceptions_and_hub_ids():
    assert not allowed("MIT", make_policy([], ["MIT"]))
    assert allowed("MIT OR ISC", make_policy([], ["MIT"]))
    assert not allowed("MIT AND ISC", make_policy([], ["MIT"]))
    classpath = "GPL-2.0-only WITH Classpath-exception-2.0"
    policy = make_policy([classpath, "llama3", "LicenseRef-mine"], [])
    assert allowed(classpath, policy)
    assert not allowed("GPL-2.0-only", policy)
    assert allowed("LicenseRef-llama3", policy)
    assert allowed("LicenseRef-mine", policy)
    assert allowed("MIT", make_policy(["MIT"], [], permissive=False))
    assert not allowed("ISC", make_policy(["MIT"], [], permissive=False))
    for bad in ("MITT", "MIT OR ISC", "", "MIT AND"):
        with pytest.raises(UsageError):
            make_policy([bad], [])


def test_every_entry_of_the_tables_is_an_expression_that_spdx_has():
    for each in [*PERMISSIVE, *(hub.spdx for hub in HUB.values())]:
        tree, unknown = parse(each)
        assert tree is not None, each
        assert unknown == [], each


def test_conditions_of_model_licences_are_told():
    judged = judge(Declared("m", "", "README.md", 2, spdx_of("llama2")), Policy())
    assert judged.finding is not None
    assert "700 million monthly users" in judged.finding.text
    assert "--allow 'LicenseRef-llama2'" in judged.finding.mend
    assert (
        judge(Declared("m", "", "w", 0, spdx_of("openrail")), Policy()).conditions[1].startswith("forbids listed uses")
    )


@pytest.mark.parametrize(
    ("id", "name", "expected"),
    [
        ("apache-2.0", "", "Apache-2.0"),
        ("MIT", "", "MIT"),
        ("gemma", "", "LicenseRef-gemma"),
        ("other", "", ""),
        ("unknown", "", ""),
        ("other", "my terms!", "LicenseRef-my-terms"),
        ("other", "llama3", "LicenseRef-llama3"),
        ("mit", "my terms", "MIT"),
        ("health-ai-developer", "", "LicenseRef-health-ai-developer"),
    ],
)
def test_hub_ids_become_expressions(id: str, name: str, expected: str):
    assert spdx_of(id, name) == expected


@pytest.mark.parametrize(
    ("expression", "text", "classifiers", "expected"),
    [
        ("MIT OR Apache-2.0", "GPL", ["License :: OSI Approved :: BSD License"], ("MIT OR Apache-2.0", "")),
        ("", "MIT", [], ("MIT", "")),
        ("", "BSD", ["License :: OSI Approved :: BSD License"], ("LicenseRef-OSI-BSD", "")),
        ("", "BSD", [], ("LicenseRef-bsd-family", "")),
        ("", "BSD-3-Clause", ["License :: OSI Approved :: BSD License"], ("BSD-3-Clause", "")),
        ("", "Apache", ["License :: OSI Approved :: Apache Software License"], ("Apache-2.0", "")),
        ("", "UNKNOWN", ["License :: OSI Approved :: ISC License (ISCL)"], ("ISC", "")),
        ("", "BSD 3-Clause\n\nCopyright", ["License :: OSI Approved :: BSD License"], ("LicenseRef-OSI-BSD", "")),
        ("", "MIT License", ["License :: OSI Approved :: Apache Software License"], ("Apache-2.0 AND MIT", "")),
        ("", "", ["License :: OSI Approved :: MIT License", GPL],
         ("MIT AND GPL-3.0-only", "")),
        ("", "", ["License :: Other/Proprietary License"], ("", "Other/Proprietary License")),
        ("", "MIT", ["License :: Other/Proprietary License"], ("", "Other/Proprietary License")),
        ("", "see LICENSE", ["License :: OSI Approved :: MIT License"], ("MIT", "")),
        ("", "see LICENSE", [], ("", "see LICENSE")),
        ("Nonsense", "MIT", [], ("", "Nonsense")),
        ("", "", ["License :: OSI Approved"], ("", "")),
    ],
)  # fmt: skip
def test_metadata_of_distributions_are_read(
    expression: str, text: str, classifiers: list[str], expected: tuple[str, str]
):
    assert of_metadata(expression, text, classifiers) == expected


def test_a_family_gives_way_to_what_says_more():
    assert join(["LicenseRef-OSI-BSD", "BSD-2-Clause"]) == "BSD-2-Clause"
    assert join(["MIT OR ISC", "Zlib", "Zlib"]) == "(MIT OR ISC) AND Zlib"
    assert join([]) == ""


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: mit\n---\n# x", ("MIT", "", 2)),
        ("---\ntags:\n- a\nlicense:\n- mit\n- gemma\n---\n", ("MIT AND LicenseRef-gemma", "", 5)),
        ("---\r\nlicense: MIT\r\n---\r\n", ("MIT", "", 2)),
        ("---\nlicense: other\nlicense_name: mine\n---\n", ("LicenseRef-mine", "", 2)),
        ("---\nlicense: other\n---\n", ("", "other", 2)),
        ("---\nlicense: []\n---\n", ("", "", 2)),
        ("---\nlicense:\n---\n", ("", "", 2)),
        ("---\ntags: [a]\n---\n", ("", "", 0)),
        ("---\n---\n", ("", "", 0)),
        ("# license: mit", ("", "", 0)),
        ("text\n---\nlicense: mit\n---\n", ("", "", 0)),
    ],
)
def test_the_front_matter_of_a_card_is_read(card: str, expected: tuple[str, str, int]):
    assert read_card(card, "README.md") == expected


@pytest.mark.parametrize(
    "card",
    [
        "---\nlicense: mit\nlicense: gpl-3.0\n---\n", "---\nlicense: {a: b}\n---\n", "---\nlicense: [[a]]\n---\n",
        "---\n- a\n---\n", "---\nlicense: [\n---\n", "---\n" + "[" * 5000 + "\n---\n",
    ],
)  # fmt: skip
def test_a_card_with_another_reading_is_refused(card: str):
    with pytest.raises(Rejected) as caught:
        read_card(card, "README.md")
    assert caught.value.code == "licence-malformed"


def weights(file: Path, **metadata: str) -> None:
    header = json.dumps({"__metadata__": metadata}).encode()
    file.write_bytes(struct.pack("<Q", len(header)) + header)


def test_a_model_is_under_all_that_its_files_say(tmp_path: Path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\n---\n")
    weights(tmp_path / "a.safetensors", format="pt")
    assert read_declared(tmp_path)[0].expression == "MIT"
    (tmp_path / "deep").mkdir()
    weights(tmp_path / "deep" / "b.safetensors", license="llama3")
    (found,) = read_declared(tmp_path)
    assert found.expression == "MIT AND LicenseRef-llama3"
    (only,) = findings([judge(found, Policy())])
    assert (only.where, only.line, only.rule) == (str(card), 2, "licence-not-allowed")
    weights(tmp_path / "deep" / "b.safetensors", license="Apache-2.0 OR MIT")
    assert read_declared(tmp_path)[0].expression == "MIT AND (Apache-2.0 OR MIT)"
    assert read_declared(tmp_path / "deep" / "b.safetensors")[0].expression == "Apache-2.0 OR MIT"


def test_a_model_that_says_nothing_is_unknown_and_an_empty_folder_refused(tmp_path: Path):
    with pytest.raises(Rejected) as caught:
        read_declared(tmp_path)
    assert caught.value.code == "licences-none"
    weights(tmp_path / "a.safetensors")
    assert read_declared(tmp_path)[0].expression == ""


@pytest.mark.parametrize(
    "data",
    [
        b"", b"1234567", struct.pack("<Q", 2**60), struct.pack("<Q", 3) + b"{{{", struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 20) + b'{"__metadata__": [] }',
    ],
)  # fmt: skip
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, data: bytes):
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(Rejected) as caught:
        read_declared(tmp_path)
    assert caught.value.code == "licence-malformed"


def test_the_distributions_of_this_interpreter_are_read():
    found = {each.name: each for each in read_declared()}
    assert found["click"].expression == "BSD-3-Clause"
    assert found["hypothesis"].expression == "MPL-2.0"
    assert Path(found["click"].where).is_dir()


def test_a_folder_of_distributions_is_read(tmp_path: Path):
    folder = tmp_path / "Demo_x-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.4\nName: Demo_x\nVersion: 1.0\nLicense-Expression: MIT\n")
    (found,) = read_declared(tmp_path)
    assert (found.name, found.version, found.expression) == ("demo-x", "1.0", "MIT")


@given(st.text(alphabet="MITGPL-3.0 ORANDWH()+;licenseRf:", max_size=60))
def test_any_text_is_judged(text: str):
    judged = judge(Declared("x", "1", "w", 0, text), Policy())
    assert judged.allowed is (judged.finding is None)


@given(st.text(alphabet="-\nlicense: mto[]{}&*!|>'\"#", max_size=80))
def test_any_card_is_read_or_refused(text: str):
    with contextlib.suppress(Rejected):
        read_card("---\n" + text + "\n---\n", "x")
