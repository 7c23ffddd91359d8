/** Preferences of this browser. */
import { effect, type Signal, signal } from "@preact/signals";

export type Theme = "auto" | "light" | "dark";

export const theme = stored<Theme>("theme", "auto");
/** Whether marked regions go to whole bars. */
export const isSnapping = stored<boolean>("snap", true);
/** Whether single keys act; with a screen reader or speech input they may be in the way (WCAG 2.1.4). */
export const hasKeys = stored<boolean>("keys", true);
export const isExpert = stored<boolean>("expert", false);

effect(() => {
  document.documentElement.style.colorScheme = theme.value === "auto" ? "light dark" : theme.value;
});

function stored<T extends string | boolean>(name: string, initial: T): Signal<T> {
  const key = `descant-${name}`;
  const text = localStorage.getItem(key);
  const setting = signal<T>(text === null ? initial : ((typeof initial === "boolean" ? text === "true" : text) as T));
  effect(() => localStorage.setItem(key, String(setting.value)));
  return setting;
}
