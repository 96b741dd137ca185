"""MMMS-BA: face, lips and sound attend to each other across the sequences of a clip (arXiv 2408.01532).

    face  ─ encoder ─ Bi-GRU ─ dense ─► V ─┐  V,L: softmax(V Lᵀ) L ⊙ V, softmax(L Vᵀ) V ⊙ L ─┐
    lips  ─ encoder ─ Bi-GRU ─ dense ─► L ─┼► V,A: the same                                  ├► fake or not,
    sound ─ encoder ─ Bi-GRU ─ dense ─► A ─┘  L,A: the same        ... beside V, L, A ───────┘  start, end
                                              (each row a sequence of 0.32 s)                   of each sequence

What is built. The paper [paper] spells out everything from the GRUs to the heads, and nothing before: no sequence
length, no crop size, no features, no encoder. The authors' repository [code] reads files that it lacks. What neither
tells is INFERRED:
- `PAPER`: sequences of 0.32 s (8 pictures at 25 Hz), 24 of them; a ResNet-18 for the face (224 px) and another for the
  lips (96 px), 512 numbers averaged in a sequence; 64 log-mel bands averaged in it. No layer between the 900-wide
  concatenation and the two heads (Fig. 2 draws some and gives no width; [code] has none). Boundaries are distances in
  seconds from the sequence's centre back to the start and on to the end; ReLU keeps them from crossing it. They begin
  at 0.5 s, for a ReLU that begins below 0 never learns.
- The softmax is masked and the GRUs run over the sequences that are there, so that padding changes nothing. In [code]
  padded steps take part in the softmax.
- Dot products are not scaled (Eq. 2). The values are sums over 100 rectified numbers; they can saturate.

Departures of `SHIPPED`, which has some thousand clips to learn from instead of 78,703:
- Features come from frozen encoders that were trained on other things: V is the first stages of EfficientNet-Lite0,
  averaged over the inner regions of one face per sequence; L is what the lip half of a lip-sound pair tells
  (detectors.sync), mean and deviation over 8 crops, beside the energy of the lip picture and of its change per octave
  (generated mouths are blurred, blended and still); A is how much DistillMOS' rows and linear cepstra change
  (detectors.restless).
- How well lips and sound agree stands beside the concatenation: around the sequence, and over the window.
- Of each part's features the first 64 principal components over the training clips, of equal spread, go into a GRU of
  64 and a dense layer of 32 (the concatenation is 288 wide, not 900).
- The speech encoder hears a window without its padding, for it attends over all that it is given.
- Two more heads of ours, "video" on V and L and "audio" on A, so that a segment can name its modality. "sync" is
  SyncPair.mismatch_logit, not trained here: evidence of MISMATCH only. Sound-driven fakes are in better sync than
  genuine clips are, so good sync says nothing.
- Where a part of a clip was forged is told by a linear map of ours (`StandOut`) from how its sequences differ from
  their own window: a person, a camera and a codec are the same throughout a clip, so what is forged of it stands out of
  the clip itself far more than of all clips. That stretch is proposed beside the spans of the paper's heads.
- The paper calls a clip fake if any sequence is: a maximum, whose false alarms grow with the length of the clip. Here
  the more suspicious half of the sequences decides (detectors.segments.clip_score).

MISSING MODALITY. Each sequence has its own presence of face, lips and sound: clips without sound, or a face that is
lost for seconds. An absent sequence is no step of its GRU and no key of any attention. Where one side of a pair is
absent, what the pair would have given, and what the side itself would have, is 0 in the concatenation, as ReLU and
gate give where they find nothing. Nothing that stands at an absent place can change the answer. Training hides
modalities at random (training.lessons.mmms_ba), so the heads know such rows. With one modality alone no pair is left:
the heads read its own context.

POLARITY. Two classes, 1 = fake. What leaves this file is P(fake), and logits are fake minus genuine.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio.functional as AF
from torch import Tensor, nn
from torchvision.models import resnet18

from detectors.contract import Inputs, InputSpec, Segment, Windows, WindowScores
from detectors.encoders import (
    INNER,
    REGIONS,
    ROW_SAMPLES,
    RUN_DEPTHS,
    TEXTURES,
    FaceEncoder,
    SpeechEncoder,
    part_of,
)
from detectors.proposals import soft_nms
from detectors.recall import encode_once
from detectors.restless import (
    AUDIO_HZ,
    CEPSTRA,
    FILTERS,
    FRAME_SAMPLES,
    HOP_SAMPLES,
    cepstra,
    filter_bank,
    how_restless,
    log_bands,
    restless_values,
)
from detectors.scoring import batches, calibrated, to_inputs
from detectors.sync import (
    LEAST,
    MOST,
    NEAR,
    STEP_HZ,
    SyncConfig,
    SyncPair,
    agreement,
    band_energies,
    best_offset,
    compare,
    evidence_at,
    mel_filters,
    read_config,
)
from detectors.whitening import Whiten

NAME, CITATION = "MMMS-BA", "arXiv 2408.01532"
GENUINE, FAKE = 0, 1  # class order of the two-class head
PARTS = ("face", "lips", "audio")  # V, L, A
AROUND = 5  # sequences over which the agreement of lips and sound is told around each
HEADS = ("whole", "video", "audio", "sync")


@dataclass(frozen=True)
class MMMSBAConfig:
    """The architecture. JSON-able by `dataclasses.asdict`, read back by `build`."""

    sequences: int = 24  # N
    sequence_s: float = 0.32
    faces: int = 8  # pictures per sequence
    face_px: int = 224
    lips: int = 8  # per sequence
    lips_px: int = 96
    parts: tuple[str, ...] = PARTS  # two of them: Table 7
    attention: str = "bi-modal"  # "mmus-sa": over the modalities of a sequence; "ms-sa": within each modality (§7.2)
    encoder: str = "resnet18"  # or "pretrained"
    mels: int = 64  # of the resnet18 configuration
    face_regions: tuple[str, ...] = REGIONS  # of the pretrained one, as the next two: what is read of a face ...
    face_depths: tuple[int, int] = RUN_DEPTHS  # ... in maps from the first of these to before the last
    sync: SyncConfig = SyncConfig()
    components: int = 0  # principal components of the encoder's features that each GRU reads; 0: the features
    contrasts: int = 0  # and of how a sequence differs from its window, which StandOut reads; 0: there is none
    input_dropout: float = 0.0
    hidden: int = 300  # per direction
    dense: int = 100
    dropout: float = 0.3
    agreement: bool = False  # of lips and sound, beside the concatenation
    modality_heads: bool = False

    def __post_init__(self):
        if not set(self.parts) <= set(PARTS) or len(set(self.parts)) != len(self.parts) or len(self.parts) < 2:
            raise ValueError(f"parts are two or three of {', '.join(PARTS)}, not {self.parts}")
        if self.attention not in ("bi-modal", "mmus-sa", "ms-sa"):
            raise ValueError(f"attention is 'bi-modal', 'mmus-sa' or 'ms-sa', not {self.attention!r}")
        if self.contrasts and self.encoder != "pretrained":
            raise ValueError("contrasts need the pretrained encoder")
        if self.encoder not in ("resnet18", "pretrained"):
            raise ValueError(f"encoder is 'resnet18' or 'pretrained', not {self.encoder!r}")
        if self.agreement and (self.encoder != "pretrained" or not {"lips", "audio"} <= set(self.parts)):
            raise ValueError("agreement needs the pretrained encoder, lips and audio")

    @property
    def window_s(self) -> float:
        return self.sequences * self.sequence_s

    @property
    def samples(self) -> int:
        return round(self.window_s * AUDIO_HZ)

    @property
    def spec(self) -> InputSpec:
        """Windows overlap by half. Seconds without a face are masked, so few faces are enough."""
        return InputSpec(
            window_s=self.window_s, hop_s=self.window_s / 2, frames=self.sequences * self.faces, face_px=self.face_px,
            audio_hz=AUDIO_HZ, modalities=("video", "audio"), lips=self.sequences * self.lips, lips_px=self.lips_px,
            stretch=False, least_face_share=0.2)


PAPER = MMMSBAConfig()
SHIPPED = replace(PAPER, faces=1, face_px=160, lips_px=48, encoder="pretrained", face_regions=INNER,
                  face_depths=TEXTURES, components=64, contrasts=48, input_dropout=0.2, hidden=64, dense=32,
                  agreement=True, modality_heads=True)
SPEC, SHIPPED_SPEC = PAPER.spec, SHIPPED.spec


class Features(NamedTuple):
    """What the encoders tell of each sequence; None where a modality is missing from the whole batch.

    Rows where a mask is False count for nothing, whatever stands there.
    """

    face: Tensor | None = None  # (n, N, dim)
    lips: Tensor | None = None  # (n, N, dim)
    audio: Tensor | None = None  # (n, N, dim)
    face_there: Tensor | None = None  # (n, N) bool, as the next two
    lips_there: Tensor | None = None
    audio_there: Tensor | None = None
    lip_steps: Tensor | None = None  # (n, N, 8, d) unit vectors of SyncPair, 25 a second
    lip_steps_there: Tensor | None = None  # (n, N, 8) bool
    sound_steps: Tensor | None = None  # (n, N, 8, d)
    voice: Tensor | None = None  # (n, N, 200) means of the speech encoder's rows; they tell the source, see StandOut


class Output(NamedTuple):
    """Logits are fake minus genuine; (n, N) per sequence. None where the network or the input has no such thing."""

    classes: Tensor  # (n, N, 2) logits of genuine and fake
    boundaries: Tensor  # (n, N, 2) seconds from the sequence's centre back to the start and on to the end, >= 0
    video: Tensor | None  # (n, N)
    audio: Tensor | None  # (n, N)
    mismatch: Tensor | None  # (n,) logit that lips and sound do not belong together; NaN where it cannot be told
    agreement: Tensor | None  # (n, 2 MOST + 1) mean similarity of lips and sound by offset; -inf where unknown
    outstanding: dict[str, Tensor]  # "video" and "audio", those that StandOut tells: (n, N) logits
    picture_there: Tensor  # (n, N) bool: face or lips
    sound_there: Tensor  # (n, N) bool

    @property
    def whole(self) -> Tensor:
        return self.classes[..., FAKE] - self.classes[..., GENUINE]

    @property
    def there(self) -> Tensor:
        return self.picture_there | self.sound_there


# ------------------------------------------------------------------------------------------- encoders


def inside(length_s: Tensor | None, like: Tensor, count: int, each_s: float) -> Tensor:
    """(n, count) bool: parts of each_s whose middle lies within the first length_s [n] seconds; None: all."""
    if length_s is None:
        return torch.ones(len(like), count, dtype=torch.bool, device=like.device)
    middles_s = (torch.arange(count, device=like.device) + 0.5) * each_s
    return middles_s < length_s[:, None]


def _seen(seen: Tensor | None, like: Tensor, inside: Tensor) -> Tensor:
    """Pictures by sequence, (n, N, k) bool: those that were seen, of sequences that lie inside the clip."""
    n, sequences = inside.shape
    seen = torch.ones(like.shape[:2], dtype=torch.bool, device=like.device) if seen is None else seen
    return seen.reshape(n, sequences, -1) & inside[..., None]


def mean_std(x: Tensor, there: Tensor) -> Tensor:
    """Mean and deviation over what is there of each sequence: (n, N, k, d), (n, N, k) -> (n, N, 2 d)."""
    there = there[..., None]
    count = there.sum(2).clamp(min=1)
    mean = (x * there).sum(2) / count
    variance = ((x - mean[:, :, None]).square() * there).sum(2) / count
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=-1)


class ResNetEncoder(nn.Module):
    """INFERRED: mean ResNet-18 features of face and lips, and mean log-mel, per sequence. Weights start at random."""

    def __init__(self, cfg: MMMSBAConfig):
        super().__init__()
        self.cfg = cfg
        self.pictures = nn.ModuleDict({part: resnet18(weights=None) for part in cfg.parts if part != "audio"})
        for network in self.pictures.values():
            network.fc = nn.Identity()
        self.register_buffer("mel", mel_filters(cfg.mels), persistent=False)
        self.dims = {"face": 512, "lips": 512, "audio": cfg.mels}

    def forward(self, inputs: Inputs) -> Features:
        cfg, told = self.cfg, {}
        for part, pictures, seen in (("face", inputs.faces, inputs.face_seen), ("lips", inputs.lips, inputs.lips_seen)):
            if pictures is not None and part in self.pictures:
                there = _seen(seen, pictures, inside(inputs.length_s, pictures, cfg.sequences, cfg.sequence_s))
                x = self.pictures[part](pictures.flatten(0, 1)).reshape(*there.shape, -1)  # n N k 512
                told[part] = (x * there[..., None]).sum(2) / there.sum(2, keepdim=True).clamp(min=1)
                told[f"{part}_there"] = there.any(2)
        if inputs.audio is not None and "audio" in cfg.parts:
            log_mel = (band_energies(inputs.audio, self.mel) + 1e-5).log()  # n frames mels
            told["audio"] = log_mel.unflatten(1, (cfg.sequences, -1)).mean(2)
            told["audio_there"] = inside(inputs.sound_s, inputs.audio, cfg.sequences, cfg.sequence_s)
        return Features(**told)


OCTAVES = 4


def octave_energies(pictures: Tensor) -> Tensor:
    """(..., H, W) -> (..., OCTAVES): log mean square of what each halving of the picture takes away, finest first."""
    shape = pictures.shape[:-2]
    x, energies = pictures.reshape(-1, 1, *pictures.shape[-2:]), []
    for _ in range(OCTAVES):
        coarse = F.avg_pool2d(x, 2)
        detail = x - F.interpolate(coarse, size=x.shape[-2:], mode="nearest")
        energies.append((detail.square().mean((1, 2, 3)) + 1e-6).log())
        x = coarse
    return torch.stack(energies, dim=-1).reshape(*shape, OCTAVES)


class PretrainedEncoder(nn.Module):
    """Frozen encoders of face, lips and sound, summed up per sequence. Differentiable in its inputs."""

    def __init__(self, cfg: MMMSBAConfig):
        super().__init__()
        self.cfg = cfg
        self.face = FaceEncoder() if "face" in cfg.parts else None
        self.speech = SpeechEncoder() if "audio" in cfg.parts else None
        self.pair = SyncPair(cfg.sync)
        self.requires_grad_(False)
        self.dims = {"lips": 2 * (cfg.sync.dim + OCTAVES) + OCTAVES}
        if self.face is not None:
            told = torch.empty(0, self.face.rows, self.face.dim)
            self.dims["face"] = part_of(told, cfg.face_regions, cfg.face_depths).shape[1]
        if self.speech is not None:
            self.dims["audio"] = restless_values(self.speech.dim, CEPSTRA)
            self.register_buffer("bank", filter_bank("linear", FILTERS), persistent=False)
            self.register_buffer("dct", AF.create_dct(CEPSTRA, FILTERS, "ortho"), persistent=False)
        self.eval()

    def train(self, mode: bool = True) -> PretrainedEncoder:
        return super().train(False)  # batch norms stay as they were trained

    def forward(self, inputs: Inputs) -> Features:
        cfg, told = self.cfg, {}
        if inputs.faces is not None and "face" in cfg.parts:
            here = inside(inputs.length_s, inputs.faces, cfg.sequences, cfg.sequence_s)
            told |= self.face_features(self.face(inputs.faces.flatten(0, 1)).unflatten(0, inputs.faces.shape[:2]),
                                       _seen(inputs.face_seen, inputs.faces, here))
        if inputs.lips is not None and "lips" in cfg.parts:
            here = inside(inputs.length_s, inputs.lips, cfg.sequences, cfg.sequence_s)
            told |= self.lip_features(inputs.lips, _seen(inputs.lips_seen, inputs.lips, here))
        if inputs.audio is not None and "audio" in cfg.parts:
            here = inside(inputs.sound_s, inputs.audio, cfg.sequences, cfg.sequence_s)
            told |= self.sound_features(inputs.audio, self._hear(inputs.audio, inputs.sound_s), here)
        return Features(**told)

    def _hear(self, audio: Tensor, sound_s: Tensor | None) -> Tensor:
        """SpeechEncoder's rows of each window, (n, rows, 200). It attends over all that it is given, so it is given the
        sound and no padding; the last row stands for the rows after its end, which are masked."""
        if sound_s is None:
            return self.speech(audio)
        samples = (sound_s * AUDIO_HZ).round().long().clamp(max=audio.shape[1])
        rows = audio.new_zeros(len(audio), audio.shape[1] // ROW_SAMPLES, self.speech.dim)
        for count in samples.unique().tolist():
            told = self.speech(audio[samples == count, :count])
            rows[samples == count] = torch.cat(
                [told, told[:, -1:].expand(-1, rows.shape[1] - told.shape[1], -1)], dim=1)
        return rows

    def face_features(self, told: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """FaceEncoder's answers (n, N·k, rows, C), seen (n, N, k) -> fields of Features: the mean of each sequence."""
        x = part_of(told, self.cfg.face_regions, self.cfg.face_depths).unflatten(1, seen.shape[1:])  # n N k values
        mean = (x * seen[..., None]).sum(2) / seen.sum(2, keepdim=True).clamp(min=1)
        return {"face": mean, "face_there": seen.any(2)}

    def lip_features(self, lips: Tensor, seen: Tensor) -> dict[str, Tensor]:
        """lips (n, N·k, 3, px, px) in [0, 1], seen (n, N, k) -> fields of Features.

        A sequence has lips where two crops in a row were seen: one alone tells nothing of movement.
        """
        lips = lips * seen.flatten(1)[..., None, None, None]
        vectors = self.pair.encode_lips(lips).unflatten(1, seen.shape[1:])  # n N k d
        grey = lips.mean(2).unflatten(1, seen.shape[1:])  # n N k px px
        still = octave_energies(grey)  # n N k OCTAVES
        change = octave_energies(grey[:, :, 1:] - grey[:, :, :-1])  # n N k-1 OCTAVES
        both = seen[:, :, 1:] & seen[:, :, :-1]
        moving = (change * both[..., None]).sum(2) / both.sum(2, keepdim=True).clamp(min=1)
        summary = mean_std(torch.cat([vectors, still], dim=-1), seen)
        return {"lips": torch.cat([summary, moving], dim=-1), "lips_there": both.any(2),
                "lip_steps": vectors, "lip_steps_there": seen}

    def sound_features(self, audio: Tensor, speech: Tensor, there: Tensor) -> dict[str, Tensor]:
        """audio (n, N·5120), SpeechEncoder's rows of it (n, N·16, 200), there (n, N) -> fields of Features."""
        vectors = self.pair.encode_sound(audio).unflatten(1, (there.shape[1], -1))  # n N 8 d
        rows = speech.unflatten(1, (there.shape[1], -1))  # n N 16 200
        return {"audio": self._how_restless(audio, rows), "audio_there": there, "sound_steps": vectors,
                "voice": rows.mean(2)}

    def _how_restless(self, audio: Tensor, rows: Tensor) -> Tensor:
        """audio (n, N·5120), rows (n, N, 16, 200) -> (n, N, D), each sequence by itself."""
        n, sequences = rows.shape[:2]
        frames = audio.shape[1] // HOP_SAMPLES // sequences
        bands = log_bands(F.pad(audio, (0, FRAME_SAMPLES - HOP_SAMPLES)), self.bank)  # n N·32 FILTERS
        bands = bands.reshape(n * sequences, frames, -1)
        seen = torch.ones(bands.shape[:2], dtype=torch.bool, device=audio.device)
        told = how_restless(rows.flatten(0, 1), seen[:, :rows.shape[2]], cepstra(bands, seen, self.dct), seen)
        return told.unflatten(0, (n, sequences))


ENCODERS = {"resnet18": ResNetEncoder, "pretrained": PretrainedEncoder}


# ------------------------------------------------------------------------------------------- the network


class Context(nn.Module):
    """[paper §3.2] Bi-GRU over the sequences, dropout, dense layer shared over time, ReLU, dropout.

    (n, N, dim), there (n, N) -> (n, N, dense), 0 where nothing is there. Sequences that are there are brought
    together, in order for one direction and in reverse for the other, so that gaps and padding are no steps at all.
    """

    def __init__(self, dim: int, cfg: MMMSBAConfig):
        super().__init__()
        self.whiten = Whiten(dim, cfg.components) if cfg.components else nn.Identity()
        self.input_dropout = nn.Dropout(cfg.input_dropout)
        self.ahead = nn.GRU(cfg.components or dim, cfg.hidden, batch_first=True)
        self.back = nn.GRU(cfg.components or dim, cfg.hidden, batch_first=True)
        self.dropout = nn.Dropout(cfg.dropout)
        self.dense = nn.Linear(2 * cfg.hidden, cfg.dense)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        x = x.masked_fill(~there[..., None], 0.0)
        x = self.input_dropout(self.whiten(x))
        place = torch.arange(there.shape[1], device=x.device).expand_as(there)
        ahead = _in_order(self.ahead, x, torch.where(there, place, place + there.shape[1]))
        back = _in_order(self.back, x, torch.where(there, -place, place + there.shape[1]))
        y = self.dense(self.dropout(torch.cat([ahead, back], dim=2))).relu()
        return self.dropout(y).masked_fill(~there[..., None], 0.0)


def _in_order(gru: nn.GRU, x: Tensor, rank: Tensor) -> Tensor:
    """The GRU's answer to the steps of x (n, N, d) taken in ascending rank (n, N), each put back in its place."""
    order = rank.argsort(dim=1)
    y, _ = gru(x.gather(1, order[..., None].expand_as(x)))
    back = order.argsort(dim=1)
    return y.gather(1, back[..., None].expand_as(y))


def attend(query: Tensor, key: Tensor, there: Tensor) -> Tensor:
    """[Eqs. 2-5] softmax(query keyᵀ) key, not scaled: (..., N, d), (..., M, d), there (..., M) bool -> (..., N, d).

    Keys that are not there get no weight; 0 where none is.
    """
    there = there[..., None, :]
    products = (query @ key.transpose(-1, -2)).masked_fill(~there, torch.finfo(query.dtype).min)
    return (products.softmax(-1) * there) @ key


def bi_modal(x: Tensor, y: Tensor, x_there: Tensor, y_there: Tensor) -> Tensor:
    """[Eqs. 2-7] What each modality finds in the other, gated by itself: (n, N, d) twice -> (n, N, 2 d)."""
    return torch.cat([attend(x, y, y_there) * x, attend(y, x, x_there) * y], dim=-1)


class StandOut(nn.Module):
    """Ours: a linear map per modality from how each sequence differs from its own window to the logit that it alone was
    forged. Of a clip that was forged throughout it says nothing, for there nothing differs.

    For "video" it reads what the encoder tells of faces; for "audio" the means of the speech encoder's rows, which tell
    voice and room, and so the web site of a clip, but stay the same throughout a genuine one. Nothing of it is trained
    by steps: it is fitted as a whole, and tells nothing before (training.lessons.mmms_ba).
    """

    SOURCES = {"video": ("face", "face_there"), "audio": ("voice", "audio_there")}  # noqa: RUF012 (never changed)

    def __init__(self, dims: dict[str, int], cfg: MMMSBAConfig):
        """dims: modality -> width of its source, of those that there are."""
        super().__init__()
        self.whiten = nn.ModuleDict({modality: Whiten(dim, cfg.contrasts) for modality, dim in dims.items()})
        self.maps = nn.ModuleDict({modality: nn.Linear(cfg.contrasts, 1) for modality in dims})
        for line in self.maps.values():
            nn.init.zeros_(line.weight)
        self.requires_grad_(False)

    def contrasts(self, features: Features, modality: str) -> tuple[Tensor, Tensor] | None:
        """How each sequence differs from the mean of those that are there (n, N, d), 0 elsewhere; and which are
        there (n, N). None where the modality is missing."""
        x, there = (getattr(features, name) for name in self.SOURCES[modality])
        if x is None:
            return None
        x = x.masked_fill(~there[..., None], 0.0)
        return (x - x.sum(1, keepdim=True) / there.sum(1).clamp(min=1)[:, None, None]) * there[..., None], there

    def forward(self, features: Features) -> dict[str, Tensor]:
        """Modality -> (n, N), those that are there."""
        given = {modality: found for modality in self.maps if (found := self.contrasts(features, modality))}
        return {modality: self.maps[modality](self.whiten[modality](apart)).squeeze(-1)
                for modality, (apart, _) in given.items()}


class MMMSBA(nn.Module):
    """Encoders and, from `tell` on, what the paper describes. Three parts: face (V), lips (L), audio (A)."""

    def __init__(self, cfg: MMMSBAConfig = PAPER):
        super().__init__()
        self.cfg = cfg
        self.encoder = ENCODERS[cfg.encoder](cfg)
        self.contexts = nn.ModuleDict({part: Context(self.encoder.dims[part], cfg)
                                       for part in cfg.parts})
        self.pairs = tuple(combinations(cfg.parts, 2))
        gated = 2 * len(self.pairs) if cfg.attention == "bi-modal" else len(cfg.parts)
        width = (gated + len(cfg.parts)) * cfg.dense
        self.whiten_agreement = Whiten(2) if cfg.agreement else None
        width += 2 if cfg.agreement else 0
        self.head_class = nn.Linear(width, 2)
        self.head_boundary = nn.Linear(width, 2)
        nn.init.constant_(self.head_boundary.bias, 0.5)
        self.stand_out = None
        if cfg.contrasts:
            dims = {"video": self.encoder.dims.get("face"), "audio": getattr(self.encoder.speech, "dim", None)}
            self.stand_out = StandOut({name: dim for name, dim in dims.items() if dim}, cfg)
        self.head_video = self.head_audio = None
        if cfg.modality_heads:
            self.head_video = nn.Linear(cfg.dense * sum(part != "audio" for part in cfg.parts), 1)
            if "audio" in cfg.parts:
                self.head_audio = nn.Linear(cfg.dense, 1)

    def forward(self, faces: Tensor | None, lips: Tensor | None, audio: Tensor | None, face_seen: Tensor | None = None,
                lips_seen: Tensor | None = None, length_s: Tensor | None = None,
                heard_s: Tensor | None = None) -> Output:
        """A batch of windows, as detectors.contract.Inputs describes them.

        Raises: ValueError when nothing that the network reads is there, or a shape is not the config's.
        """
        return self.tell(self.encode(Inputs(faces, lips, audio, face_seen, lips_seen, length_s, heard_s)))

    def encode(self, inputs: Inputs) -> Features:
        """What the encoders tell of a batch of windows. Raises: ValueError for a shape that is not the config's."""
        cfg = self.cfg
        for name, shape in (("faces", (cfg.sequences * cfg.faces, 3, cfg.face_px, cfg.face_px)),
                            ("lips", (cfg.sequences * cfg.lips, 3, cfg.lips_px, cfg.lips_px)),
                            ("audio", (cfg.samples,))):
            given = getattr(inputs, name)
            if given is not None and given.shape[1:] != shape:
                raise ValueError(f"{name} must be (n, {', '.join(map(str, shape))}), not {tuple(given.shape)}")
        told = (encode_once(self._encode_part, part)._asdict() for part in (
            Inputs(faces=inputs.faces, face_seen=inputs.face_seen, length_s=inputs.length_s),
            Inputs(lips=inputs.lips, lips_seen=inputs.lips_seen, length_s=inputs.length_s),
            Inputs(audio=inputs.audio, length_s=inputs.sound_s)))
        return Features(**{name: value for part in told for name, value in part.items() if value is not None})

    def _encode_part(self, inputs: Inputs) -> Features:
        if inputs.audio is not None and inputs.sound_s is not None:  # what comes after the sound is none of it
            at_s = torch.arange(self.cfg.samples, device=inputs.audio.device) / AUDIO_HZ
            inputs = inputs._replace(audio=inputs.audio * (at_s < inputs.sound_s[:, None]))
        return self.encoder(inputs)

    def tell(self, features: Features) -> Output:
        """From features to logits. Raises: ValueError when no part that the network reads is there."""
        cfg = self.cfg
        given = [part for part in cfg.parts if getattr(features, part) is not None]
        if not given:
            raise ValueError(f"MMMS-BA reads {', '.join(cfg.parts)}; none of them is there")
        like = getattr(features, given[0])
        nothing = like.new_zeros(*like.shape[:2], cfg.dense), like.new_zeros(like.shape[:2], dtype=torch.bool)
        context, there = {}, {}
        for part in cfg.parts:
            context[part], there[part] = nothing
            if part in given:
                there[part] = getattr(features, f"{part}_there")
                context[part] = self.contexts[part](getattr(features, part), there[part])

        joined = self._attention(context, there) + list(context.values())
        synced = self._sync(features)
        if cfg.agreement:
            joined.append(like.new_zeros(*like.shape[:2], 2) if synced is None else
                          self.whiten_agreement(synced.evidence).masked_fill(~synced.known[..., None], 0.0))
        joined = torch.cat(joined, dim=-1)  # 900 wide in the paper
        pictures = [part for part in cfg.parts if part != "audio"]
        video = audio = None
        if self.head_video is not None and any(part in given for part in pictures):
            video = self.head_video(torch.cat([context[part] for part in pictures], dim=-1)).squeeze(-1)
        if self.head_audio is not None and "audio" in given:
            audio = self.head_audio(context["audio"]).squeeze(-1)
        return Output(
            self.head_class(joined), self.head_boundary(joined).relu(), video, audio,
            None if synced is None else synced.mismatch, None if synced is None else synced.agreement,
            {} if self.stand_out is None else self.stand_out(features),
            torch.stack([there[part] for part in pictures]).any(0), there.get("audio", nothing[1]))

    def _attention(self, context: dict[str, Tensor], there: dict[str, Tensor]) -> list[Tensor]:
        if self.cfg.attention == "bi-modal":
            return [bi_modal(context[a], context[b], there[a], there[b]) for a, b in self.pairs]
        if self.cfg.attention == "ms-sa":
            return [attend(x, x, there[part]) * x for part, x in context.items()]
        x = torch.stack(list(context.values()), dim=2)  # n N parts d: each sequence by itself
        return list((attend(x, x, torch.stack(list(there.values()), dim=2)) * x).unbind(2))

    def _sync(self, features: Features) -> Synced | None:
        """How lips and sound agree, at the window's own best offset; None where one of them is missing."""
        if features.lip_steps is None or features.sound_steps is None or self.cfg.encoder != "pretrained":
            return None
        known = features.lip_steps_there & (features.lips_there & features.audio_there)[..., None]
        alike, there = compare(features.lip_steps.flatten(1, 2), features.sound_steps.flatten(1, 2), known.flatten(1))
        mean, steps = agreement(alike, there), there.sum(-1)  # n offsets
        offset = best_offset(mean, NEAR)
        window, counted = evidence_at(mean, steps, offset)

        reach = AROUND // 2
        sums, counts = (F.pad(x.unflatten(2, known.shape[1:]).sum(3), (reach, reach)).unfold(2, AROUND, 1).sum(3)
                        .transpose(1, 2) for x in (alike * there, there))  # n N offsets
        nearby = torch.where(counts > 0, sums / counts.clamp(min=1), -torch.inf)
        local, local_steps = evidence_at(nearby, counts, offset[:, None])
        told = (local_steps >= LEAST) & local.isfinite()
        evidence = torch.stack([local, window[:, None].expand_as(local)], dim=-1)
        return Synced(torch.where(told[..., None], evidence, 0.0), told,
                      self.encoder.pair.mismatch_logit(window, counted), mean)

    @torch.no_grad()
    def fit_whitening(self, features: Features) -> None:
        """Whiten each part by its figures, over what is there, in features of training clips."""
        for part in self.cfg.parts:
            x, there = getattr(features, part), getattr(features, f"{part}_there")
            if self.cfg.components and x is not None and there.any():
                self.contexts[part].whiten.fit(x[there])
        synced = self._sync(features) if self.cfg.agreement else None
        if synced is not None and synced.known.any():
            self.whiten_agreement.fit(synced.evidence[synced.known])

    def spans(self, boundaries: Tensor) -> Tensor:
        """Output.boundaries (n, N, 2) -> start and end (n, N, 2) in seconds of the window, not cut off at its ends."""
        centres_s = (torch.arange(boundaries.shape[1], device=boundaries.device) + 0.5) * self.cfg.sequence_s
        return torch.stack([centres_s - boundaries[..., 0], centres_s + boundaries[..., 1]], dim=-1)


class Synced(NamedTuple):
    """What SyncPair tells of a window."""

    evidence: Tensor  # (n, N, 2) lead of the window's best offset: in the AROUND sequences here, and over the window
    known: Tensor  # (n, N) bool
    mismatch: Tensor  # (n,) logit
    agreement: Tensor  # (n, 2 MOST + 1)


def build(card: dict) -> MMMSBA:
    """The network that card["architecture"], `asdict` of a config, describes; weights still random."""
    architecture = {k: tuple(v) if isinstance(v, list) else v for k, v in card["architecture"].items()}
    return MMMSBA(MMMSBAConfig(**{**architecture, "sync": read_config(architecture["sync"])}))


def example(config: MMMSBAConfig) -> tuple[Tensor, Tensor, Tensor]:
    """One window that MMMSBA(config).forward takes: faces, lips, audio, all zero."""
    return (torch.zeros(1, config.sequences * config.faces, 3, config.face_px, config.face_px),
            torch.zeros(1, config.sequences * config.lips, 3, config.lips_px, config.lips_px),
            torch.zeros(1, config.samples))


# ------------------------------------------------------------------------------------------- training


def focal_loss(logit: Tensor, fake: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """-α_t (1 - p_t)^γ log p_t of each (Lin et al., ICCV 2017); α and γ are [code]'s. α weighs the fake ones.

    logit: fake minus genuine, so that p is the softmax of the two. fake in {0, 1}, the same shape.
    """
    signed = torch.where(fake == 1, logit, -logit)
    weight = torch.where(fake == 1, alpha, 1 - alpha)
    return -weight * torch.sigmoid(-signed) ** gamma * F.logsigmoid(signed)


def diou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """1 - IoU + (distance of the centres)² / (length of what encloses both)², (..., 2) start and end -> (...).

    [paper] names DIoU in §4.2, and cites GIoU in §3.4. [code] divides by the summed lengths instead.
    """
    both = (torch.minimum(predicted[..., 1], true[..., 1]) - torch.maximum(predicted[..., 0], true[..., 0])).relu()
    either = (predicted[..., 1] - predicted[..., 0]) + (true[..., 1] - true[..., 0]) - both
    enclosing = torch.maximum(predicted[..., 1], true[..., 1]) - torch.minimum(predicted[..., 0], true[..., 0])
    apart = (predicted.sum(-1) - true.sum(-1)) / 2
    return 1 - both / either.clamp(min=1e-6) + apart.square() / enclosing.square().clamp(min=1e-6)


def over_fakes(values: Tensor, fake: Tensor, per: str = "clip") -> Tensor:
    """[Eq. 8] Σ values / N_f, with N_f = max(number of fake sequences, 1), which Eq. 8 lacks: 0 without a fake one.

    values (n, N), fake (n, N) bool. per "clip": of each clip, then the mean over the batch; "batch": of the batch as
    one, as the loss that [code] bundles has it: a genuine clip then weighs no more than a fake one.
    """
    if per == "batch":
        return values.sum() / fake.sum().clamp(min=1)
    return (values.sum(1) / fake.sum(1).clamp(min=1)).mean()


class Targets(NamedTuple):
    """Truth of each sequence: 1 fake, 0 genuine, NaN unknown; (n, N)."""

    whole: Tensor
    video: Tensor
    audio: Tensor
    spans: Tensor  # (n, N, 2) start and end of the fake span around the sequence, in seconds of the window; else NaN


@dataclass(frozen=True)
class LossWeights:
    alpha: float = 0.25  # [code]
    gamma: float = 2.0  # [code]
    regression: float = 1.0  # λ_reg of Eq. 8
    per: str = "clip"  # whose fake sequences N_f counts: see over_fakes
    heads: float = 1.0  # of ours: cross-entropy of the video and the audio head


def mmms_ba_loss(out: Output, spans: Tensor, targets: Targets,
                 weights: LossWeights = LossWeights()) -> tuple[Tensor, dict[str, Tensor]]:
    """The training loss and its unweighted parts (detached). spans (n, N, 2): MMMSBA.spans of the output.

    Unknown sequences, and those where nothing is there, are left out of every term.
    """
    known = out.there & ~targets.whole.isnan()
    fake = known & (targets.whole == 1)
    bounded = fake & ~targets.spans.isnan().any(-1)
    classes = focal_loss(out.whole, targets.whole, weights.alpha, weights.gamma) * known
    true = torch.where(bounded[..., None], targets.spans, spans.detach())  # no NaN may enter, not even times 0
    parts = {"class": (1.0, over_fakes(classes, fake, weights.per)),
             "boundary": (weights.regression, over_fakes(diou_loss(spans, true) * bounded, fake, weights.per))}
    for name, there in (("video", out.picture_there), ("audio", out.sound_there)):
        logit, truth = getattr(out, name), getattr(targets, name)
        if logit is not None and (told := there & ~truth.isnan()).any():
            parts[name] = weights.heads, F.binary_cross_entropy_with_logits(logit[told], truth[told])
    total = sum(weight * part for weight, part in parts.values())
    return total, {name: part.detach() for name, (_, part) in parts.items()}


# ------------------------------------------------------------------------------------------- the detector


class MMMSBADetector:
    """A loaded network behind the contract of detectors/contract.py.

    card["calibration"] may hold {head: {"scale": a, "bias": b}}: sigmoid(a·logit + b) of each sequence.
    """

    id = "mmms_ba"

    def __init__(self, model: MMMSBA, card: dict, spec: InputSpec | None = None, device: str | torch.device = "cpu"):
        self.model = model.to(device).eval()
        self.card, self.spec, self.device = card, spec or model.cfg.spec, torch.device(device)
        encoder = getattr(self.model.encoder, "face", None)
        self.camera_layers = {"face": encoder.camera_layer} if isinstance(encoder, FaceEncoder) else {}

    def score(self, windows: Windows, batch_size: int = 2) -> WindowScores:
        """P(fake) of every sequence of the clip, the mean where windows overlap; and segments.

        Heads are NaN where a sequence lacks their modality. The answer does not depend on the batch size.
        """
        outputs = ((rows, self.model(*to_inputs(windows, rows, self.device))) for rows in batches(windows, batch_size))
        return self.join(outputs, windows.start_s, windows.end_s, windows.track_id)

    def logits(self, inputs: Inputs) -> dict[str, Tensor]:
        """Per window, of the more suspicious half of its sequences: the logit of their mean P(fake), so that a clip
        of one window gets the same number here as detectors.segments.clip_score makes of its sequences."""
        told = self._per_sequence(self.model(*inputs))
        return {head: most_suspicious(logit, there) for head, (logit, there) in told.items()}

    def _per_sequence(self, out: Output) -> dict[str, tuple[Tensor, Tensor]]:
        """Head -> calibrated logit (n, N), and where it is told (n, N). Sync is one number per window."""
        told = {"whole": (out.whole, out.there)}
        if out.video is not None:
            told["video"] = out.video, out.picture_there
        if out.audio is not None:
            told["audio"] = out.audio, out.sound_there
        if out.mismatch is not None:
            mismatch = out.mismatch[:, None].expand_as(out.whole)
            told["sync"] = mismatch, out.picture_there & out.sound_there & ~mismatch.isnan()
        logits = calibrated(self.card, {head: logit for head, (logit, _) in told.items()})
        return {head: (logits[head], there) for head, (_, there) in told.items()}

    @torch.inference_mode()
    def join(self, outputs: Iterable[tuple[np.ndarray, Output]], start_s: np.ndarray, end_s: np.ndarray,
             track_id: int | None = None) -> WindowScores:
        """The scores of a clip from what the network told of its windows: (rows, output of these rows), start_s [n]
        and end_s [n] of the windows."""
        cfg = self.model.cfg
        heads = ("whole", *(("video", "audio") if cfg.modality_heads else ()),
                 *(("sync",) if cfg.encoder == "pretrained" else ()))
        told = {head: np.full((len(start_s), cfg.sequences), np.nan) for head in heads}
        apart = {name: np.full((len(start_s), cfg.sequences), np.nan) for name in ("video", "audio")}  # logits
        spans_s = np.full((len(start_s), cfg.sequences, 2), np.nan)
        agreements = []
        for rows, out in outputs:
            for head, (logit, there) in self._per_sequence(out).items():
                told[head][rows] = logit.double().sigmoid().masked_fill(~there, torch.nan).cpu().numpy()
            for name, logit in out.outstanding.items():
                there = out.picture_there if name == "video" else out.sound_there
                apart[name][rows] = logit.double().masked_fill(~there, torch.nan).cpu().numpy()
            spans_s[rows] = self.model.spans(out.boundaries).double().cpu().numpy() + start_s[rows, None, None]
            if out.agreement is not None:
                agreements.append(out.agreement.double().cpu().numpy())
        timeline = Timeline.of(start_s, end_s, cfg)
        scores = {head: timeline.mean(told[head]) if head in told else None for head in HEADS}
        return WindowScores(
            timeline.start_s, timeline.end_s, scores["video"], scores["audio"], scores["sync"], scores["whole"],
            track_id, propose(timeline, spans_s, told["whole"], scores, track_id,
                              {name: timeline.mean(logit) for name, logit in apart.items()}), _offset_s(agreements))


def most_suspicious(logit: Tensor, there: Tensor) -> Tensor:
    """Logit of the mean P(fake) over the higher half of what is there: (n, N) twice -> (n,); NaN where nothing is.

    As detectors.segments.clip_score, and differentiable.
    """
    ordered = logit.masked_fill(~there, -torch.inf).sort(dim=1, descending=True).values
    count = there.sum(1)
    taken = torch.arange(logit.shape[1], device=logit.device) < (count - count // 2)[:, None]
    ordered = ordered.masked_fill(~taken, 0.0)  # no infinity may enter what follows, for its gradient's sake
    least = torch.finfo(logit.dtype).min
    fake = F.logsigmoid(ordered).masked_fill(~taken, least).logsumexp(1)
    genuine = F.logsigmoid(-ordered).masked_fill(~taken, least).logsumexp(1)
    return torch.where(count > 0, fake - genuine, torch.nan)


def _offset_s(agreements: list[np.ndarray]) -> float | None:
    """The offset at which lips and sound agree best over all windows [n, offsets]; None where it cannot be told."""
    known = [row for rows in agreements for row in rows if np.isfinite(row).all()]
    return float(np.mean(known, axis=0).argmax() - MOST) / STEP_HZ if known else None


def load_detector(state: dict[str, Tensor], card: dict, device: str | torch.device = "cpu") -> MMMSBADetector:
    """The detector of a checkpoint. Strict: every weight must be there, and no other.

    Raises: RuntimeError when the weights are not those of the card's architecture.
    """
    model = build(card)
    model.load_state_dict(state, strict=True)
    return MMMSBADetector(model, card, InputSpec(**{**card["input_spec"], "modalities": ("video", "audio")}), device)


# ------------------------------------------------------------------------------------------- segments


LEAST_SCORE = 0.01  # of a proposal
LEAST_S = 0.1  # of a proposal
OUTSTANDING = 0.4  # of the way from a clip's median logit to its highest: what lies above stands out


@dataclass(frozen=True)
class Timeline:
    """The sequences of all windows of a clip on one grid of m sequences, which the first window begins."""

    start_s: np.ndarray  # [m]
    end_s: np.ndarray  # [m]; the last one ends with the clip
    bins: np.ndarray  # [n, N] where each sequence of each window lies, by its middle
    last: np.ndarray  # [n] where the last sequence of each window lies that is inside the clip
    window_start_s: np.ndarray  # [n]
    window_end_s: np.ndarray  # [n]

    @staticmethod
    def of(start_s: np.ndarray, end_s: np.ndarray, cfg: MMMSBAConfig) -> Timeline:
        """start_s [n] and end_s [n] of the windows."""
        begin_s, each_s = start_s.min(), cfg.sequence_s
        count = max(int(np.ceil((end_s.max() - begin_s) / each_s - 0.5)), 1)
        starts_s = begin_s + each_s * np.arange(count)
        middles = (start_s[:, None] - begin_s) / each_s + np.arange(cfg.sequences) + 0.5
        last = np.ceil((end_s - begin_s) / each_s - 0.5).astype(int) - 1
        return Timeline(starts_s, np.append(starts_s[1:], end_s.max()),
                        np.minimum(np.floor(middles).astype(int), count - 1), np.clip(last, 0, count - 1),
                        start_s, end_s)

    def mean(self, values: np.ndarray) -> np.ndarray:
        """[n, N] -> [m]: over the windows that tell; NaN where none does."""
        known = np.isfinite(values)
        count = np.bincount(self.bins[known], minlength=len(self.start_s))
        total = np.bincount(self.bins[known], values[known], minlength=len(self.start_s))
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    def central(self, values: np.ndarray) -> np.ndarray:
        """[n, N] -> [m]: row · N + column of the window that tells and in whose middle the sequence lies the most; -1
        where none tells. There the network sees most of what comes before and after."""
        n, sequences = values.shape
        off_centre = np.abs(np.arange(sequences) + 0.5 - sequences / 2)
        order = np.argsort(np.tile(-off_centre, n), kind="stable")
        order = order[np.isfinite(values).ravel()[order]]
        place = np.full(len(self.start_s), -1)
        place[self.bins.ravel()[order]] = order  # of several, the last stays: the most central
        return place


def propose(timeline: Timeline, spans_s: np.ndarray, told: np.ndarray, scores: dict[str, np.ndarray | None],
            track_id: int | None, outstanding: dict[str, np.ndarray]) -> tuple[Segment, ...]:
    """Each sequence proposes the span that it tells, with its own score; soft-NMS puts repetitions behind.

    spans_s [n, N, 2] in seconds of the clip and told [n, N], P(fake), as the windows told them; scores: head -> [m] on
    the timeline; outstanding: modality -> StandOut's logits [m].
    Ours: a span that reaches the end of its window, where the clip goes on, takes over the end that the sequence at
    that place proposes, if that one is called fake too. So a clip that is fake throughout is one segment.
    Ours, too: what stands out of the clip in picture or sound (`stand_out`) is proposed beside them.
    """
    spans_s = np.clip(spans_s, timeline.window_start_s[:, None, None], timeline.window_end_s[:, None, None])
    whole, place = scores["whole"], timeline.central(told)
    known = np.flatnonzero(place >= 0)
    window = place[known] // told.shape[1]
    spans = np.full((len(whole), 2), np.nan)
    spans[known] = spans_s.reshape(-1, 2)[place[known]]
    each_s = timeline.start_s[1] - timeline.start_s[0] if len(whole) > 1 else 0.0

    begins_s, ends_s = timeline.window_start_s[window], timeline.window_end_s[window]
    goes_back = (spans[known, 0] < begins_s + each_s) & (begins_s > timeline.start_s[0])
    for at, source in zip(known[goes_back], timeline.bins[window[goes_back], 0]):  # from early to late
        if source < at and whole[source] >= 0.5:
            spans[at, 0] = min(spans[at, 0], spans[source, 0])
    goes_on = (spans[known, 1] > ends_s - each_s) & (ends_s < timeline.end_s[-1])
    for at, source in zip(known[goes_on][::-1], timeline.last[window[goes_on]][::-1]):  # from late to early
        if source > at and whole[source] >= 0.5:
            spans[at, 1] = max(spans[at, 1], spans[source, 1])

    able = known[spans[known, 1] - spans[known, 0] >= LEAST_S]
    spans, marks = spans[able], whole[able]
    modalities: list[str | None] = [None] * len(spans)
    for modality, logits in outstanding.items():
        if (found := stand_out(logits)) is not None:
            first, last, mark = found
            spans = np.append(spans, [[timeline.start_s[first], timeline.end_s[last]]], axis=0)
            marks, modalities = np.append(marks, mark), [*modalities, modality]
    taken, kept = soft_nms(spans, marks, least=LEAST_SCORE)
    segments = []
    for row, score in zip(taken, kept):
        modality = modalities[row] or _modality(timeline, spans[row], scores, "audio" if track_id is None else "video")
        segments.append(Segment(*map(float, spans[row]), float(score), modality,
                                None if modality == "audio" else track_id))
    return tuple(segments)


def stand_out(logits: np.ndarray) -> tuple[int, int, float] | None:
    """First and last of the sequences in a row that stand out of their clip, and the score of them; logits [m] of
    StandOut, NaN where it tells nothing. None where fewer than two are told, or all are alike.

    The stretch with the greatest sum of logits above the height that lies OUTSTANDING of the way from their median to
    the highest. Its score is the mean probability there.
    """
    known = np.isfinite(logits)
    if known.sum() < 2:
        return None
    middle, highest = np.median(logits[known]), logits[known].max()
    height = middle + OUTSTANDING * (highest - middle)
    above = np.append(0.0, np.where(known, logits - height, logits[known].min() - height).cumsum())
    least = np.minimum.accumulate(above)
    end = int((above - least).argmax())
    if above[end] <= least[end]:
        return None
    first = int(above[:end].argmin())
    inside = logits[first:end][known[first:end]]
    return first, end - 1, float((1 / (1 + np.exp(-inside))).mean())


def _modality(timeline: Timeline, span: np.ndarray, scores: dict[str, np.ndarray | None], otherwise: str) -> str:
    """The head that is highest in this span, on average over the sequences that it covers by half or more."""
    middles_s = (timeline.start_s + timeline.end_s) / 2
    covered = (middles_s >= span[0]) & (middles_s <= span[1])
    means = {head: float(np.nanmean(values[covered])) for head in ("video", "audio", "sync")
             if (values := scores[head]) is not None and np.isfinite(values[covered]).any()}
    return max(means, key=means.get) if means else otherwise
