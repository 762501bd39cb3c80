"""What happens is told to real servers, at least once, whatever dies in between."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clearance import dag
from clearance.errors import MissingExtra
from clearance.run.telemetry.transport.post import Undelivered, post
from clearance.settings import Settings, load
from clearance.store.database import Database
from clearance.types import sink as sinks
from support.controllers import NOON, Clock, Tower, submit
from support.flights import work
from support.races import Crash, crashing
from support.runs import Home, wait_for
from support.sinks import Recorder, certificate, mail_server, receiver, until

PIPELINE = """
import os, time
from pathlib import Path
from clearance import Secret, dag, task

@task
def fails() -> int:
    raise ValueError("no such <table> & more")

@task
def works() -> int:
    return 1

@task
def waits() -> int:
    here = Path(os.environ["TEST_FOLDER"])
    (here / "started").touch()
    while not (here / "go").exists():
        time.sleep(0.01)
    return 1

@task
def leaks(key: Secret) -> int:
    raise ValueError(f"the key is {key.reveal()}")

good = dag("good", works)
bad = dag("bad", fails)
slow = dag("slow", waits)
@dag
def leaky(key: Secret = Secret.env("LEAKED")):
    leaks(key)
"""


def configure(home: Home, *sinks: dict[str, Any]) -> None:
    home.environment["CLEARANCE_NOTIFY"] = json.dumps(list(sinks))


@pytest.fixture
def pipeline(home: Home, tmp_path: Path) -> str:
    home.environment["TEST_FOLDER"] = str(tmp_path)
    home.environment["HOOK_KEY"] = "whsec_" + base64.b64encode(b"a key of the test").decode()
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return str(tmp_path / "pipeline.py")


@pytest.fixture
def server() -> Iterator[Recorder]:
    with receiver() as recorder:
        yield recorder


def rows(home: Home, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(home.command("notify", "deliveries", "--json", *options))
    return found


def test_a_webhook_that_fails_twice_is_told_in_the_end_with_one_id_and_a_signature(home, pipeline, tmp_path):
    public, private = certificate(tmp_path)
    with receiver((public, private)) as server:
        server.statuses = [500, 503]
        configure(home, {
            "name": "hook", "kind": "webhook", "url": f"{server.url}/in", "secret": "env:HOOK_KEY",
            "authority": str(public), "events": ["run.*"],
        })  # fmt: skip
        home.command("run", f"{pipeline}:bad", expect=1)
        requests = server.wait(4)
        by_id: dict[str, list[Any]] = {}
        for request in requests:
            by_id.setdefault(request.headers["webhook-id"], []).append(request)
            signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
            mac = hmac.new(b"a key of the test", signed, hashlib.sha256).digest()
            assert request.headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
            assert request.headers["idempotency-key"] == request.headers["webhook-id"]
        until(lambda: {row["state"] for row in rows(home)} == {"delivered"})
    assert {found[0].json["type"] for found in by_id.values()} == {"run.created", "run.failed"}
    for found in by_id.values():
        assert len({request.body for request in found}) == 1
    assert sum(row["attempts"] for row in rows(home)) == 4
    ended = next(found[0].json for found in by_id.values() if found[0].json["type"] == "run.failed")
    assert ended["data"]["run"] == "bad/1"
    assert ended["timestamp"].endswith("Z")


def test_only_the_events_and_dags_that_a_sink_asks_for_are_told(home, pipeline, server):
    configure(
        home,
        {"name": "failures", "kind": "webhook", "url": server.url, "events": ["task.failed"], "dags": ["b*"]},
    )
    home.command("run", f"{pipeline}:good")
    home.command("run", f"{pipeline}:bad", expect=1)
    (request,) = server.wait(1)
    told = request.json
    assert told["type"] == "task.failed"
    assert told["data"]["task"] == "fails"
    assert told["data"]["failure"] == {"kind": "builtins.ValueError", "message": "no such <table> & more"}
    assert len(rows(home)) == 1


def test_kill_9_between_the_commit_and_the_delivery_loses_nothing(home, pipeline, server, tmp_path):
    server.hold.set()
    configure(home, {"name": "hook", "kind": "webhook", "url": server.url, "events": ["run.created", "run.success"]})
    home.start("run", f"{pipeline}:slow")
    wait_for(tmp_path / "started")
    server.wait(1)  # it hangs, with the first delivery; the run goes on
    (tmp_path / "go").touch()
    until(lambda: {row["event"] for row in rows(home)} == {"run.created", "run.success"})
    assert {row["state"] for row in rows(home)} == {"pending"}
    home.kill_all()
    server.hold.clear()
    before = len(server.requests)
    home.command("run", f"{pipeline}:good")
    until(lambda: {row["state"] for row in rows(home)} == {"delivered"})
    told = {(one.json["data"]["run"], one.json["type"]) for one in server.requests[before:]}
    assert {("slow/1", "run.created"), ("slow/1", "run.success")} <= told
    assert len({one.headers["webhook-id"] for one in server.requests}) == 4


def test_a_sink_that_hangs_holds_up_neither_the_run_nor_another_sink(home, pipeline, server):
    with receiver() as other:
        server.hold.set()
        configure(
            home,
            {"name": "hangs", "kind": "webhook", "url": server.url, "events": ["run.*"]},
            {"name": "works", "kind": "webhook", "url": other.url, "events": ["run.*"]},
        )
        home.command("run", f"{pipeline}:good")
        other.wait(2)
        until(lambda: {row["state"] for row in rows(home, "--sink", "works")} == {"delivered"})
        assert {row["state"] for row in rows(home, "--sink", "hangs")} == {"pending"}


def test_what_is_given_up_is_an_event_and_can_be_tried_again(home, pipeline, server):
    server.statuses = [404]
    configure(home, {"name": "hook", "kind": "webhook", "url": server.url, "events": ["run.failed"], "attempts": 1})
    home.command("run", f"{pipeline}:bad", expect=1)
    until(lambda: [row["state"] for row in rows(home)] == ["failed"])
    (row,) = rows(home)
    assert "404" in row["message"]
    assert "1 delivery will be tried again" in home.command("notify", "retry", "hook")
    until(lambda: [row["state"] for row in rows(home)] == ["delivered"])
    assert len({request.headers["webhook-id"] for request in server.requests}) == 1
    assert "1" in home.command("notify", "list").splitlines()[1]


def test_a_redirect_is_not_followed_and_the_token_stays_here(home, pipeline, server):
    with receiver() as elsewhere:
        server.statuses, server.headers = [302], {"Location": elsewhere.url}
        home.environment["TOKEN"] = "a-very-secret-token"
        configure(home, {"name": "hook", "kind": "webhook", "url": server.url, "token": "env:TOKEN", "attempts": 1})
        home.command("run", f"{pipeline}:bad", expect=1)
        until(lambda: [row["state"] for row in rows(home)] == ["failed"])
        assert server.requests[0].headers["authorization"] == "Bearer a-very-secret-token"
        assert elsewhere.requests == []
    assert "redirect" in rows(home)[0]["message"]


def test_a_secret_that_is_missing_is_said_and_never_shown(home, pipeline, server):
    configure(home, {"name": "hook", "kind": "webhook", "url": server.url, "token": "env:NOT_THERE", "attempts": 1})
    home.command("run", f"{pipeline}:bad", expect=1)
    until(lambda: [row["state"] for row in rows(home)] == ["failed"])
    assert "export NOT_THERE" in rows(home)[0]["message"]
    assert server.requests == []


def test_a_secret_of_a_task_is_masked_in_what_is_told(home, pipeline, server):
    home.environment["LEAKED"] = "correct-horse-battery"
    configure(home, {"name": "hook", "kind": "webhook", "url": server.url, "events": ["task.failed", "run.failed"]})
    home.command("run", f"{pipeline}:leaky", expect=1)
    server.wait(2)
    assert not any(b"correct-horse" in request.body for request in server.requests)
    assert any("the key is ***" in request.body.decode() for request in server.requests)


def test_slack_is_told_in_blocks_and_its_url_is_a_secret(home, pipeline, server):
    home.environment["SLACK_URL"] = f"{server.url}/services/T000/B000/XXXXXXXX"
    configure(home, {"name": "chat", "kind": "slack", "url": "env:SLACK_URL", "events": ["task.failed"]})
    home.command("run", f"{pipeline}:bad", expect=1)
    (request,) = server.wait(1)
    assert request.path == "/services/T000/B000/XXXXXXXX"
    header, section, reason, then = request.json["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "bad/1 fails: failed"}
    assert {"type": "mrkdwn", "text": "*DAG*\nbad"} in section["fields"]
    assert "no such &lt;table&gt; &amp; more" in reason["text"]["text"]
    assert "clearance logs bad/1 fails" in then["elements"][0]["text"]
    assert "/services/" not in home.command("notify", "list", "--json")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_is_sent_over_tls_with_a_login_and_again_where_it_was_refused(home, pipeline, tmp_path, security):
    files = certificate(tmp_path)
    home.environment["MAIL_WORD"] = "s3cret-word"
    with mail_server(files, security) as box:
        box.refuse = 1
        configure(home, {
            "name": "mail", "kind": "smtp", "host": "127.0.0.1", "port": box.port, "security": security,
            "sender": "tower@example.org", "to": ["mia@example.org", "ben@example.org"], "user": "tower",
            "password": "env:MAIL_WORD", "authority": str(files[0]), "events": ["task.failed"],
        })  # fmt: skip
        home.command("run", f"{pipeline}:bad", expect=1)
        until(lambda: len(box.mails) == 1)
    (mail,) = box.mails
    assert mail["Subject"] == "[clearance] bad/1 fails: failed"
    assert mail["To"] == "mia@example.org, ben@example.org"
    assert "no such <table> & more" in mail.get_content()
    assert mail["Message-ID"].endswith("@example.org>")
    assert set(box.logins) == {(b"tower", b"s3cret-word")}


def test_a_test_message_says_at_once_whether_it_is_taken(home, server):
    configure(home, {"name": "hook", "kind": "webhook", "url": server.url})
    assert "hook took it" in home.command("notify", "test", "hook")
    assert server.requests[0].json["type"] == "test"
    server.statuses = [401]
    assert "answers 401" in home.command("notify", "test", "hook", expect=4)
    assert "did you mean 'hook'" in home.command("notify", "test", "hok", expect=2)


class Turning:
    """A tower whose deliveries are sent, turned by hand."""

    def __init__(self, tower: Tower) -> None:
        self.tower = tower
        self.read, write = os.pipe2(os.O_NONBLOCK)
        tower.controller.deliveries.connect(write)
        self.write = write

    def until_told(self) -> None:
        assert select.select([self.read], [], [], 20)[0]
        os.read(self.read, 4096)
        self.tower.turn()

    def close(self) -> None:
        self.tower.controller.deliveries.close()
        os.close(self.read)
        os.close(self.write)
        self.tower.close()


@pytest.fixture
def turning(database_url: str, tmp_path: Path, server: Recorder, monkeypatch: pytest.MonkeyPatch) -> Iterator[Turning]:
    import support.controllers as controllers

    one = {"name": "hook", "kind": "webhook", "url": server.url, "events": ["run.created"], "attempts": 2}
    told = sinks.parse([one])
    made = controllers.Settings

    def configured(**options: Any) -> Settings:
        return made(**options, database_url=database_url, notify=told)

    monkeypatch.setattr(controllers, "Settings", configured)
    found = Turning(Tower(database_url, tmp_path, Clock(NOON)))
    yield found
    found.close()


def states(tower: Tower) -> list[tuple[str, int]]:
    return [(row[4], row[5]) for row in tower.database.rows("deliveries_list", "", "", "", "", 50)]


def test_the_outcome_is_committed_by_the_controller_with_its_next_turn(turning: Turning, server: Recorder):
    tower = turning.tower
    submit(tower, dag("one", work))
    assert states(tower) == [("pending", 0)]
    turning.until_told()
    assert states(tower) == [("delivered", 1)]
    assert not tower.controller.deliveries.pending


def test_a_try_that_failed_waits_longer_each_time_and_is_then_given_up(turning: Turning, server: Recorder):
    tower = turning.tower
    server.statuses = [500, 500]
    submit(tower, dag("one", work))
    turning.until_told()
    (row,) = tower.database.rows("deliveries_list", "", "", "", "", 50)
    assert (row[4], row[5]) == ("pending", 1)
    assert NOON + 0.5 <= row[6] <= NOON + 1
    tower.clock.now = NOON + 2
    tower.controller.deliveries._senders["hook"].nudge()
    turning.until_told()
    assert states(tower) == [("failed", 2)]
    kinds = [row[4] for row in tower.database.rows("events_after", 1, 0)]
    assert kinds[-1] == "delivery"
    assert len(server.requests) == 2
    assert tower.controller.deliveries.again("hook") == 1
    tower.turn()
    turning.until_told()
    assert states(tower) == [("delivered", 1)]


def test_a_death_between_any_two_statements_leaves_each_event_with_its_delivery_or_neither(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import support.controllers as controllers

    hook = {"name": "hook", "kind": "webhook", "url": "http://localhost:9", "events": ["run.*", "task.*"]}
    told = sinks.parse([hook])
    made = controllers.Settings
    monkeypatch.setattr(controllers, "Settings", lambda **options: made(**options, notify=told))
    clock = Clock(NOON)
    for after in range(40):
        clock.now += 60
        tower = Tower(database_url, tmp_path, clock)
        ended = False
        with crashing(tower.database, after) as dead:
            try:
                submit(tower, dag("one", work))
                tower.settle()
            except Crash:
                ended = True
            assert dead() == ended
        with Database(database_url) as database:
            events = database.dialect.execute("SELECT run, seq FROM event WHERE kind <> 'delivery' ORDER BY run, seq")
            rows = database.dialect.execute("SELECT run, seq FROM delivery ORDER BY run, seq")
        assert events == rows
        if not ended:
            tower.close()
            assert after > 5
            break
    else:
        raise AssertionError("it never comes to its end")


def test_what_was_delivered_is_forgotten_after_a_week(turning: Turning):
    tower = turning.tower
    submit(tower, dag("one", work))
    turning.until_told()
    tower.turn(NOON + 6 * 86_400)
    assert states(tower) == [("delivered", 1)]
    tower.turn(NOON + 8 * 86_400)
    assert states(tower) == []


def test_a_server_that_answers_a_byte_at_a_time_is_left_in_time():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with contextlib.suppress(OSError):
                for byte in itertools.cycle(b"HTTP/1.1 "):
                    connection.sendall(bytes([byte]))
                    time.sleep(0.02)

        threading.Thread(target=drip, daemon=True).start()
        with pytest.raises(Undelivered, match=r"no answer within 0\.3 s"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", b"{}", {}, 0.3)


def test_how_long_a_sink_asks_to_be_left_alone_is_respected(turning: Turning, server: Recorder):
    server.statuses, server.headers = [429], {"Retry-After": "120"}
    submit(turning.tower, dag("one", work))
    turning.until_told()
    (row,) = turning.tower.database.rows("deliveries_list", "", "", "", "", 50)
    assert row[6] == NOON + 120


def test_a_turn_that_is_not_committed_tells_nobody(turning: Turning, server: Recorder):
    tower = turning.tower
    tower.database.dialect.execute("UPDATE lease SET epoch = epoch + 1")
    with pytest.raises(Exception, match="another controller"):
        submit(tower, dag("one", work))
    assert states(tower) == []
    assert server.requests == []


def test_a_sink_without_its_extra_is_refused_with_the_line_that_installs_it(tmp_path, monkeypatch):
    import support.controllers as controllers

    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    told = sinks.parse([{"name": "traces", "kind": "otel", "url": "http://localhost:4318/v1/traces"}])
    made = controllers.Settings
    monkeypatch.setattr(controllers, "Settings", lambda **options: made(**options, notify=told))
    with pytest.raises(MissingExtra, match=r"pip install 'clearance\[otel\]'"):
        Tower(f"sqlite:///{tmp_path}/clearance.db", tmp_path, Clock(NOON))


def test_a_task_that_asks_for_a_decision_is_told_as_approval_with_the_command(home, server, tmp_path):
    (tmp_path / "pipeline.py").write_text(
        "from clearance import dag, task\nfrom clearance.operators import approval\n"
        "@dag\ndef asks():\n    approval('ship', message='Ship it?')\n"
    )
    home.environment["SLACK_URL"] = server.url
    configure(home, {"name": "chat", "kind": "slack", "url": "env:SLACK_URL"})
    process = home.start("run", f"{tmp_path / 'pipeline.py'}:asks")
    (request,) = server.wait(1)
    command = request.json["blocks"][-1]["elements"][0]["text"].strip("`").split()
    assert command[:3] == ["clearance", "approve", "asks/1"]
    home.command(*command[1:])
    assert process.wait(30) == 0
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "webhook", "url": "http://example.org/x"}, "in the clear"),
        ({"kind": "webhook", "url": "https://me:word@example.org/x"}, "user or password"),
        ({"kind": "webhook", "url": "https://example.org", "token": "my-very-own-token"}, "by reference"),
        ({"kind": "webhook", "url": "https://example.org", "events": ["run.faild"]}, "did you mean 'run.failed'"),
        ({"kind": "slack", "url": "https://hooks.slack.com/services/T/B/X"}, "is a secret"),
        ({"kind": "smtp", "host": "mail.example.org", "security": "none", "sender": "a@b.c", "to": ["a@b.c"]}, "clear"),
        ({"kind": "smtp", "host": "localhost", "sender": "a@b.c", "to": ["nobody"]}, "no mail address"),
        ({"kind": "openlineage"}, "url or file"),
        ({"kind": "openlineage", "file": "relative.jsonl"}, "absolute"),
        ({"kind": "pigeon"}, "pigeon"),
        ({"kind": "webhook", "url": "https://example.org", "colour": "red"}, "colour"),
        ({"kind": "webhook"}, "url"),
    ],
)
def test_a_wrong_sink_is_refused_by_name_before_anything_runs(home, pipeline, entry, said):
    configure(home, {"name": "one", **entry})
    printed = home.command("run", f"{pipeline}:good", expect=2)
    assert printed.startswith("error: notify: ")
    assert said in printed
    assert "my-very-own-token" not in printed
    assert not (home.path / "clearance.db").exists()


def test_sinks_stand_in_the_file_and_travel_to_other_processes(tmp_path: Path):
    (tmp_path / "clearance.toml").write_text(
        '[[notify]]\nname = "a"\nkind = "otel"\nurl = "http://localhost:4318/v1/traces"\n'
        '[[notify]]\nname = "b"\nkind = "openlineage"\nfile = "/tmp/lineage.jsonl"\n'
    )
    found = load({}, tmp_path)
    assert [each.kind for each in found.notify] == ["otel", "openlineage"]
    assert load(found.environment(), tmp_path / "elsewhere").notify == found.notify
    assert "CLEARANCE_NOTIFY" not in Settings().environment()
