"""MIS-AVoiDD against numbers worked out by hand, independent formulations, and its own promises."""

import math
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchaudio
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from detectors import mis_avoidd
from detectors.contract import Inputs, InputSpec, Windows
from detectors.encoders import to_half
from detectors.mis_avoidd import (
    PAPER,
    SHIPPED,
    SHIPPED_SPEC,
    SPEC,
    LossWeights,
    MISAVoiDD,
    MISAVoiDDConfig,
    MISAVoiDDDetector,
    Output,
    invariant_loss,
    load_detector,
    mis_avoidd_loss,
    orthogonal_loss,
    similarity_loss,
    statistics,
)
from detectors.restless import how_restless

TINY = MISAVoiDDConfig(
    face_encoder="regions", face_regions=("eyes", "nose"), speech_encoder=True, masked=True, frames=3,
    face_px=8, samples=8000, lips_px=12, filter_scale="linear", filters=12, cepstra=8, sound_widths=(6, 5), dim=8,
    attention_width=12,
)
LIPS = replace(TINY, lips=4)
NAN = float("nan")


class TinyFaces(nn.Module):
    """(n, 3, 8, 8) -> (n, 2, 4): a linear map of each half of the crop."""

    dim, rows = 4, 2

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3 * 8 * 4, 4)

    @property
    def camera_layer(self):
        return self.map

    def forward(self, faces):
        return self.map(faces.unflatten(2, (2, 4)).transpose(1, 2).flatten(2))


class TinySpeech(nn.Module):
    """(n, samples) -> (n, samples / 320, 5): each row sees the mean of the whole sound too, as attention would."""

    dim = 5

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(320, 5)

    def forward(self, sound, lengths=None):
        rows = self.map(sound.unfold(1, 320, 320))
        inside = torch.ones(rows.shape[:2])
        if lengths is not None:
            inside = (torch.arange(rows.shape[1]) < lengths[:, None] // 320).float()
        rows = rows * inside[..., None]
        return (rows + rows.sum(1, keepdim=True) / inside.sum(1)[:, None, None]) * inside[..., None]


pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


def make(cfg=TINY) -> MISAVoiDD:
    """A network in which every part matters: the places of missing tokens are not zero, the standards not trivial."""
    model = MISAVoiDD(cfg, TinyFaces(), TinySpeech() if cfg.speech_encoder else None)
    with torch.no_grad():
        model.absent.normal_()
        for scale in (model.whiten_faces, model.whiten_speech):
            if scale is not None:
                scale.mean.normal_(std=0.1)
                scale.scale.uniform_(0.5, 1.5)
    return model.eval()


def clips(n=4, cfg=TINY) -> Inputs:
    lips = torch.rand(n, cfg.lips, 3, cfg.lips_px, cfg.lips_px) if cfg.lips else None
    return Inputs(torch.rand(n, cfg.frames, 3, cfg.face_px, cfg.face_px), lips, 0.1 * torch.randn(n, cfg.samples))


def run(model, inputs):
    return model.tell(model.encode(inputs))


def parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- sizes


def test_the_papers_configuration_has_the_sizes_of_the_notes():
    with torch.device("meta"):
        model = mis_avoidd.build({"architecture": asdict(PAPER)})
    assert parameters(model.face_encoder) == 22_855_952 - (2048 * 1000 + 1000)  # Xception without its classifier
    d = 128
    assert parameters(model.project["video"]) == 2048 * d + d + 2 * d
    assert parameters(model.specific) == 2 * (d * d + d) and parameters(model.invariant) == d * d + d
    attention = 4 * (d * d + d) + (d * 2048 + 2048) + (2048 * d + d) + 4 * d
    assert parameters(model.attention) == attention
    assert parameters(model.classifier) == 512 * 256 + 256 + 256 * 2 + 2
    assert model.absent.shape == (4, 128)


@pytest.mark.parametrize("cfg", [replace(PAPER, frames=2), SHIPPED, replace(SHIPPED, lips=6)])
def test_operations_can_be_counted_without_computing(cfg):
    with torch.device("meta"):
        model = mis_avoidd.build({"architecture": asdict(cfg)}).eval()
        windows = mis_avoidd.example(cfg)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        assert model(*windows).whole.shape == (1,)
    assert counter.get_total_flops() > 1e9


def test_configurations_and_what_they_read_belong_together():
    for cfg, spec in ((PAPER, SPEC), (SHIPPED, SHIPPED_SPEC)):
        assert (cfg.frames, cfg.face_px, cfg.samples, cfg.lips) == (spec.frames, spec.face_px, spec.samples, spec.lips)
    assert SHIPPED.masked and not SHIPPED_SPEC.stretch and SPEC.stretch and not PAPER.masked


@pytest.mark.parametrize("wrong", [
    {"face_encoder": "vgg"}, {"filter_scale": "bark"}, {"codes": "none"}, {"fusion": "mean"}, {"cepstra": 13},
    {"dim": 9},
])
def test_config_refuses_in_words(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(TINY, **wrong)


# --- features


def test_log_bands_are_the_energies_of_25_ms_every_10_ms():
    sound = torch.randn(1, 400 + 2 * 160 + 159)
    bands = mis_avoidd.log_bands(sound, mis_avoidd.filter_bank("linear", 12))
    assert bands.shape == (1, 3, 12) and mis_avoidd.band_frames(sound.shape[1]) == 3
    piece = sound[0, 160:560].numpy() * np.hanning(401)[:-1]
    power = np.abs(np.fft.rfft(piece)) ** 2
    edges_hz = np.linspace(0, 8000, 14)
    for band in range(12):
        low, middle, high = edges_hz[band:band + 3]
        hz = np.arange(201) * 40.0
        weight = np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)).clip(0)
        assert bands[0, 1, band].item() == pytest.approx(math.log(weight @ power), abs=1e-3)


@pytest.mark.parametrize("scale, band", [("linear", 7), ("mel", 21)])
def test_a_tone_of_1000_hz_is_in_its_band(scale, band):
    """64 bands: 8000 / 65 Hz apart, or 2840 / 65 mel; 1000 Hz is 1000 mel: 22.9 steps, and the first is band 0."""
    time_s = torch.arange(4000) / 16_000
    bands = mis_avoidd.log_bands(torch.sin(2 * math.pi * 1000 * time_s)[None], mis_avoidd.filter_bank(scale, 64))
    assert (bands.argmax(-1) - band).abs().max() <= (1 if scale == "mel" else 0)


def test_a_part_of_a_sound_has_a_part_of_its_frames():
    bank, sound = mis_avoidd.filter_bank("mel", 12), torch.randn(1, 8000)
    part = mis_avoidd.log_bands(sound[:, 1600:4800], bank)
    torch.testing.assert_close(mis_avoidd.log_bands(sound, bank)[:, 10:10 + part.shape[1]], part)


@pytest.mark.parametrize("scale", ["mel", "linear"])
def test_cepstra_are_torchaudios_without_their_mean(scale):
    cfg = replace(TINY, filter_scale=scale, filters=20, cepstra=13)
    sound = torch.randn(1, 4000)
    spectrum = {"n_fft": 400, "win_length": 400, "hop_length": 160, "center": False}
    if scale == "mel":
        theirs = torchaudio.transforms.MFCC(16_000, 13, log_mels=True, melkwargs={"n_mels": 20, **spectrum})(sound)
    else:
        theirs = torchaudio.transforms.LFCC(16_000, 20, n_lfcc=13, log_lf=True, speckwargs=spectrum)(sound)
    bands = mis_avoidd.log_bands(sound, mis_avoidd.filter_bank(scale, 20))
    ours = mis_avoidd.CepstralNet(cfg).cepstra(bands, torch.ones(bands.shape[:2], dtype=torch.bool))
    theirs = theirs.transpose(1, 2)
    torch.testing.assert_close(ours, theirs - theirs.mean(1, keepdim=True), atol=1e-3, rtol=1e-3)


def test_cepstra_do_not_tell_gain_nor_how_deep_a_silence_is():
    net, bank = mis_avoidd.CepstralNet(TINY), mis_avoidd.filter_bank("linear", 12)
    sound = torch.randn(1, 4000)
    sound[:, 2000:] = 0
    seen = torch.ones(1, 23, dtype=torch.bool)
    cepstra = net.cepstra(mis_avoidd.log_bands(sound, bank), seen)
    torch.testing.assert_close(net.cepstra(mis_avoidd.log_bands(20 * sound, bank), seen), cepstra, atol=1e-3, rtol=0)
    deep = sound + 1e-6 * torch.randn(1, 4000)
    torch.testing.assert_close(net.cepstra(mis_avoidd.log_bands(deep, bank), seen), cepstra, atol=1e-3, rtol=0)


def test_statistics_over_what_is_seen():
    x = torch.tensor([[[1.0, 0.0], [3.0, 0.0], [100.0, 7.0]]])
    seen = torch.tensor([[True, True, False]])
    torch.testing.assert_close(statistics(x, seen), torch.tensor([[2.0, 0.0, 1.0, 0.0]]), atol=2e-4, rtol=0)
    torch.testing.assert_close(statistics(x, seen, deviations=False), torch.tensor([[2.0, 0.0]]))
    torch.testing.assert_close(statistics(x)[:, :2], x.mean(1))
    torch.testing.assert_close(statistics(x)[:, 2:], x.std(1, correction=0), atol=1e-3, rtol=0)
    assert (statistics(x, torch.zeros(1, 3, dtype=torch.bool)).abs() < 2e-4).all()
    still = torch.ones(1, 3, 2, requires_grad=True)
    statistics(still).sum().backward()
    assert still.grad.isfinite().all()


def test_two_moments_of_sound_are_one_row_of_speech():
    mask = torch.tensor([[False, False, True, False, False, True, True]])
    assert mis_avoidd.at_half_rate(mask, 3).tolist() == [[False, True, True]]
    assert mis_avoidd.at_half_rate(mask, 2).tolist() == [[False, True]]
    assert mis_avoidd.at_half_rate(mask, 5).tolist() == [[False, True, True, True, False]]


def test_features_are_whitened_by_the_training_features():
    model, inputs = make(), clips(16)
    summaries = model.summaries(model.encode(inputs))
    for name, part in model.whitening.items():
        part.fit(summaries[name])
    assert summaries["faces"].shape == (16, 2 * 4) and summaries["sound"].shape == (16, 5 + 3 * 8)
    for name, scale in model.whitening.items():
        standard = scale(summaries[name])
        torch.testing.assert_close(standard.mean(0), torch.zeros(standard.shape[1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(standard.std(0, correction=0), torch.ones(standard.shape[1]), atol=1e-3, rtol=0)


def test_the_papers_faces_are_a_mean_over_frames():
    cfg = replace(TINY, masked=False, speech_encoder=False)
    model, inputs = make(cfg), clips(2)
    expected = torch.stack([model.face_encoder(clip).flatten(1).mean(0) for clip in inputs.faces])
    torch.testing.assert_close(model.summaries(model.encode(inputs))["faces"], expected)
    assert set(model.summaries(model.encode(inputs))) == {"faces"}


def test_of_a_sound_only_its_changes_are_read():
    """Rows of the speech encoder may lie anywhere, and the sound may be as loud as it likes."""
    model, inputs = make(), clips(2)
    features = model.encode(inputs)
    told = model.summaries(features)["sound"]
    seen = torch.ones(features.bands.shape[:2], dtype=torch.bool)
    cepstra = model.cepstral_net.cepstra(features.bands, seen)
    rows_seen = mis_avoidd.at_half_rate(seen, features.speech.shape[1])  # the end of the last row has no band
    torch.testing.assert_close(told, how_restless(features.speech, rows_seen, cepstra, seen))
    moved = model.summaries(features._replace(speech=features.speech + 5, bands=features.bands + 2))["sound"]
    torch.testing.assert_close(moved, told, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(model.summaries(features._replace(speech=2 * features.speech))["sound"], told)


def test_direct_heads_add_what_they_read_of_the_features():
    torch.manual_seed(0)
    model, inputs = make(replace(TINY, direct=True)), clips(3)
    features = model.encode(inputs)
    vectors, out = model._vectors(features), model.tell(features)
    with torch.no_grad():
        for linear in model.direct.values():
            linear.weight.mul_(2)
    again = model.tell(features)
    for name, (before, after) in {"video": (out.video, again.video), "audio": (out.audio, again.audio)}.items():
        torch.testing.assert_close(after - before, model.direct[name](vectors[name])[:, 0] / 2)
    assert torch.equal(out.whole, again.whole)


# --- the design


def test_four_tokens_attend_and_are_concatenated_in_order():
    model, inputs = make(), clips()
    features = model.encode(inputs)
    out = model.tell(features)
    vectors = model._vectors(features)
    codes = []
    for encoders in (model.specific, {"audio": model.invariant, "video": model.invariant}):
        for m in ("audio", "video"):
            linear, relu, norm = model.project[m]
            projected = F.layer_norm(linear(vectors[m]).clamp(min=0), (8,), norm.weight, norm.bias)
            codes.append(torch.sigmoid(encoders[m][0](projected)))
    for code, told in zip(codes, (*out.specific.values(), *out.invariant.values())):
        torch.testing.assert_close(code, told)

    layer, h = model.attention, torch.stack(codes, dim=1)  # a transformer layer with its norms after the sums
    query, key, value = F.linear(h, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias).chunk(3, dim=-1)
    split = lambda x: x.unflatten(2, (2, 4)).transpose(1, 2)  # noqa: E731  n heads tokens d
    weights = (split(query) @ split(key).transpose(2, 3) / 2).softmax(-1)
    mixed = layer.self_attn.out_proj((weights @ split(value)).transpose(1, 2).flatten(2))
    h = layer.norm1(h + mixed)
    h = layer.norm2(h + layer.linear2(layer.linear1(h).relu()))
    first, _, _, second = model.classifier
    two = second(first(h.flatten(1)).relu())
    torch.testing.assert_close(out.whole, two[:, 1] - two[:, 0], atol=1e-5, rtol=1e-4)


def test_the_invariant_encoder_is_one_and_the_specific_ones_are_not():
    model = make()
    x = torch.randn(2, 8)
    assert isinstance(model.invariant, nn.Sequential)
    assert not torch.allclose(model.specific["audio"](x), model.specific["video"](x))
    out = run(model, clips())
    out.invariant["audio"].sum().backward()
    of_audio = model.invariant[0].weight.grad.clone()
    run(model, clips()).invariant["video"].sum().backward()
    assert (of_audio != 0).any() and not torch.equal(model.invariant[0].weight.grad, of_audio)


def test_heads_read_the_specific_codes():
    model = make()
    out = run(model, clips())
    for m in ("video", "audio"):
        norm, linear = model.heads[m]
        code = out.specific[m] - out.specific[m].mean(1, keepdim=True)
        code = code / (code.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
        torch.testing.assert_close(getattr(out, m), code @ linear.weight[0] + linear.bias)


@pytest.mark.parametrize("codes, fusion, lips", product(("both", "specific", "invariant"), ("attention", "concat"),
                                                        (0, 4)))
def test_every_switch(codes, fusion, lips):
    cfg = replace(TINY, codes=codes, fusion=fusion, lips=lips)
    model, inputs = make(cfg).train(), clips(6, cfg)
    out = run(model, inputs)
    kinds, modalities = (2 if codes == "both" else 1), (3 if lips else 2)
    assert model.absent.shape == (kinds * modalities, 8) and model.classifier[0].in_features == 8 * kinds * modalities
    assert (model.attention is None) == (fusion == "concat")
    assert len(out.specific) == (0 if codes == "invariant" else modalities)
    assert len(out.invariant) == (0 if codes == "specific" else modalities)
    fake = torch.tensor([0.0, 1.0] * 3)
    loss, parts = mis_avoidd_loss(out, fake, fake, fake)
    assert ("orthogonal" in parts) == (codes != "invariant")
    assert ("similarity" in parts) == ("invariant" in parts) == (codes != "specific")
    loss.backward()
    unused = {"face_encoder", "speech_encoder", "absent"}
    for name, p in model.named_parameters():
        if name.split(".")[0] not in unused:
            assert p.grad is not None and p.grad.isfinite().all(), name


def test_without_attention_the_codes_are_concatenated_as_they_are():
    model, inputs = make(replace(TINY, fusion="concat")), clips()
    out = run(model, inputs)
    codes = [*out.specific.values(), *out.invariant.values()]
    two = model.classifier(torch.cat(codes, dim=1))
    torch.testing.assert_close(out.whole, two[:, 1] - two[:, 0])


def test_lips_have_a_say_in_the_picture_and_the_whole():
    model, inputs = make(LIPS), clips(cfg=LIPS)
    both, other = run(model, inputs), run(model, inputs._replace(lips=torch.rand_like(inputs.lips)))
    assert not torch.allclose(both.video, other.video) and not torch.allclose(both.whole, other.whole)
    torch.testing.assert_close(both.audio, other.audio)
    face_alone, lips_alone = run(model, inputs._replace(lips=None)), run(model, inputs._replace(faces=None))
    torch.testing.assert_close(face_alone.video + lips_alone.video, both.video)
    # A network without lips does not read them.
    two = make()
    torch.testing.assert_close(run(two, inputs).whole, run(two, inputs._replace(lips=None)).whole)


# --- what is missing


@pytest.mark.parametrize("missing", ["faces", "audio"])
def test_a_missing_modality_takes_no_part(missing):
    model = make()
    inputs = clips()._replace(**{missing: None})
    expected = run(model, inputs)
    name = {"faces": "video", "audio": "audio"}[missing]
    assert getattr(expected, name) is None and name not in expected.specific and name not in expected.invariant
    with torch.no_grad():  # whatever the weights that would read it
        for part in (model.project[name], model.specific[name], model.heads[name],
                     model.face_encoder if missing == "faces" else model.cepstral_net):
            for p in part.parameters():
                p.fill_(NAN)
    again = run(model, inputs)
    for a, b in ((expected.whole, again.whole), (expected.audio, again.audio), (expected.video, again.video)):
        assert (a is None and b is None) or torch.equal(a, b)


def test_the_place_of_a_missing_token_holds_its_learnt_vector():
    model, inputs = make(), clips()._replace(faces=None)
    out = run(model, inputs)
    h = model.attention(torch.stack([out.specific["audio"], out.invariant["audio"]], dim=1))  # two tokens, not four
    absent = model.absent.expand(4, -1, -1)
    two = model.classifier(torch.cat([h[:, 0], absent[:, 1], h[:, 1], absent[:, 3]], dim=1))
    torch.testing.assert_close(out.whole, two[:, 1] - two[:, 0])
    out.whole.sum().backward()
    assert (model.absent.grad[[1, 3]] != 0).any() and (model.absent.grad[[0, 2]] == 0).all()
    # As built, before any training without a modality, the places are empty: the columns that read them do nothing.
    assert (MISAVoiDD(TINY, TinyFaces(), TinySpeech()).absent == 0).all()


def test_nothing_at_all_is_refused():
    with pytest.raises(ValueError, match="missing"):
        run(make(), Inputs())


@pytest.mark.parametrize("name, wrong", [
    ("faces", torch.zeros(1, 2, 3, 8, 8)), ("audio", torch.zeros(1, 7999)), ("lips", torch.zeros(1, 4, 3, 8, 8)),
])
def test_wrong_shapes_are_refused_in_words(name, wrong):
    with pytest.raises(ValueError, match=name):
        run(make(LIPS), clips(1, LIPS)._replace(**{name: wrong}))


def test_frames_without_a_face_and_lips_unseen_do_not_matter():
    model, inputs = make(LIPS), clips(2, LIPS)
    face_seen = torch.tensor([[True, False, True], [True, True, True]])
    lips_seen = torch.tensor([[True, True, False, False], [True] * 4])
    inputs = inputs._replace(face_seen=face_seen, lips_seen=lips_seen)
    changed = inputs._replace(faces=inputs.faces.clone(), lips=inputs.lips.clone())
    changed.faces[0, 1] = 0
    changed.lips[0, 2:] = 0
    torch.testing.assert_close(run(model, changed).video, run(model, inputs).video)
    changed.faces[0, 0] = 0
    assert not torch.allclose(run(model, changed).video, run(model, inputs).video)


def test_lips_after_the_end_are_as_if_the_clip_had_ended():
    net, lips = mis_avoidd.LipNet().eval(), torch.rand(1, 6, 3, 12, 12)
    seen = torch.tensor([[True] * 4 + [False] * 2])
    torch.testing.assert_close(net(lips, seen), net(lips[:, :4]))


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 12, 13])
def test_sound_after_the_end_is_as_if_the_sound_had_ended(frames):
    net, bands = mis_avoidd.CepstralNet(TINY).eval(), torch.randn(1, 13, 12)
    with torch.no_grad():
        for layer in net.layers:
            layer[1].bias.fill_(0.5)  # a norm that would put something where nothing is
    torch.testing.assert_close(net(bands, torch.arange(13)[None] < frames), net(bands[:, :frames]))


@pytest.mark.parametrize("ends", [{"length_s": [0.5, 0.3, 0.3]}, {"length_s": [0.5] * 3, "heard_s": [0.5, 0.3, 0.3]}])
def test_padding_changes_nothing(ends):
    """Whether the clip ends inside the window, or its sound before its picture."""
    model, inputs = make(), clips(3)
    inputs = inputs._replace(**{name: torch.tensor(seconds) for name, seconds in ends.items()})
    noisy = inputs._replace(audio=inputs.audio.clone())
    noisy.audio[1:, 4800:] = 3.0
    torch.testing.assert_close(run(model, noisy).audio, run(model, inputs).audio)
    short = MISAVoiDD(replace(TINY, samples=4800), TinyFaces(), TinySpeech()).eval()
    short.load_state_dict(model.state_dict())
    alone = run(short, Inputs(inputs.faces[1:], None, inputs.audio[1:, :4800]))
    torch.testing.assert_close(run(model, inputs).audio[1:], alone.audio)


def test_a_stretched_window_is_read_to_its_end():
    """Where the spec fills a window, the sound after the clip's end is its own repetition and counts."""
    model, inputs = make(replace(TINY, masked=False)), clips(1)._replace(length_s=torch.tensor([0.3]))
    changed = inputs._replace(audio=inputs.audio.clone())
    changed.audio[:, 4800:] *= 5
    assert not torch.allclose(run(model, changed).audio, run(model, inputs).audio)


@pytest.mark.parametrize("present", [("faces", "lips", "audio"), ("faces", "lips"), ("audio",), ("lips", "audio")])
def test_a_batch_answers_as_its_windows_do_alone(present):
    model = make(LIPS)
    inputs = clips(3, LIPS)._replace(length_s=torch.tensor([0.5, 0.3, 0.5]),
                                     face_seen=torch.tensor([[True] * 3, [True, False, True], [True] * 3]))
    inputs = Inputs(**{k: v for k, v in inputs._asdict().items() if k in (*present, "length_s", "face_seen")})
    together = run(model, inputs)
    for row in range(3):
        alone = run(model, Inputs(*(None if x is None else x[row:row + 1] for x in inputs)))
        for name in ("video", "audio", "whole"):
            if getattr(together, name) is not None:
                torch.testing.assert_close(getattr(together, name)[row:row + 1], getattr(alone, name))


def test_half_precision_features_tell_nearly_the_same():
    model, inputs = make(), clips()
    features = model.encode(inputs)
    half = features._replace(**{k: getattr(features, k).half() for k in ("faces", "bands", "speech")})
    torch.testing.assert_close(model.tell(half).whole, model.tell(features).whole, atol=0.02, rtol=0.02)


def test_dropout_of_features_takes_part_in_training_alone():
    model, inputs = make(replace(TINY, feature_dropout=0.9, attention_dropout=0.0, classifier_dropout=0.0)), clips(8)
    features = model.encode(inputs)
    assert torch.equal(model.tell(features).video, model.tell(features).video)
    model.train()
    assert not torch.equal(model.tell(features).video, model.tell(features).video)


# --- losses


def test_orthogonal_loss_by_hand():
    """Centred rows of a: (-1, 0), (1, 0), of b: (0, -2), (0, 2); scaled: (∓1, 0), (0, ∓1); AᵀB = [[0, 2], [0, 0]]."""
    a, b = torch.tensor([[0.0, 3.0], [2.0, 3.0]]), torch.tensor([[5.0, 1.0], [5.0, 5.0]])
    assert orthogonal_loss(a, b).item() == pytest.approx(4 / 4, abs=1e-4)
    # Four clips in which the two go their own ways: AᵀB = 0.
    a = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    b = torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    assert orthogonal_loss(a, b).item() == pytest.approx(0, abs=1e-6)


def test_orthogonal_loss_is_the_frobenius_norm_and_its_slope_does_not_see_the_norms():
    a, b = torch.randn(7, 4, dtype=torch.float64, requires_grad=True), torch.randn(7, 4, dtype=torch.float64)
    centre_a, centre_b = a - a.mean(0), b - b.mean(0)
    scale = torch.linalg.vector_norm(centre_a, dim=1, keepdim=True).detach()  # held fixed
    unit_b = centre_b / torch.linalg.vector_norm(centre_b, dim=1, keepdim=True)
    expected = torch.linalg.matrix_norm((centre_a / scale).T @ unit_b) ** 2 / 16
    torch.testing.assert_close(orthogonal_loss(a, b), expected, atol=1e-4, rtol=1e-4)
    ours, theirs = (torch.autograd.grad(loss, a)[0] for loss in (orthogonal_loss(a, b), expected))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_similarity_loss_by_hand():
    """a is 0 and 1, b is 0, 0 and 1 (each in one dimension): means 1/2 and 1/3, second central moments 1/4 and 2/9,
    third 0 and 2/27, fourth 1/16 and 2/27, fifth 0 and 10/243."""
    a, b = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [0.0], [1.0]])
    by_hand = [1 / 6, 1 / 36, 2 / 27, 2 / 27 - 1 / 16, 10 / 243]
    for moments in (1, 2, 3, 4, 5):
        assert similarity_loss(a, b, moments).item() == pytest.approx(sum(by_hand[:moments]), abs=1e-6)
    assert similarity_loss(a, b).item() == pytest.approx(sum(by_hand), abs=1e-6)


def test_similarity_loss_compares_batches_not_clips():
    a = torch.rand(6, 3)
    assert similarity_loss(a, a.flip(0)).item() == pytest.approx(0, abs=1e-6)
    x = torch.rand(4, 3, requires_grad=True)
    similarity_loss(x, x.detach()).backward()
    assert x.grad.isfinite().all()  # at the root of zero
    wide = similarity_loss(torch.stack([a[:, 0], a[:, 0]], 1), torch.zeros(6, 2))
    assert wide.item() == pytest.approx(math.sqrt(2) * similarity_loss(a[:, :1], torch.zeros(6, 1)).item(), rel=1e-5)


def test_invariant_loss_by_hand():
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    b = torch.tensor([[0.0, 3.0], [1.0, 1.0], [5.0, 0.0]])
    apart = [1.0, 1 - math.sqrt(0.5), 0.0]
    assert invariant_loss(a, b).item() == pytest.approx(sum(apart) / 3, abs=1e-6)
    assert invariant_loss(a, b, torch.tensor([False, True, True])).item() == pytest.approx(apart[1] / 2, abs=1e-6)
    assert invariant_loss(a, b, torch.zeros(3, dtype=torch.bool)).item() == 0


def made_up_output(n=6, **missing) -> Output:
    codes = {m: torch.rand(n, 4) for m in ("audio", "video")}
    given = {"video": torch.randn(n), "audio": torch.randn(n), "whole": torch.randn(n),
             "specific": codes, "invariant": {m: torch.rand(n, 4) for m in codes}}
    return Output(**given | missing)


def test_the_loss_is_the_sum_of_its_parts():
    out = made_up_output()
    video, audio = torch.tensor([0.0, 1, 0, 0, 1, 0]), torch.tensor([0.0, 0, 1, 0, 1, 0])
    sync = torch.tensor([0.0, NAN, NAN, 1, NAN, NAN])  # the fourth: borrowed sound; the sixth: nobody knows
    weights = LossWeights(heads=2.0, orthogonal=3.0, similarity=5.0, invariant=7.0)
    loss, parts = mis_avoidd_loss(out, video, audio, sync, weights)
    p, c = out.specific, out.invariant
    whole = torch.tensor([0.0, 1, 1, 0, 1, 0])
    expected = {
        "whole": F.cross_entropy(torch.stack([torch.zeros(6), out.whole], 1), whole.long()),
        "video": -(video * F.logsigmoid(out.video) + (1 - video) * F.logsigmoid(-out.video)).mean(),
        "audio": -(audio * F.logsigmoid(out.audio) + (1 - audio) * F.logsigmoid(-out.audio)).mean(),
        "orthogonal": orthogonal_loss(p["audio"], c["audio"]) + orthogonal_loss(p["video"], c["video"])
        + orthogonal_loss(p["audio"], p["video"]),
        "similarity": similarity_loss(c["audio"], c["video"]),
        "invariant": 1 - F.cosine_similarity(c["audio"][0], c["video"][0], dim=0),  # the first alone is all genuine
    }
    assert parts.keys() == expected.keys()
    for name, part in parts.items():
        torch.testing.assert_close(part, expected[name])
    factors = {"whole": 1, "video": 2, "audio": 2, "orthogonal": 3, "similarity": 5, "invariant": 7}
    torch.testing.assert_close(loss, sum(factors[name] * part for name, part in expected.items()))


def test_whose_codes_are_pulled_together_is_a_choice():
    out, fake, genuine = made_up_output(), torch.ones(6), torch.zeros(6)
    cos = F.cosine_similarity(out.invariant["audio"], out.invariant["video"])
    for labels, pull, expected in ((genuine, "genuine", (1 - cos).mean()), (fake, "genuine", torch.tensor(0.0)),
                                   (fake, "all", (1 - cos).mean())):
        parts = mis_avoidd_loss(out, labels, labels, labels, LossWeights(pull=pull))[1]
        torch.testing.assert_close(parts["invariant"], expected)
    with pytest.raises(ValueError, match="pull"):
        LossWeights(pull="fakes")


def test_unknown_labels_teach_nothing():
    out = made_up_output()
    video, audio = torch.tensor([0.0, 1, NAN, NAN, NAN, NAN]), torch.tensor([0.0, NAN, 1, 0, NAN, NAN])
    parts = mis_avoidd_loss(out, video, audio, torch.zeros(6))[1]
    bce = F.binary_cross_entropy_with_logits
    torch.testing.assert_close(parts["video"], bce(out.video[:2], video[:2]))
    torch.testing.assert_close(parts["audio"], bce(out.audio[[0, 2, 3]], audio[[0, 2, 3]]))
    # The fourth has genuine sound, but nobody knows its picture.
    torch.testing.assert_close(parts["whole"], bce(out.whole[:3], torch.tensor([0.0, 1, 1])))


@pytest.mark.parametrize("name", ["video", "audio"])
def test_with_one_modality_the_whole_is_as_fake_as_that_one(name):
    other = {"video": "audio", "audio": "video"}[name]
    out = made_up_output(**{other: None, "specific": {name: torch.rand(6, 4)}, "invariant": {name: torch.rand(6, 4)}})
    labels = {name: torch.tensor([0.0, 1, 0, 1, NAN, 1]), other: torch.full((6,), NAN)}
    parts = mis_avoidd_loss(out, labels["video"], labels["audio"], torch.full((6,), NAN))[1]
    assert parts.keys() == {"whole", name, "orthogonal"}
    known = [0, 1, 2, 3, 5]
    torch.testing.assert_close(parts["whole"],
                               F.binary_cross_entropy_with_logits(out.whole[known], labels[name][known]))
    torch.testing.assert_close(parts["orthogonal"], orthogonal_loss(out.specific[name], out.invariant[name]))


# --- the detector

SMALL_SPEC = InputSpec(0.5, 0.25, TINY.frames, TINY.face_px, 16_000, ("video", "audio"), stretch=False)


def windows(has_face, has_audio) -> Windows:
    rng, n = np.random.default_rng(0), len(has_face)
    starts = 0.25 * np.arange(n)
    seen = np.repeat(np.array(has_face)[:, None], TINY.frames, axis=1)
    return Windows(starts, starts + 0.5, rng.integers(0, 256, (n, TINY.frames, 8, 8, 3), dtype=np.uint8),
                   np.array(has_face), 0.1 * rng.standard_normal((n, TINY.samples)).astype(np.float32),
                   np.array(has_audio), track_id=2, face_seen=seen)


CARD = {"calibration": {"whole": {"scale": 2.0, "bias": -1.0}, "video": {"scale": 0.5, "bias": 3.0}}}


def test_scores_are_the_sigmoids_of_calibrated_logits_and_nan_where_a_modality_is_missing():
    model = make()
    cut = windows([True, True, False, False], [True, False, True, False])
    scores = MISAVoiDDDetector(model, CARD, SMALL_SPEC).score(cut)
    assert scores.track_id == 2 and scores.sync is None
    assert np.isnan(scores.video).tolist() == [False, False, True, True]
    assert np.isnan(scores.audio).tolist() == [False, True, False, True]
    assert np.isnan(scores.whole).tolist() == [False, False, False, True]
    faces = torch.from_numpy(cut.faces).permute(0, 1, 4, 2, 3) / 255
    audio = torch.from_numpy(cut.audio)
    for row, inputs in enumerate((Inputs(faces[:1], None, audio[:1]), Inputs(faces[1:2]), Inputs(audio=audio[2:3]))):
        out = run(model, inputs)
        assert scores.whole[row] == pytest.approx((2 * out.whole - 1).sigmoid().item(), abs=1e-5)
        if out.video is not None:
            assert scores.video[row] == pytest.approx((0.5 * out.video + 3).sigmoid().item(), abs=1e-5)
        if out.audio is not None:
            assert scores.audio[row] == pytest.approx(out.audio.sigmoid().item(), abs=1e-5)


def test_scoring_does_not_depend_on_the_batch_size_and_changes_nothing():
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    detector, cut = MISAVoiDDDetector(model, {}, SMALL_SPEC), windows([True] * 5, [True, True, False, True, True])
    one, all_at_once = detector.score(cut, batch_size=1), detector.score(cut, batch_size=8)
    for name in ("video", "audio", "whole"):
        np.testing.assert_allclose(getattr(one, name), getattr(all_at_once, name), atol=1e-6)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_logits_slope_down_to_the_pixels_and_the_samples():
    detector = MISAVoiDDDetector(make(LIPS), {}, SMALL_SPEC)
    inputs = clips(2, LIPS)
    for tensor in (inputs.faces, inputs.lips, inputs.audio):
        tensor.requires_grad_()
    logits = detector.logits(inputs)
    assert logits.keys() == {"video", "audio", "whole"}
    logits["whole"].sum().backward()
    for tensor in (inputs.faces, inputs.lips, inputs.audio):
        assert tensor.grad.isfinite().all() and (tensor.grad != 0).any()
    assert detector.logits(Inputs(audio=inputs.audio)).keys() == {"audio", "whole"}


def test_higher_is_more_fake_for_every_head():
    """Dark faces and low hums are fake here, with sound alone, with faces alone, and with both."""
    cfg = replace(TINY, speech_encoder=False, classifier_dropout=0.0)
    model = MISAVoiDD(cfg, TinyFaces())
    fake = torch.tensor([0.0, 1.0] * 8)
    hum = torch.sin(2 * math.pi * torch.where(fake == 1, 300.0, 3000.0)[:, None] * torch.arange(8000) / 16_000)
    faces = 0.2 * torch.rand(16, 3, 3, 8, 8) + 0.8 * (1 - fake.view(-1, 1, 1, 1, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    labels_alone = LossWeights(orthogonal=0, similarity=0, invariant=0)
    kinds = [Inputs(faces=faces), Inputs(audio=hum), Inputs(faces=faces, audio=hum)]
    with torch.no_grad():
        features = [model.encode(kind) for kind in kinds]
    for name, summaries in model.summaries(features[2]).items():
        model.whitening[name].fit(summaries)
    for step in range(60):
        loss, _ = mis_avoidd_loss(model.train().tell(features[step % 3]), fake, fake, fake, labels_alone)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for inputs in kinds:
        for head, logit in MISAVoiDDDetector(model, {}, SMALL_SPEC).logits(inputs).items():
            assert logit[fake == 1].min() > logit[fake == 0].max(), head


def test_a_checkpoint_in_half_precision_loads_strictly():
    cfg = replace(SHIPPED, frames=2, face_px=32, samples=8000)
    spec = replace(SHIPPED_SPEC, window_s=0.5, frames=2, face_px=32)
    card = {"architecture": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(cfg).items()},
            "input_spec": {**asdict(spec), "modalities": ["video", "audio"]}}
    state = to_half(mis_avoidd.build(card).state_dict())
    detector = load_detector(state, card)
    assert detector.spec == spec and detector.card is card and not detector.model.training
    for name, value in detector.model.state_dict().items():
        assert torch.equal(value, state[name].to(value.dtype)), name
    told = detector.logits(Inputs(torch.rand(1, 2, 3, 32, 32), None, 0.1 * torch.randn(1, 8000)))
    assert told.keys() == {"video", "audio", "whole"} and all(v.isfinite().all() for v in told.values())
    with pytest.raises(RuntimeError):
        load_detector({**state, "more": torch.zeros(1)}, card)
    with pytest.raises(RuntimeError):
        load_detector({k: v for k, v in state.items() if not k.startswith("absent")}, card)


def test_heads_start_as_they_are_told():
    """Of the whitened features, faces first; codes and convolutions have no part in it yet."""
    model, inputs = make(replace(TINY, direct=True)), clips(3)
    features = model.encode(inputs)
    told = model.summaries(features)
    faces, sound = (model.whitening[name](told[name]) for name in ("faces", "sound"))
    read = {"video": faces, "audio": sound, "whole": torch.cat([faces, sound], dim=1)}
    before = model.eval().tell(features)
    for name, x in read.items():
        weights = torch.arange(1.0, x.shape[1] + 1)
        model.start_head(name, weights)
        with torch.no_grad():
            logit = getattr(model.tell(features), name)
        bias = logit - x @ weights
        torch.testing.assert_close(bias, bias[:1].expand(3), rtol=1e-3, atol=1e-3)
        assert not torch.allclose(logit, getattr(before, name))
