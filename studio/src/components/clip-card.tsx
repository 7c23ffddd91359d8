/** One clip: its wave, what was measured, and everything that can be done with it. */

import { useComputed } from "@preact/signals";
import {
  CircleStop,
  Download,
  Ellipsis,
  FileJson,
  Forward,
  Link,
  LockKeyhole,
  LockKeyholeOpen,
  Music,
  Palette,
  Pause,
  Play,
  RefreshCw,
  RotateCcw,
  Square,
  SquareCheck,
  Star,
  Trash2,
} from "lucide";
import { useEffect, useRef, useState } from "preact/hooks";
import { get } from "../api/client.ts";
import type { Clip, Recipe } from "../api/types.ts";
import { letter, moment, short } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { draft } from "../state/draft.ts";
import { attempt, attemptOnce } from "../state/notices.ts";
import { currentId, isPlaying, playClip, playing, seek, switchClip, toggle } from "../state/playback.ts";
import { chosen, toggleChosen } from "../state/selection.ts";
import {
  cannot,
  clipName,
  isEnded,
  isPlayable,
  isUnfinished,
  jobs,
  notUsable,
  progress,
  server,
} from "../state/store.ts";
import { t } from "../strings.ts";
import { IconButton, Menu, MenuItem } from "./controls.tsx";
import { Icon } from "./icon.tsx";
import { Measures } from "./measures.tsx";
import { Wave } from "./wave.tsx";

interface ClipCardProps {
  clip: Clip;
  /** The clips among which keys switch while this one plays. */
  among: () => string[];
  /** Shows its words and date, where no heading above does. */
  hasTitle?: boolean;
}

export function ClipCard({ clip, among, hasTitle = false }: ClipCardProps) {
  const isCurrent = useComputed(() => currentId.value === clip.id).value;
  const isSounding = isCurrent && isPlaying.value;
  const play = () => {
    if (isCurrent) {
      toggle();
    } else if (playing.value === "playing" && among().includes(currentId.value ?? "")) {
      attempt(() => switchClip(clip));
    } else {
      attempt(() => playClip(clip, among()));
    }
  };
  const onSeek = (seconds: number) => {
    if (isCurrent && playing.value !== "idle") {
      seek(seconds);
    } else {
      attempt(() => playClip(clip, among(), seconds));
    }
  };
  const hasFile = notUsable(clip) === null;
  const name = hasTitle ? clipName(clip) : t.clip.variation(clip.index);
  return (
    <article
      class={`card ${isCurrent ? "is-current" : ""}`}
      aria-label={name}
      data-clip={clip.id}
      draggable={hasFile}
      onDragStart={(event) => event.dataTransfer !== null && act.offerFile(clip, event.dataTransfer)}
    >
      <button
        type="button"
        class={`play hue-${clip.index % 8}`}
        onClick={play}
        aria-disabled={!isPlayable(clip) && !isSounding}
        aria-label={isSounding ? t.action.pause : t.action.playClip(name)}
      >
        <span class="letter" aria-hidden="true">
          {letter(clip.index)}
        </span>
        <Icon of={isSounding ? Pause : Play} size={16} isFilled />
      </button>
      <div class="card-body">
        {hasTitle && (
          <p class="card-title">
            <a href={`#/clip/${clip.id}`}>{clipName(clip)}</a>
            <time dateTime={clip.created_at}>{moment(clip.created_at)}</time>
          </p>
        )}
        <LazyWave clip={clip} height={hasTitle ? 36 : 48} onSeek={onSeek} />
        <div class="card-foot">
          <Standing clip={clip} />
          {isUnfinished(clip) ? (
            <CancelButton clip={clip} />
          ) : hasFile ? (
            <Actions clip={clip} />
          ) : (
            <div class="actions">
              <ClipMenu clip={clip} />
            </div>
          )}
        </div>
      </div>
    </article>
  );
}

/** Draws the wave once it comes near the visible part of the page. */
function LazyWave(props: { clip: Clip; height: number; onSeek: (seconds: number) => void }) {
  const box = useRef<HTMLDivElement>(null);
  const [isNear, setIsNear] = useState(false);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => setIsNear(entry?.isIntersecting ?? false), {
      rootMargin: "200px",
    });
    observer.observe(box.current as HTMLDivElement);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={box} style={{ minHeight: `${props.height}px` }}>
      {isNear && <Wave {...props} />}
    </div>
  );
}

/** Where a clip stands: its place in line, how far it is, why it failed, or what was measured. */
function Standing({ clip }: { clip: Clip }) {
  switch (clip.state) {
    case "waiting": {
      const queue = jobs.value.get(clip.job_id ?? "")?.queue;
      return <p class="measures">{t.clip.waiting(queue?.position ?? null, queue?.starts_in_s ?? null)}</p>;
    }
    case "making":
      return (
        <p class="measures">
          <progress max={clip.asked_s} value={clip.duration_s} aria-label={t.clip.progress} />
          <span>
            {t.clip.making(clip.duration_s, clip.asked_s, progress.value.get(clip.job_id ?? "")?.eta_s ?? null)}
          </span>
        </p>
      );
    case "failed":
      return <p class="measures is-problem">{clip.problem?.detail ?? t.clip.failed}</p>;
    case "cancelled":
      return <p class="measures">{t.clip.cancelled}</p>;
    case "partial":
      return <p class="measures">{t.clip.partial(short(clip.duration_s), short(clip.asked_s))}</p>;
    default:
      return clip.audio_kept ? <Measures clip={clip} /> : <p class="measures">{t.clip.dropped}</p>;
  }
}

function CancelButton({ clip }: { clip: Clip }) {
  const job = jobs.value.get(clip.job_id ?? "");
  return job === undefined || isEnded(job) ? null : (
    <div class="actions">
      <IconButton icon={CircleStop} label={t.action.cancel} onClick={() => attempt(() => act.cancel(job))} />
    </div>
  );
}

function Actions({ clip }: { clip: Clip }) {
  const isLocked = useComputed(() => draft.value.seed === clip.seed).value;
  const isChosen = useComputed(() => chosen.value.includes(clip.id)).value;
  return (
    <div class="actions">
      <IconButton
        icon={isLocked ? LockKeyhole : LockKeyholeOpen}
        label={isLocked ? t.action.unlockSeed : t.action.lockSeed(clip.seed)}
        hotkey="S"
        onClick={() => act.toggleSeedLock(clip)}
        class={isLocked ? "is-lit" : ""}
      />
      <IconButton
        icon={Star}
        label={clip.favourite ? t.action.unfavourite : t.action.favourite}
        hotkey="F"
        isOn={clip.favourite}
        onClick={() => attempt(() => act.setFavourite(clip, !clip.favourite))}
      />
      <IconButton
        icon={RefreshCw}
        label={t.action.moreLike}
        hotkey="R"
        onClick={() => attemptOnce("more-like", () => act.moreLike(clip))}
      />
      <a
        class="icon-button"
        href={act.fileUrl(clip, "wav")}
        download=""
        aria-label={t.action.download("WAV")}
        title={`${t.action.download("WAV")} (D)`}
      >
        <Icon of={Download} />
      </a>
      <ClipMenu clip={clip} />
      <IconButton
        icon={isChosen ? SquareCheck : Square}
        label={isChosen ? t.action.unchoose : t.action.choose}
        onClick={() => toggleChosen(clip.id)}
        class={`choose ${isChosen ? "is-lit" : ""}`}
      />
    </div>
  );
}

export function ClipMenu({ clip }: { clip: Clip }) {
  const unusable = notUsable(clip);
  const formats = server.value?.formats.audio ?? ["wav"];
  const saveRecipe = async () =>
    act.saveJson(await get<Recipe>(`/v1/clips/${clip.id}/recipe`), `descant-seed-${clip.seed}.recipe.json`);
  const isTrashed = clip.trashed_at !== null;
  return (
    <Menu label={t.action.more(clipName(clip))} icon={Ellipsis}>
      <MenuItem icon={Music} text={t.action.open} href={`#/clip/${clip.id}`} />
      <MenuItem
        icon={Forward}
        text={t.action.continueInDraft}
        reason={cannot("continue_from") ?? unusable}
        onClick={() => act.continueInDraft(clip, clip.duration_s)}
      />
      <MenuItem
        icon={Music}
        text={t.action.asMelody}
        hotkey="M"
        reason={cannot("melody") ?? unusable}
        onClick={() => act.useAs("melody", clip, null)}
      />
      <MenuItem
        icon={Palette}
        text={t.action.asStyle}
        reason={cannot("style") ?? unusable}
        onClick={() => act.useAs("style", clip, null)}
      />
      <hr />
      {unusable === null && (
        <>
          <div class="menu-formats">
            {formats.map((format) => (
              <a key={format} class="button quiet" href={act.fileUrl(clip, format)} download="">
                {format.toUpperCase()}
              </a>
            ))}
            {server.value?.extras.midi && (
              <a class="button quiet" href={`/v1/clips/${clip.id}/midi`} download="" title={t.hint.midi}>
                MIDI
              </a>
            )}
          </div>
          <hr />
        </>
      )}
      <MenuItem
        icon={Link}
        text={t.action.share}
        onClick={() => attempt(async () => act.share(await act.recipeOf(clip)))}
      />
      <MenuItem icon={FileJson} text={t.action.saveRecipe} onClick={() => attempt(saveRecipe)} />
      {isTrashed ? (
        <>
          <MenuItem
            icon={RotateCcw}
            text={t.action.restore}
            onClick={() => attempt(() => act.restoreFromTrash([clip]))}
          />
          <MenuItem
            icon={Trash2}
            text={t.action.deleteForever}
            onClick={() => attempt(() => act.deleteForever([clip]))}
          />
        </>
      ) : (
        <MenuItem
          icon={Trash2}
          text={t.action.trash}
          reason={isUnfinished(clip) ? t.state.cancelFirst : null}
          hotkey={t.key.delete}
          onClick={() => attempt(() => act.trash([clip]))}
        />
      )}
    </Menu>
  );
}
