/** A body: JSON as a tree, forms as pairs, else as text. It is shown, and never interpreted. */
import { useMemo, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { copy } from '../base/copy';
import { bytes as inBytes } from '../base/format';
import type { Value } from '../base/types';
import { JsonTree } from './JsonTree';

interface Props {
  name: string;
  content: string | undefined;
  encoding: string | undefined;
  truncated: boolean;
  bytes: number | undefined;
}

/** Characters shown of a text unless more are asked for. */
const SOME = 4000;

export function Body(props: Props): JSX.Element | null {
  const { content, encoding, truncated } = props;
  const [raw, setRaw] = useState(false);
  const [all, setAll] = useState(false);
  const json = useMemo(() => (content === undefined || encoding !== undefined ? undefined : parsed(content)), [content]);
  if (content === undefined) {
    if (props.bytes === undefined || props.bytes === 0) return null;
    return <p class="cut-note">{`${props.name}: ${inBytes(props.bytes)}, not kept`}</p>;
  }
  const isTree = json !== undefined && !raw;
  const text = all ? content : content.slice(0, SOME);
  return (
    <div class="body">
      <div class="body-head">
        <h3>{props.name}</h3>
        {props.bytes !== undefined && <small>{inBytes(props.bytes)}</small>}
        {encoding !== undefined && <small>{encoding}</small>}
        {truncated && (
          <small class="warn" title="Clew keeps as much of a body as --bodies says">
            truncated
          </small>
        )}
        <span class="grow" />
        {json !== undefined && (
          <button type="button" class="small" aria-pressed={raw} onClick={() => setRaw(!raw)}>
            Raw
          </button>
        )}
        <button type="button" class="small" onClick={() => copy(content, props.name)}>
          Copy
        </button>
      </div>
      {isTree ? (
        <JsonTree value={json} />
      ) : (
        <pre class="text">
          {text}
          {text.length < content.length && (
            <button type="button" class="link" onClick={() => setAll(true)}>
              {` … ${inBytes(content.length - text.length)} more`}
            </button>
          )}
        </pre>
      )}
      {truncated && <p class="cut-note">The rest was not kept.</p>}
    </div>
  );
}

/** Its value, if it is an object or a list. */
function parsed(text: string): Value | undefined {
  if (!/^\s*[[{]/.test(text)) return undefined;
  try {
    return JSON.parse(text) as Value;
  } catch {
    return undefined;
  }
}
