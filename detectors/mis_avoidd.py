"""MIS-AVoiDD: what both modalities say, and what each says alone (arXiv 2310.02234).

    faces ─ frame encoder ─ statistics ─ project ─┬─ specific_v ────────┐
                                                  └─ invariant ┐        ├─ 4 tokens ─ attention ─ concat ─ whole
    sound ─ MFCC ─ CNN ─ statistics ──── project ─┬─ (the same)┘        │
                                                  └─ specific_a ────────┘        specific codes ─ video, audio

Each modality has a code from an encoder of its own and one from an encoder that all modalities share. The four codes
attend to each other as tokens, are concatenated and classified. Four losses: classification; orthogonal, so that the
codes of a clip hold different things; similarity and invariant, so that the shared codes of a clip agree.

What is built. The authors published no code, and the body of the paper could not be read for this file. So this is
"the design of MISA (Hazarika et al., ACM MM 2020) with two modalities, after the summary of MIS-AVoiDD": [paper]
marks what the summary says, [MISA] what its parent does, INFERRED what neither says. The names of the parts, the four
tokens, the self-attention, the concatenation and the four losses are the paper's; every width and every weight is not.
MISA's reconstruction loss is left out, because the summary names four losses and no such one.

Departures of both configurations:
- The heads for video and audio, on the specific codes, are ours: the paper tells of the whole clip alone. Where the
  configuration has no specific codes, they read the invariant ones.
- Lips as a third modality are ours: the paper leaves more than two modalities open. Lips then have codes of their own,
  and the video head adds what it reads from the specific code of the lips.
- The mean of each cepstral coefficient over the window is taken away: it holds the microphone and the gain.
- What lies more than 80 dB under the loudest point of the spectrogram is raised to that: digital silence tells which
  coder made a file, not who spoke.
- The invariant loss pulls the two shared codes of a clip together. Doing this to manipulated clips too would teach the
  shared encoder to hide that sound and picture disagree. `LossWeights.pull` decides: "genuine" (the default here),
  or "all". The similarity loss needs no such choice: it compares the moments of a batch, not the codes of a clip.

Departures of `SHIPPED`, which has some thousand training clips and two processor cores:
- Faces go through the first stages of a frozen EfficientNet-Lite0 (detectors.encoders), averaged over the inner regions
  of the face and over the frames. Deeper maps and the border around the face told sources apart, not fakes.
- Of the sound is read how much it changes (detectors.restless), in the rows of a frozen speech encoder and in cepstra,
  AND what a small network makes of the cepstra that is trained here. Means over the window told sources apart.
- All heads read the features themselves beside the codes, and start from a fit to them: the codes alone learn too
  slowly from so few clips.
- Cepstra are linear in frequency (LFCC), not mel: mel filters merge the upper half of the band, where vocoders
  leave their traces.
- Everything is narrow (d = 32), and of the frozen features only the first principal components over the training
  clips are read, 64 of 576 for faces and 96 of 320 for sound, each scaled to the same spread: with all of them the
  network learns its few sources by heart.
- A clip shorter than the window is not stretched. Frames without a face and sound after the end take no part.

MISSING MODALITY. A batch has sound, faces, lips, or some of them. What is missing has no tokens, so the attention
never sees it. The concatenation has a place for each token; the place of a missing one holds a learnt vector, zero at
the start, which only training with missing modalities moves. So `whole` is always told, and the heads of a missing
modality are None.

POLARITY. Logits are fake minus real: higher is more fake.

What it cannot see: it compares summaries of a window, without their order in time. Sound that is late by half a
second has the same summary; only what both say of the person or the quality can disagree.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import timm
import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor, nn

from detectors.contract import Inputs, InputSpec, Windows, WindowScores
from detectors.encoders import INNER, REGIONS, RUN_DEPTHS, TEXTURES, FaceEncoder, SpeechEncoder, part_of
from detectors.restless import (
    AUDIO_HZ,
    FRAME_SAMPLES,
    band_frames,
    cepstra,
    filter_bank,
    how_restless,
    log_bands,
    restless_values,
    statistics,
)
from detectors.scoring import calibrated, score_windows
from detectors.ss_avd import either_fake, smoothed_bce
from detectors.whitening import Whiten

NAME, CITATION = "MIS-AVoiDD", "arXiv 2310.02234"
REAL, FAKE = 0, 1  # class order of the two-class head, INFERRED
SPEC = InputSpec(  # INFERRED: 4 s, every second of them 5 faces, at Xception's own size
    window_s=4.0, hop_s=2.0, frames=20, face_px=299, audio_hz=AUDIO_HZ, modalities=("video", "audio")
)
SHIPPED_SPEC = replace(SPEC, window_s=3.84, hop_s=1.92, frames=12, face_px=160, stretch=False, least_face_share=0.5)


@dataclass(frozen=True)
class MISAVoiDDConfig:
    """The architecture. JSON-able by `dataclasses.asdict`, read back by `build`."""

    face_encoder: str = "xception"  # of a frame; "regions": encoders.FaceEncoder
    speech_encoder: bool = False  # beside the convolutions, how restless the rows of encoders.SpeechEncoder and the
    # cepstra are is read: detectors.restless
    face_regions: tuple[str, ...] = REGIONS  # of a "regions" face that are read ...
    face_depths: tuple[int, int] = RUN_DEPTHS  # ... in maps from the first of these to before the last
    masked: bool = False  # frames without a face, and sound after the clip's end, are left out
    frames: int = 20
    face_px: int = 299
    samples: int = 64_000
    lips: int = 0  # lip crops a window; more than 0 makes them the third modality
    lips_px: int = 48
    filter_scale: str = "mel"  # "linear" gives LFCC
    filters: int = 64  # INFERRED
    cepstra: int = 40  # INFERRED
    sound_widths: tuple[int, ...] = (64, 128, 128)  # of the sound's CNN; each layer halves the rate. INFERRED
    dim: int = 128  # d of every code [MISA]
    attention_heads: int = 2  # [MISA]
    attention_width: int = 2048  # of its feed-forward part [MISA]
    attention_dropout: float = 0.1  # [MISA]
    classifier_dropout: float = 0.5  # [MISA]
    direct: bool = False  # the heads read the features themselves, too
    face_components: int = 0  # principal components that are kept of what each network tells of faces; 0: all of it
    speech_components: int = 0
    feature_dropout: float = 0.0  # share of the frozen features, or of their components, that is dropped in training
    codes: str = "both"  # "specific" and "invariant" are the ablations
    fusion: str = "attention"  # "concat" is the ablation without it

    def __post_init__(self):
        for name, choices in (("face_encoder", ("xception", "regions")), ("filter_scale", ("mel", "linear")),
                              ("codes", ("both", "specific", "invariant")), ("fusion", ("attention", "concat"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.cepstra > self.filters:
            raise ValueError(f"cepstra must be at most filters, {self.filters}, not {self.cepstra}")
        if self.dim % self.attention_heads:
            raise ValueError(f"dim must be a multiple of attention_heads, {self.attention_heads}, not {self.dim}")

    def read_faces(self, told: Tensor) -> Tensor:
        """Of what the face encoder tells, (n, rows, dim), what is read: (n, values). Arrays, too."""
        if self.face_encoder == "regions":
            return part_of(told, self.face_regions, self.face_depths)
        return told.reshape(len(told), -1)

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("audio", "video", "lips") if self.lips else ("audio", "video")

    @property
    def kinds(self) -> tuple[str, ...]:
        return ("specific", "invariant") if self.codes == "both" else (self.codes,)


PAPER = MISAVoiDDConfig()
SHIPPED = replace(
    PAPER, face_encoder="regions", face_regions=INNER, face_depths=TEXTURES, speech_encoder=True, direct=True,
    masked=True, frames=SHIPPED_SPEC.frames, face_px=SHIPPED_SPEC.face_px, samples=SHIPPED_SPEC.samples,
    filter_scale="linear", sound_widths=(32, 32, 32), dim=32, attention_width=64, face_components=64,
    speech_components=96, feature_dropout=0.2,
)


class Features(NamedTuple):
    """What the encoders make of a batch of n windows: all that the trained part reads. None: missing.

    A mask that is None means all of it.
    """

    faces: Tensor | None = None  # (n, frames, values)
    face_seen: Tensor | None = None  # (n, frames) bool
    bands: Tensor | None = None  # (n, T, filters) log energies, 100 a second: see `log_bands`
    bands_seen: Tensor | None = None  # (n, T) bool
    speech: Tensor | None = None  # (n, S, values), 50 a second; its mask follows from bands_seen
    lips: Tensor | None = None  # (n, lips, 3, lips_px, lips_px) in [0, 1]: their encoder is trained
    lips_seen: Tensor | None = None  # (n, lips) bool


class Output(NamedTuple):
    """Logits of P(fake), (n,), None where the modality is missing; and the codes, modality -> (n, dim)."""

    video: Tensor | None
    audio: Tensor | None
    whole: Tensor
    specific: dict[str, Tensor]  # empty where the configuration has none, as the next one
    invariant: dict[str, Tensor]


# ------------------------------------------------------------------------------------------- features


def at_half_rate(mask: Tensor, steps: int) -> Tensor:
    """(n, T) bool at 100 Hz -> (n, steps) at 50 Hz: either of two. False after the end."""
    mask = F.pad(mask, (0, max(2 * steps - mask.shape[1], 0)))[:, : 2 * steps]
    return mask.unflatten(1, (steps, 2)).any(-1)


class XceptionFrames(nn.Module):
    """Xception up to its global mean [paper]; weights still random. Faces (n, 3, H, W) in [0, 1] -> (n, 1, 2048)."""

    dim, rows = 2048, 1

    def __init__(self):
        super().__init__()
        self.network = timm.create_model("legacy_xception", pretrained=False, num_classes=0)

    def forward(self, faces: Tensor) -> Tensor:
        return self.network(2 * faces - 1)[:, None]


# ------------------------------------------------------------------------------------------- trained encoders


class CepstralNet(nn.Module):
    """Log bands (n, T, filters) -> (n, 2·width): cepstra, three convolutions over time, mean and deviation.

    The paper names MFCC and no network behind them; INFERRED.
    """

    def __init__(self, cfg: MISAVoiDDConfig):
        super().__init__()
        self.register_buffer("dct", AF.create_dct(cfg.cepstra, cfg.filters, "ortho"), persistent=False)
        self.norm = nn.BatchNorm1d(cfg.cepstra, affine=False)
        widths = (cfg.cepstra, *cfg.sound_widths)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv1d(n_in, n_out, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(n_out), nn.ReLU())
            for n_in, n_out in zip(widths, widths[1:])
        )
        self.dim = 2 * widths[-1]

    def cepstra(self, bands: Tensor, seen: Tensor) -> Tensor:
        """As detectors.restless has them."""
        return cepstra(bands, seen, self.dct)

    def forward(self, bands: Tensor, seen: Tensor | None = None) -> Tensor:
        if seen is None:
            seen = torch.ones(bands.shape[:2], dtype=torch.bool, device=bands.device)
        x = self.norm(self.cepstra(bands, seen).transpose(1, 2)) * seen[:, None]  # n cepstra T
        for layer in self.layers:
            seen = seen[:, ::2]
            x = layer(x) * seen[:, None]  # what follows the end is as the zeros around a shorter sound
        return statistics(x.transpose(1, 2), seen)


class LipNet(nn.Module):
    """Lips (n, T, 3, H, W) in [0, 1] -> (n, 64): two convolutions over time and space, mean and deviation. Ours."""

    dim = 64

    def __init__(self):
        super().__init__()
        self.near = nn.Sequential(
            nn.Conv3d(1, 16, (5, 7, 7), stride=(1, 2, 2), padding=(2, 3, 3), bias=False), nn.BatchNorm3d(16), nn.ReLU(),
            nn.MaxPool3d((1, 2, 2)),
        )
        self.wide = nn.Sequential(
            nn.Conv3d(16, 32, 3, stride=(1, 2, 2), padding=1, bias=False), nn.BatchNorm3d(32), nn.ReLU()
        )

    def forward(self, lips: Tensor, seen: Tensor | None = None) -> Tensor:
        if seen is None:
            seen = torch.ones(lips.shape[:2], dtype=torch.bool, device=lips.device)
        there = seen[:, None, :, None, None]
        x = (2 * lips.mean(2)[:, None] - 1) * there  # n 1 T H W
        x = self.wide(self.near(x) * there)
        return statistics(x.mean((3, 4)).transpose(1, 2), seen)


# ------------------------------------------------------------------------------------------- the network


class MISAVoiDD(nn.Module):
    """The network: `encode`, the encoders that SHIPPED takes as they are; and `tell`, all that is trained there.

    face_encoder: (n, 3, face_px, face_px) -> (n, rows, dim). speech_encoder: (n, samples), lengths (n,) or None ->
    (n, S, dim), of each sound as if it were that long; it may be None.
    """

    def __init__(self, cfg: MISAVoiDDConfig, face_encoder: nn.Module, speech_encoder: nn.Module | None = None):
        super().__init__()
        self.cfg = cfg
        self.face_encoder, self.speech_encoder = face_encoder, speech_encoder
        self.register_buffer("bank", filter_bank(cfg.filter_scale, cfg.filters), persistent=False)

        values = cfg.read_faces(torch.empty(1, face_encoder.rows, face_encoder.dim)).shape[1]
        self.whiten_faces = Whiten(values, cfg.face_components)
        self.whiten_speech = None
        if speech_encoder is not None:
            self.whiten_speech = Whiten(restless_values(speech_encoder.dim, cfg.cepstra), cfg.speech_components)
        self.drop_features = nn.Dropout(cfg.feature_dropout)
        self.cepstral_net = CepstralNet(cfg)
        self.lip_net = LipNet() if cfg.lips else None

        widths = {"audio": self.cepstral_net.dim + (0 if speech_encoder is None else self.whiten_speech.out_dim),
                  "video": self.whiten_faces.out_dim, "lips": LipNet.dim}
        self.project = nn.ModuleDict({
            m: nn.Sequential(nn.Linear(widths[m], cfg.dim), nn.ReLU(), nn.LayerNorm(cfg.dim)) for m in cfg.modalities
        })
        self.specific = nn.ModuleDict({m: _code(cfg.dim) for m in cfg.modalities} if "specific" in cfg.kinds else {})
        self.invariant = _code(cfg.dim) if "invariant" in cfg.kinds else None

        tokens = len(cfg.kinds) * len(cfg.modalities)
        self.absent = nn.Parameter(torch.zeros(tokens, cfg.dim))  # stands where a missing modality's tokens would
        self.attention = None
        if cfg.fusion == "attention":
            self.attention = nn.TransformerEncoderLayer(cfg.dim, cfg.attention_heads, cfg.attention_width,
                                                        cfg.attention_dropout, batch_first=True)
        width = tokens * cfg.dim
        self.classifier = nn.Sequential(nn.Linear(width, width // 2), nn.Dropout(cfg.classifier_dropout), nn.ReLU(),
                                        nn.Linear(width // 2, 2))
        # Codes lie close to one half when training begins: without the norm the heads hardly moved in 100 steps.
        self.heads = nn.ModuleDict({
            m: nn.Sequential(nn.LayerNorm(cfg.dim), nn.Linear(cfg.dim, 1)) for m in cfg.modalities
        })
        direct = {m: nn.Linear(widths[m], 1, bias=False) for m in cfg.modalities} if cfg.direct else {}
        self.direct, self.direct_whole = nn.ModuleDict(direct), nn.ModuleDict(copy.deepcopy(direct))

    def forward(self, faces: Tensor | None, audio: Tensor | None, lips: Tensor | None = None,
                face_seen: Tensor | None = None, lips_seen: Tensor | None = None,
                length_s: Tensor | None = None, heard_s: Tensor | None = None) -> Output:
        """Score a batch: tensors as in `Inputs`."""
        return self.tell(self.encode(Inputs(faces, lips, audio, face_seen, lips_seen, length_s, heard_s)))

    def encode(self, inputs: Inputs) -> Features:
        """What the encoders make of the windows; differentiable.

        Raises ValueError when a shape is not the config's.
        """
        cfg = self.cfg
        faces = bands = bands_seen = speech = None
        if inputs.faces is not None:
            _check("faces", inputs.faces, (cfg.frames, 3, cfg.face_px, cfg.face_px))
            faces = self.cfg.read_faces(self.face_encoder(inputs.faces.flatten(0, 1)))  # n·frames values
            faces = faces.unflatten(0, inputs.faces.shape[:2])
        if inputs.audio is not None:
            _check("audio", inputs.audio, (cfg.samples,))
            bands = log_bands(inputs.audio, self.bank)
            lengths = None
            if cfg.masked and inputs.sound_s is not None:
                lengths = (inputs.sound_s * AUDIO_HZ).round().long().clamp(FRAME_SAMPLES, cfg.samples)
                bands_seen = torch.arange(bands.shape[1], device=bands.device) < band_frames(lengths)[:, None]
            if self.speech_encoder is not None:
                speech = self.speech_encoder(inputs.audio, lengths)
        lips = inputs.lips if cfg.lips else None
        if lips is not None:
            _check("lips", lips, (cfg.lips, 3, cfg.lips_px, cfg.lips_px))
        face_seen, lips_seen = (inputs.face_seen, inputs.lips_seen) if cfg.masked else (None, None)
        return Features(faces, face_seen, bands, bands_seen, speech, lips, lips_seen)

    def summaries(self, features: Features) -> dict[str, Tensor]:
        """"faces" and "sound", those that are there: statistics over time (n, D), before they are whitened."""
        found = {}
        if features.faces is not None:
            found["faces"] = statistics(features.faces.float(), features.face_seen, deviations=False)
        if features.speech is not None and self.whiten_speech is not None:
            found["sound"] = self._heard(features.speech.float(), features.bands.float(), features.bands_seen)
        return found

    def _heard(self, speech: Tensor, bands: Tensor, seen: Tensor | None) -> Tensor:
        """(n, D): what is read of a sound beside the convolutions."""
        seen = torch.ones(bands.shape[:2], dtype=torch.bool, device=bands.device) if seen is None else seen
        return how_restless(speech, at_half_rate(seen, speech.shape[1]), self.cepstral_net.cepstra(bands, seen), seen)

    @property
    def whitening(self) -> dict[str, Whiten]:
        """Of what `summaries` gives."""
        return {"faces": self.whiten_faces} | ({} if self.whiten_speech is None else {"sound": self.whiten_speech})

    @torch.no_grad()
    def start_head(self, name: str, weights: Tensor) -> None:
        """Let a head ("video", "audio" or "whole") of a network with `direct` say these log-odds of the whitened
        features, whatever the codes are: weights of the components of faces, of sound, or (whole) of both."""
        direct, last = ((self.direct_whole, self.classifier[-1]) if name == "whole" else
                        (self.direct, self.heads[name][-1]))
        sizes = {"video": self.whiten_faces.out_dim, "audio": self.whiten_speech.out_dim}
        own = list(sizes) if name == "whole" else [name]
        for modality, part in zip(own, weights.split([sizes[modality] for modality in own])):
            line = direct[modality].weight  # 1 width: what is frozen comes last
            line.zero_()
            line[0, -len(part):] = part.to(line)
        last.weight.zero_()

    def tell(self, features: Features) -> Output:
        """The paper's part: codes, fusion, logits.

        Raises ValueError when all modalities are missing.
        """
        vectors = self._vectors(features)
        projected = {m: self.project[m](x) for m, x in vectors.items()}
        if not projected:
            raise ValueError("faces, lips and audio are all missing; at least one is needed")
        codes = {
            "specific": {m: self.specific[m](x) for m, x in projected.items()} if self.specific else {},
            "invariant": {m: self.invariant(x) for m, x in projected.items()} if self.invariant else {},
        }
        two_class = self.classifier(self._fuse(codes).flatten(1))
        read = codes["specific"] or codes["invariant"]
        told = {m: (head(read[m]) + self.direct[m](vectors[m]) if self.direct else head(read[m]))[:, 0]
                for m, head in self.heads.items() if m in read}
        picture = [told[m] for m in ("video", "lips") if m in told]
        whole = two_class[:, FAKE] - two_class[:, REAL]
        if self.direct_whole:
            whole = whole + sum(self.direct_whole[m](x)[:, 0] for m, x in vectors.items())
        return Output(sum(picture) if picture else None, told.get("audio"), whole, **codes)

    def _vectors(self, features: Features) -> dict[str, Tensor]:
        """Modality -> (n, width), in the order of the tokens; those that are there."""
        summaries, vectors = self.summaries(features), {}
        if features.bands is not None:
            vectors["audio"] = self.cepstral_net(features.bands.float(), features.bands_seen)
            if self.whiten_speech is not None:
                heard = self.drop_features(self.whiten_speech(summaries["sound"]))
                vectors["audio"] = torch.cat([vectors["audio"], heard], dim=1)
        if features.faces is not None:
            vectors["video"] = self.drop_features(self.whiten_faces(summaries["faces"]))
        if features.lips is not None and self.lip_net is not None:
            vectors["lips"] = self.lip_net(features.lips, features.lips_seen)
        return vectors

    def _fuse(self, codes: dict[str, dict[str, Tensor]]) -> Tensor:
        """The tokens after attention, each in its place (n, tokens, dim); `absent` where there is none."""
        places = [(kind, m) for kind in self.cfg.kinds for m in self.cfg.modalities]  # p_a, p_v, c_a, c_v
        there = [place for place, (kind, m) in enumerate(places) if m in codes[kind]]
        tokens = torch.stack([codes[kind][m] for kind, m in (places[place] for place in there)], dim=1)
        if self.attention is not None:
            tokens = self.attention(tokens)
        absent = self.absent.expand(len(tokens), -1, -1)
        return torch.stack([tokens[:, there.index(place)] if place in there else absent[:, place]
                            for place in range(len(places))], dim=1)


def _code(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, dim), nn.Sigmoid())


def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape[1:]) != shape:
        raise ValueError(f"{name} must be (n, {', '.join(map(str, shape))}), not {tuple(tensor.shape)}")


def build(card: dict) -> MISAVoiDD:
    """The network that card["architecture"], `asdict` of a config, describes; weights still random."""
    architecture = {k: tuple(v) if isinstance(v, list) else v for k, v in card["architecture"].items()}
    cfg = MISAVoiDDConfig(**architecture)
    speech = SpeechEncoder() if cfg.speech_encoder else None
    if cfg.face_encoder == "xception":
        return MISAVoiDD(cfg, XceptionFrames(), speech)
    return MISAVoiDD(cfg, FaceEncoder(cfg.face_px), speech)


def example(config: MISAVoiDDConfig) -> tuple[Tensor, ...]:
    """One window of zeros, as `forward` takes it, on torch's default device."""
    faces = torch.zeros(1, config.frames, 3, config.face_px, config.face_px)
    lips = (torch.zeros(1, config.lips, 3, config.lips_px, config.lips_px),) if config.lips else ()
    return faces, torch.zeros(1, config.samples), *lips


# ------------------------------------------------------------------------------------------- training


def orthogonal_loss(a: Tensor, b: Tensor) -> Tensor:
    """How much two codes (n, d) of the same clips share [MISA, DiffLoss; the paper's Eq. 10 sums it].

    Each is centred over the batch, its rows scaled to length 1 (without a slope); then the mean of the squares of
    AᵀB: ‖AᵀB‖²_F / d².
    """
    def rows(x: Tensor) -> Tensor:
        x = x - x.mean(0)
        return x / (x.detach().norm(dim=1, keepdim=True) + 1e-6)

    return (rows(a).T @ rows(b)).square().mean()


def similarity_loss(a: Tensor, b: Tensor, moments: int = 5) -> Tensor:
    """Central moment discrepancy of two sets of codes (n, d), (m, d) in [0, 1] [MISA]:
    ‖E a − E b‖ + Σ_{k=2..moments} ‖E (a − E a)^k − E (b − E b)^k‖."""
    centred_a, centred_b = a - a.mean(0), b - b.mean(0)
    return (a.mean(0) - b.mean(0)).norm() + sum(
        (centred_a.pow(k).mean(0) - centred_b.pow(k).mean(0)).norm() for k in range(2, moments + 1)
    )


def invariant_loss(a: Tensor, b: Tensor, pulled: Tensor | None = None) -> Tensor:
    """Mean of 1 − cos between the codes of a clip, (n, d) each, over the clips that are pulled (n,) bool; 0 where none
    is. The paper's form is unknown: INFERRED."""
    apart = 1 - F.cosine_similarity(a, b)
    if pulled is None:
        return apart.mean()
    return (apart * pulled).sum() / pulled.sum().clamp(min=1)


@dataclass(frozen=True)
class LossWeights:
    """The paper's sum of four [paper], with MISA's weights; its own are unknown."""

    heads: float = 1.0  # ours: video and audio, each
    orthogonal: float = 0.3  # [MISA]
    similarity: float = 1.0  # [MISA]
    invariant: float = 1.0  # INFERRED
    smoothing: float = 0.0  # of the labels; ours
    pull: str = "genuine"  # whose invariant codes are pulled together: "genuine" clips alone, or "all"

    def __post_init__(self):
        if self.pull not in ("genuine", "all"):
            raise ValueError(f"pull is one of genuine, all, not {self.pull!r}")


def mis_avoidd_loss(
    out: Output, video_fake: Tensor, audio_fake: Tensor, sync_fake: Tensor, weights: LossWeights = LossWeights()
) -> tuple[Tensor, dict[str, Tensor]]:
    """The training loss and its unweighted parts (detached) for one batch.

    video_fake, audio_fake, sync_fake: (n,) float, 1 fake, 0 genuine, NaN unknown; unknown ones are left out of every
    term that has a label. `whole` is fake where either modality is; where one is missing from the batch, where the
    other one is. Sound that does not belong to the picture is no fake of either, but such a clip is not pulled
    together. Terms whose modality or whose codes are missing are absent from the parts.
    """
    fake = {"video": video_fake, "audio": audio_fake}
    there = [labels for name, labels in fake.items() if getattr(out, name) is not None]
    fake["whole"] = either_fake(*there) if len(there) == 2 else there[0]
    parts = {
        name: (1.0 if name == "whole" else weights.heads, smoothed_bce(logit, fake[name], weights.smoothing))
        for name in ("whole", "video", "audio") if (logit := getattr(out, name)) is not None
    }
    apart = [(out.specific[m], out.invariant[m]) for m in out.specific if m in out.invariant]
    apart += combinations(out.specific.values(), 2)
    if apart:
        parts["orthogonal"] = weights.orthogonal, sum(orthogonal_loss(a, b) for a, b in apart)
    if together := list(combinations(out.invariant.values(), 2)):
        genuine = (video_fake == 0) & (audio_fake == 0) & (sync_fake == 0)
        pulled = genuine if weights.pull == "genuine" else torch.ones_like(genuine)
        parts["similarity"] = weights.similarity, _mean(similarity_loss(a, b) for a, b in together)
        parts["invariant"] = weights.invariant, _mean(invariant_loss(a, b, pulled) for a, b in together)
    total = sum(weight * part for weight, part in parts.values())
    return total, {name: part.detach() for name, (_, part) in parts.items()}


def _mean(values) -> Tensor:
    return torch.stack(list(values)).mean()


# ------------------------------------------------------------------------------------------- the detector


class MISAVoiDDDetector:
    """A loaded network behind the contract of detectors/contract.py.

    card["calibration"] may hold {"video" | "audio" | "whole": {"scale": a, "bias": b}}: sigmoid(a·logit + b).
    """

    id = "mis_avoidd"

    def __init__(self, model: MISAVoiDD, card: dict, spec: InputSpec = SHIPPED_SPEC,
                 device: str | torch.device = "cpu"):
        self.model = model.to(device).eval()
        self.card, self.spec, self.device = card, spec, torch.device(device)
        self.camera_layers = {"face": self.model.face_encoder.camera_layer}

    def score(self, windows: Windows, batch_size: int = 4) -> WindowScores:
        """P(fake) per window: video and audio NaN where the window lacks them, whole where it lacks both."""
        scores = score_windows(windows, self.logits, ("video", "audio", "whole"), batch_size, self.device)
        # No sync score: summaries without an order in time cannot tell that the sound is late.
        return WindowScores(windows.start_s, windows.end_s, scores["video"], scores["audio"], None,
                            scores["whole"], windows.track_id)

    def logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Of the heads whose modality is there; whole always."""
        out = self.model.tell(self.model.encode(inputs))
        told = {name: logit for name in ("video", "audio", "whole") if (logit := getattr(out, name)) is not None}
        return calibrated(self.card, told)


def load_detector(state: dict[str, Tensor], card: dict, device: str | torch.device = "cpu") -> MISAVoiDDDetector:
    """The detector of a checkpoint. Strict: every weight must be there, and no other.

    Raises: RuntimeError when the weights are not those of the card's architecture.
    """
    model = build(card)
    model.load_state_dict(state, strict=True)
    return MISAVoiDDDetector(model, card, InputSpec(**{**card["input_spec"], "modalities": ("video", "audio")}), device)
