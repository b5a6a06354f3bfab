"""`SubjectAdapters`: one linear map per subject into a space that all subjects share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from brainalign.errors import DataError

__all__ = ["SubjectAdapters"]


class SubjectAdapters(nn.Module):
    """Voxels of any subject to one width, each subject by its own linear map.

    Parameters
    ----------
    n_voxels : mapping of str to int
        Voxels of each subject; the order gives the subjects their numbers.
    width : int

    Raises
    ------
    DataError
        When a subject is unknown or already there, or has another number of voxels.

    Examples
    --------
    >>> adapters = SubjectAdapters({"1": 5, "2": 3}, 4)
    >>> adapters(torch.ones(2, 5), torch.tensor([0, 1])).shape
    torch.Size([2, 4])
    >>> adapters.add_subject("3", 7)
    >>> adapters.subjects
    ('1', '2', '3')
    """

    def __init__(self, n_voxels: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.width = width
        self.subjects: tuple[str, ...] = ()
        self.maps = nn.ModuleList()
        for subject, n in n_voxels.items():
            self.add_subject(subject, n)

    def add_subject(self, subject: str, n_voxels: int) -> None:
        """Give a further subject a fresh map."""
        if subject in self.subjects:
            raise DataError(f"subject '{subject}' has an adapter already", found=list(self.subjects))
        if n_voxels < 1:
            raise DataError(f"subject '{subject}' has no voxels", found=n_voxels)
        self.subjects = (*self.subjects, str(subject))
        self.maps.append(nn.Linear(n_voxels, self.width))

    def of(self, subject: str) -> nn.Linear:
        """The map of one subject."""
        if subject not in self.subjects:
            raise DataError(f"no adapter for subject '{subject}'", expected=list(self.subjects), found=subject)
        made = self.maps[self.subjects.index(subject)]
        assert isinstance(made, nn.Linear)
        return made

    def set_map(self, subject: str, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Put a map that was found in closed form: weight (n_voxels, width), bias (width,)."""
        linear = self.of(subject)
        if tuple(weight.T.shape) != tuple(linear.weight.shape) or tuple(bias.shape) != (self.width,):
            raise DataError(
                f"this map does not fit subject '{subject}'",
                expected=(linear.in_features, self.width),
                found=tuple(weight.shape),
            )
        with torch.no_grad():
            linear.weight.copy_(weight.T)
            linear.bias.copy_(bias)

    def forward(self, x: torch.Tensor, subject: torch.Tensor) -> torch.Tensor:
        """Map samples of several subjects.

        Parameters
        ----------
        x : tensor (n, n_voxels)
            Rows of subjects with fewer voxels are filled up at the end; what stands there is not read.
        subject : tensor of int (n,)
            Number of the subject of each row.
        """
        present = subject.unique().tolist()
        if len(present) == 1:
            return self._one(x, present[0])
        made = x.new_zeros(len(x), self.width)
        for number in present:
            rows = (subject == number).nonzero()[:, 0]
            made = made.index_add(0, rows, self._one(x[rows], number).to(made.dtype))
        return made

    def _one(self, x: torch.Tensor, number: int) -> torch.Tensor:
        linear = self.of(self.subjects[number]) if 0 <= number < len(self.subjects) else None
        if linear is None or x.shape[1] < linear.in_features:
            raise DataError(
                "these samples fit no adapter",
                expected={one: self.of(one).in_features for one in self.subjects},
                found=f"subject number {number}, {x.shape[1]} voxels",
            )
        return linear(x[:, : linear.in_features])
