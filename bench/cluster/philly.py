"""The developers' Philly trace on 40 nodes of 8 GPUs: how long jobs wait, and who waits longer than promised.

7,169 gang jobs in one queue in the order of their submission. Two ways to pack them: members of one GPU that go
anywhere, and as much of a job on one node as there is room for (a job of up to 8 GPUs on one node, a larger one on
whole nodes).
Published anchors of the second: FIFO 80.5 h, an EASY prototype with exact durations 12.8 h. A promise is the start that
was reserved for a job when it became the first of its queue.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.cluster.inputs import data
from bench.common import show

from clearance.cluster.config import default
from clearance.cluster.simulate import read_nodes, read_trace, simulate

NODES, GPUS = 40, 8
MOST = 12.8
CASES = (
    ("fifo", "fifo", "none"),
    ("skipping", None, "none"),
    ("easy", "easy", "exact"),
    ("sjbf", "sjbf", "exact"),
    ("sjbf_learnt", "sjbf", "learnt"),
    ("sjbf_wrong", "sjbf", "wrong:0.2-5"),
)
JUDGED = "sjbf"


def main() -> None:
    """Prints the figures."""
    file = data("philly_gangs_dev")
    if file is None:
        return
    nodes = read_nodes(f"{NODES}x{GPUS}gpu")
    for packing, whole in (("members", 0), ("nodes", GPUS)):
        trace = read_trace(file, whole)
        fifo = None
        for name, backfill, estimates in CASES:
            report = simulate(trace, default(), nodes, policy="binpacking", backfill=backfill, estimates=estimates)
            fifo = fifo or report
            key = f"cluster.philly.{packing}.{name}"
            judged = name == JUDGED
            hours = report.wait.mean / 3600
            show(f"{key}.wait_mean_h", hours, f"<= {MOST}" if judged else "", hours <= MOST if judged else None)
            show(f"{key}.jct_mean_h", report.jct.mean / 3600)
            show(f"{key}.wait_max_h", report.wait.max / 3600)
            if report.promises.made:
                broken = report.promises.broken
                show(f"{key}.promises", report.promises.made)
                show(f"{key}.broken_promises", broken, "0" if judged else "", not broken if judged else None)
            show(f"{key}.later_than_fifo_share", report.later_than(fifo))


if __name__ == "__main__":
    main()
