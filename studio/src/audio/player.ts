/**
 * Plays tracks to the frame, also while they grow.
 *
 * The context runs at the rate of the model, since buffers of another rate would be resampled one by one and click at
 * their seams. Each block starts at a whole frame that follows from a cursor, never when the one before it has ended. A
 * loop is one source that the browser repeats, and pausing suspends the context. Nothing here needs a secure context, so
 * that the page also works over plain HTTP in a local network.
 */
import { LongTrack, type Playable } from "./long-track.ts";
import { type Beginning, BlockVoice, ElementVoice, LEAD_S, type Loop, LoopVoice, type Voice } from "./voice.ts";

const PUMP_MS = 50;

/** `starved` has played all that there was and waits to be resumed. */
export type PlayerState = "idle" | "playing" | "paused" | "starved";

export class Player extends EventTarget {
  state: PlayerState = "idle";
  private context: AudioContext | null = null;
  private output: GainNode | null = null;
  private voice: Voice | null = null;
  /** What plays as soon as the browser has begun with the sound, and from where. */
  private starting: { track: Playable; frame: number } | null = null;
  private loop: Loop | null = null;
  private volume = 1;
  private pumping = 0;
  private readonly onAudio = () => this.pump();

  get track(): Playable | null {
    return this.starting?.track ?? this.voice?.track ?? null;
  }

  /** Whether the browser refuses sound until the user has pressed something. */
  get isBlocked(): boolean {
    return this.state === "playing" && this.context !== null && this.context.state !== "running";
  }

  /** The next frame to be scheduled: what lies before it has sounded or will. */
  get cursor(): number {
    return this.voice?.cursor ?? 0;
  }

  /** The frame that sounds now. */
  get position(): number {
    return this.starting?.frame ?? this.voice?.position ?? 0;
  }

  /** Asks the browser for sound at this rate. Called from a press, it is allowed to play later without one. */
  unlock(sampleRateHz: number): void {
    this.prepare(sampleRateHz);
    void this.context?.resume();
  }

  /** Plays a track from a frame; one that plays already is faded into it. */
  async play(track: Playable, frame = 0): Promise<void> {
    this.prepare(track.format.sampleRateHz);
    const starting = { track, frame };
    this.starting = starting;
    this.setState("playing");
    await this.resumeContext();
    if (this.starting === starting) {
      this.starting = null;
      await this.begin(track, starting.frame);
    }
  }

  /** Goes on with another track at the same place. */
  async switchTo(track: Playable): Promise<void> {
    if (this.voice === null || track.format.sampleRateHz !== this.voice.track.format.sampleRateHz) {
      await this.play(track, this.position);
    } else {
      await this.begin(track, null);
    }
  }

  pause(): void {
    if (this.state === "playing" || this.state === "starved") {
      this.setState("paused");
      this.voice?.pause();
      void this.context?.suspend();
    }
  }

  async resume(): Promise<void> {
    if (this.state === "paused" || this.state === "starved") {
      this.setState("playing");
      await this.resumeContext();
      this.voice?.resume();
      this.pump();
    }
  }

  /** Continues after the browser had blocked sound; must be called from a press. */
  async unblock(): Promise<void> {
    await this.resumeContext();
  }

  async seek(frame: number): Promise<void> {
    const { starting, voice, track } = this;
    if (track === null) {
      return;
    }
    const within = Math.max(0, Math.min(frame, track.frames));
    if (starting !== null) {
      starting.frame = within;
      this.dispatchEvent(new Event("change"));
    } else if (voice instanceof ElementVoice) {
      voice.seek(within);
      this.dispatchEvent(new Event("change"));
    } else {
      await this.begin(track, within);
    }
  }

  /** Repeats frames [first, last) of the track without an end; null plays on to the end of the track. */
  async setLoop(loop: Loop | null): Promise<void> {
    this.loop = loop;
    if (this.voice !== null) {
      await this.begin(this.voice.track, null);
    }
  }

  setVolume(volume: number): void {
    this.volume = volume;
    if (this.output !== null) {
      this.output.gain.value = volume;
    }
  }

  stop(): void {
    this.voice?.release(this.now());
    this.voice = null;
    this.starting = null;
    window.clearInterval(this.pumping);
    this.setState("idle");
  }

  private prepare(sampleRateHz: number): void {
    if (this.context?.sampleRate === sampleRateHz) {
      return;
    }
    this.stop();
    void this.context?.close();
    this.context = new AudioContext({ sampleRate: sampleRateHz });
    // A loudspeaker may take seconds to begin, and a telephone call may take it away.
    this.context.addEventListener("statechange", () => this.dispatchEvent(new Event("change")));
    this.output = new GainNode(this.context, { gain: this.volume });
    this.output.connect(this.context.destination);
  }

  private async resumeContext(): Promise<void> {
    // Where the browser forbids sound, resume() stays pending until a press: the page then shows that it is blocked.
    const resumed = this.context?.resume();
    const waited = new Promise((resolve) => window.setTimeout(resolve, 500));
    await Promise.race([resumed, waited]);
    this.dispatchEvent(new Event("change"));
  }

  /** Lets a track be heard in place of what is heard now: from a frame on, or, without one, from where that will be. */
  private async begin(track: Playable, frame: number | null): Promise<void> {
    const context = this.context as AudioContext;
    const output = this.output as GainNode;
    const loop = this.loop !== null && this.loop.last <= track.frames ? this.loop : null;
    const isWhole = loop?.first === 0 && loop.last === track.frames;
    if (track instanceof LongTrack && (loop === null || isWhole)) {
      const beginning = this.beginning(frame);
      this.replace(new ElementVoice(context, output, track, beginning.origin, isWhole), beginning);
    } else if (loop !== null) {
      await this.repeat(track, frame, loop);
    } else if (!(track instanceof LongTrack)) {
      const beginning = this.beginning(frame);
      this.replace(new BlockVoice(context, output, track, beginning), beginning);
    }
  }

  /** Repeats a part, from its first frame where the wanted one is outside. That of a long file is read first; the music goes on. */
  private async repeat(track: Playable, frame: number | null, loop: Loop): Promise<void> {
    const context = this.context as AudioContext;
    const wait = track.buffer(context, loop.first, loop.last);
    const buffer = wait instanceof Promise ? await wait : wait;
    if (this.loop === loop) {
      const wanted = this.beginning(frame);
      const isOutside = wanted.origin < loop.first || wanted.origin >= loop.last;
      const beginning = isOutside ? { ...wanted, origin: loop.first } : wanted;
      this.replace(new LoopVoice(context, this.output as GainNode, track, loop, buffer, beginning), beginning);
    }
  }

  /** When and where a voice that is made now can begin. The clock is read once: it goes on between two looks at it. */
  private beginning(frame: number | null): Beginning {
    const now = this.now();
    const lead = Math.round(LEAD_S * (this.context as AudioContext).sampleRate);
    const isInPlace = frame === null && this.state === "playing";
    const origin = frame ?? (this.voice?.positionAt(now) ?? 0) + (isInPlace ? lead : 0);
    return { startFrame: now + lead, origin, isInPlace };
  }

  /** Makes a voice, which was meant to begin so, the one that is heard. */
  private replace(voice: Voice, { startFrame }: Beginning): void {
    const previous = this.voice;
    const isFading = previous?.isSounding === true;
    this.voice = voice;
    previous?.track.changed.removeEventListener("audio", this.onAudio);
    voice.track.changed.addEventListener("audio", this.onAudio);
    window.clearInterval(this.pumping);
    this.pumping = window.setInterval(this.onAudio, PUMP_MS);
    if (this.state === "playing") {
      voice.resume();
    }
    this.pump();
    const heardFrom = voice.heardFrom(startFrame);
    if (isFading) {
      voice.fadeIn(heardFrom);
    }
    previous?.release(heardFrom);
    this.dispatchEvent(new Event("change"));
  }

  /** Lets the voice schedule what has arrived, and notices when everything has sounded. */
  private pump(): void {
    const { voice } = this;
    if (voice === null || this.state !== "playing" || !voice.pump()) {
      return;
    }
    if (voice.track.isComplete) {
      this.stop();
      this.dispatchEvent(new Event("ended"));
    } else {
      this.setState("starved");
    }
  }

  private now(): number {
    return this.context === null ? 0 : Math.round(this.context.currentTime * this.context.sampleRate);
  }

  private setState(state: PlayerState): void {
    if (this.state !== state) {
      this.state = state;
      this.dispatchEvent(new Event("change"));
    }
  }
}
