/** What happened within a span: what was logged for it, and other events. */
import { useEffect, useRef } from 'preact/hooks';
import type { JSX } from 'preact';

import { duration } from '../base/format';
import type { SpanEvent, SpanLog } from '../base/types';
import type { Node } from '../trace/model';
import { isBad } from '../trace/logs';
import { text } from '../trace/title';
import type { Viewer } from '../trace/viewer';
import { Pairs, Section } from './parts';
import { StackText } from './Stack';

const STACK = 'exception.stacktrace';

export function Logs(props: { node: Node; viewer: Viewer }): JSX.Element | null {
  const { node, viewer } = props;
  const { logs } = node.span;
  if (logs.length === 0) return null;
  return (
    <Section title="Logs" note={String(logs.length)}>
      <ol class="events">
        {logs.map((log, at) => (
          <LogLine key={at} log={log} node={node} viewer={viewer} />
        ))}
      </ol>
    </Section>
  );
}

function LogLine(props: { log: SpanLog; node: Node; viewer: Viewer }): JSX.Element {
  const { log, node, viewer } = props;
  const line = useRef<HTMLLIElement>(null);
  const chosen = viewer.log.value === log;
  useEffect(() => {
    if (chosen) line.current?.scrollIntoView({ block: 'nearest' });
  }, [chosen]);
  const classes = [isBad(log) && 'bad', chosen && 'chosen'].filter(Boolean).join(' ');
  return (
    <li ref={line} class={classes}>
      <button type="button" class="link" title="In all logs of this trace" onClick={() => viewer.showLog(log)}>
        +{duration(Math.max(0, log.offset_ns - node.start))}
      </button>{' '}
      {log.severity !== '' && <b>{log.severity}</b>} <span>{log.body}</span>
      <More attributes={log.attributes} />
    </li>
  );
}

export function Events(props: { node: Node }): JSX.Element | null {
  const { events } = props.node.span;
  if (events.length === 0) return null;
  return (
    <Section title="Events" note={String(events.length)}>
      <ol class="events">
        {events.map((event, at) => (
          <EventLine key={at} event={event} start={props.node.start} />
        ))}
      </ol>
    </Section>
  );
}

function EventLine(props: { event: SpanEvent; start: number }): JSX.Element {
  const { event, start } = props;
  return (
    <li class={event.name === 'exception' ? 'bad' : ''}>
      <small>+{duration(Math.max(0, event.offset_ns - start))}</small> <span>{event.name}</span>
      <More attributes={event.attributes} />
    </li>
  );
}

function More(props: { attributes: SpanEvent['attributes'] }): JSX.Element {
  const stack = text(props.attributes, STACK);
  const rest = Object.entries(props.attributes).filter(([name]) => name !== STACK);
  return (
    <>
      {rest.length > 0 && <Pairs pairs={rest} />}
      {stack !== undefined && <StackText text={stack} />}
    </>
  );
}
