"""The LSTM autoencoder: a sequence is read to its end, the last output becomes a code, another LSTM writes it again.

The decoder writes in reverse order, the last step first, and never sees what it wrote ("unconditioned"): all that it
knows of the sequence is the code, which gives its first state and which it reads anew at every step. So an anomaly
cannot be copied from its own past.
Sequences are windows of numbers, with what is known of them, or tokens.

Source: Srivastava, Mansimov, Salakhutdinov 2015, arXiv:1502.04681, section 2.1 and figure 2 (the order of the outputs;
    an unconditioned decoder); the code as an input of every step: Cho et al. 2014, arXiv:1406.1078, section 2.2; as a
    detector of anomalies: Malhotra et al. 2016, arXiv:1607.00148.
Reference: torch.nn.Embedding, LSTM and Linear on reversed rows, compared in tests/parity/test_lstm_autoencoder.py.
Differs: the paper hands the encoder's whole state on, here linear layers make a code of a chosen size of its output and
    a state of the code; layers start as nn/recurrent.py says.

Letters: B rows, T steps, F numbers of a step, D code, V vocabulary. A row of tokens begins with BEGIN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from chainrule.errors import InputError
from chainrule.nn.recurrent import Recurrent, check_recurrent

PAD, BEGIN = 0, 2  # the token that fills a row up, and the one that every row begins with
USUAL_CODE = 32
SURE = 1e4  # the logit of PAD beyond a row's end


@dataclass(frozen=True, kw_only=True)
class LSTMAutoencoderConfig:
    """Sizes of an LSTM autoencoder. The data says which form it reads: the shape of windows, or tokens and steps."""

    shape: tuple[int, ...] = ()  # (T, F) of a window of numbers; (): rows are tokens
    vocab_size: int = 0  # kinds of tokens; 0: rows are numbers
    steps: int = 0  # tokens of a row at most
    code: int = 0  # numbers in a code; 0: 32, of a window a quarter of its values at most
    hidden: int = 64  # of the encoder and of the decoder
    layers: int = 1
    embedding: int = 64  # numbers of a token's vector
    dropout: float = 0.0  # between layers

    def __post_init__(self) -> None:
        check_recurrent("lstm", self.hidden, self.layers, self.dropout)
        tokens = self.vocab_size > BEGIN and self.steps > 0
        if tokens == bool(self.shape) or (self.shape and (len(self.shape) != 2 or min(self.shape) < 1)):
            raise InputError(
                "an LSTM autoencoder reads windows of numbers (model.shape of steps and columns) or tokens "
                f"(model.vocab_size and model.steps), one of both; got {self.shape}, {self.vocab_size} and {self.steps}"
            )
        if self.code < 0 or self.embedding < 1:
            raise InputError(
                f"model.code is 0 (found) or more and model.embedding at least 1, got {self.code} and {self.embedding}"
            )

    @property
    def code_size(self) -> int:
        """Numbers in a code."""
        usual = min(USUAL_CODE, max(1, math.prod(self.shape) // 4)) if self.shape else USUAL_CODE
        return self.code or usual


class LSTMAutoencoder(nn.Module):
    """Encoder, code, decoder.

    Example:
        >>> network = LSTMAutoencoder(LSTMAutoencoderConfig(shape=(24, 3), code=5))
        >>> network(torch.zeros(2, 24, 3), torch.ones(2, 24, 3)).shape
        torch.Size([2, 24, 3])
        >>> network.decode(torch.zeros(2, 5)).shape
        torch.Size([2, 24, 3])
    """

    penalties: tuple[str, ...] = ()

    def __init__(self, config: LSTMAutoencoderConfig) -> None:
        super().__init__()
        self.steps = config.shape[0] if config.shape else config.steps
        self.code_size, self.layers = config.code_size, config.layers
        self.embedding: nn.Embedding | None = None
        if config.vocab_size:
            self.embedding = nn.Embedding(config.vocab_size, config.embedding, padding_idx=PAD)
        outputs = config.vocab_size or config.shape[1]
        features = config.embedding if config.vocab_size else 2 * config.shape[1]
        hidden, layers, dropout = config.hidden, config.layers, config.dropout
        self.encoder = Recurrent("lstm", features, hidden, layers=layers, dropout=dropout)
        self.code = nn.Linear(hidden, self.code_size)
        self.start = nn.Linear(self.code_size, 2 * layers * hidden)
        self.decoder = Recurrent("lstm", self.code_size, hidden, layers=layers, dropout=dropout)
        self.head = nn.Linear(config.hidden, outputs)

    def encode(self, *inputs: Tensor) -> Float[Tensor, "B D"]:
        """The code of windows (values, known), each (B T F), or of tokens (B T) and their lengths (B,)."""
        x, beside = inputs
        if self.embedding is None:
            _, (h, _) = self.encoder(torch.cat((x, beside), -1))
        else:
            _, (h, _) = self.encoder(self.embedding(x), beside)
        code: Tensor = self.code(h[-1])
        return code

    def decode(self, code: Float[Tensor, "B D"]) -> Float[Tensor, "B T outputs"]:
        """All steps from codes: numbers, or logits of tokens, each row up to the BEGIN that was written last.

        Beyond a row's end PAD is certain. A row without BEGIN is as long as rows may be.
        """
        backwards = self._written(code, self.steps)
        if self.embedding is None:
            return backwards.flip(1)
        begins = backwards.argmax(-1) == BEGIN
        lengths = torch.where(begins.any(1), begins.int().argmax(1) + 1, self.steps)
        outputs = reversed_within(backwards, lengths)
        beyond = torch.arange(self.steps, device=code.device) >= lengths[:, None]
        certain = torch.zeros_like(outputs)
        certain[..., PAD] = SURE
        return torch.where(beyond[..., None], certain, outputs)

    def coded(self, inputs: tuple[Tensor, ...], draw: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is built, of tokens for as many as there are in the longest row; nothing is paid for the code."""
        backwards = self._written(self.encode(*inputs), inputs[0].shape[1])
        built = backwards.flip(1) if self.embedding is None else reversed_within(backwards, inputs[1])
        return built, built.new_zeros(len(built), 0)

    def forward(self, *inputs: Tensor) -> Float[Tensor, "B T outputs"]:
        """What is built."""
        return self.coded(inputs)[0]

    def _written(self, code: Float[Tensor, "B D"], steps: int) -> Float[Tensor, "B T outputs"]:
        """The last step first."""
        h, c = self.start(code).view(len(code), 2, self.layers, -1).permute(1, 2, 0, 3).contiguous()
        hidden, _ = self.decoder(code[:, None].expand(-1, steps, -1), state=(h.tanh(), c))
        outputs: Tensor = self.head(hidden)
        return outputs


def reversed_within(x: Float[Tensor, "B T D"], lengths: Int[Tensor, " B"]) -> Float[Tensor, "B T D"]:
    """Each row's first ``lengths`` steps in reverse order; what stands beyond them stays.

    Example:
        >>> reversed_within(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([2]))[0, :, 0].tolist()
        [2.0, 1.0, 3.0]
    """
    steps = torch.arange(x.shape[1], device=x.device)
    places = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, places[..., None].expand_as(x))
