"""Gates: the sigmoid fusion (12)(13) and the softmax mixture of experts of MMoE and CGC."""

import numpy as np
import torch

from common import gradients, leaves, normal, version


def sigmoid_gate(rng, batch, d, width):
    p = leaves(
        {"s": normal(rng, batch, d), "t": normal(rng, batch, d), "w": normal(rng, 2 * d, width), "b": normal(rng, width)}
    )
    gate = torch.sigmoid(torch.cat([p["s"], p["t"]], dim=1) @ p["w"] + p["b"])
    fused = gate * p["s"] + (1 - gate) * p["t"]
    upstream = torch.tensor(normal(rng, batch, d))
    return {
        "inputs": p,
        "gate": gate,
        "fused": fused,
        "upstream": upstream,
        "gradients": gradients((upstream * fused).sum(), p),
    }


def softmax_gate(rng, batch, d, experts, width):
    p = leaves({"z": normal(rng, batch, d), "w": normal(rng, d, experts), "experts": normal(rng, batch, experts, width)})
    weight = torch.softmax(p["z"] @ p["w"], dim=1)
    mixed = torch.einsum("be,bed->bd", weight, p["experts"])
    upstream = torch.tensor(normal(rng, batch, width))
    return {
        "inputs": p,
        "weight": weight,
        "mixed": mixed,
        "upstream": upstream,
        "gradients": gradients((upstream * mixed).sum(), p),
    }


def make_gate():
    rng = np.random.default_rng(47)
    return {
        "source": f"{version('torch')}: torch.sigmoid, torch.softmax; gradients by torch.autograd",
        "layout": "experts (batch, expert, width); w (inputs, outputs), no bias in the softmax gate",
        "vector": sigmoid_gate(rng, 5, 4, 4),
        "scalar": sigmoid_gate(rng, 5, 4, 1),
        "softmax": softmax_gate(rng, 5, 4, 3, 4),
    }
