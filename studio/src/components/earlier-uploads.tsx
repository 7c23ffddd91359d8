/** Audio that was brought earlier: to start from it again, or to delete it. */
import { AudioLines, History, Plus, X } from "lucide";
import type { Upload } from "../api/types.ts";
import { moment, short } from "../lib/format.ts";
import { attempt, attemptOnce } from "../state/notices.ts";
import { deleteUpload, readUploads, uploads } from "../state/uploads.ts";
import { t } from "../strings.ts";
import { IconButton, Menu, MenuItem } from "./controls.tsx";

interface EarlierUploadsProps {
  /** What the file is for. */
  label: string;
  onChoose: (upload: Upload) => void;
}

export function EarlierUploads({ label, onChoose }: EarlierUploadsProps) {
  const { items, next_cursor: next } = uploads.value;
  return (
    <Menu label={t.action.chooseEarlier(label)} icon={History} onOpen={() => attempt(readUploads)}>
      {items.length === 0 && <p class="hint">{t.make.noUploads}</p>}
      {items.map((upload) => (
        <div class="preset" key={upload.id}>
          <MenuItem
            icon={AudioLines}
            text={upload.name}
            note={t.make.uploaded(short(upload.duration_s), moment(upload.created_at))}
            onClick={() => onChoose(upload)}
          />
          <IconButton
            icon={X}
            size={16}
            label={t.action.deleteUpload(upload.name)}
            onClick={() => attemptOnce("delete-upload", () => deleteUpload(upload))}
          />
        </div>
      ))}
      {next !== null && (
        <IconButton icon={Plus} label={t.action.more50} onClick={() => attempt(() => readUploads(next))} />
      )}
    </Menu>
  );
}
