"""From the nodes of a `queues.yaml` to its data: each value on its own; what must agree is `cluster.validate`'s.

Rules (YuniKorn, "Partition and Queue Configuration", "App Placement Rules", "Sorting Policies"):

1. The queues of a partition are those below `root`; a single one of that name is the root itself.
2. The name of a queue has up to 64 letters, digits and `_ : # / @ -`; upper and lower case are the same.
3. A queue with queues below it is a parent; one without is a leaf, unless it says `parent: true`.
4. The limits of a partition are limits of its root.
"""

from __future__ import annotations

import math
import re

import yaml

from clearance.cluster.acl import GROUP, NOBODY, USER, Acl, parse_acl
from clearance.cluster.document import Fields, compose, line_of
from clearance.cluster.model import (
    DEFAULT_PARTITION,
    ROOT,
    ChildTemplate,
    Filter,
    Limit,
    PartitionConfig,
    PlacementRule,
    QueueConfig,
    SchedulerConfig,
)
from clearance.cluster.problems import Problems
from clearance.cluster.properties import QueueProperties, inherit, parse_property
from clearance.cluster.quantities import Amounts, check_name, parse_quantity
from clearance.cluster.validate import validate
from clearance.errors import UsageError, nearest
from clearance.types.queue import is_queue_name

FILE_KEYS = ("partitions", "checksum")
PARTITION_KEYS = (
    "name", "queues", "placementrules", "limits", "preemption", "nodesortpolicy", "statedumpfilepath",
    "usergroupresolver",
)  # fmt: skip
PREEMPTION_KEYS = ("enabled", "quotapreemptionenabled")
NODE_SORT_KEYS = ("type", "resourceweights")
NODE_SORT_POLICIES = ("fair", "binpacking")
QUEUE_KEYS = (
    "name", "parent", "queues", "resources", "maxapplications", "properties", "adminacl", "submitacl", "childtemplate",
    "limits",
)  # fmt: skip
RESOURCE_KEYS = ("guaranteed", "max")
TEMPLATE_KEYS = ("maxapplications", "properties", "resources")
LIMIT_KEYS = ("limit", "users", "groups", "maxresources", "maxapplications")
RULE_KEYS = ("name", "create", "filter", "parent", "value")
RULES = ("provided", "user", "fixed", "tag")
FILTER_KEYS = ("type", "users", "groups")

_IGNORED = {
    "statedumpfilepath": "nothing is dumped to a file; `clearance` shows the state",
    "usergroupresolver": "groups come with the principal who submits",
}
_SPECIAL = re.compile(r"[\\^$*+?()\[{}|]")


def parse(text: str, name: str = "queues.yaml") -> SchedulerConfig:
    """Returns the configuration that a text describes.

    Args:
        text: YAML.
        name: of the file, for the message.

    Raises:
        InvalidQueues: with all that is wrong with it.
    """
    problems = Problems()
    node = compose(text, problems)
    problems.raise_any(name)
    notes: list[str] = []
    file = Fields(node, "", problems, FILE_KEYS)
    if "checksum" in file:
        notes.append("checksum is ignored: the digest of the file is taken when it is applied")
    partitions: dict[str, PartitionConfig] = {}
    for element in file.elements("partitions"):
        partition = _partition(element, problems, notes)
        if partition.name in partitions:
            problems.add(
                f"partition {partition.name!r} stands twice: rename one, or join their queues", line_of(element)
            )
        else:
            partitions[partition.name] = partition
            validate(partition, problems)
    if not partitions:
        problems.add("it has no partition: write `partitions:` and below it `- name: default` with its `queues:`")
    problems.raise_any(name)
    return SchedulerConfig(tuple(partitions.values()), tuple(notes))


def _partition(node: yaml.Node, problems: Problems, notes: list[str]) -> PartitionConfig:
    name = Fields(node, "partitions", Problems(), None).text("name").lower() or DEFAULT_PARTITION
    fields = Fields(node, f"partitions.{name}", problems, PARTITION_KEYS)
    notes += [f"{fields.path(key)} is ignored: {why}" for key, why in _IGNORED.items() if key in fields]
    if "queues" not in fields:
        problems.add(f"{fields.path('queues')} is missing: a partition has at least `queues:`", fields.line)
    rules = tuple(
        _rule(element, f"{fields.path('placementrules')}[{i}]", problems, notes)
        for i, element in enumerate(fields.elements("placementrules"))
    )
    preemption = fields.mapping("preemption", PREEMPTION_KEYS)
    policy, weights = _node_sort(fields, problems)
    shared: dict[str, object] = {"placement_rules": rules} if rules else {}
    if weights:
        shared["resource_weights"] = weights
    return PartitionConfig(
        name,
        _root(fields, problems, notes),
        node_sort_policy=policy,
        preemption=preemption.boolean("enabled", True),
        quota_preemption=preemption.boolean("quotapreemptionenabled", False),
        **shared,  # type: ignore[arg-type]
    )


def _root(partition: Fields, problems: Problems, notes: list[str]) -> QueueConfig:
    limits = _limits(partition, problems)
    elements = partition.elements("queues")
    if len(elements) == 1 and Fields(elements[0], "", Problems(), None).text("name").lower() == ROOT:
        return _queue(elements[0], "", None, limits, problems, notes)
    children = _children(elements, ROOT, inherit(None, {}), problems, notes)
    return QueueConfig(ROOT, children, parent=True, limits=limits, line=partition.line_at("queues"))


def _children(
    nodes: list[yaml.Node], above: str, handed: QueueProperties, problems: Problems, notes: list[str]
) -> tuple[QueueConfig, ...]:
    found: dict[str, QueueConfig] = {}
    for node in nodes:
        queue = _queue(node, above, handed, (), problems, notes)
        if queue.name and queue.path in found:
            first = found[queue.path].line
            problems.add(f"queue {queue.path!r} stands twice, first on line {first}: rename one", queue.line)
        else:
            found[queue.path] = queue
    return tuple(found.values())


def _queue(
    node: yaml.Node, above: str, handed: QueueProperties | None, limits: tuple[Limit, ...], problems: Problems,
    notes: list[str],
) -> QueueConfig:  # fmt: skip
    name = Fields(node, above, Problems(), None).text("name")
    path = f"{above}.{name}".lower() if above else name.lower()
    fields = Fields(node, path, problems, QUEUE_KEYS)
    if not name:
        problems.add(f"a queue below {above!r} has no name: write `name:`", fields.line)
    elif not is_queue_name(name):
        problems.add(
            f"queue {path!r}: {name!r} cannot be a name; use 1 to 64 of a-z A-Z 0-9 _ : # / @ -"
            f"{' (a dot in a name is written _dot_)' if '.' in name else ''}",
            fields.line_at("name"),
        )
    own = _properties(fields.mapping("properties", None), problems)
    properties = inherit(handed, own)
    elements = fields.elements("queues")
    parent = fields.boolean("parent", default=not above or bool(elements))
    if elements and not parent:
        problems.add(f"{path}.parent is 'false' but it has queues: take `parent` away", fields.line_at("parent"))
    resources = fields.mapping("resources", RESOURCE_KEYS)
    template = _template(fields, problems, notes) if "childtemplate" in fields else None
    if template is not None and not (parent or elements):
        notes.append(
            f"{path}.childtemplate is ignored: {path!r} is a leaf; write `parent: true` to create queues below"
        )
    return QueueConfig(
        path,
        _children(elements, path, properties, problems, notes),
        parent=parent or not above,
        guaranteed=_amounts(resources, "guaranteed", problems),
        max=_maximum(resources, problems, notes),
        max_applications=fields.count("maxapplications"),
        submit_acl=_acl(fields, "submitacl", problems),
        admin_acl=_acl(fields, "adminacl", problems),
        limits=_limits(fields, problems) + limits,
        properties=properties,
        own_properties=own,
        child_template=template,
        line=fields.line,
    )


def _amounts(fields: Fields, name: str, problems: Problems) -> Amounts:
    amounts: dict[str, int] = {}
    for resource, text, line in fields.mapping(name, None).items():
        with problems.at(line):
            amounts[resource] = parse_quantity(resource, text, fields.path(name))
    return amounts


def _properties(fields: Fields, problems: Problems) -> dict[str, str]:
    own: dict[str, str] = {}
    for name, text, line in fields.items():
        with problems.at(line):
            parse_property(name, text, fields.where)
            own[name] = text
    return own


def _acl(fields: Fields, name: str, problems: Problems) -> Acl:
    try:
        return parse_acl(fields.text(name), fields.path(name))
    except UsageError as error:
        problems.add(str(error), fields.line_at(name))
        return NOBODY


def _maximum(resources: Fields, problems: Problems, notes: list[str]) -> Amounts:
    amounts = _amounts(resources, "max", problems)
    if amounts and not any(amounts.values()):
        notes.append(f"{resources.path('max')} is ignored: all of it is 0, which means no maximum, as in YuniKorn")
        return {}
    return amounts


def _template(queue: Fields, problems: Problems, notes: list[str]) -> ChildTemplate:
    fields = queue.mapping("childtemplate", TEMPLATE_KEYS)
    resources = fields.mapping("resources", RESOURCE_KEYS)
    return ChildTemplate(
        fields.count("maxapplications"),
        _properties(fields.mapping("properties", None), problems),
        _amounts(resources, "guaranteed", problems),
        _maximum(resources, problems, notes),
    )


def _limits(above: Fields, problems: Problems) -> tuple[Limit, ...]:
    limits = []
    for i, node in enumerate(above.elements("limits")):
        fields = Fields(node, f"{above.path('limits')}[{i}]", problems, LIMIT_KEYS)
        problems.place(fields.where, fields.line)
        limit = Limit(
            fields.text("limit"),
            _names(fields, "users", USER, problems),
            _names(fields, "groups", GROUP, problems),
            _amounts(fields, "maxresources", problems),
            fields.count("maxapplications"),
            fields.where,
        )
        _limit_says_something(limit, fields, problems)
        limits.append(limit)
    return tuple(limits)


def _limit_says_something(limit: Limit, fields: Fields, problems: Problems) -> None:
    if not limit.users and not limit.groups:
        problems.add(f"{fields.where} is for nobody: write `users:` or `groups:`", fields.line)
    if limit.max_resources and not any(limit.max_resources.values()):
        line = fields.line_at("maxresources")
        problems.add(f"{fields.path('maxresources')} is all 0: give at least one resource more than 0", line)
    if "maxresources" not in fields and "maxapplications" not in fields:
        problems.add(f"{fields.where} limits nothing: write `maxresources:` or `maxapplications:`", fields.line)


def _names(fields: Fields, key: str, pattern: re.Pattern[str], problems: Problems) -> tuple[str, ...]:
    names = dict.fromkeys(fields.texts(key))
    for name in names:
        if name != "*" and not pattern.match(name):
            message = f"{fields.path(key)} has {name!r}, which can be no name; begin with a letter or '_', or write '*'"
            problems.add(message, fields.line_at(key))
    if "*" in names and len(names) > 1:
        problems.add(f"{fields.path(key)} has '*' beside names: give '*' a limit of its own", fields.line_at(key))
    return tuple(names)


def _node_sort(partition: Fields, problems: Problems) -> tuple[str, dict[str, float]]:
    if isinstance(partition.node("nodesortpolicy"), yaml.ScalarNode):
        policy, line, where = partition.text("nodesortpolicy"), partition.line_at("nodesortpolicy"), "nodesortpolicy"
        weights: dict[str, float] = {}
    else:
        fields = partition.mapping("nodesortpolicy", NODE_SORT_KEYS)
        policy, line, where = fields.text("type"), fields.line_at("type"), "nodesortpolicy.type"
        weights = _weights(fields.mapping("resourceweights", None), problems)
    policy = policy.lower() or "fair"
    if policy not in NODE_SORT_POLICIES:
        near = nearest(policy, NODE_SORT_POLICIES)
        problems.add(f"{partition.path(where)} is {policy!r}: use {' or '.join(NODE_SORT_POLICIES)}{near}", line)
    return policy, weights


def _weights(fields: Fields, problems: Problems) -> dict[str, float]:
    weights = {}
    for name, text, line in fields.items():
        with problems.at(line):
            check_name(name, fields.where, text)
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not 0 <= weight < math.inf:
            problems.add(f"{fields.path(name)} is {text!r}: write a number from 0", line)
        weights[name] = weight
    return weights


def _rule(node: yaml.Node, where: str, problems: Problems, notes: list[str]) -> PlacementRule:
    fields = Fields(node, where, problems, RULE_KEYS)
    name, value = fields.text("name").lower(), fields.text("value")
    if name not in RULES:
        problems.add(
            f"{fields.path('name')} is {name!r}: use {', '.join(RULES)}{nearest(name, RULES)}", fields.line_at("name")
        )
    elif name in ("fixed", "tag") and not value:
        what = "the queue" if name == "fixed" else "the name of the tag"
        problems.add(f"{where} is {name!r} without a value: write `value:` with {what}", fields.line)
    elif name in ("provided", "user") and value:
        notes.append(f"{fields.path('value')} is ignored: {name!r} takes no value")
    if name == "fixed" and not all(is_queue_name(part) for part in value.split(".") if value):
        problems.add(f"{fields.path('value')} is {value!r}: it can be no queue", fields.line_at("value"))
    above = _above(fields)
    return PlacementRule(
        name,
        fields.boolean("create", False),
        value.lower() if name in ("fixed", "tag") else "",
        None if above is None else _rule(above, fields.path("parent"), problems, notes),
        _filter(fields, problems),
        fields.line,
    )


def _above(fields: Fields) -> yaml.Node | None:
    """The node of the parent rule: a map, or a list of one as the documentation of YuniKorn writes it."""
    node = fields.node("parent")
    if isinstance(node, yaml.SequenceNode) and len(node.value) == 1:
        only: yaml.Node = node.value[0]
        return only
    return node


def _filter(rule: Fields, problems: Problems) -> Filter:
    fields = rule.mapping("filter", FILTER_KEYS)
    kind = fields.text("type").lower()
    if kind not in ("", "allow", "deny"):
        problems.add(f"{fields.path('type')} is {kind!r}: use allow or deny", fields.line_at("type"))
    users, user_pattern = _matched(fields, "users", USER, problems)
    groups, group_pattern = _matched(fields, "groups", GROUP, problems)
    return Filter(kind != "deny", users, groups, user_pattern, group_pattern)


def _matched(
    fields: Fields, key: str, pattern: re.Pattern[str], problems: Problems
) -> tuple[frozenset[str], str]:  # fmt: skip
    names: list[str] = [*dict.fromkeys(fields.texts(key))]
    if len(names) == 1 and _SPECIAL.search(names[0]) and not pattern.match(names[0]):
        try:
            re.compile(names[0])
        except (re.error, OverflowError, RecursionError) as error:
            message = f"{fields.path(key)} is {names[0]!r}: it is no regular expression ({error})"
            problems.add(message, fields.line_at(key))
        return frozenset(), names[0]
    for name in names:
        if not pattern.match(name):
            hint = "; a regular expression stands alone" if _SPECIAL.search(name) else ""
            problems.add(f"{fields.path(key)} has {name!r}, which can be no name{hint}", fields.line_at(key))
    return frozenset(names), ""
