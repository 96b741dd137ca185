"""Attribution methods on detectors whose truth is known, and models left as they were found."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from explain.faithfulness import pointing
from explain.maps import METHODS, NoMap, ablate, grad_cam, integrate_gradients, on_blocks, smooth_gradients
from explain.regions import REGIONS
from explain.state import borrowed
from explain.target import Cancelled
from tests.explain.tiny_detectors import Camera, Recurrent, Spots, a_target, an_input


def truth(target, part, steps, places):
    mask = {part: np.zeros_like(on_blocks(integrate_gradients(target, steps=2), target).values[part], bool)}
    mask[part][:, steps, places] = True
    return mask


def mouth_blocks():
    """The blocks of 2 x 2 pixels that rows 24 to 28 and columns 14 to 18 of 32 fill."""
    return [r * 16 + c for r in (12, 13) for c in (7, 8)]


def test_integrated_gradients_of_a_sum_are_its_terms():
    target = a_target(Spots(face=8.0, lips=3.0, audio=0.0))
    found = integrate_gradients(target)
    difference = target.inputs.faces - target.baseline.faces
    by_hand = 8 * difference[0, 2, :, 24:28, 14:18].mean()
    face = found.values["face"][0]
    assert face.sum() == pytest.approx(float(by_hand), rel=1e-4)
    assert face[2, mouth_blocks()].sum() == pytest.approx(face.sum(), rel=1e-5)
    assert (found.values["audio"] == 0).all()  # a part that the head does not read: zero, no error
    assert found.delta < 1e-4


def test_integrated_gradients_find_the_loud_band_and_moment_and_add_up():
    target = a_target(Spots(face=0.0, audio=1.0))
    found = integrate_gradients(target, steps=24)
    bands = found.values["audio"][0]  # steps of 40 ms, 24 bands
    step, band = np.unravel_index(bands.argmax(), bands.shape)
    assert 0.48 <= found.layout.groups["audio"].steps_s[step, 0] < 0.76
    low, high = found.layout.groups["audio"].places[band].removesuffix(" kHz").split("–")
    assert float(low) <= 4.0 <= float(high)
    with torch.no_grad():
        whole = target.logit({}, target.rows) - target.logit({"audio": torch.zeros(1, 101, 257)}, target.rows)
    assert sum(v.sum() for v in found.values.values()) == pytest.approx(float(whole), rel=0.02)
    assert found.delta < 0.02 * float(whole)


def test_ablation_finds_the_lips_in_their_half_second_by_the_right_amount():
    target = a_target(Spots(face=8.0, audio=1.0))
    table = ablate(target)
    picture = table.values["picture"][0]  # two steps of 0.5 s, six regions
    assert np.unravel_index(picture.argmax(), picture.shape) == (1, REGIONS.index("lips"))
    by_hand = 8 * (target.inputs.faces - target.baseline.faces)[0, 2, :, 24:28, 14:18].mean()
    assert picture[1, REGIONS.index("lips")] == pytest.approx(float(by_hand), rel=1e-3)
    assert np.abs(picture[0]).max() < 1e-4
    sound = table.values["sound"][0]
    assert np.unravel_index(sound.argmax(), sound.shape) == (1, 4)  # 3.1 to 5 kHz


def test_windows_of_one_batch_are_explained_as_each_alone():
    model = Spots(face=8.0, audio=1.0, both=1.0)
    inputs = an_input(n=2)
    inputs.faces[1, 2] = inputs.faces[1, 0]  # no spot in the second window
    together = [METHODS[m](a_target(model, inputs)) for m in ("ablation", "integrated_gradients")]
    for n in range(2):
        alone_inputs = type(inputs)(*(None if t is None else t[n:n + 1] for t in inputs))
        for found in together:
            alone = METHODS[found.method](a_target(model, alone_inputs))
            for group, values in alone.values.items():
                np.testing.assert_allclose(found.values[group][n], values[0], rtol=1e-3, atol=1e-4)


def test_a_readable_map_on_blocks_keeps_its_sum_and_its_place():
    target = a_target(Spots(face=8.0, audio=0.0))
    table = ablate(target)
    fine = on_blocks(table, target)
    pictures = fine.values["face"].sum() + fine.values["lips"].sum()
    assert pictures == pytest.approx(table.values["picture"].sum(), rel=1e-4)
    assert np.abs(fine.values["face"][0, :2]).max() < 1e-6  # the first half second
    assert pointing(fine, truth(target, "face", slice(2, 4), mouth_blocks())) > 0


def test_smooth_grad_points_at_the_spot():
    target = a_target(Spots(face=8.0, audio=0.0))
    assert pointing(smooth_gradients(target), truth(target, "face", [2], mouth_blocks())) == 1


def test_grad_cam_points_at_the_spot_where_the_detector_names_its_layer():
    target = a_target(Camera())
    with pytest.raises(NoMap, match="no convolution"):
        grad_cam(target)
    target.detector.camera_layers = {"face": target.detector.model.conv, "audio": target.detector.model.unread}
    found = grad_cam(target)
    frame, block = np.unravel_index(found.values["face"][0].argmax(), found.values["face"][0].shape)
    assert frame == 2 and block // 16 in (12, 13) and block % 16 in (7, 8)
    assert np.abs(found.values["face"]).sum() == pytest.approx(1) and not found.values["audio"].any()


def test_other_weights_give_another_map():
    """The sanity check of Adebayo et al. 2018: a map that survives random weights does not explain the model."""
    target = a_target(Recurrent(), an_input(lips=False, audio=False))
    for method in ("integrated_gradients", "smooth_grad", "ablation"):
        torch.manual_seed(3)
        maps = []
        for _ in range(2):
            for module in target.detector.model.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
            found = METHODS[method](target).values
            maps.append(np.concatenate([v.ravel() for v in found.values()]))
        assert maps[0].std() > 0 and abs(np.corrcoef(maps)[0, 1]) < 0.5


def snapshot(model):
    hooks = [len(getattr(m, k)) for m in model.modules()
             for k in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")]
    return ([m.training for m in model.modules()], [p.requires_grad for p in model.parameters()],
            [p.grad is None for p in model.parameters()], hooks, {k: v.clone() for k, v in model.state_dict().items()})


def same(before, after):
    return before[:4] == after[:4] and all(torch.equal(v, after[4][k]) for k, v in before[4].items())


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_as_it_was(method):
    target = a_target(Recurrent(), an_input(audio=False))
    model = target.detector.model.train()  # nobody should, but what was in training mode comes back in it
    target.detector.camera_layers = {"face": model.conv}
    model.head.bias.requires_grad_(False)
    before, random_state = snapshot(model), torch.get_rng_state()
    METHODS[method](target)
    assert same(before, snapshot(model)) and torch.equal(random_state, torch.get_rng_state())


@pytest.mark.parametrize("method", METHODS)
def test_also_when_it_was_cancelled_halfway(method):
    asked = iter(range(1000))
    target = a_target(Recurrent(), an_input(audio=False), should_stop=lambda: next(asked) >= 1)
    target.detector.camera_layers = {"face": target.detector.model.conv}
    before = snapshot(target.detector.model)
    if method == "grad_cam":  # one pass only: cancelled before it
        next(asked)
    with pytest.raises(Cancelled):
        METHODS[method](target)
    assert same(before, snapshot(target.detector.model))


def test_a_second_attribution_of_the_same_model_waits():
    model, order = Spots(), []
    inside, go_on = threading.Event(), threading.Event()

    def first():
        with borrowed(model):
            inside.set()
            go_on.wait(10)
            order.append("first")

    def second():
        with borrowed(model):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    threads[1].join(0.2)
    assert order == [] and threads[1].is_alive()
    with borrowed(Spots()):  # another model does not wait
        go_on.set()
    for thread in threads:
        thread.join(10)
    assert order == ["first", "second"]


def test_cudnn_is_off_only_where_a_recurrent_layer_needs_it(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "enabled", True)
    with borrowed(Recurrent()):
        assert not torch.backends.cudnn.enabled
    with borrowed(Camera()):
        assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.enabled


def test_a_map_of_part_of_a_window_has_the_same_values_there_and_none_elsewhere():
    target = a_target(Spots(face=8.0, audio=1.0))
    whole, part = ablate(target), ablate(replace(target, asked_s=(0.5, 1.0)))
    np.testing.assert_allclose(part.values["picture"][0], whole.values["picture"][0, 1:], atol=1e-5)
    fine = on_blocks(part, target)
    assert not fine.values["face"][0, :2].any() and not fine.values["audio"][0, :12].any()
    pictures = fine.values["face"].sum() + fine.values["lips"].sum()
    assert pictures == pytest.approx(part.values["picture"].sum(), rel=1e-4)
