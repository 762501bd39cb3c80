"""ONNX is read from its wire format: external files, operators with code, graphs within graphs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.trust.ingest import judge_model


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(*locations):
    entries = b"".join(field(13, field(1, "location") + field(2, path)) for path in locations)
    return field(1, 2) + field(2, 1) + field(8, "w") + entries + field(14, 1)


def node(kind="Add", domain="", attributes=b""):
    return field(1, "x") + field(2, "y") + field(4, kind) + attributes + field(7, domain)


def graph(*nodes, tensors=()):
    return b"".join(field(1, each) for each in nodes) + field(2, "g") + b"".join(field(5, each) for each in tensors)


def model(graph, opset=""):
    return field(1, 8) + field(2, "test") + field(7, graph) + field(8, field(1, opset) + field(2, 17))


@pytest.fixture
def judged(tmp_path):
    def judge(data, **beside):
        (tmp_path / "model.onnx").write_bytes(data)
        for name, content in beside.items():
            (tmp_path / name).write_bytes(content)
        return judge_model(tmp_path)

    return judge


def test_a_model_comes_in_with_the_data_beside_it(judged):
    found = judged(model(graph(node(), tensors=[tensor("weights")])), weights=b"\xf0\x9f" * 1000)
    assert found.allowed
    assert found.formats == {"model.onnx": "onnx", "weights": "onnx-data"}


def test_data_that_is_not_there_or_lies_elsewhere_is_refused(judged):
    assert [each.code for each in judged(model(graph(tensors=[tensor("none")]))).findings] == ["onnx-external"]
    for path in ("/etc/passwd", "../x", "a/../../x", "a\\x", "C:x", ""):
        found = judged(model(graph(tensors=[tensor(path)])))
        assert [each.code for each in found.findings] == ["onnx-external"], path


def test_no_second_location_hides_behind_the_first(judged):
    found = judged(model(graph(tensors=[tensor("weights", "../x")])), weights=b"\xff\xfe")
    assert "onnx-external" in [each.code for each in found.findings]


def test_data_of_a_graph_within_an_operator_is_found(judged):
    inner = graph(node(attributes=field(5, field(1, "v") + field(5, tensor("/etc/passwd")))))
    outer = graph(node("If", attributes=field(5, field(1, "then_branch") + field(6, inner))))
    assert [each.code for each in judged(model(outer)).findings] == ["onnx-external"]


def test_operators_that_run_code_are_refused_and_others_told(judged):
    assert [each.code for each in judged(model(graph(node("PyOp", "ai.onnx.contrib")))).findings] == ["onnx-code"]
    found = judged(model(graph(node("Mine", "com.example"))))
    assert found.allowed
    assert [(each.code, each.severity) for each in found.findings] == [("onnx-domain", "note")]


def test_a_sentencepiece_model_comes_in(tmp_path):
    piece = field(1, "the") + b"\x15\x00\x00\x80\x3f" + field(3, 1)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"".join(field(1, piece) for _ in range(40)) + field(2, field(1, "\u2581corpus")) + field(3, b""))
    assert judge_model(path).formats == {"tokenizer.model": "sentencepiece"}


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8))
def test_damaged_models_are_judged_and_never_crash(tmp_path_factory, changes):
    data = bytearray(model(graph(node(), tensors=[tensor("weights")])))
    for at, byte in changes:
        data[at % len(data)] = byte
    path = tmp_path_factory.mktemp("damaged") / "model.onnx"
    path.write_bytes(data)
    judge_model(path)
