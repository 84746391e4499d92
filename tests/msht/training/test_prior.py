import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from msht.errors import InvalidInput
from msht.training.prior import add_prior, balancing_weights, class_shares


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def get_classifier(self) -> nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)


@pytest.fixture
def gaussians() -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes, one in ten positive, whose log-odds are linear: 2 x + log(1 / 9)."""
    generator = np.random.default_rng(0)
    labels = (generator.random(20000) < 0.1).astype(int)
    x = generator.normal(np.where(labels == 1, 1.0, -1.0), 1.0)
    return torch.from_numpy(x).float()[:, None], torch.from_numpy(labels)


def fitted(x: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> Linear:
    network = Linear()
    optimiser = torch.optim.LBFGS(network.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(network(x), labels, weight=weights, reduction="none").mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return network


def test_balanced_learning_with_the_prior_put_back_is_calibrated(gaussians: tuple[torch.Tensor, torch.Tensor]) -> None:
    x, labels = gaussians
    shares = class_shares(labels.numpy())
    network = fitted(x, labels, balancing_weights(shares))
    raw = network(x).softmax(dim=1)[:, 1].mean()
    add_prior(network, shares)
    probability = network(x).softmax(dim=1)[:, 1].detach().numpy()
    assert raw > 0.2, "balanced learning alone answers for another prevalence"
    assert probability.mean() == pytest.approx(shares[1], abs=0.004)
    oracle = LogisticRegression(C=1e9).fit(x.numpy(), labels.numpy()).predict_proba(x.numpy())[:, 1]
    assert np.abs(probability - oracle).mean() < 0.005


def test_both_classes_weigh_the_same_and_the_mean_weight_is_one() -> None:
    shares = class_shares(np.array([0, 0, 0, 1]))
    weights = balancing_weights(shares)
    assert float(weights[0] * 3) == pytest.approx(float(weights[1] * 1))
    assert float((weights[0] * 3 + weights[1]) / 4) == pytest.approx(1.0)


def test_a_missing_class_and_a_head_without_bias_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 positive"):
        class_shares(np.array([0, 0]))
    network = Linear()
    network.head = nn.Linear(1, 2, bias=False)
    with pytest.raises(InvalidInput, match="linear head with a bias"):
        add_prior(network, np.array([0.5, 0.5]))
