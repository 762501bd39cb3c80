"""What a person sees while a run goes on: a live view on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from clearance.store.outbox import Event

SHOWN = frozenset(
    {"running", "success", "failed", "up_for_retry", "skipped", "upstream_failed", "cancelled", "deferred"}
)
ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "cancelled"})
MANY = 50
MARKS = {"success": "✓", "failed": "✗", "upstream_failed": "✗", "cancelled": "✗", "skipped": "-", "up_for_retry": "↻"}
STYLES = {
    "success": "green",
    "failed": "red",
    "upstream_failed": "red",
    "cancelled": "yellow",
    "up_for_retry": "yellow",
}


class Progress(Protocol):
    """Is told what happens in a run."""

    def show(self, run: str, events: list[Event]) -> None:
        """Takes what happened, oldest first; nothing at all stands for the start of following."""

    def close(self) -> None:
        """Ends the view."""


class Maps:
    """Maps with many instances: of these only failures are worth a line, and how far they are."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._ended: dict[str, int] = {}

    def hides(self, event: Event) -> bool:
        """True for an event of an instance of a large map that says nothing a person waits for."""
        task = event.payload.get("task", "")
        if event.kind == "deferred" and event.payload.get("instances", 0) > MANY:
            self._totals[task] = event.payload["instances"]
        return self._of(task) in self._totals and event.kind not in ("failed", "up_for_retry")

    def step(self, event: Event) -> str:
        """Counts the end of an instance; returns how far the map is, each time a tenth of it has ended."""
        map_ = self._of(event.payload.get("task", ""))
        total = self._totals.get(map_)
        if total is None or event.kind not in ENDED:
            return ""
        ended = self._ended[map_] = self._ended.get(map_, 0) + 1
        tenth = ended * 10 // total > (ended - 1) * 10 // total
        return f"{map_}  {ended} of {total} ended" if tenth else ""

    @staticmethod
    def _of(task: str) -> str:
        """The row that stands for an instance: `x` for `x[3]`, `x[3]` for `x[3,1]`."""
        head, comma, _ = task.rpartition(",")
        return f"{head}]" if comma else task.partition("[")[0] if "[" in task else ""


class Lines:
    """One line for each change, for logs and pipes; of large maps failures and each tenth."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._maps = Maps()

    def show(self, run: str, events: list[Event]) -> None:
        lines = [] if events else [f"run {run}"]
        for event in events:
            if event.kind == "service":
                lines.append(f"{run}  service {event.payload['service']}  {event.payload['state']}")
            elif event.instance >= 0 and event.kind in SHOWN:
                if step := self._maps.step(event):
                    lines.append(f"{run}  {step}")
                if self._maps.hides(event):
                    continue
                lines.append(f"{run}  {event.payload['task']}  {event.kind}{self._detail(event)}")
        if lines:
            print("\n".join(lines) + "\n", end="", flush=True)

    def close(self) -> None:
        """Nothing to end."""

    def _detail(self, event: Event) -> str:
        task = event.payload["task"]
        if event.kind == "running":
            self._since[task] = event.at
            attempt = event.payload.get("attempt", 1)
            return f" (attempt {attempt})" if attempt > 1 else ""
        took = f"  {event.at - self._since[task]:.2f} s" if task in self._since else ""
        reason = f": {event.payload['reason']}" if event.payload.get("reason") else ""
        return took + reason


class Live:
    """Finished tasks scroll by; below them, what runs and how much is left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._console = Console()
        self._running: dict[str, float] = {}
        self._waiting = 0
        self._total = 0
        self._finished = 0
        self._run = ""
        self._maps = Maps()
        self._live = RichLive(get_renderable=self._render, console=self._console, refresh_per_second=8, transient=True)
        self._live.start()

    def show(self, run: str, events: list[Event]) -> None:
        self._run = run
        if not events:
            self._console.print(f"run [bold]{run}[/bold]")
        for event in events:
            self._take(event)

    def _take(self, event: Event) -> None:
        if event.kind == "created":
            self._total = event.payload["tasks"]
        if event.kind == "service":
            self._console.print(f"  service {event.payload['service']} {event.payload['state']}", markup=False)
        if event.instance < 0 or event.kind not in SHOWN:
            return
        task = event.payload["task"]
        hidden = self._maps.hides(event)
        if event.kind == "running":
            self._running[task] = event.at
            return
        started = self._running.pop(task, None)
        if event.kind == "deferred":
            self._total += event.payload.get("instances", 0)
            return
        self._finished += event.kind in ENDED
        if step := self._maps.step(event):
            self._console.print(f"    {step}", markup=False)
        if hidden:
            return
        took = f" {event.at - started:.2f} s" if started else ""
        style = STYLES.get(event.kind, "default")
        from rich.text import Text

        line = Text(f"  {MARKS.get(event.kind, ' ')} ", style=style)
        line.append(f"{task} {event.kind}{took}", style="default")
        if event.payload.get("reason"):
            line.append(f": {event.payload['reason']}", style="dim")
        self._console.print(line)

    def close(self) -> None:
        self._live.stop()

    def _render(self) -> Any:
        from rich.text import Text

        now = time.time()
        view = Text()
        for task, since in list(self._running.items())[:12]:
            view.append(f"  … {task} {now - since:.0f} s\n")
        if len(self._running) > 12:
            view.append(f"  … and {len(self._running) - 12} more\n")
        done = f"{self._finished} of {self._total}" if self._total else str(self._finished)
        view.append(f"{self._run}  {done} done", style="dim")
        return view


class Quiet:
    """Shows nothing; for `--json`."""

    def show(self, run: str, events: list[Event]) -> None:
        """Takes events and says nothing."""

    def close(self) -> None:
        """Nothing to end."""


def progress(json: bool = False) -> Progress:
    """Returns the view that fits where the output goes."""
    if json:
        return Quiet()
    return Live() if sys.stdout.isatty() else Lines()
