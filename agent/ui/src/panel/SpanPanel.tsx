/** All there is to a span. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ComponentChildren, JSX } from 'preact';

import { variable } from '../base/color';
import { copy } from '../base/copy';
import { duration, fullTime, percent } from '../base/format';
import { Icon } from '../base/Icon';
import { listOf, traceOf } from '../base/place';
import { quote } from '../base/term';
import { type Node, processKey } from '../trace/model';
import type { Viewer } from '../trace/viewer';
import { Body } from './Body';
import { curl, withParameters } from './clipboard';
import { Grip } from './Grip';
import { Events, Logs } from './Logs';
import { Pairs, Section, Seen } from './parts';
import { Phases } from './Phases';
import { formatted, Sql } from './Sql';
import { Replay } from './Replay';
import { Split } from './Split';
import { Stack } from './Stack';

export function SpanPanel(props: { node: Node; viewer: Viewer }): JSX.Element {
  const { node, viewer } = props;
  const { span } = node;
  const panel = useRef<HTMLElement>(null);
  useEffect(() => {
    if (panel.current !== null) panel.current.scrollTop = 0;
    setReplays(false);
  }, [span.span_id]);
  const [replays, setReplays] = useState(false);
  const seen = new Seen(span.attributes);
  const sections = [
    ...node.marks.map((mark) => (
      <p class={mark.kind === 'peer' || mark.kind === 'new' ? 'banner' : 'banner warn'} role="note" key={mark.text}>
        <Icon name="warn" /> {mark.text}
      </p>
    )),
    <Failure key="failure" node={node} seen={seen} />,
    <Database key="database" seen={seen} viewer={viewer} />,
    <Http key="http" seen={seen} />,
    <Messaging key="messaging" seen={seen} />,
    <ObjectStorage key="object" seen={seen} />,
    <Group key="test" title="Test case" seen={seen} names={/^test\./} />,
    <Group key="rpc" title="RPC" seen={seen} names={/^(rpc|clew\.rpc|jsonrpc|clew\.jsonrpc|graphql|clew\.graphql)\./} />,
    <Group key="ai" title="Model" seen={seen} names={/^(gen_ai|mcp)\./} />,
    <Phases key="phases" node={node} seen={seen} />,
    <Split key="split" node={node} seen={seen} />,
    <Group key="tls" title="TLS" seen={seen} names={/^(tls|clew\.tls|clew\.encrypted)(\.|$)/} />,
    <Group key="dns" title="DNS" seen={seen} names={/^(dns|clew\.dns)\./} />,
    <Group key="websocket" title="WebSocket" seen={seen} names={/^clew\.websocket\./} />,
    <Logs key="logs" node={node} viewer={viewer} />,
    <Events key="events" node={node} />,
    <Stack key="stack" seen={seen} />,
    <Links key="links" node={node} />,
    <Group key="connection" title="Connection" seen={seen} names={/^(network|server|client|clew\.network)\./} />,
    <Group key="rest" title="Other attributes" seen={seen} names={/./} />,
  ];
  const link = `${location.origin}${traceOf(viewer.model.value.trace.trace_id, span.span_id)}`;
  const shell = curl(span);
  const began = viewer.model.value.began.get(processKey(span.service, span.pid));
  const query = span.attributes['db.query.text'];
  return (
    <section class="panel" id="panel" ref={panel} tabIndex={-1} aria-label="Span details">
      <Grip />
      <header>
        <h2>
          <i class="dot" style={{ background: variable(viewer.colors.value.get(span.service) ?? 0) }} />
          <span class="muted">{span.service}</span> {span.name}
        </h2>
        <button type="button" class="quiet" aria-label="Close the details" title="Close (Esc)" onClick={() => viewer.select('')}>
          <Icon name="close" />
        </button>
      </header>
      <div class="panel-actions">
        {shell !== null && (
          <button type="button" onClick={() => copy(shell, 'The request as curl')}>
            Copy as curl
          </button>
        )}
        {shell !== null && (
          <button type="button" title="Shows what would be sent where, and asks first" onClick={() => setReplays(true)}>
            Replay
          </button>
        )}
        {typeof query === 'string' && (
          <button type="button" onClick={() => copy(withParameters(formatted(query), span.attributes), 'The statement')}>
            Copy SQL
          </button>
        )}
        <button type="button" onClick={() => copy(JSON.stringify(span, null, 2), 'The span as JSON')}>
          Copy JSON
        </button>
        <button type="button" onClick={() => copy(link, 'The link to this span')}>
          Copy link
        </button>
        <button type="button" aria-pressed={viewer.focusId.value === span.span_id} onClick={() => viewer.toggleFocus()} title="Only this and what is below it (f)">
          <Icon name="focus" /> Focus
        </button>
        <a href={listOf(`service:${quote(span.service)} name:${quote(span.name)}`)}>Others like it</a>
      </div>
      <dl class="figures">
        <Figure name="Duration">{duration(span.duration_ns)}</Figure>
        <Figure name="Self">
          {duration(node.self)} <small>{percent(node.self, span.duration_ns)}</small>
        </Figure>
        <Figure name="Of the trace">{percent(span.duration_ns, viewer.model.value.end)}</Figure>
        <Figure name="Starts at">+{duration(span.offset_ns)}</Figure>
        <Figure name="Kind">{span.kind}</Figure>
        {span.pid !== null && (
          <Figure name="Process">
            {span.pid} {began !== undefined && <small title={fullTime(began)}>{age(viewer.model.value.trace.start_unix_ns + span.offset_ns - began)}</small>}
          </Figure>
        )}
        <Figure name="Parent">
          {node.parent !== null ? (
            <button type="button" class="link" onClick={() => node.parent !== null && viewer.reveal(node.parent)}>
              {node.parent.span.service}
            </button>
          ) : span.parent_id === null ? (
            'none'
          ) : (
            'not here'
          )}
        </Figure>
      </dl>
      <p class="muted tiny">{fullTime(viewer.model.value.trace.start_unix_ns + span.offset_ns)}</p>
      {sections}
      {replays && <Replay trace={viewer.model.value.trace.trace_id} span={span.span_id} close={() => setReplays(false)} />}
    </section>
  );
}

/** When a process began, as seen from a span of it. */
function age(ns: number): string {
  // What a process was given before its start was seen waited for it.
  return ns < 0 ? `began ${duration(-ns)} into it` : `began ${duration(ns)} before`;
}

function Figure(props: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{props.name}</dt>
      <dd>{props.children}</dd>
    </div>
  );
}

function Group(props: { title: string; seen: Seen; names: RegExp }): JSX.Element | null {
  const pairs = props.seen.all(props.names);
  if (pairs.length === 0) return null;
  return (
    <Section title={props.title}>
      <Pairs pairs={pairs} />
    </Section>
  );
}

function Failure(props: { node: Node; seen: Seen }): JSX.Element | null {
  const { node, seen } = props;
  const type = seen.text('error.type');
  const details = seen.all(/^(exception|clew\.process)\./);
  const outcome = seen.text('clew.exchange.outcome');
  if (!node.failed && type === undefined && details.length === 0 && outcome === undefined) return null;
  return (
    <section class={node.failed ? 'failure bad' : 'failure'}>
      <h3>
        <Icon name="warn" /> {node.failed ? 'Failed' : 'Did not end well'}
        {type !== undefined && <code>{type}</code>}
        {outcome !== undefined && <code>{outcome}</code>}
      </h3>
      {node.span.error !== null && node.span.error !== '' && <pre>{node.span.error}</pre>}
      {details.map(([name, value]) => (
        <div key={name}>
          <b>{name}</b>
          <pre>{typeof value === 'string' ? value : JSON.stringify(value)}</pre>
        </div>
      ))}
      {node.failedBelow > 0 && <p>{node.failedBelow === 1 ? 'One span below it failed' : `${node.failedBelow} spans below it failed`} as well.</p>}
    </section>
  );
}

function Database(props: { seen: Seen; viewer: Viewer }): JSX.Element | null {
  const { seen, viewer } = props;
  const transaction = seen.text('clew.db.transaction.id');
  const query = seen.text('db.query.text');
  const cut = seen.take('clew.db.query.cut') === true;
  const parameters = seen.all(/^db\.query\.parameter\./);
  const pairs = seen.all(/^(db|clew\.db)\./);
  if (query === undefined && pairs.length === 0) return null;
  const of = (name: string) => pairs.find(([key]) => key === name)?.[1];
  const rows = of('db.response.returned_rows') ?? of('clew.db.response.affected_rows');
  return (
    <Section title="Database" note={typeof rows === 'number' ? returned(String(of('db.system.name')), String(of('db.operation.name')), rows) : undefined}>
      {query !== undefined && <Sql text={query} system={String(of('db.system.name') ?? '')} />}
      {cut && <p class="cut-note">The statement is longer than what is kept.</p>}
      {parameters.length > 0 && (
        <>
          <h3>Parameters</h3>
          <Pairs pairs={parameters} strip="db.query.parameter." />
        </>
      )}
      {transaction !== undefined && <Transaction id={transaction} viewer={viewer} />}
      {pairs.length > 0 && <Pairs pairs={pairs} />}
    </Section>
  );
}

/** The calls of one transaction, each leading to its span. */
function Transaction(props: { id: string; viewer: Viewer }): JSX.Element {
  const { id, viewer } = props;
  const calls = viewer.model.value.nodes.filter((node) => node.span.get('clew.db.transaction.id') === id);
  return (
    <>
      <h3>
        Transaction of {calls.length} {calls.length === 1 ? 'call' : 'calls'}
      </h3>
      <ol class="transaction" aria-label="Transaction">
        {calls.slice(0, 50).map((node) => (
          <li key={node.index}>
            <button type="button" class="link" onClick={() => viewer.reveal(node)}>
              {node.title}
            </button>
          </li>
        ))}
      </ol>
    </>
  );
}

const CACHES = ['redis', 'valkey', 'memcached'];
/** Commands that ask for one value. */
const LOOKUPS = /^(h?get|getex|getdel|gets|gat|mg|getk|getq)$/i;

/** What came back, in a word: of a cache's lookup whether it was there. */
function returned(system: string, operation: string, rows: number): string {
  if (CACHES.includes(system) && LOOKUPS.test(operation)) return rows > 0 ? 'hit' : 'miss';
  return `${rows} ${rows === 1 ? 'row' : 'rows'}`;
}

function Http(props: { seen: Seen }): JSX.Element | null {
  const { seen } = props;
  const method = seen.text('http.request.method');
  if (method === undefined) return null;
  const url = seen.text('url.full');
  const path = seen.text('url.path') ?? '';
  const query = seen.text('url.query');
  const status = seen.text('http.response.status_code');
  const scheme = seen.text('url.scheme');
  const line = url ?? `${path}${query === undefined ? '' : `?${query}`}`;
  const body = (side: string) => ({
    content: seen.text(`clew.http.${side}.body`),
    encoding: seen.text(`clew.http.${side}.body.encoding`),
    truncated: seen.take(`clew.http.${side}.body.truncated`) === true,
    bytes: seen.number(`http.${side}.body.size`),
  });
  const asked = body('request');
  const answered = body('response');
  const version = seen.text('network.protocol.version');
  const requestHeaders = seen.all(/^http\.request\.header\./);
  const responseHeaders = seen.all(/^http\.response\.header\./);
  const rest = seen.all(/^(http|clew\.http|url|user_agent)\./);
  return (
    <>
      <Section title="Request" note={[scheme, version === undefined ? undefined : `HTTP/${version}`].filter(Boolean).join(', ')}>
        <p class="line">
          <b>{method}</b> {line}
        </p>
        <Pairs pairs={requestHeaders} strip="http.request.header." />
        {rest.length > 0 && <Pairs pairs={rest} />}
        <Body name="Request body" {...asked} />
      </Section>
      <Section title="Response">
        <p class="line">{status === undefined ? <em>none was seen</em> : <b class={Number(status) >= 500 ? 'bad' : ''}>{status}</b>}</p>
        <Pairs pairs={responseHeaders} strip="http.response.header." />
        <Body name="Response body" {...answered} />
      </Section>
    </>
  );
}

function Messaging(props: { seen: Seen }): JSX.Element | null {
  const pairs = props.seen.all(/^(messaging|clew\.messaging)\./);
  if (pairs.length === 0) return null;
  const of = (name: string) => pairs.find(([key]) => key === name)?.[1];
  const to = of('messaging.destination.name');
  return (
    <Section title="Message" note={to === undefined ? undefined : String(to)}>
      <Pairs pairs={pairs} />
    </Section>
  );
}

function ObjectStorage(props: { seen: Seen }): JSX.Element | null {
  const pairs = props.seen.all(/^aws\.s3\./);
  if (pairs.length === 0) return null;
  const of = (name: string) => pairs.find(([key]) => key === name)?.[1];
  const place = [of('aws.s3.bucket'), of('aws.s3.key')].filter((part) => part !== undefined).join('/');
  return (
    <Section title="Object storage" note={place}>
      <Pairs pairs={[...pairs, ...props.seen.all(/^cloud\.region$/)]} strip="aws.s3." />
    </Section>
  );
}

function Links(props: { node: Node }): JSX.Element | null {
  const { links } = props.node.span;
  if (links.length === 0) return null;
  return (
    <Section title="Links">
      <ul class="links">
        {links.map((link) => (
          <li key={link.span_id}>
            <a href={traceOf(link.trace_id, link.span_id)}>
              <Icon name="link" /> trace {link.trace_id.slice(0, 12)}, span {link.span_id.slice(0, 8)}
            </a>
            <Pairs pairs={Object.entries(link.attributes)} />
          </li>
        ))}
      </ul>
    </Section>
  );
}
