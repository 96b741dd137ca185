"""What the generators are trained towards: losses between what was made and what was recorded, and two critics."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from media import AUDIO_HZ
from training.pretrained import load_lite0


@dataclass(frozen=True)
class Attempt:
    """One batch, made again: what the critic compares, and the losses by name."""

    made: Tensor
    true: Tensor
    losses: dict[str, Tensor]


# ---- pictures: (N, 3, H, W) in [0, 1] -----------------------------------------------------------------------------


def dissimilarity(made: Tensor, true: Tensor, window_px: int = 7) -> Tensor:
    """(1 - SSIM) / 2 at every pixel, (N, 3, H, W) (Wang et al., 2004), over square windows cut off at the border."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, window_px, 1, window_px // 2, count_include_pad=False)

    made_mean, true_mean = mean(made), mean(true)
    made_var = mean(made * made) - made_mean**2
    true_var = mean(true * true) - true_mean**2
    covariance = mean(made * true) - made_mean * true_mean
    c1, c2 = 0.01**2, 0.03**2
    ssim = ((2 * made_mean * true_mean + c1) * (2 * covariance + c2)
            / ((made_mean**2 + true_mean**2 + c1) * (made_var + true_var + c2)))
    return (1 - ssim) / 2


def edge_difference(made: Tensor, true: Tensor) -> Tensor:
    """Mean absolute difference of the differences between neighbours: a blurred picture pays here."""
    error = made - true
    return (error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()) / 2


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """values (N, C, H, W), weights (N or 1, 1, H, W) -> scalar."""
    return (values * weights).sum() / (weights.expand_as(values).sum() + 1e-6)


class FeatureDifference(nn.Module):
    """How differently a frozen EfficientNet-Lite0 sees two pictures (perceptual loss, Johnson et al., ECCV 2016)."""

    BLOCKS = 3  # maps at 1/2, 1/4 and 1/8 of the picture: texture and parts, not what the picture is of

    def __init__(self) -> None:
        super().__init__()
        lite0 = load_lite0()
        self.stem = nn.Sequential(lite0.conv_stem, lite0.bn1)
        self.blocks = lite0.blocks[: self.BLOCKS]

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        """Mean over stages of the absolute difference, each channel relative to its own size -> scalar."""
        differences = []
        for made_map, true_map in zip(self._maps(made), self._maps(true)):
            size = true_map.detach().abs().mean((0, 2, 3), keepdim=True) + 1e-3
            differences.append(((made_map - true_map) / size).abs().mean())
        return torch.stack(differences).mean()

    def train(self, mode: bool = True) -> FeatureDifference:
        return super().train(False)  # its norms keep ImageNet's statistics

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        x = self.stem(2 * pictures - 1)
        maps = []
        for block in self.blocks:
            x = block(x)
            maps.append(x)
        return maps


class PatchCritic(nn.Module):
    """(N, 3, H, W) -> a verdict per patch of 46 px (PatchGAN, Isola et al., CVPR 2017); spectral normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width)
        self.layers = nn.Sequential(
            *(layer for i, o in zip(widths, widths[1:])
              for layer in (spectral_norm(nn.Conv2d(i, o, 4, 2, 1)), nn.LeakyReLU(0.2))),
            spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1)))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        return [self.layers(2 * pictures - 1)]


# ---- sound: (N, samples) in [-1, 1] -------------------------------------------------------------------------------

RESOLUTIONS = ((512, 128), (1024, 256), (256, 64))  # (window, hop) in samples


def spectrum(sound: Tensor, window: int, hop: int) -> Tensor:
    """(N, samples) -> complex (N, window / 2 + 1, T), Hann windows."""
    return torch.stft(sound.float(), window, hop, window=torch.hann_window(window, device=sound.device),
                      return_complex=True)


def spectral_difference(made: Tensor, true: Tensor) -> Tensor:
    """Multi-resolution STFT loss: spectral convergence + log magnitude (Yamamoto et al., ICASSP 2020)."""
    total = made.new_zeros(())
    for window, hop in RESOLUTIONS:
        made_size, true_size = (spectrum(s, window, hop).abs().clamp_min(1e-5) for s in (made, true))
        total = total + (torch.linalg.vector_norm(made_size - true_size)
                         / torch.linalg.vector_norm(true_size).clamp_min(1e-3))
        total = total + (made_size.log() - true_size.log()).abs().mean()
    return total / len(RESOLUTIONS)


class MelDifference(nn.Module):
    """Mean absolute difference of log-mel spectrograms (80 bands, 64 ms windows)."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(AUDIO_HZ, n_fft=1024, hop_length=256, n_mels=80, power=1.0)

    def forward(self, made: Tensor, true: Tensor) -> Tensor:
        made_mel, true_mel = (self.mel(s.float()).clamp_min(1e-4).log() for s in (made, true))
        return (made_mel - true_mel).abs().mean()


class SpectrogramCritic(nn.Module):
    """(N, samples) -> verdicts over time and frequency at two resolutions, from real and imaginary parts
    (after the multi-scale STFT discriminator of Défossez et al., 2022, arXiv 2210.13438), so that phase counts."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.towers = nn.ModuleList(nn.Sequential(
            spectral_norm(nn.Conv2d(2, width, (7, 3), (2, 1), (3, 1))), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, width, (7, 3), (2, 2), (3, 1))), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, width, (7, 3), (2, 2), (3, 1))), nn.LeakyReLU(0.2),
            spectral_norm(nn.Conv2d(width, 1, 3, padding=1)),
        ) for _ in RESOLUTIONS[:2])

    def forward(self, sound: Tensor) -> list[Tensor]:
        verdicts = []
        for tower, (window, hop) in zip(self.towers, RESOLUTIONS):
            parts = torch.view_as_real(spectrum(sound, window, hop)).movedim(-1, 1)  # (N, 2, bands, T)
            size = torch.linalg.vector_norm(parts, dim=1, keepdim=True).clamp_min(1e-5)
            verdicts.append(tower(parts * size**-0.7))  # magnitudes to the power 0.3: quiet bands count too
        return verdicts


# ---- the game with a critic (hinge loss; Lim & Ye, 2017, arXiv 1705.02894) ----------------------------------------


def critic_loss(critic: nn.Module, made: Tensor, true: Tensor) -> Tensor:
    made_verdicts, true_verdicts = critic(made.detach()), critic(true)
    return sum(F.relu(1 + m).mean() + F.relu(1 - t).mean()
               for m, t in zip(made_verdicts, true_verdicts)) / len(made_verdicts)


def persuasion_loss(critic: nn.Module, made: Tensor) -> Tensor:
    """What the generator pays for being recognised."""
    verdicts = critic(made)
    return -sum(v.mean() for v in verdicts) / len(verdicts)
