/** Puts texts on the clipboard, and says so. */
import { signal } from '@preact/signals';

/** What was done last, for a moment. */
export const said = signal('');
let over = 0;

export function copy(text: string, what: string): void {
  void put(text).then(
    () => say(`${what} is on the clipboard`),
    () => say('The browser does not let pages copy here'),
  );
}

export function say(text: string): void {
  said.value = text;
  clearTimeout(over);
  over = setTimeout(() => (said.value = ''), 2500);
}

async function put(text: string): Promise<void> {
  // Only pages that came from this machine or by HTTPS have it.
  if (isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'off-screen';
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  if (!copied) throw new Error('refused');
}
