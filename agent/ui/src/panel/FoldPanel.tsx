/** Calls that are one row: how many, how long, which of them was the longest. */
import type { JSX } from 'preact';

import { variable } from '../base/color';
import { count, duration, percent } from '../base/format';
import { Icon } from '../base/Icon';
import type { Node } from '../trace/model';
import type { FoldRow } from '../trace/rows';
import type { Viewer } from '../trace/viewer';
import { Grip } from './Grip';
import { Section } from './parts';
import { Sql } from './Sql';

export function FoldPanel(props: { fold: FoldRow; viewer: Viewer }): JSX.Element {
  const { fold, viewer } = props;
  const [first] = fold.nodes;
  const byLength = [...fold.nodes].sort((one, other) => other.end - other.start - (one.end - one.start));
  const at = (share: number) => {
    const node = byLength[Math.min(byLength.length - 1, Math.floor(share * byLength.length))];
    return duration(node === undefined ? 0 : node.end - node.start);
  };
  const parent = first?.parent ?? null;
  const query = first?.span.attributes['db.query.text'];
  const whole = parent === null ? viewer.model.value.end : parent.end - parent.start;
  return (
    <section class="panel" id="panel" tabIndex={-1} aria-label="Repeated calls">
      <Grip />
      <header>
        <h2>
          <i class="dot" style={{ background: variable(viewer.colors.value.get(first?.span.service ?? '') ?? 0) }} />
          <span class="muted">{first?.span.service}</span> {first?.span.name} × {count(fold.nodes.length)}
        </h2>
        <button type="button" class="quiet" aria-label="Close the details" title="Close (Esc)" onClick={() => viewer.select('')}>
          <Icon name="close" />
        </button>
      </header>
      {fold.repeated && (
        <p class="banner warn" role="note">
          <Icon name="warn" />
          <span>
            One request made this call {count(fold.nodes.length)} times, one after the other. Asking once for all of them would save most of{' '}
            {duration(fold.total)}.
          </span>
        </p>
      )}
      <dl class="figures">
        <Figure name="Calls" value={count(fold.nodes.length)} />
        <Figure name="In all" value={duration(fold.total)} />
        <Figure name="Of its parent" value={percent(fold.total, whole)} />
        <Figure name="Shortest" value={at(1)} />
        <Figure name="Median" value={at(0.5)} />
        <Figure name="Longest" value={at(0)} />
        <Figure name="Failed" value={count(fold.failed)} />
      </dl>
      <div class="panel-actions">
        <button type="button" aria-pressed={fold.open} onClick={() => viewer.toggle(fold)}>
          {fold.open ? 'Fold them' : 'Show each'}
        </button>
        {parent !== null && (
          <button type="button" onClick={() => viewer.reveal(parent)}>
            Go to {parent.title}
          </button>
        )}
      </div>
      {typeof query === 'string' && (
        <Section title="The first of them">
          <Sql text={query} system="" />
        </Section>
      )}
      <Section title="The longest">
        <ol class="events">
          {byLength.slice(0, 8).map((node: Node) => (
            <li key={node.span.span_id}>
              <button type="button" class="link" onClick={() => viewer.reveal(node)}>
                {duration(node.end - node.start)}
              </button>{' '}
              <span>{node.title}</span>
            </li>
          ))}
        </ol>
      </Section>
    </section>
  );
}

function Figure(props: { name: string; value: string }): JSX.Element {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>{props.value}</dd>
    </div>
  );
}
