/** `slow {jazz|funk}` stands for two prompts, one for each choice. */

export const MAX_PROMPTS = 8;

/** All prompts that a text stands for, at most `MAX_PROMPTS`; a text without choices stands for itself. */
export function expand(text: string): string[] {
  const choice = /\{([^{}]*\|[^{}]*)\}/.exec(text);
  if (choice === null) {
    return [text];
  }
  const before = text.slice(0, choice.index);
  const after = text.slice(choice.index + choice[0].length);
  return (choice[1] as string)
    .split("|")
    .flatMap((word) => expand(before + word.trim() + after))
    .slice(0, MAX_PROMPTS);
}
