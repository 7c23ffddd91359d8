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

/** What differs between prompts: each without the words with which all begin, and those with which all end. */
export function differences(texts: string[]): string[] {
  const all = texts.map((text) => text.split(" "));
  const shortest = Math.min(...all.map((words) => words.length));
  const isShared = (index: number) => new Set(all.map((words) => words.at(index))).size === 1;
  let before = 0;
  while (before < shortest && isShared(before)) {
    before += 1;
  }
  let after = 0;
  while (after < shortest - before && isShared(-1 - after)) {
    after += 1;
  }
  const own = (words: string[]) => words.slice(before, words.length - after).join(" ");
  return all.map((words) => `${before > 0 ? "… " : ""}${own(words)}${after > 0 ? " …" : ""}`);
}
