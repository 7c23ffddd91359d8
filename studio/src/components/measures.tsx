/** What was measured of a clip, against what it was made with. */
import type { Clip } from "../api/types.ts";
import { short } from "../lib/format.ts";
import { t } from "../strings.ts";

/** Measured tempo, key and loudness in one line. */
export function Measures({ clip }: { clip: Clip }) {
  const { measured } = clip;
  if (measured === null) {
    return clip.state === "ready" ? <p class="measures">{t.clip.measuring}</p> : null;
  }
  const isOffTempo =
    measured.tempo_bpm !== null && clip.tempo_bpm !== null && Math.abs(measured.tempo_bpm - clip.tempo_bpm) > 0.5;
  const isOffKey = measured.key !== null && clip.key !== null && measured.key !== clip.key;
  return (
    <p class="measures">
      {measured.tempo_bpm !== null && (
        <span>
          {t.clip.bpm(short(measured.tempo_bpm))}
          {isOffTempo && <small> {t.clip.asked(short(clip.tempo_bpm as number))}</small>}
        </span>
      )}
      {measured.key !== null && (
        <span>
          {measured.key}
          {isOffKey && <small> {t.clip.asked(clip.key as string)}</small>}
        </span>
      )}
      {measured.loudness_lufs !== null && <span>{t.clip.lufs(measured.loudness_lufs)}</span>}
      {measured.true_peak_db !== null && <span class="peak">{t.clip.peak(measured.true_peak_db)}</span>}
    </p>
  );
}
