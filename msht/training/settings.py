"""Sections of the recipe that say how a network is trained."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

FIXED_OPTIONS = {
    "num_classes": "the classes are the recipe's `classes`",
    "img_size": "the size is `preprocessing.size`",
    "in_chans": "fields have three channels",
    "pretrained": "say `network.pretrained`",
}
"""Arguments of a network that other settings decide, with which."""


class Section(BaseModel):
    """A part of the recipe: frozen, and refusing keys it does not know and numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = get_args(cls.model_fields[str(info.field_name)].annotation) or (
            cls.model_fields[str(info.field_name)].annotation,
        )
        if isinstance(value, bool) and bool not in kinds and {int, float} & set(kinds):
            raise ValueError("must be a number")
        return value


class Network(Section):
    """Which network, and what it starts from."""

    name: str = "msht_small"
    """Name of a network that `msht models` lists."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the network, by name."""
    pretrained: bool | str = False
    """False: random weights; true: from the hub, through timm; or the path of a safetensors file."""

    @field_validator("options")
    @classmethod
    def _free_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, reason in FIXED_OPTIONS.items():
            if name in value:
                raise ValueError(f"'{name}' cannot be set here: {reason}")
        return value


class Freezing(Section):
    """Parts of the network that keep the weights they start with, for a while or for good."""

    parts: tuple[str, ...] = ()
    """Modules by their dotted names, such as `backbone` or `backbone.layer1`; their batch norms stay in evaluation
    mode."""
    epochs: int | None = Field(None, ge=1)
    """For how many epochs; none: for the whole training."""

    @model_validator(mode="after")
    def _of_something(self) -> Freezing:
        if self.epochs is not None and not self.parts:
            raise ValueError("epochs are given, but no parts to freeze")
        return self


class Optimiser(Section):
    """The optimiser and its settings."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    """`adam` adds the decay to the gradient (L2), `adamw` decouples it."""
    lr: float = Field(1e-3, gt=0)
    """Largest learning rate; where it starts, unless the schedule warms up."""
    find_lr: bool = False
    """Whether Lightning's range test on each fold's training images sets the rate in place of `lr`; what it found is
    saved with the fold."""
    weight_decay: float = Field(0.05, ge=0)
    """Shrinks the weights at every step."""
    decay_biases: bool = False
    """Whether biases, norms, tokens and positions decay too, as in the published protocol."""
    layer_decay: float | None = Field(None, gt=0, le=1)
    """Each layer's rate as a share of the rate of the layer above it, so that early layers move less; none: one rate
    for all."""
    gradient_clip: float | None = Field(None, gt=0)
    """Largest Euclidean norm of the gradient."""
    sam: float | None = Field(None, gt=0)
    """Radius of sharpness-aware minimisation (two passes a step); none: without."""

    @model_validator(mode="after")
    def _one_way_to_decay(self) -> Optimiser:
        if self.layer_decay is not None and self.decay_biases:
            raise ValueError("layer_decay spares biases and norms from decay, but decay_biases asks for it")
        return self


class Schedule(Section):
    """How the learning rate moves."""

    warmup_epochs: float = Field(0.0, ge=0)
    """Linear rise from 1 % of the rate."""
    floor: float = Field(0.01, ge=0, le=1)
    """Where the cosine ends, as a share of the rate."""
    step: Literal["epoch", "batch"] = "batch"
    """How often the rate moves; the published protocol moves it by epoch."""


class Training(Section):
    """The loop."""

    epochs: int = Field(15, ge=1, le=100_000)
    """Passes over the training images."""
    batch_size: int = Field(32, ge=1, le=100_000)
    """Images a step of the optimiser sees, over all processes together."""
    accumulate: int = Field(1, ge=1)
    """Parts that a batch goes through the network in, one after another, to save memory. Batch norm sees a part."""
    halve_batch: bool = False
    """When memory runs out: whether the parts are halved (`accumulate` doubled) and the training goes on, the batch of
    a step staying what it is."""
    memory_format: Literal["channels_last", "contiguous"] = "channels_last"
    """Order of the pixels in memory; channels last trains `msht_small` 1.5 times as fast on two cores."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Of the arithmetic; the weights stay in single precision."""
    compile: Literal["none", "inductor", "aot_eager", "eager"] = "none"
    """Backend of `torch.compile`; the networks that are kept are not compiled."""
    checkpoint_activations: bool = False
    """Whether activations are computed again on the way back instead of kept: less memory, about a third more time."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the truth that is spread over both classes."""
    mixup: float = Field(0.0, ge=0, le=100)
    """Alpha of the Beta distribution that blends pairs of images; 0: none. With `cutmix` too, each batch draws one."""
    cutmix: float = Field(0.0, ge=0, le=100)
    """Alpha of the Beta distribution of the area that a pair of images swaps; 0: none."""
    class_prior: Literal["natural", "balanced"] = "natural"
    """`balanced`: both classes weigh the same in the loss, and after training the log-odds of the training prior are
    added to the head, so that probabilities belong to the cohort's prevalence again."""
    average_weights: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, per step; none: the last weights."""
    selection: Literal["validation-fold", "inner-split", "last"] = "last"
    """Which weights a fold keeps: the last, or the best by accuracy (ties by training accuracy) on the fold held out
    (as published; optimistic there) or on whole groups taken out of the training part."""
    selection_share: float = Field(0.2, gt=0, le=0.5)
    """Share of the training part that `inner-split` takes out; 1 / round(1 / share) is drawn."""
    patience: int | None = Field(None, ge=1)
    """Epochs without a better one on the selection data after which a fold stops; none: never early."""
    checkpoint_batches: int | None = Field(None, ge=1)
    """Steps between checkpoints within an epoch; none: one checkpoint an epoch."""
    workers: int = Field(0, ge=0, le=1024)
    """Processes that read images beside the training process."""
    augment_on: Literal["worker", "device"] = "worker"
    """Where random views are made: by the processes that read, or of whole batches on the device that trains; the
    draws are the same, and the views but for rounding."""
    cache_gib: float = Field(4.0, ge=0, le=2**20)
    """Memory for decoded images, in GiB; what does not fit is decoded again each time."""

    @model_validator(mode="after")
    def _fits_together(self) -> Training:
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate ({self.accumulate}) is more than batch_size ({self.batch_size})")
        if self.patience is not None and self.selection == "last":
            raise ValueError(
                "patience needs data that choose the epoch, but selection is 'last'; "
                "use selection 'inner-split' or leave patience out"
            )
        return self
