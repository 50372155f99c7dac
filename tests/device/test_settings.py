import pytest

from adaptation.policies import DeadlinePolicy, FixedPolicy
from adaptation.policies.content import ContentPolicy
from adaptation.policies.contention import ContentionPolicy
from adaptation.policies.spinn import SpinnPolicy
from device.settings import PolicySettings, load
from runtime.errors import SettingsError

BASE = {"bundle": "b", "source.path": "p"}


def test_a_file_and_overrides_make_the_settings(tmp_path):
    path = tmp_path / "device.toml"
    path.write_text('bundle = "b"\n[source]\npath = "p"\nrate_hz = 5\n[edge]\ntarget = "127.0.0.1:7201"\n')
    settings = load(path, {"source.limit": "3"})
    assert settings.source.rate_hz == 5
    assert settings.source.limit == 3
    assert settings.edge is not None
    assert settings.edge.target == "127.0.0.1:7201"
    assert settings.cloud is None
    assert settings.deadline_s == 0.25


def test_a_misspelt_key_names_the_nearest_one():
    with pytest.raises(SettingsError, match="rate_hz"):
        load(None, {**BASE, "source.rate_hs": "5"})


@pytest.mark.parametrize(
    ("policy", "named"),
    [
        ({"name": "fixed"}, "cut"),
        ({"name": "fixed", "cut": 1, "route": "edge"}, "level"),
        ({"cut": 1}, "cut"),
        ({"name": "fixed", "cut": 1, "level": 0, "route": "device"}, "level"),
        ({"name": "fixed", "cut": 1, "level": 0, "route": "edge", "handover": [1, 1]}, "handover"),
    ],
)
def test_a_fixed_policy_is_told_what_is_missing_or_useless(policy, named):
    with pytest.raises(SettingsError, match=named):
        load(None, {**BASE, "policy": policy})


def test_every_parameter_of_the_policies_for_use_can_be_set():
    """Those of the remaining published ones are for comparisons in simulated time."""
    policies = (ContentPolicy, ContentionPolicy, DeadlinePolicy, FixedPolicy, SpinnPolicy)
    settable = {name for policy in policies for name in policy.PARAMETERS}
    assert {"name", *settable} == set(PolicySettings.model_fields)
