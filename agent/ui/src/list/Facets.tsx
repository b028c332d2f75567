/** What the traces have in common, with counts; a click narrows the query. */
import { useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { color } from '../base/color';
import { count } from '../base/format';
import { has, read, replaced, split, type Term, toggled, values } from '../base/term';
import type { Facet, Facets as Counts } from '../base/types';

interface Props {
  query: string;
  counts: Counts | null;
  onQuery: (query: string) => void;
}

const TITLES: [Facet['field'], string][] = [
  ['status', 'Status'],
  ['service', 'Service'],
  ['name', 'Operation'],
  ['kind', 'Kind'],
  ['test', 'Test case'],
  ['run', 'Run'],
];
/** Values shown of a field unless more are asked for. */
const SOME = 8;

const DURATIONS = ['>10ms', '>100ms', '>500ms', '>1s', '>5s'];
const AGES: [string, string][] = [
  ['5 min', '<5m'],
  ['15 min', '<15m'],
  ['1 h', '<1h'],
  ['1 day', '<1d'],
];
export function Facets(props: Props): JSX.Element {
  const { query, onQuery } = props;
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
      <nav class="questions" aria-label="Questions">
        <a href="/endpoints?kind=client&sort=max">Which outside call is slow?</a>
        <a href="/?sort=spans&q=kind%3Aclient">Where does a call repeat?</a>
        <a href="/runs?before=last">What changed since the last run?</a>
      </nav>
      <section>
        <h2>Outcome</h2>
        <div class="choices">
          {choice('error', 'true', 'Failed')}
          {choice('error', 'false', 'Fine')}
        </div>
      </section>
      <section>
        <h2>Took longer than</h2>
        <div class="choices">{DURATIONS.map((value) => choice('duration', value, value.slice(1)))}</div>
      </section>
      <section>
        <h2>Within the last</h2>
        <div class="choices">{AGES.map(([name, value]) => choice('age', value, name))}</div>
      </section>
      {TITLES.map(([field, title]) => {
        const facet = withAsked(props.counts?.fields.find((one) => one.field === field) ?? { field, values: [], more: false }, query);
        return facet.values.length === 0 ? null : <Values key={field} title={title} facet={facet} {...props} />;
      })}
    </aside>
  );
}

/** With what is asked for, or not wanted, and no trace that is found has: to be let go of again. */
function withAsked(facet: Facet, query: string): Facet {
  const asked = split(query).map(read).filter((term) => term.field === facet.field && facet.values.every(({ value }) => value !== term.value));
  return { ...facet, values: [...asked.map(({ value }) => ({ value, traces: 0 })), ...facet.values] };
}

/** A span has one service, one name: another value takes the place of the one before. */
function chosen(query: string, only: Term): string {
  return replaced(query, only.field, has(query, only) ? '' : only.value, (term) => term.negated);
}

function Values(props: Props & { title: string; facet: Facet }): JSX.Element {
  const { query, onQuery, facet } = props;
  const { field } = facet;
  const [all, setAll] = useState(false);
  const shown = all ? facet.values : facet.values.slice(0, SOME);
  return (
    <section aria-label={props.title}>
      <h2>{props.title}</h2>
      <ul class="facet-list">
        {shown.map(({ value, traces }) => {
          const only: Term = { negated: false, field, value };
          const not = { ...only, negated: true };
          return (
            <li key={value}>
              <button type="button" class="facet" aria-pressed={has(query, only)} title={value} onClick={() => onQuery(chosen(query, only))}>
                {field === 'service' && <i class="dot" style={{ background: color(value) }} />}
                <span class="cut">{value}</span>
                <b>{count(traces)}</b>
              </button>
              <button
                type="button"
                class="facet-not"
                aria-pressed={has(query, not)}
                aria-label={`Without ${value}`}
                title={`Without ${value}`}
                onClick={() => onQuery(toggled(query, not))}
              >
                ≠
              </button>
            </li>
          );
        })}
      </ul>
      {(facet.values.length > SOME || facet.more) && (
        <button type="button" class="link tiny" onClick={() => setAll(!all)}>
          {all ? (facet.more ? 'fewer (there are still others)' : 'fewer') : `${facet.values.length - SOME} more`}
        </button>
      )}
    </section>
  );
}
