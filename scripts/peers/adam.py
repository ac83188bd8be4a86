"""Adam on a table of vectors: all rows, and some."""

import torch

from common import Setting


def peers(setting: Setting):
    rows, d = setting.sizes["learners"], setting.sizes["dim"]
    table = torch.nn.Parameter(setting.random(rows, d))
    table.grad = setting.random(rows, d)
    yield "adam/dense", "torch foreach", torch.optim.Adam([table], lr=1e-3, foreach=True).step
    yield "adam/dense", "torch fused", torch.optim.Adam([table], lr=1e-3, fused=True).step
    for touched in setting.sizes["rows"]:
        ids = torch.randperm(rows, device=setting.device)[:touched].sort().values
        some = torch.nn.Parameter(setting.random(rows, d))
        gradient = torch.sparse_coo_tensor(ids.unsqueeze(0), setting.random(len(ids), d), (rows, d))
        some.grad = gradient.coalesce()
        yield f"adam/rows/{touched}", "torch SparseAdam", torch.optim.SparseAdam([some], lr=1e-3).step
