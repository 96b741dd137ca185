"""One detector, one lesson: what a batch of it is, and what it is asked for. The loop is training/train.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Union

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from detectors.contract import Detector, WindowScores
from training.recipe import Recipe, read_recipes
from training.sampling import Sample, window_scores

Batch = dict[str, Tensor | None]


class Lesson(nn.Module):
    """What the loop needs to know of a detector. Everything that learns, `model` and helpers that are left behind
    after training, is a submodule: so it is moved, trained, saved and resumed without a word about it.

    A lesson is built as LESSONS[id](recipe, samples, noises): samples are those to learn from (training.sampling),
    noises are recordings without a voice, [samples] float32 at 16 kHz, for augmentation.
    """

    schema: ClassVar[type[Recipe]]  # the recipe whose `detector` is this id and whose `lesson` is this lesson's part
    reads_encoded: ClassVar[bool] = False  # it learns from what training.encode wrote, not from prepared samples
    model: nn.Module  # what is averaged, measured and written into the checkpoint

    def __init__(self, recipe: Recipe, samples: Sequence[Sample], noises: Sequence[np.ndarray] = ()) -> None:
        super().__init__()
        self.recipe, self.samples, self.noises = recipe, samples, noises

    def batch(self, step: int, rank: int, ranks: int) -> Batch:
        """The rows of process `rank` out of `ranks` of the batch of this step; recipe.batch counts those of all.

        Called in a worker process. Depends on the recipe's seed and on the arguments alone (exact resume), and all
        processes together draw what one alone would. Tensors lie on the CPU; a missing modality is None.
        """
        raise NotImplementedError

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch that lies on the model's device, and the detached terms that the log keeps."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """loss(batch): the loop calls the lesson itself, since it may be wrapped for several processes."""
        return self.loss(batch)

    def card(self) -> dict:
        """JSON-able: "architecture" and "input_spec", what the detector's module builds the model from again."""
        raise NotImplementedError

    def detector(self, model: nn.Module) -> Detector:
        """`model` (the lesson's own, or its average) behind the contract, in eval mode, with card() as its card."""
        raise NotImplementedError

    def weights(self, model: nn.Module) -> dict[str, Tensor]:
        """What the checkpoint holds of `model`: the detector's load_detector takes it."""
        return model.state_dict()

    def scores(self, model: nn.Module, samples: Sequence[Sample], windows: int) -> list[tuple[Sample, WindowScores]]:
        """Scores of held-out clips, at most so many evenly spread windows of each. A lesson that learns from cached
        features overrides this: its samples hold no faces for a detector to look at."""
        return window_scores(self.detector(model), samples, windows)


from training.lessons.joint_av import JointAVLesson  # noqa: E402
from training.lessons.mis_avoidd import MISAVoiDDLesson  # noqa: E402
from training.lessons.mmms_ba import MMMSBALesson  # noqa: E402
from training.lessons.ss_avd import SSAVDLesson  # noqa: E402

# id of a detector -> its lesson
LESSONS: dict[str, type[Lesson]] = {
    "joint_av": JointAVLesson,
    "mis_avoidd": MISAVoiDDLesson,
    "mmms_ba": MMMSBALesson,
    "ss_avd": SSAVDLesson,
}


def read_lessons(path: Path) -> list[Recipe]:
    """The recipes of one YAML file, one or more, each by the schema of its detector's lesson.

    Raises: ValueError in plain words for a missing file, bad YAML, a bad value, or no recipe at all.
    """
    schemas = tuple(lesson.schema for lesson in LESSONS.values())
    either = Annotated[Union[schemas], Field(discriminator="detector")] if len(schemas) > 1 else schemas[0]  # noqa: UP007
    recipes = read_recipes(path, either)
    if not recipes:
        raise ValueError(f"{path} holds no recipe")
    return recipes


def recipe_of(card: dict) -> Recipe:
    """The recipe that a run's checkpoint was trained by."""
    return LESSONS[card["recipe"]["detector"]].schema(**card["recipe"])
