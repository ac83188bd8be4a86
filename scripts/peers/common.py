"""What all peers share: sizes, inputs, the clock."""

import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch


# In the name of a peer that leaves out a part of the work: it is measured, and no ratio is made of it (peers.py).
LESS_WORK = "less work"


@dataclass
class Setting:
    """One family's work on one device."""

    sizes: dict
    inputs: Path
    device: torch.device
    compile: bool
    seconds: float
    problems: list = field(default_factory=list)

    def load(self, name: str) -> torch.Tensor:
        """Ids that `waata bench --save-inputs` wrote, as int64."""
        return torch.from_numpy(np.load(self.inputs / f"{name}.npy").astype(np.int64)).to(self.device)

    def random(self, *shape: int, std: float = 1.0) -> torch.Tensor:
        return torch.randn(*shape, device=self.device) * std

    @property
    def nodes(self) -> int:
        return self.sizes["learners"] + self.sizes["courses"]

    def edges(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Source and destination of every enrolment in both directions, learners first, sorted by destination: the order
        that is kind to every peer."""
        pairs = self.load("enrolments")
        learner, course = pairs[:, 0], pairs[:, 1] + self.sizes["learners"]
        source, target = torch.cat([course, learner]), torch.cat([learner, course])
        order = torch.argsort(target * self.nodes + source)
        return source[order].contiguous(), target[order].contiguous()


def import_dgl():
    """dgl without graphbolt, whose library is built for one version of torch. None where dgl is not installed."""
    import sys
    from unittest.mock import MagicMock

    sys.modules.setdefault("dgl.graphbolt", MagicMock())
    try:
        import dgl

        return dgl
    except ImportError:
        return None


def compiled(setting: Setting, function):
    """`function` under torch.compile; None where the setting leaves it out."""
    return torch.compile(function, dynamic=False) if setting.compile else None


HERTZ = os.sysconf("SC_CLK_TCK")


def busy() -> float:
    """Seconds of CPU time that the whole machine has spent."""
    with open("/proc/stat") as stat:
        fields = [int(x) for x in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / HERTZ


def own() -> float:
    times = os.times()
    return times.user + times.system


def once(work, device: torch.device) -> float:
    """Milliseconds of one call; on a GPU the device's own, between events."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) * 1e3


def measure(work, setting: Setting) -> dict:
    """Median and best of as many repetitions as fit the time, three at least, after two calls to warm up (the first may
    compile). `foreign` is the share of the machine's CPU time that other processes took meanwhile."""
    work()
    work()
    times = []
    begin, busy_before, own_before = time.perf_counter(), busy(), own()
    while len(times) < 3 or (time.perf_counter() - begin < setting.seconds and len(times) < 2000):
        times.append(once(work, setting.device))
    wall = time.perf_counter() - begin
    foreign = (busy() - busy_before) - (own() - own_before)
    return {
        "ms": statistics.median(times),
        "min_ms": min(times),
        "repetitions": len(times),
        "foreign": round(max(0.0, foreign) / (wall * os.cpu_count()), 3),
    }
