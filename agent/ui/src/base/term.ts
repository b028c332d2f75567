/** Terms of the search language, as `clew traces search` takes them. */

export interface Term {
  negated: boolean;
  /** Empty for a word. */
  field: string;
  value: string;
}

/** Splits a query at blanks outside quotes. */
export function split(query: string): string[] {
  return query.match(/(?:"(?:\\.|[^"\\])*"?|[^\s"])+/g) ?? [];
}

export function read(raw: string): Term {
  const negated = raw.length > 1 && raw.startsWith('-');
  const rest = negated ? raw.slice(1) : raw;
  const found = /^([A-Za-z][\w.-]*):(.+)$/s.exec(rest);
  if (found === null) return { negated, field: '', value: unquote(rest) };
  return { negated, field: found[1] ?? '', value: unquote(found[2] ?? '') };
}

export function write(term: Term): string {
  const value = quote(term.value);
  return (term.negated ? '-' : '') + (term.field === '' ? value : `${term.field}:${value}`);
}

function unquote(text: string): string {
  return text.replace(/"((?:\\.|[^"\\])*)"?/g, (_, inner: string) => inner.replace(/\\(["\\])/g, '$1'));
}

export function quote(text: string): string {
  if (text !== '' && !/[\s"]/.test(text)) return text;
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}

/** The query with a term of this field instead of those it had; without one where `value` is empty. */
export function replaced(query: string, field: string, value: string, keep?: (term: Term) => boolean): string {
  const others = split(query).filter((raw) => {
    const term = read(raw);
    return term.field !== field || (keep?.(term) ?? false);
  });
  if (value !== '') others.push(write({ negated: false, field, value }));
  return others.join(' ');
}

/** The query with this term if it was not there, and without it if it was. */
export function toggled(query: string, term: Term): string {
  const wanted = write(term);
  const terms = split(query);
  const left = terms.filter((raw) => write(read(raw)) !== wanted);
  if (left.length === terms.length) left.push(wanted);
  return left.join(' ');
}

export function has(query: string, term: Term): boolean {
  const wanted = write(term);
  return split(query).some((raw) => write(read(raw)) === wanted);
}

/** Values of a field that are not turned round. */
export function values(query: string, field: string): string[] {
  const terms = split(query).map(read);
  return terms.filter((term) => term.field === field && !term.negated).map((term) => term.value);
}
