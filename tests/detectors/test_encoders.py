"""The encoders are the published networks, tell each region by itself, and stay as they are."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from detectors.encoders import (
    REGIONS,
    TEXTURES,
    FaceEncoder,
    SpeechEncoder,
    part_of,
    region_shares,
    rows_of,
    to_half,
)
from media.crops import TEMPLATE

FACE_PX = 64  # the maps are 32, 32, 16, 8, 4, 4, 2 and 2 wide


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def face():
    torch.manual_seed(0)
    encoder = FaceEncoder(FACE_PX)
    with torch.no_grad():
        for name, value in encoder.state_dict().items():  # norms that have seen something
            if "running_" in name or ".bn" in name and name.endswith("bias"):
                value.uniform_(0.5, 1.5)
    return encoder


@pytest.fixture(scope="module")
def speech():
    torch.manual_seed(0)
    return SpeechEncoder(piece_s=0.32)


def voices(n: int, samples: int) -> torch.Tensor:
    return 0.3 * torch.randn(n, samples, generator=torch.Generator().manual_seed(1))


# ---- regions


def test_each_landmark_lies_in_its_region_and_every_place_is_shared_out():
    shares = region_shares(160)
    assert shares.shape == (5, 160, 160) and shares.min() >= 0
    torch.testing.assert_close(shares.sum(0), torch.ones(160, 160))
    at = {name: shares[i] for i, name in enumerate(REGIONS)}
    for (x, y), name in zip(TEMPLATE, ("eyes", "eyes", "nose", "mouth", "mouth")):
        assert at[name][int(y * 160), int(x * 160)] > 0.8
    assert at["skin"][110, 40] > 0.8 and at["skin"][25, 80] > 0.8  # cheek and forehead
    assert min(at["border"][row, column] for row in (0, 159) for column in (0, 159)) > 0.95


def test_pooling_is_the_weighted_mean_of_each_region(face):
    """Written out place by place, the share of a coarse map's place being the mean of the pixels under it."""
    maps = torch.rand(2, 3, 4, 4)
    shares = region_shares(FACE_PX).numpy()
    step = FACE_PX // 4
    wanted = np.zeros((2, len(REGIONS), 3))
    for region in range(len(REGIONS)):
        total = 0.0
        for row in range(4):
            for column in range(4):
                share = shares[region, row * step:(row + 1) * step, column * step:(column + 1) * step].mean()
                wanted[:, region] += share * maps[:, :, row, column].numpy()
                total += share
        wanted[:, region] /= total
    np.testing.assert_allclose(face.over_regions([maps]).numpy(), wanted, rtol=1e-5)


def test_another_mouth_moves_the_mouth_most(face):
    """In the maps that see a few pixels around; the deepest ones see the whole crop from everywhere."""
    faces = torch.rand(1, 3, FACE_PX, FACE_PX)
    changed = faces.clone()
    changed[:, :, 44:54, 22:42] = torch.rand(3, 10, 20)
    moved = (face(changed) - face(faces)).abs()[0, :, :48].mean(1)  # stem and first stage
    assert moved.argmax() == REGIONS.index("mouth") and moved[REGIONS.index("eyes")] < 0.02 * moved.max()


def test_faces_are_told_at_all_depths(face):
    faces = torch.rand(2, 3, FACE_PX, FACE_PX)
    told = face(faces)
    assert told.shape == (2, 5, 192) and (face.rows, face.dim) == (5, 192)
    whole = FaceEncoder(FACE_PX, stages=7)
    whole.load_state_dict({**whole.state_dict(), **face.state_dict()})
    torch.testing.assert_close(whole(faces)[..., :192], told)
    assert whole(faces).shape == (2, 5, 816)
    with pytest.raises(ValueError, match="64"):
        face(torch.rand(1, 3, 96, 96))


def test_a_part_is_of_the_regions_and_maps_that_were_asked_for():
    told = 1000 * torch.arange(5)[:, None] + torch.arange(192) + torch.zeros(2, 3, 1, 1)
    assert torch.equal(part_of(told), told.flatten(2))
    some = part_of(told, ("mouth", "eyes"), (1, 3))
    wanted = torch.cat([2000 + torch.arange(32, 72), torch.arange(32, 72)]).float()
    assert some.shape == (2, 3, 80) and torch.equal(some[1, 2], wanted)
    assert np.array_equal(part_of(told.numpy(), ("mouth", "eyes"), (1, 3)), some.numpy())
    assert part_of(told[:0], ("nose",), TEXTURES).shape == (0, 3, 144)


# ---- speech


def test_folded_norms_change_nothing_and_follow_the_weights(face):
    encoder, faces = copy.deepcopy(face), torch.rand(2, 3, FACE_PX, FACE_PX)

    def both_ways():
        with torch.no_grad():
            folded = encoder(faces)
        torch.testing.assert_close(folded, encoder(faces), rtol=1e-4, atol=1e-4)  # with gradients: as they are
        return folded

    first = both_ways()
    assert set(encoder.state_dict()) == set(face.state_dict())
    encoder.load_state_dict({name: value * 1.01 if value.is_floating_point() else value
                             for name, value in face.state_dict().items()})
    assert not torch.allclose(both_ways(), first)
    with torch.no_grad():
        assert encoder.double()(faces.double()).dtype == torch.float64  # as after a move to another device


def test_a_layer_is_torchs_own(speech):
    """Against torch.nn.TransformerEncoderLayer, which DistillMOS is made of, with the same numbers."""
    ours = speech.layers[0]
    theirs = torch.nn.TransformerEncoderLayer(200, 8, 400, dropout=0.0, batch_first=True)
    pairs = ((theirs.self_attn.in_proj_weight, ours.attend.weight), (theirs.self_attn.in_proj_bias, ours.attend.bias),
             (theirs.self_attn.out_proj.weight, ours.merge.weight), (theirs.self_attn.out_proj.bias, ours.merge.bias),
             (theirs.linear1.weight, ours.widen.weight), (theirs.linear1.bias, ours.widen.bias),
             (theirs.linear2.weight, ours.narrow.weight), (theirs.linear2.bias, ours.narrow.bias))
    with torch.no_grad():
        for value, own in pairs:
            value.copy_(own)
        x = torch.randn(2, 7, 200)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-4)


def test_the_spectrogram_is_the_compressed_one(speech):
    """One frame, by the plain sum of the discrete Fourier transform in double precision."""
    sound = voices(1, 1600)
    frame, at = sound[0, 720:1040].double().numpy(), np.arange(320)  # frame 5: 5 * 160 - 80 = 720
    hann = 0.5 - 0.5 * np.cos(2 * math.pi * at / 320)
    for k in (0, 3, 77, 160):
        value = (frame * hann * np.exp(-2j * math.pi * k * at / 320)).sum()
        value *= abs(value) ** (0.3 - 1)
        parts = speech._spectrogram(sound)[0, :, k, 5].numpy()
        np.testing.assert_allclose(parts, [value.real, value.imag], atol=2e-4)


def test_twenty_milliseconds_are_a_row(speech):
    for samples in (160, 320, 479, 480, 3200, 5119, 5120, 5121, 7777):
        told = speech(voices(1, samples))
        assert told.shape == (1, rows_of(samples), 200) and abs(rows_of(samples) - samples / 320) <= 0.5
    assert speech(voices(1, 100)).shape == (1, 0, 200) and speech.hz == 50


def test_long_sound_is_heard_in_pieces_of_which_the_last_ends_with_it(speech):
    """0.32 s are 16 rows: of 40 rows, 16 + 16 + the last 8 of the piece that ends with the sound."""
    sound = voices(1, 40 * 320)
    wanted = [speech(sound[:, :5120]), speech(sound[:, 5120:10240]), speech(sound[:, 7680:])[:, 8:]]
    torch.testing.assert_close(speech(sound), torch.cat(wanted, 1))


def test_padding_is_not_heard(speech):
    sound = voices(3, 8000)
    lengths = torch.tensor([8000, 3000, 60])
    padded = torch.where(torch.arange(8000) < lengths[:, None], sound, 0.7)
    told = speech(padded, lengths)
    torch.testing.assert_close(told[0], speech(sound[:1])[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(told[1, :9], speech(sound[1:2, :3000])[0], atol=1e-5, rtol=1e-4)
    assert not told[1, 9:].any() and not told[2].any()


def test_loudness_is_not_heard(speech):
    sound = voices(1, 3200)
    torch.testing.assert_close(speech(0.05 * sound), speech(sound), atol=1e-4, rtol=1e-3)


def test_the_published_network_tells_the_same():
    """7.68 s at once, as the package hears it, of noise that swells and falls silent."""
    pytest.importorskip("xls_r_sqa.sqa_model", exc_type=ImportError)
    distillmos = pytest.importorskip("distillmos", exc_type=ImportError)
    from training.pretrained import speech_state

    original = distillmos.ConvTransformerSQAModel(segmenting_in_forward=False).eval()
    told = []
    layer = original.transformer_pool_attn.transformer.transformer_encoder.layers[5]
    layer.register_forward_hook(lambda module, inputs, output: told.append(output))
    ours = SpeechEncoder(piece_s=7.68)
    ours.load_state_dict(speech_state(original.state_dict()))
    swell = torch.linspace(0, 12, 122_880).sin().relu()
    with torch.inference_mode():
        original(swell * voices(1, 122_880))
        torch.testing.assert_close(ours(swell * voices(1, 122_880)), told[0], atol=1e-4, rtol=0)


# ---- both


@pytest.mark.parametrize("name", ["face", "speech"])
def test_frozen_but_open_to_explanations(name, request):
    encoder = request.getfixturevalue(name)
    given = torch.rand(1, 3, FACE_PX, FACE_PX) if name == "face" else voices(1, 4800)
    if name == "speech":
        given[:, 2000:4000] = 0  # digital silence has no magnitude: its gradient must be a number all the same
    before = encoder(given)
    assert not any(p.requires_grad for p in encoder.parameters())
    parent = torch.nn.Sequential(encoder).train()
    assert parent.training and not any(m.training for m in encoder.modules())
    given.requires_grad_()
    told = encoder(given)
    torch.testing.assert_close(told, before)
    told.square().sum().backward()
    assert given.grad.isfinite().all() and given.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["face", "speech"])
def test_a_batch_is_its_members(name, request):
    encoder = request.getfixturevalue(name)
    given = torch.rand(3, 3, FACE_PX, FACE_PX) if name == "face" else voices(3, 4800)
    alone = torch.cat([encoder(one[None]) for one in given])
    torch.testing.assert_close(encoder(given), alone, atol=1e-4, rtol=1e-3)


def test_half_precision_is_loaded_strictly_and_told_in_single(speech):
    half = to_half(speech.state_dict())
    assert {value.dtype for value in half.values()} == {torch.float16}
    other = SpeechEncoder(piece_s=0.32)
    other.load_state_dict(half)
    sound = voices(1, 3200)
    told, wanted = other(sound), speech(sound)
    assert told.dtype == torch.float32
    assert 0 < F.mse_loss(told, wanted) < 1e-4 * wanted.var()
    with pytest.raises(RuntimeError, match="project.bias"):
        other.load_state_dict({name: value for name, value in half.items() if name != "project.bias"})
    with pytest.raises(ValueError, match="far"):
        to_half({"far": torch.tensor([70_000.0])})
