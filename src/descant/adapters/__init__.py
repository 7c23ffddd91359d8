"""Low-rank adapters (LoRA, arXiv 2106.09685): small changes of a model's matrices, kept beside it in files of their
own, trained on little music, and used alone, stacked or merged.
"""

from descant.adapters.lora import Adapter, LoraConfig, LowRank, adaptable, new_adapter, stacked

__all__ = ["Adapter", "LoraConfig", "LowRank", "adaptable", "new_adapter", "stacked"]
