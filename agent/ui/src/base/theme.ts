/** Light, dark, or as the system says. */
import { computed, effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'clew.theme';

function kept(): Theme {
  const text = localStorage.getItem(KEY);
  return text === 'light' || text === 'dark' ? text : 'system';
}

const system = matchMedia('(prefers-color-scheme: dark)');
const systemIsDark = signal(system.matches);

export const theme = signal<Theme>(kept());
const shown = computed(() => (theme.value === 'system' ? (systemIsDark.value ? 'dark' : 'light') : theme.value));
/** Counts up when colors change, so that canvases are drawn anew. */
export const painted = signal(0);

export function applyTheme(): void {
  system.addEventListener('change', () => (systemIsDark.value = system.matches));
  effect(() => {
    if (theme.value === 'system') localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme.value);
  });
  effect(() => {
    document.documentElement.dataset['theme'] = shown.value;
    painted.value = painted.peek() + 1;
  });
}

export function nextTheme(): void {
  const order: Theme[] = ['system', 'light', 'dark'];
  theme.value = order[(order.indexOf(theme.value) + 1) % order.length] ?? 'system';
}
