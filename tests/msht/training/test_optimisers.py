import pytest
import torch
from torch import nn

from msht.network.factory import create_network
from msht.training.optimisers import make_optimiser
from msht.training.sam import SharpnessAware
from msht.training.settings import Optimiser


def rates(network: nn.Module, **settings: object) -> dict[str, float]:
    optimiser = make_optimiser(network, Optimiser(**settings), 1e-3)  # type: ignore[arg-type]
    held = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    return {name: held[id(p)] for name, p in network.named_parameters()}


@pytest.mark.parametrize("name", ["msht_small", "test_vit", "test_resnet"])
def test_layer_decay_gives_earlier_layers_smaller_rates_and_the_head_the_whole_one(name: str) -> None:
    network = create_network(name, num_classes=2, img_size=64)
    found = rates(network, layer_decay=0.5)
    assert set(found) == {n for n, _ in network.named_parameters()}
    head = [rate for n, rate in found.items() if n.startswith(("head.", "fc."))]
    assert head
    assert set(head) == {1e-3}
    shares = sorted({rate / 1e-3 for rate in found.values()})
    assert len(shares) > 2
    assert all(any(share == pytest.approx(0.5**k) for k in range(40)) for share in shares)


def test_the_layers_of_msht_are_ordered_from_the_stem_to_the_head() -> None:
    found = rates(create_network("msht_small", num_classes=2, img_size=64), layer_decay=0.5)
    stem = next(rate for name, rate in found.items() if name.startswith("backbone.conv1"))
    first = next(rate for name, rate in found.items() if name.startswith("backbone.layer1"))
    last = next(rate for name, rate in found.items() if name.startswith("backbone.layer4"))
    decoders = [next(r for n, r in found.items() if n.startswith(f"decoders.{i}.")) for i in range(4)]
    order = [stem, first, last, *decoders, found["head.weight"]]
    assert order == sorted(order)
    assert stem < first < last < decoders[0] < decoders[3]
    assert (
        found[
            "focus.0.gaze.proj.weight"
            if "focus.0.gaze.proj.weight" in found
            else next(n for n in found if n.startswith("focus.0."))
        ]
        <= decoders[1]
    )


def test_one_rate_for_all_unless_asked() -> None:
    assert set(rates(create_network("test_vit", num_classes=2, img_size=64)).values()) == {1e-3}


def test_sharpness_is_minimised_where_the_recipe_says_so() -> None:
    network = create_network("test_vit", num_classes=2, img_size=64)
    plain = make_optimiser(network, Optimiser(), 1e-3)
    sharp = make_optimiser(network, Optimiser(sam=0.05), 1e-3)
    assert type(plain) is torch.optim.AdamW
    assert isinstance(sharp, SharpnessAware)
    assert type(sharp.base) is torch.optim.AdamW
    assert sharp.radius == 0.05
