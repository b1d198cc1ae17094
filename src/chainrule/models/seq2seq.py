"""Encoder-decoder with attention: a sentence is read in both directions, then another one is written word by word.

Source: Bahdanau, Cho, Bengio 2014, arXiv:1409.0473, section 3 and appendix A.1.2 (additive attention, asked with the
state before the step); Luong, Pham, Manning 2015, arXiv:1508.04025, sections 3.1 and 3.3 (general and dot scores, asked
with the state after the step; input feeding). Tied embeddings: Press, Wolf 2016, arXiv:1608.05859.
Reference: torch's LSTMCell, GRUCell and RNNCell in loops, compared in tests/parity/test_seq2seq.py.
Differs: the decoder starts from the encoder's last states of both directions side by side; Bahdanau's output reads the
state after the step through tanh, not the one before it through maxout; Luong's encoder reads in both directions; the
vector before the vocabulary is as wide as an embedding, so that both are one matrix.

Letters: B sentences, S source tokens, T target tokens, D decoder width, E embedding, V target vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError, nearest
from chainrule.nn.recurrent import Recurrent

CELLS = ("lstm", "gru", "rnn")
ATTENTIONS = ("luong", "luong_dot", "bahdanau")
PAD = 0  # the token that fills a sentence up
START = 0.3  # embeddings begin within this range of 0; within a third of it attention finds its place far later

State = tuple[Tensor, ...]  # memory, keys, mask, the vector that is fed, the decoder's hidden states; batch first


@dataclass(frozen=True, kw_only=True)
class Seq2SeqConfig:
    """Sizes of an encoder-decoder; the encoder has as many layers as the decoder, each direction half of its width."""

    source_vocab_size: int
    vocab_size: int  # of the target
    cell: str = "lstm"
    embedding: int = 256
    hidden: int = 512  # of the decoder, and of both directions of the encoder together
    layers: int = 1
    attention: str = "luong"  # luong (general), luong_dot, or bahdanau (additive)
    input_feeding: bool = False  # of luong: a step sees the vector before it; steps then run one after the other
    dropout: float = 0.3  # of embeddings, between layers and before the vocabulary

    def __post_init__(self) -> None:
        for name, choices in (("cell", CELLS), ("attention", ATTENTIONS)):
            if getattr(self, name) not in choices:
                raise InputError(f"model.{name} is {getattr(self, name)!r}; {nearest(getattr(self, name), choices)}")
        for name in ("source_vocab_size", "vocab_size", "embedding", "hidden", "layers"):
            if getattr(self, name) < 1:
                raise InputError(f"model.{name} must be 1 or more, got {getattr(self, name)}")
        if self.hidden % 2:
            raise InputError(f"model.hidden is shared by two directions and must be even, got {self.hidden}")
        if self.input_feeding and self.attention == "bahdanau":
            raise InputError("model.input_feeding is Luong's; bahdanau feeds what it attends to in any case")
        if not 0 <= self.dropout < 1:
            raise InputError(f"model.dropout is a share from 0 to below 1, got {self.dropout}")


def translation_training(rows: int, columns: int) -> dict[str, Any]:
    """AdamW with a cosine, gradients cut to a norm of 1; about 350,000 pairs seen, 8 to 100 epochs."""
    return {
        "optimizer.name": "adamw", "optimizer.learning_rate": 3e-3, "optimizer.beta2": 0.98,
        "schedule.name": "cosine", "schedule.warmup": 0.05, "train.max_grad_norm": 1.0,
        "train.batch_size": 32 if rows < 2000 else 64, "train.epochs": max(8, min(100, 350_000 // max(1, rows))),
    }  # fmt: skip


class LuongAttention(nn.Module):
    """score(q, m) = q . W m (general), or q . m (dot); section 3.1, equation 8."""

    def __init__(self, width: int, *, dot: bool) -> None:
        super().__init__()
        self.key = nn.Identity() if dot else nn.Linear(width, width, bias=False)

    def keys(self, memory: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """What queries are compared with, once for a sentence."""
        keys: Tensor = self.key(memory)
        return keys

    def forward(
        self, query: Float[Tensor, "B T D"], keys: Float[Tensor, "B S D"], keep: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B T S"]:
        """Shares of the source tokens for each query."""
        return softmax_over(query @ keys.transpose(1, 2), keep)


class BahdanauAttention(nn.Module):
    """score(q, m) = v . tanh(W q + U m); appendix A.1.2."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def keys(self, memory: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        """U m, once for a sentence."""
        keys: Tensor = self.key(memory)
        return keys

    def forward(
        self, query: Float[Tensor, "B T D"], keys: Float[Tensor, "B S D"], keep: Bool[Tensor, "B S"]
    ) -> Float[Tensor, "B T S"]:
        """Shares of the source tokens for each query."""
        hidden = torch.tanh(self.query(query)[:, :, None] + keys[:, None])  # (B, T, S, D)
        return softmax_over(self.score(hidden)[..., 0], keep)


def softmax_over(scores: Float[Tensor, "B T S"], keep: Bool[Tensor, "B S"]) -> Float[Tensor, "B T S"]:
    """Shares over the tokens that are kept; the filling gets none."""
    return torch.softmax(scores.masked_fill(~keep[:, None], -torch.inf), -1)


class Seq2Seq(nn.Module):
    """Logits of every target token, given the source sentence and the target tokens before it."""

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        E, D = config.embedding, config.hidden
        self.additive = config.attention == "bahdanau"
        self.feeds = config.input_feeding
        fed = D if self.additive else E if self.feeds else 0
        self.dropout = nn.Dropout(config.dropout)
        self.source = nn.Embedding(config.source_vocab_size, E, padding_idx=PAD)
        self.target = nn.Embedding(config.vocab_size, E, padding_idx=PAD)
        between = config.dropout if config.layers > 1 else 0.0
        self.encoder = Recurrent(config.cell, E, D // 2, layers=config.layers, bidirectional=True, dropout=between)
        self.decoder = Recurrent(config.cell, E + fed, D, layers=config.layers, dropout=between)
        self.attention = BahdanauAttention(D) if self.additive else LuongAttention(D, dot=config.attention != "luong")
        self.combine = nn.Linear(2 * D + (E if self.additive else 0), E)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        for embedding in (self.source, self.target):
            nn.init.uniform_(embedding.weight, -START, START)
            with torch.no_grad():
                embedding.weight[PAD].zero_()

    def forward(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"], target: Int[Tensor, "B T"]
    ) -> Float[Tensor, "B T V"]:
        """Logits of the token after each of ``target``, which begins with the token of the beginning."""
        return self.aligned(source, lengths, target)[0]

    def aligned(
        self, source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"], target: Int[Tensor, "B T"]
    ) -> tuple[Float[Tensor, "B T V"], Float[Tensor, "B T S"]]:
        """The logits, and the share of each source token that each of them was read from."""
        state = self.encode(source, lengths)
        embedded = self.dropout(self.target(target))
        if not (self.additive or self.feeds):
            read, _, shares = self._advance(embedded, state)
            return self._logits(read), shares
        steps = []
        for moment in embedded.split(1, dim=1):
            read, state, shares = self._advance(moment, state)
            steps.append((read, shares))
        read, shares = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        return self._logits(read), shares

    def encode(self, source: Int[Tensor, "B S"], lengths: Int[Tensor, " B"]) -> State:
        """What decoding starts from."""
        known = None if lengths.is_meta else lengths  # where only sizes are asked for
        memory, hidden = self.encoder(self.dropout(self.source(source)), known)
        keep = torch.arange(memory.shape[1], device=memory.device) < lengths[:, None]
        B, _, D = memory.shape
        start = [x.view(-1, 2, B, D // 2).permute(2, 0, 1, 3).reshape(B, -1, D) for x in hidden]  # (B, layers, D)
        fed = memory.new_zeros(B, self.combine.out_features if self.feeds else 0)
        return (memory, self.attention.keys(memory), keep, fed, *start)

    def step(self, tokens: Int[Tensor, " B"], state: State) -> tuple[Float[Tensor, "B V"], State, Float[Tensor, "B S"]]:
        """Log-probabilities of the next token after ``tokens``, the state after them, and where it was read from."""
        read, state, shares = self._advance(self.dropout(self.target(tokens[:, None])), state)
        return F.log_softmax(self._logits(read[:, 0]), dim=-1), state, shares[:, 0]

    def _advance(
        self, embedded: Float[Tensor, "B T E"], state: State
    ) -> tuple[Float[Tensor, "B T E"], State, Float[Tensor, "B T S"]]:
        """The vectors before the vocabulary. Where a step depends on the one before it, T is 1."""
        memory, keys, keep, fed, *start = state
        hidden = tuple(x.transpose(0, 1).contiguous() for x in start)
        if self.additive:
            shares = self.attention(hidden[0][-1][:, None], keys, keep)
            context = shares @ memory
            outputs, hidden = self.decoder(torch.cat((embedded, context), -1), state=hidden)
            read = torch.cat((outputs, context, embedded), -1)
        else:
            moments = torch.cat((embedded, fed[:, None]), -1) if self.feeds else embedded
            outputs, hidden = self.decoder(moments, state=hidden)
            shares = self.attention(outputs, keys, keep)
            read = torch.cat((shares @ memory, outputs), -1)
        read = self.dropout(torch.tanh(self.combine(read)))
        after = [x.transpose(0, 1) for x in hidden]
        return read, (memory, keys, keep, read[:, -1] if self.feeds else fed, *after), shares

    def _logits(self, read: Float[Tensor, "B *T E"]) -> Float[Tensor, "B *T V"]:
        return F.linear(read, self.target.weight, self.bias)
