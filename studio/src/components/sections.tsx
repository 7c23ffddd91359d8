/** Prompts that change over time, as a list: the form that needs neither a pointer nor a wide screen. */
import { Plus, X } from "lucide";
import type { Section } from "../api/types.ts";
import { draft, edit } from "../state/draft.ts";
import { cannot } from "../state/store.ts";
import { t } from "../strings.ts";
import { IconButton } from "./controls.tsx";
import { Icon } from "./icon.tsx";

export function Sections() {
  const sections = draft.value.sections ?? [];
  const reason = cannot("sections") ?? (draft.value.loop ? t.make.loopHasOneText : null);
  const durationS = draft.value.duration_s ?? 10;
  const set = (index: number, change: Partial<Section>) =>
    edit({ sections: sections.map((section, i) => (i === index ? { ...section, ...change } : section)) });
  const add = () => {
    const last = sections.at(-1)?.start_s ?? 0;
    const start_s = Math.round((last + durationS) / 2);
    edit({ sections: [...sections, { start_s, text: "" }] });
  };
  return (
    <fieldset class="sections">
      <legend>{t.make.sections}</legend>
      {sections.map((section, index) => (
        <div class="section" key={index}>
          <span class="muted">{t.make.at}</span>
          <input
            type="number"
            aria-label={t.make.sectionStart(index + 1)}
            min={0}
            step="any"
            value={section.start_s}
            onChange={(event) => set(index, { start_s: event.currentTarget.valueAsNumber || 0 })}
          />
          <span class="muted">{t.unit.seconds}</span>
          <input
            type="text"
            aria-label={t.make.sectionText(index + 1)}
            placeholder={t.make.sectionPlaceholder}
            value={section.text}
            onInput={(event) => set(index, { text: event.currentTarget.value })}
          />
          <IconButton
            icon={X}
            size={16}
            label={t.action.removeSection(index + 1)}
            onClick={() => edit({ sections: sections.filter((_, i) => i !== index) })}
          />
        </div>
      ))}
      <button
        type="button"
        class="button quiet"
        aria-disabled={reason !== null}
        title={reason ?? undefined}
        onClick={() => reason === null && add()}
      >
        <Icon of={Plus} size={16} /> {t.action.addSection}
      </button>
    </fieldset>
  );
}
