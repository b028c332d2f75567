/** Whether a key goes into a text, or belongs to the browser. */
export function isTyping(event: KeyboardEvent): boolean {
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  const at = event.target;
  if (at instanceof HTMLInputElement) return at.type !== 'checkbox' && at.type !== 'range';
  return at instanceof HTMLTextAreaElement || at instanceof HTMLSelectElement;
}
