/** The outline of a waveform: lowest and highest sample of every 10 ms, kept up to date while audio arrives. */
const WINDOWS_PER_S = 100;

export class Peaks {
  private readonly windowFrames: number;
  private highest: number[] = [];
  private lowest: number[] = [];

  constructor(sampleRateHz: number) {
    this.windowFrames = sampleRateHz / WINDOWS_PER_S;
  }

  /** Takes frames [first, last) of all channels into account. */
  extend(channels: Float32Array[], first: number, last: number): void {
    for (const samples of channels) {
      for (let frame = first; frame < last; frame++) {
        const window = Math.floor(frame / this.windowFrames);
        const sample = samples[frame] as number;
        this.highest[window] = Math.max(this.highest[window] ?? 0, sample);
        this.lowest[window] = Math.min(this.lowest[window] ?? 0, sample);
      }
    }
  }

  /** The outline in its final width: zeros where audio is still to come, upper and lower half as two channels. */
  outline(durationS: number): [number[], number[]] {
    const windows = Math.max(this.highest.length, Math.round(durationS * WINDOWS_PER_S), 1);
    const padded = (values: number[]) => values.concat(new Array(windows - values.length).fill(0));
    return [padded(this.highest), padded(this.lowest)];
  }
}
