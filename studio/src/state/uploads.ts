/** Audio files that the user gives: as melody, as style, or to continue. */
import { signal } from "@preact/signals";
import { call, get, idempotencyKey, ProblemError, post, remove } from "../api/client.ts";
import type { CheckedRecipe, Page, Upload } from "../api/types.ts";
import { encodeWav } from "../audio/wav.ts";
import { recipeInFile } from "../lib/file-record.ts";
import { t } from "../strings.ts";
import { draft, edit, restore } from "./draft.ts";
import { notify } from "./notices.ts";

/** Those of earlier, the newest first, as far as they were read. */
export const uploads = signal<Page<Upload>>({ items: [], next_cursor: null });

/** Reads the first page of uploads, or the one that begins at the cursor. */
export async function readUploads(cursor: string | null = null): Promise<void> {
  const page = await get<Page<Upload>>(`/v1/uploads${cursor === null ? "" : `?cursor=${cursor}`}`);
  uploads.value = { ...page, items: [...(cursor === null ? [] : uploads.value.items), ...page.items] };
}

/** Deletes an upload, also from the draft; clips that were made from it stay. */
export async function deleteUpload(upload: Upload): Promise<void> {
  await remove(`/v1/uploads/${upload.id}`);
  uploads.value = { ...uploads.value, items: uploads.value.items.filter(({ id }) => id !== upload.id) };
  for (const kind of ["melody", "style", "continue_from"] as const) {
    if (draft.value[kind]?.upload_id === upload.id) {
      edit({ [kind]: null });
    }
  }
}

/** Sends a file; one that the server cannot read is decoded here and sent as WAV, such as a phone's voice memo. */
export async function upload(file: File): Promise<Upload> {
  let sent: Upload;
  try {
    sent = await send(file);
  } catch (error) {
    if (!(error instanceof ProblemError && ["bad-audio", "unsupported-type"].includes(error.slug))) {
      throw error;
    }
    sent = await send(await decoded(file, error));
  }
  return sent;
}

function send(file: File): Promise<Upload> {
  const form = new FormData();
  form.append("file", file);
  return call<Upload>("POST", "/v1/uploads", form, { "Idempotency-Key": idempotencyKey() });
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
  const bytes = new Uint8Array(await file.arrayBuffer());
  const found = recipeInFile(bytes) ?? { recipe: parsed(bytes), hasSource: false };
  if (found.recipe === null) {
    throw new Error(t.problem.notARecipe(file.name));
  }
  const { request, notes } = await post<CheckedRecipe>("/v1/recipes/check", found.recipe);
  restore(request);
  for (const note of [...notes, ...(found.hasSource ? [t.notice.sourceNotRestored] : [])]) {
    notify(note);
  }
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}
