/** Colors of services: each has the same one in every view, and no two share one as long as there are enough. */

/** As many as style/theme.css has. */
const COLORS = 12;

const given = new Map<string, number>();

function hash(text: string): number {
  let value = 2166136261;
  for (let at = 0; at < text.length; at++) value = Math.imul(value ^ text.charCodeAt(at), 16777619);
  return value >>> 0;
}

/** The number of a service's color: by its name, or the next that no other has. */
function slotOf(name: string): number {
  const known = given.get(name);
  if (known !== undefined) return known;
  const taken = new Set(given.values());
  let slot = hash(name) % COLORS;
  for (let tries = 0; taken.has(slot) && tries < COLORS; tries++) slot = (slot + 5) % COLORS;
  given.set(name, slot);
  return slot;
}

/** A color's number for each name. */
export function colors(names: Iterable<string>): Map<string, number> {
  return new Map([...names].map((name) => [name, slotOf(name)]));
}

export function color(name: string): string {
  return variable(slotOf(name));
}

export function variable(slot: number): string {
  return `var(--s${slot % COLORS})`;
}

/** What a variable of the theme holds now, for canvases. */
export function themed(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
