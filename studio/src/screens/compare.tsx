/** Two to eight clips as lanes with one playhead, equally loud; blind on request. */
import { EyeOff, Headphones, Play, Star } from "lucide";
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
import { MAX_COMPARED } from "../state/selection.ts";
import { clips, findClip } from "../state/store.ts";
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
  const [isBlind, setIsBlind] = useState(false);
  useEffect(() => {
    setOrder(wanted);
    Promise.all(wanted.map(findClip)).catch(report);
  }, [wanted.join()]);
  const shown = order.flatMap((id) => clips.value.get(id) ?? []);
  const toggleBlind = () => {
    setOrder(isBlind ? wanted : shuffled(wanted));
    setIsBlind(!isBlind);
  };
  return (
    <main class="page compare">
      <header class="page-head">
        <h1>{t.compare.title}</h1>
        <button type="button" class={`button ${isBlind ? "is-lit" : ""}`} aria-pressed={isBlind} onClick={toggleBlind}>
          <Icon of={EyeOff} size={16} /> {t.compare.blind}
        </button>
        <a class="button" href={`#/test?c=${wanted.join(",")}`}>
          <Icon of={Headphones} size={16} /> {t.action.blindTest}
        </a>
      </header>
      <p class="muted">{t.compare.hint}</p>
      {shown.length < 2 ? (
        <p class="empty muted">{t.compare.tooFew}</p>
      ) : (
        shown.map((clip, index) => <Lane key={clip.id} clip={clip} index={index} ids={order} isBlind={isBlind} />)
      )}
    </main>
  );
}

function Lane({ clip, index, ids, isBlind }: { clip: Clip; index: number; ids: string[]; isBlind: boolean }) {
  const isCurrent = playback.currentId.value === clip.id;
  const isComparing = ids.every((id, i) => playback.group.value[i] === id);
  const listen = () => attempt(() => (isComparing ? playback.switchClip(clip) : playback.playClip(clip, ids)));
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
        aria-pressed={isCurrent}
        aria-label={t.action.playClip(t.clip.variation(index))}
      >
        <span class="letter">{letter(index)}</span>
        <Icon of={Play} size={16} isFilled />
      </button>
      <div class="card-body">
        {!isBlind && (
          <p class="card-title">
            <a href={`#/clip/${clip.id}`}>{act.clipName(clip)}</a>
          </p>
        )}
        <Wave clip={clip} height={64} onSeek={onSeek} />
        <div class="card-foot">
          {isBlind ? <p class="measures">{t.compare.hidden}</p> : <Measures clip={clip} />}
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
