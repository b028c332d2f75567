/** The rows: what called what on the left, when on the right. */
import { useEffect, useRef } from 'preact/hooks';
import type { JSX, TargetedPointerEvent } from 'preact';

import { variable } from '../base/color';
import { count, duration, percent } from '../base/format';
import { Icon } from '../base/Icon';
import { Virtual } from '../base/Virtual';
import { shares } from '../panel/split';
import { Lanes } from './Lanes';
import type { Node } from './model';
import type { FoldRow, Row, SpanRow } from './rows';
import { system } from './title';
import type { Viewer } from './viewer';

const ROW = 26;
/** Parts that the bar of a fold is drawn with at most. */
const PARTS = 120;

export function Waterfall(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  return (
    <div class="waterfall">
      <Ruler viewer={viewer} />
      {viewer.lanes.value ? <Lanes viewer={viewer} /> : <Tree viewer={viewer} />}
      <Divider />
    </div>
  );
}

function Tree(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const rows = viewer.rows.value;
  const at = viewer.at.value;
  const active = rows[at];
  return (
    <Virtual
      id="spans"
      role="tree"
      label="Spans"
      count={rows.length}
      height={ROW}
      reveal={at < 0 ? undefined : at}
      active={active === undefined ? undefined : elementId(active.key)}
      row={(index) => {
        const row = rows[index];
        if (row === undefined) return null;
        return row.type === 'fold' ? (
          <Fold key={row.key} row={row} viewer={viewer} chosen={index === at} />
        ) : (
          <SpanLine key={row.key} row={row} viewer={viewer} chosen={index === at} />
        );
      }}
    />
  );
}

function elementId(key: string): string {
  return `row-${key.replace(/\W+/g, '-')}`;
}

function Ruler(props: { viewer: Viewer }): JSX.Element {
  const [from, to] = props.viewer.window.value;
  const steps = [0, 0.25, 0.5, 0.75, 1];
  const lanes = props.viewer.lanes.value;
  const { byTask } = props.viewer;
  const shown = lanes ? props.viewer.visible.value.length : props.viewer.rows.value.length;
  return (
    <div class="ruler">
      <div class="ruler-left" role="status">
        {lanes ? `${count(shown)} of ` : `${count(shown)} ${shown === 1 ? 'row' : 'rows'} of `}
        {count(props.viewer.model.value.nodes.length)} spans
        {lanes && (
          <button
            type="button"
            class="small"
            aria-pressed={byTask.value}
            title="A lane for each goroutine, task or virtual thread where one is known; else for each thread"
            onClick={() => (byTask.value = !byTask.value)}
          >
            By task
          </button>
        )}
      </div>
      <div class="ruler-right" aria-hidden="true">
        {steps.map((step) => (
          <span key={step} class={step === 1 ? 'last' : ''} style={{ left: `${step * 100}%` }}>
            {duration(Math.round(from + (to - from) * step))}
          </span>
        ))}
      </div>
    </div>
  );
}

/** Between names and bars; it can be moved. */
function Divider(): JSX.Element {
  const handle = useRef<HTMLDivElement>(null);
  const put = (part: number) => {
    const share = Math.max(15, Math.min(75, part));
    (handle.current?.parentElement as HTMLElement | null)?.style.setProperty('--tree', `${share}%`);
    localStorage.setItem('clew.tree', String(share));
    return share;
  };
  useEffect(() => void put(Number(localStorage.getItem('clew.tree') ?? 46)), []);
  const move = (event: TargetedPointerEvent<HTMLDivElement>) => {
    if (!event.currentTarget.hasPointerCapture(event.pointerId)) return;
    const box = event.currentTarget.parentElement?.getBoundingClientRect();
    if (box !== undefined) put((100 * (event.clientX - box.left)) / box.width);
  };
  return (
    <div
      ref={handle}
      class="divider"
      role="separator"
      aria-orientation="vertical"
      aria-label="Width of the names"
      aria-valuenow={Number(localStorage.getItem('clew.tree') ?? 46)}
      tabIndex={0}
      onPointerDown={(event) => event.currentTarget.setPointerCapture(event.pointerId)}
      onPointerMove={move}
      onKeyDown={(event) => {
        const now = Number(localStorage.getItem('clew.tree') ?? 46);
        if (event.key === 'ArrowLeft') put(now - 2);
        else if (event.key === 'ArrowRight') put(now + 2);
        else return;
        event.preventDefault();
        event.stopPropagation();
      }}
    />
  );
}

interface LineProps<R extends Row> {
  row: R;
  viewer: Viewer;
  chosen: boolean;
}

function Guides(props: { depth: number; row: Row; viewer: Viewer }): JSX.Element {
  const { row, viewer } = props;
  // Deep below, depth is told by a number: the name still has to fit.
  const indent = Math.min(props.depth, 16);
  return (
    <>
      <i class="guides" style={{ width: `${indent * 14}px` }} />
      {props.depth > 16 && <small class="deep">{props.depth}</small>}
      {row.open === null ? (
        <i class="twist" />
      ) : (
        <button
          type="button"
          class="twist"
          tabIndex={-1}
          aria-label={row.open ? 'Collapse' : 'Expand'}
          onClick={(event) => {
            event.stopPropagation();
            viewer.toggle(row);
          }}
        >
          {row.open ? '▾' : '▸'}
        </button>
      )}
    </>
  );
}

function SpanLine(props: LineProps<SpanRow>): JSX.Element {
  const { row, viewer } = props;
  const { node } = row;
  const { span } = node;
  const model = viewer.model.value;
  const pill = viewer.pill.value;
  const found = viewer.find.value !== '' && viewer.matching.value.has(node);
  const critical = model.criticalTime.get(node);
  const faint = row.faint || (viewer.find.value !== '' && !found && !viewer.only.value);
  const tag = system(span);
  const paint = variable(viewer.colors.value.get(span.service) ?? 0);
  const classes = ['span-row', node.failed && 'failed', faint && 'faint', found && 'found', props.chosen && 'chosen', critical !== undefined && 'critical'];
  return (
    <div
      id={elementId(row.key)}
      class={classes.filter(Boolean).join(' ')}
      role="treeitem"
      aria-level={row.depth + 1}
      aria-expanded={row.open ?? undefined}
      aria-selected={props.chosen}
      data-span={span.span_id}
      onClick={() => viewer.select(row.key)}
      onDblClick={() => viewer.toggle(row)}
    >
      <div class="name">
        <Guides depth={row.depth} row={row} viewer={viewer} />
        <i class="dot" style={{ background: paint }} />
        <span class="service">{span.service}</span>
        <span class={`kind ${span.kind}`} title={span.kind}>
          {KIND_SIGNS[span.kind]}
        </span>
        <span class="title" title={node.title}>
          {node.title}
        </span>
        {row.open === false && (
          <small class="below" title={`${node.below} spans below`}>
            +{count(node.below)}
          </small>
        )}
        {node.marks.length > 0 && (
          <span class={node.marks.every((mark) => mark.kind === 'peer' || mark.kind === 'new') ? 'mark peer' : 'mark'} title={node.marks.map((mark) => mark.text).join('\n')} aria-label={node.marks.map((mark) => mark.text).join(' ')}>
            <Icon name="warn" />
          </span>
        )}
        {node.marks.some((mark) => mark.kind === 'new') && <small class="tag">process start</small>}
        {!node.failed && node.failedBelow > 0 && row.open === false && <small class="bad">{node.failedBelow} failed</small>}
        {tag !== '' && <small class="tag">{tag}</small>}
        {(node.status !== '' || node.failed) && <small class={node.failed ? 'code bad' : 'code'}>{node.status === '' ? 'failed' : node.status}</small>}
      </div>
      <div class="time">
        <Bar viewer={viewer} from={node.start} to={node.end} paint={paint} failed={node.failed}>
          <>
            <Times viewer={viewer} node={node} />
            {critical !== undefined && <Critical viewer={viewer} node={node} />}
          </>
        </Bar>
        <Label viewer={viewer} from={node.start} to={node.end}>
          {duration(node.end - node.start)}
          {pill === 'slowest' && !row.faint && ` (self ${duration(node.self)})`}
          {pill === 'critical' && critical !== undefined && ` (${percent(critical, model.end)} of the path)`}
        </Label>
      </div>
    </div>
  );
}

const KIND_SIGNS = { server: '◂', client: '▸', producer: '▹', consumer: '◃', internal: '·' } as const;

function place(viewer: Viewer, from: number, to: number): { left: number; width: number; out: boolean } {
  const [low, high] = viewer.window.value;
  const length = high - low;
  const left = (100 * (from - low)) / length;
  const width = (100 * (to - from)) / length;
  return { left, width, out: left > 100 || left + width < 0 };
}

function Bar(props: { viewer: Viewer; from: number; to: number; paint: string; failed: boolean; children?: JSX.Element | false }): JSX.Element | null {
  const { left, width, out } = place(props.viewer, props.from, props.to);
  if (out) return null;
  const [low, high] = [Math.max(0, left), Math.min(100, left + width)];
  return (
    <>
      <i class={props.failed ? 'span-bar failed' : 'span-bar'} style={{ left: `${low}%`, width: `${high - low}%`, background: props.paint }} />
      {props.children}
    </>
  );
}

/** How much of it its thread was on a CPU, waited for one, or was blocked. These are shares: when each was is not known. */
function Times(props: { viewer: Viewer; node: Node }): JSX.Element | null {
  const { viewer, node } = props;
  const parts = shares(node.span);
  const { left, width } = place(viewer, node.start, node.end);
  if (parts.length === 0 || width < 1.5) return null;
  const all = parts.reduce((sum, part) => sum + part.ns, 0);
  const low = Math.max(0, left);
  const title = parts.map((part) => `${part.name} ${duration(part.ns)}`).join(', ');
  return (
    <span class="times-strip" style={{ left: `${low}%`, width: `${Math.min(100, left + width) - low}%` }} title={title}>
      {parts.map((part) => (
        <i key={part.id} class={`phase split-${part.id}`} style={{ flexGrow: part.ns / all }} />
      ))}
    </span>
  );
}

/** The parts of it that were waited for. */
function Critical(props: { viewer: Viewer; node: Node }): JSX.Element {
  const parts = props.node.critical.length > PARTS ? [] : props.node.critical;
  return (
    <>
      {parts.map(([from, to]) => {
        const { left, width, out } = place(props.viewer, from, to);
        if (out) return null;
        const low = Math.max(0, left);
        return <i key={from} class="critical-part" style={{ left: `${low}%`, width: `${Math.min(100, left + width) - low}%` }} />;
      })}
    </>
  );
}

function Label(props: { viewer: Viewer; from: number; to: number; children: (string | false)[] }): JSX.Element {
  const { left, width } = place(props.viewer, props.from, props.to);
  const end = left + width;
  const text = props.children.filter((part) => part !== false).join('');
  if (end < 0) return <span class="length" style={{ left: 0 }}>{`‹ ${text}`}</span>;
  if (left > 100) return <span class="length" style={{ right: 0 }}>{`${text} ›`}</span>;
  // Behind its bar, before it, or in it: where there is room.
  if (end < 82) return <span class="length" style={{ left: `${end}%` }}>{text}</span>;
  if (left > 18) return <span class="length before" style={{ right: `${100 - Math.max(left, 0)}%` }}>{text}</span>;
  return <span class="length inside" style={{ left: `${Math.max(0, left)}%` }}>{text}</span>;
}

function Fold(props: LineProps<FoldRow>): JSX.Element {
  const { row, viewer } = props;
  const first = row.nodes[0] as Node;
  const last = row.nodes.reduce((latest, node) => Math.max(latest, node.end), 0);
  const paint = variable(viewer.colors.value.get(first.span.service) ?? 0);
  return (
    <div
      id={elementId(row.key)}
      class={`span-row fold ${props.chosen ? 'chosen' : ''}`}
      role="treeitem"
      aria-level={row.depth + 1}
      aria-expanded={row.open}
      aria-selected={props.chosen}
      onClick={() => viewer.select(row.key)}
      onDblClick={() => viewer.toggle(row)}
    >
      <div class="name">
        <Guides depth={row.depth} row={row} viewer={viewer} />
        <i class="dot" style={{ background: paint }} />
        <span class="service">{first.span.service}</span>
        <b class="times">× {count(row.nodes.length)}</b>
        {row.repeated && (
          <b class="n-plus-one" title="The same call again and again, one after the other: ask for all at once instead.">
            N+1
          </b>
        )}
        <span class="title" title={first.title}>
          {first.title}
        </span>
        {row.failed > 0 && <small class="bad">{count(row.failed)} failed</small>}
      </div>
      <div class="time">
        {parts(row.nodes, viewer).map(([from, to]) => {
          const { left, width, out } = place(viewer, from, to);
          if (out) return null;
          const low = Math.max(0, left);
          return <i key={from} class="span-bar" style={{ left: `${low}%`, width: `${Math.min(100, left + width) - low}%`, background: paint }} />;
        })}
        <Label viewer={viewer} from={first.start} to={last}>
          {`${duration(row.total)} in all`}
          {!row.repeated && ', side by side'}
        </Label>
      </div>
    </div>
  );
}

/** When any of them ran, with what lies too near to be told apart made one. */
function parts(nodes: Node[], viewer: Viewer): [number, number][] {
  const [low, high] = viewer.window.value;
  const gap = (high - low) / (2 * PARTS);
  const found: [number, number][] = [];
  for (const node of nodes) {
    const last = found.at(-1);
    if (last !== undefined && node.start - last[1] < gap) last[1] = Math.max(last[1], node.end);
    else found.push([node.start, node.end]);
  }
  return found;
}
