"""A task that writes an asset, and does nothing else."""

from clearance import asset, dag, task


@task(outlets=[asset("bench://lake/images")])
def write() -> int:
    return 1


producer = dag("producer", write)
