/** Requests and statements as other programs take them. */
import type { Attributes, Span } from '../base/types';
import { text } from '../trace/title';

/** Headers that curl makes itself. */
const MADE = new Set(['host', 'content-length', 'connection', 'transfer-encoding', 'accept-encoding', 'expect']);

/** The request as a command for a shell; none unless it is one of HTTP. */
export function curl(span: Span): string | null {
  const of = (name: string) => text(span.attributes, name);
  const method = of('http.request.method');
  if (method === undefined) return null;
  const parts = [`curl ${shell(address(span.attributes))}`];
  const body = of('clew.http.request.body');
  if (method !== 'GET' || body !== undefined) parts.unshift(`curl -X ${shell(of('http.request.method_original') ?? method)} ${parts.shift()?.slice(5) ?? ''}`);
  for (const [name, value] of Object.entries(span.attributes)) {
    const header = /^http\.request\.header\.(.+)$/.exec(name)?.[1];
    if (header === undefined || MADE.has(header)) continue;
    for (const one of Array.isArray(value) ? value : [value]) parts.push(`-H ${shell(`${header}: ${String(one)}`)}`);
  }
  const agent = of('user_agent.original');
  if (agent !== undefined) parts.push(`-A ${shell(agent)}`);
  if (body !== undefined && of('clew.http.request.body.encoding') === undefined) parts.push(`--data-binary ${shell(body)}`);
  let command = parts.join(' \\\n  ');
  if (of('clew.http.request.body.truncated') === 'true') command = `# the body was cut: this is not the whole request\n${command}`;
  if (of('clew.http.request.body.encoding') !== undefined) command = `# the body is not text and was left out\n${command}`;
  return command;
}

function address(attributes: Attributes): string {
  const of = (name: string) => text(attributes, name);
  const full = of('url.full');
  if (full !== undefined) return full;
  const host = of('server.address') ?? of('network.local.address') ?? 'localhost';
  const port = of('server.port') ?? of('network.local.port');
  const query = of('url.query');
  const name = host.includes(':') ? `[${host}]` : host;
  return `${of('url.scheme') ?? 'http'}://${name}${port === undefined ? '' : `:${port}`}${of('url.path') ?? '/'}${query === undefined ? '' : `?${query}`}`;
}

/** In single quotes, in which a shell reads nothing. */
export function shell(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

/** A statement with its parameters as a comment behind it. */
export function withParameters(sql: string, attributes: Attributes): string {
  const lines = Object.entries(attributes)
    .filter(([name]) => name.startsWith('db.query.parameter.'))
    .map(([name, value]) => `-- ${name.slice('db.query.parameter.'.length)} = ${JSON.stringify(value)}`);
  return [sql, ...lines].join('\n');
}
