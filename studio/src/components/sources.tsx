/** Music to start from: a melody to follow, a style to imitate, a beginning to continue. */

import type { IconNode } from "lucide";
import { AudioLines, FileAudio, Forward, Mic, Music, Palette, Square, X } from "lucide";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Continuation, Source } from "../api/types.ts";
import { short } from "../lib/format.ts";
import { draft, edit } from "../state/draft.ts";
import { attempt } from "../state/notices.ts";
import { findName, idOf, sourceName } from "../state/source-names.ts";
import { cannot } from "../state/store.ts";
import { type SourceKind, sending, takeFile, takeUpload } from "../state/uploads.ts";
import { t } from "../strings.ts";
import { IconButton } from "./controls.tsx";
import { EarlierUploads } from "./earlier-uploads.tsx";
import { Icon } from "./icon.tsx";

const KINDS: { kind: SourceKind; icon: IconNode; label: string }[] = [
  { kind: "melody", icon: Music, label: t.field.melody },
  { kind: "style", icon: Palette, label: t.field.style },
  { kind: "continue_from", icon: Forward, label: t.field.continueFrom },
];

export function Sources() {
  return (
    <fieldset class="sources">
      <legend>{t.make.sources}</legend>
      {KINDS.map(({ kind, icon, label }) => (
        <SourceRow key={kind} kind={kind} icon={icon} label={label} />
      ))}
    </fieldset>
  );
}

function SourceRow({ kind, icon, label }: { kind: SourceKind; icon: IconNode; label: string }) {
  const input = useRef<HTMLInputElement>(null);
  const [isOver, setIsOver] = useState(false);
  const source = draft.value[kind] ?? null;
  const isUnnamed = source !== null && sourceName(source) === undefined;
  useEffect(() => {
    if (isUnnamed) {
      findName(source);
    }
  }, [isUnnamed, source && idOf(source)]);
  const reason = cannot(kind);
  const sent = sending.value.get(kind);
  const take = (file: File) => attempt(() => takeFile(kind, file));
  const drop = (event: DragEvent) => {
    const file = event.dataTransfer?.files[0];
    setIsOver(false);
    if (file !== undefined && reason === null) {
      event.preventDefault();
      event.stopPropagation();
      take(file);
    }
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping a file is also the button's business
    <div
      class={`source ${isOver ? "is-over" : ""} ${reason === null ? "" : "is-off"}`}
      onDragOver={(event) => {
        event.preventDefault();
        setIsOver(reason === null);
      }}
      onDragLeave={() => setIsOver(false)}
      onDrop={drop}
    >
      <Icon of={icon} size={16} />
      <span class="source-label">{label}</span>
      {sent !== undefined ? (
        <>
          <span class="source-text">{sent.name}</span>
          <span class="muted">{t.make.sent(sent.share)}</span>
          <progress value={sent.share} aria-label={t.make.sentOf(sent.name)} />
          <IconButton icon={X} size={16} label={t.action.stopSending(sent.name)} onClick={sent.cancel} />
        </>
      ) : source === null ? (
        <>
          <span class="muted source-text" title={reason ?? undefined}>
            {reason ?? t.make.noSource}
          </span>
          {kind === "melody" && <Hum onFile={take} reason={reason} />}
          {reason === null && <EarlierUploads label={label} onChoose={(chosen) => takeUpload(kind, chosen)} />}
          <IconButton
            icon={FileAudio}
            label={t.action.chooseFile(label)}
            reason={reason}
            onClick={() => input.current?.click()}
          />
        </>
      ) : (
        <>
          <span class="source-text">
            <Icon of={AudioLines} size={14} /> {describe(source)}
          </span>
          <IconButton icon={X} size={16} label={t.action.removeSource(label)} onClick={() => edit({ [kind]: null })} />
        </>
      )}
      <input
        ref={input}
        type="file"
        accept="audio/*"
        hidden
        onChange={(event) => {
          const file = event.currentTarget.files?.[0];
          event.currentTarget.value = "";
          if (file !== undefined) {
            take(file);
          }
        }}
      />
    </div>
  );
}

function describe(source: Source & Continuation): string {
  const known = sourceName(source);
  const name = known === null ? t.clip.gone(source) : (known ?? t.make.someAudio);
  if (source.at_s != null) {
    return t.make.upTo(name, short(source.at_s));
  }
  return source.end_s == null ? name : t.make.part(name, short(source.start_s ?? 0), short(source.end_s));
}

/** Records a hummed melody, where the browser gives access to the microphone. */
function Hum({ onFile, reason }: { onFile: (file: File) => void; reason: string | null }) {
  const [recorder, setRecorder] = useState<MediaRecorder | null>(null);
  const why = reason ?? (navigator.mediaDevices === undefined ? t.state.noMicrophone : null);
  const start = async () => {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const made = new MediaRecorder(stream);
    made.ondataavailable = ({ data }) => onFile(new File([data], t.make.hummed, { type: data.type }));
    made.onstop = () => {
      for (const track of stream.getTracks()) {
        track.stop();
      }
      setRecorder(null);
    };
    made.start();
    setRecorder(made);
  };
  // Nobody could stop it from another screen. At once: an effect that is still to run is dropped with its screen.
  useLayoutEffect(() => () => recorder?.state === "recording" && recorder.stop(), [recorder]);
  return recorder === null ? (
    <IconButton icon={Mic} label={t.action.hum} reason={why} onClick={() => attempt(start)} />
  ) : (
    <IconButton icon={Square} label={t.action.stopHumming} class="is-recording" onClick={() => recorder.stop()} />
  );
}
