"""Starts or continues a folder of shards, or explains why its shards do not fit the plan."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from descant.data.shards import ShardIndex, TokenizedClip, read_index, read_shard, shard_path, write_index
from descant.errors import DataError


def begin(folder: Path, plan: ShardIndex, wanted: Sequence[TokenizedClip]) -> None:
    """Writes the plan into a new folder, or updates it if all existing shards still fit.

    Args:
        wanted: all clips in order; their frames are ignored.

    Raises:
        DataError: the folder has other contents, or its shards have another codec, another plan or other clips.
    """
    if not any(not path.name.startswith(".") for path in folder.iterdir()):
        write_index(folder, plan)
        return
    found = read_index(folder)
    updatable = ("records_fingerprint", "num_clips")
    changed = [name for name, value in vars(plan).items() if name not in updatable and getattr(found, name) != value]
    if changed:
        raise DataError(
            f"{str(folder)!r} was started with another {' and '.join(changed)}: its shards would be inconsistent. "
            f"Use a new folder, or delete this one"
        )
    if found == plan:
        return
    differences = _differences(folder, found, plan, wanted)
    if differences:
        counts = ", ".join(f"{count} {what}" for what, count in differences.items())
        raise DataError(
            f"{str(folder)!r} has shards of other clips than the manifest: {counts}. Use a new folder, or delete this "
            f"one, or continue with the original manifest; clips that cannot be read are left out by --skip-broken "
            f"(skip=)"
        )
    write_index(folder, plan)


def _differences(folder: Path, found: ShardIndex, plan: ShardIndex, wanted: Sequence[TokenizedClip]) -> Counter[str]:
    """The number of clips in existing shards that differ from the manifest, by difference."""
    by_id = {clip.id: (number // plan.shard_clips, clip) for number, clip in enumerate(wanted)}
    differences: Counter[str] = Counter()
    for number in range(found.num_shards):
        path = shard_path(folder, number)
        for clip in read_shard(path).clips if path.exists() else ():
            expected_number, now = by_id.get(clip.id, (number, None))
            if now is None:
                differences["removed"] += 1
            elif (clip.captions, clip.tags) != (now.captions, now.tags):
                differences["with other captions or tags"] += 1
            elif clip.split != now.split:
                differences["moved between train and valid"] += 1
            elif clip.source and clip.source != now.source:
                differences["of another length, rate or number of channels"] += 1
            elif expected_number != number:
                differences["in another shard, since clips before them were added or removed"] += 1
    return differences
