"""MMMS-BA against its equations, worked out by hand or written another way, and against its own promises."""

import copy
import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectors import mmms_ba
from detectors.contract import Inputs, Windows
from detectors.mmms_ba import (
    MMMSBA,
    PAPER,
    PARTS,
    SHIPPED,
    Features,
    LossWeights,
    MMMSBAConfig,
    MMMSBADetector,
    Output,
    Targets,
    Timeline,
    attend,
    bi_modal,
    diou_loss,
    focal_loss,
    inside,
    mean_std,
    mmms_ba_loss,
    most_suspicious,
    octave_energies,
    over_fakes,
    propose,
    stand_out,
)
from detectors.restless import cepstra, how_restless, log_bands, restless_values
from detectors.segments import clip_score

NAN = float("nan")
DIMS = {"face": 6, "lips": 5, "audio": 4}
TINY = replace(PAPER, sequences=6, faces=1, face_px=4, lips=2, lips_px=4, hidden=5, dense=3, dropout=0.0,
               modality_heads=True)


class Glance(nn.Module):
    """Stands in for the encoders: some numbers of each picture, and of each stretch of sound."""

    dims = DIMS

    def __init__(self, cfg: MMMSBAConfig):
        super().__init__()
        self.cfg = cfg

    def forward(self, inputs: Inputs) -> Features:
        n, told = self.cfg.sequences, {}
        for part, x, seen in (("face", inputs.faces, inputs.face_seen), ("lips", inputs.lips, inputs.lips_seen)):
            if x is not None and part in self.cfg.parts:
                here = inside(inputs.length_s, x, n, self.cfg.sequence_s)
                told[part] = x.flatten(2).unflatten(1, (n, -1)).mean(2)[..., :DIMS[part]]
                told[f"{part}_there"] = here & (True if seen is None else seen.unflatten(1, (n, -1)).any(2))
        if inputs.audio is not None and "audio" in self.cfg.parts:
            told["audio"] = inputs.audio.unflatten(1, (n, -1))[..., :DIMS["audio"]]
            told["audio_there"] = inside(inputs.length_s, inputs.audio, n, self.cfg.sequence_s)
        return Features(**told)


@pytest.fixture(autouse=True)
def one_glance(monkeypatch, one_thread_one_seed):
    monkeypatch.setitem(mmms_ba.ENCODERS, "resnet18", Glance)


@pytest.fixture(scope="module")
def shipped():
    """The shipped network with random weights, two sequences long."""
    torch.manual_seed(0)
    return MMMSBA(replace(SHIPPED, sequences=2)).eval()


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def net(cfg: MMMSBAConfig = TINY) -> MMMSBA:
    return MMMSBA(cfg).eval()


def features(n: int = 2, cfg: MMMSBAConfig = TINY, **there) -> Features:
    """Random features; `there` names parts whose mask is not all True."""
    masks = {part: torch.ones(n, cfg.sequences, dtype=torch.bool) for part in PARTS} | there
    return Features(**{part: torch.randn(n, cfg.sequences, DIMS[part]) for part in PARTS},
                    **{f"{part}_there": mask for part, mask in masks.items()})


def told(out: Output) -> torch.Tensor:
    """Everything that is told of each sequence, side by side."""
    return torch.cat([out.classes, out.boundaries, out.video[..., None], out.audio[..., None]], dim=-1)


# --- the published sizes


@pytest.mark.parametrize("changes, width", [
    ({}, 900), ({"attention": "mmus-sa"}, 600), ({"attention": "ms-sa"}, 600),
    ({"parts": ("face", "audio")}, 400), ({"parts": ("face", "lips")}, 400), ({"parts": ("lips", "audio")}, 400)])
def test_concatenation_is_as_wide_as_published(monkeypatch, changes, width):
    monkeypatch.undo()
    with torch.device("meta"):
        model = MMMSBA(replace(PAPER, **changes))
    assert model.head_class.in_features == width
    assert parameters(model.head_class) == parameters(model.head_boundary) == 2 * width + 2


def test_parameters_follow_the_papers_sizes(monkeypatch):
    monkeypatch.undo()
    with torch.device("meta"):
        model = MMMSBA(PAPER)
    face = model.contexts["face"]
    assert parameters(face.ahead) + parameters(face.back) == 2 * 3 * 300 * (512 + 300 + 2)
    assert parameters(face.dense) == 600 * 100 + 100
    assert parameters(model.contexts) == 2 * (1_465_200 + 60_100) + 2 * 3 * 300 * (64 + 300 + 2) + 60_100


def test_each_sequence_is_as_restless_as_it_is_by_itself(shipped):
    """Of its own 5,120 samples and 16 rows; the last frames of a sequence look 240 samples ahead."""
    encoder = shipped.encoder
    audio, rows = 0.1 * torch.randn(1, 2 * 5120), torch.randn(1, 2, 16, 200)
    told = encoder._how_restless(audio, rows)
    assert told.shape == (1, 2, restless_values(200, 40))
    bands = log_bands(F.pad(audio[:, 5120:], (0, 240)), encoder.bank)
    seen = torch.ones(1, 32, dtype=torch.bool)
    wanted = how_restless(rows[:, 1], seen[:, :16], cepstra(bands, seen, encoder.dct), seen)
    torch.testing.assert_close(told[:, 1], wanted)
    other = encoder._how_restless(torch.cat([5 * audio[:, :5120], audio[:, 5120:]], 1), rows)
    torch.testing.assert_close(other[:, 1], told[:, 1])


@pytest.mark.parametrize("config", [PAPER, SHIPPED], ids=["paper", "shipped"])
def test_both_configurations_run_and_read_back_from_a_card(monkeypatch, config):
    monkeypatch.undo()
    with torch.device("meta"):
        model = mmms_ba.build({"architecture": json.loads(json.dumps(asdict(config)))}).eval()
        out = model(*mmms_ba.example(config))
    assert model.cfg == config
    assert out.classes.shape == out.boundaries.shape == (1, 24, 2)
    assert (out.video is None) == (not config.modality_heads)
    spec = config.spec
    assert spec.samples == config.samples == 24 * 5120
    assert spec.frames * config.lips == spec.lips * config.faces and spec.window_s == pytest.approx(7.68)


@pytest.mark.parametrize("changes", [
    {"parts": ("face",)}, {"parts": ("face", "hands")}, {"parts": ("face", "face")}, {"attention": "all"},
    {"encoder": "none"}, {"agreement": True}])
def test_senseless_configurations_are_refused(changes):
    with pytest.raises(ValueError):
        replace(PAPER, **changes)


# --- attention


def test_attention_by_hand():
    query = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    key = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    # Row 0: products log 3 and 0, so weights 3/4 and 1/4. Row 1: halves.
    expected = torch.tensor([[0.75, 0.5], [0.5, 1.0]])
    torch.testing.assert_close(attend(query, key, torch.tensor([True, True])), expected)
    # A key that is not there leaves all the weight to the other; none at all leaves nothing.
    torch.testing.assert_close(attend(query, key, torch.tensor([False, True])), key[1].expand(2, 2))
    assert not attend(query, key, torch.tensor([False, False])).any()


def test_bi_modal_attention_is_equations_2_to_7():
    N, d = 4, 3
    V, L = torch.randn(N, d), torch.randn(N, d)
    rows = []
    for i in range(N):
        k1 = [math.exp(V[i] @ L[j]) for j in range(N)]
        k2 = [math.exp(L[i] @ V[j]) for j in range(N)]
        o1 = sum(k * L[j] for j, k in enumerate(k1)) / sum(k1)
        o2 = sum(k * V[j] for j, k in enumerate(k2)) / sum(k2)
        rows.append(torch.cat([o1 * V[i], o2 * L[i]]))
    there = torch.ones(1, N, dtype=torch.bool)
    torch.testing.assert_close(bi_modal(V[None], L[None], there, there)[0], torch.stack(rows))


def test_the_concatenation_is_the_three_pairs_and_the_three_parts():
    model = net()
    given, seen = features(1), []
    model.head_class.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    model.tell(given)
    V, L, A = (model.contexts[part](getattr(given, part), getattr(given, f"{part}_there")) for part in PARTS)
    all_there = given.face_there
    expected = [bi_modal(x, y, all_there, all_there) for x, y in ((V, L), (V, A), (L, A))] + [V, L, A]
    torch.testing.assert_close(seen[0], torch.cat(expected, dim=-1))


@pytest.mark.parametrize("attention", ["mmus-sa", "ms-sa"])
def test_self_attention_variants(attention):
    model = net(replace(TINY, attention=attention))
    given, seen = features(1), []
    model.head_class.register_forward_hook(lambda module, args, out: seen.append(args[0][0]))
    model.tell(given)
    parts = [model.contexts[part](getattr(given, part), getattr(given, f"{part}_there"))[0] for part in PARTS]
    gated = []
    if attention == "ms-sa":
        gated = [torch.softmax(x @ x.T, dim=1) @ x * x for x in parts]
    else:
        rows = []
        for p in range(TINY.sequences):
            X = torch.stack([x[p] for x in parts])  # 3 d
            rows.append(torch.softmax(X @ X.T, dim=1) @ X * X)
        gated = list(torch.stack(rows, dim=1))
    torch.testing.assert_close(seen[0], torch.cat([*gated, *parts], dim=-1))


# --- what is not there


def test_context_is_a_bidirectional_gru():
    context = net().contexts["face"]
    both = nn.GRU(DIMS["face"], TINY.hidden, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, p in both.named_parameters():
            gru = context.back if name.endswith("_reverse") else context.ahead
            p.copy_(getattr(gru, name.removesuffix("_reverse")))
    x = torch.randn(2, 6, DIMS["face"])
    torch.testing.assert_close(context(x, torch.ones(2, 6, dtype=torch.bool)), context.dense(both(x)[0]).relu())


def test_gaps_and_padding_are_no_steps_of_the_gru():
    context = net().contexts["face"]
    x = torch.randn(1, 6, DIMS["face"])
    there = torch.tensor([[True, False, True, True, False, False]])
    y = context(x, there)
    brought_together = context(x[:, [0, 2, 3]], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(y[:, [0, 2, 3]], brought_together)
    assert not y[~there].any()


@pytest.mark.parametrize("attention", ["bi-modal", "mmus-sa", "ms-sa"])
def test_padding_changes_nothing(attention):
    cfg = replace(TINY, attention=attention)
    model = net(cfg)
    short = features(1, replace(cfg, sequences=4))
    padded = Features(*(None if x is None else
                        F.pad(x, (0, 2)) if x.dtype == torch.bool else
                        torch.cat([x, torch.full((1, 2, x.shape[2]), NAN)], dim=1) for x in short))
    torch.testing.assert_close(told(model.tell(padded))[:, :4], told(model.tell(short)))
    assert model.tell(padded).there.tolist() == [[True] * 4 + [False] * 2]


@pytest.mark.parametrize("attention", ["bi-modal", "mmus-sa", "ms-sa"])
@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_as_if_it_were_nowhere(attention, part):
    model = net(replace(TINY, attention=attention))
    nowhere = torch.zeros(2, 6, dtype=torch.bool)
    masked = features(**{part: nowhere})
    missing = masked._replace(**{part: None, f"{part}_there": None})
    a, b = model.tell(masked), model.tell(missing)
    torch.testing.assert_close(a.classes, b.classes)
    torch.testing.assert_close(a.boundaries, b.boundaries)
    assert torch.equal(a.picture_there, b.picture_there) and torch.equal(a.sound_there, b.sound_there)
    assert (b.audio is None) == (part == "audio") and b.video is not None


def test_pairs_with_a_missing_part_are_absent():
    model = net()
    given, seen = features(1), []
    model.head_class.register_forward_hook(lambda module, args, out: seen.append(args[0].unflatten(2, (-1, 3))))
    model.tell(given._replace(lips=None, lips_there=None))
    blocks = seen[0].abs().amax((0, 1, 3)) > 0  # VL VL VA VA LA LA V L A
    assert blocks.tolist() == [False, False, True, True, False, False, True, False, True]


def test_lips_lost_in_some_sequences_leave_no_trace():
    model = net()
    there = torch.tensor([[True, False, False, True, True, True]])
    given = features(1, lips=there)
    other = given._replace(lips=torch.where(there[..., None], given.lips, torch.randn_like(given.lips) * 100))
    torch.testing.assert_close(told(model.tell(other)), told(model.tell(given)), rtol=0, atol=0)


def test_nothing_that_it_reads_is_there():
    with pytest.raises(ValueError, match="none of them"):
        net(replace(TINY, parts=("face", "lips"))).tell(features()._replace(face=None, lips=None))


def test_a_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="faces must be"):
        net()(torch.zeros(1, 5, 3, 4, 4), None, None)


# --- losses


def test_focal_loss_by_hand():
    logit = torch.tensor([0.0, math.log(3.0), math.log(3.0)])
    fake = torch.tensor([1.0, 1.0, 0.0])
    # p of the true class: 1/2, 3/4, 1/4.
    expected = [0.25 * 0.25 * math.log(2), 0.25 * 0.0625 * math.log(4 / 3), 0.75 * 0.5625 * math.log(4)]
    torch.testing.assert_close(focal_loss(logit, fake), torch.tensor(expected))
    # Without α and γ it is cross-entropy.
    torch.testing.assert_close(2 * focal_loss(logit, fake, alpha=0.5, gamma=0.0),
                               F.binary_cross_entropy_with_logits(logit, fake, reduction="none"))


def test_diou_loss_by_hand():
    predicted = torch.tensor([[0.0, 2.0], [0.0, 1.0], [1.0, 3.0]])
    true = torch.tensor([[1.0, 3.0], [3.0, 4.0], [1.0, 3.0]])
    # IoU 1/3, centres 1 s apart in 3 s. IoU 0, 3 s apart in 4 s. The same span.
    torch.testing.assert_close(diou_loss(predicted, true), torch.tensor([1 - 1 / 3 + 1 / 9, 1 + 9 / 16, 0.0]))


def test_equation_8_by_hand():
    values = torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    fake = torch.tensor([[True, True, False], [False, False, False]])
    assert over_fakes(values, fake) == (6 / 2 + 3 / 1) / 2  # a clip without a fake sequence: N_f = 1
    assert over_fakes(values, fake, per="batch") == 9 / 2


def test_the_loss_is_the_sum_of_its_terms():
    model = net()
    out = model.tell(features(1))
    fake = torch.tensor([[1.0, 1.0, 0.0, 0.0, NAN, 0.0]])
    true = torch.full((1, 6, 2), NAN)
    true[0, :2] = torch.tensor([0.0, 0.64])
    audio = torch.tensor([[NAN, NAN, 0.0, 0.0, 0.0, 0.0]])
    spans = model.spans(out.boundaries)
    weights = LossWeights(regression=0.5, heads=2.0)
    loss, parts = mmms_ba_loss(out, spans, Targets(fake, fake, audio, true), weights)
    known = [0, 1, 2, 3, 5]
    classes = focal_loss(out.whole[0, known], fake[0, known]).sum() / 2
    boundary = diou_loss(spans[0, :2], true[0, :2]).sum() / 2
    video = F.binary_cross_entropy_with_logits(out.video[0, known], fake[0, known])
    audio = F.binary_cross_entropy_with_logits(out.audio[0, 2:], torch.zeros(4))
    torch.testing.assert_close(loss, classes + 0.5 * boundary + 2 * (video + audio))
    torch.testing.assert_close(parts["boundary"], boundary.detach())


def test_gradients_stay_finite_with_nothing_known_and_nothing_there():
    model = MMMSBA(TINY).train()
    given = features(2, face=torch.zeros(2, 6, dtype=torch.bool), lips=torch.zeros(2, 6, dtype=torch.bool))
    given = given._replace(face=torch.full_like(given.face, NAN))
    unknown = torch.full((2, 6), NAN)
    fake = torch.tensor([[1.0] * 6, [NAN] * 6])
    out = model.tell(given)
    loss, _ = mmms_ba_loss(out, model.spans(out.boundaries),
                           Targets(fake, unknown, unknown, torch.full((2, 6, 2), NAN)))
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert loss.isfinite() and grads and all(g.isfinite().all() for g in grads)


def test_it_learns_where_the_fake_is_and_higher_means_fake():
    """Planted: one number of the face tells which sequences are fake, for 0.64 or 0.96 s."""
    model = MMMSBA(replace(TINY, sequences=8, hidden=8, dense=8))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[Features, Targets]:
        given = features(n, replace(TINY, sequences=8))
        fake, spans = torch.zeros(n, 8), torch.full((n, 8, 2), NAN)
        for row in range(n):
            first, length = rng.integers(0, 5), rng.integers(2, 4)
            fake[row, first:first + length] = 1
            spans[row, first:first + length] = torch.tensor([first, first + length]) * 0.32
        given.face[..., 0] = 3 * fake
        return given, Targets(fake, fake, torch.zeros(n, 8), spans)

    for _ in range(40):
        given, targets = draw(16)
        out = model.tell(given)
        loss, _ = mmms_ba_loss(out, model.spans(out.boundaries), targets, LossWeights(alpha=0.5, per="batch"))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        given, targets = draw(16)
        out = model.eval().tell(given)
        fake = targets.whole == 1
        assert out.whole[fake].mean() > out.whole[~fake].mean() + 1
        assert out.video[fake].mean() > out.video[~fake].mean() + 1
        assert diou_loss(model.spans(out.boundaries)[fake], targets.spans[fake]).mean() < 0.45


# --- the detector


def detector(cfg: MMMSBAConfig = TINY, **card) -> MMMSBADetector:
    model = net(cfg)
    with torch.no_grad():
        model.head_class.weight.normal_(std=2.0)
    return MMMSBADetector(model, card)


def windows(start_s: list[float], end_s: list[float], cfg: MMMSBAConfig = TINY, picture=True, sound=True) -> Windows:
    rng = np.random.default_rng(1)
    n, spec = len(start_s), cfg.spec
    faces = rng.integers(0, 256, (n, spec.frames, spec.face_px, spec.face_px, 3)).astype(np.uint8)
    lips = rng.integers(0, 256, (n, spec.lips, spec.lips_px, spec.lips_px, 3)).astype(np.uint8)
    return Windows(
        np.array(start_s), np.array(end_s), faces if picture else None, np.full(n, picture),
        rng.normal(size=(n, spec.samples)).astype(np.float32) if sound else None, np.full(n, sound),
        track_id=0 if picture else None, face_seen=np.ones((n, spec.frames), bool) if picture else None,
        lips=lips if picture else None, lips_seen=np.ones((n, spec.lips), bool) if picture else None)


def test_most_suspicious_is_the_clip_score_of_the_sequences():
    logit = torch.randn(3, 7) * 4
    there = torch.ones(3, 7, dtype=torch.bool)
    there[1, 2:5] = False
    there[2] = False
    found = most_suspicious(logit, there).sigmoid()
    for row in (0, 1):
        assert found[row].item() == pytest.approx(clip_score(logit[row, there[row]].sigmoid().numpy()), abs=1e-6)
    assert found[2].isnan()


def test_one_window_has_the_logits_of_its_scores():
    judge = detector(calibration={"whole": {"scale": 0.5, "bias": -1.0}, "audio": {"scale": 2.0, "bias": 0.3}})
    cut = windows([0.0], [1.92])
    scores = judge.score(cut)
    assert scores.start_s.tolist() == pytest.approx([0, 0.32, 0.64, 0.96, 1.28, 1.6])
    assert scores.end_s[-1] == pytest.approx(1.92)
    logits = judge.logits(mmms_ba.to_inputs(cut, np.array([0]), torch.device("cpu")))
    assert set(logits) == {"whole", "video", "audio"} and scores.sync is None
    for head, logit in logits.items():
        assert logit.sigmoid().item() == pytest.approx(clip_score(getattr(scores, head)), abs=1e-6)


def test_windows_that_overlap_are_averaged():
    judge = detector()
    cut = windows([0.0, 0.96, 1.28], [1.92, 2.88, 3.2])
    scores = judge.score(cut)
    alone = [judge.score(windows_at(cut, row)).whole for row in range(3)]
    assert len(scores.whole) == 10
    expected = [[] for _ in range(10)]
    for first, values in zip((0, 3, 4), alone):
        for i, value in enumerate(values):
            expected[first + i].append(value)
    np.testing.assert_allclose(scores.whole, [np.mean(v) for v in expected], atol=1e-6)
    np.testing.assert_allclose(judge.score(cut, batch_size=1).whole, scores.whole, atol=1e-6)
    for a, b in zip(judge.score(cut, batch_size=2).proposals, scores.proposals, strict=True):
        assert (a.modality, a.track_id) == (b.modality, b.track_id)
        assert (a.start_s, a.end_s, a.score) == pytest.approx((b.start_s, b.end_s, b.score), abs=1e-5)


def windows_at(cut: Windows, row: int) -> Windows:
    rows = slice(row, row + 1)
    parts = {name: None if (x := getattr(cut, name)) is None else x[rows] for name in Windows.__dataclass_fields__
             if name != "track_id"}
    return Windows(**parts, track_id=cut.track_id)


def test_a_clip_shorter_than_the_window_has_no_sequences_after_its_end():
    judge = detector()
    cut = windows([0.0], [1.0])
    scores = judge.score(cut)
    assert len(scores.whole) == 3 and scores.end_s[-1] == 1.0 and np.isfinite(scores.whole).all()
    garbage = replace(cut, audio=np.where(np.arange(cut.audio.shape[1]) < 16_000, cut.audio, 9.0).astype(np.float32))
    np.testing.assert_array_equal(judge.score(garbage).whole, scores.whole)


@pytest.mark.parametrize("picture, sound", [(True, False), (False, True)])
def test_a_missing_modality_has_no_score(picture, sound):
    judge = detector()
    cut = windows([0.0, 0.96], [1.92, 2.88], picture=picture, sound=sound)
    scores = judge.score(cut)
    assert np.isfinite(scores.whole).all()
    assert np.isfinite(scores.video).all() == picture and np.isfinite(scores.audio).all() == sound
    logits = judge.logits(mmms_ba.to_inputs(cut, np.array([0]), torch.device("cpu")))
    assert set(logits) == {"whole", "video" if picture else "audio"}
    assert {p.modality for p in scores.proposals} <= {"video" if picture else "audio"}


def test_a_face_lost_for_some_sequences_has_no_video_score_there():
    judge = detector()
    cut = windows([0.0], [1.92])
    cut.face_seen[0, 2:4] = False
    cut.lips_seen[0, 4:8] = False
    scores = judge.score(cut)
    assert np.isnan(scores.video).tolist() == [False, False, True, True, False, False]
    assert np.isfinite(scores.whole).all()


def test_scoring_changes_nothing():
    judge = detector()
    before = {k: v.clone() for k, v in judge.model.state_dict().items()}
    judge.score(windows([0.0], [1.92]))
    assert all(torch.equal(v, before[k]) for k, v in judge.model.state_dict().items())


# --- segments


def proposals(start_s, end_s, told_spans, p, video=None, audio=None, sequences=6, **outstanding):
    """From what each window told: spans of its sequences in seconds of the clip, and P(fake); outstanding: modality ->
    StandOut's logits."""
    timeline = Timeline.of(np.array(start_s), np.array(end_s), replace(TINY, sequences=sequences))
    p = np.array(p, float)
    scores = {"whole": timeline.mean(p), "video": None if video is None else np.array(video),
              "audio": None if audio is None else np.array(audio), "sync": None}
    return propose(timeline, np.array(told_spans, float), p, scores, 3,
                   {name: np.array(logits) for name, logits in outstanding.items()})


def test_a_partial_fake_is_one_segment_where_its_sequences_say():
    spans = [[(0.0, 0.32), (0.35, 1.2), (0.33, 1.22), (0.34, 1.21), (1.0, 1.5), (1.5, 1.9)]]
    p = [[0.02, 0.8, 0.9, 0.7, 0.03, 0.01]]
    best, *rest = proposals([0.0], [1.92], spans, p, video=[0.1, 0.9, 0.9, 0.9, 0.1, 0.1], audio=[0.2] * 6)
    assert (best.start_s, best.end_s, best.score) == pytest.approx((0.33, 1.22, 0.9))
    assert (best.modality, best.track_id) == ("video", 3)
    # Its repetitions are put behind: IoU .85 / .89 and .87 / .89 leave a seventh of .8 and .7.
    assert max(s.score for s in rest) < 0.2


def test_what_stands_out_of_one_modality_is_proposed_as_a_segment_of_it():
    timeline = Timeline.of(np.array([0.0]), np.array([1.92]), replace(TINY, sequences=6))
    scores = {"whole": np.full(6, 0.1), "video": np.full(6, 0.9), "audio": np.full(6, 0.1), "sync": None}
    nothing = np.zeros((1, 6, 2))  # spans too short to be proposed
    [found] = propose(timeline, nothing, np.full((1, 6), 0.1), scores, 3,
                      {"video": np.zeros(6), "audio": np.array([-2.0, -2.0, 3.0, 3.0, -2.0, -2.0])})
    assert (found.start_s, found.end_s) == pytest.approx((0.64, 1.28))
    assert found.score == pytest.approx(1 / (1 + math.exp(-3)))
    assert (found.modality, found.track_id) == ("audio", None)


def test_what_stands_out_is_the_stretch_above_its_own_clip():
    logits = np.array([-2.0, -2.0, -2.0, 1.0, 0.0, -2.0, -2.0])  # cut at -2 + 0.4 * 3 = -0.8
    first, last, score = stand_out(logits)
    assert (first, last) == (3, 4)
    assert score == pytest.approx((1 / (1 + math.exp(-1)) + 0.5) / 2)


def test_the_higher_of_two_stretches_stands_out_and_gaps_count_as_the_lowest():
    first, last, _ = stand_out(np.array([-2.0, 1.5, -2.0, -2.0, np.nan, 2.0, 2.0, np.nan, -2.0, -2.0]))
    assert (first, last) == (5, 6)


def test_nothing_stands_out_of_a_clip_that_is_alike_throughout():
    assert stand_out(np.full(8, 0.9)) is None
    assert stand_out(np.array([0.9, np.nan, np.nan])) is None


def test_segments_of_the_sound_belong_to_no_face():
    best = proposals([0.0], [1.92], [[(0.0, 1.92)] * 6], [[0.9] * 6], video=[0.2] * 6, audio=[0.6] * 6)[0]
    assert (best.modality, best.track_id) == ("audio", None)


def test_a_clip_that_is_fake_throughout_is_one_segment_across_its_windows():
    start_s, end_s = [0.0, 0.96, 1.92, 2.4], [1.92, 2.88, 3.84, 4.32]
    spans = [[(a, b)] * 6 for a, b in zip(start_s, end_s)]
    best, *rest = proposals(start_s, end_s, spans, np.full((4, 6), 0.9))
    assert (best.start_s, best.end_s) == pytest.approx((0.0, 4.32))
    assert all(s.score < 0.2 for s in rest)


def test_a_span_that_ends_with_its_window_stops_where_the_next_says_genuine():
    start_s, end_s = [0.0, 0.96], [1.92, 2.88]
    spans = [[(0.0, 1.92)] * 6, [(0.96, 1.9)] * 6]
    p = [[0.9] * 6, [0.9] * 3 + [0.1] * 3]
    best = proposals(start_s, end_s, spans, p)[0]
    assert (best.start_s, best.end_s) == pytest.approx((0.0, 1.9), abs=0.03)


def test_genuine_clips_propose_nothing_that_counts():
    assert all(s.score < 0.05 for s in proposals([0.0], [1.92], [[(0.0, 1.0)] * 6], [[0.02] * 6]))
    assert proposals([0.0], [1.92], [[(0.0, 1.0)] * 6], [[0.001] * 6]) == ()


# --- encoders


def test_mean_and_deviation_over_what_is_there():
    x = torch.tensor([1.0, 3.0, 100.0]).view(1, 1, 3, 1)
    there = torch.tensor([True, True, False]).view(1, 1, 3)
    torch.testing.assert_close(mean_std(x, there).flatten(), torch.tensor([2.0, 1.0]), atol=1e-5, rtol=0)


def test_octave_energies_tell_fine_from_coarse():
    places = torch.arange(48)
    fine = ((places % 2)[None] * torch.ones(48, 1)).float()  # stripes of one pixel
    coarse = ((places // 8 % 2)[None] * torch.ones(48, 1)).float()  # stripes of eight
    e_fine, e_coarse = octave_energies(torch.stack([fine, coarse]))
    assert e_fine.argmax() == 0 and e_coarse.argmax() == 3
    assert e_fine[0].item() == pytest.approx(math.log(0.25), abs=1e-4)


def test_the_papers_features_are_means_over_the_pictures_that_were_seen(monkeypatch):
    monkeypatch.undo()
    model = net(replace(PAPER, sequences=2, faces=2, face_px=32, lips=2, lips_px=32, mels=8, hidden=2, dense=2))
    faces, lips, audio = (torch.rand_like(x) for x in mmms_ba.example(model.cfg))
    audio[:, 5120:] *= 0.1
    seen = torch.tensor([[True, False, True, True]])
    with torch.no_grad():
        given = model.encode(Inputs(faces, lips, audio, face_seen=seen, lips_seen=~seen))
        each = model.encoder.pictures["face"](faces[0])
    torch.testing.assert_close(given.face[0], torch.stack([each[0], each[2:].mean(0)]))
    assert given.face_there.tolist() == [[True, True]] and given.lips_there.tolist() == [[True, False]]
    # A tenth of the amplitude is 2 log 10 less in every band, but for the frames that reach across the border.
    fall = given.audio[0, 0] - given.audio[0, 1]
    torch.testing.assert_close(fall, torch.full((8,), 2 * math.log(10)), atol=0.4, rtol=0)


def shipped_inputs(model: MMMSBA) -> Inputs:
    faces, lips, audio = (torch.rand_like(x) for x in mmms_ba.example(model.cfg))
    return Inputs(faces, lips, audio - 0.5)


def test_shipped_encoders_give_what_the_network_reads(shipped):
    inputs = shipped_inputs(shipped)
    given = shipped.encode(inputs)
    for part in PARTS:
        assert getattr(given, part).shape == (1, 2, shipped.encoder.dims[part])
        assert getattr(given, f"{part}_there").all()
    assert not any(p.requires_grad for p in shipped.encoder.parameters())
    shipped.train()
    assert not any(module.training for module in shipped.encoder.modules())
    shipped.eval()
    wanted = [x.clone().requires_grad_() for x in inputs[:3]]
    shipped(*wanted).whole.sum().backward()
    assert all(x.grad.isfinite().all() and x.grad.any() for x in wanted)


def test_sound_that_ends_before_the_picture_leaves_no_trace(shipped):
    inputs = shipped_inputs(shipped)._replace(heard_s=torch.tensor([0.40]))  # lips go on
    noise = inputs.audio.clone()
    noise[0, 6400:] = 3.0
    with torch.no_grad():
        a, b = (shipped.encode(inputs._replace(audio=audio)) for audio in (inputs.audio, noise))
    torch.testing.assert_close(a, b)
    assert a.lips_there.tolist() == [[True, True]] and a.audio_there.tolist() == [[True, False]]


def test_unseen_lips_and_sound_after_the_end_leave_no_trace(shipped):
    inputs = shipped_inputs(shipped)
    lips_seen = torch.ones(1, 16, dtype=torch.bool)
    lips_seen[0, 5:9] = False
    length_s = torch.tensor([0.40])  # the second sequence's middle lies after the end
    garbage = inputs.lips.clone()
    garbage[0, 5:9] = 7.0
    noise = inputs.audio.clone()
    noise[0, 6400:] = 3.0
    with torch.no_grad():
        a = shipped.encode(inputs._replace(lips_seen=lips_seen, length_s=length_s))
        b = shipped.encode(inputs._replace(lips=garbage, audio=noise, lips_seen=lips_seen, length_s=length_s))
    torch.testing.assert_close(a, b)
    assert a.lips_there.tolist() == [[True, False]] and a.audio_there.tolist() == [[True, False]]
    alternate = torch.arange(16)[None] % 2 == 0
    assert not shipped.encode(inputs._replace(lips_seen=alternate)).lips_there.any()  # no two in a row


def test_a_checkpoint_gives_the_same_detector_again(shipped):
    card = {"architecture": asdict(shipped.cfg), "input_spec": asdict(shipped.cfg.spec)}
    card = json.loads(json.dumps(card))
    again = mmms_ba.load_detector(shipped.state_dict(), card)
    inputs = shipped_inputs(shipped)
    with torch.no_grad():
        a, b = MMMSBADetector(shipped, card).logits(inputs), again.logits(inputs)
    assert a.keys() == b.keys() >= {"whole", "video", "audio"}
    torch.testing.assert_close(a, b, equal_nan=True)
    with pytest.raises(RuntimeError):
        mmms_ba.load_detector({k: v for k, v in shipped.state_dict().items() if "head_class" not in k}, card)


def test_mismatch_of_lips_and_sound_is_told_at_their_own_offset(shipped):
    """Planted: sound vectors that are the lips' own, late by two steps; then those of nobody."""
    model = net_of_pair(shipped, sequences=10)
    lips = F.normalize(torch.randn(1, 82, 64), dim=2)
    there = torch.ones(1, 10, dtype=torch.bool)
    given = Features(
        lips=torch.randn(1, 10, model.encoder.dims["lips"]), audio=torch.randn(1, 10, model.encoder.dims["audio"]),
        lips_there=there, audio_there=there, lip_steps_there=torch.ones(1, 10, 8, dtype=torch.bool),
        lip_steps=lips[:, 2:].unflatten(1, (10, 8)), sound_steps=lips[:, :80].unflatten(1, (10, 8)))
    fits = model.tell(given)
    foreign = F.normalize(torch.randn(1, 10, 8, 64), dim=3)
    assert fits.mismatch.item() < 0 < model.tell(given._replace(sound_steps=foreign)).mismatch.item()
    assert mmms_ba._offset_s([fits.agreement.detach().numpy()]) == pytest.approx(0.08)
    synced = model._sync(given)
    assert synced.known[0, 1:-1].all() and (synced.evidence[synced.known] > 0.5).all()
    # Without a face for most of the time it abstains, and lacks nothing else.
    seldom = given.lip_steps_there.clone()
    seldom[:, 2:] = False
    out = model.tell(given._replace(lip_steps_there=seldom))
    assert out.mismatch.isnan() and out.whole.isfinite().all()


def net_of_pair(shipped: MMMSBA, sequences: int) -> MMMSBA:
    model = MMMSBA(replace(shipped.cfg, sequences=sequences)).eval()
    model.load_state_dict(shipped.state_dict())
    return model


def test_whitening_is_of_what_is_there(shipped):
    model = MMMSBA(replace(shipped.cfg, sequences=2, components=4, contrasts=4)).eval()
    given = shipped.encode(Inputs(*(x.repeat(3, *[1] * (x.ndim - 1)) for x in shipped_inputs(shipped)[:3])))
    face = torch.randn(3, 2, model.encoder.dims["face"]) * 5 + 2
    there = torch.tensor([[True, True], [True, False], [True, True]])
    face[1, 1] = 1000.0
    # Three windows of sound are too few to whiten it: it is left out here.
    model.fit_whitening(given._replace(face=face, face_there=there, lips=None, audio=None))
    whiten = model.contexts["face"].whiten
    torch.testing.assert_close(whiten.mean, face[there].mean(0))
    told = whiten(face)[there]
    torch.testing.assert_close(told.mean(0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(told.std(0, correction=0), torch.ones(4), atol=0.01, rtol=0)


def test_a_sequence_is_read_by_how_it_differs_from_its_own_window(shipped):
    """Planted: means of the speech encoder's rows tell the source. What all sequences of a window share moves no logit;
    what three of them have of their own does."""
    torch.manual_seed(1)
    stand_out = copy.deepcopy(shipped.stand_out)
    stand_out.maps["audio"].weight.normal_()
    there = torch.ones(2, 8, dtype=torch.bool)
    there[1, 6:] = False
    given = Features(voice=torch.randn(2, 8, 200), audio_there=there)
    told = stand_out(given)["audio"]
    shared = stand_out(given._replace(voice=given.voice + torch.randn(2, 1, 200)))["audio"]
    torch.testing.assert_close(shared[there], told[there], atol=1e-4, rtol=1e-4)
    own = given.voice.clone()
    own[:, 2:5] += torch.randn(200)
    assert (stand_out(given._replace(voice=own))["audio"] - told)[there].abs().max() > 0.1
    absent = given.voice.clone()
    absent[1, 6:] = 1000.0
    torch.testing.assert_close(stand_out(given._replace(voice=absent))["audio"][there], told[there])


def test_what_stands_out_is_silent_before_it_is_fitted(shipped):
    fresh = MMMSBA(SHIPPED).stand_out
    told = fresh(Features(voice=torch.randn(1, 24, 200), audio_there=torch.ones(1, 24, dtype=torch.bool)))
    assert set(told) == {"audio"} and stand_out(told["audio"][0].numpy()) is None
