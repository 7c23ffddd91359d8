import pytest
import torch

from descant.codec.discriminators import MultiScaleSTFTDiscriminator, STFTDiscriminatorConfig
from descant.codec.losses import MelLossConfig, SpectralLossConfig
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.data.audio_dataset import AudioBatch
from descant.errors import ConfigError
from descant.nn.rvq import RVQConfig
from descant.training.codec import CodecTask, CodecTaskConfig, perplexity
from descant.training.task import StepContext
from descant.training.trainer import Trainer

RATE = 1_600


class Tones:
    """Sines of a few pitches, which a tiny codec can learn."""

    def batch(self, step):
        generator = torch.Generator().manual_seed(step)
        pitch = torch.randint(40, 300, (4, 1, 1), generator=generator)
        return AudioBatch(0.3 * torch.sin(2 * torch.pi * pitch * torch.arange(640) / RATE))


def tiny_task(*, has_discriminator=True, **changes):
    torch.manual_seed(1)
    quantizer = RVQConfig(dim=8, codebook_dim=8, num_codebooks=2, codebook_size=16)
    codec = SpectralCodec(
        SpectralCodecConfig(
            sample_rate_hz=RATE, hop_samples=32, window_samples=128, encoder_width=8, encoder_layers=1,
            decoder_width=8, decoder_layers=1, quantizer=quantizer,
        )
    )  # fmt: skip
    base = {
        "mel": MelLossConfig(sample_rate_hz=RATE, windows=(32, 128), num_mels=(5, 10)),
        "spectral": SpectralLossConfig(sample_rate_hz=RATE, windows=(64,), num_mels=8),
        "adversarial_from_step": 3 if has_discriminator else None,
    }
    discriminator = MultiScaleSTFTDiscriminator(STFTDiscriminatorConfig(filters=2, n_ffts=(64,), dilations=(1,)))
    config = CodecTaskConfig(**{**base, **changes})
    return CodecTask(codec, discriminator if has_discriminator else None, config, [Tones().batch(1_000)])


def trainer_of(toy, task, folder, **changes):
    return Trainer(task, Tones(), toy.config(**{"max_steps": 8, "save_every": 3, **changes}), folder)


@pytest.mark.parametrize("combine", ["sum", "balancer"])
def test_a_codec_with_a_discriminator_resumes_with_the_same_bits(toy, tmp_path, combine):
    whole = trainer_of(toy, tiny_task(combine=combine, spectral_weight=1.0), tmp_path / "whole")
    whole.run()
    for minutes in (1e-9, 1e-9, None):
        last = trainer_of(toy, tiny_task(combine=combine, spectral_weight=1.0), tmp_path / "parts", max_minutes=minutes)
        last.run(resume=last.log.file.exists())
    assert toy.same_bits(toy.weights(last), toy.weights(whole))


def test_the_codec_learns_and_its_validation_loss_falls(toy, tmp_path):
    task = tiny_task(has_discriminator=False)
    trainer = trainer_of(toy, task, tmp_path, max_steps=150, save_every=150, validate_every=150)
    with trainer.averaged_model():
        before = task.validate()
    result = trainer.run()
    assert result.metrics["mel"] < 0.8 * before["mel"]
    assert result.metrics.keys() == {"mel", "si_sdr_db", "perplexity_q0", "perplexity_q1"}


def test_training_clips_are_measured_as_validation_clips_are():
    task = tiny_task(has_discriminator=False)
    task.trained.eval()
    task.training_sample = [Tones().batch(7)]
    both = task.validate()
    task.validation, task.training_sample = task.training_sample, ()
    swapped = task.validate()
    assert {name: both[f"train_{name}"] for name in swapped} == swapped
    assert both["mel"] != swapped["mel"]


def test_the_discriminator_does_not_train_before_its_step(toy, tmp_path):
    task = tiny_task(adversarial_from_step=5)
    first = task.discriminator.parts[0].last.weight.clone()
    trainer_of(toy, task, tmp_path, max_steps=5).run()
    assert torch.equal(task.discriminator.parts[0].last.weight, first)
    trainer_of(toy, task, tmp_path, max_steps=6).run(resume=True)
    assert not torch.equal(task.discriminator.parts[0].last.weight, first)


def test_the_waveform_is_alone_before_the_step_of_the_spectra():
    task = tiny_task(has_discriminator=False, spectral_from_step=3, spectral_weight=1.0, wave_weight=2.0)
    alone = tiny_task(has_discriminator=False, mel_weight=0.0, wave_weight=2.0)
    batch = Tones().batch(5)

    def measured(task: CodecTask, step: int):
        torch.manual_seed(2)
        loss, metrics = task.loss("codec", batch, StepContext(step, torch.Generator(), {}))
        return loss, metrics.keys()

    (early, early_names), (late, late_names) = measured(task, 2), measured(task, 3)
    assert early == measured(alone, 2)[0] < late
    assert late_names - early_names == {"mel", "spectral"}


def test_a_frozen_encoder_keeps_the_codes_while_the_decoder_learns(toy, tmp_path):
    source = tiny_task(has_discriminator=False)
    trainer_of(toy, source, tmp_path / "first").run()
    task = tiny_task(freeze_encoder=True, adversarial_from_step=0)
    task.codec.load_state_dict(source.codec.state_dict())
    wave = Tones().batch(77).wave
    codes, decoded = task.codec.encode(wave), task.codec.decode(task.codec.encode(wave))
    trainer = trainer_of(toy, task, tmp_path / "polish")
    trainer.run()
    with trainer.averaged_model() as codec:
        assert torch.equal(codec.encode(wave), codes)
        assert not torch.equal(codec.decode(codes), decoded)


def test_the_balancer_is_refused_in_float16_whose_scaled_losses_it_does_not_see(toy, tmp_path):
    with pytest.raises(ConfigError, match=r"combine=.balancer.*train in bf16 or fp32"):
        trainer_of(toy, tiny_task(combine="balancer"), tmp_path, precision="fp16")
    trainer_of(toy, tiny_task(combine="sum"), tmp_path, precision="fp16")


def test_the_balancer_is_saved(toy, tmp_path):
    trainer = trainer_of(toy, tiny_task(combine="balancer"), tmp_path)
    trainer.run()
    assert trainer.updater.tensors()["trained"]["balancer.norm_counts"].min() > 0


def test_perplexity_counts_the_entries_in_use():
    codes = torch.tensor([[[0, 1, 2, 3], [5, 5, 5, 5]]])
    torch.testing.assert_close(perplexity(codes, codebook_size=8), torch.tensor([4.0, 1.0]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mel_weight": 0.0, "wave_weight": 0.0}, "no reconstruction loss"),
        ({"feature_weight": -1.0}, "feature_weight=-1"),
        ({"mel": MelLossConfig()}, "mel.sample_rate_hz=32000, but the codec's is 1600"),
        ({"adversarial_from_step": None}, "with a discriminator"),
        ({"spectral_from_step": -1}, "spectral_from_step=-1"),
        ({"spectral_from_step": 9, "wave_weight": 0.0}, "the first updates need a wave_weight"),
    ],
)
def test_contradictory_configs_are_refused_with_their_field(changes, message):
    with pytest.raises(ConfigError, match=message):
        tiny_task(**changes)
