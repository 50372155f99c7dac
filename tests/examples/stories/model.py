"""A small Llama of children's stories, twice: the whole of it without any cache, and its parts with one.

The whole computes every position anew for each token; so it is an independent truth for the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Shape:
    dim: int
    layers: int
    heads: int
    kv_heads: int
    context: int
    eps: float
    theta: float

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def kv_dim(self) -> int:
        return self.head_dim * self.kv_heads


def read(path: Path) -> tuple[Shape, dict[str, Tensor]]:
    """Shape and weights of a safetensors file."""
    with safe_open(str(path), "pt") as file:
        told = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    shape = Shape(
        dim=int(told["dim"]),
        layers=int(told["n_layers"]),
        heads=int(told["n_heads"]),
        kv_heads=int(told["n_kv_heads"]),
        context=int(told["max_seq_len"]),
        eps=float(told["norm_eps"]),
        theta=float(told["rope_theta"]),
    )
    return shape, weights


def whole(shape: Shape, weights: dict[str, Tensor], tokens: Sequence[int]) -> Tensor:
    """Logits of the token after the last one: float32 [vocabulary]."""
    x = weights["tok_embeddings.weight"][torch.tensor(tokens)]  # [time, dim]
    time = len(tokens)
    spins = torch.polar(torch.ones(()), torch.outer(torch.arange(time).float(), _frequencies(shape)))
    hidden = torch.full((time, time), float("-inf")).triu(1)
    for layer in range(shape.layers):
        own = {name: weights[f"layers.{layer}.{name}.weight"] for name in LAYER}
        y = _norm(x, own["attention_norm"], shape.eps)
        query, key, value = (y @ own[f"attention.w{part}"].T for part in "qkv")
        query = _spun(query.view(time, shape.heads, -1), spins)
        key = _spun(key.view(time, shape.kv_heads, -1), spins).repeat_interleave(shape.heads // shape.kv_heads, 1)
        value = value.view(time, shape.kv_heads, -1).repeat_interleave(shape.heads // shape.kv_heads, 1)
        scores = torch.einsum("thd,shd->hts", query, key) / shape.head_dim**0.5 + hidden
        seen = torch.einsum("hts,shd->thd", scores.softmax(-1), value).reshape(time, -1)
        x = x + seen @ own["attention.wo"].T
        y = _norm(x, own["ffn_norm"], shape.eps)
        x = (
            x
            + (functional.silu(y @ own["feed_forward.w1"].T) * (y @ own["feed_forward.w3"].T))
            @ own["feed_forward.w2"].T
        )
    return _norm(x[-1], weights["norm.weight"], shape.eps) @ weights["tok_embeddings.weight"].T


LAYER = (
    "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
    "ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3",
)  # fmt: skip


class Part(nn.Module):
    """Some layers, for one token of each stream: keys and values of earlier tokens come in and go out.

    Args:
        layers: which.
        embeds: it takes token ids, int64 [batch, 1], and not activations.
        answers: it gives logits, float32 [batch, vocabulary].
    """

    def __init__(self, shape: Shape, weights: dict[str, Tensor], layers: range, *, embeds: bool, answers: bool) -> None:
        super().__init__()
        self._shape, self._layers, self._embeds, self._answers = shape, layers, embeds, answers
        self._weights = nn.ParameterDict(
            {
                f"{layer}_{name}".replace(".", "_"): nn.Parameter(weights[f"layers.{layer}.{name}.weight"])
                for layer in layers
                for name in LAYER
            }
        )
        self._embedding = nn.Parameter(weights["tok_embeddings.weight"])
        self._norm = nn.Parameter(weights["norm.weight"])
        angles = torch.outer(torch.arange(shape.context).float(), _frequencies(shape))
        self.register_buffer("_cos", angles.cos())
        self.register_buffer("_sin", angles.sin())

    def forward(self, x: Tensor, position: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, ...]:
        """One step.

        Args:
            x: [batch, dim], or token ids.
            position: int64 [batch, 1], how many tokens were before.
            keys, values: float32 [batch, layers, context, kv_dim], what they left.
        """
        x = self._embedding[x[:, 0]] if self._embeds else x
        at = torch.arange(self._shape.context)[None, :] == position  # [batch, context]
        seen = torch.arange(self._shape.context)[None, :] <= position
        new_keys, new_values = [], []
        for place, layer in enumerate(self._layers):
            x, key, value = self._layer(x, position[:, 0], at, seen, layer, keys[:, place], values[:, place])
            new_keys.append(key)
            new_values.append(value)
        if self._answers:
            x = _norm(x, self._norm, self._shape.eps) @ self._embedding.T
        return x, position + 1, torch.stack(new_keys, 1), torch.stack(new_values, 1)

    def _layer(
        self, x: Tensor, position: Tensor, at: Tensor, seen: Tensor, layer: int, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = self._shape
        own = {name: self._weights[f"{layer}_{name}".replace(".", "_")] for name in LAYER}
        y = _norm(x, own["attention_norm"], shape.eps)
        query = self._turned(y @ own["attention.wq"].T, position)
        key = self._turned(y @ own["attention.wk"].T, position)
        value = y @ own["attention.wv"].T
        keys = torch.where(at[:, :, None], key[:, None], keys)  # [batch, context, kv_dim]
        values = torch.where(at[:, :, None], value[:, None], values)
        grouped = query.view(-1, shape.kv_heads, shape.heads // shape.kv_heads, shape.head_dim)
        past = keys.view(-1, shape.context, shape.kv_heads, shape.head_dim)
        scores = torch.einsum("bgqd,bsgd->bgqs", grouped, past) / shape.head_dim**0.5
        scores = torch.where(seen[:, None, None], scores, torch.full_like(scores, -1e9))
        past = values.view(-1, shape.context, shape.kv_heads, shape.head_dim)
        mixed = torch.einsum("bgqs,bsgd->bgqd", scores.softmax(-1), past).reshape(-1, shape.dim)
        x = x + mixed @ own["attention.wo"].T
        y = _norm(x, own["ffn_norm"], shape.eps)
        gate = functional.silu(y @ own["feed_forward.w1"].T) * (y @ own["feed_forward.w3"].T)
        return x + gate @ own["feed_forward.w2"].T, keys, values

    def _turned(self, rows: Tensor, position: Tensor) -> Tensor:
        """Rotary positions on adjacent pairs: [batch, n * head_dim]."""
        cos, sin = self._cos[position][:, None], self._sin[position][:, None]  # [batch, 1, head_dim / 2]
        pairs = rows.view(rows.shape[0], -1, self._shape.head_dim // 2, 2)
        first, second = pairs[..., 0], pairs[..., 1]
        return torch.stack([first * cos - second * sin, first * sin + second * cos], -1).reshape(rows.shape)


def _frequencies(shape: Shape) -> Tensor:
    return shape.theta ** -(torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)


def _norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def _spun(rows: Tensor, spins: Tensor) -> Tensor:
    """Rotary positions as complex numbers: [time, heads, head_dim]."""
    pairs = torch.view_as_complex(rows.reshape(*rows.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * spins[:, None]).flatten(-2)
