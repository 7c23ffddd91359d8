/** What of a clip a waveform shows: its outline, also while it grows, or all its samples. */
import { get } from "../api/client.ts";
import type { Clip, PeaksFile } from "../api/types.ts";
import { loadedTrack, readWhole } from "../audio/tracks.ts";
import { attempt } from "../state/notices.ts";
import { isPlayable } from "../state/store.ts";

/** The growing outline is drawn at most this often. */
const REDRAW_MS = 250;
/** Outlines of clips that are being made, but not played, are fetched at most this often. */
const FETCH_MS = 1_000;

/** Values from -1 to 1 over the whole clip; of an outline the upper half and the lower one. */
type Draw = (channels: (Float32Array | number[])[]) => unknown;

/** Draws every sample once all are there, which a spectrogram needs; returns what stops it. */
export function followSamples(clip: Clip, draw: Draw): () => void {
  let isWanted = true;
  attempt(async () => {
    const track = await readWhole(clip);
    if (isWanted) {
      draw(track.channels());
    }
  });
  return () => {
    isWanted = false;
  };
}

/** Draws a clip's outline now and while it grows; returns what stops it. */
export function followOutline(clip: () => Clip, draw: Draw): () => void {
  let drawn = -1;
  let fetchedAt = Number.NEGATIVE_INFINITY;
  const isGrowing = () => clip().state === "waiting" || clip().state === "making";
  const update = () => {
    const track = loadedTrack(clip().id);
    if (track !== null && track.frames > 0) {
      if (track.frames !== drawn) {
        drawn = track.frames;
        draw(track.peaks.outline(clip().asked_s));
      }
    } else if (clip().duration_s > 0 && isPlayable(clip()) && performance.now() - fetchedAt > FETCH_MS) {
      // A finished clip is fetched once.
      fetchedAt = isGrowing() ? performance.now() : Number.POSITIVE_INFINITY;
      attempt(async () => draw(unpack(await get<PeaksFile>(`/v1/clips/${clip().id}/peaks?per_s=50`), clip())));
    }
  };
  // Not at once: the empty wave that wavesurfer draws after it was created would replace an outline that is there already.
  const first = window.setTimeout(update);
  const timer = window.setInterval(update, REDRAW_MS);
  return () => {
    window.clearTimeout(first);
    window.clearInterval(timer);
  };
}

/** The file's pairs of lowest and highest sample as two channels, at their place within the whole clip. */
function unpack(file: PeaksFile, clip: Clip): [number[], number[]] {
  const scale = 2 ** (file.bits - 1);
  const columns = Math.floor(file.data.length / (2 * file.channels));
  const whole = Math.max(columns, Math.round((columns * clip.asked_s) / Math.max(clip.duration_s, 0.01)));
  const highest = new Array<number>(whole).fill(0);
  const lowest = new Array<number>(whole).fill(0);
  for (let column = 0; column < columns; column++) {
    const values = file.data.slice(2 * file.channels * column, 2 * file.channels * (column + 1));
    highest[column] = Math.max(...values) / scale;
    lowest[column] = Math.min(...values) / scale;
  }
  return [highest, lowest];
}
