/** What was logged in a trace, by time. */
import type { SpanLog } from '../base/types';
import type { Model, Node } from './model';

export interface LogRow {
  log: SpanLog;
  node: Node;
}

export function logRows(model: Model): LogRow[] {
  const all = model.nodes.flatMap((node) => node.span.logs.map((log) => ({ log, node })));
  return all.sort((one, other) => one.log.offset_ns - other.log.offset_ns);
}

export function isBad(log: SpanLog): boolean {
  return /^(error|fatal|crit|alert|emerg|panic)/i.test(log.severity);
}
