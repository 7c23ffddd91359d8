/** The bar at the bottom of every screen: what plays, where it is, and among which variations. */
import { Hand, Pause, Play, Repeat, SkipBack, SkipForward, Volume2, Zap } from "lucide";
import { barAndBeat } from "../lib/bars.ts";
import { clock, letter } from "../lib/format.ts";
import { currentClip } from "../state/actions.ts";
import { attempt } from "../state/notices.ts";
import * as playback from "../state/playback.ts";
import { isBlind } from "../state/selection.ts";
import { clipName, clips, isPlayable } from "../state/store.ts";
import { t } from "../strings.ts";
import { IconButton } from "./controls.tsx";
import { Icon } from "./icon.tsx";

/** The neighbour of the current clip in its group; null at the ends. */
export function neighbour(step: 1 | -1) {
  const ids = playback.group.value;
  return clips.value.get(ids[ids.indexOf(playback.currentId.value ?? "") + step] ?? "") ?? null;
}

export function step(by: 1 | -1): void {
  const next = neighbour(by);
  if (next !== null) {
    attempt(() => playback.switchClip(next));
  }
}

export function Transport() {
  const clip = currentClip();
  const isPlaying = playback.isPlaying.value;
  const nothing = clip === null ? t.transport.nothing : null;
  return (
    <section class="transport" aria-label={t.transport.name}>
      <div class="transport-buttons">
        <IconButton
          icon={SkipBack}
          label={t.action.previous}
          hotkey="K"
          reason={neighbour(-1) ? null : t.transport.first}
          onClick={() => step(-1)}
        />
        <button
          type="button"
          class="play-main"
          aria-label={isPlaying ? t.action.pause : t.action.play}
          title={`${isPlaying ? t.action.pause : t.action.play} (${t.key.space})`}
          aria-disabled={nothing !== null}
          onClick={playback.toggle}
        >
          <Icon of={isPlaying ? Pause : Play} size={20} isFilled />
        </button>
        <IconButton
          icon={SkipForward}
          label={t.action.next}
          hotkey="J"
          reason={neighbour(1) ? null : t.transport.last}
          onClick={() => step(1)}
        />
        <IconButton
          icon={Repeat}
          label={t.action.loop}
          hotkey="L"
          reason={nothing}
          class={playback.isLooping.value ? "is-lit" : ""}
          onClick={playback.toggleLoop}
        />
      </div>
      <Position />
      <Variations />
      <div class="now">
        {clip === null || isBlind.value ? (
          <span class="muted">{clip === null ? t.transport.nothing : t.compare.hidden}</span>
        ) : (
          <a href={`#/clip/${clip.id}`}>{clipName(clip)}</a>
        )}
      </div>
      <label class="volume" title={t.transport.volume}>
        <Icon of={Volume2} size={16} />
        <input
          type="range"
          min={0}
          max={1}
          step={0.01}
          value={playback.volume.value}
          aria-label={t.transport.volume}
          onInput={(event) => {
            playback.volume.value = event.currentTarget.valueAsNumber;
          }}
        />
      </label>
      <Waiting />
    </section>
  );
}

function Position() {
  const clip = currentClip();
  const at = playback.positionTenthS.value;
  const durationS = clip === null ? 0 : Math.max(clip.duration_s, at);
  const tempo = clip?.measured?.tempo_bpm ?? clip?.tempo_bpm ?? null;
  return (
    <div class="position">
      <span class="clock">{clock(at)}</span>
      <input
        type="range"
        min={0}
        max={Math.max(clip?.asked_s ?? 0, 0.1)}
        step={0.1}
        value={at}
        disabled={clip === null}
        aria-label={t.transport.position}
        aria-valuetext={t.transport.positionText(at, durationS, tempo)}
        onInput={(event) => playback.seek(event.currentTarget.valueAsNumber)}
      />
      <span class="clock muted">{clock(clip?.asked_s ?? 0)}</span>
      <span class="clock muted bars">{tempo === null ? "" : t.transport.bar(barAndBeat(at, tempo))}</span>
    </div>
  );
}

/** A to H: the same place in another variation. */
function Variations() {
  const ids = playback.variations.value;
  if (ids.length < 2) {
    return null;
  }
  return (
    <div class="letters" role="group" aria-label={t.transport.variations}>
      {ids.map((id, index) => {
        const clip = clips.value.get(id);
        return clip === undefined ? null : (
          <button
            key={id}
            type="button"
            class={`hue-${index % 8}`}
            aria-pressed={id === playback.currentId.value}
            aria-disabled={!isPlayable(clip)}
            aria-label={t.clip.variation(index)}
            title={`${t.clip.variation(index)} (${index + 1})`}
            onClick={() => isPlayable(clip) && attempt(() => playback.switchClip(clip))}
          >
            {letter(index)}
          </button>
        );
      })}
    </div>
  );
}

/** Says why nothing sounds yet, and offers to start at once. */
function Waiting() {
  const startsIn = playback.startsInS.value;
  if (playback.isBlocked.value) {
    return (
      <button type="button" class="tap button primary" onClick={() => attempt(() => playback.player.unblock())}>
        <Icon of={Hand} /> {t.transport.tap}
      </button>
    );
  }
  // Shorter waits are over before they are read.
  if (startsIn === null || startsIn < 1) {
    return null;
  }
  return (
    <p class="waiting">
      {Number.isFinite(startsIn) ? t.transport.startsIn(startsIn) : t.transport.waits}
      {Number.isFinite(startsIn) && (
        <button type="button" class="button" onClick={playback.playNow}>
          <Icon of={Zap} size={16} /> {t.transport.playNow}
        </button>
      )}
    </p>
  );
}
