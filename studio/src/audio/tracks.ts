/** Audio of clips from the server: read while it is made, kept in memory up to a limit, resumed where it broke off. */
import { ProblemError, send } from "../api/client.ts";
import type { Clip } from "../api/types.ts";
import { LONG_S, LongTrack, type Playable } from "./long-track.ts";
import { parsePcmType, Track } from "./track.ts";

const LIMIT_BYTES = 200 * 2 ** 20;
/** Browsers allow six connections to a host; the page needs some for other things. */
const MAX_STREAMS = 3;
const RETRY_S = [0.5, 1, 2, 4, 8];
/** Answers of a server, or of what stands before it, that cannot be reached or starts: 0 is none at all. */
const UNAVAILABLE = [0, 502, 503, 504];

interface Entry {
  track: Promise<Track>;
  loaded: Track | null;
  abort: AbortController;
}

/** In the order of their last use. */
const entries = new Map<string, Entry>();

/** The audio of a clip, as soon as its format is known; it then grows by itself. A long finished one stays on the server. */
export function openTrack(clip: Clip): Promise<Playable> {
  if (clip.duration_s > LONG_S && clip.state !== "making" && !entries.has(clip.id)) {
    return Promise.resolve(longTrack(clip));
  }
  const entry = entries.get(clip.id) ?? load(clip);
  entries.delete(clip.id);
  entries.set(clip.id, entry);
  makeRoom();
  return entry.track;
}

/**
 * All of a clip's audio, in memory.
 *
 * @throws Error if it is too long for that.
 */
export async function readWhole(clip: Clip): Promise<Track> {
  const track = await openTrack(clip);
  if (track instanceof LongTrack) {
    throw new Error(`clip ${clip.id} is longer than ${LONG_S} s`);
  }
  while (!track.isComplete) {
    await new Promise((resolve) => track.changed.addEventListener("audio", resolve, { once: true }));
  }
  return track;
}

function longTrack(clip: Clip): LongTrack {
  const format = { sampleRateHz: clip.sample_rate_hz as number, channels: clip.channels as number };
  const url = `/v1/clips/${clip.id}/audio?format=wav`;
  return new LongTrack(url, format, Math.round(clip.duration_s * format.sampleRateHz));
}

/** What has been read of a clip; null where nothing has. */
export function loadedTrack(id: string): Track | null {
  return entries.get(id)?.loaded ?? null;
}

export function dropTrack(id: string): void {
  entries.get(id)?.abort.abort();
  entries.delete(id);
}

function load(clip: Clip): Entry {
  const abort = new AbortController();
  const opened = Promise.withResolvers<Track>();
  const entry: Entry = { track: opened.promise, loaded: null, abort };
  const onFormat = (track: Track) => {
    entry.loaded = track;
    opened.resolve(track);
  };
  readAll(clip, abort.signal, onFormat).catch((error: unknown) => {
    if (entries.get(clip.id) === entry) {
      entries.delete(clip.id);
    }
    opened.reject(error);
    // What plays it would wait for the rest for ever.
    entry.loaded?.complete();
  });
  return entry;
}

/** Reads to the end. A beginning that was read is continued as soon as the server can be reached again, however late. */
async function readAll(clip: Clip, signal: AbortSignal, onFormat: (track: Track) => void): Promise<void> {
  let track: Track | null = null;
  for (let failures = 0; track?.isComplete !== true; ) {
    const before: number = track?.frames ?? 0;
    try {
      const startS: number = track?.durationS ?? 0;
      const response = await send(`/v1/clips/${clip.id}/stream?format=pcm&start_s=${startS}`, { signal });
      if (track === null) {
        const format = parsePcmType(response.headers.get("Content-Type") ?? "");
        track = new Track(format, Math.ceil(clip.asked_s * format.sampleRateHz));
        onFormat(track);
      }
      await readBody(response, track);
      track.complete();
    } catch (error) {
      track?.dropCarried();
      const isLost =
        error instanceof TypeError || (error instanceof ProblemError && UNAVAILABLE.includes(error.problem.status));
      failures = (track?.frames ?? 0) > before ? 0 : failures + 1;
      if (!isLost || signal.aborted || (track === null && failures > RETRY_S.length)) {
        throw error;
      }
      await pause(RETRY_S[Math.min(Math.max(failures - 1, 0), RETRY_S.length - 1)] as number);
    }
  }
}

async function readBody(response: Response, track: Track): Promise<void> {
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    track.append(part.value);
  }
}

function makeRoom(): void {
  const all = [...entries];
  const streaming = all.filter(([, entry]) => entry.loaded?.isComplete !== true);
  for (const [id] of streaming.slice(0, -MAX_STREAMS)) {
    dropTrack(id);
  }
  let bytes = all.reduce((sum, [, entry]) => sum + (entry.loaded?.bytes ?? 0), 0);
  for (const [id, entry] of all.slice(0, -1)) {
    if (bytes > LIMIT_BYTES) {
      bytes -= entry.loaded?.bytes ?? 0;
      dropTrack(id);
    }
  }
}

const pause = (seconds: number) => new Promise((resolve) => window.setTimeout(resolve, seconds * 1000));
