r"""DeepfakeTIMIT (Korshunov and Marcel 2018): 640 face swaps of 32 people (16 pairs), with VidTIMIT's genuine clips.

ROOT holds {higher_quality,lower_quality}/SUBJECT/SENTENCE-video-OTHER.avi (faceswap-GAN at 128 or 64 px) with
SENTENCE.wav beside them, and real/SUBJECT/SENTENCE.avi, which VidTIMIT does not ship: it has JPEG frames without an
ending in SUBJECT/video/SENTENCE/ and SUBJECT/audio/SENTENCE.wav. Join them once, clip by clip:
    ffmpeg -framerate 25 -f image2 -c:v mjpeg -i SUBJECT/video/SENTENCE/%03d -i SUBJECT/audio/SENTENCE.wav \
        -c copy real/SUBJECT/SENTENCE.avi
Only the 32 swapped people of VidTIMIT's 43 are read. The sound is genuine throughout, so an audio head can learn
nothing here. Without real/ the fakes alone are read, and that is logged.

To get it: zenodo 4068245 (Idiap, research licence); conradsanderson.id.au/vidtimit.
Protocol: none official; the same people are genuine and fake, so split by identity (splits.split_identities keeps a
pair of people together; papers use 24/3/5 people). Metrics: AUC, accuracy, EER, for each quality alone.
"""

from __future__ import annotations

import logging
from pathlib import Path

from training.datasets.record import Record, keep_present, whole_spans

logger = logging.getLogger(__name__)

QUALITIES = {"higher_quality": "faceswap-gan-128", "lower_quality": "faceswap-gan-64"}


def read_df_timit(root: Path) -> list[Record]:
    """Raises: FileNotFoundError."""
    fakes = [_record(path, root) for quality in QUALITIES for path in sorted(root.glob(f"{quality}/*/*-video-*.avi"))]
    if not fakes:
        raise FileNotFoundError(f"{root} does not look like DeepfakeTIMIT: expected higher_quality/SUBJECT/"
                                "SENTENCE-video-OTHER.avi or lower_quality/... in it")
    swapped = {person for fake in fakes for person in fake.identities}
    genuine = [_record(path, root) for path in sorted(root.glob("real/*/*.avi")) if path.parent.name in swapped]
    if not genuine:
        logger.warning("%s: no genuine clips in real/SUBJECT/SENTENCE.avi; see the docstring of %s", root, __name__)
    return keep_present(genuine + fakes, root)


def _record(path: Path, root: Path) -> Record:
    quality, subject, name = path.relative_to(root).parts
    sentence, _, other = Path(name).stem.partition("-video-")
    fake = float(bool(other))
    return Record(
        file=f"{quality}/{subject}/{name}", dataset="df_timit", family="face_swap" if fake else "real",
        method=QUALITIES.get(quality, ""), source="VidTIMIT", identities=(subject, other) if other else (subject,),
        pair=f"{subject}/{sentence}", video_fake=fake, audio_fake=0.0, spans=whole_spans(fake, 0.0),
    )
