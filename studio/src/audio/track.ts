/** One clip's audio in memory, which may still be growing: 16-bit PCM from the network becomes floats and peaks. */
import { Peaks } from "./peaks.ts";

const FULL_SCALE = 32_768;

/** How the samples of a stream are laid out. */
export interface PcmFormat {
  sampleRateHz: number;
  channels: number;
}

export class Track {
  readonly format: PcmFormat;
  readonly peaks: Peaks;
  /** Frames that have arrived. */
  frames = 0;
  /** Whether the last frame has arrived. */
  isComplete = false;
  /** Factor that brings it to the loudness of the other variations; 1 leaves the samples as they are. */
  gain = 1;
  readonly changed = new EventTarget();
  private samples: Float32Array<ArrayBuffer>[];
  private carried = new Uint8Array(0);

  /** @param expectedFrames the length to make room for; more may arrive. */
  constructor(format: PcmFormat, expectedFrames = 0) {
    this.format = format;
    this.peaks = new Peaks(format.sampleRateHz);
    this.samples = Array.from({ length: format.channels }, () => new Float32Array(Math.max(expectedFrames, 4_096)));
  }

  get durationS(): number {
    return this.frames / this.format.sampleRateHz;
  }

  get bytes(): number {
    return this.samples.length * (this.samples[0]?.byteLength ?? 0);
  }

  /** Adds what the network brought. Bytes that do not fill a frame wait for the next ones. */
  append(bytes: Uint8Array): void {
    const { channels } = this.format;
    const frameBytes = 2 * channels;
    const all = new Uint8Array(this.carried.length + bytes.length);
    all.set(this.carried);
    all.set(bytes, this.carried.length);
    const added = Math.floor(all.length / frameBytes);
    this.carried = all.slice(added * frameBytes);
    if (added === 0) {
      return;
    }
    this.makeRoom(this.frames + added);
    const view = new DataView(all.buffer);
    for (let channel = 0; channel < channels; channel++) {
      const samples = this.samples[channel] as Float32Array;
      for (let frame = 0; frame < added; frame++) {
        samples[this.frames + frame] = view.getInt16(frame * frameBytes + 2 * channel, true) / FULL_SCALE;
      }
    }
    const first = this.frames;
    this.frames += added;
    this.peaks.extend(this.samples, first, this.frames);
    this.changed.dispatchEvent(new Event("audio"));
  }

  /** Drops a part of a frame, before the stream goes on elsewhere after an interruption. */
  dropCarried(): void {
    this.carried = new Uint8Array(0);
  }

  /** Says that no more frames will come. */
  complete(): void {
    this.isComplete = true;
    this.changed.dispatchEvent(new Event("audio"));
  }

  /** Frames [first, last) as a buffer that Web Audio plays. */
  buffer(context: BaseAudioContext, first: number, last: number): AudioBuffer {
    const buffer = context.createBuffer(this.format.channels, last - first, this.format.sampleRateHz);
    for (const [channel, samples] of this.samples.entries()) {
      buffer.copyToChannel(samples.subarray(first, last), channel);
    }
    return buffer;
  }

  /** The samples that have arrived, from -1 to 1, one array for each channel. */
  channels(): Float32Array[] {
    return this.samples.map((samples) => samples.subarray(0, this.frames));
  }

  private makeRoom(frames: number): void {
    const capacity = this.samples[0]?.length ?? 0;
    if (frames <= capacity) {
      return;
    }
    this.samples = this.samples.map((samples) => {
      const larger = new Float32Array(Math.max(frames, 2 * capacity));
      larger.set(samples);
      return larger;
    });
  }
}

/**
 * The layout that a content type such as `audio/pcm;rate=32000;channels=1;bits=16` states.
 *
 * @throws Error if it is not 16-bit PCM with a rate and channels.
 */
export function parsePcmType(contentType: string): PcmFormat {
  const [type, ...fields] = contentType.split(";").map((part) => part.trim());
  const values = new Map(fields.map((field) => field.split("=", 2) as [string, string]));
  const sampleRateHz = Number(values.get("rate"));
  const channels = Number(values.get("channels"));
  const isPcm16 = type === "audio/pcm" && (values.get("bits") ?? "16") === "16";
  if (!isPcm16 || !(sampleRateHz > 0) || !(channels > 0)) {
    throw new Error(`expected 16-bit audio/pcm with rate and channels, got "${contentType}"`);
  }
  return { sampleRateHz, channels };
}
