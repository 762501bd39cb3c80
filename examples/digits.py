"""Handwritten digits from end to end: `download_images >> train >> serve`.

The data are the 1,797 real scans (8 x 8 pixels) of the UCI optical recognition test set, as scikit-learn ships them.
Two processes train one small convolutional network, each on its own half of the data, with averaged gradients.

    clearance run examples/digits.py        the pipeline alone
    python examples/digits.py               the pipeline, then questions to the endpoint (this is `make demo`)
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from clearance import Endpoint, Model, Resources, Retry, Tree, context, dag, download, task

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
CLASSES = 10
EPOCHS = 30
BATCH = 64


def source() -> str:
    """Returns the URL of the scans: a file of the installed scikit-learn."""
    found = importlib.util.find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("scikit-learn is not installed: pip install scikit-learn")
    return (Path(found.submodule_search_locations[0]) / "datasets/data/digits.csv.gz").as_uri()


@task(
    retries=Retry(3, backoff=2.0, max_delay=60, jitter=True, on=(OSError,)),
    timeout="10m",
    resources=Resources(cpu=1, memory="2Gi"),
)
def download_images(limit: int = 1797) -> Tree:
    """Fetches the scans and splits them: every fifth one is held out."""
    import numpy as np

    archive = download(source(), sha256=SHA256, to=context.directory / "digits.csv.gz")
    table = np.loadtxt(archive, delimiter=",", dtype=np.float32)[:limit]
    pixels, labels = table[:, :64] / 16.0, table[:, 64].astype(np.int64)
    held_out = np.arange(len(table)) % 5 == 0
    folder = context.directory / "images"
    folder.mkdir()
    for name, chosen in (("train", ~held_out), ("test", held_out)):
        np.save(folder / f"{name}_pixels.npy", pixels[chosen].reshape(-1, 1, 8, 8))
        np.save(folder / f"{name}_labels.npy", labels[chosen])
    print(f"{len(table)} scans, {held_out.sum()} of them held out")
    return Tree(folder)


def network() -> torch.nn.Module:
    """Returns the network: [batch, 1, 8, 8] pixels in [0, 1] to [batch, 10] logits."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 64), nn.ReLU(), nn.Linear(64, CLASSES),
    )  # fmt: skip


@task(gang=2, resources=Resources(cpu=1), preload=["torch"])
def train(images: Tree, lr: float = 3e-3) -> Model:
    """Trains on every process of the gang: rank r takes every size-th scan, gradients are averaged (gloo)."""
    import numpy as np
    import torch
    import torch.distributed as dist
    from safetensors.torch import save_file
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    dist.init_process_group("gloo", init_method=context.rendezvous, rank=context.rank, world_size=context.size)

    def load(name: str) -> torch.Tensor:
        return torch.from_numpy(np.load(images.path / f"{name}.npy"))

    pixels, labels = (
        load("train_pixels")[context.rank :: context.size],
        load("train_labels")[context.rank :: context.size],
    )
    rows = min(len(load("train_labels")) // context.size, len(labels))
    pixels, labels = pixels[:rows], labels[:rows]
    print(f"rank {context.rank} of {context.size}: {rows} scans")
    model = DistributedDataParallel(network())
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, epochs=EPOCHS, steps_per_epoch=-(-rows // BATCH))
    for epoch in range(EPOCHS):
        order = torch.randperm(rows)
        for start in range(0, rows, BATCH):
            chosen = order[start : start + BATCH]
            loss = torch.nn.functional.cross_entropy(model(pixels[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")
    with torch.no_grad():
        guesses = model.module(load("test_pixels")).argmax(1)
    accuracy = (guesses == load("test_labels")).float().mean().item()
    dist.destroy_process_group()
    folder = context.directory / "model"
    folder.mkdir()
    if context.rank == 0:
        save_file(model.module.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"classes": CLASSES, "input": [1, 8, 8]}))
        print(f"accuracy on the held-out fifth: {accuracy:.4f}")
    return Model(folder, metadata={"metrics": {"accuracy": accuracy, "processes": context.size}})


Pixels = Annotated[list[float], "64 grey values from 0 (paper) to 1 (ink), row by row"]


def classifier(model: Model) -> Callable[[Pixels], dict[str, Any]]:
    """Loads the model; returns what the endpoint calls for each request."""
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(1)
    net = network()
    net.load_state_dict(load_file(model.path / "model.safetensors"))
    net.eval()

    def classify(pixels: Pixels) -> dict[str, Any]:
        if len(pixels) != 64:
            raise ValueError(f"{len(pixels)} pixels: send 64")
        with torch.no_grad():
            probabilities = net(torch.tensor(pixels).reshape(1, 1, 8, 8)).softmax(1)[0]
        best = int(probabilities.argmax())
        return {"class": best, "probability": float(probabilities[best])}

    return classify


@task
def serve(model: Model) -> Endpoint:
    """Asks for an endpoint; the run goes on when it answers."""
    from clearance.serve import deploy

    return deploy("digits", model, classifier)


digits = dag("digits", download_images >> train >> serve)


def ask(endpoint: Endpoint, pixels: list[float], token: str) -> tuple[int, dict[str, Any]]:
    """Asks an endpoint over HTTPS; returns the status and the JSON of the answer."""
    import ssl

    request = urllib.request.Request(  # noqa: S310
        f"{endpoint.url}/v1/predict",
        data=json.dumps(pixels).encode(),
        headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
    )
    context = ssl.create_default_context(cafile=endpoint.authority)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def clearance(*arguments: str) -> None:
    """Shows a command and runs it."""
    print(f"\n$ clearance {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "clearance.cli", *arguments], check=True)


def demo() -> None:
    """Runs the pipeline, asks the endpoint with and without its token, and stops what it started."""
    import numpy as np

    finished = digits.run()
    try:
        images, model = finished.result("download_images"), finished.result("train")
        endpoint = finished.result("serve", Endpoint)
        pixels = np.load(images.path / "test_pixels.npy")[7].reshape(-1).tolist()
        label = int(np.load(images.path / "test_labels.npy")[7])
        status, answer = ask(endpoint, pixels, endpoint.token)
        refused, problem = ask(endpoint, pixels, "")
        metrics = model.metadata["metrics"]
        print(
            f"\naccuracy on the held-out fifth: {metrics['accuracy']:.4f}, trained by {metrics['processes']} processes"
        )
        print(f"model {model.digest}")
        print(f"POST {endpoint.url}/v1/predict with the token: {status} {answer} (a person wrote {label})")
        print(f"the same without it: {refused} {problem['title']}: {problem['detail']}")
        clearance("artifact", "verify", finished.id, "train")
        clearance("why", finished.id, "train")
        if (status, answer.get("class"), refused) != (200, label, 401):
            raise SystemExit("the endpoint did not answer as it should")
    finally:
        clearance("services", "stop", "digits")
    print(f"""
where to look next (with the same CLEARANCE_HOME):
  clearance runs show {finished.id}
  clearance logs {finished.id} train
  clearance dag show examples/digits.py""")


if __name__ == "__main__":
    demo()
