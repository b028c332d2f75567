/** What happened within a span: log lines, exceptions, other events. */
import type { JSX } from 'preact';

import { duration } from '../base/format';
import type { SpanEvent } from '../base/types';
import type { Node } from '../trace/model';
import { text } from '../trace/title';
import { Pairs, Section } from './parts';

/** Where log lines say what they say. */
const SAID = ['clew.log.body', 'log.body', 'log.message', 'message', 'exception.message', 'clew.log.line'];
const LEVEL = ['clew.log.severity', 'log.severity', 'severity_text', 'log.level', 'level'];

export function Logs(props: { node: Node }): JSX.Element | null {
  const { events } = props.node.span;
  if (events.length === 0) return null;
  return (
    <Section title="Logs and events" note={String(events.length)}>
      <ol class="events">
        {events.map((event, at) => (
          <Line key={at} event={event} start={props.node.start} />
        ))}
      </ol>
    </Section>
  );
}

function Line(props: { event: SpanEvent; start: number }): JSX.Element {
  const { event, start } = props;
  const first = (names: string[]) => names.map((name) => text(event.attributes, name)).find((value) => value !== undefined);
  const said = first(SAID);
  const level = first(LEVEL);
  const stack = text(event.attributes, 'exception.stacktrace');
  const rest = Object.entries(event.attributes).filter(([name]) => ![...SAID, ...LEVEL, 'exception.stacktrace'].includes(name));
  const bad = event.name === 'exception' || /^(error|fatal|crit)/i.test(level ?? '');
  return (
    <li class={bad ? 'bad' : ''}>
      <small>+{duration(Math.max(0, event.offset_ns - start))}</small> {level !== undefined && <b>{level}</b>} <span>{said ?? event.name}</span>
      {stack !== undefined && <pre class="stack">{stack}</pre>}
      {rest.length > 0 && <Pairs pairs={rest} />}
    </li>
  );
}
