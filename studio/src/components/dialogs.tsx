/** What lies over the page: help, the question for a key, messages. */

import { signal } from "@preact/signals";
import { X } from "lucide";
import { useLayoutEffect, useRef, useState } from "preact/hooks";
import { needsKey } from "../api/client.ts";
import { signIn } from "../api/session.ts";
import { announcement, dismiss, notices } from "../state/notices.ts";
import { hasKeys } from "../state/settings.ts";
import { t } from "../strings.ts";
import { IconButton, TextField } from "./controls.tsx";

export const isHelpOpen = signal(false);

/** Keys, how to write prompts, and what each setting does to the sound. */
export function Help() {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    if (isHelpOpen.value) {
      dialog.current?.showModal();
    } else {
      dialog.current?.close();
    }
  }, [isHelpOpen.value]);
  const close = () => {
    isHelpOpen.value = false;
  };
  return (
    <dialog ref={dialog} class="help" aria-labelledby="help-title" onClose={close}>
      <header class="page-head">
        <h2 id="help-title">{t.help.title}</h2>
        <IconButton icon={X} label={t.action.close} onClick={close} />
      </header>
      <div class="columns">
        <section>
          <h3>{t.help.keys}</h3>
          <dl class="keys">
            {t.help.keyList.map(([key, what]) => (
              <div key={key}>
                <dt>
                  <kbd>{key}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
          <label class="check">
            <input
              type="checkbox"
              checked={hasKeys.value}
              onChange={(event) => {
                hasKeys.value = event.currentTarget.checked;
              }}
            />
            {t.help.hasKeys}
          </label>
        </section>
        <section>
          <h3>{t.help.prompts}</h3>
          {t.help.promptAdvice.map((advice) => (
            <p key={advice}>{advice}</p>
          ))}
          <h3>{t.help.controls}</h3>
          <dl class="recipe">
            {t.help.controlList.map(([name, what]) => (
              <div key={name}>
                <dt>{name}</dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </section>
      </div>
    </dialog>
  );
}

/** Asks for the key of a server that is not open to everyone. */
export function KeyDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [key, setKey] = useState("");
  const [refusal, setRefusal] = useState("");
  useLayoutEffect(() => {
    if (needsKey.value) {
      dialog.current?.showModal();
    } else {
      dialog.current?.close();
    }
  }, [needsKey.value]);
  return (
    <dialog
      ref={dialog}
      class="key-dialog"
      aria-labelledby="key-title"
      onCancel={(event) => event.preventDefault()}
      onClose={() => needsKey.value && dialog.current?.showModal()}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          setRefusal("");
          signIn(key.trim()).catch((error: Error) => setRefusal(error.message));
        }}
      >
        <h2 id="key-title">{t.access.title}</h2>
        <TextField label={t.access.key} hint={t.access.hint} value={key} onValue={setKey} />
        <p class="is-problem" role="alert">
          {refusal}
        </p>
        <button type="submit" class="button primary">
          {t.access.open}
        </button>
      </form>
    </dialog>
  );
}

export function Notices() {
  return (
    <>
      <div class="notices">
        {notices.value.map((notice) => (
          <div
            key={notice.id}
            class={`notice ${notice.isProblem ? "is-problem" : ""}`}
            role={notice.isProblem ? "alert" : "status"}
          >
            <p>
              {notice.text}
              {notice.detail !== undefined && <small>{notice.detail}</small>}
            </p>
            {notice.action !== undefined && (
              <button
                type="button"
                class="button"
                onClick={() => {
                  notice.action?.run();
                  dismiss(notice.id);
                }}
              >
                {notice.action.label}
              </button>
            )}
            <IconButton icon={X} size={16} label={t.action.dismiss} onClick={() => dismiss(notice.id)} />
          </div>
        ))}
      </div>
      <div class="visually-hidden" aria-live="polite">
        {announcement.value}
      </div>
    </>
  );
}
