"""What a decision costs beside the bare call of Cedar with everything parsed before, in the same run.

Prints `key: value` lines. Both judge the same evidence by the same 20 or 200 rules: production's and some that
look for vulnerabilities. `new` is an artifact that was never seen, `text` parses the policy in each call.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import cedarpy
from bench.common import show

from clearance.trust.policy import facts
from clearance.trust.policy.decide import Decider, Target
from clearance.trust.policy.facts import Evidence, Facts
from clearance.trust.policy.rules import parse, text_of
from clearance.types.principal import Principal

ROUNDS, CALLS = 15, 200
ANN = Principal("ann", ("research", "vision"), ("operator",))
RULE = """
@id("ban-{number}") @needs("vulnerabilities") @reason("it has CVE-2026-{number}") @mend("use a later version")
forbid (principal, action, resource)
when {{ context has vulnerabilities && context.vulnerabilities.ids.contains("CVE-2026-{number}") }};
"""
PROVENANCE = facts.ProvenanceFacts("https://clearance.dev/builder/local/sandbox", "local", "sandbox", True, "main", "t")


def evidence(number: int) -> Evidence:
    """Returns good evidence, unlike that of another number."""
    return Evidence(
        Facts(
            signatures=2,
            signers=(f"{number:064x}", "b" * 64),
            provenance=PROVENANCE,
            vulnerabilities=facts.VulnerabilityFacts(databaseDays=1, total=1, ids=("CVE-2025-1",)),
            licences=facts.LicenceFacts(True, ("Apache-2.0", "MIT")),
            tests=facts.TestFacts("PASSED", ("accuracy",)),
        )
    )


def costs(*functions: Callable[[int], object]) -> list[list[float]]:
    """Returns CPU microseconds a call of each function, by round; the functions take turns."""
    found: list[list[float]] = [[] for _ in functions]
    serial = 0
    for _ in range(ROUNDS):
        for function, times in zip(functions, found, strict=True):
            start = time.process_time()
            for _ in range(CALLS):
                serial += 1
                function(serial)
            times.append((time.process_time() - start) / CALLS * 1e6)
    return found


def measure(count: int) -> None:
    """Shows the rows of a policy of so many rules."""
    text = text_of("production")
    text += "".join(RULE.format(number=number) for number in range(count - text.count("@id(")))
    policy = parse(text, "bench")
    decider = Decider(policy)
    target = Target("sha256:" + "0" * 64, "model", "cats")
    many = {serial: evidence(serial) for serial in range(1, 4 * ROUNDS * CALLS + 1)}
    for each in many.values():
        assert each.digest
    entities = decider._entities_of(ANN, target)

    def request(serial: int) -> dict[str, object]:
        return {
            "principal": {"type": "User", "id": ANN.name}, "action": {"type": "Action", "id": "serve"},
            "resource": {"type": "Artifact", "id": target.digest}, "context": many[serial].context,
        }  # fmt: skip

    def bare(serial: int) -> object:
        return cedarpy.is_authorized(request(serial), policy.parsed, entities)

    def ours(serial: int) -> object:
        return decider.decide(ANN, "serve", target, many[serial])

    def new(serial: int) -> object:
        return decider.decide(ANN, "serve", Target(str(serial), "model", "cats"), many[serial])

    first = many[1]

    def cached(_: int) -> object:
        return decider.decide(ANN, "serve", target, first)

    assert decider.decide(ANN, "serve", target, first).allowed
    asked, answered, unseen, known = costs(bare, ours, new, cached)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(answered, asked, strict=True))
    show(f"trust.policy.{count}.bare_us", statistics.median(asked))
    show(f"trust.policy.{count}.decision_us", statistics.median(answered))
    show(f"trust.policy.{count}.ratio", ratio, "<= 1.3", ratio <= 1.3)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(unseen, asked, strict=True))
    show(f"trust.policy.{count}.new_ratio", ratio)
    show(f"trust.policy.{count}.cached_us", statistics.median(known), "<= 10", statistics.median(known) <= 10)
    start = time.process_time()
    for serial in range(1, 21):
        cedarpy.is_authorized(request(serial), text, entities)
    show(f"trust.policy.{count}.text_us", (time.process_time() - start) / 20 * 1e6)


def main() -> None:
    for count in (20, 200):
        measure(count)


if __name__ == "__main__":
    main()
