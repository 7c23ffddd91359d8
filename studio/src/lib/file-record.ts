/** The record of how music was made, which Descant writes into the tags of its files: JSON in ASCII, in every format. */
import type { JobRequest, Recipe } from "../api/types.ts";

const NAME = "descant";
/** Bytes between the name of the tag and its text; MP4 has the most. */
const MAX_DISTANCE = 40;

/** What a record is read for; it has more. */
interface FileRecord {
  text: string | null;
  timeline: [number, string][];
  negative_text: string | null;
  duration_s: number;
  loop_bars: number | null;
  beats_per_bar: number;
  seed: number;
  tempo: number | null;
  key: string | null;
  chords: string | null;
  sampling: JobRequest["sampling"];
  guidance: JobRequest["guidance"];
  prompt_codes: unknown;
  melody_chroma: unknown;
  style_codes: unknown;
  model: string;
  model_fingerprint: string | null;
}

/** A recipe from an audio file, and whether the music also began with, or followed, other music that it does not hold. */
export interface FileRecipe {
  recipe: Recipe;
  hasSource: boolean;
}

/** The recipe in the tags of an audio file of any format; null where there is none. */
export function recipeInFile(bytes: Uint8Array): FileRecipe | null {
  // A byte becomes a character: offsets stay, and the record is ASCII.
  const text = new TextDecoder("latin1").decode(isOgg(bytes) ? withoutPageHeaders(bytes) : bytes);
  for (let name = text.indexOf(NAME); name !== -1; name = text.indexOf(NAME, name + 1)) {
    const start = text.indexOf('{"', name);
    const record = start === -1 || start - name > MAX_DISTANCE ? null : objectAt(text, start);
    if (record !== null && "seed" in record && "timeline" in record) {
      return recipeOf(record as unknown as FileRecord);
    }
  }
  return null;
}

function recipeOf(made: FileRecord): FileRecipe {
  const request: JobRequest = {
    text: made.text,
    negative_text: made.negative_text,
    sections: made.timeline.map(([start_s, text]) => ({ start_s, text })),
    seed: made.seed,
    tempo: made.tempo ?? "none",
    key: made.key ?? "none",
    chords: made.chords,
    sampling: made.sampling,
    guidance: made.guidance,
    ...(made.loop_bars === null
      ? { duration_s: made.duration_s }
      : { loop: { bars: made.loop_bars, beats_per_bar: made.beats_per_bar } }),
  };
  const hasSource = [made.prompt_codes, made.melody_chroma, made.style_codes].some((source) => source != null);
  return { recipe: { recipe: 1, request, model: made.model, model_fingerprint: made.model_fingerprint }, hasSource };
}

/** The JSON object that begins at a place of the text; null where none does. */
function objectAt(text: string, start: number): Record<string, unknown> | null {
  let depth = 0;
  let isInString = false;
  for (let at = start; at < text.length; at++) {
    const char = text[at];
    if (isInString) {
      isInString = char !== '"';
      at += char === "\\" ? 1 : 0;
    } else if (char === '"') {
      isInString = true;
    } else if (char === "{" || char === "[") {
      depth += 1;
    } else if (char === "}" || char === "]") {
      depth -= 1;
      if (depth === 0) {
        return parsed(text.slice(start, at + 1));
      }
    }
  }
  return null;
}

function parsed(json: string): Record<string, unknown> | null {
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch {
    return null;
  }
}

const isOgg = (bytes: Uint8Array) => String.fromCharCode(...bytes.subarray(0, 4)) === "OggS";

/** The packets of an Ogg file, one after the other: the headers of its pages may lie within the record. */
function withoutPageHeaders(bytes: Uint8Array): Uint8Array {
  const content = new Uint8Array(bytes.length);
  let length = 0;
  for (let page = 0; page + 27 <= bytes.length; ) {
    const segments = bytes.subarray(page + 27, page + 27 + (bytes[page + 26] as number));
    const first = page + 27 + segments.length;
    const last = first + segments.reduce((sum, size) => sum + size, 0);
    content.set(bytes.subarray(first, last), length);
    length += Math.min(last, bytes.length) - first;
    page = last;
  }
  return content.subarray(0, length);
}
