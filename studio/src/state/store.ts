/** What the server has, as the page knows it: read once, then kept up to date by events. */
import { computed, signal } from "@preact/signals";
import { get, needsKey, ProblemError } from "../api/client.ts";
import { listen } from "../api/events.ts";
import type { Clip, Job, Model, Page, Progress, Server } from "../api/types.ts";
import { t } from "../strings.ts";
import { announce } from "./notices.ts";
import { unchoose } from "./selection.ts";

const RECENT_JOBS = 20;

export const server = signal<Server | null>(null);
export const models = signal<Model[]>([]);
export const jobs = signal<ReadonlyMap<string, Job>>(new Map());
export const clips = signal<ReadonlyMap<string, Clip>>(new Map());
export const progress = signal<ReadonlyMap<string, Progress>>(new Map());
export const connection = signal<"connecting" | "online" | "offline">("connecting");
/** Grows whenever clips have come, changed or gone, so that lists are read again. */
export const libraryVersion = signal(0);

/** A list that a screen reads as a whole. */
export type ListName = "collections" | "presets" | "uploads" | "listening-tests";

const NO_LISTS = { collections: 0, presets: 0, uploads: 0, "listening-tests": 0 };
/** Grows for a list whenever something in it may have changed, so that it is read again. */
export const listVersions = signal<Readonly<Record<ListName, number>>>(NO_LISTS);

function noteLists(names: ListName[]): void {
  const now = { ...listVersions.value };
  for (const name of names) {
    now[name] += 1;
  }
  listVersions.value = now;
}

export const model = computed(() => models.value.find((one) => one.loaded) ?? models.value[0] ?? null);

/** Why the loaded model cannot do something; null where it can. */
export function cannot(what: string): string | null {
  return model.value?.can[what] === false ? (model.value.cannot[what] ?? t.state.modelCannot) : null;
}

/** Newest first. */
export const recentJobs = computed(() =>
  [...jobs.value.values()].sort((a, b) => b.created_at.localeCompare(a.created_at) || b.id.localeCompare(a.id)),
);

export const isEnded = (job: Job) => job.state !== "queued" && job.state !== "running";
/** Whether there is audio: while a clip is being made its stream has it, later the file that is kept. */
export const isPlayable = (clip: Clip) =>
  clip.state === "making" || (clip.audio_kept && (clip.state === "ready" || clip.state === "partial"));

export function clipName(clip: Clip): string {
  return clip.title || clip.text || t.clip.untitled;
}

/** Whether a clip waits to be made or is being made. */
export const isUnfinished = (clip: Clip) => clip.state === "waiting" || clip.state === "making";

/** Why nothing can be made from a clip; null where something can. */
export function notUsable(clip: Clip): string | null {
  if (isUnfinished(clip)) {
    return t.state.stillMade;
  }
  return isPlayable(clip) ? null : clip.audio_bytes > 0 ? t.state.dropped : t.state.noMusic;
}

/** Why no job can be sent now; null where one can. */
export const notReady = computed(() => {
  if (needsKey.value) {
    return t.state.needsKey;
  }
  if (connection.value === "offline") {
    return t.state.offline;
  }
  if (server.value?.state === "draining") {
    return t.state.draining;
  }
  return server.value !== null && !server.value.scopes.includes("generate") ? t.state.noScope : null;
});

export function keepClips(found: Clip[]): void {
  const newer = found.filter((clip) => clip.version >= (clips.value.get(clip.id)?.version ?? 0));
  clips.value = new Map([...clips.value, ...newer.map((clip) => [clip.id, clip] as const)]);
}

export const keepClip = (clip: Clip) => keepClips([clip]);

export function keepJob(job: Job): void {
  jobs.value = new Map(jobs.value).set(job.id, job);
  keepClips(job.clips);
}

export function forgetClip(id: string): void {
  unchoose(id);
  const rest = new Map(clips.value);
  rest.delete(id);
  clips.value = rest;
}

/** A clip, from the server where the page does not know it yet. */
export async function findClip(id: string): Promise<Clip> {
  const known = clips.value.get(id);
  if (known !== undefined) {
    return known;
  }
  const clip = await get<Clip>(`/v1/clips/${id}`);
  keepClip(clip);
  return clip;
}

/** The clips of a job as they are now, without those in the trash. */
export function clipsOf(job: Job): Clip[] {
  return job.clips.flatMap((clip) => {
    const now = clips.value.get(clip.id);
    return now === undefined || now.trashed_at !== null ? [] : [now];
  });
}

/** What the server has listed since `before` was known, but for what has come, changed or gone here in the meantime. */
function withNewer<T extends { id: string }>(
  listed: T[],
  before: ReadonlyMap<string, T>,
  now: ReadonlyMap<string, T>,
): Map<string, T> {
  const all = new Map(listed.map((one) => [one.id, one]));
  for (const [id, one] of now) {
    if (before.get(id) !== one) {
      all.set(id, one);
    }
  }
  for (const id of before.keys()) {
    if (!now.has(id)) {
      all.delete(id);
    }
  }
  return all;
}

/** Reads everything anew. */
export async function refresh(): Promise<void> {
  const [jobsBefore, clipsBefore] = [jobs.value, clips.value];
  try {
    const [info, known, recent] = await Promise.all([
      get<Server>("/v1/server"),
      get<Page<Model>>("/v1/models"),
      get<Page<Job>>(`/v1/jobs?limit=${RECENT_JOBS}`),
    ]);
    server.value = info;
    models.value = known.items;
    jobs.value = withNewer(recent.items, jobsBefore, jobs.value);
    const listed = recent.items.flatMap((job) => job.clips);
    clips.value = new Map([...clips.value, ...withNewer(listed, clipsBefore, clips.value)]);
    libraryVersion.value += 1;
    noteLists(Object.keys(NO_LISTS) as ListName[]);
    needsKey.value = false;
    connection.value = "online";
  } catch (error) {
    if (!(error instanceof ProblemError)) {
      throw error;
    }
    connection.value = error.problem.status === 0 ? "offline" : "online";
  }
}

async function refreshServer(): Promise<void> {
  server.value = await get<Server>("/v1/server");
}

export function start(): void {
  void refresh();
  listen({
    connected: () => void refresh(),
    disconnected: () => {
      // A server that asks for a key answers, but gives no events.
      if (!needsKey.value) {
        connection.value = "offline";
        void refresh();
      }
    },
    event: apply,
  });
}

// biome-ignore lint/suspicious/noExplicitAny: each type of event has data of its own
function apply(type: string, data: any): void {
  if (type === "job.progress") {
    noteProgress(data);
  } else if (type === "job.deleted") {
    const rest = new Map(jobs.value);
    rest.delete(data.job_id);
    jobs.value = rest;
  } else if (type.startsWith("job.")) {
    libraryVersion.value += jobs.value.has(data.job.id) ? 0 : 1;
    keepJob(data.job);
    void refreshServer();
    if (isEnded(data.job)) {
      const rest = new Map(progress.value);
      rest.delete(data.job.id);
      progress.value = rest;
      libraryVersion.value += 1;
    }
  } else if (type === "clip.deleted") {
    forgetClip(data.clip_id);
    libraryVersion.value += 1;
  } else if (type === "clip.ready" || type === "clip.changed" || type === "clip.measured") {
    keepClip(data.clip);
    libraryVersion.value += 1;
    if (type === "clip.ready" && data.clip.state === "ready") {
      announce(t.announce.ready(data.clip.index));
    }
  } else if (type === "list.changed") {
    noteLists([data.list]);
  } else if (type === "resync") {
    void refresh();
  } else if (type !== "clip.first_audio") {
    void refreshServer();
  }
}

function noteProgress(now: Progress): void {
  progress.value = new Map(progress.value).set(now.job_id, now);
  for (const { clip_id, made_s } of now.clips) {
    const clip = clips.value.get(clip_id);
    if (clip !== undefined && (clip.state === "waiting" || clip.state === "making")) {
      keepClip({ ...clip, state: "making", duration_s: made_s });
    }
  }
}
