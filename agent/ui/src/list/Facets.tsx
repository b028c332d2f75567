/** What the traces have in common, with counts; a click narrows the query. */
import type { JSX } from 'preact';

import { color } from '../base/color';
import { count } from '../base/format';
import { has, replaced, toggled, values, type Term } from '../base/term';
import type { Service } from '../base/types';

interface Props {
  query: string;
  services: Service[];
  onQuery: (query: string) => void;
}

const STATUS: [string, string][] = [
  ['2xx', '2*'],
  ['3xx', '3*'],
  ['4xx', '4*'],
  ['5xx', '5*'],
];
const DURATIONS = ['>10ms', '>100ms', '>500ms', '>1s', '>5s'];
const AGES: [string, string][] = [
  ['5 min', '<5m'],
  ['15 min', '<15m'],
  ['1 h', '<1h'],
  ['1 day', '<1d'],
];
const KINDS = ['server', 'client', 'producer', 'consumer'];

export function Facets(props: Props): JSX.Element {
  const { query, onQuery } = props;
  const one = (field: string, value: string): Term => ({ negated: false, field, value });
  /** Of a field that can have one value at a time. */
  const choice = (field: string, value: string, name: string) => {
    const on = values(query, field).includes(value);
    return (
      <button type="button" key={value} class="choice" aria-pressed={on} onClick={() => onQuery(replaced(query, field, on ? '' : value))}>
        {name}
      </button>
    );
  };
  return (
    <aside class="facets" aria-label="Filters">
      <section>
        <h2>Outcome</h2>
        <div class="choices">
          {choice('error', 'true', 'Failed')}
          {choice('error', 'false', 'Fine')}
        </div>
      </section>
      <section>
        <h2>Status</h2>
        <div class="choices">{STATUS.map(([name, value]) => choice('status', value, name))}</div>
      </section>
      <section>
        <h2>Took longer than</h2>
        <div class="choices">{DURATIONS.map((value) => choice('duration', value, value.slice(1)))}</div>
      </section>
      <section>
        <h2>Within the last</h2>
        <div class="choices">{AGES.map(([name, value]) => choice('age', value, name))}</div>
      </section>
      <section>
        <h2>Service</h2>
        <ul class="facet-list">
          {props.services.map((service) => {
            const only = one('service', service.name);
            const not = { ...only, negated: true };
            return (
              <li key={service.name}>
                <button
                  type="button"
                  class="facet"
                  aria-pressed={has(query, only)}
                  title={`${count(service.spans)} spans, ${count(service.errors)} failed requests`}
                  onClick={() => onQuery(toggled(query, only))}
                >
                  <i class="dot" style={{ background: color(service.name) }} />
                  <span class="cut">{service.name}</span>
                  {service.errors > 0 && <b class="bad">{count(service.errors)}</b>}
                  <b>{count(service.requests)}</b>
                </button>
                <button
                  type="button"
                  class="facet-not"
                  aria-pressed={has(query, not)}
                  aria-label={`Without ${service.name}`}
                  title={`Without ${service.name}`}
                  onClick={() => onQuery(toggled(query, not))}
                >
                  ≠
                </button>
              </li>
            );
          })}
        </ul>
      </section>
      <section>
        <h2>Has a span of kind</h2>
        <div class="choices">{KINDS.map((kind) => choice('kind', kind, kind))}</div>
      </section>
    </aside>
  );
}
