"""Writes the golden values that the Rust tests compare with, one JSON file per topic.

    python make.py              every topic
    python make.py transd auc   only these

See README.md for the environment and for the library behind each file."""

import sys

sys.dont_write_bytecode = True  # the folder holds committed files only

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fixed order of summation

import torch

import attention
import baselines
import comparison
import evaluation
import funnel
import heads
import losses
import multitask
import optimizers
import rankers
import transd
import waata
from common import write

TOPICS = {
    "transd": transd.make,
    "aggregator": attention.make_aggregator,
    "attention": attention.make_attention,
    "adam": optimizers.make_adam,
    "optimizers": optimizers.make_others,
    "sparse_optimizers": optimizers.make_sparse,
    "metabalance": optimizers.make_metabalance,
    "metrics": evaluation.make_metrics,
    "auc": evaluation.make_auc,
    "comparison": comparison.make,
    "losses": losses.make,
    "gate": heads.make_gate,
    "multitask": multitask.make,
    "baselines": baselines.make,
    "funnel": funnel.make,
    "rankers": rankers.make,
    "waata_forward": waata.make_forward,
    "waata_gradients": waata.make_gradients,
}


def main(names):
    unknown = [n for n in names if n not in TOPICS]
    if unknown:
        sys.exit(f"unknown topic {', '.join(unknown)}; known: {', '.join(TOPICS)}")
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for name in names or TOPICS:
        print(write(name, TOPICS[name]()))


if __name__ == "__main__":
    main(sys.argv[1:])
