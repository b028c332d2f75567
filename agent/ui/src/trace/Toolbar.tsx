/** Finding and leaving out. */
import { useRef } from 'preact/hooks';
import type { ComponentChildren, JSX, TargetedKeyboardEvent } from 'preact';

import { variable } from '../base/color';
import { count } from '../base/format';
import { Icon } from '../base/Icon';
import type { Kind } from '../base/types';
import type { Pill, Viewer } from './viewer';

export function Toolbar(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const model = viewer.model.value;
  return (
    <div class="bar" role="toolbar" aria-label="Find and filter spans">
      <Find viewer={viewer} />
      <Pills viewer={viewer} />
      <Menu name={viewer.hiddenServices.value.size > 0 ? `Services (${viewer.hiddenServices.value.size} hidden)` : 'Services'}>
        {[...model.services].sort().map(([name, { spans, failed }]) => (
          <label key={name}>
            <input type="checkbox" checked={!viewer.hiddenServices.value.has(name)} onChange={() => toggle(viewer.hiddenServices, name)} />
            <i class="dot" style={{ background: variable(viewer.colors.value.get(name) ?? 0) }} />
            <span class="cut">{name}</span>
            {failed > 0 && <small class="bad">{count(failed)}</small>}
            <small>{count(spans)}</small>
          </label>
        ))}
      </Menu>
      <Menu name={viewer.hiddenKinds.value.size > 0 ? `Kinds (${viewer.hiddenKinds.value.size} hidden)` : 'Kinds'}>
        {[...model.kinds].map(([kind, spans]) => (
          <label key={kind}>
            <input type="checkbox" checked={!viewer.hiddenKinds.value.has(kind)} onChange={() => toggle<Kind>(viewer.hiddenKinds, kind)} />
            <span class="cut">{kind}</span>
            <small>{count(spans)}</small>
          </label>
        ))}
      </Menu>
      <label class="least" title="Hide spans that are shorter">
        ≥
        <input
          type="number"
          min="0"
          step="any"
          placeholder="0"
          aria-label="Hide spans below this many milliseconds"
          value={viewer.leastNs.value > 0 ? viewer.leastNs.value / 1e6 : ''}
          onInput={(event) => (viewer.leastNs.value = Math.max(0, Number(event.currentTarget.value) || 0) * 1e6)}
          onKeyDown={(event) => event.key === 'Escape' && event.currentTarget.blur()}
        />
        ms
      </label>
      <span class="grow" />
      {viewer.focusId.value !== '' && (
        <button type="button" class="on" onClick={() => viewer.focusOn(null)}>
          <Icon name="focus" /> Leave the subtree
        </button>
      )}
      {viewer.zoom.value !== null && (
        <button type="button" class="on" onClick={() => (viewer.zoom.value = null)}>
          Whole time
        </button>
      )}
      {viewer.isFiltered.value && (
        <button type="button" onClick={() => viewer.reset()}>
          Show all spans
        </button>
      )}
      <button type="button" class="quiet" aria-label="Collapse all" title="Collapse everything" onClick={() => viewer.collapseAll()}>
        <Icon name="fold" />
      </button>
      <button type="button" class="quiet" aria-label="Expand all" title="Expand everything but what is repeated" onClick={() => viewer.expandAll()}>
        <Icon name="unfold" />
      </button>
      <button type="button" aria-pressed={viewer.lanes.value} onClick={() => viewer.toggleLanes()} title="Who worked when: a lane for each thread or task (v)">
        <Icon name="chart" /> Lanes
      </button>
      {viewer.logRows.value.length > 0 && (
        <button type="button" aria-pressed={viewer.showsLogs.value} onClick={() => (viewer.showsLogs.value = !viewer.showsLogs.value)} title="All that was logged (L)">
          Logs {count(viewer.logRows.value.length)}
        </button>
      )}
      <button type="button" aria-pressed={viewer.table.value} onClick={() => (viewer.table.value = !viewer.table.value)} title="By operation (t)">
        <Icon name="table" /> Operations
      </button>
    </div>
  );
}

function toggle<T>(set: { value: ReadonlySet<T> }, one: T): void {
  const next = new Set(set.value);
  if (!next.delete(one)) next.add(one);
  set.value = next;
}

function Find(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const { value: matches } = viewer.matches;
  const node = viewer.node.value;
  const at = node === null ? -1 : matches.indexOf(node);
  const found = viewer.find.value.trim() !== '';
  const typed = useRef(0);
  const keys = (event: TargetedKeyboardEvent<HTMLInputElement>) => {
    if (event.key === 'Enter') {
      clearTimeout(typed.current);
      viewer.search(event.currentTarget.value);
      viewer.step(!event.shiftKey);
    } else if (event.key === 'Escape') {
      if (event.currentTarget.value === '') event.currentTarget.blur();
      clearTimeout(typed.current);
      event.currentTarget.value = '';
      viewer.search('');
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="find">
      <Icon name="search" />
      <input
        id="find"
        type="text"
        spellcheck={false}
        autocomplete="off"
        placeholder="Find in names, SQL, headers, bodies"
        aria-label="Find in this trace"
        value={viewer.find.value}
        onInput={(event) => {
          const { value } = event.currentTarget;
          clearTimeout(typed.current);
          typed.current = setTimeout(() => viewer.search(value), 120);
        }}
        onKeyDown={keys}
      />
      {found && (
        <>
          <span class="found-count" role="status">
            {at >= 0 ? `${count(at + 1)} of ${count(matches.length)}` : count(matches.length)}
          </span>
          <button type="button" class="quiet small" aria-label="Previous match" title="Previous match (N)" onClick={() => viewer.step(false)}>
            <Icon name="up" />
          </button>
          <button type="button" class="quiet small" aria-label="Next match" title="Next match (n)" onClick={() => viewer.step(true)}>
            <Icon name="down" />
          </button>
          <button type="button" class="small" aria-pressed={viewer.only.value} title="Only matches (m)" onClick={() => viewer.toggleOnly()}>
            Only matches
          </button>
        </>
      )}
    </div>
  );
}

function Pills(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const repeated = viewer.repeated.value;
  const model = viewer.model.value;
  const pill = (which: Pill, name: string, title: string, first: () => void) => {
    const on = viewer.pill.value === which;
    return (
      <button
        type="button"
        class={`pill ${which}`}
        aria-pressed={on}
        title={title}
        onClick={() => {
          viewer.show(on ? '' : which);
          if (!on) first();
        }}
      >
        {name}
      </button>
    );
  };
  const longest = () => [...model.criticalTime].sort((one, other) => other[1] - one[1])[0]?.[0];
  return (
    <div class="pills" role="group" aria-label="Show only">
      {model.failed.length > 0 &&
        pill('errors', `Errors ${count(model.failed.length)}`, 'What failed (e goes through it)', () => {
          // The deepest first failure is where the others come from, as a rule.
          const deepest = model.failed.find((node) => node.failedBelow === 0);
          if (deepest !== undefined) viewer.reveal(deepest);
        })}
      {repeated.length > 0 && (
        <button
          type="button"
          class="pill repeated"
          title="Calls that one span made again and again"
          onClick={() => {
            const at = repeated.findIndex((one) => one.key === viewer.selected.value);
            const next = repeated[(at + 1) % repeated.length];
            if (next !== undefined) viewer.showRepeated(next);
          }}
        >
          Repeated {repeated.length > 1 ? count(repeated.length) : `× ${count(repeated[0]?.nodes.length ?? 0)}`}
        </button>
      )}
      {pill('critical', 'Critical path', 'What the end of the trace waited for (c)', () => {
        const node = longest();
        if (node !== undefined) viewer.reveal(node);
      })}
      {pill('slowest', 'Slowest', 'What took most time itself (s)', () => {
        const node = model.slowest[0];
        if (node !== undefined) viewer.reveal(node);
      })}
    </div>
  );
}

function Menu(props: { name: string; children: ComponentChildren }): JSX.Element {
  const menu = useRef<HTMLDetailsElement>(null);
  return (
    <details
      class="menu"
      ref={menu}
      onFocusOut={(event) => {
        const to = event.relatedTarget;
        if (menu.current !== null && to instanceof Node && !menu.current.contains(to)) menu.current.open = false;
      }}
      onKeyDown={(event) => {
        if (event.key !== 'Escape' || menu.current === null) return;
        menu.current.open = false;
        event.stopPropagation();
      }}
    >
      <summary>{props.name}</summary>
      <div class="menu-sheet">{props.children}</div>
    </details>
  );
}
