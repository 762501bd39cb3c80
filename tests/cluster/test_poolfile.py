"""A `pools.yaml` is read into pools and health rules, and all that is wrong with one is said with its line."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.cluster.condition import RULES, Action, FailureRule, HealthPolicy, HealthRule, Preflight
from clearance.cluster.config import default
from clearance.cluster.node import Taint
from clearance.cluster.poolfile import load_pools, parse_pools
from clearance.cluster.pools import Autoscale, Headroom, Pool
from clearance.cluster.problems import InvalidQueues
from clearance.cluster.scheduler import Scheduler
from clearance.errors import UsageError

FULL = """
pools:
- name: a100
  price: 12.5
  startseconds: 180
  minnodes: 1
  maxnodes: 40
  capacity: {vcore: 96, memory: 1Ti, nvidia.com/gpu: 8}
  labels: {rack: r1}
  taints:
  - {key: gpu, value: a100}
  headroom: {slots: 2, resources: {nvidia.com/gpu: 1}}
- {name: cpu, maxnodes: 9, capacity: {vcore: "500m"}}
autoscale: {interval: 5, idleseconds: 300, cooldownseconds: 60, patience: 2, largestremoval: 0.25, removalwindow: 900}
health:
  rules:
  - {signal: disk_left, limit: 0.1, below: true, count: 2, window: 60, then: cordon}
  - {signal: gpu_error, values: [43], then: drain}
  failures: {then: drain, count: 3, times: 2, window: 100}
  preflight: {resources: {vcore: 1, nvidia.com/gpu: 8}, timeout: 100, seconds: 10, new: false}
  calmseconds: 30
  probationseconds: 40
  mostout: 5%
"""


def test_everything_that_can_be_said_is_read(tmp_path):
    path = tmp_path / "pools.yaml"
    path.write_text(FULL)
    found = load_pools(path)
    assert found == load_pools(FULL)
    assert found.autoscale == Autoscale(
        (
            Pool(
                "a100", {"vcore": "96", "memory": "1Ti", "nvidia.com/gpu": "8"}, 40, 1, 12.5, 180.0, {"rack": "r1"},
                (Taint("gpu", "a100"),), Headroom(2, {"nvidia.com/gpu": "1"}),
            ),
            Pool("cpu", {"vcore": "500m"}, 9),
        ),
        5.0, 300.0, 60.0, 2.0, 0.25, 900.0,
    )  # fmt: skip
    assert found.health == HealthPolicy(
        (
            *RULES,
            HealthRule("disk_left", Action.CORDON, 0.1, below=True, count=2, window=60.0),
            HealthRule("gpu_error", Action.DRAIN, values=(43,)),
        ),
        FailureRule(Action.DRAIN, 3, 2.0, 100.0),
        Preflight({"vcore": "1", "nvidia.com/gpu": "8"}, 100.0, 10.0, new=False),
        30.0, 40.0, "5%",
    )  # fmt: skip
    Scheduler(default(), autoscale=found.autoscale, health=found.health)


@pytest.mark.parametrize(("page", "name"), [("autoscaling", "autoscale"), ("node-health", "health")])
def test_the_file_of_the_reference_is_read(page, name):
    text = (Path(__file__).parents[2] / "docs" / "reference" / f"{page}.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert getattr(parse_pools(block), name) is not None


def test_what_is_left_away_is_as_built_in():
    found = parse_pools("health: {mostout: 2}\n")
    assert found.autoscale is None
    assert found.health == HealthPolicy(most_out="2")
    bare = parse_pools("health: {builtinrules: false, failures: {enabled: false}}\n").health
    assert bare == HealthPolicy((), failures=None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it says nothing: write `pools:`"),
        ("pols: []\n", "line 1: pols is a list: there is no key 'pols'; did you mean 'pools'?"),
        ("autoscale: {interval: 5}\n", "line 1: autoscale has no pools"),
        ("pools:\n- {name: a, capacity: {vcore: 1}}\n", "line 2: pools.a.maxnodes is missing"),
        ("pools:\n- {capacity: {vcore: 1}, maxnodes: 1}\n", "line 2: a pool has no name"),
        ("pools:\n- {name: a, maxnodes: 1}\n", "line 2: pool 'a' has no capacity"),
        ("pools:\n- name: a\n  maxnodes: 1\n  capacity:\n    cpu: 1\n", "line 5: pools.a.capacity.cpu is '1'"),
        ("pools:\n- name: a\n  maxnodes: -1\n", "line 3: pools.a.maxnodes is '-1': write a whole number from 1"),
        ("pools:\n- name: a\n  maxnodes: 1\n  price: free\n", "line 4: pools.a.price is 'free': write a number"),
        ("pools:\n- name: a\n  maxnodes: 1\n  minnodes: 1.5\n", "line 4: pools.a.minnodes is '1.5'"),
        ("pools:\n- name: a\n  maxnodes: 1\n  taints: [{key: k, effect: Never}]\n", "effect is 'Never'"),
        ("pools:\n- name: a\n  maxnodes: 1\n  taints: [{value: k}]\n", "has a taint without a key"),
        (
            "pools:\n- {name: a, maxnodes: 1, capacity: {vcore: 1}}\n- {name: a, maxnodes: 1, capacity: {vcore: 1}}\n",
            "line 3: pool 'a' stands twice",
        ),
        (
            "pools:\n- {name: a, maxnodes: 1, minnodes: 2, capacity: {vcore: 1}}\n",
            "line 2: pool 'a' has min_nodes 2 and max_nodes 1",
        ),
        (
            "pools:\n- {name: a, maxnodes: 1, capacity: {vcore: 1}}\nautoscale: {patience: 0}\n",
            "line 3: autoscaling has patience 0.0",
        ),
        ("health:\n  rules:\n  - {limit: 1}\n", "line 3: health.rules[0] has no signal"),
        ("health:\n  rules:\n  - {signal: x}\n", "line 3: health rule for 'x': give it a limit, or values"),
        ("health:\n  rules:\n  - {signal: x, limit: 1, then: reboot}\n", "then is 'reboot': write one of test, cordon"),
        ("health:\n  rules:\n  - {signal: x, values: [a]}\n", "health.rules[0].values has 'a': write whole numbers"),
        ("health: {mostout: some}\n", "line 1: health has most_out 'some'"),
        ("health:\n  preflight: {resources: {vcore: -1}}\n", "line 2: health.preflight.resources.vcore is '-1'"),
        ("health: {failures: {times: x}}\n", "health.failures.times is 'x'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line_and_the_mend(text, problem):
    with pytest.raises(InvalidQueues) as error:
        parse_pools(text)
    assert problem in str(error.value)


def test_all_problems_are_said_at_once():
    with pytest.raises(InvalidQueues, match="3 problems") as error:
        parse_pools("pools:\n- {name: a, maxnodes: 0, price: x, capacity: {vcore: 1}}\nhealth: {calmseconds: soon}\n")
    assert len(error.value.problems) == 3


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_pools(tmp_path / "none.yaml")


@given(st.text(alphabet=st.sampled_from(list("pools: -{}[]nameprice12.%\n")), max_size=200))
def test_no_text_makes_the_parser_crash(text):
    with suppress(UsageError):
        parse_pools(text)
