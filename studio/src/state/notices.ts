/** Short messages: those that are seen for some seconds, and those that a screen reader says. */
import { signal } from "@preact/signals";
import { ProblemError } from "../api/client.ts";
import { t } from "../strings.ts";

const NOTICE_MS = 10_000;

export interface Notice {
  id: number;
  text: string;
  detail?: string;
  isProblem: boolean;
  action?: { label: string; run: () => void };
}

export const notices = signal<Notice[]>([]);
export const announcement = signal("");
let lastId = 0;

export function notify(text: string, options: Partial<Omit<Notice, "id" | "text">> = {}): void {
  lastId += 1;
  const id = lastId;
  notices.value = [...notices.value.slice(-2), { id, text, isProblem: false, ...options }];
  if (!options.isProblem) {
    window.setTimeout(() => dismiss(id), NOTICE_MS);
  }
}

export function dismiss(id: number): void {
  notices.value = notices.value.filter((notice) => notice.id !== id);
}

export function announce(text: string): void {
  announcement.value = text;
}

/** Shows what went wrong; a problem of the server says what to do. Where a key is missing, the page asks for it. */
export function report(error: unknown): void {
  const isAborted = error instanceof DOMException && error.name === "AbortError";
  if (isAborted || (error instanceof ProblemError && error.problem.status === 401)) {
    return;
  }
  const text = error instanceof Error ? error.message : String(error);
  const requestId = error instanceof ProblemError ? error.problem.request_id : undefined;
  notify(text, { isProblem: true, detail: requestId === undefined ? undefined : t.problem.request(requestId) });
}

/** Runs what a control does, and shows what went wrong. */
export function attempt(action: () => Promise<unknown>): void {
  action().catch(report);
}

/** Two presses within this time are one double press, or one key that is held. */
const DOUBLE_PRESS_MS = 500;

/** Names of what was begun by `attemptOnce` and has not ended. */
export const underWay = signal<ReadonlySet<string>>(new Set());
const pressedAt = new Map<string, number>();

/**
 * As `attempt`, for what must not be done twice: a press is ignored while the action is under way, and soon after the
 * press before it. In a list from which something is removed, the second half of a double press would meet the next.
 */
export function attemptOnce(name: string, action: () => Promise<unknown>): void {
  const before = pressedAt.get(name) ?? Number.NEGATIVE_INFINITY;
  const now = performance.now();
  pressedAt.set(name, now);
  if (underWay.value.has(name) || now - before < DOUBLE_PRESS_MS) {
    return;
  }
  underWay.value = new Set(underWay.value).add(name);
  attempt(() =>
    action().finally(() => {
      underWay.value = new Set([...underWay.value].filter((other) => other !== name));
    }),
  );
}
