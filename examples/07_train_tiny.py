"""From a folder of audio to a trained model: a few steps of the tiny one, on clips that the starter made."""

from pathlib import Path

import descant
from descant.data.scan import scan_folder
from descant.data.token_dataset import TokenBatchConfig, TokenBatches
from descant.data.tokenize import tokenize
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig

starter = descant.load("starter")
Path("music").mkdir()
for seed, text in enumerate(["folk jig, flute", "slow piano", "techno, 130 bpm"]):
    starter.generate(text, duration_s=2, seed=seed).save(f"music/{seed}.wav")
    Path(f"music/{seed}.txt").write_text(text)

records = scan_folder("music", valid_share=0.0).records
model = descant.load("tiny").model
tokenize(records, model.codec, "shards")
batches = TokenBatches("shards", TokenBatchConfig(batch_size=2, segment_frames=50))
task = LMTask(model.requires_grad_(True), LMTaskConfig())
result = Trainer(task, batches, TrainerConfig(max_steps=20), Path("run")).run(resume=False)
print(f"{result.step} steps")
