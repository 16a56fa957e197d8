"""What operators read of a rollout."""

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.common.process import distinct
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.images import name_of
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.run import next_command
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.types import Service, State, Step


def test_what_a_restarted_program_repeats_is_told_once():
    lines = ["10:00:01 begin", "10:00:02 no LEDGER_URL", "10:00:05 begin", "10:00:06 no LEDGER_URL", "bye"]
    assert distinct(lines) == ["10:00:05 begin", "10:00:06 no LEDGER_URL", "bye"]
    assert distinct([]) == []


@pytest.mark.parametrize(
    "state, name",
    [
        ({"release": "v1.1.0", "images": {"app": "shop/api:v1.0.0"}}, "v1.1.0"),
        ({"release": "", "images": {"app": "localhost:5000/api:v1.0.0@sha256:" + "a" * 64}}, "v1.0.0"),
        ({"images": {"app": "localhost:5000/api@sha256:" + "a" * 64}}, "sha256:aaaaaaaaaaaa"),
        ({"images": {"app": "localhost:5000/api"}}, "latest"),
        ({"images": {}}, ""),
        (None, ""),
    ],
)
def test_a_state_is_called_by_its_release_or_its_tag(state, name):
    assert name_of(state) == name


STEP = Step(Service("wallet", "wallet-service"), "roll", "v1 -> v2", State(True))
COMPOSE = {"target": "compose", "compose": {"project_src": "/srv/my shop", "project_name": "shop"}}


@pytest.mark.parametrize(
    "params, back, stuck, typed",
    [
        ({"namespace": "shop"}, False, False, "Next: kubectl -n shop describe deployment wallet-service"),
        ({"namespace": "shop"}, True, False, "Next: kubectl -n shop get events --field-selector type=Warning"),
        ({"namespace": "shop"}, False, True, "Next: kubectl -n shop rollout history deployment/wallet-service"),
        (COMPOSE, True, False, ""),
        (
            COMPOSE,
            False,
            False,
            "Next: docker compose --project-directory '/srv/my shop' --project-name shop"
            " logs --tail 100 wallet-service",
        ),
    ],
)
def test_what_is_typed_next_works_as_it_stands(params, back, stuck, typed):
    assert next_command(STEP, params, back, stuck) == typed
