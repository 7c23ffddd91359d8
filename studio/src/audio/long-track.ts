/** A finished clip that is too long to be held in memory: the browser reads it from the server while it plays. */
import { send } from "../api/client.ts";
import type { PcmFormat, Track } from "./track.ts";

export type Playable = Track | LongTrack;

/** A clip that lasts longer is not held in memory once it is finished. */
export const LONG_S = 180;

export class LongTrack {
  readonly format: PcmFormat;
  readonly frames: number;
  readonly isComplete = true;
  readonly changed = new EventTarget();
  /** Address of its file, with a query that can be continued. */
  readonly url: string;
  gain = 1;

  constructor(url: string, format: PcmFormat, frames: number) {
    this.url = url;
    this.format = format;
    this.frames = frames;
  }

  get durationS(): number {
    return this.frames / this.format.sampleRateHz;
  }

  /** Frames [first, last) as a buffer. */
  async buffer(context: BaseAudioContext, first: number, last: number): Promise<AudioBuffer> {
    const rate = this.format.sampleRateHz;
    const response = await send(`${this.url}&start_s=${first / rate}&end_s=${last / rate}`);
    return context.decodeAudioData(await response.arrayBuffer());
  }
}
