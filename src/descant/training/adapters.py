"""Training an adapter beside a language model whose own weights stay as they are."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from descant.adapters import Adapter, LoraConfig, LowRank, new_adapter
from descant.adapters.layers import adapted
from descant.config import to_dict
from descant.data.token_dataset import TokenBatch
from descant.model import MusicGenModel
from descant.training.lm import LMTask, LMTaskConfig


class TrainedAdapter(nn.Module):
    """The tensors of an adapter as parameters, so that checkpoints and averages hold nothing of the model itself."""

    def __init__(self, adapter: Adapter, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.adapter = Adapter(
            {
                name: tuple(
                    part and LowRank(nn.Parameter(part.down), nn.Parameter(part.up), part.scale) for part in parts
                )
                for name, parts in adapter.changes.items()
            }
        )
        for name, parts in self.adapter.changes.items():
            for number, part in enumerate(parts):
                if part is not None:
                    place = f"{name.removesuffix('.weight').replace('.', '/')}/{number}"
                    self.register_parameter(f"{place}/down", part.down)  # type: ignore[arg-type]
                    self.register_parameter(f"{place}/up", part.up)  # type: ignore[arg-type]


class AdapterTask(LMTask):
    """Trains an adapter as ``LMTask`` trains a model. Validation has the loss of the model with the adapter.

    Args:
        model: in float32 or bfloat16; nothing in it changes.
        lora: the shape of the adapter.
        validation: as in ``LMTask``.
        seed: of the adapter's first values.
    """

    def __init__(
        self,
        model: MusicGenModel,
        lora: LoraConfig,
        config: LMTaskConfig,
        validation: Sequence[TokenBatch] = (),
        seed: int = 0,
    ) -> None:
        self.lora = lora
        module = TrainedAdapter(new_adapter(model, lora, torch.Generator().manual_seed(seed)), lora.dropout)
        super().__init__(
            adapted(model.eval().requires_grad_(False), module.adapter, module.dropout), config, validation
        )
        self.model = self.trained = module  # type: ignore[assignment]

    @property
    def adapter(self) -> Adapter:
        """The adapter as it is now: the averaged one inside ``Trainer.averaged_model``."""
        return self.trained.adapter  # type: ignore[return-value]

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.trained.to(device)

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "lora": to_dict(self.lora)}
