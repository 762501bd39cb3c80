"""What works against a victim is refused and not executed; what is as it should be comes in."""

import pytest
from bench.trust.payloads import CLEAN, LIVE, alive, clean, payloads

from clearance.trust.ingest import judge_model

pytest.importorskip("numpy")


@pytest.mark.slow
def test_every_live_payload_is_refused_and_none_is_executed(tmp_path):
    living = alive(list(payloads(tmp_path)))
    assert len(living) >= LIVE
    assert [name for name, _, path, _ in living if judge_model(path).allowed] == []
    assert [name for name, _, _, marker in living if any(marker.parent.iterdir())] == []


def test_clean_models_come_in(tmp_path):
    models = list(clean(tmp_path))
    assert len(models) >= CLEAN
    assert [each for each in map(judge_model, models) if not each.allowed] == []
