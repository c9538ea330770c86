"""The plan's figures against ones worked out by hand, and what is unknown said to be so."""

import pytest
import torch

from tpccma import load_profile
from tpccma.methods import METHODS
from tpccma.runs.jobs import ALPHAS, DIAL, SEEDS
from tpccma.runs.plan import Towers, kept_bytes, loss_bytes, plan, sweep_commands, sweep_runs, tower_bytes
from tpccma.training.encoders import build_encoder

HEADS = {"model__image_width": 6, "model__text_width": 4, "model__hidden_width": 8, "model__embed_dim": 5}


def test_steps_and_phases_of_the_demo_are_computed():
    table = plan("demo")
    assert table.value["pairs in an epoch"] == "24,000"
    assert table.value["steps of a run"] == "186"  # 2 epochs of 93 batches of 256
    assert table.value["of these"] == "anchor 28, ramp 84, stabilize 74"
    assert table.source["GPU hours of a training"].startswith("give --samples-per-second")


def test_hours_follow_from_the_rate_that_is_given():
    table = plan("demo", pairs=3_600_000, samples_per_second=1000.0, gpus=4)
    runs = len(sweep_runs())
    assert table.value["hours of a training"] == "2.00"  # two epochs
    assert table.value["GPU hours of a training"] == "8.00"
    assert table.value["GPU hours of the sweep's trainings"] == f"{8 * runs:.1f}"


def test_sweep_counts_every_trained_method_alpha_and_seed():
    others = {name for name, method in METHODS.items() if method.trained and not method.dial}
    assert len(sweep_runs()) == len(set(sweep_runs())) == (len(ALPHAS) + len(others)) * len(SEEDS)
    commands = sweep_commands("paper", gpus=8, seeds=(0,))
    assert commands[0] == "tpccma train --profile paper --method base"
    dialled = [command for command in commands if f"--method {DIAL} " in command]
    assert [float(command.split("--alpha ")[1].split()[0]) for command in dialled] == list(ALPHAS)
    launched = {command.split("--method ")[1].split()[0] for command in commands if command.startswith("accelerate")}
    assert launched == {DIAL, *others}
    several = "accelerate launch --num_processes 8 -m tpccma train --profile paper --method clip --seed 0"
    assert several in commands and "tpccma train --profile paper --method realign --seed 0" in commands
    assert sum("--method" in command for command in commands) == 1 + len(ALPHAS) + sum(
        not method.dial for method in METHODS.values()
    )


def test_what_cannot_be_known_here_is_said():
    table = plan(load_profile("fashion", **HEADS))
    assert table.value["pairs in an epoch"] == table.value["steps of a run"] == "unknown"
    assert "--pairs" in table.source["pairs in an epoch"]


def test_memory_of_heads_by_hand():
    profile = load_profile("fashion", **HEADS, fine_tune__batch_size=16)
    parameters = (6 + 6 + 6 * 8 + 8 + 8 * 5 + 5) + (4 + 4 + 4 * 8 + 8 + 8 * 5 + 5) + 1
    table = plan(profile, pairs=64)
    assert table.value["parameters"] == str(parameters)
    assert table.value["steps of a run"] == f"{4 * profile.fine_tune.epochs}"


def test_bytes_kept_for_the_backward_pass_are_counted_once():
    x = torch.randn(10, 3, requires_grad=True)
    assert kept_bytes(lambda: x.exp(), set()) == 120  # its result alone
    assert kept_bytes(lambda: (x * x).sum(), set()) == 120  # the same tensor twice
    assert kept_bytes(lambda: (x * x).sum(), {x.data_ptr()}) == 0


def test_towers_keep_in_proportion_and_half_in_bf16():
    profile = load_profile("demo")
    model = Towers(build_encoder(profile).model)
    whole = tower_bytes(model, profile)
    assert tower_bytes(model, profile) == whole  # texts of full length, whatever the random state
    half = tower_bytes(model, load_profile(profile, fine_tune__precision="bf16"))
    assert 0.4 * whole < half < 0.8 * whole


def test_memory_of_the_loss_is_linear_in_the_batch():
    profile = load_profile("demo")
    # what is kept: two embeddings of 8 floats a pair and their two gradients, and some scalars
    assert loss_bytes(profile, 128, 8) == pytest.approx(128 * 4 * 8 * 4, rel=0.01)
    assert loss_bytes(profile, 4096, 8) == pytest.approx(4096 * 4 * 8 * 4, rel=0.01)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"gpus": 0}, "gpus must be positive, got 0"),
        ({"pairs": -1}, "pairs must be positive, got -1"),
        ({"samples_per_second": 0.0}, r"samples_per_second must be positive, got 0\.0"),
        ({"gpus": 3}, "batch size 256 does not divide among 3 GPUs"),
        ({"batch_sizes": (4,), "gpus": 4}, "batch size 4 does not divide among 4 GPUs"),
    ],
)
def test_impossible_numbers_are_named(given: dict, message: str):
    with pytest.raises(ValueError, match=message):
        plan("demo", **given)
