/** Two to eight clips as lanes with one playhead, equally loud; blind on request. */
import { EyeOff, Headphones, Pause, Play, Star } from "lucide";
import { useEffect, useState } from "preact/hooks";
import type { Clip } from "../api/types.ts";
import { IconButton } from "../components/controls.tsx";
import { Icon } from "../components/icon.tsx";
import { Measures } from "../components/measures.tsx";
import { Wave } from "../components/wave.tsx";
import { letter } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { attempt, report } from "../state/notices.ts";
import * as playback from "../state/playback.ts";
import { route } from "../state/router.ts";
import { isBlind, MAX_COMPARED } from "../state/selection.ts";
import { clipName, clips, findClip } from "../state/store.ts";
import { t } from "../strings.ts";

function shuffled<T>(items: T[]): T[] {
  const mixed = [...items];
  for (let i = mixed.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [mixed[i], mixed[j]] = [mixed[j] as T, mixed[i] as T];
  }
  return mixed;
}

export function Compare() {
  const wanted = (route.value.query.get("c") ?? "")
    .split(",")
    .filter((id) => id !== "")
    .slice(0, MAX_COMPARED);
  const [order, setOrder] = useState(wanted);
  const [isRead, setIsRead] = useState(false);
  useEffect(() => {
    setOrder(wanted);
    setIsRead(false);
    Promise.all(wanted.map(findClip))
      .catch(report)
      .finally(() => setIsRead(true));
    return () => {
      isBlind.value = false;
    };
  }, [wanted.join()]);
  const shown = order.flatMap((id) => clips.value.get(id) ?? []);
  const toggleBlind = () => {
    // What plays would give one of the clips away.
    playback.stopPlaying();
    playback.currentId.value = null;
    playback.group.value = [];
    setOrder(isBlind.value ? wanted : shuffled(wanted));
    isBlind.value = !isBlind.value;
  };
  return (
    <main class="page compare">
      <header class="page-head">
        <h1>{t.compare.title}</h1>
        {shown.length > 1 && (
          <>
            <button
              type="button"
              class={`button ${isBlind.value ? "is-lit" : ""}`}
              aria-pressed={isBlind.value}
              onClick={toggleBlind}
            >
              <Icon of={EyeOff} size={16} /> {t.compare.blind}
            </button>
            <a class="button" href={`#/test?c=${wanted.join(",")}`}>
              <Icon of={Headphones} size={16} /> {t.action.blindTest}
            </a>
          </>
        )}
      </header>
      {shown.length > 1 ? (
        <>
          <p class="muted">{t.compare.hint}</p>
          {shown.map((clip, index) => (
            <Lane key={clip.id} clip={clip} index={index} ids={shown.map(({ id }) => id)} />
          ))}
        </>
      ) : (
        <div class="empty">
          <p class="muted">{isRead ? t.compare.tooFew : t.state.connecting}</p>
          {isRead && (
            <a class="button" href="#/library">
              {t.nav.library}
            </a>
          )}
        </div>
      )}
    </main>
  );
}

function Lane({ clip, index, ids }: { clip: Clip; index: number; ids: string[] }) {
  const isCurrent = playback.currentId.value === clip.id;
  const isComparing = ids.every((id, i) => playback.group.value[i] === id);
  const isSounding = isCurrent && isComparing && playback.isPlaying.value;
  const listen = () => {
    if (isCurrent && isComparing) {
      playback.toggle();
    } else if (isComparing && playback.playing.value === "playing") {
      attempt(() => playback.switchClip(clip));
    } else {
      attempt(() => playback.playClip(clip, ids, isComparing ? playback.positionS.value : 0));
    }
  };
  const onSeek = (seconds: number) => {
    if (isCurrent && playback.playing.value !== "idle") {
      playback.seek(seconds);
    } else {
      attempt(() => playback.playClip(clip, ids, seconds));
    }
  };
  return (
    <article class={`card lane-card ${isCurrent ? "is-current" : ""}`} aria-label={t.clip.variation(index)}>
      <button
        type="button"
        class={`play hue-${index}`}
        onClick={listen}
        aria-label={isSounding ? t.action.pause : t.action.playClip(t.clip.variation(index))}
      >
        <span class="letter">{letter(index)}</span>
        <Icon of={isSounding ? Pause : Play} size={16} isFilled />
      </button>
      <div class="card-body">
        {!isBlind.value && (
          <p class="card-title">
            <a href={`#/clip/${clip.id}`}>{clipName(clip)}</a>
          </p>
        )}
        <Wave clip={clip} height={64} onSeek={onSeek} index={index} />
        <div class="card-foot">
          {isBlind.value ? <p class="measures">{t.compare.hidden}</p> : <Measures clip={clip} />}
          <div class="actions">
            <IconButton
              icon={Star}
              label={clip.favourite ? t.action.unfavourite : t.action.favourite}
              isOn={clip.favourite}
              onClick={() => attempt(() => act.setFavourite(clip, !clip.favourite))}
            />
          </div>
        </div>
      </div>
    </article>
  );
}
