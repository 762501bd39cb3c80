"""What must agree between the queues of a partition.

Rules (YuniKorn, "Partition and Queue Configuration"; its configuration validator):

1. The root has no resources: its maximum is what the nodes have.
2. A queue guarantees no more than its maximum; its maximum is within that of each queue above it.
3. What the children guarantee together is within the guarantee and the maximum of their parent. A parent that
   guarantees nothing of a resource counts with the sum of its children.
4. The applications of a queue and of each limit are within those of each queue above.
5. Each user and each group is named once in the limits of a queue; `*` comes last; a `*` of groups needs a named group.
6. A limit is within the maximum of its queue, and within the limit of the same user or group above.
7. Shares are rescaled (`queue.sort.policy: drf`) all the way down: nothing below says otherwise.
8. A placement rule without `create` names queues that are there; a fixed queue is a leaf, one with queues below is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from clearance.cluster.model import ROOT, Limit, PartitionConfig, PlacementRule, QueueConfig
from clearance.cluster.problems import Problems
from clearance.cluster.quantities import Amounts, add, exceeding, format_quantity, minimum

Held = Mapping[str, Limit]  # what holds from above, by `users.NAME` or `groups.NAME`


def validate(partition: PartitionConfig, problems: Problems) -> None:
    """Adds what does not agree to the problems."""
    root = partition.root
    if root.guaranteed or root.max:
        line = problems.line("root.resources") or root.line
        problems.add("root.resources is set: take it away; the root has what the nodes have", line)
    for child in root.children:
        _resources(child, {}, problems)
    for queue in root.walk():
        _template(queue, problems)
        _limits(queue, problems)
        _sorted_alike(queue, problems)
    _applications(root, None, problems)
    _inherited(root, {}, problems)
    for i, rule in enumerate(partition.placement_rules):
        _rule(rule, f"partitions.{partition.name}.placementrules[{i}]", partition, problems)


def _resources(queue: QueueConfig, above: Amounts, problems: Problems) -> Amounts:
    """Checks a queue and those below it; returns what it guarantees, as its parent counts it."""
    path = queue.path
    for name in exceeding(queue.guaranteed, queue.max):
        has, most = (format_quantity(name, amounts[name]) for amounts in (queue.guaranteed, queue.max))
        problems.add(
            f"{path}.resources.guaranteed.{name} is {has} but its max is {most}: lower it, or raise the max",
            _line(problems, queue, f"resources.guaranteed.{name}"),
        )
    for name in exceeding(queue.max, above):
        has, most = format_quantity(name, queue.max[name]), format_quantity(name, above[name])
        problems.add(
            f"{path}.resources.max.{name} is {has} but above it the max is {most}: lower it, or raise that",
            _line(problems, queue, f"resources.max.{name}"),
        )
    most_here = minimum(queue.max, above)
    total: dict[str, int] = {}
    for child in queue.children:
        total = add(total, _resources(child, most_here, problems))
    for what, bound in (("guaranteed", queue.guaranteed), ("max", queue.max)):
        for name in exceeding(total, bound):
            has, most = format_quantity(name, total[name]), format_quantity(name, bound[name])
            problems.add(
                f"the queues below {path!r} guarantee {name}={has} together but its {what} is {most}: lower theirs, or "
                f"raise {path}.resources.{what}.{name}",
                _line(problems, queue, f"resources.{what}.{name}"),
            )
    return {**total, **queue.guaranteed}


def _template(queue: QueueConfig, problems: Problems) -> None:
    template = queue.child_template
    if template is None:
        return
    for name in exceeding(template.guaranteed, template.max):
        has, most = (format_quantity(name, amounts[name]) for amounts in (template.guaranteed, template.max))
        problems.add(
            f"{queue.path}.childtemplate.resources.guaranteed.{name} is {has} but its max is {most}: lower it",
            _line(problems, queue, f"childtemplate.resources.guaranteed.{name}", "childtemplate"),
        )


def _sorted_alike(queue: QueueConfig, problems: Problems) -> None:
    if queue.properties.queue_sort_policy != "drf":
        return
    below = [(f"{child.path}.properties", child.own_properties) for child in queue.children]
    if queue.child_template is not None:
        below.append((f"{queue.path}.childtemplate.properties", queue.child_template.properties))
    for at, properties in below:
        if (said := properties.get("queue.sort.policy", "drf")).lower() != "drf":
            line = problems.line(f"{at}.queue.sort.policy") or queue.line
            problems.add(
                f"{at}.queue.sort.policy is {said!r} but that of {queue.path!r} is 'drf', for all below it: take it "
                "away",
                line,
            )


def _applications(queue: QueueConfig, above: QueueConfig | None, problems: Problems) -> None:
    own = queue.max_applications
    if above is not None and own is not None and own > (above.max_applications or own):
        problems.add(
            f"{queue.path}.maxapplications is {own} but {above.path!r} has {above.max_applications}: lower it",
            _line(problems, queue, "maxapplications"),
        )
    nearest_bound = queue if own is not None else above
    for child in queue.children:
        _applications(child, nearest_bound, problems)


def _limits(queue: QueueConfig, problems: Problems) -> None:
    named: dict[str, set[str]] = {"users": set(), "groups": set()}
    for limit in queue.limits:
        at, line = limit.where, problems.line(limit.where) or queue.line
        for kind, names in (("users", limit.users), ("groups", limit.groups)):
            for name in names:
                if name in named[kind]:
                    problems.add(f"{at}.{kind} has {name!r}, who has a limit here already: join the two", line)
                elif "*" in named[kind]:
                    problems.add(f"{at}.{kind} has {name!r} after the '*': put the '*' last", line)
                named[kind].add(name)
        if named["groups"] == {"*"} and "*" in limit.groups:
            problems.add(f"{at}.groups is '*' alone: name a group before it, or use the maximum of the queue", line)
        for name in exceeding(limit.max_resources, queue.max):
            has, most = format_quantity(name, limit.max_resources[name]), format_quantity(name, queue.max[name])
            problems.add(
                f"{at}.maxresources.{name} is {has} but the max of {queue.path!r} is {most}: lower it",
                problems.line(f"{at}.maxresources.{name}") or line,
            )
        if (limit.max_applications or 0) > (queue.max_applications or limit.max_applications or 0):
            problems.add(
                f"{at}.maxapplications is {limit.max_applications} but {queue.path!r} has {queue.max_applications}: "
                "lower it",
                problems.line(f"{at}.maxapplications") or line,
            )


def _inherited(queue: QueueConfig, above: Held, problems: Problems) -> None:
    held: dict[str, Limit] = dict(above)
    for limit in queue.limits:
        at = limit.where
        for who in (*(f"users.{name}" for name in limit.users), *(f"groups.{name}" for name in limit.groups)):
            if who not in above:
                held[who] = limit
                continue
            outer = above[who]
            kind, name = who.split("s.", 1)
            line = problems.line(at) or queue.line
            for resource in exceeding(limit.max_resources, outer.max_resources):
                has = format_quantity(resource, limit.max_resources[resource])
                most = format_quantity(resource, outer.max_resources[resource])
                problems.add(
                    f"{at}.maxresources.{resource} is {has} but above it {kind} {name!r} has {most}: lower it",
                    problems.line(f"{at}.maxresources.{resource}") or line,
                )
            if (limit.max_applications or 0) > (outer.max_applications or limit.max_applications or 0):
                problems.add(
                    f"{at}.maxapplications is {limit.max_applications} but above it {kind} {name!r} has "
                    f"{outer.max_applications}: lower it",
                    problems.line(f"{at}.maxapplications") or line,
                )
            held[who] = _tighter(limit, outer)
    for child in queue.children:
        _inherited(child, held, problems)


def _tighter(limit: Limit, outer: Limit) -> Limit:
    counts = [count for count in (limit.max_applications, outer.max_applications) if count is not None]
    resources = minimum(limit.max_resources, outer.max_resources)
    return Limit(max_resources=resources, max_applications=min(counts, default=None))


def _rule(rule: PlacementRule, at: str, partition: PartitionConfig, problems: Problems) -> None:
    for each in _chain(rule):
        if each.name == "fixed" and _qualified(each.value) and each.parent is not None:
            problems.add(f"{at}: 'fixed {each.value}' begins at the root: take its `parent` away", each.line)
            return
    path, dynamic = _static_path(rule)
    if not path or "" in path.split("."):
        return
    below = partition.root
    for part in path.split(".")[1:]:
        child = next((each for each in below.children if each.name == part), None)
        if child is None:
            if below.is_leaf:
                problems.add(f"{at}: {path!r} cannot be made, since {below.path!r} is a leaf", rule.line)
            elif not rule.create:
                problems.add(f"{at}: there is no queue {path!r}; declare it, or write `create: true`", rule.line)
            return
        below = child
    if dynamic and below.is_leaf:
        problems.add(f"{at}: {path!r} is a leaf; a queue that others are put below has `parent: true`", rule.line)
    elif not dynamic and not below.is_leaf:
        problems.add(f"{at}: {path!r} is a parent; name a leaf below it", rule.line)


def _static_path(rule: PlacementRule) -> tuple[str, bool]:
    """Returns the path that a chain begins with whoever submits, and whether something else follows it."""
    parts: list[str] = []
    for each in _chain(rule):
        if each.name != "fixed":
            return ".".join(parts), True
        parts = [each.value] if _qualified(each.value) else [*(parts or [ROOT]), each.value]
    return ".".join(parts), False


def _chain(rule: PlacementRule) -> Iterator[PlacementRule]:
    """Yields a rule and those above it, the uppermost first."""
    if rule.parent is not None:
        yield from _chain(rule.parent)
    yield rule


def _qualified(queue: str) -> bool:
    return queue == ROOT or queue.startswith(f"{ROOT}.")


def _line(problems: Problems, queue: QueueConfig, *keys: str) -> int:
    return problems.line(*(f"{queue.path}.{key}" for key in keys)) or queue.line
