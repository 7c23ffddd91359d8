/** Settings that most music does without: tempo, key, chords, guidance, sampling. */
import type { Guidance, Sampling } from "../api/types.ts";
import { draft, edit } from "../state/draft.ts";
import { isExpert } from "../state/settings.ts";
import { cannot, model } from "../state/store.ts";
import { t } from "../strings.ts";
import { NumberField, Select, TextField } from "./controls.tsx";

const TONICS = ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
const KEYS = TONICS.flatMap((tonic) => [`${tonic} major`, `${tonic} minor`]);

function setGuidance(change: Guidance): void {
  edit({ guidance: onlySet({ ...draft.value.guidance, ...change }) });
}

function setSampling(change: Sampling): void {
  edit({ sampling: onlySet({ ...draft.value.sampling, ...change }) });
}

/** Without what was cleared; undefined where nothing is left, which is the model's default. */
function onlySet<T extends object>(values: T): T | undefined {
  const set = Object.entries(values).filter(([, value]) => value !== undefined && value !== null);
  return set.length === 0 ? undefined : (Object.fromEntries(set) as T);
}

export function More() {
  const { tempo, key, chords, negative_text, guidance } = draft.value;
  const chordsReason = cannot("chords");
  return (
    <details class="fold">
      <summary>
        {t.make.more} <span class="muted">{t.make.moreNames}</span>
      </summary>
      <div class="pair">
        <NumberField
          label={t.field.tempo}
          unit={t.unit.bpm}
          value={typeof tempo === "number" ? tempo : null}
          placeholder={t.make.auto}
          min={30}
          max={300}
          step="any"
          onValue={(value) => edit({ tempo: value ?? "auto" })}
        />
        <Select
          label={t.field.key}
          value={key ?? "auto"}
          options={[
            { value: "auto", text: t.make.auto },
            { value: "none", text: t.make.open },
            ...KEYS.map((name) => ({ value: name, text: name })),
          ]}
          onValue={(value) => edit({ key: value })}
        />
      </div>
      <NumberField
        label={t.field.guidance}
        hint={t.hint.guidance}
        value={guidance?.scale}
        placeholder={String(model.value?.defaults.guidance.scale ?? 3)}
        min={0}
        max={100}
        step="any"
        onValue={(value) => setGuidance({ scale: value ?? undefined })}
      />
      <TextField
        label={t.field.negative}
        hint={t.hint.negative}
        value={negative_text ?? ""}
        onValue={(value) => edit({ negative_text: value || null })}
      />
      {chordsReason === null ? (
        <TextField
          label={t.field.chords}
          hint={t.hint.chords}
          placeholder={t.make.auto}
          value={chords === undefined || chords === "auto" ? "" : (chords ?? "none")}
          onValue={(value) => edit({ chords: value || "auto" })}
        />
      ) : (
        <p class="hint unavailable">
          <b>{t.field.chords}</b> {chordsReason}
        </p>
      )}
    </details>
  );
}

export function Expert() {
  const { sampling, guidance } = draft.value;
  const defaults = model.value?.defaults.sampling;
  const shown = (value: number | null | undefined) => (value == null ? t.make.auto : String(value));
  return (
    <details
      class="fold"
      open={isExpert.value}
      onToggle={(event) => {
        isExpert.value = event.currentTarget.open;
      }}
    >
      <summary>
        {t.make.expert} <span class="muted">{t.make.expertNames}</span>
      </summary>
      <p class="hint">{t.hint.sampling}</p>
      <div class="triple">
        <NumberField
          label={t.field.temperature}
          value={sampling?.temperature}
          placeholder={shown(defaults?.temperature)}
          min={0.01}
          step="any"
          onValue={(value) => setSampling({ temperature: value ?? undefined })}
        />
        <NumberField
          label={t.field.topK}
          value={sampling?.top_k}
          placeholder={shown(defaults?.top_k)}
          min={0}
          step={1}
          onValue={(value) => setSampling({ top_k: value ?? undefined })}
        />
        <NumberField
          label={t.field.topP}
          value={sampling?.top_p}
          placeholder={shown(defaults?.top_p)}
          min={0}
          max={1}
          step="any"
          onValue={(value) => setSampling({ top_p: value ?? undefined })}
        />
      </div>
      <div class="pair">
        {cannot("melody") === null && (
          <NumberField
            label={t.field.melodyGuidance}
            value={guidance?.melody_scale}
            placeholder={t.make.auto}
            min={0}
            max={100}
            step="any"
            onValue={(value) => setGuidance({ melody_scale: value })}
          />
        )}
        {cannot("style") === null && (
          <NumberField
            label={t.field.textGuidance}
            value={guidance?.text_scale}
            placeholder={t.make.auto}
            min={0}
            max={100}
            step="any"
            onValue={(value) => setGuidance({ text_scale: value })}
          />
        )}
      </div>
    </details>
  );
}
