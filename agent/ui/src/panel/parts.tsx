/** What the sections of a span are made of. */
import type { ComponentChildren, JSX } from 'preact';

import { duration } from '../base/format';
import type { Attributes, Value } from '../base/types';

/** Attributes, each to be shown once. */
export class Seen {
  private readonly left: Map<string, Value>;

  constructor(attributes: Attributes) {
    this.left = new Map(Object.entries(attributes));
  }

  take(name: string): Value | undefined {
    const value = this.left.get(name);
    this.left.delete(name);
    return value;
  }

  text(name: string): string | undefined {
    const value = this.take(name);
    if (value === undefined || value === null) return undefined;
    return typeof value === 'object' ? JSON.stringify(value) : String(value);
  }

  number(name: string): number | undefined {
    const value = this.take(name);
    return typeof value === 'number' ? value : undefined;
  }

  all(names: RegExp): [string, Value][] {
    const found = [...this.left].filter(([name]) => names.test(name));
    for (const [name] of found) this.left.delete(name);
    return found;
  }
}

export function Section(props: { title: string; note?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  return (
    <details class="section" open>
      <summary>
        {props.title}
        {props.note !== undefined && <span class="note">{props.note}</span>}
      </summary>
      {props.children}
    </details>
  );
}

export function Pairs(props: { pairs: [string, Value][]; strip?: string }): JSX.Element {
  return (
    <table class="pairs">
      <tbody>
        {props.pairs.map(([name, value]) => (
          <tr key={name}>
            <th scope="row" title={name}>
              {broken(props.strip !== undefined && name.startsWith(props.strip) ? name.slice(props.strip.length) : name)}
            </th>
            <td>
              <Shown name={name} value={value} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A name that goes on in the next line behind a dot or an underscore rather than within a word. */
function broken(name: string): ComponentChildren {
  return name.split(/(?<=[._])/).map((part, at) => [at > 0 && <wbr />, part]);
}

const LONG = 400;

function Shown(props: { name: string; value: Value }): JSX.Element {
  const { name, value } = props;
  if (typeof value === 'number' && name.endsWith('_ns')) return <>{duration(value)}</>;
  const text = Array.isArray(value) ? value.map((one) => (typeof one === 'string' ? one : JSON.stringify(one))).join(', ') : typeof value === 'string' ? value : JSON.stringify(value);
  if (text === 'REDACTED' || text === '[redacted]') return <em class="muted">{text}</em>;
  if (text.length <= LONG) return <>{text}</>;
  return (
    <details class="long">
      <summary>{text.slice(0, LONG)}…</summary>
      {text.slice(LONG)}
    </details>
  );
}
