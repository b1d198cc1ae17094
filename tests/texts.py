"""Small texts to learn from: sentences that run on, and lists of names."""

from __future__ import annotations

import random

WHO, DID, WHAT = ("the cat", "a dog", "my aunt", "no one"), ("sees", "eats", "paints"), ("the sea.", "a pie.", "it!")


def story(sentences: int = 400, seed: int = 0) -> str:
    """Sentences of few words, two to four a line."""
    drawn = random.Random(seed)
    lines: list[str] = []
    while sentences > 0:
        count = drawn.randint(2, 4)
        lines.append(" ".join(" ".join(map(drawn.choice, (WHO, DID, WHAT))) for _ in range(count)))
        sentences -= count
    return "\n".join(lines) + "\n"


def names(count: int = 300, seed: int = 0) -> str:
    """One invented name a line."""
    drawn = random.Random(seed)
    parts = [drawn.choice("bdklmnrst") + drawn.choice("aeiou") for _ in range(4 * count)]
    return "\n".join("".join(parts[4 * row : 4 * row + drawn.randint(1, 4)]) for row in range(count)) + "\n"
