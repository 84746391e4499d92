"""What is asked of images where they enter."""

from __future__ import annotations

import pytest
import torch

from msht.errors import InvalidInput
from msht.network.checks import check_images


def test_good_images_pass() -> None:
    check_images(torch.rand(2, 3, 8, 8))
    check_images(torch.rand(2, 1, 8, 8), in_chans=1)


def test_nan_names_the_image() -> None:
    images = torch.rand(3, 3, 8, 8)
    images[1, 2, 4, 4] = torch.nan
    with pytest.raises(InvalidInput, match="Image 1 of the batch"):
        check_images(images)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.rand(2, 1, 8, 8), "1 channels, but the network takes 3"),
        (torch.rand(3, 8, 8), r"shape \(3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "uint8"),
    ],
)
def test_what_is_not_an_image_batch_is_refused(images: torch.Tensor, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        check_images(images)
