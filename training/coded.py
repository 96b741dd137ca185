"""What was prepared, once more with its sound through a codec: phones, messengers and web sites leave their marks, too.

    python -m training.coded SHARDS --out CODED [--seed N] [--jobs N]

CODED gets a shard for each finished one of SHARDS, and in it each sample whose sound is known to be genuine or fake and
has a voice. The sound went through one codec and back, drawn for a clip and all that is compared with it: which codec
it was tells nothing about the class. The picture is left out, because nothing happened to it. What is learnt from sound
as it is alone takes a codec for manipulation (docs/experiments.md, 30).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from tqdm import tqdm

from media import AUDIO_HZ
from media.variants import Variant, write_sound
from training.facts import sound_facts
from training.sampling import LEAST_SPEECH_S
from training.shards import COMMAND, Packed, read_tensors, write_shard

TELEPHONE_HZ = 8_000


@dataclass(frozen=True)
class Codec:
    """One that media.variants can write, and between which bit rates it is used for voices."""

    name: str
    kbps: tuple[float, ...]  # lowest and highest; nothing: it has but one
    sound_hz: int = AUDIO_HZ


CODECS = (
    Codec("aac", (16, 64)), Codec("mp3", (24, 64)), Codec("opus", (6, 32)),
    Codec("amr", (4.75, 12.2), TELEPHONE_HZ), Codec("mulaw", (), TELEPHONE_HZ), Codec("pcm", (), TELEPHONE_HZ),
)


def draw_codec(rng: np.random.Generator) -> Variant:
    """Every codec alike, and of its bit rates the lower ones more often."""
    codec = CODECS[rng.integers(len(CODECS))]
    kbps = float(np.exp(rng.uniform(*np.log(codec.kbps)))) if codec.kbps else None
    told = f"{codec.name} {kbps:.1f} kb/s" if kbps else f"{codec.name} {codec.sound_hz / 1000:g} kHz"
    return Variant(told, f"Coding the sound ({told})", sound_codec=codec.name, sound_kbps=kbps, sound_hz=codec.sound_hz)


def through(codec: Variant, waveform: np.ndarray) -> np.ndarray:
    """waveform [samples] float32 at 16 kHz, coded and decoded; of the same length.

    Raises: av.FFmpegError.
    """
    with tempfile.TemporaryDirectory(prefix="telltale-") as folder:
        path = Path(folder) / "sound"
        write_sound(waveform, path, codec)
        resampler = av.AudioResampler("fltp", "mono", AUDIO_HZ)
        with av.open(str(path)) as made:
            frames = [part for frame in made.decode(audio=0) for part in resampler.resample(frame)]
        decoded = np.concatenate([part.to_ndarray()[0] for part in [*frames, *resampler.resample(None)]])
    missing = max(len(waveform) - len(decoded), 0)
    return np.pad(decoded, (0, missing))[:len(waveform)].astype(np.float32)


def code_sample(line: dict, tensors: dict[str, np.ndarray], seed: int) -> Packed:
    """A prepared sample, its line and tensors as training.shards has them -> its sound alone, through a drawn codec.

    Raises: av.FFmpegError.
    """
    alike = hashlib.sha256((line["pair"] or line["group"]).encode()).hexdigest()
    codec = draw_codec(np.random.default_rng((seed, int(alike[:12], 16))))
    waveform = through(codec, tensors["waveform"].astype(np.float32) / 32767)
    told = {name: value for name, value in line.items() if name not in ("shard", "offset", "bytes")}
    return Packed({
        **told, "coded": codec.id, "faces": 0, "video_fake": None, "sync_fake": None,
        "spans": [span for span in line["spans"] if span[0] == "audio"],
        "blocks": sorted({*line["blocks"], "video"}),
        "facts": {"duration_s": line["duration_s"],
                  **{name: round(float(fact), 5) for name, fact in sound_facts(waveform).items()}},
    }, {"waveform": np.round(np.clip(waveform, -1, 1) * 32767).astype(np.int16)})


def has_known_voice(line: dict) -> bool:
    """Whether a sample's sound teaches anything: training.sampling.Sample.has_sound, of its line."""
    return (line["audio_fake"] is not None and line["samples"] > 0 and line["speech_s"] >= LEAST_SPEECH_S
            and "audio" not in line["blocks"])


def code_shard(index: Path, out: Path, seed: int) -> int:
    """Writes the coded shard of this index; gives how many samples it has."""
    lines = [json.loads(text) for text in index.read_text(encoding="utf-8").splitlines()]
    taken = [line for line in lines if "skipped" not in line and has_known_voice(line)]
    samples = (code_sample(line, read_tensors(index.parent, line["shard"], line["offset"], line["bytes"]), seed)
               for line in taken)
    return len(write_shard(out / f"{index.stem}.tar", samples))


def code_all(source: Path, out: Path, seed: int, jobs: int) -> int:
    """Write the coded shards that are missing; gives how many samples were coded.

    Raises: FileNotFoundError without any shard.
    """
    indexes = sorted(source.glob("*.jsonl"))
    if not indexes:
        raise FileNotFoundError(f"{source} holds no shards; make some with python -m training.prepare")
    out.mkdir(parents=True, exist_ok=True)
    (out / COMMAND).write_text(f"python -m training.coded SHARDS --out CODED --seed {seed}\n", encoding="utf-8")
    todo = [index for index in indexes if not (out / index.name).is_file()]
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        done = pool.imap_unordered(partial(code_shard, out=out, seed=seed), todo)
        return sum(tqdm(done, total=len(todo), unit="shard", file=sys.stderr, mininterval=5))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.coded", description=__doc__.splitlines()[0])
    parser.add_argument("shards", type=Path, help="folder that training.prepare wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), help="processes, one core each")
    args = parser.parse_args(argv)
    if args.shards.resolve() == args.out.resolve():
        parser.error("--out must be another folder than SHARDS")
    try:
        coded = code_all(args.shards.resolve(), args.out.resolve(), args.seed, args.jobs)
    except FileNotFoundError as error:
        parser.error(str(error))
    print(f"samples {coded}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
