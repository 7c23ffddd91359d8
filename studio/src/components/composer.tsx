/** Where music is described: the words, its length, and as much detail as one wants. */
import { Bookmark, Infinity as Endless, Link, RotateCcw, Sparkles, X } from "lucide";
import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { get, put, remove } from "../api/client.ts";
import type { Page, Preset } from "../api/types.ts";
import { short } from "../lib/format.ts";
import { differences, expand } from "../lib/wildcards.ts";
import * as act from "../state/actions.ts";
import { compact, draft, EMPTY, edit, restore } from "../state/draft.ts";
import { attempt, attemptOnce } from "../state/notices.ts";
import { connection, listVersions, model, server } from "../state/store.ts";
import { t } from "../strings.ts";
import { Choice, IconButton, Menu, MenuItem, NumberField, TextField } from "./controls.tsx";
import { Expert, More } from "./details.tsx";
import { Icon } from "./icon.tsx";
import { Sections } from "./sections.tsx";
import { Sources } from "./sources.tsx";

export const WIDE = window.matchMedia("(min-width: 821px)");
const COUNTS = [1, 2, 4, 8].map((value) => ({ value, text: String(value) }));

export function Composer() {
  const { text, duration_s, count, seed, loop } = draft.value;
  const texts = expand(text ?? "");
  const maxS = model.value?.max_duration_s ?? 300;
  return (
    <form
      class="composer"
      aria-label={t.make.title}
      onSubmit={(event) => {
        event.preventDefault();
        attemptOnce("generate", act.generate);
      }}
    >
      <div class="prompt">
        <label for="prompt">
          <h1>{t.make.title}</h1>
        </label>
        <textarea
          id="prompt"
          rows={3}
          value={text ?? ""}
          maxLength={server.value?.limits.text_characters}
          placeholder={t.make.placeholder}
          onInput={(event) => edit({ text: event.currentTarget.value })}
        />
        {texts.length > 1 && <p class="hint">{t.make.wildcards(differences(texts))}</p>}
      </div>
      <Settings>
        <div class="pair">
          <NumberField
            label={t.field.duration}
            unit={t.unit.seconds}
            value={loop ? null : duration_s}
            placeholder={loop ? t.make.loopBars(loop.bars) : "10"}
            min={1}
            max={maxS}
            step="any"
            onValue={(value) => edit({ duration_s: value ?? 10, loop: null })}
          />
          <Choice
            label={t.field.variations}
            options={COUNTS}
            value={count ?? 1}
            onValue={(value) => edit({ count: value })}
          />
        </div>
        <div class="pair">
          <NumberField
            label={t.field.seed}
            value={seed}
            placeholder={t.make.anySeed}
            min={0}
            max={4_294_967_295}
            step={1}
            onValue={(value) => edit({ seed: value })}
          />
          <Choice
            label={t.field.loop}
            options={[0, 2, 4, 8].map((bars) => ({ value: bars, text: bars === 0 ? t.make.noLoop : String(bars) }))}
            value={loop?.bars ?? 0}
            onValue={(bars) => edit({ loop: bars === 0 ? null : { bars, beats_per_bar: 4 } })}
          />
        </div>
        <Sources />
        <Sections />
        <More />
        <Expert />
      </Settings>
      <Send />
    </form>
  );
}

/** Everything but the words and the button: always there on a wide screen, folded away on a phone. */
function Settings({ children }: { children: ComponentChildren }) {
  const [isWide, setIsWide] = useState(WIDE.matches);
  useEffect(() => {
    const update = () => setIsWide(WIDE.matches);
    WIDE.addEventListener("change", update);
    return () => WIDE.removeEventListener("change", update);
  }, []);
  if (isWide) {
    return <div class="composer-scroll">{children}</div>;
  }
  return (
    <details class="settings">
      <summary>
        {t.make.details} <span class="muted">{t.make.takeMeta(draft.value, draft.value.count ?? 1)}</span>
      </summary>
      <div class="composer-scroll">{children}</div>
    </details>
  );
}

function Send() {
  const reason = act.notGenerating.value;
  const isLoading = server.value?.state === "loading";
  const factor = server.value?.speed?.real_time_factor;
  const seconds = factor == null ? null : factor * (draft.value.duration_s ?? 10);
  return (
    <div class="send">
      <button
        type="submit"
        class="button primary generate"
        aria-disabled={reason !== null || connection.value === "connecting"}
      >
        <Icon of={Sparkles} size={18} />
        {act.isSending.value
          ? t.make.sending
          : isLoading
            ? t.make.loading(server.value?.model ?? "")
            : t.action.generate}
        <kbd>{t.key.generate}</kbd>
      </button>
      <IconButton
        icon={Endless}
        label={act.isForever.value ? t.action.stopForever : t.action.forever}
        class={act.isForever.value ? "is-lit" : ""}
        onClick={act.toggleForever}
      />
      <Menu label={t.make.settings} icon={Bookmark}>
        <Presets />
        <MenuItem icon={Link} text={t.action.shareSettings} onClick={() => attempt(() => act.share(draft.value))} />
        <MenuItem
          icon={RotateCcw}
          text={t.action.clearDraft}
          onClick={() => {
            draft.value = EMPTY;
          }}
        />
      </Menu>
      <p class="hint">{reason ?? (seconds === null ? t.make.hint : t.make.takes(short(seconds)))}</p>
    </div>
  );
}

function Presets() {
  const [presets, setPresets] = useState<Preset[]>([]);
  const [name, setName] = useState("");
  const load = async () => setPresets((await get<Page<Preset>>("/v1/presets")).items);
  const isOnline = connection.value === "online";
  useEffect(() => {
    if (isOnline) {
      attempt(load);
    }
  }, [isOnline, listVersions.value.presets]);
  const save = async () => {
    await put(`/v1/presets/${encodeURIComponent(name)}`, { request: compact(draft.value) });
    setName("");
    await load();
  };
  const drop = async (preset: Preset) => {
    await remove(`/v1/presets/${encodeURIComponent(preset.name)}`);
    await load();
  };
  return (
    <>
      {presets.map((preset) => (
        <div class="preset" key={preset.name}>
          <MenuItem icon={Bookmark} text={preset.name} onClick={() => restore(preset.request)} />
          <IconButton
            icon={X}
            size={14}
            label={t.action.dropPreset(preset.name)}
            onClick={() => attemptOnce("drop-preset", () => drop(preset))}
          />
        </div>
      ))}
      {/* biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: a press in the field must not close the menu */}
      <div class="preset-new" onClick={(event) => event.stopPropagation()}>
        <TextField label={t.make.presetName} value={name} onValue={setName} maxLength={60} />
        <button
          type="button"
          class="button"
          aria-disabled={name.trim() === ""}
          onClick={() => name.trim() !== "" && attemptOnce("save-preset", save)}
        >
          {t.action.savePreset}
        </button>
      </div>
      <hr />
    </>
  );
}
