/** The current clip, large: its sections, its wave with a marked region, and what can be made from it. */

import { signal } from "@preact/signals";
import { Download, Forward, Magnet, Music, Palette, Plus, Repeat, X } from "lucide";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Clip } from "../api/types.ts";
import { barS } from "../lib/bars.ts";
import { short } from "../lib/format.ts";
import * as act from "../state/actions.ts";
import { attempt, attemptOnce, notify } from "../state/notices.ts";
import * as playback from "../state/playback.ts";
import { isSnapping } from "../state/settings.ts";
import { cannot, jobs, notUsable } from "../state/store.ts";
import { t } from "../strings.ts";
import { IconButton, NumberField } from "./controls.tsx";
import { Icon } from "./icon.tsx";
import { Wave } from "./wave.tsx";
import { WaveView } from "./wave-view.tsx";

/** A longer clip has a small map of all of it. */
const MINIMAP_S = 60;

interface StageProps {
  clip: Clip;
  height?: number;
  /** Whether its wave can be zoomed and its spectrogram be shown. */
  isDetailed?: boolean;
}

export function Stage({ clip, height = 96, isDetailed = false }: StageProps) {
  const [zoom, setZoom] = useState(1);
  const [hasSpectrogram, setHasSpectrogram] = useState(false);
  const isCurrent = playback.currentId.value === clip.id;
  const onSeek = (seconds: number) => {
    if (isCurrent && playback.playing.value !== "idle") {
      playback.seek(seconds);
    } else {
      attempt(() => playback.playClip(clip, isCurrent ? playback.group.value : [clip.id], seconds));
    }
  };
  return (
    <section class="stage" aria-label={t.stage.name}>
      <SectionLane clip={clip} />
      <Wave
        clip={clip}
        height={height}
        onSeek={onSeek}
        hasRegion
        zoom={zoom}
        hasMinimap={isDetailed && clip.asked_s > MINIMAP_S}
        hasSpectrogram={hasSpectrogram}
      />
      {isDetailed && (
        <WaveView
          clip={clip}
          zoom={zoom}
          setZoom={setZoom}
          hasSpectrogram={hasSpectrogram}
          setHasSpectrogram={setHasSpectrogram}
        />
      )}
      <Tools clip={clip} />
    </section>
  );
}

/** The prompts of the clip above the seconds at which they begin. */
function SectionLane({ clip }: { clip: Clip }) {
  const request = jobs.value.get(clip.job_id ?? "")?.request;
  const later = request?.sections ?? [];
  if (later.length === 0) {
    return null;
  }
  const all = [{ start_s: 0, text: clip.text ?? t.clip.untitled }, ...later];
  return (
    <ol class="lane">
      {all.map((section, index) => {
        const endS = all[index + 1]?.start_s ?? clip.asked_s;
        return (
          <li key={section.start_s} style={{ flexGrow: Math.max(endS - section.start_s, 0.1) }} title={section.text}>
            {section.text}
          </li>
        );
      })}
    </ol>
  );
}

/** Where the clip is continued: at its playhead, or at its end where that is at the beginning. */
export function continuationPoint(clip: Clip): number {
  const at = playback.currentId.value === clip.id ? playback.positionS.value : 0;
  return at > 0 ? at : clip.duration_s;
}

/** The region to act on: the marked one, where the clip is the current one. */
export function regionOf(clip: Clip): playback.Region | null {
  return playback.currentId.value === clip.id ? playback.region.value : null;
}

function Tools({ clip }: { clip: Clip }) {
  const region = regionOf(clip);
  const at = playback.currentId.value === clip.id ? playback.positionTenthS.value : 0;
  const unusable = notUsable(clip);
  const tempo = clip.measured?.tempo_bpm ?? clip.tempo_bpm;
  return (
    <div class="tools">
      <div class="tool-row">
        <ToolButton
          icon={Forward}
          text={at > 0 ? t.action.continueFrom(short(at)) : t.action.continueEnd}
          hotkey="C"
          reason={cannot("continue_from") ?? unusable}
          onClick={() => attemptOnce("continue", () => act.continueFrom(clip, continuationPoint(clip)))}
        />
        <ToolButton
          icon={Music}
          text={t.action.asMelody}
          hotkey="M"
          reason={cannot("melody") ?? unusable}
          onClick={() => act.useAs("melody", clip, region)}
        />
        <ToolButton
          icon={Palette}
          text={t.action.asStyle}
          reason={cannot("style") ?? unusable}
          onClick={() => act.useAs("style", clip, region)}
        />
        <NewSection clip={clip} at={at} />
        <IconButton
          icon={Magnet}
          label={tempo === null ? t.stage.snapWithoutTempo : t.stage.snap}
          class={isSnapping.value && tempo !== null ? "is-lit" : ""}
          onClick={() => {
            isSnapping.value = !isSnapping.value;
          }}
        />
      </div>
      {region !== null && <RegionRow clip={clip} region={region} />}
    </div>
  );
}

interface ToolButtonProps {
  icon: typeof Music;
  text: string;
  hotkey?: string;
  reason: string | null;
  onClick: () => void;
}

function ToolButton({ icon, text, hotkey, reason, onClick }: ToolButtonProps) {
  const tip = reason ?? (hotkey === undefined ? text : `${text} (${hotkey})`);
  return (
    <button
      type="button"
      class="button"
      aria-disabled={reason !== null}
      title={tip}
      onClick={() => (reason === null ? onClick() : notify(reason, { isProblem: true }))}
    >
      <Icon of={icon} size={16} /> {text}
    </button>
  );
}

/** The ends of the region as numbers: the handles' accessible form. */
function RegionRow({ clip, region }: { clip: Clip; region: playback.Region }) {
  const tempo = clip.measured?.tempo_bpm ?? clip.tempo_bpm;
  const bars = tempo === null ? null : (region.endS - region.startS) / barS(tempo);
  const move = (startS: number, endS: number) =>
    startS >= 0 && endS > startS && endS <= clip.duration_s && playback.setRegion({ startS, endS });
  const loopFormat = (format: string) => act.fileUrl(clip, format, region, true);
  return (
    <div class="tool-row region-row">
      <NumberField
        label={t.stage.from}
        unit={t.unit.seconds}
        value={Number(region.startS.toFixed(3))}
        min={0}
        step={0.1}
        onValue={(value) => value !== null && move(value, region.endS)}
      />
      <NumberField
        label={t.stage.to}
        unit={t.unit.seconds}
        value={Number(region.endS.toFixed(3))}
        min={0}
        step={0.1}
        onValue={(value) => value !== null && move(region.startS, value)}
      />
      <span class="muted">{bars === null ? "" : t.stage.bars(short(bars))}</span>
      <button
        type="button"
        class={`button ${playback.isLooping.value ? "is-lit" : ""}`}
        aria-pressed={playback.isLooping.value}
        title={`${t.action.loop} (L)`}
        onClick={playback.toggleLoop}
      >
        <Icon of={Repeat} size={16} /> {t.action.loop}
      </button>
      <a class="button" href={act.fileUrl(clip, "wav", region)} download="">
        <Icon of={Download} size={16} /> {t.action.exportRegion}
      </a>
      <a class="button" href={loopFormat("wav")} download="" title={t.hint.loopExport}>
        <Icon of={Download} size={16} /> {t.action.exportLoop}
      </a>
      <IconButton icon={X} size={16} label={t.action.clearRegion} onClick={() => playback.setRegion(null)} />
    </div>
  );
}

/** The second at which a new prompt is being written; null while none is. */
export const newSectionAt = signal<number | null>(null);

export function openSection(atS: number): void {
  newSectionAt.value = Math.max(Math.round(atS * 10) / 10, 1);
}

function NewSection({ clip, at }: { clip: Clip; at: number }) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const start = newSectionAt.value;
  // Before the next key: the page would take the first letters of a fast writer for its own keys.
  useLayoutEffect(() => input.current?.focus(), [start]);
  if (start === null) {
    return (
      <ToolButton
        icon={Plus}
        text={t.action.sectionHere}
        hotkey="T"
        reason={cannot("sections")}
        onClick={() => openSection(at)}
      />
    );
  }
  const close = () => {
    newSectionAt.value = null;
    setText("");
  };
  return (
    <form
      class="new-section"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim() !== "") {
          attempt(() => act.addSection(clip, { start_s: start, text: text.trim() }));
        }
        close();
      }}
    >
      <label>
        {t.stage.sectionAt(short(start))}
        <input
          type="text"
          ref={input}
          value={text}
          placeholder={t.make.sectionPlaceholder}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Escape") {
              event.stopPropagation();
              close();
            }
          }}
        />
      </label>
      <button type="submit" class="button primary">
        {t.action.add}
      </button>
    </form>
  );
}
