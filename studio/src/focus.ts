/** Where the keyboard goes when what had the focus disappears; browsers leave it nowhere. */

const CONTROLS = "a[href], button, summary, select, input:is([type=range], [type=radio], [type=checkbox])";
const HEADINGS = "h1, h2, h3";

/** What had the focus last; null once the pointer went elsewhere. */
let last: Element | null = null;

export function keepFocus(): void {
  document.addEventListener("focusin", ({ target }) => {
    last = target as Element;
  });
  const forget = ({ target }: Event) => {
    if (!last?.contains(target as Node)) {
      last = null;
    }
  };
  document.addEventListener("pointerdown", forget, true);
  new MutationObserver(follow).observe(document.body, { childList: true, subtree: true });
}

function follow(records: MutationRecord[]): void {
  const lost = last;
  const record = lost === null ? undefined : removalOf(lost, records);
  if (lost === null || record === undefined || document.activeElement !== document.body) {
    return;
  }
  const root = [...record.removedNodes].find((node) => node.contains(lost)) as Element;
  if (lost.isConnected) {
    focus(lost); // it was moved
  } else if (root.matches("main") || root.querySelector("main") !== null) {
    focusText(document.querySelector("main")); // another screen
  } else {
    const place = controlsIn(root).indexOf(lost);
    const near = [...stayed(record, records, "nextSibling"), ...stayed(record, records, "previousSibling")];
    const isAlike = (one: Element) => one.tagName === root.tagName && one.classList[0] === root.classList[0];
    // Behind the last entry of a list there may be something else, such as a field for a new one.
    const inOrder = [...replacementOf(record, records), ...near.filter(isAlike), ...near];
    const found = inOrder.map((one) => controlIn(one, place, lost)).find((control) => control !== undefined);
    if (found === undefined) {
      focusText(headingAbove(record.target));
    } else {
      focus(found);
    }
  }
}

/** What took an element off the page, with the largest part that went at once. */
function removalOf(element: Element, records: MutationRecord[]): MutationRecord | undefined {
  const removing = (node: Node) =>
    records.find(({ removedNodes }) => [...removedNodes].some((one) => one.contains(node)));
  let found = removing(element);
  while (found !== undefined && !found.target.isConnected) {
    const outer = removing(found.target);
    if (outer === undefined) {
      break;
    }
    found = outer;
  }
  return found;
}

/** The elements that are still there in one direction from what was removed, the nearest first. */
function stayed(record: MutationRecord, records: MutationRecord[], side: "nextSibling" | "previousSibling"): Element[] {
  const found: Element[] = [];
  let node: Node | null = record[side];
  while (node !== null) {
    const at: Node = node;
    if (at.isConnected) {
      found.push(...(at instanceof Element ? [at] : []));
      node = at[side];
    } else {
      node = records.find(({ removedNodes }) => [...removedNodes].includes(at))?.[side] ?? null;
    }
  }
  return found;
}

/** The element that came to the same place, if one did. */
function replacementOf(record: MutationRecord, records: MutationRecord[]): Element[] {
  const [after] = stayed(record, records, "nextSibling");
  const here = after === undefined ? (record.target as Element).lastElementChild : after.previousElementSibling;
  const isNew = here !== null && records.some(({ addedNodes }) => [...addedNodes].includes(here));
  return isNew ? [here] : [];
}

const controlsIn = (root: Element) => [...(root.matches(CONTROLS) ? [root] : []), ...root.querySelectorAll(CONTROLS)];
const isShown = (element: Element) => element.checkVisibility({ visibilityProperty: true });

/** The control of an element at the same place as the lost one, or else its first. */
function controlIn(near: Element, place: number, lost: Element): Element | undefined {
  const all = controlsIn(near);
  const same = all[place];
  return same !== undefined && same.tagName === lost.tagName && isShown(same) ? same : all.find(isShown);
}

function headingAbove(place: Node): Element | null {
  for (let around = place as Element | null; around !== null; around = around.parentElement) {
    const heading = [...around.querySelectorAll(HEADINGS)].find(isShown);
    if (heading !== undefined) {
      return heading;
    }
  }
  return null;
}

const focus = (element: Element) => (element as HTMLElement).focus();

/** Gives the focus to what is not a control: the next Tab goes on from there. */
function focusText(element: Element | null): void {
  if (element !== null) {
    element.setAttribute("tabindex", "-1");
    (element as HTMLElement).focus({ preventScroll: true });
  }
}
