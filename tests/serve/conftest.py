from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.serving import House, Replica, build


@pytest.fixture(scope="session")
def make_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], House]]:
    houses: list[House] = []

    def make() -> House:
        houses.append(build(tmp_path_factory.mktemp("house"), {"weight.txt": "2.0"}))
        return houses[-1]

    yield make
    for house in houses:
        for process in house.running:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.fixture(scope="session")
def replica(make_house: Callable[[], House]) -> Replica:
    return make_house().start(body_limit=2000, body_timeout=1.0, concurrency=1, queue=1)
