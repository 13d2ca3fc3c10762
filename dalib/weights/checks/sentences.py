"""Cosines of sentence features: paraphrases against unrelated sentences."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dalib.checks import input_error
from dalib.data.text import encode, load_tokenizer
from dalib.encoders import load
from dalib.types import TextPreprocessing
from dalib.weights.checks.outcome import Outcome
from dalib.weights.manifest import Entry

PAIRS = (
    ("A man is playing a guitar on the street.", "Someone plays guitar outdoors.", "The share price fell in May."),
    ("How do I reset my password?", "I forgot my password, how can I change it?", "Bake the bread for an hour."),
    ("The cat sleeps on the sofa.", "A cat is lying asleep on the couch.", "Parliament passed the new tax law."),
)
"""A sentence, a paraphrase of it, a sentence about something else."""
MARGIN = 0.4


def check(entry: Entry, *, data_dir: Path | None = None, report: Callable[[str], Any] = print) -> Outcome:
    """Every paraphrase must be nearer than the unrelated sentence by 0.4 in cosine."""
    del data_dir
    encoder: Any
    encoder, variables, inputs = load(entry.encoder, weights=entry.name)
    if not isinstance(inputs, TextPreprocessing) or inputs.tokenizer is None:
        raise input_error("name", got=entry.name, expected="weights with their tokeniser beside them")
    tokenizer = load_tokenizer(inputs.tokenizer)
    rows = encode(tokenizer, [text for triple in PAIRS for text in triple], max_length=inputs.max_length)
    features = np.asarray(jax.jit(lambda v, x: encoder.apply(v, x, train=False).features)(variables, rows))
    features = (features / np.linalg.norm(features, axis=-1, keepdims=True)).reshape(len(PAIRS), 3, -1)
    alike, other = (np.einsum("nd,nd->n", features[:, 0], features[:, i]) for i in (1, 2))
    for (text, *_), a, b in zip(PAIRS, alike, other, strict=True):
        report(f"  {text} paraphrase {a:.3f}, unrelated {b:.3f}")
    gap = float((alike - other).min())
    return Outcome(
        gap >= MARGIN, f"smallest gap between paraphrase and unrelated {gap:.3f}, expected at least {MARGIN}"
    )
