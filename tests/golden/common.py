"""What all topics share: random inputs, gradients, and the JSON layout."""

import importlib.metadata
import json
import pathlib

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
MAX_BYTES = 60_000


def version(*packages):
    """'name version' of each package, for the "source" line of a file."""
    return ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)


def grid(x, step=1 / 1024):
    """Rounds to a multiple of a power of two: the value is exact in float32 too, and short in decimal."""
    return np.round(np.asarray(x, dtype=np.float64) / step) * step


def normal(rng, *shape, scale=1.0, step=1 / 1024):
    return grid(rng.normal(size=shape) * scale, step)


def leaf(x):
    """A float64 tensor that autograd differentiates with respect to."""
    return torch.tensor(np.asarray(x), dtype=torch.float64, requires_grad=True)


def leaves(arrays):
    return {k: leaf(v) for k, v in arrays.items()}


def gradients(scalar, params):
    """d scalar / d p for every named parameter; zeros where the scalar does not depend on it."""
    names = list(params)
    grads = torch.autograd.grad(scalar, [params[n] for n in names], retain_graph=True, allow_unused=True)
    return {n: torch.zeros_like(params[n]) if g is None else g for n, g in zip(names, grads)}


def away_from_zero(name, x, margin):
    """Refuses inputs next to a kink (ReLU, hinge, clamp), where rounding decides the gradient."""
    closest = float(torch.as_tensor(x).abs().min())
    if closest < margin:
        raise ValueError(f"{name}: {closest:.1e} from its kink, at least {margin:.1e} wanted; change the seed")


def encode(value):
    """Floating arrays become {"shape", "data"} (row-major); integer arrays become nested lists."""
    if isinstance(value, dict):
        return {k: encode(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(v) for v in value]
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.ndarray):
        if value.ndim == 0:
            return encode(value.item())
        if np.issubdtype(value.dtype, np.integer):
            return value.tolist()
        if value.dtype != np.float64:
            raise TypeError(f"expected float64, got {value.dtype}")
        if not np.isfinite(value).all():
            raise ValueError("a golden value is not finite")
        return {"shape": list(value.shape), "data": value.ravel().tolist()}
    if isinstance(value, np.generic):
        return value.item()
    return value


def write(name, content):
    """Writes NAME.json; json prints floats with repr, which round-trips float64."""
    path = HERE / f"{name}.json"
    text = json.dumps(encode({"dtype": "float64", **content}), separators=(",", ":"), allow_nan=False)
    text = text.replace('},"', '},\n"') + "\n"
    if len(text) >= MAX_BYTES:
        raise ValueError(f"{path.name} would have {len(text)} bytes, the limit is {MAX_BYTES}")
    path.write_text(text)
    return f"{path.name}: {len(text)} bytes"
