import copy

import pytest
import torch
from torch import nn

from msht.network.factory import create_network
from msht.training.activations import checkpoint_activations, running_figures_kept


def gradients(network: nn.Module, size: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    nn.functional.cross_entropy(network.train()(images), torch.tensor([0, 1])).backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found, {name: value for name, value in network.named_buffers() if "running" in name}


# With timm's own switch (with and without batch norm), and without it: a sequence, and blocks.
@pytest.mark.parametrize(("name", "size"), [("msht_small", 64), ("test_vit", 32), ("vgg11_bn", 32), ("xception", 64)])
def test_recomputed_activations_give_the_same_gradients_and_batch_figures(name: str, size: int) -> None:
    torch.manual_seed(0)
    options = {"drop_rate": 0.0}
    plain = create_network(name, num_classes=2, img_size=size, **options)
    checked = copy.deepcopy(plain)
    checkpoint_activations(checked)
    counted = {"saved": 0}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        counted["saved"] += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        wanted, running = gradients(plain, size)
    before = counted["saved"]
    counted["saved"] = 0
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        found, figures = gradients(copy.deepcopy(checked), size)
    assert counted["saved"] != before
    assert set(found) == set(wanted)
    for key, gradient in wanted.items():
        assert torch.allclose(found[key], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max() + 1)), key
    for key, value in running.items():
        assert torch.allclose(figures[key], value, rtol=1e-4, atol=1e-6), key
    assert list(checked.state_dict()) == list(plain.state_dict())


def test_running_figures_can_be_left_alone_for_a_pass() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    images = torch.randn(4, 3, 8, 8)
    wanted = copy.deepcopy(network)(images)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with running_figures_kept(network):
        assert torch.equal(network(images), wanted)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    network(images)
    assert not torch.equal(network.state_dict()["1.running_mean"], before["1.running_mean"])
