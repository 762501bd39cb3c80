from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clearance.errors import Refused, UsageError
from clearance.serve import deploy
from clearance.serve.config import parse_config
from clearance.trust.provision import provision, service_config
from clearance.types.artifact import Artifact
from clearance.types.digest import digest_of
from clearance.types.references import Model
from clearance.types.resources import Resources

DIGEST = digest_of(b"manifest")


def predictor(model: Model) -> Any:
    return None


def test_deploy_says_what_must_run() -> None:
    endpoint = deploy("demo", Model(Path("m"), DIGEST), predictor, resources=Resources(cpu="500m"))
    assert endpoint.service is not None
    assert endpoint.model == DIGEST
    assert endpoint.service.entry == "clearance.serve.replica:main"
    assert endpoint.service.cpu_millis == 500
    assert endpoint.service.config["predictor"] == f"{__name__}:predictor"


@pytest.mark.parametrize("name", ["", "Demo", "-a", "a-", "a" * 64, "../x", "a_b"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="is not accepted"):
        deploy(name, Model(Path("m"), DIGEST), predictor)
    with pytest.raises(UsageError, match="is not accepted"):
        provision(name, Path("/nowhere"))


def test_what_cannot_run_is_refused() -> None:
    with pytest.raises(UsageError, match="was not stored"):
        deploy("demo", Model(Path("m")), predictor)
    with pytest.raises(UsageError, match="cannot be imported by name"):
        deploy("demo", Model(Path("m"), DIGEST), lambda model: len)
    with pytest.raises(UsageError, match="concurrency of endpoint"):
        deploy("demo", Model(Path("m"), DIGEST), predictor, concurrency=0)


def test_secrets_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    first = provision("demo", tmp_path)
    assert provision("demo", tmp_path) == first
    assert provision("other", tmp_path).token_sha256 != first.token_sha256
    for path in (first.token_file, first.key):
        assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(first.token_file.parent).st_mode & 0o777 == 0o700
    first.token_file.chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        provision("demo", tmp_path)
    first.token_file.chmod(0o600)
    first.token_file.write_text("short")
    with pytest.raises(Refused, match="delete the file"):
        provision("demo", tmp_path)


def test_a_config_holds_the_digest_of_the_token_and_never_the_token(tmp_path: Path) -> None:
    made = provision("demo", tmp_path)
    endpoint = deploy("demo", Model(Path("m"), DIGEST), predictor)
    assert endpoint.service is not None
    places: dict[str, Any] = {"blobs": "b", "signature": tmp_path / "s", "public_key": tmp_path / "p"}
    config = service_config(endpoint.service.config, Artifact(DIGEST, 1, "model", "", b"x"), made, **places)
    assert made.token_file.read_text().strip() not in str(config)
    assert parse_config(config).model == DIGEST
