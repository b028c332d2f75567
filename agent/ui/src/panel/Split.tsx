/** What a span's thread did with its time. */
import type { JSX } from 'preact';

import { duration, percent } from '../base/format';
import type { Node } from '../trace/model';
import { Section, type Seen } from './parts';
import { shares } from './split';

export function Split(props: { node: Node; seen: Seen }): JSX.Element | null {
  const parts = shares(props.node.span);
  props.seen.all(/^clew\.time\.(cpu|runqueue|blocked\.\w+)$/);
  if (parts.length === 0) return null;
  const all = parts.reduce((sum, part) => sum + part.ns, 0);
  return (
    <Section title="Time of its thread">
      <div class="phases" role="img" aria-label={parts.map((part) => `${part.name} ${duration(part.ns)}`).join(', ')}>
        {parts.map((part) => (
          <i key={part.id} class={`phase split-${part.id}`} style={{ flexGrow: part.ns / all }} />
        ))}
      </div>
      <ul class="phase-list">
        {parts.map((part) => (
          <li key={part.id}>
            <i class={`phase split-${part.id}`} /> {part.name} <b>{duration(part.ns)}</b> <small class="muted">{percent(part.ns, all)}</small>
          </li>
        ))}
      </ul>
    </Section>
  );
}
