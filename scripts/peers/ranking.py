"""The 50 best courses of many learners by inner product, without those they have taken."""

import math

import torch

from common import Setting

TOP, BLOCK = 50, 4096


def peers(setting: Setting):
    courses, d = setting.sizes["courses"], setting.sizes["dim"]
    ranked = min(setting.sizes["ranked"], setting.sizes["learners"])
    z, z_courses = setting.random(ranked, d), setting.random(courses, d)
    learner, course = setting.load("enrolments").unbind(1)
    kept = learner < ranked
    learner, course = learner[kept], course[kept]
    first = torch.searchsorted(learner, torch.arange(0, ranked + BLOCK, BLOCK, device=setting.device)).tolist()
    top = min(TOP, courses)

    def work():
        best = []
        for b in range(0, ranked, BLOCK):
            scores = z[b : b + BLOCK] @ z_courses.t()
            at = slice(first[b // BLOCK], first[b // BLOCK + 1])
            scores[learner[at] - b, course[at]] = -math.inf
            best.append(torch.topk(scores, top, 1))
        return best

    yield "ranking/inner", "torch matmul + mask + topk", work
