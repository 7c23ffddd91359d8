/** The little of a media element that wavesurfer.js reads: a position and a length. Playing is the player's business. */
export class WaveMedia extends EventTarget {
  readonly volume = 1;
  readonly muted = false;
  readonly playbackRate = 1;
  readonly paused = true;
  readonly seeking = false;
  readonly readyState = 4;
  src = "";
  currentSrc = "";
  duration = 0;
  private at = 0;

  get currentTime(): number {
    return this.at;
  }

  /** wavesurfer.js moves its cursor to a click at once; the page decides what becomes of it. */
  set currentTime(_seconds: number) {
    this.dispatchEvent(new Event("timeupdate"));
  }

  moveTo(seconds: number, durationS: number): void {
    if (this.duration !== durationS) {
      this.duration = durationS;
      this.dispatchEvent(new Event("durationchange"));
    }
    if (this.at !== seconds) {
      this.at = seconds;
      this.dispatchEvent(new Event("timeupdate"));
    }
  }

  play(): Promise<void> {
    return Promise.resolve();
  }

  pause(): void {}

  load(): void {}

  removeAttribute(): void {}

  canPlayType(): string {
    return "";
  }
}
