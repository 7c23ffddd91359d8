import pytest
import torch

from descant.errors import ConfigError, TrainingDiverged
from descant.training.checkpoint import read_tensors
from descant.training.logs import read_log
from descant.training.trainer import Trainer


@pytest.mark.parametrize("has_critic", [False, True])
def test_a_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(toy, tmp_path, has_critic):
    whole = toy.trainer(tmp_path / "whole", has_critic=has_critic, accumulate=2)
    whole.run()
    for step in (3, 6, 7, 13):
        toy.stop_at(toy.trainer(tmp_path / "parts", has_critic=has_critic, accumulate=2), step)
    second = toy.trainer(tmp_path / "parts", has_critic=has_critic, accumulate=2)
    result = second.run(resume=True)
    assert result.finished
    assert result.step == 20
    assert toy.same_bits(toy.weights(second), toy.weights(whole))


def test_two_half_batches_make_the_update_of_one_whole_batch(toy, tmp_path):
    whole, halves = (toy.trainer(tmp_path, dropout=0.0, accumulate=number, clip_norm=None) for number in (1, 2))
    batch = toy.Batches().batch(0)
    norms = []
    for trainer, batches in ((whole, [batch]), (halves, list(batch.chunk(2)))):
        # The running mean sees two batches where the other run sees one; that is the toy's matter, not the trainer's.
        trainer.task.model.forward = lambda values, m=trainer.task.model: m.down(m.norm(m.up(values)))
        norms.append(trainer.updater.update(0, batches)[-1]["norm_student"])
    # The norm too, for AdamW makes the same step of a gradient of any length.
    torch.testing.assert_close(norms[1], norms[0])
    for name, parameter in whole.task.model.named_parameters():
        torch.testing.assert_close(halves.task.model.get_parameter(name), parameter, rtol=0, atol=1e-6)


def test_a_batch_that_is_not_finite_leaves_everything_but_the_count_untouched(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=(2,)), ema_decay=None)
    for step in (0, 1):
        trainer.updater.update(step, [trainer.batches.batch(step)])
    before = toy.weights(trainer)
    trainer.updater.update(2, [trainer.batches.batch(2)])
    assert toy.same_bits(toy.weights(trainer), before)
    assert trainer.updater.skipped == 1
    trainer.updater.update(3, [trainer.batches.batch(3)])
    assert not toy.same_bits(toy.weights(trainer), before)
    assert trainer.updater.skips_in_a_row == {"student": 0}


def test_many_bad_batches_in_a_row_end_the_run_and_say_so(toy, tmp_path):
    trainer = toy.trainer(tmp_path, batches=toy.Batches(bad=tuple(range(2, 99))), max_skips=4)
    with pytest.raises(TrainingDiverged, match=r"step 5: the student turn .* 4 times"):
        trainer.run()


def test_a_turn_leaves_the_gradients_of_the_other_alone(toy, tmp_path):
    """The student's loss passes through the critic; the critic must not learn from it."""
    trainer = toy.trainer(tmp_path, has_critic=True)
    trainer.task.turns = lambda _step: ("student",)
    before = trainer.task.critic.weight.clone()
    trainer.run()
    assert torch.equal(trainer.task.critic.weight, before)
    assert trainer.task.critic.weight.grad is None
    assert trainer.task.critic.weight.requires_grad


def test_validation_sees_the_averaged_weights_and_training_goes_on_with_its_own(toy, tmp_path):
    trainer = toy.trainer(tmp_path)
    trainer.run()
    own = trainer.task.model.up.weight.clone()
    with trainer.averaged_model() as model:
        assert torch.equal(model.up.weight, trainer.task.model.up.weight)
        averaged = model.up.weight.clone()
    assert torch.equal(trainer.task.model.up.weight, own)
    assert not torch.equal(averaged, own)
    assert torch.equal(averaged, read_tensors(tmp_path / "step-00000020", "average")["up.weight"])


def test_the_log_has_every_step_once_however_often_the_run_was_killed(toy, tmp_path):
    for step in (4, 8, 13, 17):
        toy.stop_at(toy.trainer(tmp_path, save_every=4), step)
    with (tmp_path / "log.jsonl").open("a") as stream:
        stream.write('{"step": 18, "ki')
    toy.trainer(tmp_path, save_every=4).run(resume=True)
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines if line["kind"] == "train"] == [3, 6, 9, 12, 15, 18, 20]
    assert [line["step"] for line in lines if line["kind"] == "validation"] == [7, 14, 20]
    assert lines[0].keys() >= {"loss", "lr", "audio_s_per_s", "skipped", "norm_student"}


def test_a_run_killed_between_its_last_save_and_its_validation_still_gets_validated(toy, tmp_path):
    first = toy.trainer(tmp_path)
    first.task.validate = None
    with pytest.raises(TypeError):
        first.run()
    result = toy.trainer(tmp_path).run(resume=True)
    assert result.metrics.keys() == {"error"}


def test_resuming_a_finished_run_changes_nothing(toy, tmp_path):
    first = toy.trainer(tmp_path)
    result = first.run()
    log = (tmp_path / "log.jsonl").read_text()
    again = toy.trainer(tmp_path)
    assert again.run(resume=True) == result
    assert again.task.validations == 0
    assert (tmp_path / "log.jsonl").read_text() == log
    assert toy.same_bits(toy.weights(again), toy.weights(first))


def test_a_run_given_more_steps_before_its_decay_is_the_longer_run(toy, tmp_path):
    toy.stop_at(toy.trainer(tmp_path / "parts", max_steps=20), 10)
    longer = toy.trainer(tmp_path / "parts", max_steps=30)
    longer.run(resume=True)
    whole = toy.trainer(tmp_path / "whole", max_steps=30)
    whole.run()
    assert toy.same_bits(toy.weights(longer), toy.weights(whole))


def test_a_changed_config_is_named_and_a_longer_budget_is_not(toy, tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ConfigError, match=r"trainer.accumulate: the run was begun with 1, now it is 2"):
        toy.trainer(tmp_path, accumulate=2).run(resume=True)
    with pytest.raises(ConfigError, match=r"task.has_critic"):
        toy.trainer(tmp_path, has_critic=True).run(resume=True)
    with pytest.raises(ConfigError, match=r"run.data"):
        Trainer(toy.Task(), toy.Batches(), toy.config(), tmp_path, facts={"data": "other"}).run(resume=True)
    assert toy.trainer(tmp_path, max_steps=22, log_every=1).run(resume=True).step == 22


def test_a_folder_with_a_run_is_not_written_over(toy, tmp_path):
    toy.trainer(tmp_path).run()
    with pytest.raises(ConfigError, match="holds a run"):
        toy.trainer(tmp_path).run()


def test_a_run_out_of_time_saves_and_can_go_on(toy, tmp_path):
    first = toy.trainer(tmp_path, max_minutes=1e-9)
    result = first.run()
    assert (result.step, result.finished) == (1, False)
    second = toy.trainer(tmp_path)
    assert second.run(resume=True).finished
    whole = toy.trainer(tmp_path / "whole")
    whole.run()
    assert toy.same_bits(toy.weights(second), toy.weights(whole))


def test_a_model_that_came_in_eval_mode_is_trained_in_train_mode(toy, tmp_path):
    task = toy.Task()
    task.trained.eval()
    trainer = Trainer(task, toy.Batches(), toy.config(), tmp_path / "eval")
    trainer.run()
    usual = toy.trainer(tmp_path / "train")
    usual.run()
    assert toy.same_bits(toy.weights(trainer), toy.weights(usual))


def test_the_callers_random_state_is_given_back(toy, tmp_path):
    trainer = toy.trainer(tmp_path)
    before = torch.get_rng_state()
    trainer.run()
    assert torch.equal(torch.get_rng_state(), before)
