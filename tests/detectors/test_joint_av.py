"""Joint AV: its outline, its losses by hand, and what the detector does without a modality."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectors import joint_av
from detectors.__main__ import count_parameters, gflops_per_window
from detectors.contract import Inputs, Windows
from detectors.joint_av import PAPER, SHIPPED, SHIPPED_SPEC, JointAV, JointAVConfig, JointAVDetector, joint_av_loss
from detectors.scoring import to_inputs
from detectors.sync import SyncConfig

TINY_PAIR = SyncConfig(dim=8, lips_px=16, lip_widths=(4, 4, 4, 8), sound_widths=(8, 8, 8), bands=10)
TINY = JointAVConfig(face_px=16, widths=(4, 4, 8, 8), depths=(1, 1, 1, 1), stem_stride=4, lean=True, sound="bands",
                     sound_widths=(4, 8, 8, 8), bands=12, sync_width=8, attention_heads=2, pair=TINY_PAIR)
TINY_SPEC = replace(SHIPPED_SPEC, face_px=16, lips_px=16)
NAN = float("nan")


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def clips(n: int, cfg: JointAVConfig = TINY) -> tuple[torch.Tensor, ...]:
    return (torch.rand(n, cfg.frames, 3, cfg.face_px, cfg.face_px), torch.randn(n, cfg.samples) * 0.1,
            torch.rand(n, cfg.frames, 3, 16, 16))


def lively(cfg: JointAVConfig = TINY) -> JointAV:
    """A network whose batch norms have seen data."""
    model = JointAV(cfg).train()
    with torch.no_grad():
        model(*clips(4, cfg)[:2])
    return model.eval()


@pytest.fixture(scope="module")
def model() -> JointAV:
    torch.manual_seed(0)
    return lively()


@pytest.fixture(scope="module")
def detector(model) -> JointAVDetector:
    calibration = {"video": {"scale": 2.0, "bias": 0.5}, "sync": {"scale": 0.5, "bias": -1.0}}
    return JointAVDetector(model, {"calibration": calibration}, TINY_SPEC)


def windows(n: int, **changes) -> Windows:
    """n windows of one track, half a window apart, of a steady stream of lips and sound."""
    rng = np.random.default_rng(0)
    steps = 32 + 16 * (n - 1)
    lips = rng.integers(1, 256, (steps, 16, 16, 3), dtype=np.uint8)
    sound = rng.normal(0, 0.1, steps * 640).astype(np.float32)
    given = {
        "start_s": 0.64 * np.arange(n), "end_s": 0.64 * np.arange(n) + 1.28,
        "faces": rng.integers(0, 256, (n, 32, 16, 16, 3), dtype=np.uint8), "has_face": np.ones(n, bool),
        "audio": np.stack([sound[16 * 640 * i:][:20_480] for i in range(n)]), "has_audio": np.ones(n, bool),
        "lips": np.stack([lips[16 * i:][:32] for i in range(n)]), "lips_seen": np.ones((n, 32), bool), "track_id": 3,
    }
    return Windows(**given | changes)


# --- the outline


def test_both_streams_have_the_same_steps_at_every_stage():
    with torch.device("meta"):
        paper = JointAV(PAPER)
        faces, audio = joint_av.example(PAPER)
        seen, heard = paper.video(faces), paper.audio(audio)
    assert [tuple(v.shape) for v in seen] == [(1, 64, 32), (1, 128, 32), (1, 256, 16), (1, 512, 8)]
    assert [v.shape[2] for v in seen] == [a.shape[2] for a in heard]


def test_paper_video_stream_has_the_channels_of_r2plus1d_18():
    with torch.device("meta"):
        video = JointAV(PAPER).video
    spaces = [m for m in video.modules() if isinstance(m, torch.nn.Conv3d) and m.kernel_size[1] > 1]
    # 3 -> 45 -> 64; 64 -> 144 -> 64; 64 -> 230 -> 128 and 128 -> 288 -> 128; and so on [Tran et al. 2018].
    assert [m.out_channels for m in spaces] == [45, 144, 144, 144, 144, 230, 288, 288, 288, 460, 576, 576, 576,
                                                921, 1152, 1152, 1152]


def test_shipped_is_small():
    assert count_parameters(joint_av, SHIPPED) < 2e6
    assert gflops_per_window(joint_av, SHIPPED) < 2.5


@pytest.mark.parametrize("changes, error", [
    ({"fusion": "late fusion"}, "fusion"), ({"sound": "mel"}, "sound"), ({"samples": 16_000}, "640 samples"),
    ({"frames": 30, "samples": 19_200}, "multiple of 4"),
])
def test_bad_configurations_are_refused(changes, error):
    with pytest.raises(ValueError, match=error):
        replace(TINY, **changes)


def test_time_convolution_is_the_one_in_three_dimensions():
    conv = joint_av.TimeConv(3, 5, stride=2)
    x = torch.randn(2, 3, 8, 4, 4)
    expected = F.conv3d(x, conv.weight[..., None], stride=(2, 1, 1), padding=(1, 0, 0))
    torch.testing.assert_close(conv(x), expected, atol=1e-5, rtol=1e-5)


def test_sync_stream_is_its_formula():
    sync = joint_av.SyncStream(TINY).eval()
    video = [torch.randn(2, c, t) for c, t in zip(TINY.widths, (32, 32, 16, 8))]
    audio = [torch.randn(2, c, t) for c, t in zip(TINY.sound_widths, (32, 32, 16, 8))]
    s = torch.zeros(2, TINY.sync_width, 32)
    for (conv, norm), v, a in zip(sync.join, video, audio):
        while s.shape[2] > v.shape[2]:
            s = (s[:, :, ::2] + s[:, :, 1::2]) / 2
        weight = conv.weight[..., 0] / norm.running_var.add(norm.eps).sqrt()[:, None]
        s = torch.relu(torch.einsum("oc,nct->not", weight, torch.cat([v, a], 1)) + s)
    feature = sync(video, audio)
    assert feature.shape == (2, 3 * TINY.sync_width)
    torch.testing.assert_close(feature[:, 2 * TINY.sync_width:], s.mean(2))


def test_attention_is_between_the_modalities_and_knows_the_moment():
    sync = joint_av.SyncStream(TINY).eval()
    video = [torch.randn(1, c, t) for c, t in zip(TINY.widths, (32, 32, 16, 8))]
    audio = [torch.randn(1, c, t) for c, t in zip(TINY.sound_widths, (32, 32, 16, 8))]
    before = sync(video, audio)[:, :TINY.sync_width]  # what the picture makes of the sound
    after = sync(video, [*audio[:3], torch.randn_like(audio[3])])[:, :TINY.sync_width]
    assert (before - after).abs().max() > 1e-4
    rolled = sync(video, [*audio[:3], audio[3].roll(4, 2)])[:, :TINY.sync_width]
    assert (before - rolled).abs().max() > 1e-5


@pytest.mark.parametrize("fusion, told", [("sync", True), ("late", True), ("independent", False)])
def test_fusion_switches(fusion, told):
    model = lively(replace(TINY, fusion=fusion))
    assert (model.sync is not None) == (fusion == "sync")
    out = model(*clips(2)[:2])
    assert (out.whole is not None) == told and out.video.shape == out.audio.shape == (2,)


def test_waveform_front(model):
    out = lively(replace(TINY, sound="waveform"))(*clips(2)[:2])
    assert out.audio.shape == (2,) and not torch.equal(out.audio, model(*clips(2)[:2]).audio)


def test_gain_does_not_count(model):
    _, audio, _ = clips(2)
    torch.testing.assert_close(model(None, audio * 0.25).audio, model(None, audio).audio, atol=1e-3, rtol=1e-3)


def test_higher_is_more_fake():
    assert joint_av.fake_logit(torch.tensor([[2.0, 5.0]])).item() == 3.0  # real 2, fake 5


# --- missing modalities


def test_a_missing_modality_is_as_if_never_there(model):
    faces, audio, lips = clips(3)
    both, seen, heard = model(faces, audio, lips), model(faces, None, lips), model(None, audio)
    torch.testing.assert_close(seen.video, both.video)
    torch.testing.assert_close(heard.audio, both.audio)
    assert seen.audio is seen.whole is seen.sync is None and heard.video is heard.whole is heard.sync is None
    assert model(faces, audio).sync is None
    with pytest.raises(ValueError, match="neither"):
        model(None, None)


def test_wrong_sizes_are_refused(model):
    faces, audio, _ = clips(1)
    with pytest.raises(ValueError, match="faces must be"):
        model(faces[:, :8], audio)
    with pytest.raises(ValueError, match="audio must be"):
        model(faces, audio[:, :-1])


def test_batch_gives_what_each_window_gives(model):
    inputs = clips(3)
    together = model(*inputs)
    for n in range(3):
        alone = model(*(x[n:n + 1] for x in inputs))
        for a, b in zip(alone, together):
            torch.testing.assert_close(a, b[n:n + 1], atol=1e-4, rtol=1e-4)


# --- the losses


def test_loss_by_hand():
    """Two-class cross-entropy: log(1 + e^-z) for a fake and log(1 + e^z) for a real one, z the logit difference."""
    out = joint_av.Output(torch.tensor([1.0, -1.0, 3.0]), torch.tensor([0.5, 2.0, 3.0]), torch.tensor([2.0, 0.0, 1.0]),
                          None)
    loss, parts = joint_av_loss(out, torch.tensor([1.0, NAN, 0.0]), torch.tensor([0.0, 1.0, 0.0]),
                                torch.tensor([False, False, True]))

    def wrong(*margins):
        return sum(math.log(1 + math.exp(-m)) for m in margins) / len(margins)

    assert parts["video"].item() == pytest.approx(wrong(1.0), rel=1e-5)  # unknown and mismatched are left out
    assert parts["audio"].item() == pytest.approx(wrong(-0.5, 2.0), rel=1e-5)
    assert parts["whole"].item() == pytest.approx(wrong(2.0, 0.0, 1.0), rel=1e-5)  # the mismatched one counts as fake
    assert loss.item() == pytest.approx(sum(p.item() for p in parts.values()), rel=1e-5)


def test_loss_leaves_out_what_cannot_be_known():
    out = joint_av.Output(torch.tensor([1.0]), None, torch.tensor([1.0]), None)
    loss, parts = joint_av_loss(out, torch.tensor([0.0]), torch.tensor([NAN]))
    assert parts.keys() == {"video", "whole"} and parts["whole"] == 0  # real picture, unknown sound
    assert loss == parts["video"]


def test_mismatch_teaches_the_sync_stream_alone():
    model = JointAV(TINY).train()
    faces, audio, _ = clips(4)
    mismatched = torch.ones(4, dtype=torch.bool)
    loss, _ = joint_av_loss(model(faces, audio), torch.zeros(4), torch.zeros(4), mismatched)
    loss.backward()
    assert model.video_head.weight.grad is None and model.audio_head.weight.grad is None
    assert model.whole_head.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.pair.parameters())


def test_training_reaches_every_weight_but_the_pair():
    model = JointAV(TINY).train()
    faces, audio, _ = clips(4)
    labels = torch.tensor([0.0, 1.0, 0.0, 1.0])
    joint_av_loss(model(faces, audio), labels, labels.flip(0))[0].backward()
    for name, p in model.named_parameters():
        assert name.startswith("pair.") or (p.grad is not None and p.grad.isfinite().all()), name
    assert not model.pair.training


# --- the detector


def test_scores_are_the_sigmoid_of_the_logits(detector):
    w = windows(1)
    with torch.no_grad():
        told = detector.logits(to_inputs(w, np.array([0]), torch.device("cpu")))
    scores = detector.score(w)
    assert told.keys() == {"video", "audio", "whole", "sync"}
    for head, logit in told.items():
        np.testing.assert_allclose(getattr(scores, head), logit.sigmoid(), atol=1e-5)
    assert scores.track_id == 3


def test_streams_are_told_window_by_window_and_calibrated(detector, model):
    w = windows(4)
    scores = detector.score(w, batch_size=3)
    with torch.no_grad():
        inputs = to_inputs(w, np.arange(4), torch.device("cpu"))
        out = model(inputs.faces, inputs.audio)
    np.testing.assert_allclose(scores.video, (2 * out.video + 0.5).sigmoid(), atol=1e-5)
    np.testing.assert_allclose(scores.whole, out.whole.sigmoid(), atol=1e-5)


def test_sync_is_told_over_the_track(detector):
    """With its neighbours, a window is not told as alone; the offset is on the grid of 40 ms."""
    scores = detector.score(windows(6))
    alone = detector.score(windows(1))
    assert np.isfinite(scores.sync).all() and abs(scores.sync[0] - alone.sync[0]) > 1e-6
    assert scores.offset_s == pytest.approx(round(scores.offset_s * 25) / 25)


def test_sound_alone_and_face_alone(detector):
    nobody, silence = np.zeros(2, bool), np.zeros(2, bool)
    heard = detector.score(windows(2, faces=None, lips=None, lips_seen=None, has_face=nobody, track_id=None))
    assert np.isnan(heard.video).all() and np.isnan(heard.sync).all() and heard.offset_s is None
    np.testing.assert_array_equal(heard.whole, heard.audio)
    seen = detector.score(windows(2, audio=None, has_audio=silence))
    assert np.isnan(seen.audio).all() and np.isnan(seen.sync).all() and seen.offset_s is None
    np.testing.assert_array_equal(seen.whole, seen.video)


def test_face_lost_for_a_while(detector):
    there = np.array([True, True, False, False, False, True, True])
    scores = detector.score(windows(7, has_face=there))
    np.testing.assert_array_equal(np.isfinite(scores.video), there)
    assert np.isfinite(scores.audio).all() and np.isfinite(scores.whole).all()
    assert np.isnan(scores.sync[~there]).all() and scores.offset_s is not None


def test_a_clip_shorter_than_a_window_has_no_sync(detector):
    short = windows(1, end_s=np.array([1.1]))
    scores = detector.score(short)
    assert np.isnan(scores.sync).all() and scores.offset_s is None and np.isfinite(scores.whole).all()
    with torch.no_grad():
        assert detector.logits(to_inputs(short, np.array([0]), torch.device("cpu")))["sync"].isnan().all()


def test_independent_streams_tell_the_higher_one_as_whole():
    detector = JointAVDetector(lively(replace(TINY, fusion="independent", pair=None)), {}, TINY_SPEC)
    scores = detector.score(windows(3))
    np.testing.assert_allclose(scores.whole, np.maximum(scores.video, scores.audio))
    assert scores.sync is None and scores.offset_s is None


def test_logits_can_be_explained(detector):
    faces, audio, lips = (x.requires_grad_() for x in clips(2))
    told = detector.logits(Inputs(faces=faces, audio=audio, lips=lips))
    sum(logit.sum() for logit in told.values()).backward()
    for x in (faces, audio, lips):
        assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


def test_checkpoint_comes_back_as_it_was(model, detector):
    card = json.loads(json.dumps({"architecture": asdict(TINY), "input_spec": asdict(TINY_SPEC), **detector.card}))
    loaded = joint_av.load_detector(model.state_dict(), card)
    assert loaded.spec == TINY_SPEC and loaded.model.cfg == TINY
    w = windows(2)
    np.testing.assert_array_equal(loaded.score(w).whole, detector.score(w).whole)
    np.testing.assert_array_equal(loaded.score(w).sync, detector.score(w).sync)
    state = model.state_dict()
    state.pop("video_head.bias")
    with pytest.raises(RuntimeError, match="video_head.bias"):
        joint_av.load_detector(state, card)
