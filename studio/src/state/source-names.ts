/** Names of the clips and uploads that music is made from. */
import { signal } from "@preact/signals";
import { get, ProblemError } from "../api/client.ts";
import type { Upload } from "../api/types.ts";
import { attempt } from "./notices.ts";
import { clipName, clips, findClip } from "./store.ts";

/** What a setting refers to: a clip or an upload. */
export interface Reference {
  clip_id?: string | null;
  upload_id?: string | null;
}

/** Names of uploads by id, and null for uploads and clips that are gone. */
const names = signal<ReadonlyMap<string, string | null>>(new Map());
const asked = new Set<string>();

export const idOf = ({ clip_id, upload_id }: Reference) => clip_id ?? upload_id ?? "";

export function noteName(id: string, name: string | null): void {
  names.value = new Map(names.value).set(id, name);
}

/** The name of a clip or upload; null where it is gone, undefined where it is not known yet. */
export function sourceName(source: Reference): string | null | undefined {
  const clip = clips.value.get(idOf(source));
  return clip === undefined ? names.value.get(idOf(source)) : clipName(clip);
}

/** Asks the server for a name that is not known. */
export function findName(source: Reference): void {
  const id = idOf(source);
  if (sourceName(source) !== undefined || asked.has(id)) {
    return;
  }
  asked.add(id);
  attempt(async () => {
    try {
      if (source.clip_id) {
        await findClip(id);
      } else {
        noteName(id, (await get<Upload>(`/v1/uploads/${id}`)).name);
      }
    } catch (error) {
      if (!(error instanceof ProblemError && error.problem.status === 404)) {
        throw error;
      }
      noteName(id, null);
    } finally {
      asked.delete(id);
    }
  });
}
