"""What is taken over is the published network: the same maps, the same rows, in files that say whose they are."""

from __future__ import annotations

import importlib.util
import json
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from detectors.checkpoint import CheckpointError, read_card
from detectors.encoders import FaceEncoder, SpeechEncoder
from training import pretrained
from training.pretrained import face_state, load_encoders, load_lite0, main, published_encoders, speech_state

pytestmark = pytest.mark.usefixtures("one_thread_one_seed")


class Stated(nn.Module):
    """DistillMOS as its paper and its package's tensor names state it, of torch's own layers; random weights."""

    def __init__(self) -> None:
        super().__init__()
        widths = (2, 64, 64, 128, 256, 256, 256)
        layers = []
        for i, (before, after) in enumerate(zip(widths, widths[1:])):
            stride = (2 if i else 1, 2 if i == 5 else 1)
            layers += [nn.Conv2d(before, after, 3, stride, (0, 1)), nn.LeakyReLU(0.1)]
        self.cnn = nn.ModuleDict({"cnn": nn.Sequential(*layers)})
        layer = nn.TransformerEncoderLayer(200, 8, 400, dropout=0.0, batch_first=True)
        self.transformer_pool_attn = nn.ModuleDict({
            "norm_input": nn.BatchNorm1d(1024),
            "transformer": nn.ModuleDict({
                "norm": nn.BatchNorm1d(1024), "linear_proj": nn.Linear(1024, 200),
                "transformer_encoder": nn.TransformerEncoder(layer, 7, enable_nested_tensor=False),
            }),
        })
        for name, value in self.state_dict().items():
            if "running_var" in name or "norm" in name and name.endswith("weight"):
                value.uniform_(0.5, 2.0)
            elif "running_mean" in name or "norm" in name and name.endswith("bias"):
                value.normal_()
        self.eval()

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        waveform = waveform / (waveform.abs().amax(1, keepdim=True) + 1e-8)
        waveform = F.pad(waveform, (80, 80), mode="reflect")
        spectrum = torch.stft(waveform, 320, 160, window=torch.hann_window(320), center=False, return_complex=True)
        spectrum = torch.polar(spectrum.abs() ** 0.3, spectrum.angle())
        x = self.cnn["cnn"](torch.stack([spectrum.real, spectrum.imag], 1)).flatten(1, 2)
        rest = self.transformer_pool_attn
        x = rest["transformer"]["norm"](rest["norm_input"](x)).transpose(1, 2)
        x = rest["transformer"]["linear_proj"](x)
        place, wave = torch.arange(x.shape[1])[:, None], torch.arange(100)
        angles = place / 768 ** (2 * wave / 200)
        x[..., 0::2] += angles.sin()
        x[..., 1::2] += angles.cos()
        for layer in rest["transformer"]["transformer_encoder"].layers[:6]:
            x = layer(x)
        return x


@pytest.fixture(scope="module")
def stated():
    torch.manual_seed(0)
    return Stated()


@pytest.fixture
def packages(stated, tmp_path, monkeypatch):
    """A package distillmos that cannot be imported, with weights of that shape; the faces' package is the real one."""
    weights = tmp_path / "site" / "distillmos" / "weights"
    weights.mkdir(parents=True)
    (weights.parent / "__init__.py").write_text("raise ImportError('only the weights are wanted')\n")
    torch.save({"model": stated.state_dict(), "step": 1}, weights / "distill_mos_v7.pt")
    about = tmp_path / "site" / "distillmos-9.9.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: distillmos\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(sys.modules, "distillmos", raising=False)


def test_the_speech_encoder_is_the_stated_network(stated):
    encoder = SpeechEncoder()
    encoder.load_state_dict(speech_state(stated.state_dict()))
    sound = 0.2 * torch.randn(2, 9600)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(sound), stated(sound), atol=1e-4, rtol=0)


def test_the_face_encoder_reads_the_published_maps():
    lite0 = load_lite0()
    encoder = FaceEncoder(64)
    encoder.load_state_dict(face_state(lite0.state_dict()))
    maps = []
    for module in (lite0.bn1, *lite0.blocks):
        module.register_forward_hook(lambda module, inputs, output: maps.append(output))
    faces = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        lite0(2 * faces - 1)
        wanted = encoder.over_regions(maps)  # the stem's and those of all stages
        assert wanted.shape == (1, 5, 816)
        torch.testing.assert_close(encoder(faces), wanted[..., :encoder.dim], atol=1e-4, rtol=1e-4)


def test_files_hold_the_encoders_and_say_whose_they_are(packages, tmp_path, capsys):
    assert main(["--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["bytes"]["face_encoder.safetensors"] < 12.5e6 and told["bytes"]["speech_encoder.safetensors"] < 7.6e6
    for encoder, again in zip(published_encoders(), load_encoders(tmp_path / "out")):
        state, other = encoder.state_dict(), again.state_dict()
        assert state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)
    face, speech = (read_card(tmp_path / "out" / name) for name in told["bytes"])
    assert face["licence"].startswith("Apache-2.0") and speech["licence"].startswith("MIT")
    assert speech["version"] == "9.9"


def test_a_file_of_something_else_is_refused(packages, tmp_path):
    main(["--out", str(tmp_path)])
    (tmp_path / "face_encoder.safetensors").write_bytes((tmp_path / "speech_encoder.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="face_encoder"):
        load_encoders(tmp_path)


@pytest.mark.parametrize("source", [pretrained.LITE0, pretrained.DISTILL_MOS])
def test_a_missing_package_is_named_with_its_remedy(source, packages, tmp_path, monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == source.module else find(name))
    assert main(["--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert source.install in told and "Traceback" not in told
    assert not (tmp_path / "out").exists()
