from __future__ import annotations

import pytest
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.compose_verdict import Container, Target, judge
from ansible_collections.eazepay.ops.plugins.module_utils.rollout.types import FAILED, FAILING, HEALTHY


@pytest.mark.parametrize(
    ("policy", "code", "one_shot", "state"),
    [
        # An engine that is being restarted ends what it keeps up, and starts it again: there is a grace.
        ("always", 0, False, FAILING),
        ("unless-stopped", 137, False, FAILING),
        ("on-failure", 3, False, FAILED),
        ("no", 3, False, FAILED),
        ("no", 0, False, FAILED),
        ("no", 0, True, HEALTHY),
    ],
)
def test_a_container_that_has_ended(policy, code, one_shot, state):
    ended = Container("a", image_id="sha256:1", status="exited", exit_code=code, restart_policy=policy)
    verdict = judge(Target("shop:1", "sha256:1", "", 1, one_shot), [ended], {})
    assert verdict.state == state, verdict
