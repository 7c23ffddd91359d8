/** When playback of music that is still being made may begin. */

/** Audio that is enough against the jitter of chunks. */
const CUSHION_S = 1;
/** Playback of music that is made fast enough waits no longer than this for the cushion. */
const LONGEST_WAIT_S = 0.3;
/** The last audio is to be there this long before it is played. */
const MARGIN_S = 0.4;
/** Time over which the rate of arrival is measured before it counts. */
const MEASURED_S = 1;

/** Audio that arrives: how much there was first, and when. */
export class Arrival {
  private readonly firstMs: number;
  private readonly firstS: number;

  constructor(madeS: number, nowMs: number) {
    this.firstS = madeS;
    this.firstMs = nowMs;
  }

  /** Seconds of audio a second; null until it can be measured. */
  rate(madeS: number, nowMs: number): number | null {
    const elapsedS = (nowMs - this.firstMs) / 1000;
    return elapsedS < MEASURED_S || madeS <= this.firstS ? null : (madeS - this.firstS) / elapsedS;
  }

  /** Seconds until there is enough against jitter, or nothing more is waited for. */
  untilCushion(madeS: number, durationS: number, nowMs: number): number {
    const isEnough = madeS >= Math.min(CUSHION_S, durationS);
    return isEnough ? 0 : Math.max(LONGEST_WAIT_S - (nowMs - this.firstMs) / 1000, 0);
  }
}

/**
 * Seconds to wait until the rest arrives no later than it is played.
 *
 * Music made at `rate` seconds a second that lasts D seconds plays without a gap if it begins D / rate - D seconds after
 * its making began; a margin is added to that.
 */
export function untilGapless(madeS: number, durationS: number, rate: number): number {
  return Math.max(Math.max(durationS - madeS, 0) / rate - durationS + MARGIN_S, 0);
}
