/** The query, with what can be asked for offered while one types. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX, TargetedKeyboardEvent } from 'preact';

import { Icon } from '../base/Icon';
import { quote } from '../base/term';

interface Props {
  query: string;
  problem: string | null;
  services: string[];
  onQuery: (query: string) => void;
}

const FIELDS: [string, string][] = [
  ['service:', 'a service that takes part'],
  ['status:', '404, >=500, OK'],
  ['error:', 'true or false'],
  ['duration:', '>100ms, <2s: of the trace'],
  ['span.duration:', '>50ms: of any of its spans'],
  ['name:', 'a span’s name; * stands for anything'],
  ['path:', '/cart/*'],
  ['title:', 'the first line of a trace'],
  ['kind:', 'server, client, producer, consumer'],
  ['age:', '<15m'],
  ['start:', '>=2026-01-31T12:00:00Z'],
  ['spans:', '>50'],
  ['errors:', '>0'],
  ['run:', 'a run’s number'],
  ['test:', 'the test case that made the request'],
  ['trace:', 'the first digits of its id'],
  ['http.route:', 'any attribute has a dot'],
  ['db.query.text:', '*orders*'],
];

const VALUES: Record<string, string[]> = {
  status: ['>=500', '>=400', '404', '200'],
  error: ['true', 'false'],
  kind: ['server', 'client', 'producer', 'consumer', 'internal'],
  duration: ['>100ms', '>500ms', '>1s'],
  'span.duration': ['>50ms', '>100ms', '>1s'],
  age: ['<5m', '<15m', '<1h', '<1d'],
};

export function SearchBox(props: Props): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(props.query);
  const [open, setOpen] = useState(false);
  const [chosen, setChosen] = useState(-1);
  const typed = useRef(0);

  useEffect(() => {
    // What is being typed is not overwritten by what it led to.
    if (document.activeElement !== input.current || text.trim() !== props.query) setText(props.query);
  }, [props.query]);

  const submit = (value: string) => {
    clearTimeout(typed.current);
    props.onQuery(value.trim());
  };
  const change = (value: string) => {
    setText(value);
    setChosen(-1);
    clearTimeout(typed.current);
    typed.current = setTimeout(() => props.onQuery(value.trim()), 250);
  };
  const offers = open ? offered(text, props.services) : [];
  const take = (offer: string) => {
    const value = completed(text, offer);
    input.current?.focus();
    setChosen(-1);
    // A field alone says nothing yet.
    if (offer.endsWith(':')) setText(value);
    else change(`${value} `);
  };

  const keys = (event: TargetedKeyboardEvent<HTMLInputElement>) => {
    const last = offers.length - 1;
    if (event.key === 'ArrowDown' && last >= 0) setChosen(Math.min(last, chosen + 1));
    else if (event.key === 'ArrowUp' && chosen >= 0) setChosen(chosen - 1);
    else if (event.key === 'Enter') {
      const offer = offers[chosen];
      if (offer === undefined) {
        submit(event.currentTarget.value);
        setOpen(false);
      } else take(offer[0]);
    } else if (event.key === 'Escape') {
      if (open && offers.length > 0) setOpen(false);
      else if (text === '') input.current?.blur();
      else {
        setText('');
        submit('');
      }
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div class="search">
      <div class={props.problem === null ? 'search-line' : 'search-line wrong'}>
        <Icon name="search" />
        <input
          ref={input}
          id="query"
          type="text"
          role="combobox"
          spellcheck={false}
          autocomplete="off"
          placeholder="Search: service:cart status:>=500 duration:>100ms -name:health* &quot;out of stock&quot;"
          aria-label="Search traces"
          aria-expanded={offers.length > 0}
          aria-controls="offers"
          aria-invalid={props.problem !== null}
          aria-activedescendant={chosen >= 0 ? `offer-${chosen}` : undefined}
          value={text}
          onInput={(event) => {
            setOpen(true);
            change(event.currentTarget.value);
          }}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onKeyDown={keys}
        />
        {text !== '' && (
          <button
            type="button"
            class="quiet small"
            aria-label="Clear the search"
            onClick={() => {
              setText('');
              submit('');
            }}
          >
            <Icon name="close" />
          </button>
        )}
        <kbd>/</kbd>
      </div>
      {props.problem !== null && (
        <p class="search-problem" role="alert">
          {props.problem}
        </p>
      )}
      {offers.length > 0 && (
        <ul id="offers" class="offers" role="listbox" aria-label="What can be searched for">
          {offers.map(([offer, meaning], at) => (
            <li
              key={offer}
              id={`offer-${at}`}
              role="option"
              aria-selected={at === chosen}
              // Before the input loses focus.
              onMouseDown={(event) => {
                event.preventDefault();
                take(offer);
              }}
            >
              <code>{offer}</code>
              <span>{meaning}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

/** The last word, which is being typed. */
function last(text: string): string {
  return /(?:^|\s)-?((?:"[^"]*"?|[^\s"])*)$/.exec(text)?.[1] ?? '';
}

function offered(text: string, services: string[]): [string, string][] {
  const word = last(text);
  const [, field, begun] = /^([\w.]+):(.*)$/.exec(word) ?? [];
  if (field === undefined) {
    const fields = FIELDS.filter(([name]) => name.startsWith(word));
    return word === '' ? fields : fields.slice(0, 8);
  }
  const values = field === 'service' ? services : (VALUES[field] ?? []);
  return values
    .filter((value) => value.startsWith(begun ?? '') && value !== begun)
    .slice(0, 10)
    .map((value) => [`${field}:${quote(value)}`, '']);
}

function completed(text: string, offer: string): string {
  return text.slice(0, text.length - last(text).length) + offer;
}
