"""What is remembered of a clip: nothing is encoded twice, nothing is confused, nothing is left."""

from __future__ import annotations

import threading
from typing import NamedTuple

import pytest
import torch
from torch import nn

from detectors import recall as recall_module
from detectors.encoders import FaceEncoder, SpeechEncoder
from detectors.recall import Encoder, Memory, encode_once, recall, recall_around, recall_neighbours, remembering
from detectors.sync import SyncPair


class Doubler(Encoder):
    """Tells twice each row; notes what it was asked."""

    def __init__(self, weights_id: str = "doubler") -> None:
        super().__init__()
        self.weights_id, self.asked = weights_id, []

    def forward(self, rows):
        with torch.no_grad():
            return recall(self, rows, self._encode)

    def _encode(self, rows):
        self.asked += rows[:, 0].tolist()
        return 2 * rows


def rows_of(*values: float) -> torch.Tensor:
    return torch.tensor([[v, 1.0, -v] for v in values])


def test_a_row_is_encoded_once_in_whatever_batch_and_place_it_comes():
    encoder = Doubler()
    with remembering():
        for values in ((1, 2, 3), (3, 4, 1), (4, 4, 5, 5)):
            assert torch.equal(encoder(rows_of(*values)), 2 * rows_of(*values))
    assert encoder.asked == [1, 2, 3, 4, 5]


def test_two_encoders_share_what_is_told_if_their_weights_are_the_same():
    one, same, other = Doubler("a"), Doubler("a"), Doubler("b")
    with remembering():
        for encoder in (one, same, other):
            encoder(rows_of(1, 2))
    assert (one.asked, same.asked, other.asked) == ([1, 2], [], [1, 2])


def test_nothing_is_remembered_outside_nor_afterwards():
    encoder = Doubler()
    encoder(rows_of(1))
    with remembering():
        encoder(rows_of(1))
        with remembering():  # the outer memory serves
            encoder(rows_of(1))
        encoder(rows_of(1))
    with pytest.raises(RuntimeError), remembering():
        raise RuntimeError
    encoder(rows_of(1))
    assert encoder.asked == [1, 1, 1]


def test_another_thread_has_a_memory_of_its_own():
    encoder = Doubler()
    with remembering():
        encoder(rows_of(1))
        other = threading.Thread(target=encoder, args=(rows_of(1),))
        other.start()
        other.join()
    assert encoder.asked == [1, 1]


def test_gradients_flow_through_what_was_remembered_before():
    encoder = Doubler()
    with remembering():
        encoder(rows_of(1))
        x = rows_of(1).requires_grad_()
        recall(encoder, x, encoder._encode).sum().backward()
    assert torch.equal(x.grad, torch.full((1, 3), 2.0))


def test_the_smallest_difference_makes_another_row():
    x = torch.zeros(1, 1000) + 0.1
    near = [x.clone() for _ in range(3)]
    near[0][0, 500] = torch.nextafter(x[0, 500], torch.tensor(1.0))
    near[1][0, 501] *= -1
    near[2][0, [0, 1]] = torch.tensor([0.2, 0.0])
    with remembering():
        encoder = Doubler()
        for row in (x, *near):
            assert torch.equal(encoder(row), 2 * row)
    assert len(encoder.asked) == 4


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(recall_module, "MOST_BYTES", 5 * 12)  # rows of three floats
    encoder = Doubler()
    with remembering():
        assert torch.equal(encoder(rows_of(*range(9))), 2 * rows_of(*range(9)))
        encoder(rows_of(8, 0))
    assert encoder.asked == [*range(9), 0]


@pytest.mark.parametrize("build, shape", [(lambda: FaceEncoder(32), (3, 3, 32, 32)),
                                          (lambda: SpeechEncoder(0.64), (3, 10_240))])
def test_what_encoders_tell_does_not_change_and_follows_their_weights(build, shape):
    encoder, twin = build(), build()
    rows = torch.rand(shape)
    with torch.inference_mode(), remembering():
        plain = torch.cat([encoder(row[None]) for row in rows])
        torch.testing.assert_close(encoder(rows.flip(0)), plain.flip(0))
        assert not torch.allclose(twin(rows), plain)
        twin.load_state_dict(encoder.state_dict())
        assert twin.weights_id == encoder.weights_id
        assert torch.equal(twin(rows), plain)


class Convolution(Encoder):
    """Two convolutions over time, of which the last one halves it: a step depends on two steps either way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(nn.Conv1d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv1d(4, 3, 3, 2, padding=1))
        self.eval()
        self.steps = 0

    @torch.no_grad()
    def forward(self, rows):
        return recall_around(self, rows, self._encode, stride=2, reach=2)

    def _encode(self, rows):
        self.steps += rows.shape[0] * rows.shape[-1]
        return self.layers(rows)


@pytest.mark.parametrize("changed", [[0], [39], [7], [8], [1, 30], [19, 20, 21], [0, 39], range(0, 14), range(40)])
def test_what_a_convolution_tells_anew_is_what_it_would_have_told(changed):
    network = Convolution()
    row = torch.randn(1, 2, 40)
    other = row.clone()
    other[..., list(changed)] += 1
    plain = network(other)
    with remembering():
        network(row)
        network.steps = 0
        torch.testing.assert_close(network(other), plain)
        assert network.steps < 40 or len(changed) == 40
        torch.testing.assert_close(network(torch.cat([other, row])), torch.cat([plain, network(row)]))


def test_a_convolution_tells_nothing_anew_of_what_it_knows():
    network, row = Convolution(), torch.randn(1, 2, 40)
    with remembering():
        first = network(row)
        network.steps = 0
        assert torch.equal(network(row), first)
        assert network.steps == 0


def test_rows_kept_whole_are_few():
    network = Convolution()
    with remembering(memory := Memory()):
        network(torch.randn(30, 2, 40))
    [kept] = memory.whole.values()
    assert len(kept) == recall_module.MOST_WHOLE


def test_speech_around_a_replaced_moment_is_heard_as_a_whole(monkeypatch):
    encoder = SpeechEncoder(0.64)
    sound = torch.randn(1, 10_240)
    other = sound.clone()
    other[:, 4000:5600] *= 0.5
    peak = sound.abs().argmax()  # by which a piece is scaled
    other[:, peak] = sound[:, peak]
    with torch.inference_mode():
        plain = encoder(other)
        with remembering():
            encoder(sound)
            heard = []
            convolve = encoder._convolve
            monkeypatch.setattr(encoder, "_convolve", lambda x: heard.append(x.shape[-1]) or convolve(x))
            torch.testing.assert_close(encoder(other), plain, rtol=1e-4, atol=1e-5)
    assert sum(heard) < 40  # of 64 frames


def test_what_is_remembered_is_that_of_the_weights_as_they_are_now():
    pair, lips = SyncPair().eval(), torch.rand(1, 6, 3, 48, 48)
    with torch.inference_mode(), remembering():
        before = pair.encode_lips(lips)
    with torch.no_grad():
        pair.lip_layers[0][0].weight.add_(0.1)
    pair.eval()
    with torch.inference_mode(), remembering():
        assert not torch.allclose(pair.encode_lips(lips), before)


def test_a_picture_of_lips_is_looked_at_once_with_its_neighbours(monkeypatch):
    pair, lips = SyncPair().eval(), torch.rand(1, 20, 3, 48, 48)
    other = lips.clone()
    other[:, 9] = 0
    looked = []
    pair.lip_layers.register_forward_pre_hook(lambda _, rows: looked.append(len(rows[0])))
    with torch.inference_mode():
        plain = pair.encode_lips(other)
        looked.clear()
        with remembering():
            pair.encode_lips(lips)
            torch.testing.assert_close(pair.encode_lips(other), plain)
    assert looked == [20, 5]


class Rows(NamedTuple):
    pictures: torch.Tensor | None
    sound: torch.Tensor | None
    length_s: torch.Tensor | None = None


def test_rows_that_are_one_row_expanded_are_encoded_once():
    asked = []

    def encode(rows: Rows) -> Rows:
        asked.append(len(rows.sound))
        return Rows(None, 2 * rows.sound)

    row, others = torch.rand(1, 5), torch.rand(3, 5)
    told = encode_once(encode, Rows(None, row.expand(3, 5)))
    assert torch.equal(told.sound, 2 * row.expand(3, 5)) and told.pictures is None
    assert torch.equal(encode_once(encode, Rows(None, others)).sound, 2 * others)
    encode_once(encode, Rows(None, row))
    encode_once(encode, Rows(None, row.expand(3, 5), torch.arange(3.0)))  # the same sound, of other lengths
    assert asked == [1, 3, 1, 3]


def test_pictures_beside_their_neighbours_are_those_of_their_own_row():
    pictures = torch.arange(1.0, 9.0).reshape(2, 4, 1, 1)
    encoder = Doubler()
    with torch.no_grad():
        plain = recall_neighbours(encoder, pictures, 3, lambda around: around.sum((1, 2, 3)))
        with remembering():
            for _ in range(2):
                told = recall_neighbours(encoder, pictures, 3, lambda around: around.sum((1, 2, 3)))
                assert torch.equal(told, plain)
    assert plain.tolist() == [[3, 6, 9, 7], [11, 18, 21, 15]]
