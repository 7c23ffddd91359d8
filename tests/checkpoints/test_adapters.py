"""Adapters on disk: written and read they are the same, in peft too; what is not a plain LoRA is refused."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from descant.adapters import LoraConfig
from descant.adapters.layers import adapted
from descant.checkpoints import huggingface
from descant.checkpoints.adapters import CONFIG, WEIGHTS, AdapterInfo, is_adapter, load_adapter, save_adapter
from descant.errors import CheckpointError, InvalidRequest
from descant.nn.inputs import LMInputs

CONFIG_3 = LoraConfig(rank=3, alpha=6.0)
INFO = AdapterInfo(base="starter", base_fingerprint="abc", trigger="xyz style", trained={"steps": 60})


@pytest.fixture
def folder(tiny_model, tmp_path, make_adapter) -> Path:
    save_adapter(make_adapter(tiny_model), CONFIG_3, tmp_path / "adapter", INFO)
    return tmp_path / "adapter"


def edit(file: Path, change: Callable[[dict], object]) -> None:
    plain = json.loads(file.read_text())
    change(plain)
    file.write_text(json.dumps(plain))


def edit_tensors(file: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_written_and_read_an_adapter_is_the_same(tiny_model, folder, make_adapter):
    adapter, info = load_adapter(folder, tiny_model)
    expected = make_adapter(tiny_model)
    assert info == INFO
    assert adapter.changes.keys() == expected.changes.keys()
    for name, parts in expected.changes.items():
        for part, read in zip(parts, adapter.changes[name], strict=True):
            assert torch.equal(part.down, read.down)
            torch.testing.assert_close(read.dense(), part.dense(), rtol=0, atol=1e-6)


def test_a_folder_with_an_adapter_is_replaced_and_another_is_not(tiny_model, folder, tmp_path, make_adapter):
    assert is_adapter(folder)
    save_adapter(make_adapter(tiny_model), CONFIG_3, folder)
    assert load_adapter(folder, tiny_model)[1] == AdapterInfo()
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "mine.wav").write_bytes(b"")
    with pytest.raises(CheckpointError):
        save_adapter(make_adapter(tiny_model), CONFIG_3, tmp_path / "songs")
    assert not is_adapter(tmp_path / "songs")


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers 5 for it
@torch.no_grad()
@pytest.mark.parametrize("kind", ["odd", "melody"])
def test_peft_computes_the_same_with_ours(transformers_model, kind, tmp_path, make_adapter):
    peft = pytest.importorskip("peft", reason="peft")
    theirs = transformers_model(kind)
    ours = huggingface.load_model(theirs.folder)
    adapter = make_adapter(ours)
    save_adapter(adapter, CONFIG_3, tmp_path / "adapter", INFO)
    sequence = torch.randint(0, 8, (2, ours.lm.config.num_codebooks, 7), generator=torch.Generator().manual_seed(1))
    plain = theirs.model.decoder(input_ids=sequence.flatten(0, 1)).logits.unflatten(0, sequence.shape[:2])
    wrapped = peft.PeftModel.from_pretrained(copy.deepcopy(theirs.model), tmp_path / "adapter").eval()
    decoder = wrapped.base_model.model.decoder
    expected = decoder(input_ids=sequence.flatten(0, 1)).logits.unflatten(0, sequence.shape[:2])
    close = {"rtol": 0, "atol": 1e-4 * float(expected.abs().max())}
    torch.testing.assert_close(adapted(ours, adapter).lm(sequence), expected, **close)
    torch.testing.assert_close(
        adapted(ours, load_adapter(tmp_path / "adapter", ours)[0]).lm(sequence), expected, **close
    )
    assert (expected - plain).abs().max() > 0.1 * expected.abs().max()


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft asks transformers 5 for it
@torch.no_grad()
@pytest.mark.parametrize("use_rslora", [False, True])
def test_adapters_that_peft_has_made_are_read(transformers_model, tmp_path, use_rslora):
    """The targets of musicgen-dreamboothing, embeddings and the text's projection among them."""
    peft = pytest.importorskip("peft", reason="peft")
    theirs = transformers_model("odd")
    ours = huggingface.load_model(theirs.folder)
    targets = ["q_proj", "v_proj", "fc1", "embed_tokens.1", "enc_to_dec_proj", "lm_heads.0"]
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=targets,
        use_rslora=use_rslora,
        rank_pattern={"fc1": 2},
        alpha_pattern={"v_proj": 3},
    )
    wrapped = peft.get_peft_model(copy.deepcopy(theirs.model), config).eval()
    generator = torch.Generator().manual_seed(2)
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 4)
    wrapped.save_pretrained(tmp_path / "theirs")
    adapter, _ = load_adapter(tmp_path / "theirs", ours)
    sequence = torch.randint(0, 8, (2, ours.lm.config.num_codebooks, 7), generator=generator)
    states = torch.randn(2, 5, ours.config.text.dim, generator=generator)
    expected = wrapped.base_model.model(
        encoder_outputs=(states,), decoder_input_ids=sequence.flatten(0, 1)
    ).logits.unflatten(0, sequence.shape[:2])
    model = adapted(ours, adapter)
    found = model.lm(sequence, LMInputs(cross=model.text.project(states)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain.update(peft_type="LOHA"), "peft_type='LOHA' is not supported"),
        (lambda plain: plain.update(use_dora=True), "use_dora=True is not supported"),
        (lambda plain: plain.update(bias="all"), "bias='all' is not supported"),
        (lambda plain: plain.update(modules_to_save=["lm_heads"]), "modules_to_save"),
        (lambda plain: plain.update(r=5), "has rank 3, its config says 5"),
        (lambda plain: plain.update(lora_alpha="much"), "lora_alpha='much' must be a number above 0"),
        (lambda plain: plain.update(alpha_pattern={"(": 1}), "is not a pattern"),
    ],
)
def test_a_config_that_is_not_plain_lora_is_refused(tiny_model, folder, change, message):
    edit(folder / CONFIG, change)
    with pytest.raises(CheckpointError, match=message.replace("(", r"\(")):
        load_adapter(folder, tiny_model)


FC1 = "base_model.model.decoder.model.decoder.layers.0.fc1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop(f"{FC1}.lora_A.weight"), "only one of two matrices"),
        (lambda tensors: tensors.update({f"{FC1}.lora_magnitude_vector": torch.ones(3, 3)}), "unknown tensor"),
        (lambda tensors: tensors[f"{FC1}.lora_A.weight"].fill_(torch.nan), "not finite"),
        (lambda tensors: tensors.update({f"{FC1}.lora_A.weight": torch.ones(2, 16)}), "rank 2 and rank 3"),
        (lambda tensors: tensors.update({f"{FC1.replace('0', '99')}.lora_A.weight": torch.ones(3, 16)}), "layers.99"),
    ],
)
def test_tensors_that_do_not_belong_there_are_named(tiny_model, folder, change, message):
    edit_tensors(folder / WEIGHTS, change)
    with pytest.raises(CheckpointError, match=message):
        load_adapter(folder, tiny_model)


def test_files_that_are_missing_or_broken_are_named(tiny_model, folder, tmp_path):
    for name in (CONFIG, WEIGHTS):
        broken = Path(shutil.copytree(folder, tmp_path / name))
        (broken / name).unlink()
        with pytest.raises(CheckpointError, match=f"{name} is missing"):
            load_adapter(broken, tiny_model)
        (broken / name).write_bytes(b"{" * 20)
        with pytest.raises(CheckpointError, match=name):
            load_adapter(broken, tiny_model)


def test_an_adapter_for_another_size_is_refused(make_model, folder):
    with pytest.raises(InvalidRequest, match="this model has"):
        load_adapter(folder, make_model(lm_changes={"width": 64}))
