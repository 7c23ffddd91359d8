/** Single keys, each with a button that does the same. They rest while something is typed. */
import type { Clip } from "./api/types.ts";
import { isHelpOpen } from "./components/dialogs.tsx";
import { continuationPoint, openSection, regionOf } from "./components/stage.tsx";
import { step } from "./components/transport.tsx";
import { scrollWave } from "./components/wave.tsx";
import * as act from "./state/actions.ts";
import { attempt, attemptOnce } from "./state/notices.ts";
import * as playback from "./state/playback.ts";
import { navigate, route } from "./state/router.ts";
import { hasKeys } from "./state/settings.ts";
import { clips, isEnded, isPlayable, jobs } from "./state/store.ts";

const STEP_S = 1;
const LONG_STEP_S = 5;

export function installKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      attemptOnce("generate", act.generate);
    } else if (event.key === "Escape") {
      endWhatIsUnderWay(event);
    } else if (hasKeys.value && !event.ctrlKey && !event.metaKey && !isTyping(event.target) && press(event)) {
      event.preventDefault();
    }
  });
}

function isTyping(target: EventTarget | null): boolean {
  const isField = target instanceof HTMLElement && target.matches("input:not([type=range]), textarea, select");
  return isField || document.querySelector("dialog[open]") !== null;
}

/** Ends what is under way: first the field, then making without end, then the job whose clip is current. */
function endWhatIsUnderWay(event: KeyboardEvent): void {
  if (isTyping(event.target)) {
    (event.target as HTMLElement).blur();
  } else if (act.isForever.value) {
    act.isForever.value = false;
  } else {
    const job = jobs.value.get(act.currentClip()?.job_id ?? "");
    if (job !== undefined && !isEnded(job)) {
      attempt(() => act.cancel(job));
    }
  }
}

/** Whether the key meant something. */
function press(event: KeyboardEvent): boolean {
  const isButton = event.target instanceof HTMLElement && event.target.matches("button, a, summary, input");
  if (event.key === "?") {
    isHelpOpen.value = true;
  } else if (event.key === "/") {
    act.search();
  } else if (event.key === "PageUp" || event.key === "PageDown") {
    return !(event.target instanceof HTMLInputElement) && scrollWave(event.key === "PageUp" ? -1 : 1);
  } else if (event.key === " ") {
    if (isButton) {
      return false;
    }
    playback.toggle();
  } else {
    const clip = act.currentClip();
    return clip !== null && (arrow(event, clip.duration_s) || digit(event.key) || onClip(event.key.toLowerCase()));
  }
  return true;
}

function arrow(event: KeyboardEvent, durationS: number): boolean {
  const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (direction === undefined || event.target instanceof HTMLInputElement) {
    return false;
  }
  const clip = act.currentClip();
  const tempo = clip?.measured?.tempo_bpm ?? clip?.tempo_bpm ?? null;
  const beatS = tempo === null ? STEP_S : 60 / tempo;
  const by = event.altKey ? beatS : event.shiftKey ? LONG_STEP_S : STEP_S;
  playback.seek(Math.max(0, Math.min(playback.positionS.value + direction * by, durationS)));
  return true;
}

function digit(key: string): boolean {
  const clip = /^[1-8]$/.test(key) ? clips.value.get(playback.variations.value[Number(key) - 1] ?? "") : undefined;
  if (clip === undefined || !isPlayable(clip)) {
    return false;
  }
  attempt(() => playback.switchClip(clip));
  return true;
}

function onClip(key: string): boolean {
  const clip = act.currentClip();
  if (clip === null) {
    return false;
  }
  const actions: Record<string, () => unknown> = {
    l: playback.toggleLoop,
    c: () => attemptOnce("continue", () => act.continueFrom(clip, continuationPoint(clip))),
    m: () => act.useAs("melody", clip, regionOf(clip)),
    t: () => {
      if (!["", "clip"].includes(route.value.screen)) {
        navigate("#/");
      }
      openSection(playback.positionS.value);
    },
    f: () => attempt(() => act.setFavourite(clip, !clip.favourite)),
    r: () => attemptOnce("more-like", () => act.moreLike(clip)),
    s: () => act.toggleSeedLock(clip),
    d: () => act.downloadClip(clip),
    j: () => step(1),
    k: () => step(-1),
    "[": () => mark(clip, { startS: playback.positionS.value }),
    "]": () => mark(clip, { endS: playback.positionS.value }),
    delete: () => attemptOnce("trash", () => act.trash([clip])),
  };
  actions[key]?.();
  return key in actions;
}

/** Moves an end of the marked region to the playhead. */
function mark(clip: Clip, end: Partial<playback.Region>): void {
  const { startS, endS } = { startS: 0, endS: clip.duration_s, ...playback.region.value, ...end };
  if (endS > startS) {
    playback.markRegion(clip, startS, endS);
  }
}
