/** Statements, set so that they can be read. Other languages than SQL are left as they came. */
import { useMemo, useState } from 'preact/hooks';
import type { JSX } from 'preact';

const KEYWORDS = new Set(
  ('select from where and or not in is null like ilike between exists case when then else end as on using join left right inner outer full cross lateral ' +
    'group order by having limit offset fetch union all distinct insert into values update set delete returning with recursive create table index view drop alter ' +
    'add column primary key foreign references default unique begin commit rollback savepoint asc desc for conflict do nothing over partition window ' +
    'cast true false explain analyze truncate if').split(' '),
);
/** A line begins with these. */
const CLAUSES = new Set('select from where group order having limit offset union insert values update set delete returning with left right inner full cross join on'.split(' '));
/** Words that belong to the clause word before them. */
const JOINED = new Set('join outer by into from all'.split(' '));
const SETS = new Set(['and', 'or']);

interface Token {
  type: 'word' | 'keyword' | 'text' | 'number' | 'sign' | 'parameter' | 'comment' | 'blank';
  text: string;
}

const TOKENS =
  /(--[^\n]*|\/\*[\s\S]*?(?:\*\/|$))|('(?:[^']|'')*'?|\$(\w*)\$[\s\S]*?\$\3\$)|("(?:[^"]|"")*"?|`[^`]*`?|\[[^\]]*\])|(\$\d+|\?|:[A-Za-z_]\w*|%\(?\w*\)?s\b)|(\b\d+(?:\.\d+)?\b)|([A-Za-z_][\w$]*)|(\s+)|([\s\S])/g;

export function tokens(sql: string): Token[] {
  const found: Token[] = [];
  for (const match of sql.matchAll(TOKENS)) {
    const [text, comment, literal, , quoted, parameter, number, word, blank] = match;
    const type =
      comment !== undefined
        ? 'comment'
        : literal !== undefined
          ? 'text'
          : quoted !== undefined
            ? 'word'
            : parameter !== undefined
              ? 'parameter'
              : number !== undefined
                ? 'number'
                : word !== undefined
                  ? KEYWORDS.has(word.toLowerCase())
                    ? 'keyword'
                    : 'word'
                  : blank !== undefined
                    ? 'blank'
                    : 'sign';
    found.push({ type, text });
  }
  return found;
}

/** The statement with a line for each clause. */
export function layout(sql: string): Token[] {
  const out: Token[] = [];
  let depth = 0;
  /** For each parenthesis whether a statement stands in it. */
  const inner: boolean[] = [];
  const all = tokens(sql);
  const newline = (extra = 0) => {
    while (out.at(-1)?.type === 'blank') out.pop();
    if (out.length > 0) out.push({ type: 'blank', text: `\n${'  '.repeat(depth + extra)}` });
  };
  let before = '';
  for (let at = 0; at < all.length; at++) {
    const token = all[at] as Token;
    const word = token.text.toLowerCase();
    if (token.type === 'blank') {
      if (out.length > 0 && out.at(-1)?.type !== 'blank') out.push({ type: 'blank', text: ' ' });
      continue;
    }
    if (token.text === '(') {
      const next = all.slice(at + 1).find((one) => one.type !== 'blank');
      const statement = /^(select|with|insert|update|delete)$/i.test(next?.text ?? '');
      inner.push(statement);
      out.push(token);
      if (statement) {
        depth += 1;
        before = '(';
      }
      continue;
    }
    if (token.text === ')') {
      if (inner.pop() === true) {
        depth = Math.max(0, depth - 1);
        newline();
      }
      out.push(token);
      before = ')';
      continue;
    }
    const inList = inner.length > 0 && inner.at(-1) === false;
    if (token.type === 'keyword' && !inList) {
      if (CLAUSES.has(word) && !(JOINED.has(word) && (CLAUSES.has(before) || before === 'outer'))) newline(word === 'on' ? 1 : 0);
      else if (SETS.has(word)) newline(1);
    }
    out.push(token);
    if (token.type === 'comment') newline();
    if (token.text === ';') newline();
    before = word;
  }
  return out;
}

export function formatted(sql: string): string {
  return isSql(sql) ? layout(sql).map((token) => token.text).join('') : sql;
}

function isSql(text: string): boolean {
  return /^\s*(--|\/\*|\(*\s*(select|insert|update|delete|with|create|alter|drop|begin|commit|rollback|explain|truncate|merge|replace|set|show|call)\b)/i.test(text);
}

export function Sql(props: { text: string; system: string }): JSX.Element {
  const [raw, setRaw] = useState(false);
  const { text } = props;
  const sql = useMemo(() => isSql(text), [text]);
  const parts = useMemo(() => (sql ? (raw ? tokens(text) : layout(text)) : []), [text, raw, sql]);
  return (
    <div class="sql">
      {sql && (
        <button type="button" class="small raw" aria-pressed={raw} onClick={() => setRaw(!raw)}>
          As sent
        </button>
      )}
      <pre>{sql ? parts.map((token, at) => (token.type === 'blank' || token.type === 'word' ? token.text : <span key={at} class={`sql-${token.type}`}>{token.text}</span>)) : text}</pre>
    </div>
  );
}
