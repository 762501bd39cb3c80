"""What a file is, is seen from what is in it; and the two CSVs."""

import pytest

from clearance.cluster.simulate import read_nodes, read_trace
from clearance.cluster.simulate.files import guess
from clearance.cluster.simulate.lines import BadLine
from clearance.errors import UsageError

PHILLY = 'job,queue,submit_s,gpus,duration_s,model\nb,q2,20,16,60,\na,root.q1,10,1,30,"x, y"\n'
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n"
    "p0,12000,16384,1,460,,LS,Running,100,400,150\n"
    "p1,6000,12288,8,1000,G2,BE,Running,50,250,\n"
    "p2,500,1024,0,0,,LS,Pending,60,,\n"
)
NODES = "sn,cpu_milli,memory_mib,gpu,model\nn0,64000,262144,2,G2\nn1,96000,524288,0,\n"


def write(folder, text):
    file = folder / "trace"
    file.write_text(text)
    return file


def test_gang_jobs_are_read_in_the_order_of_submission(tmp_path):
    first, second = read_trace(write(tmp_path, PHILLY)).arrivals
    assert (first.job.id, first.job.queue, first.submit, first.runtime) == ("a", "root.q1", 10, 30)
    assert (second.job.queue, second.job.task_groups[0].min_member) == ("root.q2", 16)
    assert second.job.task_groups[0].resources == {"nvidia.com/gpu": 1}


def test_gang_jobs_can_take_whole_nodes(tmp_path):
    one, sixteen = read_trace(write(tmp_path, PHILLY), whole=8).arrivals
    assert (sixteen.job.task_groups[0].min_member, sixteen.job.task_groups[0].resources) == (2, {"nvidia.com/gpu": 8})
    assert (one.job.task_groups[0].min_member, one.job.task_groups[0].resources) == (1, {"nvidia.com/gpu": 1})


def test_pods_run_from_when_they_were_scheduled_and_those_without_an_end_are_left_out(tmp_path):
    trace = read_trace(write(tmp_path, PODS))
    whole, share = trace.arrivals
    assert (whole.job.id, whole.submit, whole.runtime) == ("p1", 50, 200)
    assert (share.job.id, share.submit, share.runtime) == ("p0", 100, 250)
    assert share.job.task_groups[0].resources == {"vcore": "12000m", "memory": 16 * 2**30, "nvidia.com/gpu": "460m"}
    assert whole.job.task_groups[0].resources["nvidia.com/gpu"] == 8
    assert whole.job.task_groups[0].node_selector == {"gpu-model": "G2"}
    assert trace.left_out == {"it has no end": 1}


def test_nodes_come_from_a_file_or_are_counted(tmp_path):
    first, second = read_nodes(str(write(tmp_path, NODES)))
    assert (first.capacity["nvidia.com/gpu"], first.labels) == (2, {"gpu-model": "G2"})
    assert "nvidia.com/gpu" not in second.capacity
    counted = read_nodes("2x8gpu,1x16cpu")
    assert [node.name for node in counted] == ["node0", "node1", "node2"]
    assert [dict(node.capacity) for node in counted] == [{"nvidia.com/gpu": 8}, {"nvidia.com/gpu": 8}, {"vcore": 16}]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"type":"node"}', "jsonl"),
        ("; Version: 2.2", "swf"),
        ("1 0 -1 5 1 -1 -1 1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1", "swf"),
        (PODS.splitlines()[0], "openb"),
        (PHILLY.splitlines()[0], "philly"),
    ],
)
def test_a_format_is_guessed_from_its_first_line(line, kind):
    assert guess(["", line], "x") == kind


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello\n", "line 1: 'hello' begins no trace"),
        ("", "line 1: '' begins no trace"),
        (PHILLY.replace(",gpus,", ",gpu,"), "line 1: the heading has no column 'gpus'"),
        (PHILLY.replace(",16,", ",0,"), "line 2: gpus is '0': write a number of at least 1"),
        (PHILLY.replace(",16,", ",1.5,"), "line 2: gpus is '1.5': write a whole number"),
        (PHILLY.replace(",60,", ",nan,"), "line 2: duration_s is 'nan': write a number of at least 0"),
        (PHILLY.replace(",60,", ","), "line 2: 5 cells under 6 headings"),
        (PODS.replace("400,150", "100,150"), "line 2: deletion_time 100 is before it began at 150"),
        (PODS.replace(",460,", ",1460,"), "line 2: gpu_milli is 1460: it is a part of one GPU"),
        (PODS.replace("G2", "G2|T4"), "line 3: gpu_spec is 'G2|T4': a choice of models cannot be simulated"),
    ],
)
def test_a_bad_line_is_refused_by_its_number(tmp_path, text, message):
    with pytest.raises(BadLine) as error:
        read_trace(write(tmp_path, text))
    assert message in str(error.value)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="nothing cannot be read: No such file"):
        read_trace(tmp_path / "nothing")
    with pytest.raises(UsageError, match="or count them, such as 40x8gpu"):
        read_nodes("40x8gpus")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="no text in UTF-8"):
        read_trace(tmp_path / "bytes")
