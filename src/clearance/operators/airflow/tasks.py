"""Airflow's operators and decorated functions, each as the call of ours that does the same."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping

from clearance.operators.airflow.options import NO_DEFAULTS, task_options
from clearance.operators.airflow.source import UNKNOWN, Source

EMPTY = "nothing"
NOT_CARRIED = "not_carried"
_CONTEXT = {
    "ti", "task_instance", "ds", "ds_nodash", "ts", "dag_run", "execution_date", "logical_date", "run_id", "dag",
    "task", "data_interval_start", "data_interval_end", "next_ds", "prev_ds", "params", "var", "conf", "macros",
}  # fmt: skip
_CONTEXT_MEND = "take what it needs as parameters, and ask clearance.context for the run and its interval"
_COMMON = {"task_id"}
_OF_DECORATORS = {
    "multiple_outputs": "a task returns one value: a dict, or a dataclass",
    "requirements": "install them: a pipeline has one environment",
    "system_site_packages": "install what it needs: a pipeline has one environment",
    "python": "install what it needs: a pipeline has one environment",
}


class Tasks:
    """Translates the tasks of a file.

    Args:
        source: the file; gets the notes.

    Attributes:
        used: names of ours that the result needs.
        places: constants that stand for Airflow's connections, by name.
        defaults: `default_args` of the DAG that is being read.
        made: id of the task of each TaskFlow function, by the function's name.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.used: set[str] = set()
        self.places: dict[str, str] = {}
        self.made: dict[str, str] = {}
        self.defaults = NO_DEFAULTS

    def operator(self, node: ast.Call) -> ast.expr | None:
        """Returns our call for one of an Airflow operator; None when it calls something else."""
        name = self.source.called(node)
        if not re.search(r"(Operator|Sensor|SensorAsync|OperatorAsync)\Z", name):
            return None
        if node.args:
            self.source.note(node, f"{name} has arguments without names", "name them")
        if "." in name:
            name = name.rpartition(".")[2]
        translate = _OPERATORS.get(name)
        given = {each.arg: each.value for each in node.keywords if each.arg}
        if "task_id" not in given:
            self.source.note(node, f"{name} has no task_id", "give it one")
            given["task_id"] = ast.Constant(name.lower())
        found = translate(self, node, given) if translate else None
        if found is None:
            if translate is None:
                mend = _MENDS.get(name, "write a @task function, or one of clearance.operators")
                self.source.note(node, f"{name} is not carried", mend)
            return self._missing(node, given["task_id"], name)
        return found

    def _missing(self, node: ast.Call, task_id: ast.expr, name: str) -> ast.expr:
        """Returns a task that stands in the graph where the operator stood, and fails if it is run."""
        self.used.add(NOT_CARRIED)
        options = task_options(self.source, node, self.defaults, {each.arg for each in node.keywords if each.arg})
        whole = [ast.keyword("options", _dict(options))] if options else []
        self.used.add("python")
        arguments: list[ast.expr] = [task_id, ast.Name(NOT_CARRIED)]
        return ast.Call(ast.Name("python"), arguments, [*whole, ast.keyword("what", ast.Constant(name))])

    def call(
        self,
        ours: str,
        node: ast.Call,
        arguments: list[ast.expr],
        keywords: Mapping[str, ast.expr | None],
        own: set[str],
    ) -> ast.Call:
        """Returns a call of an operator of ours with the task's options."""
        self.used.add(ours)
        kept = [ast.keyword(name, value) for name, value in keywords.items() if value is not None]
        options = task_options(self.source, node, self.defaults, own | _COMMON)
        if any(each.arg == "retries" for each in options):
            self.used.add("Retry")
        return ast.Call(ast.Name(ours), arguments, kept + options)

    def decorate(self, function: ast.FunctionDef) -> bool:
        """Makes the function of a TaskFlow decorator a task of ours; False where it cannot be one."""
        for index, decorator in enumerate(function.decorator_list):
            inner = decorator.func if isinstance(decorator, ast.Call) else decorator
            name = self.source.airflow_name(inner)
            if isinstance(inner, ast.Attribute) and self.source.airflow_name(inner.value) == "task":
                name = f"task.{inner.attr}"
            if name == "task" or name in ("task.python", "task.virtualenv", "task.external_python"):
                call = decorator if isinstance(decorator, ast.Call) else ast.Call(inner, [], [])
                function.decorator_list[index] = self._task(call)
            elif name == "task.sensor":
                self.used.add("sensor")
                given = {e.arg: e.value for e in getattr(decorator, "keywords", []) if e.arg}
                function.decorator_list[index] = ast.Call(
                    ast.Name("sensor"), [], [ast.keyword(key, given[key]) for key in _PACE if key in given]
                )
            elif name.startswith("task."):
                mend = "use `with when(…)`" if "branch" in name or "short" in name else "use clearance.operators"
                self.source.note(function, f"@{name} is not carried", mend)
                self.used.add("task")
                function.decorator_list[index] = ast.Name("task")
                function.body = [_refusal(f"@{name} of Airflow was not carried")]
            else:
                continue
            given = {each.arg: each.value for each in getattr(decorator, "keywords", []) if each.arg}
            id = self.source.value(given.get("task_id"))
            self.made[function.name] = id if isinstance(id, str) else function.name
            self.without_context(function)
            return True
        return False

    def _task(self, call: ast.Call) -> ast.expr:
        self.used.add("task")
        own = {"task_id", "python_callable", *_OF_DECORATORS}
        given = {each.arg: each.value for each in call.keywords if each.arg}
        options = task_options(self.source, call, self.defaults, own)
        if any(each.arg == "retries" for each in options):
            self.used.add("Retry")
        if "task_id" in given:
            options.insert(0, ast.keyword("name", given["task_id"]))
        for name, mend in _OF_DECORATORS.items():
            if name in given and self.source.value(given[name]) not in (False, None):
                self.source.note(call, f"{name} is not carried", mend)
        return ast.Call(ast.Name("task"), [], options) if options else ast.Name("task")

    def without_context(self, function: ast.FunctionDef) -> None:
        """Takes Airflow's context out of a function's parameters; one that uses it must be written anew."""
        arguments = function.args
        names = [each.arg for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
        given = {name for name in names if name in _CONTEXT}
        if arguments.kwarg is not None:
            given.add(arguments.kwarg.arg)
        used = {each.id for each in ast.walk(function) if isinstance(each, ast.Name)} & given
        calls = {self.source.called(each) for each in ast.walk(function) if isinstance(each, ast.Call)}
        calls |= {
            self.source.airflow_name(each.value) for each in ast.walk(function) if isinstance(each, ast.Attribute)
        }
        calls |= {self.source.airflow_name(each) for each in ast.walk(function) if isinstance(each, ast.Name)}
        for name in sorted(calls - {"", "task", "dag"}):
            used.add(name)
        offset = len(arguments.args) - len(arguments.defaults)
        arguments.defaults = [
            value for index, value in enumerate(arguments.defaults) if arguments.args[offset + index].arg not in given
        ]
        arguments.args = [each for each in arguments.args if each.arg not in given]
        pairs = [
            (each, value)
            for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
            if each.arg not in given
        ]
        arguments.kwonlyargs = [each for each, _ in pairs]
        arguments.kw_defaults = [value for _, value in pairs]
        arguments.kwarg = None
        if used:
            what = ", ".join(sorted(used))
            self.source.note(function, f"{function.name} uses Airflow's {what}", _CONTEXT_MEND)
            documented = ast.get_docstring(function) is not None
            function.body.insert(int(documented), _refusal(f"{function.name} used Airflow's {what}: {_CONTEXT_MEND}"))

    def place(self, node: ast.Call, connection: ast.expr | None, kind: str, example: str) -> ast.expr:
        """Returns the constant that stands for a connection of Airflow's, which only its installation knows."""
        name = self.source.value(connection, kind)
        name = name if isinstance(name, str) else kind
        constant = re.sub(r"\W", "_", name).upper()
        if constant not in self.places:
            self.places[constant] = example
            self.source.note(
                node, f"the connection {name!r} is in Airflow's database", f"set {constant} in the new file"
            )
        return ast.Name(constant)


def _refusal(text: str) -> ast.stmt:
    return ast.Raise(ast.Call(ast.Name("NotImplementedError"), [ast.Constant(text)], []))


def _dict(keywords: list[ast.keyword]) -> ast.Dict:
    return ast.Dict([ast.Constant(each.arg) for each in keywords], [each.value for each in keywords])


_Given = dict[str, ast.expr]
_PACE = ("poke_interval", "timeout", "soft_fail")


def _bash(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"bash_command", "env", "append_env", "cwd", "skip_on_exit_code", "output_encoding"}
    command = given.get("bash_command")
    text = tasks.source.value(command)
    if command is None or (
        isinstance(text, str) and text.strip().endswith((".sh", ".bash")) and " " not in text.strip()
    ):
        tasks.source.note(node, "the script is a template in a file", "write it as shell='…'")
        return None
    keywords = {"shell": command, "env": given.get("env"), "cwd": given.get("cwd")}
    return tasks.call("bash", node, [given["task_id"]], keywords, own)


def _empty(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    tasks.used.add(EMPTY)
    return _as_python(tasks, node, given["task_id"], ast.Name(EMPTY), {}, set())


def _as_python(
    tasks: Tasks, node: ast.Call, task_id: ast.expr, function: ast.expr, inputs: Mapping[str, ast.expr], own: set[str]
) -> ast.Call:
    options = task_options(tasks.source, node, tasks.defaults, own | _COMMON)
    if any(each.arg == "retries" for each in options):
        tasks.used.add("Retry")
    tasks.used.add("python")
    keywords = [ast.keyword("options", _dict(options))] if options else []
    keywords += [ast.keyword(name, value) for name, value in inputs.items()]
    return ast.Call(ast.Name("python"), [task_id, function], keywords)


def _python(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"python_callable", "op_args", "op_kwargs", "templates_dict", "show_return_value_in_logs"}
    called = given.get("python_callable")
    inputs: dict[str, ast.expr] = {}
    if called is None or isinstance(called, ast.Lambda):
        tasks.source.note(node, "the function has no name", "write def at the top level of the file")
        return None
    function = tasks.source.functions.get(called.id) if isinstance(called, ast.Name) else None
    positional = tasks.source.expression(given.get("op_args", ast.List([])))
    if isinstance(positional, (ast.List, ast.Tuple)) and positional.elts:
        if function is None:
            tasks.source.note(node, "op_args have no names", "give the arguments by name")
            return None
        inputs |= dict(zip([each.arg for each in function.args.args], positional.elts, strict=False))
    named = tasks.source.expression(given.get("op_kwargs", ast.Dict([], [])))
    if isinstance(named, ast.Dict):
        for key, value in zip(named.keys, named.values, strict=True):
            name = tasks.source.value(key)
            if not isinstance(name, str):
                tasks.source.note(node, "op_kwargs are not written out", "give the arguments by name")
                return None
            inputs[name] = value
    elif isinstance(named, ast.Call) and isinstance(named.func, ast.Name) and named.func.id == "dict":
        inputs |= {each.arg: each.value for each in named.keywords if each.arg}
    else:
        tasks.source.note(node, "op_kwargs are not written out", "give the arguments by name")
        return None
    if function is not None:
        inputs |= _fixed_defaults(function, inputs)
        inputs = {name: value for name, value in inputs.items() if name not in _CONTEXT}
    return _as_python(tasks, node, given["task_id"], called, inputs, own)


def _fixed_defaults(function: ast.FunctionDef, inputs: Mapping[str, ast.expr]) -> dict[str, ast.expr]:
    """Returns the defaults of what is not given: in Airflow an arrow carries no value, so none may fill it."""
    arguments = function.args
    named = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    defaults = dict(zip([each.arg for each in named], arguments.defaults, strict=True))
    defaults |= {
        each.arg: value
        for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if value is not None
    }
    return {name: value for name, value in defaults.items() if name not in inputs}


def _http(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"http_conn_id", "endpoint", "method", "data", "headers", "log_response", "response_filter", "response_check",
           "extra_options", "auth_type"}  # fmt: skip
    for name in ("response_filter", "response_check", "extra_options", "auth_type"):
        if name in given:
            tasks.source.note(given[name], f"{name} is not carried", "do it in a @task after this one")
    base = tasks.place(node, given.get("http_conn_id"), "http_default", "https://host.invalid")
    url = _url(base, given.get("endpoint"))
    method = given.get("method", ast.Constant("POST"))
    keywords = {"method": method, "headers": given.get("headers"), "result": ast.Constant("text")}
    keywords["json" if isinstance(given.get("data"), ast.Dict) else "body"] = given.get("data")
    return tasks.call("http", node, [given["task_id"], url], keywords, own)


def _url(base: ast.expr, endpoint: ast.expr | None) -> ast.expr:
    if endpoint is None:
        return base
    if isinstance(endpoint, ast.Constant) and isinstance(endpoint.value, str):
        endpoint = ast.Constant("/" + endpoint.value.lstrip("/"))
    return ast.BinOp(base, ast.Add(), endpoint)


def _sql(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"sql", "conn_id", "postgres_conn_id", "mysql_conn_id", "sqlite_conn_id", "parameters", "autocommit",
           "database", "handler", "split_statements", "return_last", "show_return_value_in_logs"}  # fmt: skip
    statement = given.get("sql")
    text = tasks.source.value(statement)
    if statement is None or not (isinstance(text, str) or text is UNKNOWN) or str(text).rstrip().endswith(".sql"):
        tasks.source.note(node, "the statement is a list, or a template in a file", "write one statement a task")
        return None
    name = next((given[key] for key in given if key.endswith("conn_id")), None)
    url = tasks.place(node, name, "sql_default", "postgresql://user@host.invalid/database")
    keywords: dict[str, ast.expr | None] = {"parameters": given.get("parameters")}
    if isinstance(text, str) and not re.match(r"\s*(select|with|values|show)\b", text, re.IGNORECASE):
        keywords["result"] = ast.Constant("count")
    return tasks.call("sql", node, [given["task_id"], url, statement], keywords, own)


def _ssh(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"ssh_conn_id", "remote_host", "command", "ssh_hook", "conn_timeout", "cmd_timeout", "environment", "get_pty"}
    command = given.get("command")
    if command is None or "ssh_hook" in given or "environment" in given:
        tasks.source.note(
            node, "a hook or an environment of SSHOperator is not carried", "write ssh(name, host, [...])"
        )
        return None
    host = given.get("remote_host") or tasks.place(node, given.get("ssh_conn_id"), "ssh_default", "user@host.invalid")
    line = ast.List([ast.Constant("sh"), ast.Constant("-c"), command])
    return tasks.call("ssh", node, [given["task_id"], host, line], {}, own)


def _container(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"image", "command", "environment", "auto_remove", "docker_url", "network_mode", "user", "xcom_all"}
    image, command = given.get("image"), given.get("command")
    if image is None:
        tasks.source.note(node, "the container has no image", "give one")
        return None
    arguments = [given["task_id"], image]
    if isinstance(command, (ast.List, ast.Tuple)):
        arguments.append(ast.List(list(command.elts)))
    elif command is not None:
        arguments.append(ast.List([ast.Constant("sh"), ast.Constant("-c"), command]))
    name = tasks.source.value(image)
    tag = ast.Constant(True) if not (isinstance(name, str) and "@sha256:" in name) else None
    network = given.get("network_mode")
    keywords = {"env": given.get("environment"), "network": network, "user": given.get("user"), "allow_tag": tag}
    if tag is not None:
        tasks.source.note(node, f"the image {ast.unparse(image)} is named by a tag, which can move", "name its digest")
    return tasks.call("container", node, arguments, keywords, own)


def _notebook(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"input_nb", "output_nb", "parameters", "kernel_name", "language_name"}
    if "input_nb" not in given:
        tasks.source.note(node, "the notebook has no input_nb", "give its path")
        return None
    keywords = {"parameters": given.get("parameters"), "kernel": given.get("kernel_name")}
    if "output_nb" in given:
        tasks.source.note(given["output_nb"], "output_nb is not carried", "the executed notebook is the task's result")
    return tasks.call("notebook", node, [given["task_id"], given["input_nb"]], keywords, own)


def _trigger(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
    own = {"trigger_dag_id", "conf", "wait_for_completion", "poke_interval", "reset_dag_run", "trigger_run_id",
           "logical_date", "execution_date", "allowed_states", "failed_states", "deferrable"}  # fmt: skip
    if "trigger_dag_id" not in given:
        return None
    keywords = {"parameters": given.get("conf"), "wait": given.get("wait_for_completion")}
    return tasks.call("trigger_dag", node, [given["task_id"], given["trigger_dag_id"]], keywords, own)


def _sensor(kind: str, names: tuple[str, ...]) -> Callable[[Tasks, ast.Call, _Given], ast.expr | None]:
    def translate(tasks: Tasks, node: ast.Call, given: _Given) -> ast.expr | None:
        own = {*names, *_PACE, "mode", "deferrable", "fs_conn_id", "http_conn_id", "conn_id", "exponential_backoff",
               "request_params", "method", "response_check"}  # fmt: skip
        keywords = {name: given.get(name) for name in _PACE}
        subject = given.get(names[0])
        if subject is None or "response_check" in given:
            tasks.source.note(node, f"this {kind} is not carried", "write a @sensor function")
            return None
        arguments = [given["task_id"]]
        if kind == "http_sensor":
            base = tasks.place(node, given.get("http_conn_id"), "http_default", "https://host.invalid")
            arguments.append(_url(base, subject))
        elif kind == "sql_sensor":
            url = tasks.place(node, given.get("conn_id"), "sql_default", "postgresql://user@host.invalid/database")
            arguments += [url, subject]
            keywords["parameters"] = given.get("parameters")
        else:
            arguments.append(subject)
        return tasks.call(kind, node, arguments, keywords, own)

    return translate


_OPERATORS: dict[str, Callable[[Tasks, ast.Call, _Given], ast.expr | None]] = {
    "BashOperator": _bash,
    "EmptyOperator": _empty,
    "DummyOperator": _empty,
    "PythonOperator": _python,
    "HttpOperator": _http,
    "SimpleHttpOperator": _http,
    "SQLExecuteQueryOperator": _sql,
    "PostgresOperator": _sql,
    "SqliteOperator": _sql,
    "SSHOperator": _ssh,
    "DockerOperator": _container,
    "PapermillOperator": _notebook,
    "TriggerDagRunOperator": _trigger,
    "FileSensor": _sensor("file_sensor", ("filepath",)),
    "HttpSensor": _sensor("http_sensor", ("endpoint",)),
    "SqlSensor": _sensor("sql_sensor", ("sql", "parameters")),
    "DateTimeSensor": _sensor("time_sensor", ("target_time",)),
    "DateTimeSensorAsync": _sensor("time_sensor", ("target_time",)),
}
_MENDS = {
    "BranchPythonOperator": "use `with when(…)`",
    "ShortCircuitOperator": "use `with when(…)`",
    "ExternalTaskSensor": "have the other DAG make an asset, and wait for it",
    "PythonSensor": "write a @sensor function",
    "KubernetesPodOperator": "use container(…)",
    "PythonVirtualenvOperator": "write a @task function; the environment is the installation's",
    "EmailOperator": "add a notification",
}
