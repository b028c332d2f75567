/** Where the page is: a path and parameters, which say all that a reload or a link has to bring back. */
import { computed, signal } from '@preact/signals';

const here = signal(read());

interface Place {
  path: string;
  search: URLSearchParams;
}

function read(): Place {
  return { path: location.pathname, search: new URLSearchParams(location.search) };
}

export const path = computed(() => here.value.path);
export const search = computed(() => here.value.search);

/** A parameter; empty where it is not given. */
export function parameter(name: string): string {
  return here.value.search.get(name) ?? '';
}

export function go(to: string): void {
  if (to === location.pathname + location.search) return;
  history.pushState(null, '', to);
  here.value = read();
}

/** Changes parameters in place: what is empty goes. */
export function set(changes: Record<string, string>, remember = false): void {
  const next = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === '') next.delete(name);
    else next.set(name, value);
  }
  const text = next.toString();
  const to = location.pathname + (text === '' ? '' : `?${text}`);
  if (to === location.pathname + location.search) return;
  if (remember) history.pushState(null, '', to);
  else history.replaceState(null, '', to);
  here.value = read();
}

export function listen(): void {
  addEventListener('popstate', () => {
    here.value = read();
  });
  // Links stay links, which can be opened elsewhere; a plain click need not load the page again.
  document.addEventListener('click', (event) => {
    const link = event.target instanceof Element ? event.target.closest('a') : null;
    if (link === null || event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.origin !== location.origin || link.target !== '' || link.hasAttribute('download')) return;
    if (link.pathname.startsWith('/api/')) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}

/** The list of traces with a query. */
export function listOf(query: string): string {
  return query === '' ? '/' : `/?q=${encodeURIComponent(query)}`;
}

export function traceOf(id: string, span?: string): string {
  return `/trace/${id}${span === undefined ? '' : `?span=${span}`}`;
}
