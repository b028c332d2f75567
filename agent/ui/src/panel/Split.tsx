/** What a span's thread did with its time. */
import type { JSX } from 'preact';

import { duration } from '../base/format';
import type { Node } from '../trace/model';
import { Section, type Seen } from './parts';

const WORDS: Record<string, string> = { cpu: 'on CPU', on_cpu: 'on CPU', runqueue: 'waiting for a CPU', wait_cpu: 'waiting for a CPU', blocked: 'blocked' };

export function Split(props: { node: Node; seen: Seen }): JSX.Element | null {
  const found = props.seen.all(/^clew\.(time|thread|cpu)\.\w+_ns$/);
  const parts = found.flatMap(([name, value]) => {
    const id = /\.(\w+)_ns$/.exec(name)?.[1] ?? '';
    return typeof value === 'number' ? [{ id, name: WORDS[id] ?? id.replaceAll('_', ' '), ns: value }] : [];
  });
  if (parts.length === 0) return null;
  return (
    <Section title="Time of its thread">
      <div class="phases" role="img" aria-label={parts.map((part) => `${part.name} ${duration(part.ns)}`).join(', ')}>
        {parts.map((part, at) => (
          <i key={part.id} class={`phase split-${at % 4}`} style={{ flexGrow: Math.max(part.ns, 1) }} />
        ))}
      </div>
      <ul class="phase-list">
        {parts.map((part, at) => (
          <li key={part.id}>
            <i class={`phase split-${at % 4}`} /> {part.name} <b>{duration(part.ns)}</b>
          </li>
        ))}
      </ul>
    </Section>
  );
}
