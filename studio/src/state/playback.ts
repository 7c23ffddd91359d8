/** What plays: the current clip, its position, the marked region, and when a clip that is being made may start. */
import { computed, effect, signal, untracked } from "@preact/signals";
import type { Clip } from "../api/types.ts";
import type { Playable } from "../audio/long-track.ts";
import { Player, type PlayerState } from "../audio/player.ts";
import { Arrival, untilGapless } from "../audio/prebuffer.ts";
import { dropTrack, openTrack, readWhole } from "../audio/tracks.ts";
import type { Loop } from "../audio/voice.ts";
import { barS, snapToBars } from "../lib/bars.ts";
import { report } from "./notices.ts";
import { MAX_COMPARED } from "./selection.ts";
import { isSnapping } from "./settings.ts";
import { clips, isPlayable, model, progress, server } from "./store.ts";

export interface Region {
  startS: number;
  endS: number;
}

export const player = new Player();
export const currentId = signal<string | null>(null);
/** The clips among which keys and letters switch; the current one is among them. */
export const group = signal<string[]>([]);
/** Those of a group that is small enough for letters: read ahead, and equally loud. A whole library is not. */
export const variations = computed(() => (group.value.length <= MAX_COMPARED ? group.value : []));
export const playing = signal<PlayerState>("idle");
export const isBlocked = signal(false);
export const positionS = signal(0);
/** The position in steps that a reader can follow. */
export const positionTenthS = computed(() => Math.floor(positionS.value * 10 + 1e-6) / 10);
/** Seconds until the current clip starts so that it need not stop; null where it does not wait. */
export const startsInS = signal<number | null>(null);
/** Whether the current clip plays, or will as soon as it can. */
export const isPlaying = computed(
  () => playing.value === "playing" || playing.value === "starved" || (startsInS.value ?? 0) > 0,
);
export const region = signal<Region | null>(null);
export const isLooping = signal(false);
export const volume = signal(1);

/** The rate of most models, before the server has said that of its own. */
export const DEFAULT_RATE_HZ = 32_000;

let request = 0;
let isPlayNow = false;
let nextFrame = 0;

player.addEventListener("change", () => {
  playing.value = player.state;
  isBlocked.value = player.isBlocked;
  if (player.state === "starved" && startsInS.value === null) {
    refill().catch(report);
  }
  follow();
});

effect(() => player.setVolume(volume.value));

/** Moves the displayed position along with the sound, once a frame of the screen. */
function follow(): void {
  const track = player.track;
  if (track !== null) {
    positionS.value = player.position / track.format.sampleRateHz;
  }
  window.cancelAnimationFrame(nextFrame);
  if (player.state === "playing") {
    nextFrame = window.requestAnimationFrame(follow);
  } else if (player.state === "idle") {
    positionS.value = 0;
  }
}

export function selectClip(clip: Clip, among: string[]): void {
  if (currentId.value !== clip.id) {
    region.value = null;
    isLooping.value = false;
    player.setLoop(null).catch(report);
  }
  currentId.value = clip.id;
  group.value = among.includes(clip.id) ? among : [clip.id];
}

/** Plays a clip from a second; one that is being made starts as soon as it can go on without a pause. */
export async function playClip(clip: Clip, among: string[] = [clip.id], atS = 0): Promise<void> {
  player.stop();
  selectClip(clip, among);
  player.unlock(clip.sample_rate_hz ?? model.value?.sample_rate_hz ?? DEFAULT_RATE_HZ);
  request += 1;
  const mine = request;
  isPlayNow = false;
  startsInS.value = clip.state === "waiting" || clip.state === "making" ? Number.POSITIVE_INFINITY : 0;
  try {
    const track = await openTrack(clip);
    if (await waitUntilGapless(track, clip, atS, () => mine === request)) {
      prepare(track, clip);
      const loop = loopOf(track);
      await player.setLoop(loop);
      await player.play(track, Math.round(atS * track.format.sampleRateHz));
      if (mine === request && loop === null) {
        loopOnceComplete(); // the last of it may have come before the first was heard
      }
    }
  } finally {
    if (mine === request) {
      startsInS.value = null;
    }
  }
}

/** Starts the current clip although it may have to stop for audio that is still to be made. */
export function playNow(): void {
  isPlayNow = true;
}

/** Waits until the clip can be played from a second to its end; false if something else was wanted meanwhile. */
async function waitUntilGapless(track: Playable, clip: Clip, atS: number, isWanted: () => boolean): Promise<boolean> {
  const factor = server.value?.speed?.real_time_factor;
  let arrival: Arrival | null = null;
  while (isWanted() && !track.isComplete) {
    const now = performance.now();
    const madeS = track.durationS - atS;
    if (madeS > 0) {
      arrival ??= new Arrival(madeS, now);
      const rate =
        arrival.rate(madeS, now) ?? progress.value.get(clip.job_id ?? "")?.speed ?? (factor ? 1 / factor : 1);
      const leftS = clip.asked_s - atS;
      startsInS.value = Math.max(untilGapless(madeS, leftS, rate), arrival.untilCushion(madeS, leftS, now));
      if (startsInS.value === 0 || isPlayNow) {
        return true;
      }
    }
    await nextAudio(track);
  }
  return isWanted() && track.frames > 0;
}

/** Playback has overtaken the making: it goes on once it need not stop again. */
async function refill(): Promise<void> {
  const clip = clips.value.get(currentId.value ?? "");
  const track = player.track;
  if (clip === undefined || track === null) {
    return;
  }
  request += 1;
  const mine = request;
  isPlayNow = false;
  startsInS.value = Number.POSITIVE_INFINITY;
  const cursorS = player.cursor / track.format.sampleRateHz;
  if (await waitUntilGapless(track, clip, cursorS, () => mine === request && player.state === "starved")) {
    await player.resume();
  }
  if (mine === request) {
    startsInS.value = null;
  }
}

function nextAudio(track: Playable): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      window.clearTimeout(timer);
      track.changed.removeEventListener("audio", done);
      resolve();
    };
    const timer = window.setTimeout(done, 50);
    track.changed.addEventListener("audio", done);
  });
}

/** Goes on with another clip of the group at the same place, equally loud. */
export async function switchClip(clip: Clip): Promise<void> {
  if (player.state === "idle" || player.track === null) {
    return playClip(clip, group.value);
  }
  request += 1;
  const mine = request;
  const track = await openTrack(clip);
  while (mine === request && !track.isComplete && track.frames <= player.position + track.format.sampleRateHz / 2) {
    await nextAudio(track);
  }
  if (mine === request) {
    prepare(track, clip);
    currentId.value = clip.id;
    await player.switchTo(track);
  }
}

/** What is to be known of a track that will be heard. */
function prepare(track: Playable, clip: Clip): void {
  track.gain = matchingGain(clip);
  if (!track.isComplete) {
    track.changed.addEventListener("audio", loopOnceComplete);
  }
}

/** The factor that makes a clip as loud as the quietest of its group. */
function matchingGain(clip: Clip): number {
  const loudness = (id: string) => clips.value.get(id)?.measured?.loudness_lufs ?? null;
  const own = loudness(clip.id);
  const all = variations.value.map(loudness).filter((value) => value !== null);
  return own === null ? 1 : 10 ** ((Math.min(own, ...all) - own) / 20);
}

export function toggle(): void {
  const clip = clips.value.get(currentId.value ?? "");
  if (player.state === "playing" || player.state === "starved") {
    startsInS.value = null;
    player.pause();
  } else if (isPlaying.value) {
    stopPlaying();
  } else if (player.state === "paused") {
    player.resume().catch(report);
  } else if (clip !== undefined && isPlayable(clip)) {
    playClip(clip, group.value).catch(report);
  }
}

export function stopPlaying(): void {
  request += 1;
  startsInS.value = null;
  player.stop();
}

export function seek(seconds: number): void {
  if (player.track !== null) {
    player.seek(Math.round(seconds * player.track.format.sampleRateHz)).catch(report);
    follow();
  }
}

/** Marks a part of the current clip; a loop moves along. */
export function setRegion(next: Region | null): void {
  region.value = next;
  if (isLooping.value) {
    applyLoop();
  }
}

/** Marks a part of a clip, from bar to bar where that is wished for and the tempo is known. */
export function markRegion(clip: Clip, startS: number, endS: number): void {
  const end = Math.min(endS, clip.duration_s);
  const tempo = clip.measured?.tempo_bpm ?? clip.tempo_bpm;
  const isSnapped = isSnapping.value && tempo !== null;
  setRegion(isSnapped ? snapToBars(startS, end, barS(tempo), clip.duration_s) : { startS, endS: end });
}

export function toggleLoop(): void {
  isLooping.value = !isLooping.value;
  applyLoop();
}

function applyLoop(): void {
  const { track } = player;
  if (track !== null) {
    player.setLoop(loopOf(track)).catch(report);
  }
}

/** The frames to be repeated. What repeats all of a clip that is being made begins once that has ended. */
function loopOf(track: Playable): Loop | null {
  if (!isLooping.value || (region.value === null && !track.isComplete)) {
    return null;
  }
  const rate = track.format.sampleRateHz;
  const { startS, endS } = region.value ?? { startS: 0, endS: track.durationS };
  const loop = { first: Math.round(startS * rate), last: Math.min(Math.round(endS * rate), track.frames) };
  return loop.last > loop.first ? loop : null;
}

function loopOnceComplete(): void {
  if (player.track?.isComplete && isLooping.value && region.value === null) {
    applyLoop();
  }
}

/** A clip that is deleted, here or elsewhere, is no longer heard. */
effect(() => {
  const id = currentId.value;
  if (id !== null && !clips.value.has(id)) {
    untracked(stopPlaying);
    currentId.value = null;
  }
});

effect(() => {
  const there = group.value.filter((id) => clips.value.has(id));
  if (there.length < group.value.length) {
    group.value = there;
  }
});

let readingAhead = 0;

/** Reads the finished clips of the current group ahead, so that switching needs no wait. */
effect(() => {
  const ready = variations.value
    .map((id) => clips.value.get(id))
    .filter((clip) => clip?.audio_kept === true && clip.state === "ready") as Clip[];
  readingAhead += 1;
  if (variations.value.length > 1) {
    void readAhead(ready, readingAhead);
  }
});

/** One after the other: many at once would end the stream of what plays. */
async function readAhead(ready: Clip[], mine: number): Promise<void> {
  for (const clip of ready) {
    if (mine === readingAhead) {
      await readWhole(clip).catch(() => dropTrack(clip.id));
    }
  }
}
