"""Clearance: the control tower for machine-learning work.

The names a pipeline file needs; each is imported when it is first used, so that `import clearance` is quick.
A name here is never also a package: `dag`, `task`, `Resources` are objects; `train`, `serve`, `trust` are rooms.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "dag": "clearance.graph.dag",
    "task": "clearance.graph.task",
    "group": "clearance.graph.group",
    "chain": "clearance.graph.wiring",
    "when": "clearance.graph.when",
    "otherwise": "clearance.graph.when",
    "branch": "clearance.graph.when",
    "flow": "clearance.graph.flow",
    "cron": "clearance.graph.schedule",
    "every": "clearance.graph.schedule",
    "asset": "clearance.graph.asset",
    "Retry": "clearance.graph.retry",
    "Dag": "clearance.run.look.access",
    "Run": "clearance.run.look.access",
    "Resources": "clearance.types.resources",
    "Principal": "clearance.types.principal",
    "Defer": "clearance.errors",
    "Evicted": "clearance.errors",
    "Skip": "clearance.errors",
    "Outcome": "clearance.types.outcome",
    "StepFailed": "clearance.errors",
    "Secret": "clearance.types.secret",
    "File": "clearance.types.references",
    "Tree": "clearance.types.references",
    "Model": "clearance.types.references",
    "Dataset": "clearance.types.references",
    "Endpoint": "clearance.types.references",
    "Written": "clearance.types.written",
    "Markdown": "clearance.types.card",
    "HTML": "clearance.types.card",
    "Image": "clearance.types.card",
    "download": "clearance.store.download",
    "context": "clearance.engine.context",
    "register_serializer": "clearance.store.serializers",
}

if TYPE_CHECKING:
    from clearance.engine.context import context as context
    from clearance.errors import Defer as Defer
    from clearance.errors import Evicted as Evicted
    from clearance.errors import Skip as Skip
    from clearance.errors import StepFailed as StepFailed
    from clearance.graph.asset import asset as asset
    from clearance.graph.dag import dag as dag
    from clearance.graph.flow import flow as flow
    from clearance.graph.group import group as group
    from clearance.graph.retry import Retry as Retry
    from clearance.graph.schedule import cron as cron
    from clearance.graph.schedule import every as every
    from clearance.graph.task import task as task
    from clearance.graph.when import branch as branch
    from clearance.graph.when import otherwise as otherwise
    from clearance.graph.when import when as when
    from clearance.graph.wiring import chain as chain
    from clearance.run.look.access import Dag as Dag
    from clearance.run.look.access import Run as Run
    from clearance.store.download import download as download
    from clearance.store.serializers import register_serializer as register_serializer
    from clearance.types.card import HTML as HTML
    from clearance.types.card import Image as Image
    from clearance.types.card import Markdown as Markdown
    from clearance.types.outcome import Outcome as Outcome
    from clearance.types.principal import Principal as Principal
    from clearance.types.references import Dataset as Dataset
    from clearance.types.references import Endpoint as Endpoint
    from clearance.types.references import File as File
    from clearance.types.references import Model as Model
    from clearance.types.references import Tree as Tree
    from clearance.types.resources import Resources as Resources
    from clearance.types.secret import Secret as Secret
    from clearance.types.written import Written as Written

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'clearance' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
