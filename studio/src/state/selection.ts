/** Clips that were chosen to be compared, tested or moved together. */
import { signal } from "@preact/signals";

export const MAX_COMPARED = 8;

export const chosen = signal<string[]>([]);

export function toggleChosen(id: string): void {
  chosen.value = chosen.value.includes(id) ? chosen.value.filter((other) => other !== id) : [...chosen.value, id];
}
