/** Icons of Lucide (ISC licence), drawn from their data so that only those used are shipped. */
import type { IconNode } from "lucide";
import { h } from "preact";

export function Icon({ of, size = 18, isFilled = false }: { of: IconNode; size?: number; isFilled?: boolean }) {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill={isFilled ? "currentColor" : "none"}
      stroke="currentColor"
      stroke-width={1.75}
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {of.map(([tag, attributes]) => h(tag, attributes))}
    </svg>
  );
}
