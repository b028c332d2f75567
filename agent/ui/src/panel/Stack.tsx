/** Stacks, each place in them a link that the editor opens. */
import { signal } from '@preact/signals';
import type { JSX } from 'preact';

import type { Value } from '../base/types';
import { Pairs, Section, type Seen } from './parts';

/** Addresses that editors take. `%p` is a path that begins with a slash, `%l` a line. */
const EDITORS: Record<string, [string, string]> = {
  vscode: ['VS Code', 'vscode://file%p:%l'],
  cursor: ['Cursor', 'cursor://file%p:%l'],
  vscodium: ['VSCodium', 'vscodium://file%p:%l'],
  jetbrains: ['JetBrains IDEs', 'idea://open?file=%p&line=%l'],
  zed: ['Zed', 'zed://file%p:%l'],
  sublime: ['Sublime Text', 'subl://open?url=file://%p&line=%l'],
  textmate: ['TextMate', 'txmt://open?url=file://%p&line=%l'],
};

const KEY = 'clew.editor';
const editor = signal(localStorage.getItem(KEY) ?? 'vscode');

/** A path of this machine's and a line behind it, as Python, Go, Node and others write them. */
const PLACE = /(\/[^\s:"'()]+)(?:", line |:)(\d+)(?::\d+)?/;

export function Stack(props: { seen: Seen }): JSX.Element | null {
  const { seen } = props;
  const name = seen.text('code.function.name');
  const file = seen.text('code.file.path');
  const line = seen.text('code.line.number');
  const found = seen.all(/^(code\.|clew\.stack)/);
  if (name === undefined && file === undefined && found.length === 0) return null;
  const stacks = found.filter(([key]) => key.includes('stack'));
  const rest = found.filter(([key]) => !key.includes('stack'));
  return (
    <Section title="Call site">
      <Editors />
      {(name !== undefined || file !== undefined) && (
        <p class="line">
          <b>{name}</b> {file !== undefined && <Place text={line === undefined ? file : `${file}:${line}`} />}
        </p>
      )}
      {rest.length > 0 && <Pairs pairs={rest} />}
      {stacks.map(([key, value]) => (
        <StackText key={key} text={plain(value)} />
      ))}
    </Section>
  );
}

function plain(value: Value): string {
  return Array.isArray(value) ? value.join('\n') : String(value);
}

export function StackText(props: { text: string }): JSX.Element {
  const lines = props.text.split('\n');
  return (
    <pre class="stack">
      {lines.map((line, at) => (
        <span key={at}>
          <Place text={line} />
          {at < lines.length - 1 && '\n'}
        </span>
      ))}
    </pre>
  );
}

/** A line of a stack; what of it is a place is a link. */
function Place(props: { text: string }): JSX.Element {
  const { text } = props;
  const found = PLACE.exec(text);
  if (found === null) return <>{text}</>;
  const [whole, path, line] = found as unknown as [string, string, string];
  const end = found.index + whole.length;
  return (
    <>
      {text.slice(0, found.index)}
      <a class="place" href={address(path, line)} title={`Open in ${EDITORS[editor.value]?.[0] ?? 'the editor'}`}>
        {whole}
      </a>
      {text.slice(end)}
    </>
  );
}

function address(path: string, line: string): string {
  const [, form] = EDITORS[editor.value] ?? (EDITORS['vscode'] as [string, string]);
  return form.replace('%p', () => encodeURI(path).replaceAll('?', '%3F').replaceAll('#', '%23').replaceAll('&', '%26')).replace('%l', line);
}

function Editors(): JSX.Element {
  return (
    <select
      class="editors"
      aria-label="The editor that opens places"
      value={editor.value}
      onChange={(event) => {
        editor.value = event.currentTarget.value;
        localStorage.setItem(KEY, editor.value);
      }}
    >
      {Object.entries(EDITORS).map(([key, [name]]) => (
        <option key={key} value={key}>
          {name}
        </option>
      ))}
    </select>
  );
}
