"""`System`: one way from a brain to a picture, as an experiment file names it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["System"]


class System(BaseModel):
    """One way to a picture: an encoder with its hyper-parameters, what it predicts, and what makes pictures of that.

    `generator` is one of ``pixels``, ``decode``, ``linear``, ``nearest``, or a name that `load_generator` knows, such
    as ``mini``; of several latents each is given to it in the role that its space has there. `choices` are changes to
    `params`, of which each fold takes the best in `inner_splits` folds of its training side. `shuffles` brains are
    shuffled for the control: with several its interval is over shuffles, with one over pictures, which is too narrow.
    With `pretrain` the encoder is fitted on the other subjects of the data set, which give up the pictures held out,
    and takes in the first by `transfer`, with the options of that name. With `refine`, the name of image latents among
    those of the experiment, each fit ends with Brain-IT's second stage, through the diffusion model of `generator`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = "LinearEncoder"
    params: dict[str, Any] = Field(default_factory=dict)
    latents: list[str] = Field(min_length=1)
    generator: str = "pixels"
    options: dict[str, Any] = Field(default_factory=dict)
    controls: bool = True
    choices: list[dict[str, Any]] = Field(default_factory=list)
    inner_splits: int = Field(default=3, ge=2)
    shuffles: int = Field(default=1, ge=1)
    pretrain: bool = False
    transfer: dict[str, Any] = Field(default_factory=dict)
    refine: str | None = None

    @model_validator(mode="after")
    def _pretrained_as_it_is(self) -> System:
        if self.pretrain and self.choices:
            raise ValueError("a pretrained system has no choices: its sizes are those of the shared network")
        if self.refine is not None and (self.pretrain or self.choices):
            raise ValueError("refine goes with neither pretrain nor choices: both stages are fitted anew in each fold")
        if self.transfer and not self.pretrain:
            raise ValueError("transfer is for a system with pretrain: true")
        return self
