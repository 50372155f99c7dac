import pytest

from adaptation.plan import Choice, Route
from device.errors import PlanError
from device.figures import Figures
from device.plan import STREAM_BYTES, Planner
from protocol.messages import Frame, encode_upward
from runtime.bundle import Bundle


@pytest.fixture
def manifest(tiny_bundle):
    with Bundle.open(tiny_bundle.path) as bundle:
        return bundle.manifest


@pytest.fixture
def figures(manifest):
    return Figures(manifest.profiles[0], slowdown=10.0, clock=lambda: 0.0)


def test_the_plan_has_every_level_by_every_route_and_the_devices_own_answers(manifest, figures):
    plan = Planner(manifest, figures, [Route.EDGE, Route.CLOUD]).plan()
    levels = [(cut.index, number) for cut in manifest.cuts for number in range(len(cut.levels))]
    remote = [Choice(cut, level, route) for route in (Route.EDGE, Route.CLOUD) for cut, level in levels]
    assert {option.choice for option in plan} == {
        Choice(3, None, Route.DEVICE),
        Choice(1, None, Route.DEVICE),
        *remote,
    }


def test_a_level_that_shows_the_input_is_only_sent_where_it_was_asked_for(manifest, figures):
    shows = manifest.cuts[1].levels[0].model_copy(update={"view": "view.onnx"})
    cut = manifest.cuts[1].model_copy(update={"levels": (shows, *manifest.cuts[1].levels[1:])})
    changed = manifest.model_copy(update={"cuts": (manifest.cuts[0], cut, *manifest.cuts[2:])})
    asked = Choice(1, 0, Route.EDGE)
    assert Planner(changed, figures, [Route.EDGE]).plan().find(asked) is None
    assert Planner(changed, figures, [Route.EDGE]).plan().find(Choice(1, 1, Route.EDGE)) is not None
    assert Planner(changed, figures, [Route.EDGE], asked).plan().find(asked) is not None


def test_what_gives_away_too_much_or_was_never_attacked_stays_out_of_a_bounded_plan(manifest, figures):
    known = {0: 12.0, 1: 17.0, 2: 25.0}
    levels = manifest.cuts[1].levels
    told = tuple(level.model_copy(update={"leaked_psnr_db": known.get(n)}) for n, level in enumerate(levels))
    cut = manifest.cuts[1].model_copy(update={"levels": told})
    changed = manifest.model_copy(update={"cuts": (manifest.cuts[0], cut, *manifest.cuts[2:])})
    plan = Planner(changed, figures, [Route.EDGE], most_leaked_db=17.0).plan()
    assert {option.choice for option in plan if option.choice.level is not None} == {
        Choice(1, 0, Route.EDGE),
        Choice(1, 1, Route.EDGE),
    }
    assert plan.find(Choice(3, None, Route.DEVICE)) is not None
    for forbidden, words in ((Choice(1, 2, Route.EDGE), "25.0 dB"), (Choice(0, 0, Route.EDGE), "never attacked")):
        with pytest.raises(PlanError, match=words):
            Planner(changed, figures, [Route.EDGE], forbidden, most_leaked_db=17.0)


def test_its_figures_are_the_manifests_and_the_measured_ones(manifest, figures):
    plan = Planner(manifest, figures, [Route.EDGE]).plan()
    profile = manifest.profiles[0]
    whole, early = plan.find(Choice(3, None, Route.DEVICE)), plan.find(Choice(1, None, Route.DEVICE))
    sent = plan.find(Choice(2, 1, Route.EDGE))
    assert whole is not None
    assert early is not None
    assert sent is not None
    assert whole.device_s == pytest.approx(10 * sum(profile.segment_s))
    assert whole.accuracy == manifest.measured.accuracy
    assert early.device_s == pytest.approx(10 * (profile.segment_s[0] + profile.exit_s[0]))
    assert early.accuracy == manifest.exits[0].measured.accuracy
    assert sent.device_s == pytest.approx(10 * (sum(profile.segment_s[:2]) + profile.encode_s[2][1]))
    assert sent.payload_bytes == manifest.cuts[2].levels[1].measured.payload_bytes
    assert sent.tier_s == pytest.approx(profile.decode_s[2][1] + profile.segment_s[2])


def test_the_overhead_is_that_of_a_real_message(manifest, figures):
    option = Planner(manifest, figures, [Route.EDGE]).plan().find(Choice(1, 0, Route.EDGE))
    assert option is not None
    frame = Frame.build(
        id=12345, bundle=2**63, cut=1, level=0, shape=manifest.cuts[1].tensor.shape, payload=bytes(100),
        captured_us=1_700_000_000_000_000, remaining_us=200_000,
    )  # fmt: skip
    assert option.overhead_bytes == pytest.approx(len(encode_upward(frame)) + STREAM_BYTES - 100, abs=6)


def test_the_plan_is_kept_until_a_figure_has_moved(manifest, figures):
    planner = Planner(manifest, figures, [Route.EDGE])
    plan = planner.plan()
    assert planner.plan() is plan
    figures.learn_encode(1, 0, 2 * figures.encode_s(1, 0))
    assert planner.plan() is not plan


def test_a_choice_that_must_be_in_the_plan_is_checked(manifest, figures):
    with pytest.raises(PlanError, match="cut 9"):
        Planner(manifest, figures, [Route.EDGE], Choice(9, 0, Route.EDGE))
    with pytest.raises(PlanError, match=r"policy\.handover names level 9"):
        Planner(
            manifest, figures, [Route.EDGE, Route.EDGE_TO_CLOUD], Choice(1, 0, Route.EDGE_TO_CLOUD, handover=(2, 9))
        )
    passed_on = Choice(1, 0, Route.EDGE_TO_CLOUD, handover=(2, 0))
    assert Planner(manifest, figures, [Route.EDGE, Route.EDGE_TO_CLOUD], passed_on).plan().find(passed_on)


def test_the_plan_follows_the_length_of_payloads_and_foresees_it_for_other_levels(manifest, figures):
    planner = Planner(manifest, figures, [Route.EDGE])
    before = {option.choice: option.payload_bytes for option in planner.plan()}
    coded = [
        Choice(cut.index, number, Route.EDGE)
        for cut in manifest.cuts
        for number, level in enumerate(cut.levels)
        if level.codec != "raw"
    ]
    tried, other = coded[0], coded[-1]
    for _ in range(200):
        planner.encoded(tried.cut, tried.level, round(2 * before[tried]))
    after = {option.choice: option.payload_bytes for option in planner.plan()}
    assert after[tried] == pytest.approx(2 * before[tried], rel=0.1)
    assert 1.2 * before[other] < after[other] < after[tried] / before[tried] * before[other]
    assert all(
        after[choice] == size
        for choice, size in before.items()
        if choice.level is None or manifest.cuts[choice.cut].levels[choice.level].codec == "raw"
    )
