"""Activations that are computed again give the same loss and gradients, and fewer of them are kept."""

import torch

from descant.adapters import LoraConfig
from descant.training.adapters import AdapterTask
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.recompute import recompute_blocks
from descant.training.task import StepContext
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig
from tests.training.test_adapter_task import Scales


def backward(task: LMTask) -> tuple[torch.Tensor, list[torch.Tensor | None], int]:
    """The loss, the gradients, and the bytes that are kept between the two passes."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    task.trained.train()
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss, _ = task.loss("lm", Scales().batch(0), StepContext(0, torch.Generator().manual_seed(0), {}))
    loss.backward()
    gradients = [parameter.grad for parameter in task.parameters()["lm"].values()]
    return loss.detach(), gradients, sum(kept.values())


def test_recomputed_blocks_give_the_same_bits_from_less_memory(make_model):
    results = []
    for is_recomputed in (False, True):
        model = make_model()
        task = AdapterTask(model, LoraConfig(rank=4, alpha=4.0, dropout=0.3), LMTaskConfig())
        if is_recomputed:
            recompute_blocks(task.lm)
            assert type(model.lm.blocks) is not type(task.lm.blocks)
        results.append(backward(task))
    (loss, gradients, num_bytes), (same_loss, same_gradients, fewer_bytes) = results
    assert torch.equal(loss, same_loss)
    assert all(torch.equal(one, other) for one, other in zip(gradients, same_gradients, strict=True))
    assert fewer_bytes < 0.7 * num_bytes


def test_blocks_are_recomputed_in_bf16_too(make_model, tmp_path):
    model = make_model()
    task = AdapterTask(model, LoraConfig(rank=4, alpha=4.0), LMTaskConfig())
    recompute_blocks(task.lm)
    config = TrainerConfig(max_steps=1, precision="bf16", device="cpu", ema_decay=None, validate_every=None)
    assert Trainer(task, Scales(), config, tmp_path / "run").run(resume=False).step == 1


def test_a_model_whose_blocks_are_recomputed_has_the_same_weights_by_name(make_model):
    plain, recomputed = make_model(), make_model()
    recompute_blocks(recomputed.lm)
    assert recomputed.state_dict().keys() == plain.state_dict().keys()
    sequence = torch.randint(0, 32, (2, 4, 9))
    with torch.no_grad():
        assert torch.equal(recomputed.lm(sequence), plain.lm(sequence))
