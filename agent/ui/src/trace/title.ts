/** What a span did, in a line. */
import type { Attributes, Span, Value } from '../base/types';

export function text(attributes: Attributes, name: string): string | undefined {
  return plain(attributes[name]);
}

function plain(value: Value | undefined): string | undefined {
  if (typeof value === 'string') return value;
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : undefined;
}

const STATUS = ['http.response.status_code', 'rpc.grpc.status_code', 'rpc.response.status_code', 'db.response.status_code'];

export function describe(span: Span): { title: string; status: string } {
  const of = (name: string) => plain(span.get(name));
  let status = '';
  for (const name of STATUS) {
    status = of(name) ?? '';
    if (status !== '') break;
  }
  return { title: title(span, of), status };
}

function title(span: Span, of: (name: string) => string | undefined): string {
  const rpc = of('rpc.method');
  if (rpc !== undefined) {
    const object = [of('aws.s3.bucket'), of('aws.s3.key')].filter((part) => part !== undefined).join('/');
    return object === '' ? rpc : `${rpc} ${object}`;
  }
  const method = of('http.request.method');
  if (method !== undefined) {
    const url = of('url.full');
    const path = of('url.path') ?? (url === undefined ? undefined : pathOf(url));
    if (path === undefined) return span.name;
    const query = of('url.query') ?? (url === undefined ? undefined : url.split('?')[1]);
    return `${method} ${path}${query === undefined || query === '' ? '' : `?${query}`}`;
  }
  const query = of('db.query.text');
  if (query !== undefined && query !== '') return query.length > 300 ? query.slice(0, 300).replace(/\s+/g, ' ') : query.replace(/\s+/g, ' ');
  return span.name;
}

function pathOf(url: string): string {
  const rest = url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, '').split('?')[0] ?? '';
  return rest === '' ? '/' : rest;
}

/** What kind of thing it talks to, for a tag. */
export function system(span: Span): string {
  const of = (name: string) => plain(span.get(name));
  return (
    of('db.system.name') ??
    of('messaging.system') ??
    of('rpc.system.name') ??
    of('rpc.system') ??
    (of('graphql.operation.type') === undefined ? undefined : 'graphql') ??
    (of('gen_ai.operation.name') === undefined ? undefined : 'gen_ai') ??
    (of('dns.question.name') === undefined ? undefined : 'dns') ??
    (of('http.request.method') === undefined ? undefined : 'http') ??
    (of('tls.established') === undefined ? '' : 'tls')
  );
}

/** All texts of a span, in lower case, for finding. */
export function searchable(span: Span, title: string): string {
  const parts = [span.name, title, span.service, span.kind, span.span_id, span.error ?? ''];
  const add = (attributes: Attributes) => {
    for (const [name, value] of Object.entries(attributes)) {
      parts.push(name, typeof value === 'object' ? JSON.stringify(value) : String(value));
    }
  };
  add(span.attributes);
  for (const event of span.events) {
    parts.push(event.name);
    add(event.attributes);
  }
  for (const log of span.logs) {
    parts.push(log.severity, log.body);
    add(log.attributes);
  }
  return parts.join('\n').toLowerCase();
}
