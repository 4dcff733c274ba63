"""The update rules are torch's: the same numbers, and states that go from one to the other."""

import pytest
import torch

from latentflow.inversion.methods import BETAS, choose

TORCH = {
    "adam": lambda z, lr: torch.optim.Adam([z], lr=lr, betas=BETAS),
    "adamw": lambda z, lr: torch.optim.AdamW([z], lr=lr, betas=BETAS),
    "sgd": lambda z, lr: torch.optim.SGD([z], lr=lr, momentum=0.9),
    "km": lambda z, lr: torch.optim.SGD([z], lr=lr),
    "inertial_km": lambda z, lr: torch.optim.SGD([z], lr=lr, momentum=0.5, nesterov=True),
}
by_name = pytest.mark.parametrize("optimizer", TORCH)


def updates_of(optimizer, latent):
    method = "gradient" if optimizer in ("adam", "adamw", "sgd") else "gradient_free"
    return choose(method, optimizer, 0.1, 10).updates(latent)


def directions(steps, seed=0):
    return torch.randn(steps, 2, 4, 3, 5, generator=torch.Generator().manual_seed(seed))


@by_name
def test_the_numbers_are_torchs(optimizer):
    ours, theirs = torch.ones(2, 4, 3, 5), torch.ones(2, 4, 3, 5)
    updates, reference = updates_of(optimizer, ours), TORCH[optimizer](theirs, 0.1)
    for index, direction in enumerate(directions(40)):
        lr = 0.1 / (1 + index)  # as a schedule has it
        updates.move(direction.clone(), lr)
        reference.param_groups[0]["lr"] = lr
        theirs.grad = direction.clone()
        reference.step()
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6), index
    assert not torch.allclose(ours, torch.ones_like(ours), atol=0.05)


@by_name
def test_a_state_of_torch_is_gone_on_with(optimizer):
    """Checkpoints of 0.1.0 hold states of torch's optimizers."""
    theirs = torch.ones(2, 4, 3, 5)
    reference = TORCH[optimizer](theirs, 0.1)
    *before, after = directions(9)
    for direction in before:
        theirs.grad = direction.clone()
        reference.step()
    ours = theirs.clone()
    updates = updates_of(optimizer, ours)
    updates.load_state_dict(reference.state_dict())
    updates.move(after.clone(), 0.1)
    theirs.grad = after.clone()
    reference.step()
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)


@by_name
def test_a_state_holds_the_constants_it_was_begun_with(optimizer):
    latent = torch.ones(1, 4, 3, 5)
    state = updates_of(optimizer, latent).state_dict()
    if optimizer not in ("adam", "adamw"):
        state["param_groups"][0] = {"momentum": 0.25, "nesterov": False}
    else:
        state["param_groups"][0] = {"betas": (0.5, 0.6), "weight_decay": 0.5}
    updates = updates_of(optimizer, latent)
    updates.load_state_dict(state)
    assert updates.state_dict()["param_groups"] == state["param_groups"]


def test_a_state_of_another_shape_is_refused():
    updates, other = updates_of("adam", torch.ones(1, 4, 3, 5)), updates_of("adam", torch.ones(1, 4, 2, 2))
    other.move(torch.ones(1, 4, 2, 2), 0.1)
    with pytest.raises(ValueError, match="shape"):
        updates.load_state_dict(other.state_dict())
