"""SS-AVD against its published numbers, against independent formulations, and against its own promises."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectors import ss_avd
from detectors.contract import Windows
from detectors.ss_avd import PAPER, SHIPPED, SSAVD, SSAVDConfig, SSAVDDetector, ss_avd_loss

TINY = SSAVDConfig(
    widths=(4, 8), depths=(1, 1), frames=2, face_px=56, samples=1600, sinc_filters=16, sinc_kernel=51, drop_path=0.0
)
NAN = float("nan")


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


def clips(n: int, cfg: SSAVDConfig = TINY) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(n, cfg.frames, 3, cfg.face_px, cfg.face_px), torch.randn(n, cfg.samples)


def lively(cfg: SSAVDConfig = TINY, **kwargs) -> SSAVD:
    """A network whose every part matters: layer scales of 1 instead of .01, and batch norms that have seen data."""
    model = SSAVD(cfg, **kwargs)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "alpha" in name:
                p.fill_(1.0)
            elif "head" in name or name.endswith("proj.weight"):
                p.normal_(std=0.3)
    model.train()
    model(*clips(4, cfg))
    return model.eval()


# --- the published sizes


def test_parameter_counts_are_the_published_ones():
    model = SSAVD(PAPER)
    assert parameters(model) == 483_402
    assert [parameters(stage) for stage in model.stages] == [92_706, 39_058, 169_286, 177_742]
    # What lies outside the stages: sinc filters, instance norm, two depthwise convolutions, three heads.
    assert parameters(model.front_end.sinc) == 256 and parameters(model.front_end.norm) == 2
    assert parameters(model.pool_video) + parameters(model.pool_audio) == 64 * 28 + 64 * 32
    assert [parameters(h) for h in (model.head_video, model.head_audio, model.head_whole)] == [128, 128, 256]
    assert parameters(SSAVD(PAPER, style_heads=True)) == 487_632


def test_shipped_network_has_the_papers_parameters_and_lengths():
    as_shipped = replace(SHIPPED, textures=False, beside=0)
    paper, shipped = (SSAVD(replace(cfg, widths=(2,), depths=(1,), face_px=14)) for cfg in (PAPER, as_shipped))
    assert {k: v.shape for k, v in paper.state_dict().items()} == {k: v.shape for k, v in shipped.state_dict().items()}
    sound = torch.randn(1, 48_000)
    with torch.no_grad():
        lengths = [m.stages[0].down_audio(m.front_end(sound)).shape[-1] for m in (paper, shipped)]
        assert lengths == [12_000, 12_000]
        # The shipped filters are every fourth output of the paper's.
        every_fourth = paper.front_end.sinc(sound[:, None])[..., ::4]
        torch.testing.assert_close(shipped.front_end.sinc(sound[:, None]), every_fourth, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name, million", [("0.5M", 0.5), ("1M", 1.0), ("2M", 2.0)])
def test_width_study(name, million):
    assert parameters(SSAVD(ss_avd.SIZES[name])) / 1e6 == pytest.approx(million, rel=0.05)


@pytest.mark.parametrize("wrong", [
    {"fusion": "mean"}, {"sinc_stride": 3}, {"depths": (1,)}, {"samples": 1601}, {"sinc_kernel": 50},
])
def test_config_refuses_in_words(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        replace(TINY, **wrong)


# --- the parts


def test_frame_fusion_is_one_matrix_over_frames():
    fusion = ss_avd.FrameFusion(3)
    x = torch.randn(2 * 3, 4, 5, 5)
    expected = torch.einsum("st,btchw->bschw", fusion.weight, x.unflatten(0, (2, 3))).flatten(0, 1)
    torch.testing.assert_close(fusion(x), expected)
    torch.testing.assert_close(fusion(x.contiguous(memory_format=torch.channels_last)), expected)


def test_spatial_attention_formula():
    m = ss_avd.SpatialAttention(3).eval()
    m.norm.running_mean, m.norm.running_var = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([1.0, 2.0, 3.0])
    x = torch.randn(2, 3, 20, 17)
    h = (x - m.norm.running_mean[:, None, None]) / (m.norm.running_var[:, None, None] + 1e-5).sqrt()
    pointwise = lambda conv, x: torch.einsum("oi,nihw->nohw", conv.weight[..., 0, 0], x) + conv.bias[:, None, None]  # noqa: E731
    p = pointwise(m.proj_in, h).clamp(min=0)
    q = F.conv2d(p, m.local.weight, m.local.bias, padding=2, groups=3)
    q = F.conv2d(q, m.wide.weight, m.wide.bias, padding=9, dilation=3, groups=3)
    expected = h + pointwise(m.proj_out, p * pointwise(m.mix, q))
    torch.testing.assert_close(m(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [7, 9, 14, 20])
def test_fast_convolutions_are_the_plain_ones(size):
    wide, mix = ss_avd.DilatedDepthwise(4), ss_avd.MixDown(4)
    x, y = torch.randn(2, 4, size, size + 1, requires_grad=True), torch.randn(2, 4, size, requires_grad=True)
    plain_wide = F.conv2d(x, wide.weight, wide.bias, padding=9, dilation=3, groups=4)
    plain_mix = F.conv1d(y, mix.weight, mix.bias, padding=16)
    for fast, plain, at in ((wide(x), plain_wide, (x, wide.weight)), (mix(y), plain_mix, (y, mix.weight))):
        torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
        weight = torch.randn_like(plain)
        for ours, theirs in zip(torch.autograd.grad((fast * weight).sum(), at),
                                torch.autograd.grad((plain * weight).sum(), at)):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_log_magnitude_and_its_gradient():
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    y = (x.abs() + 1e-6).log()
    torch.testing.assert_close(ss_avd.LogMagnitude.apply(x), y - y.mean(-1, keepdim=True))
    assert torch.autograd.gradcheck(ss_avd.LogMagnitude.apply, x)
    silence = torch.zeros(1, 1, 4, requires_grad=True)
    (ss_avd.LogMagnitude.apply(silence) * torch.randn(4)).sum().backward()
    assert (silence.grad == 0).all()


@pytest.mark.parametrize("size, t", [(14, 7), (7, 7), (7, 2), (14, 4), (28, 8)])
def test_unchunk_in_place_undoes_chunk(size, t):
    x = torch.randn(2 * 3, 1, size, size)
    tokens = ss_avd.chunk(x, 3, t)
    assert tokens.shape == (2, 3 * math.ceil(size / t) ** 2, t * t)
    assert torch.equal(ss_avd.unchunk(tokens, 3, size, t, faithful=False), x)


def test_chunk_order_and_faithful_unchunk_follow_the_note():
    frames, t, P = 2, 3, 2
    x = torch.arange(frames * 36.0).view(frames, 1, 6, 6)
    tokens = ss_avd.chunk(x, frames, t)[0]
    back = ss_avd.unchunk(tokens[None], frames, 6, t, faithful=True)
    for f in range(frames):
        for p1, p2, h, w in np.ndindex(P, P, t, t):
            value = tokens[f * P * P + p1 * P + p2, h * t + w]
            assert value == x[f, 0, p1 * t + h, p2 * t + w]
            assert back[f, 0, h * P + p1, w * P + p2] == value  # interleaved, not in its place
    assert not torch.equal(back, x)


def test_token_attention_against_numpy():
    m = ss_avd.TokenAttention(n_video=4, n_audio=2, dim=3)
    with torch.no_grad():
        m.norm.weight.uniform_(0.5, 2), m.norm.bias.normal_(), m.proj.weight.normal_()
    v, a = torch.randn(2, 4, 3), torch.randn(2, 2, 3)

    def reference(z, rows):
        position, scale, shift = (p.detach().double().numpy()[rows] for p in (m.position, m.norm.weight, m.norm.bias))
        x = z.double().numpy() + position
        x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)  # across the tokens
        x = x * scale[:, None] + shift[:, None]
        e = np.exp(x @ x.transpose(0, 2, 1) / np.sqrt(3))
        attended = (e / e.sum(-1, keepdims=True)) @ x
        return z.double().numpy() + attended @ m.proj.weight.detach().double().numpy().T

    with torch.no_grad():
        both = reference(torch.cat([v, a], 1), slice(None))
        for ours, theirs in zip(m(v, a), (both[:, :4], both[:, 4:])):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)
        alone_v, alone_a = m(v, None), m(None, a)  # only the rows of the tokens that are there
        np.testing.assert_allclose(alone_v[0].numpy(), reference(v, slice(0, 4)), atol=1e-5)
        np.testing.assert_allclose(alone_a[1].numpy(), reference(a, slice(4, 6)), atol=1e-5)
    assert alone_v[1] is None and alone_a[0] is None


def test_frame_concat_pairs_each_token_with_its_own_frame():
    m = ss_avd.FrameConcat(n_video=4, n_audio=2, dim=3)  # two tokens per frame
    v, a = torch.randn(1, 4, 3), torch.randn(1, 2, 3)
    new_v, new_a = m(v, a)
    torch.testing.assert_close(new_v[0, 3], v[0, 3] + m.video(torch.cat([v[0, 3], a[0, 1]])))
    torch.testing.assert_close(new_a[0, 0], a[0, 0] + m.audio(torch.cat([v[0, :2].mean(0), a[0, 0]]).roll(3)))


def test_sinc_filters_pass_their_band_and_stop_the_rest():
    sinc = ss_avd.SincFilters(256, 251, 1)
    with torch.no_grad():
        sinc.low_hz[100], sinc.band_hz[100] = 2000 - 50, 400 - 50  # passes 2000 to 2400 Hz
        taps = sinc.filters()[:, 0]
        seconds = torch.arange(8000) / 16_000
        power = []
        for hz in (2200.0, 1500.0, 3000.0):
            y = sinc((2 * math.pi * hz * seconds).sin()[None, None])[0, :, 1000:-1000]
            power.append((y[100] ** 2 + y[128 + 100] ** 2).mean())
    assert taps.shape == (256, 251)
    torch.testing.assert_close(taps[:128], taps[:128].flip(1))  # cosine phase: even
    torch.testing.assert_close(taps[128:], -taps[128:].flip(1))  # sine phase: odd
    assert power[0] > 1000 * power[1] and power[0] > 1000 * power[2]


def test_sinc_filters_begin_mel_spaced():
    sinc = ss_avd.SincFilters(256, 251, 1)
    mel = 2595 * torch.log10(1 + torch.cat([sinc.low_hz, (sinc.low_hz + sinc.band_hz)[-1:]]) / 700)
    assert sinc.low_hz[0].item() == pytest.approx(30, abs=0.01)
    assert (sinc.low_hz + sinc.band_hz)[-1].item() == pytest.approx(7900, abs=1)
    assert mel.diff().std() / mel.diff().mean() < 1e-3


def test_audio_front_end_step_by_step():
    front, sound = ss_avd.AudioFrontEnd(TINY), np.random.default_rng(0).standard_normal(1600)
    x = sound - 0.97 * np.concatenate([sound[1:2], sound[:-1]])  # the sample before the first is the second
    x = np.pad((x - x.mean()) / np.sqrt(x.var() + 1e-4), 25)
    taps = front.sinc.filters()[:, 0].detach().double().numpy()
    expected = np.log(np.abs([np.correlate(x, tap, "valid") for tap in taps]) + 1e-6)
    expected -= expected.mean(1, keepdims=True)
    with torch.no_grad():
        ours = front(torch.from_numpy(sound).float()[None])[0].double().numpy()
    assert np.quantile(np.abs(ours - expected), 0.99) < 1e-3  # the logarithm magnifies rounding near zero
    with torch.no_grad():
        sound = torch.from_numpy(0.01 * sound).float()[None]  # quiet: there the norm's epsilon of 1e-4 shows
        centred = front.norm(sound[:, None])
    torch.testing.assert_close(centred[:, 0], (sound - sound.mean()) / (sound.var(correction=0) + 1e-4).sqrt())


def test_saavm_paths_around_the_attention(monkeypatch):
    """With the attention left out: what is squeezed, cut, pooled, put back and added, from its definition."""
    cfg = replace(TINY, window=2, faithful_unchunk=False)
    m = ss_avd.SAAVM(3, 6, cfg).eval()
    seen = {}
    monkeypatch.setattr(m, "fusion", torch.nn.Identity())
    monkeypatch.setattr(m.fusion, "forward", lambda v, a: seen.update(v=v, a=a) or (v, a))
    video, audio = torch.randn(4, 3, 6, 6), torch.randn(2, 3, 20)
    with torch.no_grad():
        new_video, new_audio = m(video, audio)
        v, a = m.squeeze_video(video), m.squeeze_audio(audio)[:, 0]
        # Ten samples per frame become four means over [0,3) [2,5) [5,8) [7,10), then ten again, nearest.
        pools = [a.view(2, 2, 10)[..., lo:hi].mean(-1) for lo, hi in ((0, 3), (2, 5), (5, 8), (7, 10))]
        torch.testing.assert_close(seen["a"], torch.stack(pools, -1))
        spread = torch.stack([pools[i * 4 // 10] for i in range(10)], -1).reshape(2, 1, 20)
        torch.testing.assert_close(new_audio, audio + 0.01 * m.expand_audio(spread))
        torch.testing.assert_close(new_video, video + 0.01 * m.expand_video(v))


def test_pixels_are_normalised_as_imagenet_and_frames_folded_in_order():
    model, (video, _) = lively(), clips(2)
    seen = []
    model.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(video, None)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for clip, frame, channel in np.ndindex(2, TINY.frames, 3):
        expected = (video[clip, frame, channel].numpy() - mean[channel]) / std[channel]
        np.testing.assert_allclose(seen[0][clip * TINY.frames + frame, channel].numpy(), expected, atol=1e-5)


def test_drop_path_draws_once_per_group_and_keeps_the_mean():
    drop = ss_avd.DropPath(0.25, group=3).train()
    y = drop(torch.ones(3000, 2)).view(1000, 3, 2)
    assert (y == y[:, :1, :1]).all()
    assert y.unique().tolist() == pytest.approx([0, 4 / 3])
    assert y.mean().item() == pytest.approx(1, abs=0.1)
    assert torch.equal(drop.eval()(torch.ones(3)), torch.ones(3))


# --- training


def test_style_shuffle_statistics():
    x = torch.randn(5, 3, 2, 7, 7) * torch.rand(5, 3, 1, 1, 1).add(0.5) + torch.randn(5, 3, 1, 1, 1)
    styled, style_only = ss_avd.style_shuffle(x, torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(3)
    partner, alpha = torch.randperm(5, generator=g), torch.rand((), generator=g)
    mean, std = x.mean((2, 3, 4)), x.std((2, 3, 4), correction=0)
    torch.testing.assert_close(styled.mean((2, 3, 4)), alpha * mean + (1 - alpha) * mean[partner])
    torch.testing.assert_close(styled.std((2, 3, 4), correction=0), alpha * std + (1 - alpha) * std[partner],
                               atol=1e-4, rtol=1e-4)
    # Style-only: own statistics, and the partner's pattern exactly.
    torch.testing.assert_close(style_only.mean((2, 3, 4)), mean, atol=1e-5, rtol=1e-5)
    normed = lambda t: (t - t.mean((2, 3, 4), keepdim=True)) / t.std((2, 3, 4), correction=0, keepdim=True)  # noqa: E731
    torch.testing.assert_close(normed(style_only), normed(x)[partner], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(normed(styled), normed(x), atol=1e-4, rtol=1e-4)


def test_either_fake_truth_table():
    video = torch.tensor([0, 0, 1, 1, 1, NAN, 0, NAN, NAN])
    audio = torch.tensor([0, 1, 0, 1, NAN, 1, NAN, 0, NAN])
    expected = torch.tensor([0, 1, 1, 1, 1, 1, NAN, NAN, NAN])
    torch.testing.assert_close(ss_avd.either_fake(video, audio), expected, equal_nan=True)


def test_latent_shuffle_uses_the_partners_sound_and_its_label():
    model = lively().train()
    out = model(*clips(4), generator=torch.Generator().manual_seed(1))
    partner = out.training.partner
    assert sorted(partner.tolist()) == [0, 1, 2, 3] and partner.tolist() != [0, 1, 2, 3]
    z = torch.cat([out.f_v, out.f_a[partner]], 1)
    torch.testing.assert_close(out.training.shuffled, ss_avd.fake_logit(model.head_whole(z)))
    video_fake, audio_fake = torch.tensor([0.0, 0, 0, 1]), torch.tensor([1.0, 0, 0, 0])
    mixed = torch.tensor([float(video_fake[i] or audio_fake[j]) for i, j in enumerate(partner.tolist())])
    assert mixed.tolist() != [1, 0, 0, 1]  # the labels without the shuffle: the draw tells the two apart
    _, parts = ss_avd_loss(out, video_fake, audio_fake)
    expected = F.binary_cross_entropy_with_logits(out.training.shuffled, mixed * 0.9 + 0.05)
    torch.testing.assert_close(parts["shuffle"], expected.detach())


def test_contrast_loss_by_hand():
    # Unit vectors at 0, 60 and 90 degrees; the first two fake, the third real. cos: .5, 0, √3/2.
    degrees = torch.tensor([0.0, 60.0, 90.0]).deg2rad()
    features = torch.stack([degrees.cos(), degrees.sin()], 1) * torch.tensor([[1.0], [7.0], [0.2]])  # length is ignored
    # Ordered pairs: same (1,2) twice 1 - .5; different (1,3) 0; different (2,3) twice √3/2 - .4; diagonal 0.
    expected = (2 * 0.5 + 2 * (math.sqrt(3) / 2 - 0.4)) / 9
    assert ss_avd.contrast_loss(features, torch.tensor([1.0, 1, 0])).item() == pytest.approx(expected, abs=1e-6)
    with_unknown = ss_avd.contrast_loss(torch.cat([features, torch.ones(1, 2)]), torch.tensor([1.0, 1, 0, NAN]))
    assert with_unknown.item() == pytest.approx(expected, abs=1e-6)
    assert ss_avd.contrast_loss(features, torch.full((3,), NAN)).item() == 0


def test_smoothed_loss_is_two_class_cross_entropy_in_the_reference_class_order():
    two_class, fake = torch.randn(6, 2), torch.tensor([1.0, 0, 1, 0, 1, 1])
    reference = F.cross_entropy(two_class, (1 - fake).long(), label_smoothing=0.1)  # 1 = real
    torch.testing.assert_close(ss_avd.smoothed_bce(ss_avd.fake_logit(two_class), fake, 0.1), reference)


def test_style_terms_reach_only_their_own_parameters():
    model = lively(style_heads=True).train()
    extra = model(*clips(4)).training

    def touched(logit):
        names, params = zip(*model.named_parameters())
        grads = torch.autograd.grad(logit.square().sum(), params, allow_unused=True, retain_graph=True)
        return {n.split(".")[0] for n, g in zip(names, grads) if g is not None and g.abs().sum() > 0}

    assert touched(extra.style_video) == touched(extra.style_audio) == {"style_heads"}
    assert touched(extra.adversarial_video) == touched(extra.adversarial_audio) == {"stages", "front_end"}
    torch.testing.assert_close(extra.style_video, extra.adversarial_video)  # one head, two gradients


def test_adversarial_term_is_cross_entropy_to_uniform():
    out = lively(style_heads=True).train()(*clips(4))
    _, parts = ss_avd_loss(out, torch.tensor([0.0, 1, 0, 1]), torch.tensor([0.0, 0, 1, 1]))
    logit = out.training.adversarial_audio.detach()
    expected = -0.5 * (torch.sigmoid(logit).log() + torch.sigmoid(-logit).log()).mean()
    torch.testing.assert_close(parts["adversarial_audio"], expected)


def test_loss_sums_its_parts_and_leaves_unknown_labels_out():
    out = lively(style_heads=True).train()(*clips(4))
    weights = ss_avd.LossWeights(contrast=0.7, shuffle=0.3, style=2.0, adversarial=0.25)
    video_fake, audio_fake = torch.tensor([0.0, 1, 0, 1]), torch.tensor([0.0, NAN, 1, NAN])
    total, parts = ss_avd_loss(out, video_fake, audio_fake, weights)
    factor = {"contrast": 0.7, "shuffle": 0.3, "style": 2.0, "adversarial": 0.25}
    expected = sum(factor.get(name.split("_")[0], 1.0) * part for name, part in parts.items())
    torch.testing.assert_close(total.detach(), expected)
    assert len(parts) == 11
    known = F.binary_cross_entropy_with_logits(out.audio[[0, 2]], torch.tensor([0.05, 0.95])).detach()
    torch.testing.assert_close(parts["audio"], known)
    nobody_knows = torch.full((4,), NAN)
    _, parts = ss_avd_loss(out, nobody_knows, nobody_knows)
    assert {n for n, p in parts.items() if p != 0} == {"adversarial_video", "adversarial_audio"}


def test_shuffles_repeat_with_a_generator():
    model = lively(style_heads=True).train()
    video, audio = clips(4)
    runs = [model(video, audio, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
    assert torch.equal(runs[0].z, runs[1].z) and torch.equal(runs[0].training.shuffled, runs[1].training.shuffled)
    assert not torch.equal(runs[0].z, runs[2].z)


@pytest.mark.parametrize("switch", [
    {"window": 2}, {"window": 4}, {"window": 7}, {"window": 8}, {"fusion": "concat"}, {"faithful_unchunk": False},
    {"style_shuffle": False}, {"latent_shuffle": False}, {"sinc_stride": 2}, {"sinc_stride": 4}, {"drop_path": 0.5},
], ids=str)
def test_every_switch_trains_and_scores(switch):
    model = SSAVD(replace(TINY, **switch), style_heads=True).train()
    out = model(*clips(3))
    total, parts = ss_avd_loss(out, torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 1, 1]))
    total.backward()
    assert torch.isfinite(total)
    silent = {n for n, p in model.named_parameters() if p.grad is None and not n.startswith("style_heads.")}
    assert not silent, "parameters the loss never reaches"
    assert ("shuffle" in parts) == model.cfg.latent_shuffle
    assert ("adversarial_video" in parts) == model.cfg.style_shuffle
    with torch.no_grad():
        plain = model.eval()(*clips(2))
    assert plain.training is None and plain.video.shape == plain.audio.shape == plain.whole.shape == (2,)


# --- missing modalities, polarity, batches


def test_both_modalities_talk_to_each_other():
    model = lively()
    (video, audio), (other_video, other_audio) = clips(2), clips(2)
    with torch.no_grad():
        out, new_audio, new_video = model(video, audio), model(video, other_audio), model(other_video, audio)
    assert (out.video - new_audio.video).abs().min() > 1e-6  # the sound reaches the video head ...
    assert (out.audio - new_video.audio).abs().min() > 1e-6  # ... and the picture the audio head


@pytest.mark.parametrize("fusion", ["saavm", "concat"])
def test_a_missing_modality_has_no_logit_and_no_stand_in(fusion, monkeypatch):
    model = lively(replace(TINY, fusion=fusion))
    video, audio = clips(2)
    with torch.no_grad():
        silent = model(video, torch.zeros_like(audio))
        seen, heard = model(video, None), model(None, audio)
        monkeypatch.setattr(model, "pool_video", None)  # the video stream is not even there
        for stage in model.stages:
            stage.down_video = None
        assert torch.equal(model(None, audio).audio, heard.audio)
    assert (seen.audio, seen.whole, seen.f_a, seen.z) == (None,) * 4
    assert (heard.video, heard.whole, heard.f_v, heard.z) == (None,) * 4
    assert torch.isfinite(seen.video).all() and torch.isfinite(heard.audio).all()
    assert (seen.video - silent.video).abs().min() > 1e-7  # not what silence would give


def test_training_on_one_modality_has_its_terms_only():
    model = SSAVD(TINY, style_heads=True).train()
    labels = torch.tensor([0.0, 1, 0])
    _, parts = ss_avd_loss(model(None, clips(3)[1]), torch.full((3,), NAN), labels)
    assert set(parts) == {"audio", "contrast_audio", "style_audio", "adversarial_audio"}


def test_refusals_are_in_words():
    model, (video, audio) = SSAVD(TINY), clips(2)
    for inputs, words in (((None, None), "both are missing"), ((video[:, :1], None), "video must be"),
                          ((None, audio[:, :9]), "audio must be"), ((video, audio[:1]), "must be the same")):
        with pytest.raises(ValueError, match=words):
            model(*inputs)


def test_polarity_is_fake_minus_real():
    model, batch = lively(), clips(2)
    heads = (model.head_video, model.head_audio, model.head_whole)
    with torch.no_grad():
        before = model(*batch)
        for head in heads:
            head.weight.copy_(head.weight.flip(0))
        after = model(*batch)
        torch.testing.assert_close(torch.stack(after[:3]), -torch.stack(before[:3]))
        assert ss_avd.fake_logit(torch.tensor([3.0, 1.0])) == 2.0  # class 0 is fake


def test_alone_or_in_a_batch_the_score_is_the_same():
    model, (video, audio) = lively(), clips(3)
    with torch.no_grad():
        together = model(video, audio)
        for i in range(3):
            alone = model(video[i : i + 1], audio[i : i + 1])
            for ours, theirs in zip(alone[:3], together[:3]):
                torch.testing.assert_close(ours[0], theirs[i], atol=1e-5, rtol=1e-5)


# --- the detector


def windows(n: int, has_face, has_audio) -> Windows:
    rng = np.random.default_rng(0)
    return Windows(
        start_s=np.arange(n, dtype=float), end_s=np.arange(n) + 3.0,
        faces=rng.integers(0, 256, (n, TINY.frames, TINY.face_px, TINY.face_px, 3), dtype=np.uint8),
        has_face=np.array(has_face), audio=rng.standard_normal((n, TINY.samples)).astype(np.float32),
        has_audio=np.array(has_audio), track_id=4,
    )


def test_detector_scores_what_is_there():
    model = lively()
    card = {"calibration": {"video": {"scale": 2.0, "bias": -1.0}, "whole": {"scale": 0.5, "bias": 0.25}}}
    w = windows(5, [True, True, False, False, True], [True, False, True, False, True])
    scores = SSAVDDetector(model, card).score(w, batch_size=1)
    assert np.isnan(scores.video).tolist() == [False, False, True, True, False]
    assert np.isnan(scores.audio).tolist() == [False, True, False, True, False]
    assert np.isnan(scores.whole).tolist() == [False, False, False, True, False]
    assert scores.whole[1] == scores.video[1] and scores.whole[2] == scores.audio[2]
    assert scores.sync is None and scores.track_id == 4

    video = torch.from_numpy(w.faces).movedim(-1, 2) / 255
    with torch.no_grad():
        out = model(video[[0, 4]], torch.from_numpy(w.audio[[0, 4]]))
    sigmoid = lambda x: 1 / (1 + np.exp(-x.double().numpy()))  # noqa: E731
    np.testing.assert_allclose(scores.video[[0, 4]], sigmoid(2 * out.video - 1), atol=1e-5)
    np.testing.assert_allclose(scores.audio[[0, 4]], sigmoid(out.audio), atol=1e-5)  # no entry: identity
    np.testing.assert_allclose(scores.whole[[0, 4]], sigmoid(0.5 * out.whole + 0.25), atol=1e-5)

    together = SSAVDDetector(model, card).score(w, batch_size=8)
    for name in ("video", "audio", "whole"):
        np.testing.assert_allclose(getattr(together, name), getattr(scores, name), atol=1e-5)


def test_detector_without_any_sound_or_window():
    w = replace(windows(2, [True, True], [False, False]), audio=None)
    detector = SSAVDDetector(lively().train(), {})
    assert not detector.model.training and detector.id == "ss_avd"
    assert np.isnan(detector.score(w).audio).all() and np.isfinite(detector.score(w).whole).all()
    empty = windows(0, np.zeros(0, bool), np.zeros(0, bool))
    assert detector.score(empty).whole.shape == (0,)


def test_the_spec_is_what_the_network_reads():
    spec = ss_avd.SPEC
    assert (spec.frames, spec.face_px, spec.samples) == (PAPER.frames, PAPER.face_px, PAPER.samples)


def test_a_card_builds_the_network_that_a_trained_state_fits():
    trained = lively(style_heads=True)
    card = json.loads(json.dumps({"architecture": asdict(TINY)}))
    rebuilt = ss_avd.build(card)
    assert rebuilt.cfg == TINY
    rebuilt.load_state_dict(trained.inference_state_dict(), strict=True)
    batch = clips(1)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(*batch).whole, trained(*batch).whole)


def test_shipped_departures_in_the_residual_branches_and_the_sound_path():
    tiny = {"widths": (2, 4), "depths": (1, 1), "face_px": 28}
    paper, shipped = (SSAVD(replace(cfg, **tiny)) for cfg in (PAPER, SHIPPED))
    sound = torch.randn(3, 2, 240)
    for model, scale, rectified in ((paper, 0.01, False), (shipped, 0.1, True)):
        alphas = torch.cat([p.flatten() for name, p in model.named_parameters() if "alpha" in name])
        torch.testing.assert_close(alphas, torch.full_like(alphas, scale))
        assert bool((model.stages[1].down_audio(sound) >= 0).all()) is rectified


def test_shipped_frame_fusion_starts_by_passing_frames_through():
    frames = torch.randn(20, 3, 2, 2)
    with torch.no_grad():
        torch.testing.assert_close(ss_avd.FrameFusion(10, identity=True)(frames), frames)
        assert not torch.allclose(ss_avd.FrameFusion(10, identity=False)(frames), frames, atol=0.1)
    assert SHIPPED.fuse_identity and not PAPER.fuse_identity
    paper = SSAVD(replace(PAPER, widths=(2,), depths=(1,), face_px=14))
    assert not torch.equal(paper.stages[0].blocks[0].vpm.fuse.weight, torch.eye(10))


def test_pictures_far_from_what_the_norms_have_seen_stay_finite_under_the_cap():
    torch.manual_seed(0)
    noise = 10 * torch.randn(1, 10, 3, 32, 32)
    small = {"widths": (4, 8, 16), "depths": (2, 2, 6), "face_px": 32, "samples": 480, "textures": False, "beside": 0}
    with torch.no_grad():
        capped, free = (SSAVD(replace(SHIPPED, attention_cap=cap, **small)).eval()(noise, None).video
                        for cap in (6.0, None))
    assert capped.isfinite().all() and not free.isfinite().all()


def test_the_cap_cuts_the_attention_and_nothing_below_it():
    torch.manual_seed(1)
    free = ss_avd.SpatialAttention(3).eval()
    capped = ss_avd.SpatialAttention(3, cap=0.5).eval()
    capped.load_state_dict(free.state_dict())
    with torch.no_grad():
        small, large = 1e-3 * torch.randn(2, 3, 9, 9), 10 * torch.randn(2, 3, 9, 9)
        torch.testing.assert_close(capped(small), free(small))
        p = free.proj_in(large / (1 + 1e-5) ** 0.5).clamp(0, 0.5)  # the norm still has mean 0 and variance 1
        by_hand = large / (1 + 1e-5) ** 0.5 + free.proj_out(p * free.mix(free.wide(free.local(p))))
        torch.testing.assert_close(capped(large), by_hand, rtol=1e-4, atol=1e-5)


def test_random_frame_fusion_keeps_a_quarter_of_what_frames_have_in_common():
    """As the departures say of the published start: 24 matrices, two to each of twelve blocks."""
    torch.manual_seed(0)
    kept = []
    with torch.no_grad():
        for _ in range(400):
            x = torch.ones(10, 1, 1, 1)
            for _ in range(24):
                x = ss_avd.FrameFusion(10)(x)
                x = x / x.square().mean().sqrt()
            kept.append(x.mean().abs().item())
    assert sum(kept) / len(kept) == pytest.approx(0.25, abs=0.04)


# --- textures


def of_textures(**changes) -> SSAVD:
    """The shipped network, with short sound and four frames."""
    torch.manual_seed(0)
    return SSAVD(replace(SHIPPED, frames=4, samples=16_000, depths=(1, 1, 1, 1), **changes)).eval()


def test_what_is_learnt_of_the_shipped_network_is_smaller_than_the_papers():
    with torch.device("meta"):
        network = SSAVD(SHIPPED)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 384_030
    assert not any(p.requires_grad for p in network.face_encoder.parameters())


def test_before_the_picture_comes_in_there_is_sound_alone():
    network = of_textures()
    names = {name for name, _ in network.named_parameters() if "stages.0." in name or "stages.1." in name}
    assert names and not any("video" in name or "vpm" in name for name in names)
    video, audio = torch.rand(2, 4, 3, 128, 128), torch.randn(2, 16_000)
    with torch.no_grad():
        both, seen, heard = network(video, audio), network(video, None), network(None, audio)
    assert seen.audio is None and seen.whole is None and heard.video is None and both.whole is not None
    assert both.f_v.shape == both.f_a.shape == (2, 64 + 64)


def test_the_border_around_the_face_is_blank():
    textures = of_textures().stages[2].down_video
    assert textures.inside.shape == (1, 8, 8)
    assert textures.inside[0, 0, 0] < 0.05 and textures.inside[0, 4, 4] > 0.95
    torch.manual_seed(0)
    maps = [torch.randn(1, width, side, side) for width, side in ((32, 64), (16, 64), (24, 32), (40, 16), (80, 8))]
    changed = [x.clone() for x in maps]
    for x in changed[2:]:
        x[..., 0, 0] += 10.0
    with torch.no_grad():
        moved = (textures(changed) - textures(maps)).abs().amax(1)[0]
        changed[4][..., 4, 4] += 10.0
        inner = (textures(changed) - textures(maps)).abs().amax(1)[0]
    assert moved.max() < 0.1 * inner.max()


def test_beside_its_own_features_stands_what_the_encoders_tell():
    """Planted: the same loudness and picture, but a sound that trembles; only f_a's last numbers may tell it."""
    network = of_textures()
    audio = torch.randn(1, 16_000)
    with torch.no_grad():
        told = network.summaries(network.look(torch.rand(1, 4, 3, 128, 128)), audio)
        assert {name: tuple(x.shape) for name, x in told.items()} == {"faces": (1, 4 * 144), "sound": (1, 3 * 40)}
        louder = network.summaries(None, 3 * audio)["sound"]
        torch.testing.assert_close(louder, told["sound"], atol=1e-3, rtol=1e-3)
        trembling = audio * (1 + 0.9 * torch.sin(torch.arange(16_000) / 16_000 * 2 * torch.pi * 20))
        assert (network.summaries(None, trembling)["sound"][0, :1] > 1.5 * told["sound"][0, :1]).all()


def test_gradients_reach_the_faces_through_the_frozen_encoder():
    network = of_textures()
    video = torch.rand(1, 4, 3, 128, 128, requires_grad=True)
    network(video, None).video.sum().backward()
    assert video.grad.abs().sum() > 0


def test_what_stands_beside_needs_textures():
    with pytest.raises(ValueError, match="textures"):
        replace(PAPER, beside=8)
