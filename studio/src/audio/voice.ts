/** One track being played: what of it is scheduled, where it is, and the gain that fades it. */
import type { LongTrack, Playable } from "./long-track.ts";
import type { Track } from "./track.ts";

/** Frames between a command and its sound: enough to schedule it in time. */
export const LEAD_S = 0.02;
const FADE_S = 0.01;
/** A block of growing audio is at least this long, unless playback would run dry without it. */
const BLOCK_S = 0.1;
const LOW_S = 0.25;
/** After how long a file is asked for again. */
const RETRY_MS = 1_000;

export interface Loop {
  /** First frame of the loop. */
  first: number;
  /** First frame after it. */
  last: number;
}

export abstract class Voice {
  abstract readonly track: Playable;
  /** The next frame to be scheduled: what lies before it has sounded or will. */
  abstract readonly cursor: number;
  /** Whether something of it is heard or scheduled. */
  abstract readonly isSounding: boolean;
  protected readonly context: AudioContext;
  protected readonly gain: GainNode;

  constructor(context: AudioContext, output: AudioNode, gain: number) {
    this.context = context;
    this.gain = new GainNode(context, { gain });
    this.gain.connect(output);
  }

  /** The frame that sounds at a frame of the context. */
  abstract positionAt(frame: number): number;

  /** The frame that sounds now. */
  get position(): number {
    return this.positionAt(this.now());
  }

  /** Schedules what has arrived since the last time; true once everything that is there has sounded. */
  abstract pump(): boolean;

  /** The frame of the context at which its first sound is heard, given that at which it was meant to be. */
  heardFrom(startFrame: number): number {
    return startFrame;
  }

  /** What is to be done where suspending the context does not suffice. */
  pause(): void {}

  resume(): void {}

  fadeIn(frame: number): void {
    const at = this.timeOf(frame);
    this.gain.gain.setValueAtTime(0, at);
    this.gain.gain.linearRampToValueAtTime(this.track.gain, at + FADE_S);
  }

  /** Fades out from a frame of the context on, and ends. */
  release(frame: number): void {
    const at = Math.max(this.timeOf(frame), this.context.currentTime);
    this.gain.gain.cancelScheduledValues(at);
    this.gain.gain.setValueAtTime(this.track.gain, at);
    this.gain.gain.linearRampToValueAtTime(0, at + FADE_S);
    this.end(at + FADE_S);
  }

  /** Ends at a time of the context. */
  protected abstract end(at: number): void;

  protected now(): number {
    return Math.round(this.context.currentTime * this.context.sampleRate);
  }

  protected timeOf(frame: number): number {
    return frame / this.context.sampleRate;
  }
}

/** Where a voice begins. */
export interface Beginning {
  /** Frame of the context at which frame `origin` of the track sounds. */
  startFrame: number;
  origin: number;
  /** Whether it takes the place of music that goes on: if it begins too late, it leaves out what would have sounded. */
  isInPlace: boolean;
}

/** A voice that schedules buffers on the context's clock. */
abstract class ScheduledVoice extends Voice {
  protected sources: AudioBufferSourceNode[] = [];
  protected startFrame: number;
  protected origin: number;

  constructor(context: AudioContext, output: AudioNode, gain: number, { startFrame, origin }: Beginning) {
    super(context, output, gain);
    this.startFrame = startFrame;
    this.origin = origin;
  }

  get isSounding(): boolean {
    return this.sources.length > 0;
  }

  protected reachedAt(frame: number): number {
    return this.origin + Math.max(frame - this.startFrame, 0);
  }

  protected add(source: AudioBufferSourceNode): void {
    source.connect(this.gain);
    source.onended = () => {
      this.sources = this.sources.filter((other) => other !== source);
      source.disconnect();
    };
    this.sources.push(source);
  }

  protected end(at: number): void {
    for (const source of this.sources) {
      source.onended = null;
      source.stop(at);
    }
  }
}

/** Audio in memory, which may be growing: each block starts at the whole frame that the cursor says. */
export class BlockVoice extends ScheduledVoice {
  readonly track: Track;
  cursor: number;
  private isInPlace: boolean;
  /** The first frame that was scheduled. */
  private first: number;

  constructor(context: AudioContext, output: AudioNode, track: Track, beginning: Beginning) {
    super(context, output, track.gain, beginning);
    this.track = track;
    this.cursor = beginning.origin;
    this.first = beginning.origin;
    this.isInPlace = beginning.isInPlace;
  }

  override heardFrom(): number {
    return this.startFrame + this.first - this.origin;
  }

  positionAt(frame: number): number {
    return Math.min(this.reachedAt(frame), this.cursor);
  }

  pump(): boolean {
    const { track, isInPlace } = this;
    this.isInPlace = false; // frames are left out before the first block at most
    const rate = this.context.sampleRate;
    const available = track.frames - this.cursor;
    if (available === 0) {
      return this.aheadS <= 0;
    }
    if (available < BLOCK_S * rate && this.aheadS > LOW_S && !track.isComplete) {
      return false;
    }
    let buffer = track.buffer(this.context, this.cursor, track.frames);
    for (let leadS = LEAD_S; !this.schedule(buffer); leadS *= 2) {
      const soon = this.now() + Math.round(leadS * rate);
      const due = soon - this.startFrame + this.origin;
      if (isInPlace && due < track.frames) {
        this.cursor = due;
        this.first = due;
        buffer = track.buffer(this.context, due, track.frames);
      } else {
        // Too late for a seamless start: the block begins as soon as possible, and those after it follow from there.
        this.origin = this.cursor;
        this.startFrame = soon;
      }
    }
    this.cursor += buffer.length;
    return false;
  }

  /** Seconds until the frame at the cursor is due. */
  private get aheadS(): number {
    return (this.startFrame + this.cursor - this.origin - this.now()) / this.context.sampleRate;
  }

  /**
   * Lets a buffer sound from the cursor on; false if that came too late. It would begin late but whole, and end beside
   * the one after it. The clock goes on while the page waits for a processor, so it is read after the start.
   */
  private schedule(buffer: AudioBuffer): boolean {
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.start(this.timeOf(this.startFrame + this.cursor - this.origin));
    const isInTime = this.aheadS >= LEAD_S / 2;
    if (isInTime) {
      this.add(source);
    }
    return isInTime;
  }
}

/** A part of a track that the browser repeats without an end. */
export class LoopVoice extends ScheduledVoice {
  readonly track: Playable;
  private readonly loop: Loop;

  /** @param buffer the frames of the loop. */
  constructor(
    context: AudioContext,
    output: AudioNode,
    track: Playable,
    loop: Loop,
    buffer: AudioBuffer,
    beginning: Beginning,
  ) {
    super(context, output, track.gain, beginning);
    this.track = track;
    this.loop = loop;
    const source = new AudioBufferSourceNode(context, { buffer, loop: true });
    this.add(source);
    source.start(this.timeOf(this.startFrame), (this.origin - loop.first) / context.sampleRate);
  }

  positionAt(frame: number): number {
    const { first, last } = this.loop;
    return first + ((this.reachedAt(frame) - first) % (last - first));
  }

  get cursor(): number {
    return this.loop.last;
  }

  pump(): boolean {
    return false;
  }
}

/** A long file, played by a media element whose sound goes through the context. */
export class ElementVoice extends Voice {
  readonly track: LongTrack;
  private readonly element: HTMLAudioElement;
  private isWanted = false;

  /** @param isLooping whether it begins anew when it has ended. */
  constructor(context: AudioContext, output: AudioNode, track: LongTrack, frame: number, isLooping: boolean) {
    super(context, output, track.gain);
    this.track = track;
    this.element = new Audio(track.url);
    this.element.loop = isLooping;
    this.element.addEventListener("error", () => this.retry());
    new MediaElementAudioSourceNode(context, { mediaElement: this.element }).connect(this.gain);
    this.seek(frame);
  }

  positionAt(): number {
    return Math.min(Math.round(this.element.currentTime * this.track.format.sampleRateHz), this.track.frames);
  }

  get cursor(): number {
    return this.position;
  }

  get isSounding(): boolean {
    return !this.element.paused;
  }

  seek(frame: number): void {
    this.element.currentTime = frame / this.track.format.sampleRateHz;
  }

  pump(): boolean {
    return this.element.ended;
  }

  override pause(): void {
    this.isWanted = false;
    this.element.pause();
  }

  override resume(): void {
    this.isWanted = true;
    if (this.element.error !== null) {
      const at = this.element.currentTime;
      this.element.load();
      this.element.currentTime = at;
    }
    // A pause that comes before the first audio ends the promise with an error, though nothing is wrong.
    this.element.play().catch(() => {});
  }

  protected end(at: number): void {
    this.isWanted = false;
    window.setTimeout(() => this.element.pause(), 1000 * (at - this.context.currentTime));
  }

  /** A server that was away may be back: by itself the element would not ask it again. */
  private retry(): void {
    window.setTimeout(() => this.isWanted && this.resume(), RETRY_MS);
  }
}
