/** A value of JSON, whose parts open and close. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';

import type { Value } from '../base/types';

/** What is deeper is closed at first, and so is what is larger. */
const OPEN_DEPTH = 2;
const OPEN_ITEMS = 30;
const STEP = 100;
const LONG = 160;

export function JsonTree(props: { value: Value }): JSX.Element {
  return (
    <div class="json">
      <Part value={props.value} name={null} depth={0} />
    </div>
  );
}

function Part(props: { value: Value; name: string | null; depth: number }): JSX.Element {
  const { value, name, depth } = props;
  const entries: [string, Value][] | null = Array.isArray(value)
    ? value.map((one, at) => [String(at), one])
    : typeof value === 'object' && value !== null
      ? Object.entries(value)
      : null;
  const [open, setOpen] = useState(depth === 0 || (depth < OPEN_DEPTH && (entries?.length ?? 0) <= OPEN_ITEMS));
  const [most, setMost] = useState(STEP);
  const label = name === null ? null : <span class="json-name">{name}</span>;
  if (entries === null) {
    return (
      <div class="json-line">
        {label}
        <Leaf value={value} />
      </div>
    );
  }
  const size = Array.isArray(value) ? `[${entries.length}]` : `{${entries.length}}`;
  return (
    <div class="json-part">
      <button type="button" class="json-line plain" aria-expanded={open} onClick={() => setOpen(!open)}>
        <i class="json-twist">{open ? '▾' : '▸'}</i>
        {label}
        <span class="json-size">{size}</span>
        {!open && <span class="json-hint">{hint(entries)}</span>}
      </button>
      {open && (
        <div class="json-inner">
          {entries.slice(0, most).map(([key, one]) => (
            <Part key={key} name={key} value={one} depth={depth + 1} />
          ))}
          {entries.length > most && (
            <button type="button" class="link" onClick={() => setMost(most + STEP)}>
              {`${entries.length - most} more`}
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function Leaf(props: { value: Value }): JSX.Element {
  const { value } = props;
  const [open, setOpen] = useState(false);
  if (typeof value !== 'string') return <span class={value === null ? 'json-null' : 'json-number'}>{String(value)}</span>;
  if (value.length <= LONG || open) return <span class="json-text">{`"${value}"`}</span>;
  return (
    <span class="json-text">
      {`"${value.slice(0, LONG)}`}
      <button type="button" class="link" onClick={() => setOpen(true)}>
        {`… ${value.length - LONG} more`}
      </button>
    </span>
  );
}

function hint(entries: [string, Value][]): string {
  const parts = entries.slice(0, 4).map(([key, value]) => {
    const text = typeof value === 'object' && value !== null ? '…' : String(value);
    return /^\d+$/.test(key) ? text : `${key}: ${text}`;
  });
  return parts.join(', ').slice(0, 80);
}
