"""The tasks: name -> the target that asks for it, its class and its settings. A literal dict, like the catalog."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.data.schema import (
    ClassTarget,
    EmbeddingTarget,
    IdentityTarget,
    InputTarget,
    LabelsTarget,
    MaskTarget,
    NumberTarget,
    SentenceTarget,
    SeriesTarget,
    Target,
    TokensTarget,
    TranscriptTarget,
)
from chainrule.errors import InputError, nearest
from chainrule.tasks.classify import Classify, ClassifyConfig
from chainrule.tasks.embed import Embed, EmbedConfig
from chainrule.tasks.forecast import Forecast, ForecastConfig
from chainrule.tasks.language import Language, LanguageConfig
from chainrule.tasks.multilabel import Multilabel, MultilabelConfig
from chainrule.tasks.reconstruct import Reconstruct, ReconstructConfig
from chainrule.tasks.regress import Regress, RegressConfig
from chainrule.tasks.segment import Segment, SegmentConfig
from chainrule.tasks.task import Task
from chainrule.tasks.transcribe import Transcribe, TranscribeConfig
from chainrule.tasks.translate import Translate, TranslateConfig
from chainrule.tasks.verify import Verify, VerifyConfig


@dataclass(frozen=True)
class TaskEntry:
    """One task."""

    target: type  # what a schema asks for
    build: Any  # (config, target) -> Task
    config: type  # a frozen dataclass, all of its fields with defaults


TASKS: dict[str, TaskEntry] = {
    "classify": TaskEntry(ClassTarget, Classify, ClassifyConfig),
    "regress": TaskEntry(NumberTarget, Regress, RegressConfig),
    "multilabel": TaskEntry(LabelsTarget, Multilabel, MultilabelConfig),
    "segment": TaskEntry(MaskTarget, Segment, SegmentConfig),
    "transcribe": TaskEntry(TranscriptTarget, Transcribe, TranscribeConfig),
    "translate": TaskEntry(SentenceTarget, Translate, TranslateConfig),
    "forecast": TaskEntry(SeriesTarget, Forecast, ForecastConfig),
    "language": TaskEntry(TokensTarget, Language, LanguageConfig),
    "reconstruct": TaskEntry(InputTarget, Reconstruct, ReconstructConfig),
    "embed": TaskEntry(EmbeddingTarget, Embed, EmbedConfig),
    "verify": TaskEntry(IdentityTarget, Verify, VerifyConfig),
}


def find_task(name: str) -> TaskEntry:
    """The task of this name.

    Raises:
        InputError: there is no such task; names the nearest.
    """
    if name not in TASKS:
        raise InputError(f"unknown task {name!r}; {nearest(name, tuple(TASKS))}")
    return TASKS[name]


def task_of(target: Target) -> str:
    """The name of the task that a target asks for."""
    return next(name for name, entry in TASKS.items() if isinstance(target, entry.target))


def plain_task(target: Target) -> Task:
    """The task that a target asks for, with its default settings."""
    entry = TASKS[task_of(target)]
    task: Task = entry.build(entry.config(), target)
    return task
