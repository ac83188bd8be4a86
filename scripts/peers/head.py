"""A multi-task head: input 2 d, four experts 128-64, three softmax gates, towers 32-1, binary cross-entropy; the gradients
of all parameters and of the input."""

import torch
import torch.nn.functional as F
from torch import nn

from common import Setting, compiled

EXPERTS, TASKS = 4, 3


class Mmoe(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()) for _ in range(EXPERTS)
        )
        self.gates = nn.ModuleList(nn.Linear(width, EXPERTS) for _ in range(TASKS))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)) for _ in range(TASKS)
        )

    def forward(self, x):
        experts = torch.stack([expert(x) for expert in self.experts], 1)
        mixed = [(F.softmax(gate(x), -1).unsqueeze(-1) * experts).sum(1) for gate in self.gates]
        return torch.cat([tower(m) for tower, m in zip(self.towers, mixed)], 1)


def peers(setting: Setting):
    width = 2 * setting.sizes["dim"]
    model = Mmoe(width).to(setting.device)
    fast = compiled(setting, model)
    for batch in setting.sizes["batches"]:
        x = setting.random(batch, width).requires_grad_()
        labels = (torch.rand(batch, TASKS, device=setting.device) < 0.3).float()

        def step(forward, x=x, labels=labels):
            def work():
                for parameter in model.parameters():
                    parameter.grad = None
                x.grad = None
                F.binary_cross_entropy_with_logits(forward(x), labels).backward()

            return work

        def forward_only(forward, x=x, labels=labels):
            def work():
                with torch.no_grad():
                    F.binary_cross_entropy_with_logits(forward(x), labels)

            return work

        yield f"head/forward+backward/{batch}", "torch eager", step(model)
        yield f"head/forward/{batch}", "torch eager", forward_only(model)
        if fast is not None:
            yield f"head/forward+backward/{batch}", "torch.compile", step(fast)
