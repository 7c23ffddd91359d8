/** Small controls that every screen uses: buttons with icons, labelled fields, choices and menus. */
import type { IconNode } from "lucide";
import type { ComponentChildren } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Icon } from "./icon.tsx";

interface IconButtonProps {
  icon: IconNode;
  label: string;
  /** Key that does the same, shown in the tooltip. */
  hotkey?: string;
  onClick: () => void;
  /** For a button that is on or off. */
  isOn?: boolean;
  /** Why it cannot be used now. */
  reason?: string | null;
  class?: string;
  size?: number;
}

/** A button that shows an icon only; its label is read out and shown as a tooltip. */
export function IconButton({ icon, label, hotkey, onClick, isOn, reason, size, ...rest }: IconButtonProps) {
  const tip = reason ?? (hotkey === undefined ? label : `${label} (${hotkey})`);
  return (
    <button
      type="button"
      class={`icon-button ${rest.class ?? ""}`}
      aria-label={label}
      aria-pressed={isOn}
      aria-disabled={reason != null}
      title={tip}
      onClick={(event) => {
        event.stopPropagation();
        if (reason == null) {
          onClick();
        }
      }}
    >
      <Icon of={icon} size={size} isFilled={isOn === true} />
    </button>
  );
}

interface FieldProps {
  label: string;
  hint?: string;
  /** Unit behind the field. */
  unit?: string;
  children: (ids: { id: string; "aria-describedby"?: string }) => ComponentChildren;
  class?: string;
}

/** A field with its label above, and a hint below. */
export function Field({ label, hint, unit, children, ...rest }: FieldProps) {
  const id = useId();
  const hintId = `${id}-hint`;
  return (
    <div class={`field ${rest.class ?? ""}`}>
      <label for={id}>{label}</label>
      <div class="field-row">
        {children(hint === undefined ? { id } : { id, "aria-describedby": hintId })}
        {unit !== undefined && <span class="unit">{unit}</span>}
      </div>
      {hint !== undefined && (
        <p class="hint" id={hintId}>
          {hint}
        </p>
      )}
    </div>
  );
}

interface NumberFieldProps {
  label: string;
  value: number | null | undefined;
  onValue: (value: number | null) => void;
  placeholder?: string;
  hint?: string;
  unit?: string;
  min?: number;
  max?: number;
  step?: number | "any";
}

/** A number, or nothing for the default that the placeholder shows. */
export function NumberField({ label, value, onValue, hint, unit, ...rest }: NumberFieldProps) {
  // What is being typed stands, also where it is no number yet ("1.") or none any more.
  const [typed, setTyped] = useState<string | null>(null);
  return (
    <Field label={label} hint={hint} unit={unit}>
      {(ids) => (
        <input
          {...ids}
          {...rest}
          type="number"
          inputMode="decimal"
          value={typed ?? value ?? ""}
          onInput={({ currentTarget }) => {
            setTyped(currentTarget.value);
            if (!currentTarget.validity.badInput) {
              onValue(currentTarget.value === "" ? null : currentTarget.valueAsNumber);
            }
          }}
          onBlur={() => setTyped(null)}
        />
      )}
    </Field>
  );
}

interface TextFieldProps {
  label: string;
  value: string;
  onValue: (value: string) => void;
  hint?: string;
  placeholder?: string;
  maxLength?: number;
  list?: string;
}

export function TextField({ label, value, onValue, hint, ...rest }: TextFieldProps) {
  return (
    <Field label={label} hint={hint}>
      {(ids) => (
        <input {...ids} {...rest} type="text" value={value} onInput={(event) => onValue(event.currentTarget.value)} />
      )}
    </Field>
  );
}

interface ChoiceProps<T> {
  label: string;
  options: { value: T; text: string }[];
  value: T;
  onValue: (value: T) => void;
}

/** One of a few, all of them visible. */
export function Choice<T extends string | number>({ label, options, value, onValue }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset class="field choice">
      <legend>{label}</legend>
      <div class="segments">
        {options.map((option) => (
          <label key={option.value} class={option.value === value ? "is-chosen" : ""}>
            <input type="radio" name={name} checked={option.value === value} onChange={() => onValue(option.value)} />
            <span>{option.text}</span>
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface SelectProps {
  label: string;
  options: { value: string; text: string }[];
  value: string;
  onValue: (value: string) => void;
  hint?: string;
}

export function Select({ label, options, value, onValue, hint }: SelectProps) {
  return (
    <Field label={label} hint={hint}>
      {(ids) => (
        <select {...ids} value={value} onChange={(event) => onValue(event.currentTarget.value)}>
          {options.map((option) => (
            <option key={option.value} value={option.value}>
              {option.text}
            </option>
          ))}
        </select>
      )}
    </Field>
  );
}

interface MenuProps {
  label: string;
  icon: IconNode;
  text?: string;
  onOpen?: () => void;
  children: ComponentChildren;
}

/** Height that the player at the bottom may take, and the distance to other things. */
const BAR_PX = 110;
const GAP_PX = 4;

/** A button that opens a list of further actions; a press elsewhere, scrolling or Escape closes it. */
export function Menu({ label, icon, text, onOpen, children }: MenuProps) {
  const details = useRef<HTMLDetailsElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const [isOpen, setIsOpen] = useState(false);
  /** What is hidden cannot keep the focus. */
  const shut = () => {
    if (panel.current?.contains(document.activeElement)) {
      details.current?.querySelector("summary")?.focus({ preventScroll: true });
    }
    setIsOpen(false);
  };
  useLayoutEffect(() => {
    if (!isOpen) {
      return;
    }
    const onElsewhere = (event: Event) => {
      if (!details.current?.contains(event.target as Node)) {
        shut();
      }
    };
    const place = () => {
      if (details.current === null || panel.current === null) {
        return;
      }
      const button = details.current.getBoundingClientRect();
      const { width, height } = panel.current.getBoundingClientRect();
      const top = Math.max(Math.min(button.bottom + GAP_PX, window.innerHeight - BAR_PX - height), GAP_PX);
      const left = Math.max(button.right - width, GAP_PX);
      panel.current.setAttribute("style", `inset-block-start: ${top}px; left: ${left}px`);
    };
    place();
    // What is in it may come later and take more room.
    const observer = new ResizeObserver(place);
    observer.observe(panel.current as HTMLDivElement);
    document.addEventListener("pointerdown", onElsewhere);
    document.addEventListener("focusin", onElsewhere);
    document.addEventListener("scroll", onElsewhere, true);
    onOpen?.();
    return () => {
      observer.disconnect();
      document.removeEventListener("pointerdown", onElsewhere);
      document.removeEventListener("focusin", onElsewhere);
      document.removeEventListener("scroll", onElsewhere, true);
    };
  }, [isOpen]);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Escape" && isOpen) {
      event.stopPropagation();
      details.current?.querySelector("summary")?.focus();
      setIsOpen(false);
    }
  };
  const onPress = (event: Event) => {
    event.preventDefault();
    setIsOpen(!isOpen);
  };
  return (
    <details ref={details} class="menu" open={isOpen} onKeyDown={onKeyDown}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a summary is a button */}
      <summary
        class={text === undefined ? "icon-button" : "button quiet"}
        aria-label={label}
        title={label}
        onClick={onPress}
      >
        <Icon of={icon} />
        {text}
      </summary>
      {/* biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: closes after any of its buttons */}
      <div ref={panel} class="menu-panel" onClick={shut}>
        {isOpen && children}
      </div>
    </details>
  );
}

interface MenuItemProps {
  icon: IconNode;
  text: string;
  hotkey?: string;
  onClick?: () => void;
  href?: string;
  /** Why it cannot be used now. */
  reason?: string | null;
  /** A second line. */
  note?: string;
}

export function MenuItem({ icon, text, hotkey, onClick, href, reason, note }: MenuItemProps) {
  const content = (
    <>
      <Icon of={icon} size={16} />
      <span>
        {text}
        {(reason ?? note) != null && <small>{reason ?? note}</small>}
      </span>
      {hotkey !== undefined && <kbd>{hotkey}</kbd>}
    </>
  );
  return href === undefined ? (
    <button type="button" aria-disabled={reason != null} onClick={() => reason == null && onClick?.()}>
      {content}
    </button>
  ) : (
    <a href={href} download={href.startsWith("#") ? undefined : ""}>
      {content}
    </a>
  );
}
