/** The request that is being written. It survives a reload; everything else is on the server. */
import { effect, signal } from "@preact/signals";
import type { JobRequest } from "../api/types.ts";
import { decodeRequest } from "../lib/recipe-link.ts";
import { t } from "../strings.ts";
import { notify, report } from "./notices.ts";

const KEY = "descant-draft";
export const EMPTY: JobRequest = { text: "", duration_s: 10, count: 1, seed: null, tempo: "auto", key: "auto" };

function stored(): JobRequest {
  const text = localStorage.getItem(KEY);
  try {
    return text === null ? EMPTY : { ...EMPTY, ...(JSON.parse(text) as JobRequest) };
  } catch {
    // A damaged draft is no reason for an empty page.
    return EMPTY;
  }
}

export const draft = signal<JobRequest>(stored());

effect(() => localStorage.setItem(KEY, JSON.stringify(draft.value)));

export function edit(change: JobRequest): void {
  draft.value = { ...draft.value, ...change };
}

/** Replaces the draft by somebody's settings. */
export function restore(request: JobRequest): void {
  draft.value = { ...EMPTY, ...request };
  notify(t.notice.restored);
}

export async function restoreLink(data: string): Promise<void> {
  try {
    restore(await decodeRequest(data));
  } catch {
    report(new Error(t.problem.badLink));
  }
}

/** What differs from the settings that the server uses anyway. */
export function compact(request: JobRequest): JobRequest {
  const isSet = ([name, value]: [string, unknown]) =>
    value !== null &&
    value !== undefined &&
    !(Array.isArray(value) && value.length === 0) &&
    !(name === "text" && value === "");
  return Object.fromEntries(Object.entries(request).filter(isSet));
}
