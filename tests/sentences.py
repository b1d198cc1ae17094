"""Small texts with labels: sentences about films that a few words decide."""

from __future__ import annotations

import random

GOOD, BAD = ("lovely", "brilliant", "moving"), ("dull", "awful", "boring")
WHAT, FILL = ("film", "plot", "cast", "song", "end"), ("the", "a", "this", "that", "with", "and", "of", "it", "for")


def reviews(count: int = 120, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts, all different, and "good" or "bad" for each: one word of eight decides."""
    drawn = random.Random(seed)
    texts, labels = [], []
    for number in range(count):
        words = [drawn.choice(FILL) if place % 2 else drawn.choice(WHAT) for place in range(7)]
        words.insert(drawn.randint(0, 7), drawn.choice((GOOD, BAD)[number % 2]))
        texts.append(f"{' '.join(words)} take {number}")
        labels.append(("good", "bad")[number % 2])
    return texts, labels
