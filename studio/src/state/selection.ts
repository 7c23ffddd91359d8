/** Clips that were chosen to be compared, tested or moved together. */
import { signal } from "@preact/signals";

export const MAX_COMPARED = 8;

export const chosen = signal<string[]>([]);

/** Whether clips are compared without their names. */
export const isBlind = signal(false);

export function toggleChosen(id: string): void {
  if (chosen.value.includes(id)) {
    unchoose(id);
  } else {
    chosen.value = [...chosen.value, id];
  }
}

export function unchoose(id: string): void {
  chosen.value = chosen.value.filter((other) => other !== id);
}
