"""Contact sheets of trained generators, and figures beside them: how good are they?

    python -m training.forge.learnt.sheets DIR --samples SHARDS --out SHEETS
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from media.sound import log_mel
from training.forge.learnt import GENERATORS, load
from training.forge.learnt.genuine import Talk, read_genuine
from training.forge.learnt.inpainter import (
    HIDDEN_FROM,
    MOUTH_CENTRE,
    MOUTH_HALF,
    Inpainter,
    draw_mouths,
    mel_windows,
    mouth_mask,
)
from training.forge.learnt.repaint import ellipse
from training.forge.learnt.swapper import Swapper, draw_as, recoloured
from training.forge.learnt.vocoder import MELS, Vocoder, speak

_ROWS = 8  # clips on a sheet
_DRAWN_AS = 5  # other people that each is drawn as


def swapper_sheet(swapper: Swapper, talks: list[Talk], rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Per row: a face, itself drawn again, then as other people, recoloured and blended by the mask."""
    rows, errors = [], []
    for talk in talks[:_ROWS]:
        face = talk.faces[[rng.integers(len(talk.faces))]]
        own = swapper.identities.index(talk.identity)
        others = rng.choice([n for n in range(len(swapper.identities)) if n != own], _DRAWN_AS, replace=False)
        cells = [face[0]]
        for number in (own, *others):
            drawn, masks = draw_as(swapper, face, int(number))
            if number == own:
                errors.append(np.abs(drawn[0] - face[0])[masks[0] > 0.5].mean())
            mask = masks[0][..., None]
            cells.append(face[0] + mask * (recoloured(drawn[0], face[0], masks[0]) - face[0]))
        rows.append(np.hstack(cells))
    return np.vstack(rows), {"mean_error_as_oneself_of_255": float(np.mean(errors))}


def inpainter_sheet(inpainter: Inpainter, talks: list[Talk], rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Per row: a face, what is seen of it, the other moment, drawn to its own sound, and to another clip's.

    If the sound is listened to, the mouth is nearer to the true one with its own than with another.
    """
    side_px = inpainter.shape.side_px
    mouth = ellipse(side_px, MOUTH_CENTRE, MOUTH_HALF) > 0
    mask = mouth_mask(side_px, "box", 0.04 * side_px)[..., None]
    rows, errors = [], {"other_moment": [], "own_sound": [], "other_sound": []}
    for place, talk in enumerate(talks):
        at = rng.permutation(len(talk.faces))[:8]
        faces, others = talk.faces[at], talk.faces[np.roll(at, 1)]
        other_sound = talks[(place + 1) % len(talks)].waveform
        own, other = (draw_mouths(inpainter, faces, others, mel_windows(sound, talk.times_s[at]))
                      for sound in (talk.waveform, other_sound))
        for name, made in (("other_moment", others), ("own_sound", own), ("other_sound", other)):
            errors[name].append(np.abs(made.astype(float) - faces)[:, mouth].mean())
        if place < _ROWS:
            seen = faces[0].copy()
            seen[round(side_px * HIDDEN_FROM):] = 128
            blended = [faces[0] + mask * (made[0] - faces[0]) for made in (own, other)]
            rows.append(np.hstack([faces[0], seen, others[0], *blended]))
    return np.vstack(rows), {f"mouth_error_{name}_of_255": float(np.mean(e)) for name, e in errors.items()}


def vocoder_sheet(vocoder: Vocoder, talks: list[Talk], rng: np.random.Generator) -> tuple[np.ndarray, dict]:
    """Per row: two seconds as a mel spectrogram, recorded and made."""
    rows, errors = [], []
    for talk in talks[:_ROWS]:
        first = int(rng.integers(max(len(talk.waveform) - 32_000, 0) + 1))
        true = np.resize(talk.waveform[first:first + 32_000], 32_000)
        mel = log_mel(true, MELS).numpy()
        again = log_mel(speak(vocoder, mel, len(true)), MELS).numpy()
        errors.append(np.abs(again - mel).mean())
        pictures = [np.clip((m[::-1] + 12) / 16 * 255, 0, 255).astype(np.uint8) for m in (mel, again)]
        rows.append(np.hstack([cv2.applyColorMap(p, cv2.COLORMAP_MAGMA)[..., ::-1] for p in pictures]))
    return np.vstack(rows), {"mean_log_mel_error": float(np.mean(errors))}


SHEETS = {"swapper": swapper_sheet, "inpainter": inpainter_sheet, "vocoder": vocoder_sheet}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.forge.learnt.sheets", description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="where training.forge.learnt.train wrote them")
    parser.add_argument("--samples", type=Path, required=True, help="what training.prepare wrote")
    parser.add_argument("--out", type=Path, required=True, help="a folder; one PNG per generator")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in GENERATORS:
        generator = load(name, args.models)
        if generator is None:
            continue
        side_px = getattr(generator.shape, "side_px", None)
        talks = read_genuine(args.samples, side_px=side_px, sound=name != "swapper", most=40, seed=args.seed)
        rng = np.random.default_rng(args.seed)
        sheet, figures = SHEETS[name](generator, [talks[i] for i in rng.permutation(len(talks))], rng)
        sheet = np.clip(sheet, 0, 255).astype(np.uint8)
        cv2.imwrite(str(args.out / f"{name}.png"), sheet[..., ::-1])
        for key, value in figures.items():
            print(f"{name:10} {key:36} {value:.4g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
