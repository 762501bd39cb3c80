"""Finding runs by tags, parameters, state and time, against a plain filter, in both databases."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from string import Template

import pytest

from clearance.errors import UsageError
from clearance.graph.model import Graph, Node, encode
from clearance.run.look.search import conditions, find, parse
from clearance.run.submission import Submission
from clearance.run.tags import tags_of
from clearance.store.database import Database, migrations
from clearance.types.digest import digest_of
from support.instant import InstantEngine, failed, lead, succeeded, until_idle


@pytest.fixture
def database(database_url):
    with Database(database_url) as made:
        made.migrate()
        yield made


def submit(controller, dag="d", parameters=None, tags=None, task="good"):
    graph = Graph(dag=dag, parameters=parameters or {}, nodes=(Node(id=task, function=f"m:{task}"),))
    submission = Submission(graph=encode(graph), bundle=digest_of(b""), module="m", tags=tags or {}, principal="mia")
    return controller.submit(submission)[0]


@pytest.fixture
def controller(database, tmp_path):
    return lead(
        tmp_path / "home", database,
        InstantEngine(lambda launch: failed(launch) if launch.task == "bad" else succeeded(launch)),
    )  # fmt: skip


def ids(database, query, limit=1000, before=None):
    return [row.id for row in find(database, parse(query), limit, before)]


def test_what_is_found_is_what_a_plain_filter_finds(database, controller):
    rng = random.Random(7)
    made = []
    for _ in range(80):
        parameters = {"lr": rng.choice([0.1, 0.01, 1, 3]), "word": rng.choice(["a", "7", "true"]), "big": [1] * 3}
        if rng.random() < 0.3:
            del parameters["lr"]
        if rng.random() < 0.3:
            parameters["flag"] = rng.random() < 0.5
        tags = {"team": rng.choice(["vision", "text"])} if rng.random() < 0.7 else {}
        task = rng.choice(["good", "bad"])
        dag = rng.choice(["d", "e"])
        id = submit(controller, dag, parameters, tags, task)
        made.append((id, dag, parameters, tags, "failed" if task == "bad" else "success"))
    until_idle(controller)
    made.reverse()
    cases = {
        "lr=0.1": lambda r: r[2].get("lr") == 0.1,
        "lr!=0.1": lambda r: "lr" in r[2] and r[2]["lr"] != 0.1,
        "lr>0.05 lr<=1": lambda r: 0.05 < r[2].get("lr", 0) <= 1,
        "lr>=1": lambda r: r[2].get("lr", 0) >= 1,
        "word=7": lambda r: r[2]["word"] == "7",
        "word!=7": lambda r: r[2]["word"] != "7",
        "word=a": lambda r: r[2]["word"] == "a",
        'word="true"': lambda r: False,  # the quotes are the shell's: it is the truth value
        "flag=true": lambda r: r[2].get("flag") is True,
        "flag!=true": lambda r: r[2].get("flag") is False,
        "tag:team": lambda r: "team" in r[3],
        "tag:team=vision": lambda r: r[3].get("team") == "vision",
        "tag:team!=vision": lambda r: r[3].get("team") == "text",
        "tag:team=vision lr=3 state:failed": lambda r: (
            (r[3].get("team"), r[2].get("lr"), r[4]) == ("vision", 3, "failed")
        ),
        "dag:e state:success": lambda r: r[1] == "e" and r[4] == "success",
        "by:mia": lambda r: True,
        "by:tom": lambda r: False,
        "created>2020-01-01": lambda r: True,
        "finished<2020-01-01": lambda r: False,
        "": lambda r: True,
    }
    for query, holds in cases.items():
        assert ids(database, query) == [r[0] for r in made if holds(r)], query
    assert sum(map(cases["tag:team=vision lr=3 state:failed"], made)) > 0, "the case means something"
    assert ids(database, "dag:d", limit=3) == [r[0] for r in made if r[1] == "d"][:3]


def test_pages_follow_each_other(database, controller):
    made = [submit(controller) for _ in range(7)]
    until_idle(controller)
    first = find(database, [], 3)
    assert [row.id for row in first] == made[:3:-1]
    assert [row.id for row in find(database, [], 3, first[-1].number)] == made[3:0:-1]


def test_days_are_in_utc_and_moments_say_their_zone():
    at = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    assert parse("created>=2026-03-01")[0].value == at
    assert parse("finished<2026-03-01T01:00:00+01:00")[0].value == at
    with pytest.raises(UsageError, match="say the zone"):
        parse("created>2026-03-01T12:00:00")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("lr", "compare it"),
        ("lr>abc", "no number"),
        ("lr=[1,2]", "not searched"),
        ("tag:a<3", "= or !="),
        ("state:fialed", "did you mean 'failed'"),
        ("dag:a=3", "write dag:VALUE"),
        ('"open', "close the quote"),
        ("created>yesterday", "write a day"),
        ("=3", "write NAME=VALUE"),
    ],
)
def test_a_wrong_term_says_what_to_write(query, message):
    with pytest.raises(UsageError, match=message):
        parse(query)


def test_options_and_terms_are_the_same_conditions():
    assert conditions(dag="d", state="failed", tags={"a": "b", "c": None}, parameters={"lr": "0.1"}) == parse(
        "dag:d state:failed tag:a=b tag:c lr=0.1"
    )
    assert conditions(parameters={"created": "3"}) == parse("p:created=3")


def test_tags_are_set_changed_and_removed(database, controller):
    id = submit(controller, tags={"a": "1"})
    controller.turn()
    number = controller.database.rows("run_get", id)[0][0]
    assert controller.set_tags(id, {"b": "2", "a": "3"}) == {"a": "3", "b": "2"}
    controller.turn()
    assert tags_of(database, number) == {"a": "3", "b": "2"}
    assert controller.set_tags(id, {"c": ""}, ["a"]) == {"b": "2", "c": ""}
    controller.turn()
    assert tags_of(database, number) == {"b": "2", "c": ""}
    assert ids(database, "tag:c=") == [id]


@pytest.mark.parametrize(
    "tags", [{"": "x"}, {"a b": "x"}, {"a": "x\ny"}, {"a": "x" * 201}, {f"t{n}": "" for n in range(65)}]
)
def test_a_wrong_tag_is_refused_and_nothing_is_made(database, controller, tags):
    with pytest.raises(UsageError, match="tag"):
        submit(controller, tags=tags)
    controller.turn()
    assert ids(database, "") == []


def test_tags_of_no_run_are_refused(controller):
    with pytest.raises(UsageError, match="no run 'x/1'"):
        controller.set_tags("x/1", {"a": "b"})


def test_runs_from_before_are_found_by_their_parameters(database_url):
    with Database(database_url) as database:
        for number, text in migrations():
            if number < 9:
                database.dialect.script(Template(text).substitute(database.dialect.types))
        database.dialect.script("CREATE TABLE migration (number BIGINT PRIMARY KEY)")
        database.dialect.script("INSERT INTO migration (number) VALUES (8)")
        database.write("version_add", "v", "d", "b", "m", b"{}", 0.0)
        given = {"lr": 0.1, "steps": 30, "word": 'é"7', "flag": True, "none": None, "list": [1], "long": "x" * 300}
        parameters = json.dumps(given, ensure_ascii=False)
        database.write("run_add", 1, "k", "d/1", "d", "v", "success", parameters, "mia", "", 0.0)
        assert database.migrate()[0] == 9
        for query in ("lr=0.1", "lr>0.05 steps<31", "steps=30", "flag=true", "flag!=false", "none=null"):
            assert ids(database, query) == ["d/1"], query
        assert ids(database, """word='é"7'""") == ["d/1"]
        assert database.dialect.execute("SELECT count(*) FROM run_parameter") == [(5,)]
