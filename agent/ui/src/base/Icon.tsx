import type { JSX } from 'preact';

/** Strokes in a square of 16. */
const PATHS = {
  search: 'M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M10.5 10.5L14 14',
  pause: 'M5.5 3v10M10.5 3v10',
  play: 'M5 3l8 5l-8 5z',
  clear: 'M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12M3.8 3.8l8.4 8.4',
  close: 'M3.5 3.5l9 9M12.5 3.5l-9 9',
  sun: 'M8 5a3 3 0 1 0 0 6a3 3 0 1 0 0-6M8 1v2M8 13v2M1 8h2M13 8h2M3 3l1.4 1.4M11.6 11.6L13 13M3 13l1.4-1.4M11.6 4.4L13 3',
  moon: 'M13 9.5A5.5 5.5 0 0 1 6.5 3A5.5 5.5 0 1 0 13 9.5z',
  half: 'M8 2a6 6 0 1 0 0 12a6 6 0 1 0 0-12M8 2v12M8 5l4.6-1M8 8h6M8 11l4.6 1',
  keyboard: 'M1.5 4h13v8h-13zM4 6.5h.5M7 6.5h.5M10 6.5h.5M12 6.5h.3M4 9.5h8',
  right: 'M6 3.5L10.5 8L6 12.5',
  down: 'M3.5 6L8 10.5L12.5 6',
  up: 'M3.5 10L8 5.5L12.5 10',
  left: 'M10 3.5L5.5 8L10 12.5',
  warn: 'M8 2L14.5 13.5h-13zM8 6.5v3M8 11.5v.3',
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  link: 'M6.5 9.5l3-3M7 4.5l1.5-1.5a3 3 0 0 1 4.5 4.5L11.5 9M9 11.5L7.5 13A3 3 0 0 1 3 8.5L4.5 7',
  focus: 'M2.5 5.5v-3h3M10.5 2.5h3v3M13.5 10.5v3h-3M5.5 13.5h-3v-3M8 6a2 2 0 1 0 0 4a2 2 0 1 0 0-4',
  fold: 'M3 8h10M8 1.5v4M6 3.5l2 2l2-2M8 14.5v-4M6 12.5l2-2l2 2',
  unfold: 'M3 3h10M3 13h10M8 5v6M6 7l2-2l2 2M6 9l2 2l2-2',
  table: 'M2 3h12v10h-12zM2 6.5h12M6 6.5v6.5',
  chart: 'M2 2v12h12M5 10.5v.3M8 6v.3M11 8.5v.3M12.5 4v.3',
  check: 'M3 8.5l3.5 3.5l6.5-8',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon(props: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false">
      <path d={PATHS[props.name]} />
    </svg>
  );
}
