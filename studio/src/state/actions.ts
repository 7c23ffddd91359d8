/** What a press does: each of the page's tasks is one function here, whatever button or key calls it. */
import { computed, effect, signal, untracked } from "@preact/signals";
import { call, get, idempotencyKey, ProblemError, patch, post, remove } from "../api/client.ts";
import type { Clip, Job, JobRequest, Page, Recipe, Section } from "../api/types.ts";
import { dropTrack } from "../audio/tracks.ts";
import { encodeRequest } from "../lib/recipe-link.ts";
import { expand } from "../lib/wildcards.ts";
import { t } from "../strings.ts";
import { compact, draft, edit } from "./draft.ts";
import { announce, attempt, notify } from "./notices.ts";
import { currentId, DEFAULT_RATE_HZ, group, playClip, player, type Region, stopPlaying } from "./playback.ts";
import { navigate } from "./router.ts";
import { unchoose } from "./selection.ts";
import {
  cannot,
  clipName,
  clips,
  forgetClip,
  isEnded,
  isUnfinished,
  jobs,
  keepClip,
  keepJob,
  libraryVersion,
  model,
  notReady,
  notUsable,
  refresh,
} from "./store.ts";
import { sending } from "./uploads.ts";

/** Whether a new job follows each that has ended, until it is stopped or one fails. */
export const isForever = signal(false);
/** The job that was sent last. */
const lastSent = signal("");
export const isSending = signal(false);

/** Why the draft cannot be sent now; null where it can. */
export const notGenerating = computed(() => notReady.value ?? (sending.value.size > 0 ? t.make.waitsForFile : null));

/** Makes what the draft asks for, one job for each choice of its wildcards, and plays the first. */
export async function generate(): Promise<void> {
  if (sending.value.size > 0) {
    throw new Error(t.make.waitsForFile);
  }
  const texts = expand(draft.value.text ?? "");
  await submit(texts.map((text) => ({ ...draft.value, text: text.trim() || null })));
}

/** Makes music from a sentence, with the other settings of the draft. */
export async function generateText(text: string): Promise<void> {
  edit({ text });
  await generate();
}

async function submit(requests: JobRequest[]): Promise<void> {
  if (isSending.value || notReady.value !== null) {
    return;
  }
  isSending.value = true;
  // The press allows sound; the audio comes later, when the browser would no longer see a press.
  player.unlock(model.value?.sample_rate_hz ?? DEFAULT_RATE_HZ);
  try {
    const made: Job[] = [];
    for (const request of requests) {
      made.push(await post<Job>("/v1/jobs", compact(request), { "Idempotency-Key": idempotencyKey() }));
    }
    made.reverse().forEach(keepJob);
    const first = made.at(-1) as Job;
    lastSent.value = made[0]?.id ?? "";
    announce(t.announce.queued);
    playClip(
      first.clips[0] as Clip,
      first.clips.map((clip) => clip.id),
    ).catch(reportLater);
  } catch (error) {
    isForever.value = false; // before the page counts as idle
    throw error;
  } finally {
    isSending.value = false;
  }
}

/** A clip that fails says so on its card. */
function reportLater(): void {
  stopPlaying();
}

export async function recipeOf(clip: Clip): Promise<JobRequest> {
  return (await get<Recipe>(`/v1/clips/${clip.id}/recipe`)).request;
}

/** Another take with the same settings and another seed. */
export async function moreLike(clip: Clip): Promise<void> {
  const request = await recipeOf(clip);
  await submit([{ ...request, seed: null, relation: { clip_id: clip.id, kind: "variation" } }]);
}

/** Whether something can be made from the clip; says why where it cannot. */
function isUsable(clip: Clip): boolean {
  const reason = notUsable(clip);
  if (reason !== null) {
    notify(reason, { isProblem: true });
  }
  return reason === null;
}

/** New music from a second of the clip on; what is before it stays to the sample. */
export async function continueFrom(clip: Clip, atS: number): Promise<void> {
  if (!isUsable(clip)) {
    return;
  }
  const { loop: _, sections = [], ...request } = await recipeOf(clip);
  const limitS = model.value?.max_duration_s ?? Number.POSITIVE_INFINITY;
  const durationS = Math.min(atS + (draft.value.duration_s ?? 10), limitS);
  await submit([
    {
      ...request,
      sections: sections.filter((section) => section.start_s < durationS),
      melody: null,
      style: null,
      seed: null,
      duration_s: durationS,
      continue_from: { clip_id: clip.id, at_s: atS },
    },
  ]);
}

/** Lets the draft take up the clip at a second, so that it may go on with other words. */
export function continueInDraft(clip: Clip, atS: number): void {
  if (!isUsable(clip)) {
    return;
  }
  edit({
    continue_from: { clip_id: clip.id, at_s: atS },
    duration_s: Math.ceil(atS + 10),
    loop: null,
    text: draft.value.text || clip.text,
  });
  notify(t.notice.continueInDraft);
}

/** Makes a region of the clip the melody or the style of the draft. */
export function useAs(kind: "melody" | "style", clip: Clip, region: Region | null): void {
  const reason = cannot(kind) ?? notUsable(clip);
  if (reason !== null) {
    notify(reason, { isProblem: true });
    return;
  }
  const source = { clip_id: clip.id, start_s: region?.startS ?? 0, end_s: region?.endS ?? clip.duration_s };
  edit({ [kind]: source, text: draft.value.text || clip.text });
  notify(t.notice.usedAs(kind));
}

export function toggleSeedLock(clip: Clip): void {
  const isLocked = draft.value.seed === clip.seed;
  edit({ seed: isLocked ? null : clip.seed, text: draft.value.text || clip.text });
  announce(isLocked ? t.announce.seedFree : t.announce.seedLocked(clip.seed));
}

/** Seconds between what is made and where a new prompt can begin: one by the server's rule, and some for the way. */
const LEAD_S = 1.3;
const TRIES = 3;

/** Adds a prompt at a second: to the job while the clip is being made, else to the draft. */
export async function addSection(clip: Clip | null, section: Section): Promise<void> {
  const job = jobs.value.get(clip?.job_id ?? "");
  if (job !== undefined && !isEnded(job)) {
    await changeMusic(job, section);
  } else {
    edit({
      sections: inOrder([...(draft.value.sections ?? []), section]),
      duration_s: Math.max(draft.value.duration_s ?? 10, Math.ceil(section.start_s + 5)),
    });
  }
}

/** Adds a prompt to music that is being made: where it is asked for, or as soon as it still can be. */
async function changeMusic(job: Job, { start_s, text }: Section): Promise<void> {
  const made = job.clips.map(({ id }) => clips.value.get(id)?.duration_s ?? 0);
  let at = Math.max(start_s, ...made.map((seconds) => seconds + LEAD_S));
  for (let tries = TRIES; ; tries -= 1) {
    const section = { start_s: Math.round(at * 100) / 100, text };
    const later = (job.request.sections ?? []).filter((one) => one.start_s >= start_s);
    try {
      keepJob(await patch<Job>(`/v1/jobs/${job.id}`, { sections: inOrder([...later, section]) }));
      if (section.start_s > start_s) {
        announce(t.announce.sectionBegins(section.start_s));
      }
      return;
    } catch (error) {
      const earliest = error instanceof ProblemError ? error.problem.errors?.[0]?.earliest_s : undefined;
      if (typeof earliest !== "number" || tries === 1) {
        throw error;
      }
      at = Math.max(at, earliest) + LEAD_S / 2;
    }
  }
}

function inOrder(sections: Section[]): Section[] {
  const byStart = new Map(sections.map((section) => [section.start_s, section]));
  return [...byStart.values()].sort((a, b) => a.start_s - b.start_s);
}

export async function cancel(job: Job): Promise<void> {
  isForever.value = false;
  keepJob(await post<Job>(`/v1/jobs/${job.id}/cancel`));
}

/** Sends the request of a failed job again. */
export async function retry(job: Job): Promise<void> {
  await submit([job.request]);
}

export async function setFavourite(clip: Clip, favourite: boolean): Promise<void> {
  keepClip(await patch<Clip>(`/v1/clips/${clip.id}`, { favourite }));
}

export async function change(clip: Clip, changes: Partial<Clip>): Promise<void> {
  keepClip(await patch<Clip>(`/v1/clips/${clip.id}`, changes));
}

/** Moves clips to the trash; they can be brought back from the notice, and for a week from the library. */
export async function trash(chosen: Clip[]): Promise<void> {
  if (chosen.some(isUnfinished)) {
    throw new Error(t.state.cancelFirst);
  }
  for (const clip of chosen) {
    await remove(`/v1/clips/${clip.id}`);
    if (currentId.value === clip.id) {
      stopPlaying();
      currentId.value = null;
    }
    dropTrack(clip.id);
    group.value = group.value.filter((id) => id !== clip.id);
    unchoose(clip.id);
    keepClip({ ...clip, version: clip.version + 1, trashed_at: new Date().toISOString() });
  }
  const undo = { label: t.action.undo, run: () => void restoreFromTrash(chosen) };
  notify(t.notice.trashed(chosen.length), { action: undo });
}

export async function restoreFromTrash(chosen: Clip[]): Promise<void> {
  for (const clip of chosen) {
    keepClip(await post<Clip>(`/v1/clips/${clip.id}/restore`));
  }
}

export async function deleteForever(chosen: Clip[]): Promise<void> {
  for (const clip of chosen) {
    await call("DELETE", `/v1/clips/${clip.id}?forever=true`);
    unchoose(clip.id);
    forgetClip(clip.id);
  }
  libraryVersion.value += 1;
}

/** Deletes everything in the trash for good. */
export async function emptyTrash(): Promise<void> {
  let count = 0;
  const read = async () => (await get<Page<Clip>>("/v1/clips?trashed=true&limit=200")).items;
  for (let found = await read(); found.length > 0; found = await read()) {
    await deleteForever(found);
    count += found.length;
  }
  notify(t.notice.emptied(count));
  await refresh();
}

/** Where the file of a clip, or of a part of it, is downloaded from. */
export function fileUrl(clip: Clip, format: string, region: Region | null = null, isLoop = false): string {
  const query = new URLSearchParams({ format });
  if (region !== null) {
    query.set("start_s", String(region.startS));
    query.set("end_s", String(region.endS));
  }
  if (isLoop) {
    query.set("loop", "true");
  }
  return `/v1/clips/${clip.id}/audio?${query}`;
}

/** Lets a clip be dragged to a folder or into another program: Chromium fetches the file, others take its address. */
export function offerFile(clip: Clip, transfer: DataTransfer): void {
  const url = new URL(fileUrl(clip, "wav"), location.href).href;
  const words = clipName(clip)
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, "-");
  transfer.setData("DownloadURL", `audio/wav:${words.slice(0, 60)}-s${clip.seed}.wav:${url}`);
  transfer.setData("text/uri-list", url);
  transfer.effectAllowed = "copy";
}

export function download(url: string, name = ""): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
}

export function downloadClip(clip: Clip): void {
  if (isUsable(clip)) {
    download(fileUrl(clip, "wav"));
  }
}

export function saveJson(value: unknown, name: string): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  download(url, name);
  URL.revokeObjectURL(url);
}

/** Copies a link with settings: no server is needed to read them from it. */
export async function share(request: JobRequest): Promise<void> {
  const link = `${location.origin}${location.pathname}#/r/${await encodeRequest(compact(request))}`;
  await copy(link);
  notify(t.notice.linkCopied);
}

/**
 * Copies a text. navigator.clipboard exists in secure contexts only and may be refused; a selected text can be copied
 * everywhere.
 *
 * @throws Error with the text, if the browser copies neither way.
 */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    copySelected(text);
  }
}

function copySelected(text: string): void {
  const focused = document.activeElement;
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  (focused as HTMLElement | null)?.focus();
  if (!isCopied) {
    throw new Error(t.problem.notCopied(text));
  }
}

/** Whether the search of the library is to have the cursor as soon as it is drawn. */
export const isSearchWanted = signal(false);

/** Opens the library with the cursor in its search. */
export function search(): void {
  isSearchWanted.value = true;
  navigate("#/library");
}

/** The clip that keys act on. */
export function currentClip(): Clip | null {
  return clips.value.get(currentId.value ?? "") ?? null;
}

export function toggleForever(): void {
  lastSent.value = "";
  isForever.value = !isForever.value;
}

/** While wished, sends the draft again whenever all jobs have ended. What is refused or fails once would do so again. */
export function keepMaking(): void {
  effect(() => {
    const isIdle = [...jobs.value.values()].every(isEnded);
    if (isForever.value && jobs.value.get(lastSent.value)?.state === "failed") {
      isForever.value = false;
    } else if (isForever.value && isIdle && !isSending.value && sending.value.size === 0) {
      untracked(() => {
        edit({ seed: null });
        attempt(generate);
      });
    }
  });
}
