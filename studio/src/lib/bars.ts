/** Bars and beats of a clip whose tempo is known; the first beat is at its beginning. */

export const BEATS_PER_BAR = 4;

export function barS(tempoBpm: number, beatsPerBar = BEATS_PER_BAR): number {
  return (beatsPerBar * 60) / tempoBpm;
}

/** The region with both ends at the nearest bar, at least one bar long and within the clip. */
export function snapToBars(
  startS: number,
  endS: number,
  bar: number,
  durationS: number,
): { startS: number; endS: number } {
  const bars = Math.max(Math.round((endS - startS) / bar), 1);
  const last = Math.floor(durationS / bar + 1e-6);
  if (last < 1) {
    return { startS, endS };
  }
  const first = Math.min(Math.round(startS / bar), Math.max(last - bars, 0));
  return { startS: first * bar, endS: Math.min(first + bars, last) * bar };
}

/** `2.3`: bar and beat at a second, both counted from 1. */
export function barAndBeat(seconds: number, tempoBpm: number): string {
  const beat = Math.floor((seconds * tempoBpm) / 60 + 1e-6);
  return `${Math.floor(beat / BEATS_PER_BAR) + 1}.${(beat % BEATS_PER_BAR) + 1}`;
}
