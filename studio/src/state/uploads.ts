/** Audio files that the user gives: as melody, as style, or to continue. */
import { effect, signal } from "@preact/signals";
import { get, idempotencyKey, ProblemError, post, remove, type Sending, sendForm } from "../api/client.ts";
import type { CheckedRecipe, Page, Upload } from "../api/types.ts";
import { encodeWav } from "../audio/wav.ts";
import { recipeInFile } from "../lib/file-record.ts";
import { bytes } from "../lib/format.ts";
import { t } from "../strings.ts";
import { draft, edit, restore } from "./draft.ts";
import { attempt, notify } from "./notices.ts";
import { noteName } from "./source-names.ts";
import { listVersions, server } from "./store.ts";

/** Those of earlier, the newest first, as far as they were read. */
export const uploads = signal<Page<Upload>>({ items: [], next_cursor: null });

let wereRead = false;

/** Reads the first page of uploads, or the one that begins at the cursor. */
export async function readUploads(cursor: string | null = null): Promise<void> {
  wereRead = true;
  const page = await get<Page<Upload>>(`/v1/uploads${cursor === null ? "" : `?cursor=${cursor}`}`);
  if (cursor !== null && cursor !== uploads.value.next_cursor) {
    return; // asked for twice
  }
  uploads.value = { ...page, items: [...(cursor === null ? [] : uploads.value.items), ...page.items] };
}

effect(() => {
  if (listVersions.value.uploads > 0 && wereRead) {
    attempt(readUploads);
  }
});

/** Deletes an upload, also from the draft; clips that were made from it stay. */
export async function deleteUpload(upload: Upload): Promise<void> {
  await remove(`/v1/uploads/${upload.id}`);
  noteName(upload.id, null);
  uploads.value = { ...uploads.value, items: uploads.value.items.filter(({ id }) => id !== upload.id) };
  for (const kind of ["melody", "style", "continue_from"] as const) {
    if (draft.value[kind]?.upload_id === upload.id) {
      edit({ [kind]: null });
    }
  }
}

export type SourceKind = "melody" | "style" | "continue_from";

/** A file on its way to the server. */
export interface SentFile {
  name: string;
  /** How much of it is there, from 0 to 1. */
  share: number;
  cancel: () => void;
}

/** Files on their way, by what they are for. They go on while other screens are looked at. */
export const sending = signal<ReadonlyMap<SourceKind, SentFile>>(new Map());

/** Makes an upload the source of a kind. */
export function takeUpload(kind: SourceKind, sent: Upload): void {
  noteName(sent.id, sent.name);
  if (kind === "continue_from") {
    edit({ continue_from: { upload_id: sent.id }, duration_s: Math.ceil(sent.duration_s + 10), loop: null });
  } else {
    edit({ [kind]: { upload_id: sent.id } });
  }
}

/** Sends a file and makes it the source of a kind, in place of another that is on its way. */
export async function takeFile(kind: SourceKind, file: File): Promise<void> {
  sending.value.get(kind)?.cancel();
  const stop = new AbortController();
  const show = (share: number) => {
    if (!stop.signal.aborted) {
      sending.value = new Map(sending.value).set(kind, { name: file.name, share, cancel });
    }
  };
  const hide = () => {
    const rest = new Map(sending.value);
    rest.delete(kind);
    sending.value = rest;
  };
  const cancel = () => {
    stop.abort();
    hide();
  };
  show(0);
  try {
    const sent = await upload(file, { onShare: show, signal: stop.signal });
    stop.signal.throwIfAborted();
    takeUpload(kind, sent);
  } finally {
    if (!stop.signal.aborted) {
      hide();
    }
  }
}

/** Sends a file; one that the server cannot read is decoded here and sent as WAV, such as a phone's voice memo. */
async function upload(file: File, way: Sending): Promise<Upload> {
  try {
    return await send(file, way);
  } catch (error) {
    if (!(error instanceof ProblemError && ["bad-audio", "unsupported-type"].includes(error.slug))) {
      throw error;
    }
    const wav = await decoded(file, error);
    way.signal.throwIfAborted();
    return send(wav, way);
  }
}

function send(file: File, way: Sending): Promise<Upload> {
  const limit = server.value?.limits.upload_bytes ?? Number.POSITIVE_INFINITY;
  if (file.size > limit) {
    throw new Error(t.problem.tooLarge(file.name, bytes(file.size), bytes(limit)));
  }
  const form = new FormData();
  form.append("file", file);
  return sendForm<Upload>("/v1/uploads", form, { "Idempotency-Key": idempotencyKey() }, way);
}

async function decoded(file: File, refused: ProblemError): Promise<File> {
  const context = new OfflineAudioContext(1, 1, 44_100);
  try {
    const wav = encodeWav(await context.decodeAudioData(await file.arrayBuffer()));
    return new File([wav], `${file.name.replace(/\.[^.]+$/, "")}.wav`, { type: "audio/wav" });
  } catch {
    throw refused;
  }
}

/** Restores the settings that a dropped file holds: a recipe, or audio that Descant made. */
export async function restoreFile(file: File): Promise<void> {
  const content = new Uint8Array(await file.arrayBuffer());
  const found = recipeInFile(content) ?? { recipe: parsed(content), hasSource: false };
  if (found.recipe === null) {
    throw new Error(t.problem.notARecipe(file.name));
  }
  const { request, notes } = await post<CheckedRecipe>("/v1/recipes/check", found.recipe);
  restore(request);
  for (const note of [...notes, ...(found.hasSource ? [t.notice.sourceNotRestored] : [])]) {
    notify(note);
  }
}

function parsed(content: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(content));
  } catch {
    return null;
  }
}
