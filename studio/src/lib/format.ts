/** Numbers as people read them. */

/** `0:06.2`. */
export function clock(seconds: number): string {
  const tenths = Math.floor(Math.max(seconds, 0) * 10 + 1e-6);
  return `${Math.floor(tenths / 600)}:${String(Math.floor(tenths / 10) % 60).padStart(2, "0")}.${tenths % 10}`;
}

/** Seconds with at most one decimal place: `6.2`, `10`. */
export function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}

/** `1.5 MB`. */
export function bytes(count: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), units.length - 1);
  return `${short(count / 1000 ** power)} ${units[power]}`;
}

/** The letter of a variation: A for index 0. */
export function letter(index: number): string {
  return String.fromCharCode(65 + index);
}

/** A date and time in the reader's own form. */
export function moment(iso: string): string {
  return new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

const MOST_CHORDS = 16;

/** The first symbols of chords such as "Am7:0.0 D9:3.43". */
export function chordNames(chords: string): string {
  const names = chords.split(" ").map((chord) => chord.slice(0, chord.lastIndexOf(":")));
  return names.slice(0, MOST_CHORDS).join(" ") + (names.length > MOST_CHORDS ? " …" : "");
}
