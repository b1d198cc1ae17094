"""The settings that each family of networks is trained with where a person says nothing: by train rows and columns."""

from __future__ import annotations

from typing import Any


def short_training(rows: int, columns: int) -> dict[str, Any]:
    """Adam on small dense networks: about 3000 steps, at least 10 epochs."""
    batch_size = 32 if rows < 2000 else 128
    per_epoch = -(-rows // batch_size)
    return {
        "optimizer.name": "adam", "optimizer.learning_rate": 0.01 if rows < 2000 else 1e-3, "schedule.name": "cosine",
        "train.batch_size": batch_size, "train.epochs": max(10, min(500, 3000 // per_epoch)),
        "train.eval_every": 10 if rows < 100 else 0,
    }  # fmt: skip


def small_image_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a long warm-up and a cosine; about 1.5 million images seen, 10 to 100 epochs."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 3e-3, "optimizer.weight_decay": 0.05,
        "optimizer.beta2": 0.99, "schedule.name": "cosine", "schedule.warmup": 0.15,
        "train.batch_size": 32 if rows < 2000 else 64 if rows < 10_000 else 128,
        "train.epochs": max(10, min(100, 1_500_000 // rows)),
    }  # fmt: skip


def image_training(rows: int, columns: int) -> dict[str, Any]:
    """The same with a lower rate and fewer images: each costs more."""
    return {
        **small_image_training(rows, columns),
        "optimizer.learning_rate": 1e-3,
        "train.batch_size": 32 if rows < 2000 else 64,
        "train.epochs": max(10, min(60, 500_000 // rows)),
    }


def plain_training(rows: int, columns: int) -> dict[str, Any]:
    """A third of the rate for deep stacks without batch norm: at 1e-3 VGG-16 does not leave its starting point."""
    return {**image_training(rows, columns), "optimizer.learning_rate": 3e-4}


def segmentation_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine; about 12,000 images seen, 20 to 300 epochs: a mask teaches more than a class."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 2e-3, "optimizer.weight_decay": 0.01,
        "schedule.name": "cosine", "schedule.warmup": 0.05,
        "train.batch_size": 8, "train.epochs": max(20, min(300, 12_000 // max(1, rows))),
    }  # fmt: skip


def forecast_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine; about 2,000 steps, at least 4 epochs, the best of them by validation."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 1e-3, "optimizer.weight_decay": 0.01,
        "schedule.name": "cosine", "train.batch_size": 32, "train.max_grad_norm": 1.0,
        "train.epochs": max(4, min(1000, 2000 * 32 // max(1, rows))), "train.eval_every": 50 if rows < 1600 else 0,
    }  # fmt: skip


def sequence_forecast_training(rows: int, columns: int) -> dict[str, Any]:
    """The same, windows by their own mean and spread: networks that saturate need inputs of one size."""
    return {**forecast_training(rows, columns), "task.normalise": "instance"}


def linear_forecast_training(rows: int, columns: int) -> dict[str, Any]:
    """The same, with weights pulled to 0 where there are many windows, so that long windows do not learn noise."""
    return {**forecast_training(rows, columns), "optimizer.weight_decay": 0.1 if rows < 1600 else 2.0}


def language_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine and clipped gradients; the text decides batch size and epochs (data/corpus)."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 6e-3, "optimizer.weight_decay": 0.01,
        "optimizer.beta2": 0.99, "schedule.name": "cosine", "schedule.warmup": 0.05, "train.max_grad_norm": 1.0,
    }  # fmt: skip


def autoencoder_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine; about 1.5 million rows seen, 10 to 80 epochs or 600 steps. Inputs are learned as they are.

    Longer, few rows are learned by heart, and what is strange is built as well as what is not.
    """
    batch_size = 32 if rows < 2000 else 128
    most = max(80, 600 * batch_size // max(1, rows))
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 1e-3 if rows < 2000 else 2e-3,
        "optimizer.weight_decay": 1e-4, "schedule.name": "cosine", "schedule.warmup": 0.05,
        "train.batch_size": batch_size, "train.epochs": max(10, min(most, 1_500_000 // max(1, rows))),
    }  # fmt: skip


def sequence_autoencoder_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine, gradients cut to a norm of 1; about 300,000 rows seen, 5 to 300 epochs."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 3e-3, "optimizer.weight_decay": 1e-4,
        "schedule.name": "cosine", "schedule.warmup": 0.05, "train.max_grad_norm": 1.0,
        "train.batch_size": 32 if rows < 2000 else 64, "train.epochs": max(5, min(300, 300_000 // max(1, rows))),
    }  # fmt: skip


def recurrent_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine, gradients cut to a norm of 1; about 60,000 rows seen, 8 to 60 epochs."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 2e-3, "optimizer.weight_decay": 0.01,
        "schedule.name": "cosine", "schedule.warmup": 0.05, "train.max_grad_norm": 1.0,
        "train.batch_size": 32 if rows < 10_000 else 64, "train.epochs": max(8, min(60, 60_000 // max(1, rows))),
    }  # fmt: skip


def bag_training(rows: int, columns: int) -> dict[str, Any]:
    """The same at a higher rate; short vectors, of pairs too, and stronger decay of them.

    About 45,000 texts are seen; of few texts 120,000, as each is short work and rare words need many turns.

    The power of the number of vectors, the rate and word dropout go together: what matters is how far logits get.
    """
    return {
        **recurrent_training(rows, columns),
        "optimizer.learning_rate": 4e-3, "optimizer.weight_decay": 0.1, "optimizer.beta2": 0.98,
        "augment.word_dropout": 0.05,
        "train.batch_size": 32 if rows < 2000 else 64,
        "train.epochs": max(4, min(120, (120_000 if rows < 2000 else 45_000) // max(1, rows))),
        "model.embedding": 16, "model.power": 0.75, "model.buckets": min(200_000, max(2_000, 32 * rows)),
    }  # fmt: skip
