/** How the large wave is drawn: how close, and with its spectrogram or without. */
import { AudioWaveform, ChevronLeft, ChevronRight, ZoomIn } from "lucide";
import type { Clip } from "../api/types.ts";
import { LONG_S } from "../audio/long-track.ts";
import { short } from "../lib/format.ts";
import { isPlayable } from "../state/store.ts";
import { t } from "../strings.ts";
import { IconButton } from "./controls.tsx";
import { Icon } from "./icon.tsx";
import { scrollWave } from "./wave.tsx";

/** Seconds that fill the width at the closest view. */
const CLOSEST_S = 1;

interface WaveViewProps {
  clip: Clip;
  zoom: number;
  setZoom: (zoom: number) => void;
  hasSpectrogram: boolean;
  setHasSpectrogram: (has: boolean) => void;
}

export function WaveView({ clip, zoom, setZoom, hasSpectrogram, setHasSpectrogram }: WaveViewProps) {
  const isFinished = isPlayable(clip) && clip.state !== "making";
  const reason = isFinished && clip.duration_s <= LONG_S ? null : t.stage.noSpectrogram(LONG_S);
  return (
    <div class="tool-row view-row">
      <label class="zoom">
        <Icon of={ZoomIn} size={16} /> {t.stage.zoom}
        <input
          type="range"
          min={0}
          max={Math.log2(Math.max(clip.asked_s / CLOSEST_S, 2))}
          step={0.1}
          value={Math.log2(zoom)}
          aria-valuetext={t.stage.zoomed(short(zoom))}
          onInput={(event) => setZoom(2 ** event.currentTarget.valueAsNumber)}
        />
      </label>
      {zoom > 1 && (
        <>
          <IconButton icon={ChevronLeft} label={t.stage.earlier} hotkey={t.key.pageUp} onClick={() => scrollWave(-1)} />
          <IconButton icon={ChevronRight} label={t.stage.later} hotkey={t.key.pageDown} onClick={() => scrollWave(1)} />
        </>
      )}
      <button
        type="button"
        class={`button ${hasSpectrogram ? "is-lit" : ""}`}
        aria-pressed={hasSpectrogram}
        aria-disabled={reason !== null}
        title={reason ?? undefined}
        onClick={() => reason === null && setHasSpectrogram(!hasSpectrogram)}
      >
        <Icon of={AudioWaveform} size={16} /> {t.stage.spectrogram}
      </button>
    </div>
  );
}
