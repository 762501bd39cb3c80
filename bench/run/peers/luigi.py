"""Luigi: a chain of no-op tasks, each in a process of its own, each with a local target.

`force_multiprocessing` makes the worker fork for each task, as our default isolation does. Durable: a task is done when
its target, written under another name and renamed, exists. Tried with one and with two worker processes, with the
local scheduler, which ends with the command and can be asked for nothing, and with the central one (`luigid`), which
keeps what it knows and takes work from others, as ours does. No log is captured. A step is the time from the first
task's start to the end of `luigi.build`, by the tasks.
"""

import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import luigi

LENGTH = 50


class Step(luigi.Task):
    """Writes when it began, and in which process."""

    folder = luigi.Parameter()
    number = luigi.IntParameter()

    def requires(self):
        return [Step(self.folder, self.number - 1)] if self.number else []

    def output(self):
        return luigi.LocalTarget(os.path.join(self.folder, str(self.number)))

    def run(self):
        begun = time.time()
        with self.output().open("w") as file:
            file.write(f"{begun} {os.getpid()}")


def chain(workers: int, **scheduler) -> float:
    """Returns seconds a step."""
    with tempfile.TemporaryDirectory() as folder:
        last = Step(folder, LENGTH - 1)
        done = luigi.build([last], workers=workers, no_lock=True, log_level="WARNING", **scheduler)
        end = time.time()
        found = [Path(folder, str(number)).read_text().split() for number in range(LENGTH)] if done else []
        if len({pid for _, pid in found} - {str(os.getpid())}) != LENGTH:
            sys.exit("the chain did not succeed in processes of its own")
        return (end - float(found[0][0])) / LENGTH


logging.disable(logging.INFO)
luigi.configuration.get_config().set("worker", "force_multiprocessing", "true")
for workers in (1, 2):
    seconds = min(chain(workers, local_scheduler=True) for _ in range(3))
    print(f"local_workers_{workers}_step_s: {seconds!r}", flush=True)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
with tempfile.TemporaryDirectory() as folder:
    daemon = [str(Path(sys.executable).with_name("luigid")), "--address", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [*daemon, "--state-path", f"{folder}/state"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(100):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.1)
    central = {"local_scheduler": False, "scheduler_host": "127.0.0.1", "scheduler_port": port}
    for workers in (1, 2):
        print(f"central_workers_{workers}_step_s: {min(chain(workers, **central) for _ in range(3))!r}", flush=True)
    server.kill()
    server.wait()
