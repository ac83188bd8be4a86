"""The 50 best courses of many learners, without those they have taken: by inner product, and through a head that judges
every pair."""

import math

import torch
from torch import nn

from common import Setting

TOP, BLOCK = 50, 4096
# Of the learners, one in so many goes through the head; pairs that it judges at once.
HEAD_SHARE, HEAD_BLOCK = 100, 32


class Head(nn.Module):
    """The first task of the default head: [u | i | u * i], a shared and a specific MLP 64-32 under a gate, a tower 16-1."""

    def __init__(self, d: int):
        super().__init__()

        def mlp(width):
            return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())

        self.shared, self.specific = mlp(3 * d), mlp(3 * d)
        self.gate = nn.Linear(64, 32)
        self.tower = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, u, i):
        bottom = torch.cat([u, i, u * i], -1)
        s, t = self.shared(bottom), self.specific(bottom)
        g = torch.sigmoid(self.gate(torch.cat([s, t], -1)))
        return self.tower(g * s + (1 - g) * t).squeeze(-1)


def peers(setting: Setting):
    courses, d = setting.sizes["courses"], setting.sizes["dim"]
    ranked = min(setting.sizes["ranked"], setting.sizes["learners"])
    z, z_courses = setting.random(ranked, d), setting.random(courses, d)
    learner, course = setting.load("enrolments").unbind(1)
    kept = learner < ranked
    learner, course = learner[kept], course[kept]
    first = torch.searchsorted(learner, torch.arange(0, ranked + BLOCK, BLOCK, device=setting.device)).tolist()
    top = min(TOP, courses)

    def by_match():
        best = []
        for b in range(0, ranked, BLOCK):
            scores = z[b : b + BLOCK] @ z_courses.t()
            at = slice(first[b // BLOCK], first[b // BLOCK + 1])
            scores[learner[at] - b, course[at]] = -math.inf
            best.append(torch.topk(scores, top, 1))
        return best

    head = Head(d).to(setting.device)
    judged = -(-ranked // HEAD_SHARE)
    ends = torch.searchsorted(learner, torch.arange(0, judged + HEAD_BLOCK, HEAD_BLOCK, device=setting.device)).tolist()

    def by_head():
        best = []
        with torch.no_grad():
            for b in range(0, judged, HEAD_BLOCK):
                u = z[b : min(b + HEAD_BLOCK, judged)]
                pair = (len(u), courses, d)
                scores = head(u.unsqueeze(1).expand(pair), z_courses.unsqueeze(0).expand(pair))
                at = slice(ends[b // HEAD_BLOCK], ends[b // HEAD_BLOCK + 1])
                mine = learner[at] < judged
                scores[learner[at][mine] - b, course[at][mine]] = -math.inf
                best.append(torch.topk(scores, top, 1))
        return best

    yield "ranking/inner", "torch matmul + mask + topk", by_match
    yield "ranking/head", "torch head + mask + topk", by_head
