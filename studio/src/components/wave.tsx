/** The waveform of a clip: drawn by wavesurfer.js, which knows nothing of how the sound is played. */
import { useSignalEffect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import WaveSurfer from "wavesurfer.js";
import RegionsPlugin, { type Region as DrawnRegion } from "wavesurfer.js/plugins/regions";
import TimelinePlugin from "wavesurfer.js/plugins/timeline";
import type { Clip } from "../api/types.ts";
import { attempt } from "../state/notices.ts";
import { currentId, markRegion, positionS, type Region, region } from "../state/playback.ts";
import { theme } from "../state/settings.ts";
import { t } from "../strings.ts";
import { followOutline, followSamples } from "./outline.ts";
import { WaveMedia } from "./wave-media.ts";

/** How much of the view is passed by one scroll; the rest stays for orientation. */
const PAGE = 0.9;

/** The wave that is drawn wider than there is room for, if one is. */
let zoomed: WaveSurfer | null = null;

/** Scrolls the zoomed wave to what is before or after; false if none is zoomed. */
export function scrollWave(direction: -1 | 1): boolean {
  zoomed?.setScroll(zoomed.getScroll() + direction * PAGE * zoomed.getWidth());
  return zoomed !== null;
}

type Plugin = Parameters<WaveSurfer["registerPlugin"]>[0];
type Regions = ReturnType<typeof RegionsPlugin.create>;

/** What is on the page for a wave. */
interface Drawn {
  surfer: WaveSurfer;
  media: WaveMedia;
  regions: Regions;
}

interface WaveProps {
  clip: Clip;
  height: number;
  onSeek: (seconds: number) => void;
  /** Its letter among others, where that is not the one it was made with. */
  index?: number;
  /** Whether a part can be marked by dragging, and seconds are written below. */
  hasRegion?: boolean;
  /** How many times wider it is drawn than there is room for. */
  zoom?: number;
  hasMinimap?: boolean;
  hasSpectrogram?: boolean;
}

export function Wave({ clip, height, onSeek, index = clip.index, hasRegion = false, zoom = 1, ...rest }: WaveProps) {
  const { hasMinimap, hasSpectrogram } = rest;
  const box = useRef<HTMLDivElement>(null);
  const wave = useRef<Drawn | null>(null);
  const seek = useRef(onSeek);
  seek.current = onSeek;
  const now = useRef(clip);
  now.current = clip;
  const [hasSamples, setHasSamples] = useState(false);
  const seekTo = (seconds: number) => seek.current(Math.min(seconds, now.current.duration_s));

  useEffect(() => {
    const element = box.current as HTMLDivElement;
    const colour = (name: string) => getComputedStyle(element).getPropertyValue(name).trim();
    const media = new WaveMedia();
    const regions = RegionsPlugin.create();
    const surfer = WaveSurfer.create({
      container: element,
      height,
      media: media as unknown as HTMLMediaElement,
      peaks: [[0], [0]],
      duration: clip.asked_s,
      waveColor: colour("--wave"),
      progressColor: colour("--wave-played"),
      cursorColor: "var(--cursor-shown, transparent)",
      cursorWidth: 2,
      barWidth: 2,
      barGap: 1,
      barRadius: 2,
      barMinHeight: 1,
      hideScrollbar: !hasRegion,
      plugins: hasRegion ? [regions, timeline(clip.asked_s)] : [],
    });
    surfer.on("interaction", seekTo);
    if (hasRegion) {
      regions.enableDragSelection({ color: colour("--region") });
      const take = (drawn: DrawnRegion) => markRegion(now.current, drawn.start, drawn.end);
      regions.on("region-created", take);
      regions.on("region-updated", take);
    }
    wave.current = { surfer, media, regions };
    return () => {
      wave.current = null;
      surfer.destroy();
    };
  }, [clip.id, height, hasRegion, theme.value]);

  useEffect(() => {
    const draw = (channels: (Float32Array | number[])[]) => {
      // setOptions() would keep the old outline until the next resize. A later outline ends an unfinished load.
      return wave.current?.surfer.load("", channels, now.current.asked_s).catch(() => {});
    };
    if (!hasSpectrogram) {
      return followOutline(() => now.current, draw);
    }
    const stop = followSamples(now.current, async (channels) => {
      await draw(channels);
      setHasSamples(true);
    });
    return () => {
      stop();
      setHasSamples(false);
    };
  }, [clip.id, clip.state === "waiting" || clip.state === "making", theme.value, hasSpectrogram]);

  useEffect(() => {
    const surfer = wave.current?.surfer ?? null;
    if (surfer?.getDecodedData()) {
      surfer.zoom(pixelsPerSecond(surfer.getWidth(), zoom, clip));
    } else {
      // Before there is an outline, zoom() would fail.
      surfer?.setOptions({ minPxPerSec: pixelsPerSecond(surfer.getWidth(), zoom, clip) });
    }
    if (zoom > 1) {
      zoomed = surfer;
      // What scrolls can be reached with keys.
      surfer?.getWrapper().parentElement?.setAttribute("tabindex", "0");
      return () => {
        zoomed = null;
        surfer?.getWrapper().parentElement?.removeAttribute("tabindex");
      };
    }
  }, [zoom, clip.id, height, hasRegion, theme.value]);

  usePlugin(wave, hasSamples ? spectrogram : null, [clip.id, height, theme.value]);
  // wavesurfer.js would move its own cursor only.
  const map = useRef(() => minimap((share) => seekTo(share * now.current.asked_s)));
  usePlugin(wave, hasMinimap ? map.current : null, [clip.id, height, theme.value]);

  useSignalEffect(() => {
    const isCurrent = currentId.value === clip.id;
    wave.current?.media.moveTo(isCurrent ? positionS.value : 0, now.current.asked_s);
    box.current?.classList.toggle("is-current", isCurrent);
  });

  useSignalEffect(() => {
    const marked = currentId.value === clip.id ? region.value : null;
    if (hasRegion) {
      drawRegion(wave.current?.regions ?? null, marked);
    }
  });

  return (
    <div
      ref={box}
      class="wave"
      style={{ minHeight: `${height}px` }}
      role="img"
      aria-label={t.wave.summary(clip, index)}
    />
  );
}

/** wavesurfer.js fills the width where there are fewer than that needs. */
function pixelsPerSecond(width: number, zoom: number, clip: Clip): number {
  return zoom === 1 ? 0 : (zoom * width) / clip.asked_s;
}

/** Adds a plugin whose code is read only where it is wanted. */
function usePlugin(wave: { current: Drawn | null }, load: (() => Promise<Plugin>) | null, deps: unknown[]): void {
  useEffect(() => {
    const surfer = wave.current?.surfer;
    let plugin: Plugin | null = null;
    let isWanted = load !== null;
    if (load !== null) {
      attempt(async () => {
        const made = await load();
        if (isWanted && surfer !== undefined) {
          plugin = surfer.registerPlugin(made);
        }
      });
    }
    return () => {
      isWanted = false;
      plugin?.destroy();
    };
  }, [load, ...deps]);
}

const LABELS = { fontSize: "11px", color: "var(--muted)" };

function timeline(durationS: number): Plugin {
  const stepS = [1, 2, 5, 10, 20, 30, 60].find((step) => durationS / step <= 10) ?? 60;
  return TimelinePlugin.create({ height: 18, timeInterval: stepS, primaryLabelInterval: stepS, style: LABELS });
}

/** All of the wave, small; `onPress` is called with the share of the width at which it was pressed. */
async function minimap(onPress: (share: number) => void): Promise<Plugin> {
  const { default: MinimapPlugin } = await import("wavesurfer.js/plugins/minimap");
  const map = MinimapPlugin.create({ height: 28, waveColor: "#8b8679", progressColor: "#8b8679", cursorWidth: 1 });
  map.on("click", onPress);
  return map;
}

/** Loudness by frequency, up to half the rate of the model. */
async function spectrogram(): Promise<Plugin> {
  const { default: SpectrogramPlugin } = await import("wavesurfer.js/plugins/spectrogram");
  return SpectrogramPlugin.create({
    height: 160,
    fftSamples: 1024,
    scale: "mel",
    labels: true,
    colorMap: "roseus",
    autoGain: true,
  });
}

function drawRegion(regions: Regions | null, marked: Region | null): void {
  const [drawn, ...others] = regions?.getRegions() ?? [];
  for (const other of others) {
    other.remove();
  }
  if (marked === null) {
    drawn?.remove();
  } else if (drawn === undefined) {
    regions?.addRegion({ start: marked.startS, end: marked.endS });
  } else if (drawn.start !== marked.startS || drawn.end !== marked.endS) {
    drawn.setOptions({ start: marked.startS, end: marked.endS });
  }
}
