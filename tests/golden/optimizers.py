"""Optimiser updates and the MetaBalance gradient combination: formula (17) and its balancing rule (17b)."""

import numpy as np
import torch
from torch_rechub.utils.mtl import MetaBalance

from common import normal, version

STEPS = 40
KEPT = (1, 2, 10, 40)


def optimiser_inputs():
    """Start values and one gradient per step: rows 0-2 dense, row 3 only at step 1, row 4 never; four empty steps."""
    rng = np.random.default_rng(5)
    start = normal(rng, 5, 3)
    grads = normal(rng, STEPS, 5, 3) * np.array([1.0, 0.125, 4.0, 1.0, 0.0])[:, None]
    grads[1:, 3] = 0
    for step in (3, 4, 11, 40):
        grads[step - 1] = 0
    return start, grads


def trajectory(start, grads, optimiser, **settings):
    p = torch.nn.Parameter(torch.tensor(start))
    opt = optimiser([p], foreach=False, **settings)
    kept = []
    for step, g in enumerate(grads, 1):
        p.grad = torch.tensor(g)
        opt.step()
        if step in KEPT:
            kept.append({"step": step, "params": p.detach().clone()})
    shown = {k: list(v) if isinstance(v, tuple) else v for k, v in opt.defaults.items() if k not in NOT_SHOWN}
    return {"optimizer": optimiser.__name__, "settings": shown, "after": kept}


NOT_SHOWN = ("foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay")


def optimiser_file(variants):
    start, grads = optimiser_inputs()
    return {
        "source": f"{version('torch')}: torch.optim, foreach=False; gradients are given, not computed",
        "start": start,
        "step_gradients": list(grads),
        "variants": [trajectory(start, grads, optimiser, **settings) for optimiser, settings in variants],
    }


def make_adam():
    adam = torch.optim.Adam
    return optimiser_file(
        [
            (adam, {}),
            (adam, {"weight_decay": 0.0625}),
            (adam, {"lr": 2e-4, "betas": (0.8, 0.99), "eps": 1e-6}),
        ]
    )


def make_others():
    o = torch.optim
    return optimiser_file(
        [
            (o.SGD, {"lr": 0.01}),
            (o.SGD, {"lr": 0.01, "weight_decay": 0.0625}),
            (o.SGD, {"lr": 0.01, "momentum": 0.9}),
            (o.SGD, {"lr": 0.01, "momentum": 0.9, "dampening": 0.5}),
            (o.SGD, {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
            (o.Adagrad, {}),
            (o.Adagrad, {"lr_decay": 0.125, "weight_decay": 0.0625, "initial_accumulator_value": 0.25}),
            (o.RMSprop, {}),
            (o.RMSprop, {"alpha": 0.9, "weight_decay": 0.0625}),
            (o.AdamW, {}),
            (o.AdamW, {"lr": 2e-4, "weight_decay": 0.25}),
        ]
    )


def sparse_inputs():
    """Start values and for each step some rows with their gradients; row 6 is never among them, row 0 only once."""
    rng = np.random.default_rng(23)
    start = normal(rng, 7, 3)
    sets = [sorted(rng.choice(np.arange(1, 6), size=1 + k % 4, replace=False).tolist()) for k in range(STEPS)]
    sets[1] = [0] + sets[1]
    return start, [(rows, normal(rng, len(rows), 3)) for rows in sets]


def sparse_trajectory(start, steps, optimiser, **settings):
    p = torch.nn.Parameter(torch.tensor(start))
    opt = optimiser([p], **settings)
    kept = []
    for step, (rows, g) in enumerate(steps, 1):
        p.grad = torch.sparse_coo_tensor(torch.tensor([rows]), torch.tensor(g), start.shape).coalesce()
        opt.step()
        if step in KEPT:
            kept.append({"step": step, "params": p.detach().clone()})
    shown = {k: list(v) if isinstance(v, tuple) else v for k, v in opt.defaults.items() if k not in NOT_SHOWN}
    return {"optimizer": optimiser.__name__, "settings": shown, "after": kept}


def make_sparse():
    start, steps = sparse_inputs()
    o = torch.optim
    variants = [
        # SparseAdam adds eps before bias correction, Adam after it: with an eps that rounds away they are one rule.
        (o.SparseAdam, {"eps": 1e-30}),
        (o.SparseAdam, {"lr": 2e-4, "betas": (0.8, 0.99), "eps": 1e-30}),
        (o.Adagrad, {"lr_decay": 0.125, "initial_accumulator_value": 0.25, "foreach": False}),
        (o.SGD, {"lr": 0.01, "foreach": False}),
    ]
    return {
        "source": f"{version('torch')}: torch.optim with sparse gradients",
        "start": start,
        "rows": [rows for rows, _ in steps],
        "step_gradients": [g for _, g in steps],
        "variants": [sparse_trajectory(start, steps, optimiser, **settings) for optimiser, settings in variants],
    }


def metabalance_inputs():
    """Per step, loss and tensor one gradient; the losses differ in scale, one tensor has a zero auxiliary gradient."""
    rng = np.random.default_rng(17)
    shapes = ((4, 3), (5,), (2, 6))
    steps = [[[normal(rng, *s) * scale for s in shapes] for scale in (1.0, 32.0, 0.015625)] for _ in range(5)]
    steps[0][2][1] = np.zeros(5)  # the moving average is still zero: a division without guard gives NaN
    steps[3][1][0] = np.zeros((4, 3))
    steps[2][0][2] = np.zeros((2, 6))  # the target itself does not reach the tensor in this step
    return shapes, steps


def metabalance_run(shapes, steps, relax, beta):
    params = [torch.nn.Parameter(torch.zeros(s)) for s in shapes]
    balance = MetaBalance(params, relax_factor=relax, beta=beta)
    outputs = []
    for losses in steps:
        for p in params:
            p.grad = None  # the class leaves its sum in .grad and would add to it
        # Losses that are linear in the tensors have exactly the wanted gradients.
        balance.step([sum((p * torch.tensor(g)).sum() for p, g in zip(params, loss)) for loss in losses])
        outputs.append(
            {
                "combined": [p.grad.clone() for p in params],
                "moving_norms": [torch.stack(list(p.norms)) for p in params],
            }
        )
    return {"relax": relax, "beta": beta, "eps": 1e-5, "steps": outputs}


def make_metabalance():
    shapes, steps = metabalance_inputs()
    return {
        "source": f"{version('torch-rechub', 'torch')}: torch_rechub.utils.mtl.MetaBalance; strategy C, "
        "m_0/(m_i + 1e-5) for every loss including the target",
        "layout": "step_gradients[step][loss][tensor], loss 0 is the target; "
        "steps[step].combined[tensor], moving_norms[tensor][loss]",
        "step_gradients": steps,
        "variants": [metabalance_run(shapes, steps, r, b) for r, b in ((0.7, 0.9), (0.0, 0.9), (0.5, 0.0))],
    }
